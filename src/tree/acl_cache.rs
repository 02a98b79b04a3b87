//! ACL lists, each kept once. Nodes name them by a small number; disks name them by an id that is
//! never reused (reference: disk-format 7.3, 8).

use super::body::Access;
use super::chunks::Chunks;
use crate::base::sync::{AtomicPtr, Ordering, SMALL, epoch, memory};
use crate::wire::acl::{OPEN_ACL_UNSAFE, perms};
use crate::wire::{AclList, Reader};
use std::collections::HashMap;
use std::ptr;
use std::sync::Arc;

/// The disk id of nodes that have a null ACL in Java: read as `world:anyone` with all permissions,
/// never listed.
pub const OPEN_ACL_ID: i64 = -1;
/// Index of the built-in open list.
pub(super) const OPEN_ACL_INDEX: u32 = 0;
const ACLS_MAX: u32 = if SMALL { 1 << 17 } else { 1 << 28 };

/// A list in the cache. Immutable; what it says stays true for whoever holds it.
#[derive(PartialEq, Eq, Debug)]
pub struct Acl {
    id: i64,
    encoded: Option<Box<[u8]>>,
    world_perms: i32,
}

/// A cheap handle that outlives the node and the cache entry, for threads that look later.
pub type AclRef = Arc<Acl>;

impl Acl {
    fn new(id: i64, list: Option<AclList<'_>>) -> Self {
        let world = |list: AclList<'_>| {
            let anyone = list
                .iter()
                .filter(|entry| entry.scheme == Some(b"world") && entry.id == Some(b"anyone"));
            anyone.fold(0, |perms, entry| perms | entry.perms)
        };
        Acl {
            id,
            encoded: list.map(|list| list.as_bytes().into()),
            // An empty list allows everything (data-model 10.4).
            world_perms: list.map_or(0, |list| if list.is_empty() { -1 } else { world(list) }),
        }
    }

    /// The id on disk.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// The list. `None` when a node was loaded with an id that no map explained: nobody but a
    /// superuser may pass until a replayed create or setACL repairs the node.
    pub fn list(&self) -> Option<AclList<'_>> {
        // Only decoded lists get here, so decoding again cannot fail.
        AclList::decode(&mut Reader::new(self.encoded.as_deref()?)).ok().flatten()
    }

    /// The permissions that everybody has, without looking at identities.
    pub fn world_perms(&self) -> i32 {
        self.world_perms
    }

    /// True when everybody may read: the usual case, and then events need no filter.
    pub fn world_readable(&self) -> bool {
        self.world_perms & perms::READ != 0
    }
}

/// The readers' half: index to list.
pub(super) struct AclTable {
    entries: Chunks<AtomicPtr<Acl>>,
}

impl AclTable {
    pub(super) fn new() -> Self {
        let table = AclTable { entries: Chunks::new(ACLS_MAX) };
        table.put(OPEN_ACL_INDEX, Acl::new(OPEN_ACL_ID, Some(OPEN_ACL_UNSAFE)));
        table
    }

    pub(super) fn at<'g>(&self, _access: Access<'g>, index: u32) -> Option<&'g Acl> {
        // Acquire pairs with the release in `put`.
        let acl = self.entries.at(index)?.load(Ordering::Acquire);
        // SAFETY: by `Access` it is not dropped during 'g; null is excluded by `as_ref`.
        let acl = unsafe { acl.as_ref() }?;
        memory::seen(acl);
        Some(acl)
    }

    /// Writer only: a handle on the entry.
    pub(super) fn handle(&self, index: u32) -> AclRef {
        let acl = self.entries.at(index).map(|entry| entry.load(Ordering::Relaxed));
        let acl = acl.filter(|acl| !acl.is_null()).expect("a znode's ACL is in the table");
        // SAFETY: the table owns one count of the Arc that `put` made; only the writer, which is
        // here, gives it up. One more count is made before the handle takes it.
        unsafe {
            Arc::increment_strong_count(acl);
            Arc::from_raw(acl)
        }
    }

    fn put(&self, index: u32, acl: Acl) {
        let acl = Arc::into_raw(Arc::new(acl)).cast_mut();
        memory::made(acl);
        let old = self.entries.ensure(index).swap(acl, Ordering::Release);
        assert!(old.is_null(), "ACL entry {index} used twice");
    }

    fn remove(&self, index: u32) {
        let entry = self.entries.at(index).expect("entry exists");
        let old = AtomicPtr::new(entry.swap(ptr::null_mut(), Ordering::Release));
        // SAFETY: gives up the count of `put`, once: the entry is null now. Readers that still look
        // are pinned.
        unsafe {
            epoch::pin().defer_unchecked(move || {
                let acl = old.into_inner();
                memory::gone(acl);
                drop(Arc::from_raw(acl));
            });
        }
    }
}

/// The writer's half: list to index, with counts. Owned by the Zab core.
pub(super) struct AclCache {
    by_list: HashMap<Box<[u8]>, u32, ahash::RandomState>,
    /// Nodes that use each index.
    uses: Vec<u64>,
    free: Vec<u32>,
    next_id: i64,
    /// While loading: disk ids seen so far.
    by_id: HashMap<i64, u32, ahash::RandomState>,
}

impl AclCache {
    pub(super) fn new() -> Self {
        AclCache {
            by_list: HashMap::default(),
            uses: vec![1],
            free: Vec::new(),
            next_id: 1,
            by_id: HashMap::default(),
        }
    }

    fn add(&mut self, table: &AclTable, acl: Acl) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.uses.push(0);
            (self.uses.len() - 1) as u32
        });
        table.put(index, acl);
        index
    }

    /// Counts one more use of a list.
    pub(super) fn acquire(&mut self, table: &AclTable, list: AclList<'_>) -> u32 {
        let index = match self.by_list.get(list.as_bytes()) {
            Some(&index) => index,
            None => {
                let index = self.add(table, Acl::new(self.next_id, Some(list)));
                self.next_id += 1;
                self.by_list.insert(list.as_bytes().into(), index);
                index
            }
        };
        self.uses[index as usize] += 1;
        index
    }

    /// Counts one use less and forgets a list nobody uses.
    pub(super) fn release(&mut self, table: &AclTable, index: u32) {
        if index == OPEN_ACL_INDEX {
            return;
        }
        let uses = &mut self.uses[index as usize];
        *uses = uses.checked_sub(1).expect("an ACL is released as often as it was acquired");
        if *uses == 0 {
            self.forget(table, index);
        }
    }

    fn forget(&mut self, table: &AclTable, index: u32) {
        let acl = table.handle(index);
        if let Some(list) = &acl.encoded
            && self.by_list.get(list) == Some(&index)
        {
            self.by_list.remove(list);
        }
        table.remove(index);
        self.free.push(index);
    }

    /// An entry of a snapshot's map. A list may come under two ids; both stay.
    pub(super) fn load(&mut self, table: &AclTable, id: i64, list: AclList<'_>) {
        self.next_id = self.next_id.max(id.saturating_add(1));
        if id == OPEN_ACL_ID || self.by_id.contains_key(&id) {
            return;
        }
        let index = self.add(table, Acl::new(id, Some(list)));
        self.by_id.insert(id, index);
        self.by_list.entry(list.as_bytes().into()).or_insert(index);
    }

    /// The index for a loaded node's id, known or not.
    pub(super) fn acquire_id(&mut self, table: &AclTable, id: i64) -> u32 {
        if id == OPEN_ACL_ID {
            return OPEN_ACL_INDEX;
        }
        let index = match self.by_id.get(&id) {
            Some(&index) => index,
            None => {
                self.next_id = self.next_id.max(id.saturating_add(1));
                let index = self.add(table, Acl::new(id, None));
                self.by_id.insert(id, index);
                index
            }
        };
        self.uses[index as usize] += 1;
        index
    }

    /// After a load: drops what no node uses.
    pub(super) fn finish_load(&mut self, table: &AclTable) {
        for index in std::mem::take(&mut self.by_id).into_values() {
            if self.uses[index as usize] == 0 {
                self.forget(table, index);
            }
        }
    }

    /// Every list in use, unresolved ones included, without the built-in one.
    pub(super) fn handles(&self, table: &AclTable) -> Vec<AclRef> {
        let used = (1..self.uses.len()).filter(|&index| self.uses[index] > 0);
        let mut all: Vec<_> = used.map(|index| table.handle(index as u32)).collect();
        all.sort_by_key(|acl| acl.id);
        all
    }
}

impl Drop for AclTable {
    fn drop(&mut self) {
        for index in 0..ACLS_MAX {
            // Entries are handed out densely, so the first missing chunk ends them.
            let Some(entry) = self.entries.at(index) else { break };
            let acl = entry.load(Ordering::Relaxed);
            if !acl.is_null() {
                // SAFETY: the table's own count, given up once; nobody reads a table being dropped.
                unsafe { drop(Arc::from_raw(acl)) };
            }
        }
    }
}
