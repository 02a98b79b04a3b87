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
    /// The tree is that of its zxid, without later changes that a leader's stream brought early.
    pub exact: bool,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({}, {} sessions)", self.walk.zxid(), self.sessions.len())
    }
}

impl Source {
    /// Of the state as it is between two runs; `exact` as in the field.
    pub fn new(tree: &TreeWriter, sessions: &SessionTracker, exact: bool) -> Source {
        let walk = tree.begin_snapshot();
        let acls = walk.acls().filter(|(id, _)| *id != OPEN_ACL_ID);
        let acls = acls.map(|(id, list)| (id, list.as_bytes().to_vec())).collect();
        let (sessions, given_up) = (sessions.iter().collect(), Arc::default());
        Source { walk, sessions, acls, given_up, exact }
    }

    pub fn zxid(&self) -> Zxid {
        self.walk.zxid()
    }
}
