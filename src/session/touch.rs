//! Signs of life gathered on a client core.

use std::collections::HashMap;

use crate::base::{MonoMs, SessionId};

/// A session gave a sign of life at `at`, over a connection with this negotiated timeout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Touch {
    pub id: SessionId,
    pub at: MonoMs,
    pub timeout_ms: i32,
}

/// The touches of one turn or one half tick, one per session. Owned by a client core (a learner
/// keeps one for its leader); drained into [`super::SessionTracker::apply_touches`].
#[derive(Default, Debug)]
pub struct TouchBatch {
    touches: HashMap<SessionId, (MonoMs, i32), ahash::RandomState>,
}

impl TouchBatch {
    pub fn new() -> TouchBatch {
        TouchBatch::default()
    }

    /// Notes a touch; of several for one session the latest counts, of equal times the one noted
    /// last.
    pub fn touch(&mut self, id: SessionId, at: MonoMs, timeout_ms: i32) {
        let touch = self.touches.entry(id).or_insert((at, timeout_ms));
        if at >= touch.0 {
            *touch = (at, timeout_ms);
        }
    }

    pub fn len(&self) -> usize {
        self.touches.len()
    }

    pub fn is_empty(&self) -> bool {
        self.touches.is_empty()
    }

    /// Empties the batch, keeping its memory for the next one.
    pub fn drain(&mut self) -> impl Iterator<Item = Touch> {
        self.touches.drain().map(|(id, (at, timeout_ms))| Touch { id, at, timeout_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_touch_per_session_and_the_latest_wins() {
        let mut batch = TouchBatch::new();
        batch.touch(SessionId(1), 10, 4000);
        batch.touch(SessionId(1), 30, 5000);
        batch.touch(SessionId(1), 20, 6000);
        batch.touch(SessionId(2), 5, 4000);
        batch.touch(SessionId(2), 5, 7000);
        assert_eq!(batch.len(), 2);
        let mut touches: Vec<Touch> = batch.drain().collect();
        touches.sort_by_key(|touch| touch.id);
        let expected = [(1, 30, 5000), (2, 5, 7000)];
        let expected =
            expected.map(|(id, at, timeout_ms)| Touch { id: SessionId(id), at, timeout_ms });
        assert_eq!(touches, expected);
        assert!(batch.is_empty());
    }
}
