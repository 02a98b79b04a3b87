//! The few calls of the operating system that std does not offer. The only unsafe code of this room besides the
//! pushing of ring entries; each call gets a file descriptor that the caller's reference keeps open.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Free bytes of the file system of `path`, as an unprivileged writer may use them.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` is a C string and `stat` has room for the result, which is read after success only.
    let stat = unsafe {
        check(libc::statvfs(path.as_ptr(), stat.as_mut_ptr()))?;
        stat.assume_init()
    };
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Opens for reading and writing with O_DIRECT if wanted and the file system takes it; tells which it was.
pub fn open_direct(path: &Path, create_new: bool, direct: bool) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(create_new);
    if direct {
        match options.clone().custom_flags(libc::O_DIRECT).open(path) {
            // tmpfs and some network file systems answer EINVAL, and may have created the file by then.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                options.create_new(false).create(create_new);
            }
            opened => return opened.map(|file| (file, true)),
        }
    }
    options.open(path).map(|file| (file, false))
}

/// Reserves blocks so that filling them is contiguous. A file system without the call is no error.
pub fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed.
    let result = unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, bytes as libc::off_t) };
    match check(result) {
        Err(error) if error.raw_os_error() != Some(libc::EOPNOTSUPP) => Err(error),
        _ => Ok(()),
    }
}

/// Starts writing a range of a file out and, with `wait`, waits for it. Not a durability call: it only keeps the
/// amount of dirty page cache small.
pub fn write_out(file: &File, offset: u64, bytes: u64, wait: bool) -> io::Result<()> {
    let mut flags = libc::SYNC_FILE_RANGE_WRITE;
    if wait {
        flags |= libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    }
    let (offset, bytes) = (offset as libc::off64_t, bytes as libc::off64_t);
    // SAFETY: the descriptor is open for as long as `file` is borrowed.
    check(unsafe { libc::sync_file_range(file.as_raw_fd(), offset, bytes, flags) })
}

/// Drops a written range from the page cache; advice only.
pub fn drop_cache(file: &File, offset: u64, bytes: u64) {
    let (offset, bytes) = (offset as libc::off_t, bytes as libc::off_t);
    // SAFETY: the descriptor is open for as long as `file` is borrowed.
    unsafe {
        libc::posix_fadvise(file.as_raw_fd(), offset, bytes, libc::POSIX_FADV_DONTNEED);
    }
}

/// Gives the calling thread the lowest CPU and disk priority. Best effort: a refusal costs latency, not safety.
pub fn lower_priority() {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    const IOPRIO_BEST_EFFORT_LOWEST: libc::c_int = (2 << 13) | 7;
    // SAFETY: plain values; on Linux both calls with id 0 mean the calling thread.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
        libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_BEST_EFFORT_LOWEST);
    }
}

/// Makes names in `dir` durable. Apache does not do this and can lose a whole new file with the power.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Whether the calling process may create files in `dir`.
pub fn writable(dir: &Path) -> bool {
    let Ok(path) = CString::new(dir.as_os_str().as_bytes()) else { return false };
    // SAFETY: `path` is a C string.
    unsafe { libc::access(path.as_ptr(), libc::W_OK | libc::X_OK) == 0 }
}
