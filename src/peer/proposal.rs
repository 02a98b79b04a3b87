//! A transaction's bytes, made or received once and shared by the log, the learners and the window of committed ones.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::base::{WallMs, Zxid};
use crate::wire::txn::TxnHeader;

/// One transaction. Its bytes lie in a chunk that it shares with its neighbours.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub zxid: Zxid,
    chunk: Arc<Vec<u8>>,
    start: u32,
    end: u32,
}

impl Proposal {
    /// `range` of `chunk` is the transaction: header, record, digest.
    pub fn new(zxid: Zxid, chunk: Arc<Vec<u8>>, range: Range<usize>) -> Proposal {
        assert!(range.end <= chunk.len() && range.end <= u32::MAX as usize);
        Proposal { zxid, chunk, start: range.start as u32, end: range.end as u32 }
    }

    /// A transaction in a chunk of its own.
    pub fn alone(zxid: Zxid, bytes: Vec<u8>) -> Proposal {
        let range = 0..bytes.len();
        Proposal::new(zxid, Arc::new(bytes), range)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.chunk[self.start as usize..self.end as usize]
    }

    /// Milliseconds since the leader made it, by two servers' wall clocks; `None` where those differ too much to tell.
    pub fn age(&self, wall: WallMs) -> Option<i64> {
        TxnHeader::time_of(self.bytes()).map(|made| wall - made).filter(|age| *age >= 0)
    }

    pub fn chunk(&self) -> &Arc<Vec<u8>> {
        &self.chunk
    }

    pub fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Transactions kept for learners that lag a little (`zookeeper.commitLogCount`).
///
/// Without holes within an epoch and in order; its last one is the last one applied to the tree. Owned by the Zab
/// core.
#[derive(Debug)]
pub struct CommittedLog {
    keep: usize,
    proposals: VecDeque<Proposal>,
    /// The last one applied, whether or not it is kept.
    last: Zxid,
}

impl CommittedLog {
    /// An empty window behind `last`, of at most `keep` transactions.
    pub fn new(keep: usize, last: Zxid) -> CommittedLog {
        CommittedLog { keep: keep.max(1), proposals: VecDeque::new(), last }
    }

    /// One more was applied. Whatever would leave a hole begins the window anew.
    pub fn push(&mut self, proposal: Proposal) {
        let (zxid, last) = (proposal.zxid, self.last);
        if zxid <= last && !self.proposals.is_empty() {
            return;
        }
        let follows = zxid == last.next() || zxid.epoch() > last.epoch();
        if !follows {
            self.proposals.clear();
        }
        self.last = zxid;
        self.proposals.push_back(proposal);
        while self.proposals.len() > self.keep {
            self.proposals.pop_front();
        }
    }

    /// Drops what came after `zxid` and goes on as if it had not: only for [`crate::base::Planted`].
    pub fn forget_after(&mut self, zxid: Zxid) {
        let at = self.proposals.partition_point(|proposal| proposal.zxid <= zxid);
        self.proposals.truncate(at);
    }

    pub fn min(&self) -> Zxid {
        self.proposals.front().map_or(self.last, |first| first.zxid)
    }

    pub fn max(&self) -> Zxid {
        self.last
    }

    /// The newest zxid not above `zxid` that the window knows of.
    pub fn at_or_before(&self, zxid: Zxid) -> Option<Zxid> {
        let at = self.proposals.partition_point(|proposal| proposal.zxid <= zxid);
        match at {
            0 if self.last <= zxid => Some(self.last),
            0 => None,
            at => Some(self.proposals[at - 1].zxid),
        }
    }

    /// Everything in the window after `zxid`.
    pub fn after(&self, zxid: Zxid) -> impl Iterator<Item = &Proposal> {
        let at = self.proposals.partition_point(|proposal| proposal.zxid <= zxid);
        self.proposals.range(at..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(zxids: &[i64]) -> CommittedLog {
        let mut log = CommittedLog::new(3, Zxid(0));
        for zxid in zxids {
            log.push(Proposal::alone(Zxid(*zxid), vec![*zxid as u8]));
        }
        log
    }

    #[test]
    fn keeps_the_newest_without_holes() {
        let window = log(&[1, 2, 3, 4]);
        assert_eq!((window.min(), window.max()), (Zxid(2), Zxid(4)));
        assert_eq!(window.at_or_before(Zxid(9)), Some(Zxid(4)));
        assert_eq!(window.at_or_before(Zxid(1)), None);
        let after: Vec<i64> = window.after(Zxid(2)).map(|proposal| proposal.zxid.0).collect();
        assert_eq!(after, [3, 4]);
        let holed = log(&[1, 2, 5, 6]);
        assert_eq!((holed.min(), holed.max()), (Zxid(5), Zxid(6)));
        let epoch = 1 << 32;
        let over = log(&[2, epoch + 1]);
        assert_eq!((over.min(), over.max()), (Zxid(2), Zxid(epoch + 1)));
        let empty = log(&[]);
        assert_eq!((empty.min(), empty.max()), (Zxid(0), Zxid(0)));
        assert_eq!(empty.at_or_before(Zxid(5)), Some(Zxid(0)));
    }
}
