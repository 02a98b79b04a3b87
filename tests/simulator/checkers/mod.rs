//! What must hold whatever happens: one invariant a file. Each names itself when it is violated.
//!
//! | checker | holds that |
//! |---|---|
//! | `agreement` | one transaction for each zxid, the same on every server |
//! | `total order` | what servers deliver are beginnings of one sequence |
//! | `primary order` | an epoch has one leader; its transactions follow all earlier ones, without a hole |
//! | `integrity` | only what a leader has proposed is delivered, and only what a client has asked for, once |
//! | `no lost write` | whatever was acknowledged is in the history of every later leader |
//! | `sessions` | no ephemeral without its session, no session lost in time |
//! | `watch order` | the event comes before anything that shows the change |
//! | `linearizable writes` | each write does what the one sequence says, in the order of real time |
//! | `monotone reads` | a session never goes back, and what it reads is the state at the zxid of the answer |
//! | `read only` | readers without a quorum see their server's own log, and nothing changes under them |
//! | `digests` | the same digest at the same zxid, live and replayed |
//! | `availability` | servers that can form a quorum serve, and none stops |

pub mod agreement;
pub mod availability;
pub mod digests;
pub mod integrity;
pub mod linearizable_writes;
pub mod model;
pub mod monotone_reads;
pub mod no_lost_write;
pub mod primary_order;
pub mod read_only;
pub mod sessions;
pub mod total_order;
pub mod watch_order;

use std::collections::BTreeMap;
use std::fmt::Display;

use ringkeeper::base::{MonoMs, Sid, Zxid};
use ringkeeper::peer::{Peer, ServerState};
use ringkeeper::wire::txn::decode_txn;

use self::agreement::Agreement;
use self::availability::Availability;
use self::digests::Digests;
use self::integrity::Integrity;
use self::linearizable_writes::LinearizableWrites;
use self::model::Model;
use self::monotone_reads::MonotoneReads;
use self::no_lost_write::NoLostWrite;
use self::primary_order::PrimaryOrder;
use self::read_only::ReadOnly;
use self::sessions::Sessions;
use self::total_order::TotalOrder;
use self::watch_order::WatchOrder;
use crate::disk::Disk;
use crate::host::SimHost;

/// Ends the run; the text begins with the checker's name.
pub fn violated(checker: &str, what: impl Display) -> ! {
    panic!("checker {checker}: {what}")
}

/// Whoever caught it, out of what [`violated`] panicked with.
#[cfg(debug_assertions)]
pub fn checker_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
    match text.strip_prefix("checker ").and_then(|rest| rest.split_once(':')) {
        Some((checker, _)) => checker.to_owned(),
        None => format!("none, but {text}"),
    }
}

/// A test's own wrong history must be caught by this checker.
#[cfg(test)]
pub fn assert_caught(checker: &str, wrong: impl FnOnce()) {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(wrong));
    let panic = result.expect_err("a wrong history passed");
    let text = panic.downcast_ref::<String>().expect("the checker's own panic");
    assert!(text.starts_with(&format!("checker {checker}:")), "{text}");
}

/// Where a server is.
#[derive(Clone, Copy, Default)]
struct Position {
    /// Served up to here when last looked at; `None` while it serves nobody.
    served: Option<Zxid>,
    leads: bool,
    /// Records of its log that were looked at for proposals.
    looked: Zxid,
}

#[derive(Default)]
pub struct Checkers {
    pub agreement: Agreement,
    pub total_order: TotalOrder,
    pub primary_order: PrimaryOrder,
    pub integrity: Integrity,
    pub no_lost_write: NoLostWrite,
    pub sessions: Sessions,
    pub watch_order: WatchOrder,
    pub linearizable: LinearizableWrites,
    pub monotone_reads: MonotoneReads,
    pub read_only: ReadOnly,
    pub digests: Digests,
    pub availability: Availability,
    pub model: Model,
    positions: BTreeMap<Sid, Position>,
}

impl Checkers {
    /// A server is down.
    pub fn gone(&mut self, sid: Sid) {
        self.positions.remove(&sid);
        self.availability.left(sid);
    }

    /// After every turn of a server.
    pub fn look(&mut self, sid: Sid, peer: &Peer, host: &SimHost, now: MonoMs) {
        let position = self.positions.entry(sid).or_default();
        // Without a quorum readers see the own log, whatever becomes of its end: nothing is delivered by that.
        if host.suspended || host.state == ServerState::ReadOnly {
            if host.state == ServerState::ReadOnly {
                let end = host.disk.end().max(host.disk.base);
                self.read_only.shows(sid, peer.tree().tree().applied(), end);
            }
            (position.served, position.leads) = (None, false);
            return self.note_proposals(sid, &host.disk);
        }
        let applied = peer.tree().tree().applied();
        let leads = host.state == ServerState::Leading;
        if leads && !std::mem::replace(&mut position.leads, true) {
            let epoch = host.disk.epochs.current;
            self.no_lost_write.leads(sid, epoch, applied);
            self.primary_order.leads(sid, epoch, applied, self.total_order.last());
        }
        self.note_proposals(sid, &host.disk);
        let before = self.positions.get(&sid).and_then(|position| position.served);
        if before != Some(applied) {
            self.delivered(sid, before, applied, &host.disk);
            self.digests.at(sid, applied, peer.tree().digest());
            let mismatches = peer.status(false).digest_mismatches;
            self.digests.counted(sid, applied, mismatches);
        }
        if let Some(position) = self.positions.get_mut(&sid) {
            position.served = Some(applied);
        }
        if now % 50 == sid.0 {
            self.sessions.census(sid, applied, peer);
        }
    }

    /// Whatever the leader of an epoch gives to its log in this epoch is a proposal.
    pub fn note_proposals(&mut self, sid: Sid, disk: &Disk) {
        let epoch = disk.epochs.current;
        if self.primary_order.leader_of(epoch) != Some(sid) {
            return;
        }
        let position = self.positions.entry(sid).or_default();
        let from = position.looked.max(Zxid(epoch << 32));
        let own = disk.log_after(from).iter().take_while(|(zxid, _)| zxid.epoch() == epoch);
        for (zxid, bytes) in own {
            position.looked = *zxid;
            self.primary_order.proposed(sid, *zxid);
            self.integrity.proposed(*zxid, bytes);
        }
    }

    /// What a server shows its clients now and did not show before.
    fn delivered(&mut self, sid: Sid, before: Option<Zxid>, applied: Zxid, disk: &Disk) {
        if let Some(before) = before
            && applied < before
        {
            violated("monotone reads", format!("server {}: from {before} to {applied}", sid.0));
        }
        let from = before.unwrap_or(disk.base.min(applied));
        let mut last = from;
        if before.is_none() {
            self.total_order.begins(sid, from);
        }
        for (zxid, bytes) in disk.log_after(from) {
            if *zxid > applied {
                break;
            }
            let new = self.total_order.delivered(sid, last, *zxid);
            self.agreement.delivered(sid, *zxid, bytes);
            if new {
                self.first_delivered(last, *zxid, bytes);
            }
            last = *zxid;
        }
        if last != applied && applied.counter() != 0 {
            let text = format!("server {} shows {applied}, its log ends at {last}", sid.0);
            violated("integrity", text);
        }
    }

    fn first_delivered(&mut self, before: Zxid, zxid: Zxid, bytes: &[u8]) {
        let (header, txn, _) = match decode_txn(bytes) {
            Ok(parts) => parts,
            Err(error) => violated("integrity", format!("{zxid} cannot be decoded: {error}")),
        };
        self.primary_order.delivered(before, zxid);
        self.integrity.delivered(&header, &txn, bytes);
        self.sessions.delivered(&header, &txn);
        self.model.delivered(before, &header, &txn);
        self.read_only.delivered(zxid, &self.model);
    }

    /// At the end, when everybody serves and nothing is under way.
    pub fn end(&self, sid: Sid, peer: &Peer) {
        let applied = peer.tree().tree().applied();
        let view = peer.tree().view();
        self.no_lost_write.end(sid, applied);
        self.total_order.end(sid, applied);
        self.sessions.end(sid, applied, peer);
        let zxid_of = |path: &str| view.lookup(path.as_bytes()).map(|node| node.persisted().mzxid);
        self.model.end(sid, zxid_of);
    }
}
