//! Clients: each holds a session on some server, writes, and remembers what was acknowledged.

use std::collections::{BTreeMap, HashMap, VecDeque};

use ringkeeper::auth::Identities;
use ringkeeper::base::prng::Prng;
use ringkeeper::base::slab::Slab;
use ringkeeper::base::{MonoMs, SessionId, Sid, Zxid};
use ringkeeper::peer::ServerState;
use ringkeeper::pipeline::messages::{RequestBatch, WriteRequest};
use ringkeeper::pipeline::{CommitBatch, ConnToken, Item, ToZab};
use ringkeeper::session::{Touch, password};
use ringkeeper::wire::acl::OPEN_ACL_UNSAFE;
use ringkeeper::wire::{JuteWrite, OpCode};

use crate::checkers::Checkers;
use crate::world::Node;

const CLIENTS_PER_SERVER: usize = 3;
const TIMEOUT_MS: i32 = 4000;
/// Requests of one client under way.
const IN_FLIGHT_MAX: usize = 4;

pub struct Pending {
    pub xid: i32,
    pub path: String,
}

pub struct Client {
    pub conn: ConnToken,
    pub session: Option<SessionId>,
    pub pending: VecDeque<Pending>,
    /// The newest zxid it has seen: no server behind it may serve it.
    pub seen: Zxid,
    next_xid: i32,
    touched: MonoMs,
}

/// Sessions that wait for a server to resume them.
struct Orphan {
    session: SessionId,
    seen: Zxid,
}

#[derive(Default)]
pub struct Clients {
    by_server: BTreeMap<Sid, Vec<Client>>,
    orphans: Vec<Orphan>,
    /// What the sessions being resumed have seen.
    resuming: HashMap<ConnToken, Zxid>,
    keys: Slab<()>,
    made: u64,
    /// Nobody asks for anything any more.
    pub quiet: bool,
}

fn token(keys: &mut Slab<()>, sid: Sid) -> ConnToken {
    ConnToken { shard: sid.0 as u16, conn: keys.insert(()) }
}

impl Clients {
    pub fn server_gone(&mut self, sid: Sid) {
        for client in self.by_server.remove(&sid).unwrap_or_default() {
            if let Some(session) = client.session {
                self.orphans.push(Orphan { session, seen: client.seen });
            }
        }
        self.resuming.retain(|conn, _| conn.shard != sid.0 as u16);
    }

    /// What the clients of a server say to it now.
    pub fn requests(&mut self, sid: Sid, node: &Node, now: MonoMs, prng: &mut Prng) -> Vec<ToZab> {
        let mut messages = Vec::new();
        if node.host.suspended || self.quiet {
            return messages;
        }
        let applied = node.peer.as_ref().map_or(Zxid::ZERO, |peer| peer.tree().tree().applied());
        let count = self.by_server.entry(sid).or_default().len();
        if count < CLIENTS_PER_SERVER && prng.below(10) == 0 {
            messages.push(self.connect(sid, applied, now));
        }
        // A leader's own client cores answer syncs by themselves.
        let learns = matches!(node.host.state, ServerState::Following | ServerState::Observing);
        let Clients { by_server, made, .. } = self;
        for client in by_server.entry(sid).or_default() {
            let Some(session) = client.session else { continue };
            if now - client.touched > 500 {
                client.touched = now;
                let touch = Touch { id: session, at: now, timeout_ms: TIMEOUT_MS };
                messages.push(ToZab::Touches(vec![touch]));
            }
            if client.pending.len() < IN_FLIGHT_MAX && prng.below(3) == 0 {
                *made += 1;
                messages.push(client.create(session, *made, prng.below(12) == 0));
            }
            if learns && client.pending.len() < IN_FLIGHT_MAX && prng.below(6) == 0 {
                messages.push(client.sync(session));
            }
        }
        messages
    }

    /// A new session, or one whose server is gone if this one has all it has seen.
    fn connect(&mut self, sid: Sid, applied: Zxid, now: MonoMs) -> ToZab {
        let conn = token(&mut self.keys, sid);
        let client = Client {
            conn,
            session: None,
            pending: VecDeque::new(),
            seen: Zxid::ZERO,
            next_xid: 1,
            touched: now,
        };
        self.by_server.entry(sid).or_default().push(client);
        match self.orphans.iter().position(|orphan| orphan.seen <= applied) {
            Some(at) => {
                let Orphan { session, seen } = self.orphans.remove(at);
                self.resuming.insert(conn, seen);
                let passwd = password(session).to_vec();
                ToZab::ResumeSession { conn, session, passwd, timeout_ms: TIMEOUT_MS }
            }
            None => ToZab::CreateSession { conn, timeout_ms: TIMEOUT_MS },
        }
    }

    /// What a server's client core would deliver.
    pub fn batch(&mut self, sid: Sid, batch: &CommitBatch, now: MonoMs, checkers: &mut Checkers) {
        for item in &batch.items {
            let conn = match item {
                Item::Reply { conn, .. }
                | Item::SessionReady { conn, .. }
                | Item::SessionRejected { conn }
                | Item::Close { conn } => *conn,
                Item::Event { .. } | Item::Deleted { .. } => continue,
            };
            let clients = self.by_server.entry(sid).or_default();
            let Some(at) = clients.iter().position(|client| client.conn == conn) else { continue };
            match item {
                Item::Reply { xid, zxid, err, .. } => {
                    clients[at].answer(*xid, *zxid, *err, checkers);
                }
                Item::SessionReady { session, .. } => {
                    clients[at].session = Some(*session);
                    clients[at].touched = now;
                    if let Some(seen) = self.resuming.remove(&conn) {
                        clients[at].seen = seen;
                    }
                }
                _ => {
                    self.resuming.remove(&conn);
                    clients.remove(at);
                }
            }
        }
    }
}

impl Client {
    fn create(&mut self, session: SessionId, n: u64, ephemeral: bool) -> ToZab {
        let kind = if ephemeral { "e" } else { "p" };
        let path = format!("/{kind}{n}");
        let mut body = Vec::new();
        body.put_buffer(Some(path.as_bytes()));
        body.put_buffer(Some(b"data"));
        body.extend_from_slice(OPEN_ACL_UNSAFE.as_bytes());
        body.put_int(i32::from(ephemeral));
        self.request(session, OpCode::Create, body, path)
    }

    /// Its answer must keep its place among those to writes.
    fn sync(&mut self, session: SessionId) -> ToZab {
        let mut body = Vec::new();
        body.put_buffer(Some(b"/"));
        self.request(session, OpCode::Sync, body, String::new())
    }

    fn request(&mut self, session: SessionId, op: OpCode, body: Vec<u8>, path: String) -> ToZab {
        let xid = self.next_xid;
        self.next_xid += 1;
        self.pending.push_back(Pending { xid, path });
        let request = WriteRequest {
            conn: self.conn.conn,
            session,
            xid,
            op: op.code(),
            body: 0..body.len() as u32,
            identities: Identities::none(),
        };
        let (shard, requests) = (self.conn.shard, vec![request]);
        ToZab::Requests(RequestBatch { shard, sent_at: 0, bytes: body, requests })
    }

    fn answer(&mut self, xid: i32, zxid: Zxid, err: i32, checkers: &mut Checkers) {
        let Some(first) = self.pending.pop_front() else { panic!("an answer without a question") };
        assert_eq!(first.xid, xid, "answers out of order");
        assert!(zxid >= self.seen, "time runs backwards: {zxid} after {}", self.seen);
        self.seen = zxid;
        if err == 0 && !first.path.is_empty() {
            checkers.acknowledged(&first.path, zxid, self.session);
        }
    }
}
