//! The simulator is worth what it catches: mistakes made on purpose, one at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ringkeeper::base::planted::{Planted, plant};

use crate::checkers::checker_of;
use crate::{run, setting};

const SECONDS: i64 = 8;
/// Seeds that are tried after the known one.
const SEEDS_MAX: u64 = 12;

/// The checker that catches the mistake, with the first seed in which it does.
fn caught(mistake: Planted, known: u64) -> Option<(u64, String)> {
    let seconds = setting("RINGKEEPER_SIM_SECONDS").map_or(SECONDS, |n| n.parse().expect("number"));
    let seeds =
        setting("RINGKEEPER_PLANTED_SEEDS").map_or(SEEDS_MAX, |n| n.parse().expect("number"));
    std::iter::once(known).chain(1..seeds).find_map(|seed| {
        plant(Some(mistake));
        let result = catch_unwind(AssertUnwindSafe(|| run(seed, seconds)));
        plant(None);
        let panic = result.err()?;
        Some((seed, checker_of(&*panic)))
    })
}

fn must_be_caught(mistake: Planted, known: u64, by: &[&str]) {
    let Some((seed, checker)) = caught(mistake, known) else { panic!("{mistake:?} passes") };
    println!("{mistake:?}: seed {seed}, {checker}");
    assert!(by.contains(&checker.as_str()), "{mistake:?}, seed {seed}: caught by {checker}");
    // The seed itself is innocent.
    run(seed, SECONDS);
}

#[test]
#[ignore = "a survey for whoever looks for seeds"]
fn survey() {
    let name = setting("PLANTED").unwrap();
    let all = [
        Planted::AckBeforeFlush,
        Planted::TreeBehindLog,
        Planted::PartialSnapKept,
        Planted::LoggedAfterUpToDate,
        Planted::EmptiedProposalList,
        Planted::EpochBeforeHistory,
        Planted::NewLeaderAckBeforeFlush,
        Planted::ProposalAckBeforeNewLeaderAck,
        Planted::EpochAndAckBeforeFlush,
        Planted::HoleInCommittedLog,
    ];
    for mistake in all.into_iter().filter(|m| name == "all" || format!("{m:?}") == name) {
        let mut found = std::collections::BTreeMap::<String, Vec<u64>>::new();
        for seed in crate::seeds() {
            plant(Some(mistake));
            let result = catch_unwind(AssertUnwindSafe(|| run(seed, SECONDS)));
            plant(None);
            if let Err(panic) = result {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                let key =
                    text.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default().to_owned();
                found.entry(key).or_default().push(seed);
            }
        }
        for (key, seeds) in found {
            println!("{mistake:?} | {key} | {} | {:?}", seeds.len(), &seeds[..seeds.len().min(8)]);
        }
    }
}

macro_rules! planted {
    ($($test:ident: $mistake:ident, $seed:literal, $by:expr;)*) => {
        $(#[test]
        fn $test() {
            must_be_caught(Planted::$mistake, $seed, &$by);
        })*
    };
}

planted! {
    ack_before_flush: AckBeforeFlush, 1, ["no lost write"];
    zookeeper_2845: TreeBehindLog, 1, ["digests"];
    zookeeper_3642: PartialSnapKept, 1, ["digests"];
    zookeeper_3911: LoggedAfterUpToDate, 1, ["no lost write"];
    zookeeper_4394: EmptiedProposalList, 1, ["availability"];
    zookeeper_4643: EpochBeforeHistory, 1, ["no lost write"];
    zookeeper_4646: NewLeaderAckBeforeFlush, 1, ["no lost write"];
    zookeeper_4685: ProposalAckBeforeNewLeaderAck, 1, ["availability"];
    zookeeper_4785: EpochAndAckBeforeFlush, 1, ["no lost write"];
    zookeeper_4925: HoleInCommittedLog, 1, ["digests"];
}
