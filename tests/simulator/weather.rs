//! Which faults a seed has, and how often.

use ringkeeper::base::MonoMs;
use ringkeeper::base::prng::Prng;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// One server loses power.
    Crash,
    /// The one that leads does.
    CrashLeader,
    /// All do.
    Blackout,
    /// Nothing passes between two servers, or nothing one way.
    Cut,
    /// One server from all others.
    Isolate,
    /// Everything passes again.
    Mend,
    /// One server stands still.
    Pause,
}

/// Times in 60 000 milliseconds, at the usual rate.
const RATES: [(Fault, u64); 7] = [
    (Fault::Crash, 15),
    (Fault::CrashLeader, 25),
    (Fault::Blackout, 15),
    (Fault::Cut, 15),
    (Fault::Isolate, 10),
    (Fault::Mend, 60),
    (Fault::Pause, 12),
];

#[derive(Clone, Debug)]
pub struct Weather {
    rates: Vec<(Fault, u64)>,
    /// One in so many moments that matter is a server's last; 0 is never.
    pub fatal_moments: u64,
    /// Servers stay down this long, mostly.
    down_ms_max: u64,
    /// `zookeeper.forceSnapshotSync`, and whether the log on disk serves learners.
    pub force_snapshot_sync: bool,
    pub log_sync: bool,
    /// One bare majority after the other has its turn.
    pub rotates: bool,
}

impl Weather {
    /// A few kinds of faults fall out, others come twice as often.
    pub fn draw(prng: &mut Prng) -> Weather {
        let rates = RATES.map(|(fault, rate)| match (fault, prng.below(4)) {
            (Fault::Mend, _) => (fault, rate),
            (_, 0) => (fault, 0),
            (_, 1) => (fault, 2 * rate),
            _ => (fault, rate),
        });
        let fatal_moments = [0, 10, 20, 40][prng.below(4) as usize];
        let down_ms_max = [300, 1000, 3000][prng.below(3) as usize];
        let (force_snapshot_sync, log_sync) = (prng.below(3) == 0, prng.below(4) > 0);
        let rotates = prng.below(2) == 0;
        let rates = if rotates { Vec::new() } else { rates.to_vec() };
        let fatal_moments = if rotates { 5 } else { fatal_moments };
        Weather { rates, fatal_moments, down_ms_max, force_snapshot_sync, log_sync, rotates }
    }

    /// No more faults.
    pub fn clear(&mut self) {
        self.rates.clear();
        self.fatal_moments = 0;
    }

    /// What happens in this millisecond.
    pub fn strikes(&self, prng: &mut Prng) -> Option<Fault> {
        let mut drawn = prng.below(60_000);
        for (fault, rate) in &self.rates {
            match drawn.checked_sub(*rate) {
                None => return Some(*fault),
                Some(rest) => drawn = rest,
            }
        }
        None
    }

    pub fn down_ms(&self, prng: &mut Prng) -> MonoMs {
        let max = if prng.below(4) == 0 { 4000 } else { self.down_ms_max };
        20 + prng.below(max) as i64
    }

    /// How long a flush of a server takes, at most.
    pub fn flush_ms(&self, prng: &mut Prng) -> u64 {
        [4, 8, 60, 150][prng.below(4) as usize]
    }

    /// How much longer packets of a server are on the way: there and back in less than the 200 ms that `electionAlg=0`
    /// waits for an answer.
    pub fn lag_ms(&self, prng: &mut Prng) -> MonoMs {
        let most = if self.rotates { 10 } else { 80 };
        [0, 0, 0, 20, 100][prng.below(5) as usize].min(most)
    }
}
