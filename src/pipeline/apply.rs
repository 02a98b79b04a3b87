//! Transaction to changes, events and replies; on every server, live and at recovery. Reference: data-model 1.1 and
//! 9.2, disk-format 8, client-protocol 5 and 9.3.

use super::batch::{CommitBatch, Item};
use super::messages::ConnToken;
use super::owners::{parent_or_root, raw_owner};
use crate::base::tally::{KeyedTallies, Samples};
use crate::base::{MonoMs, SessionId, WallMs, Zxid};
use crate::session::SessionTracker;
use crate::tree::{Create, EventAcl, TreeWriter, path as paths};
use crate::wire::jute::DecodeError;
use crate::wire::multi::MultiHeader;
use crate::wire::txn::{CreateTxn, MultiTxn, SetAclTxn, SetDataTxn, Txn, TxnHeader, decode_txn};
use crate::wire::{ErrorCode, EventType, JuteWrite, OpCode, Reader, Stat};

/// Whom a transaction answers, if one of this server's connections asked for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyTo {
    pub conn: ConnToken,
    pub xid: i32,
}

/// What an operation answers when it worked.
enum Done<'a> {
    Nothing,
    Path(&'a [u8]),
    PathStat(&'a [u8], Stat),
    Stat(Stat),
}

/// Result of one operation.
type Applied<'a> = Result<Done<'a>, ErrorCode>;

/// Counts of what applying has seen. Owned by the Zab core.
#[derive(Debug, Default)]
pub struct Applier {
    /// Transactions whose digest was not that of the tree after them.
    pub digest_mismatches: u64,
    /// Sessions of which createSession / closeSession was applied.
    pub sessions_created: u64,
    pub sessions_closed: u64,
    /// Milliseconds from a transaction's making to its applying here, by two servers' wall clocks.
    pub propagation: Samples,
    /// Bytes written under each top-level node.
    pub written: KeyedTallies,
    /// Milliseconds on the server's clock; sessions made by transactions live from now.
    now: MonoMs,
    /// Milliseconds since 1970, as transactions carry them.
    wall: WallMs,
    /// During recovery nobody watches and nobody waits.
    quiet: bool,
    /// Comparing digests is suspended below this zxid (a fuzzy snapshot, disk-format 5.3).
    digests_from: Zxid,
    /// The tree may hold changes from behind `digests_from` too: nothing counts until a digest is equal once.
    unsettled: bool,
}

impl Applier {
    /// For replay: no events, no replies.
    pub fn replaying(digests_from: Zxid) -> Applier {
        Applier { quiet: true, digests_from, ..Applier::default() }
    }

    /// The tree came in a way that does not tell how far it reaches: a deletion or a new ACL leaves no zxid in it.
    /// Digests count from the first that is equal, the moment at which it is the tree of one zxid.
    pub fn unsettled(self) -> Applier {
        Applier { unsettled: true, ..self }
    }

    /// The clocks are read at the edge.
    pub fn set_now(&mut self, now: MonoMs, wall: WallMs) {
        self.now = now;
        self.wall = wall;
    }

    /// `srst`.
    pub fn reset_counts(&mut self) {
        self.digest_mismatches = 0;
        self.propagation = Samples::default();
        self.written = KeyedTallies::default();
    }

    /// Goes on counting where another left off.
    pub fn take_counts(&mut self, from: &mut Applier) {
        self.propagation = std::mem::take(&mut from.propagation);
        self.written = std::mem::take(&mut from.written);
    }

    /// Recovery is over.
    pub fn go_live(&mut self) {
        self.quiet = false;
    }

    /// Nobody is served any more, as during recovery.
    pub fn go_quiet(&mut self) {
        self.quiet = true;
    }

    /// Whether a tree with everything applied up to `last` has no changes from behind it.
    pub fn is_exact(&self, last: Zxid) -> bool {
        !self.unsettled && last.next() >= self.digests_from
    }

    /// Digests below `zxid` are not compared: the tree holds later changes already.
    pub fn compare_digests_from(&mut self, zxid: Zxid) {
        self.digests_from = zxid;
        self.unsettled = false;
    }

    /// Applies one transaction between the tree's `begin` and `publish`. Events and the reply are appended to
    /// `batch` in the order in which connections must see them. Answers the session that this transaction closed.
    pub fn apply(
        &mut self,
        tree: &mut TreeWriter,
        sessions: &mut SessionTracker,
        bytes: &[u8],
        reply: Option<ReplyTo>,
        batch: &mut CommitBatch,
    ) -> Result<Option<SessionId>, DecodeError> {
        let (header, txn, digest) = decode_txn(bytes)?;
        let mut closed = None;
        let written = &mut self.written;
        let mut run = Run { tree, batch, header, quiet: self.quiet, written };
        match txn {
            Txn::Multi(multi) => run.multi(&multi, reply)?,
            Txn::CreateSession { timeout_ms } => {
                self.sessions_created += 1;
                sessions.create(header.session, timeout_ms, self.now);
            }
            Txn::CloseSession { paths } => {
                self.sessions_closed += 1;
                sessions.remove(header.session);
                closed = Some(header.session);
                // A null path names no node.
                run.close_session(paths.map(|list| list.iter().flatten()));
                run.reply(reply, 0, |_| {});
            }
            Txn::Error { err } => run.reply(reply, err, |_| {}),
            single => {
                let result = run.single(&single);
                run.answer(reply, result);
            }
        }
        // Of clocks that differ too much there is nothing to learn.
        let age = self.wall - header.time;
        if !self.quiet && age >= 0 {
            self.propagation.add(age);
        }
        if let Some(digest) = digest
            && header.zxid >= self.digests_from
            && digest.version == crate::wire::txn::DIGEST_VERSION
        {
            let equal = digest.tree == tree.digest();
            self.unsettled &= !equal;
            self.digest_mismatches += u64::from(!equal && !self.unsettled);
        }
        Ok(closed)
    }
}

/// One transaction being applied.
struct Run<'r> {
    tree: &'r mut TreeWriter,
    batch: &'r mut CommitBatch,
    header: TxnHeader,
    quiet: bool,
    written: &'r mut KeyedTallies,
}

impl Run<'_> {
    fn single<'t>(&mut self, txn: &Txn<'t>) -> Applied<'t> {
        match txn {
            Txn::Create(create) => self.create(create),
            Txn::Delete { path } | Txn::DeleteContainer { path } => self.delete(path),
            Txn::SetData(set) | Txn::Reconfig(set) => self.set_data(set),
            Txn::SetAcl(set) => self.set_acl(set),
            Txn::Check { .. } => Ok(Done::Nothing),
            Txn::Error { err: _ } => Ok(Done::Nothing),
            // Not inside a multi, and handled before at the top level.
            Txn::Multi(_) | Txn::CreateSession { .. } | Txn::CloseSession { .. } => {
                Ok(Done::Nothing)
            }
        }
    }

    fn create<'t>(&mut self, txn: &CreateTxn<'t>) -> Applied<'t> {
        let stat = self.tree.create(&Create {
            path: txn.path,
            data: txn.data,
            acl: txn.acl,
            owner: raw_owner(txn.mode, self.header.session),
            zxid: self.header.zxid,
            time: self.header.time,
            parent_cversion: txn.parent_cversion,
        })?;
        if !self.quiet {
            self.count_written(txn.path, txn.data);
            let parent = parent_or_root(txn.path);
            let (node_acl, parent_acl) = (self.acl_of(txn.path), self.acl_of(parent));
            self.event(EventType::NodeCreated, txn.path, node_acl);
            self.event(EventType::NodeChildrenChanged, parent, parent_acl);
        }
        Ok(match txn.op {
            OpCode::Create => Done::Path(txn.path),
            _ => Done::PathStat(txn.path, stat),
        })
    }

    fn delete<'t>(&mut self, path: &[u8]) -> Applied<'t> {
        let zxid = self.header.zxid;
        let deleted = self.tree.delete(path, zxid)?;
        if !self.quiet {
            self.count_written(path, None);
            let range = self.batch.put(path);
            self.batch.items.push(Item::Deleted { path: range, zxid, acl: deleted.node });
            let parent = parent_or_root(path);
            self.event(EventType::NodeChildrenChanged, parent, deleted.parent);
        }
        Ok(Done::Nothing)
    }

    fn set_data<'t>(&mut self, txn: &SetDataTxn<'t>) -> Applied<'t> {
        let (zxid, time) = (self.header.zxid, self.header.time);
        let stat = self.tree.set_data(txn.path, txn.data, txn.version, zxid, time)?;
        if !self.quiet {
            self.count_written(txn.path, txn.data);
            let acl = self.acl_of(txn.path);
            self.event(EventType::NodeDataChanged, txn.path, acl);
        }
        Ok(Done::Stat(stat))
    }

    fn set_acl<'t>(&mut self, txn: &SetAclTxn<'t>) -> Applied<'t> {
        Ok(Done::Stat(self.tree.set_acl(txn.path, txn.acl, txn.version)?))
    }

    /// First the listed paths, then whatever else the session still owns here.
    fn close_session<'p>(&mut self, paths: Option<impl Iterator<Item = &'p [u8]>>) {
        for path in paths.into_iter().flatten() {
            // A path that is gone already was deleted by an earlier replay of the same change.
            let _ = self.delete(path);
        }
        for path in self.tree.ephemerals_of(self.header.session) {
            let _ = self.delete(&path);
        }
    }

    fn multi(&mut self, multi: &MultiTxn<'_>, reply: Option<ReplyTo>) -> Result<(), DecodeError> {
        let failed = multi.is_failed();
        let mut body = Vec::new();
        let mut before_refused = true;
        for sub in multi.iter() {
            if failed {
                let is_error = sub.op == OpCode::Error.code();
                let code = Reader::new(sub.data).int().unwrap_or_default();
                let code = if before_refused && !is_error { 0 } else { code };
                before_refused &= !is_error;
                put_multi_error(&mut body, code);
                continue;
            }
            let mut r = Reader::new(sub.data);
            let txn = Txn::decode(sub.op, &mut r)?;
            let result = self.single(&txn);
            put_multi_result(&mut body, sub.op, result);
        }
        MultiHeader::END.encode(&mut body);
        self.reply(reply, 0, |out| out.extend_from_slice(&body));
        Ok(())
    }

    fn answer(&mut self, reply: Option<ReplyTo>, result: Applied<'_>) {
        match result {
            Ok(done) => self.reply(reply, 0, |out| put_done(out, &done)),
            Err(code) => self.reply(reply, code.code(), |_| {}),
        }
    }

    fn reply(&mut self, reply: Option<ReplyTo>, err: i32, body: impl FnOnce(&mut Vec<u8>)) {
        let Some(ReplyTo { conn, xid }) = reply else { return };
        let body = self.batch.put_with(body);
        self.batch.items.push(Item::Reply { conn, xid, zxid: self.header.zxid, err, body });
    }

    fn event(&mut self, event: EventType, path: &[u8], acl: EventAcl) {
        let path = self.batch.put(path);
        self.batch.items.push(Item::Event { event, path, zxid: self.header.zxid, acl });
    }

    fn count_written(&mut self, path: &[u8], data: Option<&[u8]>) {
        if let Some(top) = paths::top(path) {
            self.written.add(top, (path.len() + data.map_or(0, <[u8]>::len)) as i64);
        }
    }

    fn acl_of(&self, path: &[u8]) -> EventAcl {
        self.tree.event_acl(path).unwrap_or(EventAcl::WorldReadable)
    }
}

fn put_done(out: &mut Vec<u8>, done: &Done<'_>) {
    match done {
        Done::Nothing => {}
        Done::Path(path) => out.put_buffer(Some(path)),
        Done::PathStat(path, stat) => {
            out.put_buffer(Some(path));
            stat.encode(out);
        }
        Done::Stat(stat) => stat.encode(out),
    }
}

/// All creates but plain `create` answer as create2 (client-protocol 9.3).
fn put_multi_result(out: &mut Vec<u8>, op: i32, result: Applied<'_>) {
    match result {
        Ok(done) => {
            let op = match OpCode::from_code(op) {
                Some(OpCode::CreateContainer | OpCode::CreateTtl) => OpCode::Create2.code(),
                _ => op,
            };
            MultiHeader { op, done: false, err: 0 }.encode(out);
            put_done(out, &done);
        }
        Err(code) => put_multi_error(out, code.code()),
    }
}

fn put_multi_error(out: &mut Vec<u8>, code: i32) {
    MultiHeader { op: -1, done: false, err: code }.encode(out);
    out.put_int(code);
}
