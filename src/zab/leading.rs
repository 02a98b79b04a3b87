//! Broadcast, leader's side: what has been proposed, who has it on disk, what is committed.
//!
//! Watermarks: `committed <= min over a quorum of logged <= proposed`. Nothing is committed out of order, because
//! acknowledgements are cumulative per server ("everything up to here is on my disk").

use super::quorums::Quorum;
use crate::base::{Sid, Zxid};

/// The leader of one epoch. Owned by the Zab core.
#[derive(Debug)]
pub struct Leading {
    quorum: Quorum,
    /// Per voter, in the quorum's order: the last zxid that it has logged.
    logged: Vec<Zxid>,
    proposed: Zxid,
    committed: Zxid,
}

impl Leading {
    /// Everything up to `last` is already decided.
    pub fn new(quorum: Quorum, last: Zxid) -> Leading {
        let logged = vec![last; quorum.voters().len()];
        Leading { quorum, logged, proposed: last, committed: last }
    }

    /// A transaction was handed to the log (and, in an ensemble, to the followers).
    pub fn propose(&mut self, zxid: Zxid) {
        assert!(zxid > self.proposed, "{zxid} proposed after {}", self.proposed);
        self.proposed = zxid;
    }

    /// `sid` has everything up to `up_to` on its disk. Answers the new commit watermark if it moved.
    pub fn logged(&mut self, sid: Sid, up_to: Zxid) -> Option<Zxid> {
        assert!(up_to <= self.proposed, "{up_to} logged but never proposed");
        let at = self.quorum.voters().iter().position(|voter| *voter == sid)?;
        if up_to <= self.logged[at] {
            return None;
        }
        self.logged[at] = up_to;
        let committed = self.highest_met();
        if committed <= self.committed {
            return None;
        }
        self.committed = committed;
        Some(committed)
    }

    /// The highest zxid that a quorum has logged: one of the voters' own watermarks.
    fn highest_met(&self) -> Zxid {
        let met = |zxid: Zxid| {
            self.quorum.is_met(|sid| {
                let at = self.quorum.voters().iter().position(|voter| *voter == sid);
                at.is_some_and(|at| self.logged[at] >= zxid)
            })
        };
        let candidates = self.logged.iter().copied();
        candidates.filter(|zxid| met(*zxid)).max().unwrap_or(self.committed)
    }

    /// Whether the servers for which `has` holds may decide.
    pub fn is_quorum(&self, has: impl Fn(Sid) -> bool) -> bool {
        self.quorum.is_met(has)
    }

    pub fn is_voter(&self, sid: Sid) -> bool {
        self.quorum.voters().contains(&sid)
    }

    pub fn proposed(&self) -> Zxid {
        self.proposed
    }

    pub fn committed(&self) -> Zxid {
        self.committed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_the_own_log_decides() {
        let mut leading = Leading::new(Quorum::standalone(Sid(1)), Zxid(4));
        leading.propose(Zxid(5));
        leading.propose(Zxid(6));
        assert_eq!(leading.logged(Sid(1), Zxid(5)), Some(Zxid(5)));
        assert_eq!(leading.logged(Sid(1), Zxid(5)), None);
        assert_eq!(leading.logged(Sid(9), Zxid(6)), None);
        assert_eq!(leading.logged(Sid(1), Zxid(6)), Some(Zxid(6)));
        assert_eq!(leading.committed(), leading.proposed());
    }

    #[test]
    fn three_servers_commit_what_two_have() {
        let quorum = Quorum::Majority(vec![Sid(1), Sid(2), Sid(3)]);
        let mut leading = Leading::new(quorum, Zxid(0));
        for zxid in 1..=3 {
            leading.propose(Zxid(zxid));
        }
        assert_eq!(leading.logged(Sid(1), Zxid(3)), None);
        assert_eq!(leading.logged(Sid(2), Zxid(2)), Some(Zxid(2)));
        assert_eq!(leading.logged(Sid(3), Zxid(1)), None);
        assert_eq!(leading.logged(Sid(3), Zxid(3)), Some(Zxid(3)));
    }
}
