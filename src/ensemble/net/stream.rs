//! A side thread's way into a connection: it waits while the connection has enough to send.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use crate::ensemble::EventFd;
use crate::pipeline::Wake;

/// Pieces that wait for the connection.
const PIECES: usize = 4;
/// Longest piece: 1 MiB waits at most.
const PIECE_BYTES_MAX: usize = 256 << 10;

enum Piece {
    Bytes(Vec<u8>),
    End,
}

/// Held by the side thread. Dropped without [`StreamWriter::finish`] it closes the connection.
pub struct StreamWriter {
    sender: SyncSender<Piece>,
    wake: EventFd,
}

impl std::fmt::Debug for StreamWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StreamWriter")
    }
}

pub(super) struct StreamReader(Receiver<Piece>);

pub(super) fn stream(wake: EventFd) -> (StreamWriter, StreamReader) {
    let (sender, receiver) = sync_channel(PIECES);
    (StreamWriter { sender, wake }, StreamReader(receiver))
}

impl StreamWriter {
    fn put(&mut self, piece: Piece) -> io::Result<()> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the connection is gone");
        self.sender.send(piece).map_err(gone)?;
        self.wake.wake();
        Ok(())
    }

    /// Everything was written.
    pub fn finish(mut self) -> io::Result<()> {
        self.put(Piece::End)
    }
}

impl Write for StreamWriter {
    /// Blocks while enough waits to be sent.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(PIECE_BYTES_MAX);
        self.put(Piece::Bytes(bytes[..length].to_vec()))?;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        // The core looks at the channel, and finds it closed.
        self.wake.wake();
    }
}

/// What a look into the stream finds.
pub(super) enum Next {
    Bytes(Vec<u8>),
    Nothing,
    End,
    /// The writer is gone without having finished.
    Broken,
}

impl StreamReader {
    pub fn next(&self) -> Next {
        match self.0.try_recv() {
            Ok(Piece::Bytes(bytes)) => Next::Bytes(bytes),
            Ok(Piece::End) => Next::End,
            Err(TryRecvError::Empty) => Next::Nothing,
            Err(TryRecvError::Disconnected) => Next::Broken,
        }
    }
}
