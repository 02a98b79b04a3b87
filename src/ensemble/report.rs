//! What the Zab core tells about itself.

use std::collections::BTreeMap;

use super::CoreCounts;
use super::net::QueueCounts;
use crate::base::tally::Tally;
use crate::base::{MonoMs, SessionId, Sid, WallMs};
use crate::peer::{PeerCounts, PeerStatus};

/// What the Zab core has counted.
#[derive(Clone, Debug, Default)]
pub struct ZabCounts {
    pub core: CoreCounts,
    pub peer: PeerCounts,
    /// By learner: what waits to be sent to it.
    pub queues: BTreeMap<Sid, QueueCounts>,
}

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
    pub counts: Option<Box<ZabCounts>>,
    pub log_bytes: u64,
    pub uptime_ms: MonoMs,
}
