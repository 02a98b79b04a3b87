//! What a client core counts for `mntr` (reference: admin-and-metrics 6). Plain numbers of its own; a report takes
//! a copy.

use crate::auth::EnsembleName;
use crate::base::MonoMs;
use crate::base::tally::{KeyedTallies, Samples, Sizes, Tally};
use crate::wire::multi::{MultiHeader, MultiOp, decode_multi};
use crate::wire::{DecodeError, EventType, OpCode, Reader, Stat};

/// Bytes of a `Stat`, which a read of one counts as moved.
const STAT_BYTES: usize = Stat::WIRE_BYTES;

/// Owned by one client core. Times in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct ShardCounts {
    /// From a request's arrival to its answer: what is answered here, and what became a transaction.
    pub reads: Samples,
    pub updates: Samples,
    /// From a write's leaving for the Zab core to its commit coming back.
    pub commits: Samples,
    /// Handshakes, and those of them that named a session.
    pub connects: u64,
    pub revalidations: u64,
    /// Connections whose client went away without a word.
    pub drops: u64,
    /// Connections turned away by a limit.
    pub rejected: u64,
    pub sessionless_expired: u64,
    pub bytes_received: u64,
    /// Without the lengths of frames.
    pub response_bytes: u64,
    pub watch_bytes: u64,
    /// Missing tokens of the connection throttle, for each handshake.
    pub token_deficit: Tally,
    /// Times that a connection began to wait for the throttler, how long each request waited there (none is counted
    /// while it is off), and those answered ThrottledOp.
    pub throttle_waits: u64,
    pub throttle_ms: Samples,
    pub throttled_ops: u64,
    /// Stale requests that were taken all the same, that were dropped, and answers that nobody waited for.
    pub stale: u64,
    pub stale_dropped: u64,
    pub stale_replies: u64,
    pub large_rejected: u64,
    /// Of answers and events, without their lengths.
    pub response_sizes: Sizes,
    /// Watchers told, for each event that anybody here was told of.
    pub created: Tally,
    pub deleted: Tally,
    pub changed: Tally,
    pub children: Tally,
    /// Bytes read under each top-level node.
    pub read: KeyedTallies,
    pub order: OrderCounts,
    /// Handshakes of clients that came while nobody is served.
    pub no_server: u64,
    /// Clients that named the right ensemble, a wrong one, or none that could be looked at.
    pub ensemble_names: [u64; 3],
}

/// How requests of a session wait for each other. A turn counts when it took requests.
#[derive(Clone, Debug, Default)]
pub struct OrderCounts {
    /// Reads answered in a turn, those and the ones that wait behind a write, and writes under way at its end.
    pub reads_issued: Tally,
    pub reads: Tally,
    pub writes: Tally,
    /// Requests of one session that wait, for each write forwarded or answered: its writes under way, and one for all
    /// that is behind them. And sessions with a write under way, for each that is answered.
    pub in_session: Tally,
    pub sessions: Tally,
    /// Reads that a write held up and its answer let go: of one session, and of a turn.
    pub reads_after_write: Tally,
    pub reads_let_go: Tally,
    /// Sessions of which a turn answered the last write under way.
    pub drained: Tally,
    /// Milliseconds from a read's being taken to the end of its turn, when its answer goes out.
    pub answer_ms: Samples,
}

/// The turn under way, and what waits from one to the next. Owned by the client core.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// When the turn's first read was taken.
    began: MonoMs,
    pub reads: i64,
    forwarded: i64,
    drained: i64,
    let_go: i64,
    /// Sessions with a write under way, and those whose next request is a read that waits for one.
    sessions: i64,
    waiting: i64,
}

impl Order {
    pub fn read(&mut self, now: MonoMs) {
        if self.reads == 0 {
            self.began = now;
        }
        self.reads += 1;
    }

    /// A read waits for a write.
    pub fn waits(&mut self) {
        self.waiting += 1;
    }

    /// Or waits no more.
    pub fn waits_no_more(&mut self) {
        self.waiting -= 1;
    }

    /// A write is under way, the session's n-th.
    pub fn forwarded(&mut self, counts: &mut OrderCounts, of_session: usize) {
        self.forwarded += 1;
        self.sessions += i64::from(of_session == 1);
        counts.in_session.add(of_session as i64);
    }

    /// A write is answered, the oldest of so many.
    pub fn answered(&mut self, counts: &mut OrderCounts, of_session: usize, read_waits: bool) {
        counts.in_session.add((of_session + usize::from(read_waits)) as i64);
        counts.sessions.add(self.sessions);
        if of_session > 1 {
            return;
        }
        self.sessions -= 1;
        self.drained += 1;
        if !read_waits {
            counts.reads_after_write.add(0);
        }
    }

    /// Reads that waited for a write are through, so many at once.
    pub fn let_go(&mut self, counts: &mut OrderCounts, reads: i64) {
        counts.reads_after_write.add(reads);
        self.let_go += reads;
    }

    /// A connection is gone, and what it waited for.
    pub fn forget(&mut self, had_writes: bool, read_waits: bool) {
        self.sessions -= i64::from(had_writes);
        self.waiting -= i64::from(read_waits);
    }

    /// The turn ends with so many writes under way.
    pub fn end_turn(&mut self, counts: &mut OrderCounts, writes: usize, now: MonoMs) {
        let Order { began, reads, forwarded, drained, let_go, sessions, waiting } = *self;
        if reads + forwarded > 0 {
            counts.reads_issued.add(reads);
            counts.reads.add(reads + waiting);
            counts.writes.add(writes as i64);
        }
        if reads > 0 {
            counts.answer_ms.add_many((now - began).max(0), reads);
        }
        if drained > 0 {
            counts.drained.add(drained);
            counts.reads_let_go.add(let_go);
        }
        *self = Order { sessions, waiting, ..Order::default() };
    }
}

impl ShardCounts {
    /// An answer's frame of so many bytes, its length included, to a request that counts as one: pings and
    /// authentication do not.
    pub fn responded(&mut self, frame_bytes: usize) {
        self.response_bytes += frame_bytes.saturating_sub(4) as u64;
        self.sent(frame_bytes);
    }

    /// Any other answer's.
    pub fn sent(&mut self, frame_bytes: usize) {
        self.response_sizes.add(frame_bytes.saturating_sub(4));
    }

    /// The frames of an event to so many watchers.
    pub fn fired(&mut self, event: EventType, watchers: usize, frame_bytes: usize) {
        if watchers == 0 {
            return;
        }
        self.watch_bytes += (watchers * frame_bytes.saturating_sub(4)) as u64;
        self.sent(frame_bytes);
        let tally = match event {
            EventType::NodeCreated => &mut self.created,
            EventType::NodeDeleted => &mut self.deleted,
            EventType::NodeDataChanged => &mut self.changed,
            EventType::NodeChildrenChanged => &mut self.children,
        };
        tally.add(watchers as i64);
    }

    /// A read that worked: the path, the data or the names of children, and a Stat.
    pub fn has_read(&mut self, op: OpCode, path: &[u8], answer: &[u8]) {
        let ints = |count: usize| 4 * count;
        let content = match op {
            OpCode::Exists => 0,
            OpCode::GetData => answer.len().saturating_sub(ints(1) + STAT_BYTES),
            OpCode::GetChildren | OpCode::GetChildren2 => {
                let children = answer.first_chunk().map_or(0, |n| u32::from_be_bytes(*n) as usize);
                let stat = if op == OpCode::GetChildren2 { STAT_BYTES } else { 0 };
                answer.len().saturating_sub(ints(1 + children) + stat)
            }
            _ => return,
        };
        self.moved(path, content);
    }

    /// The same for each read of a multiRead that worked; those behind a broken one have no answer.
    pub fn has_read_many(&mut self, body: &[u8], answer: &[u8]) {
        let Ok(ops) = decode_multi(&mut Reader::new(body)) else { return };
        let mut answers = Reader::new(answer);
        for op in &ops {
            match content_of(op, &mut answers) {
                Ok(Some(content)) => self.moved(op.path().unwrap_or_default(), content),
                Ok(None) => {}
                Err(_) => return,
            }
        }
    }

    fn moved(&mut self, path: &[u8], content: usize) {
        if let Some(top) = crate::tree::path::top(path) {
            self.read.add(top, (path.len() + content + STAT_BYTES) as i64);
        }
    }

    /// A client has named an ensemble.
    pub fn named_ensemble(&mut self, name: EnsembleName) {
        self.ensemble_names[name as usize] += 1;
    }
}

/// Bytes of data or of names in the next answer of a multiRead; `None` for a refusal.
fn content_of(op: &MultiOp<'_>, answers: &mut Reader<'_>) -> Result<Option<usize>, DecodeError> {
    let header = MultiHeader::decode(answers)?;
    if header.done {
        return Err(DecodeError::BadValue("no more answers"));
    }
    if header.op == -1 {
        answers.int()?;
        return Ok(None);
    }
    if matches!(op, MultiOp::GetData(_)) {
        let data = answers.buffer()?;
        Stat::decode(answers)?;
        return Ok(Some(data.map_or(0, <[u8]>::len)));
    }
    let mut names = 0;
    for _ in 0..answers.int()? {
        names += answers.buffer()?.map_or(0, <[u8]>::len);
    }
    Ok(Some(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_moves_path_content_and_stat() {
        let mut counts = ShardCounts::default();
        let sum =
            |counts: &ShardCounts| counts.read.iter().map(|(_, tally)| tally.sum).sum::<i64>();
        let stat = [0; STAT_BYTES];
        counts.has_read(OpCode::Exists, b"/app", &stat);
        assert_eq!(sum(&counts), 4 + 68);
        counts.has_read(OpCode::GetData, b"/app/x", &[&[0, 0, 0, 5][..], b"hello", &stat].concat());
        assert_eq!(sum(&counts), 72 + 6 + 5 + 68);
        let names = [&[0, 0, 0, 2, 0, 0, 0, 1][..], b"a", &[0, 0, 0, 3], b"bcd"].concat();
        counts.has_read(OpCode::GetChildren, b"/app", &names);
        assert_eq!(sum(&counts), 151 + 4 + 4 + 68);
        counts.has_read(OpCode::GetChildren2, b"/app", &[&names[..], &stat].concat());
        assert_eq!(sum(&counts), 227 + 4 + 4 + 68);
        counts.has_read(OpCode::GetData, b"/", &stat);
        counts.has_read(OpCode::GetAcl, b"/app", &stat);
        let (key, tally) = counts.read.iter().next().expect("a key");
        assert_eq!((key, tally.count, counts.read.iter().count()), (&b"app"[..], 4, 1));
    }
}
