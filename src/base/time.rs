//! Time values. Machines take them as arguments; only the edge rooms read a clock.

/// Milliseconds since 1970, from the wall clock of the server that prepared a transaction.
pub type WallMs = i64;

/// Milliseconds on a monotonic clock of this machine, with an arbitrary start.
pub type MonoMs = i64;
