//! Waits for SIGTERM and SIGINT on a thread of its own; every other thread has them blocked.

use std::io;

/// Blocks both signals for this thread and the threads it starts later. Call before any thread starts.
pub fn block() -> io::Result<()> {
    let set = stop_signals();
    // SAFETY: the set is initialised; the old one is not asked for.
    let failed = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed));
    }
    Ok(())
}

/// Waits for one of them.
pub fn wait() -> Option<i32> {
    let set = stop_signals();
    // SAFETY: the set is valid; no details are asked for.
    let signal = unsafe { libc::sigwaitinfo(&set, std::ptr::null_mut()) };
    (signal > 0).then_some(signal)
}

fn stop_signals() -> libc::sigset_t {
    // SAFETY: a signal set is plain bits and is emptied before it is used.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGTERM);
        libc::sigaddset(&mut set, libc::SIGINT);
        set
    }
}
