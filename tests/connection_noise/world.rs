//! A client core without sockets and a Zab core without a log, driven by a script of bytes: whose bytes come next
//! and in which segments, when either core gets its turn, when sockets are slow, when connections break. The fuzz
//! target and the seeded test share it.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringkeeper::auth::{Auth, AuthConfig, Identities};
use ringkeeper::base::slab::Key;
use ringkeeper::base::{SessionId, Zxid};
use ringkeeper::pipeline::apply::ReplyTo;
use ringkeeper::pipeline::messages::RequestBatch;
use ringkeeper::pipeline::prep::PrepOptions;
use ringkeeper::pipeline::{
    Applier, CommitBatch, ConnToken, Item, Mailbox, Outcome, Prep, PrepContext, ToShard, ToZab,
    Wake, Write,
};
use ringkeeper::session::{SessionIds, SessionTracker, password, password_matches};
use ringkeeper::shard::{
    Admission, CommandHandler, InputEffect, LargeOptions, Links, PendingAnswer, Shard,
    ShardOptions, ThrottleOptions,
};
use ringkeeper::tree::{OwnerOptions, TreeWriter};
use ringkeeper::wire::OpCode;
use ringkeeper::wire::connect::ConnectRequest;
use ringkeeper::wire::four_letter::FourLetterWord;

/// Small limits, so that a short script meets all of them.
const MAX_FRAME_BYTES: usize = 2048;
const READ_CHUNK_BYTES: usize = 256;
const OUTSTANDING_LIMIT: usize = 8;
const THROTTLED_REQUESTS: usize = 3;
const OUT_BYTES_HIGH: usize = 1024;
const OUT_BYTES_MAX: usize = 8192;
const INBOX_SLOTS: usize = 3;
/// What one turn may add to an output that was below its mark: a read of the largest node or list of children.
const REPLY_BYTES_MAX: usize = 256 << 10;

pub const SLOTS: usize = 4;

/// What a byte of the script asks for; its two upper bits name the connection.
pub mod action {
    /// Up to here: a segment; its length follows, then its bytes.
    pub const SEGMENT_MAX: u8 = 31;
    pub const HANDSHAKE: u8 = 32;
    pub const ZAB_TURN: u8 = 33;
    /// Takes requests, commits nothing.
    pub const ZAB_PREPARE: u8 = 34;
    pub const SHARD_TURN: u8 = 35;
    /// A turn, but the socket takes only a few bytes.
    pub const SLOW_TURN: u8 = 36;
    pub const DROP: u8 = 37;
    pub const TICK: u8 = 38;
    pub const EXPIRE: u8 = 39;
    pub const FINISH_COMMANDS: u8 = 40;
    pub const RESET_STATS: u8 = 41;
    pub const KINDS: u8 = 64;
}

/// Asks for a new session.
pub fn handshake_frame() -> Vec<u8> {
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0,
        timeout_ms: 10_000,
        session_id: 0,
        passwd: Some(&[0; 16]),
        read_only: Some(false),
    };
    let mut frame = vec![0; 4];
    request.encode(&mut frame);
    let len = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&len.to_be_bytes());
    frame
}

struct NoWake;

impl Wake for NoWake {
    fn wake(&self) {}
}

struct Answer;

impl PendingAnswer for Answer {
    fn poll(&mut self) -> Option<Vec<u8>> {
        Some(b"imok".to_vec())
    }
}

struct Commands;

impl CommandHandler for Commands {
    fn reads_mask(&self, word: FourLetterWord) -> bool {
        word == FourLetterWord::Stmk
    }

    fn start(&self, _: FourLetterWord, _: Option<[u8; 8]>) -> Box<dyn PendingAnswer> {
        Box::new(Answer)
    }
}

enum Pending {
    Txn { zxid: Zxid, bytes: Vec<u8>, reply: Option<ReplyTo>, connect: Option<Connect> },
    Item(Item),
    Refused(ReplyTo, i32),
}

type Connect = (ConnToken, SessionId, i32);

/// The Zab core's part, committing whatever it is told to.
struct Zab {
    tree: TreeWriter,
    sessions: SessionTracker,
    session_ids: SessionIds,
    auth: Arc<Auth>,
    prep: Prep,
    applier: Applier,
    attached: HashMap<SessionId, ConnToken>,
    pending: VecDeque<Pending>,
}

impl Zab {
    fn new(auth: Arc<Auth>) -> Zab {
        let tree = TreeWriter::new(OwnerOptions::default());
        let options = PrepOptions {
            digest_enabled: true,
            extended_types: false,
            close_session_txn: true,
            enforce_quota: false,
            reconfig_enabled: false,
            record_bytes_max: 2 << 20,
        };
        Zab {
            prep: Prep::new(options, Zxid::ZERO, tree.digest()),
            tree,
            sessions: SessionTracker::new(2000),
            session_ids: SessionIds::new(1, 1),
            auth,
            applier: Applier::default(),
            attached: HashMap::new(),
            pending: VecDeque::new(),
        }
    }

    fn take(&mut self, message: ToZab) {
        match message {
            ToZab::Requests(batch) => self.requests(&batch),
            ToZab::CreateSession { conn, timeout_ms } => {
                let session = self.session_ids.next_id();
                self.sessions.create(session, timeout_ms, 0);
                self.attached.insert(session, conn);
                let mut bytes = Vec::new();
                let zxid = self.prep.create_session(1, session, timeout_ms, &mut bytes);
                let connect = Some((conn, session, timeout_ms));
                self.pending.push_back(Pending::Txn { zxid, bytes, reply: None, connect });
            }
            ToZab::ResumeSession { conn, session, passwd, timeout_ms } => {
                if !self.sessions.is_open(session) || !password_matches(session, &passwd) {
                    self.pending.push_back(Pending::Item(Item::SessionRejected { conn }));
                    return;
                }
                if let Some(old) = self.attached.insert(session, conn) {
                    self.pending.push_back(Pending::Item(Item::Close { conn: old }));
                }
                let passwd = password(session);
                let ready = Item::SessionReady { conn, session, timeout_ms, passwd };
                self.pending.push_back(Pending::Item(ready));
            }
            ToZab::Touches(touches) => self.sessions.apply_touches(touches),
            ToZab::Report(_) | ToZab::ResetCounts | ToZab::SnapshotAdopted(_) | ToZab::Shutdown => {
            }
        }
    }

    fn requests(&mut self, batch: &RequestBatch) {
        for request in &batch.requests {
            let conn = ConnToken { shard: batch.shard, conn: request.conn };
            if self.attached.get(&request.session) != Some(&conn) {
                self.pending.push_back(Pending::Item(Item::Close { conn }));
                continue;
            }
            let body = &batch.bytes[request.body.start as usize..request.body.end as usize];
            let write = Write {
                session: request.session,
                cxid: request.xid,
                op: request.op,
                body,
                identities: &request.identities,
                local: None,
            };
            self.prepare(&write, Some(ReplyTo { conn, xid: request.xid }));
        }
    }

    fn prepare(&mut self, write: &Write<'_>, reply: Option<ReplyTo>) {
        let Zab { tree, sessions, auth, prep, .. } = self;
        let mut bytes = Vec::new();
        let outcome =
            prep.prepare(&mut PrepContext { tree, sessions, auth, now: 1 }, write, &mut bytes);
        self.pending.push_back(match (outcome, reply) {
            (Outcome::Txn(zxid), reply) => Pending::Txn { zxid, bytes, reply, connect: None },
            (Outcome::Refused(code), Some(to)) => Pending::Refused(to, code.code()),
            (Outcome::Dropped, Some(to)) => Pending::Item(Item::Close { conn: to.conn }),
            (_, None) => return,
        });
    }

    /// As when a session's time is over.
    fn expire(&mut self, session: SessionId) {
        let ids = Identities::none();
        let op = OpCode::CloseSession.code();
        self.prepare(
            &Write { session, cxid: 0, op, body: &[], identities: &ids, local: None },
            None,
        );
    }

    fn apply(&mut self, batch: &mut CommitBatch) {
        while let Some(next) = self.pending.pop_front() {
            match next {
                Pending::Item(item) => batch.items.push(item),
                Pending::Refused(ReplyTo { conn, xid }, err) => {
                    let zxid = batch.zxid;
                    batch.items.push(Item::Reply { conn, xid, zxid, err, body: 0..0 });
                }
                Pending::Txn { zxid, bytes, reply, connect } => {
                    let Zab { tree, sessions, applier, .. } = self;
                    let closed = applier.apply(tree, sessions, &bytes, reply, batch);
                    batch.zxid = zxid;
                    if let Some(session) = closed.expect("our own transaction")
                        && let Some(conn) = self.attached.remove(&session)
                        && reply.is_none()
                    {
                        batch.items.push(Item::Close { conn });
                    }
                    if let Some((conn, session, timeout_ms)) = connect {
                        let passwd = password(session);
                        let ready = Item::SessionReady { conn, session, timeout_ms, passwd };
                        batch.items.push(ready);
                    }
                }
            }
        }
    }
}

/// One client's socket.
#[derive(Default)]
struct Slot {
    key: Option<Key>,
    /// Sent by the client, not yet read by the server.
    unread: VecDeque<u8>,
}

pub struct World {
    shard: Shard,
    zab: Zab,
    links: Links,
    slots: [Slot; SLOTS],
    commands: VecDeque<Key>,
    /// Connections whose sockets have not taken everything.
    slow: Vec<Key>,
    now: Instant,
    /// Bytes that the server has sent to anybody.
    pub sent: usize,
    requests_max: usize,
    /// Handshakes that found their session.
    pub sessions: u64,
}

impl World {
    pub fn new() -> World {
        World::with(None, Admission::default())
    }

    /// With every limit that a configuration may set on requests.
    pub fn limited() -> World {
        let throttle = ThrottleOptions {
            requests_max: THROTTLED_REQUESTS,
            op_wait_ms: 5,
            stale_by_latency: true,
            drop_stale: true,
        };
        let large = LargeOptions { above_bytes: 300, in_flight_bytes_max: 2000 };
        World::with(Some(throttle), Admission::new(None, Some(large), 1))
    }

    fn with(throttle: Option<ThrottleOptions>, admission: Admission) -> World {
        let auth = Arc::new(Auth::new(AuthConfig::default()));
        let zab = Zab::new(auth.clone());
        let links = Links {
            tree: zab.tree.tree().clone(),
            auth,
            to_zab: Arc::new(Mailbox::new(INBOX_SLOTS, Box::new(NoWake))),
            mailbox: Arc::new(Mailbox::new(64, Box::new(NoWake))),
            admission: Arc::new(admission),
            commands: Arc::new(Commands),
            counters: Arc::default(),
            epoch: Instant::now(),
        };
        let options = ShardOptions {
            max_frame_bytes: MAX_FRAME_BYTES,
            session_timeout_ms_min: 4000,
            session_timeout_ms_max: 40_000,
            outstanding_limit: OUTSTANDING_LIMIT,
            max_client_cnxns: 0,
            max_cnxns: 0,
            sessionless_timeout_ms: 10_000,
            tcp_keepalive: false,
            out_bytes_high: OUT_BYTES_HIGH,
            out_bytes_max: OUT_BYTES_MAX,
            read_chunk_bytes: READ_CHUNK_BYTES,
            throttle,
            eager_acl: throttle.is_some(),
        };
        World {
            shard: Shard::new(0, options, links.clone()),
            zab,
            requests_max: throttle.map_or(OUTSTANDING_LIMIT + SLOTS, |limit| limit.requests_max),
            now: links.epoch,
            links,
            slots: Default::default(),
            commands: VecDeque::new(),
            slow: Vec::new(),
            sent: 0,
            sessions: 0,
        }
    }

    /// Plays a script, lets everything come to rest, and takes the world down.
    pub fn play(&mut self, script: &[u8]) {
        let mut rest = script;
        while let Some((&control, after)) = rest.split_first() {
            rest = after;
            let slot = usize::from(control >> 6);
            match control % action::KINDS {
                0..=action::SEGMENT_MAX => {
                    let Some((&len, after)) = rest.split_first() else { break };
                    let (segment, after) = after.split_at(after.len().min(usize::from(len)));
                    rest = after;
                    self.send(slot, segment);
                }
                action::HANDSHAKE => self.handshake(slot),
                action::ZAB_TURN => self.zab_turn(true),
                action::ZAB_PREPARE => self.zab_turn(false),
                action::SHARD_TURN => self.shard_turn(false),
                action::SLOW_TURN => self.shard_turn(true),
                action::DROP => self.drop_conn(slot),
                action::TICK => self.tick(),
                action::EXPIRE => self.expire(slot),
                action::FINISH_COMMANDS => self.finish_commands(),
                action::RESET_STATS => {
                    let _ = self.links.mailbox.push(ToShard::ResetConnectionStats);
                }
                _ => {}
            }
            self.check();
        }
        self.settle();
        for slot in 0..SLOTS {
            self.drop_conn(slot);
        }
        self.shard.end_turn();
        let counters = self.links.counters.snapshot();
        assert_eq!((counters.outstanding, counters.connections, counters.watches), (0, 0, 0));
        assert_eq!(self.links.admission.large_bytes(), 0, "large requests that nobody has");
        assert_eq!(self.zab.applier.digest_mismatches, 0);
    }

    fn key(&mut self, slot: usize) -> Key {
        let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000 + slot as u16);
        *self.slots[slot].key.get_or_insert_with(|| self.shard.add_conn(peer))
    }

    fn send(&mut self, slot: usize, bytes: &[u8]) {
        self.key(slot);
        self.slots[slot].unread.extend(bytes);
        self.read(slot);
    }

    fn handshake(&mut self, slot: usize) {
        self.send(slot, &handshake_frame());
    }

    /// The server reads one chunk from a socket, if it wants any.
    fn read(&mut self, slot: usize) -> bool {
        let Some(key) = self.slots[slot].key else { return false };
        let unread = &mut self.slots[slot].unread;
        let wants = self.shard.conn(key).is_some_and(|conn| conn.wants_input(READ_CHUNK_BYTES));
        if !wants || unread.is_empty() {
            return false;
        }
        let chunk: Vec<u8> = unread.drain(..unread.len().min(READ_CHUNK_BYTES)).collect();
        if let InputEffect::Command(..) = self.shard.on_bytes(key, &chunk) {
            self.commands.push_back(key);
        }
        true
    }

    /// The order rule: the mailbox first, then the tree. The client core looks in between, and must not act yet.
    fn zab_turn(&mut self, commit: bool) {
        while let Some(message) = self.links.to_zab.pop() {
            self.zab.take(message);
        }
        if !commit || self.links.mailbox.room() == 0 {
            return;
        }
        let before = self.links.tree.applied();
        let mut batch = CommitBatch { zxid: before, ..CommitBatch::default() };
        self.zab.tree.begin();
        self.zab.apply(&mut batch);
        let zxid = batch.zxid;
        let ready = |item: &&Item| matches!(item, Item::SessionReady { .. });
        self.sessions += batch.items.iter().filter(ready).count() as u64;
        if !batch.items.is_empty() {
            let pushed = self.links.mailbox.push(ToShard::Committed(Arc::new(batch)));
            assert!(pushed.is_ok(), "there was room");
        }
        self.shard.on_mailbox();
        assert!(!self.links.mailbox.is_empty() || self.shard.has_early() || zxid >= before);
        self.zab.tree.publish(zxid);
        self.zab.prep.applied(zxid);
    }

    fn shard_turn(&mut self, slow: bool) {
        self.shard.set_now(self.now);
        while self.shard.on_mailbox() {}
        for slot in 0..SLOTS {
            self.read(slot);
        }
        for _ in 0..100 {
            self.shard.end_turn();
            let again = self.shard.has_more();
            let moved = self.flush(slow);
            if !again && !moved {
                return;
            }
        }
        panic!("a turn does not end");
    }

    /// As the runtime: everything at once, or a task per slow socket. True if input may go on because of it.
    fn flush(&mut self, slow: bool) -> bool {
        let mut moved = false;
        let mut keys = self.shard.take_dirty();
        for &key in &keys {
            if let Some(conn) = self.shard.conn_mut(key) {
                conn.dirty = false;
            }
        }
        keys.extend(std::mem::take(&mut self.slow));
        keys.sort_by_key(|key| key.to_bits());
        keys.dedup();
        for key in keys {
            let Some(conn) = self.shard.conn_mut(key) else { continue };
            let waiting = conn.output.len() - conn.sent;
            let taken = if slow { waiting.min(50) } else { waiting };
            conn.sent += taken;
            self.sent += taken;
            if conn.sent < conn.output.len() {
                self.slow.push(key);
                continue;
            }
            conn.output.clear();
            conn.sent = 0;
            if conn.is_closing() {
                // The client sees the end and goes.
                self.drop_key(key);
            } else {
                moved |= conn.input_waits && taken > 0;
                self.shard.output_moved(key);
            }
        }
        moved
    }

    fn drop_conn(&mut self, slot: usize) {
        let Slot { key, .. } = std::mem::take(&mut self.slots[slot]);
        if let Some(key) = key {
            self.shard.remove_conn(key);
        }
    }

    fn drop_key(&mut self, key: Key) {
        if let Some(slot) = self.slots.iter().position(|slot| slot.key == Some(key)) {
            self.drop_conn(slot);
        }
    }

    fn tick(&mut self) {
        self.now += Duration::from_secs(3);
        self.shard.set_now(self.now);
        self.shard.flush_touches();
        self.shard.publish_gauges();
        for key in self.shard.sweep() {
            self.drop_key(key);
        }
    }

    fn expire(&mut self, slot: usize) {
        let Some(key) = self.slots[slot].key else { return };
        let session = self.shard.conn(key).and_then(|conn| conn.session().copied());
        if let Some(active) = session {
            self.zab.expire(active.session);
        }
    }

    fn finish_commands(&mut self) {
        while let Some(key) = self.commands.pop_front() {
            let before = self.shard.conn(key).map(|conn| conn.is_closing());
            assert_ne!(before, Some(true), "closed before its command was answered");
            self.shard.finish_command(key, b"imok");
        }
    }

    /// What holds after every step.
    fn check(&self) {
        for key in self.shard.conn_keys() {
            let Some(conn) = self.shard.conn(key) else { continue };
            let input = conn.input.len();
            assert!(input <= 4 + MAX_FRAME_BYTES + 2 * READ_CHUNK_BYTES, "input of {input} bytes");
            let output = conn.output.len() - conn.sent;
            assert!(output <= OUT_BYTES_MAX + REPLY_BYTES_MAX, "output of {output} bytes");
            let writes = conn.writes.len();
            assert!(writes <= OUTSTANDING_LIMIT, "{writes} writes of one connection");
            assert!(!conn.is_closing() || (input == 0 && writes == 0), "{conn:?} keeps things");
        }
        let outstanding = self.links.counters.snapshot().outstanding;
        assert!(outstanding <= self.requests_max, "{outstanding} outstanding");
    }

    /// With both cores and all sockets at work, everything that can be answered is.
    fn settle(&mut self) {
        for _ in 0..2000 {
            self.finish_commands();
            self.zab_turn(true);
            self.shard_turn(false);
            self.check();
            // A full mailbox may have kept the Zab core from committing.
            let idle = self.links.to_zab.is_empty()
                && self.zab.pending.is_empty()
                && self.links.mailbox.is_empty()
                && !self.shard.has_early()
                && !self.shard.has_backlog()
                && self.slots.iter().all(|slot| slot.unread.is_empty());
            if idle {
                return self.check_rest();
            }
        }
        panic!("the world does not come to rest");
    }

    fn check_rest(&mut self) {
        self.shard_turn(false);
        for key in self.shard.conn_keys() {
            let Some(conn) = self.shard.conn(key) else { continue };
            assert!(!conn.input_waits, "{conn:?} waits for nothing");
            assert!(conn.writes.is_empty(), "{conn:?} is owed an answer");
            assert!(conn.connecting().is_none(), "{conn:?} is owed its session");
            assert!(conn.output.is_empty(), "{conn:?} has output that nobody sends");
        }
    }
}
