//! The system calls that std does not have for a bare descriptor.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;
use std::{io, mem};

/// Takes a descriptor that a completion has handed over.
pub(super) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just opened it for this ring, and nobody else knows of it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A TCP socket for the address's family.
pub(super) fn socket(address: &SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: no memory involved; the descriptor is checked and then owned.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(own(fd))
}

/// No waiting for more to send; `keepalive` as the configuration says.
pub(super) fn set_options(fd: &OwnedFd, keepalive: bool) {
    set_number(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
    if keepalive {
        set_number(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
    }
}

/// How long what was sent may wait for an acknowledgement.
pub(super) fn set_user_timeout(fd: &OwnedFd, timeout: Duration) {
    let ms = libc::c_int::try_from(timeout.as_millis()).unwrap_or(libc::c_int::MAX);
    set_number(fd, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, ms);
}

fn set_number(fd: &OwnedFd, level: libc::c_int, option: libc::c_int, number: libc::c_int) {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: a plain integer option on a descriptor that is open.
    unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const number).cast(), length);
    }
}

/// `how` is `SHUT_WR` or `SHUT_RDWR`.
pub(super) fn shut_down(fd: &OwnedFd, how: libc::c_int) {
    // SAFETY: no memory involved.
    unsafe {
        libc::shutdown(fd.as_raw_fd(), how);
    }
}

pub(super) fn peer_address(fd: &OwnedFd) -> Option<SocketAddr> {
    // SAFETY: the storage is large enough for every family and zero is a valid value of it.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: storage and length are valid for the call.
    let failed =
        unsafe { libc::getpeername(fd.as_raw_fd(), (&raw mut storage).cast(), &raw mut length) };
    if failed == 0 { socket_address(&storage) } else { None }
}

/// An address as the kernel gives it.
fn socket_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that this is what the storage holds.
            let v4 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::from((ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddr::from((ip, u16::from_be(v6.sin6_port))))
        }
        _ => None,
    }
}

/// An address as the kernel takes it.
#[derive(Clone, Copy)]
pub(super) struct RawAddress {
    storage: libc::sockaddr_storage,
    length: libc::socklen_t,
}

impl RawAddress {
    pub fn new(address: &SocketAddr) -> RawAddress {
        // SAFETY: zero is a valid value.
        let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
        let length = match address {
            SocketAddr::V4(v4) => {
                let raw = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
                    sin_zero: [0; 8],
                };
                // SAFETY: the storage is large enough and aligned for every address.
                unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(raw) };
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let raw = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(raw) };
                size_of::<libc::sockaddr_in6>()
            }
        };
        RawAddress { storage, length: length as libc::socklen_t }
    }

    /// Room for an address that the kernel will write.
    pub fn empty() -> RawAddress {
        // SAFETY: zero is a valid value.
        let storage = unsafe { mem::zeroed() };
        RawAddress { storage, length: size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }

    pub fn get(&self) -> Option<SocketAddr> {
        socket_address(&self.storage)
    }

    pub fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        (&raw mut self.storage).cast()
    }

    pub fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    pub fn length(&self) -> libc::socklen_t {
        self.length
    }
}
