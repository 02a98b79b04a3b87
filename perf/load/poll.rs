//! A thin layer over Linux epoll, level-triggered, and the only file of the load program with
//! unsafe code.
//!
//! The load program shares two cores with the server it measures, so a runtime of its own would be
//! charged to the server's throughput: one thread, one epoll, no allocation per event.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// What is ready on one descriptor.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The number given to [`Poll::add`].
    pub token: usize,
    pub readable: bool,
    pub writable: bool,
}

const EVENTS_PER_WAIT: usize = 256;

/// Owned by the one thread of the load program.
pub struct Poll {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
    ready: Vec<Ready>,
}

fn interest(write: bool) -> u32 {
    let bits = if write { libc::EPOLLIN | libc::EPOLLOUT } else { libc::EPOLLIN };
    bits as u32
}

impl Poll {
    pub fn new() -> io::Result<Poll> {
        // SAFETY: no pointers; the returned descriptor is checked and owned by nobody else.
        let epoll = unsafe {
            let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let empty = libc::epoll_event { events: 0, u64: 0 };
        Ok(Poll {
            epoll,
            events: vec![empty; EVENTS_PER_WAIT],
            ready: Vec::with_capacity(EVENTS_PER_WAIT),
        })
    }

    fn control(&self, op: i32, fd: RawFd, token: usize, write: bool) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest(write), u64: token as u64 };
        // SAFETY: `event` outlives the call; the kernel copies it.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), op, fd, &mut event) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Watches `fd` for reading, and for writing if asked. Closing `fd` ends it.
    pub fn add(&self, fd: RawFd, token: usize, write: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, write)
    }

    pub fn modify(&self, fd: RawFd, token: usize, write: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, write)
    }

    /// Waits at most `timeout_ns`; an empty answer means that the time is over or a signal came.
    pub fn wait(&mut self, timeout_ns: u64) -> io::Result<&[Ready]> {
        let timeout = libc::timespec {
            tv_sec: (timeout_ns / 1_000_000_000) as libc::time_t,
            tv_nsec: (timeout_ns % 1_000_000_000) as libc::c_long,
        };
        // SAFETY: the event array has room for the count passed; the kernel writes at most that
        // many.
        let count = unsafe {
            libc::epoll_pwait2(
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS_PER_WAIT as i32,
                &timeout,
                std::ptr::null(),
            )
        };
        self.ready.clear();
        if count < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::Interrupted => Ok(&self.ready),
                _ => Err(error),
            };
        }
        let hangup = (libc::EPOLLHUP | libc::EPOLLERR | libc::EPOLLIN) as u32;
        for event in &self.events[..count as usize] {
            let bits = event.events;
            self.ready.push(Ready {
                token: event.u64 as usize,
                readable: bits & hangup != 0,
                writable: bits & libc::EPOLLOUT as u32 != 0,
            });
        }
        Ok(&self.ready)
    }
}

/// Starts a connection without waiting for it, so that a server with a short accept queue cannot
/// stall every other connection of a storm. IPv4 only: measurements run on loopback.
pub fn connect_nonblocking(addr: SocketAddr) -> io::Result<TcpStream> {
    let SocketAddr::V4(v4) = addr else {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "only IPv4 addresses"));
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers; the descriptor is checked and handed to its one owner.
    let stream = unsafe {
        let fd = libc::socket(libc::AF_INET, kind, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        TcpStream::from_raw_fd(fd)
    };
    stream.set_nodelay(true)?;
    let raw = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: v4.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
        sin_zero: [0; 8],
    };
    // SAFETY: `raw` is a valid sockaddr_in of the size passed and outlives the call.
    let result = unsafe {
        let size = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        libc::connect(stream.as_raw_fd(), (&raw const raw).cast(), size)
    };
    if result < 0 {
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINPROGRESS) {
            return Err(error);
        }
    }
    Ok(stream)
}

/// Asks for timers without the usual 50 µs of slack, which would otherwise show up in open-loop
/// latencies.
pub fn tighten_timers() {
    // SAFETY: PR_SET_TIMERSLACK takes plain numbers and touches only this thread.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
}
