//! The leader's tree, out of the stream behind a SNAP (reference: zab 6, disk-format 7.2 to 7.4).
//!
//! Records are decoded where they were received: into a tree that nobody sees yet, and as they are into the snapshot
//! file. Bounded by the tree itself; a record longer than a packet may be is an error.

use crate::base::Zxid;
use crate::peer::Leave;
use crate::peer::database::Recovered;
use crate::peer::host::Host;
use crate::pipeline::Applier;
use crate::session::SessionTracker;
use crate::tree::{OwnerOptions, TreeLoader};
use crate::wire::snapshot_format::{
    SNAP_SIGNATURE, decode_acl, decode_count, decode_node, decode_session,
};
use crate::wire::{DecodeError, Reader};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    SessionCount,
    Sessions(usize),
    AclCount,
    Acls(usize),
    Nodes,
    Signature,
    Complete,
}

/// Owned by the learner while the stream lasts.
pub(super) struct TreeReceiver {
    pub zxid: Zxid,
    part: Part,
    sessions: SessionTracker,
    loader: TreeLoader,
    record_bytes_max: usize,
    now: i64,
    /// The newest transaction that any node names: the stream may hold later changes than its zxid says, and later
    /// ones than this too, if they left no trace in a node.
    pub newest: Zxid,
}

impl std::fmt::Debug for TreeReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TreeReceiver({}, at {:?})", self.zxid, self.part)
    }
}

impl TreeReceiver {
    pub fn new(
        zxid: Zxid,
        owners: OwnerOptions,
        tick_ms: i64,
        record_bytes_max: usize,
        now: i64,
    ) -> TreeReceiver {
        TreeReceiver {
            zxid,
            part: Part::SessionCount,
            sessions: SessionTracker::new(tick_ms as i32),
            loader: TreeLoader::new(owners),
            record_bytes_max,
            now,
            newest: zxid,
        }
    }

    pub fn is_complete(&self) -> bool {
        self.part == Part::Complete
    }

    /// Takes whole records; answers how many bytes that was.
    pub fn take(&mut self, host: &mut dyn Host, bytes: &[u8]) -> Result<usize, Leave> {
        let mut reader = Reader::new(bytes);
        let mut kept = 0;
        loop {
            let before = reader;
            match self.record(&mut reader) {
                Ok(()) => {}
                Err(DecodeError::EndOfData) => {
                    if before.rest().len() > self.record_bytes_max {
                        return Err(Leave::role(
                            "a record of the leader's tree is too long".into(),
                        ));
                    }
                    reader = before;
                    break;
                }
                Err(error) => {
                    return Err(Leave::role(format!("the leader's tree is malformed: {error}")));
                }
            }
            // The signature is no part of a snapshot.
            if self.part != Part::Complete {
                kept = bytes.len() - reader.rest().len();
            } else {
                break;
            }
        }
        if kept > 0 {
            host.received_snapshot_bytes(&bytes[..kept])?;
        }
        Ok(bytes.len() - reader.rest().len())
    }

    fn record(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match self.part {
            Part::SessionCount => self.part = Part::Sessions(decode_count(reader)?),
            Part::Sessions(0) => self.part = Part::AclCount,
            Part::Sessions(left) => {
                let (id, timeout_ms) = decode_session(reader)?;
                self.sessions.create(id, timeout_ms, self.now);
                self.part = Part::Sessions(left - 1);
            }
            Part::AclCount => self.part = Part::Acls(decode_count(reader)?),
            Part::Acls(0) => self.part = Part::Nodes,
            Part::Acls(left) => {
                let (id, list) = decode_acl(reader)?;
                self.loader.load_acl(id, list);
                self.part = Part::Acls(left - 1);
            }
            Part::Nodes => match decode_node(reader, self.record_bytes_max)? {
                Some(node) => {
                    let stat = &node.stat;
                    let newest = stat.czxid.max(stat.mzxid).max(stat.pzxid);
                    self.newest = self.newest.max(Zxid(newest));
                    self.loader
                        .load_node(node.path, node.data, node.acl_id, &node.stat)
                        .map_err(|_| DecodeError::BadValue("znode"))?;
                }
                None => self.part = Part::Signature,
            },
            Part::Signature => {
                if reader.buffer()? != Some(SNAP_SIGNATURE) {
                    return Err(DecodeError::BadValue("signature"));
                }
                self.part = Part::Complete;
            }
            Part::Complete => return Err(DecodeError::EndOfData),
        }
        Ok(())
    }

    /// The tree as it was sent. The stream may hold later changes than its zxid says, so digests are not compared
    /// until those have been applied again.
    pub fn finish(self) -> Recovered {
        let tree = self.loader.finish(self.zxid);
        let mut applier = Applier::replaying(self.newest).unsettled();
        applier.go_live();
        Recovered {
            tree,
            sessions: self.sessions,
            applier,
            recent: Vec::new(),
            loads: Default::default(),
        }
    }
}
