//! What is applied in its turn: transactions, and answers that must come behind those before them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::counts::AppliedCounts;
use super::database::Database;
use super::host::{Fatal, Host};
use super::proposal::Proposal;
use crate::base::{MonoMs, SessionId, Zxid};
use crate::pipeline::apply::ReplyTo;
use crate::pipeline::{CommitBatch, ConnToken, Item};
use crate::session::password;

/// Transactions made visible at once. Bounds how long readers find the tree in motion.
const APPLY_RUN_MAX: usize = 512;

/// Bytes of events and replies after which a run ends.
const APPLY_RUN_BYTES_MAX: usize = 4 << 20;

/// A handshake that waits for its createSession.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connecting {
    pub conn: ConnToken,
    pub session: SessionId,
    pub timeout_ms: i32,
}

/// Who waits for a transaction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waiting {
    pub reply: Option<ReplyTo>,
    pub connect: Option<Connecting>,
}

/// Something that happens in its turn behind the transactions before it.
#[derive(Debug)]
pub(super) enum Pending {
    Txn {
        proposal: Proposal,
        waiting: Waiting,
    },
    Item(Item),
    /// An answer without a transaction, with the zxid of its turn.
    Answered {
        to: ReplyTo,
        code: i32,
    },
    /// The answer to a sync: the path it asked for.
    Synced {
        to: ReplyTo,
        body: Vec<u8>,
    },
}

/// Which connection speaks for which session.
pub(super) type Attached = HashMap<SessionId, ConnToken, ahash::RandomState>;

/// In zxid order. Transactions up to `committed` may be applied; `applied <= committed`.
#[derive(Debug)]
pub(super) struct ApplyQueue {
    pending: VecDeque<Pending>,
    committed: Zxid,
    /// Since when what is committed up to there waits to be applied; empty when nothing does.
    since: VecDeque<(Zxid, MonoMs)>,
    /// Transactions applied since start.
    pub applied_count: u64,
    pub counts: AppliedCounts,
}

/// Transactions of a run: those that a client of this server waits for, and the others.
#[derive(Clone, Copy, Default)]
struct Run {
    local: i64,
    others: i64,
}

impl ApplyQueue {
    pub fn new(committed: Zxid) -> ApplyQueue {
        let (pending, since) = (VecDeque::new(), VecDeque::new());
        let counts = AppliedCounts::default();
        ApplyQueue { pending, committed, since, applied_count: 0, counts }
    }

    pub fn push(&mut self, pending: Pending) {
        self.pending.push_back(pending);
    }

    pub fn len(&self) -> usize {
        self.pending.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// `now`: milliseconds on the server's clock.
    pub fn commit(&mut self, up_to: Zxid, now: MonoMs) {
        if up_to <= self.committed {
            return;
        }
        self.committed = up_to;
        match self.since.back_mut() {
            Some((last, at)) if *at == now => *last = up_to,
            _ => self.since.push_back((up_to, now)),
        }
    }

    /// Another history, or another leadership: nothing waits, and `committed` is where it begins.
    pub fn reset(&mut self, committed: Zxid) {
        self.pending.clear();
        self.since.clear();
        self.committed = committed;
    }

    /// The bytes of a transaction that was pushed before its chunk was shared.
    pub fn set_proposal(&mut self, at: usize, shared: Proposal) {
        if let Some(Pending::Txn { proposal, .. }) = self.pending.get_mut(at) {
            *proposal = shared;
        }
    }

    /// Proposed and not applied, oldest first.
    pub fn proposals(&self) -> impl Iterator<Item = &Proposal> {
        self.pending.iter().filter_map(|pending| match pending {
            Pending::Txn { proposal, .. } => Some(proposal),
            _ => None,
        })
    }

    /// Those of them behind `after`, up to `to`. Zxids follow each other within an epoch, and each has a place: none
    /// of them stands further in front than so many places behind the first.
    pub fn proposals_between(&self, after: Zxid, to: Zxid) -> impl Iterator<Item = &Proposal> {
        let first = self.proposals().next().map_or(after, |first| first.zxid);
        let skip = if first.epoch() == after.epoch() { after.0.saturating_sub(first.0) } else { 0 };
        let skip = usize::try_from(skip).unwrap_or(0).min(self.pending.len());
        let rest = self.pending.range(skip..).filter_map(|pending| match pending {
            Pending::Txn { proposal, .. } => Some(proposal),
            _ => None,
        });
        rest.skip_while(move |txn| txn.zxid <= after).take_while(move |txn| txn.zxid <= to)
    }

    /// Nobody waits any more: what is left is only applied.
    pub fn forget_waiting(&mut self) {
        self.pending.retain_mut(|pending| match pending {
            Pending::Txn { waiting, .. } => {
                *waiting = Waiting::default();
                true
            }
            _ => false,
        });
    }

    pub fn next_is_ready(&self) -> bool {
        match self.pending.front() {
            None => false,
            Some(Pending::Txn { proposal, .. }) => proposal.zxid <= self.committed,
            Some(_) => true,
        }
    }

    /// Applies what is committed, in runs, and what waits behind it in turn. Stops early when a client core is
    /// behind: its own turn makes room.
    pub fn apply_ready(
        &mut self,
        now: MonoMs,
        db: &mut Database,
        attached: &mut Attached,
        host: &mut dyn Host,
    ) -> Result<(), Fatal> {
        while self.next_is_ready() && host.shards_have_room() {
            let waiting = self.ready_len();
            let run = self.apply_run(db, attached, host)?;
            self.count_run(now, waiting, run, db.last());
        }
        Ok(())
    }

    /// Committed transactions that wait, within an epoch.
    fn ready_len(&self) -> i64 {
        let first = self.proposals().next().map_or(self.committed.next(), |first| first.zxid);
        if first.epoch() != self.committed.epoch() {
            return 1;
        }
        (self.committed.0 - first.0 + 1).max(0)
    }

    /// A run that reached `last` is through. Its transactions count as having waited as long as the first of them.
    fn count_run(&mut self, now: MonoMs, waiting: i64, run: Run, last: Zxid) {
        let size = run.local + run.others;
        if size == 0 {
            return;
        }
        let waited = self.since.front().map_or(0, |(_, at)| (now - at).max(0));
        while self.since.front().is_some_and(|(zxid, _)| *zxid <= last) {
            self.since.pop_front();
        }
        let counts = &mut self.counts;
        counts.count += size as u64;
        counts.queue_size.add(waiting);
        counts.run_size.add(size);
        counts.local_ms.add_many(waited, run.local);
        counts.other_ms.add_many(waited, run.others);
    }

    /// The same without regard to client cores: they serve nobody, and nothing is said to them.
    pub fn apply_all(
        &mut self,
        db: &mut Database,
        attached: &mut Attached,
        host: &mut dyn Host,
    ) -> Result<(), Fatal> {
        while self.next_is_ready() {
            self.apply_run(db, attached, host)?;
        }
        self.since.clear();
        Ok(())
    }

    /// The order rule, writer's side: apply unseen, fill the mailboxes, only then make it visible. A run of nothing but
    /// answers leaves the tree alone, and its readers undisturbed.
    fn apply_run(
        &mut self,
        db: &mut Database,
        attached: &mut Attached,
        host: &mut dyn Host,
    ) -> Result<Run, Fatal> {
        let mut count = Run::default();
        let mut batch = CommitBatch { zxid: db.tree.tree().applied(), ..Default::default() };
        let mut run = 0;
        while run < APPLY_RUN_MAX && batch.bytes.len() < APPLY_RUN_BYTES_MAX && self.next_is_ready()
        {
            let Some(next) = self.pending.pop_front() else { break };
            run += 1;
            if let Pending::Txn { waiting, .. } = &next {
                let local = waiting.reply.is_some() || waiting.connect.is_some();
                count.local += i64::from(local);
                count.others += i64::from(!local);
            }
            self.apply_one(next, db, attached, &mut batch)?;
        }
        let zxid = batch.zxid;
        if !batch.items.is_empty() {
            host.to_shards(&Arc::new(batch));
        }
        if db.tree.is_open() {
            db.tree.publish(zxid);
        }
        host.wake_shards();
        Ok(count)
    }

    fn apply_one(
        &mut self,
        next: Pending,
        db: &mut Database,
        attached: &mut Attached,
        batch: &mut CommitBatch,
    ) -> Result<(), Fatal> {
        let reply = |to: ReplyTo, zxid, err, body| Item::Reply {
            conn: to.conn,
            xid: to.xid,
            zxid,
            err,
            body,
        };
        let (proposal, waiting) = match next {
            Pending::Txn { proposal, waiting } => (proposal, waiting),
            Pending::Answered { to, code } => {
                batch.items.push(reply(to, batch.zxid, code, 0..0));
                return Ok(());
            }
            Pending::Synced { to, body } => {
                let body = batch.put(&body);
                batch.items.push(reply(to, batch.zxid, 0, body));
                return Ok(());
            }
            Pending::Item(item) => {
                batch.items.push(item);
                return Ok(());
            }
        };
        if !db.tree.is_open() {
            db.tree.begin();
        }
        let zxid = proposal.zxid;
        let closed = db
            .applier
            .apply(&mut db.tree, &mut db.sessions, proposal.bytes(), waiting.reply, batch)
            .map_err(|error| {
                Fatal::Data(format!("transaction {zxid} cannot be applied: {error}"))
            })?;
        batch.zxid = zxid;
        self.applied_count += 1;
        if let Some(Connecting { conn, session, timeout_ms }) = waiting.connect {
            let passwd = password(session);
            batch.items.push(Item::SessionReady { conn, session, timeout_ms, passwd });
        }
        if let Some(session) = closed
            && let Some(conn) = attached.remove(&session)
            && waiting.reply.is_none_or(|to| to.conn != conn)
        {
            batch.items.push(Item::Close { conn });
        }
        db.note_applied(proposal);
        Ok(())
    }
}
