//! The side thread of the proposal log: it prepares the next segment and watches free space.
//!
//! A segment is a file of real zeros with the log's header in front, written and synced before it is used. Flushes
//! into it then change no metadata, so an fdatasync does not also commit block allocations, and they cannot run out
//! of disk. Apache ignores the spare by its name.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::layout::PRIVATE_PREFIX;
use super::log_segment::AlignedBuffer;
use super::os;
use crate::base::limits::LOG_BLOCK;
use crate::wire::log_format::file_header;

/// Bytes written at once: small enough that a flush of the log never waits long behind one.
const FILL_CHUNK: usize = 256 << 10;
/// Pause after each chunk, which bounds the filling to about 128 MiB/s.
const FILL_PAUSE: Duration = Duration::from_millis(2);
/// How old the free-space figure may get: a fast writer fills tens of megabytes in that time.
const SPACE_INTERVAL: Duration = Duration::from_millis(100);

/// A prepared log file, under a passing name until the log takes it.
pub struct Spare {
    pub path: PathBuf,
    pub file: File,
    /// Zeros reach to here, in bytes.
    pub allocated: u64,
}

/// Facts both threads see. Free space is a hint, so relaxed order is enough.
struct Shared {
    free: AtomicU64,
    stop: AtomicBool,
}

/// The Zab core's handle. Dropping it stops the thread.
pub struct ZeroFill {
    shared: Arc<Shared>,
    orders: Option<SyncSender<()>>,
    spares: Receiver<io::Result<Spare>>,
    /// Taken out of `spares` to see whether it is there.
    waiting: Option<Spare>,
    /// A spare is being made or waits in `spares`.
    ordered: bool,
    /// When the last order could not be carried out; `None` after one that was.
    refused: Option<Instant>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread needs to know.
pub struct FillOptions {
    pub dir: PathBuf,
    /// Size of a segment in bytes; 0 makes no spares and only watches free space.
    pub segment_bytes: u64,
    pub direct: bool,
    pub sync: bool,
    /// No spare is made when it would leave less than this many bytes free.
    pub reserve_bytes: u64,
}

impl ZeroFill {
    pub fn start(options: FillOptions) -> io::Result<ZeroFill> {
        let free = os::free_bytes(&options.dir)?;
        let shared = Arc::new(Shared { free: free.into(), stop: false.into() });
        let (orders, inbox) = sync_channel(1);
        let (outbox, spares) = sync_channel(1);
        let theirs = Arc::clone(&shared);
        let makes_spares = options.segment_bytes > 0;
        let thread = std::thread::Builder::new()
            .name("log-fill".into())
            .spawn(move || run(&options, &theirs, &inbox, &outbox))?;
        let mut fill = ZeroFill {
            shared,
            orders: makes_spares.then_some(orders),
            spares,
            waiting: None,
            ordered: false,
            refused: None,
            thread: Some(thread),
        };
        fill.order();
        Ok(fill)
    }

    /// Free bytes of the log's file system, at most about [`SPACE_INTERVAL`] old.
    pub fn free(&self) -> u64 {
        self.shared.free.load(Ordering::Relaxed)
    }

    /// The prepared segment if it is ready. A failure to make one is no error here: the log goes on without, and
    /// meets a full disk itself if that was the reason.
    pub fn take(&mut self) -> Option<Spare> {
        self.ready();
        self.waiting.take()
    }

    /// Whether [`ZeroFill::take`] has something to give.
    pub fn ready(&mut self) -> bool {
        if self.waiting.is_none() {
            self.waiting = self.receive();
        }
        self.waiting.is_some()
    }

    fn receive(&mut self) -> Option<Spare> {
        match self.spares.try_recv() {
            Ok(result) => {
                self.ordered = false;
                self.note(&result);
                result.ok()
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => None,
        }
    }

    /// A disk that is nearly full refuses every order: said once, until one is carried out again.
    fn note(&mut self, result: &io::Result<Spare>) {
        let Err(error) = result else { return self.refused = None };
        if self.refused.replace(Instant::now()).is_none() {
            tracing::warn!(%error, "cannot prepare log segments ahead");
        }
    }

    /// Asks for the next spare unless one is under way, or was refused a moment ago.
    pub fn order(&mut self) {
        if let Some(orders) = &self.orders
            && !self.ordered
            && self.waiting.is_none()
            && self.refused.is_none_or(|at| at.elapsed() >= SPACE_INTERVAL)
        {
            self.ordered = orders.try_send(()).is_ok();
        }
    }
}

impl Drop for ZeroFill {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // With `panic = "abort"` a panicked thread cannot be met here; in tests it only ends the filling.
            let _ = thread.join();
        }
    }
}

fn run(
    options: &FillOptions,
    shared: &Shared,
    inbox: &Receiver<()>,
    outbox: &SyncSender<io::Result<Spare>>,
) {
    os::lower_priority();
    loop {
        let order = inbox.recv_timeout(SPACE_INTERVAL);
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(free) = os::free_bytes(&options.dir) {
            shared.free.store(free, Ordering::Relaxed);
        }
        match order {
            Ok(()) => {
                let spare = prepare_spare(options, shared);
                if outbox.send(spare).is_err() {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            // Without orders (no preallocation, or shutdown) only free space is left to watch.
            Err(RecvTimeoutError::Disconnected) => std::thread::park_timeout(SPACE_INTERVAL),
        }
    }
}

fn prepare_spare(options: &FillOptions, shared: &Shared) -> io::Result<Spare> {
    let free = shared.free.load(Ordering::Relaxed);
    if free < options.segment_bytes.saturating_add(options.reserve_bytes) {
        return Err(io::Error::new(
            io::ErrorKind::StorageFull,
            "too little space left on the disk",
        ));
    }
    let ready = spare_path(&options.dir, "spare");
    if let Some(spare) = adopt(&ready, options)? {
        return Ok(spare);
    }
    let raw = spare_path(&options.dir, "spare-raw");
    remove_if_there(&raw)?;
    let pause = || {
        std::thread::sleep(FILL_PAUSE);
        !shared.stop.load(Ordering::Relaxed)
    };
    let made = make_segment(&raw, options.segment_bytes, options.direct, options.sync, pause);
    let file = match made {
        Ok(file) => file,
        Err(error) => {
            remove_if_there(&raw)?;
            return Err(error);
        }
    };
    // Only a whole, synced file ever has this name: the next start may take it as it is.
    fs::rename(&raw, &ready)?;
    Ok(Spare { path: ready, file, allocated: options.segment_bytes })
}

/// The spare an earlier run of the server left.
fn adopt(path: &Path, options: &FillOptions) -> io::Result<Option<Spare>> {
    let fits = fs::metadata(path).is_ok_and(|meta| meta.len() == options.segment_bytes);
    if !fits || !options.sync {
        remove_if_there(path)?;
        return Ok(None);
    }
    let (file, _) = os::open_direct(path, false, options.direct)?;
    Ok(Some(Spare { path: path.to_owned(), file, allocated: options.segment_bytes }))
}

fn spare_path(dir: &Path, what: &str) -> PathBuf {
    dir.join(format!("{PRIVATE_PREFIX}{what}"))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A small segment made on the spot, for when no spare is ready: the header in one block of zeros, synced.
pub fn make_head(dir: &Path, direct: bool, sync: bool) -> io::Result<Spare> {
    let path = spare_path(dir, "head");
    remove_if_there(&path)?;
    let file = make_segment(&path, LOG_BLOCK as u64, direct, sync, || true)?;
    Ok(Spare { path, file, allocated: LOG_BLOCK as u64 })
}

/// Header and zeros, `bytes` in all (whole blocks). `go_on` is asked after each chunk; when it says no the work ends
/// with an error of kind `Interrupted`.
fn make_segment(
    path: &Path,
    bytes: u64,
    direct: bool,
    sync: bool,
    mut go_on: impl FnMut() -> bool,
) -> io::Result<File> {
    let (file, _) = os::open_direct(path, true, direct)?;
    os::allocate(&file, bytes)?;
    let mut chunk = AlignedBuffer::default();
    chunk.extend(&vec![0; FILL_CHUNK.min(bytes as usize)]);
    let mut head = AlignedBuffer::default();
    head.extend(&file_header());
    file.write_all_at(head.padded(), 0)?;
    let mut at = LOG_BLOCK as u64;
    while at < bytes {
        let take = (bytes - at).min(chunk.len() as u64) as usize;
        file.write_all_at(&chunk.as_slice()[..take], at)?;
        at += take as u64;
        if !go_on() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
    if sync {
        file.sync_all()?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_for(fill: &mut ZeroFill) -> Spare {
        let start = Instant::now();
        loop {
            if let Some(spare) = fill.take() {
                return spare;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "no spare came");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn options(dir: &Path, segment_bytes: u64) -> FillOptions {
        FillOptions {
            dir: dir.to_owned(),
            segment_bytes,
            direct: true,
            sync: true,
            reserve_bytes: 0,
        }
    }

    #[test]
    fn a_spare_is_header_and_zeros_and_survives_a_restart() {
        let temp = crate::storage::test_dir();
        let mut fill = ZeroFill::start(options(temp.path(), 1 << 20)).unwrap();
        let spare = wait_for(&mut fill);
        let bytes = fs::read(&spare.path).unwrap();
        assert_eq!(bytes[..16], file_header());
        assert_eq!(bytes.len(), 1 << 20);
        assert!(bytes[16..].iter().all(|&byte| byte == 0));
        drop((fill, spare.file));
        let mut fill = ZeroFill::start(options(temp.path(), 1 << 20)).unwrap();
        let again = wait_for(&mut fill);
        assert_eq!((again.path, again.allocated), (spare.path, 1 << 20));
    }

    #[test]
    fn no_spare_is_made_into_the_reserve() {
        let temp = crate::storage::test_dir();
        let greedy = FillOptions { reserve_bytes: u64::MAX, ..options(temp.path(), 1 << 20) };
        let mut fill = ZeroFill::start(greedy).unwrap();
        let start = Instant::now();
        while fill.ordered && start.elapsed() < Duration::from_secs(20) {
            assert!(fill.take().is_none());
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!fill.ordered, "the refusal never came");
        fill.order();
        assert!(!fill.ordered, "a refused order is not repeated at once");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
        assert!(fill.free() > 0);
    }
}
