//! The simulator is worth what it catches: mistakes made on purpose, one at a time.
//!
//! `RINGKEEPER_PLANTED_SURVEY=1 RINGKEEPER_SIM_SEEDS=1..300 cargo test --test simulator planted -- --nocapture` tells which
//! seeds catch which mistake, and by which checker, for when the table below needs other seeds.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ringkeeper::base::planted::{Planted, plant};

use crate::checkers::checker_of;
use crate::{run, seeds, setting};

/// Seeds that are tried when the known one catches nothing any more.
const SEEDS_MAX: u64 = 60;

/// Which checker catches a mistake in a seed.
fn caught(mistake: Planted, seed: u64, seconds: i64) -> Option<String> {
    plant(Some(mistake));
    let result = catch_unwind(AssertUnwindSafe(|| run(seed, seconds)));
    plant(None);
    result.err().map(|panic| checker_of(&*panic))
}

fn must_be_caught(mistake: Planted, (known, seconds): (u64, i64), by: &[&str]) {
    if setting("RINGKEEPER_PLANTED_SURVEY").is_some() {
        return survey(mistake, seconds);
    }
    let tried = std::iter::once(known).chain(1..SEEDS_MAX);
    let mut found = tried.map(|seed| (seed, caught(mistake, seed, seconds)));
    let Some((seed, Some(checker))) = found.find(|(_, checker)| checker.is_some()) else {
        panic!("{mistake:?} is not caught");
    };
    println!("{mistake:?}: seed {seed}, {checker}");
    assert!(by.contains(&checker.as_str()), "{mistake:?}, seed {seed}: caught by {checker}");
    // The seed itself is innocent.
    run(seed, seconds);
}

fn survey(mistake: Planted, seconds: i64) {
    let mut by: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for seed in seeds() {
        if let Some(checker) = caught(mistake, seed, seconds) {
            by.entry(checker).or_default().push(seed);
        }
    }
    println!("{mistake:?}: {by:?}");
}

/// Test, mistake, a seed that is known to catch it with the seconds that it plays, and who may catch it.
macro_rules! planted {
    ($($test:ident: $mistake:ident, $seed:expr, $by:expr;)*) => {
        $(#[test]
        fn $test() {
            must_be_caught(Planted::$mistake, $seed, &$by);
        })*
    };
}

/// Data that is lost shows in who leads next, or in what its servers deliver.
const LOST: [&str; 3] = ["no lost write", "primary order", "total order"];

planted! {
    ack_before_flush: AckBeforeFlush, (3, 8), LOST;
    uncommitted_in_snapshot: UncommittedInSnapshot, (98, 20), ["digests"];
    overtaken_leader_stays: OvertakenLeaderStays, (1949, 8), ["availability"];
    serves_ahead: ServesAhead, (18, 8), ["digests"];
    zookeeper_2845: TreeBehindLog, (6, 8), ["total order", "digests"];
    zookeeper_3642: PartialSnapKept, (253, 8), ["total order", "integrity", "digests"];
    zookeeper_3911: LoggedAfterUpToDate, (44, 8), LOST;
    zookeeper_4394: EmptiedProposalList, (12, 8), ["availability"];
    zookeeper_4643: EpochBeforeHistory, (24, 8), LOST;
    zookeeper_4646: NewLeaderAckBeforeFlush, (60, 8), LOST;
    zookeeper_4685: ProposalAckBeforeNewLeaderAck, (4, 8), ["availability"];
    zookeeper_4785: EpochAndAckBeforeFlush, (24, 8), LOST;
    zookeeper_4925: HoleInCommittedLog, (47, 8), ["total order", "digests"];
}
