//! The digest of a node and of the tree (reference: disk-format 5).
//!
//! A node's digest is a CRC-32 over path, data and status. The part over path and data is kept with
//! the node, so that a status change, such as a new child makes, costs 60 bytes of CRC however
//! large the data is.

use crate::wire::StatPersisted;
use crc32fast::Hasher;

/// The digest of a fresh tree: root and `/zookeeper` with everything zero.
pub const EMPTY_TREE_DIGEST: u64 = 0x51c6_d660;

/// The CRC over a node's path (empty for the root) and data (nothing when null).
pub fn path_data_crc(path: &[u8], data: Option<&[u8]>) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(path);
    hasher.update(data.unwrap_or_default());
    hasher.finalize()
}

/// A node's digest from the CRC over its path and data and its persisted status. Callers leave out
/// paths below `/zookeeper/`.
pub fn node_digest(path_data_crc: u32, stat: &StatPersisted) -> u64 {
    let mut bytes = [0u8; StatPersisted::WIRE_BYTES];
    let longs = [stat.czxid, stat.mzxid, stat.pzxid, stat.ctime, stat.mtime];
    for (at, value) in bytes.chunks_exact_mut(8).zip(longs) {
        at.copy_from_slice(&value.to_be_bytes());
    }
    let ints = [stat.version, stat.cversion, stat.aversion];
    for (at, value) in bytes[40..52].chunks_exact_mut(4).zip(ints) {
        at.copy_from_slice(&value.to_be_bytes());
    }
    bytes[52..].copy_from_slice(&stat.ephemeral_owner.to_be_bytes());
    let mut hasher = Hasher::new_with_initial(path_data_crc);
    hasher.update(&bytes);
    u64::from(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_tree() {
        let stat = StatPersisted::default();
        let root = node_digest(path_data_crc(b"", Some(b"")), &stat);
        let zookeeper = node_digest(path_data_crc(b"/zookeeper", None), &stat);
        assert_eq!(root + zookeeper, EMPTY_TREE_DIGEST);
    }
}
