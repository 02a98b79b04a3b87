//! Votes: which one is better, and when two are the same (reference: election 5.5, 5.7).

use crate::base::{Sid, Zxid};
use crate::wire::notification::PeerState;

/// A vote as it is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vote {
    pub leader: Sid,
    pub zxid: Zxid,
    /// The round in which it was cast; -1 for one that no election made.
    pub election_epoch: i64,
    /// The leader's current epoch.
    pub peer_epoch: i64,
    /// Of the notification it came in; 0 for older ones.
    pub version: i32,
    /// What the voter does.
    pub state: PeerState,
}

impl Vote {
    /// What decides between two: epoch, then zxid, then server. Signed, as in Java.
    fn rank(&self) -> (i64, Zxid, Sid) {
        (self.peer_epoch, self.zxid, self.leader)
    }

    /// Whether this one is to be voted for rather than `other`. `weight` is that of this one's leader: a server
    /// without weight is never voted for.
    pub fn beats(&self, other: &Vote, weight: i64) -> bool {
        weight != 0 && self.rank() > other.rank()
    }

    /// Whether two servers mean the same leader.
    ///
    /// | | compared |
    /// |---|---|
    /// | one of them is looking | leader, zxid, round, epoch |
    /// | neither is, and one is of an old version | leader |
    /// | neither is, both new or both old | leader, epoch |
    ///
    /// Servers that have settled on a leader at different times differ in zxid and round.
    pub fn agrees_with(&self, other: &Vote) -> bool {
        let looking = self.state == PeerState::Looking || other.state == PeerState::Looking;
        if looking {
            return self.rank() == other.rank() && self.election_epoch == other.election_epoch;
        }
        let mixed = (self.version > 0) != (other.version > 0);
        self.leader == other.leader && (mixed || self.peer_epoch == other.peer_epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(leader: i64, zxid: i64, election_epoch: i64, peer_epoch: i64) -> Vote {
        let (leader, zxid) = (Sid(leader), Zxid(zxid));
        let state = PeerState::Looking;
        Vote { leader, zxid, election_epoch, peer_epoch, version: 2, state }
    }

    #[test]
    fn the_order_is_total() {
        let mut all = Vec::new();
        for epoch in [i64::MIN, 0, 1] {
            for zxid in [i64::MIN, -1, 0, 5] {
                for leader in [i64::MIN, 1, 2] {
                    all.push(vote(leader, zxid, 9, epoch));
                }
            }
        }
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                assert_eq!(a.beats(b, 1), i > j, "{a:?} against {b:?}");
                assert!(!a.beats(b, 0));
            }
        }
    }

    #[test]
    fn sameness_by_state_and_version() {
        let base = vote(1, 5, 3, 2);
        let settled = Vote { state: PeerState::Following, ..base };
        let later = Vote { zxid: Zxid(8), election_epoch: 4, ..settled };
        let other_epoch = Vote { peer_epoch: 3, ..settled };
        let old = |vote: Vote| Vote { version: 0, ..vote };
        assert!(base.agrees_with(&settled));
        assert!(!base.agrees_with(&later), "one is looking: everything counts");
        assert!(settled.agrees_with(&later) && later.agrees_with(&settled));
        assert!(!settled.agrees_with(&other_epoch));
        assert!(old(settled).agrees_with(&other_epoch), "one is old: the leader alone counts");
        assert!(!old(settled).agrees_with(&old(other_epoch)));
        assert!(!settled.agrees_with(&Vote { leader: Sid(2), ..settled }));
    }
}
