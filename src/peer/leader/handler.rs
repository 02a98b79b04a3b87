//! One learner, as its leader sees it.

use crate::base::{MonoMs, Sid, Zxid};
use crate::peer::host::{Host, LinkId};
use crate::peer::proposal::Proposal;
use crate::wire::quorum_packet::{PacketType, QuorumPacket};
use crate::zab::liveness::AckClock;

/// How far a learner has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Connected; FOLLOWERINFO or OBSERVERINFO comes first.
    Connected,
    /// Known; LEADERINFO waits for the epoch.
    Known,
    /// LEADERINFO was sent.
    EpochOffered,
    /// ACKEPOCH came; sync waits for a quorum of them, or for what it has of this epoch to be committed.
    EpochAcked { last: Zxid },
    /// NEWLEADER was sent; everything proposed since follows on its link.
    NewLeaderSent,
    /// It has acknowledged NEWLEADER; UPTODATE waits for the leader to serve.
    NewLeaderAcked,
    /// UPTODATE was sent.
    Active,
}

/// How a learner is brought up to date; each has its limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SyncKind {
    /// The whole tree is sent.
    Snap,
    /// DIFF or TRUNC.
    Diff,
}

/// Owned by the leader, one for each link.
#[derive(Debug)]
pub(super) struct LearnerHandler {
    pub sid: Sid,
    pub stage: Stage,
    /// From the decision on; it counts until NEWLEADER is acknowledged.
    pub sync: Option<SyncKind>,
    pub observer: bool,
    /// One of ours: it cuts logs safely.
    pub ringkeeper: bool,
    /// Counts as synced until then.
    pub deadline: MonoMs,
    pub acks: AckClock,
}

impl LearnerHandler {
    pub fn new(deadline: MonoMs) -> LearnerHandler {
        LearnerHandler {
            sid: Sid(-1),
            stage: Stage::Connected,
            sync: None,
            observer: false,
            ringkeeper: false,
            deadline,
            acks: AckClock::default(),
        }
    }

    pub fn is_active(&self) -> bool {
        self.stage == Stage::Active
    }

    /// What is proposed and committed follows on its link.
    pub fn is_forwarded_to(&self) -> bool {
        matches!(self.stage, Stage::NewLeaderSent | Stage::NewLeaderAcked | Stage::Active)
    }

    pub fn gets_proposals(&self) -> bool {
        self.is_forwarded_to() && !self.observer
    }

    pub fn gets_informs(&self) -> bool {
        self.is_forwarded_to() && self.observer
    }

    /// Is being brought up to date that way.
    pub fn is_synchronising(&self, kind: SyncKind) -> bool {
        self.stage == Stage::NewLeaderSent && self.sync == Some(kind)
    }

    pub fn synced_at(&self, now: MonoMs) -> bool {
        self.is_forwarded_to() && now <= self.deadline
    }
}

/// A packet of no more than a few bytes of data.
pub(super) fn send_packet(
    host: &mut dyn Host,
    link: LinkId,
    kind: PacketType,
    zxid: Zxid,
    data: Option<&[u8]>,
) {
    let mut bytes = Vec::with_capacity(QuorumPacket::HEAD_BYTES + 64);
    QuorumPacket { kind, zxid, data, authinfo: None }.encode(&mut bytes);
    host.send(link, &bytes);
}

/// A packet with a transaction in it.
pub(super) fn put_packet(out: &mut Vec<u8>, kind: PacketType, proposal: &Proposal) {
    let data = Some(proposal.bytes());
    QuorumPacket { kind, zxid: proposal.zxid, data, authinfo: None }.encode(out);
}
