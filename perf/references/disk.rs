//! What one durable write costs: a write and an fdatasync linked on a raw io_uring, one pair at a
//! time.
//!
//! Four kinds of file, because they differ by a factor: written with zeros before (the flush has no
//! metadata to write) or only extended (every first write allocates), each through the page cache
//! and past it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use io_uring::{IoUring, opcode, squeue, types};

const FILE_BYTES: u64 = 64 << 20;
const ALIGNMENT: usize = 4096;
const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// A buffer that O_DIRECT accepts, owned for as long as the ring may look at it.
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn new(len: usize) -> Aligned {
        let bytes = vec![0xa5; len + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        Aligned { bytes, start, len }
    }

    fn pointer(&self) -> *const u8 {
        self.bytes[self.start..self.start + self.len].as_ptr()
    }
}

fn make_file(path: &Path, zero_filled: bool, direct: bool) -> io::Result<File> {
    let mut file = File::create(path)?;
    if zero_filled {
        let zeros = vec![0; 1 << 20];
        for _ in 0..FILE_BYTES / zeros.len() as u64 {
            file.write_all(&zeros)?;
        }
    } else {
        file.set_len(FILE_BYTES)?;
    }
    file.sync_all()?;
    let flags = if direct { libc::O_DIRECT } else { 0 };
    OpenOptions::new().write(true).custom_flags(flags).open(path)
}

/// One durable write at `offset`.
fn write_durably(ring: &mut IoUring, file: &File, buffer: &Aligned, offset: u64) -> io::Result<()> {
    let fd = types::Fd(file.as_raw_fd());
    let write = opcode::Write::new(fd, buffer.pointer(), buffer.len as u32)
        .offset(offset)
        .build()
        .flags(squeue::Flags::IO_LINK)
        .user_data(buffer.len as u64);
    let sync = opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build().user_data(0);
    // SAFETY: `buffer` and `file` outlive both operations, whose completions are waited for below;
    // an early return happens only when nothing could be submitted.
    unsafe {
        let pushed = ring.submission().push_multiple(&[write, sync]);
        pushed.map_err(|error| io::Error::other(error.to_string()))?;
    }
    while let Err(error) = ring.submit_and_wait(2) {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    for completion in ring.completion() {
        if completion.result() < 0 {
            return Err(io::Error::from_raw_os_error(-completion.result()));
        }
        if completion.result() as u64 != completion.user_data() {
            return Err(io::Error::other("a short write"));
        }
    }
    Ok(())
}

fn measure_file(file: &File, bytes: usize, limit: Duration) -> io::Result<Histogram<u64>> {
    let mut ring = IoUring::new(8)?;
    let buffer = Aligned::new(bytes);
    let mut histogram = Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3)
        .map_err(|error| io::Error::other(error.to_string()))?;
    let start = Instant::now();
    let mut offset = 0;
    // Stop at the file's end: a second lap would find a sparse file allocated.
    while start.elapsed() < limit && offset + bytes as u64 <= FILE_BYTES {
        let before = Instant::now();
        write_durably(&mut ring, file, &buffer, offset)?;
        histogram.saturating_record(before.elapsed().as_nanos() as u64);
        offset += bytes as u64;
    }
    Ok(histogram)
}

/// Measures all four kinds of file below `dir` for up to `seconds` each and prints one JSON object.
pub fn measure(dir: &Path, bytes: usize, seconds: f64) -> io::Result<()> {
    if bytes == 0 || !bytes.is_multiple_of(ALIGNMENT) || bytes as u64 > FILE_BYTES {
        return Err(io::Error::other("--bytes must be a multiple of 4096, at most 64 MiB"));
    }
    let limit = Duration::try_from_secs_f64(seconds).map_err(io::Error::other)?;
    let path = dir.join(format!("zkref-{}.tmp", std::process::id()));
    let mut parts = vec![format!("\"bytes\":{bytes}")];
    let kinds = [
        ("zero_filled_direct", true, true),
        ("zero_filled_buffered", true, false),
        ("sparse_direct", false, true),
        ("sparse_buffered", false, false),
    ];
    for (name, zero_filled, direct) in kinds {
        let measured = make_file(&path, zero_filled, direct)
            .and_then(|file| measure_file(&file, bytes, limit));
        fs::remove_file(&path)?;
        let histogram = measured?;
        let us = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        let (p50, p99, max) = (us(0.5), us(0.99), us(1.0));
        let (mean, count) = (histogram.mean() / 1000.0, histogram.len());
        eprintln!("{name:>24} p50 {p50:.1} p99 {p99:.1} mean {mean:.1} max {max:.1} µs ({count})");
        parts.push(format!(
            "\"{name}_us\":{{\"p50\":{p50:.3},\"p99\":{p99:.3},\"mean\":{mean:.3},\
             \"max\":{max:.3},\"count\":{count}}}"
        ));
    }
    println!("{{{}}}", parts.join(","));
    Ok(())
}
