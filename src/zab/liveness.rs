//! Who is still there, by the leader's clock (reference: zab 11).
//!
//! The leader's clock ticks every `tickTime`. A learner is synced while packets of any kind arrive from it within
//! `syncLimit` ticks; a leader without a synced quorum steps down.

use crate::base::MonoMs;

/// Ticks and deadlines in milliseconds of the leader's own clock.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub tick_ms: i64,
    pub init_limit_ticks: i64,
    pub sync_limit_ticks: i64,
}

impl Limits {
    pub fn init_ms(&self) -> MonoMs {
        self.init_limit_ticks * self.tick_ms
    }

    pub fn sync_ms(&self) -> MonoMs {
        self.sync_limit_ticks * self.tick_ms
    }

    /// Until when a learner that was heard at `now` counts as synced.
    pub fn heard(&self, now: MonoMs) -> MonoMs {
        now + self.sync_ms()
    }

    /// Until when a new learner counts as synced without having been heard.
    pub fn joined(&self, now: MonoMs) -> MonoMs {
        now + self.init_ms() + self.sync_ms()
    }

    /// Milliseconds between two PINGs to a learner.
    pub fn ping_ms(&self) -> MonoMs {
        (self.tick_ms / 2).max(1)
    }
}

/// The oldest proposal a learner owes an ACK for, near enough: one is timed, and the newest when it was taken up is
/// timed next (so at most two are kept, whatever is outstanding).
#[derive(Clone, Copy, Debug, Default)]
pub struct AckClock {
    current: Option<(i64, MonoMs)>,
    next: Option<(i64, MonoMs)>,
}

impl AckClock {
    pub fn proposed(&mut self, zxid: i64, now: MonoMs) {
        match self.current {
            None => self.current = Some((zxid, now)),
            Some(_) => self.next = Some((zxid, now)),
        }
    }

    /// Everything up to `zxid` is acknowledged.
    pub fn acked(&mut self, zxid: i64) {
        if self.current.is_some_and(|(timed, _)| timed <= zxid) {
            self.current = self.next.take();
        }
        if self.current.is_some_and(|(timed, _)| timed <= zxid) {
            self.current = None;
        }
    }

    /// False when the timed proposal has waited longer than `limit` milliseconds.
    pub fn in_time(&self, now: MonoMs, limit: MonoMs) -> bool {
        self.current.is_none_or(|(_, since)| now - since < limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unacknowledged_proposal_runs_out_of_time() {
        let mut clock = AckClock::default();
        assert!(clock.in_time(1_000_000, 10));
        clock.proposed(1, 100);
        clock.proposed(2, 105);
        clock.proposed(3, 107);
        assert!(clock.in_time(109, 10));
        clock.acked(1);
        assert!(clock.in_time(116, 10), "the newest of then is timed now");
        assert!(!clock.in_time(117, 10));
        clock.acked(3);
        assert!(clock.in_time(1_000_000, 10));
    }
}
