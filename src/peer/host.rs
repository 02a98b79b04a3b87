//! What the machine asks of the world around it: disk, sockets, client cores. The Zab core's loop answers on its
//! ring; the simulator answers out of memory.
//!
//! No call waits for a peer or a client. Those that touch the disk say which of them block.

use std::ops::Range;
use std::sync::Arc;

use super::database::Recovered;
use super::proposal::Proposal;
use super::source::Source;
use crate::base::{MonoMs, Sid, Zxid};
use crate::pipeline::CommitBatch;
use crate::pipeline::messages::ToShard;
use crate::tree::Tree;

/// A connection to another server's quorum port, or from one to ours. Never used again for another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);

/// The two files beside the snapshots (reference: disk-format 9.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EpochFile {
    Accepted,
    Current,
}

/// What this server is, as clients and operators see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ServerState {
    #[default]
    Looking,
    Standalone,
    Leading,
    Following,
    Observing,
    /// Without a quorum, for clients that asked for it.
    ReadOnly,
}

/// A failure after which this server must not go on; the text says what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fatal {
    /// The log or an epoch file cannot be written.
    Disk(String),
    /// What is on disk cannot be loaded, or a transaction cannot be applied.
    Data(String),
    /// A COMMIT that does not match the oldest proposal.
    UnmatchedCommit(String),
    /// A packet that cannot be handled, or a truncation that failed half way.
    Packet(String),
    Snapshot(String),
}

impl std::fmt::Display for Fatal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fatal::Disk(text)
            | Fatal::Data(text)
            | Fatal::UnmatchedCommit(text)
            | Fatal::Packet(text)
            | Fatal::Snapshot(text) => f.write_str(text),
        }
    }
}

/// Asked by one [`super::Peer`]. Everything happens on the Zab core.
pub trait Host {
    // The proposal log.

    /// Adds a transaction to the next flush. Reported durable by [`super::Peer::logged`], in order.
    fn append(&mut self, zxid: Zxid, txn: &[u8]) -> Result<(), Fatal>;
    /// Whether everything appended is durable.
    fn log_idle(&self) -> bool;
    /// Removes all after `to` from disk, durably, snapshots with later effects included; blocks. The log is idle.
    /// `Ok(false)`: it cannot be cut there, and nothing was changed.
    fn truncate(&mut self, to: Zxid) -> Result<bool, Fatal>;
    /// The newest state on disk; blocks for the time of loading it. The log is idle.
    fn reload(&mut self) -> Result<Recovered, Fatal>;
    /// Transactions after `after` from the log on disk, at most up to `to`, if the log holds `after` itself and all
    /// that follows without a hole, in not more bytes than are read in passing. A received snapshot leaves a hole
    /// before it, which at the end of an epoch no zxid tells of.
    fn read_log(&mut self, after: Zxid, to: Zxid) -> Option<Vec<Proposal>>;
    /// Durable when it returns; blocks for two small flushes.
    fn write_epoch(&mut self, file: EpochFile, epoch: i64) -> Result<(), Fatal>;

    // Snapshots.

    /// True once when enough was appended since the last one.
    fn snapshot_due(&mut self) -> bool;
    /// Writes one on the side, unless one is being written. What is still being written when the history is cut or
    /// replaced is given up.
    fn write_snapshot(&mut self, source: Source);
    /// The one being written, if any, is not put in place: the tree is about to take in what may never be committed,
    /// and the log that tells of it may be lost with the power. Blocks for the time of a piece of it.
    fn give_up_snapshot(&mut self);
    /// A snapshot from the leader begins: its bytes follow, from the session table to the end of the nodes.
    fn begin_received_snapshot(&mut self, zxid: Zxid) -> Result<(), Fatal>;
    fn received_snapshot_bytes(&mut self, bytes: &[u8]) -> Result<(), Fatal>;
    /// All bytes are there: makes it durable, then cuts the log after its zxid, then lets it take its name; on the
    /// side, and then calls [`super::Peer::snapshot_adopted`]. The log is idle and stays so until then.
    fn adopt_received_snapshot(&mut self, last: Zxid);
    /// The leader is gone in the middle of it.
    fn abandon_received_snapshot(&mut self);

    // Other servers.

    /// Sends an election's message; only the newest to each server matters, and any may be lost.
    fn send_vote(&mut self, to: Sid, body: Vec<u8>);
    fn connect_all_voters(&mut self);
    /// Whether some notification has left every queue.
    fn votes_delivered(&self) -> bool;
    /// Opens or closes the quorum port.
    fn accept_learners(&mut self, accept: bool);
    /// Dials a server's quorum port; answered by [`super::Peer::link_up`] or [`super::Peer::link_down`].
    fn dial(&mut self, leader: Sid) -> LinkId;
    fn send(&mut self, link: LinkId, bytes: &[u8]);
    /// The same without a copy of large pieces.
    fn send_shared(&mut self, link: LinkId, bytes: &Arc<Vec<u8>>, range: Range<usize>);
    /// A link is that learner's: how long what it is sent has to wait counts under this number.
    fn learner_known(&mut self, link: LinkId, sid: Sid);
    /// Sends the tree on the side, in the form of a SNAP; whatever is sent afterwards leaves after it.
    fn stream_snapshot(&mut self, link: LinkId, source: Source);
    /// The link goes down when nothing is received for so many milliseconds.
    fn set_read_timeout(&mut self, link: LinkId, ms: MonoMs);
    /// Sends what is queued, then closes; no [`super::Peer::link_down`] follows.
    fn close(&mut self, link: LinkId);

    // Client cores.

    /// Whether every client core's mailbox takes another batch.
    fn shards_have_room(&self) -> bool;
    fn to_shards(&mut self, batch: &Arc<CommitBatch>);
    fn control_shards(&mut self, message: ToShard);
    fn wake_shards(&mut self);
    /// What operators are told from now on; `tree` is the one they may look at.
    fn show_state(&mut self, state: ServerState, tree: &Arc<Tree>);
}
