//! Small conversions that preparing and applying share.

use crate::base::SessionId;
use crate::tree::owner::{CONTAINER_OWNER, ttl_owner};
use crate::tree::path;
use crate::wire::txn::CreateMode;

/// The raw `ephemeralOwner` of a node created like this (reference: data-model 4).
pub(super) fn raw_owner(mode: CreateMode, session: SessionId) -> i64 {
    match mode {
        CreateMode::Persistent => 0,
        CreateMode::Ephemeral => session.0,
        CreateMode::Container => CONTAINER_OWNER,
        // Validation lets no other TTL through; a foreign log with one makes a persistent node.
        CreateMode::Ttl(ms) => ttl_owner(ms).unwrap_or(0),
    }
}

/// The parent's path as watchers and outstanding changes name it: the root is always `/`.
pub(super) fn parent_or_root(child: &[u8]) -> &[u8] {
    match path::parent(child) {
        None | Some(b"") => b"/",
        Some(parent) => parent,
    }
}
