//! The lock-free read path under a model checker: the very sources of `tree`, compiled with loom's atomics in place of
//! the processor's, run through all interleavings of a reader and the writer (up to so many preemptions) and all values
//! that the memory model allows each load to see.
//!
//! Then every ordering stronger than relaxed that the models met is left out in turn, and some model must fail without
//! it: of the sequence the reader's load, the writer's store and both fences; store and load that publish blocks, child
//! vectors, the blocks behind them, index tables, chunks and ACLs; both ends of the list that blocks come back over. So
//! must they when pinning keeps nothing alive, and when the lock wakes nobody. [`NOT_NEEDED`] names those that could be
//! relaxed, and why.
//!
//! What this does not show: crossbeam's collector is taken at its word (`lock_free/sync.rs` says which word), bytes inside
//! blocks are followed block by block, and a model is as small as it has to be to end.

#[allow(dead_code, unused_imports, clippy::all)]
#[path = "../src/tree/lock.rs"]
mod lock;
#[path = "lock_free/models.rs"]
mod models;
#[path = "lock_free/sync.rs"]
mod sync;
#[allow(dead_code, unused_imports, clippy::all)]
#[path = "../src/tree/mod.rs"]
mod tree;

use ringkeeper::wire;
use std::process::{Command, Stdio};

/// What the sources of `tree` find as their ground floor.
mod base {
    pub(crate) use crate::sync;
    pub use ringkeeper::base::*;
}

use sync::{NOTIFY, PIN, WEAK, places};

/// Orderings that no model needs: a part of their line, and why it is stronger than it must be.
const NOT_NEEDED: &[(&str, &str)] = &[
    ("entry.swap(ptr::null_mut(), Ordering::Release)", "null publishes nothing"),
    ("body.swap(ptr::null_mut(), Ordering::Release)", "null publishes nothing"),
    ("self.applied.store(", "inside a read the sequence orders it, alone it promises nothing"),
    ("self.applied.load(Ordering::Acquire)", "as its store"),
];

/// A process that does one thing wrong; true when a model noticed.
fn goes_red(wrong: &str) -> bool {
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command.env(WEAK, wrong).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    !command.status().expect("starts").success()
}

/// The line of a place, without its indentation.
fn line_of(place: &str) -> String {
    let mut parts = place.rsplitn(3, ':').skip(1);
    let (line, file) = (parts.next().expect("a line"), parts.next().expect("a file"));
    let text = std::fs::read_to_string(file).expect("a source");
    let nth: usize = line.parse().expect("a number");
    text.lines().nth(nth - 1).expect("a line").trim().to_owned()
}

/// Those of [`places`] that something must need, with their lines.
fn orderings() -> Vec<(String, String)> {
    let all: Vec<_> = places().into_iter().map(|place| (line_of(&place), place)).collect();
    for (part, _) in NOT_NEEDED {
        assert!(all.iter().any(|(line, _)| line.contains(part)), "drop the row of {part}");
    }
    let needed = |line: &str| !NOT_NEEDED.iter().any(|(part, _)| line.contains(part));
    all.into_iter().filter(|(line, _)| needed(line)).map(|(line, place)| (place, line)).collect()
}

fn main() {
    for (name, model) in models::ALL {
        model();
        println!("model {name} ... ok");
    }
    if std::env::var_os(WEAK).is_some() {
        return;
    }
    assert!(!goes_red("nothing"), "a model fails in a process of its own");
    let mut wrongs = orderings();
    assert!(wrongs.len() >= 17, "{} orderings", wrongs.len());
    wrongs.extend([PIN, NOTIFY].map(|wrong| (wrong.to_owned(), String::new())));
    let mut green = Vec::new();
    for (wrong, line) in wrongs {
        let red = goes_red(&wrong);
        println!("without {wrong} {line} ... {}", if red { "red" } else { "GREEN" });
        green.extend((!red).then_some(wrong));
    }
    assert!(green.is_empty(), "no model needs these: {green:#?}");
}
