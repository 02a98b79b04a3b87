//! The proposal log (reference: disk-format 3), written through the Zab core's ring.
//!
//! It lives on the Zab core. The core's loop owns the ring: it calls [`ProposalLog::append`] for each proposal,
//! [`ProposalLog::submit_flush`] once per turn, and hands every completion whose `user_data` [`owns`] claims to
//! [`ProposalLog::complete`]. One flush is in flight at a time; what is appended meanwhile joins the next.
//!
//! A flush is one write with `RWF_DSYNC`: the kernel completes it when bytes and length are on the disk, as after an
//! fdatasync. A linked fdatasync, which does the same, always moves to a worker thread of the kernel: 100 to 150 µs
//! for 4 KiB where this took 85 to 90. A new file's name is synced by a second entry, linked to the write.
//!
//! `durable <= submitted <= appended`, all three moving forward only. `Flushed::up_to` is the first; nothing above
//! it may be acknowledged. The first error of a write or an fsync poisons the log for good: after a failed fsync
//! nobody knows what the disk holds, and asking again would only hear that all is well.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use std::{fmt, io};

use io_uring::squeue::{Entry, Flags, SubmissionQueue};
use io_uring::{opcode, types};

use super::layout::log_name;
use super::log_segment::{AlignedBuffer, Batch, Segment};
use super::zero_fill::{self, FillOptions, ZeroFill};
use crate::base::Zxid;
use crate::base::limits::LOG_BLOCK;
use crate::wire::log_format::{
    END_OF_RECORD, LOG_HEADER_BYTES, LogItem, RECORD_BYTES_MAX_DEFAULT, RECORD_OVERHEAD,
    file_header, item_at, record_head,
};

/// The log's completions carry this and the next value as `user_data`; nobody else on the ring may use them.
pub const LOG_USER_DATA: u64 = 0x6c6f_6700_0000_0000;
const WRITE: u64 = LOG_USER_DATA;
const SYNC_DIR: u64 = LOG_USER_DATA + 1;

/// Entries of the submission queue that one flush takes at most: write, fsync of the directory.
pub const LOG_ENTRIES_MAX: usize = 2;
/// Short writes in a row of one batch before the log gives up. A healthy disk never has one.
const RESUBMITS_MAX: u32 = 8;
/// Smallest segment prepared ahead, in bytes: `preAllocSize` may be set to a few KiB, which would roll all the time.
const SEGMENT_BYTES_MIN: u64 = 4 << 20;
/// Buffers kept for the next batch.
const SPARE_BUFFERS: usize = 2;
/// Larger ones, in bytes, are given back after the burst that needed them: to get one again takes far
/// less time than to write it, and four of them stayed resident after a million creates.
const SPARE_BUFFER_BYTES_MAX: usize = 1 << 20;

/// Whether a completion belongs to the log.
pub fn owns(user_data: u64) -> bool {
    (WRITE..=SYNC_DIR).contains(&user_data)
}

/// Settings that touch the log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// `preAllocSize` in bytes; 0 prepares nothing ahead.
    pub prealloc_bytes: u64,
    /// `forceSync`; false trades the durability of acknowledged writes for speed.
    pub force_sync: bool,
    /// `txnLogSizeLimitInKb` in bytes: start a new file above it. Counts written bytes, not padding.
    pub size_limit_bytes: Option<u64>,
    /// Below this many free bytes [`ProposalLog::space_low`] tells the server to refuse writes; 0 never does.
    pub reserve_bytes: u64,
    /// Bypass the page cache if the file system can.
    pub direct: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            prealloc_bytes: 64 << 20,
            force_sync: true,
            size_limit_bytes: None,
            reserve_bytes: 256 << 20,
            direct: true,
        }
    }
}

/// Why the log is poisoned. The server stops with an exit status of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogError {
    /// The disk or the quota is full. Nothing acknowledged is lost.
    DiskFull,
    /// A write or its flush failed, with its errno (0: it kept writing nothing). What the disk holds since the last
    /// flush is unknown.
    Write(i32),
    /// The directory's fsync failed, with its errno.
    Sync(i32),
    /// The next log file could not be started.
    NewFile(String),
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errno = |code: &i32| io::Error::from_raw_os_error(*code);
        match self {
            LogError::DiskFull => write!(f, "no space left for the transaction log"),
            LogError::Write(0) => write!(f, "the transaction log's disk takes no more bytes"),
            LogError::Write(code) => write!(f, "cannot write the transaction log: {}", errno(code)),
            LogError::Sync(code) => write!(f, "cannot sync the log directory: {}", errno(code)),
            LogError::NewFile(why) => write!(f, "cannot start a transaction log file: {why}"),
        }
    }
}

impl std::error::Error for LogError {}

impl From<LogError> for io::Error {
    fn from(error: LogError) -> io::Error {
        match error {
            LogError::DiskFull => io::Error::new(io::ErrorKind::StorageFull, error),
            _ => io::Error::other(error),
        }
    }
}

/// Everything up to a transaction is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flushed {
    pub up_to: Zxid,
    /// From submission to the last completion, in microseconds.
    pub micros: u64,
}

/// Counters since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogStats {
    pub flushes: u64,
    /// Sum over the flushes, in microseconds.
    pub flush_micros: u64,
    pub flush_micros_max: u64,
    /// Record bytes appended, framing included.
    pub appended_bytes: u64,
    pub records: u64,
    /// Files begun.
    pub segments: u64,
    /// Files begun without a prepared one at hand.
    pub segments_unprepared: u64,
}

/// What [`ProposalLog::submit_flush`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Submit {
    /// Nothing is pending, or a flush is in flight.
    Nothing,
    /// Entries were pushed; the loop must enter the ring.
    Queued,
    /// The queue lacks room for the chain: submit what is there and call again.
    RingFull,
}

/// A batch the kernel has, or gave back incomplete.
struct Flight {
    batch: Batch,
    /// Padded length of the batch, in bytes.
    length: usize,
    /// Bytes of it that are written; whole blocks.
    written: usize,
    awaited: u32,
    /// The write of this round came to all of what was asked.
    whole: bool,
    error: Option<LogError>,
    resubmits: u32,
    started: Instant,
}

/// The proposal log. See the module for who calls what.
pub struct ProposalLog {
    dir: PathBuf,
    dir_file: File,
    options: LogOptions,
    fill: ZeroFill,
    segment: Option<Segment>,
    /// Ends of earlier segments that are still to be written, oldest first.
    queue: VecDeque<Batch>,
    flight: Option<Flight>,
    buffers: Vec<AlignedBuffer>,
    last: Option<Zxid>,
    roll: bool,
    poison: Option<LogError>,
    stats: LogStats,
}

impl ProposalLog {
    /// A log in `dir` (`<dataLogDir>/version-2`). Opens no log file: the first append does, as its name is the first
    /// transaction's zxid. Starts the side thread that prepares segments.
    pub fn create(dir: &Path, options: LogOptions) -> io::Result<ProposalLog> {
        let segment_bytes = match options.prealloc_bytes {
            0 => 0,
            bytes => bytes.max(SEGMENT_BYTES_MIN).next_multiple_of(LOG_BLOCK as u64),
        };
        let fill = ZeroFill::start(FillOptions {
            dir: dir.to_owned(),
            segment_bytes,
            direct: options.direct,
            sync: options.force_sync,
            reserve_bytes: options.reserve_bytes,
        })?;
        Ok(ProposalLog {
            dir: dir.to_owned(),
            dir_file: File::open(dir)?,
            options,
            fill,
            segment: None,
            queue: VecDeque::new(),
            flight: None,
            buffers: Vec::new(),
            last: None,
            roll: false,
            poison: None,
            stats: LogStats::default(),
        })
    }

    /// Adds a transaction to the next flush. `txn` is the whole transaction, whose header carries `zxid`.
    ///
    /// Fails when the log is poisoned, when `zxid` goes backwards, or when a new file cannot be started; the last
    /// poisons, since the log would otherwise go on with a gap.
    pub fn append(&mut self, zxid: Zxid, txn: &[u8]) -> io::Result<()> {
        if let Some(error) = &self.poison {
            return Err(error.clone().into());
        }
        if self.last.is_some_and(|last| zxid < last) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("transaction {zxid} would follow {:?} in the log", self.last),
            ));
        }
        if self.must_start_file(txn.len() + RECORD_OVERHEAD)
            && let Err(error) = self.start_file(zxid)
        {
            let full = error.kind() == io::ErrorKind::StorageFull;
            let why = if full { LogError::DiskFull } else { LogError::NewFile(error.to_string()) };
            self.poison = Some(why);
            return Err(error);
        }
        let segment = self.segment.as_mut().expect("a file was started");
        let batch = &mut segment.batch;
        batch.buffer.extend(&record_head(txn));
        batch.buffer.extend(txn);
        batch.buffer.extend(&[END_OF_RECORD]);
        batch.up_to = zxid;
        batch.dirty = true;
        self.last = Some(zxid);
        self.stats.records += 1;
        self.stats.appended_bytes += (txn.len() + RECORD_OVERHEAD) as u64;
        Ok(())
    }

    fn must_start_file(&mut self, record: usize) -> bool {
        let Some(segment) = &self.segment else { return true };
        let end = segment.batch.end();
        if self.roll || self.options.size_limit_bytes.is_some_and(|limit| end >= limit) {
            return true;
        }
        // Past the prepared zeros it is cheaper to go on in a new file, if one is ready; else this one grows.
        end + record as u64 > segment.allocated && self.options.prealloc_bytes > 0 && {
            self.fill.order();
            self.fill.ready()
        }
    }

    /// Begins `log.<zxid>`. What the old file still has to write stays in order before it.
    fn start_file(&mut self, zxid: Zxid) -> io::Result<()> {
        let path = self.dir.join(log_name(zxid));
        refuse_overwrite(&path)?;
        self.stats.segments += 1;
        let spare = match self.fill.take() {
            Some(spare) => spare,
            None => {
                self.stats.segments_unprepared += 1;
                zero_fill::make_head(&self.dir, self.options.direct, self.options.force_sync)?
            }
        };
        fs::rename(&spare.path, &path)?;
        self.fill.order();
        let mut buffer = self.spare_buffer();
        // The header is on disk already; it is part of the first block, which will be rewritten.
        buffer.extend(&file_header());
        let batch = Batch {
            file: Arc::new(spare.file),
            base: 0,
            buffer,
            up_to: zxid,
            dirty: false,
            new_name: true,
        };
        let old = self.segment.replace(Segment { path, allocated: spare.allocated, batch });
        if let Some(old) = old {
            if old.batch.dirty {
                self.queue.push_back(old.batch);
            } else {
                self.keep_buffer(old.batch.buffer);
            }
        }
        self.roll = false;
        Ok(())
    }

    fn spare_buffer(&mut self) -> AlignedBuffer {
        let mut buffer = self.buffers.pop().unwrap_or_default();
        buffer.clear();
        buffer
    }

    fn keep_buffer(&mut self, buffer: AlignedBuffer) {
        if self.buffers.len() < SPARE_BUFFERS && buffer.capacity() <= SPARE_BUFFER_BYTES_MAX {
            self.buffers.push(buffer);
        }
    }

    /// Whether something waits to be submitted.
    pub fn pending(&self) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.awaited == 0)
            || !self.queue.is_empty()
            || self.segment.as_ref().is_some_and(|segment| segment.batch.dirty)
    }

    /// Whether completions are awaited.
    pub fn in_flight(&self) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.awaited > 0)
    }

    /// Bytes appended and not yet submitted, to compare with
    /// [`crate::base::limits::LOG_BATCH_BYTES_MAX`].
    pub fn pending_bytes(&self) -> usize {
        let filling = self.segment.iter().map(|segment| &segment.batch).filter(|b| b.dirty);
        self.queue.iter().chain(filling).map(|batch| batch.buffer.len()).sum()
    }

    /// Pushes a durable write if something is pending and nothing is in flight. The chain must reach the
    /// kernel in one submission, so a queue without room for all of it gets none.
    pub fn submit_flush(&mut self, sq: &mut SubmissionQueue<'_>) -> Result<Submit, LogError> {
        if let Some(error) = &self.poison {
            return Err(error.clone());
        }
        if self.in_flight() || !self.pending() {
            return Ok(Submit::Nothing);
        }
        if sq.capacity() - sq.len() < LOG_ENTRIES_MAX {
            return Ok(Submit::RingFull);
        }
        let mut flight = match self.flight.take() {
            Some(incomplete) => incomplete,
            None => self.take_off(),
        };
        flight.whole = false;
        let written = flight.written;
        let rest = &flight.batch.buffer.padded()[written..];
        let write = opcode::Write::new(fd(&flight.batch.file), rest.as_ptr(), rest.len() as u32)
            .offset(flight.batch.base + written as u64)
            .rw_flags(if self.options.force_sync { libc::RWF_DSYNC } else { 0 })
            .build()
            .user_data(WRITE);
        let sync_dir = opcode::Fsync::new(fd(&self.dir_file)).build().user_data(SYNC_DIR);
        let chain: &[Entry] = match (self.options.force_sync, flight.batch.new_name) {
            (true, true) => &[write.flags(Flags::IO_LINK), sync_dir],
            _ => &[write],
        };
        // SAFETY: the buffer and the files the entries point to belong to `flight`, which stays in `self` until
        // every completion is in, and is leaked if the log is dropped before. The buffer is not touched meanwhile:
        // appends go to the segment's own.
        unsafe { sq.push_multiple(chain) }.expect("room was checked");
        flight.awaited = chain.len() as u32;
        self.flight = Some(flight);
        Ok(Submit::Queued)
    }

    /// Takes the oldest batch for the kernel; appends go on in a new buffer that starts with its last block.
    fn take_off(&mut self) -> Flight {
        let mut batch = match self.queue.pop_front() {
            Some(batch) => batch,
            None => {
                let buffer = self.spare_buffer();
                let segment = self.segment.as_mut().expect("pending without a segment");
                let tail = segment.batch.tail_into(buffer);
                std::mem::replace(&mut segment.batch, tail)
            }
        };
        Flight {
            length: batch.buffer.padded().len(),
            batch,
            written: 0,
            awaited: 0,
            whole: false,
            error: None,
            resubmits: 0,
            started: Instant::now(),
        }
    }

    /// Takes a completion that [`owns`] claims; answers when it was the last of its flush and the flush is through
    /// or the log is poisoned. After a short write the rest is pending again.
    pub fn complete(&mut self, user_data: u64, res: i32) -> Option<Result<Flushed, LogError>> {
        let flight = self.flight.as_mut().filter(|flight| flight.awaited > 0)?;
        flight.awaited -= 1;
        flight.note(user_data, res);
        if flight.awaited > 0 {
            return None;
        }
        if flight.error.is_none() && !flight.whole {
            flight.resubmits += 1;
            if flight.resubmits <= RESUBMITS_MAX {
                return None;
            }
            flight.error = Some(LogError::Write(0));
        }
        let flight = self.flight.take()?;
        let micros = flight.started.elapsed().as_micros() as u64;
        if let Some(error) = flight.error {
            self.poison = Some(error.clone());
            return Some(Err(error));
        }
        self.stats.flushes += 1;
        self.stats.flush_micros += micros;
        self.stats.flush_micros_max = self.stats.flush_micros_max.max(micros);
        let up_to = flight.batch.up_to;
        self.keep_buffer(flight.batch.buffer);
        Some(Ok(Flushed { up_to, micros }))
    }

    /// Makes the next append start a new file, as a snapshot wants it.
    pub fn roll(&mut self) {
        self.roll = self.segment.is_some();
    }

    /// Bytes of the current file that hold records, its header included; 0 before the first append.
    pub fn size_bytes(&self) -> u64 {
        self.segment.as_ref().map_or(0, |segment| segment.batch.end())
    }

    /// The file appended to.
    pub fn path(&self) -> Option<&Path> {
        self.segment.as_ref().map(|segment| segment.path.as_path())
    }

    /// Free space is below the reserve: refuse writes now, while what is under way still fits. At
    /// most about a tenth of a second old.
    pub fn space_low(&self) -> bool {
        self.fill.free() < self.options.reserve_bytes
    }

    /// Free space is well above the reserve again: writes may be taken without refusing them at once.
    pub fn space_ample(&self) -> bool {
        self.fill.free()
            >= self.options.reserve_bytes.saturating_add(self.options.reserve_bytes / 8)
    }

    pub fn poisoned(&self) -> Option<&LogError> {
        self.poison.as_ref()
    }

    pub fn stats(&self) -> LogStats {
        self.stats
    }
}

impl Flight {
    fn note(&mut self, user_data: u64, res: i32) {
        if user_data == WRITE {
            let asked = self.length - self.written;
            match res {
                // Interrupted or out of a resource for the moment: as a write of nothing.
                _ if res == -libc::EINTR || res == -libc::EAGAIN => {}
                _ if res == -libc::ENOSPC || res == -libc::EDQUOT => {
                    self.error = Some(LogError::DiskFull);
                }
                _ if res < 0 => self.error = Some(LogError::Write(-res)),
                _ if res as usize == asked => {
                    self.written = self.length;
                    self.whole = true;
                }
                // O_DIRECT goes on at a block boundary only.
                _ => self.written += res as usize / LOG_BLOCK * LOG_BLOCK,
            }
        } else if res < 0 && self.error.is_none() && (self.whole || res != -libc::ECANCELED) {
            // A link of the chain is cancelled when an earlier one fell short; anything else is the disk's word.
            self.error = Some(LogError::Sync(-res));
        }
    }
}

impl Drop for ProposalLog {
    fn drop(&mut self) {
        // The kernel may still read the buffer; leaking it costs a few kilobytes at the end of a process' life.
        if let Some(flight) = self.flight.take()
            && flight.awaited > 0
        {
            std::mem::forget(flight);
        }
    }
}

fn fd(file: &File) -> types::Fd {
    types::Fd(file.as_raw_fd())
}

/// A file of the wanted name may be there: its first record was torn, or none was written. One that holds a record
/// is history, and is never replaced.
fn refuse_overwrite(path: &Path) -> io::Result<()> {
    let bytes = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(file) => read_head(&file)?,
    };
    let records = bytes.get(LOG_HEADER_BYTES..).unwrap_or_default();
    match item_at(records, LOG_HEADER_BYTES as u64, None, RECORD_BYTES_MAX_DEFAULT) {
        LogItem::Record(_) | LogItem::Corrupt { .. } => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{} exists and is not empty", path.display()),
        )),
        LogItem::CleanEnd { .. } | LogItem::TornEnd { .. } => Ok(()),
    }
}

/// Enough of a file to see its first record whole.
fn read_head(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = LOG_HEADER_BYTES + RECORD_BYTES_MAX_DEFAULT + RECORD_OVERHEAD;
    io::Read::read_to_end(&mut io::Read::take(file, limit as u64), &mut bytes)?;
    Ok(bytes)
}
