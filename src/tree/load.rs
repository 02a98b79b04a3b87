//! Filling a tree from a snapshot (reference: disk-format 7.3, 7.4, 8).

use super::acl_cache::OPEN_ACL_ID;
use super::owner::OwnerOptions;
use super::path;
use super::shared::ROOT_SLOT;
use super::writer::TreeWriter;
use crate::base::Zxid;
use crate::wire::{AclList, StatPersisted};
use std::fmt;

/// Why a snapshot's node cannot be part of a tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadError {
    /// Not the empty path of the root and not `/`-separated names.
    BadPath,
    /// The parent did not come before.
    ParentMissing,
    /// The path came before.
    Duplicate,
    /// A raw owner that extended node types do not allow.
    BadOwner(i64),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::BadPath => write!(f, "malformed path of a node"),
            LoadError::ParentMissing => write!(f, "unable to find the parent of a node"),
            LoadError::Duplicate => write!(f, "a node occurs twice"),
            LoadError::BadOwner(raw) => write!(f, "invalid ephemeral owner 0x{raw:x}"),
        }
    }
}

impl std::error::Error for LoadError {}

/// A tree being loaded, in the order of a snapshot file: ACLs, then nodes, parents before children.
/// Nobody reads it yet; a failed load is dropped as a whole.
pub struct TreeLoader {
    writer: TreeWriter,
    root_seen: bool,
    /// The parent of the node before: siblings mostly follow each other.
    parent: (Vec<u8>, u32),
}

impl TreeLoader {
    pub fn new(options: OwnerOptions) -> TreeLoader {
        let mut writer = TreeWriter::bare(options);
        writer.begin();
        TreeLoader { writer, root_seen: false, parent: (Vec::new(), ROOT_SLOT) }
    }

    /// An entry of the ACL map.
    pub fn load_acl(&mut self, id: i64, list: AclList<'_>) {
        self.writer.acls.load(&self.writer.tree.acls, id, list);
    }

    /// A node. An ACL id that no entry explained stays unresolved, as fuzzy snapshots may have it.
    pub fn load_node(
        &mut self,
        path: &[u8],
        data: Option<&[u8]>,
        acl_id: i64,
        stat: &StatPersisted,
    ) -> Result<(), LoadError> {
        let options = self.writer.tree.options;
        let owner = options.node_type(stat.ephemeral_owner);
        owner.map_err(|invalid| LoadError::BadOwner(invalid.0))?;
        if path.is_empty() {
            return self.load_root(data, acl_id, stat);
        }
        if !self.root_seen {
            return Err(LoadError::ParentMissing);
        }
        let parent_path = path::parent(path).ok_or(LoadError::BadPath)?;
        if path::name(path).is_empty() {
            return Err(LoadError::BadPath);
        }
        if self.parent.0 != parent_path {
            let parent = self.writer.find(parent_path).ok_or(LoadError::ParentMissing)?;
            self.parent.0.clear();
            self.parent.0.extend_from_slice(parent_path);
            self.parent.1 = parent;
        }
        let tree = &self.writer.tree;
        let hash = tree.index.hash(path);
        if tree.find_hashed(self.writer.detached_access(), hash, path).is_some() {
            return Err(LoadError::Duplicate);
        }
        let acl = self.writer.acls.acquire_id(&tree.acls, acl_id);
        self.writer.attach_hashed(self.parent.1, path, hash, data, acl, stat);
        Ok(())
    }

    fn load_root(
        &mut self,
        data: Option<&[u8]>,
        acl_id: i64,
        stat: &StatPersisted,
    ) -> Result<(), LoadError> {
        if std::mem::replace(&mut self.root_seen, true) {
            return Err(LoadError::Duplicate);
        }
        let writer = &mut self.writer;
        writer.digest = writer.digest.wrapping_sub(writer.at(ROOT_SLOT).digest());
        writer.forget_root();
        let acl = match acl_id {
            OPEN_ACL_ID => super::acl_cache::OPEN_ACL_INDEX,
            id => writer.acls.acquire_id(&writer.tree.acls, id),
        };
        writer.fill(ROOT_SLOT, b"", data, acl, stat);
        Ok(())
    }

    /// Completes the tree at `zxid`, the snapshot's name: adds fixed nodes that old snapshots lack,
    /// drops unused ACLs, and counts quotas afresh.
    pub fn finish(mut self, zxid: Zxid) -> TreeWriter {
        self.writer.acls.finish_load(&self.writer.tree.acls);
        self.writer.add_system_nodes();
        self.writer.load_quotas();
        self.writer.publish(zxid);
        self.writer
    }
}
