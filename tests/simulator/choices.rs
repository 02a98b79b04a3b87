//! What a seed decides about a whole ensemble, besides its size: which election it runs, and what it makes of sessions.

use ringkeeper::base::prng::Prng;
use ringkeeper::peer::{LocalOptions, PeerOptions};
use ringkeeper::zab::election::{Election, ElectionOptions};
use ringkeeper::zab::leader_election::{LeaderElection, LeaderElectionOptions};
use ringkeeper::zab::voting::Voting;

#[derive(Clone, Copy, Debug)]
pub struct Choices {
    /// `electionAlg=0`.
    basic_election: bool,
    pub local: LocalOptions,
}

impl Choices {
    /// Of its own generator: what else is drawn from the seed stays what it was.
    pub fn of(seed: u64) -> Choices {
        let mut prng = Prng::new(seed ^ 0x0063_686f_6963_6573);
        Choices {
            basic_election: prng.below(4) == 0,
            local: LocalOptions {
                sessions: prng.below(3) == 0,
                upgrading: prng.below(4) > 0,
                read_only_after_ms: (prng.below(3) == 0).then_some(500),
            },
        }
    }

    /// A server's part in the election. `seed` differs from start to start; `hasty` ones wait less.
    pub fn voting(&self, options: &PeerOptions, hasty: bool, seed: u64) -> Voting {
        let (me, quorum) = (options.sid, options.quorum.clone());
        if self.basic_election {
            return LeaderElection::new(LeaderElectionOptions::new(me, quorum), seed).into();
        }
        Election::new(ElectionOptions {
            me,
            quorum,
            config: options.config_text.clone(),
            min_interval_ms: if hasty { 50 } else { 200 },
            max_interval_ms: 2000,
            finalize_ms: if hasty { 30 } else { 200 },
        })
        .into()
    }
}
