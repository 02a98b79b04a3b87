//! What one simulated server asks of the simulated world.

use std::ops::Range;
use std::sync::Arc;

use ringkeeper::base::prng::Prng;
use ringkeeper::base::{MonoMs, Sid, Zxid};
use ringkeeper::peer::{EpochFile, Fatal, Host, LinkId, Proposal, Recovered, ServerState, Source};
use ringkeeper::pipeline::CommitBatch;
use ringkeeper::pipeline::messages::ToShard;
use ringkeeper::storage::SnapshotOptions;
use ringkeeper::storage::snapshot::{self, SnapshotSource};
use ringkeeper::tree::Tree;
use ringkeeper::wire::quorum_packet::PacketType;

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
    /// A received snapshot is put in place.
    Adopt,
    /// A snapshot is being written.
    Write,
}

/// Transactions between two snapshots.
const SNAPSHOT_EVERY: usize = 40;

/// Power is lost at the moments that matter, drawn for each.
pub struct Luck {
    prng: Prng,
    /// Of so many such moments one is the last, or the last but a little; never if it is 0.
    one_in: u64,
    /// The power is gone: nothing that is asked for happens any more. The turn goes on and does not know it.
    pub dead: bool,
    /// Something will go wrong soon.
    pub omen: bool,
}

impl Luck {
    pub fn new(seed: u64, one_in: u64) -> Luck {
        Luck { prng: Prng::new(seed), one_in, dead: false, omen: false }
    }

    /// Luck is on everybody's side from now on.
    pub fn end(&mut self) {
        self.one_in = 0;
    }

    /// A moment of the election or of discovery. False when it does not come any more.
    fn holds_early(&mut self) -> bool {
        // Or nobody would ever come further.
        !self.dead && (self.prng.below(5) > 0 || self.holds())
    }

    /// A moment that matters. False when it does not come any more.
    fn holds(&mut self) -> bool {
        if self.dead {
            return false;
        }
        if self.one_in == 0 || !self.prng.chance(1, self.one_in) {
            return true;
        }
        match self.prng.below(4) {
            // Before it, and right after it.
            0 => self.dead = true,
            1 => {
                self.dead = true;
                return true;
            }
            _ => self.omen = true,
        }
        !self.dead
    }
}

pub struct SimHost {
    pub disk: Disk,
    pub luck: Luck,
    pub out: Vec<Out>,
    /// For the client core, in order.
    pub mail: Vec<ToShard>,
    pub state: ServerState,
    pub suspended: bool,
    pub accepting: bool,
    /// A flush is under way, of so many records.
    pub flushing: Option<usize>,
    pub receiving: Option<(Zxid, Vec<u8>)>,
    pub adopting: Option<Snapshot>,
    /// A snapshot is being written on the side.
    pub writing: Option<Box<Source>>,
    pub since_snapshot: usize,
    pub now: MonoMs,
    pub next_link: u64,
}

impl SimHost {
    pub fn new(disk: Disk, luck: Luck, first_link: u64) -> SimHost {
        SimHost {
            disk,
            luck,
            out: Vec::new(),
            mail: Vec::new(),
            state: ServerState::Looking,
            suspended: true,
            accepting: false,
            flushing: None,
            receiving: None,
            adopting: None,
            writing: None,
            since_snapshot: 0,
            now: 0,
            next_link: first_link,
        }
    }

    /// The snapshot on the side is complete: the tree has moved on since it was begun.
    pub fn snapshot_written(&mut self) {
        let Some(mut source) = self.writing.take() else { return };
        let mut file = Vec::new();
        let zxid = source.zxid();
        let options = SnapshotOptions::default();
        snapshot::write_to(&mut file, &mut *source, &options).expect("memory");
        let end = source.end_state().0.max(zxid);
        self.disk.snapshots.push(Snapshot { zxid, end, file });
    }

    /// Packets that end a phase are moments that matter.
    fn note_sent(&mut self, bytes: &[u8]) -> bool {
        let kind = bytes.first_chunk().map(|code| PacketType::from_code(i32::from_be_bytes(*code)));
        let counter = bytes.get(8..12);
        match kind {
            Some(PacketType::Ack) if counter == Some(&[0; 4]) => self.luck.holds(),
            Some(PacketType::UpToDate) => self.luck.holds(),
            Some(PacketType::AckEpoch | PacketType::LeaderInfo) => self.luck.holds_early(),
            _ => !self.luck.dead,
        }
    }
}

impl Host for SimHost {
    fn append(&mut self, zxid: Zxid, txn: &[u8]) -> Result<(), Fatal> {
        assert!(self.adopting.is_none(), "the log is closed");
        if !self.luck.dead {
            self.disk.append(zxid, txn);
            self.since_snapshot += 1;
        }
        Ok(())
    }

    fn log_idle(&self) -> bool {
        self.disk.durable == self.disk.log.len() && self.adopting.is_none()
    }

    fn truncate(&mut self, to: Zxid) -> Result<bool, Fatal> {
        assert!(self.log_idle());
        if !self.disk.snapshots.iter().any(|snapshot| snapshot.end <= to) || !self.luck.holds() {
            return Ok(false);
        }
        self.writing = None;
        self.disk.snapshots.retain(|snapshot| snapshot.end <= to);
        self.disk.cut(to);
        Ok(true)
    }

    fn reload(&mut self) -> Result<Recovered, Fatal> {
        Ok(self.disk.recover(self.now))
    }

    fn read_log(&mut self, after: Zxid, to: Zxid) -> Option<Vec<Proposal>> {
        // What a snapshot took the place of is missing, though at the end of an epoch no zxid tells.
        if after < self.disk.base {
            return None;
        }
        let log = &self.disk.log;
        let first = log.iter().position(|(zxid, _)| *zxid == after)?;
        let rest = log[first + 1..].iter().take_while(|(zxid, _)| *zxid <= to);
        let found: Vec<_> =
            rest.map(|(zxid, bytes)| Proposal::alone(*zxid, bytes.clone())).collect();
        found.last().is_some_and(|last| last.zxid == to).then_some(found)
    }

    fn write_epoch(&mut self, file: EpochFile, epoch: i64) -> Result<(), Fatal> {
        let holds = match file {
            EpochFile::Accepted => self.luck.holds_early(),
            EpochFile::Current => self.luck.holds(),
        };
        if !holds {
            return Ok(());
        }
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

    fn write_snapshot(&mut self, source: Source) {
        if self.writing.is_none() && !self.luck.dead {
            self.writing = Some(Box::new(source));
            self.disk.close_file();
            self.out.push(Out::Write);
        }
    }

    fn give_up_snapshot(&mut self) {
        self.writing = None;
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
        self.writing = None;
        if self.luck.holds() {
            self.adopting = Some(Snapshot::received(zxid, last, &bytes));
            self.out.push(Out::Adopt);
        }
    }

    fn abandon_received_snapshot(&mut self) {
        self.receiving = None;
    }

    fn send_vote(&mut self, to: Sid, body: Vec<u8>) {
        if !self.luck.dead {
            self.out.push(Out::Vote(to, body));
        }
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
        if self.note_sent(bytes) {
            self.out.push(Out::Bytes(link, bytes.to_vec()));
        }
    }

    fn send_shared(&mut self, link: LinkId, bytes: &Arc<Vec<u8>>, range: Range<usize>) {
        if !self.luck.dead {
            self.out.push(Out::Bytes(link, bytes[range].to_vec()));
        }
    }

    fn learner_known(&mut self, _: LinkId, _: Sid) {}

    fn stream_snapshot(&mut self, link: LinkId, source: Source) {
        if self.luck.holds() {
            self.out.push(Out::Tree(link, Box::new(source)));
        }
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
        self.mail.push(ToShard::Committed(batch.clone()));
    }

    fn control_shards(&mut self, message: ToShard) {
        match message {
            ToShard::Suspend => self.suspended = true,
            ToShard::Serve(ref serving) => self.suspended = serving.read_only,
            _ => {}
        }
        self.mail.push(message);
    }

    fn wake_shards(&mut self) {}

    fn show_state(&mut self, state: ServerState, _tree: &Arc<Tree>) {
        self.state = state;
    }
}
