//! A power failure after every sync: a server runs under load on a disk that remembers; then, for every sync it did,
//! the disk is laid out as a power failure just before the next one may leave it, and started from.
//!
//! Every acknowledged write is there, none is half there, sessions and ephemerals are right: see `check`.
//!
//! - `RINGKEEPER_DURABILITY_SYNCS`: syncs, default 150. `RINGKEEPER_DURABILITY_SEED`: what is drawn about unsynced
//!   data, default from the clock, printed.

#[path = "durability/check.rs"]
mod check;
#[path = "durability/journal.rs"]
mod journal;
#[path = "durability/load.rs"]
mod load;
#[path = "crash/model.rs"]
mod model;
mod support;
#[path = "durability/witness.rs"]
mod witness;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use check::Checker;
use journal::{Journal, Lie, for_each_image};
use load::Shared;
use support::server::{Kind, Server, available};
use witness::Witness;

const WRITERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(120);

/// Small files, so that rolls and snapshots happen all the time.
const CONFIG: &str = "preAllocSize=64\ntxnLogSizeLimitInKb=48\nsnapCount=400\n";

/// What a server did to its disk in so many syncs; `None` if no disk of ours can be mounted.
fn record(syncs: usize) -> Option<Journal> {
    if !available(Kind::Ours, "durability") {
        return None;
    }
    let shared = Shared::new(WRITERS);
    let witness = Witness::new(Arc::clone(&shared));
    let mut server = Server::prepare(Kind::Ours, "durability", CONFIG);
    let data = server.dir.join("data");
    fs::create_dir(&data).expect("a place to mount at");
    let mounted = match witness.mount(&data) {
        Ok(mounted) => mounted,
        Err(error) => {
            support::skipped("durability", &format!("no FUSE here: {error}"));
            return None;
        }
    };
    server.launch();
    load::prepare(server.port, WRITERS);
    let port = server.port;
    std::thread::scope(|scope| {
        for id in 0..WRITERS {
            let shared = &shared;
            scope.spawn(move || load::write(shared, id, port));
        }
        scope.spawn(|| load::come_and_go(&shared, port));
        let started = Instant::now();
        while witness.syncs() < syncs {
            let running = server.is_running() && started.elapsed() < PATIENCE;
            if !running {
                shared.stop.store(true, Ordering::SeqCst);
            }
            assert!(running, "{} syncs, then:\n{}", witness.syncs(), server.output_tail());
            std::thread::sleep(Duration::from_millis(5));
        }
        shared.stop.store(true, Ordering::SeqCst);
    });
    server.kill();
    mounted.umount_and_join().expect("the witness is unmounted");
    Some(witness.journal())
}

#[test]
fn every_sync_leaves_what_was_acknowledged() {
    let syncs = support::env_number("RINGKEEPER_DURABILITY_SYNCS", 150);
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = support::env_number("RINGKEEPER_DURABILITY_SEED", clock.map_or(1, |d| d.as_secs()));
    let Some(journal) = record(syncs as usize) else { return };
    let run = |lie| {
        let work = support::server::temp_dir("durability-images");
        let mut checker = Checker::new(WRITERS);
        let mut acknowledged = 0;
        let done = for_each_image(&journal, &work, seed, lie, |image, told| {
            acknowledged = told.writers.iter().map(|writer| writer.acknowledged).sum();
            checker.check(image, told)
        });
        let _ = fs::remove_dir_all(&work);
        done.map(|images| (images, acknowledged))
    };
    let (images, acknowledged) = run(Lie::None).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    support::say(&format!(
        "durability: seed {seed}: {images} images, {acknowledged} acknowledged at the end"
    ));
    assert!(acknowledged > syncs, "hardly any load");
    // The same history on disks that lie: the check must see it.
    for lie in [Lie::File(7), Lie::Dir] {
        let found = run(lie);
        let why = found.expect_err("a disk whose syncs do nothing goes unnoticed");
        support::say(&format!("durability: {lie:?} is found: {why:.200}"));
    }
}
