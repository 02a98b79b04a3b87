//! Every limit has its name, its reason and its one home here; relations between limits are asserted at
//! compile time.

/// Largest client frame accepted when `jute.maxbuffer` is not set (reference: client-protocol 1).
pub const JUTE_MAXBUFFER_DEFAULT: usize = 0xfffff;

/// Smallest allowance for headers on top of `jute.maxbuffer` when reading logs, snapshots and peers.
pub const JUTE_EXTRASIZE_MIN: usize = 1024;

/// Slots of a client core's mailbox, in committed batches. The Zab core checks for room before it applies,
/// so a full mailbox stops the applying, never the reading of what is in it.
pub const SHARD_MAILBOX_SLOTS: usize = 4096;

/// Of those, kept for other messages than batches: reports and resets, of which the askers keep fewer under way.
pub const SHARD_MAILBOX_CONTROL_SLOTS: usize = 64;

/// Slots of the Zab core's inbox, in messages (a message carries what one client core gathered in one turn).
/// A client core that finds it full keeps its writes and tries again on its next turn.
pub const ZAB_INBOX_SLOTS: usize = 4096;

/// Requests prepared but not yet applied, over all sessions, before the Zab core stops taking more from its
/// inbox. Bounds the memory of outstanding changes whatever `globalOutstandingLimit` says.
pub const OUTSTANDING_TXNS_MAX: usize = 65_536;

/// Bytes of replies a connection may have waiting before the server stops reading from it. A slow reader
/// costs this much at most, plus one reply.
pub const CONNECTION_OUT_BYTES_HIGH: usize = 1 << 20;

/// Bytes of watch events for a reader that does not read, after which its connection is closed: events can
/// neither be dropped nor held back by not reading requests.
pub const CONNECTION_OUT_BYTES_MAX: usize = 64 << 20;

/// Bytes a client core reads from one socket before others get their turn.
pub const SHARD_READ_CHUNK: usize = 64 << 10;

/// Bytes of log records gathered before the Zab core starts a flush even if more is waiting.
pub const LOG_BATCH_BYTES_MAX: usize = 8 << 20;

/// Free bytes of the log's disk below which writes are refused. A fast disk takes so much in the tenth of a second by
/// which the figure may be late, and the rest is for the ends of sessions.
pub const DISK_RESERVE_BYTES: u64 = 64 << 20;

/// Alignment of log writes, in bytes: the largest logical block size in common use.
pub const LOG_BLOCK: usize = 4096;

const _: () = assert!(SHARD_MAILBOX_CONTROL_SLOTS < SHARD_MAILBOX_SLOTS);
const _: () = assert!(LOG_BATCH_BYTES_MAX.is_multiple_of(LOG_BLOCK));
const _: () = assert!(CONNECTION_OUT_BYTES_HIGH < CONNECTION_OUT_BYTES_MAX);
