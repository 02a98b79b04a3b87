//! What the cores say to each other.

use std::ops::Range;
use std::sync::Arc;

use super::batch::CommitBatch;
use crate::auth::Identities;
use crate::base::slab::Key;
use crate::base::{MonoMs, SessionId};
use crate::session::Touch;
use crate::tree::Tree;

/// Names a connection from outside its core.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnToken {
    pub shard: u16,
    pub conn: Key,
}

/// A write as a client core forwards it; the body lies in the batch's bytes.
#[derive(Debug)]
pub struct WriteRequest {
    pub conn: Key,
    pub session: SessionId,
    pub xid: i32,
    pub op: i32,
    pub body: Range<u32>,
    /// The identities of the connection when the request was received.
    pub identities: Identities,
}

/// What a client core gathered in one turn, in arrival order.
#[derive(Debug, Default)]
pub struct RequestBatch {
    pub shard: u16,
    /// Milliseconds, when it was sent.
    pub sent_at: MonoMs,
    pub bytes: Vec<u8>,
    pub requests: Vec<WriteRequest>,
}

/// Into the Zab core.
#[derive(Debug)]
pub enum ToZab {
    Requests(RequestBatch),
    /// A handshake without a session id.
    CreateSession {
        conn: ConnToken,
        timeout_ms: i32,
    },
    /// A handshake with one. `passwd` is what the client sent.
    ResumeSession {
        conn: ConnToken,
        session: SessionId,
        passwd: Vec<u8>,
        timeout_ms: i32,
    },
    Touches(Vec<Touch>),
    /// Fill in this core's part of a report.
    Report(Arc<dyn Report>),
    /// `srst`: begin to count anew.
    ResetCounts,
    /// A leader's snapshot is in place on disk, or why it is not.
    SnapshotAdopted(Result<(), String>),
    /// Finish what is in the log, then stop.
    Shutdown,
}

/// Into a client core.
#[derive(Clone, Debug)]
pub enum ToShard {
    /// To be acted on once the tree is visible at the batch's zxid (the order rule).
    Committed(Arc<CommitBatch>),
    Report(Arc<dyn Report>),
    /// No leader is known, or another state takes the place of this one: close every client's connection, and every
    /// new one at its handshake.
    Suspend,
    /// Serve clients from this tree.
    Serve(Serving),
    /// `crst`: forget what connections have done so far.
    ResetConnectionStats,
    /// `srst`: begin to count anew.
    ResetCounts,
    /// Close every connection and stop.
    Shutdown,
}

/// How a client core serves.
#[derive(Clone)]
pub struct Serving {
    pub tree: Arc<Tree>,
    /// A learner's sync goes to the leader, in order with the writes of its session.
    pub forward_sync: bool,
    /// There is no quorum: only for clients that said that they read.
    pub read_only: bool,
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Serving { tree, forward_sync, read_only } = self;
        write!(
            f,
            "Serving(at {}, forward_sync {forward_sync}, read_only {read_only})",
            tree.applied()
        )
    }
}

/// A question to all cores that each answers from its own state; what it asks lives with the asker. `part` is
/// whatever the core offers (see the rooms' `report` modules).
pub trait Report: Send + Sync + std::fmt::Debug {
    /// Whether lists of connections, watches and sessions are wanted: they are dear on a large server.
    fn wants_lists(&self) -> bool;

    /// Whether everything counted is wanted: some tens of KiB from each core.
    fn wants_counts(&self) -> bool;

    fn add(&self, part: Box<dyn std::any::Any + Send>);
}
