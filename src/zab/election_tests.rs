//! Ensembles of elections over a network that loses, repeats and reorders.

use super::*;
use crate::base::prng::Prng;

struct World {
    elections: BTreeMap<Sid, Election>,
    init: BTreeMap<Sid, InitialVote>,
    wire: Vec<(Sid, Sid, Vec<u8>)>,
    now: MonoMs,
    prng: Prng,
    /// In a thousand: lost, and delivered twice.
    loss: u64,
    twice: u64,
}

fn init(zxid: i64, peer_epoch: i64) -> InitialVote {
    InitialVote { zxid: Zxid(zxid), peer_epoch }
}

fn majority(voters: i64) -> Quorum {
    Quorum::Majority((1..=voters).map(Sid).collect())
}

impl World {
    fn new(seed: u64) -> World {
        World {
            elections: BTreeMap::new(),
            init: BTreeMap::new(),
            wire: Vec::new(),
            now: 0,
            prng: Prng::new(seed),
            loss: 0,
            twice: 0,
        }
    }

    fn start(&mut self, quorum: &Quorum, sid: i64, init: InitialVote) {
        let options = ElectionOptions {
            me: Sid(sid),
            quorum: quorum.clone(),
            config: b"version=0".to_vec(),
            min_interval_ms: 200,
            max_interval_ms: 60_000,
            finalize_ms: FINALIZE_MS,
        };
        let mut out = Vec::new();
        let mut election = Election::new(options);
        election.look(self.now, init, &mut out);
        self.elections.insert(Sid(sid), election);
        self.init.insert(Sid(sid), init);
        self.carry(Sid(sid), out);
    }

    fn carry(&mut self, from: Sid, out: Vec<ElectionEffect>) {
        for effect in out {
            if let ElectionEffect::Send { to, bytes } = effect {
                self.wire.push((from, to, bytes));
            }
        }
    }

    fn step(&mut self) {
        if self.wire.is_empty() {
            self.now += 50;
            for sid in self.elections.keys().copied().collect::<Vec<_>>() {
                let mut out = Vec::new();
                let election = self.elections.get_mut(&sid).expect("there");
                election.tick(self.now, true, &mut out);
                self.carry(sid, out);
            }
            return;
        }
        self.now += 1;
        let at = self.prng.below(self.wire.len() as u64) as usize;
        let (from, to, bytes) = match self.prng.below(1000) < self.twice {
            true => self.wire[at].clone(),
            false => self.wire.remove(at),
        };
        if self.prng.below(1000) < self.loss {
            return;
        }
        let Some(election) = self.elections.get_mut(&to) else { return };
        let mut out = Vec::new();
        election.receive(self.now, from, &bytes, &mut out);
        self.carry(to, out);
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
        }
    }

    fn leader_of(&self, sid: i64) -> Option<i64> {
        self.elections[&Sid(sid)].vote().map(|vote| vote.leader.0)
    }

    fn states(&self) -> Vec<(i64, PeerState, Option<i64>)> {
        let state = |(sid, e): (&Sid, &Election)| (sid.0, e.state(), e.vote().map(|v| v.leader.0));
        self.elections.iter().map(state).collect()
    }
}

#[test]
fn the_most_advanced_leads_whatever_the_network_does() {
    for seed in 0..300 {
        let voters = 3 + 2 * (seed % 3) as i64;
        let quorum = majority(voters);
        let mut world = World::new(seed);
        world.loss = seed % 4 * 50;
        world.twice = seed % 5 * 40;
        let mut best = (i64::MIN, i64::MIN, i64::MIN);
        for sid in 1..=voters {
            let at = init(world.prng.below(3) as i64, world.prng.below(2) as i64);
            best = best.max((at.peer_epoch, at.zxid.0, sid));
            world.start(&quorum, sid, at);
        }
        world.run(4000);
        for sid in 1..=voters {
            assert_eq!(world.leader_of(sid), Some(best.2), "seed {seed}: {:?}", world.states());
        }
    }
}

#[test]
fn all_voters_heard_means_no_wait() {
    let quorum = majority(3);
    let mut world = World::new(1);
    for sid in 1..=3 {
        world.start(&quorum, sid, init(sid, 0));
    }
    while world.now < 100 && world.leader_of(1) != Some(3) {
        world.step();
    }
    assert!(world.now < 100, "waited for nobody");
    let two = majority(3);
    let mut world = World::new(1);
    for sid in 1..=2 {
        world.start(&two, sid, init(sid, 0));
    }
    while world.leader_of(2).is_none() {
        world.step();
    }
    assert!(world.now >= FINALIZE_MS, "the third may be about to bring a better vote");
}

#[test]
fn the_dead_are_not_waited_for() {
    let quorum = majority(3);
    let mut world = World::new(1);
    for sid in 1..=2 {
        world.start(&quorum, sid, init(sid, 0));
        let election = world.elections.get_mut(&Sid(sid)).expect("there");
        election.unreachable(0, Sid(3), &mut Vec::new());
    }
    while world.now < 100 && world.leader_of(1) != Some(2) {
        world.step();
    }
    assert!(world.now < 100, "{:?}", world.states());
}

#[test]
fn a_late_server_finds_the_leader_and_a_minority_finds_none() {
    for seed in 0..100 {
        let quorum = majority(3);
        let mut world = World::new(seed);
        world.start(&quorum, 2, init(5, 1));
        world.run(300);
        assert_eq!(world.leader_of(2), None, "alone");
        world.start(&quorum, 1, init(5, 1));
        world.run(600);
        assert_eq!((world.leader_of(1), world.leader_of(2)), (Some(2), Some(2)));
        for sid in [1, 2] {
            world.elections.get_mut(&Sid(sid)).expect("there").synchronised(2);
        }
        // It has more, and comes too late: a leader that leads is followed.
        world.start(&quorum, 3, init(9, 1));
        world.run(600);
        assert_eq!(world.leader_of(3), Some(2), "seed {seed}: {:?}", world.states());
    }
}

#[test]
fn a_dead_leader_is_not_elected() {
    let quorum = majority(3);
    let mut world = World::new(7);
    for sid in 1..=3 {
        world.start(&quorum, sid, init(0, 0));
    }
    world.run(600);
    assert_eq!(world.leader_of(1), Some(3));
    world.elections.remove(&Sid(3));
    // 2 still follows the dead leader and says so to 1, which looks again.
    let mut out = Vec::new();
    let now = world.now;
    world.elections.get_mut(&Sid(1)).expect("there").look(now, init(0, 0), &mut out);
    world.carry(Sid(1), out);
    world.run(300);
    assert_eq!(world.leader_of(1), None, "nobody says that it leads");
    let mut out = Vec::new();
    let now = world.now;
    world.elections.get_mut(&Sid(2)).expect("there").look(now, init(0, 0), &mut out);
    world.carry(Sid(2), out);
    world.run(600);
    assert_eq!((world.leader_of(1), world.leader_of(2)), (Some(2), Some(2)));
}

#[test]
fn an_observer_learns_the_leader_from_a_quorum_only() {
    let quorum = majority(3);
    let mut world = World::new(3);
    for sid in 1..=3 {
        world.start(&quorum, sid, init(0, 0));
    }
    world.run(600);
    world.start(&quorum, 9, init(0, 0));
    world.run(600);
    assert_eq!(world.leader_of(9), Some(3));
    assert_eq!(world.elections[&Sid(9)].state(), PeerState::Observing);
    let mut alone = World::new(3);
    alone.start(&quorum, 9, init(0, 0));
    let leading = Notification {
        state: PeerState::Leading,
        leader: Sid(3),
        zxid: Zxid(0),
        election_epoch: 1,
        peer_epoch: 1,
        version: 2,
        config: None,
    };
    let mut body = Vec::new();
    leading.encode(&mut body);
    let mut out = Vec::new();
    alone.elections.get_mut(&Sid(9)).expect("there").receive(1, Sid(3), &body, &mut out);
    assert_eq!(alone.leader_of(9), None, "one voter is no quorum");
}

#[test]
fn rounds_that_are_far_ahead_are_joined() {
    for ahead in [1, 1000] {
        for (mine, expected) in [(init(1, 0), 2), (init(9, 0), 1)] {
            let quorum = majority(3);
            let mut world = World::new(5);
            world.start(&quorum, 1, mine);
            world.start(&quorum, 2, init(5, 0));
            let two = world.elections.get_mut(&Sid(2)).expect("there");
            for _ in 0..ahead {
                two.look(0, init(5, 0), &mut Vec::new());
            }
            world.run(800);
            assert_eq!(world.leader_of(1), Some(expected), "{:?}", world.states());
            assert_eq!(world.leader_of(2), Some(expected));
        }
    }
}

#[test]
fn untrusted_databases_take_no_part() {
    let quorum = majority(3);
    let mut world = World::new(5);
    world.start(&quorum, 1, init(-1, 0));
    world.start(&quorum, 3, init(-1, 5));
    world.run(600);
    assert_eq!((world.leader_of(1), world.leader_of(3)), (None, None));
    world.start(&quorum, 2, init(0, 0));
    world.run(600);
    assert_eq!(world.leader_of(2), None, "the others' votes do not count");
    let alone = majority(1);
    let mut world = World::new(5);
    world.start(&alone, 1, init(-1, 0));
    world.run(600);
    assert_eq!(world.leader_of(1), None, "not even for itself");
}

#[test]
fn garbage_is_passed_over() {
    let quorum = majority(3);
    let mut world = World::new(5);
    world.start(&quorum, 1, init(0, 0));
    let mut prng = Prng::new(1);
    for length in 0..200 {
        let body: Vec<u8> = (0..length).map(|_| prng.below(256) as u8).collect();
        let election = world.elections.get_mut(&Sid(1)).expect("there");
        election.receive(1, Sid(2), &body, &mut Vec::new());
        election.receive(1, Sid(77), &body, &mut Vec::new());
    }
    assert_eq!(world.leader_of(1), None);
}
