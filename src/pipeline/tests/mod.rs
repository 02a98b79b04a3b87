//! Requests driven through validation and application as the Zab core drives them, without log and connections.

mod golden;
mod multi;
mod random_run;
mod refusals;
mod sequence;
mod sessions;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use super::apply::ReplyTo;
use super::batch::{CommitBatch, Item};
use super::prep::PrepOptions;
use super::{Applier, ConnToken, Outcome, Prep, PrepContext, Write};
use crate::auth::{Auth, AuthConfig, Identities};
use crate::base::slab::Key;
use crate::base::{SessionId, WallMs, Zxid};
use crate::session::SessionTracker;
use crate::tree::{OwnerOptions, TreeWriter};
use crate::wire::acl::{OPEN_ACL_UNSAFE, encode_acl_list};
use crate::wire::multi::{MultiOp, encode_multi};
use crate::wire::request::{CreateRequest, PathVersionRequest, SetDataRequest};
use crate::wire::txn::decode_txn;
use crate::wire::{AclEntry, ErrorCode, EventType, JuteWrite, OpCode, Reader};

const A: SessionId = SessionId(0x0100_0000_0000_0001);
const B: SessionId = SessionId(0x0100_0000_0000_0002);
const TIMEOUT_MS: i32 = 30_000;

fn options() -> PrepOptions {
    PrepOptions {
        digest_enabled: true,
        extended_types: true,
        close_session_txn: true,
        enforce_quota: false,
        reconfig_enabled: false,
        record_bytes_max: 2 << 20,
    }
}

fn fresh_tree(extended_types: bool) -> TreeWriter {
    TreeWriter::new(OwnerOptions { extended_types, emulate_353_ttl: false })
}

/// What one applied transaction said.
#[derive(Debug)]
struct Said {
    zxid: Zxid,
    err: i32,
    body: Vec<u8>,
    /// Events and the reply in the order in which connections see them.
    told: Vec<String>,
    txn: Vec<u8>,
}

impl Said {
    /// The path that a create answers with.
    fn path(&self) -> String {
        assert_eq!(self.err, 0);
        let path = Reader::new(&self.body).ustring().expect("a path in the reply");
        String::from_utf8(path.expect("a path").to_vec()).expect("text")
    }
}

/// One server's tree, sessions and pipeline; what is prepared waits until it is told to be applied.
struct World {
    tree: TreeWriter,
    sessions: SessionTracker,
    auth: Auth,
    prep: Prep,
    applier: Applier,
    ids: Identities,
    /// What ephemerals are refused with, while the asking session is another server's local one.
    local: Option<ErrorCode>,
    now: WallMs,
    cxid: i32,
    pending: VecDeque<Vec<u8>>,
    /// Everything applied.
    log: Vec<Vec<u8>>,
}

impl World {
    /// With sessions [`A`] and [`B`].
    fn new() -> World {
        World::with(options())
    }

    fn with(options: PrepOptions) -> World {
        let mut world = World::over(fresh_tree(options.extended_types), options);
        world.open(A);
        world.open(B);
        world
    }

    /// Without sessions.
    fn over(tree: TreeWriter, options: PrepOptions) -> World {
        let prep = Prep::new(options, tree.tree().applied(), tree.digest());
        World {
            tree,
            sessions: SessionTracker::new(2000),
            auth: Auth::new(AuthConfig::default()),
            prep,
            applier: Applier::default(),
            ids: Identities::of_peer(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            local: None,
            now: 1_700_000_000_000,
            cxid: 0,
            pending: VecDeque::new(),
            log: Vec::new(),
        }
    }

    /// Prepares a new session; it may be used at once, as between cores.
    fn open(&mut self, session: SessionId) {
        let mut txn = Vec::new();
        self.sessions.create(session, TIMEOUT_MS, 0);
        self.prep.create_session(self.now, session, TIMEOUT_MS, &mut txn);
        self.pending.push_back(txn);
        self.apply_all();
    }

    fn prepare(&mut self, session: SessionId, op: i32, body: &[u8]) -> Outcome {
        self.cxid += 1;
        self.now += 1;
        let ids = self.ids.clone();
        let write =
            Write { session, cxid: self.cxid, op, body, identities: &ids, local: self.local };
        let World { tree, sessions, auth, prep, now, .. } = self;
        let mut cx = PrepContext { tree, sessions, auth, now: *now };
        let mut txn = Vec::new();
        let outcome = prep.prepare(&mut cx, &write, &mut txn);
        if let Outcome::Txn(zxid) = outcome {
            let (header, ..) = decode_txn(&txn).expect("our own transaction");
            assert_eq!(zxid, header.zxid);
            self.pending.push_back(txn);
        } else {
            assert!(txn.is_empty(), "bytes without a transaction: {outcome:?}");
        }
        outcome
    }

    /// Prepares a request that must become a transaction.
    fn submit(&mut self, session: SessionId, op: OpCode, body: &[u8]) -> Zxid {
        match self.prepare(session, op.code(), body) {
            Outcome::Txn(zxid) => zxid,
            other => panic!("{op:?} became {other:?}"),
        }
    }

    /// Applies the first of what is prepared; its digest must be that of the tree after it.
    fn apply(&mut self) -> Said {
        let txn = self.pending.pop_front().expect("a prepared transaction");
        let (header, _, digest) = decode_txn(&txn).expect("our own transaction");
        let conn = ConnToken { shard: 0, conn: Key::from_bits(1) };
        let reply = Some(ReplyTo { conn, xid: header.cxid });
        let mut batch = CommitBatch::default();
        self.tree.begin();
        let World { tree, sessions, applier, .. } = self;
        applier.apply(tree, sessions, &txn, reply, &mut batch).expect("our own transaction");
        self.tree.publish(header.zxid);
        self.prep.applied(header.zxid);
        if let Some(digest) = digest {
            let tree = self.tree.digest();
            assert_eq!(digest.tree, tree, "digest after {}: {txn:02x?}", header.zxid);
        }
        let said = read_batch(&batch, header.zxid, txn.clone());
        self.log.push(txn);
        said
    }

    fn apply_all(&mut self) -> Vec<Said> {
        let mut said = Vec::new();
        while !self.pending.is_empty() {
            said.push(self.apply());
        }
        said
    }

    /// Prepares and applies one request of [`A`].
    fn ask(&mut self, op: OpCode, body: &[u8]) -> Said {
        self.submit(A, op, body);
        self.apply_all().pop().expect("what was submitted")
    }

    /// The code of a request of [`A`], whether or not it took a zxid.
    fn code(&mut self, op: OpCode, body: &[u8]) -> i32 {
        match self.prepare(A, op.code(), body) {
            Outcome::Txn(_) => self.apply_all().pop().expect("what was prepared").err,
            Outcome::Refused(code) => code.code(),
            Outcome::Dropped => panic!("{op:?} was dropped"),
        }
    }

    /// A persistent node with an open ACL.
    fn node(&mut self, path: &str) {
        assert_eq!(self.code(OpCode::Create, &create(path, b"", 0)), 0, "create {path}");
    }

    fn exists(&self, path: &str) -> bool {
        self.tree.view().lookup(path.as_bytes()).is_some()
    }
}

fn read_batch(batch: &CommitBatch, zxid: Zxid, txn: Vec<u8>) -> Said {
    let mut said = Said { zxid, err: 0, body: Vec::new(), told: Vec::new(), txn };
    for item in &batch.items {
        let told = match item {
            Item::Event { event, path, zxid: at, .. } => {
                assert_eq!(*at, zxid);
                let what = match event {
                    EventType::NodeCreated => "created",
                    EventType::NodeDeleted => panic!("deletes have an item of their own"),
                    EventType::NodeDataChanged => "changed",
                    EventType::NodeChildrenChanged => "children",
                };
                format!("{what} {}", batch.slice(path).escape_ascii())
            }
            Item::Deleted { path, zxid: at, .. } => {
                assert_eq!(*at, zxid);
                format!("deleted {}", batch.slice(path).escape_ascii())
            }
            Item::Reply { zxid: at, err, body, .. } => {
                assert_eq!(*at, zxid);
                (said.err, said.body) = (*err, batch.slice(body).to_vec());
                "reply".to_string()
            }
            other => panic!("applying does not say {other:?}"),
        };
        said.told.push(told);
    }
    said
}

/// All nodes with everything that is known of them, in order.
fn dump(tree: &TreeWriter) -> Vec<String> {
    let mut lines = Vec::new();
    let mut paths = vec![b"/".to_vec()];
    while let Some(path) = paths.pop() {
        let view = tree.view();
        let node = view.lookup(&path).expect("a listed node");
        node.for_each_child(|name| {
            let mut child = path.clone();
            if child.len() > 1 {
                child.push(b'/');
            }
            child.extend_from_slice(name);
            paths.push(child);
        });
        lines.push(format!(
            "{} {:02x?} {:?} {:02x?}",
            path.escape_ascii(),
            node.data(),
            node.persisted(),
            node.acl().and_then(|acl| acl.list()).map(|list| list.as_bytes()),
        ));
    }
    lines.sort();
    lines
}

fn acl_list(entries: &[AclEntry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_acl_list(entries.iter().copied(), &mut out);
    out
}

/// A list that lets only `digest:u:h` do anything.
fn sealed_acl() -> Vec<u8> {
    acl_list(&[AclEntry { perms: 31, scheme: Some(b"digest"), id: Some(b"u:h") }])
}

/// A request body of the create family from any path and any encoded list; a `ttl` makes it a createTTL's.
fn create_raw(path: Option<&[u8]>, data: &[u8], acl: &[u8], flags: i32, ttl: i64) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_buffer(path);
    out.put_buffer(Some(data));
    out.extend_from_slice(acl);
    out.put_int(flags);
    if ttl >= 0 {
        out.put_long(ttl);
    }
    out
}

fn create(path: &str, data: &[u8], flags: i32) -> Vec<u8> {
    create_raw(Some(path.as_bytes()), data, OPEN_ACL_UNSAFE.as_bytes(), flags, -1)
}

fn path_version(path: Option<&[u8]>, version: i32) -> Vec<u8> {
    let mut out = Vec::new();
    PathVersionRequest { path, version }.encode(&mut out);
    out
}

fn delete(path: &str) -> Vec<u8> {
    path_version(Some(path.as_bytes()), -1)
}

fn set_data(path: Option<&[u8]>, data: &[u8], version: i32) -> Vec<u8> {
    let mut out = Vec::new();
    SetDataRequest { path, data: Some(data), version }.encode(&mut out);
    out
}

fn set_acl(path: Option<&[u8]>, acl: &[u8], version: i32) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_buffer(path);
    out.extend_from_slice(acl);
    out.put_int(version);
    out
}

fn create_op(path: &str, flags: i32) -> MultiOp<'_> {
    MultiOp::Create(CreateRequest {
        op: OpCode::Create,
        path: Some(path.as_bytes()),
        data: Some(b"m"),
        acl: Some(OPEN_ACL_UNSAFE),
        flags,
        ttl: -1,
    })
}

fn set_op(path: &str, version: i32) -> MultiOp<'_> {
    MultiOp::SetData(SetDataRequest { path: Some(path.as_bytes()), data: Some(b"22"), version })
}

fn delete_op(path: &str) -> MultiOp<'_> {
    MultiOp::Delete(PathVersionRequest { path: Some(path.as_bytes()), version: -1 })
}

fn check_op(path: &str, version: i32) -> MultiOp<'_> {
    MultiOp::Check(PathVersionRequest { path: Some(path.as_bytes()), version })
}

fn multi(ops: &[MultiOp<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_multi(ops, &mut out);
    out
}

/// Bytes from hex digits; blanks do not count.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).expect("hex");
        u8::from_str_radix(text, 16).expect("hex")
    };
    digits.chunks(2).map(pair).collect()
}
