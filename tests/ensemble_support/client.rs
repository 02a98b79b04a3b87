//! A session that lives on an ensemble: it moves from server to server with its id, its password, the last zxid it
//! has seen and its watches, as client libraries do.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ringkeeper::base::prng::Prng;
use ringkeeper::wire::connect::{ConnectRequest, ConnectResponse};
use ringkeeper::wire::reply::ReplyHeader;
use ringkeeper::wire::{JuteWrite, OpCode, Reader, Stat};

use super::PATIENCE;
use crate::support::bodies;
use crate::support::client::{Got, Wire};

/// How long one server may take to accept a connection and a handshake.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(4);

const SESSION_EXPIRED: i32 = -112;
const SESSION_MOVED: i32 = -118;
const XID_EVENT: i32 = -1;
const XID_PING: i32 = -2;
const XID_SET_WATCHES: i32 = -8;

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// The request went out and no answer came: it may have been done.
    Unknown,
    /// Nothing was sent: no server accepts the session at the moment.
    Unsent,
    /// The session is over.
    Expired,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub zxid: i64,
    pub err: i32,
    pub body: Vec<u8>,
}

impl Answer {
    /// Data and Stat of a getData.
    pub fn data(&self) -> (Vec<u8>, Stat) {
        let mut r = Reader::new(&self.body);
        let data = r.buffer().expect("data").unwrap_or_default().to_vec();
        (data, Stat::decode(&mut r).expect("a Stat"))
    }

    /// The Stat of a setData or an exists.
    pub fn stat(&self) -> Stat {
        Stat::decode(&mut Reader::new(&self.body)).expect("a Stat")
    }

    /// The path that a create made.
    pub fn path(&self) -> String {
        let path = Reader::new(&self.body).buffer().expect("a path").unwrap_or_default();
        String::from_utf8(path.to_vec()).expect("a path in UTF-8")
    }
}

/// A session. Not a thread: whoever owns it calls often enough, or [`EnsembleClient::ping`]s.
pub struct EnsembleClient {
    servers: Vec<SocketAddr>,
    next: usize,
    wire: Option<Wire>,
    pub id: i64,
    passwd: [u8; 16],
    pub timeout: Duration,
    last_zxid: i64,
    xid: i32,
    /// Data watches that wait, by path, for setWatches.
    watches: BTreeMap<String, ()>,
    /// Paths of events that arrived, oldest first.
    pub events: VecDeque<String>,
    /// When the last word that a server may have heard was about to be sent.
    pub last_word: Instant,
    /// When a server last answered.
    pub last_answer: Instant,
    pub reconnects: usize,
}

impl EnsembleClient {
    /// A new session on any of the servers, the first to try drawn from `seed`.
    pub fn open(servers: &[SocketAddr], timeout: Duration, seed: u64) -> Result<Self, Trouble> {
        let now = Instant::now();
        let mut client = EnsembleClient {
            servers: servers.to_vec(),
            next: Prng::new(seed).below(servers.len() as u64) as usize,
            wire: None,
            id: 0,
            passwd: [0; 16],
            timeout,
            last_zxid: 0,
            xid: 0,
            watches: BTreeMap::new(),
            events: VecDeque::new(),
            last_word: now,
            last_answer: now,
            reconnects: 0,
        };
        client.connect(PATIENCE)?;
        client.reconnects = 0;
        Ok(client)
    }

    /// The server it talks to, or will try next.
    pub fn server(&self) -> SocketAddr {
        self.servers[self.next]
    }

    /// Cuts the connection; the session goes on elsewhere.
    pub fn hang_up(&mut self) {
        if self.wire.take().is_some() {
            self.next = (self.next + 1) % self.servers.len();
        }
    }

    /// Longest wait for an answer: short enough to find another server before the session is over.
    fn answer_wait(&self) -> Duration {
        self.timeout / 3
    }

    fn connect(&mut self, patience: Duration) -> Result<(), Trouble> {
        let deadline = Instant::now() + patience;
        while self.wire.is_none() {
            match self.try_server() {
                Ok(true) => break,
                Ok(false) => self.next = (self.next + 1) % self.servers.len(),
                Err(trouble) => return Err(trouble),
            }
            if Instant::now() > deadline {
                return Err(Trouble::Unsent);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.reconnects += 1;
        Ok(())
    }

    /// The session goes on at this server and nowhere else.
    pub fn moving_to(mut self, server: SocketAddr) -> EnsembleClient {
        self.wire = None;
        (self.servers, self.next) = (vec![server], 0);
        self
    }

    /// One handshake with one server.
    fn try_server(&mut self) -> Result<bool, Trouble> {
        let Ok(mut wire) = Wire::dial(self.server(), Duration::from_secs(1)) else {
            return Ok(false);
        };
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last_zxid,
            timeout_ms: self.timeout.as_millis() as i32,
            session_id: self.id,
            passwd: Some(&self.passwd),
            read_only: Some(false),
        };
        let mut out = Vec::new();
        request.encode(&mut out);
        let word = Instant::now();
        wire.send_frame(&out);
        let Got::Frame(frame) = wire.next(HANDSHAKE_WAIT) else {
            return Ok(false);
        };
        let Ok(answer) = ConnectResponse::decode(&frame) else {
            return Ok(false);
        };
        if answer.session_id == 0 || answer.timeout_ms <= 0 {
            return Err(Trouble::Expired);
        }
        self.last_word = word;
        self.last_answer = Instant::now();
        self.id = answer.session_id;
        self.passwd = answer.passwd;
        self.timeout = Duration::from_millis(answer.timeout_ms as u64);
        if !self.watches.is_empty() {
            wire.send_frame(&self.set_watches());
        }
        self.wire = Some(wire);
        Ok(true)
    }

    fn set_watches(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_int(XID_SET_WATCHES);
        out.put_int(OpCode::SetWatches.code());
        out.put_long(self.last_zxid);
        out.put_int(self.watches.len() as i32);
        self.watches.keys().for_each(|path| out.put_buffer(Some(path.as_bytes())));
        out.put_int(0);
        out.put_int(0);
        out
    }

    /// One request and its answer. A failed one costs the connection, never the session.
    pub fn call(&mut self, op: OpCode, body: &[u8]) -> Result<Answer, Trouble> {
        if self.wire.is_none() {
            self.connect(self.timeout * 2)?;
        }
        self.xid += 1;
        let xid = if op == OpCode::Ping { XID_PING } else { self.xid };
        let mut out = Vec::with_capacity(body.len() + 8);
        out.put_int(xid);
        out.put_int(op.code());
        out.extend_from_slice(body);
        self.last_word = Instant::now();
        if let Some(wire) = &mut self.wire {
            wire.send_frame(&out);
        }
        let answer = self.answer(xid);
        if answer.is_err() {
            self.hang_up();
        }
        answer
    }

    fn answer(&mut self, xid: i32) -> Result<Answer, Trouble> {
        let deadline = Instant::now() + self.answer_wait();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let wire = self.wire.as_mut().ok_or(Trouble::Unknown)?;
            let Got::Frame(frame) = wire.next(left) else {
                return Err(Trouble::Unknown);
            };
            let mut r = Reader::new(&frame);
            let header = ReplyHeader::decode(&mut r).map_err(|_| Trouble::Unknown)?;
            match header.xid {
                XID_EVENT => self.note_event(r),
                XID_SET_WATCHES => {}
                got if got == xid => {
                    self.last_answer = Instant::now();
                    if header.zxid.0 > 0 {
                        self.last_zxid = self.last_zxid.max(header.zxid.0);
                    }
                    let answer =
                        Answer { zxid: header.zxid.0, err: header.err, body: r.rest().to_vec() };
                    return match header.err {
                        SESSION_EXPIRED => Err(Trouble::Expired),
                        SESSION_MOVED => Err(Trouble::Unknown),
                        _ => Ok(answer),
                    };
                }
                got => panic!("an answer to {got} where {xid} was asked"),
            }
        }
    }

    fn note_event(&mut self, mut r: Reader<'_>) {
        let (_kind, _state) = (r.int(), r.int());
        if let Ok(Some(path)) = r.buffer() {
            let path = String::from_utf8_lossy(path).into_owned();
            self.watches.remove(&path);
            self.events.push_back(path);
        }
    }

    pub fn ping(&mut self) -> Result<Answer, Trouble> {
        self.call(OpCode::Ping, &[])
    }

    pub fn sync(&mut self, path: &str) -> Result<Answer, Trouble> {
        self.call(OpCode::Sync, &bodies::path_only(Some(path.as_bytes())))
    }

    /// getData; `watch` leaves a watch that survives reconnects.
    pub fn get(&mut self, path: &str, watch: bool) -> Result<Answer, Trouble> {
        let answer =
            self.call(OpCode::GetData, &bodies::path_watch(Some(path.as_bytes()), watch))?;
        if watch && answer.err == 0 {
            self.watches.insert(path.to_string(), ());
        }
        Ok(answer)
    }

    pub fn exists(&mut self, path: &str) -> Result<bool, Trouble> {
        let body = bodies::path_watch(Some(path.as_bytes()), false);
        Ok(self.call(OpCode::Exists, &body)?.err == 0)
    }

    pub fn set(&mut self, path: &str, data: &[u8], version: i32) -> Result<Answer, Trouble> {
        self.call(OpCode::SetData, &bodies::set_data(Some(path.as_bytes()), Some(data), version))
    }

    pub fn create(&mut self, path: &str, data: &[u8], flags: i32) -> Result<Answer, Trouble> {
        self.call(OpCode::Create, &bodies::create_open(path, data, flags))
    }

    pub fn delete(&mut self, path: &str) -> Result<Answer, Trouble> {
        self.call(OpCode::Delete, &bodies::path_int(Some(path.as_bytes()), -1))
    }

    pub fn close(&mut self) -> Result<(), Trouble> {
        self.call(OpCode::CloseSession, &[]).map(drop)
    }

    /// Repeats what does no harm when done twice until it is answered.
    pub fn surely<T>(
        &mut self,
        what: &str,
        mut act: impl FnMut(&mut Self) -> Result<T, Trouble>,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match act(self) {
                Ok(done) => return done,
                Err(Trouble::Expired) => panic!("{what}: the session expired"),
                Err(trouble) => assert!(Instant::now() < deadline, "{what}: {trouble:?}"),
            }
        }
    }
}
