//! What a connection has still to send: copies, shared pieces, streams of side threads, in order.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::stream::{Next, StreamReader};
use crate::base::MonoMs;

/// Shared pieces below this many bytes are copied: a piece of its own costs the kernel more.
const SHARE_BYTES_MIN: usize = 1024;
/// Copies are gathered up to this many bytes.
const OWNED_BYTES_MAX: usize = 256 << 10;
/// Pieces that one system call takes.
const PIECES_MAX: usize = 64;
/// Bytes of a stream that are taken ahead of the socket.
const STREAM_BYTES_HIGH: usize = 1 << 20;

enum Piece {
    Owned(Vec<u8>),
    Shared(Arc<Vec<u8>>, Range<usize>),
    Stream(StreamReader),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Piece::Owned(bytes) => bytes,
            Piece::Shared(bytes, range) => &bytes[range.clone()],
            Piece::Stream(_) => &[],
        }
    }
}

/// Pieces that the kernel has, with the list that it reads. Boxed: nothing moves while it is in flight.
pub(super) struct Flight {
    pieces: Vec<Piece>,
    /// Bytes of the first piece that were sent before.
    sent: usize,
    iovecs: Vec<libc::iovec>,
    pub message: libc::msghdr,
}

// SAFETY: the pointers lead into the flight's own pieces, which go wherever it goes; nothing else uses them.
unsafe impl Send for Flight {}

/// Owned by its connection.
#[derive(Default)]
pub(super) struct Output {
    queue: VecDeque<Piece>,
    /// Bytes of the queue's first piece that were sent before.
    sent: usize,
    /// Bytes that the kernel has not taken yet, those in flight included.
    queued: usize,
    /// Streams in the queue.
    streams: usize,
    /// A stream ended before its time.
    pub broken: bool,
    /// Pieces put in since some left last, and when the first of them was.
    put: i64,
    put_since: MonoMs,
}

impl Output {
    pub fn push(&mut self, bytes: &[u8]) {
        self.queued += bytes.len();
        match self.queue.back_mut() {
            Some(Piece::Owned(last)) if last.len() + bytes.len() <= OWNED_BYTES_MAX => {
                last.extend_from_slice(bytes);
            }
            _ => self.queue.push_back(Piece::Owned(bytes.to_vec())),
        }
    }

    pub fn push_shared(&mut self, bytes: &Arc<Vec<u8>>, range: Range<usize>) {
        if range.len() < SHARE_BYTES_MIN {
            self.push(&bytes[range]);
        } else {
            self.queued += range.len();
            self.queue.push_back(Piece::Shared(bytes.clone(), range));
        }
    }

    pub fn push_stream(&mut self, stream: StreamReader) {
        self.streams += 1;
        self.queue.push_back(Piece::Stream(stream));
    }

    /// A piece was put in.
    pub fn note_put(&mut self, now: MonoMs) {
        if self.put == 0 {
            self.put_since = now;
        }
        self.put += 1;
    }

    /// Pieces that leave now, and since when the oldest waited.
    pub fn take_put(&mut self) -> Option<(i64, MonoMs)> {
        let put = std::mem::take(&mut self.put);
        (put > 0).then_some((put, self.put_since))
    }

    pub fn has_stream(&self) -> bool {
        self.streams > 0
    }

    pub fn queued(&self) -> usize {
        self.queued
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Nobody waits for it any more.
    pub fn clear(&mut self) {
        self.queue.clear();
        (self.sent, self.queued, self.streams) = (0, 0, 0);
    }

    /// Turns what the stream at the front has ready into pieces before it.
    fn draw(&mut self) {
        let mut drawn = VecDeque::new();
        let mut bytes = 0;
        while let Some(Piece::Stream(stream)) = self.queue.front() {
            match stream.next() {
                Next::Bytes(piece) => {
                    bytes += piece.len();
                    drawn.push_back(Piece::Owned(piece));
                }
                Next::Nothing => break,
                Next::End => {
                    self.streams -= 1;
                    self.queue.pop_front();
                }
                Next::Broken => {
                    self.clear();
                    self.broken = true;
                    return;
                }
            }
            if bytes >= STREAM_BYTES_HIGH {
                break;
            }
        }
        self.queued += bytes;
        while let Some(piece) = drawn.pop_back() {
            self.queue.push_front(piece);
        }
    }

    /// Takes the front of the queue for the kernel; `None` when nothing can be sent now.
    pub fn take_off(&mut self) -> Option<Box<Flight>> {
        self.draw();
        let mut pieces = Vec::new();
        while pieces.len() < PIECES_MAX
            && !matches!(self.queue.front(), None | Some(Piece::Stream(_)))
        {
            pieces.extend(self.queue.pop_front());
        }
        if pieces.is_empty() {
            return None;
        }
        // SAFETY: zero is a valid value of the plain C structure.
        let message = unsafe { std::mem::zeroed() };
        let sent = std::mem::take(&mut self.sent);
        let mut flight = Box::new(Flight { pieces, sent, iovecs: Vec::new(), message });
        let mut skip = flight.sent;
        flight.iovecs = flight
            .pieces
            .iter()
            .map(|piece| {
                let bytes = &piece.bytes()[std::mem::take(&mut skip)..];
                libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
            })
            .collect();
        flight.message.msg_iov = flight.iovecs.as_mut_ptr();
        flight.message.msg_iovlen = flight.iovecs.len();
        Some(flight)
    }

    /// The kernel has sent `count` bytes of the flight; the rest goes back to the front.
    pub fn landed(&mut self, flight: Flight, count: usize) {
        self.queued -= count;
        let mut left = count + flight.sent;
        let mut rest = VecDeque::new();
        for piece in flight.pieces {
            let length = piece.bytes().len();
            if left >= length && rest.is_empty() {
                left -= length;
            } else {
                rest.push_back(piece);
            }
        }
        if !rest.is_empty() {
            self.sent = left;
        }
        while let Some(piece) = rest.pop_back() {
            self.queue.push_front(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    /// One send of which the kernel takes a part.
    fn take(output: &mut Output, prng: &mut Prng, got: &mut Vec<u8>) {
        let Some(flight) = output.take_off() else { return };
        let mut offered = Vec::new();
        for iovec in &flight.iovecs {
            // SAFETY: it leads into a piece of the flight, which lives.
            let bytes = unsafe { std::slice::from_raw_parts(iovec.iov_base.cast(), iovec.iov_len) };
            offered.extend_from_slice(bytes);
        }
        let count = prng.below(offered.len() as u64 + 1) as usize;
        got.extend_from_slice(&offered[..count]);
        output.landed(*flight, count);
    }

    #[test]
    fn whatever_part_the_kernel_takes_nothing_is_lost_or_sent_twice() {
        for seed in 0..200 {
            let (mut prng, mut output) = (Prng::new(seed), Output::default());
            let (mut expected, mut got) = (Vec::new(), Vec::new());
            for _ in 0..60 {
                let length = prng.below(3000) as usize;
                let bytes: Vec<u8> = (0..length).map(|_| prng.next_u64() as u8).collect();
                expected.extend_from_slice(&bytes);
                match prng.below(2) {
                    0 => output.push(&bytes),
                    _ => output.push_shared(&Arc::new(bytes), 0..length),
                }
                if prng.below(3) == 0 {
                    take(&mut output, &mut prng, &mut got);
                }
            }
            while !output.is_empty() {
                take(&mut output, &mut prng, &mut got);
            }
            assert!(got == expected, "seed {seed}");
            assert_eq!(output.queued(), 0, "seed {seed}");
        }
    }
}
