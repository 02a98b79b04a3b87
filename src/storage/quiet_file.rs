//! A large file that leaves the disk to others: the log's flushes on the same disk wait for little of it.

use std::fs::File;
use std::io::{self, Write};

use super::os;

/// A file whose dirty part of the page cache stays small: one large writeback at the end would hold up the log's
/// fsyncs on the same disk for as long as it takes.
pub struct QuietFile {
    file: File,
    /// Dirty bytes before they are pushed to the disk; what was pushed before is then awaited. A flush of the log finds
    /// at most two of these before it in the disk's queue.
    piece_bytes: u64,
    at: u64,
    /// Up to here writing out has been started.
    pushed: u64,
    /// Up to here it has come to its end.
    awaited: u64,
}

impl QuietFile {
    /// `file` is empty, and is written from its beginning.
    pub fn new(file: File, piece_bytes: u64) -> QuietFile {
        QuietFile { file, piece_bytes, at: 0, pushed: 0, awaited: 0 }
    }

    /// Makes everything written durable; returns how many bytes that is.
    pub fn sync(&mut self) -> io::Result<u64> {
        self.file.sync_all()?;
        os::drop_cache(&self.file, 0, 0);
        Ok(self.at)
    }
}

impl Write for QuietFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.at += n as u64;
        if self.at - self.pushed >= self.piece_bytes {
            os::write_out(&self.file, self.pushed, self.at - self.pushed, false)?;
            if self.awaited < self.pushed {
                os::write_out(&self.file, self.awaited, self.pushed - self.awaited, true)?;
                os::drop_cache(&self.file, self.awaited, self.pushed - self.awaited);
                self.awaited = self.pushed;
            }
            self.pushed = self.at;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
