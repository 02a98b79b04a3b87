//! Broadcast, learner's side (reference: zab 10.4, 11, 12.4, 13.4, 14).

use super::local::Forwarded;
use super::sync::informed;
use super::{Learner, Stage};
use crate::base::{SessionId, WallMs, Zxid};
use crate::peer::core::Core;
use crate::peer::host::{Fatal, Host};
use crate::peer::proposal::Proposal;
use crate::peer::queue::{Pending, Waiting};
use crate::peer::{Leave, Turn};
use crate::wire::quorum_packet::{PacketType, QuorumPacket, put_touch};
use crate::wire::txn::TxnHeader;
use crate::wire::{ErrorCode, OpCode, Reader};

impl Learner {
    pub(super) fn broadcast(
        &mut self,
        core: &mut Core,
        host: &mut dyn Host,
        packet: &QuorumPacket<'_>,
    ) -> Turn {
        debug_assert!(matches!(self.stage, Stage::Broadcasting));
        match packet.kind {
            PacketType::Proposal if !core.options.observer => {
                core.role_counts.proposals_received += 1;
                match self.heard(packet)? {
                    Some(proposal) => {
                        if let Some(age) = proposal.age(core.wall) {
                            core.transit.proposed.add(age);
                        }
                        self.take_proposal(core, host, proposal)?;
                    }
                    None => self.log_repeated(core, host, packet)?,
                }
                Ok(())
            }
            PacketType::Commit | PacketType::CommitAndActivate if !core.options.observer => {
                core.role_counts.commits_received += 1;
                self.commit(core, packet.zxid)
            }
            PacketType::Inform | PacketType::InformAndActivate if core.options.observer => {
                core.role_counts.commits_received += 1;
                let packet = informed(packet)?;
                if let Some(proposal) = self.heard(&packet)? {
                    let zxid = proposal.zxid;
                    self.take_proposal(core, host, proposal)?;
                    self.commit(core, zxid)?;
                }
                Ok(())
            }
            PacketType::Ping => {
                self.answer_ping(packet.zxid);
                Ok(())
            }
            PacketType::Revalidate => {
                self.revalidated(core, packet.data.unwrap_or_default());
                Ok(())
            }
            PacketType::Sync => {
                self.synced(core);
                Ok(())
            }
            kind => {
                tracing::warn!("a {kind:?} from the leader is passed over");
                Ok(())
            }
        }
    }

    /// Into the log; acknowledged once it is durable.
    pub(super) fn take_proposal(
        &mut self,
        core: &mut Core,
        host: &mut dyn Host,
        proposal: Proposal,
    ) -> Result<(), Fatal> {
        if proposal.zxid <= core.db.last() {
            return Ok(());
        }
        if !core.options.observer || core.options.observer_logs {
            core.append(host, proposal.zxid, proposal.bytes())?;
        }
        if !core.options.observer {
            self.await_acknowledgement(proposal.zxid, proposal.bytes());
        }
        self.proposals.push_back(proposal);
        Ok(())
    }

    /// A Java leader gives a request that it cannot decode the zxid of the one before: it is logged and acknowledged,
    /// and a COMMIT belongs to the first.
    fn log_repeated(
        &mut self,
        core: &mut Core,
        host: &mut dyn Host,
        packet: &QuorumPacket<'_>,
    ) -> Result<(), Fatal> {
        tracing::warn!("the leader used zxid {} twice", packet.zxid);
        core.append(host, packet.zxid, packet.data.unwrap_or_default())?;
        self.await_acknowledgement(packet.zxid, packet.data.unwrap_or_default());
        Ok(())
    }

    /// It is with the log.
    pub(super) fn await_acknowledgement(&mut self, zxid: Zxid, txn: &[u8]) {
        let made = TxnHeader::time_of(txn).unwrap_or(WallMs::MAX);
        self.unacknowledged.push_back((zxid, made));
    }

    /// The oldest proposal is decided.
    pub(super) fn commit(&mut self, core: &mut Core, zxid: Zxid) -> Turn {
        if zxid <= core.db.last() {
            return Ok(());
        }
        let Some(first) = self.proposals.front() else {
            tracing::warn!("a COMMIT of {zxid} without a proposal is passed over");
            return Ok(());
        };
        if first.zxid != zxid {
            let text = format!("a COMMIT of {zxid}, the oldest proposal is {}", first.zxid);
            return Err(Leave::Fatal(Fatal::UnmatchedCommit(text)));
        }
        let Some(proposal) = self.proposals.pop_front() else { return Ok(()) };
        let header = TxnHeader::decode(&mut Reader::new(proposal.bytes()))
            .map_err(|error| Fatal::Data(format!("proposal {zxid}: {error}")))?;
        if core.wall >= header.time {
            core.transit.committed.add(core.wall - header.time);
        }
        let (waiting, refusal) = self.waiting_for(&header);
        core.queue.commit(zxid, core.now);
        match (waiting.reply, refusal) {
            // A Java leader knows no better than that there is no such session.
            (Some(to), Some(code)) if header.op == OpCode::Error.code() => {
                core.queue.push(Pending::Txn { proposal, waiting: Waiting::default() });
                core.answer(to, code.code());
            }
            _ => core.queue.push(Pending::Txn { proposal, waiting }),
        }
        Ok(())
    }

    /// Who of our clients asked for this transaction, and what a refusal is to be called: the oldest forwarded request,
    /// if it is the same.
    fn waiting_for(&mut self, header: &TxnHeader) -> (Waiting, Option<ErrorCode>) {
        let same =
            |first: &mut Forwarded| first.session == header.session && first.cxid == header.cxid;
        match self.forwarded.pop_front_if(same) {
            Some(first) => (first.waiting, first.refusal),
            None => (Waiting::default(), None),
        }
    }

    /// Acknowledges what has become durable.
    pub(super) fn acknowledge(&mut self, core: &mut Core) {
        let up_to = core.acknowledgeable();
        while self.unacknowledged.front().is_some_and(|(zxid, _)| *zxid <= up_to) {
            let Some((zxid, made)) = self.unacknowledged.pop_front() else { return };
            if core.wall >= made {
                core.transit.acknowledged.add(core.wall - made);
            }
            // A leader of ours takes one for all before it.
            let more = self.unacknowledged.front().is_some_and(|(next, _)| *next <= up_to);
            if !self.ringkeeper || !more {
                self.put(PacketType::Ack, zxid, None);
            }
        }
    }

    /// The answer carries the sessions that were heard of since the last one.
    fn answer_ping(&mut self, zxid: Zxid) {
        let mut data = Vec::new();
        for touch in self.touches.drain() {
            put_touch(&mut data, touch.id, touch.timeout_ms);
        }
        self.put(PacketType::Ping, zxid, Some(&data));
    }

    fn revalidated(&mut self, core: &mut Core, data: &[u8]) {
        let mut reader = Reader::new(data);
        let (Ok(id), Ok(valid)) = (reader.long(), reader.bool()) else { return };
        let session = SessionId(id);
        let at = self.revalidating.iter().position(|(asked, _, _)| *asked == session);
        let Some((_, conn, timeout_ms)) = at.and_then(|at| self.revalidating.remove(at)) else {
            return;
        };
        core.answer_resume(conn, session, timeout_ms, valid);
    }

    /// The oldest sync is done: what was committed before it precedes it here too.
    fn synced(&mut self, core: &mut Core) {
        let Some(sync) = self.syncs.pop_front() else {
            tracing::warn!("a SYNC from the leader that nobody asked for");
            return;
        };
        if let Some(to) = sync.waiting.reply {
            core.queue.push(Pending::Synced { to, body: sync.body });
        }
    }
}
