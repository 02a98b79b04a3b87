//! What the Zab core counts around its machine: the stages of a write before and in the log (reference:
//! admin-and-metrics 6). Times in milliseconds.

use std::time::{Duration, Instant};

use crate::base::tally::{Samples, Tally};

/// Owned by the Zab core; a report takes a copy, about ten KiB.
#[derive(Clone, Debug, Default)]
pub struct CoreCounts {
    /// Requests taken from client cores, how long they had waited for it, how many came together, and how long each
    /// took to be made a transaction of.
    pub prep_queued: u64,
    pub prep_queue_ms: Samples,
    pub prep_queue_size: Tally,
    pub prep_ms: Tally,
    /// Transactions given to the log, how long they waited for their flush to begin, how many waited together, and
    /// how long the log had them in all.
    pub log_queued: u64,
    pub log_queue_ms: Samples,
    pub log_batch: Tally,
    pub log_all_ms: Samples,
    /// One for each flush.
    pub flush_ms: Samples,
}

/// Transactions of one flush, and since when the oldest waits.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    pub since: Instant,
    pub count: usize,
}

fn ms(time: Duration) -> i64 {
    time.as_millis() as i64
}

impl CoreCounts {
    /// `requests` came in one message, sent `waited_ms` ago, and took `took` together.
    pub fn prepared(&mut self, requests: usize, waited_ms: i64, took: Duration) {
        let count = requests as i64;
        self.prep_queued += requests as u64;
        self.prep_queue_ms.add_many(waited_ms.max(0), count);
        self.prep_queue_size.add(count);
        self.prep_ms.add_many(ms(took) / count.max(1), count);
    }

    /// A flush begins.
    pub fn submitted(&mut self, waiting: &Waiting) {
        self.log_queued += waiting.count as u64;
        self.log_queue_ms.add_many(ms(waiting.since.elapsed()), waiting.count as i64);
        self.log_batch.add(waiting.count as i64);
    }

    /// A flush is through, after `micros`; `waiting` is what it began with.
    pub fn flushed(&mut self, micros: u64, waiting: Option<Waiting>) {
        self.flush_ms.add((micros / 1000) as i64);
        if let Some(Waiting { since, count }) = waiting {
            self.log_all_ms.add_many(ms(since.elapsed()), count as i64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_of_a_batch_is_a_sample() {
        let mut counts = CoreCounts::default();
        counts.prepared(4, 3, Duration::from_millis(8));
        counts.prepared(2, -1, Duration::ZERO);
        assert_eq!(counts.prep_queued, 6);
        assert_eq!(counts.prep_queue_ms.tally, Tally { min: 0, max: 3, count: 6, sum: 12 });
        assert_eq!(counts.prep_ms, Tally { min: 0, max: 2, count: 6, sum: 8 });
        assert_eq!(counts.prep_queue_size.sum, 6);
        let waiting = Waiting { since: Instant::now(), count: 5 };
        counts.submitted(&waiting);
        counts.flushed(2999, Some(waiting));
        counts.flushed(1000, None);
        assert_eq!((counts.log_queued, counts.log_batch.max), (5, 5));
        assert_eq!((counts.log_queue_ms.tally.count, counts.log_all_ms.tally.count), (5, 5));
        assert_eq!(counts.flush_ms.tally, Tally { min: 1, max: 2, count: 2, sum: 3 });
    }
}
