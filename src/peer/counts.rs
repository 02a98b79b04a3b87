//! What this server has counted since its start or since `srst`.

use std::collections::BTreeMap;

use super::{Peer, Role};
use crate::base::Sid;
use crate::base::tally::{KeyedTallies, Samples, Sizes, Tally};
use crate::pipeline::prep::PrepCounts;

/// For reports; a copy, about thirty KiB, and five more for each server that acknowledges. Milliseconds and bytes.
#[derive(Clone, Debug, Default)]
pub struct PeerCounts {
    pub prep: PrepCounts,
    /// From a transaction's making to its applying here.
    pub propagation: Samples,
    /// Bytes written under each top-level node.
    pub written: KeyedTallies,
    pub leader: LeaderCounts,
    pub roles: RoleCounts,
    pub transit: TransitCounts,
    pub applied: AppliedCounts,
    pub loads: LoadCounts,
}

/// A transaction's way to this server, as a member of an ensemble: since its making, when its proposal came, when its
/// acknowledgement left (a leader's own: when its log had it), and when its commit came. By two servers' wall clocks.
#[derive(Clone, Debug, Default)]
pub struct TransitCounts {
    pub proposed: Samples,
    pub acknowledged: Samples,
    pub committed: Samples,
}

/// Committed transactions on their way into the tree.
#[derive(Clone, Debug, Default)]
pub struct AppliedCounts {
    /// Those that were applied while clients are served.
    pub count: u64,
    /// Committed and not applied when a run began, and taken by it. One for each run.
    pub queue_size: Tally,
    pub run_size: Tally,
    /// Milliseconds from the word that a transaction is committed to its run: those that a client of this server
    /// waits for, and the others. More than 0 where client cores are behind.
    pub local_ms: Samples,
    pub other_ms: Samples,
}

/// What was done since the start, whatever `srst` has set back: whoever runs the machine looks at the clock around its
/// calls, and here at what they came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Requests made transactions of, or refused: this server's clients', learners', and its own.
    pub prepared: u64,
    /// Those of them that end a session.
    pub closings: u64,
    /// Transactions given to log and learners.
    pub proposed: u64,
    /// Transactions applied.
    pub applied: u64,
}

/// What was read from disk, at the start and wherever the history was cut.
#[derive(Clone, Debug, Default)]
pub struct LoadCounts {
    /// Milliseconds of all of it, of the snapshot and of the log; transactions of the log, if it had any.
    pub all_ms: Tally,
    pub snapshot_ms: Tally,
    pub txns_ms: Tally,
    pub txns: Tally,
}

impl LoadCounts {
    pub fn merge(&mut self, other: &LoadCounts) {
        self.all_ms.merge(&other.all_ms);
        self.snapshot_ms.merge(&other.snapshot_ms);
        self.txns_ms.merge(&other.txns_ms);
        self.txns.merge(&other.txns);
    }
}

/// How this server fared among others. Milliseconds.
#[derive(Clone, Debug, Default)]
pub struct RoleCounts {
    /// Times it began to look for a leader, and how long each search took.
    pub looking: u64,
    pub election: Tally,
    /// From the end of a search until it was up to date with its leader.
    pub sync: Tally,
    /// From the end of serving, or the start, until it served again; and what of that ended in leading.
    pub unavailable: Tally,
    pub leader_unavailable: Tally,
    pub proposals_received: u64,
    pub commits_received: u64,
    /// Learners brought up to date by what they lacked, and by the whole tree.
    pub diffs: u64,
    pub snaps: u64,
    /// Learners being brought up to date in that way, each time one begins or ends.
    pub diffs_under_way: Tally,
    pub snaps_under_way: Tally,
    /// Sessions that learners asked about.
    pub revalidations: u64,
}

/// What this server counted while it led others.
#[derive(Clone, Debug, Default)]
pub struct LeaderCounts {
    pub proposals: u64,
    pub commits: u64,
    pub proposal_sizes: Sizes,
    /// From a transaction's making until a quorum had it.
    pub quorum_ack: Samples,
    /// From the making of a transaction that a server acknowledged to that acknowledgement, which may speak for those
    /// before it too. Late ones count as well: a slow follower is seen here.
    pub acks: BTreeMap<Sid, Samples>,
}

impl Peer {
    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.core.progress
    }

    /// Everything counted so far.
    pub fn counts(&mut self) -> PeerCounts {
        let core = &mut self.core;
        if let Role::Leading(leader) = &mut self.role {
            core.prep_counts.merge(&leader.take_prep_counts());
        }
        PeerCounts {
            prep: core.prep_counts.clone(),
            propagation: core.db.applier.propagation.clone(),
            written: core.db.applier.written.clone(),
            leader: core.leader_counts.clone(),
            roles: core.role_counts.clone(),
            transit: core.transit.clone(),
            applied: core.queue.counts.clone(),
            loads: core.loads.clone(),
        }
    }

    /// `srst`: everything counted begins anew, what [`Peer::status`] counts included.
    pub fn reset_counts(&mut self) {
        let _ = self.counts();
        let core = &mut self.core;
        core.prep_counts = PrepCounts::default();
        core.leader_counts = LeaderCounts::default();
        core.role_counts = RoleCounts::default();
        core.db.applier.reset_counts();
        core.transit = TransitCounts::default();
        core.loads = LoadCounts::default();
        core.queue.counts = AppliedCounts::default();
        core.queue.applied_count = 0;
        core.sessions_expired = 0;
    }
}
