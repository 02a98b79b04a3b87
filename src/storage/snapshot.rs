//! Writing snapshots (reference: disk-format 7, 8), on a side thread or into a stream to a peer.
//!
//! The tree goes on changing meanwhile; the name's zxid was read first and everything up to it is in the file, so
//! replay from the next one repairs the rest. Always a passing name, fsync, rename, fsync of the directory: a crash
//! never costs an older snapshot of the same name, as writing in place does.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use simd_adler32::Adler32;

use super::layout::{PRIVATE_PREFIX, snapshot_name};
use super::os;
use super::quiet_file::QuietFile;
use super::snapshot_codec::{Compression, Encoder};
use crate::base::{SessionId, Zxid};
use crate::wire::JuteWrite;
use crate::wire::snapshot_format::{
    DigestSection, SNAP_SIGNATURE, TERMINATOR, Trailer, encode_acls, encode_header, encode_sessions,
};

/// Nodes asked of the source at once.
const CHUNK_NODES: usize = 512;
/// Bytes gathered before they are checksummed and written, and written before they are pushed to the disk: what a flush
/// of the log may have to wait for.
const CHUNK_BYTES: usize = 64 << 10;
/// Bytes gathered before they are sent to a learner.
const STREAM_CHUNK_BYTES: usize = 256 << 10;

/// What a snapshot is taken from. Everything must be captured in the order of the methods: zxid, sessions, ACLs,
/// then nodes; a node's ACL that came later than the map is legal.
pub trait SnapshotSource: Send {
    /// The last applied zxid, read before anything else was captured: the name.
    fn zxid(&self) -> Zxid;
    /// Global sessions with their timeouts in milliseconds.
    fn sessions(&self) -> &[(SessionId, i32)];
    /// ACL ids with their encoded lists.
    fn acls(&self) -> &[(i64, Vec<u8>)];
    /// Appends at most `max_nodes` encoded nodes ([`crate::wire::snapshot_format::NodeRecord`]), parents before
    /// children, the root first with an empty path. False when no node is left.
    fn next_chunk(&mut self, max_nodes: usize, out: &mut Vec<u8>) -> bool;
    /// Last applied zxid and tree digest now, after the last node; (0, 0) if nothing was applied since load.
    fn end_state(&self) -> (Zxid, u64);
    /// Nobody wants it any more: writing it fails, and leaves nothing behind.
    fn is_given_up(&self) -> bool {
        false
    }
    /// Whether the tree had no changes from behind its zxid when the walk began: else its digest is that of no zxid.
    fn is_exact(&self) -> bool;
}

/// Settings that touch snapshots.
#[derive(Clone, Debug)]
pub struct SnapshotOptions {
    pub compression: Compression,
    /// `digest.enabled`: Apache 3.9 reads by its own setting, so the section must be there exactly when it is on.
    pub digest: bool,
    /// `serializeLastProcessedZxid.enabled`.
    pub last_zxid_section: bool,
    /// Bytes per second of uncompressed snapshot; 0 is unbounded. Keeps the log's disk free for its fsyncs.
    pub rate_limit_bytes_per_s: u64,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        SnapshotOptions {
            compression: Compression::Plain,
            digest: true,
            last_zxid_section: true,
            rate_limit_bytes_per_s: 0,
        }
    }
}

/// A finished snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotWritten {
    pub path: PathBuf,
    pub zxid: Zxid,
    /// Uncompressed bytes.
    pub bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    pub took: Duration,
}

/// Writes `snapshot.<zxid>` into `dir` (`<dataDir>/version-2`) and returns when it is durable under its name. On
/// error the passing file is removed and older snapshots are as they were. Blocks: call it on a side thread.
pub fn write(
    dir: &Path,
    source: &mut dyn SnapshotSource,
    options: &SnapshotOptions,
) -> io::Result<SnapshotWritten> {
    let started = Instant::now();
    let zxid = source.zxid();
    let name = snapshot_name(zxid, options.compression);
    let temp = dir.join(format!("{PRIVATE_PREFIX}{name}"));
    let path = dir.join(name);
    let written = write_file(&temp, source, options).and_then(|sizes| {
        refuse_given_up(source)?;
        fs::rename(&temp, &path)?;
        os::sync_dir(dir)?;
        Ok(sizes)
    });
    match written {
        Ok((bytes, file_bytes)) => {
            Ok(SnapshotWritten { path, zxid, bytes, file_bytes, took: started.elapsed() })
        }
        Err(error) => {
            // The first error is the one to tell; the next start sweeps what could not be removed.
            let _ = fs::remove_file(&temp);
            Err(error)
        }
    }
}

fn write_file(
    temp: &Path,
    source: &mut dyn SnapshotSource,
    options: &SnapshotOptions,
) -> io::Result<(u64, u64)> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(temp)?;
    let mut quiet = QuietFile::new(file, CHUNK_BYTES as u64);
    let bytes = write_to(&mut quiet, source, options)?;
    Ok((bytes, quiet.sync()?))
}

/// Writes the tree as a learner gets it behind a SNAP: no header, no seals (reference: zab 6).
pub fn stream(out: &mut impl Write, source: &mut dyn SnapshotSource) -> io::Result<()> {
    let mut chunk = Vec::new();
    put_tree(&mut chunk, STREAM_CHUNK_BYTES, source, |bytes| out.write_all(bytes))?;
    chunk.put_buffer(Some(SNAP_SIGNATURE));
    out.write_all(&chunk)
}

fn refuse_given_up(source: &dyn SnapshotSource) -> io::Result<()> {
    match source.is_given_up() {
        true => Err(io::Error::new(io::ErrorKind::Interrupted, "the snapshot is given up")),
        false => Ok(()),
    }
}

/// Sessions, ACLs, nodes and their end, behind what `chunk` holds. Chunks that are full with `chunk_bytes` are given to
/// `put`; the last one stays.
fn put_tree(
    chunk: &mut Vec<u8>,
    chunk_bytes: usize,
    source: &mut dyn SnapshotSource,
    mut put: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    chunk.reserve(chunk_bytes + chunk_bytes / 4);
    encode_sessions(chunk, source.sessions());
    encode_acls(chunk, source.acls());
    while source.next_chunk(CHUNK_NODES, chunk) {
        if chunk.len() >= chunk_bytes {
            put(chunk)?;
            chunk.clear();
        }
        refuse_given_up(source)?;
    }
    chunk.extend_from_slice(&TERMINATOR);
    Ok(())
}

/// Writes the snapshot into a stream: what a file holds. Returns the uncompressed bytes.
pub fn write_to(
    out: impl Write,
    source: &mut dyn SnapshotSource,
    options: &SnapshotOptions,
) -> io::Result<u64> {
    let mut out = Summed {
        encoder: Encoder::new(out, options.compression)?,
        sum: Adler32::new(),
        bytes: 0,
        pace: Pace::new(options.rate_limit_bytes_per_s),
    };
    let mut chunk = Vec::new();
    encode_header(&mut chunk);
    put_tree(&mut chunk, CHUNK_BYTES, source, |bytes| out.put(bytes))?;
    out.put(&chunk)?;
    chunk.clear();
    let (last_zxid, digest) = source.end_state();
    let trailer = Trailer {
        digest: options.digest.then(|| match source.is_exact() {
            true => DigestSection::new(last_zxid, digest),
            false => DigestSection::UNKNOWN,
        }),
        last_zxid: options.last_zxid_section.then(|| last_zxid.max(source.zxid())),
    };
    trailer.encode(&mut chunk, &mut out.sum);
    out.put_sealed(&chunk)?;
    let bytes = out.bytes;
    out.encoder.finish()?.flush()?;
    Ok(bytes)
}

/// A stream with the running checksum of what went into it.
struct Summed<W: Write> {
    encoder: Encoder<W>,
    sum: Adler32,
    bytes: u64,
    pace: Pace,
}

impl<W: Write> Summed<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.write(bytes);
        self.put_sealed(bytes)
    }

    /// Bytes that are in the sum already.
    fn put_sealed(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.encoder.write_all(bytes)?;
        self.pace.wait(self.bytes);
        Ok(())
    }
}

/// Holds a stream to a number of bytes per second.
struct Pace {
    started: Instant,
    bytes_per_s: u64,
}

impl Pace {
    fn new(bytes_per_s: u64) -> Pace {
        Pace { started: Instant::now(), bytes_per_s }
    }

    fn wait(&self, bytes: u64) {
        if self.bytes_per_s == 0 {
            return;
        }
        let due = Duration::from_secs_f64(bytes as f64 / self.bytes_per_s as f64);
        thread::sleep(due.saturating_sub(self.started.elapsed()));
    }
}
