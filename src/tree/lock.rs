//! The lock between the writer and those readers that gave up on lock-free reading.

use crate::base::sync::{Condvar, Mutex, MutexGuard};
use std::sync::PoisonError;

/// First come, first served: neither a busy writer nor a crowd of long readers can starve the other
/// side. A batch of the writer takes it and gives it back across two calls, hence no guard.
#[derive(Default)]
pub(super) struct FairLock {
    state: Mutex<State>,
    turn: Condvar,
}

#[derive(Default)]
struct State {
    next_ticket: u64,
    serving: u64,
}

impl FairLock {
    pub(super) fn lock(&self) {
        let mut state = self.state();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        while state.serving != ticket {
            state = self.turn.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Only by whoever holds the lock.
    pub(super) fn unlock(&self) {
        let mut state = self.state();
        assert!(state.serving < state.next_ticket, "unlock without lock");
        state.serving += 1;
        // Waking nobody is still a system call: leave it out on the writer's everyday path.
        if state.serving != state.next_ticket {
            self.turn.notify_all();
        }
    }

    /// Two counters cannot be left half changed, so a poisoned mutex holds good state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
