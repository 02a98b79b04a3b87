//! FastLeaderElection (reference: election 5): who leads, by votes that everybody sends to everybody.
//!
//! Pure: notifications and time in, notifications and a result out. One lives on the Zab core of every member; it goes
//! on answering others after it has found a leader.

use std::collections::{BTreeMap, BTreeSet};

use super::quorums::Quorum;
use super::vote::Vote;
use crate::base::{MonoMs, Sid, Zxid};
use crate::wire::notification::Notification;
pub use crate::wire::notification::PeerState;

/// Settings and membership of one server.
#[derive(Clone, Debug)]
pub struct ElectionOptions {
    pub me: Sid,
    /// The voting members and their rule.
    pub quorum: Quorum,
    /// The committed configuration, as notifications carry it.
    pub config: Vec<u8>,
    /// `zookeeper.fastleader.minNotificationInterval` and `max…`, milliseconds.
    pub min_interval_ms: i64,
    pub max_interval_ms: i64,
    /// How long a quorum waits for a better vote, milliseconds.
    pub finalize_ms: i64,
}

/// Java waits so long for a better vote.
pub const FINALIZE_MS: i64 = 200;

/// What a server would bring as leader: its tree's last zxid and its current epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InitialVote {
    pub zxid: Zxid,
    pub peer_epoch: i64,
}

/// What follows from an input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ElectionEffect {
    /// A notification's body for another server.
    Send {
        to: Sid,
        bytes: Vec<u8>,
    },
    /// Nothing has been heard: connections may be missing.
    ConnectAll,
    Elected {
        state: PeerState,
        vote: Vote,
    },
}

/// A quorum for this vote was seen; it stands if nothing better comes until then.
#[derive(Clone, Copy, Debug)]
struct Finalizing {
    until: MonoMs,
}

/// One server's part. `logical_clock` only grows.
#[derive(Debug)]
pub struct Election {
    options: ElectionOptions,
    state: PeerState,
    logical_clock: i64,
    initial: Vote,
    proposal: Vote,
    /// Votes of this round.
    received: BTreeMap<Sid, Vote>,
    /// Votes of servers that have a leader, of any round.
    settled: BTreeMap<Sid, Vote>,
    finalizing: Option<Finalizing>,
    /// What this server answers when it is not looking.
    current: Option<Vote>,
    interval_ms: i64,
    next_send: MonoMs,
    /// Could not be dialled in this round, nor were heard since: they bring no vote, better or not.
    unreachable: BTreeSet<Sid>,
}

type Effects = Vec<ElectionEffect>;

impl Election {
    pub fn new(options: ElectionOptions) -> Election {
        let nobody = Vote {
            leader: Sid(i64::MIN),
            zxid: Zxid(i64::MIN),
            election_epoch: 0,
            peer_epoch: i64::MIN,
            version: Notification::VERSION,
            state: PeerState::Looking,
        };
        Election {
            interval_ms: options.min_interval_ms,
            options,
            state: PeerState::Looking,
            logical_clock: 0,
            initial: nobody,
            proposal: nobody,
            received: BTreeMap::new(),
            settled: BTreeMap::new(),
            finalizing: None,
            current: None,
            next_send: MonoMs::MAX,
            unreachable: BTreeSet::new(),
        }
    }

    pub fn state(&self) -> PeerState {
        self.state
    }

    /// The leader that this server has settled on.
    pub fn vote(&self) -> Option<Vote> {
        self.current
    }

    /// The round.
    pub fn logical_clock(&self) -> i64 {
        self.logical_clock
    }

    fn votes(&self, sid: Sid) -> bool {
        self.options.quorum.voters().contains(&sid)
    }

    /// Begins a round. A server without a vote offers nothing, and takes what it hears.
    pub fn look(&mut self, now: MonoMs, init: InitialVote, out: &mut Effects) {
        self.state = PeerState::Looking;
        self.logical_clock += 1;
        let me = self.options.me;
        let has_vote = self.votes(me);
        self.initial = Vote {
            leader: if has_vote { me } else { Sid(i64::MIN) },
            zxid: if has_vote { init.zxid } else { Zxid(i64::MIN) },
            peer_epoch: if has_vote { init.peer_epoch } else { i64::MIN },
            ..self.initial
        };
        self.current = None;
        self.received.clear();
        self.settled.clear();
        self.finalizing = None;
        self.unreachable.clear();
        self.adopt(self.initial);
        self.interval_ms = self.options.min_interval_ms;
        self.next_send = now + self.interval_ms;
        self.send_all(out);
        self.count_own(now, out);
    }

    /// Votes for `vote` in the present round.
    fn adopt(&mut self, vote: Vote) {
        self.proposal = Vote {
            election_epoch: self.logical_clock,
            version: Notification::VERSION,
            state: PeerState::Looking,
            ..vote
        };
    }

    /// This server's own vote, as everybody else's.
    fn count_own(&mut self, now: MonoMs, out: &mut Effects) {
        let me = self.options.me;
        // A server whose database cannot be trusted does not count itself either.
        if self.votes(me) && self.initial.zxid != Zxid::NONE {
            self.received.insert(me, self.proposal);
        }
        self.count(now, out);
    }

    /// A dial of `sid` has failed. Should it come up later it finds whom the others have elected.
    pub fn unreachable(&mut self, now: MonoMs, sid: Sid, out: &mut Effects) {
        if self.state == PeerState::Looking && self.unreachable.insert(sid) {
            self.count(now, out);
        }
    }

    /// A notification from `from`. Malformed ones are passed over.
    pub fn receive(&mut self, now: MonoMs, from: Sid, body: &[u8], out: &mut Effects) {
        let Ok(n) = Notification::decode(body) else {
            tracing::warn!("a malformed notification from server {} is passed over", from.0);
            return;
        };
        self.unreachable.remove(&from);
        if !self.votes(from) {
            // An observer, or a server that is about to join.
            self.answer(from, self.logical_clock, out);
            return;
        }
        if self.state != PeerState::Looking {
            if n.state == PeerState::Looking
                && let Some(current) = self.current
            {
                self.answer(from, current.election_epoch, out);
            }
            return;
        }
        if n.state == PeerState::Looking && n.election_epoch < self.logical_clock {
            self.send(from, out);
        }
        if self.votes(n.leader) {
            self.take(now, from, &n, out);
        }
    }

    fn take(&mut self, now: MonoMs, from: Sid, n: &Notification<'_>, out: &mut Effects) {
        match n.state {
            PeerState::Looking => self.take_looking(now, from, n, out),
            PeerState::Following | PeerState::Leading => self.take_settled(from, n, out),
            PeerState::Observing => {}
        }
    }

    fn take_looking(&mut self, now: MonoMs, from: Sid, n: &Notification<'_>, out: &mut Effects) {
        // A server whose database cannot be trusted takes no part.
        if self.initial.zxid == Zxid::NONE || n.zxid == Zxid::NONE {
            return;
        }
        let vote = vote_of(n);
        let weight = self.options.quorum.weight(n.leader);
        if n.election_epoch > self.logical_clock {
            self.logical_clock = n.election_epoch;
            self.received.clear();
            self.finalizing = None;
            // Against the initial vote, not the present one: another round, another start.
            let better = vote.beats(&self.initial, weight);
            self.adopt(if better { vote } else { self.initial });
            self.send_all(out);
        } else if n.election_epoch < self.logical_clock {
            return;
        } else if vote.beats(&self.proposal, weight) {
            self.adopt(vote);
            self.finalizing = None;
            self.send_all(out);
        }
        self.received.insert(from, vote);
        self.count_own(now, out);
    }

    /// Whether a quorum votes as this server does; then the vote stands after a while, or at once if everybody who
    /// has a vote was heard: nobody is left who could bring a better one.
    fn count(&mut self, now: MonoMs, out: &mut Effects) {
        let proposal = self.proposal;
        let agrees = |sid: Sid| self.received.get(&sid).is_some_and(|v| v.agrees_with(&proposal));
        if self.state != PeerState::Looking || !self.options.quorum.is_met(agrees) {
            self.finalizing = None;
            return;
        }
        let accounted = |sid: &Sid| agrees(*sid) || self.unreachable.contains(sid);
        if self.options.quorum.voters().iter().all(accounted) {
            return self.elect(proposal, out);
        }
        let until = now + self.options.finalize_ms;
        self.finalizing.get_or_insert(Finalizing { until });
    }

    /// Somebody has a leader. It counts if a quorum has the same one, and the leader itself says so.
    fn take_settled(&mut self, from: Sid, n: &Notification<'_>, out: &mut Effects) {
        let vote = vote_of(n);
        if n.election_epoch == self.logical_clock {
            // Without its version: in the own round servers that have settled are compared by leader alone.
            self.received.insert(from, Vote { version: 0, ..vote });
            if self.is_followed(&self.received, &vote) {
                return self.elect(vote, out);
            }
        }
        self.settled.insert(from, vote);
        if self.is_followed(&self.settled, &vote) {
            self.logical_clock = n.election_epoch;
            self.elect(vote, out);
        }
    }

    /// A quorum of `votes` agrees with `vote`, and its leader leads.
    fn is_followed(&self, votes: &BTreeMap<Sid, Vote>, vote: &Vote) -> bool {
        let agrees = |sid: Sid| votes.get(&sid).is_some_and(|v| v.agrees_with(vote));
        let leads = match vote.leader == self.options.me {
            true => self.logical_clock == vote.election_epoch,
            false => votes.get(&vote.leader).is_some_and(|v| v.state == PeerState::Leading),
        };
        leads && self.options.quorum.is_met(agrees)
    }

    fn elect(&mut self, vote: Vote, out: &mut Effects) {
        let me = self.options.me;
        self.state = match vote.leader {
            leader if leader == me => PeerState::Leading,
            _ if self.votes(me) => PeerState::Following,
            _ => PeerState::Observing,
        };
        self.finalizing = None;
        self.next_send = MonoMs::MAX;
        let vote = Vote { state: self.state, version: Notification::VERSION, ..vote };
        self.current = Some(vote);
        out.push(ElectionEffect::Elected { state: self.state, vote });
    }

    /// What the clock asks for. `have_delivered`: some notification has left its queue.
    pub fn tick(&mut self, now: MonoMs, have_delivered: bool, out: &mut Effects) {
        if self.state != PeerState::Looking {
            return;
        }
        if self.finalizing.is_some_and(|finalizing| now >= finalizing.until) {
            return self.elect(self.proposal, out);
        }
        if now >= self.next_send {
            if have_delivered {
                self.send_all(out);
            } else {
                out.push(ElectionEffect::ConnectAll);
            }
            let doubled = self.interval_ms.saturating_mul(2);
            self.interval_ms = doubled.min(self.options.max_interval_ms);
            self.next_send = now + self.interval_ms;
        }
    }

    /// When [`Election::tick`] has something to do.
    pub fn next_due(&self) -> Option<MonoMs> {
        if self.state != PeerState::Looking {
            return None;
        }
        let finalizing = self.finalizing.map_or(MonoMs::MAX, |finalizing| finalizing.until);
        Some(finalizing.min(self.next_send))
    }

    /// The leader's epoch has begun here: a server that comes later must hear the same from everybody (5.8).
    pub fn synchronised(&mut self, new_epoch: i64) {
        if let Some(current) = &mut self.current {
            current.peer_epoch = new_epoch;
        }
    }

    /// To everybody with a vote.
    fn send_all(&mut self, out: &mut Effects) {
        for sid in self.options.quorum.voters().to_vec() {
            if sid != self.options.me {
                self.send(sid, out);
            }
        }
    }

    /// The present proposal.
    fn send(&self, to: Sid, out: &mut Effects) {
        self.put(to, &self.proposal, self.logical_clock, PeerState::Looking, out);
    }

    /// What this server does: its proposal while it looks, its leader afterwards.
    fn answer(&self, to: Sid, election_epoch: i64, out: &mut Effects) {
        let vote = match self.state {
            PeerState::Looking => self.proposal,
            _ => self.current.unwrap_or(self.proposal),
        };
        self.put(to, &vote, election_epoch, self.state, out);
    }

    fn put(&self, to: Sid, vote: &Vote, election_epoch: i64, state: PeerState, out: &mut Effects) {
        let notification = Notification {
            state,
            leader: vote.leader,
            zxid: vote.zxid,
            election_epoch,
            peer_epoch: vote.peer_epoch,
            version: Notification::VERSION,
            config: Some(&self.options.config),
        };
        let mut bytes = Vec::new();
        notification.encode(&mut bytes);
        out.push(ElectionEffect::Send { to, bytes });
    }
}

fn vote_of(n: &Notification<'_>) -> Vote {
    Vote {
        leader: n.leader,
        zxid: n.zxid,
        election_epoch: n.election_epoch,
        peer_epoch: n.peer_epoch,
        version: n.version,
        state: n.state,
    }
}

#[cfg(test)]
#[path = "election_tests.rs"]
mod tests;
