//! Learning from a leader, as follower or observer: from dialling it to the last COMMIT (reference: zab 3.3, 8).
//!
//! ```text
//! Dialling ─► Registering ─► AwaitingSync ─┬─► (ReceivingTree ─►) Synchronising ─► Persisting
//!     ─► AwaitingUpToDate ─► Broadcasting
//! ```
//!
//! What is decided by the leader's history is logged at NEWLEADER, flushed, applied, and only then the epoch is written
//! and NEWLEADER acknowledged. The tree never shows what the log has not been given: a vote names the tree's zxid.

mod broadcast;
mod local;
mod sync;
mod tree_receiver;

use std::collections::VecDeque;

use self::local::Forwarded;
use self::tree_receiver::TreeReceiver;
use super::core::Core;
use super::database::Recovered;
use super::host::{Fatal, Host, LinkId};
use super::proposal::Proposal;
use super::{Leave, Turn};
use crate::base::{MonoMs, Planted, SessionId, Sid, WallMs, Zxid, planted};
use crate::pipeline::ConnToken;
use crate::pipeline::apply::ReplyTo;
use crate::session::TouchBatch;
use crate::wire::JuteWrite;
use crate::wire::quorum_packet::{LEARNER_PROTOCOL, PacketType, QuorumPacket, RINGKEEPER_MARK};

/// How far the learner has come.
#[derive(Debug)]
enum Stage {
    /// `retry_at`: when the next try to reach the leader begins, if none is under way.
    Dialling {
        tries: u32,
        retry_at: Option<MonoMs>,
    },
    /// FOLLOWERINFO was sent; LEADERINFO comes.
    Registering,
    /// LEADERINFO came; ACKEPOCH names the own history and waits until all of it is on disk: a leader of the same epoch
    /// takes it for an acknowledgement.
    Promising {
        current_epoch: i32,
    },
    /// ACKEPOCH was sent; DIFF, TRUNC or SNAP comes.
    AwaitingSync,
    /// A TRUNC waits for the log to be idle.
    Truncating {
        to: Zxid,
    },
    ReceivingTree(Box<TreeReceiver>),
    /// The rest of the history comes, then NEWLEADER.
    Synchronising,
    /// NEWLEADER has come; the received tree waits for the log to be idle, or becomes durable.
    Adopting {
        tree: Option<Box<Recovered>>,
        under_way: bool,
    },
    /// What was decided is being flushed.
    Persisting {
        up_to: Zxid,
    },
    /// NEWLEADER was acknowledged.
    AwaitingUpToDate,
    Broadcasting,
}

/// The learner of one leader. Lives on the Zab core for as long as it follows.
#[derive(Debug)]
pub(super) struct Learner {
    leader: Sid,
    link: LinkId,
    stage: Stage,
    /// The own history cannot be cut to what the leader has: it is told that there is none, so that it sends all.
    claims_nothing: bool,
    /// The leader's epoch, once it has said it.
    epoch: i64,
    /// The leader is one of ours.
    ringkeeper: bool,
    /// A tree was received and waits for NEWLEADER.
    received: Option<Box<Recovered>>,
    /// The newest transaction whose effects it may hold.
    received_newest: Zxid,
    /// Before UPTODATE: proposals in order, and which of them are committed.
    not_logged: VecDeque<Proposal>,
    decided: VecDeque<Zxid>,
    /// After UPTODATE: in the log, not committed.
    proposals: VecDeque<Proposal>,
    /// In the log, not acknowledged; with the time at which the leader made it.
    unacknowledged: VecDeque<(Zxid, WallMs)>,
    last_proposed: Option<Zxid>,
    /// Requests of our clients that the leader has, in order.
    forwarded: VecDeque<Forwarded>,
    syncs: VecDeque<Forwarded>,
    /// Ends of local sessions that are still to be answered.
    ended: Vec<ReplyTo>,
    revalidating: VecDeque<(SessionId, ConnToken, i32)>,
    touches: TouchBatch,
    /// By when the leader must have been reached.
    dial_deadline: MonoMs,
    /// Packets to the leader, gathered in a turn.
    out: Vec<u8>,
}

/// The tries to reach a leader that has just been elected.
const DIAL_TRIES_MAX: u32 = 5;

impl Learner {
    pub fn new(core: &Core, host: &mut dyn Host, leader: Sid) -> Learner {
        let link = host.dial(leader);
        Learner {
            leader,
            link,
            stage: Stage::Dialling { tries: 1, retry_at: None },
            claims_nothing: false,
            epoch: -1,
            ringkeeper: false,
            received: None,
            received_newest: Zxid::ZERO,
            not_logged: VecDeque::new(),
            decided: VecDeque::new(),
            proposals: VecDeque::new(),
            unacknowledged: VecDeque::new(),
            last_proposed: None,
            forwarded: VecDeque::new(),
            syncs: VecDeque::new(),
            ended: Vec::new(),
            revalidating: VecDeque::new(),
            touches: TouchBatch::default(),
            dial_deadline: core.now + core.options.limits.init_ms(),
            out: Vec::new(),
        }
    }

    pub fn is_serving(&self) -> bool {
        matches!(self.stage, Stage::Broadcasting)
    }

    pub fn link(&self) -> LinkId {
        self.link
    }

    pub fn leader(&self) -> Sid {
        self.leader
    }

    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// The role must be kept: the disk is being changed on the side.
    pub fn is_adopting(&self) -> bool {
        matches!(self.stage, Stage::Adopting { under_way: true, .. })
    }

    pub fn is_truncating(&self) -> bool {
        matches!(self.stage, Stage::Truncating { .. })
    }

    /// The leader is connected.
    pub fn link_up(&mut self, core: &Core, host: &mut dyn Host, link: LinkId) {
        if link != self.link || !matches!(self.stage, Stage::Dialling { .. }) {
            return;
        }
        host.set_read_timeout(link, core.options.limits.init_ms());
        let mut info = Vec::new();
        info.put_long(core.options.sid.0);
        info.put_int(LEARNER_PROTOCOL);
        info.put_long(core.options.config_version);
        // Java reads the first 20 bytes.
        info.put_int(RINGKEEPER_MARK);
        let kind = match core.options.observer {
            true => PacketType::ObserverInfo,
            false => PacketType::FollowerInfo,
        };
        self.put(kind, Zxid(core.epochs.accepted << 32), Some(&info));
        self.stage = Stage::Registering;
    }

    /// The link is gone. Before anything was said another try may help.
    pub fn link_down(&mut self, core: &Core, link: LinkId, why: &str) -> Turn {
        if link != self.link {
            return Ok(());
        }
        if let Stage::Dialling { tries, retry_at } = &mut self.stage
            && *tries < DIAL_TRIES_MAX
        {
            *retry_at = Some(core.now + core.options.leader_connect_delay_ms);
            return Ok(());
        }
        Err(Leave::role(format!("the leader {} is gone: {why}", self.leader.0)))
    }

    /// Whole packets at the front of `bytes` are taken; answers how many bytes that was. It may be less than could be
    /// taken while the disk must catch up: the rest is to be offered again.
    pub fn link_input(
        &mut self,
        core: &mut Core,
        host: &mut dyn Host,
        bytes: &[u8],
    ) -> Result<usize, Leave> {
        let (mut taken, link) = (0, self.link);
        loop {
            let rest = &bytes[taken..];
            if matches!(self.stage, Stage::Truncating { .. }) {
                return Ok(taken);
            }
            if planted(Planted::NewLeaderAckBeforeFlush)
                && matches!(self.stage, Stage::Persisting { .. })
            {
                return Ok(taken);
            }
            if let Stage::ReceivingTree(receiver) = &mut self.stage {
                let used = receiver.take(host, rest)?;
                taken += used;
                if !receiver.is_complete() {
                    return Ok(taken);
                }
                self.tree_complete();
                continue;
            }
            match QuorumPacket::decode(rest, core.options.packet_bytes_max) {
                Ok(Some((packet, length))) => {
                    taken += length;
                    self.packet(core, host, &packet)?;
                    if self.link != link {
                        return Ok(bytes.len());
                    }
                }
                Ok(None) => return Ok(taken),
                Err(error) => {
                    return Err(Leave::role(format!(
                        "a malformed packet from the leader: {error}"
                    )));
                }
            }
        }
    }

    fn packet(&mut self, core: &mut Core, host: &mut dyn Host, packet: &QuorumPacket<'_>) -> Turn {
        match self.stage {
            Stage::Dialling { .. } | Stage::Registering => self.leader_info(core, host, packet),
            Stage::AwaitingSync => self.sync_begins(core, host, packet),
            Stage::Broadcasting => self.broadcast(core, host, packet),
            _ => self.history(core, host, packet),
        }
    }

    /// LEADERINFO: the epoch is accepted, durably, before it is acknowledged.
    fn leader_info(
        &mut self,
        core: &mut Core,
        host: &mut dyn Host,
        packet: &QuorumPacket<'_>,
    ) -> Turn {
        if packet.kind != PacketType::LeaderInfo {
            return Err(Leave::role(format!("the leader began with a {:?}", packet.kind)));
        }
        let epoch = packet.zxid.epoch();
        let data = packet.data.unwrap_or_default();
        self.ringkeeper = data.get(4..8) == Some(&RINGKEEPER_MARK.to_be_bytes());
        let mut promised = core.epochs.current as i32;
        if epoch > core.epochs.accepted {
            host.write_epoch(super::EpochFile::Accepted, epoch)?;
            core.epochs.accepted = epoch;
        } else if epoch == core.epochs.accepted {
            // Promised before: a second promise must not be counted.
            promised = -1;
        } else {
            return Err(Leave::role(format!(
                "the leader {} offers epoch {epoch:x}, this server has accepted {:x}",
                self.leader.0, core.epochs.accepted
            )));
        }
        self.epoch = epoch;
        self.stage = Stage::Promising { current_epoch: promised };
        self.go_on(core, host)
    }

    fn acknowledge_epoch(&mut self, core: &Core, current_epoch: i32) {
        let (last, current_epoch) = match self.claims_nothing {
            // Below every zxid: none but a SNAP brings it up to date.
            true => (Zxid::NONE, -1),
            false => (core.db.last(), current_epoch),
        };
        self.put(PacketType::AckEpoch, last, Some(&current_epoch.to_be_bytes()));
        self.stage = Stage::AwaitingSync;
    }

    /// What the clock asks for.
    pub fn tick(&mut self, core: &mut Core, host: &mut dyn Host) -> Turn {
        if let Stage::Dialling { tries, retry_at } = &mut self.stage {
            if core.now >= self.dial_deadline {
                return Err(Leave::role("the leader cannot be reached".to_owned()));
            }
            if retry_at.is_some_and(|at| core.now >= at) {
                *tries += 1;
                *retry_at = None;
                self.link = host.dial(self.leader);
            }
        }
        Ok(())
    }

    /// When [`Learner::tick`] has something to do.
    pub fn next_due(&self) -> MonoMs {
        match self.stage {
            Stage::Dialling { retry_at, .. } => retry_at.unwrap_or(self.dial_deadline),
            _ => MonoMs::MAX,
        }
    }

    /// Ends a turn: what the disk has done moves the stage on, what is committed is applied, packets leave.
    pub fn end_turn(&mut self, core: &mut Core, host: &mut dyn Host) -> Turn {
        self.go_on(core, host)?;
        if self.is_serving() {
            self.acknowledge(core);
            self.answer_ended(core);
            core.apply_ready(host)?;
        }
        if !self.out.is_empty() {
            host.send(self.link, &self.out);
            self.out.clear();
        }
        Ok(())
    }

    /// The role is over. What was given to the log stays; what was only heard is forgotten.
    pub fn leave(&mut self, core: &mut Core, host: &mut dyn Host) {
        if matches!(self.stage, Stage::ReceivingTree(_)) || self.received.is_some() {
            host.abandon_received_snapshot();
        }
        if planted(Planted::PartialSnapKept)
            && let Some(tree) = self.received.take()
        {
            core.adopt(*tree);
        }
        // In the log, not committed: a vote must speak of them.
        for proposal in self.proposals.drain(..) {
            core.queue.push(super::queue::Pending::Txn { proposal, waiting: Default::default() });
        }
        host.close(self.link);
    }

    fn put(&mut self, kind: PacketType, zxid: Zxid, data: Option<&[u8]>) {
        QuorumPacket { kind, zxid, data, authinfo: None }.encode(&mut self.out);
    }
}

/// The disk's failure is more than the end of a role.
impl From<Fatal> for Leave {
    fn from(fatal: Fatal) -> Leave {
        Leave::Fatal(fatal)
    }
}
