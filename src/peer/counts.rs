//! What this server has counted since its start or since `srst`.

use super::{Peer, Role};
use crate::base::tally::{KeyedTallies, Samples, Sizes, Tally};
use crate::pipeline::prep::PrepCounts;

/// For reports; a copy, about ten KiB. Milliseconds and bytes.
#[derive(Clone, Debug, Default)]
pub struct PeerCounts {
    pub prep: PrepCounts,
    /// From a transaction's making to its applying here.
    pub propagation: Samples,
    /// Bytes written under each top-level node.
    pub written: KeyedTallies,
    pub leader: LeaderCounts,
    pub roles: RoleCounts,
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
}

/// What this server counted while it led others.
#[derive(Clone, Debug, Default)]
pub struct LeaderCounts {
    pub proposals: u64,
    pub commits: u64,
    pub proposal_sizes: Sizes,
    /// From a transaction's making until a quorum had it.
    pub quorum_ack: Samples,
}

impl Peer {
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
        core.queue.applied_count = 0;
        core.sessions_expired = 0;
    }
}
