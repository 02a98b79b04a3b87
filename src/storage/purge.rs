//! autopurge (reference: disk-format 10): which snapshots and logs nobody needs any more.

use std::path::PathBuf;
use std::{fs, io};

use super::layout::{DataLayout, NamedFile};
use super::os;
use super::snapshot_codec::looks_valid;
use crate::base::MonoMs;

/// Fewest snapshots kept, whatever `autopurge.snapRetainCount` says.
pub const RETAIN_MIN: usize = 3;
const MS_PER_HOUR: MonoMs = 60 * 60 * 1000;

/// What may go, oldest first.
///
/// Let X be the oldest of the `retain` newest snapshots that look whole. Snapshots before X go, and logs before the
/// newest one that starts at or before X: that one holds what follows X. That a later log exists never makes a log
/// superfluous, since a snapshot's zxid may lie before the roll that was made for it. Without a whole snapshot
/// nothing goes. Names without a zxid, which Apache deletes (`log.readme`), stay.
pub fn plan(layout: &DataLayout, retain: usize) -> io::Result<Vec<PathBuf>> {
    let snapshots = layout.snapshots()?;
    let mut oldest_kept = None;
    let mut whole = 0;
    for file in snapshots.iter().rev() {
        if whole < retain.max(RETAIN_MIN) && looks_valid(&file.path)? {
            whole += 1;
            oldest_kept = Some(file.zxid);
        }
    }
    let Some(oldest) = oldest_kept else { return Ok(Vec::new()) };
    let logs = layout.logs()?;
    let needed = logs.iter().rposition(|log| log.zxid <= oldest).unwrap_or(0);
    let old_logs = logs[..needed].iter();
    let old_snapshots = snapshots.iter().filter(|file| file.zxid < oldest);
    // Snapshots first: should the purge be cut short, every snapshot left still has its logs.
    Ok(old_snapshots.chain(old_logs).map(|file: &NamedFile| file.path.clone()).collect())
}

/// Deletes what [`plan`] names and returns it. Blocks: call it on a side thread.
pub fn run(layout: &DataLayout, retain: usize) -> io::Result<Vec<PathBuf>> {
    let old = plan(layout, retain)?;
    let snapshots = old.iter().take_while(|path| path.starts_with(&layout.snap_dir)).count();
    for (n, path) in old.iter().enumerate() {
        if n == snapshots {
            // The deletion of a snapshot must not come undone after that of its logs.
            os::sync_dir(&layout.snap_dir)?;
        }
        match fs::remove_file(path) {
            // An operator's own purge may run at the same time.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(old)
}

/// When to purge: at once after the start, then every interval. Owned by the side thread that calls it.
#[derive(Clone, Debug)]
pub struct PurgeSchedule {
    layout: DataLayout,
    retain: usize,
    interval_ms: MonoMs,
    next_due: MonoMs,
}

impl PurgeSchedule {
    /// `None` if `autopurge.purgeInterval` (hours) is 0 or less: no purge.
    pub fn new(
        layout: DataLayout,
        interval_hours: i64,
        retain: usize,
        now: MonoMs,
    ) -> Option<PurgeSchedule> {
        if interval_hours <= 0 {
            return None;
        }
        let interval_ms = interval_hours.saturating_mul(MS_PER_HOUR);
        Some(PurgeSchedule { layout, retain, interval_ms, next_due: now })
    }

    /// When [`PurgeSchedule::run_if_due`] has something to do next.
    pub fn next_due(&self) -> MonoMs {
        self.next_due
    }

    /// Purges if it is time; an error is worth a warning, the next round tries again.
    pub fn run_if_due(&mut self, now: MonoMs) -> Option<io::Result<Vec<PathBuf>>> {
        if now < self.next_due {
            return None;
        }
        self.next_due = now.saturating_add(self.interval_ms);
        Some(run(&self.layout, self.retain))
    }
}
