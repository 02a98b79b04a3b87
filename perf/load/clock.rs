//! The load program's one clock.

use std::sync::OnceLock;
use std::time::Instant;

/// Monotonic nanoseconds since the first call.
pub fn now_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

pub const SECOND_NS: u64 = 1_000_000_000;

/// Seconds, fractions allowed, as nanoseconds; negative and absurd values become 0.
pub fn seconds_ns(seconds: f64) -> u64 {
    (seconds * SECOND_NS as f64) as u64
}
