//! Which sets of servers may decide.

use std::collections::BTreeMap;

use crate::base::Sid;

/// A quorum rule over the voting members of one configuration (reference: election 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quorum {
    /// More than half of these.
    Majority(Vec<Sid>),
    /// More than half of the weight in more than half of the groups.
    Hierarchical(Hierarchy),
}

/// Voting by groups. A group without weight does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    voters: Vec<Sid>,
    /// Per voter: its group and its weight.
    places: Vec<(i64, i64)>,
}

impl Hierarchy {
    /// Voters with their groups and weights.
    pub fn new(members: impl IntoIterator<Item = (Sid, i64, i64)>) -> Hierarchy {
        let members = members.into_iter().map(|(sid, group, weight)| (sid, (group, weight)));
        let (voters, places) = members.unzip();
        Hierarchy { voters, places }
    }

    fn is_met(&self, has: impl Fn(Sid) -> bool) -> bool {
        let mut groups: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for (sid, (group, weight)) in self.voters.iter().zip(&self.places) {
            let (total, present) = groups.entry(*group).or_default();
            *total += weight;
            *present += if has(*sid) { *weight } else { 0 };
        }
        groups.retain(|_, (total, _)| *total > 0);
        let won = groups.values().filter(|(total, present)| *present > total / 2).count();
        won > groups.len() / 2
    }
}

impl Quorum {
    /// An ensemble of one.
    pub fn standalone(sid: Sid) -> Quorum {
        Quorum::Majority(vec![sid])
    }

    pub fn voters(&self) -> &[Sid] {
        match self {
            Quorum::Majority(voters) => voters,
            Quorum::Hierarchical(hierarchy) => &hierarchy.voters,
        }
    }

    /// A server without weight is never elected.
    pub fn weight(&self, sid: Sid) -> i64 {
        match self {
            Quorum::Majority(_) => 1,
            Quorum::Hierarchical(hierarchy) => {
                let at = hierarchy.voters.iter().position(|voter| *voter == sid);
                at.map_or(0, |at| hierarchy.places[at].1)
            }
        }
    }

    /// Whether the servers for which `has` holds may decide.
    pub fn is_met(&self, has: impl Fn(Sid) -> bool) -> bool {
        match self {
            Quorum::Majority(voters) => {
                let count = voters.iter().filter(|sid| has(**sid)).count();
                count * 2 > voters.len()
            }
            Quorum::Hierarchical(hierarchy) => hierarchy.is_met(has),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_weights() {
        let members = [(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 2, 3), (5, 2, 1), (6, 3, 0)];
        let members = members.map(|(sid, group, weight)| (Sid(sid), group, weight));
        let quorum = Quorum::Hierarchical(Hierarchy::new(members));
        let met = |sids: &[i64]| quorum.is_met(|sid| sids.contains(&sid.0));
        // Two groups count, and both are needed; server 4 decides its group alone.
        assert!(met(&[1, 2, 4]) && met(&[2, 3, 4, 5]));
        assert!(!met(&[1, 2, 3]) && !met(&[1, 4, 5]) && !met(&[1, 2, 5]) && !met(&[]));
        assert!(!met(&[1, 2, 6]), "a group without weight does not count");
        assert_eq!(
            (quorum.weight(Sid(4)), quorum.weight(Sid(6)), quorum.weight(Sid(9))),
            (3, 0, 0)
        );
        // Half, rounded down, is not enough; one more is. Of five, three; of three groups, two.
        let one = |weights: &[i64]| {
            let members = weights.iter().zip(1i64..);
            let members = members.map(|(weight, sid)| (Sid(sid), 1i64, *weight));
            Quorum::Hierarchical(Hierarchy::new(members.collect::<Vec<_>>()))
        };
        for (weights, total) in [(&[1, 1, 1, 1, 1][..], 5), (&[1, 1, 1, 1], 4), (&[1], 1)] {
            for present in 0..=total {
                let met = one(weights).is_met(|sid| sid.0 <= present);
                assert_eq!(met, present > total / 2, "{present} of {weights:?}");
            }
        }
        assert!(one(&[2, 1]).is_met(|sid| sid == Sid(1)) && !one(&[2, 1]).is_met(|s| s == Sid(2)));
        let three = [(1, 1, 1), (2, 2, 1), (3, 3, 1)];
        let three = three.map(|(sid, group, weight)| (Sid(sid), group, weight));
        let three = Quorum::Hierarchical(Hierarchy::new(three));
        for present in 0..=3 {
            assert_eq!(three.is_met(|sid| sid.0 <= present), present >= 2, "{present} groups");
        }
        let nothing = one(&[0, 0]);
        assert!(!nothing.is_met(|_| true), "no group has weight");
        let even = [(1, 1, 1), (2, 1, 1)].map(|(sid, group, weight)| (Sid(sid), group, weight));
        let even = Quorum::Hierarchical(Hierarchy::new(even));
        assert!(!even.is_met(|sid| sid == Sid(1)), "half of a group is not more than half");
    }

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
