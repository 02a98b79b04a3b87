//! The Zab core's loop: take messages, prepare transactions, log them, apply what is committed, say so.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use io_uring::{IoUring, opcode, squeue, types};

use super::EventFd;
use super::report::ZabReport;
use super::snapshots::{SnapshotPolicy, SnapshotState, WriteSnapshot, spawn};
use crate::auth::{Auth, Identities};
use crate::base::limits::SHARD_MAILBOX_CONTROL_SLOTS;
use crate::base::{MonoMs, SessionId, Sid, WallMs, Zxid};
use crate::pipeline::apply::ReplyTo;
use crate::pipeline::messages::{RequestBatch, ToShard, ToZab};
use crate::pipeline::{
    Applier, CommitBatch, ConnToken, Item, Mailbox, Outcome, Prep, PrepContext, Write,
};
use crate::session::{SessionIds, SessionTracker, password, password_matches};
use crate::storage::log::{LogError, ProposalLog, Submit};
use crate::storage::snapshot::SnapshotSource;
use crate::tree::{OPEN_ACL_ID, SnapshotWalk, TreeWriter};
use crate::wire::{ErrorCode, JuteWrite, OpCode};
use crate::zab::{Leading, Quorum};

/// The ring's tag of the eventfd read; the log has its own range.
const WAKE: u64 = 1;

/// Transactions made visible at once. Bounds how long readers find the tree in motion.
const APPLY_RUN_MAX: usize = 512;

/// Bytes of events and replies after which a run ends.
const APPLY_RUN_BYTES_MAX: usize = 4 << 20;

/// Milliseconds between two looks at the space that is left for the log.
const SPACE_CHECK_MS: MonoMs = 10_000;

/// A zxid of every so many goes into the digest log (disk-format 5.3), of which so many are kept.
const DIGEST_LOG_EVERY: i64 = 128;
const DIGEST_LOG_MAX: usize = 1024;

/// Settings of the Zab core.
#[derive(Clone, Debug)]
pub struct CoreOptions {
    pub sid: Sid,
    /// CPU to stay on.
    pub cpu: Option<usize>,
    /// How long to poll before sleeping.
    pub spin: Duration,
    pub ring_depth: u32,
    /// Milliseconds between sweeps for empty containers and TTL nodes.
    pub container_check_ms: i64,
    /// At least this many milliseconds between two such deletions.
    pub container_delete_gap_ms: i64,
    /// Containers that never had a child go after this many milliseconds; 0 keeps them.
    pub container_never_used_ms: i64,
    /// Milliseconds by which a session's touch may reach this core late.
    pub touch_slack_ms: i64,
    /// Transactions prepared and not applied before no more requests are taken.
    pub outstanding_txns_max: usize,
    /// Transactions in one flush; more than that do not wait for `flush_delay`.
    pub flush_batch_max: usize,
    /// How long a flush waits for more to come.
    pub flush_delay: Duration,
    /// Milliseconds of a flush from which there is a warning.
    pub fsync_warning_ms: i64,
}

/// The state that recovery built, handed to the core.
pub struct CoreParts {
    pub tree: TreeWriter,
    pub sessions: SessionTracker,
    pub session_ids: SessionIds,
    pub auth: Arc<Auth>,
    pub prep: Prep,
    pub applier: Applier,
    pub log: ProposalLog,
    pub snapshots: SnapshotPolicy,
    pub write_snapshot: Arc<WriteSnapshot<Source>>,
    pub inbox: Arc<Mailbox<ToZab>>,
    pub wake: EventFd,
    pub shards: Vec<Arc<Mailbox<ToShard>>>,
    pub epoch: Instant,
}

/// A snapshot in the making: the walk over the tree and the session table as it was.
pub struct Source {
    pub walk: SnapshotWalk,
    pub sessions: Vec<(SessionId, i32)>,
    /// Disk id and encoded list.
    pub acls: Vec<(i64, Vec<u8>)>,
}

impl Source {
    /// Of the state as it is between two runs.
    pub fn new(tree: &TreeWriter, sessions: &SessionTracker) -> Source {
        let walk = tree.begin_snapshot();
        let acls = walk.acls().filter(|(id, _)| *id != OPEN_ACL_ID);
        let acls = acls.map(|(id, list)| (id, list.as_bytes().to_vec())).collect();
        Source { walk, sessions: sessions.iter().collect(), acls }
    }
}

impl SnapshotSource for Source {
    fn zxid(&self) -> Zxid {
        self.walk.zxid()
    }

    fn sessions(&self) -> &[(SessionId, i32)] {
        &self.sessions
    }

    fn acls(&self) -> &[(i64, Vec<u8>)] {
        &self.acls
    }

    fn next_chunk(&mut self, max_nodes: usize, out: &mut Vec<u8>) -> bool {
        self.walk.next_chunk(max_nodes, out)
    }

    fn end_state(&self) -> (Zxid, u64) {
        self.walk.end_state()
    }
}

/// Why the core ended.
#[derive(Debug)]
pub enum CoreExit {
    Stopped,
    /// The log is poisoned: what is on disk is not known.
    Log(LogError),
    /// The log takes no more records.
    Append(io::Error),
    Ring(io::Error),
    /// A transaction of our own cannot be applied: a broken invariant.
    Apply(String),
    /// A snapshot cannot be written.
    Snapshot,
}

/// Something that happens in its turn behind the transactions before it.
enum Pending {
    Txn {
        zxid: Zxid,
        chunk: Arc<Vec<u8>>,
        range: Range<usize>,
        reply: Option<ReplyTo>,
        /// The handshake that waits for this createSession.
        connect: Option<(ConnToken, SessionId, i32)>,
    },
    Refused {
        to: ReplyTo,
        code: ErrorCode,
    },
    Item(Item),
}

/// Owned by its thread.
pub struct ZabCore {
    options: CoreOptions,
    parts: CoreParts,
    ring: IoUring,
    leading: Leading,
    pending: VecDeque<Pending>,
    /// Transactions prepared in this turn, not yet shared.
    chunk: Vec<u8>,
    /// How many of `pending`, from the back, lie in `chunk`.
    fresh: Vec<usize>,
    attached: HashMap<SessionId, ConnToken, ahash::RandomState>,
    snapshot_state: Arc<SnapshotState>,
    snapshot_due: bool,
    next_sweep: MonoMs,
    reap: VecDeque<Box<[u8]>>,
    next_reap: MonoMs,
    digests: VecDeque<(Zxid, u64)>,
    /// Since when transactions wait for their flush, and how many.
    flush_waits: Option<(Instant, usize)>,
    wake_buffer: Box<u64>,
    wake_armed: bool,
    stopping: bool,
    flush_us_min: Option<u64>,
    next_space_check: MonoMs,
    committed: u64,
    sessions_expired: u64,
}

impl std::fmt::Debug for ZabCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ZabCore({} pending)", self.pending.len())
    }
}

impl ZabCore {
    pub fn new(options: CoreOptions, parts: CoreParts) -> io::Result<ZabCore> {
        let ring = IoUring::builder().build(options.ring_depth)?;
        let last = parts.prep.last_zxid();
        let next_sweep = mono_ms(&parts) + options.container_check_ms;
        Ok(ZabCore {
            leading: Leading::new(Quorum::standalone(options.sid), last),
            options,
            parts,
            ring,
            pending: VecDeque::new(),
            chunk: Vec::new(),
            fresh: Vec::new(),
            attached: HashMap::default(),
            snapshot_state: Arc::default(),
            snapshot_due: false,
            next_sweep,
            reap: VecDeque::new(),
            next_reap: 0,
            digests: VecDeque::new(),
            flush_waits: None,
            wake_buffer: Box::new(0),
            wake_armed: false,
            stopping: false,
            flush_us_min: None,
            next_space_check: 0,
            committed: 0,
            sessions_expired: 0,
        })
    }

    /// Runs until it is told to stop or cannot go on.
    pub fn run(mut self) -> CoreExit {
        if let Some(cpu) = self.options.cpu {
            pin(cpu);
        }
        loop {
            if let Err(exit) = self.turn() {
                return exit;
            }
            let idle = self.pending.is_empty() && !self.parts.log.in_flight();
            if self.stopping && idle {
                return CoreExit::Stopped;
            }
            if let Err(error) = self.wait() {
                return CoreExit::Ring(error);
            }
        }
    }

    fn turn(&mut self) -> Result<(), CoreExit> {
        let now = mono_ms(&self.parts);
        let wall = wall_ms();
        self.parts.applier.set_now(now);
        self.take_completions()?;
        // A touch may wait in what was not taken.
        if self.take_inbox(now, wall) {
            self.expire(now, wall);
        }
        self.sweep_containers(now, wall);
        self.warn_of_low_space(now);
        self.share_chunk()?;
        self.submit_log()?;
        self.apply_committed()?;
        self.take_snapshot();
        if self.snapshot_state.failed.load(Ordering::Acquire) {
            return Err(CoreExit::Snapshot);
        }
        Ok(())
    }

    /// True when the inbox is empty now.
    fn take_inbox(&mut self, now: MonoMs, wall: WallMs) -> bool {
        while self.pending.len() < self.options.outstanding_txns_max && !self.stopping {
            let Some(message) = self.parts.inbox.pop() else { return true };
            match message {
                ToZab::Requests(batch) => self.prepare_batch(&batch, wall),
                ToZab::CreateSession { conn, timeout_ms } => {
                    self.create_session(conn, timeout_ms, now, wall);
                }
                ToZab::ResumeSession { conn, session, passwd, timeout_ms } => {
                    self.resume_session(conn, session, &passwd, timeout_ms, now);
                }
                ToZab::Touches(touches) => self.parts.sessions.apply_touches(touches),
                ToZab::Report(report) => {
                    let lists = report.wants_lists();
                    report.add(Box::new(self.report(now, wall, lists)));
                }
                ToZab::Shutdown => self.stopping = true,
            }
        }
        false
    }

    fn prepare_batch(&mut self, batch: &RequestBatch, wall: WallMs) {
        for request in &batch.requests {
            let conn = ConnToken { shard: batch.shard, conn: request.conn };
            let body = &batch.bytes[request.body.start as usize..request.body.end as usize];
            let write = Write {
                session: request.session,
                cxid: request.xid,
                op: request.op,
                body,
                identities: &request.identities,
            };
            // A session that was resumed elsewhere since: its old connection is being closed.
            if self.attached.get(&request.session) != Some(&conn) {
                self.pending.push_back(Pending::Item(Item::Close { conn }));
                continue;
            }
            self.prepare(&write, Some(ReplyTo { conn, xid: request.xid }), wall);
        }
    }

    fn prepare(&mut self, write: &Write<'_>, reply: Option<ReplyTo>, wall: WallMs) {
        let start = self.chunk.len();
        let CoreParts { tree, sessions, auth, prep, .. } = &mut self.parts;
        let mut cx = PrepContext { tree, sessions, auth, now: wall };
        match prep.prepare(&mut cx, write, &mut self.chunk) {
            Outcome::Txn(zxid) => self.push_txn(zxid, start, reply, None),
            Outcome::Refused(code) => {
                if let Some(to) = reply {
                    self.pending.push_back(Pending::Refused { to, code });
                }
            }
            Outcome::Dropped => {
                if let Some(to) = reply {
                    self.pending.push_back(Pending::Item(Item::Close { conn: to.conn }));
                }
            }
        }
    }

    /// The transaction's bytes are in the chunk from `start` on.
    fn push_txn(
        &mut self,
        zxid: Zxid,
        start: usize,
        reply: Option<ReplyTo>,
        connect: Option<(ConnToken, SessionId, i32)>,
    ) {
        let range = start..self.chunk.len();
        self.fresh.push(self.pending.len());
        let chunk = Arc::default();
        self.pending.push_back(Pending::Txn { zxid, chunk, range, reply, connect });
        self.leading.propose(zxid);
    }

    fn create_session(&mut self, conn: ConnToken, timeout_ms: i32, now: MonoMs, wall: WallMs) {
        let session = self.parts.session_ids.next_id();
        self.parts.sessions.create(session, timeout_ms, now);
        self.attached.insert(session, conn);
        let start = self.chunk.len();
        let zxid = self.parts.prep.create_session(wall, session, timeout_ms, &mut self.chunk);
        self.push_txn(zxid, start, None, Some((conn, session, timeout_ms)));
    }

    /// The session's old connection is closed before the password is looked at, as the reference does.
    fn resume_session(
        &mut self,
        conn: ConnToken,
        session: SessionId,
        passwd: &[u8],
        timeout_ms: i32,
        now: MonoMs,
    ) {
        if let Some(old) = self.attached.remove(&session) {
            self.pending.push_back(Pending::Item(Item::Close { conn: old }));
        }
        let sessions = &mut self.parts.sessions;
        let alive = sessions.contains(session) && !sessions.is_closing(session);
        let item = if alive && password_matches(session, passwd) {
            sessions.touch(session, now, timeout_ms);
            self.attached.insert(session, conn);
            Item::SessionReady { conn, session, timeout_ms, passwd: password(session) }
        } else {
            tracing::info!(
                "session {session} cannot be resumed: it is gone or the password is wrong"
            );
            Item::SessionRejected { conn }
        };
        self.pending.push_back(Pending::Item(item));
    }

    /// Sessions that were not heard of in time. Touches are gathered on the client cores, so what is due is looked at
    /// once the touches made before that have arrived.
    fn expire(&mut self, now: MonoMs, wall: WallMs) {
        if self.stopping {
            return;
        }
        for session in self.parts.sessions.expire_due(now - self.options.touch_slack_ms) {
            tracing::info!("Expiring session {session}, timeout exceeded");
            self.sessions_expired += 1;
            self.internal(session, OpCode::CloseSession, &[], wall);
        }
    }

    /// A write that the server asks of itself.
    fn internal(&mut self, session: SessionId, op: OpCode, body: &[u8], wall: WallMs) {
        let identities = Identities::none();
        let write = Write { session, cxid: 0, op: op.code(), body, identities: &identities };
        self.prepare(&write, None, wall);
    }

    /// Empty containers and TTL nodes that are over (data-model 4.1).
    fn sweep_containers(&mut self, now: MonoMs, wall: WallMs) {
        if now >= self.next_sweep && self.reap.is_empty() {
            self.next_sweep = now + self.options.container_check_ms;
            let never_used = self.options.container_never_used_ms;
            self.reap.extend(self.parts.tree.reap_candidates(wall, never_used));
        }
        while now >= self.next_reap
            && let Some(path) = self.reap.pop_front()
        {
            self.next_reap = now + self.options.container_delete_gap_ms;
            tracing::info!("Attempting to delete candidate container: {}", path.escape_ascii());
            let mut body = Vec::new();
            body.put_buffer(Some(&path));
            self.internal(SessionId::NONE, OpCode::DeleteContainer, &body, wall);
        }
    }

    /// The turn's transactions become shared bytes and go to the log.
    fn share_chunk(&mut self) -> Result<(), CoreExit> {
        if self.fresh.is_empty() {
            return Ok(());
        }
        let (_, waiting) = self.flush_waits.get_or_insert_with(|| (Instant::now(), 0));
        *waiting += self.fresh.len();
        let shared = Arc::new(std::mem::take(&mut self.chunk));
        for at in std::mem::take(&mut self.fresh) {
            let Some(Pending::Txn { zxid, chunk, range, .. }) = self.pending.get_mut(at) else {
                continue;
            };
            *chunk = shared.clone();
            let bytes = &shared[range.clone()];
            self.parts.log.append(*zxid, bytes).map_err(CoreExit::Append)?;
            if self.parts.snapshots.appended(bytes.len()) {
                self.snapshot_due = true;
                self.parts.log.roll();
            }
        }
        Ok(())
    }

    fn submit_log(&mut self) -> Result<(), CoreExit> {
        if !self.parts.log.pending() || self.parts.log.in_flight() || self.flush_may_wait() {
            return Ok(());
        }
        self.flush_waits = None;
        loop {
            let submit = {
                let mut queue = self.ring.submission();
                self.parts.log.submit_flush(&mut queue).map_err(CoreExit::Log)?
            };
            if submit != Submit::Nothing {
                self.ring.submit().map_err(CoreExit::Ring)?;
            }
            if submit != Submit::RingFull {
                return Ok(());
            }
        }
    }

    /// Whether the profile lets this flush wait for company.
    fn flush_may_wait(&self) -> bool {
        let Some((since, count)) = self.flush_waits else { return false };
        count < self.options.flush_batch_max
            && since.elapsed() < self.options.flush_delay
            && !self.stopping
    }

    fn take_completions(&mut self) -> Result<(), CoreExit> {
        loop {
            let Some(entry) = self.ring.completion().next() else { return Ok(()) };
            if entry.user_data() == WAKE {
                self.wake_armed = false;
                continue;
            }
            match self.parts.log.complete(entry.user_data(), entry.result()) {
                None => {}
                Some(Ok(flushed)) => {
                    let least = self.flush_us_min.unwrap_or(u64::MAX).min(flushed.micros);
                    self.flush_us_min = Some(least);
                    self.warn_of_slow_flush(flushed.micros);
                    self.logged(flushed.up_to);
                }
                Some(Err(error)) => return Err(CoreExit::Log(error)),
            }
        }
    }

    fn warn_of_slow_flush(&self, micros: u64) {
        let ms = (micros / 1000) as i64;
        if ms > self.options.fsync_warning_ms {
            tracing::warn!(
                "fsync-ing the write ahead log took {ms}ms which will adversely effect operation \
                 latency; is the disk shared, or failing?"
            );
        }
    }

    /// A full disk is announced before it is full.
    fn warn_of_low_space(&mut self, now: MonoMs) {
        if now < self.next_space_check {
            return;
        }
        self.next_space_check = now + SPACE_CHECK_MS;
        if self.parts.log.space_low() {
            tracing::error!(
                "the disk of the log is nearly full: free space, or the next write that does not fit \
                 stops this server (nothing acknowledged is lost)"
            );
        }
    }

    /// Our own log is one more server's acknowledgement.
    fn logged(&mut self, up_to: Zxid) {
        self.leading.logged(self.options.sid, up_to);
    }

    /// Applies what is committed, in runs, and what waits behind it in turn.
    fn apply_committed(&mut self) -> Result<(), CoreExit> {
        while self.next_is_ready() {
            let full = |shard: &Arc<Mailbox<ToShard>>| shard.room() <= SHARD_MAILBOX_CONTROL_SLOTS;
            if !self.stopping && self.parts.shards.iter().any(full) {
                // A client core is behind; its own turn makes room and this one goes on at the next wake-up.
                return Ok(());
            }
            self.apply_run()?;
        }
        Ok(())
    }

    fn next_is_ready(&self) -> bool {
        match self.pending.front() {
            None => false,
            Some(Pending::Txn { zxid, .. }) => *zxid <= self.leading.committed(),
            Some(Pending::Refused { .. } | Pending::Item(_)) => true,
        }
    }

    /// The order rule, writer's side: apply unseen, fill the mailboxes, only then make it visible.
    fn apply_run(&mut self) -> Result<(), CoreExit> {
        let mut batch =
            CommitBatch { zxid: self.parts.tree.tree().applied(), ..Default::default() };
        self.parts.tree.begin();
        let mut run = 0;
        while run < APPLY_RUN_MAX && batch.bytes.len() < APPLY_RUN_BYTES_MAX && self.next_is_ready()
        {
            let Some(next) = self.pending.pop_front() else { break };
            run += 1;
            self.apply_one(next, &mut batch)?;
        }
        let zxid = batch.zxid;
        if !batch.items.is_empty() {
            let batch = Arc::new(batch);
            for shard in &self.parts.shards {
                let pushed = shard.push(ToShard::Committed(batch.clone()));
                // Only this core pushes batches, and the others' messages have slots of their own.
                assert!(pushed.is_ok() || self.stopping, "a mailbox without the room it had");
            }
        }
        self.parts.tree.publish(zxid);
        self.parts.prep.applied(zxid);
        for shard in &self.parts.shards {
            shard.wake();
        }
        Ok(())
    }

    fn apply_one(&mut self, next: Pending, batch: &mut CommitBatch) -> Result<(), CoreExit> {
        let (zxid, bytes, reply, connect) = match &next {
            Pending::Txn { zxid, chunk, range, reply, connect } => {
                (*zxid, &chunk[range.clone()], *reply, *connect)
            }
            Pending::Refused { to, code } => {
                let reply = Item::Reply {
                    conn: to.conn,
                    xid: to.xid,
                    zxid: batch.zxid,
                    err: code.code(),
                    body: 0..0,
                };
                batch.items.push(reply);
                return Ok(());
            }
            Pending::Item(item) => {
                batch.items.push(item.clone());
                return Ok(());
            }
        };
        let CoreParts { tree, sessions, applier, .. } = &mut self.parts;
        let closed = applier
            .apply(tree, sessions, bytes, reply, batch)
            .map_err(|error| CoreExit::Apply(format!("transaction {zxid}: {error}")))?;
        batch.zxid = zxid;
        self.committed += 1;
        if let Some((conn, session, timeout_ms)) = connect {
            let passwd = password(session);
            batch.items.push(Item::SessionReady { conn, session, timeout_ms, passwd });
        }
        if let Some(session) = closed
            && let Some(conn) = self.attached.remove(&session)
            && reply.is_none_or(|to| to.conn != conn)
        {
            batch.items.push(Item::Close { conn });
        }
        if zxid.0 % DIGEST_LOG_EVERY == 0 {
            self.digests.push_back((zxid, self.parts.tree.digest()));
            if self.digests.len() > DIGEST_LOG_MAX {
                self.digests.pop_front();
            }
        }
        Ok(())
    }

    /// Starts a snapshot if one is due and none is being written; a due one that finds another running is left out.
    fn take_snapshot(&mut self) {
        if !std::mem::take(&mut self.snapshot_due)
            || self.snapshot_state.running.load(Ordering::Acquire)
        {
            return;
        }
        let source = Source::new(&self.parts.tree, &self.parts.sessions);
        spawn(&self.snapshot_state, source, self.parts.write_snapshot.clone());
    }

    /// Sleeps until a completion, a wake-up or the next thing to do by the clock.
    fn wait(&mut self) -> io::Result<()> {
        self.arm_wake()?;
        let started = Instant::now();
        while !self.options.spin.is_zero() && started.elapsed() < self.options.spin {
            if !self.parts.inbox.is_empty() || !self.ring.completion().is_empty() {
                return Ok(());
            }
            std::hint::spin_loop();
        }
        if !self.parts.inbox.prepare_sleep() {
            // With too much outstanding the inbox waits for the log, not the other way round.
            if self.pending.len() < self.options.outstanding_txns_max {
                return Ok(());
            }
        }
        let timeout = types::Timespec::from(self.time_to_next());
        let args = types::SubmitArgs::new().timespec(&timeout);
        let slept = self.ring.submitter().submit_with_args(1, &args);
        self.parts.inbox.awake();
        match slept {
            Ok(_) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ETIME) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn time_to_next(&self) -> Duration {
        if self.next_is_ready() {
            return Duration::from_micros(200);
        }
        if self.flush_may_wait() {
            return self.options.flush_delay;
        }
        let now = mono_ms(&self.parts);
        let slack = self.options.touch_slack_ms;
        let expiry = self.parts.sessions.next_due().map_or(i64::MAX, |due| due + slack);
        let sweep = if self.reap.is_empty() { self.next_sweep } else { self.next_reap };
        let ms = (expiry.min(sweep) - now).clamp(1, 1000);
        Duration::from_millis(ms as u64)
    }

    fn arm_wake(&mut self) -> io::Result<()> {
        if self.wake_armed {
            return Ok(());
        }
        let buffer: *mut u64 = &mut *self.wake_buffer;
        let fd = types::Fd(self.parts.wake.raw());
        let read = opcode::Read::new(fd, buffer.cast(), size_of::<u64>() as u32).build();
        // SAFETY: the buffer is boxed and lives as long as the ring; only one read of it is in flight at a time.
        unsafe { self.ring.submission().push(&read.user_data(WAKE).flags(squeue::Flags::empty())) }
            .map_err(|_| io::Error::other("the Zab core's submission queue is full"))?;
        self.wake_armed = true;
        Ok(())
    }

    fn report(&self, now: MonoMs, wall: WallMs, lists: bool) -> ZabReport {
        let stats = self.parts.log.stats();
        let buckets = if lists { self.parts.sessions.dump() } else { Vec::new() };
        let buckets = buckets.into_iter();
        let expiry = buckets.map(|bucket| (wall + (bucket.due - now), bucket.sessions));
        ZabReport {
            last_zxid: self.parts.tree.tree().applied(),
            expiry: expiry.collect(),
            sessions: self.parts.sessions.len(),
            digests: self.digests.iter().copied().collect(),
            digest_mismatches: self.parts.applier.digest_mismatches,
            snapshots_taken: self.snapshot_state.taken.load(Ordering::Relaxed),
            last_snapshot_ms: self.snapshot_state.last_ms.load(Ordering::Relaxed),
            snapshot_ms_total: self.snapshot_state.total_ms.load(Ordering::Relaxed),
            committed: self.committed,
            sessions_expired: self.sessions_expired,
            flushes: stats.flushes,
            flush_us: stats.flush_micros,
            flush_us_min: self.flush_us_min.unwrap_or(0),
            flush_us_max: stats.flush_micros_max,
            log_bytes: stats.appended_bytes,
            prepared_unapplied: self.pending.len(),
            uptime_ms: now,
        }
    }
}

fn mono_ms(parts: &CoreParts) -> MonoMs {
    crate::base::time::mono_ms(parts.epoch, Instant::now())
}

fn wall_ms() -> WallMs {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as WallMs
}

/// Keeps the calling thread on one CPU; a CPU that is not there is only worth a warning.
fn pin(cpu: usize) {
    // SAFETY: the set is a plain bit array of its own size, initialised to zero.
    let failed = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) != 0
    };
    if failed {
        let error = io::Error::last_os_error();
        tracing::warn!("the Zab core cannot stay on CPU {cpu}: {error}");
    }
}
