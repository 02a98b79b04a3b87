//! A client core: connections, the order of each session's requests, the watch table, reads and replies.
//!
//! [`Shard`] is a plain state machine: `runtime` (the only place that names glommio) waits in one place and calls it
//! with what happened; it never waits itself. It owns its connections and its watch table; it shares the data tree
//! with the Zab core, which writes it, and has one mailbox from and one into that core.
//!
//! **The order rule, reader's side.** A read is taken from the tree at one consistent zxid V; then the mailbox is
//! drained up to V, which appends the events for everything the read has seen to the connections' buffers; then the
//! read's own watch is registered; then the reply is appended. So a client never sees data before the event for
//! it, and never an event for what a read already showed.

mod admission;
mod conn;
mod counts;
mod deliver;
mod eager_acl;
mod input;
mod reads;
mod report;
pub mod runtime;
#[cfg(test)]
mod tests;
mod throttle;
mod watch_requests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::auth::{Auth, Identities};
use crate::base::slab::{Key, Slab};
use crate::base::{MonoMs, Zxid};
use crate::pipeline::batch::CommitBatch;
use crate::pipeline::messages::{RequestBatch, ToShard, ToZab};
use crate::pipeline::{ConnToken, Mailbox};
use crate::session::Touch;
use crate::tree::Tree;
use crate::watch::WatchTable;
use crate::wire::four_letter::FourLetterWord;

pub use admission::{Admission, ConnectOptions, LargeOptions};
pub use conn::{Conn, ConnStats};
use counts::Order;
pub use counts::{OrderCounts, ShardCounts};
pub use input::InputEffect;
pub use report::{ConnReport, CounterSnapshot, ShardCounters, ShardReport, WatchDump};
pub use throttle::ThrottleOptions;

/// Settings of a client core (reference: configuration 3, 7, 8).
#[derive(Clone, Debug)]
pub struct ShardOptions {
    /// `jute.maxbuffer`, bytes.
    pub max_frame_bytes: usize,
    /// Milliseconds.
    pub session_timeout_ms_min: i32,
    pub session_timeout_ms_max: i32,
    /// Requests forwarded and unanswered, over this core's connections, above which connections with one of their
    /// own are not read from.
    pub outstanding_limit: usize,
    /// Connections per source address; 0 is no limit.
    pub max_client_cnxns: usize,
    /// Connections in all; 0 is no limit.
    pub max_cnxns: usize,
    /// A connection without a session that sends nothing for this long is closed.
    pub sessionless_timeout_ms: i64,
    pub tcp_keepalive: bool,
    /// Bytes of replies waiting on a connection above which it is not read any more.
    pub out_bytes_high: usize,
    /// Bytes of watch events waiting for a reader that does not read, at which it is closed.
    pub out_bytes_max: usize,
    /// Bytes read from one socket before others get their turn.
    pub read_chunk_bytes: usize,
    /// `None`: no request waits but for its own connection's sake.
    pub throttle: Option<ThrottleOptions>,
    /// Refuse writes by the ACLs that are applied here, before they are forwarded.
    pub eager_acl: bool,
}

/// A question in place of a handshake, being answered: polled until it has its bytes.
pub trait PendingAnswer {
    fn poll(&mut self) -> Option<Vec<u8>>;
}

/// Answers four-letter words; lives above this room.
pub trait CommandHandler: Send + Sync {
    /// Whether `stmk` is answered, and so reads eight more bytes.
    fn reads_mask(&self, word: FourLetterWord) -> bool;

    /// `argument` is what `stmk` reads after its word.
    fn start(&self, word: FourLetterWord, argument: Option<[u8; 8]>) -> Box<dyn PendingAnswer>;
}

/// What a client core shares with the rest of the server.
#[derive(Clone)]
pub struct Links {
    pub tree: Arc<Tree>,
    pub auth: Arc<Auth>,
    pub to_zab: Arc<Mailbox<ToZab>>,
    pub mailbox: Arc<Mailbox<ToShard>>,
    pub admission: Arc<Admission>,
    pub commands: Arc<dyn CommandHandler>,
    pub counters: Arc<ShardCounters>,
    /// Start of the monotonic clock that all cores share.
    pub epoch: Instant,
}

/// One client core's state. Owned by its executor; every method returns without waiting.
pub struct Shard {
    id: u16,
    options: ShardOptions,
    links: Links,
    conns: Slab<Conn>,
    watches: WatchTable,
    /// Everything up to here has been delivered from the mailbox.
    drained: Zxid,
    /// A batch taken from the mailbox before the tree was visible at it.
    early: Option<Arc<CommitBatch>>,
    /// What could not be handled while something else was being done.
    later: VecDeque<ToShard>,
    /// Writes gathered in this turn.
    forward: RequestBatch,
    /// Messages that found the Zab core's inbox full.
    backlog: VecDeque<ToZab>,
    /// Writes forwarded and unanswered.
    outstanding: usize,
    /// Connections with something to send.
    dirty: Vec<Key>,
    /// Connections whose input stopped and may go on.
    resume: Vec<Key>,
    /// Connections whose first request waits for the throttler, in their turn; some may be gone.
    throttled: VecDeque<Key>,
    /// The throttler lets its queue go on at the moment.
    letting_go: bool,
    /// Connections heard of since the last touch batch.
    touched: Vec<Key>,
    /// A read's body while it is made.
    scratch: Vec<u8>,
    counts: Box<ShardCounts>,
    order: Order,
    /// Milliseconds now, taken once per wake-up.
    now: MonoMs,
    stopping: bool,
    /// No leader is known: handshakes are refused.
    suspended: bool,
    /// This server learns from another: a sync is its leader's to answer.
    forward_sync: bool,
    /// There is no quorum: clients that said so may read, and nobody may write.
    read_only: bool,
    /// Something was sent to the Zab core in this turn.
    wake_zab: bool,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shard({}, {} connections)", self.id, self.conns.len())
    }
}

impl Shard {
    pub fn new(id: u16, options: ShardOptions, links: Links) -> Shard {
        let drained = links.tree.applied();
        Shard {
            id,
            options,
            links,
            conns: Slab::default(),
            watches: WatchTable::default(),
            drained,
            early: None,
            later: VecDeque::new(),
            forward: RequestBatch { shard: id, ..RequestBatch::default() },
            backlog: VecDeque::new(),
            outstanding: 0,
            dirty: Vec::new(),
            resume: Vec::new(),
            throttled: VecDeque::new(),
            letting_go: false,
            touched: Vec::new(),
            scratch: Vec::new(),
            counts: Box::default(),
            order: Order::default(),
            now: 0,
            stopping: false,
            suspended: false,
            forward_sync: false,
            read_only: false,
            wake_zab: false,
        }
    }

    fn token(&self, conn: Key) -> ConnToken {
        ConnToken { shard: self.id, conn }
    }

    /// The clock is read at the edge and handed in.
    pub fn set_now(&mut self, now: Instant) {
        self.now = crate::base::time::mono_ms(self.links.epoch, now);
    }

    fn send_to_zab(&mut self, message: ToZab) {
        self.wake_zab = true;
        if self.backlog.is_empty() {
            if let Err(message) = self.links.to_zab.push(message) {
                self.backlog.push_back(message);
            }
        } else {
            self.backlog.push_back(message);
        }
    }

    /// Whether another turn is due at once: something may go on.
    pub fn has_more(&self) -> bool {
        !self.resume.is_empty() || !self.later.is_empty()
    }

    /// Ends a turn: resumes what may go on, then hands the gathered writes to the Zab core. What is dirty is to be
    /// sent next.
    pub fn end_turn(&mut self) {
        while let Some(message) = self.later.pop_front() {
            self.take_message(message);
        }
        for conn in std::mem::take(&mut self.resume) {
            self.process_input(conn);
        }
        self.release_throttled();
        while let Some(message) = self.backlog.pop_front() {
            self.wake_zab = true;
            if let Err(message) = self.links.to_zab.push(message) {
                self.backlog.push_front(message);
                break;
            }
        }
        if !self.forward.requests.is_empty() {
            let empty = RequestBatch { shard: self.id, ..RequestBatch::default() };
            let mut batch = std::mem::replace(&mut self.forward, empty);
            batch.sent_at = self.now;
            self.send_to_zab(ToZab::Requests(batch));
        }
        // A wake costs both cores a system call: only for a reason.
        if std::mem::take(&mut self.wake_zab) {
            self.links.to_zab.wake();
        }
        self.order.end_turn(&mut self.counts.order, self.outstanding, self.now);
        self.links.counters.outstanding.store(self.outstanding, Ordering::Relaxed);
    }

    /// True while the Zab core's inbox was full: the turn must be tried again soon.
    pub fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Tells the Zab core which sessions were heard of. Called a few times per tick.
    pub fn flush_touches(&mut self) {
        if self.touched.is_empty() {
            return;
        }
        let mut touches = Vec::with_capacity(self.touched.len());
        for key in std::mem::take(&mut self.touched) {
            let Some(conn) = self.conns.get_mut(key) else { continue };
            conn.touch_pending = false;
            if let Some(active) = conn.active() {
                let (id, timeout_ms) = (active.session, active.timeout_ms);
                touches.push(Touch { id, at: conn.last_heard, timeout_ms });
            }
        }
        // No hurry: the next message that wakes the Zab core takes them along, and it looks by itself
        // before a session could expire.
        if let Err(message) = self.links.to_zab.push(ToZab::Touches(touches)) {
            self.send_to_zab(message);
        }
    }

    /// Closes connections that send nothing and have not finished their handshake, and those whose peer does not go
    /// away after the server has closed. Answers the keys whose sockets must be torn down.
    pub fn sweep(&mut self) -> Vec<Key> {
        let (now, limit) = (self.now, self.options.sessionless_timeout_ms);
        let mut doomed = Vec::new();
        for key in self.conns.keys() {
            let Some(conn) = self.conns.get_mut(key) else { continue };
            let late = conn.is_sessionless() && now - conn.last_heard > limit;
            self.counts.sessionless_expired += u64::from(late);
            if late || conn.lingers(now) {
                doomed.push(key);
            }
        }
        doomed
    }

    /// Connections to flush; the list is handed over.
    pub fn take_dirty(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.dirty)
    }

    pub fn conn(&self, key: Key) -> Option<&Conn> {
        self.conns.get(key)
    }

    pub fn conn_mut(&mut self, key: Key) -> Option<&mut Conn> {
        self.conns.get_mut(key)
    }

    pub fn conn_keys(&self) -> Vec<Key> {
        self.conns.keys()
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    fn mark_dirty(dirty: &mut Vec<Key>, key: Key, conn: &mut Conn) {
        if !conn.dirty {
            conn.dirty = true;
            dirty.push(key);
        }
    }
}

/// What the runtime calls besides input.
impl Shard {
    /// A connection was accepted.
    pub fn add_conn(&mut self, peer: std::net::SocketAddr) -> Key {
        let identities = Identities::of_peer(peer.ip());
        let key = self.conns.insert(Conn::new(peer, identities, self.now));
        self.publish_gauges();
        key
    }

    /// Its socket is gone. The session lives on until it expires or is resumed.
    pub fn remove_conn(&mut self, key: Key) {
        self.drop_throttled(key);
        self.forget_writes(key);
        let Some(conn) = self.conns.remove(key) else { return };
        if !conn.is_closing() {
            self.counts.drops += 1;
            self.watches.remove_watcher(key);
        }
        self.publish_gauges();
    }

    /// Nobody waits for these answers any more.
    fn forget_writes(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        self.outstanding -= conn.writes.len();
        self.order.forget(!conn.writes.is_empty(), std::mem::take(&mut conn.behind_write));
        for write in conn.writes.drain(..) {
            self.links.admission.finished(write.large_bytes);
        }
    }

    /// A connection was turned away.
    pub fn note_rejected(&mut self) {
        self.counts.rejected += 1;
    }

    /// A request was answered, `since` it came: in both accounts of latency.
    fn note_latency(&mut self, is_update: bool, since: MonoMs) {
        let ms = (self.now - since).max(0);
        self.links.counters.latency(ms);
        let samples = if is_update { &mut self.counts.updates } else { &mut self.counts.reads };
        samples.add(ms);
    }

    /// A four-letter word has its answer.
    pub fn finish_command(&mut self, key: Key, answer: &[u8]) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.output.extend_from_slice(answer);
        // A four-letter word counts as one packet each way.
        self.links.counters.sent();
        Self::mark_dirty(&mut self.dirty, key, conn);
        self.close(key);
    }

    /// The socket has taken output that was waiting; input that stopped for it may go on.
    pub fn output_moved(&mut self, key: Key) {
        if self.conns.get(key).is_some_and(|conn| conn.input_waits) {
            self.resume.push(key);
        }
    }
}
