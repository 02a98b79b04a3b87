//! Ensembles of elections over a network that loses, repeats and reorders datagrams.

use super::*;

enum Datagram {
    Question { from: Sid, to: Sid, bytes: Vec<u8> },
    Answer { to: Sid, bytes: Vec<u8> },
}

struct World {
    elections: BTreeMap<Sid, LeaderElection>,
    /// Last zxid of every server.
    last: BTreeMap<Sid, Zxid>,
    elected: BTreeMap<Sid, (PeerState, Sid)>,
    wire: Vec<Datagram>,
    now: MonoMs,
    prng: Prng,
    /// In a thousand: lost.
    loss: u64,
    /// Datagrams sent by a server that nobody hears.
    mute: Option<Sid>,
}

impl World {
    fn new(seed: u64) -> World {
        World {
            elections: BTreeMap::new(),
            last: BTreeMap::new(),
            elected: BTreeMap::new(),
            wire: Vec::new(),
            now: 0,
            prng: Prng::new(seed),
            loss: 0,
            mute: None,
        }
    }

    fn start(&mut self, voters: i64, sid: i64, zxid: i64) {
        let quorum = Quorum::Majority((1..=voters).map(Sid).collect());
        let seed = self.prng.next_u64();
        let options = LeaderElectionOptions::new(Sid(sid), quorum);
        self.elections.insert(Sid(sid), LeaderElection::new(options, seed));
        self.last.insert(Sid(sid), Zxid(zxid));
        self.look(sid);
    }

    fn look(&mut self, sid: i64) {
        let (sid, mut out) = (Sid(sid), Vec::new());
        self.elected.remove(&sid);
        let election = self.elections.get_mut(&sid).expect("there");
        election.look(self.now, self.last[&sid], &mut out);
        self.carry(sid, out);
    }

    fn carry(&mut self, from: Sid, out: Effects) {
        for effect in out {
            match effect {
                LeaderElectionEffect::Ask { to, bytes } => {
                    self.wire.push(Datagram::Question { from, to, bytes: bytes.to_vec() });
                }
                LeaderElectionEffect::Elected { state, vote } => {
                    let before = self.elected.insert(from, (state, vote.leader));
                    assert_eq!(before, None, "server {} elected twice", from.0);
                }
            }
        }
    }

    fn step(&mut self) {
        if self.wire.is_empty() {
            self.now += 20;
            for sid in self.elections.keys().copied().collect::<Vec<_>>() {
                let mut out = Vec::new();
                self.elections.get_mut(&sid).expect("there").tick(self.now, &mut out);
                self.carry(sid, out);
            }
            return;
        }
        self.now += i64::from(self.prng.chance(1, 4));
        let at = self.prng.below(self.wire.len() as u64) as usize;
        let datagram = self.wire.swap_remove(at);
        if self.prng.below(1000) < self.loss {
            return;
        }
        match datagram {
            Datagram::Question { from, to, bytes } => {
                let Some(asked) = self.elections.get(&to).filter(|_| self.mute != Some(to)) else {
                    return;
                };
                if let Some(bytes) = asked.question(&bytes, self.last[&to]) {
                    self.wire.push(Datagram::Answer { to: from, bytes });
                }
            }
            Datagram::Answer { to, bytes } => {
                let mut out = Vec::new();
                let election = self.elections.get_mut(&to).expect("there");
                election.answer(self.now, &bytes, &mut out);
                // Said twice is said once.
                election.answer(self.now, &bytes, &mut out);
                self.carry(to, out);
            }
        }
    }

    fn run_ms(&mut self, ms: MonoMs) {
        let end = self.now + ms;
        while self.now < end {
            self.step();
        }
    }

    /// What discovery does: a leader without a quorum of followers, and whoever follows it, look again. Votes have no
    /// rounds here, so datagrams that get lost at the wrong time may elect two.
    fn send_home_the_unfollowed(&mut self, voters: i64) -> bool {
        let with = |leader: Sid| self.elected.values().filter(|(_, of)| *of == leader).count();
        let leads = |leader| self.elected.get(&leader) == Some(&(PeerState::Leading, leader));
        let stays = |leader| leads(leader) && with(leader) * 2 > voters as usize;
        let home: Vec<i64> = (1..=voters)
            .filter(|sid| self.elected.get(&Sid(*sid)).is_some_and(|(_, of)| !stays(*of)))
            .collect();
        let looking = self.elected.len() < voters as usize;
        home.iter().for_each(|sid| self.look(*sid));
        looking || !home.is_empty()
    }

    fn leader_of(&self, sid: i64) -> Option<i64> {
        self.elected.get(&Sid(sid)).map(|(_, leader)| leader.0)
    }
}

#[test]
fn the_highest_zxid_leads_whatever_the_network_does() {
    for seed in 0..200 {
        let voters = 1 + 2 * (seed % 4) as i64;
        let mut world = World::new(seed);
        world.loss = seed % 3 * 100;
        let mut best = (i64::MIN, 0);
        for sid in 1..=voters {
            let zxid = world.prng.below(3) as i64;
            best = best.max((zxid, sid));
            world.start(voters, sid, zxid);
        }
        world.run_ms(5_000);
        let mut tries = 0;
        while world.send_home_the_unfollowed(voters) {
            tries += 1;
            assert!(tries < 40, "seed {seed}: {:?}", world.elected);
            world.run_ms(5_000);
        }
        for sid in 1..=voters {
            assert_eq!(world.leader_of(sid), world.leader_of(1), "seed {seed}");
        }
        // A round that has lost answers may settle for less than the best; discovery makes up for it.
        if world.loss == 0 {
            assert_eq!(world.leader_of(1), Some(best.1), "seed {seed}: {:?}", world.elected);
        }
        let leading = world.elected.values().filter(|(state, _)| *state == PeerState::Leading);
        assert_eq!(leading.count(), 1, "seed {seed}");
    }
}

#[test]
fn alone_it_leads_at_once() {
    let mut world = World::new(1);
    world.start(1, 1, 5);
    assert_eq!(world.elected[&Sid(1)], (PeerState::Leading, Sid(1)));
    assert_eq!(world.elections[&Sid(1)].next_due(), None);
}

#[test]
fn a_minority_elects_nobody_and_goes_on_asking() {
    let mut world = World::new(2);
    world.start(3, 2, 5);
    world.run_ms(10_000);
    assert_eq!(world.leader_of(2), None);
    world.start(3, 3, 1);
    world.run_ms(10_000);
    assert_eq!((world.leader_of(2), world.leader_of(3)), (Some(2), Some(2)), "more zxids");
}

#[test]
fn a_late_server_and_an_observer_find_the_leader() {
    let mut world = World::new(3);
    world.start(3, 1, 4);
    world.start(3, 2, 5);
    world.run_ms(10_000);
    assert_eq!((world.leader_of(1), world.leader_of(2)), (Some(2), Some(2)));
    // It has more, and comes too late; the leader has gone on meanwhile, its follower not as far.
    world.last.insert(Sid(2), Zxid(9));
    world.last.insert(Sid(1), Zxid(8));
    world.start(3, 3, 7);
    world.start(3, 7, 0);
    world.run_ms(10_000);
    assert_eq!(world.elected[&Sid(3)], (PeerState::Following, Sid(2)));
    assert_eq!(world.elected[&Sid(7)], (PeerState::Observing, Sid(2)));
    let question = Question { xid: 1 }.to_bytes();
    assert_eq!(world.elections[&Sid(7)].question(&question, Zxid(0)), None);
}

#[test]
fn a_dead_leader_is_not_elected() {
    let mut world = World::new(4);
    for sid in 1..=3 {
        world.start(3, sid, sid);
    }
    world.run_ms(10_000);
    assert_eq!(world.leader_of(1), Some(3));
    world.mute = Some(Sid(3));
    world.look(1);
    world.run_ms(5_000);
    assert_eq!(world.leader_of(1), None, "2 still follows it, but it does not answer");
    world.look(2);
    world.run_ms(10_000);
    assert_eq!((world.leader_of(1), world.leader_of(2)), (Some(2), Some(2)));
}

/// Whom `answers` make a server of five vote for next, and whom it elects.
fn counted(answers: &[(i64, i64, i64)]) -> (Candidate, PeerState) {
    let quorum = Quorum::Majority((1..=5).map(Sid).collect());
    let mut election = LeaderElection::new(LeaderElectionOptions::new(Sid(1), quorum), 7);
    let mut out = Vec::new();
    election.look(0, Zxid(3), &mut out);
    for (sid, leader, zxid) in answers {
        let mut bytes = Vec::new();
        let (sid, leader, zxid) = (Sid(*sid), Sid(*leader), Zxid(*zxid));
        Answer { xid: election.xid, sid, leader, zxid }.encode(&mut bytes);
        election.answer(10, &bytes, &mut out);
    }
    election.tick(200, &mut out);
    (election.current, election.state)
}

#[test]
fn counting() {
    let candidate = |leader, zxid| Candidate { leader: Sid(leader), zxid: Zxid(zxid) };
    use PeerState::{Following, Looking};
    assert_eq!(counted(&[]), (candidate(1, 3), Looking), "its own vote is left");
    assert_eq!(counted(&[(2, 2, 4)]), (candidate(2, 4), Looking), "the higher zxid");
    assert_eq!(counted(&[(2, 2, 3), (4, 4, 3)]), (candidate(4, 3), Looking), "the higher sid");
    assert_eq!(counted(&[(2, 5, 9), (3, 5, 9)]), (candidate(1, 3), Looking), "5 is not there");
    let spread = [(2, 2, 9), (3, 2, 7), (4, 2, 8)];
    assert_eq!(counted(&spread), (candidate(2, 9), Following), "the highest zxid of each counts");
    let strangers = [(2, 2, 9), (3, 2, 9), (6, 2, 9), (1, 2, 9), (-1, 2, 9)];
    assert_eq!(counted(&strangers), (candidate(2, 9), Looking), "not voters, or itself");
}

#[test]
fn answers_to_other_rounds_and_garbage_are_passed_over() {
    let quorum = Quorum::Majority((1..=3).map(Sid).collect());
    let mut election = LeaderElection::new(LeaderElectionOptions::new(Sid(1), quorum), 7);
    let mut out = Vec::new();
    election.look(0, Zxid(3), &mut out);
    let mut bytes = Vec::new();
    Answer { xid: election.xid, sid: Sid(2), leader: Sid(2), zxid: Zxid(9) }.encode(&mut bytes);
    election.tick(200, &mut out);
    election.answer(210, &bytes, &mut out);
    election.tick(1200, &mut out);
    election.answer(1210, &bytes, &mut out);
    assert_eq!(election.answers.len(), 1, "an answer to the round before");
    for len in 0..64 {
        election.answer(1220, &vec![0xff; len], &mut out);
        assert_eq!(election.question(&vec![0; len], Zxid(0)).is_some(), len == 4);
    }
    assert_eq!((election.answers.len(), election.state), (1, PeerState::Looking));
}
