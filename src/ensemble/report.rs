//! What the Zab core tells about itself.

use crate::base::{MonoMs, SessionId, WallMs, Zxid};

/// The Zab core's part of a report.
#[derive(Clone, Debug, Default)]
pub struct ZabReport {
    pub last_zxid: Zxid,
    /// Expiry times (wall clock) and the sessions that end then.
    pub expiry: Vec<(WallMs, Vec<SessionId>)>,
    pub sessions: usize,
    /// (zxid, digest) of every 128th transaction, newest last.
    pub digests: Vec<(Zxid, u64)>,
    pub digest_mismatches: u64,
    pub snapshots_taken: u64,
    pub last_snapshot_ms: u64,
    pub snapshot_ms_total: u64,
    /// Transactions applied since start.
    pub committed: u64,
    pub sessions_expired: u64,
    pub flushes: u64,
    pub flush_us: u64,
    pub flush_us_min: u64,
    pub flush_us_max: u64,
    pub log_bytes: u64,
    pub prepared_unapplied: usize,
    pub uptime_ms: MonoMs,
}
