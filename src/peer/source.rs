//! A snapshot in the making: the walk over the tree and the session table as it was.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::base::{SessionId, Zxid};
use crate::session::SessionTracker;
use crate::tree::{OPEN_ACL_ID, SnapshotWalk, TreeWriter};

/// Taken on the Zab core between two runs, walked by any thread.
pub struct Source {
    pub walk: SnapshotWalk,
    pub sessions: Vec<(SessionId, i32)>,
    /// Disk id and encoded list.
    pub acls: Vec<(i64, Vec<u8>)>,
    /// Set once the history that this was taken from is being cut or replaced: it must not be put in place.
    pub given_up: Arc<AtomicBool>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({}, {} sessions)", self.walk.zxid(), self.sessions.len())
    }
}

impl Source {
    /// Of the state as it is between two runs.
    pub fn new(tree: &TreeWriter, sessions: &SessionTracker) -> Source {
        let walk = tree.begin_snapshot();
        let acls = walk.acls().filter(|(id, _)| *id != OPEN_ACL_ID);
        let acls = acls.map(|(id, list)| (id, list.as_bytes().to_vec())).collect();
        Source { walk, sessions: sessions.iter().collect(), acls, given_up: Arc::default() }
    }

    pub fn zxid(&self) -> Zxid {
        self.walk.zxid()
    }
}
