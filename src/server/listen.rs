//! Listening sockets: one per client core on the same address, so that the kernel spreads connections over the cores.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Backlog when the configuration does not set one: the reference's default.
const BACKLOG_DEFAULT: i32 = 50;

/// How long a port may stay taken before that is an error. The kernel takes a killed server's ring apart after the
/// process is gone, and until then its listening sockets stay.
const PATIENCE: Duration = Duration::from_secs(3);

/// Binds `count` sockets to `address`. `backlog` -1 takes the default.
///
/// The first socket is bound alone, without address sharing, so that a port somebody else has is an error and not
/// shared with them; the reuse of a port in TIME_WAIT is allowed as everywhere.
pub fn bind(address: SocketAddr, count: usize, backlog: i32) -> io::Result<Vec<TcpListener>> {
    wait_until_free(address)?;
    let backlog = if backlog < 0 { BACKLOG_DEFAULT.max(1024) } else { backlog };
    let mut listeners = Vec::with_capacity(count);
    for _ in 0..count {
        let fd = socket(address)?;
        set(&fd, libc::SO_REUSEADDR)?;
        set(&fd, libc::SO_REUSEPORT)?;
        bind_to(&fd, address)?;
        listen(&fd, backlog)?;
        listeners.push(TcpListener::from(fd));
    }
    Ok(listeners)
}

/// Waits until nobody listens there; an error if somebody does not stop to.
pub fn wait_until_free(address: SocketAddr) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match bind_alone(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

fn bind_alone(address: SocketAddr) -> io::Result<()> {
    let probe = socket(address)?;
    set(&probe, libc::SO_REUSEADDR)?;
    bind_to(&probe, address)?;
    listen(&probe, 1)
}

fn socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: no memory involved; the descriptor is checked and then owned.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, owned by nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    if address.is_ipv6() {
        set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0)?;
    }
    Ok(fd)
}

fn set(fd: &OwnedFd, option: libc::c_int) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, option, 1)
}

fn set_option(fd: &OwnedFd, level: i32, option: i32, value: libc::c_int) -> io::Result<()> {
    // SAFETY: a plain integer option, its size given.
    let failed = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if failed != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn bind_to(fd: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    // SAFETY: each address structure is fully initialised and its size given.
    let failed = unsafe {
        match address {
            SocketAddr::V4(v4) => {
                let mut raw: libc::sockaddr_in = std::mem::zeroed();
                raw.sin_family = libc::AF_INET as libc::sa_family_t;
                raw.sin_port = v4.port().to_be();
                raw.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                let size = size_of::<libc::sockaddr_in>() as libc::socklen_t;
                libc::bind(fd.as_raw_fd(), (&raw const raw).cast(), size)
            }
            SocketAddr::V6(v6) => {
                let mut raw: libc::sockaddr_in6 = std::mem::zeroed();
                raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                raw.sin6_port = v6.port().to_be();
                raw.sin6_addr.s6_addr = v6.ip().octets();
                raw.sin6_scope_id = v6.scope_id();
                let size = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
                libc::bind(fd.as_raw_fd(), (&raw const raw).cast(), size)
            }
        }
    };
    if failed != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn listen(fd: &OwnedFd, backlog: i32) -> io::Result<()> {
    // SAFETY: no memory involved.
    let failed = unsafe { libc::listen(fd.as_raw_fd(), backlog) };
    if failed != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_sockets_share_a_port_but_not_with_strangers() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let stranger = TcpListener::bind(any).unwrap();
        let taken = stranger.local_addr().unwrap();
        assert!(bind(taken, 2, -1).is_err());
        drop(stranger);
        assert_eq!(bind(taken, 3, -1).unwrap().len(), 3);
    }
}
