//! The data directory that a simulated disk stands for, and the production code's start from it: its choice among
//! snapshots and logs, and what it makes of the end of a log that a power loss has torn.

use std::fs;

use ringkeeper::base::{SessionId, Zxid};
use ringkeeper::peer::{Proposal, Recovered};
use ringkeeper::pipeline::{Applier, CommitBatch};
use ringkeeper::session::SessionTracker;
use ringkeeper::storage::layout::{log_name, snapshot_name};
use ringkeeper::storage::recovery::recover;
use ringkeeper::storage::snapshot;
use ringkeeper::storage::{
    Compression, DataLayout, RecoveryOptions, RecoveryTarget, SinkError, SnapshotInfo,
    SnapshotOptions, SnapshotSink,
};
use ringkeeper::tree::{TreeLoader, TreeWriter};
use ringkeeper::wire::log_format::{
    LogItem, RECORD_BYTES_MAX_DEFAULT, encode_record, file_header, item_at,
};
use ringkeeper::wire::snapshot_format::NodeRecord;
use ringkeeper::wire::{AclList, Reader};

use crate::checkers::digests::Digests;
use crate::checkers::violated;
use crate::disk::{Disk, OWNERS};

/// Bucket of session timeouts, milliseconds.
const TICK_MS: i32 = 200;
/// Snapshots that a start may find: more are purged.
const SNAPSHOTS: usize = 3;
/// Zeros behind the records of a file that was closed.
const PADDING: usize = 700;

/// What a start has found.
pub struct Started {
    pub recovered: Recovered,
    /// Transactions that it has read out of the log, behind its snapshot.
    pub replayed: Vec<(Zxid, Vec<u8>)>,
    pub snapshot: Zxid,
}

/// Writes the directory, and starts from it.
pub fn start(disk: &Disk, now: i64) -> Started {
    // Nothing here must outlive anything.
    let dir =
        tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory");
    let layout = DataLayout::open(dir.path(), None, true).expect("a layout");
    write_snapshots(disk, &layout);
    write_logs(disk, &layout);
    let found = recover(&layout, &RecoveryOptions::default(), Target::new);
    let found = match found {
        Ok(found) => found,
        Err(error) => violated("availability", format!("a server does not start: {error}")),
    };
    if let Some(debris) = &disk.debris {
        // No later start, and no other server, must stumble over it.
        let left = fs::read(layout.log_dir.join(log_name(debris.file))).unwrap_or_default();
        let at = debris.whole_to(&found.target.replayed);
        let behind = left.get(at..).unwrap_or_default();
        let item = item_at(behind, at as u64, None, RECORD_BYTES_MAX_DEFAULT);
        assert!(matches!(item, LogItem::CleanEnd { .. }), "the torn end is still there: {item:?}");
    }
    let snapshot = found.snapshot.as_ref().map_or(Zxid::ZERO, |(path, _)| {
        let name = path.extension().and_then(|text| text.to_str()).expect("snapshot.<zxid>");
        Zxid(i64::from_str_radix(name, 16).expect("hexadecimal"))
    });
    let Target { tree, mut sessions, mut applier, replayed, .. } = found.target;
    let mut tree = tree.unwrap_or_else(|| TreeWriter::new(OWNERS));
    if tree.is_open() {
        tree.publish(found.last_zxid);
    }
    Digests::replayed(found.last_zxid, applier.digest_mismatches);
    applier.go_live();
    let known: Vec<(SessionId, i32)> = sessions.iter().collect();
    sessions.restore(known, now);
    let keep = replayed.len().saturating_sub(500);
    let recent = replayed[keep..].iter();
    let recent = recent.map(|(zxid, bytes)| Proposal::alone(*zxid, bytes.clone())).collect();
    let recovered = Recovered { tree, sessions, applier, recent, loads: Default::default() };
    Started { recovered, replayed, snapshot }
}

fn write_snapshots(disk: &Disk, layout: &DataLayout) {
    let path = |zxid| layout.snap_dir.join(snapshot_name(zxid, Compression::Plain));
    let older = disk.snapshots.len().saturating_sub(SNAPSHOTS);
    for snapshot in &disk.snapshots[older..] {
        fs::write(path(snapshot.zxid), &snapshot.file).expect("a snapshot");
    }
    // A new database begins with one of nothing.
    if disk.snapshots.is_empty() && !disk.files.is_empty() {
        let (tree, sessions) = (TreeWriter::new(OWNERS), SessionTracker::new(TICK_MS));
        let mut source = ringkeeper::peer::Source::new(&tree, &sessions, true);
        let mut bytes = Vec::new();
        let written = snapshot::write_to(&mut bytes, &mut source, &SnapshotOptions::default());
        written.expect("memory");
        fs::write(path(Zxid::ZERO), bytes).expect("a snapshot");
    }
}

fn write_logs(disk: &Disk, layout: &DataLayout) {
    let starts: Vec<Zxid> = disk.files.iter().copied().collect();
    for (n, start) in starts.iter().enumerate() {
        let end = starts.get(n + 1).copied().unwrap_or(Zxid(i64::MAX));
        let mut bytes = file_header().to_vec();
        let from = disk.log.partition_point(|(zxid, _)| zxid < start);
        for (_, record) in disk.log[from..].iter().take_while(|(zxid, _)| *zxid < end) {
            encode_record(&mut bytes, record);
        }
        match disk.debris.as_ref().filter(|debris| debris.file == *start) {
            Some(debris) => {
                assert_eq!(bytes.len(), debris.offset, "the debris lies behind what is whole");
                bytes.extend_from_slice(&debris.bytes);
            }
            None => bytes.resize(bytes.len() + PADDING, 0),
        }
        fs::write(layout.log_dir.join(log_name(*start)), bytes).expect("a log");
    }
}

/// What production's own target does, in the simulator's words.
struct Target {
    loader: Option<TreeLoader>,
    tree: Option<TreeWriter>,
    sessions: SessionTracker,
    applier: Applier,
    unheard: CommitBatch,
    replayed: Vec<(Zxid, Vec<u8>)>,
}

impl Target {
    fn new() -> Target {
        Target {
            loader: Some(TreeLoader::new(OWNERS)),
            tree: None,
            sessions: SessionTracker::new(TICK_MS),
            applier: Applier::replaying(Zxid::ZERO),
            unheard: CommitBatch::default(),
            replayed: Vec::new(),
        }
    }
}

impl SnapshotSink for Target {
    fn session(&mut self, id: SessionId, timeout_ms: i32) -> Result<(), SinkError> {
        self.sessions.create(id, timeout_ms, 0);
        Ok(())
    }

    fn acl(&mut self, id: i64, list: &[u8]) -> Result<(), SinkError> {
        let list = AclList::decode(&mut Reader::new(list)).expect("a list").expect("a list");
        self.loader.as_mut().expect("loading").load_acl(id, list);
        Ok(())
    }

    fn node(&mut self, node: &NodeRecord<'_>) -> Result<(), SinkError> {
        let loader = self.loader.as_mut().expect("loading");
        let loaded = loader.load_node(node.path, node.data, node.acl_id, &node.stat);
        loaded.expect("a node with its parent");
        Ok(())
    }
}

impl RecoveryTarget for Target {
    fn snapshot_loaded(&mut self, zxid: Zxid, info: &SnapshotInfo) -> Result<(), SinkError> {
        let mut tree = self.loader.take().expect("one snapshot").finish(zxid);
        tree.begin();
        self.tree = Some(tree);
        self.applier = Applier::replaying(info.last_zxid.unwrap_or(zxid));
        if info.digest.is_none_or(|digest| digest.zxid == Zxid::ZERO) {
            self.applier = std::mem::take(&mut self.applier).unsettled();
        }
        Ok(())
    }

    fn apply(&mut self, zxid: Zxid, txn: &[u8]) -> Result<(), String> {
        let tree = self.tree.as_mut().ok_or("no snapshot")?;
        let Target { applier, sessions, unheard, .. } = self;
        let applied = applier.apply(tree, sessions, txn, None, unheard);
        applied.map_err(|error| error.to_string())?;
        self.replayed.push((zxid, txn.to_vec()));
        Ok(())
    }
}
