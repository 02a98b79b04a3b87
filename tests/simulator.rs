//! Whole ensembles on simulated time, network and disk, running the production machine. Everything is drawn from a seed.
//!
//! `RINGKEEPER_SIM_SEEDS=10..500 RINGKEEPER_SIM_SECONDS=120 cargo test --release --test simulator` is a campaign; a failure
//! prints the command that plays its seed again.

#[path = "simulator/checkers.rs"]
mod checkers;
#[path = "simulator/clients.rs"]
mod clients;
#[path = "simulator/disk.rs"]
mod disk;
#[path = "simulator/host.rs"]
mod host;
#[path = "simulator/network.rs"]
mod network;
#[path = "simulator/world.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use checkers::Checkers;
use world::World;

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn seeds() -> std::ops::Range<u64> {
    let text = setting("RINGKEEPER_SIM_SEEDS").unwrap_or_else(|| "1..7".to_owned());
    let (from, to) = text.split_once("..").expect("RINGKEEPER_SIM_SEEDS=from..to");
    from.parse().expect("a number")..to.parse().expect("a number")
}

/// What the servers counted, added up: at the end every way of becoming one of the ensemble was met.
type Roles = [u64; 6];

fn run(seed: u64, seconds: i64) -> (usize, u64, Roles) {
    let (voters, observers) = [(3, 0), (3, 1), (5, 0), (1, 0), (2, 1), (7, 0)][seed as usize % 6];
    let mut world = World::new(seed, voters, observers);
    for _ in 0..seconds * 1000 {
        world.step();
    }
    world.heal();
    // Everybody comes back within a few rounds of election and synchronisation.
    let mut quiet = 0;
    for _ in 0..60_000 {
        world.step();
        quiet = if world.all_serve() { quiet + 1 } else { 0 };
        if quiet > 3000 {
            break;
        }
    }
    assert!(world.all_serve(), "the ensemble does not come back");
    // Sessions that nobody speaks for end, and their ephemerals with them.
    world.clients.quiet = true;
    for _ in 0..8000 {
        world.step();
    }
    assert!(world.all_serve(), "the ensemble does not stay");
    Checkers::end(&world);
    let peers = world.nodes.values_mut().filter_map(|node| node.peer.as_mut());
    let mut sums = [0; 6];
    for roles in peers.map(|peer| peer.counts().roles) {
        let counts = [
            roles.looking,
            roles.election.count as u64,
            roles.sync.count as u64,
            roles.proposals_received,
            roles.commits_received,
            roles.diffs,
        ];
        (0..6).for_each(|n| sums[n] += counts[n]);
        assert!(roles.looking >= roles.election.count as u64, "found what nobody looked for");
        assert!(roles.unavailable.count <= roles.election.count, "served without a role");
    }
    (world.checkers.acknowledged_count(), world.checkers.elections, sums)
}

#[test]
fn nothing_acknowledged_is_lost_whatever_happens() {
    let seconds =
        setting("RINGKEEPER_SIM_SECONDS").map_or(10, |text| text.parse().expect("a number"));
    let (mut writes, mut elections, mut hours, mut counted) = (0, 0, 0.0, [0; 6]);
    for seed in seeds() {
        let result = catch_unwind(AssertUnwindSafe(|| run(seed, seconds)));
        match result {
            Ok((acknowledged, elected, roles)) => {
                (0..6).for_each(|n| counted[n] += roles[n]);
                writes += acknowledged;
                elections += elected;
                hours += (seconds + 11) as f64 / 3600.0;
            }
            Err(panic) => {
                let next = seed + 1;
                eprintln!(
                    "seed {seed} failed; again: RINGKEEPER_SIM_SEEDS={seed}..{next} \
                     RINGKEEPER_SIM_SECONDS={seconds} cargo test --test simulator"
                );
                resume_unwind(panic);
            }
        }
    }
    println!("{writes} acknowledged writes, {elections} leaders, {hours:.2} simulated hours");
    assert!(elections > 0 && writes > 0, "nothing happened");
    assert!(counted.iter().all(|count| *count > 0), "counted nothing of something: {counted:?}");
}
