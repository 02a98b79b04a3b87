//! What a client core counts for `mntr` (reference: admin-and-metrics 6). Plain numbers of its own; a report takes
//! a copy.

use crate::base::tally::{KeyedTallies, Samples, Sizes, Tally};
use crate::wire::{EventType, OpCode};

/// Bytes of a `Stat`, which a read of one counts as moved.
const STAT_BYTES: usize = crate::wire::Stat::WIRE_BYTES;

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
        let Some(top) = crate::tree::path::top(path) else { return };
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
        self.read.add(top, (path.len() + content + STAT_BYTES) as i64);
    }
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
