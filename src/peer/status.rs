//! What a server tells about itself.

use super::{Peer, Role};
use crate::base::{SessionId, Sid, Zxid};

/// For reports; taken between two turns.
#[derive(Clone, Debug, Default)]
pub struct PeerStatus {
    pub last_zxid: Zxid,
    pub sessions: usize,
    pub digests: Vec<(Zxid, u64)>,
    pub digest_mismatches: u64,
    /// Transactions applied since start.
    pub applied: u64,
    pub sessions_expired: u64,
    /// Prepared or received, not applied.
    pub outstanding: usize,
    /// Followers and observers that are up to date, on a leader.
    pub synced_followers: usize,
    pub synced_observers: usize,
    pub learners: usize,
    /// Syncs of learners that wait for a commit.
    pub pending_syncs: usize,
    /// On a learner and without a quorum: every session with its timeout in milliseconds; asked for by `dump` alone.
    pub session_timeouts: Vec<(SessionId, i32)>,
    /// Sessions that only this server knows; `None` where there are none by configuration.
    pub local_sessions: Option<usize>,
    pub leader: Option<Sid>,
    pub epoch: i64,
}

impl Peer {
    /// `lists`: with what is dear on a large server.
    pub fn status(&self, lists: bool) -> PeerStatus {
        let core = &self.core;
        let mut status = PeerStatus {
            last_zxid: core.db.last(),
            sessions: core.db.sessions.len(),
            digests: core.db.digests(),
            digest_mismatches: core.db.applier.digest_mismatches,
            applied: core.queue.applied_count,
            sessions_expired: core.sessions_expired,
            outstanding: core.queue.len(),
            epoch: core.epochs.current,
            local_sessions: core.local.is_enabled().then(|| core.local.tracker().len()),
            ..PeerStatus::default()
        };
        if lists && !matches!(self.role, Role::Leading(_)) {
            status.session_timeouts = core.db.sessions.iter().collect();
            status.session_timeouts.sort_unstable();
        }
        match &self.role {
            Role::Leading(leader) => {
                let (followers, observers) = leader.synced_learners();
                status.synced_followers = followers;
                status.synced_observers = observers;
                status.learners = leader.learner_count();
                status.pending_syncs = leader.pending_syncs();
                status.leader = Some(core.me());
            }
            Role::Learning(learner) => {
                status.leader = Some(learner.leader());
            }
            Role::Looking => {}
        }
        status
    }

    /// Sessions by the time at which they end, for `dump`.
    pub fn session_buckets(&self) -> Vec<crate::session::SessionBucket> {
        self.core.db.sessions.dump()
    }

    /// The same of the sessions that only this server knows.
    pub fn local_session_buckets(&self) -> Vec<crate::session::SessionBucket> {
        self.core.local.tracker().dump()
    }

    /// The state of the tree, for tests that compare servers.
    pub fn tree(&self) -> &crate::tree::TreeWriter {
        &self.core.db.tree
    }

    pub fn sessions(&self) -> &crate::session::SessionTracker {
        &self.core.db.sessions
    }
}
