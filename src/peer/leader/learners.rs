//! Packets from learners (reference: zab 3.2, 7, 10.3, 11, 12, 13).

use super::handler::{LearnerHandler, Stage, send_packet};
use super::{Leader, PendingSync, Phase};
use crate::base::{Planted, SessionId, Sid, Zxid, planted};
use crate::peer::core::Core;
use crate::peer::host::{Fatal, Host, LinkId};
use crate::wire::JuteWrite;
use crate::wire::quorum_packet::{
    LEARNER_PROTOCOL, LearnerInfo, PacketType, QuorumPacket, RINGKEEPER_MARK, Revalidate, touches,
};

/// Why a link is given up; the learner may come back.
type Refused = String;

impl Leader {
    /// A learner has connected.
    pub fn link_up(&mut self, core: &Core, host: &mut dyn Host, link: LinkId) {
        host.set_read_timeout(link, core.options.limits.init_ms());
        let deadline = core.options.limits.joined(core.now);
        self.learners.insert(link, LearnerHandler::new(deadline));
    }

    /// A link is gone.
    pub fn link_down(&mut self, link: LinkId, why: &str) {
        if let Some(learner) = self.learners.remove(&link) {
            tracing::info!("learner {} is gone: {why}", learner.sid.0);
            self.syncs.retain(|sync| sync.link != link);
        }
    }

    pub(super) fn drop_link(&mut self, host: &mut dyn Host, link: LinkId, why: &str) {
        host.close(link);
        self.link_down(link, why);
    }

    /// Whole packets at the front of `bytes` are taken; answers how many bytes that was.
    pub fn link_input(
        &mut self,
        core: &mut Core,
        host: &mut dyn Host,
        link: LinkId,
        bytes: &[u8],
    ) -> Result<usize, Fatal> {
        let mut taken = 0;
        while self.learners.contains_key(&link) {
            match QuorumPacket::decode(&bytes[taken..], core.options.packet_bytes_max) {
                Ok(Some((packet, length))) => {
                    if let Err(why) = self.packet(core, host, link, &packet)? {
                        self.drop_link(host, link, &why);
                        return Ok(bytes.len());
                    }
                    taken += length;
                }
                Ok(None) => return Ok(taken),
                Err(error) => {
                    self.drop_link(host, link, &format!("a malformed packet: {error}"));
                    return Ok(bytes.len());
                }
            }
        }
        Ok(bytes.len())
    }

    fn packet(
        &mut self,
        core: &mut Core,
        host: &mut dyn Host,
        link: LinkId,
        packet: &QuorumPacket<'_>,
    ) -> Result<Result<(), Refused>, Fatal> {
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(Ok(())) };
        if learner.is_forwarded_to() {
            learner.deadline = learner.deadline.max(core.options.limits.heard(core.now));
        }
        let stage = learner.stage;
        Ok(match (packet.kind, stage) {
            (PacketType::FollowerInfo | PacketType::ObserverInfo, Stage::Connected) => {
                return self.learner_info(core, host, link, packet);
            }
            (_, Stage::Connected) => Err("its first packet is no FOLLOWERINFO".to_owned()),
            (PacketType::AckEpoch, Stage::EpochOffered) => {
                return self.ack_epoch(core, host, link, packet);
            }
            (PacketType::Ack, Stage::NewLeaderSent) => {
                return self.ack_new_leader(core, host, link, packet).map(Ok);
            }
            (PacketType::Ack, _) => {
                self.ack(core, link, packet.zxid);
                Ok(())
            }
            (PacketType::Ping, _) => {
                for (session, timeout_ms) in touches(packet.data.unwrap_or_default()) {
                    core.db.sessions.touch(session, core.now, timeout_ms);
                }
                Ok(())
            }
            (PacketType::Revalidate, Stage::Active) => {
                self.revalidate(core, host, link, packet.data.unwrap_or_default())
            }
            (PacketType::Request, Stage::Active) => self.request(core, host, link, packet),
            (kind, stage) => {
                tracing::warn!("a {kind:?} from a learner in stage {stage:?} is passed over");
                Ok(())
            }
        })
    }

    fn learner_info(
        &mut self,
        core: &mut Core,
        host: &mut dyn Host,
        link: LinkId,
        packet: &QuorumPacket<'_>,
    ) -> Result<Result<(), Refused>, Fatal> {
        let info = LearnerInfo::decode(packet.data.unwrap_or_default());
        if info.config_version > core.options.config_version {
            return Ok(Err(format!(
                "it has activated configuration {:x}, this leader only {:x}",
                info.config_version, core.options.config_version
            )));
        }
        if info.protocol_version < LEARNER_PROTOCOL {
            return Ok(Err("it speaks the protocol of 3.3 or older".to_owned()));
        }
        let sid = info.sid.unwrap_or_else(|| {
            self.unknown_sids -= 1;
            Sid(self.unknown_sids)
        });
        // A server that connects anew has lost its old connection, whatever that looks like from here.
        let old = self.learners.iter().find(|(other, l)| **other != link && l.sid == sid);
        if let Some(old) = old.map(|(old, _)| *old) {
            self.drop_link(host, old, "it has connected anew");
        }
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(Ok(())) };
        let accepted = packet.zxid.epoch();
        learner.sid = sid;
        learner.observer = packet.kind == PacketType::ObserverInfo;
        learner.ringkeeper = info.mark == Some(RINGKEEPER_MARK);
        learner.stage = Stage::Known;
        host.learner_known(link, sid);
        let voter = !learner.observer && self.leading.is_voter(sid);
        match self.phase {
            Phase::Discovery(_) => self.hear_epoch(core, host, sid, accepted)?,
            // It would turn down this epoch again and again, for as long as this server leads: with Apache it is out
            // until somebody restarts the leader. Another election costs a moment, once.
            _ if voter && accepted > self.epoch && !planted(Planted::OvertakenLeaderStays) => {
                core.epoch_floor = core.epoch_floor.max(accepted);
                self.overtaken_by = Some(accepted);
            }
            _ => self.offer_epoch(host),
        }
        Ok(Ok(()))
    }

    /// LEADERINFO to everybody who waits for it.
    pub(super) fn offer_epoch(&mut self, host: &mut dyn Host) {
        let mut data = Vec::new();
        data.put_int(LEARNER_PROTOCOL);
        // Java reads the number and nothing behind it.
        data.put_int(RINGKEEPER_MARK);
        for (link, learner) in &mut self.learners {
            if learner.stage == Stage::Known {
                learner.stage = Stage::EpochOffered;
                let epoch = Zxid(self.epoch << 32);
                send_packet(host, *link, PacketType::LeaderInfo, epoch, Some(&data));
            }
        }
    }

    fn ack_epoch(
        &mut self,
        core: &mut Core,
        host: &mut dyn Host,
        link: LinkId,
        packet: &QuorumPacket<'_>,
    ) -> Result<Result<(), Refused>, Fatal> {
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(Ok(())) };
        let current = packet.data.and_then(|data| Some(i32::from_be_bytes(*data.first_chunk()?)));
        let current = i64::from(current.unwrap_or(-1));
        learner.stage = Stage::EpochAcked { last: packet.zxid };
        let sid = learner.sid;
        match self.phase {
            Phase::EpochAcks(_) => {
                if !self.hear_epoch_ack(core, host, sid, current, packet.zxid)? {
                    return Ok(Err("it is ahead of this leader".to_owned()));
                }
            }
            _ => self.synchronise(core, host, link),
        }
        Ok(Ok(()))
    }

    /// An ACK while NEWLEADER is unacknowledged. Followers before 3.8.5 and 3.9.2 may acknowledge proposals first.
    fn ack_new_leader(
        &mut self,
        core: &mut Core,
        host: &mut dyn Host,
        link: LinkId,
        packet: &QuorumPacket<'_>,
    ) -> Result<(), Fatal> {
        if packet.zxid != Zxid(self.epoch << 32) {
            self.ack(core, link, packet.zxid);
            if planted(Planted::ProposalAckBeforeNewLeaderAck)
                && let Some(learner) = self.learners.get_mut(&link)
            {
                learner.stage = Stage::NewLeaderAcked;
            }
            return Ok(());
        }
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(()) };
        learner.stage = Stage::NewLeaderAcked;
        let (sid, kind) = (learner.sid, learner.sync);
        if let Some(kind) = kind {
            self.count_under_way(core, kind);
        }
        host.set_read_timeout(link, core.options.limits.sync_ms());
        self.hear_new_leader_ack(core, host, sid)?;
        if self.is_serving() {
            self.tell_up_to_date(host);
        }
        Ok(())
    }

    /// UPTODATE to everybody who waits for it.
    pub(super) fn tell_up_to_date(&mut self, host: &mut dyn Host) {
        for (link, learner) in &mut self.learners {
            if learner.stage == Stage::NewLeaderAcked {
                learner.stage = Stage::Active;
                send_packet(host, *link, PacketType::UpToDate, Zxid::NONE, None);
                tracing::info!("learner {} is up to date", learner.sid.0);
            }
        }
    }

    /// A learner logs and acknowledges in the order of its link, so an ACK speaks for all before it.
    fn ack(&mut self, core: &mut Core, link: LinkId, zxid: Zxid) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        if zxid.counter() == 0 || learner.observer {
            return;
        }
        if learner.sid.0 >= 0
            && let Some(age) = core.recent_proposal(zxid).and_then(|txn| txn.age(core.wall))
        {
            core.leader_counts.acks.entry(learner.sid).or_default().add(age);
        }
        learner.acks.acked(zxid.0);
        if zxid <= self.leading.proposed() {
            self.leading.logged(learner.sid, zxid);
        }
    }

    pub(super) fn ping(&mut self, core: &Core, host: &mut dyn Host) {
        let last = self.leading.proposed();
        let limit = core.options.limits.sync_ms();
        let mut late = Vec::new();
        for (link, learner) in &self.learners {
            if !learner.is_forwarded_to() {
                continue;
            }
            if learner.acks.in_time(core.now, limit) {
                send_packet(host, *link, PacketType::Ping, last, None);
            } else {
                late.push(*link);
            }
        }
        for link in late {
            self.drop_link(host, link, "it has not acknowledged a proposal within syncLimit");
        }
    }

    fn revalidate(
        &mut self,
        core: &mut Core,
        host: &mut dyn Host,
        link: LinkId,
        data: &[u8],
    ) -> Result<(), Refused> {
        core.role_counts.revalidations += 1;
        let asked = Revalidate::decode(data).map_err(|error| format!("REVALIDATE: {error}"))?;
        let Revalidate { session, timeout_ms } = asked;
        let sessions = &mut core.db.sessions;
        let valid = sessions.is_open(session);
        if valid {
            sessions.touch(session, core.now, timeout_ms);
            // It exists and is not closing.
            let _ = sessions.set_owner(session, owner_of(link));
            core.detach(session);
        }
        let mut answer = Vec::new();
        answer.put_long(session.0);
        answer.put_bool(valid);
        send_packet(host, link, PacketType::Revalidate, Zxid::NONE, Some(&answer));
        Ok(())
    }

    /// A sync is answered once everything proposed before it is committed.
    pub(super) fn sync(&mut self, host: &mut dyn Host, link: LinkId) {
        let behind = self.leading.proposed();
        if behind <= self.told {
            send_packet(host, link, PacketType::Sync, Zxid::ZERO, None);
        } else {
            self.syncs.push_back(PendingSync { behind, link });
        }
    }
}

/// Sessions of a learner belong to its link, not to the server: one that connects anew revalidates them.
pub(super) fn owner_of(link: LinkId) -> u64 {
    link.0 + 1
}

/// Sessions of this server's own clients.
pub(super) const OWN: u64 = 0;

/// For what belongs to no session.
pub(super) const NOBODY: SessionId = SessionId::NONE;
