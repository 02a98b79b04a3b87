//! What the Zab core has committed, brought to this core's connections: events, replies, sessions, closings.
//!
//! The order rule, mailbox's side: a batch is acted on only once the tree is visible at its zxid.

use std::sync::Arc;

use super::conn::Active;
use super::input::count_sent;
use super::throttle::Held;
use super::{Shard, ShardCounts};
use crate::auth::Auth;
use crate::base::slab::Key;
use crate::base::{SessionId, Zxid};
use crate::pipeline::ConnToken;
use crate::pipeline::batch::{CommitBatch, Item};
use crate::pipeline::messages::{Serving, ToShard};
use crate::tree::EventAcl;
use crate::wire::acl::perms;
use crate::wire::connect::ConnectResponse;
use crate::wire::reply::{ReplyHeader, encode_reply, encode_watch_event};
use crate::wire::{EventType, OpCode};

use super::Conn;

/// A session that is there.
struct Ready {
    session: SessionId,
    timeout_ms: i32,
}

impl Shard {
    /// Acts on what the mailbox holds, up to what the tree shows now. True if there was anything.
    pub fn on_mailbox(&mut self) -> bool {
        let before = self.drained;
        let applied = self.links.tree.applied();
        let took = self.drain_to(applied);
        took || self.drained > before
    }

    /// Everything up to `zxid` is delivered when this returns: the Zab core filled the mailbox before it made the
    /// tree visible at `zxid`. What is neither event nor reply is put off to the end of the turn.
    pub(super) fn drain_to(&mut self, zxid: Zxid) -> bool {
        let mut took = false;
        loop {
            if let Some(batch) = self.early.take() {
                if batch.zxid > zxid {
                    self.early = Some(batch);
                    break;
                }
                self.deliver(&batch);
                took = true;
            }
            match self.links.mailbox.pop() {
                Some(ToShard::Committed(batch)) => self.early = Some(batch),
                // At once: behind it the tree may change without a word, and nobody must see that.
                Some(ToShard::Suspend) => {
                    self.suspend();
                    took = true;
                }
                // What follows belongs to another tree than the one that `zxid` was read from.
                Some(ToShard::Serve(serving)) => {
                    self.serve(serving);
                    return true;
                }
                Some(other) => {
                    self.later.push_back(other);
                    took = true;
                }
                None => break,
            }
        }
        self.drained = self.drained.max(zxid);
        took
    }

    /// Whether a batch waits for the tree to become visible at it.
    pub fn has_early(&self) -> bool {
        self.early.is_some()
    }

    pub(super) fn take_message(&mut self, message: ToShard) {
        match message {
            ToShard::Committed(batch) => self.deliver(&batch),
            ToShard::Report(report) => report.add(Box::new(self.report(&*report))),
            ToShard::ResetCounts => {
                *self.counts = ShardCounts::default();
                self.links.counters.reset();
            }
            ToShard::ResetConnectionStats => self.reset_connection_stats(),
            ToShard::Suspend => self.suspend(),
            ToShard::Serve(serving) => self.serve(serving),
            ToShard::Shutdown => {
                self.stopping = true;
                for key in self.conns.keys() {
                    self.close(key);
                }
            }
        }
    }

    fn serve(&mut self, serving: Serving) {
        tracing::debug!("client core {}: {serving:?}", self.id);
        // Whatever was committed since this was sent is still in the mailbox.
        self.drained = Zxid(i64::MIN);
        self.links.tree = serving.tree;
        self.forward_sync = serving.forward_sync;
        self.read_only = serving.read_only;
        self.suspended = false;
    }

    /// No leader is known: clients go to another server, or come back when there is one.
    fn suspend(&mut self) {
        self.suspended = true;
        for key in self.conns.keys() {
            if self.conns.get(key).is_some_and(|conn| !conn.is_command() && !conn.is_fresh()) {
                self.close(key);
            }
        }
    }

    fn deliver(&mut self, batch: &Arc<CommitBatch>) {
        for item in &batch.items {
            match item {
                Item::Event { event, path, zxid, acl } => {
                    self.fire(*event, batch.slice(path), *zxid, acl, false);
                }
                Item::Deleted { path, zxid, acl } => {
                    self.fire(EventType::NodeDeleted, batch.slice(path), *zxid, acl, true);
                }
                Item::Reply { conn, xid, zxid, err, body } if conn.shard == self.id => {
                    let header = ReplyHeader { xid: *xid, zxid: *zxid, err: *err };
                    self.complete(conn.conn, header, batch.slice(body));
                }
                Item::SessionReady { conn, session, timeout_ms, passwd }
                    if conn.shard == self.id =>
                {
                    let ready = Ready { session: *session, timeout_ms: *timeout_ms };
                    self.session_ready(*conn, ready, *passwd, batch.zxid);
                }
                Item::SessionRejected { conn } if conn.shard == self.id => {
                    self.session_rejected(*conn);
                }
                Item::Close { conn } if conn.shard == self.id => self.close(conn.conn),
                _ => {}
            }
        }
        self.drained = self.drained.max(batch.zxid);
    }

    /// Tells the watchers. A one-shot watch is used up even when its owner may not see the event.
    fn fire(
        &mut self,
        event: EventType,
        path: &[u8],
        zxid: Zxid,
        acl: &EventAcl,
        node_is_gone: bool,
    ) {
        let mut overrun = Vec::new();
        let (mut told, mut frame_bytes) = (0, 0);
        let Shard { watches, conns, links, dirty, options, .. } = self;
        let out_bytes_max = &options.out_bytes_max;
        let mut fire = |key: Key| {
            let Some(conn) = conns.get_mut(key) else { return };
            if conn.is_closing() || !may_see(&links.auth, conn, acl) {
                return;
            }
            let before = conn.output.len();
            encode_watch_event(&mut conn.output, event, path, zxid);
            (told, frame_bytes) = (told + 1, conn.output.len() - before);
            count_sent(conn, &links.counters);
            if conn.output.len() - conn.sent > *out_bytes_max {
                overrun.push(key);
            }
            Shard::mark_dirty(dirty, key, conn);
        };
        if node_is_gone {
            watches.trigger_delete(path, &mut fire);
        } else {
            watches.trigger(event, path, &mut fire);
        }
        self.counts.fired(event, told, frame_bytes);
        for key in overrun {
            if let Some(conn) = self.conns.get(key) {
                tracing::warn!(
                    "{}: does not read its watch events, {} bytes wait for it: closing",
                    conn.peer,
                    conn.output.len() - conn.sent
                );
            }
            self.abandon(key);
        }
    }

    /// Closes without sending what is left: its reader does not read.
    fn abandon(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.output = Vec::new();
            conn.sent = 0;
        }
        self.close(key);
    }

    /// A write's answer. Answers come in the order in which writes were forwarded.
    fn complete(&mut self, key: Key, header: ReplyHeader, body: &[u8]) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.is_closing()) else {
            self.counts.stale_replies += 1;
            return;
        };
        let Some(write) = conn.writes.pop_front() else {
            tracing::error!("{}: answer to xid {} without a request", conn.peer, header.xid);
            self.close(key);
            return;
        };
        let of_session = conn.writes.len() + 1;
        self.order.answered(&mut self.counts.order, of_session, conn.behind_write);
        assert_eq!(write.xid, header.xid, "answers out of order on {}", conn.peer);
        self.outstanding -= 1;
        self.links.admission.finished(write.large_bytes);
        let before = conn.output.len();
        encode_reply(&mut conn.output, header, |out| out.extend_from_slice(body));
        self.counts.responded(conn.output.len() - before);
        self.counts.commits.add(now - write.forwarded);
        count_sent(conn, &self.links.counters);
        let latency = (now - write.since).max(0);
        conn.stats.answered(write.op, header.xid, header.zxid.0, latency, now);
        conn.stats.refused_write(header.err, write.op);
        Self::mark_dirty(&mut self.dirty, key, conn);
        if write.op == OpCode::CloseSession {
            self.close(key);
        } else if conn.input_waits && conn.held != Held::Waits {
            self.resume.push(key);
        }
        self.note_latency(true, write.since);
    }

    /// A new session counts as a request that was answered, a resumed one does not.
    fn session_ready(&mut self, token: ConnToken, ready: Ready, passwd: [u8; 16], zxid: Zxid) {
        let Ready { session, timeout_ms } = ready;
        let (now, read_only_server) = (self.now, self.read_only);
        let Some(conn) = self.conns.get_mut(token.conn) else { return };
        let Some(connecting) = conn.connecting() else { return };
        let established = crate::shard::runtime::wall_ms();
        conn.attach(Active { session, timeout_ms, established });
        let read_only = connecting.read_only.map(|_| read_only_server);
        ConnectResponse { timeout_ms, session_id: session.0, passwd, read_only }
            .encode_frame(&mut conn.output);
        count_sent(conn, &self.links.counters);
        if !connecting.resumes {
            let latency = (now - connecting.since).max(0);
            conn.stats.answered(OpCode::CreateSession, 0, zxid.0, latency, now);
        }
        Self::mark_dirty(&mut self.dirty, token.conn, conn);
        self.resume.push(token.conn);
        if !connecting.resumes {
            self.note_latency(true, connecting.since);
        }
    }

    fn session_rejected(&mut self, token: ConnToken) {
        let Some(conn) = self.conns.get_mut(token.conn) else { return };
        let Some(connecting) = conn.connecting() else { return };
        let read_only = connecting.read_only.map(|_| self.read_only);
        ConnectResponse::rejected(read_only).encode_frame(&mut conn.output);
        count_sent(conn, &self.links.counters);
        Self::mark_dirty(&mut self.dirty, token.conn, conn);
        self.close(token.conn);
    }
}

/// With the connection's identities of now, not those at registration (data-model 9.4).
fn may_see(auth: &Auth, conn: &Conn, acl: &EventAcl) -> bool {
    match acl {
        EventAcl::WorldReadable => true,
        EventAcl::Restricted(acl) => match acl.list() {
            Some(list) => auth.check_acl(list, perms::READ, &conn.identities),
            None => conn.identities.is_super() || auth.config().skip_acl,
        },
    }
}
