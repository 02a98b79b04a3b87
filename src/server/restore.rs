//! Recovery: what the data directory holds becomes a tree and a session table; and what writes it back (snapshots) and
//! clears it up (purge).

use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config_settings::Compression as ConfiguredCompression;
use super::{Config, ExitCode};
use crate::base::{MonoMs, SessionId, Zxid};
use crate::ensemble::WriteSnapshot;
use crate::peer::{LoadCounts, Proposal, Recovered, Source};
use crate::pipeline::{Applier, CommitBatch};
use crate::session::SessionTracker;
use crate::storage;
use crate::storage::{
    Compression, DataLayout, PurgeSchedule, RecoveryOptions, RecoveryTarget, SinkError,
    SnapshotInfo, SnapshotOptions, SnapshotSink, recover, snapshot,
};
use crate::tree::{LoadError, OwnerOptions, TreeLoader, TreeWriter};
use crate::wire::snapshot_format::NodeRecord;
use crate::wire::{AclList, Reader};

/// Snapshots are written no faster than this, so that the log's flushes keep the disk.
const SNAPSHOT_BYTES_PER_S: u64 = 32 << 20;

/// Sessions named by ephemerals alone get this long to come back, in ticks.
const ORPHAN_TICKS: i32 = 2;

type Failed = (ExitCode, String);

/// The data directory, made if it is not there.
pub fn open_layout(config: &Config) -> Result<DataLayout, Failed> {
    let log_dir = (config.data_log_dir != config.data_dir).then_some(&*config.data_log_dir);
    DataLayout::open(&config.data_dir, log_dir, config.storage.data_dir_autocreate)
        .map_err(|error| (ExitCode::DataDir, error.to_string()))
}

/// How long another server on the same directory may take to end.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// Keeps other servers of this kind off the directory for as long as the result is kept.
pub fn lock(layout: &DataLayout) -> Result<Vec<File>, Failed> {
    let mut dirs = vec![&layout.log_dir];
    if layout.snap_dir != layout.log_dir {
        dirs.push(&layout.snap_dir);
    }
    dirs.into_iter().map(|dir| lock_dir(dir)).collect()
}

fn lock_dir(dir: &Path) -> Result<File, Failed> {
    let failed = |why: String| (ExitCode::DataDir, format!("{}: {why}", dir.display()));
    let file = File::open(dir).map_err(|error| failed(error.to_string()))?;
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(failed("another server is running on this directory".to_owned()));
            }
            Err(TryLockError::Error(error)) => {
                tracing::warn!("{} cannot be locked: {error}", dir.display());
                return Ok(file);
            }
        }
    }
}

/// Recovers the newest state of the data directory. A new database gets its first snapshot here; otherwise none is
/// written merely because the server started.
pub fn restore(config: &Config, layout: &DataLayout, epoch: Instant) -> Result<Recovered, Failed> {
    let started = Instant::now();
    let storage = &config.storage;
    let options = RecoveryOptions {
        trust_empty: storage.trust_empty_snapshot,
        db_autocreate: storage.db_autocreate,
        allow_gaps: config.profile.allow_log_gaps,
        buffer_max: record_bytes_max(config),
    };
    let owners = owner_options(config);
    let keep = storage.commit_log_count.max(0) as usize;
    let fresh = || Target::new(owners, config.tick_time_ms, keep);
    let recovered = recover(layout, &options, fresh)
        .map_err(|error| (ExitCode::Unexpected, error.to_string()))?;
    for (path, error) in &recovered.rejected {
        tracing::warn!("snapshot {} cannot be used: {error}", path.display());
    }
    if recovered.last_zxid < Zxid::ZERO && config.ensemble.is_none() {
        let text = "the data directory is empty and db.autocreate is false: create it with an \
                    `initialize` file next to version-2, or set db.autocreate=true";
        return Err((ExitCode::Unexpected, text.to_owned()));
    }
    let first_snapshot = recovered.first_snapshot();
    if let Some((path, info)) = &recovered.snapshot {
        let (path, nodes) = (path.display(), info.nodes);
        tracing::info!("snapshot {path}: {nodes} znodes; {} log records", recovered.replayed);
    }
    let loads = loads_of(&recovered);
    let mut recovered = recovered.target.finish(recovered.last_zxid);
    if recovered.applier.digest_mismatches > 0 {
        let count = recovered.applier.digest_mismatches;
        tracing::error!("{count} replayed transactions do not give the digest logged with them");
    }
    recovered.applier.go_live();
    let known: Vec<_> = recovered.sessions.iter().collect();
    let now = crate::base::time::mono_ms(epoch, Instant::now());
    recovered.sessions.restore(known, now);
    adopt_orphans(config, &mut recovered, now);
    if first_snapshot {
        let mut source = Source::new(&recovered.tree, &recovered.sessions, true);
        snapshot::write(&layout.snap_dir, &mut source, &snapshot_options(config))
            .map_err(|error| (ExitCode::Snapshot, format!("the first snapshot: {error}")))?;
    }
    let mark = layout.remove_initialize_mark();
    mark.map_err(|error| (ExitCode::DataDir, format!("the initialize file: {error}")))?;
    recovered.loads = loads;
    recovered.loads.all_ms.add(started.elapsed().as_millis() as i64);
    Ok(recovered)
}

/// A log without anything to replay counts as none, as in Apache ZooKeeper.
fn loads_of(recovered: &storage::Recovered<Target>) -> LoadCounts {
    let mut loads = LoadCounts::default();
    loads.snapshot_ms.add(recovered.snapshot_took.as_millis() as i64);
    if recovered.replayed > 0 {
        loads.txns.add(recovered.replayed as i64);
        loads.txns_ms.add(recovered.logs_took.as_millis() as i64);
    }
    loads
}

pub(super) fn owner_options(config: &Config) -> OwnerOptions {
    OwnerOptions {
        extended_types: config.nodes.extended_types,
        emulate_353_ttl: config.nodes.emulate_353_ttl,
    }
}

/// Longest record that is read back, bytes.
pub(super) fn record_bytes_max(config: &Config) -> usize {
    let max = config.clients.jute_maxbuffer;
    let extra = config.clients.jute_maxbuffer_extra.unwrap_or(max);
    (max + extra.max(crate::base::limits::JUTE_EXTRASIZE_MIN as i64)) as usize
}

/// Ephemerals whose session the table does not know: the session is given a short life, so that its end is a logged
/// transaction like any other. Owners that look like TTL nodes are left alone: they are not sessions, the setting that
/// makes them what they are is missing.
fn adopt_orphans(config: &Config, recovered: &mut Recovered, now: MonoMs) {
    let Recovered { tree, sessions, .. } = recovered;
    for session in tree.view().ephemeral_sessions() {
        if sessions.contains(session) {
            continue;
        }
        if is_ttl_owner(session) {
            tracing::error!(
                "znodes with owner {session} look like TTL nodes, and extendedTypesEnabled is off: \
                 they are kept and never expire; set extendedTypesEnabled=true"
            );
            continue;
        }
        tracing::warn!("ephemerals of unknown session {session}: it ends unless it comes back");
        sessions.create(session, config.tick_time_ms.saturating_mul(ORPHAN_TICKS), now);
    }
}

fn is_ttl_owner(session: SessionId) -> bool {
    (session.0 as u64) >> 40 == 0xff_0000
}

/// Where recovery puts what it reads.
struct Target {
    stage: Stage,
    owners: OwnerOptions,
    sessions: SessionTracker,
    applier: Applier,
    /// Events and replies of replay: nobody reads them.
    unheard: CommitBatch,
    /// The last transactions, for learners that lag a little; at most so many.
    recent: VecDeque<Proposal>,
    keep: usize,
}

enum Stage {
    Loading(Box<TreeLoader>),
    Replaying(Box<TreeWriter>),
    /// Between the two.
    Moving,
}

impl Target {
    fn new(owners: OwnerOptions, tick_ms: i32, keep: usize) -> Target {
        Target {
            stage: Stage::Loading(Box::new(TreeLoader::new(owners))),
            owners,
            sessions: SessionTracker::new(tick_ms),
            applier: Applier::replaying(Zxid::ZERO),
            unheard: CommitBatch::default(),
            recent: VecDeque::new(),
            keep,
        }
    }

    /// The tree, open for changes. Without a snapshot it begins as a fresh database.
    fn writer(&mut self) -> &mut TreeWriter {
        if let Stage::Loading(_) = self.stage {
            let mut tree = TreeWriter::new(self.owners);
            tree.begin();
            self.stage = Stage::Replaying(Box::new(tree));
        }
        match &mut self.stage {
            Stage::Replaying(tree) => tree,
            Stage::Loading(_) | Stage::Moving => {
                unreachable!("a stage follows from the one before")
            }
        }
    }

    fn finish(mut self, last: Zxid) -> Recovered {
        self.writer().publish(last);
        let Stage::Replaying(tree) = self.stage else { unreachable!("writer() has moved on") };
        Recovered {
            tree: *tree,
            sessions: self.sessions,
            applier: self.applier,
            recent: self.recent.into(),
            loads: LoadCounts::default(),
        }
    }

    fn loader(&mut self) -> Result<&mut TreeLoader, SinkError> {
        match &mut self.stage {
            Stage::Loading(loader) => Ok(loader),
            _ => Err(SinkError::Fatal("snapshot records after the snapshot".to_owned())),
        }
    }
}

impl SnapshotSink for Target {
    fn session(&mut self, id: SessionId, timeout_ms: i32) -> Result<(), SinkError> {
        self.sessions.create(id, timeout_ms, 0);
        Ok(())
    }

    fn acl(&mut self, id: i64, list: &[u8]) -> Result<(), SinkError> {
        let list = AclList::decode(&mut Reader::new(list));
        let list = list.ok().flatten();
        let list = list.ok_or_else(|| SinkError::Unusable(format!("ACL {id} is malformed")))?;
        self.loader()?.load_acl(id, list);
        Ok(())
    }

    fn node(&mut self, node: &NodeRecord<'_>) -> Result<(), SinkError> {
        let loaded = self.loader()?.load_node(node.path, node.data, node.acl_id, &node.stat);
        loaded.map_err(|error| {
            let text = format!("znode {}: {error}", node.path.escape_ascii());
            match error {
                LoadError::BadOwner(_) => SinkError::Fatal(text),
                _ => SinkError::Unusable(text),
            }
        })
    }
}

impl RecoveryTarget for Target {
    fn snapshot_loaded(&mut self, zxid: Zxid, info: &SnapshotInfo) -> Result<(), SinkError> {
        let Stage::Loading(loader) = std::mem::replace(&mut self.stage, Stage::Moving) else {
            return Err(SinkError::Fatal("two snapshots in one start".to_owned()));
        };
        let mut tree = loader.finish(zxid);
        tree.begin();
        self.stage = Stage::Replaying(Box::new(tree));
        // A fuzzy snapshot holds later changes: its digest, and those of the log, count from where it ended.
        let ends = [info.digest.map(|digest| digest.zxid), info.last_zxid];
        let end = ends.into_iter().flatten().max().filter(|end| *end > zxid);
        self.applier = Applier::replaying(end.unwrap_or(Zxid::ZERO));
        // Of a tree that a leader sent nobody can tell where it ends.
        if info.digest.is_none_or(|digest| digest.zxid == Zxid::ZERO) {
            self.applier = std::mem::take(&mut self.applier).unsettled();
        }
        Ok(())
    }

    fn apply(&mut self, zxid: Zxid, txn: &[u8]) -> Result<(), String> {
        self.writer();
        let Stage::Replaying(tree) = &mut self.stage else {
            return Err("no tree to apply to".to_owned());
        };
        self.applier
            .apply(tree, &mut self.sessions, txn, None, &mut self.unheard)
            .map_err(|error| format!("transaction {zxid}: {error}"))?;
        if self.keep > 0 {
            if self.recent.len() == self.keep {
                self.recent.pop_front();
            }
            self.recent.push_back(Proposal::alone(zxid, txn.to_vec()));
        }
        Ok(())
    }
}

fn snapshot_options(config: &Config) -> SnapshotOptions {
    let storage = &config.storage;
    SnapshotOptions {
        compression: match storage.snapshot_compression {
            ConfiguredCompression::None => Compression::Plain,
            ConfiguredCompression::Gzip => Compression::Gzip,
            ConfiguredCompression::Snappy => Compression::Snappy,
        },
        digest: storage.digest,
        last_zxid_section: storage.serialize_last_zxid,
        rate_limit_bytes_per_s: SNAPSHOT_BYTES_PER_S,
    }
}

/// What the Zab core's side thread calls.
pub(super) fn snapshot_writer(config: &Config, layout: &DataLayout) -> Arc<WriteSnapshot> {
    let (dir, options) = (layout.snap_dir.clone(), snapshot_options(config));
    Arc::new(move |mut source: Source| {
        let written = snapshot::write(&dir, &mut source, &options)?;
        let (path, bytes, ms) = (written.path.display(), written.bytes, written.took.as_millis());
        tracing::info!("snapshot {path}: {bytes} bytes in {ms} ms");
        Ok(())
    })
}

/// Starts the purge thread, if the configuration asks for one.
pub(super) fn start_purge(config: &Config, layout: &DataLayout) {
    let storage = &config.storage;
    let retain = usize::try_from(storage.purge_retain_count).unwrap_or(0);
    let hours = i64::from(storage.purge_interval_hours);
    let Some(mut schedule) = PurgeSchedule::new(layout.clone(), hours, retain, 0) else {
        tracing::info!("Purge task is not scheduled.");
        return;
    };
    let started = Instant::now();
    let run = move || {
        loop {
            let now = started.elapsed().as_millis() as i64;
            match schedule.run_if_due(now) {
                Some(Ok(removed)) if !removed.is_empty() => {
                    tracing::info!("purged {} old snapshots and logs", removed.len());
                }
                Some(Err(error)) => tracing::warn!("purge: {error}; the next round tries again"),
                _ => {}
            }
            std::thread::sleep(Duration::from_secs(60));
        }
    };
    if let Err(error) = std::thread::Builder::new().name("purge".into()).spawn(run) {
        tracing::error!("no thread for the purge: {error}");
    }
}
