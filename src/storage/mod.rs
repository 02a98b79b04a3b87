//! Disk: the data directory, the proposal log on io_uring, snapshots, recovery and purge, in Apache's formats both
//! ways (reference: disk-format).
//!
//! | file | holds |
//! |---|---|
//! | [`layout`] | directories, file names, what may stand where |
//! | [`log`] | the proposal log: batches, durable writes, poison; lives on the Zab core |
//! | [`log_segment`] | one log file being written, and the aligned buffer of its tail |
//! | [`zero_fill`] | the side thread that prepares the next segment and watches free space |
//! | [`log_scan`] | reading log files back, in order, with the damage rules |
//! | [`snapshot`] | writing snapshots, on a side thread or to a peer |
//! | [`snapshot_codec`] | plain, gz and snappy streams |
//! | [`snapshot_reader`] | reading snapshots into a sink |
//! | [`recovery`] | what a start finds on disk and what follows from it |
//! | [`received`] | a snapshot that comes from the leader |
//! | [`epochs`] | the two epoch files of a member of an ensemble |
//! | [`truncate`] | cutting the history after a zxid |
//! | [`purge`] | autopurge |
//! | [`os`] | the calls of the operating system that std does not have |

pub mod epochs;
pub mod layout;
pub mod log;
pub mod log_scan;
pub mod log_segment;
pub mod os;
pub mod purge;
mod quiet_file;
pub mod received;
pub mod recovery;
pub mod snapshot;
pub mod snapshot_codec;
pub mod snapshot_reader;
pub mod truncate;
pub mod zero_fill;

pub use layout::{DataLayout, LayoutError};
pub use log::{Flushed, LogError, LogOptions, ProposalLog};
pub use purge::PurgeSchedule;
pub use recovery::{Recovered, RecoveryError, RecoveryOptions, RecoveryTarget, recover};
pub use snapshot::{SnapshotOptions, SnapshotSource, SnapshotWritten};
pub use snapshot_codec::Compression;
pub use snapshot_reader::{SinkError, SnapshotError, SnapshotInfo, SnapshotSink};

/// A directory on the disk the repository is on: durability tests prove nothing on tmpfs.
#[cfg(test)]
pub(crate) fn test_dir() -> tempfile::TempDir {
    let base = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tmp");
    std::fs::create_dir_all(base).unwrap();
    tempfile::tempdir_in(base).unwrap()
}
