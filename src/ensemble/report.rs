//! What the Zab core tells about itself.

use super::CoreCounts;
use crate::base::tally::Tally;
use crate::base::{MonoMs, SessionId, WallMs};
use crate::peer::{PeerCounts, PeerStatus};

/// The Zab core's part of a report.
#[derive(Clone, Debug, Default)]
pub struct ZabReport {
    /// What the machine says: zxid, sessions, learners, counts.
    pub peer: PeerStatus,
    /// Expiry times (wall clock) and the sessions that end then.
    pub expiry: Vec<(WallMs, Vec<SessionId>)>,
    /// The same of the sessions that only this server knows.
    pub local_expiry: Vec<(WallMs, Vec<SessionId>)>,
    /// Milliseconds of each snapshot written.
    pub snapshots_ms: Tally,
    /// What was counted, when asked for.
    pub counts: Option<Box<(CoreCounts, PeerCounts)>>,
    pub log_bytes: u64,
    pub uptime_ms: MonoMs,
}
