//! A small disk of its own for a server under test: a file system in an image, which can be full, and can die.
//!
//! Needs root, `mkfs.ext4` and a loop device.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// `EXT4_IOC_SHUTDOWN`: every read and write fails from now on; what is in no finished commit is gone.
const SHUTDOWN: libc::c_ulong = 0x8004_587d;
/// The journal's unfinished commits are not written out.
const NO_LOG_FLUSH: u32 = 2;

/// A mounted image; unmounted and removed when dropped.
pub struct Disk {
    pub at: PathBuf,
    image: PathBuf,
}

fn ran(program: &str, args: &[&Path]) -> Result<(), String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr).trim().to_string();
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {told}")) }
}

impl Disk {
    /// A new file system of so many bytes, mounted at `at`.
    pub fn make(at: &Path, image: &Path, bytes: u64) -> Result<Disk, String> {
        let file = File::create(image).map_err(|error| error.to_string())?;
        file.set_len(bytes).map_err(|error| error.to_string())?;
        let flags = [Path::new("-q"), Path::new("-m"), Path::new("0")];
        ran("mkfs.ext4", &[&flags[..], &[image]].concat())?;
        fs::create_dir_all(at).map_err(|error| error.to_string())?;
        let disk = Disk { at: at.to_owned(), image: image.to_owned() };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> Result<(), String> {
        ran("mount", &[Path::new("-o"), Path::new("loop"), &self.image, &self.at])
    }

    /// The disk dies: nothing is read or written any more, and what was not flushed is lost.
    pub fn die(&self) {
        let root = File::open(&self.at).expect("the mounted directory");
        // SAFETY: the call reads one u32, which lives as long as it.
        let failed = unsafe { libc::ioctl(root.as_raw_fd(), SHUTDOWN, &NO_LOG_FLUSH) };
        assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
    }

    /// It is put in again: what had reached it is there. Nobody may have a file of it open.
    pub fn revive(&self) {
        ran("umount", &[&self.at]).expect("nobody uses the disk");
        self.mount().expect("its journal is sound");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a test that fails has its server still running there.
        let _ = ran("umount", &[Path::new("-l"), &self.at]);
        let _ = fs::remove_file(&self.image);
    }
}
