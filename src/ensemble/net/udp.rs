//! Datagrams on the ring, for the older election (`electionAlg=0`): votes of a few dozen bytes, any of which may be
//! lost.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use io_uring::squeue::Entry;
use io_uring::{opcode, types};

use super::sys::RawAddress;
use super::{Kind, Net, user_data};

/// Longest datagram that is received whole, in bytes; what is longer arrives cut to it.
pub const DATAGRAM_BYTES_MAX: usize = 2048;
/// Datagrams that wait on a socket, each way. Above it the oldest is dropped: only the newest vote counts.
const QUEUE_MAX: usize = 128;

/// A datagram that was received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// What [`Net::bind_datagrams`] returned.
    pub socket: u64,
    pub from: SocketAddr,
    pub bytes: Vec<u8>,
}

/// One datagram with what the kernel reads or writes. Boxed: nothing moves while it is in flight.
struct Flight {
    bytes: Vec<u8>,
    address: RawAddress,
    iovec: libc::iovec,
    message: libc::msghdr,
}

// SAFETY: the pointers lead into the flight's own box, which goes wherever it goes; nothing else uses them.
unsafe impl Send for Flight {}

impl Flight {
    fn new(bytes: Vec<u8>, address: RawAddress) -> Box<Flight> {
        let iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: zero is a valid value of the plain C structure.
        let message = unsafe { std::mem::zeroed() };
        let mut flight = Box::new(Flight { bytes, address, iovec, message });
        flight.iovec.iov_base = flight.bytes.as_mut_ptr().cast();
        flight.iovec.iov_len = flight.bytes.len();
        flight.message.msg_iov = &raw mut flight.iovec;
        flight.message.msg_iovlen = 1;
        flight.message.msg_name = flight.address.as_mut_ptr();
        flight.message.msg_namelen = flight.address.length();
        flight
    }
}

struct Socket {
    socket: UdpSocket,
    receiving: Option<Box<Flight>>,
    sending: Option<Box<Flight>>,
    out: VecDeque<(SocketAddr, Vec<u8>)>,
    received: VecDeque<(SocketAddr, Vec<u8>)>,
    closing: bool,
}

impl Socket {
    fn in_flight(&self) -> bool {
        self.receiving.is_some() || self.sending.is_some()
    }
}

/// Owned by [`Net`].
#[derive(Default)]
pub(super) struct Sockets {
    open: BTreeMap<u64, Socket>,
    /// Datagrams whose receiver's name is being resolved, and their socket.
    unresolved: BTreeMap<u64, (u64, Vec<u8>)>,
}

impl Sockets {
    /// Starts whatever can be started.
    pub fn arm(&mut self, out: &mut VecDeque<Entry>) {
        for (id, socket) in &mut self.open {
            if socket.closing {
                continue;
            }
            let fd = types::Fd(socket.socket.as_raw_fd());
            if socket.receiving.is_none() {
                let flight = Flight::new(vec![0; DATAGRAM_BYTES_MAX], RawAddress::empty());
                let message = &raw mut socket.receiving.insert(flight).message;
                let entry = opcode::RecvMsg::new(fd, message).build();
                out.push_back(entry.user_data(user_data(Kind::DatagramReceive, *id)));
            }
            if socket.sending.is_none()
                && let Some((to, bytes)) = socket.out.pop_front()
            {
                let flight = Flight::new(bytes, RawAddress::new(&to));
                let message = &raw const socket.sending.insert(flight).message;
                let entry = opcode::SendMsg::new(fd, message).build();
                out.push_back(entry.user_data(user_data(Kind::DatagramSend, *id)));
            }
        }
    }

    pub fn received(&mut self, id: u64, res: i32) {
        let Some(socket) = self.open.get_mut(&id) else { return };
        // An error is another's refusal of what was sent before: nothing to do about it.
        if let Some(mut flight) = socket.receiving.take()
            && let Ok(length) = usize::try_from(res)
            && let Some(from) = flight.address.get()
            && !socket.closing
        {
            flight.bytes.truncate(length);
            push_bounded(&mut socket.received, (from, flight.bytes));
        }
        self.remove_closed(id);
    }

    /// Sent or not: datagrams have no promise.
    pub fn sent(&mut self, id: u64) {
        if let Some(socket) = self.open.get_mut(&id) {
            socket.sending = None;
        }
        self.remove_closed(id);
    }

    fn remove_closed(&mut self, id: u64) {
        if self.open.get(&id).is_some_and(|socket| socket.closing && !socket.in_flight()) {
            self.open.remove(&id);
        }
    }

    /// The ring goes; what the kernel may still touch is leaked.
    pub fn let_go(&mut self) {
        for (_, socket) in std::mem::take(&mut self.open) {
            if socket.in_flight() {
                std::mem::forget(socket);
            }
        }
    }
}

fn push_bounded<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() >= QUEUE_MAX {
        queue.pop_front();
    }
    queue.push_back(item);
}

impl Net {
    /// Receives and sends datagrams on an address.
    pub fn bind_datagrams(&mut self, address: SocketAddr) -> io::Result<u64> {
        let socket = UdpSocket::bind(address)?;
        let id = self.id();
        let socket = Socket {
            socket,
            receiving: None,
            sending: None,
            out: VecDeque::new(),
            received: VecDeque::new(),
            closing: false,
        };
        self.sockets.open.insert(id, socket);
        self.dirty = true;
        Ok(id)
    }

    /// The address a socket has; for one that was bound to port 0.
    pub fn datagram_address(&self, id: u64) -> Option<SocketAddr> {
        self.sockets.open.get(&id)?.socket.local_addr().ok()
    }

    /// Sends one datagram, in order behind those before it. May be lost like any datagram.
    pub fn send_datagram(&mut self, id: u64, to: SocketAddr, bytes: &[u8]) {
        if let Some(socket) = self.sockets.open.get_mut(&id) {
            push_bounded(&mut socket.out, (to, bytes.to_vec()));
            self.dirty = true;
        }
    }

    /// The same to `host:port`; a name is resolved on a side thread, each time anew.
    pub fn send_datagram_to(&mut self, id: u64, host: &str, port: u16, bytes: &[u8]) {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return self.send_datagram(id, SocketAddr::new(ip, port), bytes);
        }
        if self.sockets.unresolved.len() < QUEUE_MAX {
            let name = self.id();
            self.sockets.unresolved.insert(name, (id, bytes.to_vec()));
            self.resolver.resolve(name, vec![(host.to_owned(), port)]);
            self.dirty = true;
        }
    }

    /// A name has its addresses, or none; false when no datagram waits for it.
    pub(super) fn resolved_datagram(
        &mut self,
        name: u64,
        addresses: &io::Result<Vec<SocketAddr>>,
    ) -> bool {
        let Some((id, bytes)) = self.sockets.unresolved.remove(&name) else { return false };
        let family = self.datagram_address(id).map(|own| own.is_ipv4());
        let addresses = addresses.as_deref().unwrap_or_default();
        let same = addresses.iter().find(|address| Some(address.is_ipv4()) == family);
        if let Some(address) = same {
            self.send_datagram(id, *address, &bytes);
        }
        true
    }

    /// The next datagram of any socket. To be asked until there is none, like [`Net::poll_event`].
    pub fn poll_datagram(&mut self) -> Option<Datagram> {
        self.sockets.open.iter_mut().find_map(|(id, socket)| {
            let (from, bytes) = socket.received.pop_front()?;
            Some(Datagram { socket: *id, from, bytes })
        })
    }

    /// Drops what waits, and closes.
    pub fn close_datagrams(&mut self, id: u64) {
        let Some(socket) = self.sockets.open.get_mut(&id) else { return };
        socket.closing = true;
        socket.received.clear();
        if !socket.in_flight() {
            self.sockets.open.remove(&id);
            return;
        }
        self.cancel(user_data(Kind::DatagramReceive, id));
        self.cancel(user_data(Kind::DatagramSend, id));
    }
}
