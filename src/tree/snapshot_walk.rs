//! Walking the tree for a snapshot while transactions go on (reference: disk-format 7.4, 8).
//!
//! The walk goes over slots, not paths. A node created after the walk began is left out: replay
//! creates it. Every other node is captured atomically, after its parent. So a captured child set
//! never promises what the file does not have, and what changed meanwhile is changed again by
//! replay from the walk's zxid on.

use super::acl_cache::{AclRef, OPEN_ACL_ID};
use super::shared::{ROOT_SLOT, Tree};
use super::view::{NodeView, View};
use super::writer::TreeWriter;
use crate::base::Zxid;
use crate::wire::{AclList, JuteWrite};
use std::collections::HashSet;
use std::sync::Arc;

/// Slots looked at per requested node before a chunk ends: bounds a call on a tree that is mostly
/// free slots.
const SLOTS_PER_NODE: u32 = 64;

/// Made by the writer between two batches, then owned by a side thread.
pub struct SnapshotWalk {
    tree: Arc<Tree>,
    zxid: Zxid,
    acls: Vec<AclRef>,
    acl_ids: HashSet<i64>,
    /// Written in place of ids that are newer than the map: replay sets the real one.
    stand_in: i64,
    /// One bit per slot: captured.
    done: Vec<u64>,
    next: u32,
    end: u32,
}

enum Step {
    /// Free, or newer than the walk.
    Skip,
    Captured,
    /// These come first, the outermost last.
    After(Vec<u32>),
}

impl TreeWriter {
    /// Begins a walk at the last applied transaction.
    pub fn begin_snapshot(&self) -> SnapshotWalk {
        assert!(!self.is_open(), "a snapshot begins between batches");
        let acls = self.acls.handles(&self.tree.acls);
        let end = self.tree.slots_used.load(crate::base::sync::Ordering::Relaxed);
        let resolved = acls.iter().find(|acl| acl.list().is_some());
        SnapshotWalk {
            zxid: self.tree.applied(),
            stand_in: resolved.map_or(OPEN_ACL_ID, |acl| acl.id()),
            // Ids that nothing explains are kept as they are: no list may be made up for them.
            acl_ids: acls.iter().map(|acl| acl.id()).chain([OPEN_ACL_ID]).collect(),
            acls,
            done: vec![0; end as usize / 64 + 1],
            next: ROOT_SLOT,
            end,
            tree: Arc::clone(&self.tree),
        }
    }
}

impl SnapshotWalk {
    /// The transaction the snapshot is named after: replay starts behind it.
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// The ACL map as it was when the walk began, ascending by id.
    pub fn acls(&self) -> impl Iterator<Item = (i64, AclList<'_>)> {
        self.acls.iter().filter_map(|acl| Some((acl.id(), acl.list()?)))
    }

    /// Appends records of about `max_nodes` nodes (ancestors that must come first can make it
    /// more). False when the walk is complete.
    pub fn next_chunk(&mut self, max_nodes: usize, out: &mut Vec<u8>) -> bool {
        let slots_max = (max_nodes as u64 * u64::from(SLOTS_PER_NODE)).max(1);
        let stop = u64::from(self.next).saturating_add(slots_max).min(u64::from(self.end)) as u32;
        let mut nodes = 0;
        while self.next < stop && nodes < max_nodes {
            nodes += self.capture(self.next, out);
            self.next += 1;
        }
        self.next < self.end
    }

    /// The last transaction whose effects may be in the walk, and the tree's digest at that moment.
    /// Ask after the last chunk.
    pub fn end_state(&self) -> (Zxid, u64) {
        self.tree.read(|view| view.digest())
    }

    fn is_done(&self, slot: u32) -> bool {
        self.done.get(slot as usize / 64).is_some_and(|bits| bits >> (slot % 64) & 1 != 0)
    }

    /// Captures a node, before it its missing ancestors; returns how many nodes that were.
    fn capture(&mut self, slot: u32, out: &mut Vec<u8>) -> usize {
        if self.is_done(slot) {
            return 0;
        }
        let mut captured = 0;
        let mut waiting = vec![slot];
        while let Some(&slot) = waiting.last() {
            match self.step(slot, out) {
                Step::Captured => {
                    self.done[slot as usize / 64] |= 1 << (slot % 64);
                    captured += 1;
                    waiting.pop();
                }
                // Gone since it was found: so is everything below it.
                Step::Skip => return captured,
                Step::After(ancestors) => {
                    // Moves only happen by delete and create, and what is created now is skipped:
                    // the chain of an old node can only break, not grow.
                    waiting.extend(ancestors);
                }
            }
        }
        captured
    }

    fn step(&self, slot: u32, out: &mut Vec<u8>) -> Step {
        let start = out.len();
        let read = self.tree.read(|view| {
            out.truncate(start);
            self.step_in(view, slot, out)
        });
        read.1
    }

    fn step_in(&self, view: View<'_>, slot: u32, out: &mut Vec<u8>) -> Step {
        let Some(node) = view.node(slot).filter(|node| self.is_wanted(node)) else {
            return Step::Skip;
        };
        let mut ancestors = Vec::new();
        let mut at = node;
        while at.slot() != ROOT_SLOT {
            let Some(parent) = view.node(at.parent_slot()).filter(|up| self.is_wanted(up)) else {
                return Step::Skip;
            };
            if self.is_done(parent.slot()) {
                break;
            }
            ancestors.push(parent.slot());
            if ancestors.len() % 256 == 0 && view.torn() {
                return Step::Skip;
            }
            at = parent;
        }
        if !ancestors.is_empty() {
            return Step::After(ancestors);
        }
        self.encode(&node, out);
        Step::Captured
    }

    fn is_wanted(&self, node: &NodeView<'_>) -> bool {
        // Fixed nodes have zxid 0 although an untrusted database is at -1.
        node.slot() < self.end && node.czxid() <= self.zxid.0.max(0)
    }

    fn encode(&self, node: &NodeView<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_int(0);
        node.path(out);
        let len = (out.len() - start - 4) as i32;
        out[start..start + 4].copy_from_slice(&len.to_be_bytes());
        out.put_buffer(node.data());
        let id = node.acl().map_or(OPEN_ACL_ID, |acl| acl.id());
        out.put_long(if self.acl_ids.contains(&id) { id } else { self.stand_in });
        node.persisted().encode(out);
    }
}
