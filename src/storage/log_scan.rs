//! Reading log files back, record by record and file by file (reference: disk-format 3.5, 3.6).

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::layout::{DataLayout, NamedFile};
use crate::base::Zxid;
use crate::wire::log_format::{
    Damage, Frame, LOG_HEADER_BYTES, LogItem, LogRecord, RECORD_HEAD_BYTES, check_file_header,
    file_header, judge_damage, parse_frame,
};
use crate::wire::txn::TxnHeader;

/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;

/// Why the log cannot be read on.
#[derive(Debug)]
pub enum ScanError {
    Io { path: PathBuf, error: io::Error },
    Damaged { path: PathBuf, offset: u64, damage: Damage },
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScanError::Io { path, error } => write!(f, "cannot read {}: {error}", path.display()),
            ScanError::Damaged { path, offset, damage } => write!(
                f,
                "transaction log {} is damaged at offset {offset}: {damage}. Restore the file from \
                 a copy; or, in an ensemble whose other servers are well, move this server's data \
                 directory away and let it synchronise anew",
                path.display()
            ),
        }
    }
}

impl std::error::Error for ScanError {}

/// What [`LogFile::step`] found; a payload is a range of the window.
enum Step {
    Record { offset: u64, header: TxnHeader, payload: Range<usize> },
    End,
    Corrupt { offset: u64, damage: Damage },
}

/// Reads one log file in a window, so that a file of any size costs the memory of its longest record.
pub struct LogFile {
    path: PathBuf,
    input: File,
    bytes: Vec<u8>,
    at: usize,
    /// Offset in the file of the window's first byte.
    base: u64,
    ended: bool,
    last: Option<Zxid>,
    payload_max: usize,
    /// Where a record begins that was being written when the file ended.
    torn_at: Option<u64>,
    /// The record read last: offset, header, payload in the window.
    record: Option<(u64, TxnHeader, Range<usize>)>,
}

impl LogFile {
    /// Opens a file and checks its header.
    pub fn open(path: &Path, payload_max: usize) -> Result<LogFile, ScanError> {
        let failed = |error| ScanError::Io { path: path.to_owned(), error };
        let input = File::open(path).map_err(failed)?;
        let mut file = LogFile {
            path: path.to_owned(),
            input,
            bytes: Vec::new(),
            at: 0,
            base: 0,
            ended: false,
            last: None,
            payload_max,
            torn_at: None,
            record: None,
        };
        file.fill(READ_BYTES).map_err(failed)?;
        check_file_header(&file.bytes).map_err(|damage| ScanError::Damaged {
            path: path.to_owned(),
            offset: 0,
            damage,
        })?;
        file.at = LOG_HEADER_BYTES;
        Ok(file)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next record is expected, in bytes from the start of the file.
    pub fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// The next record; `None` at a clean or torn end.
    pub fn read(&mut self) -> Result<Option<LogRecord<'_>>, ScanError> {
        match self.step() {
            Ok(Step::Record { offset, header, payload }) => {
                self.record = Some((offset, header, payload));
                Ok(self.record())
            }
            Ok(Step::End) => Ok(None),
            Ok(Step::Corrupt { offset, damage }) => {
                Err(ScanError::Damaged { path: self.path.clone(), offset, damage })
            }
            Err(error) => Err(ScanError::Io { path: self.path.clone(), error }),
        }
    }

    /// The record read last.
    pub fn record(&self) -> Option<LogRecord<'_>> {
        let (offset, header, payload) = self.record.as_ref()?;
        Some(LogRecord { offset: *offset, header: *header, payload: &self.bytes[payload.clone()] })
    }

    fn step(&mut self) -> io::Result<Step> {
        loop {
            match parse_frame(&self.bytes[self.at..], self.payload_max) {
                Frame::Record { header, payload } => {
                    let start = self.at + RECORD_HEAD_BYTES;
                    let payload = start..start + payload.len();
                    let offset = self.offset();
                    self.last = Some(header.zxid);
                    self.at = payload.end + 1;
                    return Ok(Step::Record { offset, header, payload });
                }
                Frame::Incomplete if !self.ended => self.fill(READ_BYTES)?,
                Frame::End if !self.ended && self.bytes.len() == self.at => {
                    self.fill(READ_BYTES)?;
                }
                Frame::End => return Ok(Step::End),
                Frame::Incomplete | Frame::Torn => return self.judge(None),
                Frame::Broken(damage) => return self.judge(Some(damage)),
            }
        }
    }

    /// All the rest of the file decides about a frame that is not whole.
    fn judge(&mut self, damage: Option<Damage>) -> io::Result<Step> {
        while !self.ended {
            self.fill(usize::MAX)?;
        }
        let rest = &self.bytes[self.at..];
        let judged = judge_damage(rest, self.offset(), self.last, self.payload_max, damage);
        Ok(match judged {
            LogItem::Corrupt { offset, damage } => Step::Corrupt { offset, damage },
            LogItem::TornEnd { offset } => {
                self.torn_at = Some(offset);
                Step::End
            }
            LogItem::Record(_) | LogItem::CleanEnd { .. } => Step::End,
        })
    }

    fn fill(&mut self, bytes: usize) -> io::Result<()> {
        self.record = None;
        self.bytes.drain(..self.at);
        self.base += self.at as u64;
        self.at = 0;
        let got = (&mut self.input).take(bytes as u64).read_to_end(&mut self.bytes)?;
        self.ended = got == 0;
        Ok(())
    }
}

/// Log files that hold `from` and what follows it: those named so or later, and the newest one before. `logs` is
/// sorted oldest first.
pub fn files_from(logs: &[NamedFile], from: Zxid) -> &[NamedFile] {
    let first = logs.iter().rposition(|file| file.zxid < from).unwrap_or(0);
    &logs[first..]
}

/// Whether a file is what a crash leaves of one that was just begun: nothing, or the start of a header. Such a file
/// is legal if it is the newest.
pub fn is_stillborn(path: &Path) -> io::Result<bool> {
    if fs::metadata(path)?.len() >= LOG_HEADER_BYTES as u64 {
        return Ok(false);
    }
    Ok(file_header().starts_with(&fs::read(path)?))
}

/// Walks the records of several files in order, from a zxid on.
pub struct LogScan {
    files: std::vec::IntoIter<NamedFile>,
    current: Option<LogFile>,
    from: Zxid,
    payload_max: usize,
    torn: Vec<TornTail>,
}

/// The end of a file that holds part of a flush that did not come to its end: nobody was told of any of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TornTail {
    pub path: PathBuf,
    /// Behind the last whole record, in bytes from the start of the file.
    pub offset: u64,
}

impl LogScan {
    /// Records with zxid `from` or above out of `logs`, sorted oldest first. The records before it are verified too.
    pub fn new(logs: &[NamedFile], from: Zxid, payload_max: usize) -> LogScan {
        let files = files_from(logs, from).to_vec().into_iter();
        LogScan { files, current: None, from, payload_max, torn: Vec::new() }
    }

    /// The torn ends of the files read so far.
    pub fn torn(&self) -> &[TornTail] {
        &self.torn
    }

    /// The next record with the file it is in; `None` after the last file.
    pub fn read(&mut self) -> Result<Option<(LogRecord<'_>, &Path)>, ScanError> {
        loop {
            if self.current.is_none() {
                let Some(file) = self.files.next() else { return Ok(None) };
                self.current = Some(LogFile::open(&file.path, self.payload_max)?);
            }
            let Some(file) = &mut self.current else { continue };
            let found = match file.read()? {
                Some(record) if record.header.zxid < self.from => continue,
                Some(_) => true,
                None => false,
            };
            if found {
                break;
            }
            if let Some(offset) = file.torn_at {
                self.torn.push(TornTail { path: file.path.clone(), offset });
            }
            self.current = None;
        }
        Ok(self.current.as_ref().and_then(|file| Some((file.record()?, file.path()))))
    }
}

/// The transactions after `after` up to `to`, with their bytes, out of the logs of `layout`. `None` if the logs do not
/// hold `after` itself and everything that follows, cannot be read, or hold more than `bytes_max` bytes of it.
///
/// A snapshot whose own last transaction is not logged came from a leader and took the place of what lies between the
/// log before it and the log after it. Where such a place is the end of an epoch, the zxids alone do not tell.
pub fn read_range(
    layout: &DataLayout,
    after: Zxid,
    to: Zxid,
    bytes_max: u64,
    payload_max: usize,
) -> Option<Vec<(Zxid, Vec<u8>)>> {
    let logs = layout.logs().ok()?;
    let snapshots = layout.snapshots().ok()?;
    let mut marks = snapshots.iter().map(|file| file.zxid).filter(|zxid| *zxid > after).peekable();
    let mut scan = LogScan::new(&logs, after, payload_max);
    let mut found = Vec::new();
    let (mut last, mut bytes) = (None, 0);
    // What cannot be read is no reason to stop: a learner is sent the tree instead.
    while let Ok(Some((record, _))) = scan.read() {
        let zxid = record.header.zxid;
        match last {
            None if zxid == after => {}
            None => return None,
            Some(last) if zxid == last => continue,
            Some(last) if zxid != last.next() && zxid.epoch() <= last.epoch() => return None,
            Some(_) => {
                if marks.peek().is_some_and(|mark| *mark < zxid) {
                    return None;
                }
                marks.next_if_eq(&zxid);
                bytes += record.payload.len() as u64;
                if bytes > bytes_max {
                    return None;
                }
                found.push((zxid, record.payload.to_vec()));
            }
        }
        last = Some(zxid);
        if zxid >= to {
            return Some(found);
        }
    }
    None
}
