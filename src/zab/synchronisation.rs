//! Synchronisation, leader's side: how a learner's history becomes the leader's (reference: zab 5).
//!
//! Where Apache would send a TRUNC whose target may be missing in the learner's log, or one that leaves a snapshot
//! with the cut transactions behind (zab 18: TRUNC-1, TRUNC-3), this table takes the whole tree instead. A TRUNC is
//! right only within one epoch: a learner that has (e, 7) has everything of e up to 7 and all that came before
//! it, since epoch e had one leader and one order; across epochs it may lack what it is cut back to.

use crate::base::Zxid;

/// What the decision is made from. `min..=max` is the window of transactions in memory; equal to `last_processed`
/// when it is empty.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    /// The learner's last transaction, from its ACKEPOCH.
    pub peer_last: Zxid,
    pub min: Zxid,
    pub max: Zxid,
    /// The last one in the leader's tree.
    pub last_processed: Zxid,
    /// The newest one in the window that is not above `peer_last`.
    pub before: Option<Zxid>,
    /// `zookeeper.forceSnapshotSync`.
    pub force_snapshot: bool,
    /// The log on disk may be read for it (`zookeeper.snapshotSizeFactor` is not negative).
    pub log_allowed: bool,
    /// The learner cuts its log and its snapshots so that nothing of what was cut comes back: one of ours.
    pub truncates_safely: bool,
}

/// How to bring the learner up to date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncPlan {
    /// It has a prefix of the history: everything after this is sent, out of memory.
    Diff { after: Zxid },
    /// The same out of the log on disk, if that reaches back; else as `Snapshot`.
    DiffFromLog { after: Zxid },
    /// It cuts its history after this, then gets everything after it.
    Truncate { to: Zxid },
    /// The whole tree. `hides_log`: the learner's log may hold transactions that no longer count, so the
    /// snapshot's zxid must lie above all of them.
    Snapshot { hides_log: bool },
}

/// Rows in order; the first whose condition holds decides.
pub fn decide(at: &Position) -> SyncPlan {
    let Position { peer_last, min, max, last_processed, before, .. } = *at;
    let no_transaction = peer_last.counter() == 0 && peer_last != Zxid::ZERO;
    let known = before == Some(peer_last);
    let cut_to = before.filter(|before| before.epoch() == peer_last.epoch());
    if at.force_snapshot {
        return SyncPlan::Snapshot { hides_log: peer_last > last_processed };
    }
    if peer_last == last_processed {
        return SyncPlan::Diff { after: peer_last };
    }
    // A zxid that an epoch began with: whose history it ends is not known.
    if no_transaction || peer_last < Zxid::ZERO {
        return SyncPlan::Snapshot { hides_log: true };
    }
    if known {
        return SyncPlan::Diff { after: peer_last };
    }
    if peer_last < min {
        return match at.log_allowed && peer_last > Zxid::ZERO {
            true => SyncPlan::DiffFromLog { after: peer_last },
            false => SyncPlan::Snapshot { hides_log: false },
        };
    }
    match cut_to {
        Some(to) if at.truncates_safely && peer_last > min => SyncPlan::Truncate { to },
        _ => SyncPlan::Snapshot { hides_log: peer_last > min || peer_last > max },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const E1: i64 = 1 << 32;
    const E2: i64 = 2 << 32;
    const E3: i64 = 3 << 32;

    /// The leader's window: epoch 1 from 5 to 9, epoch 3 from 1 to 4.
    fn window() -> Vec<Zxid> {
        (5..=9).map(|n| Zxid(E1 + n)).chain((1..=4).map(|n| Zxid(E3 + n))).collect()
    }

    fn at(peer_last: i64, ours: bool) -> Position {
        let window = window();
        let peer_last = Zxid(peer_last);
        Position {
            peer_last,
            min: window[0],
            max: window[window.len() - 1],
            last_processed: window[window.len() - 1],
            before: window.iter().copied().filter(|zxid| *zxid <= peer_last).max(),
            force_snapshot: false,
            log_allowed: true,
            truncates_safely: ours,
        }
    }

    #[test]
    fn rows() {
        let diff = |after| SyncPlan::Diff { after: Zxid(after) };
        let snapshot = |hides_log| SyncPlan::Snapshot { hides_log };
        for ours in [true, false] {
            assert_eq!(decide(&at(E3 + 4, ours)), diff(E3 + 4), "up to date");
            assert_eq!(decide(&at(E1 + 5, ours)), diff(E1 + 5), "the oldest in memory");
            assert_eq!(decide(&at(E1 + 9, ours)), diff(E1 + 9), "the end of an epoch");
            let log = SyncPlan::DiffFromLog { after: Zxid(E1 + 4) };
            assert_eq!(decide(&at(E1 + 4, ours)), log, "older than memory");
            assert_eq!(decide(&at(0, ours)), snapshot(false), "a new server");
            assert_eq!(decide(&at(-1, ours)), snapshot(true), "an untrusted database");
            assert_eq!(decide(&at(E3, ours)), snapshot(true), "the start of an epoch");
            assert_eq!(decide(&at(E2 + 3, ours)), snapshot(true), "an epoch that left nothing");
            assert_eq!(decide(&at(E3 + (1 << 33), ours)), snapshot(true), "a later epoch");
        }
        let truncate = SyncPlan::Truncate { to: Zxid(E1 + 9) };
        assert_eq!(decide(&at(E1 + 12, true)), truncate, "a tail that nobody else has");
        assert_eq!(decide(&at(E1 + 12, false)), snapshot(true));
        assert_eq!(decide(&at(E3 + 7, true)), SyncPlan::Truncate { to: Zxid(E3 + 4) });
        let forced = Position { force_snapshot: true, ..at(E3 + 4, true) };
        assert_eq!(decide(&forced), snapshot(false));
    }

    /// Whatever the learner has, what it ends up with is the leader's history: a model of both histories.
    #[test]
    fn every_plan_ends_in_the_leaders_history() {
        let leader: Vec<i64> = window().iter().map(|zxid| zxid.0).collect();
        // Prefixes of the leader's history, with tails of each epoch that nobody else has.
        for keep in 0..=leader.len() {
            for (epoch, from) in [(E1, 10), (E2, 1), (E3, 5), (E3 + (1 << 32), 1)] {
                for tail in 0..3 {
                    let mut learner: Vec<i64> = leader[..keep].to_vec();
                    let last = learner.last().copied().unwrap_or(E1 + 4);
                    let first = epoch + from.max(last - epoch + 1);
                    if first >> 32 != epoch >> 32 || first <= last {
                        continue;
                    }
                    // Zab: a server of epoch e had the whole history that e began with.
                    if epoch == E3 && keep < leader.len() && tail > 0 {
                        continue;
                    }
                    if epoch == E1 && last < E1 + 9 && tail > 0 {
                        continue;
                    }
                    learner.extend((0..tail).map(|n| first + n));
                    let peer_last = learner.last().copied().unwrap_or(E1 + 4);
                    let result = match decide(&at(peer_last, true)) {
                        SyncPlan::Diff { after } => extended(&learner, after.0, &leader),
                        SyncPlan::Truncate { to } => {
                            learner.retain(|zxid| *zxid <= to.0);
                            assert_eq!(learner.last(), Some(&to.0), "cut to what is not there");
                            extended(&learner, to.0, &leader)
                        }
                        SyncPlan::Snapshot { .. } => leader.clone(),
                        SyncPlan::DiffFromLog { after } => extended(&learner, after.0, &leader),
                    };
                    assert_eq!(result, leader, "keep {keep}, tail {tail} of {epoch:x}");
                }
            }
        }
    }

    fn extended(learner: &[i64], after: i64, leader: &[i64]) -> Vec<i64> {
        let rest = leader.iter().filter(|zxid| **zxid > after);
        learner.iter().chain(rest).copied().collect()
    }
}
