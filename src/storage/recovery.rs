//! What a start finds on disk and what follows from it (reference: disk-format 9, 3.5).
//!
//! Every decision is a row of [`decide`]. Nothing here writes a snapshot: a server that only starts leaves the
//! directory as it was, but for a log file that never got its header and for torn ends of log files, which are cut
//! off: Apache opens a log with a broken record only if the break looks like padding. The one snapshot a start must
//! have is that of an empty tree, since logs without any snapshot are refused by everyone;
//! [`Recovered::first_snapshot`] asks the caller for it.

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{fmt, fs, io};

use super::layout::{DataLayout, NamedFile};
use super::log_scan::{LogScan, ScanError, TornTail, files_from, is_stillborn};
use super::snapshot_codec::looks_valid;
use super::snapshot_reader::{self, SinkError, SnapshotError, SnapshotInfo, SnapshotSink};
use crate::base::Zxid;
use crate::wire::OpCode;
use crate::wire::log_format::{LogRecord, RECORD_BYTES_MAX_DEFAULT};

/// Snapshots tried before giving up, as Apache does.
const CANDIDATES_MAX: usize = 100;

/// Settings that touch the start.
#[derive(Clone, Debug)]
pub struct RecoveryOptions {
    /// `snapshot.trust.empty`: replay logs without a snapshot (upgrade from 3.4).
    pub trust_empty: bool,
    /// `db.autocreate`: an empty directory is a new database.
    pub db_autocreate: bool,
    /// Operator's override: accept missing zxids in the log. Servers before 3.9.4 could write such logs.
    pub allow_gaps: bool,
    /// Longest record, string or buffer: `jute.maxbuffer` plus its extra size, in bytes.
    pub buffer_max: usize,
}

impl Default for RecoveryOptions {
    fn default() -> Self {
        RecoveryOptions {
            trust_empty: false,
            db_autocreate: true,
            allow_gaps: false,
            buffer_max: RECORD_BYTES_MAX_DEFAULT,
        }
    }
}

/// What is being recovered into: sessions and tree.
pub trait RecoveryTarget: SnapshotSink {
    /// Told once, after the snapshot was read and before the first transaction.
    fn snapshot_loaded(&mut self, _zxid: Zxid, _info: &SnapshotInfo) -> Result<(), SinkError> {
        Ok(())
    }

    /// Applies a logged transaction (header, record, digest), with the rules for fuzzy snapshots.
    fn apply(&mut self, zxid: Zxid, txn: &[u8]) -> Result<(), String>;
}

/// What the snapshots on disk come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Snapshots {
    /// None looks whole.
    None,
    /// Some look whole, none can be loaded.
    Unloadable,
    Loaded,
}

/// What a start does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Replay the log after the loaded snapshot.
    Replay,
    /// Replay all logs on an empty tree, then take a snapshot at once.
    ReplayFromEmpty,
    /// A new database at zxid 0; a snapshot of it must be written first.
    Create,
    /// An empty database at zxid -1: it may not lead or vote for itself until a leader has filled it.
    Untrusted,
    RefuseUnloadable,
    RefuseNoSnapshot,
}

/// What a start is decided by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Situation {
    pub snapshots: Snapshots,
    /// A log file exists, by its name alone; those a crash left without header do not count.
    pub logs: bool,
    pub trust_empty: bool,
    pub initialize_marked: bool,
    pub db_autocreate: bool,
}

/// One row: what must be so (`None`: either) and what follows.
struct Row {
    snapshots: Snapshots,
    logs: Option<bool>,
    trust_empty: Option<bool>,
    initialize_marked: Option<bool>,
    db_autocreate: Option<bool>,
    then: Decision,
}

const ANY: Option<bool> = None;
const YES: Option<bool> = Some(true);
const NO: Option<bool> = Some(false);

/// Legend of the columns: snapshots, logs exist, `snapshot.trust.empty`, `initialize` mark, `db.autocreate`.
#[rustfmt::skip]
const ROWS: [Row; 7] = [
    row(Snapshots::Loaded,     ANY, ANY, ANY, ANY, Decision::Replay),
    row(Snapshots::Unloadable, ANY, ANY, ANY, ANY, Decision::RefuseUnloadable),
    row(Snapshots::None,       YES, NO,  ANY, ANY, Decision::RefuseNoSnapshot),
    row(Snapshots::None,       YES, YES, ANY, ANY, Decision::ReplayFromEmpty),
    row(Snapshots::None,       NO,  ANY, YES, ANY, Decision::Create),
    row(Snapshots::None,       NO,  ANY, NO,  YES, Decision::Create),
    row(Snapshots::None,       NO,  ANY, NO,  NO,  Decision::Untrusted),
];

const fn row(
    snapshots: Snapshots,
    logs: Option<bool>,
    trust_empty: Option<bool>,
    initialize_marked: Option<bool>,
    db_autocreate: Option<bool>,
    then: Decision,
) -> Row {
    Row { snapshots, logs, trust_empty, initialize_marked, db_autocreate, then }
}

impl Row {
    fn meets(&self, at: &Situation) -> bool {
        let fits = |wanted: Option<bool>, is: bool| wanted.is_none_or(|wanted| wanted == is);
        self.snapshots == at.snapshots
            && fits(self.logs, at.logs)
            && fits(self.trust_empty, at.trust_empty)
            && fits(self.initialize_marked, at.initialize_marked)
            && fits(self.db_autocreate, at.db_autocreate)
    }
}

/// The row that the situation meets; a test holds that it is exactly one.
pub fn decide(at: &Situation) -> Decision {
    ROWS.iter().find(|row| row.meets(at)).expect("the table is total").then
}

/// Why a server cannot start from its directory: exit status 1.
#[derive(Debug)]
pub enum RecoveryError {
    Io {
        path: PathBuf,
        error: io::Error,
    },
    /// Snapshots are there and none can be loaded; the newest one's reason.
    NoneLoads {
        path: PathBuf,
        error: SnapshotError,
    },
    /// Logs without any snapshot.
    NoSnapshot {
        dir: PathBuf,
    },
    /// The sink ended the start, whatever other snapshots there are.
    Snapshot {
        path: PathBuf,
        error: SnapshotError,
    },
    Log(ScanError),
    /// Transactions are missing between two of one epoch.
    Gap {
        path: PathBuf,
        offset: u64,
        before: Zxid,
        after: Zxid,
    },
    /// A snapshot that cannot be loaded held what the logs do not have behind `before`.
    Lost {
        snapshot: Zxid,
        before: Zxid,
    },
    /// The zxid goes backwards, or one is used twice.
    OutOfOrder {
        path: PathBuf,
        offset: u64,
        before: Zxid,
        after: Zxid,
    },
    /// A verified record cannot be applied.
    Apply {
        path: PathBuf,
        offset: u64,
        zxid: Zxid,
        why: String,
    },
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecoveryError::Io { path, error } => write!(f, "{}: {error}", path.display()),
            RecoveryError::NoneLoads { path, error } => write!(
                f,
                "Not able to find valid snapshots: the newest, {}, fails {error}. Put a good snapshot and the logs \
                 since it in place",
                path.display()
            ),
            RecoveryError::NoSnapshot { dir } => write!(
                f,
                "No snapshot found, but there are log entries. Something is broken! (snapshots are expected in {}; \
                 after an upgrade from 3.4 set snapshot.trust.empty=true for one start)",
                dir.display()
            ),
            RecoveryError::Snapshot { path, error } => {
                write!(f, "snapshot {} cannot be used: {error}", path.display())
            }
            RecoveryError::Log(error) => write!(f, "{error}"),
            RecoveryError::Gap { path, offset, before, after } => write!(
                f,
                "transactions are missing: {after} follows {before} in {} at offset {offset}. Put the missing log \
                 file in place; if an old server wrote the log so, allow gaps for one start",
                path.display()
            ),
            RecoveryError::Lost { snapshot, before } => write!(
                f,
                "the snapshot of {snapshot} cannot be loaded, and the logs do not have what it held \
                 behind {before}: put a good copy of it in place. A member of an ensemble may \
                 start with an empty directory instead, and gets everything from the others"
            ),
            RecoveryError::OutOfOrder { path, offset, before, after } => write!(
                f,
                "transaction {after} follows {before} in {} at offset {offset}: log files of different histories \
                 are mixed in one directory",
                path.display()
            ),
            RecoveryError::Apply { path, offset, zxid, why } => write!(
                f,
                "transaction {zxid} in {} at offset {offset} cannot be applied: {why}",
                path.display()
            ),
        }
    }
}

impl std::error::Error for RecoveryError {}

impl From<ScanError> for RecoveryError {
    fn from(error: ScanError) -> RecoveryError {
        RecoveryError::Log(error)
    }
}

/// A recovered database.
#[derive(Debug)]
pub struct Recovered<T> {
    pub target: T,
    /// -1 for an untrusted database.
    pub last_zxid: Zxid,
    pub decision: Decision,
    pub snapshot: Option<(PathBuf, SnapshotInfo)>,
    /// Transactions applied from the logs.
    pub replayed: u64,
    /// Snapshots that looked whole and could not be loaded, with the reason: worth a warning each.
    pub rejected: Vec<(PathBuf, SnapshotError)>,
    pub took: Duration,
    /// What of it finding and loading the snapshot took, and what the logs.
    pub snapshot_took: Duration,
    pub logs_took: Duration,
}

impl<T> Recovered<T> {
    /// A snapshot must be written before the first transaction is logged.
    pub fn first_snapshot(&self) -> bool {
        matches!(self.decision, Decision::Create | Decision::ReplayFromEmpty)
    }
}

/// Recovers the newest state the directory holds. `fresh` makes an empty target; each snapshot tried gets its own,
/// so that nothing of a bad one stays behind.
pub fn recover<T: RecoveryTarget>(
    layout: &DataLayout,
    options: &RecoveryOptions,
    mut fresh: impl FnMut() -> T,
) -> Result<Recovered<T>, RecoveryError> {
    let started = Instant::now();
    let in_dir = |dir: &PathBuf| {
        let path = dir.clone();
        move |error| RecoveryError::Io { path, error }
    };
    layout.remove_stale_temps().map_err(in_dir(&layout.snap_dir))?;
    let logs = usable_logs(layout).map_err(in_dir(&layout.log_dir))?;
    let candidates = candidates(layout).map_err(in_dir(&layout.snap_dir))?;
    let (loaded, mut rejected) = load_newest(&candidates, options, &mut fresh)?;
    let snapshot_took = started.elapsed();
    let situation = Situation {
        snapshots: match (&loaded, candidates.is_empty()) {
            (Some(_), _) => Snapshots::Loaded,
            (None, true) => Snapshots::None,
            (None, false) => Snapshots::Unloadable,
        },
        logs: !logs.is_empty(),
        trust_empty: options.trust_empty,
        initialize_marked: layout.initialize_marked(),
        db_autocreate: options.db_autocreate,
    };
    let decision = decide(&situation);
    match decision {
        Decision::RefuseUnloadable => {
            let (path, error) = rejected.swap_remove(0);
            return Err(RecoveryError::NoneLoads { path, error });
        }
        Decision::RefuseNoSnapshot => {
            return Err(RecoveryError::NoSnapshot { dir: layout.snap_dir.clone() });
        }
        Decision::Replay | Decision::ReplayFromEmpty | Decision::Create | Decision::Untrusted => {}
    }
    layout.remove_initialize_mark().map_err(in_dir(&layout.snap_dir))?;
    let (mut target, start, snapshot) = match loaded {
        Some(loaded) => (loaded.target, Some(loaded.zxid), Some((loaded.path, loaded.info))),
        None => (fresh(), None, None),
    };
    // What a leader sent took the place of log records that are nowhere else.
    let newer = candidates.iter().map(|file| file.zxid).filter(|zxid| Some(*zxid) > start);
    let lost: Vec<Zxid> = newer.collect();
    let (last, replayed) = replay(&logs, start, &lost, options, &mut target)?;
    let last_zxid = if decision == Decision::Untrusted { Zxid::NONE } else { last };
    let took = started.elapsed();
    let logs_took = took - snapshot_took;
    Ok(Recovered {
        target,
        last_zxid,
        decision,
        snapshot,
        replayed,
        rejected,
        took,
        snapshot_took,
        logs_took,
    })
}

/// The log files, oldest first, without one that a crash left headless at the end. That one is deleted: once a later
/// file exists nobody would accept it any more.
fn usable_logs(layout: &DataLayout) -> io::Result<Vec<NamedFile>> {
    let mut logs = layout.logs()?;
    if let Some(newest) = logs.last()
        && is_stillborn(&newest.path)?
    {
        let path = newest.path.display();
        tracing::warn!(%path, "removing a log file that never got its header");
        fs::remove_file(&newest.path)?;
        logs.pop();
    }
    Ok(logs)
}

/// Snapshots that look whole, newest first.
fn candidates(layout: &DataLayout) -> io::Result<Vec<NamedFile>> {
    let mut found = Vec::new();
    for file in layout.snapshots()?.into_iter().rev() {
        if found.len() < CANDIDATES_MAX && looks_valid(&file.path)? {
            found.push(file);
        }
    }
    Ok(found)
}

struct Loaded<T> {
    target: T,
    zxid: Zxid,
    path: PathBuf,
    info: SnapshotInfo,
}

type Rejected = Vec<(PathBuf, SnapshotError)>;

fn load_newest<T: RecoveryTarget>(
    candidates: &[NamedFile],
    options: &RecoveryOptions,
    fresh: &mut impl FnMut() -> T,
) -> Result<(Option<Loaded<T>>, Rejected), RecoveryError> {
    let mut rejected = Vec::new();
    for file in candidates {
        let mut target = fresh();
        let read =
            snapshot_reader::read(&file.path, options.buffer_max, &mut target).and_then(|info| {
                target.snapshot_loaded(file.zxid, &info)?;
                Ok(info)
            });
        let path = file.path.clone();
        match read {
            Ok(info) => {
                return Ok((Some(Loaded { target, zxid: file.zxid, path, info }), rejected));
            }
            Err(error @ SnapshotError::Sink(SinkError::Fatal(_))) => {
                return Err(RecoveryError::Snapshot { path, error });
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "snapshot cannot be loaded");
                rejected.push((path, error));
            }
        }
    }
    Ok((None, rejected))
}

/// Applies the logs after `start` (the snapshot's zxid). Returns the last zxid and the number of transactions. `lost`:
/// snapshots behind `start` that could not be loaded.
fn replay(
    logs: &[NamedFile],
    start: Option<Zxid>,
    lost: &[Zxid],
    options: &RecoveryOptions,
    target: &mut impl RecoveryTarget,
) -> Result<(Zxid, u64), RecoveryError> {
    let from = start.map_or(Zxid::ZERO, Zxid::next);
    let mut scan = LogScan::new(logs, from, options.buffer_max);
    let mut order = Order { last: start, allow_gaps: options.allow_gaps };
    let mut replayed = 0;
    let covered = |before: Zxid, next: Zxid| {
        let hole = lost.iter().find(|snapshot| before < **snapshot && **snapshot < next);
        match hole.filter(|_| !options.allow_gaps) {
            Some(snapshot) => Err(RecoveryError::Lost { snapshot: *snapshot, before }),
            None => Ok(()),
        }
    };
    while let Some((record, path)) = scan.read()? {
        let zxid = record.header.zxid;
        let before = order.last.unwrap_or(Zxid::ZERO);
        covered(before, zxid)?;
        let (path, offset) = (|| path.to_owned(), record.offset);
        match order.next(&record) {
            Step::Apply => {}
            Step::Repeat => continue,
            Step::Gap => {
                return Err(RecoveryError::Gap { path: path(), offset, before, after: zxid });
            }
            Step::OutOfOrder => {
                return Err(RecoveryError::OutOfOrder {
                    path: path(),
                    offset,
                    before,
                    after: zxid,
                });
            }
        }
        target.apply(zxid, record.payload).map_err(|why| RecoveryError::Apply {
            path: path(),
            offset,
            zxid,
            why,
        })?;
        replayed += 1;
    }
    // Only now: everything was read, and nothing whole is lost by it.
    let last = order.last.unwrap_or(Zxid::ZERO);
    covered(last, Zxid(i64::MAX))?;
    scan.torn().iter().try_for_each(cut_off)?;
    Ok((last, replayed))
}

/// Takes what a flush left that did not come to its end, so that no other reader stumbles over it, and no later start
/// has to judge it again. What is before it is not touched.
fn cut_off(tail: &TornTail) -> Result<(), RecoveryError> {
    let path = tail.path.display();
    tracing::warn!(%path, offset = tail.offset, "cutting off a torn record nobody was told of");
    let file = fs::OpenOptions::new().write(true).open(&tail.path);
    let cut = file.and_then(|file| {
        file.set_len(tail.offset)?;
        file.sync_all()
    });
    cut.map_err(|error| RecoveryError::Io { path: tail.path.clone(), error })
}

/// The order of zxids in a log.
struct Order {
    /// The last applied one; `None` before the first on an empty tree, which may start anywhere.
    last: Option<Zxid>,
    allow_gaps: bool,
}

#[derive(PartialEq, Eq, Debug)]
enum Step {
    Apply,
    /// The zxid of the record before, with an error: a Java leader writes it for a request it cannot decode.
    Repeat,
    Gap,
    OutOfOrder,
}

impl Order {
    fn next(&mut self, record: &LogRecord<'_>) -> Step {
        let zxid = record.header.zxid;
        let Some(last) = self.last else {
            self.last = Some(zxid);
            return Step::Apply;
        };
        if zxid == last && record.header.op == OpCode::Error.code() {
            return Step::Repeat;
        }
        if zxid <= last {
            return Step::OutOfOrder;
        }
        // A new epoch may start at any counter.
        if zxid.epoch() == last.epoch() && zxid != last.next() && !self.allow_gaps {
            return Step::Gap;
        }
        self.last = Some(zxid);
        Step::Apply
    }
}

/// The bytes of log that a replay from `from` reads, for progress and for choosing between DIFF and SNAP.
pub fn log_bytes_from(layout: &DataLayout, from: Zxid) -> io::Result<u64> {
    let logs = layout.logs()?;
    files_from(&logs, from).iter().map(|file| Ok(fs::metadata(&file.path)?.len())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_situation_meets_exactly_one_row() {
        let mut met = [0; ROWS.len()];
        for snapshots in [Snapshots::None, Snapshots::Unloadable, Snapshots::Loaded] {
            for bits in 0..16u8 {
                let bit = |n: u8| bits >> n & 1 == 1;
                let at = Situation {
                    snapshots,
                    logs: bit(0),
                    trust_empty: bit(1),
                    initialize_marked: bit(2),
                    db_autocreate: bit(3),
                };
                let rows: Vec<usize> = (0..ROWS.len()).filter(|&n| ROWS[n].meets(&at)).collect();
                assert_eq!(rows.len(), 1, "{at:?}: rows {rows:?}");
                met[rows[0]] += 1;
            }
        }
        assert!(met.iter().all(|&times| times > 0), "a row nothing meets: {met:?}");
    }
}
