//! Long seeded runs with many changes in flight. Applying asserts that each transaction carries the digest of the
//! tree after it, so any difference between what validation expected and what happened is found at once.

use super::*;
use crate::base::prng::Prng;

/// Requests per seed.
const STEPS: u64 = 6_000;
/// Prepared and not applied, at most.
const DEPTH_MAX: u64 = 12;

struct Run {
    world: World,
    rng: Prng,
    live: Vec<SessionId>,
    next_session: i64,
    succeeded: u64,
    refused: u64,
}

impl Run {
    fn new(seed: u64) -> Run {
        let (world, rng) = (World::new(), Prng::new(seed));
        let live = vec![A, B];
        Run { world, rng, live, next_session: B.0 + 1, succeeded: 0, refused: 0 }
    }

    /// A small space of paths, so that operations meet: three levels, two names each at the lower two.
    fn path(&mut self) -> String {
        let mut path = format!("/{}", self.rng.below(3));
        for _ in 0..self.rng.below(3) {
            path.push_str(&format!("/{}", self.rng.below(2)));
        }
        path
    }

    fn version(&mut self) -> i32 {
        if self.rng.chance(2, 3) { -1 } else { self.rng.below(3) as i32 }
    }

    fn multi(&mut self) -> Vec<u8> {
        let paths: Vec<String> = (0..self.rng.below(5)).map(|_| self.path()).collect();
        let mut ops = Vec::new();
        for path in &paths {
            let version = self.version();
            ops.push(match self.rng.below(5) {
                0 | 1 => create_op(path, self.rng.below(4) as i32),
                2 => set_op(path, version),
                3 => delete_op(path),
                _ => check_op(path, version),
            });
        }
        multi(&ops)
    }

    fn request(&mut self) -> (OpCode, Vec<u8>) {
        let (path, version) = (self.path(), self.version());
        let bytes = Some(path.as_bytes());
        let open = OPEN_ACL_UNSAFE.as_bytes();
        match self.rng.below(20) {
            0..=4 => (OpCode::Create, create(&path, b"c", self.rng.below(4) as i32)),
            5 => (OpCode::Create2, create(&path, &[], self.rng.below(4) as i32)),
            6 => (OpCode::CreateContainer, create(&path, b"", 4)),
            7 => {
                let (flags, ttl) = (5 + self.rng.below(2) as i32, 1 + self.rng.below(9) as i64);
                (OpCode::CreateTtl, create_raw(bytes, b"t", open, flags, ttl))
            }
            8..=11 => (OpCode::Delete, path_version(bytes, version)),
            12..=14 => {
                let data = vec![b'd'; self.rng.below(40) as usize];
                (OpCode::SetData, set_data(bytes, &data, version))
            }
            15 => {
                let sealed = sealed_acl();
                let list = if self.rng.chance(1, 8) { &sealed } else { open };
                (OpCode::SetAcl, set_acl(bytes, list, version))
            }
            _ => (OpCode::Multi, self.multi()),
        }
    }

    fn apply(&mut self) {
        let said = self.world.apply();
        if said.err == 0 {
            self.succeeded += 1;
        } else {
            self.refused += 1;
        }
    }

    fn step(&mut self) {
        if self.rng.chance(1, 60) {
            let closing = self.live.swap_remove(self.rng.below(self.live.len() as u64) as usize);
            self.world.submit(closing, OpCode::CloseSession, b"");
        }
        if self.live.len() < 2 {
            let session = SessionId(self.next_session);
            self.next_session += 1;
            self.live.push(session);
            let mut txn = Vec::new();
            self.world.sessions.create(session, TIMEOUT_MS, 0);
            self.world.prep.create_session(self.world.now, session, TIMEOUT_MS, &mut txn);
            self.world.pending.push_back(txn);
        }
        let session = self.live[self.rng.below(self.live.len() as u64) as usize];
        let (op, body) = self.request();
        // A sealed node would stop the run in its corner: a superuser passes everywhere.
        self.world.ids = if self.rng.chance(1, 2) { superuser() } else { peer() };
        self.world.submit(session, op, &body);
        let keep = self.rng.below(DEPTH_MAX) as usize;
        if self.rng.chance(1, 4) {
            while self.world.pending.len() > keep {
                self.apply();
            }
        } else if self.world.pending.len() > DEPTH_MAX as usize {
            self.apply();
        }
    }
}

fn peer() -> Identities {
    Identities::of_peer(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn superuser() -> Identities {
    peer().with(crate::auth::Identity::new("super", "root"))
}

#[test]
fn digests_hold_at_any_depth_and_replay_gives_the_same_tree() {
    for seed in 1..=5 {
        let mut run = Run::new(seed);
        for _ in 0..STEPS {
            run.step();
        }
        while !run.world.pending.is_empty() {
            run.apply();
        }
        let Run { world, succeeded, refused, .. } = run;
        assert!(succeeded > STEPS / 3 && refused > STEPS / 5, "{succeeded} and {refused}");
        assert!(world.prep.outstanding.is_empty(), "seed {seed}");
        assert_eq!(world.prep.digest(), world.tree.digest(), "seed {seed}");
        assert_eq!(world.applier.digest_mismatches, 0, "seed {seed}");
        replay(&world, seed);
    }
}

/// On an empty tree, and then the last part once more, as after a snapshot that was written meanwhile.
fn replay(world: &World, seed: u64) {
    let mut tree = fresh_tree(true);
    let mut sessions = SessionTracker::new(2000);
    let mut applier = Applier::replaying(Zxid::ZERO);
    let mut batch = CommitBatch::default();
    for txn in &world.log {
        tree.begin();
        applier.apply(&mut tree, &mut sessions, txn, None, &mut batch).expect("our own bytes");
        tree.publish(decode_txn(txn).expect("our own bytes").0.zxid);
    }
    assert_eq!(dump(&tree), dump(&world.tree), "seed {seed}");
    assert_eq!(tree.digest(), world.tree.digest(), "seed {seed}");
    assert_eq!(applier.digest_mismatches, 0, "seed {seed}");
    assert!(batch.items.is_empty(), "nobody hears of a replay");
    let known = |sessions: &SessionTracker| {
        let mut known: Vec<_> = sessions.iter().collect();
        known.sort_unstable();
        known
    };
    assert_eq!(known(&sessions), known(&world.sessions), "seed {seed}");
}

/// A leader's stream may hold changes from behind its zxid that no node tells of: replay over them is not taken for
/// damage, and digests count again from the first moment at which the tree is that of one zxid.
#[test]
fn replay_over_a_tree_that_is_ahead_settles_when_it_has_caught_up() {
    let mut run = Run::new(6);
    for _ in 0..STEPS {
        run.step();
    }
    while !run.world.pending.is_empty() {
        run.apply();
    }
    let World { mut tree, mut sessions, log, .. } = run.world;
    let zxid = |txn: &[u8]| decode_txn(txn).expect("our own bytes").0.zxid;
    let (half, last) = (log.len() / 2, zxid(log.last().expect("a log")));
    let mut batch = CommitBatch::default();
    let mut strict = Applier::replaying(Zxid::ZERO);
    let mut applier = Applier::replaying(Zxid::ZERO).unsettled();
    for (n, txn) in log[half..].iter().enumerate() {
        let applier = if n % 2 == 0 { &mut strict } else { &mut applier };
        assert!(!applier.is_exact(zxid(txn)) || n % 2 == 0, "it is ahead");
        tree.begin();
        applier.apply(&mut tree, &mut sessions, txn, None, &mut batch).expect("our own bytes");
        tree.publish(zxid(txn));
    }
    assert!(strict.digest_mismatches > 0, "the tree was ahead");
    assert_eq!(applier.digest_mismatches, 0);
    // Everything has been applied again: the last digest is equal, and one that is not counts from here on.
    let again = |applier: &mut Applier, tree: &mut TreeWriter| {
        let txn = log.last().expect("a log");
        tree.begin();
        let mut sessions = SessionTracker::new(2000);
        let applied = applier.apply(tree, &mut sessions, txn, None, &mut CommitBatch::default());
        applied.expect("our own bytes");
        tree.publish(last);
    };
    again(&mut applier, &mut tree);
    assert!(applier.is_exact(last));
    again(&mut applier, &mut fresh_tree(true));
    assert_eq!(applier.digest_mismatches, 1);
}

/// Cutting a transaction short is an error or another transaction, never a panic.
#[test]
fn truncated_transactions_are_refused() {
    let mut run = Run::new(9);
    for _ in 0..200 {
        run.step();
    }
    while !run.world.pending.is_empty() {
        run.apply();
    }
    let mut refused = 0;
    for txn in &run.world.log {
        let (mut tree, mut sessions) = (fresh_tree(true), SessionTracker::new(2000));
        for cut in 0..txn.len() {
            let mut batch = CommitBatch::default();
            tree.begin();
            let mut applier = Applier::default();
            let part = &txn[..cut];
            let applied = applier.apply(&mut tree, &mut sessions, part, None, &mut batch);
            refused += u64::from(applied.is_err());
            tree.publish(Zxid(1));
        }
    }
    assert!(refused > 1000, "{refused}");
}
