//! One connection: where its handshake stands, what it has sent and what it still has to be sent.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::throttle::Held;
use crate::auth::Identities;
use crate::base::{MonoMs, SessionId, WallMs};
use crate::wire::OpCode;
use crate::wire::connect::ConnectRequest;

/// How long a connection that the server has closed may take none of its output, or stay when it has it all.
pub const LINGER_MS: MonoMs = 2_000;

/// A session attached to a connection.
#[derive(Clone, Copy, Debug)]
pub struct Active {
    pub session: SessionId,
    /// Negotiated.
    pub timeout_ms: i32,
    /// Wall clock, for `cons`.
    pub established: WallMs,
}

/// A handshake that waits for its session.
#[derive(Clone, Copy, Debug)]
pub struct Connecting {
    /// The client's flag: the response has it when the request had.
    pub read_only: Option<bool>,
    /// It named a session.
    pub resumes: bool,
    /// When it came.
    pub since: MonoMs,
}

/// When bytes came that wait: runs of them, oldest first. Empty, and without memory, on a connection that is
/// served as fast as it asks.
#[derive(Debug, Default)]
pub struct Arrivals(VecDeque<(MonoMs, usize)>);

/// Runs kept apart; whoever sends in smaller pieces has the latest of them joined.
const ARRIVALS_MAX: usize = 64;

impl Arrivals {
    /// So many bytes more.
    pub fn note(&mut self, now: MonoMs, bytes: usize) {
        let full = self.0.len() >= ARRIVALS_MAX;
        match self.0.back_mut() {
            Some((at, count)) if *at == now || full => {
                *at = now;
                *count += bytes;
            }
            _ if bytes > 0 => self.0.push_back((now, bytes)),
            _ => {}
        }
    }

    /// When the last of the first so many bytes came; `None` for bytes that never waited.
    pub fn of(&self, bytes: usize) -> Option<MonoMs> {
        let mut rest = bytes;
        for (at, count) in &self.0 {
            if *count >= rest {
                return Some(*at);
            }
            rest -= count;
        }
        None
    }

    /// The first so many bytes wait no more.
    pub fn take(&mut self, bytes: usize) {
        let mut rest = bytes;
        while let Some((_, count)) = self.0.front_mut() {
            if *count > rest {
                *count -= rest;
                return;
            }
            rest -= *count;
            self.0.pop_front();
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing but a handshake or a four-letter word is understood.
    Fresh,
    /// A four-letter word is being answered.
    Command,
    /// The Zab core is making or checking the session; input waits.
    Connecting(Connecting),
    Active(Active),
    /// No more is read; what is left is sent, then the socket is shut down.
    Closing {
        /// When it last got on, as the sweeps saw it.
        since: MonoMs,
        /// Bytes of output that were left then.
        left: usize,
        session: Option<Active>,
    },
}

/// A write that the Zab core has and that is not answered.
#[derive(Clone, Copy, Debug)]
pub struct OutstandingWrite {
    pub xid: i32,
    pub op: OpCode,
    /// When it came, and when it was forwarded.
    pub since: MonoMs,
    pub forwarded: MonoMs,
    /// Bytes of its frame, if it is a large one.
    pub large_bytes: u32,
}

/// What `cons` and `stat` print about a connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnStats {
    pub received: u64,
    pub sent: u64,
    pub last_op: Option<OpCode>,
    pub last_op_reset: bool,
    pub last_xid: Option<i32>,
    pub last_zxid: i64,
    pub last_response: MonoMs,
    pub last_latency: i64,
    pub min_latency: i64,
    pub max_latency: i64,
    pub total_latency: i64,
    pub count: u64,
}

impl Default for ConnStats {
    fn default() -> Self {
        ConnStats {
            received: 0,
            sent: 0,
            last_op: None,
            last_op_reset: false,
            last_xid: Some(0),
            last_zxid: 0,
            last_response: 0,
            last_latency: 0,
            min_latency: i64::MAX,
            max_latency: 0,
            total_latency: 0,
            count: 0,
        }
    }
}

/// Owned by its client core.
pub struct Conn {
    pub peer: SocketAddr,
    state: State,
    pub identities: Identities,
    /// Received and not yet understood: part of a frame, or frames that wait for earlier ones.
    pub input: Vec<u8>,
    pub arrivals: Arrivals,
    /// To be sent; `sent` bytes of it are.
    pub output: Vec<u8>,
    pub sent: usize,
    pub writes: VecDeque<OutstandingWrite>,
    /// Input stopped at a frame that must wait.
    pub input_waits: bool,
    /// That frame is a read behind a write.
    pub behind_write: bool,
    /// How the first request of the input stands with the throttler.
    pub held: Held,
    /// It has waited for the throttler, and so has what is behind it.
    pub was_held: bool,
    pub dirty: bool,
    /// A task waits until the socket takes more.
    pub flushing: bool,
    pub touch_pending: bool,
    pub last_heard: MonoMs,
    pub stats: Box<ConnStats>,
    /// Gets the reading task going again after `input_waits`.
    pub reader: Option<std::task::Waker>,
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Conn({}, {:?})", self.peer, self.state)
    }
}

impl Conn {
    pub fn new(peer: SocketAddr, identities: Identities, now: MonoMs) -> Conn {
        Conn {
            peer,
            state: State::Fresh,
            identities,
            input: Vec::new(),
            arrivals: Arrivals::default(),
            output: Vec::new(),
            sent: 0,
            writes: VecDeque::new(),
            input_waits: false,
            behind_write: false,
            held: Held::No,
            was_held: false,
            dirty: false,
            flushing: false,
            touch_pending: false,
            last_heard: now,
            stats: Box::default(),
            reader: None,
        }
    }

    pub fn active(&self) -> Option<&Active> {
        match &self.state {
            State::Active(active) => Some(active),
            _ => None,
        }
    }

    /// The session attached now, or until the server began to close the connection.
    pub fn session(&self) -> Option<&Active> {
        match &self.state {
            State::Active(active) | State::Closing { session: Some(active), .. } => Some(active),
            _ => None,
        }
    }

    pub fn is_fresh(&self) -> bool {
        matches!(self.state, State::Fresh)
    }

    /// Whether there is something that its peer still waits for, although it will send no more itself.
    pub fn owes_output(&self) -> bool {
        self.is_command() || (self.is_closing() && self.sent < self.output.len())
    }

    pub fn is_sessionless(&self) -> bool {
        matches!(self.state, State::Fresh | State::Command)
    }

    /// A four-letter word is being answered; what comes after the word is nobody's.
    pub fn is_command(&self) -> bool {
        matches!(self.state, State::Command)
    }

    pub fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing { .. })
    }

    /// Whether the peer of a closed connection has not got on for [`LINGER_MS`]. Asked by every sweep: a reader
    /// that took some of its output since the last one has its time afresh.
    pub fn lingers(&mut self, now: MonoMs) -> bool {
        let unsent = self.output.len() - self.sent;
        let State::Closing { since, left, .. } = &mut self.state else { return false };
        if unsent != *left {
            (*since, *left) = (now, unsent);
        }
        now - *since > LINGER_MS
    }

    pub fn begin_command(&mut self) {
        self.state = State::Command;
    }

    pub fn begin_connecting(&mut self, request: &ConnectRequest<'_>, now: MonoMs) {
        let (read_only, resumes) = (request.read_only, request.session_id != 0);
        self.state = State::Connecting(Connecting { read_only, resumes, since: now });
    }

    /// The handshake, while it waits for its session.
    pub fn connecting(&self) -> Option<Connecting> {
        match self.state {
            State::Connecting(connecting) => Some(connecting),
            _ => None,
        }
    }

    /// Bytes that must wait.
    pub fn put_input(&mut self, bytes: &[u8], now: MonoMs) {
        self.arrivals.note(now, bytes.len());
        self.input.extend_from_slice(bytes);
    }

    pub fn attach(&mut self, active: Active) {
        self.state = State::Active(active);
    }

    /// From here on nothing is read, and the socket closes once the output is sent.
    pub fn begin_closing(&mut self, now: MonoMs) {
        if !self.is_closing() {
            let session = self.active().copied();
            let left = self.output.len() - self.sent;
            self.state = State::Closing { since: now, left, session };
            self.input = Vec::new();
            self.arrivals = Arrivals::default();
        }
    }

    /// Whether the reading task may read more from the socket.
    pub fn wants_input(&self, chunk_bytes: usize) -> bool {
        self.is_closing() || !self.input_waits || self.input.len() < chunk_bytes
    }

    /// A reader that does not read is not served further until it does.
    pub fn output_is_high(&self, high_bytes: usize) -> bool {
        self.output.len() - self.sent >= high_bytes
    }

    pub fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }
}

impl ConnStats {
    /// A request was answered.
    pub fn answered(&mut self, op: OpCode, xid: i32, zxid: i64, latency_ms: i64, now: MonoMs) {
        self.last_op = Some(op);
        if xid >= 0 {
            self.last_xid = Some(xid);
        }
        self.last_zxid = zxid;
        self.last_response = now;
        self.last_latency = latency_ms;
        self.min_latency = self.min_latency.min(latency_ms);
        self.max_latency = self.max_latency.max(latency_ms);
        self.total_latency += latency_ms;
        self.count += 1;
    }
}

impl ConnStats {
    /// A refused write leaves no operation name behind, except a failed multi (admin-and-metrics 2.4).
    pub fn refused_write(&mut self, err: i32, op: OpCode) {
        self.last_op_reset = err != 0 && op != OpCode::Multi;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn waiting_bytes_know_when_they_came() {
        let mut arrivals = Arrivals::default();
        arrivals.note(5, 0);
        assert_eq!(arrivals.of(1), None);
        arrivals.note(10, 4);
        arrivals.note(10, 2);
        arrivals.note(20, 3);
        assert_eq!([1, 6, 7, 9].map(|bytes| arrivals.of(bytes)), [10, 10, 20, 20].map(Some));
        assert_eq!(arrivals.of(10), None);
        arrivals.take(5);
        assert_eq!([1, 2, 4].map(|bytes| arrivals.of(bytes)), [10, 20, 20].map(Some));
        arrivals.take(4);
        assert_eq!(arrivals.of(1), None);
        for now in 0..1000 {
            arrivals.note(now, 1);
        }
        assert!(arrivals.0.len() <= ARRIVALS_MAX);
        assert_eq!((arrivals.of(1), arrivals.of(1000)), (Some(0), Some(999)));
    }

    #[test]
    fn a_closed_connection_has_its_time_from_the_last_output_it_took() {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let mut conn = Conn::new(peer, Identities::of_peer(peer.ip()), 0);
        conn.output = vec![0; 100];
        assert!(!conn.lingers(LINGER_MS * 9), "an open connection does not linger");
        conn.begin_closing(0);
        conn.sent = 40;
        assert!(!conn.lingers(LINGER_MS), "it took 40 bytes");
        assert!(!conn.lingers(LINGER_MS * 2), "since then, just long enough");
        conn.sent = 100;
        assert!(!conn.lingers(LINGER_MS * 2 + 1), "it took the rest");
        assert!(!conn.lingers(LINGER_MS * 3 + 1));
        assert!(conn.lingers(LINGER_MS * 3 + 2), "it has all and does not go");
    }
}
