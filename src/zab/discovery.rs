//! Discovery, leader's side: which epoch this leadership has, and who has promised to take part (reference: zab 4).

use std::collections::BTreeSet;

use super::quorums::Quorum;
use crate::base::{Sid, Zxid};

/// The state a vote, an ACKEPOCH or a leader is measured by: current epoch, then last zxid.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Summary {
    pub current_epoch: i64,
    pub last: Zxid,
}

impl Summary {
    /// Whether a learner in this state has seen more than a leader in state `leader`.
    ///
    /// A zxid with counter 0 belongs to no transaction: a server of that epoch took it when the epoch began, so
    /// a leader of the same epoch is not behind it.
    pub fn is_ahead_of(&self, leader: &Summary) -> bool {
        let same_epoch = self.current_epoch == leader.current_epoch;
        let no_transaction = self.last.counter() == 0 && self.last.epoch() == leader.current_epoch;
        self > leader && !(same_epoch && no_transaction)
    }
}

/// Chooses the epoch: one more than any that a server heard of so far has accepted. Decided once a quorum,
/// this leader included, has been heard.
#[derive(Debug)]
pub struct EpochAgreement {
    me: Sid,
    quorum: Quorum,
    heard: BTreeSet<Sid>,
    epoch: i64,
    decided: bool,
}

impl EpochAgreement {
    pub fn new(me: Sid, quorum: Quorum) -> EpochAgreement {
        EpochAgreement { me, quorum, heard: BTreeSet::new(), epoch: -1, decided: false }
    }

    /// `sid` has accepted epochs up to `accepted`. Everybody's word raises the epoch, only voters make a quorum.
    /// Answers the epoch when this decides it.
    pub fn heard(&mut self, sid: Sid, accepted: i64) -> Option<i64> {
        if self.decided {
            return None;
        }
        self.epoch = self.epoch.max(accepted + 1);
        if self.quorum.voters().contains(&sid) {
            self.heard.insert(sid);
        }
        let quorum = self.quorum.is_met(|sid| self.heard.contains(&sid));
        self.decided = quorum && self.heard.contains(&self.me);
        self.decided.then_some(self.epoch)
    }

    pub fn decided(&self) -> Option<i64> {
        self.decided.then_some(self.epoch)
    }
}

/// What an ACKEPOCH comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EpochAck {
    /// It has seen more than this leader: it cannot be led.
    Refused,
    /// Taken; whether the quorum is complete says [`EpochAcks::complete`].
    Taken,
}

/// Collects promises: a quorum, this leader included, that will take part in the epoch and is not ahead of it.
#[derive(Debug)]
pub struct EpochAcks {
    me: Sid,
    quorum: Quorum,
    leader: Summary,
    acked: BTreeSet<Sid>,
    complete: bool,
}

impl EpochAcks {
    pub fn new(me: Sid, quorum: Quorum, leader: Summary) -> EpochAcks {
        EpochAcks { me, quorum, leader, acked: BTreeSet::new(), complete: false }
    }

    /// `current_epoch` -1: the learner had accepted the epoch before and must not be counted.
    pub fn ack(&mut self, sid: Sid, current_epoch: i64, last: Zxid) -> EpochAck {
        if current_epoch == -1 || last == Zxid::NONE {
            return EpochAck::Taken;
        }
        if (Summary { current_epoch, last }).is_ahead_of(&self.leader) {
            return EpochAck::Refused;
        }
        if self.quorum.voters().contains(&sid) {
            self.acked.insert(sid);
        }
        let quorum = self.quorum.is_met(|sid| self.acked.contains(&sid));
        self.complete |= quorum && self.acked.contains(&self.me);
        EpochAck::Taken
    }

    pub fn complete(&self) -> bool {
        self.complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Quorum {
        Quorum::Majority(vec![Sid(1), Sid(2), Sid(3)])
    }

    #[test]
    fn the_epoch_is_above_all_that_were_heard() {
        let mut agreement = EpochAgreement::new(Sid(1), three());
        assert_eq!(agreement.heard(Sid(9), 6), None, "an observer makes no quorum");
        assert_eq!(agreement.heard(Sid(2), 3), None);
        assert_eq!(agreement.heard(Sid(3), 3), None, "a quorum without the leader");
        assert_eq!(agreement.decided(), None);
        assert_eq!(agreement.heard(Sid(1), 0), Some(7));
        assert_eq!(agreement.heard(Sid(2), 9), None, "decided is decided");
        assert_eq!(agreement.decided(), Some(7));
    }

    #[test]
    fn learners_ahead_are_refused_and_minus_one_is_not_counted() {
        let leader = Summary { current_epoch: 4, last: Zxid(0x4_0000_0005) };
        let mut acks = EpochAcks::new(Sid(1), three(), leader);
        assert_eq!(acks.ack(Sid(1), 4, leader.last), EpochAck::Taken);
        assert_eq!(acks.ack(Sid(2), 5, Zxid(1)), EpochAck::Refused);
        assert_eq!(acks.ack(Sid(2), 4, Zxid(0x4_0000_0006)), EpochAck::Refused);
        assert_eq!(acks.ack(Sid(2), -1, Zxid(0x9_0000_0000)), EpochAck::Taken);
        assert_eq!(acks.ack(Sid(7), 4, Zxid(0)), EpochAck::Taken, "an observer");
        assert!(!acks.complete());
        assert_eq!(acks.ack(Sid(3), 4, leader.last), EpochAck::Taken);
        assert!(acks.complete());
    }

    #[test]
    fn the_zxid_an_epoch_begins_with_is_no_transaction() {
        let leader = Summary { current_epoch: 5, last: Zxid(0x4_0000_0005) };
        let former_leader = Summary { current_epoch: 5, last: Zxid(0x5_0000_0000) };
        assert!(!former_leader.is_ahead_of(&leader));
        let other_epoch = Summary { current_epoch: 6, last: Zxid(0x6_0000_0000) };
        assert!(other_epoch.is_ahead_of(&leader));
        let with_transaction = Summary { current_epoch: 5, last: Zxid(0x5_0000_0001) };
        assert!(with_transaction.is_ahead_of(&leader));
    }
}
