//! What all client cores share about who may come in: counts of connections, the connection throttle, the bytes of
//! large requests under way (reference: client-protocol 16, configuration 8).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::ShardOptions;
use crate::base::MonoMs;
use crate::base::prng::Prng;

/// Settings of the connection throttle (`connection_throttle_*`).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ConnectOptions {
    /// Most tokens there may be; not 0. Below it nobody is let in.
    pub tokens_max: i64,
    /// `fill_count` tokens come back every `fill_ms` milliseconds.
    pub fill_ms: i64,
    pub fill_count: i64,
    /// Least milliseconds between two changes of the chance to be turned away; `None` turns nobody away by chance.
    pub freeze_ms: Option<i64>,
    /// By how much the chance grows when all tokens are gone, and shrinks when no more than `decrease_ratio` of them
    /// are.
    pub drop_increase: f64,
    pub drop_decrease: f64,
    pub decrease_ratio: f64,
    /// Tokens that a new session takes, and one that is resumed.
    pub new_weight: i64,
    pub resumed_weight: i64,
}

/// Settings of the limit on large requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LargeOptions {
    /// `largeRequestThreshold`: frames with more bytes are large.
    pub above_bytes: usize,
    /// `largeRequestMaxBytes`: of all large requests under way.
    pub in_flight_bytes_max: usize,
}

/// A token bucket with a random drop on top. Time and chance come from outside.
#[derive(Debug)]
struct ConnectThrottle {
    options: ConnectOptions,
    tokens: i64,
    filled_at: MonoMs,
    frozen_at: MonoMs,
    drop_chance: f64,
    prng: Prng,
}

impl ConnectThrottle {
    fn new(options: ConnectOptions, seed: u64) -> ConnectThrottle {
        ConnectThrottle {
            options,
            tokens: options.tokens_max,
            filled_at: 0,
            frozen_at: 0,
            drop_chance: 0.0,
            prng: Prng::new(seed),
        }
    }

    fn admits(&mut self, now: MonoMs, need: i64) -> bool {
        let options = self.options;
        let passed = now - self.filled_at;
        if passed > options.fill_ms {
            let refill = passed.saturating_mul(options.fill_count) / options.fill_ms.max(1);
            self.tokens = self.tokens.saturating_add(refill).min(options.tokens_max);
            self.filled_at = now;
        }
        if let Some(freeze_ms) = options.freeze_ms {
            self.adapt(now, freeze_ms);
            if self.prng.chance_of(self.drop_chance) {
                return false;
            }
        }
        if self.tokens < need {
            return false;
        }
        self.tokens -= need;
        true
    }

    fn adapt(&mut self, now: MonoMs, freeze_ms: i64) {
        if now - self.frozen_at <= freeze_ms {
            return;
        }
        self.frozen_at = now;
        let options = &self.options;
        let calm = (options.tokens_max as f64 * options.decrease_ratio).round();
        if self.tokens == 0 {
            self.drop_chance = (self.drop_chance + options.drop_increase).min(1.0);
        } else if self.deficit() as f64 <= calm {
            self.drop_chance = (self.drop_chance - options.drop_decrease).max(0.0);
        }
    }

    fn deficit(&self) -> i64 {
        self.options.tokens_max - self.tokens
    }
}

/// Shared by the client cores. Touched at accept, handshake and close, and by large requests.
#[derive(Debug, Default)]
pub struct Admission {
    total: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    connects: Option<Mutex<ConnectThrottle>>,
    large: Option<LargeOptions>,
    large_bytes: AtomicUsize,
}

impl Admission {
    /// `None` switches a limit off.
    pub fn new(
        connects: Option<ConnectOptions>,
        large: Option<LargeOptions>,
        seed: u64,
    ) -> Admission {
        let connects = connects.map(|options| Mutex::new(ConnectThrottle::new(options, seed)));
        Admission { connects, large, ..Admission::default() }
    }

    /// False when a limit says no.
    pub(super) fn enter(&self, address: IpAddr, options: &ShardOptions) -> bool {
        let mut by_address = self.by_address.lock().unwrap_or_else(|e| e.into_inner());
        let total = self.total.load(Ordering::Relaxed);
        if options.max_cnxns > 0 && total >= options.max_cnxns {
            tracing::error!("Too many connections max allowed is {}", options.max_cnxns);
            return false;
        }
        let count = by_address.entry(address).or_insert(0);
        if options.max_client_cnxns > 0 && *count >= options.max_client_cnxns {
            let max = options.max_client_cnxns;
            tracing::warn!("Too many connections from /{address} - max is {max}");
            return false;
        }
        *count += 1;
        self.total.store(total + 1, Ordering::Relaxed);
        true
    }

    pub(super) fn leave(&self, address: IpAddr) {
        let mut by_address = self.by_address.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
        self.total.fetch_sub(1, Ordering::Relaxed);
    }

    /// A handshake asks to go on: the tokens that are missing after it, or `None` when it may not.
    pub(super) fn connect(&self, now: MonoMs, resumes: bool) -> Option<i64> {
        let Some(throttle) = &self.connects else { return Some(0) };
        let mut throttle = throttle.lock().unwrap_or_else(|e| e.into_inner());
        let weights = (throttle.options.new_weight, throttle.options.resumed_weight);
        let need = if resumes { weights.1 } else { weights.0 };
        throttle.admits(now, need).then(|| throttle.deficit())
    }

    /// The chance at present to be turned away, 0 to 1.
    pub fn connection_drop_chance(&self) -> f64 {
        let throttle = self.connects.as_ref();
        throttle.map_or(0.0, |t| t.lock().unwrap_or_else(|e| e.into_inner()).drop_chance)
    }

    /// Whether a frame of so many bytes may come in now.
    pub(super) fn takes_frame(&self, bytes: usize) -> bool {
        let Some(large) = self.large.filter(|large| bytes > large.above_bytes) else { return true };
        self.large_bytes.load(Ordering::Relaxed).saturating_add(bytes) <= large.in_flight_bytes_max
    }

    /// A frame is under way: its bytes if it is large, to be given back to [`Admission::finished`] with its answer,
    /// or 0.
    pub(super) fn begun(&self, bytes: usize) -> u32 {
        if self.large.is_none_or(|large| bytes <= large.above_bytes) {
            return 0;
        }
        self.large_bytes.fetch_add(bytes, Ordering::Relaxed);
        bytes as u32
    }

    /// Bytes of the large requests under way on all client cores.
    pub fn large_bytes(&self) -> usize {
        self.large_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn finished(&self, large_bytes: u32) {
        if large_bytes > 0 {
            self.large_bytes.fetch_sub(large_bytes as usize, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> ConnectOptions {
        ConnectOptions {
            tokens_max: 6,
            fill_ms: 10,
            fill_count: 2,
            freeze_ms: None,
            drop_increase: 0.25,
            drop_decrease: 0.5,
            decrease_ratio: 0.5,
            new_weight: 3,
            resumed_weight: 2,
        }
    }

    #[test]
    fn tokens_are_taken_by_weight_and_come_back_in_time() {
        let admission = Admission::new(Some(options()), None, 1);
        let deficits = [false, true].map(|resumes| admission.connect(0, resumes));
        assert_eq!(deficits, [Some(3), Some(5)]);
        assert_eq!(admission.connect(0, true), None, "one is left, two are needed");
        assert_eq!(admission.connect(10, true), None, "not more than the fill time has passed");
        assert_eq!(admission.connect(14, true), Some(5), "two of 2.8 came back");
        assert_eq!(admission.connect(1_000_000, false), Some(3), "no more than there were");
        assert_eq!(admission.connection_drop_chance(), 0.0);
        let closed = ConnectOptions { tokens_max: -1, ..options() };
        assert_eq!(Admission::new(Some(closed), None, 1).connect(50, true), None);
        assert_eq!(Admission::default().connect(0, false), Some(0));
    }

    #[test]
    fn the_drop_chance_follows_the_load_not_faster_than_it_may() {
        let mut throttle = ConnectThrottle::new(
            ConnectOptions { fill_ms: 1_000_000, freeze_ms: Some(5), ..options() },
            1,
        );
        assert!(throttle.admits(1, 6), "all tokens are gone");
        let mut admitted = |now| (throttle.admits(now, 0), throttle.drop_chance).1;
        assert_eq!([5, 6, 11, 12].map(&mut admitted), [0.0, 0.25, 0.25, 0.5]);
        assert_eq!([18, 24, 30].map(&mut admitted), [0.75, 1.0, 1.0]);
        assert!(!throttle.admits(30, 0), "certain");
        throttle.tokens = 2;
        throttle.adapt(40, 5);
        assert_eq!(throttle.drop_chance, 1.0, "neither calm nor used up");
        throttle.tokens = 3;
        throttle.adapt(50, 5);
        throttle.adapt(60, 5);
        throttle.adapt(70, 5);
        assert_eq!(throttle.drop_chance, 0.0);
        assert!(throttle.admits(70, 0));
    }

    #[test]
    fn large_requests_share_their_bytes() {
        let large = LargeOptions { above_bytes: 100, in_flight_bytes_max: 250 };
        let admission = Admission::new(None, Some(large), 1);
        assert!(admission.takes_frame(100) && admission.takes_frame(250));
        assert!(!admission.takes_frame(251), "alone too large");
        let first = admission.begun(150);
        assert_eq!((first, admission.begun(100)), (150, 0));
        assert!(!admission.takes_frame(101) && admission.takes_frame(100));
        admission.finished(first);
        assert!(admission.takes_frame(101));
        assert!(Admission::default().takes_frame(usize::MAX));
    }
}
