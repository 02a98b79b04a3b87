//! One log file being written: the batch buffer at its end and the file itself.
//!
//! Writes are whole, aligned blocks: the last, partly filled block stays in memory and is written again, longer,
//! with the next flush. Rewriting it puts the same bytes over the old ones, so a torn rewrite loses nothing that was
//! durable before.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::Zxid;
use crate::base::limits::LOG_BLOCK;

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Block([u8; LOG_BLOCK]);

const _: () = assert!(size_of::<Block>() == LOG_BLOCK && align_of::<Block>() == LOG_BLOCK);

/// Bytes at an address that O_DIRECT accepts. Grows; what is beyond `len` may be left over from earlier use.
#[derive(Default)]
pub struct AlignedBuffer {
    blocks: Vec<Block>,
    len: usize,
}

impl AlignedBuffer {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Bytes it holds without growing.
    pub fn capacity(&self) -> usize {
        self.blocks.len() * LOG_BLOCK
    }

    /// Everything, left-over bytes included.
    fn all(&self) -> &[u8] {
        // SAFETY: `Block` is `repr(C)` around bytes, its size equals its array's, so the blocks of the vector are
        // contiguous initialised bytes. Vec has no safe way to give bytes a larger alignment.
        unsafe { std::slice::from_raw_parts(self.blocks.as_ptr().cast(), self.capacity()) }
    }

    fn all_mut(&mut self) -> &mut [u8] {
        let bytes = self.capacity();
        // SAFETY: as in `all`; the borrow is exclusive and any byte value is valid.
        unsafe { std::slice::from_raw_parts_mut(self.blocks.as_mut_ptr().cast(), bytes) }
    }

    pub fn extend(&mut self, bytes: &[u8]) {
        let (start, end) = (self.len, self.len + bytes.len());
        if end > self.capacity() {
            let blocks = end.div_ceil(LOG_BLOCK).max(2 * self.blocks.len());
            self.blocks.resize(blocks, Block([0; LOG_BLOCK]));
        }
        self.all_mut()[start..end].copy_from_slice(bytes);
        self.len = end;
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.all()[..self.len]
    }

    /// The content filled up with zeros to whole blocks.
    pub fn padded(&mut self) -> &[u8] {
        let padded = self.len.next_multiple_of(LOG_BLOCK);
        let len = self.len;
        self.all_mut()[len..padded].fill(0);
        &self.all()[..padded]
    }
}

/// A stretch of one log file that is to be written, from a block boundary on.
pub struct Batch {
    pub file: Arc<File>,
    /// Offset in the file of the buffer's first byte; a multiple of the block.
    pub base: u64,
    pub buffer: AlignedBuffer,
    /// The last transaction in it.
    pub up_to: Zxid,
    /// It has bytes that were never submitted.
    pub dirty: bool,
    /// The file's name is not durable yet: the directory is synced with this batch.
    pub new_name: bool,
}

impl Batch {
    /// Offset in the file after the last byte.
    pub fn end(&self) -> u64 {
        self.base + self.buffer.len() as u64
    }

    /// Splits off what continues after this batch is handed to the kernel: the partly filled last block.
    pub fn tail_into(&self, mut buffer: AlignedBuffer) -> Batch {
        let whole = self.buffer.len() / LOG_BLOCK * LOG_BLOCK;
        buffer.clear();
        buffer.extend(&self.buffer.as_slice()[whole..]);
        Batch {
            file: Arc::clone(&self.file),
            base: self.base + whole as u64,
            buffer,
            up_to: self.up_to,
            dirty: false,
            new_name: false,
        }
    }
}

/// The log file appended to.
pub struct Segment {
    pub path: PathBuf,
    /// Zeros reach to here, in bytes from the start of the file.
    pub allocated: u64,
    pub batch: Batch,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_is_aligned_grows_and_pads_with_zeros() {
        let mut buffer = AlignedBuffer::default();
        buffer.extend(&[7; 5000]);
        assert_eq!(buffer.padded().len(), 2 * LOG_BLOCK);
        assert_eq!(buffer.padded().as_ptr() as usize % LOG_BLOCK, 0);
        buffer.extend(&[8; 20_000]);
        assert_eq!(buffer.as_slice()[..5000], [7; 5000]);
        assert_eq!(buffer.as_slice()[5000..], [8; 20_000]);
        buffer.clear();
        buffer.extend(&[9; 10]);
        assert_eq!(buffer.padded()[10..], [0; LOG_BLOCK - 10]);
        assert_eq!(buffer.padded().as_ptr() as usize % LOG_BLOCK, 0);
    }

    #[test]
    fn tail_keeps_the_last_partial_block() {
        let temp = tempfile::tempfile().unwrap();
        let mut batch = Batch {
            file: Arc::new(temp),
            base: 8192,
            buffer: AlignedBuffer::default(),
            up_to: Zxid(1),
            dirty: true,
            new_name: true,
        };
        batch.buffer.extend(&[1; LOG_BLOCK]);
        batch.buffer.extend(&[2; 100]);
        let tail = batch.tail_into(AlignedBuffer::default());
        assert_eq!((tail.base, tail.buffer.as_slice()), (12288, &[2; 100][..]));
        assert_eq!(tail.end(), batch.end());
        assert!(!tail.dirty && !tail.new_name);
    }
}
