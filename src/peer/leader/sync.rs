//! Bringing one learner's history to the leader's (reference: zab 5).
//!
//! On the link: DIFF, TRUNC or SNAP; what the learner lacks of what is applied, as PROPOSAL and COMMIT; the same
//! for what is committed and not applied; NEWLEADER; what is outstanding, as PROPOSAL. Everything later follows in
//! its turn. Outstanding proposals come after NEWLEADER, since 3.8 followers fail on a COMMIT for one that came before.

use std::sync::Arc;

use super::Leader;
use super::handler::{Stage, SyncKind, put_packet, send_packet};
use crate::base::{Planted, Zxid, planted};
use crate::peer::core::Core;
use crate::peer::host::{Host, LinkId};
use crate::peer::proposal::Proposal;
use crate::wire::quorum_packet::{PacketType, QuorumPacket};
use crate::zab::synchronisation::{Position, SyncPlan, decide};

impl Leader {
    /// Learners whose ACKEPOCH has come and that have got nothing yet.
    pub(super) fn waiting_for_sync(&self) -> Vec<LinkId> {
        let waiting = |stage| matches!(stage, Stage::EpochAcked { .. });
        self.learners.iter().filter(|(_, l)| waiting(l.stage)).map(|(link, _)| *link).collect()
    }

    /// Those that waited for what they have to be committed.
    pub(super) fn synchronise_deferred(&mut self, core: &mut Core, host: &mut dyn Host) {
        for link in self.waiting_for_sync() {
            self.synchronise(core, host, link);
        }
    }

    /// Queues all that a learner lacks. In the same turn it joins those that are forwarded to.
    pub(super) fn synchronise(&mut self, core: &mut Core, host: &mut dyn Host, link: LinkId) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        let Stage::EpochAcked { last } = learner.stage else { return };
        let proposed = self.leading.proposed();
        if !self.fresh.is_empty() {
            // What is being prepared is not shared yet: at the end of the turn.
            return;
        }
        // It came back within the epoch, with proposals that are not committed yet. They are on its disk, which counts
        // as its acknowledgement; cutting them off could lose what a quorum has.
        if last.epoch() == self.epoch && last.counter() > 0 && last <= proposed {
            if !learner.observer {
                self.leading.logged(learner.sid, last);
            }
            if last > core.db.last() {
                return;
            }
        }
        let (sid, observer, ringkeeper) = (learner.sid, learner.observer, learner.ringkeeper);
        let plan = decide(&self.position(core, last, ringkeeper));
        tracing::info!("learner {} has {last}, this leader {}: {plan:?}", sid.0, core.db.last());
        let kind = match plan {
            SyncPlan::Snapshot { .. } => SyncKind::Snap,
            _ => SyncKind::Diff,
        };
        // A quorum must come together whatever it takes.
        if observer && !self.may_begin(core, kind) {
            return self.drop_link(
                host,
                link,
                "too many are being brought up to date, it must wait",
            );
        }
        let whole_trees = core.role_counts.snaps;
        let sent = self.send_history(core, host, link, plan, last, ringkeeper);
        // A log that does not serve it after all leaves the whole tree to be sent.
        let kind = match core.role_counts.snaps == whole_trees {
            true => SyncKind::Diff,
            false => SyncKind::Snap,
        };
        core.role_counts.diffs += u64::from(kind == SyncKind::Diff);
        let mut packets = Vec::new();
        let told = self.told;
        for proposal in core.queue.proposals().filter(|txn| txn.zxid > sent && txn.zxid <= told) {
            put_decided(&mut packets, proposal);
        }
        let mut outstanding = Vec::new();
        if !observer {
            for proposal in core.queue.proposals().filter(|txn| txn.zxid > sent.max(told)) {
                put_packet(&mut outstanding, PacketType::Proposal, proposal);
            }
        }
        if planted(Planted::EmptiedProposalList) {
            packets.append(&mut outstanding);
        }
        self.put_new_leader(core, &mut packets);
        packets.append(&mut outstanding);
        let packets = Arc::new(packets);
        host.send_shared(link, &packets, 0..packets.len());
        host.set_read_timeout(link, core.options.limits.init_ms());
        if let Some(learner) = self.learners.get_mut(&link) {
            learner.stage = Stage::NewLeaderSent;
            learner.sync = Some(kind);
            learner.deadline = core.options.limits.joined(core.now);
        }
        self.count_under_way(core, kind);
    }

    /// One more, or one less, is being brought up to date that way.
    pub(super) fn count_under_way(&self, core: &mut Core, kind: SyncKind) {
        let counts = &mut core.role_counts;
        let tally = match kind {
            SyncKind::Snap => &mut counts.snaps_under_way,
            SyncKind::Diff => &mut counts.diffs_under_way,
        };
        tally.add(self.under_way(kind) as i64);
    }

    fn under_way(&self, kind: SyncKind) -> usize {
        self.learners.values().filter(|learner| learner.is_synchronising(kind)).count()
    }

    /// Whether the limit lets another be brought up to date that way (reference: zab 5.4).
    fn may_begin(&self, core: &Core, kind: SyncKind) -> bool {
        let limits = core.options.sync_limits;
        let max = match kind {
            SyncKind::Snap => limits.snaps_max,
            SyncKind::Diff => limits.diffs_max,
        };
        self.under_way(kind) < max
    }

    fn position(&self, core: &Core, peer_last: Zxid, ringkeeper: bool) -> Position {
        let window = &core.db.committed;
        Position {
            peer_last,
            min: window.min(),
            max: window.max(),
            last_processed: core.db.last(),
            before: window.at_or_before(peer_last),
            force_snapshot: core.options.force_snapshot_sync,
            log_allowed: core.options.log_sync,
            truncates_safely: ringkeeper,
        }
    }

    /// Sends what is applied and the learner lacks; answers the last zxid that it has then.
    fn send_history(
        &self,
        core: &mut Core,
        host: &mut dyn Host,
        link: LinkId,
        plan: SyncPlan,
        peer_last: Zxid,
        ringkeeper: bool,
    ) -> Zxid {
        let last = core.db.last();
        let (head, after) = match plan {
            SyncPlan::Diff { after } => ((PacketType::Diff, last), after),
            SyncPlan::Truncate { to } => ((PacketType::Trunc, to), to),
            SyncPlan::DiffFromLog { after } => {
                let Some(older) = host.read_log(after, core.db.committed.min()) else {
                    tracing::info!("the log does not serve it: the whole tree is sent");
                    self.send_tree(core, host, link, last);
                    return last;
                };
                send_packet(host, link, PacketType::Diff, last, None);
                send_decided(host, link, older.iter());
                let read = older.last().map_or(after, |newest| newest.zxid);
                send_decided(host, link, core.db.committed.after(read));
                return last;
            }
            SyncPlan::Snapshot { hides_log } => {
                // Java keeps what it has logged; a snapshot above all of it makes sure that it is never replayed.
                let hidden = hides_log && !ringkeeper && peer_last != Zxid::NONE;
                let epoch = Zxid(self.epoch << 32);
                let zxid = if hidden { last.max(epoch) } else { last };
                self.send_tree(core, host, link, zxid);
                return last;
            }
        };
        send_packet(host, link, head.0, head.1, None);
        send_decided(host, link, core.db.committed.after(after));
        last
    }

    fn send_tree(&self, core: &mut Core, host: &mut dyn Host, link: LinkId, zxid: Zxid) {
        core.role_counts.snaps += 1;
        send_packet(host, link, PacketType::Snap, zxid, None);
        host.stream_snapshot(link, core.db.source());
    }

    fn put_new_leader(&self, core: &Core, out: &mut Vec<u8>) {
        let data = Some(core.options.config_text.as_slice());
        let zxid = Zxid(self.epoch << 32);
        QuorumPacket { kind: PacketType::NewLeader, zxid, data, authinfo: None }.encode(out);
    }
}

/// PROPOSAL and COMMIT, to observers too.
fn put_decided(out: &mut Vec<u8>, proposal: &Proposal) {
    put_packet(out, PacketType::Proposal, proposal);
    QuorumPacket::bare(PacketType::Commit, proposal.zxid).encode(out);
}

fn send_decided<'a>(
    host: &mut dyn Host,
    link: LinkId,
    proposals: impl Iterator<Item = &'a Proposal>,
) {
    let mut packets = Vec::new();
    proposals.for_each(|proposal| put_decided(&mut packets, proposal));
    if !packets.is_empty() {
        let packets = Arc::new(packets);
        host.send_shared(link, &packets, 0..packets.len());
    }
}
