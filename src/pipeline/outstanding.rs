//! Changes prepared but not yet applied ("outstanding changes" of the reference, data-model 5): requests are
//! validated against the tree overlaid with these, so a pipelined create, create below it, delete behaves as if each
//! had been applied.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::base::Zxid;
use crate::tree::View;
use crate::wire::acl::OPEN_ACL_UNSAFE;
use crate::wire::{AclList, Reader, StatPersisted};

/// An access control list that outlives the bytes it came in.
#[derive(Clone, Debug)]
pub enum OwnedAcl {
    /// `world:anyone` may do everything: by far the most common list, shared by all.
    Open,
    List(Arc<[u8]>),
    /// A node of a foreign snapshot whose list nobody knows: only a superuser may pass.
    Unknown,
}

impl OwnedAcl {
    pub fn new(list: AclList<'_>) -> OwnedAcl {
        if list == OPEN_ACL_UNSAFE {
            OwnedAcl::Open
        } else {
            OwnedAcl::List(list.as_bytes().into())
        }
    }

    /// The list; `None` when nobody knows it.
    pub fn list(&self) -> Option<AclList<'_>> {
        match self {
            OwnedAcl::Open => Some(OPEN_ACL_UNSAFE),
            OwnedAcl::List(bytes) => AclList::decode(&mut Reader::new(bytes)).ok().flatten(),
            OwnedAcl::Unknown => None,
        }
    }
}

/// What validation needs to know of a node.
#[derive(Clone, Debug)]
pub struct Record {
    /// False: deleted by an outstanding change.
    pub exists: bool,
    pub stat: StatPersisted,
    /// What the next sequential name ends in: the cversion, but counted on by pending creates when it overflows and
    /// the tree refuses the new value (data-model 3).
    pub sequence: i32,
    pub child_count: i32,
    pub acl: OwnedAcl,
    /// CRC-32 of path and data: the part of the node's digest that needs them.
    pub content_crc: u32,
    /// Bytes of data: what a quota takes a setData's difference from (data-model 8.3).
    pub data_len: usize,
}

struct Entry {
    zxid: Zxid,
    record: Record,
}

/// A path, and what was outstanding for it before a change.
type Replaced = (Arc<[u8]>, Option<Entry>);

/// Owned by the leader's Zab core.
#[derive(Default)]
pub struct Outstanding {
    by_path: HashMap<Arc<[u8]>, Entry, ahash::RandomState>,
    /// Which change touched what, in zxid order, so that applying removes exactly what it made true.
    order: VecDeque<(Zxid, Arc<[u8]>)>,
    /// Changes that became outstanding, and those that were applied.
    pub queued: u64,
    pub removed: u64,
    /// While a multi is validated: what its changes replaced, for the case that it fails.
    undo: Option<Vec<Replaced>>,
}

impl std::fmt::Debug for Outstanding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outstanding({} paths)", self.by_path.len())
    }
}

impl Outstanding {
    /// The node as it will be once everything outstanding is applied.
    pub fn node(&self, view: &View<'_>, path: &[u8]) -> Option<Record> {
        if let Some(entry) = self.by_path.get(path) {
            return entry.record.exists.then(|| entry.record.clone());
        }
        let node = view.lookup(path)?;
        let stat = node.persisted();
        Some(Record {
            exists: true,
            sequence: stat.cversion,
            stat,
            child_count: node.num_children() as i32,
            acl: match node.acl().and_then(|acl| acl.list()) {
                Some(list) => OwnedAcl::new(list),
                None => OwnedAcl::Unknown,
            },
            content_crc: node.block_crc(),
            data_len: node.data().map_or(0, <[u8]>::len),
        })
    }

    pub fn put(&mut self, zxid: Zxid, path: &[u8], record: Record) {
        let key = match self.by_path.get_key_value(path) {
            Some((key, _)) => key.clone(),
            None => Arc::from(path),
        };
        self.queued += 1;
        self.order.push_back((zxid, key.clone()));
        let before = self.by_path.insert(key.clone(), Entry { zxid, record });
        if let Some(undo) = &mut self.undo {
            undo.push((key, before));
        }
    }

    pub fn begin_multi(&mut self) {
        self.undo = Some(Vec::new());
    }

    /// Ends a multi; if it failed, everything is as it was before.
    pub fn end_multi(&mut self, succeeded: bool) {
        let undo = self.undo.take().unwrap_or_default();
        if succeeded {
            return;
        }
        for (path, before) in undo.into_iter().rev() {
            match before {
                Some(entry) => self.by_path.insert(path, entry),
                None => self.by_path.remove(&path),
            };
        }
    }

    /// Everything up to `zxid` is in the tree now.
    pub fn applied(&mut self, zxid: Zxid) {
        while self.order.front().is_some_and(|(first, _)| *first <= zxid) {
            let Some((_, path)) = self.order.pop_front() else { return };
            self.removed += 1;
            if self.by_path.get(&path).is_some_and(|entry| entry.zxid <= zxid) {
                self.by_path.remove(&path);
            }
        }
    }

    /// Whether something outstanding touches this path, so that the tree no longer decides about it.
    pub fn touches(&self, path: &[u8]) -> bool {
        self.by_path.contains_key(path)
    }

    /// Touched paths that will be ephemerals of this session.
    pub fn ephemerals_of(&self, session: i64) -> impl Iterator<Item = &Arc<[u8]>> {
        self.by_path.iter().filter_map(move |(path, Entry { record, .. })| {
            (record.exists && record.stat.ephemeral_owner == session).then_some(path)
        })
    }

    pub fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }
}
