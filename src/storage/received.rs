//! A snapshot that comes from the leader: its bytes become a snapshot file as they are received.
//!
//! ```text
//! file durable under a passing name ─► log cut after its zxid ─► renamed ─► later snapshots removed
//! ```
//!
//! A crash leaves the history of before, perhaps without a tail that no quorum has; never a log that goes on behind the
//! snapshot with what the leader does not know (reference: zab 18, "SNAP-below-log").

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use simd_adler32::Adler32;

use super::layout::{DataLayout, PRIVATE_PREFIX, snapshot_name};
use super::quiet_file::QuietFile;
use super::snapshot_codec::Compression;
use super::{os, truncate};
use crate::base::Zxid;
use crate::wire::snapshot_format::{DigestSection, Trailer, encode_header};

/// Bytes gathered before they are written and pushed to the disk: a single flush at the end would hold up the flushes
/// of everybody on the disk for as long as it takes.
const CHUNK_BYTES: usize = 512 << 10;

/// Being written. Dropped unfinished it leaves a passing file, which the next start sweeps.
pub struct ReceivedSnapshot {
    zxid: Zxid,
    passing: PathBuf,
    file: QuietFile,
    sum: Adler32,
    chunk: Vec<u8>,
}

impl std::fmt::Debug for ReceivedSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReceivedSnapshot({})", self.zxid)
    }
}

impl ReceivedSnapshot {
    pub fn begin(layout: &DataLayout, zxid: Zxid) -> io::Result<ReceivedSnapshot> {
        let passing = layout.snap_dir.join(format!("{PRIVATE_PREFIX}snapshot.received"));
        let file = QuietFile::new(File::create(&passing)?, CHUNK_BYTES as u64);
        let mut chunk = Vec::with_capacity(2 * CHUNK_BYTES);
        encode_header(&mut chunk);
        Ok(ReceivedSnapshot { zxid, passing, file, sum: Adler32::new(), chunk })
    }

    /// Bytes of the stream, from the session table to the end of the nodes.
    pub fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= CHUNK_BYTES { self.write_out() } else { Ok(()) }
    }

    fn write_out(&mut self) -> io::Result<()> {
        self.sum.write(&self.chunk);
        self.file.write_all(&self.chunk)?;
        self.chunk.clear();
        Ok(())
    }

    /// Puts it in place, durably; blocks. `last` is the newest transaction that it names. Its digest section, if one is
    /// asked for, says that nobody knows it: which later changes the stream holds cannot be seen in it. The proposal
    /// log must not be open.
    pub fn adopt(
        mut self,
        layout: &DataLayout,
        last: Zxid,
        digest_section: bool,
        zxid_section: bool,
        buffer_max: usize,
    ) -> io::Result<()> {
        self.write_out()?;
        let digest = digest_section.then_some(DigestSection::UNKNOWN);
        let trailer = Trailer { digest, last_zxid: zxid_section.then_some(last) };
        trailer.encode(&mut self.chunk, &mut self.sum);
        self.file.write_all(&self.chunk)?;
        self.file.sync()?;
        truncate::cut_logs(layout, self.zxid, buffer_max).map_err(io::Error::other)?;
        let path = layout.snap_dir.join(snapshot_name(self.zxid, Compression::Plain));
        fs::rename(&self.passing, &path)?;
        os::sync_dir(&layout.snap_dir)?;
        for later in layout.snapshots()?.into_iter().filter(|file| file.zxid > self.zxid) {
            fs::remove_file(&later.path)?;
        }
        os::sync_dir(&layout.snap_dir)
    }

    /// The stream has ended early.
    pub fn abandon(self) {
        // The next start sweeps it otherwise.
        let _ = fs::remove_file(&self.passing);
    }
}
