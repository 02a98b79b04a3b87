//! The election port: connections with any bytes, and votes with any bodies; the election of a server goes on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringkeeper::base::{Sid, Zxid};
use ringkeeper::wire::election_datagram::{Answer, Question};
use ringkeeper::wire::notification::Notification;
use ringkeeper::zab::Quorum;
use ringkeeper::zab::election::{Election, ElectionOptions, FINALIZE_MS, InitialVote};
use ringkeeper::zab::links::{LinkEffect, Links};

fn election(quorum: &Quorum) -> Election {
    Election::new(ElectionOptions {
        me: Sid(2),
        quorum: quorum.clone(),
        config: b"version=0".to_vec(),
        min_interval_ms: 200,
        max_interval_ms: 60_000,
        finalize_ms: FINALIZE_MS,
    })
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(question) = Question::decode(bytes) {
        assert_eq!(question.to_bytes(), bytes);
    }
    if let Ok(answer) = Answer::decode(bytes) {
        let mut out = Vec::new();
        answer.encode(&mut out);
        assert!(bytes.starts_with(&out));
    }
    if let Ok(n) = Notification::decode(bytes)
        && n.version == Notification::VERSION
    {
        let mut out = Vec::new();
        n.encode(&mut out);
        assert_eq!(out, bytes[..out.len()]);
    }
    let quorum = Quorum::Majority(vec![Sid(1), Sid(2), Sid(3)]);
    let known = quorum.voters().to_vec();
    let mut links = Links::new(Sid(2), vec!["127.0.0.1:3888".to_owned()], known, 1000);
    let mut election = election(&quorum);
    let (mut effects, mut votes) = (Vec::new(), Vec::new());
    election.look(0, InitialVote { zxid: Zxid(5), peer_epoch: 1 }, &mut votes);
    links.accepted(1, 0, &mut effects);
    let taken = links.bytes(1, bytes, &mut effects);
    assert!(taken <= bytes.len());
    for effect in effects {
        if let LinkEffect::Deliver { from, body } = effect {
            election.receive(1, from, &body, &mut votes);
        }
    }
    for from in [1, 3, 9] {
        election.receive(2, Sid(from), bytes, &mut votes);
    }
    election.tick(500, true, &mut votes);
});
