//! A load of many clients, running while a test does harm.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::client::EnsembleClient;
use super::history::History;
use super::workers::{Shared, Worker, prepare};

/// How many clients of which kind.
#[derive(Clone, Debug)]
pub struct Mix {
    pub registers: usize,
    pub register_clients: usize,
    pub creators: usize,
    pub holders: usize,
    pub watchers: usize,
    pub timeout: Duration,
    /// Timeout of sessions that are left behind on purpose.
    pub abandon_timeout: Duration,
    /// Between two operations of one client.
    pub pause: Duration,
    /// See [`Shared::trust_sync`].
    pub trust_sync: bool,
    pub seed: u64,
}

impl Mix {
    /// A small load: the machine runs all the servers too.
    pub fn small(seed: u64) -> Mix {
        Mix {
            registers: 3,
            register_clients: 4,
            creators: 2,
            holders: 1,
            watchers: 1,
            timeout: Duration::from_secs(20),
            abandon_timeout: Duration::from_secs(4),
            pause: Duration::from_millis(10),
            trust_sync: true,
            seed,
        }
    }

    /// The same where links are cut.
    pub fn fenced(seed: u64) -> Mix {
        Mix { trust_sync: false, ..Mix::small(seed) }
    }
}

/// Stops the clients even when the test fails, so that the scope can end.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs the clients while `harm` runs, and answers what they recorded.
pub fn run(servers: &[SocketAddr], mix: &Mix, harm: impl FnOnce()) -> History {
    let mut first = EnsembleClient::open(servers, mix.timeout, mix.seed)
        .unwrap_or_else(|trouble| panic!("no session on the ensemble: {trouble:?}"));
    prepare(&mut first, mix.registers);
    let _ = first.close();
    let shared = Shared {
        servers: servers.to_vec(),
        start: Instant::now(),
        stop: AtomicBool::new(false),
        registers: mix.registers,
        timeout: mix.timeout,
        pause: mix.pause,
        trust_sync: mix.trust_sync,
        next_value: AtomicU64::new(1),
    };
    let shared = &shared;
    let mut history = History::default();
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        let counts = [mix.register_clients, mix.creators, mix.holders, mix.watchers];
        let mut number = 0;
        for (role, count) in counts.into_iter().enumerate() {
            for _ in 0..count {
                number += 1;
                threads.push(scope.spawn(move || {
                    let mut worker = Worker::new(shared, number, mix.seed);
                    match role {
                        0 => worker.work_on_registers(),
                        1 => worker.create_in_sequence(),
                        2 => worker.hold_ephemerals(mix.abandon_timeout),
                        _ => worker.watch_registers(),
                    }
                    worker.finish()
                }));
            }
        }
        let stop = Stop(&shared.stop);
        harm();
        drop(stop);
        for thread in threads {
            history.absorb(thread.join().unwrap_or_else(|_| panic!("a client gave up")));
        }
    });
    history
}
