//! The disk besides the proposal log: reloading, cutting, reading the log back, epochs, a leader's snapshot.

use std::sync::Arc;

use crate::base::Zxid;
use crate::peer::{EpochFile, Fatal, Proposal, Recovered};
use crate::pipeline::Mailbox;
use crate::pipeline::messages::ToZab;
use crate::storage::log_scan::read_range;
use crate::storage::received::ReceivedSnapshot;
use crate::storage::truncate::{self, TruncateError};
use crate::storage::{DataLayout, LogOptions, ProposalLog, epochs};

/// Bytes of log that a lagging learner is served from at most, however large the snapshot is: they are read on the Zab
/// core.
const LOG_SYNC_BYTES_MAX: u64 = 16 << 20;

/// Loads the newest state of the data directory; given by whoever knows the configuration.
pub type Reload = dyn FnMut() -> Result<Recovered, String> + Send;

/// What the Zab core does with its disk.
pub struct Disk {
    pub layout: DataLayout,
    pub log_options: LogOptions,
    pub reload: Box<Reload>,
    /// Longest record that is read back, bytes.
    pub record_bytes_max: usize,
    /// `zookeeper.snapshotSizeFactor`.
    pub snapshot_size_factor: f64,
    /// `digest.enabled` and `serializeLastProcessedZxid.enabled`: what snapshots end in.
    pub snapshot_digest: bool,
    pub snapshot_zxid: bool,
    /// Where the end of something done on the side is reported.
    pub inbox: Arc<Mailbox<ToZab>>,
    pub receiving: Option<ReceivedSnapshot>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Disk({})", self.layout.log_dir.display())
    }
}

fn disk(error: impl std::fmt::Display) -> Fatal {
    Fatal::Disk(error.to_string())
}

impl Disk {
    pub fn open_log(&self) -> Result<ProposalLog, Fatal> {
        ProposalLog::create(&self.layout.log_dir, self.log_options.clone())
            .map_err(|error| disk(format!("the log cannot be started: {error}")))
    }

    pub fn truncate(&self, to: Zxid) -> Result<bool, Fatal> {
        match truncate::truncate(&self.layout, to, self.record_bytes_max) {
            Ok(()) => Ok(true),
            Err(error @ (TruncateError::NotInLog(_) | TruncateError::NoSnapshotLeft(_))) => {
                tracing::warn!("{error}: the leader's whole tree is needed");
                Ok(false)
            }
            Err(error) => Err(Fatal::Packet(format!("a TRUNC failed: {error}"))),
        }
    }

    pub fn reload(&mut self) -> Result<Recovered, Fatal> {
        (self.reload)().map_err(Fatal::Data)
    }

    pub fn write_epoch(&self, file: EpochFile, epoch: i64) -> Result<(), Fatal> {
        let name = match file {
            EpochFile::Accepted => epochs::ACCEPTED,
            EpochFile::Current => epochs::CURRENT,
        };
        epochs::write(&self.layout.snap_dir, name, epoch)
            .map_err(|error| disk(format!("{name} cannot be written: {error}")))
    }

    /// Everything after `after` up to `to`; `None` if the log does not hold `after` and all that follows, or if that is
    /// too much to be read in passing.
    pub fn read_log(&self, after: Zxid, to: Zxid) -> Option<Vec<Proposal>> {
        let snapshots = self.layout.snapshots().ok()?;
        let newest = snapshots.last().and_then(|file| std::fs::metadata(&file.path).ok());
        let of_snapshot = newest.map_or(0.0, |file| file.len() as f64 * self.snapshot_size_factor);
        let limit = LOG_SYNC_BYTES_MAX.min((of_snapshot as u64).max(1 << 20));
        let found = read_range(&self.layout, after, to, limit, self.record_bytes_max)?;
        Some(found.into_iter().map(|(zxid, txn)| Proposal::alone(zxid, txn)).collect())
    }

    pub fn begin_received(&mut self, zxid: Zxid) -> Result<(), Fatal> {
        let begun = ReceivedSnapshot::begin(&self.layout, zxid);
        self.receiving = Some(begun.map_err(|e| snapshot("cannot be received", &e))?);
        Ok(())
    }

    pub fn put_received(&mut self, bytes: &[u8]) -> Result<(), Fatal> {
        match &mut self.receiving {
            Some(snapshot_file) => {
                snapshot_file.put(bytes).map_err(|e| snapshot("cannot be written", &e))
            }
            None => Ok(()),
        }
    }

    /// On a side thread: flushing a large file takes its time. The log is closed.
    pub fn adopt_received(&mut self, last: Zxid) {
        let Some(received) = self.receiving.take() else { return };
        let (layout, inbox, max) = (self.layout.clone(), self.inbox.clone(), self.record_bytes_max);
        let (digest_section, zxid_section) = (self.snapshot_digest, self.snapshot_zxid);
        let run = move || {
            let adopted = received.adopt(&layout, last, digest_section, zxid_section, max);
            let mut message = ToZab::SnapshotAdopted(adopted.map_err(|error| error.to_string()));
            while let Err(back) = inbox.push(message) {
                message = back;
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            inbox.wake();
        };
        if let Err(error) = std::thread::Builder::new().name("adopt".into()).spawn(run) {
            let message = ToZab::SnapshotAdopted(Err(error.to_string()));
            // Full only when the clients' cores have filled it; the role then ends by its timeout.
            let _ = self.inbox.push(message);
        }
    }
}

fn snapshot(what: &str, error: &std::io::Error) -> Fatal {
    Fatal::Snapshot(format!("the leader's snapshot {what}: {error}"))
}
