//! The Zab core: one pinned thread, one io_uring of its own. It runs the machine of [`crate::peer`] on the ring: the
//! proposal log, the sockets to other servers, the messages of client cores. Everything that happens here is a
//! completion.
//!
//! | file | holds |
//! |---|---|
//! | `core` | the loop: a turn, and when to sleep |
//! | `world` | what the machine asks for, carried out |
//! | [`disk`] | reloading, cutting, epochs, received snapshots |
//! | [`net`] | sockets on the ring |
//! | [`ports`] | election and quorum port |
//! | `counts` | what the stages of a write are counted by |
//! | `snapshots` | when a snapshot is due, and the side thread that writes it |
//! | [`state`] | what operators are told |

mod core;
mod counts;
pub mod disk;
pub mod net;
pub mod ports;
mod report;
mod snapshots;
pub mod state;
mod wake;
mod world;

pub use self::core::{CoreExit, CoreOptions, CoreParts, Membership, ZabCore};
pub use counts::{CoreCounts, StallOptions};
pub use disk::Disk;
pub use report::{ZabCounts, ZabReport};
pub use snapshots::SnapshotPolicy;
pub use state::SharedState;
pub use wake::EventFd;

/// Writes one snapshot; given by whoever knows directories and formats.
pub type WriteSnapshot = snapshots::WriteSnapshot<crate::peer::Source>;
