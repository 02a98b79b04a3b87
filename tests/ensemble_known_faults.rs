//! Where Apache 3.9.5 itself loses or splits data while servers synchronise (reference: zab 18), ours does not: neither
//! as the learner of a Java leader, nor as the leader of a Java learner, whose faults it must not wake. Every case ends
//! with a restart of the learner from its disk.
//!
//! - `RINGKEEPER_MIXED_SUBJECT=apache`: Apache 3.9.5 plays our part too. It then fails both of TRUNC-1, both of TRUNC-3
//!   and the malformed requests. TRUNC-2 takes a power failure (`tests/simulator.rs` has those), SNAP-below-log a
//!   learner that comes while its leader is still being established; here both only guard what a kill shows.

mod ensemble_support;
mod support;

use std::time::Duration;

use ensemble_support::client::{EnsembleClient, Trouble};
use ensemble_support::ensemble::{Ensemble, Settings};
use ensemble_support::kind::{Kind, available};
use ensemble_support::{alone, judge, walk};
use ringkeeper::wire::OpCode;

use Kind::Apache39;

fn subject() -> Kind {
    match std::env::var("RINGKEEPER_MIXED_SUBJECT").as_deref() {
        Ok("apache") => Apache39,
        _ => Kind::Ours,
    }
}

/// The last slot, which leads what is new, and comes back as a learner.
const FORMER: usize = 2;

/// Two servers of one kind and the former leader of another; nobody runs yet.
fn ensemble(name: &str, others: Kind, former: Kind, extra: &str) -> Ensemble {
    Ensemble::make(name, &[others, others, former], &[], Settings::with(extra))
}

/// Starts everybody so that the last slot leads.
fn start_led_by_the_last(ensemble: &mut Ensemble) {
    ensemble.start(1);
    ensemble.start(FORMER);
    ensemble.wait_leader_of(&[FORMER]);
    ensemble.start(0);
    assert_eq!(ensemble.wait_all(), FORMER);
}

fn write(ensemble: &Ensemble, at: usize, parent: &str, count: usize) {
    let mut client = walk::session_at(ensemble.address(at));
    client.surely("create", |client| client.create(parent, b"", 0));
    for number in 0..count {
        let path = format!("{parent}/n{number}");
        let made = client.surely("create", |client| client.create(&path, b"value", 0));
        assert!(matches!(made.err, 0 | -110), "a create answered {}", made.err);
    }
    drop(client.close());
}

/// The leader logs a write that nobody else hears of; then everybody is killed.
fn leave_an_unheard_tail(ensemble: &mut Ensemble) {
    let address = [ensemble.address(FORMER)];
    let mut client = EnsembleClient::open(&address, Duration::from_secs(4), 0).expect("a session");
    client.surely("create", |client| client.create("/heard", b"", 0));
    write_unheard(ensemble, client);
}

/// The same with a session that is at the leader already.
fn write_unheard(ensemble: &mut Ensemble, mut client: EnsembleClient) {
    for index in 0..FORMER {
        if ensemble.is_running(index) {
            ensemble.pause(index);
        }
    }
    let unheard = client.create("/unheard", b"tail", 0);
    assert!(unheard.is_err(), "acknowledged by a minority: {unheard:?}");
    (0..3).for_each(|index| ensemble.kill(index));
}

/// Somebody starts the killed server alone for a moment: Apache, which then writes a snapshot of all that it has
/// logged. What nobody acknowledged is in it.
fn snapshot_with_the_tail(ensemble: &mut Ensemble) {
    let kind = ensemble.slots[FORMER].kind;
    ensemble.swap(FORMER, Apache39);
    ensemble.plant_standalone(FORMER);
    ensemble.start(FORMER);
    assert_eq!(ensemble.wait_serving(FORMER), "standalone");
    let mut client = walk::session_at(ensemble.address(FORMER));
    // Without a session of its own it would log nothing at all.
    assert!(client.surely("exists", |client| client.exists("/unheard")), "the tail is not there");
    ensemble.kill(FORMER);
    ensemble.swap(FORMER, kind);
    ensemble.remember_the_others(FORMER);
}

/// The others go on without the former leader, which then comes back; what it logged alone is nowhere, now and after
/// everybody has started from disk once more, in a plain ensemble.
fn come_back(ensemble: &mut Ensemble, name: &str, writes_meanwhile: usize, our_way: &str) {
    ensemble.start(0);
    ensemble.start(1);
    ensemble.wait_all();
    if writes_meanwhile > 0 {
        write(ensemble, 0, "/meanwhile", writes_meanwhile);
    }
    let logged = ensemble.logs(FORMER).len();
    ensemble.start(FORMER);
    assert_ne!(ensemble.wait_all(), FORMER, "who sits keeps leading");
    if ensemble.slots[FORMER].kind == Kind::Ours {
        let said = &ensemble.logs(FORMER)[logged..];
        assert!(said.contains(our_way), "{name}: not by {our_way:?}, so nothing is shown");
    }
    for round in ["as it is", "after a restart"] {
        let mut client = walk::session_at(ensemble.address(FORMER));
        let there = client.surely("exists", |client| client.exists("/unheard"));
        assert!(!there, "{name}, {round}: a write that nobody acknowledged is there");
        drop(client.close());
        write(ensemble, FORMER, &format!("/{}", round.replace(' ', "-")), 20);
        let wrong = judge::servers(ensemble);
        assert!(wrong.is_empty(), "{name}, {round}: {wrong:#?}");
        (0..3).for_each(|index| ensemble.kill(index));
        ensemble.set_extra("");
        ensemble.start_all();
        ensemble.wait_all();
    }
}

/// A leader logs a write alone, and comes back as the learner of the others.
fn former_leader(name: &str, others: Kind, former: Kind, case: &Case) {
    if !available(&[others, former, Apache39], name) {
        return;
    }
    let _alone = alone();
    let mut ensemble = ensemble(name, others, former, case.extra);
    start_led_by_the_last(&mut ensemble);
    write(&ensemble, 0, "/before", 20);
    leave_an_unheard_tail(&mut ensemble);
    if case.tail_in_snapshot {
        snapshot_with_the_tail(&mut ensemble);
    }
    come_back(&mut ensemble, name, case.writes_meanwhile, case.our_way);
}

struct Case {
    extra: &'static str,
    tail_in_snapshot: bool,
    writes_meanwhile: usize,
    /// What our learner logs of the way it went.
    our_way: &'static str,
}

/// A snapshot holds what TRUNC takes away. Java loads that snapshot again and has it back.
const TRUNC_1: Case =
    Case { extra: "", tail_in_snapshot: true, writes_meanwhile: 0, our_way: "Trunc 0x" };

/// What follows a TRUNC is applied by a Java learner, but not logged.
const TRUNC_2: Case =
    Case { extra: "", tail_in_snapshot: false, writes_meanwhile: 30, our_way: " from the leader" };

/// The tree that comes is older than what the learner has logged. Java replays its old log over it at the next start.
const SNAP_BELOW_LOG: Case = Case {
    extra: "forceSnapshotSync=true\n",
    tail_in_snapshot: false,
    writes_meanwhile: 0,
    our_way: "Snap 0x",
};

#[test]
fn trunc_1_ours_learns() {
    former_leader("trunc_1_ours_learns", Apache39, subject(), &TRUNC_1);
}

#[test]
fn trunc_1_ours_leads() {
    former_leader("trunc_1_ours_leads", subject(), Apache39, &TRUNC_1);
}

#[test]
fn trunc_2_ours_learns() {
    former_leader("trunc_2_ours_learns", Apache39, subject(), &TRUNC_2);
}

#[test]
fn trunc_2_ours_leads() {
    former_leader("trunc_2_ours_leads", subject(), Apache39, &TRUNC_2);
}

/// TRUNC-3: the learner came by SNAP, so the zxid that it is cut to is not in its log, only what comes behind it. Java
/// leaves that standing.
fn trunc_3(name: &str, others: Kind, former: Kind) {
    if !available(&[others, former], name) {
        return;
    }
    let _alone = alone();
    // Our leader would serve an empty learner from its log.
    let mut ensemble = ensemble(name, others, former, "forceSnapshotSync=true\n");
    ensemble.start(0);
    ensemble.start(1);
    ensemble.wait_leader_of(&[0, 1]);
    write(&ensemble, 0, "/before", 20);
    // Opened later it would be in the log itself.
    let servers = [ensemble.address(0), ensemble.address(FORMER)];
    let timeout = Duration::from_secs(40);
    let client = EnsembleClient::open(&servers[..1], timeout, 0).expect("a session");
    let mut client = client.moving_to(servers[1]);
    ensemble.start(FORMER);
    ensemble.wait_all();
    assert_eq!(ensemble.files(FORMER, "log."), [""; 0], "it came by SNAP and has logged nothing");
    (0..3).for_each(|index| ensemble.kill(index));
    ensemble.set_extra("");
    // The first server stays away, so that the second, which has logged everything, leads in the end.
    ensemble.start(1);
    ensemble.start(FORMER);
    ensemble.wait_leader_of(&[FORMER]);
    ensemble.wait_all();
    assert!(client.surely("exists", |client| client.exists("/before")), "{name}: a read only");
    write_unheard(&mut ensemble, client);
    come_back(&mut ensemble, name, 0, "Trunc 0x");
}

#[test]
fn trunc_3_ours_learns() {
    trunc_3("trunc_3_ours_learns", Apache39, subject());
}

#[test]
fn trunc_3_ours_leads() {
    trunc_3("trunc_3_ours_leads", subject(), Apache39);
}

#[test]
fn snap_below_log_ours_learns() {
    former_leader("snap_below_log_ours_learns", Apache39, subject(), &SNAP_BELOW_LOG);
}

#[test]
fn snap_below_log_ours_leads() {
    former_leader("snap_below_log_ours_leads", subject(), Apache39, &SNAP_BELOW_LOG);
}

/// Requests that do not decode, to every server. A Java leader gives the zxid before once more for each: all writes
/// stop, or servers part ways.
fn malformed_requests(name: &str, kinds: [Kind; 3], to: &[usize]) {
    if !available(&kinds, name) {
        return;
    }
    let _alone = alone();
    let mut ensemble = Ensemble::make(name, &kinds, &[], Settings::default());
    start_led_by_the_last(&mut ensemble);
    write(&ensemble, 0, "/before", 5);
    // A path of which half is missing; a path and nothing; an ACL of four billion entries; a multi with a stump.
    let half = b"\0\0\0\x08/bad".to_vec();
    let bare = b"\0\0\0\x04/bad".to_vec();
    let acl = [&bare[..], b"\0\0\0\0\xff\xff\xff\xf0\0\0\0\0"].concat();
    let multi = b"\0\0\0\x01\0\xff\xff\xff\xff\0\0\0\x08/b".to_vec();
    for index in to {
        let mut client = walk::session_at(ensemble.address(*index));
        let bad = [
            (OpCode::Create, &half),
            (OpCode::SetData, &half),
            (OpCode::Create, &acl),
            (OpCode::Create2, &bare),
            (OpCode::Delete, &half),
            (OpCode::Multi, &multi),
        ];
        for (op, body) in bad {
            let answer = client.call(op, body);
            let refused = answer.as_ref().map_or(true, |answer| answer.err != 0);
            assert!(refused, "{op:?} at server {} answered {answer:?}", index + 1);
            assert_ne!(answer.err(), Some(Trouble::Expired));
            let path = format!("/after-{}-{index}-{}", op.code(), body.len());
            let made = client.surely("create", |client| client.create(&path, b"", 0));
            assert!(matches!(made.err, 0 | -110), "a create answered {}", made.err);
        }
        drop(client.close());
    }
    assert_eq!(ensemble.wait_all(), FORMER, "nobody had to be elected anew");
    let wrong = judge::servers(&ensemble);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn malformed_requests_to_our_leader_and_its_learners() {
    let name = "malformed_requests_to_our_leader_and_its_learners";
    malformed_requests(name, [Apache39, subject(), subject()], &[0, 1, 2]);
}

#[test]
fn malformed_requests_to_ours_do_not_reach_a_java_leader() {
    let name = "malformed_requests_to_ours_do_not_reach_a_java_leader";
    malformed_requests(name, [subject(), subject(), Apache39], &[0, 1]);
}
