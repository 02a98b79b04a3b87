//! Sockets to and from other servers, on the Zab core's ring: everything is a completion.
//!
//! Lives on the Zab core. The loop calls [`Net::submit`] before it enters the ring, hands every completion that
//! [`owns`] claims to [`Net::complete`], then takes events until there are none. At most one receive and one send are in
//! flight on a connection; what the kernel holds stays alive until it gives it back.

mod connection;
mod dial;
#[cfg(test)]
mod fault_tests;
mod output;
mod resolve;
mod stream;
mod sys;
#[cfg(test)]
mod tests;
mod udp;
#[cfg(test)]
mod udp_tests;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::squeue::{Entry, SubmissionQueue};
use io_uring::{opcode, types};

use self::connection::{Connection, Doing};
use self::dial::{Dialled, Dials};
pub use self::stream::StreamWriter;
pub use self::udp::{DATAGRAM_BYTES_MAX, Datagram};
use super::EventFd;
use crate::base::tally::{Samples, Tally};
use crate::base::{MonoMs, Sid};

/// A connection. Never used again for another.
pub type ConnId = u64;
pub type ListenerId = u64;

/// Completions of this room carry it in their upper bits; nobody else on the ring may.
const TAG: u64 = 0x6e65;
const TAG_SHIFT: u32 = 48;
const KIND_SHIFT: u32 = 44;
const ID_MASK: u64 = (1 << KIND_SHIFT) - 1;

/// Bytes received at once.
const RECEIVE_BYTES: usize = 64 << 10;
/// [`NetOptions::input_bytes_max`] when nothing else is said.
const INPUT_BYTES_MAX: usize = 4 << 20;
/// [`NetOptions::output_bytes_max`] when nothing else is said.
const OUTPUT_BYTES_MAX: usize = 256 << 20;
/// [`NetOptions::accepted_max`] when nothing else is said: 64 MiB of receive buffers.
const ACCEPTED_MAX: usize = 1024;
/// [`NetOptions::linger`] when nothing else is said.
const LINGER: Duration = Duration::from_secs(1);
/// How long a listener that cannot accept waits: out of descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is done on the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
enum Kind {
    Accept = 0,
    Connect = 1,
    Receive = 2,
    Send = 3,
    Cancel = 4,
    DatagramReceive = 5,
    DatagramSend = 6,
}

/// Limits and settings of all sockets.
#[derive(Clone, Debug)]
pub struct NetOptions {
    /// Gets the Zab core out of its ring when a side thread has something for it.
    pub wake: EventFd,
    /// `tcpKeepAlive`.
    pub keepalive: bool,
    /// Bytes received and not taken at which a connection is not read any more. Whoever reads whole frames needs at
    /// least the longest frame, or a connection stands still in the middle of one.
    pub input_bytes_max: usize,
    /// Bytes that wait to be sent at which a connection is given up: the other side reads too slowly to be of use.
    pub output_bytes_max: usize,
    /// Connections opened by others at once; those above it are closed at once.
    pub accepted_max: usize,
    /// How long a closed connection may take to send what it still has and to see the other side's end.
    pub linger: Duration,
}

impl From<EventFd> for NetOptions {
    fn from(wake: EventFd) -> NetOptions {
        NetOptions {
            wake,
            keepalive: false,
            input_bytes_max: INPUT_BYTES_MAX,
            output_bytes_max: OUTPUT_BYTES_MAX,
            accepted_max: ACCEPTED_MAX,
            linger: LINGER,
        }
    }
}

fn user_data(kind: Kind, id: u64) -> u64 {
    TAG << TAG_SHIFT | (kind as u64) << KIND_SHIFT | id & ID_MASK
}

/// Whether a completion belongs here.
pub fn owns(user_data: u64) -> bool {
    user_data >> TAG_SHIFT == TAG
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NetEvent {
    Accepted {
        listener: ListenerId,
        conn: ConnId,
        peer: SocketAddr,
    },
    Connected {
        conn: ConnId,
    },
    /// More bytes are in [`Net::input`].
    Received {
        conn: ConnId,
    },
    /// Also a dial that failed, and a silence that lasted too long. The connection is no more.
    Closed {
        conn: ConnId,
        why: String,
    },
}

impl NetEvent {
    fn conn(&self) -> ConnId {
        match self {
            NetEvent::Accepted { conn, .. }
            | NetEvent::Connected { conn }
            | NetEvent::Received { conn }
            | NetEvent::Closed { conn, .. } => *conn,
        }
    }
}

struct Listener {
    socket: TcpListener,
    accepting: bool,
    closing: bool,
    paused_until: Option<Instant>,
}

/// All sockets to other servers.
pub struct Net {
    options: NetOptions,
    listeners: BTreeMap<ListenerId, Listener>,
    conns: BTreeMap<ConnId, Connection>,
    dials: Dials,
    sockets: udp::Sockets,
    resolver: resolve::Resolver,
    next_id: u64,
    events: VecDeque<NetEvent>,
    /// Entries that found no room in the submission queue.
    waiting: VecDeque<Entry>,
    /// Something changed since the last submission.
    dirty: bool,
    /// The last connection from outside was one too many.
    full: bool,
    /// Milliseconds, taken once per turn.
    now: MonoMs,
    counts: BTreeMap<Sid, QueueCounts>,
}

/// What waits to be sent to one server. What is sent to it at once counts as one piece.
#[derive(Clone, Debug, Default)]
pub struct QueueCounts {
    /// Pieces behind each when it left.
    pub size: Tally,
    /// Milliseconds that the oldest had waited when the socket was offered it.
    pub ms: Samples,
}

impl QueueCounts {
    /// So many pieces leave together, the oldest after so many milliseconds.
    fn left(&mut self, pieces: i64, waited_ms: i64) {
        let last = pieces - 1;
        self.size.merge(&Tally { min: 0, max: last, count: pieces, sum: pieces * last / 2 });
        self.ms.add(waited_ms.max(0));
    }
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Net({} connections)", self.conns.len())
    }
}

impl Net {
    pub fn new(options: impl Into<NetOptions>) -> Net {
        let options = options.into();
        Net {
            resolver: resolve::Resolver::new(options.wake.clone()),
            dials: Dials::new(options.keepalive),
            options,
            listeners: BTreeMap::new(),
            conns: BTreeMap::new(),
            sockets: udp::Sockets::default(),
            next_id: 1,
            events: VecDeque::new(),
            waiting: VecDeque::new(),
            dirty: false,
            full: false,
            now: 0,
            counts: BTreeMap::new(),
        }
    }

    /// The clock, once per turn.
    pub fn set_now(&mut self, now: MonoMs) {
        self.now = now;
    }

    /// From now on what waits on this connection counts as this server's.
    pub fn count_as(&mut self, conn: ConnId, sid: Sid) {
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.counts_as = Some(sid);
        }
    }

    pub fn counts(&self) -> &BTreeMap<Sid, QueueCounts> {
        &self.counts
    }

    pub fn reset_counts(&mut self) {
        self.counts.clear();
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Listens on an address that is bound here.
    pub fn listen(&mut self, address: SocketAddr) -> io::Result<ListenerId> {
        let socket = TcpListener::bind(address)?;
        let id = self.id();
        let listener = Listener { socket, accepting: false, closing: false, paused_until: None };
        self.listeners.insert(id, listener);
        self.dirty = true;
        Ok(id)
    }

    /// The address a listener has; for one that was bound to port 0.
    pub fn local_address(&self, id: ListenerId) -> Option<SocketAddr> {
        self.listeners.get(&id)?.socket.local_addr().ok()
    }

    pub fn unlisten(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.get_mut(&id) else { return };
        listener.closing = true;
        if listener.accepting {
            self.cancel(user_data(Kind::Accept, id));
        } else {
            self.listeners.remove(&id);
        }
    }

    /// Connects to `host:port`; a name is resolved on a side thread.
    pub fn dial(&mut self, host: &str, port: u16, timeout: Duration) -> ConnId {
        self.dial_any(vec![(host.to_owned(), port)], timeout)
    }

    /// Connects to whichever answers first; each is tried a moment after the one before it.
    pub fn dial_any(&mut self, hosts: Vec<(String, u16)>, timeout: Duration) -> ConnId {
        let id = self.id();
        let deadline = Instant::now() + timeout;
        self.conns.insert(id, Connection::dialling(deadline, self.options.input_bytes_max));
        self.resolver.resolve(id, hosts);
        self.dirty = true;
        id
    }

    /// Sends a copy of the bytes.
    pub fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        self.put(conn, |conn| conn.output.push(bytes));
    }

    /// Sends a part of shared bytes, without a copy unless they are few.
    pub fn send_shared(&mut self, conn: ConnId, bytes: &Arc<Vec<u8>>, range: Range<usize>) {
        self.put(conn, |conn| conn.output.push_shared(bytes, range));
    }

    fn put(&mut self, id: ConnId, push: impl FnOnce(&mut Connection)) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.is_closing() {
            return;
        }
        push(conn);
        conn.output.note_put(self.now);
        self.dirty = true;
        if conn.output.queued() > self.options.output_bytes_max {
            self.lose(id, "too much waits to be sent: the other side does not read".to_owned());
        }
    }

    /// Bytes that wait to be sent, those of a stream's writer not included.
    pub fn queued_bytes(&self, conn: ConnId) -> usize {
        self.conns.get(&conn).map_or(0, |conn| conn.output.queued())
    }

    /// What a side thread writes here goes out next; whatever is sent afterwards waits for its end.
    pub fn open_stream(&mut self, conn: ConnId) -> Option<StreamWriter> {
        let conn = self.conns.get_mut(&conn).filter(|conn| !conn.is_closing())?;
        let (writer, reader) = stream::stream(self.options.wake.clone());
        conn.output.push_stream(reader);
        self.dirty = true;
        Some(writer)
    }

    /// Bytes received and not taken.
    pub fn input(&self, conn: ConnId) -> &[u8] {
        self.conns.get(&conn).map_or(&[], |conn| conn.input())
    }

    /// The first `count` bytes of the input are done with.
    pub fn consume(&mut self, conn: ConnId, count: usize) {
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.consume(count);
            self.dirty = true;
        }
    }

    /// Gives the input away; [`Net::give_back`] returns what was not taken of it.
    pub fn take_input(&mut self, conn: ConnId) -> Vec<u8> {
        self.conns.get_mut(&conn).map_or(Vec::new(), Connection::take_input)
    }

    pub fn give_back(&mut self, conn: ConnId, input: Vec<u8>, taken: usize) {
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.give_back(input, taken);
            self.dirty = true;
        }
    }

    /// Another limit than [`NetOptions::input_bytes_max`] for this connection.
    pub fn set_input_max(&mut self, conn: ConnId, bytes: usize) {
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.input_max = bytes;
            self.dirty = true;
        }
    }

    /// The connection is closed when nothing is received for so long.
    pub fn set_read_timeout(&mut self, conn: ConnId, timeout: Option<Duration>) {
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.read_timeout = timeout;
            conn.last_read = Instant::now();
        }
    }

    /// The connection is lost when what was sent is not acknowledged for so long: its address is dead.
    pub fn set_send_timeout(&mut self, conn: ConnId, timeout: Duration) {
        if let Some(fd) = self.conns.get(&conn).and_then(Connection::fd) {
            sys::set_user_timeout(fd, timeout);
        }
    }

    /// Sends what is queued, then closes. No event follows, not even one that has happened and was not taken.
    pub fn close(&mut self, id: ConnId) {
        self.events.retain(|event| event.conn() != id);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.close(Instant::now() + self.options.linger) {
            self.conns.remove(&id);
            self.dials.give_up(id);
        }
        self.dirty = true;
    }

    fn cancel(&mut self, what: u64) {
        let cancel = opcode::AsyncCancel::new(what).build();
        self.waiting.push_back(cancel.user_data(user_data(Kind::Cancel, 0)));
        self.dirty = true;
    }

    /// Pushes whatever can be started. False when the queue was full and more waits: enter the ring and come again.
    pub fn submit(&mut self, sq: &mut SubmissionQueue<'_>) -> bool {
        self.take_resolved();
        // A side thread's pieces are found by looking.
        let streams = self.conns.values().any(|conn| conn.output.has_stream());
        if !std::mem::take(&mut self.dirty) && self.waiting.is_empty() && !streams {
            return true;
        }
        self.arm();
        while let Some(entry) = self.waiting.front() {
            // SAFETY: what the entry points to belongs to a connection in `conns`, or to a listener, which stay until
            // the completion is in; a `Net` that is dropped leaks those that are in flight.
            // Connects likewise, in `dials`, and datagrams, in `sockets`.
            if unsafe { sq.push(entry) }.is_err() {
                return false;
            }
            self.waiting.pop_front();
        }
        true
    }

    fn arm(&mut self) {
        let now = Instant::now();
        for (id, listener) in &mut self.listeners {
            let paused = listener.paused_until.is_some_and(|until| until > now);
            if !listener.accepting && !listener.closing && !paused {
                let fd = types::Fd(listener.socket.as_raw_fd());
                let accept = opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut())
                    .flags(libc::SOCK_CLOEXEC)
                    .build();
                self.waiting.push_back(accept.user_data(user_data(Kind::Accept, *id)));
                listener.accepting = true;
                listener.paused_until = None;
            }
        }
        self.sockets.arm(&mut self.waiting);
        self.waiting.extend(self.dials.entries.drain(..));
        let mut broken = Vec::new();
        for (id, conn) in &mut self.conns {
            if let Some(receive) = conn.receive() {
                self.waiting.push_back(receive.user_data(user_data(Kind::Receive, *id)));
            }
            if let Some(send) = conn.send() {
                let left = conn.output.take_put();
                if let (Some(sid), Some((pieces, since))) = (conn.counts_as, left) {
                    self.counts.entry(sid).or_default().left(pieces, self.now - since);
                }
                self.waiting.push_back(send.user_data(user_data(Kind::Send, *id)));
            }
            if std::mem::take(&mut conn.output.broken) {
                broken.push(*id);
            }
        }
        for id in broken {
            self.lose(id, "what was to be sent ended before its time".to_owned());
        }
        self.end_closed();
        for what in std::mem::take(&mut self.dials.cancels) {
            self.cancel(what);
        }
    }

    fn take_resolved(&mut self) {
        while let Some((id, resolved)) = self.resolver.poll() {
            if self.resolved_datagram(id, &resolved) {
                continue;
            }
            let Some(left) = self.conns.get(&id).and_then(Connection::dial_time_left) else {
                continue;
            };
            self.dirty = true;
            match resolved {
                Ok(addresses) => {
                    let ended = self.dials.begin(id, addresses, left);
                    self.dialled(ended);
                }
                Err(error) => self.lose(id, error.to_string()),
            }
        }
    }

    /// Takes a completion that [`owns`] claims.
    pub fn complete(&mut self, data: u64, res: i32) {
        let id = data & ID_MASK;
        self.dirty = true;
        match data >> KIND_SHIFT & 0xf {
            kind if kind == Kind::Accept as u64 => self.accepted(id, res),
            kind if kind == Kind::Connect as u64 => {
                let ended = self.dials.completed(id, res);
                self.dialled(ended);
            }
            kind if kind == Kind::Receive as u64 => self.received(id, res),
            kind if kind == Kind::Send as u64 => self.sent(id, res),
            kind if kind == Kind::DatagramReceive as u64 => self.sockets.received(id, res),
            kind if kind == Kind::DatagramSend as u64 => self.sockets.sent(id),
            _ => {}
        }
    }

    fn accepted(&mut self, listener_id: ListenerId, res: i32) {
        let Some(listener) = self.listeners.get_mut(&listener_id) else { return };
        listener.accepting = false;
        if listener.closing {
            self.listeners.remove(&listener_id);
            if res >= 0 {
                drop(sys::own(res));
            }
            return;
        }
        if res < 0 {
            if !matches!(-res, libc::EINTR | libc::EAGAIN | libc::ECONNABORTED) {
                let error = io::Error::from_raw_os_error(-res);
                tracing::warn!("cannot accept another server's connection: {error}");
                listener.paused_until = Some(Instant::now() + ACCEPT_PAUSE);
            }
            return;
        }
        let fd = sys::own(res);
        let Some(peer) = sys::peer_address(&fd) else { return };
        let accepted = self.conns.values().filter(|conn| conn.accepted).count();
        let full = accepted >= self.options.accepted_max;
        if full != std::mem::replace(&mut self.full, full) && full {
            tracing::warn!("{accepted} connections from outside: no more are taken, {peer} first");
        }
        if full {
            return;
        }
        sys::set_options(&fd, self.options.keepalive);
        let conn = self.id();
        self.conns.insert(conn, Connection::accepted(fd, self.options.input_bytes_max));
        self.events.push_back(NetEvent::Accepted { listener: listener_id, conn, peer });
    }

    fn dialled(&mut self, ended: Option<Dialled>) {
        match ended {
            Some(Dialled::Connected(id, fd)) => {
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.connected(fd);
                    self.events.push_back(NetEvent::Connected { conn: id });
                }
            }
            Some(Dialled::Failed(id, error)) => self.lose(id, error.to_string()),
            None => {}
        }
    }

    fn received(&mut self, id: ConnId, res: i32) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        match conn.received(res) {
            Doing::Received => self.events.push_back(NetEvent::Received { conn: id }),
            Doing::Lost(why) => self.lose(id, why),
            Doing::Nothing => {}
        }
    }

    fn sent(&mut self, id: ConnId, res: i32) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if let Doing::Lost(why) = conn.sent(res) {
            self.lose(id, why);
        }
    }

    /// A connection broke: whoever has it is told, unless it is the one who closed it.
    fn lose(&mut self, id: ConnId, why: String) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if !conn.is_closing() {
            self.events.push_back(NetEvent::Closed { conn: id, why });
        }
        conn.abort();
        self.dials.give_up(id);
        self.dirty = true;
    }

    /// Connections that are through with everything, and those that have waited long enough.
    fn end_closed(&mut self) {
        let now = Instant::now();
        let mut cancelled = Vec::new();
        self.conns.retain(|id, conn| {
            if conn.closing_is_over(now) {
                conn.abort();
            }
            if conn.must_cancel() {
                cancelled.extend(conn.in_flight().map(|kind| user_data(kind, *id)));
            }
            !conn.is_finished()
        });
        for what in cancelled {
            self.cancel(what);
        }
    }

    /// The next thing that has happened; timeouts are looked at as well.
    pub fn poll_event(&mut self, now: Instant) -> Option<NetEvent> {
        if self.events.is_empty() {
            let late: Vec<_> = self
                .conns
                .iter()
                .filter_map(|(id, conn)| conn.is_late(now).map(|why| (*id, why)))
                .collect();
            for (id, why) in late {
                self.lose(id, why.to_owned());
            }
            // A linger or a pause that is over, and an address whose turn it is, are seen by the next submission.
            self.dirty |= self.next_due().is_some_and(|due| due <= now);
            self.dials.tick(now);
        }
        self.events.pop_front()
    }

    /// When something is due by the clock; at once if something has happened since the last event was taken.
    pub fn next_due(&self) -> Option<Instant> {
        if !self.events.is_empty() {
            return Some(Instant::now());
        }
        let conns = self.conns.values().filter_map(Connection::due);
        let listeners = self.listeners.values().filter_map(|listener| listener.paused_until);
        conns.chain(listeners).chain(self.dials.next_due()).min()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for (_, conn) in std::mem::take(&mut self.conns) {
            conn.let_go();
        }
        self.dials.let_go();
        self.sockets.let_go();
    }
}
