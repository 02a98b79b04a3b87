//! What every role works with: the database, what waits to be applied, the clients.

use std::sync::Arc;

use super::counts::{LeaderCounts, LoadCounts, Progress, RoleCounts, TransitCounts};
use super::database::{Database, Recovered};
use super::host::{Fatal, Host};
use super::local_sessions::{LocalOptions, LocalSessions};
use super::proposal::Proposal;
use super::queue::{ApplyQueue, Attached, Pending};
use crate::auth::Auth;
use crate::base::{MonoMs, Planted, SessionId, Sid, WallMs, Zxid, planted};
use crate::pipeline::prep::{PrepCounts, PrepOptions};
use crate::pipeline::{ConnToken, Item};
use crate::session::{SessionIds, password};
use crate::tree::{OwnerOptions, path};
use crate::zab::Quorum;
use crate::zab::liveness::Limits;

/// Settings of one server.
#[derive(Clone, Debug)]
pub struct PeerOptions {
    pub sid: Sid,
    /// The voters and their rule.
    pub quorum: Quorum,
    /// No peers and no election: the server is its own quorum.
    pub standalone: bool,
    /// This server has no vote.
    pub observer: bool,
    pub limits: Limits,
    /// The version of the committed configuration, and its text as NEWLEADER carries it.
    pub config_version: i64,
    pub config_text: Vec<u8>,
    /// Milliseconds between sweeps for empty containers and TTL nodes.
    pub container_check_ms: i64,
    /// At least this many milliseconds between two such deletions.
    pub container_delete_gap_ms: i64,
    /// Containers that never had a child go after this many milliseconds; 0 keeps them.
    pub container_never_used_ms: i64,
    /// Milliseconds by which a session's touch may reach this core late.
    pub touch_slack_ms: i64,
    /// Transactions prepared and not applied before no more requests are taken.
    pub outstanding_txns_max: usize,
    pub prep: PrepOptions,
    pub owners: OwnerOptions,
    /// `zookeeper.forceSnapshotSync`.
    pub force_snapshot_sync: bool,
    /// The log on disk serves learners that lag (`zookeeper.snapshotSizeFactor` is not negative).
    pub log_sync: bool,
    /// Longest data of a packet, bytes.
    pub packet_bytes_max: usize,
    /// `zookeeper.observer.syncEnabled`: observers log what they hear.
    pub observer_logs: bool,
    /// How long a learner waits between two tries to reach its leader, milliseconds.
    pub leader_connect_delay_ms: i64,
    /// `zookeeper.leaderServes`.
    pub leader_serves: bool,
    pub local: LocalOptions,
    pub sync_limits: SyncLimits,
}

/// Learners that a leader brings up to date at a time. Followers count and are never turned away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SyncLimits {
    /// With the whole tree: `zookeeper.leader.maxConcurrentSnapSyncs`.
    pub snaps_max: usize,
    /// With a part of the log: `zookeeper.leader.maxConcurrentDiffSyncs`.
    pub diffs_max: usize,
}

impl Default for SyncLimits {
    /// Apache's.
    fn default() -> SyncLimits {
        SyncLimits { snaps_max: 10, diffs_max: 100 }
    }
}

/// The numbers in the two epoch files; `accepted >= current`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Epochs {
    pub accepted: i64,
    pub current: i64,
}

/// Owned by the Zab core; lent to the role that this server has at the moment.
#[derive(Debug)]
pub(super) struct Core {
    pub options: PeerOptions,
    pub db: Database,
    pub queue: ApplyQueue,
    pub attached: Attached,
    pub local: LocalSessions,
    pub session_ids: SessionIds,
    pub auth: Arc<Auth>,
    pub epochs: Epochs,
    pub now: MonoMs,
    pub wall: WallMs,
    /// Everything up to here is durable in the own log.
    pub durable: Zxid,
    /// The last transaction given to the log. `durable <= appended`.
    pub appended: Zxid,
    pub stopping: bool,
    /// The log's disk is nearly full.
    pub space_low: bool,
    pub sessions_expired: u64,
    /// Of leaderships that are over, and of this one up to when it was asked last.
    pub prep_counts: PrepCounts,
    pub leader_counts: LeaderCounts,
    pub role_counts: RoleCounts,
    pub transit: TransitCounts,
    pub progress: Progress,
    pub loads: LoadCounts,
    /// When this server last began to look for a leader, found one, and ceased to serve.
    pub looking_since: MonoMs,
    pub role_since: MonoMs,
    pub unavailable_since: MonoMs,
    /// Nothing waits in the client cores' messages.
    pub heard_everything: bool,
    /// A voter that could not be led has accepted this epoch: the next one that this server leads lies above it.
    pub epoch_floor: i64,
}

impl Core {
    pub fn me(&self) -> Sid {
        self.options.sid
    }

    /// Another history takes the place of this one; all of it is on disk.
    pub fn adopt(&mut self, recovered: Recovered) {
        self.loads.merge(&recovered.loads);
        self.db.replace(recovered);
        let last = self.db.last();
        self.queue.reset(last);
        self.durable = last;
        self.appended = last;
    }

    /// Clients' writes are refused while what is left of the disk is kept for the ends of sessions. A member of an
    /// ensemble cannot refuse what others have agreed on: it goes on, and if its disk fills leaves the work to them.
    pub fn refuses_writes(&self) -> bool {
        self.space_low && self.options.standalone
    }

    pub fn close_conn(&mut self, conn: ConnToken) {
        self.queue.push(Pending::Item(Item::Close { conn }));
    }

    /// Up to here this server may say that it has what it was sent.
    pub fn acknowledgeable(&self) -> Zxid {
        if planted(Planted::AckBeforeFlush) { self.appended } else { self.durable }
    }

    /// A transaction goes to the log.
    pub fn append(&mut self, host: &mut dyn Host, zxid: Zxid, txn: &[u8]) -> Result<(), Fatal> {
        host.append(zxid, txn)?;
        self.appended = self.appended.max(zxid);
        Ok(())
    }

    /// A proposal that is not applied, or was a short while ago.
    pub fn recent_proposal(&self, zxid: Zxid) -> Option<&Proposal> {
        let before = Zxid(zxid.0 - 1);
        let applied = self.db.committed.after(before).next().filter(|txn| txn.zxid == zxid);
        applied.or_else(|| self.queue.proposals_between(before, zxid).next())
    }

    pub fn apply_ready(&mut self, host: &mut dyn Host) -> Result<(), Fatal> {
        let Core { queue, db, attached, .. } = self;
        db.applier.set_now(self.now, self.wall);
        let before = queue.counts.count;
        let applied = queue.apply_ready(self.now, db, attached, host);
        self.progress.applied += queue.counts.count - before;
        applied
    }

    /// The members, as clients may read them in `/zookeeper/config`. Local, not logged, outside the digest.
    pub fn show_config(&mut self) {
        if self.options.standalone {
            return;
        }
        let (text, version) = (&self.options.config_text, Zxid(self.options.config_version));
        let tree = &mut self.db.tree;
        let applied = tree.tree().applied();
        tree.begin();
        // Every tree has the node; a leader's old snapshot may lack it, and then nobody reads it here.
        let _ = tree.set_data(path::CONFIG, Some(text), -1, version, self.wall);
        tree.publish(applied);
    }

    /// Applies everything given to the log, committed or not, for nobody: votes are cast with the state of the log,
    /// or a new leader would be told of less than what a restart brings back (reference: zab 15.2).
    pub fn fast_forward(&mut self, host: &mut dyn Host) -> Result<(), Fatal> {
        self.attached.clear();
        self.queue.forget_waiting();
        if self.appended > self.db.last() && !planted(Planted::UncommittedInSnapshot) {
            host.give_up_snapshot();
        }
        if !planted(Planted::TreeBehindLog) {
            self.apply_appended(host)?;
        }
        let last = self.db.last();
        self.queue.reset(last);
        Ok(())
    }

    /// Applies everything given to the log while no client is served: without events and answers.
    pub fn apply_appended(&mut self, host: &mut dyn Host) -> Result<(), Fatal> {
        self.queue.commit(self.appended, self.now);
        self.apply_unheard(host)
    }

    /// Applies everything committed while no client is served: without events and answers.
    pub fn apply_unheard(&mut self, host: &mut dyn Host) -> Result<(), Fatal> {
        let Core { queue, db, attached, .. } = self;
        db.applier.set_now(self.now, self.wall);
        db.applier.go_quiet();
        queue.apply_all(db, attached, host)?;
        db.applier.go_live();
        Ok(())
    }

    /// A client resumes its session here. `alive`: the session may go on.
    pub fn answer_resume(
        &mut self,
        conn: ConnToken,
        session: SessionId,
        timeout_ms: i32,
        alive: bool,
    ) {
        let item = if alive {
            self.attached.insert(session, conn);
            Item::SessionReady { conn, session, timeout_ms, passwd: password(session) }
        } else {
            tracing::info!(
                "session {session} cannot be resumed: it is gone or the password is wrong"
            );
            Item::SessionRejected { conn }
        };
        self.queue.push(Pending::Item(item));
    }

    /// The session's old connection here is closed before the password is looked at, as the reference does.
    pub fn detach(&mut self, session: SessionId) {
        if let Some(old) = self.attached.remove(&session) {
            self.close_conn(old);
        }
    }
}
