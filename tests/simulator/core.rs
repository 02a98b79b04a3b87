//! A client core of a simulated server: connections, the order of their sessions' requests, reads, watches. It obeys
//! the order rule as the production room does: read the tree at one zxid, drain the mailbox up to it, leave the watch,
//! answer.

use std::collections::VecDeque;
use std::sync::Arc;

use ringkeeper::auth::Identities;
use ringkeeper::base::slab::{Key, Slab};
use ringkeeper::base::{SessionId, Sid, Zxid};
use ringkeeper::pipeline::messages::{RequestBatch, Serving, WriteRequest};
use ringkeeper::pipeline::{CommitBatch, ConnToken, Item, ToShard, ToZab};
use ringkeeper::session::password;
use ringkeeper::tree::Tree;
use ringkeeper::watch::{WatchKind, WatchTable};
use ringkeeper::wire::{ErrorCode, EventType, JuteWrite, OpCode, Stat};

use crate::checkers::model::Seen;

/// What a client sends over its connection.
pub enum Input {
    Write { xid: i32, op: OpCode, body: Vec<u8> },
    Read { path: String, watch: bool },
}

/// What it gets.
pub enum Output {
    Ready { session: SessionId, zxid: Zxid, read_only: bool },
    Rejected,
    Reply { xid: i32, zxid: Zxid, err: i32 },
    Read { path: String, zxid: Zxid, seen: Option<Seen>, watch: bool },
    Event { path: String, zxid: Zxid },
    Closed,
}

struct Conn {
    client: usize,
    session: Option<SessionId>,
    /// Writes that the Zab core has.
    under_way: usize,
    /// The request that ends the session: its answer is the last.
    last_xid: Option<i32>,
    input: VecDeque<Input>,
}

pub struct ClientCore {
    sid: Sid,
    tree: Option<Arc<Tree>>,
    forward_sync: bool,
    /// Its server has no quorum.
    read_only: bool,
    pub mailbox: VecDeque<ToShard>,
    watches: WatchTable,
    conns: Slab<Conn>,
    /// For the clients, in order.
    pub outputs: Vec<(usize, Output)>,
    /// For the Zab core.
    pub messages: Vec<ToZab>,
}

impl ClientCore {
    pub fn new(sid: Sid) -> ClientCore {
        ClientCore {
            sid,
            tree: None,
            forward_sync: false,
            read_only: false,
            mailbox: VecDeque::new(),
            watches: WatchTable::new(),
            conns: Slab::default(),
            outputs: Vec::new(),
            messages: Vec::new(),
        }
    }

    fn token(&self, conn: Key) -> ConnToken {
        ConnToken { shard: self.sid.0 as u16, conn }
    }

    /// A handshake, of one who makes do with a server that has no quorum or does not. `None`: the client must try
    /// another server.
    pub fn connect(
        &mut self,
        client: usize,
        (session, seen): (Option<SessionId>, Zxid),
        timeout_ms: i32,
        makes_do: bool,
    ) -> Option<Key> {
        let applied = self.tree.as_ref()?.applied();
        if seen > applied || (self.read_only && !makes_do) {
            return None;
        }
        let conn =
            Conn { client, session: None, under_way: 0, last_xid: None, input: VecDeque::new() };
        let key = self.conns.insert(conn);
        let conn = self.token(key);
        self.messages.push(match session {
            None => ToZab::CreateSession { conn, timeout_ms },
            Some(session) => {
                let passwd = password(session).to_vec();
                ToZab::ResumeSession { conn, session, passwd, timeout_ms }
            }
        });
        Some(key)
    }

    pub fn input(&mut self, key: Key, input: Input) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.input.push_back(input);
            self.go_on(key);
        }
    }

    /// The client is gone, or the server.
    pub fn close(&mut self, key: Key) {
        if let Some(conn) = self.conns.remove(key) {
            self.watches.remove_watcher(key);
            self.outputs.push((conn.client, Output::Closed));
        }
    }

    pub fn close_all(&mut self) {
        self.conns.keys().into_iter().for_each(|key| self.close(key));
    }

    /// The server is gone.
    pub fn power_off(&mut self) {
        self.tree = None;
        self.mailbox.clear();
        self.messages.clear();
        self.close_all();
    }

    /// Acts on what the mailbox holds.
    pub fn turn(&mut self) {
        let applied = self.tree.as_ref().map_or(Zxid(i64::MIN), |tree| tree.applied());
        self.drain_to(applied);
        for key in self.conns.keys() {
            self.go_on(key);
        }
    }

    fn drain_to(&mut self, zxid: Zxid) {
        while let Some(next) = self.mailbox.pop_front() {
            match next {
                ToShard::Committed(batch) if batch.zxid > zxid => {
                    self.mailbox.push_front(ToShard::Committed(batch));
                    return;
                }
                ToShard::Committed(batch) => self.deliver(&batch),
                ToShard::Suspend => {
                    self.tree = None;
                    self.close_all();
                }
                ToShard::Serve(Serving { tree, forward_sync, read_only }) => {
                    (self.tree, self.forward_sync) = (Some(tree), forward_sync);
                    self.read_only = read_only;
                    return;
                }
                _ => {}
            }
        }
    }

    /// A session's requests in their order: a read waits for the writes before it.
    fn go_on(&mut self, key: Key) {
        while let Some(conn) = self.conns.get_mut(key) {
            let Some(session) = conn.session else { return };
            match conn.input.front() {
                None => return,
                Some(Input::Read { .. }) if conn.under_way > 0 => return,
                Some(_) => {}
            }
            match conn.input.pop_front() {
                Some(Input::Write { xid, op, .. })
                    if self.read_only && op != OpCode::CloseSession =>
                {
                    let Some(tree) = &self.tree else { return };
                    let (zxid, err) = (tree.applied(), ErrorCode::NotReadOnly.code());
                    self.answer(key, Output::Reply { xid, zxid, err });
                }
                Some(Input::Write { xid, op: OpCode::Sync, .. }) if !self.forward_sync => {
                    // Like a read: behind the writes before it.
                    if conn.under_way > 0 {
                        conn.input.push_front(Input::Write { xid, op: OpCode::Sync, body: vec![] });
                        return;
                    }
                    let Some(tree) = &self.tree else { return };
                    let zxid = tree.applied();
                    self.drain_to(zxid);
                    self.answer(key, Output::Reply { xid, zxid, err: 0 });
                }
                Some(Input::Write { xid, op, body }) => {
                    conn.under_way += 1;
                    if op == OpCode::CloseSession {
                        conn.last_xid = Some(xid);
                    }
                    let shard = self.sid.0 as u16;
                    let range = 0..body.len() as u32;
                    let identities = Identities::none();
                    let (op, conn) = (op.code(), key);
                    let request = WriteRequest { conn, session, xid, op, body: range, identities };
                    let batch =
                        RequestBatch { shard, sent_at: 0, bytes: body, requests: vec![request] };
                    self.messages.push(ToZab::Requests(batch));
                }
                Some(Input::Read { path, watch }) => self.read(key, path, watch),
                None => return,
            }
        }
    }

    fn read(&mut self, key: Key, path: String, watch: bool) {
        let Some(tree) = &self.tree else { return };
        let (zxid, seen) = tree.read(|view| {
            let stat = view.lookup(path.as_bytes()).map(|node| node.stat())?;
            let Stat { czxid, mzxid, version, .. } = stat;
            Some(Seen { czxid: Zxid(czxid), mzxid: Zxid(mzxid), version })
        });
        self.drain_to(zxid);
        if self.conns.get(key).is_none() {
            return;
        }
        if watch {
            self.watches.add(path.as_bytes(), key, WatchKind::Data);
        }
        self.answer(key, Output::Read { path, zxid, seen, watch });
    }

    fn answer(&mut self, key: Key, output: Output) {
        if let Some(conn) = self.conns.get(key) {
            self.outputs.push((conn.client, output));
        }
    }

    fn deliver(&mut self, batch: &CommitBatch) {
        let shard = self.sid.0 as u16;
        for item in &batch.items {
            match item {
                Item::Event { event, path, zxid, .. } => {
                    self.fire(*event, batch.slice(path), *zxid);
                }
                Item::Deleted { path, zxid, .. } => {
                    self.fire(EventType::NodeDeleted, batch.slice(path), *zxid);
                }
                Item::Reply { conn, xid, zxid, err, .. } if conn.shard == shard => {
                    if let Some(at) = self.conns.get_mut(conn.conn) {
                        at.under_way -= 1;
                        let is_last = at.last_xid == Some(*xid);
                        self.answer(conn.conn, Output::Reply { xid: *xid, zxid: *zxid, err: *err });
                        if is_last {
                            self.close(conn.conn);
                        }
                    }
                }
                Item::SessionReady { conn, session, .. } => {
                    if let Some(at) = self.conns.get_mut(conn.conn) {
                        at.session = Some(*session);
                        let (session, zxid, read_only) = (*session, batch.zxid, self.read_only);
                        self.answer(conn.conn, Output::Ready { session, zxid, read_only });
                    }
                }
                Item::SessionRejected { conn } => {
                    self.answer(conn.conn, Output::Rejected);
                    self.close(conn.conn);
                }
                Item::Close { conn } if conn.shard == shard => self.close(conn.conn),
                _ => {}
            }
        }
    }

    fn fire(&mut self, event: EventType, path: &[u8], zxid: Zxid) {
        let text = String::from_utf8_lossy(path).into_owned();
        let (conns, outputs) = (&self.conns, &mut self.outputs);
        self.watches.trigger(event, path, &mut |key| {
            if let Some(conn) = conns.get(key) {
                outputs.push((conn.client, Output::Event { path: text.clone(), zxid }));
            }
        });
    }
}

/// The body of a create, open to everybody.
pub fn create_body(path: &str, ephemeral: bool) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_buffer(Some(path.as_bytes()));
    body.put_buffer(Some(b"data"));
    body.extend_from_slice(ringkeeper::wire::acl::OPEN_ACL_UNSAFE.as_bytes());
    body.put_int(i32::from(ephemeral));
    body
}

/// The body of a setData.
pub fn set_body(path: &str, version: i32) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_buffer(Some(path.as_bytes()));
    body.put_buffer(Some(b"other"));
    body.put_int(version);
    body
}

/// The body of a delete.
pub fn delete_body(path: &str, version: i32) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_buffer(Some(path.as_bytes()));
    body.put_int(version);
    body
}

/// The body of a sync.
pub fn sync_body() -> Vec<u8> {
    let mut body = Vec::new();
    body.put_buffer(Some(b"/"));
    body
}
