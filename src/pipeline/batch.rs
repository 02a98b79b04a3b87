//! What a run of committed transactions means to connections: events and replies, in commit order.
//!
//! Built on the Zab core while it applies, then shared by all client cores. **The order rule**: the batch is in
//! every mailbox before the tree becomes visible at its zxid, and a client core acts on it only once the tree is.
//! So a client core that reads the tree at zxid V finds all events up to V in its mailbox.

use std::ops::Range;

use super::messages::ConnToken;
use crate::base::{SessionId, Zxid};
use crate::tree::EventAcl;
use crate::wire::EventType;

#[derive(Clone, Debug)]
pub enum Item {
    /// One step of a change; `path` lies in the batch's bytes.
    Event { event: EventType, path: Range<u32>, zxid: Zxid, acl: EventAcl },
    /// A node is gone: the data and the child watches on it.
    Deleted { path: Range<u32>, zxid: Zxid, acl: EventAcl },
    /// The answer to a write; the body lies in the batch's bytes.
    Reply { conn: ConnToken, xid: i32, zxid: Zxid, err: i32, body: Range<u32> },
    /// The session of a handshake is there.
    SessionReady { conn: ConnToken, session: SessionId, timeout_ms: i32, passwd: [u8; 16] },
    /// The session of a handshake cannot be resumed.
    SessionRejected { conn: ConnToken },
    /// Close the connection; its session ended or moved on.
    Close { conn: ConnToken },
}

/// Shared by the client cores; immutable once pushed.
#[derive(Debug, Default)]
pub struct CommitBatch {
    /// The tree shows everything up to here once this batch may be acted on.
    pub zxid: Zxid,
    pub bytes: Vec<u8>,
    pub items: Vec<Item>,
}

impl CommitBatch {
    pub fn slice(&self, range: &Range<u32>) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }

    /// Appends bytes and names them.
    pub fn put(&mut self, bytes: &[u8]) -> Range<u32> {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len() as u32
    }

    /// Appends what `write` writes and names it.
    pub fn put_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Range<u32> {
        let start = self.bytes.len() as u32;
        write(&mut self.bytes);
        start..self.bytes.len() as u32
    }
}
