//! Which sets of servers may decide.

use crate::base::Sid;

/// A quorum rule over the voting members of one configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quorum {
    /// More than half of these.
    Majority(Vec<Sid>),
}

impl Quorum {
    /// An ensemble of one.
    pub fn standalone(sid: Sid) -> Quorum {
        Quorum::Majority(vec![sid])
    }

    pub fn voters(&self) -> &[Sid] {
        match self {
            Quorum::Majority(voters) => voters,
        }
    }

    /// Whether the servers for which `has` holds may decide.
    pub fn is_met(&self, has: impl Fn(Sid) -> bool) -> bool {
        match self {
            Quorum::Majority(voters) => {
                let count = voters.iter().filter(|sid| has(**sid)).count();
                count * 2 > voters.len()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_is_more_than_half() {
        for voters in 1..=7 {
            let quorum = Quorum::Majority((1..=voters).map(Sid).collect());
            for present in 0..=voters {
                assert_eq!(quorum.is_met(|sid| sid.0 <= present), present * 2 > voters);
            }
        }
    }
}
