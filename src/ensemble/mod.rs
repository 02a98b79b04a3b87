//! The Zab core: one pinned thread, one io_uring of its own. It owns the session table, validation, the proposal log
//! and the quorum's state, and is the data tree's only writer. Everything that happens here is a completion.
//!
//! Watermarks, at any instant: `visible (applied) <= committed <= logged by a quorum <= proposed`.

mod core;
pub mod net;
mod report;
mod snapshots;
mod wake;

pub use self::core::{CoreExit, CoreOptions, CoreParts, Source, ZabCore};
pub use report::ZabReport;
pub use snapshots::SnapshotPolicy;
pub use wake::EventFd;

/// Writes one snapshot; given by whoever knows directories and formats.
pub type WriteSnapshot = snapshots::WriteSnapshot<Source>;
