//! Synchronisation, learner's side (reference: zab 8, 9).

use super::{Learner, Stage, TreeReceiver};
use crate::base::{Planted, Zxid, planted};
use crate::peer::core::Core;
use crate::peer::host::{EpochFile, Host};
use crate::peer::proposal::Proposal;
use crate::peer::queue::{Pending, Waiting};
use crate::peer::{Leave, Turn};
use crate::wire::quorum_packet::{PacketType, QuorumPacket};
use crate::wire::{OpCode, Reader, txn::TxnHeader};

impl Learner {
    /// DIFF, TRUNC or SNAP.
    pub(super) fn sync_begins(
        &mut self,
        core: &mut Core,
        host: &mut dyn Host,
        packet: &QuorumPacket<'_>,
    ) -> Turn {
        let zxid = packet.zxid;
        tracing::info!(
            "{:?} {zxid} from the leader; this server is at {}",
            packet.kind,
            core.db.last()
        );
        match packet.kind {
            PacketType::Diff if self.claims_nothing => {
                // It would leave what must be cut.
                return Err(Leave::role("a DIFF where the whole tree is needed".to_owned()));
            }
            PacketType::Diff => self.stage = Stage::Synchronising,
            PacketType::Trunc => {
                self.stage = Stage::Truncating { to: zxid };
                self.truncate(core, host, zxid)?;
            }
            PacketType::Snap => {
                host.begin_received_snapshot(zxid)?;
                let options = &core.options;
                let (tick_ms, max) = (options.limits.tick_ms, options.packet_bytes_max);
                let receiver = TreeReceiver::new(zxid, options.owners, tick_ms, max, core.now);
                self.stage = Stage::ReceivingTree(Box::new(receiver));
            }
            kind => {
                return Err(Leave::role(format!("a {kind:?} where DIFF, TRUNC or SNAP is due")));
            }
        }
        Ok(())
    }

    /// Cuts the own history, once nothing is being written to it.
    fn truncate(&mut self, core: &mut Core, host: &mut dyn Host, to: Zxid) -> Turn {
        if !host.log_idle() {
            return Ok(());
        }
        if to < Zxid::ZERO || !host.truncate(to)? {
            if self.claims_nothing {
                return Err(Leave::role(format!("a TRUNC to {to} where the whole tree is needed")));
            }
            tracing::info!("no snapshot is left from before {to}: asking for the whole tree");
            self.claims_nothing = true;
            self.dial_again(core, host);
            return Ok(());
        }
        core.adopt(host.reload()?);
        if core.db.last() != to {
            // A leader that cuts over epochs may name what this server never had: it is told where this one is now.
            tracing::info!("cut after {to}, the own history ends at {}", core.db.last());
            self.dial_again(core, host);
            return Ok(());
        }
        self.stage = Stage::Synchronising;
        Ok(())
    }

    /// Begins anew with the same leader, which is told another end of the own history. The role is kept: the leader has
    /// the promises that its epoch needs and lacks nothing but this server's history. To leave would need an election,
    /// and an ACKEPOCH that claims nothing counts for no epoch: where a majority claims nothing none would ever begin.
    fn dial_again(&mut self, core: &Core, host: &mut dyn Host) {
        host.close(self.link);
        let claims_nothing = self.claims_nothing;
        *self = Learner { claims_nothing, ..Learner::new(core, host, self.leader) };
    }

    /// The stream has ended; its tree waits for NEWLEADER.
    pub(super) fn tree_complete(&mut self) {
        if let Stage::ReceivingTree(receiver) =
            std::mem::replace(&mut self.stage, Stage::Synchronising)
        {
            tracing::info!("the leader's tree at {} is complete", receiver.zxid);
            self.received_newest = receiver.newest;
            self.received = Some(Box::new(receiver.finish()));
        }
        self.last_proposed = None;
    }

    /// Packets between the first one and UPTODATE.
    pub(super) fn history(
        &mut self,
        core: &mut Core,
        host: &mut dyn Host,
        packet: &QuorumPacket<'_>,
    ) -> Turn {
        match packet.kind {
            PacketType::Proposal => {
                let proposal = self.heard(packet)?;
                self.not_logged.extend(proposal);
            }
            PacketType::Commit | PacketType::CommitAndActivate => {
                let zxid = packet.zxid;
                if !self.not_logged.iter().any(|proposal| proposal.zxid == zxid) {
                    return Err(Leave::role(format!("a COMMIT of {zxid}, which was not proposed")));
                }
                self.decided.push_back(zxid);
            }
            PacketType::Inform | PacketType::InformAndActivate => {
                let packet = informed(packet)?;
                let proposal = self.heard(&packet)?;
                self.decided.extend(proposal.iter().map(|proposal| proposal.zxid));
                self.not_logged.extend(proposal);
            }
            PacketType::NewLeader => self.new_leader(core, host, packet)?,
            PacketType::UpToDate => self.up_to_date(core, host)?,
            // Not answered before UPTODATE: a Java leader would take the answer for an acknowledgement.
            _ => {}
        }
        Ok(())
    }

    /// A proposal, checked for holes; `None` for one that a Java leader sent twice under one zxid.
    pub(super) fn heard(&mut self, packet: &QuorumPacket<'_>) -> Result<Option<Proposal>, Leave> {
        let bytes = packet.data.unwrap_or_default();
        let header = TxnHeader::decode(&mut Reader::new(bytes))
            .map_err(|error| Leave::role(format!("a malformed proposal: {error}")))?;
        let zxid = header.zxid;
        if let Some(last) = self.last_proposed {
            if zxid == last && header.op == OpCode::Error.code() {
                return Ok(None);
            }
            if zxid != last.next() && zxid.epoch() <= last.epoch() {
                return Err(Leave::role(format!("proposal {zxid} follows {last}")));
            }
        }
        self.last_proposed = Some(zxid);
        Ok(Some(Proposal::alone(zxid, bytes.to_vec())))
    }

    fn new_leader(
        &mut self,
        core: &mut Core,
        host: &mut dyn Host,
        packet: &QuorumPacket<'_>,
    ) -> Turn {
        if !matches!(self.stage, Stage::Synchronising) {
            return Err(Leave::role("a second NEWLEADER".to_owned()));
        }
        if packet.zxid.epoch() != self.epoch {
            return Err(Leave::role(format!("NEWLEADER of epoch {:x}", packet.zxid.epoch())));
        }
        host.set_read_timeout(self.link, core.options.limits.sync_ms());
        if planted(Planted::EpochBeforeHistory) {
            host.write_epoch(EpochFile::Current, self.epoch)?;
        }
        match self.received.take() {
            Some(tree) => self.stage = Stage::Adopting { tree: Some(tree), under_way: false },
            None => self.persist(core, host)?,
        }
        self.go_on(core, host)
    }

    /// What is decided goes to the log.
    fn persist(&mut self, core: &mut Core, host: &mut dyn Host) -> Turn {
        let mut last = core.db.last();
        core.queue.reset(last);
        if planted(Planted::LoggedAfterUpToDate) {
            self.stage = Stage::Persisting { up_to: core.appended };
            return Ok(());
        }
        while let Some(zxid) = self.decided.front().copied() {
            if self.not_logged.front().is_none_or(|first| first.zxid != zxid) {
                break;
            }
            self.decided.pop_front();
            let Some(proposal) = self.not_logged.pop_front() else { break };
            // A leader may send more than is lacking.
            if zxid <= last {
                continue;
            }
            // A hole would stop the next start, and spread to whom this server leads one day.
            if zxid != last.next() && zxid.epoch() <= last.epoch() {
                return Err(Leave::role(format!("the leader sent {zxid} after {last}")));
            }
            last = zxid;
            core.append(host, zxid, proposal.bytes())?;
            if planted(Planted::ProposalAckBeforeNewLeaderAck) && !core.options.observer {
                self.await_acknowledgement(zxid, proposal.bytes());
            }
            core.queue.push(Pending::Txn { proposal, waiting: Waiting::default() });
        }
        if planted(Planted::EmptiedProposalList) {
            let newer = std::mem::take(&mut self.not_logged).into_iter();
            for proposal in newer.filter(|proposal| proposal.zxid > last) {
                core.append(host, proposal.zxid, proposal.bytes())?;
                self.await_acknowledgement(proposal.zxid, proposal.bytes());
                self.proposals.push_back(proposal);
            }
        }
        if planted(Planted::NewLeaderAckBeforeFlush) {
            self.put(PacketType::Ack, Zxid(self.epoch << 32), None);
        }
        self.stage = Stage::Persisting { up_to: core.appended };
        Ok(())
    }

    /// Whatever waited for the disk.
    pub(super) fn go_on(&mut self, core: &mut Core, host: &mut dyn Host) -> Turn {
        match &mut self.stage {
            Stage::Promising { current_epoch } if host.log_idle() => {
                let current_epoch = *current_epoch;
                self.acknowledge_epoch(core, current_epoch);
                Ok(())
            }
            Stage::Truncating { to } => {
                let to = *to;
                self.truncate(core, host, to)
            }
            Stage::Adopting { tree: Some(tree), under_way } if !*under_way && host.log_idle() => {
                *under_way = true;
                let applied = tree.tree.tree().applied();
                let newest = applied.max(self.received_newest);
                host.adopt_received_snapshot(newest);
                Ok(())
            }
            Stage::Persisting { up_to } if core.durable >= *up_to || host.log_idle() => {
                if planted(Planted::ProposalAckBeforeNewLeaderAck) {
                    self.acknowledge(core);
                }
                self.acknowledge_new_leader(core, host)
            }
            Stage::Persisting { .. } if planted(Planted::EpochAndAckBeforeFlush) => {
                self.acknowledge_new_leader(core, host)
            }
            _ => Ok(()),
        }
    }

    /// The received tree is durable and the log ends where it begins.
    pub fn snapshot_adopted(&mut self, core: &mut Core, host: &mut dyn Host) -> Turn {
        if let Stage::Adopting { tree, .. } = &mut self.stage
            && let Some(tree) = tree.take()
        {
            core.adopt(*tree);
            self.persist(core, host)?;
        }
        Ok(())
    }

    /// The history is on disk, in order: log or snapshot first, then the epoch, then the acknowledgement.
    fn acknowledge_new_leader(&mut self, core: &mut Core, host: &mut dyn Host) -> Turn {
        let before = core.db.last();
        core.apply_appended(host)?;
        if planted(Planted::HoleInCommittedLog) {
            core.db.committed.forget_after(before);
        }
        host.write_epoch(EpochFile::Current, self.epoch)?;
        core.epochs.current = self.epoch;
        if !planted(Planted::NewLeaderAckBeforeFlush) {
            self.put(PacketType::Ack, Zxid(self.epoch << 32), None);
        }
        self.stage = Stage::AwaitingUpToDate;
        Ok(())
    }

    fn up_to_date(&mut self, core: &mut Core, host: &mut dyn Host) -> Turn {
        if !matches!(self.stage, Stage::AwaitingUpToDate) {
            return Err(Leave::role("UPTODATE before NEWLEADER was acknowledged".to_owned()));
        }
        self.put(PacketType::Ack, Zxid(self.epoch << 32), None);
        self.stage = Stage::Broadcasting;
        core.queue.reset(core.db.last());
        // Whatever the received tree may have held ahead of its zxid was sent before this.
        let next = self.last_proposed.map_or(Zxid::ZERO, Zxid::next);
        core.db.applier.compare_digests_from(next);
        for proposal in std::mem::take(&mut self.not_logged) {
            self.take_proposal(core, host, proposal)?;
        }
        for zxid in std::mem::take(&mut self.decided) {
            self.commit(core, zxid)?;
        }
        // Before any client looks: a received tree may show changes from behind its zxid until they are applied again.
        if !planted(Planted::ServesAhead) {
            core.apply_unheard(host)?;
        }
        tracing::info!("up to date with leader {} in epoch {:x}", self.leader.0, self.epoch);
        Ok(())
    }
}

/// An INFORM without what INFORMANDACTIVATE has before the transaction.
pub(super) fn informed<'a>(packet: &QuorumPacket<'a>) -> Result<QuorumPacket<'a>, Leave> {
    let mut data = packet.data.unwrap_or_default();
    if packet.kind == PacketType::InformAndActivate {
        let without_designated = data.get(8..);
        data = without_designated
            .ok_or_else(|| Leave::role("a short INFORMANDACTIVATE".to_owned()))?;
    }
    Ok(QuorumPacket { data: Some(data), ..*packet })
}
