//! What this server has: tree, sessions, the window of committed transactions, epochs.

use std::collections::VecDeque;
use std::fmt;

use super::counts::LoadCounts;
use super::proposal::{CommittedLog, Proposal};
use super::source::Source;
use crate::base::{MonoMs, Zxid};
use crate::pipeline::Applier;
use crate::session::SessionTracker;
use crate::tree::TreeWriter;

/// A zxid of every so many goes into the digest log (disk-format 5.3), of which so many are kept.
const DIGEST_LOG_EVERY: i64 = 128;
const DIGEST_LOG_MAX: usize = 1024;

/// The newest state on disk, loaded.
pub struct Recovered {
    /// At the last transaction on disk.
    pub tree: TreeWriter,
    /// Everybody with a full timeout from now.
    pub sessions: SessionTracker,
    pub applier: Applier,
    /// The last transactions of the log, for learners that lag a little.
    pub recent: Vec<Proposal>,
    /// How long it took; nothing for what was not read from disk.
    pub loads: LoadCounts,
}

impl fmt::Debug for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recovered(at {})", self.tree.tree().applied())
    }
}

/// Owned by the Zab core. `tree.applied() == committed.max()` between two runs.
pub struct Database {
    pub tree: TreeWriter,
    pub sessions: SessionTracker,
    pub applier: Applier,
    pub committed: CommittedLog,
    digests: VecDeque<(Zxid, u64)>,
    commit_log_count: usize,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database(at {})", self.last())
    }
}

impl Database {
    pub fn new(recovered: Recovered, commit_log_count: usize) -> Database {
        let committed = window(&recovered, commit_log_count);
        let Recovered { tree, sessions, applier, .. } = recovered;
        let digests = VecDeque::new();
        Database { tree, sessions, applier, committed, digests, commit_log_count }
    }

    /// Another history takes the place of this one.
    pub fn replace(&mut self, recovered: Recovered) {
        self.committed = window(&recovered, self.commit_log_count);
        self.tree = recovered.tree;
        self.sessions = recovered.sessions;
        let mut before = std::mem::replace(&mut self.applier, recovered.applier);
        self.applier.take_counts(&mut before);
        self.digests.clear();
    }

    /// The state as it is between two runs, to be written or sent.
    pub fn source(&self) -> Source {
        Source::new(&self.tree, &self.sessions, self.applier.is_exact(self.last()))
    }

    /// The last transaction applied.
    pub fn last(&self) -> Zxid {
        self.committed.max()
    }

    /// Every session gets its full timeout from now, and belongs to nobody: a leader begins.
    pub fn restart_sessions(&mut self, now: MonoMs) {
        let known: Vec<_> = self.sessions.iter().collect();
        self.sessions.restore(known, now);
    }

    /// A transaction was applied.
    pub fn note_applied(&mut self, proposal: Proposal) {
        let zxid = proposal.zxid;
        self.committed.push(proposal);
        if zxid.0 % DIGEST_LOG_EVERY == 0 {
            self.digests.push_back((zxid, self.tree.digest()));
            if self.digests.len() > DIGEST_LOG_MAX {
                self.digests.pop_front();
            }
        }
    }

    /// (zxid, digest) of every 128th transaction, newest last.
    pub fn digests(&self) -> Vec<(Zxid, u64)> {
        self.digests.iter().copied().collect()
    }
}

fn window(recovered: &Recovered, keep: usize) -> CommittedLog {
    let last = recovered.tree.tree().applied();
    let before = recovered.recent.first().map_or(last, |first| Zxid(first.zxid.0 - 1));
    let mut window = CommittedLog::new(keep, before);
    for proposal in &recovered.recent {
        window.push(proposal.clone());
    }
    // A log that does not end where the tree does is of no use to anybody.
    if window.max() == last { window } else { CommittedLog::new(keep, last) }
}
