//! Reading snapshots into a sink, streaming (reference: disk-format 7).
//!
//! Records are decoded in place from a window over the uncompressed stream. A sink is told about nodes before the
//! checksum over them is known: it must be fresh, and is thrown away when the reading fails.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::{fmt, mem};

use simd_adler32::Adler32;

use super::snapshot_codec::{Compression, decoder};
use crate::base::{SessionId, Zxid};
use crate::wire::snapshot_format::{
    DigestSection, NodeRecord, TRAILER_BYTES_MAX, Trailer, decode_acl, decode_count, decode_header,
    decode_node, decode_session,
};
use crate::wire::{DecodeError, Reader};

/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;

/// Why a sink does not take what the snapshot says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SinkError {
    /// This snapshot is unusable, an older one may do (a node without its parent).
    Unusable(String),
    /// No snapshot will do (an owner that no setting allows): the start ends here.
    Fatal(String),
}

/// Takes what a snapshot holds, in file order.
pub trait SnapshotSink {
    fn session(&mut self, id: SessionId, timeout_ms: i32) -> Result<(), SinkError>;
    /// `list` is an encoded `vector<ACL>`.
    fn acl(&mut self, id: i64, list: &[u8]) -> Result<(), SinkError>;
    fn node(&mut self, node: &NodeRecord<'_>) -> Result<(), SinkError>;
}

/// What a snapshot said besides its content.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SnapshotInfo {
    pub sessions: u64,
    pub acls: u64,
    pub nodes: u64,
    /// Uncompressed bytes.
    pub bytes: u64,
    /// The digest to compare with once replay reaches its zxid; absent, or zxid 0 and digest 0, means none.
    pub digest: Option<DigestSection>,
    /// lastProcessedZxid at the end of writing. A start goes by the file's name instead: this one may be ahead of
    /// what the file completely holds.
    pub last_zxid: Option<Zxid>,
}

/// Why a snapshot could not be read. Offsets are bytes of the uncompressed stream.
#[derive(Debug)]
pub enum SnapshotError {
    Io(io::Error),
    /// The bytes are no snapshot, are cut, or do not match their checksum.
    Corrupt {
        offset: u64,
        error: DecodeError,
    },
    Sink(SinkError),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotError::Io(error) => write!(f, "{error}"),
            SnapshotError::Corrupt { offset, error } => write!(f, "at offset {offset}: {error}"),
            SnapshotError::Sink(SinkError::Unusable(why) | SinkError::Fatal(why)) => {
                write!(f, "{why}")
            }
        }
    }
}

impl std::error::Error for SnapshotError {}

impl From<SinkError> for SnapshotError {
    fn from(error: SinkError) -> SnapshotError {
        SnapshotError::Sink(error)
    }
}

/// Reads the snapshot file at `path`; its suffix tells the compression.
pub fn read(
    path: &Path,
    buffer_max: usize,
    sink: &mut impl SnapshotSink,
) -> Result<SnapshotInfo, SnapshotError> {
    let file = File::open(path).map_err(SnapshotError::Io)?;
    read_from(file, Compression::of_path(path), buffer_max, sink)
}

/// Reads a snapshot from a stream to its end. Strings and buffers longer than `buffer_max` bytes are refused.
pub fn read_from(
    input: impl Read,
    compression: Compression,
    buffer_max: usize,
    sink: &mut impl SnapshotSink,
) -> Result<SnapshotInfo, SnapshotError> {
    let input = decoder(input, compression).map_err(SnapshotError::Io)?;
    let mut window = Window::new(input, buffer_max);
    let mut info = SnapshotInfo::default();
    window.record(decode_header)?;
    info.sessions = window.record(decode_count)? as u64;
    for _ in 0..info.sessions {
        let (id, timeout_ms) = window.record(decode_session)?;
        sink.session(id, timeout_ms)?;
    }
    info.acls = window.record(decode_count)? as u64;
    for _ in 0..info.acls {
        window.record(|r| {
            let (id, list) = decode_acl(r)?;
            Ok(sink.acl(id, list.as_bytes()))
        })??;
    }
    loop {
        let taken =
            window.record(|r| Ok(decode_node(r, buffer_max)?.map(|node| sink.node(&node))))?;
        match taken {
            None => break,
            Some(result) => result?,
        }
        info.nodes += 1;
    }
    let (trailer, bytes) = window.trailer()?;
    info.bytes = bytes;
    info.digest = trailer.digest;
    info.last_zxid = trailer.last_zxid;
    Ok(info)
}

/// The part of the stream that is being decoded.
struct Window<R> {
    input: R,
    bytes: Vec<u8>,
    /// Decoded up to here.
    at: usize,
    /// In the checksum up to here.
    summed: usize,
    /// Offset in the stream of the window's first byte.
    base: u64,
    sum: Adler32,
    ended: bool,
    record_max: usize,
}

impl<R: Read> Window<R> {
    fn new(input: R, buffer_max: usize) -> Window<R> {
        Window {
            input,
            bytes: Vec::with_capacity(2 * READ_BYTES),
            at: 0,
            summed: 0,
            base: 0,
            sum: Adler32::new(),
            ended: false,
            // A node is a path, its data and fixed fields; an ACL list is bounded by a request's size.
            record_max: 2 * buffer_max + READ_BYTES,
        }
    }

    fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    fn corrupt(&self, error: DecodeError) -> SnapshotError {
        SnapshotError::Corrupt { offset: self.offset(), error }
    }

    /// Decodes one record, reading on when the window ends inside it. `decode` must leave no effect when it fails.
    fn record<T>(
        &mut self,
        mut decode: impl FnMut(&mut Reader<'_>) -> Result<T, DecodeError>,
    ) -> Result<T, SnapshotError> {
        loop {
            let mut r = Reader::new(&self.bytes[self.at..]);
            match decode(&mut r) {
                Ok(value) => {
                    self.at = self.bytes.len() - r.rest().len();
                    return Ok(value);
                }
                Err(DecodeError::EndOfData) if !self.ended => {
                    if self.bytes.len() - self.at > self.record_max {
                        return Err(self.corrupt(DecodeError::BadValue("record length")));
                    }
                    self.fill()?;
                }
                Err(error) => return Err(self.corrupt(error)),
            }
        }
    }

    /// Drops what is decoded and reads about as much again.
    fn fill(&mut self) -> Result<(), SnapshotError> {
        self.sum_up();
        self.bytes.drain(..self.at);
        self.base += self.at as u64;
        self.summed -= self.at;
        self.at = 0;
        let mut part = (&mut self.input).take(READ_BYTES as u64);
        let got = part.read_to_end(&mut self.bytes).map_err(SnapshotError::Io)?;
        self.ended = got == 0;
        Ok(())
    }

    fn sum_up(&mut self) {
        self.sum.write(&self.bytes[self.summed..self.at]);
        self.summed = self.at;
    }

    /// Everything after the nodes, to the end of the stream; and the stream's length.
    fn trailer(&mut self) -> Result<(Trailer, u64), SnapshotError> {
        while !self.ended && self.bytes.len() - self.at <= TRAILER_BYTES_MAX {
            self.fill()?;
        }
        self.sum_up();
        let mut sum = mem::take(&mut self.sum);
        let rest = &self.bytes[self.at..];
        let trailer = Trailer::decode(rest, &mut sum).map_err(|error| self.corrupt(error))?;
        Ok((trailer, self.base + self.bytes.len() as u64))
    }
}
