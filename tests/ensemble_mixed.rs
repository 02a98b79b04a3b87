//! Ensembles of this server and Apache's together: every combination of roles, every way to catch up, in both
//! directions, provoked on purpose.
//!
//! - `RINGKEEPER_MIXED_SUBJECT=apache`: Apache 3.9.5 plays our part too, which tests the test.
//!
//! Who leads is arranged: with equal zxids the greatest id is elected, so who shall lead sits in the last slot.

mod ensemble_support;
mod support;

use std::thread::sleep;
use std::time::Duration;

use ensemble_support::client::EnsembleClient;
use ensemble_support::ensemble::{Ensemble, Settings};
use ensemble_support::kind::{Kind, available};
use ensemble_support::load::{self, Mix};
use ensemble_support::{alone, judge, load_time, seed, wait_for};

use Kind::{Apache38, Apache39};

/// Our part, by whomever it is played.
fn subject() -> Kind {
    match std::env::var("RINGKEEPER_MIXED_SUBJECT").as_deref() {
        Ok("apache") => Apache39,
        Ok("apache38") => Apache38,
        _ => Kind::Ours,
    }
}

/// Starts the last voters, as many as make a quorum, so that the very last is elected; then the others.
fn start(ensemble: &mut Ensemble) -> usize {
    let voters = ensemble.voters();
    let first: Vec<usize> = voters.iter().rev().copied().take(voters.len() / 2 + 1).collect();
    first.iter().for_each(|index| ensemble.start(*index));
    ensemble.wait_leader_of(&first);
    (0..ensemble.len()).filter(|index| !first.contains(index)).for_each(|i| ensemble.start(i));
    let leader = ensemble.wait_all();
    assert_eq!(leader, first[0], "the greatest id leads an ensemble that is new");
    leader
}

/// A load on an ensemble whose last voter leads; the leader is killed once and comes back.
fn roles(name: &str, voters: &[Kind], observers: &[Kind]) {
    if !available(&[voters, observers].concat(), name) {
        return;
    }
    let _alone = alone();
    let seed = seed(name);
    let mut ensemble = Ensemble::make(name, voters, observers, Settings::default());
    let leader = start(&mut ensemble);
    let mix = Mix::small(seed);
    let history = load::run(&ensemble.addresses(), &mix, || {
        sleep(load_time() / 3);
        ensemble.kill(leader);
        let others: Vec<usize> = (0..leader).collect();
        ensemble.wait_leader_of(&others);
        sleep(load_time() / 3);
        ensemble.start(leader);
        ensemble.wait_all();
        sleep(load_time() / 3);
    });
    assert_eq!(history.expired_sessions, 0, "{name}: sessions were lost");
    judge::all(&ensemble, history, mix.registers, name);
}

#[test]
fn ours_leads_java_follows() {
    roles("ours_leads_java_follows", &[Apache38, Apache39, subject()], &[Apache39]);
}

#[test]
fn java_leads_ours_follows() {
    roles("java_leads_ours_follows", &[subject(), subject(), Apache39], &[subject()]);
}

#[test]
fn java_leads_both_follow() {
    roles("java_leads_both_follow", &[subject(), Apache38, Apache39], &[subject()]);
}

#[test]
fn ours_leads_both_follow() {
    roles("ours_leads_both_follow", &[Apache39, subject(), subject()], &[subject(), Apache39]);
}

#[test]
fn old_java_leads_ours_follows() {
    roles("old_java_leads_ours_follows", &[subject(), subject(), Apache38], &[]);
}

#[test]
fn ours_alone() {
    roles("ours_alone", &[subject(); 3], &[subject()]);
}

/// How a learner is expected to catch up, if it is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Diff,
    Snap,
    Trunc,
    /// What is right depends on what leader and learner kept.
    Any,
}

impl Way {
    /// What a Java learner logs when it goes that way.
    fn java_says(self) -> &'static str {
        match self {
            Way::Diff => "Getting a diff from the leader",
            Way::Snap => "Getting a snapshot from leader",
            Way::Trunc => "Truncating log to get in sync with the leader",
            Way::Any => "",
        }
    }
}

/// Writes one after the other until `count` are acknowledged.
fn write(ensemble: &Ensemble, at: usize, parent: &str, count: usize) {
    let address = [ensemble.address(at)];
    let mut client =
        EnsembleClient::open(&address, Duration::from_secs(20), 0).expect("a session to write");
    client.surely("create", |client| client.create(parent, b"", 0));
    for number in 0..count {
        let path = format!("{parent}/n{number}");
        let answer = match number % 4 {
            3 => client.surely("set", |client| client.set(parent, path.as_bytes(), -1)),
            _ => client.surely("create", |client| client.create(&path, b"value", 0)),
        };
        assert!(matches!(answer.err, 0 | -110), "a write answered {}", answer.err);
    }
    let _ = client.close();
}

/// Whether the learner went the way that was meant, where a Java log can tell.
fn check_way(ensemble: &Ensemble, learner: usize, logged_before: usize, way: Way) {
    let logs = ensemble.logs(learner);
    let logs = String::from_utf8_lossy(&logs.as_bytes()[logged_before..]).into_owned();
    let ways = [Way::Diff, Way::Snap, Way::Trunc];
    let gone: Vec<Way> = ways.into_iter().filter(|way| logs.contains(way.java_says())).collect();
    if ensemble.slots[learner].kind.is_java() && !gone.is_empty() {
        support::say(&format!("  the learner caught up by {gone:?}"));
        assert!(way == Way::Any || gone == [way], "by {gone:?} and not by {way:?}");
    }
}

/// Judges the servers now, and again after the learner has been restarted from its disk.
fn judge_with_restart(ensemble: &mut Ensemble, learner: usize) {
    for round in ["as it is", "after a restart of the learner"] {
        let wrong = judge::servers(ensemble);
        assert!(wrong.is_empty(), "{round}: {wrong:#?}");
        if round == "as it is" {
            ensemble.kill(learner);
            ensemble.start(learner);
            ensemble.wait_all();
            write(ensemble, learner, "/after-restart", 5);
        }
    }
}

/// A follower is away while `count` writes are made, with its data or without, and comes back.
fn catch_up(
    name: &str,
    leader: Kind,
    learner: Kind,
    extra: &str,
    count: usize,
    wiped: bool,
    way: Way,
) {
    if !available(&[leader, learner], name) {
        return;
    }
    let _alone = alone();
    let kinds = [learner, leader, leader];
    let mut ensemble = Ensemble::make(name, &kinds, &[], Settings::with(extra));
    start(&mut ensemble);
    write(&ensemble, 0, "/before", 20);
    ensemble.kill(0);
    write(&ensemble, 1, "/missed", count);
    if wiped {
        ensemble.wipe(0);
    }
    let logged = ensemble.logs(0).len();
    ensemble.start(0);
    ensemble.wait_all();
    check_way(&ensemble, 0, logged, way);
    write(&ensemble, 0, "/behind", 20);
    judge_with_restart(&mut ensemble, 0);
}

/// Snapshots and log files so small that the leader's log does not serve a learner that is far behind.
const SMALL_FILES: &str = "snapCount=150\npreAllocSize=64\n";

#[test]
fn diff_from_our_leader() {
    catch_up("diff_from_our_leader", subject(), Apache39, "", 50, false, Way::Diff);
}

#[test]
fn diff_from_a_java_leader() {
    catch_up("diff_from_a_java_leader", Apache39, subject(), "", 50, false, Way::Diff);
}

#[test]
fn long_diff_from_our_leader() {
    catch_up("long_diff_from_our_leader", subject(), Apache39, "", 700, false, Way::Any);
}

#[test]
fn long_diff_from_a_java_leader() {
    catch_up("long_diff_from_a_java_leader", Apache39, subject(), "", 700, false, Way::Any);
}

#[test]
fn snap_from_our_leader() {
    catch_up("snap_from_our_leader", subject(), Apache39, SMALL_FILES, 1200, false, Way::Any);
}

#[test]
fn snap_from_a_java_leader() {
    catch_up("snap_from_a_java_leader", Apache39, subject(), SMALL_FILES, 1200, false, Way::Snap);
}

#[test]
fn an_empty_server_joins_our_leader() {
    catch_up("an_empty_server_joins_our_leader", subject(), Apache39, "", 700, true, Way::Any);
}

#[test]
fn an_empty_server_joins_a_java_leader() {
    catch_up("an_empty_server_joins_a_java_leader", Apache39, subject(), "", 700, true, Way::Snap);
}

/// Makes the leader log writes that nobody else hears of, and kills everybody.
fn unacknowledged_tail(ensemble: &mut Ensemble) {
    let address = [ensemble.address(2)];
    let timeout = Duration::from_secs(4);
    let mut client = EnsembleClient::open(&address, timeout, 0).expect("a session");
    client.surely("create", |client| client.create("/tail", b"", 0));
    ensemble.pause(0);
    ensemble.pause(1);
    // It goes to the leader's log, and into the sockets of followers that will not read it any more.
    let unheard = client.create("/tail/unheard", b"tail", 0);
    assert!(unheard.is_err(), "acknowledged by a minority: {unheard:?}");
    (0..3).for_each(|index| ensemble.kill(index));
}

/// A former leader comes back with a tail that was never acknowledged, after `more` writes without it.
fn former_leader(name: &str, leader: Kind, learner: Kind, more: usize, way: Way) {
    if !available(&[leader, learner], name) {
        return;
    }
    let _alone = alone();
    let kinds = [leader, leader, learner];
    let mut ensemble = Ensemble::make(name, &kinds, &[], Settings::default());
    start(&mut ensemble);
    write(&ensemble, 0, "/before", 20);
    unacknowledged_tail(&mut ensemble);
    ensemble.start(0);
    ensemble.start(1);
    ensemble.wait_all();
    if more > 0 {
        write(&ensemble, 0, "/since", more);
    }
    let logged = ensemble.logs(2).len();
    ensemble.start(2);
    assert_ne!(ensemble.wait_all(), 2, "who sits at the time keeps leading");
    check_way(&ensemble, 2, logged, way);
    // Before anything else is written: what was cut off must not be seen at the former leader only.
    let mut client = ensemble_support::walk::session_at(ensemble.address(2));
    let there = client.surely("exists", |client| client.exists("/tail/unheard"));
    assert!(!there, "a write that nobody acknowledged is still there");
    drop(client.close());
    write(&ensemble, 2, "/behind", 20);
    judge_with_restart(&mut ensemble, 2);
}

#[test]
fn trunc_from_our_leader() {
    former_leader("trunc_from_our_leader", subject(), Apache39, 0, Way::Any);
}

#[test]
fn trunc_from_a_java_leader() {
    former_leader("trunc_from_a_java_leader", Apache39, subject(), 0, Way::Trunc);
}

#[test]
fn tail_replaced_by_our_leader() {
    former_leader("tail_replaced_by_our_leader", subject(), Apache39, 30, Way::Any);
}

#[test]
fn tail_replaced_by_a_java_leader() {
    former_leader("tail_replaced_by_a_java_leader", Apache39, subject(), 30, Way::Any);
}

/// A session goes from server to server of different kinds with an ephemeral and a watch.
#[test]
fn a_session_moves_between_kinds() {
    let name = "a_session_moves_between_kinds";
    let kinds = [subject(), Apache39, subject()];
    if !available(&[subject(), Apache39, Apache38], name) {
        return;
    }
    let _alone = alone();
    let mut ensemble = Ensemble::make(name, &kinds, &[Apache38], Settings::default());
    start(&mut ensemble);
    let servers = ensemble.addresses();
    let timeout = Duration::from_secs(20);
    let mut client = EnsembleClient::open(&servers, timeout, 0).expect("a session");
    let mut other = EnsembleClient::open(&servers[..1], timeout, 0).expect("a session");
    client.surely("create", |client| client.create("/watched", b"", 0));
    client.surely("create", |client| client.create("/mine", b"", 1));
    let id = client.id;
    for round in 0..2 * servers.len() {
        client.surely("get", |client| client.get("/watched", true));
        client.hang_up();
        if round % 2 == 1 {
            client.surely("sync", |client| client.sync("/watched"));
        }
        // In every other round nobody listens yet: setWatches must make up for it.
        other.surely("set", |other| other.set("/watched", b"", -1));
        let heard = wait_for("an event", || {
            client.surely("sync", |client| client.sync("/watched"));
            client.events.pop_front()
        });
        assert_eq!(heard.as_deref(), Ok("/watched"), "round {round} at {}", client.server());
        assert!(client.surely("exists", |client| client.exists("/mine")), "an ephemeral");
        assert_eq!(client.id, id, "the same session");
    }
    client.close().expect("close");
    other.surely("sync", |other| other.sync("/mine"));
    assert!(!other.surely("exists", |other| other.exists("/mine")), "a closed session's ephemeral");
    drop(other.close());
    let wrong = judge::servers(&ensemble);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
