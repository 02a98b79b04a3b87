//! The tree's one writer: transactions become changes (reference: data-model 1.1, disk-format 8).
//!
//! The same calls serve live transactions and replay. On replay a snapshot may already show some of
//! what a transaction does; the answers are then errors that the caller ignores, and the state
//! converges.

use super::acl_cache::{AclCache, AclRef};
use super::block_heap::BlockHeap;
use super::body::{self, Access, ChildrenStat};
use super::chunks::{Changed, Slot};
use super::digest::{node_digest, path_data_crc};
use super::ephemerals::SlotSet;
use super::owner::{NodeType, OwnerOptions};
use super::path;
use super::quota::Quotas;
use super::shared::{ROOT_SLOT, Tree};
use super::view::{NodeView, View};
use crate::base::sync::Ordering::Relaxed;
use crate::base::{SessionId, WallMs, Zxid};
use crate::wire::acl::READ_ACL_UNSAFE;
use crate::wire::{AclList, ErrorCode, Stat, StatPersisted};
use std::sync::Arc;

/// A node to create.
#[derive(Clone, Copy, Debug)]
pub struct Create<'a> {
    pub path: &'a [u8],
    pub data: Option<&'a [u8]>,
    pub acl: AclList<'a>,
    /// Raw: session, container mark or TTL; 0 for none.
    pub owner: i64,
    pub zxid: Zxid,
    /// Wall clock of the leader when it made the transaction.
    pub time: WallMs,
    /// The parent's stored cversion after this create; -1 is "current + 1".
    pub parent_cversion: i32,
}

/// Who may hear of an event: everybody, or those whom a list lets read. The first spares the cores
/// from counting handles on the one list that nearly all nodes have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EventAcl {
    WorldReadable,
    Restricted(AclRef),
}

/// What watches need to know of a delete: whom the node and its parent let read, before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deleted {
    pub node: EventAcl,
    pub parent: EventAcl,
}

/// Owned by the Zab core. Changes go between [`begin`](Self::begin) and [`publish`](Self::publish);
/// readers see all of a batch or nothing.
pub struct TreeWriter {
    pub(super) tree: Arc<Tree>,
    pub(super) acls: AclCache,
    heap: BlockHeap,
    free: Vec<u32>,
    free_changed: Vec<u32>,
    /// Entries of `changed` that were ever in use, without entry 0.
    changed_used: u32,
    containers: SlotSet,
    ttls: SlotSet,
    pub(super) quotas: Quotas,
    pub(super) digest: u64,
    open: bool,
}

impl TreeWriter {
    /// A fresh database (reference: data-model 1.2).
    pub fn new(options: OwnerOptions) -> TreeWriter {
        let mut writer = TreeWriter::bare(options);
        writer.begin();
        writer.add_system_nodes();
        writer.publish(Zxid::ZERO);
        writer
    }

    /// Root only.
    pub(super) fn bare(options: OwnerOptions) -> TreeWriter {
        let heap = BlockHeap::new();
        let mut writer = TreeWriter {
            tree: Arc::new(Tree::new(options, heap.memory().clone())),
            acls: AclCache::new(),
            heap,
            free: Vec::new(),
            free_changed: Vec::new(),
            changed_used: 0,
            containers: SlotSet::default(),
            ttls: SlotSet::default(),
            quotas: Quotas::default(),
            digest: 0,
            open: false,
        };
        writer.begin();
        let root = writer.take_slot();
        assert_eq!(root, ROOT_SLOT);
        writer.fill(root, b"", Some(b""), 0, &StatPersisted::default());
        writer.publish(Zxid::ZERO);
        writer
    }

    /// Adds those of the fixed nodes that are missing, as old snapshots lack some.
    pub(super) fn add_system_nodes(&mut self) {
        for path in [path::ZOOKEEPER, path::QUOTA, path::CONFIG] {
            if self.find(path).is_some() {
                continue;
            }
            let parent = self.find(path::parent(path).unwrap_or_default());
            let parent = parent.expect("parents come first in the list");
            let mut stat = StatPersisted::default();
            let mut acl = super::acl_cache::OPEN_ACL_INDEX;
            if path == path::CONFIG {
                stat.aversion = -1;
                acl = self.acls.acquire(&self.tree.acls, READ_ACL_UNSAFE);
            }
            self.attach(parent, path, Some(b""), acl, &stat);
        }
    }

    /// The tree to hand to readers.
    pub fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    /// The tree as it is now, open batch included. Always consistent: nobody changes it meanwhile.
    pub fn view(&self) -> View<'_> {
        View::new(&self.tree, self.access(), self.tree.sequence())
    }

    fn access(&self) -> Access<'_> {
        // SAFETY: only `&mut self` can retire anything, and the result borrows `self`. Needed so
        // that the writer reads without pinning.
        unsafe { Access::new() }
    }

    /// As `access`, while `self` is being changed. For one call into the tree's parts at a time.
    pub(super) fn detached_access(&self) -> Access<'static> {
        // SAFETY: the writer thread alone retires memory. Callers pass the result on to a single
        // call of a part and keep nothing that they got through it across a later change.
        unsafe { Access::new() }
    }

    /// Opens a batch. Readers wait or retry until it is published: keep it short, and await
    /// nothing.
    pub fn begin(&mut self) {
        assert!(!self.open, "a batch is open already");
        self.tree.begin();
        self.open = true;
    }

    /// Makes the batch visible; `zxid` is its last transaction.
    pub fn publish(&mut self, zxid: Zxid) {
        assert!(self.open, "no batch is open");
        self.tree.publish(zxid, self.digest);
        self.open = false;
    }

    /// True between `begin` and `publish`.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// The digest with everything applied so far, open batch included.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Creates a node. `NodeExists` also gives the existing node this ACL and raises the parent's
    /// cversion and pzxid, and `NoNode` is a parent deleted later: both happen on replay only.
    pub fn create(&mut self, new: &Create<'_>) -> Result<Stat, ErrorCode> {
        assert!(self.open);
        if path::is_root(new.path) {
            return Err(ErrorCode::NodeExists);
        }
        let parent_path = path::parent(new.path).ok_or(ErrorCode::BadArguments)?;
        if path::name(new.path).is_empty() {
            return Err(ErrorCode::BadArguments);
        }
        let parent = self.find(parent_path).ok_or(ErrorCode::NoNode)?;
        let acl = self.acls.acquire(&self.tree.acls, new.acl);
        if let Some(existing) = self.find(new.path) {
            self.swap_acl(existing, acl);
            self.raise_parent(parent, parent_path, new.parent_cversion, new.zxid);
            return Err(ErrorCode::NodeExists);
        }
        self.raise_parent(parent, parent_path, new.parent_cversion, new.zxid);
        let stat = StatPersisted {
            czxid: new.zxid.0,
            mzxid: new.zxid.0,
            ctime: new.time,
            mtime: new.time,
            ephemeral_owner: new.owner,
            pzxid: new.zxid.0,
            ..StatPersisted::default()
        };
        let slot = self.attach(parent, new.path, new.data, acl, &stat);
        self.quota_after_create(new.path, new.data.map_or(0, |data| data.len() as i64));
        Ok(self.at(slot).stat())
    }

    /// Deletes a node. `NoNode` raises the parent's pzxid nevertheless: on replay the node may be
    /// gone already.
    ///
    /// Live transactions never name a node with children; a replayed one may, when the snapshot
    /// shows a later node of that path. Its children were then created later too and will be
    /// created again, so they go as well.
    pub fn delete(&mut self, path: &[u8], zxid: Zxid) -> Result<Deleted, ErrorCode> {
        assert!(self.open);
        if path::is_root(path) {
            return Err(ErrorCode::BadArguments);
        }
        let parent_path = path::parent(path).ok_or(ErrorCode::NoNode)?;
        let parent = self.find(parent_path).ok_or(ErrorCode::NoNode)?;
        let children = self.children_stat(parent);
        if zxid.0 > children.pzxid {
            let now = ChildrenStat { pzxid: zxid.0, ..children };
            self.change_stat(parent, parent_path, |writer| writer.set_children_stat(parent, now));
        }
        let slot = self.find(path).ok_or(ErrorCode::NoNode)?;
        let deleted = Deleted { node: self.event_acl_at(slot), parent: self.event_acl_at(parent) };
        self.delete_below(slot);
        self.detach(slot, path);
        Ok(deleted)
    }

    /// Replaces a node's data. Absolute values: replay may set an older state first (reference:
    /// disk-format 8).
    pub fn set_data(
        &mut self,
        path: &[u8],
        data: Option<&[u8]>,
        version: i32,
        zxid: Zxid,
        time: WallMs,
    ) -> Result<Stat, ErrorCode> {
        assert!(self.open);
        let slot = self.find(path).ok_or(ErrorCode::NoNode)?;
        self.digest = self.digest.wrapping_sub(self.digest_at(slot, path));
        let before = self.put_data(slot, path, data);
        let changed = self.changed(slot);
        changed.version.store(version, Relaxed);
        changed.mzxid.store(zxid.0, Relaxed);
        changed.mtime.store(time, Relaxed);
        self.digest = self.digest.wrapping_add(self.digest_at(slot, path));
        let after = data.map_or(0, |data| data.len() as i64);
        self.charge_quota(path, 0, after - before);
        Ok(self.at(slot).stat())
    }

    /// Replaces a node's ACL; nothing else of it changes but the aversion.
    pub fn set_acl(
        &mut self,
        path: &[u8],
        acl: AclList<'_>,
        version: i32,
    ) -> Result<Stat, ErrorCode> {
        assert!(self.open);
        let slot = self.find(path).ok_or(ErrorCode::NoNode)?;
        let acl = self.acls.acquire(&self.tree.acls, acl);
        self.swap_acl(slot, acl);
        self.change_stat(slot, path, |writer| {
            writer.changed(slot).aversion.store(version, Relaxed);
        });
        Ok(self.at(slot).stat())
    }

    /// A handle on the ACL of a node.
    pub fn acl_of(&self, path: &[u8]) -> Option<AclRef> {
        let slot = self.find(path)?;
        Some(self.tree.acls.handle(self.slot(slot).acl.load(Relaxed)))
    }

    /// Who may hear of an event at a node.
    pub fn event_acl(&self, path: &[u8]) -> Option<EventAcl> {
        self.find(path).map(|slot| self.event_acl_at(slot))
    }

    /// The paths of a session's ephemeral nodes, in no order.
    pub fn ephemerals_of(&self, session: SessionId) -> Vec<Box<[u8]>> {
        let mut paths = Vec::new();
        self.view().ephemerals_of(session, |path| paths.push(path.into()));
        paths
    }

    /// Containers and TTL nodes that the reaper should try to delete at wall clock `now`
    /// (reference: data-model 4.1). `never_used_ms_max` 0 spares containers that never had a child.
    pub fn reap_candidates(&self, now: WallMs, never_used_ms_max: i64) -> Vec<Box<[u8]>> {
        let mut paths = Vec::new();
        for &slot in self.containers.iter().chain(&self.ttls) {
            let node = self.at(slot);
            let stat = node.persisted();
            let idle = now.saturating_sub(stat.mtime);
            let due = node.num_children() == 0
                && match node.node_type() {
                    NodeType::Container if stat.cversion > 0 => true,
                    NodeType::Container => never_used_ms_max > 0 && idle > never_used_ms_max,
                    NodeType::Ttl(ttl) => ttl != 0 && idle > ttl,
                    NodeType::Persistent | NodeType::Ephemeral => false,
                };
            if due {
                let mut path = Vec::new();
                node.path(&mut path);
                paths.push(path.into());
            }
        }
        paths
    }

    /// Containers alive.
    pub fn containers_count(&self) -> usize {
        self.containers.len()
    }

    /// TTL nodes alive.
    pub fn ttls_count(&self) -> usize {
        self.ttls.len()
    }

    pub(super) fn find(&self, path: &[u8]) -> Option<u32> {
        self.tree.find(self.access(), path)
    }

    fn slot(&self, slot: u32) -> &Slot {
        self.tree.slots.at(slot).expect("the writer knows its slots")
    }

    pub(super) fn at(&self, slot: u32) -> NodeView<'_> {
        self.view().node(slot).expect("the writer knows its nodes")
    }

    fn event_acl_at(&self, slot: u32) -> EventAcl {
        match self.at(slot).acl() {
            Some(acl) if acl.world_readable() => EventAcl::WorldReadable,
            _ => EventAcl::Restricted(self.tree.acls.handle(self.slot(slot).acl.load(Relaxed))),
        }
    }

    /// What a node adds to the tree's digest.
    fn digest_at(&self, slot: u32, path: &[u8]) -> u64 {
        if path::is_outside_digest(path) { 0 } else { self.at(slot).digest() }
    }

    fn change_stat(&mut self, slot: u32, path: &[u8], change: impl FnOnce(&mut TreeWriter)) {
        self.digest = self.digest.wrapping_sub(self.digest_at(slot, path));
        change(self);
        self.digest = self.digest.wrapping_add(self.digest_at(slot, path));
    }

    /// A create's effect on the parent's status: only forward.
    fn raise_parent(&mut self, parent: u32, path: &[u8], cversion: i32, zxid: Zxid) {
        let current = self.children_stat(parent).cversion;
        let cversion = if cversion == -1 { current.wrapping_add(1) } else { cversion };
        if cversion > current {
            let now = ChildrenStat { pzxid: zxid.0, cversion };
            self.change_stat(parent, path, |writer| writer.set_children_stat(parent, now));
        }
    }

    /// The children's status of a node that never had any.
    fn fresh_children(&self, slot: u32) -> ChildrenStat {
        ChildrenStat { pzxid: self.slot(slot).czxid.load(Relaxed), cversion: 0 }
    }

    fn children_stat(&self, slot: u32) -> ChildrenStat {
        let kids = body::load(&self.slot(slot).body, self.access()).1;
        kids.map_or_else(|| self.fresh_children(slot), |kids| kids.stat())
    }

    fn set_children_stat(&mut self, slot: u32, stat: ChildrenStat) {
        let (access, fresh) = (self.detached_access(), self.fresh_children(slot));
        body::set_children_stat(&self.slot(slot).body, access, fresh, stat);
    }

    /// The entry for what setData and setACL change; made from the node's creation if it has none.
    fn changed(&mut self, slot: u32) -> &Changed {
        let mut index = self.slot(slot).changed.load(Relaxed);
        if index == 0 {
            index = self.free_changed.pop().unwrap_or_else(|| {
                self.changed_used += 1;
                self.changed_used
            });
            let (changed, fixed) = (self.tree.changed.ensure(index), self.slot(slot));
            changed.mzxid.store(fixed.czxid.load(Relaxed), Relaxed);
            changed.mtime.store(fixed.ctime.load(Relaxed), Relaxed);
            changed.version.store(0, Relaxed);
            changed.aversion.store(0, Relaxed);
            fixed.changed.store(index, Relaxed);
        }
        self.tree.changed.at(index).expect("the writer knows its entries")
    }

    fn forget_changed(&mut self, slot: u32) {
        match self.slot(slot).changed.swap(0, Relaxed) {
            0 => {}
            index => self.free_changed.push(index),
        }
    }

    fn swap_acl(&mut self, slot: u32, acl: u32) {
        let old = self.slot(slot).acl.swap(acl, Relaxed);
        self.acls.release(&self.tree.acls, old);
    }

    fn take_slot(&mut self) -> u32 {
        if let Some(slot) = self.free.pop() {
            return slot;
        }
        let slot = self.tree.slots_used.load(Relaxed);
        self.tree.slots.ensure(slot);
        self.tree.slots_used.store(slot + 1, Relaxed);
        slot
    }

    fn count(&self, nodes: i64, bytes: i64) {
        // Only the writer changes these: no need for atomic additions.
        let (all_nodes, all_bytes) = (&self.tree.nodes, &self.tree.bytes);
        all_nodes.store(all_nodes.load(Relaxed).wrapping_add_signed(nodes), Relaxed);
        all_bytes.store(all_bytes.load(Relaxed).wrapping_add(bytes), Relaxed);
    }

    /// Writes a node into a taken slot and adds it to digest, counts and the sets of its type.
    pub(super) fn fill(
        &mut self,
        slot: u32,
        path: &[u8],
        data: Option<&[u8]>,
        acl: u32,
        stat: &StatPersisted,
    ) {
        let crc = path_data_crc(path, data);
        let name = path::name(path);
        let block = body::new_block(&mut self.heap, name, data, stat.ephemeral_owner, crc);
        let fixed = self.slot(slot);
        fixed.czxid.store(stat.czxid, Relaxed);
        fixed.ctime.store(stat.ctime, Relaxed);
        fixed.acl.store(acl, Relaxed);
        body::replace_block(&fixed.body, self.heap.memory(), block);
        let children = ChildrenStat { pzxid: stat.pzxid, cversion: stat.cversion };
        self.set_children_stat(slot, children);
        self.forget_changed(slot);
        let as_created = stat.mzxid == stat.czxid && stat.mtime == stat.ctime;
        if !as_created || stat.version != 0 || stat.aversion != 0 {
            let changed = self.changed(slot);
            changed.mzxid.store(stat.mzxid, Relaxed);
            changed.mtime.store(stat.mtime, Relaxed);
            changed.version.store(stat.version, Relaxed);
            changed.aversion.store(stat.aversion, Relaxed);
        }
        self.count(1, (path.len() + data.map_or(0, |data| data.len())) as i64);
        if !path::is_outside_digest(path) {
            self.digest = self.digest.wrapping_add(node_digest(crc, stat));
        }
        match self.tree.options.node_type(stat.ephemeral_owner).unwrap_or(NodeType::Ephemeral) {
            NodeType::Persistent => {}
            NodeType::Ephemeral => {
                self.tree.ephemerals.insert(SessionId(stat.ephemeral_owner), slot);
            }
            NodeType::Container => {
                self.containers.insert(slot);
            }
            NodeType::Ttl(_) => {
                self.ttls.insert(slot);
            }
        }
    }

    /// Before the root is loaded: takes its fresh form out of the counts.
    pub(super) fn forget_root(&mut self) {
        assert_eq!(self.tree.nodes.load(Relaxed), 1, "the root comes first");
        self.count(-1, 0);
    }

    /// Adds a node that does not exist under a parent that does; the parent's status stays.
    fn attach(
        &mut self,
        parent: u32,
        path: &[u8],
        data: Option<&[u8]>,
        acl: u32,
        stat: &StatPersisted,
    ) -> u32 {
        let hash = self.tree.index.hash(path);
        self.attach_hashed(parent, path, hash, data, acl, stat)
    }

    pub(super) fn attach_hashed(
        &mut self,
        parent: u32,
        path: &[u8],
        hash: u64,
        data: Option<&[u8]>,
        acl: u32,
        stat: &StatPersisted,
    ) -> u32 {
        let slot = self.take_slot();
        let access = self.detached_access();
        self.fill(slot, path, data, acl, stat);
        let fresh = self.fresh_children(parent);
        let position = body::push_child(&self.slot(parent).body, access, fresh, slot);
        let fixed = self.slot(slot);
        fixed.parent.store(parent, Relaxed);
        fixed.position.store(position, Relaxed);
        self.tree.index.insert(access, hash, slot);
        slot
    }

    /// Removes everything below a node, deepest first.
    fn delete_below(&mut self, top: u32) {
        if self.at(top).num_children() == 0 {
            return;
        }
        let mut order = vec![top];
        let mut next = 0;
        while next < order.len() {
            let children: Vec<u32> =
                self.at(order[next]).children().map(|child| child.slot()).collect();
            order.extend(children);
            next += 1;
        }
        for &slot in order[1..].iter().rev() {
            let mut path = Vec::new();
            self.at(slot).path(&mut path);
            self.detach(slot, &path);
        }
    }

    /// Removes a childless node that is not the root; the parent's status stays.
    fn detach(&mut self, slot: u32, path: &[u8]) {
        let access = self.detached_access();
        self.digest = self.digest.wrapping_sub(self.digest_at(slot, path));
        let node = self.at(slot);
        let (owner, node_type) = (node.owner(), node.node_type());
        let data_len = node.data().map_or(0, |data| data.len() as i64);
        match node_type {
            NodeType::Persistent => {}
            NodeType::Ephemeral => self.tree.ephemerals.remove(SessionId(owner), slot),
            NodeType::Container => {
                self.containers.remove(&slot);
            }
            NodeType::Ttl(_) => {
                self.ttls.remove(&slot);
            }
        }
        self.tree.index.remove(access, self.tree.index.hash(path), slot);
        let fixed = self.slot(slot);
        let parent = self.slot(fixed.parent.load(Relaxed));
        let position = fixed.position.load(Relaxed);
        if let Some(moved) = body::remove_child(&parent.body, access, position) {
            self.slot(moved).position.store(position, Relaxed);
        }
        body::clear(&fixed.body, self.heap.memory());
        let acl = fixed.acl.swap(super::acl_cache::OPEN_ACL_INDEX, Relaxed);
        self.acls.release(&self.tree.acls, acl);
        self.forget_changed(slot);
        self.count(-1, -(path.len() as i64 + data_len));
        self.free.push(slot);
        self.quota_after_delete(path, data_len);
    }

    /// Replaces the data only; digest and status are the caller's. Returns the length before.
    pub(super) fn put_data(&mut self, slot: u32, path: &[u8], data: Option<&[u8]>) -> i64 {
        let node = self.at(slot);
        let (owner, before) = (node.owner(), node.data().map_or(0, |data| data.len() as i64));
        // The root's name and its part of the digest are empty, however the caller spells its path.
        let path = if slot == ROOT_SLOT { b"" } else { path };
        let crc = path_data_crc(path, data);
        let block = body::new_block(&mut self.heap, path::name(path), data, owner, crc);
        body::replace_block(&self.slot(slot).body, self.heap.memory(), block);
        self.count(0, data.map_or(0, |data| data.len() as i64) - before);
        before
    }
}
