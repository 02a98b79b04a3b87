//! Ensembles of real server processes, clients that live through what happens to them, and checkers that judge
//! what the clients saw.
//!
//! Every slot of an ensemble has a kind: Apache 3.9.5, Apache 3.8.0 or this server; a slot may change its kind on
//! the same data directory. Addresses differ, ports do not: a slot has an address of its own, in 127.0.0.0/8 or in
//! a network namespace.
//!
//! Environment, besides that of `support`:
//!
//! - `RINGKEEPER_APACHE_LOGGING_CLASSPATH`: a back end for slf4j, so that Apache 3.9.5 writes a log. Optional.
//! - `RINGKEEPER_APACHE38_CLASSPATH`: Apache 3.8.0's jars; by default where Debian puts them.
//! - `RINGKEEPER_ENSEMBLE`: `none` leaves ensembles with this server out.
//! - `RINGKEEPER_ENSEMBLE_SECONDS`: seconds of load for each fault or step, default 6.
//! - `RINGKEEPER_ENSEMBLE_SEED`: default from the clock, printed.
#![allow(dead_code)] // every test binary compiles this module and uses a part of it

pub mod checkers;
pub mod client;
pub mod ensemble;
pub mod history;
pub mod judge;
pub mod kind;
pub mod load;
pub mod network;
pub mod walk;
pub mod workers;

use std::time::{Duration, Instant};

use crate::support;

/// How long anything that must happen may take before a test gives up. Only a hang is that long: no test passes
/// or fails by being fast or slow.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Seconds of load for each fault or step.
pub fn load_time() -> Duration {
    Duration::from_secs(support::env_number("RINGKEEPER_ENSEMBLE_SECONDS", 6))
}

/// The seed of this run, printed with the name of the test.
pub fn seed(test: &str) -> u64 {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let default = clock.map_or(1, |d| d.as_secs());
    let seed = support::env_number("RINGKEEPER_ENSEMBLE_SEED", default);
    support::say(&format!("{test}: seed {seed}"));
    seed
}

/// Waits until `found` finds something.
pub fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> Result<T, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(format!("waited {} s in vain for {what}", PATIENCE.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Held by a test while its servers run: several ensembles at once would only take each other's time.
pub fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
