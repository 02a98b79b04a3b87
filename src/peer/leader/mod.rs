//! Leading: from the first FOLLOWERINFO to the last COMMIT. A standalone server leads itself and begins at the end.
//!
//! ```text
//! Discovery ──quorum of FOLLOWERINFO──► EpochAcks ──quorum of ACKEPOCH──► Synchronising
//!     ──quorum of ACK(NEWLEADER)──► Broadcasting
//! ```
//!
//! Watermarks: `applied <= committed <= logged by a quorum <= proposed`. A learner forwards what it gets in the order
//! of its link: sync data, NEWLEADER, what was outstanding then, everything proposed since.

mod closed;
mod handler;
mod learners;
mod requests;
mod sync;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use self::closed::ClosedSessions;
use self::handler::LearnerHandler;
use super::core::Core;
use super::host::{EpochFile, Fatal, Host, LinkId};
use super::proposal::Proposal;
use super::queue::{Pending, Waiting};
use super::{Leave, Turn};
use crate::base::{MonoMs, Sid, Zxid};
use crate::pipeline::Prep;
use crate::pipeline::prep::PrepCounts;
use crate::wire::quorum_packet::{PacketType, QuorumPacket};
use crate::zab::Leading;
use crate::zab::discovery::{EpochAcks, EpochAgreement, Summary};

/// The last counter of an epoch that is given out: the next would flow over into the epoch (reference: zab 15.1).
const COUNTER_MAX: u32 = 0xffff_fffe;

/// How far a leadership has come.
#[derive(Debug)]
enum Phase {
    Discovery(EpochAgreement),
    EpochAcks(EpochAcks),
    Synchronising { acked: BTreeSet<Sid> },
    Broadcasting,
}

/// A transaction whose bytes still lie in the turn's own chunk.
#[derive(Debug)]
struct Fresh {
    /// Its place in the queue.
    at: usize,
    zxid: Zxid,
    start: usize,
    end: usize,
}

/// A sync that waits for what was proposed before it.
#[derive(Debug)]
struct PendingSync {
    behind: Zxid,
    link: LinkId,
}

/// The leader of one epoch. Lives on the Zab core for as long as it leads.
#[derive(Debug)]
pub(super) struct Leader {
    phase: Phase,
    epoch: i64,
    leading: Leading,
    prep: Prep,
    /// PROPOSAL packets made in this turn, ready to be sent as they are. In each lies a transaction.
    chunk: Vec<u8>,
    fresh: Vec<Fresh>,
    learners: BTreeMap<LinkId, LearnerHandler>,
    syncs: VecDeque<PendingSync>,
    next_ping: MonoMs,
    next_quorum_check: MonoMs,
    /// By when the present phase must be over.
    phase_deadline: MonoMs,
    reap: VecDeque<Box<[u8]>>,
    next_sweep: MonoMs,
    next_reap: MonoMs,
    /// Commits up to here were told to the learners.
    told: Zxid,
    /// Proposals up to here are in the own log.
    logged_up_to: Zxid,
    unknown_sids: i64,
    /// A voter has accepted this epoch, of a leader that came to nothing, and can follow none before it.
    overtaken_by: Option<i64>,
    /// With local sessions: global ones whose end was proposed.
    closed: ClosedSessions,
}

impl Leader {
    /// A server on its own: everything on its disk is decided.
    pub fn standalone(core: &Core) -> Leader {
        let last = core.db.last();
        let mut leader = Leader::idle(core, last, Phase::Broadcasting);
        leader.epoch = last.epoch();
        leader.phase_deadline = MonoMs::MAX;
        leader
    }

    /// Elected: hears its learners before anything else.
    pub fn elected(core: &mut Core, host: &mut dyn Host) -> Result<Leader, Fatal> {
        host.accept_learners(true);
        let agreement = EpochAgreement::new(core.me(), core.options.quorum.clone());
        let mut leader = Leader::idle(core, core.db.last(), Phase::Discovery(agreement));
        let accepted = core.epochs.accepted.max(core.epoch_floor);
        leader.hear_epoch(core, host, core.me(), accepted)?;
        Ok(leader)
    }

    fn idle(core: &Core, last: Zxid, phase: Phase) -> Leader {
        let options = &core.options;
        Leader {
            phase,
            epoch: -1,
            leading: Leading::new(options.quorum.clone(), last),
            prep: Prep::new(options.prep.clone(), last, core.db.tree.digest()),
            chunk: Vec::new(),
            fresh: Vec::new(),
            learners: BTreeMap::new(),
            syncs: VecDeque::new(),
            next_ping: 0,
            next_quorum_check: core.now + options.limits.tick_ms,
            phase_deadline: core.now + options.limits.init_ms(),
            reap: VecDeque::new(),
            next_sweep: core.now + options.container_check_ms,
            next_reap: 0,
            told: last,
            logged_up_to: last,
            unknown_sids: 0,
            overtaken_by: None,
            closed: ClosedSessions::default(),
        }
    }

    pub fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Broadcasting)
    }

    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// The last transaction proposed.
    pub fn proposed(&self) -> Zxid {
        self.leading.proposed()
    }

    /// Followers and observers that are up to date.
    pub fn synced_learners(&self) -> (usize, usize) {
        let synced = self.learners.values().filter(|learner| learner.is_active());
        let observers = synced.clone().filter(|learner| learner.observer).count();
        (synced.count() - observers, observers)
    }

    pub fn pending_syncs(&self) -> usize {
        self.syncs.len()
    }

    pub fn learner_count(&self) -> usize {
        self.learners.len()
    }

    /// What was prepared since this was asked last, in numbers.
    pub fn take_prep_counts(&mut self) -> PrepCounts {
        self.prep.take_counts()
    }

    // Discovery.

    /// `sid` (this server, or a learner) has accepted epochs up to `accepted`.
    fn hear_epoch(
        &mut self,
        core: &mut Core,
        host: &mut dyn Host,
        sid: Sid,
        accepted: i64,
    ) -> Result<(), Fatal> {
        let Phase::Discovery(agreement) = &mut self.phase else { return Ok(()) };
        let Some(epoch) = agreement.heard(sid, accepted) else { return Ok(()) };
        // Durable before any LEADERINFO leaves: this server must never accept the epoch of another leader again.
        host.write_epoch(EpochFile::Accepted, epoch)?;
        core.epochs.accepted = epoch;
        self.epoch = epoch;
        tracing::info!("leading epoch {epoch:x}, from zxid {}", core.db.last());
        let summary = Summary { current_epoch: core.epochs.current, last: core.db.last() };
        let acks = EpochAcks::new(core.me(), core.options.quorum.clone(), summary);
        self.phase = Phase::EpochAcks(acks);
        self.phase_deadline = core.now + core.options.limits.init_ms();
        self.offer_epoch(host);
        self.hear_epoch_ack(core, host, core.me(), summary.current_epoch, summary.last).map(|_| ())
    }

    /// An ACKEPOCH; false when this learner cannot be led.
    fn hear_epoch_ack(
        &mut self,
        core: &mut Core,
        host: &mut dyn Host,
        sid: Sid,
        current_epoch: i64,
        last: Zxid,
    ) -> Result<bool, Fatal> {
        let Phase::EpochAcks(acks) = &mut self.phase else { return Ok(true) };
        if acks.ack(sid, current_epoch, last) == crate::zab::discovery::EpochAck::Refused {
            return Ok(false);
        }
        if acks.complete() {
            self.begin_synchronising(core, host)?;
        }
        Ok(true)
    }

    // Synchronisation.

    /// A quorum takes part. Its history is not with a quorum yet: votes for the epoch compare by this server's zxid.
    fn begin_synchronising(&mut self, core: &mut Core, host: &mut dyn Host) -> Result<(), Fatal> {
        host.write_epoch(EpochFile::Current, self.epoch)?;
        core.epochs.current = self.epoch;
        let start = Zxid(self.epoch << 32);
        self.prep = Prep::new(core.options.prep.clone(), start, core.db.tree.digest());
        self.leading = Leading::new(core.options.quorum.clone(), start);
        self.told = start;
        self.logged_up_to = start;
        self.phase = Phase::Synchronising { acked: BTreeSet::new() };
        self.phase_deadline = core.now + core.options.limits.init_ms();
        for link in self.waiting_for_sync() {
            self.synchronise(core, host, link);
        }
        self.own_history_durable(core, host)
    }

    /// The leader's own history counts once it is on its disk.
    pub fn own_history_durable(
        &mut self,
        core: &mut Core,
        host: &mut dyn Host,
    ) -> Result<(), Fatal> {
        if !host.log_idle() || !matches!(self.phase, Phase::Synchronising { .. }) {
            return Ok(());
        }
        self.hear_new_leader_ack(core, host, core.me())
    }

    /// `sid` has the whole history on its disk.
    fn hear_new_leader_ack(
        &mut self,
        core: &mut Core,
        host: &mut dyn Host,
        sid: Sid,
    ) -> Result<(), Fatal> {
        let Phase::Synchronising { acked } = &mut self.phase else { return Ok(()) };
        if self.leading.is_voter(sid) {
            acked.insert(sid);
        }
        let complete = self.leading.is_quorum(|sid| acked.contains(&sid));
        if !complete || !acked.contains(&core.me()) {
            return Ok(());
        }
        self.phase = Phase::Broadcasting;
        self.phase_deadline = MonoMs::MAX;
        self.next_quorum_check = core.now + core.options.limits.tick_ms;
        core.db.restart_sessions(core.now);
        core.queue.reset(core.db.last());
        tracing::info!("epoch {:x}: a quorum is synchronised, serving", self.epoch);
        self.tell_up_to_date(host);
        Ok(())
    }

    // Broadcast.

    /// The own log is one more server's acknowledgement.
    pub fn logged(&mut self, core: &mut Core) {
        if !self.is_serving() {
            return;
        }
        let up_to = core.acknowledgeable().min(self.leading.proposed());
        if up_to > self.logged_up_to {
            count_logged(core, self.logged_up_to, up_to);
            self.logged_up_to = up_to;
        }
        self.leading.logged(core.options.sid, up_to);
    }

    /// The turn's transactions become shared bytes, go to the log and to the learners.
    pub fn propose(&mut self, core: &mut Core, host: &mut dyn Host) -> Result<(), Fatal> {
        if self.fresh.is_empty() {
            return Ok(());
        }
        let shared = Arc::new(std::mem::take(&mut self.chunk));
        let mut last = Zxid::NONE;
        for Fresh { at, zxid, start, end } in std::mem::take(&mut self.fresh) {
            let proposal = Proposal::new(zxid, shared.clone(), start..end);
            if !core.options.standalone {
                core.leader_counts.proposals += 1;
                core.leader_counts.proposal_sizes.add(end - start);
            }
            core.progress.proposed += 1;
            core.append(host, zxid, proposal.bytes())?;
            core.queue.set_proposal(at, proposal);
            last = zxid;
        }
        for (link, learner) in &mut self.learners {
            if learner.gets_proposals() {
                host.send_shared(*link, &shared, 0..shared.len());
                learner.acks.proposed(last.0, core.now);
            }
        }
        Ok(())
    }

    /// Tells the learners what is committed since they were told last.
    fn tell_commits(&mut self, core: &mut Core, host: &mut dyn Host) {
        let committed = self.leading.committed();
        core.queue.commit(committed, core.now);
        if committed <= self.told {
            return;
        }
        // A SYNC comes between the commits before it and those after it: a learner matches what comes back with what
        // it has forwarded by order alone.
        while self.syncs.front().is_some_and(|sync| sync.behind <= committed) {
            let Some(sync) = self.syncs.pop_front() else { break };
            self.tell_commits_up_to(core, host, sync.behind);
            handler::send_packet(host, sync.link, PacketType::Sync, Zxid::ZERO, None);
        }
        self.tell_commits_up_to(core, host, committed);
    }

    fn tell_commits_up_to(&mut self, core: &mut Core, host: &mut dyn Host, to: Zxid) {
        let from = self.told;
        if to > from {
            self.told = to;
            if !core.options.standalone {
                count_acknowledged(core, from, to);
            }
            if self.learners.values().any(LearnerHandler::is_forwarded_to) {
                self.send_commits(core, host, from, to);
            }
        }
    }

    fn send_commits(&self, core: &Core, host: &mut dyn Host, from: Zxid, to: Zxid) {
        let news = core.queue.proposals().filter(|txn| txn.zxid > from && txn.zxid <= to);
        let (mut commits, mut informs) = (Vec::new(), Vec::new());
        let observed = self.learners.values().any(LearnerHandler::gets_informs);
        for proposal in news {
            let commit = QuorumPacket::bare(PacketType::Commit, proposal.zxid);
            commit.encode(&mut commits);
            if observed {
                handler::put_packet(&mut informs, PacketType::Inform, proposal);
            }
        }
        let (commits, informs) = (Arc::new(commits), Arc::new(informs));
        for (link, learner) in &self.learners {
            if learner.gets_proposals() {
                host.send_shared(*link, &commits, 0..commits.len());
            } else if learner.gets_informs() {
                host.send_shared(*link, &informs, 0..informs.len());
            }
        }
    }

    /// Ends a turn: what is committed is told and applied.
    pub fn end_turn(&mut self, core: &mut Core, host: &mut dyn Host) -> Turn {
        if !self.is_serving() {
            return Ok(());
        }
        self.logged(core);
        self.tell_commits(core, host);
        core.apply_ready(host)?;
        self.prep.applied(core.db.last());
        self.synchronise_deferred(core, host);
        Ok(())
    }

    /// What the clock asks for.
    pub fn tick(&mut self, core: &mut Core, host: &mut dyn Host) -> Turn {
        if core.now >= self.phase_deadline {
            return Err(Leave::role(self.why_late()));
        }
        if let Some(epoch) = self.overtaken_by {
            return Err(Leave::role(format!(
                "a voter has accepted epoch {epoch:x} and can follow only in a later one"
            )));
        }
        if self.is_serving() {
            // A touch may wait in what was not taken.
            if core.heard_everything {
                self.expire_sessions(core);
            }
            self.sweep_containers(core);
        }
        if core.options.standalone {
            return Ok(());
        }
        if core.now >= self.next_ping {
            self.next_ping = core.now + core.options.limits.ping_ms();
            self.ping(core, host);
        }
        if self.is_serving() && core.now >= self.next_quorum_check {
            self.next_quorum_check = core.now + core.options.limits.tick_ms;
            let me = core.me();
            let synced = |sid| {
                sid == me || self.learners.values().any(|l| l.sid == sid && l.synced_at(core.now))
            };
            if !self.leading.is_quorum(synced) {
                return Err(Leave::role("not enough followers are synced".to_owned()));
            }
        }
        Ok(())
    }

    fn why_late(&self) -> String {
        match self.phase {
            Phase::Discovery(_) => "no quorum of followers has connected within initLimit",
            Phase::EpochAcks(_) => "no quorum has acknowledged the epoch within initLimit",
            _ => "no quorum has synchronised within initLimit",
        }
        .to_owned()
    }

    /// When [`Leader::tick`] has something to do, in milliseconds.
    pub fn next_due(&self, core: &Core) -> MonoMs {
        let mut due = self.phase_deadline;
        if !core.options.standalone {
            due = due.min(self.next_ping);
            if self.is_serving() {
                due = due.min(self.next_quorum_check);
            }
        }
        if self.is_serving() {
            let slack = core.options.touch_slack_ms;
            let sweep = if self.reap.is_empty() { self.next_sweep } else { self.next_reap };
            due = due.min(sweep);
            due = due.min(core.db.sessions.next_due().map_or(MonoMs::MAX, |due| due + slack));
        }
        due
    }

    /// The leadership is over: everything prepared goes to the log, or its zxid would be used twice.
    pub fn leave(&mut self, core: &mut Core, host: &mut dyn Host) -> Result<(), Fatal> {
        self.propose(core, host)?;
        core.prep_counts.merge(&self.take_prep_counts());
        host.accept_learners(false);
        for link in std::mem::take(&mut self.learners).into_keys() {
            host.close(link);
        }
        Ok(())
    }

    /// The transaction's packet begins in the chunk at `start`; its head is still to be written.
    fn push_txn(&mut self, core: &mut Core, zxid: Zxid, start: usize, waiting: Waiting) {
        let txn = start + QuorumPacket::HEAD_BYTES;
        let end = self.chunk.len();
        let head = QuorumPacket::head(PacketType::Proposal, zxid, end - txn);
        self.chunk[start..txn].copy_from_slice(&head);
        self.chunk.extend_from_slice(&QuorumPacket::TAIL);
        self.fresh.push(Fresh { at: core.queue.len(), zxid, start: txn, end });
        // Its bytes follow when the turn's chunk is shared.
        let proposal = Proposal::new(zxid, Arc::default(), 0..0);
        core.queue.push(Pending::Txn { proposal, waiting });
        self.leading.propose(zxid);
    }

    /// Room for the packet's head; answers where it begins.
    fn open_packet(&mut self) -> usize {
        let start = self.chunk.len();
        self.chunk.resize(start + QuorumPacket::HEAD_BYTES, 0);
        start
    }
}

/// A quorum has these on disk.
fn count_acknowledged(core: &mut Core, from: Zxid, to: Zxid) {
    let Core { queue, leader_counts, wall, .. } = core;
    for txn in queue.proposals_between(from, to) {
        leader_counts.commits += 1;
        if let Some(age) = txn.age(*wall) {
            leader_counts.quorum_ack.add(age);
        }
    }
}

/// The own log has these: this server's own acknowledgement of each.
fn count_logged(core: &mut Core, from: Zxid, to: Zxid) {
    if core.options.standalone {
        return;
    }
    let Core { db, queue, leader_counts, transit, wall, options, .. } = core;
    let own = leader_counts.acks.entry(options.sid).or_default();
    // Others may have been faster, and a quorum without this server.
    let applied = db.committed.after(from).take_while(|txn| txn.zxid <= to);
    let txns = applied.chain(queue.proposals_between(from, to));
    for age in txns.filter_map(|txn| txn.age(*wall)) {
        transit.acknowledged.add(age);
        own.add(age);
    }
}
