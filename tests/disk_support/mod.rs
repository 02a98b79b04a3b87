//! What the disk tests share: golden files, transactions, a sink that remembers.
#![allow(dead_code)] // every test binary uses its own part

use std::path::{Path, PathBuf};

use ringkeeper::base::{SessionId, Zxid};
use ringkeeper::storage::{RecoveryTarget, SinkError, SnapshotSink, SnapshotSource};
use ringkeeper::wire::snapshot_format::NodeRecord;
use ringkeeper::wire::txn::TxnHeader;
use ringkeeper::wire::{JuteWrite, StatPersisted};

pub fn golden(name: &str) -> Vec<u8> {
    std::fs::read(golden_path(name)).unwrap()
}

pub fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/disk").join(name)
}

/// A directory on the repository's disk: tmpfs has no O_DIRECT and its fsync is free.
pub fn disk_dir() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

pub fn header(zxid: i64, op: i32) -> TxnHeader {
    TxnHeader { session: SessionId(7), cxid: 1, zxid: Zxid(zxid), time: 1_700_000_000_000, op }
}

/// A setData transaction whose data is `data_len` bytes that depend on the zxid.
pub fn set_data(zxid: i64, data_len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    header(zxid, 5).encode(&mut out);
    out.put_str("/a");
    let data: Vec<u8> = (0..data_len).map(|n| (n as i64 * 31 + zxid) as u8 | 1).collect();
    out.put_buffer(Some(&data));
    out.put_int(zxid as i32);
    out
}

pub fn error_txn(zxid: i64, err: i32) -> Vec<u8> {
    let mut out = Vec::new();
    header(zxid, -1).encode(&mut out);
    out.put_int(err);
    out
}

/// A node that owns its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    pub path: Vec<u8>,
    pub data: Option<Vec<u8>>,
    pub acl_id: i64,
    pub stat: StatPersisted,
}

impl Node {
    pub fn new(path: &str, data: &[u8]) -> Node {
        let data = Some(data.to_vec());
        Node { path: path.into(), data, acl_id: -1, stat: StatPersisted::default() }
    }

    fn record(&self) -> NodeRecord<'_> {
        NodeRecord {
            path: &self.path,
            data: self.data.as_deref(),
            acl_id: self.acl_id,
            stat: self.stat,
        }
    }
}

/// Remembers all it is told; and gives it back as a source.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    pub zxid: Zxid,
    pub sessions: Vec<(SessionId, i32)>,
    pub acls: Vec<(i64, Vec<u8>)>,
    pub nodes: Vec<Node>,
    pub end: (Zxid, u64),
    pub applied: Vec<(Zxid, Vec<u8>)>,
    pub written: usize,
}

impl Memory {
    /// Root, the reserved nodes and one more.
    pub fn small_tree(zxid: i64) -> Memory {
        let nodes = ["", "/zookeeper", "/zookeeper/quota", "/zookeeper/config", "/a"];
        Memory {
            zxid: Zxid(zxid),
            nodes: nodes.iter().map(|path| Node::new(path, b"")).collect(),
            end: (Zxid(zxid), 0),
            ..Memory::default()
        }
    }
}

impl SnapshotSink for Memory {
    fn session(&mut self, id: SessionId, timeout_ms: i32) -> Result<(), SinkError> {
        self.sessions.push((id, timeout_ms));
        Ok(())
    }

    fn acl(&mut self, id: i64, list: &[u8]) -> Result<(), SinkError> {
        self.acls.push((id, list.to_vec()));
        Ok(())
    }

    fn node(&mut self, node: &NodeRecord<'_>) -> Result<(), SinkError> {
        self.nodes.push(Node {
            path: node.path.to_vec(),
            data: node.data.map(<[u8]>::to_vec),
            acl_id: node.acl_id,
            stat: node.stat,
        });
        Ok(())
    }
}

impl RecoveryTarget for Memory {
    fn apply(&mut self, zxid: Zxid, txn: &[u8]) -> Result<(), String> {
        self.applied.push((zxid, txn.to_vec()));
        Ok(())
    }
}

impl SnapshotSource for Memory {
    fn zxid(&self) -> Zxid {
        self.zxid
    }

    fn sessions(&self) -> &[(SessionId, i32)] {
        &self.sessions
    }

    fn acls(&self) -> &[(i64, Vec<u8>)] {
        &self.acls
    }

    fn next_chunk(&mut self, max_nodes: usize, out: &mut Vec<u8>) -> bool {
        let end = self.nodes.len().min(self.written + max_nodes);
        for node in &self.nodes[self.written..end] {
            node.record().encode(out);
        }
        self.written = end;
        end < self.nodes.len()
    }

    fn end_state(&self) -> (Zxid, u64) {
        self.end
    }

    fn is_exact(&self) -> bool {
        true
    }
}
