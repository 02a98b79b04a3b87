//! The data tree: znodes, their status, ACLs, ephemerals, quotas and the digest.
//!
//! One [`TreeWriter`] on the Zab core applies transactions; any number of readers on client cores
//! look at the shared [`Tree`] without locks and without a hop, each read at one consistent zxid. A
//! znode costs a slot of 40 bytes, a block with its name and data and seven bytes more, four bytes
//! in its parent and about nine in the index; 24 more once its data or ACL was set, and 32 once it
//! had a child.
//!
//! `unsafe` lives in four files, for the readers' path: `chunks` (slots that never move), `body`
//! (blocks and child vectors behind tagged pointers), `block_heap` (where blocks live) and `index`
//! (tables replaced under running probes), with the ACL table's handles beside them. What readers
//! can meet while the writer works is said in `shared`.

mod acl_cache;
mod block_heap;
mod body;
mod chunks;
pub mod digest;
mod ephemerals;
mod index;
mod load;
mod lock;
pub mod owner;
pub mod path;
mod quota;
mod shared;
mod snapshot_walk;
mod view;
mod writer;

pub use acl_cache::{Acl, AclRef, OPEN_ACL_ID};
pub use load::{LoadError, TreeLoader};
pub use owner::{NodeType, OwnerOptions};
pub use quota::{MalformedQuota, QuotaRow, QuotaText, Violation};
pub use shared::Tree;
pub use snapshot_walk::SnapshotWalk;
pub use view::{NodeView, Usage, View};
pub use writer::{Create, Deleted, EventAcl, TreeWriter};

#[cfg(test)]
mod tests;
