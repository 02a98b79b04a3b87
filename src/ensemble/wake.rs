//! The eventfd that gets the Zab core out of its ring's sleep.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::pipeline::Wake;

#[derive(Clone, Debug)]
pub struct EventFd(Arc<OwnedFd>);

impl EventFd {
    pub fn new() -> io::Result<EventFd> {
        // SAFETY: no memory involved; the descriptor is checked and then owned.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, owned by nobody else.
        Ok(EventFd(Arc::new(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// Blocks until somebody wakes. The Zab core sleeps in its ring instead; this is for plain threads.
    pub fn wait(&self) {
        let mut count = 0u64;
        // SAFETY: eight writable bytes.
        unsafe {
            libc::read(self.raw(), (&raw mut count).cast(), size_of::<u64>());
        }
    }

    pub fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Wake for EventFd {
    fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight valid bytes; an eventfd takes a write without blocking short of 2^64 of them.
        unsafe {
            libc::write(self.raw(), one.as_ptr().cast(), one.len());
        }
    }
}
