//! Clients: each speaks for one session on whatever server takes it, writes, reads, watches, moves on, and tells the
//! checkers what it asked for and what it was told.

use std::collections::{BTreeMap, VecDeque};

use ringkeeper::base::prng::Prng;
use ringkeeper::base::slab::Key;
use ringkeeper::base::{MonoMs, SessionId, Sid, Zxid};
use ringkeeper::pipeline::ToZab;
use ringkeeper::session::Touch;
use ringkeeper::wire::{ErrorCode, OpCode};

use crate::checkers::linearizable_writes::Ask;
use crate::checkers::sessions::TOUCH_MS;
use crate::checkers::{Checkers, violated};
use crate::core::{ClientCore, Input, Output, create_body, delete_body, set_body, sync_body};
use crate::world::Node;

const CLIENTS_PER_SERVER: usize = 3;
const TIMEOUT_MS: i32 = 4000;
/// Requests of one client under way.
const IN_FLIGHT_MAX: usize = 4;
/// Nodes that all clients fight for.
const SHARED: u64 = 4;

/// A write that was sent.
struct Pending {
    xid: i32,
    path: String,
    ask: Ask,
    /// It began after this was acknowledged.
    floor: Zxid,
}

#[derive(Default)]
struct Client {
    /// It takes a server without a quorum when it meets one, as `readOnly` in a handshake says.
    makes_do: bool,
    /// Its server is one.
    read_only: bool,
    session: Option<SessionId>,
    at: Option<(Sid, Key)>,
    /// The server has taken the session.
    ready: bool,
    retry_at: MonoMs,
    seen: Zxid,
    next_xid: i32,
    touched: MonoMs,
    pending: VecDeque<Pending>,
    /// Its own nodes that may be there.
    own: Vec<String>,
    /// The version of a shared node that it was told last.
    versions: BTreeMap<String, i32>,
}

pub struct Clients {
    clients: Vec<Client>,
    /// For whatever readers without a quorum do: the others' choices stay what they were.
    readers: Prng,
    made: u64,
    /// Nobody asks for anything any more.
    pub quiet: bool,
}

impl Clients {
    pub fn new(servers: usize, seed: u64) -> Clients {
        let mut readers = Prng::new(seed ^ 0x0072_6561_6465_7273);
        let client = |_| Client { makes_do: readers.below(3) == 0, ..Client::default() };
        let clients = (0..servers * CLIENTS_PER_SERVER).map(client).collect();
        Clients { clients, readers, made: 0, quiet: false }
    }

    /// A server that its clients do not hear from for a while.
    pub fn paused(&self, sid: Sid, until: MonoMs, checkers: &mut Checkers) {
        for client in self.clients.iter().filter(|client| client.at.is_some_and(|at| at.0 == sid)) {
            if let Some(session) = client.session.filter(|_| client.ready) {
                checkers.sessions.interrupted(session, until);
            }
        }
    }

    /// All fall silent, their sessions with them.
    pub fn fall_silent(&mut self, now: MonoMs, checkers: &mut Checkers) {
        self.quiet = true;
        for client in &self.clients {
            if let Some(session) = client.session {
                checkers.sessions.detached(session, now);
            }
        }
    }

    /// What clients do in this millisecond.
    pub fn act(
        &mut self,
        nodes: &mut BTreeMap<Sid, Node>,
        now: MonoMs,
        prng: &mut Prng,
        checkers: &mut Checkers,
    ) {
        if self.quiet {
            return;
        }
        for index in 0..self.clients.len() {
            if prng.below(5) > 0 {
                continue;
            }
            match self.clients[index].at {
                None => self.connect(index, nodes, now, prng),
                Some((sid, key)) => {
                    let Some(node) = nodes.get_mut(&sid) else { continue };
                    if now < node.paused_until || !self.clients[index].ready {
                        continue;
                    }
                    if self.clients[index].read_only {
                        self.clients[index].make_do(key, &mut node.core, now, &mut self.readers);
                    } else {
                        self.speak(index, key, &mut node.core, now, prng, checkers);
                    }
                }
            }
        }
    }

    fn connect(
        &mut self,
        index: usize,
        nodes: &mut BTreeMap<Sid, Node>,
        now: MonoMs,
        prng: &mut Prng,
    ) {
        let client = &mut self.clients[index];
        if now < client.retry_at {
            return;
        }
        client.retry_at = now + 10 + prng.below(100) as i64;
        let sid = Sid(1 + prng.below(nodes.len() as u64) as i64);
        let Some(node) = nodes.get_mut(&sid).filter(|node| now >= node.paused_until) else {
            return;
        };
        let Client { session, seen, makes_do, .. } = *client;
        if let Some(key) = node.core.connect(index, (session, seen), TIMEOUT_MS, makes_do) {
            client.at = Some((sid, key));
        }
    }

    fn speak(
        &mut self,
        index: usize,
        key: Key,
        core: &mut ClientCore,
        now: MonoMs,
        prng: &mut Prng,
        checkers: &mut Checkers,
    ) {
        let client = &mut self.clients[index];
        let Some(session) = client.session else { return };
        client.touch(session, core, now);
        if prng.below(800) == 0 {
            // It moves to another server and leaves what is under way.
            return core.close(key);
        }
        if prng.below(4) == 0 {
            let path = shared(prng);
            let watch = prng.below(2) == 0;
            core.input(key, Input::Read { path, watch });
        }
        if client.pending.len() >= IN_FLIGHT_MAX || prng.below(3) > 0 {
            return;
        }
        self.made += 1;
        let (op, path, ask, body) = draw(client, self.made, prng);
        let xid = client.next_xid;
        client.next_xid += 1;
        if ask == Ask::Close {
            checkers.sessions.closing(session);
        }
        if op != OpCode::Sync {
            checkers.integrity.asked(session, xid, op, &path);
        }
        let floor = checkers.linearizable.floor();
        client.pending.push_back(Pending { xid, path, ask, floor });
        core.input(key, Input::Write { xid, op, body });
    }

    /// What a server's client core says to its clients.
    pub fn told(
        &mut self,
        sid: Sid,
        outputs: Vec<(usize, Output)>,
        now: MonoMs,
        checkers: &mut Checkers,
    ) {
        for (index, output) in outputs {
            let client = &mut self.clients[index];
            if client.at.is_none_or(|at| at.0 != sid) {
                continue;
            }
            match output {
                Output::Ready { session, zxid, read_only } => {
                    client.ready(index, session, zxid, now, checkers);
                    client.read_only = read_only;
                    if read_only {
                        checkers.read_only.begins(session, checkers.sessions.made(session));
                    }
                    if self.quiet {
                        checkers.sessions.detached(session, now);
                    }
                }
                Output::Rejected => {
                    if let Some(session) = client.session.take() {
                        checkers.sessions.rejected(session, client.seen, now);
                    }
                }
                Output::Reply { xid, zxid, err } => {
                    client.told(index, zxid, checkers);
                    client.answer(xid, zxid, err, checkers);
                }
                Output::Read { path, zxid, seen, watch } => {
                    checkers.watch_order.read(index, &path, zxid, seen);
                    client.told(index, zxid, checkers);
                    if client.read_only {
                        let Checkers { read_only, total_order, model, .. } = checkers;
                        read_only.read(&path, zxid, seen, total_order.contains(zxid), model);
                    } else {
                        checkers.monotone_reads.read(&path, zxid, seen, &checkers.model);
                    }
                    if watch {
                        checkers.watch_order.left(index, &path, zxid, seen);
                    }
                    client.versions.insert(path, seen.map_or(-1, |seen| seen.version));
                }
                Output::Event { path, zxid } => {
                    if client.read_only {
                        violated("read only", format!("an event of {path} at {zxid}"));
                    }
                    checkers.watch_order.event(index, &path, zxid);
                    checkers.monotone_reads.told(index, zxid);
                }
                Output::Closed => client.closed(index, now, checkers),
            }
        }
    }
}

/// A request: what for, which node, what the client expects, its body.
fn draw(client: &mut Client, made: u64, prng: &mut Prng) -> (OpCode, String, Ask, Vec<u8>) {
    match prng.below(100) {
        0..30 => {
            let path = format!("/p{made}");
            client.own.push(path.clone());
            let body = create_body(&path, false);
            (OpCode::Create, path, Ask::Create, body)
        }
        30..38 => {
            let path = format!("/e{made}");
            let body = create_body(&path, true);
            (OpCode::Create, path, Ask::Create, body)
        }
        38..46 if !client.own.is_empty() => {
            let at = prng.below(client.own.len() as u64) as usize;
            let path = client.own.swap_remove(at);
            let body = delete_body(&path, -1);
            (OpCode::Delete, path, Ask::Delete(-1), body)
        }
        46..52 => {
            let path = shared(prng);
            let ephemeral = prng.below(8) == 0;
            let body = create_body(&path, ephemeral);
            (OpCode::Create, path, Ask::Create, body)
        }
        52..56 => {
            let path = shared(prng);
            let version = client.versions.get(&path).copied().unwrap_or(-1);
            let body = delete_body(&path, version);
            (OpCode::Delete, path, Ask::Delete(version), body)
        }
        56..64 => (OpCode::Sync, String::new(), Ask::Sync, sync_body()),
        64 if prng.below(8) == 0 => (OpCode::CloseSession, String::new(), Ask::Close, Vec::new()),
        _ => {
            let path = shared(prng);
            let known = client.versions.get(&path).copied().unwrap_or(-1);
            let version = if prng.below(3) == 0 { -1 } else { known };
            let body = set_body(&path, version);
            (OpCode::SetData, path, Ask::Set(version), body)
        }
    }
}

fn shared(prng: &mut Prng) -> String {
    format!("/r{}", prng.below(SHARED))
}

impl Client {
    fn touch(&mut self, session: SessionId, core: &mut ClientCore, now: MonoMs) {
        if now - self.touched >= TOUCH_MS - 10 {
            self.touched = now;
            let touch = Touch { id: session, at: now, timeout_ms: TIMEOUT_MS };
            core.messages.push(ToZab::Touches(vec![touch]));
        }
    }

    /// On a server without a quorum: it reads, finds out now and then that nobody can write there, and after a while
    /// looks for a server that has one.
    fn make_do(&mut self, key: Key, core: &mut ClientCore, now: MonoMs, prng: &mut Prng) {
        let Some(session) = self.session else { return };
        self.touch(session, core, now);
        if prng.below(200) == 0 {
            return core.close(key);
        }
        if prng.below(4) == 0 {
            let (path, watch) = (shared(prng), prng.below(2) == 0);
            return core.input(key, Input::Read { path, watch });
        }
        if !self.pending.is_empty() || prng.below(20) > 0 {
            return;
        }
        let path = shared(prng);
        let (op, ask, body) = match prng.below(10) {
            0 => (OpCode::CloseSession, Ask::Close, Vec::new()),
            1..3 => (OpCode::Sync, Ask::Sync, sync_body()),
            3..6 => (OpCode::Create, Ask::Create, create_body(&path, false)),
            _ => (OpCode::SetData, Ask::Set(-1), set_body(&path, -1)),
        };
        let (xid, floor) = (self.next_xid, Zxid::ZERO);
        self.next_xid += 1;
        self.pending.push_back(Pending { xid, path, ask, floor });
        core.input(key, Input::Write { xid, op, body });
    }

    fn told(&mut self, index: usize, zxid: Zxid, checkers: &mut Checkers) {
        checkers.monotone_reads.told(index, zxid);
        checkers.watch_order.answer(index, zxid, &checkers.model);
        self.seen = self.seen.max(zxid);
    }

    fn ready(
        &mut self,
        index: usize,
        session: SessionId,
        zxid: Zxid,
        now: MonoMs,
        checkers: &mut Checkers,
    ) {
        checkers.sessions.attached(session, TIMEOUT_MS, now);
        if self.session != Some(session) {
            if let Some(made) = checkers.sessions.made(session) {
                checkers.no_lost_write.acknowledged(made, "a session");
            }
            checkers.monotone_reads.begins(index);
            self.seen = Zxid::ZERO;
            self.next_xid = 1;
            self.own.clear();
        }
        self.told(index, zxid.max(self.seen), checkers);
        (self.session, self.ready, self.touched) = (Some(session), true, now);
    }

    fn closed(&mut self, index: usize, now: MonoMs, checkers: &mut Checkers) {
        if let Some(session) = self.session.filter(|_| self.ready) {
            checkers.sessions.detached(session, now);
        }
        checkers.watch_order.gone(index);
        (self.at, self.ready, self.read_only) = (None, false, false);
        self.pending.clear();
    }

    fn answer(&mut self, xid: i32, zxid: Zxid, err: i32, checkers: &mut Checkers) {
        let Some(Pending { xid: first, path, ask, floor }) = self.pending.pop_front() else {
            violated("integrity", "an answer without a question");
        };
        if first != xid {
            let text = format!("answer {xid} where {first} is due");
            violated("integrity", text);
        }
        if self.read_only {
            checkers.read_only.answered(ask == Ask::Close, err);
            self.session = self.session.filter(|_| ask != Ask::Close);
            return;
        }
        let local = self.session.is_some_and(|session| checkers.sessions.is_local(session));
        // Neither is a transaction.
        let refused = err == ErrorCode::EphemeralOnLocalSession.code();
        if local && (refused || ask == Ask::Close) {
            self.session = self.session.filter(|_| refused);
            return;
        }
        checkers.linearizable.answered((&ask, &path), floor, (zxid, err), &checkers.model);
        if ask != Ask::Sync {
            checkers.no_lost_write.acknowledged(zxid, &format!("{ask:?} {path}"));
        }
        if ask == Ask::Close && err == 0 {
            self.session = None;
        }
    }
}
