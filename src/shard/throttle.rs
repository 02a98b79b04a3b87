//! The request throttler (reference: client-protocol 16.3): beyond so many requests under way, those that come wait,
//! first come first served among connections, whatever they are. Off unless `request_throttle_max_requests` is set.
//!
//! A request that waits is the first of its connection's input, and what is behind it waits with it. So it goes when
//! its connection goes, and wakes when there is room: nothing polls.

use super::Shard;
use super::input::Step;
use crate::base::MonoMs;
use crate::base::slab::Key;
use crate::wire::OpCode;

/// Settings of the throttler; each client core has its share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThrottleOptions {
    /// Requests under way on this core; at least 1.
    pub requests_max: usize,
    /// `throttled_op_wait_time`: who waited longer is answered ThrottledOp. Milliseconds; 0 answers nobody so.
    pub op_wait_ms: i64,
    /// `request_stale_latency_check`: who waited longer than its session's timeout is stale.
    pub stale_by_latency: bool,
    /// `request_throttle_drop_stale`: the connection of a stale request is closed.
    pub drop_stale: bool,
}

/// How the first request of a connection's input stands with the throttler.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Held {
    /// It has not been asked about.
    #[default]
    No,
    /// It waits, and its connection is in the queue.
    Waits,
    /// It may go on, now or once its connection is ready for it.
    Passed,
    /// It waited too long: its answer is ThrottledOp, in its turn.
    Refused,
}

/// What becomes of a request.
pub(super) enum Verdict {
    GoOn,
    /// Answer ThrottledOp.
    Refuse,
    Step(Step),
}

impl Shard {
    /// Asks for leave to take a request that came at `came`.
    pub(super) fn ask_throttle(&mut self, key: Key, op: Option<OpCode>, came: MonoMs) -> Verdict {
        let Some(throttle) = self.options.throttle else { return Verdict::GoOn };
        let Some(conn) = self.conns.get_mut(key) else { return Verdict::Step(Step::Closed) };
        match conn.held {
            Held::Passed => return Verdict::GoOn,
            Held::Refused => return Verdict::Refuse,
            Held::No | Held::Waits => {}
        }
        let closes = op == Some(OpCode::CloseSession);
        let timeout_ms = conn.active().map_or(i64::MAX, |active| i64::from(active.timeout_ms));
        let waited = if conn.was_held { self.now - came } else { 0 };
        if throttle.stale_by_latency && waited > timeout_ms && !closes {
            if throttle.drop_stale {
                self.counts.stale_dropped += 1;
                self.close(key);
                return Verdict::Step(Step::Closed);
            }
            self.counts.stale += 1;
        }
        // Whoever came before goes first.
        let behind = !self.throttled.is_empty() && !self.letting_go;
        if self.outstanding >= throttle.requests_max || behind {
            if conn.held == Held::No {
                (conn.held, conn.was_held) = (Held::Waits, true);
                self.throttled.push_back(key);
                self.counts.throttle_waits += 1;
            }
            return Verdict::Step(Step::Wait);
        }
        conn.held = Held::Passed;
        self.counts.throttle_ms.add(waited);
        let spared = closes || op == Some(OpCode::Ping);
        if throttle.op_wait_ms > 0 && waited > throttle.op_wait_ms && !spared {
            conn.held = Held::Refused;
            self.counts.throttled_ops += 1;
            return Verdict::Refuse;
        }
        Verdict::GoOn
    }

    /// Lets go on what waits while there is room.
    pub(super) fn release_throttled(&mut self) {
        let Some(throttle) = self.options.throttle else { return };
        self.letting_go = true;
        while self.outstanding < throttle.requests_max
            && let Some(key) = self.throttled.pop_front()
        {
            if let Some(conn) = self.conns.get_mut(key)
                && conn.held == Held::Waits
            {
                conn.held = Held::No;
                self.process_input(key);
            }
        }
        self.letting_go = false;
    }

    /// A connection ends: what waits on it is stale and goes with it. Only the first of it is counted.
    pub(super) fn drop_throttled(&mut self, key: Key) {
        if self.conns.get(key).is_none_or(|conn| conn.held != Held::Waits) {
            return;
        }
        self.counts.stale_dropped += 1;
        // Keys of connections that are gone are passed over in their turn; many of them are not kept until then.
        if self.throttled.len() > 64 + 2 * self.conns.len() {
            let conns = &self.conns;
            self.throttled
                .retain(|key| conns.get(*key).is_some_and(|conn| conn.held == Held::Waits));
        }
    }
}
