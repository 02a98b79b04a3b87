//! A disk in memory: what was flushed survives a crash, what was not may or may not.

use ringkeeper::base::prng::Prng;
use ringkeeper::base::{SessionId, Zxid};
use ringkeeper::peer::{Epochs, Proposal, Recovered};
use ringkeeper::pipeline::{Applier, CommitBatch};
use ringkeeper::session::SessionTracker;
use ringkeeper::tree::{OwnerOptions, TreeLoader, TreeWriter};
use ringkeeper::wire::Reader;
use ringkeeper::wire::snapshot_format::{decode_acl, decode_count, decode_node, decode_session};

use crate::checkers::digests::Digests;
use crate::checkers::total_order::TotalOrder;

pub const OWNERS: OwnerOptions = OwnerOptions { extended_types: false, emulate_353_ttl: false };
const RECORD_BYTES_MAX: usize = 1 << 20;

/// A snapshot as a SNAP carries it.
#[derive(Clone)]
pub struct Snapshot {
    pub zxid: Zxid,
    /// The newest transaction whose effects it may hold.
    pub end: Zxid,
    /// Else its tree may reach farther than its nodes tell.
    pub exact: bool,
    pub bytes: Vec<u8>,
}

#[derive(Default)]
pub struct Disk {
    pub log: Vec<(Zxid, Vec<u8>)>,
    /// A snapshot was put in place here: what the log holds before it is not all that there was.
    pub base: Zxid,
    /// So many records of the log are durable.
    pub durable: usize,
    pub snapshots: Vec<Snapshot>,
    pub epochs: Epochs,
}

impl Disk {
    /// Power is lost: of what was not flushed a part may have made it, from the front on.
    pub fn crash(&mut self, prng: &mut Prng) {
        let unflushed = (self.log.len() - self.durable) as u64;
        let kept = self.durable + prng.below(unflushed + 1) as usize;
        self.log.truncate(kept);
        self.durable = kept;
        // A snapshot may be on disk before the log that leads up to it.
        if let Some(newest) = self.snapshots.last()
            && self.log.last().map_or(self.base, |(last, _)| *last) < newest.zxid
        {
            self.base = newest.zxid;
        }
    }

    /// Records after `zxid`, in the order in which they were written.
    pub fn log_after(&self, zxid: Zxid) -> &[(Zxid, Vec<u8>)] {
        let behind = self.log.iter().rev().take_while(|(later, _)| *later > zxid).count();
        &self.log[self.log.len() - behind..]
    }

    /// The newest transaction that survives losing power now.
    pub fn safe(&self) -> Zxid {
        self.log[..self.durable].last().map_or(self.base, |(zxid, _)| *zxid)
    }

    /// A leader's snapshot takes the place of everything after it.
    pub fn adopt(&mut self, adopted: Snapshot, with_snapshot: bool) {
        self.cut(adopted.zxid);
        if with_snapshot {
            if self.log.last().is_none_or(|(last, _)| *last != adopted.zxid) {
                self.base = adopted.zxid;
            }
            self.snapshots.retain(|snapshot| snapshot.zxid < adopted.zxid);
            self.snapshots.push(adopted);
        }
    }

    pub fn cut(&mut self, to: Zxid) {
        self.log.retain(|(zxid, _)| *zxid <= to);
        self.base = self.base.min(to);
        self.durable = self.log.len();
    }

    /// The state that a start finds.
    pub fn recover(&self, now: i64) -> Recovered {
        let (mut tree, mut sessions, start, end) = match self.snapshots.last() {
            Some(snapshot) => {
                let (tree, sessions) = load(snapshot, now);
                (tree, sessions, snapshot.zxid, snapshot.end)
            }
            None => (TreeWriter::new(OWNERS), SessionTracker::new(200), Zxid::ZERO, Zxid::ZERO),
        };
        let mut applier = Applier::replaying(end);
        if self.snapshots.last().is_some_and(|snapshot| !snapshot.exact) {
            applier = applier.unsettled();
        }
        let mut unheard = CommitBatch::default();
        let mut recent = Vec::new();
        let mut last = start;
        for (zxid, bytes) in self.log.iter().filter(|(zxid, _)| *zxid > start) {
            TotalOrder::replayed(last, *zxid);
            tree.begin();
            let applied = applier.apply(&mut tree, &mut sessions, bytes, None, &mut unheard);
            applied.expect("a logged transaction applies");
            tree.publish(*zxid);
            last = *zxid;
            recent.push(Proposal::alone(*zxid, bytes.clone()));
        }
        Digests::replayed(last, applier.digest_mismatches);
        applier.go_live();
        let known: Vec<(SessionId, i32)> = sessions.iter().collect();
        sessions.restore(known, now);
        let keep = recent.len().saturating_sub(500);
        Recovered {
            tree,
            sessions,
            applier,
            recent: recent.split_off(keep),
            loads: Default::default(),
        }
    }
}

fn load(snapshot: &Snapshot, now: i64) -> (TreeWriter, SessionTracker) {
    let mut reader = Reader::new(&snapshot.bytes);
    let mut sessions = SessionTracker::new(200);
    for _ in 0..decode_count(&mut reader).expect("sessions") {
        let (id, timeout_ms) = decode_session(&mut reader).expect("session");
        sessions.create(id, timeout_ms, now);
    }
    let mut loader = TreeLoader::new(OWNERS);
    for _ in 0..decode_count(&mut reader).expect("ACLs") {
        let (id, list) = decode_acl(&mut reader).expect("ACL");
        loader.load_acl(id, list);
    }
    while let Some(node) = decode_node(&mut reader, RECORD_BYTES_MAX).expect("node") {
        let loaded = loader.load_node(node.path, node.data, node.acl_id, &node.stat);
        loaded.expect("a node with its parent");
    }
    (loader.finish(snapshot.zxid), sessions)
}
