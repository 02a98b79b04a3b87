//! Golden bytes of the traffic between servers, captured from Apache ZooKeeper 3.8.0 and 3.9.5
//! (`tests/golden/wire/`; "dialer" is what the side sent that opened the connection). Every packet is decoded,
//! encoded again, and cut at every length.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ringkeeper::base::{SessionId, Sid, Zxid};
use ringkeeper::wire::notification::{
    InitialMessage, Notification, PeerState, put_frame, take_frame,
};
use ringkeeper::wire::quorum_packet::{
    ForwardedRequest, LEARNER_PROTOCOL, LearnerInfo, PacketType, QuorumPacket, Revalidate,
    put_request, put_touch, touches,
};
use ringkeeper::wire::txn::decode_txn;
use ringkeeper::zab::Quorum;
use ringkeeper::zab::election::{
    Election, ElectionEffect, ElectionOptions, FINALIZE_MS, InitialVote,
};
use ringkeeper::zab::links::{DIALLED, LinkEffect, Links};

/// `jute.maxbuffer` plus its extra size, both at their defaults.
const DATA_MAX: usize = 2_097_150;

/// Types that no capture shows.
const MISSING: [i32; 0] = [];

/// What ends a snapshot stream: the root's name as terminator, then the signature.
const SNAP_END: &[u8] = b"\0\0\0\x01/\0\0\0\x0aBenWasHere";

fn captured(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wire").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every captured stream of a port: `-quorum-` or `-election-`.
fn streams(port: &str, at_least: usize) -> Vec<(String, Vec<u8>)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wire");
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .expect("the golden streams")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains(port))
        .collect();
    names.sort();
    assert!(names.len() >= at_least, "golden streams are missing: {names:?}");
    names.into_iter().map(|name| (name.clone(), captured(&name))).collect()
}

fn quorum_streams() -> Vec<(String, Vec<u8>)> {
    streams("-quorum-", 14)
}

/// The packets of a stream, with the offsets where they start. Snapshot streams are skipped.
fn packets(stream: &[u8]) -> Vec<(usize, QuorumPacket<'_>)> {
    let (mut at, mut found) = (0, Vec::new());
    while at < stream.len() {
        let (packet, taken) = QuorumPacket::decode(&stream[at..], DATA_MAX)
            .unwrap_or_else(|error| panic!("at {at:#x}: {error}"))
            .unwrap_or_else(|| panic!("at {at:#x}: the stream ends inside a packet"));
        found.push((at, packet));
        at += taken;
        if packet.kind == PacketType::Snap {
            let end = stream[at..].windows(SNAP_END.len()).position(|w| w == SNAP_END);
            at += end.expect("the end of the snapshot") + SNAP_END.len();
        }
    }
    found
}

fn packet_at(stream: &[u8], offset: usize) -> QuorumPacket<'_> {
    let (packet, _) = QuorumPacket::decode(&stream[offset..], DATA_MAX).unwrap().unwrap();
    packet
}

#[test]
fn every_captured_packet_round_trips_and_is_incomplete_at_every_cut() {
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for (name, stream) in quorum_streams() {
        for (at, packet) in packets(&stream) {
            let mut out = Vec::new();
            packet.encode(&mut out);
            assert_eq!(out, stream[at..at + out.len()], "{name} at {at:#x}: {packet:?}");
            for cut in 0..out.len() {
                let decoded = QuorumPacket::decode(&out[..cut], DATA_MAX);
                assert_eq!(decoded, Ok(None), "{name} at {at:#x} cut at {cut}");
            }
            assert!(!matches!(packet.kind, PacketType::Other(_)), "{name} at {at:#x}");
            seen.insert(packet.kind.code());
            count += 1;
        }
    }
    assert!(count > 500, "{count} packets");
    let missing: Vec<i32> = (1..=19).filter(|code| !seen.contains(code)).collect();
    assert_eq!(missing, MISSING, "types without a witness");
}

#[test]
fn the_fields_without_a_meaning_are_as_captured() {
    for (name, stream) in quorum_streams() {
        for (at, packet) in packets(&stream) {
            let place = format!("{name} at {at:#x}: {packet:?}");
            let from_leader = name.ends_with("acceptor.bin");
            use PacketType::*;
            match packet.kind {
                Ack | Commit | Diff | Trunc | Snap => {
                    assert_eq!(packet, QuorumPacket::bare(packet.kind, packet.zxid), "{place}");
                }
                UpToDate => {
                    assert_eq!(packet, QuorumPacket::bare(UpToDate, Zxid::NONE), "{place}");
                }
                Sync => assert_eq!(packet, QuorumPacket::bare(Sync, Zxid::ZERO), "{place}"),
                Ping => {
                    assert_eq!(packet.data.is_none(), from_leader, "{place}");
                    assert_eq!(packet.authinfo, None, "{place}");
                }
                Revalidate => {
                    assert!(packet.data.is_some() && packet.authinfo.is_none(), "{place}");
                    assert_eq!(packet.zxid, Zxid::NONE, "{place}");
                }
                Request => {
                    assert_eq!(packet.zxid, Zxid::NONE, "{place}");
                    let request = ForwardedRequest::decode(packet.data.expect("data"));
                    let request = request.expect("a request");
                    assert_eq!(packet.authinfo.is_none(), request.op == -10, "{place}");
                }
                _ => assert_eq!(packet.authinfo, None, "{place}"),
            }
        }
    }
}

#[test]
fn handshake_data() {
    let dialer = captured("a-quorum-follower-s1.dialer.bin");
    let info = packet_at(&dialer, 0);
    assert_eq!((info.kind, info.zxid), (PacketType::FollowerInfo, Zxid::ZERO));
    let of = |sid| LearnerInfo {
        sid: Some(Sid(sid)),
        protocol_version: LEARNER_PROTOCOL,
        config_version: 0,
        mark: None,
    };
    assert_eq!(LearnerInfo::decode(info.data.expect("data")), of(1));
    let ack = packet_at(&dialer, 0x28);
    assert_eq!((ack.kind, ack.data), (PacketType::AckEpoch, Some(&0i32.to_be_bytes()[..])));

    let observer = captured("a-quorum-observer-s3.dialer.bin");
    let info = packet_at(&observer, 0);
    assert_eq!(info.kind, PacketType::ObserverInfo);
    assert_eq!(LearnerInfo::decode(info.data.expect("data")), of(3));

    let acceptor = captured("a-quorum-follower-s1.acceptor.bin");
    let info = packet_at(&acceptor, 0);
    assert_eq!((info.kind, info.zxid), (PacketType::LeaderInfo, Zxid(1 << 32)));
    assert_eq!(info.data, Some(&LEARNER_PROTOCOL.to_be_bytes()[..]));
    let new_leader = packet_at(&acceptor, 0x2c);
    assert_eq!((new_leader.kind, new_leader.zxid), (PacketType::NewLeader, Zxid(1 << 32)));
    let text = std::str::from_utf8(new_leader.data.expect("a configuration")).expect("UTF-8");
    assert!(text.starts_with("server.1=127.0.0.1:29011:29021:participant\n"), "{text}");
    assert!(text.ends_with("\nversion=0"), "{text}");

    let restarted = captured("d-quorum-diff.dialer.bin");
    let ack = packet_at(&restarted, 0x28);
    assert_eq!((ack.zxid, ack.data), (Zxid(0x1_0000_0005), Some(&[0xff; 4][..])));
}

#[test]
fn forwarded_requests_are_written_as_captured() {
    let mut requests = 0;
    for (name, stream) in quorum_streams() {
        for (at, packet) in packets(&stream) {
            if packet.kind != PacketType::Request {
                continue;
            }
            let data = packet.data.expect("data");
            let request = ForwardedRequest::decode(data).expect("a request");
            let mut out = Vec::new();
            put_request(&mut out, &request, packet.authinfo.map(|ids| ids.iter()));
            assert_eq!(out, stream[at..at + out.len()], "{name} at {at:#x}");
            for len in 0..16 {
                assert!(ForwardedRequest::decode(&data[..len]).is_err(), "{len} bytes");
            }
            requests += 1;
        }
    }
    assert!(requests > 30, "{requests} requests");
    let observer = captured("a-quorum-observer-s3.dialer.bin");
    let packet = packet_at(&observer, 0x256);
    let pairs: Vec<_> = packet.authinfo.expect("identities").iter().collect();
    let digest: &[u8] = b"u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=";
    assert_eq!(pairs, [(&b"ip"[..], &b"127.0.0.1"[..]), (b"digest", digest)]);
}

#[test]
fn sessions() {
    let first = SessionId(0x0100_0013_bce4_0000);
    let third = SessionId(0x0300_0013_cf4a_0000);
    let dialer = captured("a-quorum-observer-s3.dialer.bin");
    let ping = packet_at(&dialer, 0x308);
    let touched: Vec<_> = touches(ping.data.expect("a touch table")).collect();
    assert_eq!(touched, [(first, 20_000), (third, 20_000)]);
    let mut data = Vec::new();
    touched.iter().for_each(|(session, timeout_ms)| put_touch(&mut data, *session, *timeout_ms));
    assert_eq!(ping.data, Some(&data[..]));

    let asked = packet_at(&dialer, 0x334).data.expect("data");
    let question = Revalidate { session: first, timeout_ms: 20_000 };
    assert_eq!(Revalidate::decode(asked), Ok(question));
    let mut out = Vec::new();
    question.encode(&mut out);
    assert_eq!(out, asked);
    for len in 0..asked.len() {
        assert!(Revalidate::decode(&asked[..len]).is_err(), "{len} bytes");
    }
    let acceptor = captured("a-quorum-observer-s3.acceptor.bin");
    let answered = packet_at(&acceptor, 0x726).data.expect("data");
    assert_eq!(answered, [&first.0.to_be_bytes()[..], &[1]].concat());
}

#[test]
fn proposals_hold_what_the_log_holds() {
    let mut proposals = 0;
    for (name, stream) in quorum_streams() {
        for (at, packet) in packets(&stream) {
            if matches!(packet.kind, PacketType::Proposal | PacketType::Inform) {
                let txn = decode_txn(packet.data.expect("a transaction"));
                let txn = txn.unwrap_or_else(|error| panic!("{name} at {at:#x}: {error}"));
                assert_eq!(txn.0.zxid, packet.zxid, "{name} at {at:#x}");
                proposals += 1;
            }
        }
    }
    assert!(proposals > 50, "{proposals} proposals");
}

#[test]
fn activation_names_the_designated_leader() {
    let acceptor = captured("c-quorum-reconfig-follower-s1.acceptor.bin");
    let packet = packet_at(&acceptor, 0x3a3);
    assert_eq!(packet.kind, PacketType::CommitAndActivate);
    assert_eq!(packet.data, Some(&2i64.to_be_bytes()[..]));
}

/// The first message, if this side dialled, and the notifications of a stream; each is encoded again and cut at
/// every length.
fn votes(name: &str, stream: &[u8]) -> (Option<InitialMessage>, Vec<Notification<'static>>) {
    let stream: &'static [u8] = stream.to_vec().leak();
    let (mut at, mut first, mut found) = (0, None, Vec::new());
    if name.ends_with("dialer.bin") {
        let (message, taken) = InitialMessage::decode(stream).expect("valid").expect("whole");
        for cut in 0..taken {
            assert_eq!(InitialMessage::decode(&stream[..cut]), Ok(None), "{name} cut at {cut}");
        }
        let mut out = Vec::new();
        message.encode(&mut out);
        assert_eq!(out, stream[..taken], "{name}");
        (at, first) = (taken, Some(message));
    }
    while at < stream.len() {
        let (body, taken) = take_frame(&stream[at..]).expect("valid").expect("whole");
        for cut in 0..taken {
            assert_eq!(take_frame(&stream[at..at + cut]), Ok(None), "{name} cut at {cut}");
        }
        let notification = Notification::decode(body).expect("a notification");
        let (mut again, mut frame) = (Vec::new(), Vec::new());
        notification.encode(&mut again);
        put_frame(&mut frame, &again);
        assert_eq!(frame, stream[at..at + taken], "{name} at {at:#x}");
        found.push(notification);
        at += taken;
    }
    (first, found)
}

#[test]
fn every_captured_vote_round_trips_and_is_incomplete_at_every_cut() {
    let mut count = 0;
    for (name, stream) in streams("-election-", 11) {
        let (first, notifications) = votes(&name, &stream);
        assert_eq!(first.is_some(), name.ends_with("dialer.bin"), "{name}");
        for n in notifications {
            assert_eq!(n.version, 2, "{name}");
            let text = std::str::from_utf8(n.config.expect("a configuration")).expect("UTF-8");
            assert!(text.starts_with("server.1=") && text.ends_with("version=0"), "{name}");
            count += 1;
        }
    }
    assert!(count >= 13, "{count} notifications");
}

#[test]
fn votes_as_annotated() {
    let read = |name: &str| votes(name, &captured(name));
    let (first, from_two) = read("a-election-s2-dials-s1.dialer.bin");
    let two = InitialMessage { sid: Sid(2), addresses: vec!["127.0.0.1:29022".to_owned()] };
    assert_eq!(first, Some(two));
    let vote = |n: &Notification<'_>| (n.state, n.leader.0, n.zxid.0);
    assert_eq!(from_two.iter().map(vote).collect::<Vec<_>>(), [(PeerState::Looking, 2, 0)]);
    assert_eq!((from_two[0].election_epoch, from_two[0].peer_epoch), (1, 0));

    let none = i64::MIN;
    let (_, observer) = read("a-election-observer-s3-dials-s1.dialer.bin");
    assert_eq!(vote(&observer[0]), (PeerState::Looking, none, none));
    assert_eq!(observer[0].peer_epoch, none);
    let (_, answer) = read("a-election-observer-s3-dials-s2.acceptor.bin");
    assert_eq!(vote(&answer[0]), (PeerState::Leading, 2, 0));
    assert_eq!((answer[0].election_epoch, answer[0].peer_epoch), (1, 1), "the new epoch");

    let (several, _) = read("g-election-multiaddress-small-sid.dialer.bin");
    let addresses = ["127.0.0.1:29021", "127.0.0.2:29021"].map(str::to_owned).to_vec();
    assert_eq!(several, Some(InitialMessage { sid: Sid(1), addresses }));
}

/// A server of the captured ensemble: its links and its election, which has begun.
struct Voter {
    links: Links,
    election: Election,
    /// What it has written to the other, and what it has heard.
    written: Vec<u8>,
    dialled: usize,
    heard: Vec<(Sid, Vec<u8>)>,
}

impl Voter {
    fn new(me: i64, address: &str, config: &[u8]) -> Voter {
        let voters = vec![Sid(1), Sid(2)];
        let election = Election::new(ElectionOptions {
            me: Sid(me),
            quorum: Quorum::Majority(voters.clone()),
            config: config.to_vec(),
            min_interval_ms: 200,
            max_interval_ms: 60_000,
            finalize_ms: FINALIZE_MS,
        });
        let links = Links::new(Sid(me), vec![address.to_owned()], voters, 1000);
        let mut voter =
            Voter { links, election, written: Vec::new(), dialled: 0, heard: Vec::new() };
        let mut votes = Vec::new();
        voter.election.look(0, InitialVote { zxid: Zxid::ZERO, peer_epoch: 0 }, &mut votes);
        voter.send(votes);
        voter
    }

    fn send(&mut self, votes: Vec<ElectionEffect>) {
        for vote in votes {
            if let ElectionEffect::Send { to, bytes } = vote {
                let mut out = Vec::new();
                self.links.send(to, bytes, &mut out);
                self.carry(out);
            }
        }
    }

    fn carry(&mut self, effects: Vec<LinkEffect>) {
        for effect in effects {
            match effect {
                LinkEffect::Dial { .. } => self.dialled += 1,
                LinkEffect::Write { bytes, .. } => self.written.extend_from_slice(&bytes),
                LinkEffect::Close { conn } => assert!(conn >= DIALLED, "hung up on the other"),
                LinkEffect::Deliver { from, body } => {
                    let mut votes = Vec::new();
                    self.election.receive(1, from, &body, &mut votes);
                    self.heard.push((from, body));
                    self.send(votes);
                }
            }
        }
    }

    fn input(&mut self, bytes: &[u8]) {
        let mut out = Vec::new();
        assert_eq!(self.links.bytes(1, bytes, &mut out), bytes.len());
        self.carry(out);
    }
}

/// Server 2 dials server 1 and both vote: each says what Apache's said, byte for byte, when it hears what that heard.
#[test]
fn an_election_of_two_replayed() {
    let dialer = captured("a-election-s2-dials-s1.dialer.bin");
    let acceptor = captured("a-election-s2-dials-s1.acceptor.bin");
    let (_, votes) = votes("a-election-s2-dials-s1.dialer.bin", &dialer);
    let config = votes[0].config.expect("a configuration");
    let mut two = Voter::new(2, "127.0.0.1:29022", config);
    let mut out = Vec::new();
    two.links.dialled(DIALLED, &mut out);
    two.carry(out);
    assert_eq!(two.written, dialer);

    let mut one = Voter::new(1, "127.0.0.1:29021", config);
    let mut out = Vec::new();
    one.links.accepted(1, 0, &mut out);
    one.carry(out);
    one.input(&dialer);
    assert_eq!(one.heard.iter().map(|(from, _)| *from).collect::<Vec<_>>(), [Sid(2)]);
    assert_eq!(one.written, acceptor);
    assert_eq!(one.election.state(), PeerState::Following);

    let mut out = Vec::new();
    assert_eq!(two.links.bytes(DIALLED, &acceptor, &mut out), acceptor.len());
    two.carry(out);
    assert_eq!(two.heard.iter().map(|(from, _)| *from).collect::<Vec<_>>(), [Sid(1); 2]);
    assert_eq!(two.election.state(), PeerState::Leading);
}
