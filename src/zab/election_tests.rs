//! Ensembles of elections over a network that loses, repeats and reorders.
//!
//! The reference's checklist (election 9), and who holds which item:
//!
//! | | item | tests |
//! |---|---|---|
//! | 1 | every row of the notification's layouts, lengths of the configuration | `wire/notification.rs`: `a_notification_of_now`, `notifications_of_old_versions` |
//! | 2 | a captured election replayed | `golden_quorum.rs`: `an_election_of_two_replayed`, `every_captured_vote…` |
//! | 3 | the smaller sid dials | `links_tests.rs`: `the_larger_dials…`, `one_connection_for_each_pair…` |
//! | 4 | a peer restarts; what is sent again elects no dead leader | `links_tests.rs`: `a_server_that_restarts…`; here: `a_dead_leader_is_not_elected`, `old_votes_sent_again_elect_nobody` |
//! | 5 | round jumps | `rounds_that_are_far_ahead_are_joined` |
//! | 6 | joining an established ensemble | `a_late_server_finds_the_leader…`, `answers_of_an_established_ensemble` |
//! | 7 | an observer and one answer, and a quorum of them | `an_observer_learns_the_leader_from_a_quorum_only` |
//! | 8 | groups and weights | `quorums.rs`: `groups_and_weights`; here: `a_server_without_weight_is_never_elected` |
//! | 9 | frames cut, and lengths without sense | `links_tests.rs`: `frames_that_are_cut…`; `wire/notification.rs`: `frames` |
//! | 10 | databases that cannot be trusted | `untrusted_databases_take_no_part` |

use super::*;
use crate::base::prng::Prng;

/// A vote: leader, zxid, round, epoch.
type Heard = (i64, i64, i64, i64);

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

    /// `sid` hears a vote.
    fn hear(&mut self, sid: i64, from: i64, state: PeerState, vote: Heard) {
        let (leader, zxid, election_epoch, peer_epoch) = vote;
        let (leader, zxid) = (Sid(leader), Zxid(zxid));
        let (version, config) = (Notification::VERSION, None);
        let mut body = Vec::new();
        Notification { state, leader, zxid, election_epoch, peer_epoch, version, config }
            .encode(&mut body);
        let election = self.elections.get_mut(&Sid(sid)).expect("there");
        election.receive(self.now, Sid(from), &body, &mut Vec::new());
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
    alone.hear(9, 3, PeerState::Leading, (3, 0, 1, 1));
    assert_eq!(alone.leader_of(9), None, "one voter is no quorum");
    alone.hear(9, 3, PeerState::Leading, (3, 0, 1, 1));
    assert_eq!(alone.leader_of(9), None, "nor is one that says it twice");
    alone.hear(9, 1, PeerState::Following, (3, 0, 1, 1));
    assert_eq!(alone.leader_of(9), Some(3));
    assert_eq!(alone.elections[&Sid(9)].state(), PeerState::Observing);
    // A quorum that follows is not enough: the leader must say that it leads.
    let mut unled = World::new(3);
    unled.start(&quorum, 9, init(0, 0));
    for follower in [1, 2] {
        unled.hear(9, follower, PeerState::Following, (3, 0, 1, 1));
    }
    assert_eq!(unled.leader_of(9), None);
}

/// Those who have a leader answer with the vote that they have settled with: zxid and round are those of their own
/// election, which may have been another one. Epochs are those of the leader; one that deviates is not counted.
#[test]
fn answers_of_an_established_ensemble() {
    let (leads, follows) = (PeerState::Leading, PeerState::Following);
    let join = |quorum: &Quorum, answers: &[(i64, PeerState, Heard)]| {
        let mut world = World::new(1);
        world.start(quorum, 1, init(9, 1));
        for (from, state, vote) in answers {
            world.hear(1, *from, *state, *vote);
        }
        (world.leader_of(1), world.elections[&Sid(1)].logical_clock())
    };
    let three = majority(3);
    // The joiner is in round 1, the others are elsewhere.
    let same = [(3, leads, (3, 5, 7, 2)), (2, follows, (3, 5, 7, 2))];
    assert_eq!(join(&three, &same), (Some(3), 7), "its round is joined");
    let differ = [(3, leads, (3, 5, 7, 2)), (2, follows, (3, 8, 9, 2))];
    assert_eq!(join(&three, &differ).0, Some(3));
    let deviates = [(3, leads, (3, 5, 7, 2)), (2, follows, (3, 5, 7, 1))];
    assert_eq!(join(&three, &deviates).0, None, "one is no quorum");
    let corrected = [deviates[0], deviates[1], (2, follows, (3, 5, 7, 2))];
    assert_eq!(join(&three, &corrected).0, Some(3));
    // In the joiner's own round the leader alone counts.
    let own_round = [(3, leads, (3, 5, 1, 2)), (2, follows, (3, 5, 1, 1))];
    assert_eq!(join(&three, &own_round).0, Some(3));
    let five = majority(5);
    let one_of_four = [
        (5, leads, (5, 5, 7, 2)),
        (4, follows, (5, 5, 7, 1)),
        (3, follows, (5, 6, 6, 2)),
        (2, follows, (5, 4, 5, 2)),
    ];
    assert_eq!(join(&five, &one_of_four[..3]).0, None);
    assert_eq!(join(&five, &one_of_four).0, Some(5));
}

/// A new connection begins with the vote that was sent last, whatever has become of it.
#[test]
fn old_votes_sent_again_elect_nobody() {
    // The leader of five is dead. Those that followed it say so still, and are a quorum.
    let mut world = World::new(1);
    world.start(&majority(5), 1, init(0, 0));
    for from in [2, 3, 4, 2, 3, 4] {
        world.hear(1, from, PeerState::Following, (5, 0, 1, 1));
    }
    assert_eq!(world.leader_of(1), None);
    // So do those of another round.
    for from in [2, 3, 4] {
        world.hear(1, from, PeerState::Following, (5, 0, 7, 1));
    }
    assert_eq!(world.leader_of(1), None);
    let mut world = World::new(1);
    world.start(&majority(3), 1, init(0, 0));
    // One still has its vote of that election to send: in the same round it may be believed, once.
    world.hear(1, 2, PeerState::Looking, (3, 0, 1, 0));
    let election = world.elections.get_mut(&Sid(1)).expect("there");
    election.tick(FINALIZE_MS + 1, true, &mut Vec::new());
    assert_eq!(election.vote().map(|vote| vote.leader), Some(Sid(3)));
    // The dead does not answer: in the next round neither counts.
    let mut out = Vec::new();
    election.look(FINALIZE_MS + 2, init(0, 0), &mut out);
    world.hear(1, 2, PeerState::Looking, (3, 0, 1, 0));
    world.hear(1, 2, PeerState::Following, (3, 0, 1, 1));
    let election = world.elections.get_mut(&Sid(1)).expect("there");
    election.tick(2 * FINALIZE_MS + 3, true, &mut Vec::new());
    assert_eq!(election.vote(), None);
    // The other comes to this round; the two elect one of themselves.
    world.hear(1, 2, PeerState::Looking, (2, 0, 2, 0));
    let election = world.elections.get_mut(&Sid(1)).expect("there");
    election.tick(10 * FINALIZE_MS, true, &mut Vec::new());
    assert_eq!(election.vote().map(|vote| vote.leader), Some(Sid(2)));
}

#[test]
fn a_server_without_weight_is_never_elected() {
    let members = [(1, 1, 1), (2, 1, 1), (3, 1, 0)];
    let members = members.map(|(sid, group, weight)| (Sid(sid), group, weight));
    let quorum = Quorum::Hierarchical(crate::zab::quorums::Hierarchy::new(members));
    for seed in 0..50 {
        let mut world = World::new(seed);
        // It has the most.
        for (sid, zxid) in [(3, 9), (1, 1), (2, 1)] {
            world.start(&quorum, sid, init(zxid, 1));
        }
        world.run(600);
        let leaders = [1, 2, 3].map(|sid| world.leader_of(sid));
        assert_eq!(leaders, [Some(2); 3], "seed {seed}: {:?}", world.states());
    }
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
    let unled = (world.leader_of(1), world.leader_of(3));
    assert_eq!(unled, (None, None), "nor does that of a good one with them");
    // They follow once others have a leader, and they ask again.
    world.start(&majority(3), 1, init(0, 0));
    world.run(3000);
    assert_eq!([1, 2, 3].map(|sid| world.leader_of(sid)), [Some(2); 3], "{:?}", world.states());
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
