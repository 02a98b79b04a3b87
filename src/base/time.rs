//! Time values. Machines take them as arguments; only the edge rooms read a clock.

/// Milliseconds since 1970, from the wall clock of the server that prepared a transaction.
pub type WallMs = i64;

/// Milliseconds on a monotonic clock of this machine, with an arbitrary start.
pub type MonoMs = i64;

/// What a reading of the wall clock is; 0 before 1970.
pub fn wall_ms(now: std::time::SystemTime) -> WallMs {
    now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis() as WallMs
}

/// What a reading of the clock is in milliseconds since `epoch`, the start that all cores of a server share.
pub fn mono_ms(epoch: std::time::Instant, now: std::time::Instant) -> MonoMs {
    now.saturating_duration_since(epoch).as_millis() as MonoMs
}
