//! `electionAlg=0` (reference: election 7.1): ask everyone, count, vote for the highest zxid.
//!
//! Pure, with the same kind of seam as [`super::election`]: datagrams and time in, datagrams and a result out. Lives on
//! the Zab core of every member, and goes on answering after it has found a leader. Apache ZooKeeper 3.6 and later do
//! not know it, so only servers of this project (and very old ones) can form such an ensemble.
//!
//! Votes have no rounds: if datagrams get lost at the wrong time two servers may both take themselves for elected.
//! Discovery lets only one of them, or none, find a quorum of followers; the others look again.
//!
//! ```text
//!         look         everybody has answered, or 200 ms          more than half for one
//! (role) ─────► asking ────────────────────────────────► counting ──────────────────────► elected (role)
//!                 ▲                                          │
//!                 └────────────── after 1000 ms ─────────────┘ with the best vote heard as the new one
//! ```

use std::collections::BTreeMap;

use super::quorums::Quorum;
use super::vote::Vote;
use crate::base::prng::Prng;
use crate::base::{MonoMs, Sid, Zxid};
use crate::wire::election_datagram::{Answer, Question};
use crate::wire::notification::{Notification, PeerState};

/// Settings and membership of one server. The waits are those of the reference.
#[derive(Clone, Debug)]
pub struct LeaderElectionOptions {
    pub me: Sid,
    pub quorum: Quorum,
    /// How long the first round waits for answers, milliseconds. Every round in which no quorum answers doubles it, up
    /// to [`ANSWER_MS_MAX`]: servers may be farther from each other than the reference thinks.
    pub answer_ms: i64,
    /// Between two rounds, milliseconds.
    pub pause_ms: i64,
    /// What a follower gives its leader to find out by itself, milliseconds.
    pub settle_ms: i64,
}

impl LeaderElectionOptions {
    pub fn new(me: Sid, quorum: Quorum) -> LeaderElectionOptions {
        LeaderElectionOptions { me, quorum, answer_ms: 200, pause_ms: 1000, settle_ms: 100 }
    }
}

/// Longest wait of a round, milliseconds.
pub const ANSWER_MS_MAX: i64 = 3200;

/// What follows from an input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaderElectionEffect {
    /// A datagram for another server.
    Ask {
        to: Sid,
        bytes: [u8; Question::WIRE_BYTES],
    },
    Elected {
        state: PeerState,
        vote: Vote,
    },
}

type Effects = Vec<LeaderElectionEffect>;

#[derive(Clone, Copy, Debug)]
enum Phase {
    Idle,
    /// Questions are out.
    Asking {
        until: MonoMs,
    },
    /// Nobody has won; the next round comes.
    Pausing {
        until: MonoMs,
    },
    /// The leader is known and may not know it yet.
    Settling {
        until: MonoMs,
        vote: Vote,
    },
}

/// Who could lead, and its zxid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Candidate {
    leader: Sid,
    zxid: Zxid,
}

/// One server's part.
#[derive(Debug)]
pub struct LeaderElection {
    options: LeaderElectionOptions,
    state: PeerState,
    phase: Phase,
    /// Of the present round, milliseconds.
    answer_ms: i64,
    /// Of the present round: answers to older ones do not count. Random at first, so that a restarted server does not
    /// take answers meant for the one before.
    xid: i32,
    initial: Candidate,
    current: Candidate,
    /// Answers of this round, by who gave them.
    answers: BTreeMap<Sid, Candidate>,
}

impl LeaderElection {
    /// `seed`: any number that differs from start to start.
    pub fn new(options: LeaderElectionOptions, seed: u64) -> LeaderElection {
        let nobody = Candidate { leader: Sid(i64::MIN), zxid: Zxid(i64::MIN) };
        LeaderElection {
            answer_ms: options.answer_ms,
            options,
            state: PeerState::Looking,
            phase: Phase::Idle,
            xid: Prng::new(seed).next_u64() as i32,
            initial: nobody,
            current: nobody,
            answers: BTreeMap::new(),
        }
    }

    pub fn state(&self) -> PeerState {
        self.state
    }

    /// Begins to look. `zxid`: the last one in this server's tree.
    pub fn look(&mut self, now: MonoMs, zxid: Zxid, out: &mut Effects) {
        self.state = PeerState::Looking;
        self.answer_ms = self.options.answer_ms;
        self.initial = match self.votes(self.options.me) {
            true => Candidate { leader: self.options.me, zxid },
            // A server without a vote offers nothing, and takes what it hears.
            false => Candidate { leader: Sid(i64::MIN), zxid: Zxid(i64::MIN) },
        };
        self.current = self.initial;
        self.ask(now, out);
    }

    fn votes(&self, sid: Sid) -> bool {
        self.options.quorum.voters().contains(&sid)
    }

    fn ask(&mut self, now: MonoMs, out: &mut Effects) {
        self.xid = self.xid.wrapping_add(1);
        self.answers.clear();
        self.phase = Phase::Asking { until: now + self.answer_ms };
        let me = self.options.me;
        if self.votes(me) {
            self.answers.insert(me, self.current);
        }
        let bytes = Question { xid: self.xid }.to_bytes();
        for to in self.options.quorum.voters().iter().copied().filter(|sid| *sid != me) {
            out.push(LeaderElectionEffect::Ask { to, bytes });
        }
        self.count_if_all(now, out);
    }

    /// A question has come; the datagram to answer it with. `last`: the last zxid proposed by a leader, the last one in
    /// the tree of anybody else. Observers have nothing to say, and other datagrams are passed over.
    pub fn question(&self, datagram: &[u8], last: Zxid) -> Option<Vec<u8>> {
        let Question { xid } = Question::decode(datagram).ok()?;
        let zxid = match self.state {
            PeerState::Looking => self.current.zxid,
            PeerState::Following | PeerState::Leading => last,
            PeerState::Observing => return None,
        };
        if !self.votes(self.options.me) {
            return None;
        }
        let mut out = Vec::with_capacity(Answer::WIRE_BYTES);
        Answer { xid, sid: self.options.me, leader: self.current.leader, zxid }.encode(&mut out);
        Some(out)
    }

    /// An answer has come. Those of strangers, of other rounds, and what is no answer are passed over.
    pub fn answer(&mut self, now: MonoMs, datagram: &[u8], out: &mut Effects) {
        let Ok(answer) = Answer::decode(datagram) else { return };
        let asked = matches!(self.phase, Phase::Asking { .. }) && answer.xid == self.xid;
        if !asked || answer.sid == self.options.me || !self.votes(answer.sid) {
            return;
        }
        let candidate = Candidate { leader: answer.leader, zxid: answer.zxid };
        self.answers.insert(answer.sid, candidate);
        self.count_if_all(now, out);
    }

    fn count_if_all(&mut self, now: MonoMs, out: &mut Effects) {
        if self.has_all_answers() {
            self.count(now, out);
        }
    }

    fn has_all_answers(&self) -> bool {
        self.options.quorum.voters().iter().all(|sid| self.answers.contains_key(sid))
    }

    /// Ends a round: somebody has won, or the best vote heard is the next one.
    fn count(&mut self, now: MonoMs, out: &mut Effects) {
        if !self.options.quorum.is_met(|sid| self.answers.contains_key(&sid)) {
            self.answer_ms = (2 * self.answer_ms).min(ANSWER_MS_MAX);
        }
        let votes = valid_votes(&self.answers);
        let best = votes.values().max_by_key(|vote| (vote.zxid, vote.leader)).copied();
        let Some(best) = best else {
            // Nobody that is alive was voted for (ZOOKEEPER-569).
            self.current = self.initial;
            self.phase = Phase::Pausing { until: now + self.options.pause_ms };
            return;
        };
        self.current = best;
        let wins = |candidate: &&Candidate| {
            let quorum = &self.options.quorum;
            quorum.is_met(|sid| votes.get(&sid).is_some_and(|vote| vote == *candidate))
        };
        match votes.values().find(wins).copied() {
            Some(winner) => self.settle(now, winner, out),
            None => self.phase = Phase::Pausing { until: now + self.options.pause_ms },
        }
    }

    fn settle(&mut self, now: MonoMs, winner: Candidate, out: &mut Effects) {
        self.current = winner;
        self.state = match winner.leader {
            leader if leader == self.options.me => PeerState::Leading,
            _ if self.votes(self.options.me) => PeerState::Following,
            _ => PeerState::Observing,
        };
        let vote = Vote {
            leader: winner.leader,
            zxid: winner.zxid,
            election_epoch: -1,
            peer_epoch: winner.zxid.epoch(),
            version: Notification::VERSION,
            state: self.state,
        };
        if self.state == PeerState::Leading {
            self.phase = Phase::Idle;
            out.push(LeaderElectionEffect::Elected { state: self.state, vote });
        } else {
            self.phase = Phase::Settling { until: now + self.options.settle_ms, vote };
        }
    }

    /// What the clock asks for.
    pub fn tick(&mut self, now: MonoMs, out: &mut Effects) {
        if self.next_due().is_none_or(|due| now < due) {
            return;
        }
        match self.phase {
            Phase::Idle => {}
            Phase::Asking { .. } => self.count(now, out),
            Phase::Pausing { .. } => self.ask(now, out),
            Phase::Settling { vote, .. } => {
                self.phase = Phase::Idle;
                out.push(LeaderElectionEffect::Elected { state: self.state, vote });
            }
        }
    }

    /// When [`LeaderElection::tick`] has something to do.
    pub fn next_due(&self) -> Option<MonoMs> {
        match self.phase {
            Phase::Idle => None,
            Phase::Asking { until } | Phase::Pausing { until } | Phase::Settling { until, .. } => {
                Some(until)
            }
        }
    }
}

/// The votes for servers that have answered themselves, each candidate with the highest zxid that anybody has named
/// for it: servers know of one leader at different times.
fn valid_votes(answers: &BTreeMap<Sid, Candidate>) -> BTreeMap<Sid, Candidate> {
    let mut highest: BTreeMap<Sid, Zxid> = BTreeMap::new();
    for vote in answers.values().filter(|vote| answers.contains_key(&vote.leader)) {
        let zxid = highest.entry(vote.leader).or_insert(vote.zxid);
        *zxid = vote.zxid.max(*zxid);
    }
    let valid = answers.iter().filter_map(|(sid, vote)| {
        let zxid = *highest.get(&vote.leader)?;
        Some((*sid, Candidate { leader: vote.leader, zxid }))
    });
    valid.collect()
}

#[cfg(test)]
#[path = "leader_election_tests.rs"]
mod tests;
