//! The oracle: the same generated requests go to this server and to Apache ZooKeeper, and every reply, event and
//! Stat field is compared. Runs that fail print their seed and the command that replays them.
//!
//! - `RINGKEEPER_ORACLE_SEEDS`: `7`, `1,5,9` or `1..40` (both ends included). Default `1..2`.
//! - `RINGKEEPER_ORACLE_STEPS`: steps per seed. Default 400.
//! - `RINGKEEPER_ORACLE_SUBJECT=apache`: Apache against itself, which shows that the comparison is fair.

#[path = "oracle/differences.rs"]
mod differences;
#[path = "oracle/frames.rs"]
mod frames;
#[path = "oracle/generator.rs"]
mod generator;
#[path = "oracle/render.rs"]
mod render;
#[path = "oracle/run.rs"]
mod run;
#[path = "oracle/scenarios.rs"]
mod scenarios;
#[path = "oracle/step.rs"]
mod step;
mod support;
#[path = "oracle/values.rs"]
mod values;
#[path = "oracle/world.rs"]
mod world;

use support::server::{Kind, available};

fn subject() -> Kind {
    match std::env::var("RINGKEEPER_ORACLE_SUBJECT").as_deref() {
        Ok("apache") => Kind::Apache,
        _ => Kind::Ours,
    }
}

#[test]
fn generated_streams_get_the_same_answers() {
    let name = "oracle";
    if !available(Kind::Apache, name) || !available(subject(), name) {
        return;
    }
    let seeds = run::seeds(&std::env::var("RINGKEEPER_ORACLE_SEEDS").unwrap_or("1..2".into()));
    let steps = support::env_number("RINGKEEPER_ORACLE_STEPS", 400);
    let mut failed = Vec::new();
    for seed in seeds {
        match run::seed(subject(), seed, steps) {
            Ok(done) => support::say(&format!("oracle: seed {seed}: {done}")),
            Err(report) => {
                support::say(&report);
                failed.push(seed);
            }
        }
    }
    assert!(failed.is_empty(), "seeds with different answers: {failed:?}");
}

#[test]
fn every_difference_is_explained() {
    for row in differences::TABLE {
        assert!(!row.what.is_empty() && row.apache != row.ours, "{}", row.what);
    }
}
