//! Global sessions that have ended a short while ago.
//!
//! With local sessions a leader takes writes of sessions that it does not know: they may be some learner's own. One
//! that all have known until just now is none of those: what its server forwarded before it heard of the end must be
//! refused, or a client would write after its session is over.

use std::collections::{HashSet, VecDeque};

use crate::base::SessionId;

/// Far more than sessions that end while one request travels from a learner to its leader.
const CLOSED_MAX: usize = 1 << 16;

/// Owned by the leader, for its term; the oldest are forgotten.
#[derive(Debug, Default)]
pub(super) struct ClosedSessions {
    known: HashSet<SessionId, ahash::RandomState>,
    order: VecDeque<SessionId>,
}

impl ClosedSessions {
    /// The session's end was proposed.
    pub fn insert(&mut self, session: SessionId) {
        if !self.known.insert(session) {
            return;
        }
        self.order.push_back(session);
        if self.order.len() > CLOSED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub fn contains(&self, session: SessionId) -> bool {
        self.known.contains(&session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_known() {
        let mut closed = ClosedSessions::default();
        for id in 0..=CLOSED_MAX as i64 {
            closed.insert(SessionId(id));
            closed.insert(SessionId(id));
        }
        assert!(!closed.contains(SessionId(0)));
        assert!(closed.contains(SessionId(1)) && closed.contains(SessionId(CLOSED_MAX as i64)));
        assert_eq!((closed.known.len(), closed.order.len()), (CLOSED_MAX, CLOSED_MAX));
    }
}
