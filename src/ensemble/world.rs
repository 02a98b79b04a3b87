//! The Zab core's answers to what the machine asks: disk, sockets, client cores.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::counts::Waiting;
use super::disk::Disk;
use super::net::Net;
use super::ports::{PortEvent, Ports};
use super::snapshots::{SnapshotState, spawn};
use super::state::SharedState;
use super::{SnapshotPolicy, WriteSnapshot};
use crate::base::limits::SHARD_MAILBOX_CONTROL_SLOTS;
use crate::base::{MonoMs, Sid, Zxid};
use crate::peer::{EpochFile, Fatal, Host, LinkId, Proposal, Recovered, ServerState, Source};
use crate::pipeline::messages::ToShard;
use crate::pipeline::{CommitBatch, Mailbox};
use crate::storage::snapshot::{self, SnapshotSource};
use crate::storage::{LogError, ProposalLog};
use crate::tree::Tree;

impl SnapshotSource for Source {
    fn zxid(&self) -> Zxid {
        self.walk.zxid()
    }

    fn sessions(&self) -> &[(crate::base::SessionId, i32)] {
        &self.sessions
    }

    fn acls(&self) -> &[(i64, Vec<u8>)] {
        &self.acls
    }

    fn next_chunk(&mut self, max_nodes: usize, out: &mut Vec<u8>) -> bool {
        self.walk.next_chunk(max_nodes, out)
    }

    fn end_state(&self) -> (Zxid, u64) {
        self.walk.end_state()
    }

    fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    fn is_exact(&self) -> bool {
        self.exact
    }
}

/// Owned by the Zab core beside the machine.
pub(super) struct World {
    /// `None` while a received snapshot is put in place.
    pub log: Option<ProposalLog>,
    pub disk: Disk,
    pub net: Net,
    /// `None` on a standalone server.
    pub ports: Option<Ports>,
    pub port_events: Vec<PortEvent>,
    pub shards: Vec<Arc<Mailbox<ToShard>>>,
    pub snapshots: SnapshotPolicy,
    pub snapshot_state: Arc<SnapshotState>,
    pub snapshot_due: bool,
    /// The log's disk is nearly full.
    pub space_low: bool,
    pub write_snapshot: Arc<WriteSnapshot>,
    pub state: Arc<SharedState>,
    /// Since when transactions wait for their flush, and how many.
    pub flush_waits: Option<Waiting>,
    pub stopping: bool,
}

impl World {
    /// A poisoned log keeps its reason.
    pub fn log_error(&self) -> Option<LogError> {
        self.log.as_ref().and_then(|log| log.poisoned().cloned())
    }
}

impl Host for World {
    fn append(&mut self, zxid: Zxid, txn: &[u8]) -> Result<(), Fatal> {
        let Some(log) = &mut self.log else {
            return Err(Fatal::Disk("the log is closed".to_owned()));
        };
        log.append(zxid, txn).map_err(|error| Fatal::Disk(error.to_string()))?;
        let fresh = || Waiting { since: Instant::now(), count: 0 };
        self.flush_waits.get_or_insert_with(fresh).count += 1;
        if self.snapshots.appended(txn.len()) {
            self.snapshot_due = true;
            log.roll();
        }
        Ok(())
    }

    fn log_idle(&self) -> bool {
        self.log.as_ref().is_some_and(|log| !log.pending() && !log.in_flight())
    }

    fn truncate(&mut self, to: Zxid) -> Result<bool, Fatal> {
        self.give_up_snapshot();
        self.log = None;
        let cut = self.disk.truncate(to);
        self.log = Some(self.disk.open_log()?);
        cut
    }

    fn reload(&mut self) -> Result<Recovered, Fatal> {
        self.disk.reload()
    }

    fn read_log(&mut self, after: Zxid, to: Zxid) -> Option<Vec<Proposal>> {
        self.disk.read_log(after, to)
    }

    fn write_epoch(&mut self, file: EpochFile, epoch: i64) -> Result<(), Fatal> {
        self.disk.write_epoch(file, epoch)
    }

    fn snapshot_due(&mut self) -> bool {
        std::mem::take(&mut self.snapshot_due)
    }

    /// One that is due while another is being written, or while there is no room, is left out.
    fn write_snapshot(&mut self, mut source: Source) {
        if !self.space_low && !self.snapshot_state.running.load(Ordering::Acquire) {
            self.snapshot_state.given_up.store(false, Ordering::Release);
            source.given_up = self.snapshot_state.given_up.clone();
            spawn(&self.snapshot_state, source, self.write_snapshot.clone());
        }
    }

    /// Before the history is cut or replaced too: a snapshot that took its name afterwards would bring back what was cut.
    /// Another is due at once.
    fn give_up_snapshot(&mut self) {
        self.snapshot_state.given_up.store(true, Ordering::Release);
        while self.snapshot_state.running.load(Ordering::Acquire) {
            self.snapshot_due = true;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn begin_received_snapshot(&mut self, zxid: Zxid) -> Result<(), Fatal> {
        self.disk.begin_received(zxid)
    }

    fn received_snapshot_bytes(&mut self, bytes: &[u8]) -> Result<(), Fatal> {
        self.disk.put_received(bytes)
    }

    fn adopt_received_snapshot(&mut self, last: Zxid) {
        self.give_up_snapshot();
        self.log = None;
        self.disk.adopt_received(last);
    }

    fn abandon_received_snapshot(&mut self) {
        if let Some(received) = self.disk.receiving.take() {
            received.abandon();
        }
    }

    fn send_vote(&mut self, to: Sid, body: Vec<u8>) {
        if let Some(ports) = &mut self.ports {
            ports.send_vote(&mut self.net, to, body);
        }
    }

    fn connect_all_voters(&mut self) {
        if let Some(ports) = &mut self.ports {
            ports.connect_all();
        }
    }

    fn votes_delivered(&self) -> bool {
        self.ports.as_ref().is_none_or(|ports| ports.links.have_delivered())
    }

    fn accept_learners(&mut self, accept: bool) {
        if let Some(ports) = &mut self.ports {
            ports.accept_learners(&mut self.net, accept, &mut self.port_events);
        }
    }

    fn dial(&mut self, leader: Sid) -> LinkId {
        match &mut self.ports {
            Some(ports) => ports.dial_leader(&mut self.net, leader),
            None => LinkId(0),
        }
    }

    fn send(&mut self, link: LinkId, bytes: &[u8]) {
        self.net.send(link.0, bytes);
    }

    fn send_shared(&mut self, link: LinkId, bytes: &Arc<Vec<u8>>, range: Range<usize>) {
        self.net.send_shared(link.0, bytes, range);
    }

    fn learner_known(&mut self, link: LinkId, sid: Sid) {
        if sid.0 >= 0 {
            self.net.count_as(link.0, sid);
        }
    }

    fn stream_snapshot(&mut self, link: LinkId, mut source: Source) {
        let Some(mut stream) = self.net.open_stream(link.0) else { return };
        let run = move || {
            let written = snapshot::stream(&mut stream, &mut source).and_then(|()| stream.finish());
            if let Err(error) = written {
                tracing::warn!("a learner did not take the whole tree: {error}");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("send-tree".into()).spawn(run) {
            // The stream is dropped with the closure, which closes the connection.
            tracing::error!("no thread to send the tree to a learner: {error}");
        }
    }

    fn set_read_timeout(&mut self, link: LinkId, ms: MonoMs) {
        self.net.set_read_timeout(link.0, Some(Duration::from_millis(ms.max(1) as u64)));
    }

    fn close(&mut self, link: LinkId) {
        if let Some(ports) = &mut self.ports {
            ports.quorum.retain(|conn| *conn != link.0);
        }
        self.net.close(link.0);
    }

    fn shards_have_room(&self) -> bool {
        let room = |shard: &Arc<Mailbox<ToShard>>| shard.room() > SHARD_MAILBOX_CONTROL_SLOTS;
        self.stopping || self.shards.iter().all(room)
    }

    fn to_shards(&mut self, batch: &Arc<CommitBatch>) {
        for shard in &self.shards {
            let pushed = shard.push(ToShard::Committed(batch.clone()));
            // Only this core pushes batches, and the others' messages have slots of their own.
            assert!(pushed.is_ok() || self.stopping, "a mailbox without the room it had");
        }
    }

    fn control_shards(&mut self, message: ToShard) {
        for shard in &self.shards {
            let mut message = message.clone();
            // Slots are kept for control messages; a client core always comes around to its mailbox.
            while let Err(back) = shard.push(message) {
                if self.stopping {
                    break;
                }
                message = back;
                shard.wake();
                std::thread::yield_now();
            }
            shard.wake();
        }
    }

    fn wake_shards(&mut self) {
        for shard in &self.shards {
            shard.wake();
        }
    }

    fn show_state(&mut self, state: ServerState, tree: &Arc<Tree>) {
        self.state.show(state, tree);
    }
}
