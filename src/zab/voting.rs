//! The election that a server takes part in, whichever of the two the configuration says: one seam for what runs it
//! (reference: election 5 and 7).
//!
//! Both take what other servers send, and time; both answer what to send and whom they have elected. They differ in how
//! a message names its sender: notifications come on connections that belong to a server, questions of
//! `electionAlg=0` come as datagrams from any port, and are answered to where they came from.

use super::election::{Election, ElectionEffect, InitialVote};
use super::leader_election::{LeaderElection, LeaderElectionEffect};
use crate::base::{MonoMs, Sid, Zxid};

type Effects = Vec<ElectionEffect>;

/// One server's part in elections. Lives on the Zab core of every member of an ensemble.
#[derive(Debug)]
pub enum Voting {
    /// FastLeaderElection, what every Apache server of today speaks.
    Fast(Box<Election>),
    /// `electionAlg=0`.
    Basic(Box<LeaderElection>),
}

impl From<Election> for Voting {
    fn from(election: Election) -> Voting {
        Voting::Fast(Box::new(election))
    }
}

impl From<LeaderElection> for Voting {
    fn from(election: LeaderElection) -> Voting {
        Voting::Basic(Box::new(election))
    }
}

/// What a server that has accepted `epoch` and logged `last` votes with where votes name no epoch: the start of an epoch
/// counts as a transaction of it. Everybody who has written `epoch` down has the whole history before it, so it must
/// win over a longer tail of an older one, as it does in the other election.
pub fn weight_of(last: Zxid, epoch: i64) -> Zxid {
    last.max(Zxid(epoch << 32))
}

impl Voting {
    /// Begins to look for a leader.
    pub fn look(&mut self, now: MonoMs, init: InitialVote, out: &mut Effects) {
        match self {
            Voting::Fast(election) => election.look(now, init, out),
            Voting::Basic(election) => {
                let zxid = weight_of(init.zxid, init.peer_epoch);
                with_basic(out, |basic| election.look(now, zxid, basic));
            }
        }
    }

    /// A message of a server. `last`: what this server would name as its newest transaction, see [`weight_of`].
    pub fn receive(&mut self, now: MonoMs, from: Sid, body: &[u8], last: Zxid, out: &mut Effects) {
        match self {
            Voting::Fast(election) => election.receive(now, from, body, out),
            Voting::Basic(_) => {
                if let Some(bytes) = self.datagram(now, body, last, out) {
                    out.push(ElectionEffect::Send { to: from, bytes });
                }
            }
        }
    }

    /// A datagram from an unknown sender; answers what to send back to where it came from.
    pub fn datagram(
        &mut self,
        now: MonoMs,
        bytes: &[u8],
        last: Zxid,
        out: &mut Effects,
    ) -> Option<Vec<u8>> {
        let Voting::Basic(election) = self else { return None };
        if let Some(answer) = election.question(bytes, last) {
            return Some(answer);
        }
        with_basic(out, |basic| election.answer(now, bytes, basic));
        None
    }

    /// A server could not be dialled. Datagrams are never known to be lost.
    pub fn unreachable(&mut self, now: MonoMs, sid: Sid, out: &mut Effects) {
        if let Voting::Fast(election) = self {
            election.unreachable(now, sid, out);
        }
    }

    /// What the clock asks for. `have_delivered`: some notification has left its queue.
    pub fn tick(&mut self, now: MonoMs, have_delivered: bool, out: &mut Effects) {
        match self {
            Voting::Fast(election) => election.tick(now, have_delivered, out),
            Voting::Basic(election) => with_basic(out, |basic| election.tick(now, basic)),
        }
    }

    /// When [`Voting::tick`] has something to do.
    pub fn next_due(&self) -> Option<MonoMs> {
        match self {
            Voting::Fast(election) => election.next_due(),
            Voting::Basic(election) => election.next_due(),
        }
    }

    /// The leader's epoch has begun here. The older election names no epoch.
    pub fn synchronised(&mut self, new_epoch: i64) {
        if let Voting::Fast(election) = self {
            election.synchronised(new_epoch);
        }
    }
}

fn with_basic(out: &mut Effects, call: impl FnOnce(&mut Vec<LeaderElectionEffect>)) {
    let mut effects = Vec::new();
    call(&mut effects);
    out.extend(effects.into_iter().map(|effect| match effect {
        LeaderElectionEffect::Ask { to, bytes } => {
            ElectionEffect::Send { to, bytes: bytes.to_vec() }
        }
        LeaderElectionEffect::Elected { state, vote } => ElectionEffect::Elected { state, vote },
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::notification::PeerState;
    use crate::zab::Quorum;
    use crate::zab::leader_election::LeaderElectionOptions;

    /// A server that was led into epoch 2 and has logged nothing of it, and one with a longer tail of epoch 1.
    #[test]
    fn a_newer_epoch_beats_a_longer_tail() {
        let quorum = Quorum::Majority(vec![Sid(1), Sid(2)]);
        let mut servers: Vec<Voting> = [1, 2]
            .map(|sid| {
                let options = LeaderElectionOptions::new(Sid(sid), quorum.clone());
                LeaderElection::new(options, sid as u64).into()
            })
            .into();
        let histories = [(Zxid(0x1_0000_0005), 2), (Zxid(0x1_0000_0009), 1)]
            .map(|(zxid, epoch)| InitialVote { zxid, peer_epoch: epoch });
        let last = histories.map(|init| weight_of(init.zxid, init.peer_epoch));
        let (mut now, mut elected) = (0, Vec::new());
        let mut out = [Vec::new(), Vec::new()];
        for (at, server) in servers.iter_mut().enumerate() {
            server.look(now, histories[at], &mut out[at]);
        }
        for _ in 0..200 {
            for at in 0..2 {
                for effect in std::mem::take(&mut out[at]) {
                    let other = 1 - at;
                    match effect {
                        ElectionEffect::Send { to, bytes } => {
                            assert_eq!(to, Sid(other as i64 + 1));
                            let me = Sid(at as i64 + 1);
                            servers[other].receive(now, me, &bytes, last[other], &mut out[other]);
                        }
                        ElectionEffect::Elected { state, vote } => {
                            elected.push((state, vote.leader))
                        }
                        ElectionEffect::ConnectAll => panic!("there are no connections"),
                    }
                }
                servers[at].tick(now, true, &mut out[at]);
            }
            now += 20;
        }
        elected.sort_by_key(|(state, _)| *state as u8);
        assert_eq!(elected.len(), 2, "{elected:?}");
        assert!(elected.contains(&(PeerState::Leading, Sid(1))), "{elected:?}");
        assert!(elected.contains(&(PeerState::Following, Sid(1))), "{elected:?}");
    }
}
