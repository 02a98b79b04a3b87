//! Mistakes made on purpose, for the simulator to catch: it must fail on each of them, or its silence about the
//! rest proves nothing.
//!
//! Those with a number are faults that Apache ZooKeeper once had in bringing learners up to date (reference: zab
//! 18), made in the same place of this code. [`planted`] is `false` at compile time in builds without debug
//! assertions, and nothing of them is left there.

/// A mistake that a test may switch on for its own thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {
    /// A proposal is acknowledged, by follower and leader, before it is flushed.
    AckBeforeFlush,
    /// A snapshot that is being written while the role ends takes in what is logged and not committed, and is kept.
    UncommittedInSnapshot,
    /// A leader turns a voter away for ever that has accepted a later epoch than the leader's.
    OvertakenLeaderStays,
    /// A learner serves from a received tree before everything committed is applied to it again.
    ServesAhead,
    /// ZOOKEEPER-2845: what is logged and not applied is forgotten when a role ends. Votes and ACKEPOCH then tell of
    /// less than a restart brings back.
    TreeBehindLog,
    /// ZOOKEEPER-3642: a leader goes away in the middle of a SNAP, and the tree it has sent stays in memory, over a
    /// disk that knows nothing of it.
    PartialSnapKept,
    /// ZOOKEEPER-3911: NEWLEADER is acknowledged without logging the history before it; that is done after UPTODATE.
    LoggedAfterUpToDate,
    /// ZOOKEEPER-4394: outstanding proposals come before NEWLEADER, are logged there and leave the list in which
    /// their COMMITs look for them.
    EmptiedProposalList,
    /// ZOOKEEPER-4643: the current epoch is written before the history that it stands for.
    EpochBeforeHistory,
    /// ZOOKEEPER-4646: NEWLEADER is acknowledged before the history is flushed; the epoch is written after that.
    NewLeaderAckBeforeFlush,
    /// ZOOKEEPER-4685: proposals of the history are acknowledged before NEWLEADER is, which the leader takes for the
    /// end of the exchange without counting it.
    ProposalAckBeforeNewLeaderAck,
    /// ZOOKEEPER-4785: the epoch is written and NEWLEADER acknowledged, both before the history is flushed.
    EpochAndAckBeforeFlush,
    /// ZOOKEEPER-4925: what was applied while synchronising is missing in the window that serves learners later.
    HoleInCommittedLog,
}

#[cfg(debug_assertions)]
mod switch {
    use super::Planted;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Planted>> = const { Cell::new(None) };
    }

    /// Every server that this thread runs makes this mistake from now on, or none.
    pub fn plant(mistake: Option<Planted>) {
        PLANTED.set(mistake);
    }

    /// Whether this mistake is to be made.
    pub fn planted(mistake: Planted) -> bool {
        PLANTED.get() == Some(mistake)
    }
}

#[cfg(debug_assertions)]
pub use switch::{plant, planted};

/// Whether this mistake is to be made: never, in a build for use.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn planted(_mistake: Planted) -> bool {
    false
}
