//! A raw protocol client on a blocking socket: it can pipeline, and it can be as wrong as a test needs.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ringkeeper::wire::connect::{ConnectRequest, ConnectResponse};
use ringkeeper::wire::reply::ReplyHeader;
use ringkeeper::wire::{JuteWrite, OpCode, Reader};

/// How long an answer may take before the test calls it missing.
pub const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// What came from the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Got {
    /// One frame without its length.
    Frame(Vec<u8>),
    /// The connection is closed, however rudely.
    Closed,
    /// Nothing within the wait.
    Silent,
}

/// A connection that knows frames and nothing above them.
pub struct Wire {
    stream: TcpStream,
    inbox: Vec<u8>,
}

impl Wire {
    pub fn connect(port: u16) -> io::Result<Wire> {
        Wire::dial(SocketAddr::from(([127, 0, 0, 1], port)), ANSWER_WAIT)
    }

    /// A connection to any address, which must be there within `wait`.
    pub fn dial(address: SocketAddr, wait: Duration) -> io::Result<Wire> {
        let stream = TcpStream::connect_timeout(&address, wait)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(ANSWER_WAIT))?;
        Ok(Wire { stream, inbox: Vec::new() })
    }

    /// Sends bytes as they are. A peer that is gone is noticed by the next read.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub fn send_frame(&mut self, payload: &[u8]) {
        let mut out = Vec::with_capacity(payload.len() + 4);
        out.put_buffer(Some(payload));
        self.send(&out);
    }

    fn fill(&mut self, wait: Duration) -> Option<Got> {
        let wait = wait.max(Duration::from_millis(1));
        if self.stream.set_read_timeout(Some(wait)).is_err() {
            return Some(Got::Closed);
        }
        let mut chunk = [0; 64 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => Some(Got::Closed),
            Ok(n) => {
                self.inbox.extend_from_slice(&chunk[..n]);
                None
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Some(Got::Silent)
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => None,
            Err(_) => Some(Got::Closed),
        }
    }

    /// The next frame.
    pub fn next(&mut self, wait: Duration) -> Got {
        let deadline = Instant::now() + wait;
        loop {
            if let Some((head, rest)) = self.inbox.split_first_chunk::<4>() {
                let len = u32::from_be_bytes(*head) as usize;
                if rest.len() >= len {
                    let frame = rest[..len].to_vec();
                    self.inbox.drain(..4 + len);
                    return Got::Frame(frame);
                }
            }
            if let Some(end) = self.fill(deadline.saturating_duration_since(Instant::now())) {
                return end;
            }
        }
    }

    /// Everything up to the close; `false` if it did not come within the wait.
    pub fn read_to_close(&mut self, wait: Duration) -> (Vec<u8>, bool) {
        let deadline = Instant::now() + wait;
        loop {
            match self.fill(deadline.saturating_duration_since(Instant::now())) {
                None => {}
                Some(end) => return (std::mem::take(&mut self.inbox), end == Got::Closed),
            }
        }
    }
}

/// A reply, split.
#[derive(Clone, Debug)]
pub struct Reply {
    pub header: ReplyHeader,
    pub body: Vec<u8>,
}

/// A session on a connection, for tests that play an ordinary client.
pub struct Session {
    pub wire: Wire,
    pub id: i64,
    pub passwd: [u8; 16],
    pub timeout_ms: i32,
    /// Whether the server says that it serves readers only; `None` without the flag in the request.
    pub read_only: Option<bool>,
    /// Bodies of the watch events that arrived in between, oldest first.
    pub events: Vec<Reply>,
    xid: i32,
}

fn gone(what: &str) -> io::Error {
    io::Error::other(what.to_string())
}

impl Session {
    /// A new session.
    pub fn open(port: u16, timeout_ms: i32) -> io::Result<Session> {
        Session::attach(port, timeout_ms, 0, &[0; 16])
    }

    /// Resumes session `id`, or opens a new one when it is 0.
    pub fn attach(port: u16, timeout_ms: i32, id: i64, passwd: &[u8]) -> io::Result<Session> {
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout_ms,
            session_id: id,
            passwd: Some(passwd),
            read_only: Some(false),
        };
        Session::greet(Wire::connect(port)?, &request)
    }

    /// A handshake of any kind on a connection that has said nothing yet.
    pub fn greet(mut wire: Wire, request: &ConnectRequest<'_>) -> io::Result<Session> {
        let mut out = Vec::new();
        request.encode(&mut out);
        wire.send_frame(&out);
        let Got::Frame(frame) = wire.next(ANSWER_WAIT) else {
            return Err(gone("no answer to the handshake"));
        };
        let answer = ConnectResponse::decode(&frame).map_err(io::Error::other)?;
        if answer.session_id == 0 {
            return Err(gone("session rejected"));
        }
        Ok(Session {
            wire,
            id: answer.session_id,
            passwd: answer.passwd,
            timeout_ms: answer.timeout_ms,
            read_only: answer.read_only,
            events: Vec::new(),
            xid: 0,
        })
    }

    /// Sends a request without waiting; returns its xid.
    pub fn post(&mut self, op: OpCode, body: &[u8]) -> i32 {
        self.xid += 1;
        let mut out = Vec::with_capacity(body.len() + 8);
        out.put_int(self.xid);
        out.put_int(op.code());
        out.extend_from_slice(body);
        self.wire.send_frame(&out);
        self.xid
    }

    /// The next reply; events are put aside.
    pub fn reply(&mut self) -> io::Result<Reply> {
        loop {
            let frame = match self.wire.next(ANSWER_WAIT) {
                Got::Frame(frame) => frame,
                Got::Closed => return Err(gone("connection closed")),
                Got::Silent => return Err(gone("no answer in time")),
            };
            let mut r = Reader::new(&frame);
            let header = ReplyHeader::decode(&mut r).map_err(io::Error::other)?;
            let reply = Reply { header, body: r.rest().to_vec() };
            if header.xid == -1 {
                self.events.push(reply);
            } else {
                return Ok(reply);
            }
        }
    }

    /// One request and its reply.
    pub fn call(&mut self, op: OpCode, body: &[u8]) -> io::Result<Reply> {
        let xid = self.post(op, body);
        let reply = self.reply()?;
        if op != OpCode::Ping && reply.header.xid != xid {
            return Err(gone("reply out of order"));
        }
        Ok(reply)
    }
}
