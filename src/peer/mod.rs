//! One server of an ensemble, whole and pure: votes, leads or learns, prepares, logs, commits, applies.
//!
//! [`Peer`] takes what happens (time, packets, votes, requests, "durable up to here") and calls its [`Host`] for
//! everything that touches the world. No clock, no IO, no waiting. The Zab core's loop runs it on its ring, the
//! simulator in memory. A standalone server is one that leads itself from the start.
//!
//! | file | holds |
//! |---|---|
//! | [`host`] | what the machine asks of the world |
//! | `core` | what every role works with |
//! | `database`, `proposal`, `source` | tree, sessions, shared transaction bytes, snapshots in the making |
//! | `queue` | what is applied in its turn; the order rule, writer's side |
//! | `leader` | leading: discovery, synchronisation, broadcast, requests |
//! | `learner` | following and observing |
//! | `local_sessions` | sessions that only this server knows |
//! | `read_only` | serving readers without a quorum |
//! | `status`, `counts` | what the server tells about itself |
//!
//! A turn: [`Peer::set_time`], inputs, [`Peer::end_turn`]. Between turns `applied <= committed` holds, and everything
//! prepared or received is with the log.

#![forbid(unsafe_code)]

mod core;
mod counts;
pub mod database;
pub mod host;
mod leader;
mod learner;
mod local_sessions;
mod proposal;
mod queue;
mod read_only;
mod source;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::core::{Epochs, PeerOptions, SyncLimits};
pub use counts::{
    AppliedCounts, LeaderCounts, LoadCounts, PeerCounts, Progress, RoleCounts, TransitCounts,
};
pub use database::Recovered;
pub use host::{EpochFile, Fatal, Host, LinkId, ServerState};
pub use local_sessions::LocalOptions;
pub use proposal::Proposal;
pub use source::Source;
pub use status::PeerStatus;

use self::core::Core;
use self::database::Database;
use self::leader::Leader;
use self::learner::Learner;
use self::local_sessions::LocalSessions;
use self::queue::ApplyQueue;
use crate::auth::Auth;
use crate::base::{MonoMs, Sid, WallMs, Zxid};
use crate::pipeline::messages::{Serving, ToShard, ToZab};
use crate::pipeline::{CommitBatch, ConnToken, Item};
use crate::session::SessionIds;
use crate::zab::election::{ElectionEffect, InitialVote, PeerState};
use crate::zab::voting::{Voting, weight_of};

/// Transactions kept in memory for learners, at least (`zookeeper.commitLogCount`).
pub const COMMIT_LOG_COUNT_MIN: usize = 500;

/// Why a role ends.
#[derive(Debug)]
enum Leave {
    /// Back to the election.
    Role(String),
    /// The server must stop.
    Fatal(Fatal),
}

impl Leave {
    fn role(why: String) -> Leave {
        Leave::Role(why)
    }
}

/// How a call of a role went.
type Turn = Result<(), Leave>;

#[derive(Debug)]
enum Role {
    Looking,
    Leading(Box<Leader>),
    Learning(Box<Learner>),
}

/// The server. Owned by the Zab core.
#[derive(Debug)]
pub struct Peer {
    core: Core,
    role: Role,
    election: Option<Voting>,
    /// Client cores serve this tree at the moment.
    serving: bool,
    /// They do so without a quorum, for readers.
    read_only: bool,
    /// From when on they may, if there is no leader by then.
    read_only_at: MonoMs,
    effects: Vec<ElectionEffect>,
    /// What must end the role once the disk has finished.
    leaving: Option<String>,
}

/// What a server starts with.
#[derive(Debug)]
pub struct PeerParts {
    pub recovered: Recovered,
    pub epochs: Epochs,
    pub session_ids: SessionIds,
    pub auth: Arc<Auth>,
    /// `None` on a standalone server.
    pub election: Option<Voting>,
    /// Transactions kept in memory for learners that lag a little.
    pub commit_log_count: usize,
}

impl Peer {
    pub fn new(options: PeerOptions, parts: PeerParts) -> Peer {
        let PeerParts { recovered, epochs, session_ids, auth, election, commit_log_count } = parts;
        let loads = recovered.loads.clone();
        let db = Database::new(recovered, commit_log_count.max(COMMIT_LOG_COUNT_MIN));
        let last = db.last();
        let local = LocalSessions::new(options.local, options.limits.tick_ms);
        Peer {
            core: Core {
                options,
                db,
                local,
                queue: ApplyQueue::new(last),
                attached: Default::default(),
                session_ids,
                auth,
                epochs,
                now: 0,
                wall: 0,
                durable: last,
                appended: last,
                stopping: false,
                space_low: false,
                sessions_expired: 0,
                prep_counts: Default::default(),
                leader_counts: Default::default(),
                role_counts: Default::default(),
                transit: Default::default(),
                progress: Default::default(),
                loads,
                looking_since: 0,
                role_since: 0,
                unavailable_since: 0,
                epoch_floor: 0,
                heard_everything: true,
            },
            role: Role::Looking,
            election,
            serving: false,
            read_only: false,
            read_only_at: MonoMs::MAX,
            effects: Vec::new(),
            leaving: None,
        }
    }

    /// Begins: a standalone server serves at once, a member of an ensemble looks for a leader.
    pub fn start(&mut self, host: &mut dyn Host) -> Result<(), Fatal> {
        if self.core.options.standalone {
            self.role = Role::Leading(Box::new(Leader::standalone(&self.core)));
            self.follow_role(host);
            return Ok(());
        }
        self.core.unavailable_since = self.core.now;
        host.control_shards(ToShard::Suspend);
        self.look(host)
    }

    /// The clocks, once per turn: `now` since the start, `wall` since 1970, both in milliseconds.
    pub fn set_time(&mut self, now: MonoMs, wall: WallMs) {
        self.core.now = now;
        self.core.wall = wall;
    }

    // Inputs.

    /// Everything up to `up_to` is in the log, durably.
    pub fn logged(&mut self, up_to: Zxid) {
        self.core.durable = self.core.durable.max(up_to);
    }

    /// Whether the log's disk is nearly full.
    pub fn set_space_low(&mut self, low: bool) {
        self.core.space_low = low;
    }

    /// Whether another message of a client core may be taken now.
    pub fn takes_messages(&self) -> bool {
        match &self.role {
            Role::Leading(leader) => !leader.is_serving() || leader.takes_requests(&self.core),
            Role::Learning(learner) => learner.has_room(&self.core),
            Role::Looking => true,
        }
    }

    /// A client core says something. Reports are not for this machine.
    pub fn message(&mut self, host: &mut dyn Host, message: ToZab) {
        let core = &mut self.core;
        match (message, &mut self.role) {
            (ToZab::Shutdown, _) => core.stopping = true,
            // Reports and the disk's own word are taken by the loop.
            (ToZab::Report(_) | ToZab::ResetCounts | ToZab::SnapshotAdopted(_), _) => {}
            (message, _) if !self.serving => refuse_message(host, &message),
            (ToZab::Requests(batch), Role::Leading(leader)) => leader.client_requests(core, &batch),
            (ToZab::Requests(batch), Role::Learning(learner)) => {
                learner.client_requests(core, &batch);
            }
            (ToZab::CreateSession { conn, timeout_ms }, Role::Leading(leader)) => {
                leader.create_session(core, conn, timeout_ms);
            }
            (ToZab::CreateSession { conn, timeout_ms }, Role::Learning(learner)) => {
                learner.create_session(core, conn, timeout_ms);
            }
            (ToZab::ResumeSession { conn, session, passwd, timeout_ms }, Role::Leading(leader)) => {
                leader.resume_session(core, conn, session, &passwd, timeout_ms)
            }
            (
                ToZab::ResumeSession { conn, session, passwd, timeout_ms },
                Role::Learning(learner),
            ) => learner.resume_session(core, conn, session, &passwd, timeout_ms),
            (ToZab::Touches(touches), Role::Leading(_)) => {
                core.db.sessions.apply_touches(core.local.touch(touches));
            }
            (ToZab::Touches(touches), Role::Learning(learner)) => {
                learner.touch(core.local.touch(touches));
            }
            (message, Role::Looking) => read_only::message(core, message),
        }
    }

    /// An election's message from another server.
    pub fn vote(&mut self, host: &mut dyn Host, from: Sid, body: &[u8]) -> Result<(), Fatal> {
        let last = self.newest();
        if let Some(election) = &mut self.election {
            election.receive(self.core.now, from, body, last, &mut self.effects);
        }
        self.run_election(host)
    }

    /// A datagram of an election from whomever; answers what to send back to where it came from.
    pub fn datagram(
        &mut self,
        host: &mut dyn Host,
        bytes: &[u8],
    ) -> Result<Option<Vec<u8>>, Fatal> {
        let (now, last) = (self.core.now, self.newest());
        let election = self.election.as_mut();
        let answer = election.and_then(|it| it.datagram(now, bytes, last, &mut self.effects));
        self.run_election(host)?;
        Ok(answer)
    }

    /// What this server names as its newest transaction in votes: the last that it has proposed, or has in its tree.
    fn newest(&self) -> Zxid {
        let last = match &self.role {
            Role::Leading(leader) => leader.proposed().max(self.core.db.last()),
            _ => self.core.db.last(),
        };
        weight_of(last, self.core.epochs.current)
    }

    /// A server could not be dialled for a vote.
    pub fn unreachable(&mut self, host: &mut dyn Host, sid: Sid) -> Result<(), Fatal> {
        if let Some(election) = &mut self.election {
            election.unreachable(self.core.now, sid, &mut self.effects);
        }
        self.run_election(host)
    }

    /// A connection on the quorum port, ours or a learner's, is established.
    pub fn link_up(&mut self, host: &mut dyn Host, link: LinkId) {
        match &mut self.role {
            Role::Leading(leader) if !self.core.options.standalone => {
                leader.link_up(&self.core, host, link);
            }
            Role::Learning(learner) => learner.link_up(&self.core, host, link),
            _ => host.close(link),
        }
    }

    /// It is gone, or never came up.
    pub fn link_down(&mut self, host: &mut dyn Host, link: LinkId, why: &str) -> Result<(), Fatal> {
        let turn = match &mut self.role {
            Role::Leading(leader) => {
                leader.link_down(link, why);
                Ok(())
            }
            Role::Learning(learner) => learner.link_down(&self.core, link, why),
            Role::Looking => Ok(()),
        };
        self.after(host, turn)
    }

    /// Bytes that a link has received and that were not taken before. Answers how many are taken; the rest is to be
    /// offered again with more behind it, and in every turn.
    pub fn link_input(
        &mut self,
        host: &mut dyn Host,
        link: LinkId,
        bytes: &[u8],
    ) -> Result<usize, Fatal> {
        let taken = match &mut self.role {
            Role::Leading(leader) => {
                return leader.link_input(&mut self.core, host, link, bytes);
            }
            Role::Learning(learner) if learner.link() == link => {
                learner.link_input(&mut self.core, host, bytes)
            }
            _ => return Ok(bytes.len()),
        };
        match taken {
            Ok(taken) => {
                // Before anything of this tree is said to the client cores they must have it.
                self.follow_role(host);
                Ok(taken)
            }
            Err(leave) => self.after(host, Err(leave)).map(|()| bytes.len()),
        }
    }

    /// What [`Host::adopt_received_snapshot`] was asked for is done.
    pub fn snapshot_adopted(&mut self, host: &mut dyn Host) -> Result<(), Fatal> {
        let turn = match &mut self.role {
            Role::Learning(learner) => learner.snapshot_adopted(&mut self.core, host),
            _ => Ok(()),
        };
        self.after(host, turn)?;
        match self.leaving.take() {
            Some(why) => self.after(host, Err(Leave::Role(why))),
            None => Ok(()),
        }
    }

    /// Whether client cores' messages were taken to the last: a touch may wait in what was not.
    pub fn set_heard_everything(&mut self, everything: bool) {
        self.core.heard_everything = everything;
    }

    /// Ends a turn; everything that it led to is with the host when this returns.
    pub fn end_turn(&mut self, host: &mut dyn Host) -> Result<(), Fatal> {
        self.propose(host)?;
        self.conclude(host)
    }

    /// The first half of a turn's end: what the clock asks for is done, and everything prepared is with log and learners.
    pub fn propose(&mut self, host: &mut dyn Host) -> Result<(), Fatal> {
        self.tick(host)?;
        self.follow_role(host);
        match &mut self.role {
            Role::Leading(leader) => leader.propose(&mut self.core, host),
            Role::Learning(_) | Role::Looking => Ok(()),
        }
    }

    /// The second half: what is committed is told and applied.
    pub fn conclude(&mut self, host: &mut dyn Host) -> Result<(), Fatal> {
        let core = &mut self.core;
        let turn = match &mut self.role {
            Role::Leading(leader) => {
                let turn = leader.end_turn(core, host);
                let turn = turn.and_then(|()| Ok(leader.own_history_durable(core, host)?));
                let used_up = leader.is_used_up(core) && core.queue.is_empty();
                match turn {
                    Ok(()) if used_up => Err(Leave::role("the epoch has no zxids left".to_owned())),
                    turn => turn,
                }
            }
            Role::Learning(learner) => learner.end_turn(core, host),
            Role::Looking => Ok(core.apply_ready(host)?),
        };
        self.after(host, turn)?;
        self.follow_role(host);
        if host.snapshot_due() {
            host.write_snapshot(self.core.db.source());
        }
        Ok(())
    }

    fn tick(&mut self, host: &mut dyn Host) -> Result<(), Fatal> {
        let turn = match &mut self.role {
            Role::Leading(leader) => leader.tick(&mut self.core, host),
            Role::Learning(learner) => learner.tick(&mut self.core, host),
            Role::Looking => Ok(()),
        };
        self.after(host, turn)?;
        if let Some(election) = &mut self.election {
            election.tick(self.core.now, host.votes_delivered(), &mut self.effects);
        }
        self.run_election(host)?;
        if self.is_looking() && self.core.now >= self.read_only_at {
            self.read_only_at = MonoMs::MAX;
            self.read_only = true;
            tracing::warn!("no quorum: serving clients that read only, until there is one");
            self.follow_role(host);
        }
        if self.serving {
            self.core.expire_local();
        }
        Ok(())
    }

    /// When something is due by the clock, in milliseconds as [`Peer::set_time`] is given them.
    pub fn next_due(&self) -> MonoMs {
        let role = match &self.role {
            Role::Leading(leader) => leader.next_due(&self.core),
            Role::Learning(learner) => learner.next_due(),
            Role::Looking => self.read_only_at,
        };
        let election = self.election.as_ref().and_then(Voting::next_due);
        let slack = self.core.options.touch_slack_ms;
        let local = self.core.local.next_due().map(|due| due + slack);
        role.min(election.unwrap_or(MonoMs::MAX)).min(local.unwrap_or(MonoMs::MAX))
    }

    /// Committed work waits for client cores to make room.
    pub fn is_held_up(&self) -> bool {
        self.core.queue.next_is_ready()
    }

    /// Whether input of this link was left for the disk's sake, and is to be offered again without more of it.
    pub fn holds_back(&self, link: LinkId) -> bool {
        match &self.role {
            Role::Learning(learner) => learner.link() == link && learner.is_truncating(),
            _ => false,
        }
    }

    /// Requests are validated here.
    pub fn is_leading(&self) -> bool {
        matches!(self.role, Role::Leading(_))
    }

    pub fn is_looking(&self) -> bool {
        matches!(self.role, Role::Looking)
    }

    /// Nothing is prepared, under way or waiting.
    pub fn is_idle(&self) -> bool {
        self.core.queue.is_empty()
    }

    pub fn is_stopping(&self) -> bool {
        self.core.stopping
    }

    // Roles.

    fn look(&mut self, host: &mut dyn Host) -> Result<(), Fatal> {
        self.core.role_counts.looking += 1;
        self.core.looking_since = self.core.now;
        let init = InitialVote { zxid: self.core.db.last(), peer_epoch: self.core.epochs.current };
        let delay_ms = self.core.options.local.read_only_after_ms;
        self.read_only_at = delay_ms.map_or(MonoMs::MAX, |ms| self.core.now + ms);
        if let Some(election) = &mut self.election {
            election.look(self.core.now, init, &mut self.effects);
        }
        self.follow_role(host);
        self.run_election(host)
    }

    fn run_election(&mut self, host: &mut dyn Host) -> Result<(), Fatal> {
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                ElectionEffect::Send { to, bytes } => host.send_vote(to, bytes),
                ElectionEffect::ConnectAll => host.connect_all_voters(),
                ElectionEffect::Elected { state, vote } => {
                    self.take_role(host, state, vote.leader)?;
                }
            }
        }
        Ok(())
    }

    fn take_role(
        &mut self,
        host: &mut dyn Host,
        state: PeerState,
        leader: Sid,
    ) -> Result<(), Fatal> {
        if std::mem::take(&mut self.read_only) {
            // Its readers come back once there is a leader. It was not available all the time.
            let since = self.core.unavailable_since;
            self.suspend(host);
            self.core.unavailable_since = since;
            self.core.queue.forget_waiting();
        }
        self.role = match state {
            PeerState::Leading => Role::Leading(Box::new(Leader::elected(&mut self.core, host)?)),
            PeerState::Following | PeerState::Observing => {
                Role::Learning(Box::new(Learner::new(&self.core, host, leader)))
            }
            PeerState::Looking => Role::Looking,
        };
        let core = &mut self.core;
        core.role_since = core.now;
        core.role_counts.election.add(core.now - core.looking_since);
        tracing::info!("{state:?}, the leader is {}", leader.0);
        self.follow_role(host);
        Ok(())
    }

    /// Carries out what a role's call came to.
    fn after(&mut self, host: &mut dyn Host, turn: Turn) -> Result<(), Fatal> {
        let why = match turn {
            Ok(()) => return Ok(()),
            Err(Leave::Fatal(fatal)) => return Err(fatal),
            Err(Leave::Role(why)) => why,
        };
        if let Role::Learning(learner) = &self.role
            && learner.is_adopting()
        {
            self.leaving = Some(why);
            return Ok(());
        }
        tracing::warn!("looking for a leader: {why}");
        self.suspend(host);
        match std::mem::replace(&mut self.role, Role::Looking) {
            Role::Leading(mut leader) => leader.leave(&mut self.core, host)?,
            Role::Learning(mut learner) => learner.leave(&mut self.core, host),
            Role::Looking => {}
        }
        self.core.fast_forward(host)?;
        self.look(host)
    }

    /// Nobody is served from here on: every client's connection is closed.
    fn suspend(&mut self, host: &mut dyn Host) {
        if std::mem::replace(&mut self.serving, false) {
            self.core.unavailable_since = self.core.now;
            host.control_shards(ToShard::Suspend);
            host.show_state(ServerState::Looking, self.core.db.tree.tree());
            self.core.attached.clear();
            self.core.local.clear();
        }
    }

    /// Client cores and operators are told what this server is now.
    fn follow_role(&mut self, host: &mut dyn Host) {
        let (state, serves, epoch) = match &self.role {
            Role::Looking if self.read_only => (ServerState::ReadOnly, true, None),
            Role::Looking => (ServerState::Looking, false, None),
            Role::Leading(_) if self.core.options.standalone => {
                (ServerState::Standalone, true, None)
            }
            Role::Leading(leader) => {
                (ServerState::Leading, leader.is_serving(), Some(leader.epoch()))
            }
            Role::Learning(learner) => {
                let observing = self.core.options.observer;
                let state = if observing { ServerState::Observing } else { ServerState::Following };
                (state, learner.is_serving(), Some(learner.epoch()))
            }
        };
        if serves == self.serving {
            return;
        }
        if !serves {
            return self.suspend(host);
        }
        if let (Some(election), Some(epoch)) = (&mut self.election, epoch) {
            election.synchronised(epoch);
        }
        self.serving = true;
        self.count_service(state);
        self.core.show_config();
        let tree = self.core.db.tree.tree();
        host.show_state(state, tree);
        if state == ServerState::Leading && !self.core.options.leader_serves {
            return;
        }
        let forward_sync = matches!(self.role, Role::Learning(_));
        let serving = Serving { tree: tree.clone(), forward_sync, read_only: self.read_only };
        host.control_shards(ToShard::Serve(serving));
    }
}

impl Peer {
    /// A member of an ensemble serves from now on.
    fn count_service(&mut self, state: ServerState) {
        let core = &mut self.core;
        if core.options.standalone || state == ServerState::ReadOnly {
            return;
        }
        let unavailable = core.now - core.unavailable_since;
        core.role_counts.unavailable.add(unavailable);
        match state {
            ServerState::Leading => core.role_counts.leader_unavailable.add(unavailable),
            _ => core.role_counts.sync.add(core.now - core.role_since),
        }
    }
}

/// Nobody is served: whoever asks must try another server.
fn refuse_message(host: &mut dyn Host, message: &ToZab) {
    let mut items = Vec::new();
    match message {
        ToZab::CreateSession { conn, .. } | ToZab::ResumeSession { conn, .. } => {
            items.push(Item::Close { conn: *conn });
        }
        ToZab::Requests(batch) => items.extend(batch.requests.iter().map(|request| {
            let conn = ConnToken { shard: batch.shard, conn: request.conn };
            Item::Close { conn }
        })),
        _ => {}
    }
    // A core without room is being suspended, which closes all of its connections.
    if !items.is_empty() && host.shards_have_room() {
        // Below every zxid: it waits for no tree.
        let batch = CommitBatch { zxid: Zxid(i64::MIN), bytes: Vec::new(), items };
        host.to_shards(&Arc::new(batch));
        host.wake_shards();
    }
}
