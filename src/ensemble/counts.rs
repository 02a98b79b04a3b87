//! What the Zab core counts around its machine: the stages of a write before and in the log (reference:
//! admin-and-metrics 6). Times in milliseconds.

use std::time::{Duration, Instant};

use crate::base::MonoMs;
use crate::base::tally::{Samples, Tally};
use crate::peer::Progress;

/// Owned by the Zab core; a report takes a copy, about thirty KiB.
#[derive(Clone, Debug, Default)]
pub struct CoreCounts {
    /// Requests that came to be made transactions of, how long they had waited for it on their client core (those of
    /// learners wait on their way and not here), how many came together, and how long each took. What came together
    /// shares the time that it took.
    pub prep_queued: u64,
    pub prep_queue_ms: Samples,
    pub prep_queue_size: Tally,
    pub prep_ms: Tally,
    /// The same for each end of a session.
    pub close_ms: Samples,
    /// How long each transaction took to be given to log and learners.
    pub propose_ms: Tally,
    /// How long each turn took that told and applied what is committed, and each transaction's share of it.
    pub commit_ms: Tally,
    pub apply_ms: Samples,
    /// On a learner: requests that a client core sent together, to be forwarded.
    pub forward_queue_size: Tally,
    /// The longest time in each interval in which the loop did not come around (`jvm.pause.monitor`).
    pub stall_ms: Samples,
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
    /// What was prepared between two looks came in one piece, sent `waited_ms` ago, and took `took` together.
    pub fn prepared(&mut self, before: &Progress, now: &Progress, waited_ms: i64, took: Duration) {
        let count = (now.prepared - before.prepared) as i64;
        if count == 0 {
            return;
        }
        self.prep_queued += count as u64;
        self.prep_queue_ms.add_many(waited_ms.max(0), count);
        self.prep_queue_size.add(count);
        self.prep_ms.add_many(ms(took) / count, count);
        self.close_ms.add_many(ms(took) / count, (now.closings - before.closings) as i64);
    }

    /// What was prepared by itself and proposed between two looks took `took` together.
    pub fn proposed(&mut self, before: &Progress, now: &Progress, took: Duration) {
        self.prepared(before, now, 0, took);
        let count = (now.proposed - before.proposed) as i64;
        self.propose_ms.add_many(ms(took) / count.max(1), count);
    }

    /// `count` transactions, told and applied together.
    pub fn applied(&mut self, count: u64, took: Duration) {
        let count = count as i64;
        self.commit_ms.add(ms(took));
        self.apply_ms.add_many(ms(took) / count.max(1), count);
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

/// `jvm.pause.monitor` and what belongs to it, milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct StallOptions {
    /// Stalls above these are told to the log.
    pub info_ms: i64,
    pub warn_ms: i64,
    /// The longest stall of each interval is a sample.
    pub check_ms: i64,
}

/// Watches whether the loop comes around: for a machine, a disk or a CPU quota that stops it, as Apache's watches for
/// those and the garbage collection. Owned by the Zab core.
#[derive(Debug)]
pub struct StallWatch {
    options: StallOptions,
    turn_began: MonoMs,
    /// When the loop went to sleep, and when it wanted to be awake again at the latest.
    sleep: Option<(MonoMs, MonoMs)>,
    longest: i64,
    next_sample: MonoMs,
    /// Stalls so far above the one limit or both.
    infos: u64,
    warnings: u64,
}

impl StallWatch {
    pub fn new(options: StallOptions) -> StallWatch {
        let (infos, warnings) = (0, 0);
        let next_sample = options.check_ms;
        StallWatch { options, turn_began: 0, sleep: None, longest: 0, next_sample, infos, warnings }
    }

    /// The loop goes to sleep, for `timeout` at most.
    pub fn sleeps(&mut self, now: MonoMs, timeout: Duration) {
        // A timer may be a moment late without anybody's fault.
        self.sleep = Some((now, now + ms(timeout) + 1));
    }

    /// A turn begins. Answers the longest stall of an interval that is over.
    pub fn turn(&mut self, now: MonoMs) -> Option<i64> {
        let stalled = match self.sleep.take() {
            Some((asleep, due)) => (asleep - self.turn_began).max(now - due),
            None => now - self.turn_began,
        };
        self.turn_began = now;
        self.longest = self.longest.max(stalled);
        if now < self.next_sample {
            return None;
        }
        self.next_sample = now + self.options.check_ms;
        Some(std::mem::take(&mut self.longest))
    }

    /// Tells the log, in Apache's words.
    pub fn tell(&mut self, stalled: i64) {
        if stalled <= self.options.info_ms.min(self.options.warn_ms) {
            return;
        }
        let warns = stalled > self.options.warn_ms;
        self.warnings += u64::from(warns);
        self.infos += u64::from(!warns);
        let text = format!(
            "Detected pause in JVM or host machine (eg GC): pause of approximately {stalled} ms, \
             total pause: info level: {}, warn level: {}",
            self.infos, self.warnings
        );
        match warns {
            true => tracing::warn!("{text}"),
            false => tracing::info!("{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_of_a_batch_is_a_sample() {
        let mut counts = CoreCounts::default();
        let at = |prepared, closings| Progress { prepared, closings, ..Progress::default() };
        counts.prepared(&at(0, 0), &at(4, 1), 3, Duration::from_millis(8));
        counts.prepared(&at(4, 1), &at(6, 1), -1, Duration::ZERO);
        counts.prepared(&at(6, 1), &at(6, 1), 9, Duration::from_millis(9));
        assert_eq!(counts.prep_queued, 6);
        assert_eq!(counts.close_ms.tally, Tally { min: 2, max: 2, count: 1, sum: 2 });
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

    #[test]
    fn what_is_proposed_and_applied_shares_its_time() {
        let mut counts = CoreCounts::default();
        let now = Progress { proposed: 4, ..Progress::default() };
        counts.proposed(&Progress::default(), &now, Duration::from_millis(9));
        counts.proposed(&now, &now, Duration::from_millis(9));
        assert_eq!(counts.propose_ms, Tally { min: 2, max: 2, count: 4, sum: 8 });
        // The ends of sessions that the clock asked for are prepared with it.
        let closed = Progress { proposed: 6, prepared: 2, closings: 2, applied: 0 };
        counts.proposed(&now, &closed, Duration::from_millis(10));
        assert_eq!((counts.close_ms.tally.sum, counts.prep_queued), (10, 2));
        counts.applied(3, Duration::from_millis(7));
        assert_eq!(counts.commit_ms, Tally { min: 7, max: 7, count: 1, sum: 7 });
        assert_eq!(counts.apply_ms.tally, Tally { min: 2, max: 2, count: 3, sum: 6 });
    }

    #[test]
    fn the_longest_stall_of_an_interval_is_a_sample() {
        let options = StallOptions { info_ms: 1000, warn_ms: 10_000, check_ms: 500 };
        let mut watch = StallWatch::new(options);
        assert_eq!(watch.turn(10), None);
        watch.sleeps(12, Duration::from_millis(100));
        // Woken early: nothing stalled but the turn of 2 ms.
        assert_eq!(watch.turn(20), None);
        assert_eq!(watch.longest, 10);
        // A turn of 200 ms.
        watch.sleeps(220, Duration::from_millis(100));
        assert_eq!((watch.turn(321), watch.longest), (None, 200));
        // A sleep that took 300 ms longer than it should.
        watch.sleeps(321, Duration::from_millis(100));
        assert_eq!(watch.turn(722), Some(300));
        assert_eq!(watch.longest, 0);
        // The loop did not sleep.
        assert_eq!((watch.turn(1122), watch.turn(1222)), (None, Some(400)));
        watch.tell(1000);
        watch.tell(1001);
        watch.tell(10_001);
        assert_eq!((watch.infos, watch.warnings), (1, 1));
    }
}
