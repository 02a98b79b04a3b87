//! Two and more servers' links, wired together in memory.

use super::*;

/// Servers and the pipes between their connections.
struct World {
    links: BTreeMap<i64, Links>,
    /// (server, connection) at both ends.
    pipes: Vec<((i64, LinkConn), (i64, LinkConn))>,
    heard: Vec<(i64, i64, Vec<u8>)>,
    accepted: LinkConn,
}

impl World {
    fn new(sids: &[i64]) -> World {
        let known: Vec<Sid> = sids.iter().copied().map(Sid).collect();
        let links = |sid: &i64| {
            (*sid, Links::new(Sid(*sid), vec![format!("h{sid}:3888")], known.clone(), 1000))
        };
        let links = sids.iter().map(links).collect();
        World { links, pipes: Vec::new(), heard: Vec::new(), accepted: 0 }
    }

    fn send(&mut self, from: i64, to: i64, body: &[u8]) {
        let mut out = Vec::new();
        self.links.get_mut(&from).expect("server").send(Sid(to), body.to_vec(), &mut out);
        self.carry(from, out);
    }

    fn other_end(&self, at: (i64, LinkConn)) -> Option<(i64, LinkConn)> {
        self.pipes.iter().find_map(|(a, b)| match at {
            at if at == *a => Some(*b),
            at if at == *b => Some(*a),
            _ => None,
        })
    }

    fn carry(&mut self, server: i64, effects: Vec<LinkEffect>) {
        for effect in effects {
            match effect {
                LinkEffect::Dial { sid, conn, .. } => self.connect(server, conn, sid.0),
                LinkEffect::Write { conn, bytes } => {
                    let Some((there, other)) = self.other_end((server, conn)) else { continue };
                    let mut out = Vec::new();
                    self.links.get_mut(&there).expect("server").bytes(other, &bytes, &mut out);
                    self.carry(there, out);
                }
                LinkEffect::Close { conn } => self.close((server, conn)),
                LinkEffect::Deliver { from, body } => self.heard.push((server, from.0, body)),
            }
        }
    }

    fn connect(&mut self, server: i64, conn: LinkConn, sid: i64) {
        if !self.links.contains_key(&sid) {
            return self.links.get_mut(&server).expect("server").closed(conn);
        }
        self.accepted += 1;
        let accepted = self.accepted;
        self.pipes.push(((server, conn), (sid, accepted)));
        let mut out = Vec::new();
        self.links.get_mut(&sid).expect("server").accepted(accepted, 0, &mut out);
        self.carry(sid, out);
        let mut out = Vec::new();
        self.links.get_mut(&server).expect("server").dialled(conn, &mut out);
        self.carry(server, out);
    }

    fn close(&mut self, at: (i64, LinkConn)) {
        let Some((there, other)) = self.other_end(at) else { return };
        self.pipes.retain(|(a, b)| *a != at && *b != at);
        self.links.get_mut(&there).expect("server").closed(other);
    }

    fn open_pipes(&self) -> Vec<(i64, i64)> {
        self.pipes.iter().map(|(dialler, acceptor)| (dialler.0, acceptor.0)).collect()
    }
}

#[test]
fn the_larger_dials_and_the_smaller_is_dialled_back() {
    let mut world = World::new(&[1, 2]);
    world.send(2, 1, b"from two");
    assert_eq!(world.open_pipes(), [(2, 1)]);
    assert_eq!(world.heard, [(1, 2, b"from two".to_vec())]);
    let mut world = World::new(&[1, 2]);
    world.send(1, 2, b"from one");
    assert_eq!(world.open_pipes(), [(2, 1)], "dialled back");
    assert_eq!(world.heard, [(2, 1, b"from one".to_vec())]);
}

#[test]
fn a_server_that_restarts_replaces_its_connection_and_hears_the_last_vote_again() {
    let mut world = World::new(&[1, 2]);
    world.send(2, 1, b"vote");
    let known = vec![Sid(1), Sid(2)];
    world.links.insert(1, Links::new(Sid(1), vec!["h1:3888".into()], known, 1000));
    world.heard.clear();
    world.send(1, 2, b"new start");
    assert_eq!(world.open_pipes(), [(2, 1)]);
    world.heard.sort();
    assert_eq!(world.heard, [(1, 2, b"vote".to_vec()), (2, 1, b"new start".to_vec())]);
}

#[test]
fn only_the_newest_vote_waits_for_a_connection() {
    let mut world = World::new(&[2]);
    let links = world.links.get_mut(&2).expect("server");
    links.known = vec![Sid(1), Sid(2)];
    let mut out = Vec::new();
    links.send(Sid(1), b"old".to_vec(), &mut out);
    links.send(Sid(1), b"new".to_vec(), &mut out);
    let dials = out.iter().filter(|effect| matches!(effect, LinkEffect::Dial { .. }));
    assert_eq!(dials.count(), 1, "one dial at a time");
    assert!(!links.have_delivered());
    out.clear();
    links.dialled(DIALLED, &mut out);
    let frames = |effect: &&LinkEffect| matches!(effect, LinkEffect::Write { .. });
    let writes: Vec<_> = out.iter().filter(frames).collect();
    assert_eq!(writes.len(), 2, "the first message and the newest vote: {out:?}");
    assert!(links.have_delivered());
}

/// A dial of a server that was not there yet, or of a dead address of it, must not keep it waiting once it shows itself.
#[test]
fn a_dial_under_way_makes_room() {
    let known = vec![Sid(1), Sid(2), Sid(3)];
    let mut links = Links::new(Sid(2), vec!["h2:3888".into()], known, 1000);
    let mut out = Vec::new();
    links.send(Sid(1), b"vote".to_vec(), &mut out);
    links.send(Sid(3), b"vote".to_vec(), &mut out);
    out.clear();
    links.accepted(1, 0, &mut out);
    links.bytes(1, &introduces(1), &mut out);
    let back = LinkEffect::Dial { sid: Sid(1), conn: DIALLED + 2, addresses: vec!["h:1".into()] };
    let close = |conn| LinkEffect::Close { conn };
    assert_eq!(out, [close(1), close(DIALLED), back]);
    out.clear();
    links.accepted(2, 0, &mut out);
    links.bytes(2, &introduces(3), &mut out);
    assert_eq!(out[0], close(DIALLED + 1));
    assert!(matches!(&out[1..], [LinkEffect::Write { conn: 2, .. }]), "{out:?}");
    assert_eq!(links.take_unreachable(), [], "nobody has failed to answer");
}

#[test]
fn half_open_and_strange_connections_end() {
    let mut links = Links::new(Sid(2), vec!["h2:3888".into()], vec![Sid(1), Sid(2)], 1000);
    let mut out = Vec::new();
    links.accepted(1, 0, &mut out);
    assert_eq!(links.next_due(), Some(1000));
    links.tick(1000, &mut out);
    assert_eq!(out, [LinkEffect::Close { conn: 1 }]);
    out.clear();
    links.accepted(2, 0, &mut out);
    let taken = links.bytes(2, b"GET / HTTP/1.1\r\n\r\n", &mut out);
    assert_eq!(taken, 18);
    // Text is a positive number: a server of old, which is larger than this one. Its frames make no sense.
    assert!(out.contains(&LinkEffect::Close { conn: 2 }), "{out:?}");
    out.clear();
    links.accepted(3, 0, &mut out);
    let mut own = Vec::new();
    InitialMessage { sid: Sid(2), addresses: vec!["h:1".into()] }.encode(&mut own);
    links.bytes(3, &own, &mut out);
    assert_eq!(out, [LinkEffect::Close { conn: 3 }]);
    out.clear();
    for conn in 10..10 + OPENING_MAX as u64 + 1 {
        links.accepted(conn, 0, &mut out);
    }
    assert_eq!(out, [LinkEffect::Close { conn: 10 }]);
}

/// A frame may be cut anywhere, also behind its length, and never be completed; its length may be nonsense.
#[test]
fn frames_that_are_cut_or_make_no_sense() {
    use crate::wire::notification::NOTIFICATION_BYTES_MAX;
    let open = || {
        let mut links = Links::new(Sid(1), vec!["h1:3888".into()], vec![Sid(1), Sid(2)], 1000);
        links.accepted(1, 0, &mut Vec::new());
        links.bytes(1, &introduces(2), &mut Vec::new());
        links
    };
    let mut frame = Vec::new();
    put_frame(&mut frame, b"a vote");
    for cut in 0..frame.len() {
        let (mut links, mut out) = (open(), Vec::new());
        assert_eq!(links.bytes(1, &frame[..cut], &mut out), 0, "cut at {cut}");
        assert_eq!(out, [], "cut at {cut}");
        // Either the rest comes, or the end.
        assert_eq!(links.bytes(1, &frame, &mut out), frame.len());
        assert_eq!(out, [LinkEffect::Deliver { from: Sid(2), body: b"a vote".to_vec() }]);
        let mut links = open();
        links.bytes(1, &frame[..cut], &mut Vec::new());
        links.closed(1);
        let mut out = Vec::new();
        assert_eq!(links.bytes(1, &frame[cut..], &mut out), frame.len() - cut);
        assert_eq!(out, [], "nothing of it counts as heard");
    }
    for length in [0, -1, NOTIFICATION_BYTES_MAX as i32 + 1] {
        let (mut links, mut out) = (open(), Vec::new());
        links.bytes(1, &length.to_be_bytes(), &mut out);
        assert_eq!(out, [LinkEffect::Close { conn: 1 }], "length {length}");
    }
    let mut longest = Vec::new();
    put_frame(&mut longest, &vec![7; NOTIFICATION_BYTES_MAX]);
    let (mut links, mut out) = (open(), Vec::new());
    assert_eq!(links.bytes(1, &longest[..longest.len() - 1], &mut out), 0);
    assert_eq!(links.bytes(1, &longest, &mut out), longest.len());
    let [LinkEffect::Deliver { body, .. }] = &out[..] else { panic!("{} effects", out.len()) };
    assert_eq!(body.len(), NOTIFICATION_BYTES_MAX);
}

/// A first message as a server outside the configuration sends it.
fn introduces(sid: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    InitialMessage { sid: Sid(sid), addresses: vec!["h:1".into()] }.encode(&mut bytes);
    bytes
}

#[test]
fn strangers_are_answered_and_forgotten() {
    let mut links = Links::new(Sid(2), vec!["h2:3888".into()], vec![Sid(1), Sid(2)], 1000);
    let mut out = Vec::new();
    for round in 0..500 {
        let conn = 1 + round as u64;
        links.accepted(conn, 0, &mut out);
        // Observers that do not say who they are, and servers that nobody has heard of.
        links.bytes(
            conn,
            &introduces(if round % 2 == 0 { i64::MAX } else { 1000 + round }),
            &mut out,
        );
        let stranger = links.peers.keys().copied().find(|sid| *sid != Sid(1)).expect("a stranger");
        out.clear();
        links.send(stranger, b"answer".to_vec(), &mut out);
        assert!(matches!(out[..], [LinkEffect::Write { .. }]), "{out:?}");
        links.closed(conn);
        out.clear();
        links.send(stranger, b"too late".to_vec(), &mut out);
        assert_eq!(out, [], "nothing is kept for it");
    }
    assert_eq!(links.peers.len(), 0, "{:?}", links.peers.keys());
    // A small one is dialled back at the address that it named; then it is forgotten as well.
    links.accepted(900, 0, &mut out);
    links.bytes(900, &introduces(0), &mut out);
    let dial = LinkEffect::Dial { sid: Sid(0), conn: DIALLED, addresses: vec!["h:1".into()] };
    assert_eq!(out, [LinkEffect::Close { conn: 900 }, dial]);
    links.closed(DIALLED);
    assert_eq!(links.peers.len(), 0);
}

#[test]
fn strangers_have_a_limit_and_members_have_none() {
    let mut links = Links::new(Sid(2), vec!["h2:3888".into()], vec![Sid(2), Sid(3)], 1000);
    let mut out = Vec::new();
    for conn in 1..=STRANGERS_MAX as u64 {
        links.accepted(conn, 0, &mut out);
        links.bytes(conn, &introduces(1000 + conn as i64), &mut out);
    }
    assert_eq!(out, []);
    links.accepted(500, 0, &mut out);
    links.bytes(500, &introduces(5000), &mut out);
    assert_eq!(out, [LinkEffect::Close { conn: 500 }]);
    out.clear();
    links.accepted(501, 0, &mut out);
    links.bytes(501, &introduces(3), &mut out);
    // One that is there already comes again.
    links.accepted(502, 0, &mut out);
    links.bytes(502, &introduces(1001), &mut out);
    assert_eq!(out, [LinkEffect::Close { conn: 1 }]);
}

/// Whatever connects, breaks and restarts: afterwards every pair that speaks has one connection, dialled by the larger,
/// and hears the newest vote.
#[test]
fn one_connection_for_each_pair_whatever_happened() {
    use crate::base::prng::Prng;
    let sids = [1, 2, 3, 4];
    for seed in 0..200 {
        let mut prng = Prng::new(seed);
        let mut world = World::new(&sids);
        let any = |prng: &mut Prng| sids[prng.below(4) as usize];
        for turn in 0..60u64 {
            let (from, to) = (any(&mut prng), any(&mut prng));
            match prng.below(8) {
                0 => {
                    let fresh = World::new(&sids).links.remove(&from).expect("server");
                    world.links.insert(from, fresh);
                    // Its connections died with it.
                    let ends: Vec<_> = world
                        .pipes
                        .iter()
                        .flat_map(|(a, b)| [*a, *b])
                        .filter(|e| e.0 == from)
                        .collect();
                    ends.into_iter().for_each(|end| world.close(end));
                }
                1 if !world.pipes.is_empty() => {
                    let (dialler, acceptor) =
                        world.pipes[prng.below(world.pipes.len() as u64) as usize];
                    world.links.get_mut(&dialler.0).expect("server").closed(dialler.1);
                    world.close(dialler);
                    assert_eq!(world.other_end(acceptor), None);
                }
                _ if from != to => world.send(from, to, &turn.to_be_bytes()),
                _ => {}
            }
        }
        world.heard.clear();
        for from in sids {
            for to in sids.into_iter().filter(|to| *to != from) {
                world.send(from, to, b"newest");
            }
        }
        let mut pairs = world.open_pipes();
        pairs.sort();
        assert_eq!(pairs, [(2, 1), (3, 1), (3, 2), (4, 1), (4, 2), (4, 3)], "seed {seed}");
        for from in sids {
            for to in sids.into_iter().filter(|to| *to != from) {
                let last = world.heard.iter().rev().find(|(at, by, _)| (*at, *by) == (to, from));
                let body = last.map(|(_, _, body)| &body[..]);
                assert_eq!(body, Some(&b"newest"[..]), "seed {seed}: {from} to {to}");
            }
        }
    }
}
