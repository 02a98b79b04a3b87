//! What the Zab core tells about itself.

use crate::base::{MonoMs, SessionId, WallMs};
use crate::peer::PeerStatus;

/// The Zab core's part of a report.
#[derive(Clone, Debug, Default)]
pub struct ZabReport {
    /// What the machine says: zxid, sessions, learners, counts.
    pub peer: PeerStatus,
    /// Expiry times (wall clock) and the sessions that end then.
    pub expiry: Vec<(WallMs, Vec<SessionId>)>,
    /// The same of the sessions that only this server knows.
    pub local_expiry: Vec<(WallMs, Vec<SessionId>)>,
    pub snapshots_taken: u64,
    pub last_snapshot_ms: u64,
    pub snapshot_ms_total: u64,
    pub flushes: u64,
    pub flush_us: u64,
    pub flush_us_min: u64,
    pub flush_us_max: u64,
    pub log_bytes: u64,
    pub uptime_ms: MonoMs,
}
