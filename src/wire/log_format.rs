//! The transaction log's framing (reference: disk-format 3): a 16-byte file header, then records of checksum,
//! length, transaction and an end byte, then zeros or nothing.
//!
//! The format cannot tell a record that was being written when the power went from one that rotted later, so the
//! reader names what it found ([`LogItem`]) and refuses whatever a torn end does not explain: an acknowledged
//! transaction must never vanish silently. What explains it ([`judge_damage`]) is that nothing whole follows, or that
//! a sector was never written: many records go to disk in one flush, whose sectors a power failure keeps in any
//! combination, and the files are zeros before.

use std::fmt;

use super::jute::{DecodeError, Reader};
use super::txn::{TxnHeader, decode_txn};
use crate::base::Zxid;
use crate::base::limits::{JUTE_MAXBUFFER_DEFAULT, LOG_BATCH_BYTES_MAX};

pub const LOG_MAGIC: [u8; 4] = *b"ZKLG";
pub const LOG_VERSION: i32 = 2;
/// Bytes before the first record.
pub const LOG_HEADER_BYTES: usize = 16;
/// Checksum and length, before the payload.
pub const RECORD_HEAD_BYTES: usize = 12;
/// What framing adds to a payload: the head and the end byte.
pub const RECORD_OVERHEAD: usize = RECORD_HEAD_BYTES + 1;
pub const END_OF_RECORD: u8 = b'B';
/// Longest payload read when `jute.maxbuffer` and its extra size are not set, in bytes.
pub const RECORD_BYTES_MAX_DEFAULT: usize = 2 * JUTE_MAXBUFFER_DEFAULT;

/// What a disk writes whole or not at all, in bytes; larger sectors are several of these.
const SECTOR: usize = 512;
/// A sum's upper half is zeros: so many zeros in front of a sector's end say nothing.
const ZEROS_OF_A_SUM: usize = 4;

/// The 16 bytes every log file starts with.
pub fn file_header() -> [u8; LOG_HEADER_BYTES] {
    let mut header = [0; LOG_HEADER_BYTES];
    header[..4].copy_from_slice(&LOG_MAGIC);
    header[4..8].copy_from_slice(&LOG_VERSION.to_be_bytes());
    header
}

/// Checksum and length of a payload: what goes before it. The checksum covers the payload alone.
pub fn record_head(payload: &[u8]) -> [u8; RECORD_HEAD_BYTES] {
    let mut head = [0; RECORD_HEAD_BYTES];
    let sum = i64::from(simd_adler32::adler32(&payload));
    head[..8].copy_from_slice(&sum.to_be_bytes());
    head[8..].copy_from_slice(&(payload.len() as i32).to_be_bytes());
    head
}

/// Appends one framed record. `payload` is a whole transaction: header, record, digest if any.
pub fn encode_record(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend_from_slice(&record_head(payload));
    out.extend_from_slice(payload);
    out.push(END_OF_RECORD);
}

/// What is wrong with a file or a record, beyond what a torn end explains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// The file is shorter than its header; the number is its length in bytes.
    ShortHeader(usize),
    BadMagic([u8; 4]),
    /// Payload and checksum disagree.
    Checksum,
    /// A payload length of -1 or less, or above the limit.
    Length(i32),
    /// The frame is broken or cut and a whole later record follows at the given offset of the file: records
    /// would be lost if the log ended here.
    LostRecord {
        next_valid: u64,
    },
    /// The checksum is right but the payload is no transaction.
    Undecodable(DecodeError),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::ShortHeader(len) => write!(f, "file of {len} bytes has no log header"),
            Damage::BadMagic(magic) => {
                write!(f, "file starts with {magic:02x?}, not with the log magic ZKLG")
            }
            Damage::Checksum => write!(f, "checksum mismatch"),
            Damage::Length(len) => write!(f, "unreasonable record length {len}"),
            Damage::LostRecord { next_valid } => write!(
                f,
                "broken record in the middle of the log: a whole record follows at offset {next_valid}"
            ),
            Damage::Undecodable(error) => {
                write!(f, "checksummed record is no transaction: {error}")
            }
        }
    }
}

/// Checks the first bytes of a log file. An empty file is the caller's case, not an error of this function's.
pub fn check_file_header(bytes: &[u8]) -> Result<(), Damage> {
    let Some((magic, _)) = bytes.split_first_chunk::<4>() else {
        return Err(Damage::ShortHeader(bytes.len()));
    };
    if bytes.len() < LOG_HEADER_BYTES {
        return Err(Damage::ShortHeader(bytes.len()));
    }
    // Version and dbid are not looked at by Apache's reader; nor here.
    if *magic != LOG_MAGIC { Err(Damage::BadMagic(*magic)) } else { Ok(()) }
}

/// A verified record: the checksum matched and the payload decodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogRecord<'a> {
    /// Where its frame starts in the file.
    pub offset: u64,
    pub header: TxnHeader,
    /// The transaction's bytes, as they are proposed, logged and sent.
    pub payload: &'a [u8],
}

impl LogRecord<'_> {
    /// Bytes of the file it takes.
    pub fn framed_len(&self) -> usize {
        self.payload.len() + RECORD_OVERHEAD
    }

    /// Where the next record starts in the file.
    pub fn end(&self) -> u64 {
        self.offset + self.framed_len() as u64
    }
}

/// What stands at a position of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogItem<'a> {
    Record(LogRecord<'a>),
    /// The file ends here, or its padding of zeros starts.
    CleanEnd {
        offset: u64,
    },
    /// A record was being written here and nothing valid follows: legal at the end of every file, since nobody
    /// repairs it and new records go to a new file.
    TornEnd {
        offset: u64,
    },
    /// Damage that a torn end does not explain. The reader stays here.
    Corrupt {
        offset: u64,
        damage: Damage,
    },
}

/// What the bytes at the front of a slice are, as far as the slice alone can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    Record {
        header: TxnHeader,
        payload: &'a [u8],
    },
    /// No byte is left, or zeros stand where a record would start.
    End,
    /// The record goes on past the slice.
    Incomplete,
    /// The frame never got whole: length 0 under a checksum, or another end byte.
    Torn,
    Broken(Damage),
}

/// Looks at the front of `bytes`. `payload_max` is the longest payload accepted, in bytes.
pub fn parse_frame(bytes: &[u8], payload_max: usize) -> Frame<'_> {
    let mut r = Reader::new(bytes);
    let (Ok(sum), Ok(len)) = (r.long(), r.int()) else {
        // Fewer than 12 bytes: padding cut short, or the start of a record.
        return if bytes.is_empty() { Frame::End } else { Frame::Incomplete };
    };
    if len == 0 {
        return if sum == 0 { Frame::End } else { Frame::Torn };
    }
    let Ok(length) = usize::try_from(len) else { return Frame::Broken(Damage::Length(len)) };
    if length > payload_max {
        return Frame::Broken(Damage::Length(len));
    }
    let (Ok(payload), Ok(end)) = (r.bytes(length), r.bytes(1)) else { return Frame::Incomplete };
    // The end byte before the checksum: a tear shows as a wrong end byte, and must not read as corruption.
    if end[0] != END_OF_RECORD {
        return Frame::Torn;
    }
    if i64::from(simd_adler32::adler32(&payload)) != sum {
        return Frame::Broken(Damage::Checksum);
    }
    match decode_txn(payload) {
        Ok((header, _, _)) => Frame::Record { header, payload },
        Err(error) => Frame::Broken(Damage::Undecodable(error)),
    }
}

/// Decides about a frame that is not whole: incomplete at the end of the file or torn (`damage` is none), or broken.
/// `rest` is the file from `offset` to its end; `after` is the last zxid read before it.
///
/// It is a torn end if nothing whole follows and the frame itself is only torn; or if a sector between it and what
/// follows was never written, and all that follows fits in one flush. The flush was not acknowledged then: had it been,
/// every sector of it would be there.
pub fn judge_damage(
    rest: &[u8],
    offset: u64,
    after: Option<Zxid>,
    payload_max: usize,
    damage: Option<Damage>,
) -> LogItem<'static> {
    let used = rest.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    if used == 0 {
        // Padding that stops short of 12 bytes, at the end of the file.
        return LogItem::CleanEnd { offset };
    }
    let next = next_record(&rest[..used], after, payload_max);
    let one_flush = used <= LOG_BATCH_BYTES_MAX + payload_max + RECORD_OVERHEAD;
    if one_flush && misses_a_sector(rest, offset, next.unwrap_or(used)) {
        return LogItem::TornEnd { offset };
    }
    let lost = next.map(|start| Damage::LostRecord { next_valid: offset + start as u64 });
    match damage.or(lost) {
        Some(damage) => LogItem::Corrupt { offset, damage },
        None => LogItem::TornEnd { offset },
    }
}

/// The first whole, checksummed, decodable transaction newer than `after`, at any byte but the first: a broken frame's
/// own length may be what is wrong with it.
fn next_record(rest: &[u8], after: Option<Zxid>, payload_max: usize) -> Option<usize> {
    let starts = 1..rest.len().saturating_sub(RECORD_OVERHEAD);
    starts.into_iter().find(|&start| {
        let candidate = &rest[start..];
        candidate[..ZEROS_OF_A_SUM] == [0; ZEROS_OF_A_SUM]
            && matches!(parse_frame(candidate, payload_max), Frame::Record { header, .. }
                if after.is_none_or(|last| header.zxid > last))
    })
}

/// Whether one of the sectors that `rest[..end]` touches holds only zeros, from the start of `rest` on. What is before
/// it in the first sector was written by an earlier flush.
fn misses_a_sector(rest: &[u8], offset: u64, end: usize) -> bool {
    let mut start = 0;
    while start < end {
        let stop = start + SECTOR - (offset as usize + start) % SECTOR;
        let Some(piece) = rest.get(start..stop) else { return false };
        if piece.len() > ZEROS_OF_A_SUM && piece.iter().all(|&byte| byte == 0) {
            return true;
        }
        start = stop;
    }
    false
}

/// What stands at `offset` of a file; `rest` is all of it from there on, `after` the last zxid read before it.
pub fn item_at(rest: &[u8], offset: u64, after: Option<Zxid>, payload_max: usize) -> LogItem<'_> {
    match parse_frame(rest, payload_max) {
        Frame::Record { header, payload } => LogItem::Record(LogRecord { offset, header, payload }),
        Frame::End => LogItem::CleanEnd { offset },
        Frame::Incomplete | Frame::Torn => judge_damage(rest, offset, after, payload_max, None),
        Frame::Broken(damage) => judge_damage(rest, offset, after, payload_max, Some(damage)),
    }
}

/// Reads the records of a log file held in memory.
#[derive(Clone, Debug)]
pub struct RecordReader<'a> {
    file: &'a [u8],
    offset: usize,
    last: Option<Zxid>,
    payload_max: usize,
}

impl<'a> RecordReader<'a> {
    /// `file` is the whole file. Fails on a missing or wrong file header.
    pub fn new(file: &'a [u8], payload_max: usize) -> Result<RecordReader<'a>, Damage> {
        check_file_header(file)?;
        Ok(RecordReader { file, offset: LOG_HEADER_BYTES, last: None, payload_max })
    }

    /// Where the next record is expected, in bytes from the start of the file.
    pub fn offset(&self) -> u64 {
        self.offset as u64
    }

    /// The next item. Anything but a record ends the file: asking again answers the same.
    pub fn read(&mut self) -> LogItem<'a> {
        let rest = &self.file[self.offset..];
        let item = item_at(rest, self.offset as u64, self.last, self.payload_max);
        if let LogItem::Record(record) = &item {
            self.offset += record.framed_len();
            self.last = Some(record.header.zxid);
        }
        item
    }
}
