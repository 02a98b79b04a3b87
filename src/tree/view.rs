//! What a read looks through: the tree and its nodes at one moment.

use super::acl_cache::Acl;
use super::body::{self, Access, Block, ChildrenStat, Kids};
use super::chunks::Slot;
use super::digest;
use super::owner::NodeType;
use super::shared::{ROOT_SLOT, Tree};
use crate::base::sync::Ordering;
use crate::base::{SessionId, Zxid};
use crate::wire::{Stat, StatPersisted};

/// Steps of a long walk between two looks at the sequence number.
const STEPS_PER_LOOK: u64 = 256;

/// The tree during one read. In a read on a client core its answers count only if the read
/// succeeds; until then they may be mixed, and every method copes with that.
#[derive(Clone, Copy)]
pub struct View<'g> {
    tree: &'g Tree,
    access: Access<'g>,
    sequence: u64,
}

/// Nodes and bytes of data of a subtree, as quotas count them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// The top node included.
    pub nodes: u64,
    /// Bytes of data, names not counted.
    pub bytes: u64,
}

impl<'g> View<'g> {
    pub(super) fn new(tree: &'g Tree, access: Access<'g>, sequence: u64) -> Self {
        View { tree, access, sequence }
    }

    /// The node at a path; `/` and the empty path are the root. Any bytes are fine.
    pub fn lookup(&self, path: &[u8]) -> Option<NodeView<'g>> {
        self.node(self.tree.find(self.access, path)?)
    }

    /// The node in a slot, unless it is free.
    pub(super) fn node(&self, slot: u32) -> Option<NodeView<'g>> {
        let fixed = self.tree.slots.at(slot)?;
        body::load(&fixed.body, self.access).0?;
        Some(NodeView { view: *self, slot, fixed })
    }

    /// True once what this view shows is certainly mixed: a long walk may stop.
    pub fn torn(&self) -> bool {
        self.tree.moved_since(self.sequence)
    }

    /// The last transaction applied.
    pub fn applied(&self) -> Zxid {
        self.tree.applied()
    }

    /// The tree's digest after the last transaction (reference: disk-format 5.2).
    pub fn digest(&self) -> u64 {
        self.tree.digest()
    }

    /// Znodes, each counted once. Apache ZooKeeper's own number is higher by one: it has the root
    /// twice.
    pub fn node_count(&self) -> u64 {
        self.tree.nodes.load(Ordering::Relaxed)
    }

    /// Bytes of all paths and data: Apache ZooKeeper's `approximate_data_size`, up to the root's
    /// one byte and to paths outside ASCII, which it counts in UTF-16 units.
    pub fn approximate_data_size(&self) -> u64 {
        self.tree.bytes.load(Ordering::Relaxed).max(0) as u64
    }

    /// Ordinary ephemeral nodes.
    pub fn ephemerals_count(&self) -> u64 {
        self.tree.ephemerals.len()
    }

    /// The sessions that own ephemeral nodes, ascending.
    pub fn ephemeral_sessions(&self) -> Vec<SessionId> {
        self.tree.ephemerals.sessions()
    }

    /// Calls `each` with the path of every ephemeral node of a session, in no order.
    pub fn ephemerals_of(&self, session: SessionId, mut each: impl FnMut(&[u8])) {
        let mut path = Vec::new();
        for slot in self.tree.ephemerals.slots(session) {
            let Some(node) = self.node(slot) else { continue };
            path.clear();
            node.path(&mut path);
            each(&path);
        }
    }

    fn options(&self) -> super::OwnerOptions {
        self.tree.options
    }
}

/// A node during one read.
#[derive(Clone, Copy)]
pub struct NodeView<'g> {
    view: View<'g>,
    slot: u32,
    fixed: &'g Slot,
}

impl<'g> NodeView<'g> {
    fn parts(&self) -> (Option<Block<'g>>, Option<Kids<'g>>) {
        body::load(&self.fixed.body, self.view.access)
    }

    fn block(&self) -> Option<Block<'g>> {
        self.parts().0
    }

    pub(super) fn slot(&self) -> u32 {
        self.slot
    }

    pub(super) fn acl_index(&self) -> u32 {
        self.fixed.acl.load(Ordering::Relaxed)
    }

    pub(super) fn parent_slot(&self) -> u32 {
        self.fixed.parent.load(Ordering::Relaxed)
    }

    pub(super) fn czxid(&self) -> i64 {
        self.fixed.czxid.load(Ordering::Relaxed)
    }

    /// The status as clients see it.
    pub fn stat(&self) -> Stat {
        let (block, kids) = self.parts();
        let raw = self.persisted();
        let num_children = kids.map_or(0, |kids| kids.len()) as i32;
        let owner = raw.ephemeral_owner;
        let ordinary = !matches!(
            self.view.options().node_type(owner),
            Ok(NodeType::Container | NodeType::Ttl(_))
        );
        Stat {
            czxid: raw.czxid,
            mzxid: raw.mzxid,
            ctime: raw.ctime,
            mtime: raw.mtime,
            version: raw.version,
            cversion: raw.cversion.wrapping_mul(2).wrapping_sub(num_children),
            aversion: raw.aversion,
            ephemeral_owner: if ordinary { owner } else { 0 },
            data_length: block.and_then(|block| block.data()).map_or(0, |data| data.len() as i32),
            num_children,
            pzxid: raw.pzxid,
        }
    }

    /// The status as disks keep it.
    pub fn persisted(&self) -> StatPersisted {
        let fixed = self.fixed;
        let (block, kids) = self.parts();
        let czxid = self.czxid();
        let ctime = fixed.ctime.load(Ordering::Relaxed);
        let changed = match fixed.changed.load(Ordering::Relaxed) {
            0 => None,
            index => self.view.tree.changed.at(index),
        };
        let fresh = ChildrenStat { pzxid: czxid, cversion: 0 };
        let children = kids.map_or(fresh, |kids| kids.stat());
        StatPersisted {
            czxid,
            mzxid: changed.map_or(czxid, |changed| changed.mzxid.load(Ordering::Relaxed)),
            ctime,
            mtime: changed.map_or(ctime, |changed| changed.mtime.load(Ordering::Relaxed)),
            version: changed.map_or(0, |changed| changed.version.load(Ordering::Relaxed)),
            cversion: children.cversion,
            aversion: changed.map_or(0, |changed| changed.aversion.load(Ordering::Relaxed)),
            ephemeral_owner: block.map_or(0, |block| block.owner()),
            pzxid: children.pzxid,
        }
    }

    /// The data; `None` is null, which is not empty.
    pub fn data(&self) -> Option<&'g [u8]> {
        self.block()?.data()
    }

    /// The ACL. `None` only in a mixed state, which the end of the read finds out.
    pub fn acl(&self) -> Option<&'g Acl> {
        self.view.tree.acls.at(self.view.access, self.acl_index())
    }

    /// The raw owner: session, container mark or TTL.
    pub fn owner(&self) -> i64 {
        self.block().map_or(0, |block| block.owner())
    }

    /// How the node lives. An owner that the options do not allow counts as a session.
    pub fn node_type(&self) -> NodeType {
        self.view.options().node_type(self.owner()).unwrap_or(NodeType::Ephemeral)
    }

    pub fn num_children(&self) -> usize {
        self.parts().1.map_or(0, |kids| kids.len() as usize)
    }

    /// Calls `each` with the name of every child, in no order.
    pub fn for_each_child(&self, mut each: impl FnMut(&'g [u8])) {
        for node in self.children() {
            each(node.name());
        }
    }

    /// The children, in no order.
    pub(super) fn children(&self) -> impl Iterator<Item = NodeView<'g>> + use<'g> {
        let view = self.view;
        let slots = self.parts().1.into_iter().flat_map(|kids| kids.slots());
        slots.filter_map(move |slot| view.node(slot))
    }

    /// The last part of the path; empty for the root.
    pub fn name(&self) -> &'g [u8] {
        self.block().map_or(&[], |block| block.name())
    }

    /// Nodes below this one, itself not counted.
    pub fn descendants(&self) -> u64 {
        self.usage().nodes.saturating_sub(1)
    }

    /// Nodes and bytes of this subtree, itself included.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        let (mut waiting, mut steps) = (vec![self.slot], 0);
        while let Some(slot) = waiting.pop() {
            let Some(node) = self.view.node(slot) else { continue };
            usage.nodes += 1;
            usage.bytes += node.data().map_or(0, |data| data.len() as u64);
            steps += 1 + node.num_children() as u64;
            // Half-changed links could lead round in circles for ever.
            if steps >= STEPS_PER_LOOK {
                steps = 0;
                if self.view.torn() {
                    break;
                }
            }
            waiting.extend(node.parts().1.into_iter().flat_map(|kids| kids.slots()));
        }
        usage
    }

    /// The CRC over path and data that the node's digest starts from.
    pub fn block_crc(&self) -> u32 {
        self.block().map_or(0, |block| block.crc())
    }

    /// The node's digest, for a node that is not below `/zookeeper/`.
    pub fn digest(&self) -> u64 {
        digest::node_digest(self.block_crc(), &self.persisted())
    }

    /// Appends the full path; nothing for the root.
    pub fn path(&self, out: &mut Vec<u8>) {
        let mut chain = Vec::new();
        let mut node = Some(*self);
        while let Some(here) = node.filter(|here| here.slot != ROOT_SLOT) {
            chain.push(here.name());
            if (chain.len() as u64).is_multiple_of(STEPS_PER_LOOK) && self.view.torn() {
                break;
            }
            node = self.view.node(here.parent_slot());
        }
        for name in chain.into_iter().rev() {
            out.push(b'/');
            out.extend_from_slice(name);
        }
    }
}
