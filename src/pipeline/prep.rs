//! Request to validated transaction, on the leader (and a standalone server). Reference: data-model 3 to 8.
//!
//! Every write gets a zxid and a transaction, also when it is refused: a refused one is logged as an error
//! transaction, because Apache followers and Apache restarts do not accept holes in the zxid order.

use std::fmt;

use super::outstanding::{Outstanding, OwnedAcl, Record};
use crate::auth::{Auth, Identities};
use crate::base::tally::KeyedTallies;
use crate::base::{SessionId, WallMs, Zxid};
use crate::session::SessionTracker;
use crate::tree::{TreeWriter, Violation, digest, path as paths};
use crate::wire::jute::DecodeError;
use crate::wire::txn::{DIGEST_VERSION, TxnDigest, TxnHeader};
use crate::wire::{ErrorCode, JuteWrite, OpCode, StatPersisted};

/// One write to validate.
#[derive(Debug)]
pub struct Write<'a> {
    /// [`SessionId::NONE`] for what the server asks of itself.
    pub session: SessionId,
    pub cxid: i32,
    pub op: i32,
    pub body: &'a [u8],
    pub identities: &'a Identities,
    /// Its session is known to the server that asks and to no other: it is not in the tracker, and an ephemeral of it
    /// is refused with this code (reference: data-model 11.5).
    pub local: Option<ErrorCode>,
}

/// What became of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// A transaction was appended; it may itself be an error transaction.
    Txn(Zxid),
    /// Refused without a transaction: answered in its turn, with the zxid of then.
    Refused(ErrorCode),
    /// Its session is gone; nobody waits for an answer.
    Dropped,
}

/// Settings of validation (reference: configuration 4, 7, 9).
#[derive(Clone, Debug)]
pub struct PrepOptions {
    pub digest_enabled: bool,
    pub extended_types: bool,
    pub close_session_txn: bool,
    pub enforce_quota: bool,
    pub reconfig_enabled: bool,
    /// Largest transaction, bytes: what a restart, here or in Apache ZooKeeper, still reads back.
    pub record_bytes_max: usize,
}

/// The state around the machine, lent for one call.
pub struct PrepContext<'a> {
    pub tree: &'a TreeWriter,
    pub sessions: &'a mut SessionTracker,
    pub auth: &'a Auth,
    pub now: WallMs,
}

impl fmt::Debug for PrepContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrepContext(now {})", self.now)
    }
}

/// Validation's own state. Owned by the Zab core of the leader.
#[derive(Debug)]
pub struct Prep {
    pub(super) options: PrepOptions,
    pub(super) outstanding: Outstanding,
    last: Zxid,
    /// Digest of the tree after everything prepared so far.
    digest: u64,
    /// Where failures of one request that are no protocol answer are kept for the log line.
    undecodable: u64,
    counts: PrepCounts,
    /// When a soft quota was last complained of.
    soft_quota_warned: WallMs,
}

/// What validation has counted.
#[derive(Clone, Debug, Default)]
pub struct PrepCounts {
    /// Changes that became outstanding, and those that were applied.
    pub changes_queued: u64,
    pub changes_removed: u64,
    /// Hard quotas that refused something, by top-level node.
    pub quotas_exceeded: KeyedTallies,
}

impl PrepCounts {
    /// Adds another's.
    pub fn merge(&mut self, other: &PrepCounts) {
        self.changes_queued += other.changes_queued;
        self.changes_removed += other.changes_removed;
        self.quotas_exceeded.merge(&other.quotas_exceeded);
    }
}

/// Soft quotas only warn, and not more often than this.
const SOFT_QUOTA_WARNING_GAP_MS: WallMs = 10_000;

/// Why a write is refused: the code goes into an error transaction.
pub(super) type Refusal = ErrorCode;

impl Prep {
    /// `last` and `digest` are those of the recovered tree.
    pub fn new(options: PrepOptions, last: Zxid, digest: u64) -> Prep {
        Prep {
            options,
            outstanding: Outstanding::default(),
            last,
            digest,
            undecodable: 0,
            counts: PrepCounts::default(),
            soft_quota_warned: 0,
        }
    }

    /// The last zxid handed out.
    pub fn last_zxid(&self) -> Zxid {
        self.last
    }

    /// Requests so far that could not be decoded.
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// What was counted since this was asked last.
    pub fn take_counts(&mut self) -> PrepCounts {
        let mut counts = std::mem::take(&mut self.counts);
        counts.changes_queued = std::mem::take(&mut self.outstanding.queued);
        counts.changes_removed = std::mem::take(&mut self.outstanding.removed);
        counts
    }

    /// Everything up to `zxid` has been applied.
    pub fn applied(&mut self, zxid: Zxid) {
        self.outstanding.applied(zxid);
    }

    /// Validates `write`. On [`Outcome::Txn`] the transaction's bytes were appended to `out`.
    pub fn prepare(
        &mut self,
        cx: &mut PrepContext<'_>,
        write: &Write<'_>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        if write.session != SessionId::NONE && !self.may_act(cx, write) {
            return Outcome::Dropped;
        }
        let Some(op) = OpCode::from_code(write.op) else {
            return Outcome::Refused(ErrorCode::Unimplemented);
        };
        let decoded = match super::prep_ops::Decoded::decode(op, write.body) {
            Ok(decoded) => decoded,
            Err(super::prep_ops::Undecodable { consumes_zxid }) => {
                self.undecodable += 1;
                if !consumes_zxid {
                    return Outcome::Refused(ErrorCode::MarshallingError);
                }
                let header = self.next_header(cx, write);
                self.error_txn(header, ErrorCode::MarshallingError, out);
                return Outcome::Txn(header.zxid);
            }
        };
        let header = self.next_header(cx, write);
        let start = out.len();
        header.encode(out);
        match decoded.prepare(self, cx, write, &header, out) {
            // Without a record a digest would be taken for one (disk-format 4.3).
            Ok(()) if op == OpCode::CloseSession && out.len() == start + TxnHeader::WIRE_BYTES => {}
            Ok(()) => self.put_digest(out),
            Err(code) => {
                out.truncate(start);
                self.error_txn(header, code, out);
            }
        }
        Outcome::Txn(header.zxid)
    }

    /// A forwarded write that must not be carried out: its server waits for a transaction all the same, and no zxid
    /// may be left out.
    pub fn refuse(
        &mut self,
        cx: &PrepContext<'_>,
        write: &Write<'_>,
        code: ErrorCode,
        out: &mut Vec<u8>,
    ) -> Zxid {
        let header = self.next_header(cx, write);
        self.error_txn(header, code, out);
        header.zxid
    }

    /// Whether a body is what its operation asks for, so that a leader can make a transaction of it.
    pub fn decodes(op: i32, body: &[u8]) -> bool {
        let op = OpCode::from_code(op);
        op.is_some_and(|op| super::prep_ops::Decoded::decode(op, body).is_ok())
    }

    /// Whether a request makes a node that goes with its session; what cannot be decoded makes none.
    pub fn makes_ephemeral(op: i32, body: &[u8]) -> bool {
        let op = OpCode::from_code(op)
            .filter(|op| matches!(op, OpCode::Create | OpCode::Create2 | OpCode::Multi));
        let decoded = op.and_then(|op| super::prep_ops::Decoded::decode(op, body).ok());
        decoded.is_some_and(|decoded| decoded.makes_ephemeral())
    }

    /// A createSession transaction; the id was made by the session tracker.
    pub fn create_session(
        &mut self,
        now: WallMs,
        session: SessionId,
        timeout_ms: i32,
        out: &mut Vec<u8>,
    ) -> Zxid {
        self.last = self.last.next();
        let op = OpCode::CreateSession.code();
        let header = TxnHeader { session, cxid: 0, zxid: self.last, time: now, op };
        header.encode(out);
        out.put_int(timeout_ms);
        self.put_digest(out);
        header.zxid
    }

    /// Whether the record that begins at `start` can be read back with its header and digest around it. An `auth`
    /// entry stands for many, so a record may be far larger than its request.
    pub(super) fn fits(&self, out: &[u8], start: usize) -> bool {
        let around = TxnHeader::WIRE_BYTES + TxnDigest::WIRE_BYTES;
        out.len() - start + around <= self.options.record_bytes_max
    }

    fn may_act(&self, cx: &PrepContext<'_>, write: &Write<'_>) -> bool {
        let closing = cx.sessions.is_closing(write.session);
        write.local.is_some()
            || cx.sessions.contains(write.session)
                && (!closing || write.op == OpCode::CloseSession.code())
    }

    fn next_header(&mut self, cx: &PrepContext<'_>, write: &Write<'_>) -> TxnHeader {
        self.last = self.last.next();
        TxnHeader {
            session: write.session,
            cxid: write.cxid,
            zxid: self.last,
            time: cx.now,
            op: write.op,
        }
    }

    fn error_txn(&self, header: TxnHeader, code: ErrorCode, out: &mut Vec<u8>) {
        TxnHeader { op: OpCode::Error.code(), ..header }.encode(out);
        out.put_int(code.code());
    }

    fn put_digest(&self, out: &mut Vec<u8>) {
        if self.options.digest_enabled {
            TxnDigest { version: DIGEST_VERSION, tree: self.digest }.encode(out);
        }
    }

    pub(super) fn count_exceeded_quota(&mut self, path: &[u8]) {
        if let Some(top) = paths::top(path) {
            self.counts.quotas_exceeded.add(top, 1);
        }
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    pub(super) fn warn_of_soft_quota(&mut self, now: WallMs, violation: &Violation) {
        if now - self.soft_quota_warned < SOFT_QUOTA_WARNING_GAP_MS {
            return;
        }
        self.soft_quota_warned = now;
        let what = if violation.count { "count" } else { "bytes" };
        let (path, limit) = (violation.path.escape_ascii(), violation.limit);
        tracing::warn!("Quota exceeded: {path} [{what}={}, limit={limit}]", violation.wanted);
    }

    /// Undoes what a failed multi did to the running digest.
    pub(super) fn restore_digest(&mut self, digest: u64) {
        self.digest = digest;
    }

    /// The node as it will be once everything outstanding is applied.
    pub(super) fn node(&self, cx: &PrepContext<'_>, path: &[u8]) -> Option<Record> {
        self.outstanding.node(&cx.tree.view(), path)
    }

    /// A node will appear.
    pub(super) fn put_created(&mut self, zxid: Zxid, path: &[u8], record: Record) {
        self.count_digest(path, None, Some((record.content_crc, &record.stat)));
        self.outstanding.put(zxid, path, record);
    }

    /// A node will change from `before` to `after`.
    pub(super) fn put_changed(&mut self, zxid: Zxid, path: &[u8], before: &Record, after: Record) {
        self.count_digest(
            path,
            Some((before.content_crc, &before.stat)),
            Some((after.content_crc, &after.stat)),
        );
        self.outstanding.put(zxid, path, after);
    }

    /// A node will go.
    pub(super) fn put_deleted(&mut self, zxid: Zxid, path: &[u8], before: &Record) {
        self.count_digest(path, Some((before.content_crc, &before.stat)), None);
        let gone = Record {
            exists: false,
            stat: StatPersisted::default(),
            sequence: 0,
            child_count: 0,
            acl: OwnedAcl::Open,
            content_crc: 0,
            data_len: 0,
        };
        self.outstanding.put(zxid, path, gone);
    }

    fn count_digest(
        &mut self,
        path: &[u8],
        before: Option<(u32, &StatPersisted)>,
        after: Option<(u32, &StatPersisted)>,
    ) {
        if !self.options.digest_enabled || paths::is_outside_digest(path) {
            return;
        }
        if let Some((crc, stat)) = before {
            self.digest = self.digest.wrapping_sub(digest::node_digest(crc, stat));
        }
        if let Some((crc, stat)) = after {
            self.digest = self.digest.wrapping_add(digest::node_digest(crc, stat));
        }
    }

    /// NoAuth unless the list grants one of `perms` to the requester.
    pub(super) fn require(
        &self,
        cx: &PrepContext<'_>,
        write: &Write<'_>,
        acl: &OwnedAcl,
        perms: i32,
    ) -> Result<(), Refusal> {
        let granted = match acl.list() {
            Some(list) => cx.auth.check_acl(list, perms, write.identities),
            None => write.identities.is_super() || cx.auth.config().skip_acl,
        };
        if granted { Ok(()) } else { Err(ErrorCode::NoAuth) }
    }
}

/// `expected` -1 matches anything; the answer is the version after the change, wrapping.
pub(super) fn next_version(current: i32, expected: i32) -> Result<i32, Refusal> {
    if expected != -1 && expected != current {
        return Err(ErrorCode::BadVersion);
    }
    Ok(current.wrapping_add(1))
}

/// Decoding failed: the reader's error does not matter to the answer.
impl From<DecodeError> for super::prep_ops::Undecodable {
    fn from(_: DecodeError) -> Self {
        super::prep_ops::Undecodable { consumes_zxid: false }
    }
}
