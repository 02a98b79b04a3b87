use super::super::touch::TouchBatch;
use super::*;
use crate::base::prng::Prng;

const A: SessionId = SessionId(0xa);
const B: SessionId = SessionId(0xb);

fn tracker() -> SessionTracker {
    SessionTracker::new(2000)
}

#[test]
fn a_session_lives_between_its_timeout_and_a_tick_more() {
    for now in [0, 1, 1999, 2000, 12_345] {
        let mut sessions = tracker();
        assert!(sessions.create(A, 4001, now));
        let due = sessions.next_due().unwrap();
        assert_eq!(due, (now + 4001) / 2000 * 2000 + 2000);
        assert!(due > now + 4001 && due <= now + 4001 + 2000);
        assert!(sessions.expire_due(due - 1).is_empty());
        assert!(!sessions.is_closing(A));
        assert_eq!(sessions.expire_due(due), [A]);
        assert!(sessions.is_closing(A));
        assert!(sessions.expire_due(due + 100_000).is_empty());
        assert_eq!(sessions.next_due(), None);
        assert!(sessions.remove(A));
        assert!(!sessions.remove(A));
    }
}

#[test]
fn touches_move_the_end_both_ways() {
    let mut sessions = tracker();
    sessions.create(A, 10_000, 0);
    assert!(sessions.touch(A, 5000, 10_000));
    assert!(sessions.expire_due(12_000).is_empty());
    assert_eq!(sessions.next_due(), Some(16_000));
    // A reconnect with a shorter timeout ends it earlier.
    assert!(sessions.touch(A, 5000, 4000));
    assert_eq!(sessions.next_due(), Some(10_000));
    assert!(sessions.expire_due(9999).is_empty());
    assert_eq!(sessions.expire_due(10_000), [A]);
    assert!(!sessions.touch(A, 10_000, 4000));
    assert!(!sessions.touch(B, 0, 4000));
    assert_eq!(sessions.timeout_ms(A), Some(10_000));
}

#[test]
fn a_closing_session_is_neither_touched_nor_expired_nor_owned() {
    let mut sessions = tracker();
    sessions.create(A, 4000, 0);
    assert!(!sessions.is_closing(A));
    sessions.set_closing(A);
    assert!(sessions.is_closing(A) && sessions.contains(A));
    assert!(!sessions.touch(A, 1000, 4000));
    assert_eq!(sessions.check(A, 1), Err(SessionFault::Expired));
    assert_eq!(sessions.set_owner(A, 1), Err(SessionFault::Expired));
    assert!(sessions.expire_due(100_000).is_empty());
    assert_eq!(sessions.iter().collect::<Vec<_>>(), [(A, 4000)]);
}

#[test]
fn the_last_to_validate_owns_the_session() {
    let mut sessions = tracker();
    assert_eq!(sessions.check(A, 1), Err(SessionFault::Expired));
    assert_eq!(sessions.set_owner(A, 1), Err(SessionFault::Expired));
    sessions.create(A, 4000, 0);
    // Nobody owns it yet: the first to ask does. Zero is a token like any other.
    assert_eq!(sessions.check(A, 0), Ok(()));
    assert_eq!(sessions.owner(A), Some(0));
    assert_eq!(sessions.check(A, 2), Err(SessionFault::Moved));
    assert_eq!(sessions.set_owner(A, 2), Ok(()));
    assert_eq!(sessions.check(A, 2), Ok(()));
    assert_eq!(sessions.check(A, 0), Err(SessionFault::Moved));
}

#[test]
fn restoring_gives_every_session_its_full_timeout() {
    let mut sessions = tracker();
    sessions.create(A, 4000, 0);
    sessions.set_closing(A);
    sessions.restore([(A, 4000), (B, 8000)], 50_000);
    assert_eq!(sessions.len(), 2);
    assert!(!sessions.is_closing(A));
    assert!(sessions.expire_due(55_999).is_empty());
    assert_eq!(sessions.expire_due(56_000), [A]);
    assert_eq!(sessions.expire_due(60_000), [B]);
    sessions.restore([], 0);
    assert!(sessions.is_empty() && sessions.next_due().is_none());
}

#[test]
fn creating_again_touches() {
    let mut sessions = tracker();
    assert!(sessions.create(A, 4000, 0));
    sessions.set_owner(A, 7).unwrap();
    assert!(!sessions.create(A, 8000, 4000));
    assert_eq!((sessions.timeout_ms(A), sessions.owner(A)), (Some(4000), Some(7)));
    assert!(sessions.expire_due(13_999).is_empty());
    assert_eq!(sessions.expire_due(14_000), [A]);
}

#[test]
fn dump_lists_buckets_and_the_empty_ones_sessions_left() {
    let mut sessions = tracker();
    sessions.create(A, 4000, 0);
    sessions.create(B, 4000, 0);
    sessions.touch(A, 2000, 4000);
    sessions.touch(A, 4000, 4000);
    let bucket = |due, ids: &[SessionId]| SessionBucket { due, sessions: ids.to_vec() };
    assert_eq!(sessions.dump(), [bucket(6000, &[B]), bucket(8000, &[]), bucket(10_000, &[A])]);
    assert_eq!(sessions.expire_due(6000), [B]);
    assert_eq!(sessions.dump(), [bucket(8000, &[]), bucket(10_000, &[A])]);
    sessions.touch(A, 6000, 30_000);
    sessions.remove(A);
    assert_eq!(sessions.dump().iter().map(|b| b.sessions.len()).sum::<usize>(), 0);
}

#[test]
fn a_bucket_is_made_again_after_it_came_due() {
    let mut sessions = tracker();
    sessions.create(A, 20_000, 0);
    sessions.touch(A, 10_000, 20_000);
    assert!(sessions.expire_due(22_000).is_empty());
    assert_eq!(sessions.next_due(), Some(32_000));
    assert_eq!(sessions.expire_due(32_000), [A]);
}

#[test]
fn entries_do_not_pile_up_when_timeouts_alternate() {
    let mut sessions = tracker();
    sessions.create(A, 40_000, 0);
    for now in (0..400_000).step_by(1000) {
        sessions.touch(A, now, 40_000);
        assert!(sessions.expire_due(now).is_empty());
        sessions.touch(A, now, 4000);
        sessions.touch(A, now, 40_000);
        let entries: usize = sessions.buckets.values().map(Vec::len).sum();
        assert!(entries <= 12, "{entries} entries at {now}");
    }
}

#[test]
fn wild_timeouts_do_no_harm() {
    let mut sessions = SessionTracker::new(0);
    sessions.create(A, i32::MIN, 0);
    sessions.create(B, i32::MAX, i64::MAX - 1_000_000);
    assert_eq!(sessions.expire_due(1), [A]);
    let mut sessions = SessionTracker::new(i32::MAX);
    sessions.create(B, i32::MAX, i64::MAX);
    assert!(sessions.touch(B, i64::MAX, i32::MAX));
}

#[test]
fn a_proposed_session_is_in_no_snapshot_before_it_is_made() {
    let mut sessions = SessionTracker::new(500);
    assert!(sessions.propose(A, 1000, 0));
    assert!(sessions.is_open(A) && sessions.set_owner(A, 7).is_ok());
    assert_eq!(sessions.iter().count(), 0);
    assert!(!sessions.create(A, 1000, 100), "it keeps its state");
    assert_eq!(sessions.owner(A), Some(7));
    assert_eq!(sessions.iter().collect::<Vec<_>>(), [(A, 1000)]);
    sessions.restore([(B, 2000), (A, 2000)], 0);
    assert_eq!(sessions.expire_due(10_000), [A, B], "in order");
}

/// Every session with the moment of its end, looked at one by one.
#[test]
fn agrees_with_the_formula_over_random_histories() {
    for seed in 0..40 {
        let mut rng = Prng::new(seed);
        let mut sessions = SessionTracker::new(500);
        let mut model: BTreeMap<SessionId, MonoMs> = BTreeMap::new();
        let mut batch = TouchBatch::new();
        let mut now = rng.below(10_000) as i64;
        for _ in 0..3000 {
            now += rng.below(120) as i64;
            let id = SessionId(rng.below(40) as i64);
            let timeout_ms = [1000, 1001, 3999, 8000][rng.below(4) as usize];
            let due = (now + i64::from(timeout_ms)) / 500 * 500 + 500;
            match rng.below(8) {
                0 => {
                    assert_eq!(sessions.create(id, timeout_ms, now), !model.contains_key(&id));
                    model.insert(id, due);
                }
                1 if rng.chance(1, 4) => {
                    assert_eq!(sessions.remove(id), model.remove(&id).is_some());
                }
                2 => {
                    batch.touch(id, now, timeout_ms);
                    sessions.apply_touches(batch.drain());
                    model.entry(id).and_modify(|end| *end = due);
                }
                3..=5 => {
                    let known = sessions.touch(id, now, timeout_ms);
                    assert_eq!(known, model.contains_key(&id), "seed {seed}");
                    model.entry(id).and_modify(|end| *end = due);
                }
                _ => {
                    let mut expired = sessions.expire_due(now);
                    expired.sort_unstable();
                    let over = model.iter().filter(|(_, end)| **end <= now);
                    let expected: Vec<SessionId> = over.map(|(id, _)| *id).collect();
                    assert_eq!(expired, expected, "seed {seed} at {now}");
                    for id in expired {
                        sessions.remove(id);
                        model.remove(&id);
                    }
                    assert!(sessions.next_due().is_none_or(|due| due > now));
                }
            }
            let listed: usize = sessions.dump().iter().map(|b| b.sessions.len()).sum();
            assert_eq!((listed, sessions.len()), (model.len(), model.len()));
            let first = model.values().min();
            assert!(first.is_none_or(|first| sessions.next_due().unwrap() <= *first));
        }
    }
}

#[test]
fn only_applied_sessions_are_for_snapshots() {
    let mut tracker = SessionTracker::new(2000);
    assert!(tracker.propose(SessionId(1), 5000, 0));
    assert!(tracker.contains(SessionId(1)) && tracker.is_open(SessionId(1)));
    assert_eq!((tracker.iter().count(), tracker.len()), (0, 1));
    assert!(!tracker.create(SessionId(1), 5000, 10), "it was known");
    assert!(tracker.create(SessionId(2), 4000, 10));
    tracker.set_closing(SessionId(2));
    let mut listed: Vec<_> = tracker.iter().collect();
    listed.sort_unstable();
    assert_eq!(listed, [(SessionId(1), 5000), (SessionId(2), 4000)]);
    // One that expires before it is applied is no less tracked.
    assert!(tracker.propose(SessionId(3), 4000, 10));
    assert_eq!(tracker.expire_due(100_000), [SessionId(1), SessionId(3)]);
}
