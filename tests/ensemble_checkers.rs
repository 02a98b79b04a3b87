//! Shows the judges of ensemble histories what is good and what is bad: each must pass the one and catch the other.

mod ensemble_support;
mod support;

use ensemble_support::checkers::linearizable::{self, State};
use ensemble_support::checkers::{
    acknowledged, digests, ephemerals, session_order, trees, watch_order,
};
use ensemble_support::history::{
    CreateOutcome, Created, Life, NEVER, RegisterOp, Seen, Sighting, Timed, Watched,
};
use ringkeeper::base::prng::Prng;
use ringkeeper::wire::Stat;

const INITIAL: State = State { value: 0, version: 0 };

fn op(client: usize, call: u64, ret: u64, op: RegisterOp) -> Timed<RegisterOp> {
    Timed { client, call, ret, op }
}

fn set(call: u64, ret: u64, version: i32) -> Timed<RegisterOp> {
    op(1, call, ret, RegisterOp::Set { value: version as u64, version })
}

fn lost(call: u64, value: u64, expected: i32) -> Timed<RegisterOp> {
    op(2, call, NEVER, RegisterOp::Unknown { value, expected })
}

fn read(call: u64, ret: u64, value: u64, version: i32) -> Timed<RegisterOp> {
    op(3, call, ret, RegisterOp::Read { value, version })
}

fn refused(call: u64, ret: u64, expected: i32) -> Timed<RegisterOp> {
    op(4, call, ret, RegisterOp::Refused { expected })
}

#[test]
fn linearizable_histories_pass() {
    let good: [&[Timed<RegisterOp>]; 9] = [
        &[],
        &[set(0, 10, 1), read(11, 12, 1, 1)],
        // A read at the same time may see either.
        &[set(0, 10, 1), read(2, 3, 0, 0), read(4, 5, 1, 1)],
        // A set without an answer happened, much later, or never.
        &[lost(0, 7, -1), set(5, 6, 1), read(20, 21, 7, 2)],
        &[lost(0, 7, -1), set(5, 6, 1), read(20, 21, 1, 1)],
        &[lost(0, 7, 0), set(5, 6, 2), read(20, 21, 2, 2)],
        &[refused(0, 5, 9), set(6, 7, 1), refused(8, 9, 0)],
        // Refused while an unanswered set may have made it another version.
        &[set(0, 1, 1), lost(2, 7, -1), refused(3, 4, 1), read(5, 6, 7, 2)],
        // Two at once, in the order of their versions, not of their calls.
        &[set(0, 10, 2), set(1, 9, 1), read(11, 12, 2, 2)],
    ];
    for ops in good {
        assert_eq!(linearizable::check(INITIAL, ops), Ok(()), "{ops:?}");
    }
}

#[test]
fn histories_that_are_not_linearizable_are_caught() {
    let bad: [&[Timed<RegisterOp>]; 9] = [
        // Stale reads, one of them after another client's newer one.
        &[set(0, 10, 1), read(11, 12, 0, 0)],
        &[set(0, 10, 1), read(2, 3, 1, 1), read(4, 5, 0, 0)],
        // An acknowledged set that is not there, and one whose version another has.
        &[set(0, 1, 1), set(2, 3, 2), read(4, 5, 1, 1)],
        &[set(0, 1, 1), op(2, 2, 3, RegisterOp::Set { value: 9, version: 1 })],
        // A version that nobody made.
        &[set(0, 1, 1), set(2, 3, 3)],
        // A set without an answer that happened twice, or before its call.
        &[lost(0, 7, -1), set(1, 2, 2), read(3, 4, 2, 2), set(5, 6, 4)],
        &[read(0, 1, 7, 1), lost(2, 7, -1)],
        // A condition that was not met.
        &[set(0, 1, 1), lost(2, 7, 0), read(3, 4, 7, 2)],
        // Refused although it would have fitted.
        &[set(0, 1, 1), refused(2, 3, 1)],
    ];
    for ops in bad {
        assert!(linearizable::check(INITIAL, ops).is_err(), "{ops:?}");
    }
}

/// A history made by a register that keeps its word, with overlapping calls and lost answers.
fn honest(seed: u64, count: usize) -> Vec<Timed<RegisterOp>> {
    let mut rng = Prng::new(seed);
    let (mut state, mut ops) = (INITIAL, Vec::new());
    for moment in 0..count as u64 {
        let at = moment * 10;
        let (call, ret) = (at - rng.below(60).min(at), at + 1 + rng.below(60));
        let value = moment + 1;
        let client = rng.below(8) as usize;
        let unanswered = rng.chance(1, 20);
        ops.push(match rng.below(3) {
            0 => op(
                client,
                call,
                ret,
                RegisterOp::Read { value: state.value, version: state.version },
            ),
            1 if unanswered && rng.chance(1, 2) => lost(call, value, -1),
            _ => {
                state = State { value, version: state.version + 1 };
                let done = RegisterOp::Set { value, version: state.version };
                if unanswered { lost(call, value, -1) } else { op(client, call, ret, done) }
            }
        });
    }
    ops
}

#[test]
fn a_long_honest_history_passes_and_one_lie_in_it_is_caught() {
    for seed in 0..10 {
        let mut ops = honest(seed, 2000);
        assert_eq!(linearizable::check(INITIAL, &ops), Ok(()), "seed {seed}");
        let old = ops.iter().position(|one| matches!(one.op, RegisterOp::Set { .. }));
        let lie = ops[old.expect("a set")].op.clone();
        let RegisterOp::Set { value, version } = lie else { unreachable!() };
        // Somebody reads at the end what was there at the beginning.
        ops.push(read(1_000_000, 1_000_001, value, version));
        assert!(linearizable::check(INITIAL, &ops).is_err(), "seed {seed}");
    }
}

fn seen(session: i64, zxid: i64, register: Option<(usize, i32)>) -> Seen {
    Seen { client: 0, session, at: 0, zxid, register }
}

#[test]
fn order_within_sessions() {
    let good = [
        seen(1, 5, None),
        seen(2, 3, Some((0, 1))),
        seen(1, 5, Some((0, 2))),
        seen(1, 9, Some((1, 0))),
        seen(1, 9, Some((0, 2))),
    ];
    assert!(session_order::check(&good).is_empty());
    let time_runs_back = [seen(1, 5, None), seen(1, 4, None)];
    assert_eq!(session_order::check(&time_runs_back).len(), 1);
    let own_write_unseen = [seen(1, 5, Some((0, 3))), seen(1, 6, Some((0, 2)))];
    assert_eq!(session_order::check(&own_write_unseen).len(), 1);
}

fn created(serial: u32, outcome: CreateOutcome) -> Created {
    Created { client: 1, token: format!("1.{serial}"), outcome }
}

fn child(number: u32, token: &str) -> (String, String) {
    (format!("/sequence/n-{number:010}"), token.to_string())
}

#[test]
fn acknowledged_creates() {
    let path = |number: u32| CreateOutcome::Acknowledged(child(number, "").0);
    let attempts = [
        created(1, path(4)),
        created(2, CreateOutcome::Unknown),
        created(3, CreateOutcome::Unknown),
        created(4, CreateOutcome::Refused(-4)),
        created(5, path(9)),
    ];
    let good = [child(4, "1.1"), child(6, "1.3"), child(9, "1.5")];
    assert!(acknowledged::check(&attempts, &good).is_empty());
    let cases: [(&str, Vec<(String, String)>); 6] = [
        ("lost", vec![child(4, "1.1")]),
        ("elsewhere", vec![child(5, "1.1"), child(9, "1.5")]),
        ("an acknowledged one twice", vec![child(4, "1.1"), child(5, "1.1"), child(9, "1.5")]),
        ("an unknown one twice", {
            let twice = vec![child(6, "1.2"), child(7, "1.2")];
            [vec![child(4, "1.1"), child(9, "1.5")], twice].concat()
        }),
        ("a refused one", vec![child(4, "1.1"), child(9, "1.5"), child(8, "1.4")]),
        ("nobody's", vec![child(4, "1.1"), child(9, "1.5"), child(8, "2.1")]),
    ];
    for (what, found) in cases {
        assert!(!acknowledged::check(&attempts, &found).is_empty(), "{what}");
    }
    let numbers_run_back = [created(1, path(9)), created(2, path(4))];
    let found = [child(9, "1.1"), child(4, "1.2")];
    assert!(!acknowledged::check(&numbers_run_back, &found).is_empty());
}

fn life(last_word: u64, closed: bool) -> Life {
    Life {
        path: "/e".into(),
        timeout_ns: 100,
        born: 10,
        last_word,
        closed,
        told_expired: None,
        last_answer: 0,
    }
}

fn sighting(call: u64, there: bool, last: bool) -> Sighting {
    Sighting { path: "/e".into(), call, ret: call + 1, there, last }
}

#[test]
fn ephemerals_live_as_long_as_their_sessions() {
    let left = life(50, false);
    let good = [
        sighting(5, false, false),
        sighting(20, true, false),
        sighting(149, false, false),
        sighting(400, true, false),
        sighting(500, false, true),
    ];
    assert!(ephemerals::check(std::slice::from_ref(&left), &good).is_empty());
    let early = [sighting(148, false, false)];
    assert_eq!(ephemerals::check(std::slice::from_ref(&left), &early).len(), 1);
    assert_eq!(ephemerals::check(&[left], &[sighting(900, true, true)]).len(), 1);
    let held = life(NEVER, false);
    assert_eq!(ephemerals::check(&[held], &[sighting(9000, false, false)]).len(), 1);
    assert!(ephemerals::check(&[life(50, true)], &[sighting(60, false, false)]).is_empty());
    let mut told = life(50, false);
    (told.told_expired, told.last_answer) = (Some(120), 40);
    assert_eq!(ephemerals::check(&[told.clone()], &[]).len(), 1);
    told.told_expired = Some(140);
    assert!(ephemerals::check(&[told], &[]).is_empty());
}

#[test]
fn watches_fire_once_and_before_the_change_is_seen() {
    let armed = |version| Watched::Armed { register: 0, version };
    let read = |version| Watched::Read { register: 0, version };
    let event = Watched::Event { register: 0 };
    let good = [armed(1), read(1), event.clone(), armed(3), event.clone(), read(4), read(6)];
    assert!(watch_order::check(1, &good).is_empty());
    let cases = [
        ("the change before its event", vec![armed(1), read(2), event.clone()]),
        ("no event at all", vec![armed(1), read(1), read(3)]),
        ("an event without a change", vec![armed(1), event.clone(), armed(1)]),
        ("an event twice", vec![armed(1), event.clone(), event.clone(), read(4)]),
    ];
    for (what, heard) in cases {
        assert!(!watch_order::check(1, &heard).is_empty(), "{what}");
    }
}

#[test]
fn trees_that_differ_in_anything_are_caught() {
    let node = trees::Node { data: Some(b"x".to_vec()), acl: vec![1], stat: Stat::default() };
    let tree = trees::Tree::from([("/a".to_string(), node.clone())]);
    let same = [("one".to_string(), tree.clone()), ("two".to_string(), tree.clone())];
    assert!(trees::check(&same).is_empty());
    let changes: [&dyn Fn(&mut trees::Node); 7] = [
        &|node| node.data = None,
        &|node| node.acl = vec![2],
        &|node| node.stat.mzxid = 1,
        &|node| node.stat.pzxid = 1,
        &|node| node.stat.cversion = 1,
        &|node| node.stat.mtime = 1,
        &|node| node.stat.ephemeral_owner = 1,
    ];
    for change in changes {
        let mut other = node.clone();
        change(&mut other);
        let other = trees::Tree::from([("/a".to_string(), other)]);
        let pair = [("one".to_string(), tree.clone()), ("two".to_string(), other)];
        assert_eq!(trees::check(&pair).len(), 1);
    }
    let mut more = tree.clone();
    more.insert("/b".into(), node);
    for (one, two) in [(&tree, &more), (&more, &tree)] {
        let pair = [("one".to_string(), one.clone()), ("two".to_string(), two.clone())];
        assert!(!trees::check(&pair).is_empty());
    }
}

#[test]
fn digests_must_agree_where_both_took_one() {
    let one = digests::parse("100000080: 12345\n100000100: 777\n").expect("two digests");
    assert_eq!(one[&0x1_0000_0100], "777");
    let two = digests::parse("100000100: 777\n100000180: 5\n").expect("two digests");
    assert!(digests::check(&[("a".into(), one.clone()), ("b".into(), two)]).is_empty());
    let wrong = digests::parse("100000100: 778\n").expect("a digest");
    assert_eq!(digests::check(&[("a".into(), one), ("b".into(), wrong)]).len(), 1);
    assert!(digests::parse("hash is not executed because it is not in the whitelist.").is_err());
    assert!(digests::parse("").expect("none yet").is_empty());
}
