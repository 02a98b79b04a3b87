//! Sessions that only this server knows (reference: data-model 11.5, zab 12.7): no transaction makes or ends one, no
//! other server resumes it. A server without a quorum has no others.

use std::fmt;

use super::core::Core;
use super::queue::Pending;
use crate::base::{MonoMs, SessionId};
use crate::pipeline::ConnToken;
use crate::pipeline::apply::ReplyTo;
use crate::session::{SessionTracker, Touch, password_matches};

/// Which sessions stay with this server, and whether it serves without a quorum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LocalOptions {
    /// `localSessionsEnabled`: every new session begins as a local one.
    pub sessions: bool,
    /// `localSessionsUpgradingEnabled`: one that makes an ephemeral becomes global.
    pub upgrading: bool,
    /// `readonlymode.enabled`: milliseconds without a quorum after which readers are served; `None` is never.
    pub read_only_after_ms: Option<i64>,
}

/// Owned by the Zab core; emptied whenever this server ceases to serve, as Apache's servers do.
pub(super) struct LocalSessions {
    options: LocalOptions,
    tick_ms: i32,
    tracker: SessionTracker,
}

impl fmt::Debug for LocalSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalSessions({})", self.tracker.len())
    }
}

impl LocalSessions {
    /// `tick_ms`: the width of an expiry bucket, as for global sessions.
    pub fn new(options: LocalOptions, tick_ms: i64) -> LocalSessions {
        let tick_ms = i32::try_from(tick_ms).unwrap_or(i32::MAX);
        LocalSessions { options, tick_ms, tracker: SessionTracker::new(tick_ms) }
    }

    /// Whether new sessions are local.
    pub fn is_enabled(&self) -> bool {
        self.options.sessions
    }

    pub fn contains(&self, session: SessionId) -> bool {
        self.tracker.contains(session)
    }

    /// Nobody is served any more: clients that come back find no such session.
    pub fn clear(&mut self) {
        self.tracker = SessionTracker::new(self.tick_ms);
    }

    /// Signs of life; those of other sessions are given back.
    pub fn touch(&mut self, mut touches: Vec<Touch>) -> Vec<Touch> {
        if !self.tracker.is_empty() {
            touches.retain(|touch| !self.tracker.touch(touch.id, touch.at, touch.timeout_ms));
        }
        touches
    }

    /// When one may next have to end, milliseconds as the machine's clock.
    pub fn next_due(&self) -> Option<MonoMs> {
        self.tracker.next_due()
    }

    /// For reports.
    pub fn tracker(&self) -> &SessionTracker {
        &self.tracker
    }
}

impl Core {
    /// A client gets a session that only this server knows.
    pub fn create_local(&mut self, conn: ConnToken, timeout_ms: i32) {
        let session = self.session_ids.next_id();
        self.local.tracker.create(session, timeout_ms, self.now);
        self.answer_resume(conn, session, timeout_ms, true);
    }

    /// Answers a client that resumes a local session of this server; false when it is none, and nothing was done.
    pub fn resume_local(
        &mut self,
        conn: ConnToken,
        session: SessionId,
        passwd: &[u8],
        timeout_ms: i32,
    ) -> bool {
        if !self.local.contains(session) {
            return false;
        }
        self.detach(session);
        let alive = password_matches(session, passwd);
        if alive {
            self.local.tracker.touch(session, self.now, timeout_ms);
        }
        self.answer_resume(conn, session, timeout_ms, alive);
        true
    }

    /// A local session is about to be known to all; answers its timeout in milliseconds. `None`: it is none, or must
    /// stay one.
    pub fn upgrade_local(&mut self, session: SessionId) -> Option<i32> {
        if !self.local.options.upgrading {
            return None;
        }
        let timeout_ms = self.local.tracker.timeout_ms(session)?;
        self.local.tracker.remove(session);
        tracing::info!("Upgrading session {session}");
        Some(timeout_ms)
    }

    /// A local session is over at its client's word; false when it is none. The answer is the caller's to give.
    pub fn end_local(&mut self, session: SessionId) -> bool {
        let known = self.local.tracker.remove(session);
        if known {
            self.attached.remove(&session);
        }
        known
    }

    /// The answer to a request that made no transaction, behind everything before it.
    pub fn answer(&mut self, to: ReplyTo, code: i32) {
        self.queue.push(Pending::Answered { to, code });
    }

    /// Ends the local sessions that were not heard of in time. To be called when every touch has arrived.
    pub fn expire_local(&mut self) {
        if self.stopping || !self.heard_everything {
            return;
        }
        for session in self.local.tracker.expire_due(self.now - self.options.touch_slack_ms) {
            tracing::info!("Expiring session {session}, timeout exceeded (a local session)");
            self.sessions_expired += 1;
            self.local.tracker.remove(session);
            self.detach(session);
        }
    }
}
