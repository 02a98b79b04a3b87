//! Cutting the history after a zxid, when a leader says TRUNC (reference: disk-format 3.7).

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::{fmt, io};

use super::layout::{DataLayout, NamedFile};
use super::log_scan::{LogFile, ScanError};
use super::os;
use super::snapshot_codec::looks_valid;
use super::snapshot_reader::{self, SinkError, SnapshotSink};
use crate::base::{SessionId, Zxid};
use crate::wire::snapshot_format::NodeRecord;

/// Why the history cannot be cut there. The learner asks for a whole snapshot instead; nothing was changed unless
/// it says so.
#[derive(Debug)]
pub enum TruncateError {
    /// No log reaches back to the target, so what to keep cannot be found.
    NotInLog(Zxid),
    /// Every snapshot holds effects of later transactions.
    NoSnapshotLeft(Zxid),
    Log(ScanError),
    /// Cutting failed half way; what is left is a legal, shorter or unchanged, history.
    Io(io::Error),
}

impl fmt::Display for TruncateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TruncateError::NotInLog(to) => write!(f, "no transaction log reaches back to {to}"),
            TruncateError::NoSnapshotLeft(to) => {
                write!(f, "every snapshot holds transactions after {to}")
            }
            TruncateError::Log(error) => write!(f, "{error}"),
            TruncateError::Io(error) => write!(f, "cannot cut the transaction log: {error}"),
        }
    }
}

impl std::error::Error for TruncateError {}

impl From<io::Error> for TruncateError {
    fn from(error: io::Error) -> TruncateError {
        TruncateError::Io(error)
    }
}

impl From<ScanError> for TruncateError {
    fn from(error: ScanError) -> TruncateError {
        TruncateError::Log(error)
    }
}

/// Removes every transaction after `target` from disk, durably. The proposal log must be dropped before and made
/// anew after; the database is reloaded with [`super::recover`].
///
/// Other than Apache this cuts after the last record not above the target even if the target itself is not logged,
/// and removes snapshots that may hold later effects: a fuzzy one kept would bring back what was cut.
pub fn truncate(layout: &DataLayout, target: Zxid, buffer_max: usize) -> Result<(), TruncateError> {
    let tainted = tainted_snapshots(layout, target, buffer_max)?;
    let reaches_back = layout.logs()?.iter().any(|log| log.zxid <= target);
    if !reaches_back && !layout.snapshots()?.iter().any(|file| file.zxid == target) {
        return Err(TruncateError::NotInLog(target));
    }
    // Snapshots first: a snapshot of the cut future must not outlive the log that says it was cut.
    for path in &tainted {
        fs::remove_file(path)?;
    }
    os::sync_dir(&layout.snap_dir)?;
    cut_logs(layout, target, buffer_max)
}

/// Removes every record after `target` from the logs, durably; snapshots stay as they are.
pub fn cut_logs(layout: &DataLayout, target: Zxid, buffer_max: usize) -> Result<(), TruncateError> {
    let logs = layout.logs()?;
    let kept = logs.iter().rposition(|log| log.zxid <= target);
    let cut = match kept {
        Some(n) => Some((n, cut_offset(&logs[n], target, buffer_max)?)),
        None => None,
    };
    let first_later = kept.map_or(0, |n| n + 1);
    // Newest first, so that a crash leaves a history without holes.
    for log in logs[first_later..].iter().rev() {
        fs::remove_file(&log.path)?;
    }
    if let Some((n, Some(offset))) = cut {
        let file = OpenOptions::new().write(true).open(&logs[n].path)?;
        file.set_len(offset)?;
        file.sync_all()?;
    }
    os::sync_dir(&layout.log_dir)?;
    Ok(())
}

/// Where the first record above the target starts in a file; `None` if it holds none.
fn cut_offset(log: &NamedFile, target: Zxid, max: usize) -> Result<Option<u64>, ScanError> {
    let mut file = LogFile::open(&log.path, max)?;
    while let Some(record) = file.read()? {
        if record.header.zxid > target {
            return Ok(Some(record.offset));
        }
    }
    Ok(None)
}

/// Snapshots named or ended after the target, or that cannot be read. Fails if no other is left.
fn tainted_snapshots(
    layout: &DataLayout,
    target: Zxid,
    buffer_max: usize,
) -> Result<Vec<PathBuf>, TruncateError> {
    let mut tainted = Vec::new();
    let mut clean = 0;
    for file in layout.snapshots()? {
        if !looks_valid(&file.path)? {
            continue;
        }
        let mut newest = Newest(file.zxid);
        let clean_end = match snapshot_reader::read(&file.path, buffer_max, &mut newest) {
            Ok(info) => {
                let ends = [info.digest.map(|digest| digest.zxid), info.last_zxid, Some(newest.0)];
                ends.into_iter().flatten().all(|zxid| zxid <= target)
            }
            Err(_) => false,
        };
        if clean_end {
            clean += 1;
        } else {
            tainted.push(file.path);
        }
    }
    if clean == 0 { Err(TruncateError::NoSnapshotLeft(target)) } else { Ok(tainted) }
}

/// The newest zxid any node names: older writers leave no trailer to tell where a fuzzy snapshot ends.
struct Newest(Zxid);

impl SnapshotSink for Newest {
    fn session(&mut self, _: SessionId, _: i32) -> Result<(), SinkError> {
        Ok(())
    }

    fn acl(&mut self, _: i64, _: &[u8]) -> Result<(), SinkError> {
        Ok(())
    }

    fn node(&mut self, node: &NodeRecord<'_>) -> Result<(), SinkError> {
        let stat = &node.stat;
        let newest = stat.czxid.max(stat.mzxid).max(stat.pzxid);
        self.0 = self.0.max(Zxid(newest));
        Ok(())
    }
}
