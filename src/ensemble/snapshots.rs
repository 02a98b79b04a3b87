//! When a snapshot is due, and the side thread that writes it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::base::prng::Prng;
use crate::base::tally::Tally;
use crate::storage::os;

/// Reference: disk-format 10. A snapshot every `snap_count / 2` to `snap_count` transactions, or half to all of
/// `size_limit_bytes` of log, whichever comes first; random, so that the servers of an ensemble do not all write at
/// the same time.
#[derive(Debug)]
pub struct SnapshotPolicy {
    snap_count: u64,
    size_limit_bytes: Option<u64>,
    prng: Prng,
    count_at: u64,
    bytes_at: u64,
    count: u64,
    bytes: u64,
}

impl SnapshotPolicy {
    /// `snap_count` below 2 counts as 2; no size limit when `size_limit_bytes` is `None`.
    pub fn new(snap_count: u64, size_limit_bytes: Option<u64>, seed: u64) -> SnapshotPolicy {
        let mut policy = SnapshotPolicy {
            snap_count: snap_count.max(2),
            size_limit_bytes,
            prng: Prng::new(seed),
            count_at: 0,
            bytes_at: 0,
            count: 0,
            bytes: 0,
        };
        policy.draw();
        policy
    }

    fn draw(&mut self) {
        self.count = 0;
        self.bytes = 0;
        let half = self.snap_count / 2;
        self.count_at = half + self.prng.below(half);
        let limit = self.size_limit_bytes.unwrap_or(u64::MAX);
        self.bytes_at = limit / 2 + self.prng.below(limit / 2);
    }

    /// One record was appended. True when a snapshot is due; then new random values are drawn.
    pub fn appended(&mut self, bytes: usize) -> bool {
        self.count += 1;
        self.bytes += bytes as u64;
        if self.count <= self.count_at && self.bytes <= self.bytes_at {
            return false;
        }
        self.draw();
        true
    }
}

/// Shared with the writing thread.
#[derive(Debug, Default)]
pub struct SnapshotState {
    pub running: AtomicBool,
    pub failed: AtomicBool,
    /// The one that is being written is not wanted any more.
    pub given_up: Arc<AtomicBool>,
    took_ms: Mutex<Tally>,
}

impl SnapshotState {
    /// Milliseconds of each snapshot written, for change as well.
    pub fn took_ms(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.took_ms.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Writes one snapshot; given by whoever knows directories and formats.
pub type WriteSnapshot<S> = dyn Fn(S) -> std::io::Result<()> + Send + Sync;

/// Starts the side thread unless one still runs. For CPU and disk it stands back behind everything that answers
/// clients.
pub fn spawn<S: Send + 'static>(
    state: &Arc<SnapshotState>,
    source: S,
    write: Arc<WriteSnapshot<S>>,
) {
    state.running.store(true, Ordering::Release);
    let shared = state.clone();
    let spawned = std::thread::Builder::new().name("snapshot".into()).spawn(move || {
        os::lower_priority();
        let started = std::time::Instant::now();
        match write(source) {
            Ok(()) => shared.took_ms().add(started.elapsed().as_millis() as i64),
            Err(error) if is_full(&error) => {
                tracing::error!("no room for a snapshot: {error}; the next one will be tried");
            }
            Err(_) if shared.given_up.load(Ordering::Acquire) => {
                tracing::info!("a snapshot is given up: its history is being cut or replaced");
            }
            Err(error) => {
                tracing::error!("the snapshot cannot be written: {error}");
                shared.failed.store(true, Ordering::Release);
            }
        }
        shared.running.store(false, Ordering::Release);
    });
    if let Err(error) = spawned {
        tracing::error!("no thread for a snapshot: {error}; the next one will be tried");
        state.running.store(false, Ordering::Release);
    }
}

/// What was written of it is gone again, and the log still has all.
fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_between_half_and_all_of_snap_count() {
        let mut policy = SnapshotPolicy::new(100, None, 3);
        let mut since = 0;
        for _ in 0..10_000 {
            since += 1;
            if policy.appended(10) {
                assert!((51..=101).contains(&since), "{since}");
                since = 0;
            }
        }
        assert!(since < 101);
    }

    #[test]
    fn a_full_disk_costs_a_snapshot_and_nothing_more() {
        let run = |kind: std::io::ErrorKind| {
            let state = Arc::new(SnapshotState::default());
            spawn(&state, (), Arc::new(move |()| Err(kind.into())));
            while state.running.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            state.failed.load(Ordering::Acquire)
        };
        assert!(!run(std::io::ErrorKind::StorageFull));
        assert!(run(std::io::ErrorKind::PermissionDenied));
    }

    #[test]
    fn due_by_bytes_too() {
        let mut policy = SnapshotPolicy::new(1_000_000, Some(1000), 3);
        let due = (0..300).position(|_| policy.appended(10)).expect("due by size");
        assert!((50..=100).contains(&due), "{due}");
    }
}
