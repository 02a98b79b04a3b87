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
        let links =
            |sid: &i64| (*sid, Links::new(Sid(*sid), format!("h{sid}:3888"), known.clone(), 1000));
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
    world.links.insert(1, Links::new(Sid(1), "h1:3888".into(), known, 1000));
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

#[test]
fn half_open_and_strange_connections_end() {
    let mut links = Links::new(Sid(2), "h2:3888".into(), vec![Sid(1), Sid(2)], 1000);
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
