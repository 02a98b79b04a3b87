//! What one simulated server asks of the simulated world.

use std::ops::Range;
use std::sync::Arc;

use ringkeeper::base::{MonoMs, Sid, Zxid};
use ringkeeper::peer::{EpochFile, Fatal, Host, LinkId, Proposal, Recovered, ServerState, Source};
use ringkeeper::pipeline::CommitBatch;
use ringkeeper::pipeline::messages::ToShard;
use ringkeeper::storage::snapshot;
use ringkeeper::tree::Tree;

use crate::disk::{Disk, Snapshot};

/// What leaves a server in a turn, in order.
pub enum Out {
    Vote(Sid, Vec<u8>),
    Dial(LinkId, Sid),
    Bytes(LinkId, Vec<u8>),
    /// Serialized when it is delivered: the tree has moved on by then.
    Tree(LinkId, Box<Source>),
    Timeout(LinkId, MonoMs),
    Close(LinkId),
    Adopt,
}

/// Transactions between two snapshots.
const SNAPSHOT_EVERY: usize = 40;

pub struct SimHost {
    pub disk: Disk,
    pub out: Vec<Out>,
    pub batches: Vec<Arc<CommitBatch>>,
    pub state: ServerState,
    pub suspended: bool,
    pub accepting: bool,
    /// A flush is under way, of so many records.
    pub flushing: Option<usize>,
    pub receiving: Option<(Zxid, Vec<u8>)>,
    pub adopting: Option<Snapshot>,
    pub since_snapshot: usize,
    pub now: MonoMs,
    pub next_link: u64,
}

impl SimHost {
    pub fn new(disk: Disk, first_link: u64) -> SimHost {
        SimHost {
            disk,
            out: Vec::new(),
            batches: Vec::new(),
            state: ServerState::Looking,
            suspended: true,
            accepting: false,
            flushing: None,
            receiving: None,
            adopting: None,
            since_snapshot: 0,
            now: 0,
            next_link: first_link,
        }
    }
}

impl Host for SimHost {
    fn append(&mut self, zxid: Zxid, txn: &[u8]) -> Result<(), Fatal> {
        assert!(self.adopting.is_none(), "the log is closed");
        self.disk.log.push((zxid, txn.to_vec()));
        self.since_snapshot += 1;
        Ok(())
    }

    fn log_idle(&self) -> bool {
        self.disk.durable == self.disk.log.len() && self.adopting.is_none()
    }

    fn truncate(&mut self, to: Zxid) -> Result<bool, Fatal> {
        assert!(self.log_idle());
        if !self.disk.snapshots.iter().any(|snapshot| snapshot.end <= to) {
            return Ok(false);
        }
        self.disk.snapshots.retain(|snapshot| snapshot.end <= to);
        self.disk.cut(to);
        Ok(true)
    }

    fn reload(&mut self) -> Result<Recovered, Fatal> {
        Ok(self.disk.recover(self.now))
    }

    fn read_log(&mut self, after: Zxid, to: Zxid) -> Option<Vec<Proposal>> {
        let log = &self.disk.log;
        let first = log.iter().position(|(zxid, _)| *zxid == after)?;
        let rest = log[first + 1..].iter().take_while(|(zxid, _)| *zxid <= to);
        let found: Vec<_> =
            rest.map(|(zxid, bytes)| Proposal::alone(*zxid, bytes.clone())).collect();
        found.last().is_some_and(|last| last.zxid == to).then_some(found)
    }

    fn write_epoch(&mut self, file: EpochFile, epoch: i64) -> Result<(), Fatal> {
        match file {
            EpochFile::Accepted => self.disk.epochs.accepted = epoch,
            EpochFile::Current => self.disk.epochs.current = epoch,
        }
        let epochs = self.disk.epochs;
        assert!(epochs.accepted >= epochs.current, "{epochs:?}");
        Ok(())
    }

    fn snapshot_due(&mut self) -> bool {
        self.since_snapshot >= SNAPSHOT_EVERY && {
            self.since_snapshot = 0;
            true
        }
    }

    fn write_snapshot(&mut self, mut source: Source) {
        let mut bytes = Vec::new();
        let zxid = source.zxid();
        snapshot::stream(&mut bytes, &mut source).expect("memory");
        self.disk.snapshots.push(Snapshot { zxid, end: zxid, exact: source.exact, bytes });
    }

    fn begin_received_snapshot(&mut self, zxid: Zxid) -> Result<(), Fatal> {
        self.receiving = Some((zxid, Vec::new()));
        Ok(())
    }

    fn received_snapshot_bytes(&mut self, bytes: &[u8]) -> Result<(), Fatal> {
        self.receiving.as_mut().expect("begun").1.extend_from_slice(bytes);
        Ok(())
    }

    fn adopt_received_snapshot(&mut self, last: Zxid) {
        assert!(self.log_idle());
        let (zxid, bytes) = self.receiving.take().expect("received");
        self.adopting = Some(Snapshot { zxid, end: last, exact: false, bytes });
        self.out.push(Out::Adopt);
    }

    fn abandon_received_snapshot(&mut self) {
        self.receiving = None;
    }

    fn send_vote(&mut self, to: Sid, body: Vec<u8>) {
        self.out.push(Out::Vote(to, body));
    }

    fn connect_all_voters(&mut self) {}

    fn votes_delivered(&self) -> bool {
        true
    }

    fn accept_learners(&mut self, accept: bool) {
        self.accepting = accept;
    }

    fn dial(&mut self, leader: Sid) -> LinkId {
        let link = LinkId(self.next_link);
        self.next_link += 1;
        self.out.push(Out::Dial(link, leader));
        link
    }

    fn send(&mut self, link: LinkId, bytes: &[u8]) {
        self.out.push(Out::Bytes(link, bytes.to_vec()));
    }

    fn send_shared(&mut self, link: LinkId, bytes: &Arc<Vec<u8>>, range: Range<usize>) {
        self.out.push(Out::Bytes(link, bytes[range].to_vec()));
    }

    fn stream_snapshot(&mut self, link: LinkId, source: Source) {
        self.out.push(Out::Tree(link, Box::new(source)));
    }

    fn set_read_timeout(&mut self, link: LinkId, ms: MonoMs) {
        self.out.push(Out::Timeout(link, ms));
    }

    fn close(&mut self, link: LinkId) {
        self.out.push(Out::Close(link));
    }

    fn shards_have_room(&self) -> bool {
        true
    }

    fn to_shards(&mut self, batch: &Arc<CommitBatch>) {
        self.batches.push(batch.clone());
    }

    fn control_shards(&mut self, message: ToShard) {
        match message {
            ToShard::Suspend => self.suspended = true,
            ToShard::Serve(_) => self.suspended = false,
            _ => {}
        }
    }

    fn wake_shards(&mut self) {}

    fn show_state(&mut self, state: ServerState, _tree: &Arc<Tree>) {
        self.state = state;
    }
}
