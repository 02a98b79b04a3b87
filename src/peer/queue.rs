//! What is applied in its turn: transactions, and answers that must come behind those before them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::database::Database;
use super::host::{Fatal, Host};
use super::proposal::Proposal;
use crate::base::{SessionId, Zxid};
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
    /// Transactions applied since start.
    pub applied_count: u64,
}

impl ApplyQueue {
    pub fn new(committed: Zxid) -> ApplyQueue {
        ApplyQueue { pending: VecDeque::new(), committed, applied_count: 0 }
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

    pub fn commit(&mut self, up_to: Zxid) {
        self.committed = self.committed.max(up_to);
    }

    /// Another history, or another leadership: nothing waits, and `committed` is where it begins.
    pub fn reset(&mut self, committed: Zxid) {
        self.pending.clear();
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
        db: &mut Database,
        attached: &mut Attached,
        host: &mut dyn Host,
    ) -> Result<(), Fatal> {
        while self.next_is_ready() && host.shards_have_room() {
            self.apply_run(db, attached, host)?;
        }
        Ok(())
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
        Ok(())
    }

    /// The order rule, writer's side: apply unseen, fill the mailboxes, only then make it visible. A run of nothing but
    /// answers leaves the tree alone, and its readers undisturbed.
    fn apply_run(
        &mut self,
        db: &mut Database,
        attached: &mut Attached,
        host: &mut dyn Host,
    ) -> Result<(), Fatal> {
        let mut batch = CommitBatch { zxid: db.tree.tree().applied(), ..Default::default() };
        let mut run = 0;
        while run < APPLY_RUN_MAX && batch.bytes.len() < APPLY_RUN_BYTES_MAX && self.next_is_ready()
        {
            let Some(next) = self.pending.pop_front() else { break };
            run += 1;
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
        Ok(())
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
