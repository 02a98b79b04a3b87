//! The connections of a run, and the turn that moves bytes on all of them.
//!
//! One read and one write per ready connection and turn, whatever the number of replies in between:
//! 16 requests that can travel together do travel together, as an efficient client library would
//! send them.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use ringkeeper::wire::connect::{ConnectRequest, ConnectResponse};
use ringkeeper::wire::reply::seal_frame;
use ringkeeper::wire::request::RequestHeader;
use ringkeeper::wire::{JuteWrite, OpCode};

use crate::clock::{SECOND_NS, now_ns};
use crate::error::{Error, Result, io_at};
use crate::poll::{Poll, Ready, connect_nonblocking};

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    pub xid: i32,
    /// When it was, or by the schedule should have been, sent.
    pub intended_ns: u64,
    /// The caller's mark: which kind of operation it is.
    pub tag: u8,
}

/// One connection; answers come in the order of requests, so what is pending is a queue.
pub struct Conn {
    stream: TcpStream,
    leftover: Vec<u8>,
    out: Vec<u8>,
    out_sent: usize,
    wants_write: bool,
    next_xid: i32,
    /// True until the ConnectResponse has come.
    pub handshaking: bool,
    pub session_id: i64,
    pub pending: VecDeque<Pending>,
}

/// Bytes read from one socket per turn; also what a small frame never exceeds.
const READ_CHUNK: usize = 256 << 10;
/// Handshakes under way at once while a fleet assembles; below Apache's accept queue of 50.
const HANDSHAKES_AT_ONCE: usize = 32;
const HANDSHAKE_LIMIT_NS: u64 = 120 * SECOND_NS;

impl Conn {
    fn start(addr: SocketAddr) -> Result<Conn> {
        Ok(Conn {
            stream: connect_nonblocking(addr).map_err(io_at("connect"))?,
            leftover: Vec::new(),
            out: Vec::new(),
            out_sent: 0,
            wants_write: true,
            next_xid: 0,
            handshaking: false,
            session_id: 0,
            pending: VecDeque::new(),
        })
    }

    /// Queues the handshake of a new session.
    fn start_session(&mut self, timeout_ms: i32) {
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout_ms,
            session_id: 0,
            passwd: Some(&[0; 16]),
            read_only: Some(false),
        };
        self.handshaking = true;
        self.out.put_int(0);
        request.encode(&mut self.out);
        seal_frame(&mut self.out, 0);
    }

    /// Queues a request; it leaves with the next flush.
    pub fn request(
        &mut self,
        op: OpCode,
        intended_ns: u64,
        tag: u8,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        self.next_xid = if self.next_xid == i32::MAX { 1 } else { self.next_xid + 1 };
        let xid = if op == OpCode::Ping { -2 } else { self.next_xid };
        let start = self.out.len();
        self.out.put_int(0);
        RequestHeader { xid, op: op.code() }.encode(&mut self.out);
        body(&mut self.out);
        seal_frame(&mut self.out, start);
        self.pending.push_back(Pending { xid, intended_ns, tag });
    }

    /// Queues a frame of `len` bytes of payload for the echo reference, which knows no headers.
    pub fn plain_frame(&mut self, len: usize, intended_ns: u64, tag: u8) {
        self.out.put_int(len as i32);
        self.out.resize(self.out.len() + len, 0);
        self.pending.push_back(Pending { xid: 0, intended_ns, tag });
    }

    /// True when everything queued has gone to the kernel.
    fn flush(&mut self) -> Result<bool> {
        while self.out_sent < self.out.len() {
            match self.stream.write(&self.out[self.out_sent..]) {
                Ok(0) => return Err(Error::Closed),
                Ok(sent) => self.out_sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Io("write", error)),
            }
        }
        self.out.clear();
        self.out_sent = 0;
        Ok(true)
    }
}

/// A frame that arrived, without its length.
pub struct Arrival<'a> {
    pub conn: usize,
    pub frame: &'a [u8],
    pub now_ns: u64,
}

/// All connections of a run. Lives on the one thread of the load program.
pub struct Fleet {
    poll: Poll,
    ready: Vec<Ready>,
    scratch: Vec<u8>,
    /// `None` where a connection was closed.
    pub conns: Vec<Option<Conn>>,
    /// What to do when the server closes: an error, or (storms, closing sessions) just forget the
    /// connection.
    pub close_is_fine: bool,
}

impl Fleet {
    pub fn new() -> Result<Fleet> {
        Ok(Fleet {
            poll: Poll::new().map_err(io_at("epoll"))?,
            ready: Vec::new(),
            scratch: vec![0; READ_CHUNK],
            conns: Vec::new(),
            close_is_fine: false,
        })
    }

    /// Connects `count` connections, to each of `addrs` in turn, and gives each a session, or none if
    /// `timeout_ms` is `None` (echo).
    pub fn assemble(addrs: &[SocketAddr], count: usize, timeout_ms: Option<i32>) -> Result<Fleet> {
        let mut fleet = Fleet::new()?;
        let deadline = now_ns() + HANDSHAKE_LIMIT_NS;
        let (mut opened, mut done) = (0, 0);
        while done < count {
            while opened < count && opened - done < HANDSHAKES_AT_ONCE {
                fleet.open(addrs[opened % addrs.len()], timeout_ms)?;
                opened += 1;
                done += usize::from(timeout_ms.is_none());
            }
            fleet.turn(SECOND_NS / 10, |_, _| {
                done += 1;
                Ok(())
            })?;
            if now_ns() > deadline {
                return Err(Error::TimedOut("opening sessions"));
            }
        }
        Ok(fleet)
    }

    /// Starts one more connection (and session); answers its number.
    pub fn open(&mut self, addr: SocketAddr, timeout_ms: Option<i32>) -> Result<usize> {
        let mut conn = Conn::start(addr)?;
        if let Some(timeout_ms) = timeout_ms {
            conn.start_session(timeout_ms);
        }
        let token = self.conns.len();
        self.poll.add(conn.stream.as_raw_fd(), token, true).map_err(io_at("epoll add"))?;
        self.conns.push(Some(conn));
        Ok(token)
    }

    /// The connection of that number; asking for a closed one is a bug of the caller.
    pub fn conn(&mut self, index: usize) -> &mut Conn {
        self.conns[index].as_mut().expect("connection is open")
    }

    /// Sends what is queued on one connection.
    pub fn flush(&mut self, index: usize) -> Result<()> {
        let Some(conn) = self.conns[index].as_mut() else {
            return Ok(());
        };
        let wants_write = !conn.flush()?;
        if wants_write != conn.wants_write {
            conn.wants_write = wants_write;
            let fd = conn.stream.as_raw_fd();
            self.poll.modify(fd, index, wants_write).map_err(io_at("epoll modify"))?;
        }
        Ok(())
    }

    pub fn flush_all(&mut self) -> Result<()> {
        (0..self.conns.len()).try_for_each(|index| self.flush(index))
    }

    /// Waits at most `timeout_ns` for bytes, hands every whole frame to `on_frame`, sends what that
    /// queued.
    pub fn turn(
        &mut self,
        timeout_ns: u64,
        mut on_frame: impl FnMut(&mut Conn, Arrival<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        ready.extend_from_slice(self.poll.wait(timeout_ns).map_err(io_at("epoll wait"))?);
        for event in &ready {
            if event.readable {
                self.receive(event.token, &mut on_frame)?;
            }
            if event.readable || event.writable {
                self.flush(event.token)?;
            }
        }
        self.ready = ready;
        Ok(())
    }

    fn receive(
        &mut self,
        index: usize,
        on_frame: &mut impl FnMut(&mut Conn, Arrival<'_>) -> Result<()>,
    ) -> Result<()> {
        let Some(conn) = self.conns[index].as_mut() else {
            return Ok(());
        };
        let kept = conn.leftover.len();
        if self.scratch.len() < kept + READ_CHUNK {
            self.scratch.resize(kept + READ_CHUNK, 0);
        }
        self.scratch[..kept].copy_from_slice(&conn.leftover);
        let end = match conn.stream.read(&mut self.scratch[kept..]) {
            Ok(0) => 0,
            Ok(got) => kept + got,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(_) if self.close_is_fine => 0,
            Err(error) => return Err(Error::Io("read", error)),
        };
        if end == 0 {
            self.conns[index] = None;
            return if self.close_is_fine { Ok(()) } else { Err(Error::Closed) };
        }
        let now_ns = now_ns();
        let mut rest = &self.scratch[..end];
        while let Some((len, after)) = rest.split_first_chunk::<4>() {
            let len = u32::from_be_bytes(*len) as usize;
            let Some((frame, next)) = after.split_at_checked(len) else {
                break;
            };
            rest = next;
            if conn.handshaking {
                accept_session(conn, frame)?;
            }
            on_frame(conn, Arrival { conn: index, frame, now_ns })?;
        }
        conn.leftover.clear();
        conn.leftover.extend_from_slice(rest);
        Ok(())
    }

    /// Ends every session politely, so that the server does not have to expire them, and drops the
    /// connections.
    pub fn close_sessions(mut self) -> Result<()> {
        self.close_is_fine = true;
        let deadline = now_ns() + 10 * SECOND_NS;
        for conn in self.conns.iter_mut().flatten() {
            conn.request(OpCode::CloseSession, 0, 0, |_| {});
        }
        self.flush_all()?;
        while self.conns.iter().any(Option::is_some) && now_ns() < deadline {
            self.turn(SECOND_NS / 10, |_, _| Ok(()))?;
        }
        Ok(())
    }
}

fn accept_session(conn: &mut Conn, frame: &[u8]) -> Result<()> {
    let response = ConnectResponse::decode(frame)
        .map_err(|error| Error::Protocol(format!("connect response: {error}")))?;
    if response.timeout_ms <= 0 {
        return Err(Error::Protocol("the server refused a new session".into()));
    }
    conn.handshaking = false;
    conn.session_id = response.session_id;
    Ok(())
}
