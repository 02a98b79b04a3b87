//! Availability: a leader that a quorum follows serves within the time that bringing it up to date takes; no server
//! stops by itself; and when all faults are over everybody serves.

use std::collections::BTreeMap;

use ringkeeper::base::{MonoMs, Sid};

use super::violated;

/// Longer than any election, transfer and flush of the simulated world, and shorter than its initLimit.
const SYNCHRONISING_MS_MAX: MonoMs = 1500;

#[derive(Default)]
pub struct Availability {
    /// Leaders that a quorum is connected to and that do not serve, since when.
    waiting: BTreeMap<Sid, MonoMs>,
}

impl Availability {
    /// Something happened that excuses a delay.
    pub fn disturbed(&mut self) {
        self.waiting.clear();
    }

    pub fn left(&mut self, sid: Sid) {
        self.waiting.remove(&sid);
    }

    /// A quorum has been connected to this leader without a word from the world, and it does not serve.
    pub fn waits(&mut self, sid: Sid, now: MonoMs) {
        let since = *self.waiting.entry(sid).or_insert(now);
        if now - since > SYNCHRONISING_MS_MAX {
            let text = format!("leader {} has a quorum since {since} and does not serve", sid.0);
            violated("availability", text);
        }
    }

    pub fn stopped(sid: Sid, why: &dyn std::fmt::Display) -> ! {
        violated("availability", format!("server {} stops: {why}", sid.0))
    }

    pub fn all_serve(all: bool) {
        if !all {
            violated("availability", "the ensemble does not come back");
        }
    }
}

#[test]
fn a_leader_that_never_serves() {
    let mut checker = Availability::default();
    checker.waits(Sid(1), 100);
    checker.disturbed();
    checker.waits(Sid(1), 1900);
    checker.left(Sid(1));
    checker.waits(Sid(1), 3500);
    checker.waits(Sid(1), 5000);
    super::assert_caught("availability", || checker.waits(Sid(1), 5001));
    super::assert_caught("availability", || Availability::all_serve(false));
    super::assert_caught("availability", || Availability::stopped(Sid(1), &"why"));
}
