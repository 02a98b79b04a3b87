//! Which sessions live, until when, and who may speak for them.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use super::touch::Touch;
use crate::base::{MonoMs, SessionId};

/// Why a request may not use its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionFault {
    /// Unknown, expired or closing.
    Expired,
    /// Another owner has (re)validated it since.
    Moved,
}

/// An expiry bucket as `dump` lists it; one whose sessions have all moved on is listed empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionBucket {
    pub due: MonoMs,
    pub sessions: Vec<SessionId>,
}

struct Session {
    /// What the createSession transaction said, for snapshots and for the time after a restart.
    timeout_ms: i32,
    /// When it expires unless it is touched: a multiple of the tick.
    due: MonoMs,
    /// The bucket that holds its live entry, at most `due`; `None` once expired. Entries of this
    /// session in other buckets are stale.
    bucket: Option<MonoMs>,
    closing: bool,
    /// Its createSession was applied. Until then only the leader knows it, and no snapshot may.
    applied: bool,
    owner: Option<u64>,
}

/// All global sessions and their expiry (reference: data-model 11, client-protocol 14). Owned by
/// the Zab core; on a follower it serves the list of sessions and nobody calls
/// [`SessionTracker::expire_due`].
///
/// A life: [`propose`](SessionTracker::propose) on the server that makes it, then everywhere
/// [`create`](SessionTracker::create) or [`restore`](SessionTracker::restore), touches,
/// then [`set_closing`](SessionTracker::set_closing) or expiry, then
/// [`remove`](SessionTracker::remove) when the closeSession transaction is applied.
///
/// A session expires between its timeout and its timeout plus a tick after its last touch. Touching
/// only writes the new time down; an entry moves to its later bucket when its old one comes due, so
/// a session moves about once per timeout however often it is touched. Entries of removed sessions
/// stay until their bucket comes due.
pub struct SessionTracker {
    tick_ms: i64,
    sessions: HashMap<SessionId, Session, ahash::RandomState>,
    /// By due time. Holds an (often empty) bucket for every due time a session was given.
    buckets: BTreeMap<MonoMs, Vec<SessionId>>,
    /// A due time given lately: almost every touch repeats it, and its bucket exists, or has come
    /// due, and then a touch that asks for it is earlier than any bucket left and makes it again.
    last_due: Option<MonoMs>,
}

impl SessionTracker {
    /// `tick_ms` is `tickTime`; a value below 1 is taken as 1.
    pub fn new(tick_ms: i32) -> SessionTracker {
        SessionTracker {
            tick_ms: i64::from(tick_ms.max(1)),
            sessions: HashMap::default(),
            buckets: BTreeMap::new(),
            last_due: None,
        }
    }

    /// The bucket of a session touched at `at` (reference: data-model 11.1).
    fn due(&self, at: MonoMs, timeout_ms: i32) -> MonoMs {
        let end = at.saturating_add(i64::from(timeout_ms)) / self.tick_ms * self.tick_ms;
        end.saturating_add(self.tick_ms)
    }

    /// Starts tracking a session whose createSession is applied; says whether it is new. One already known keeps its
    /// state and is touched.
    pub fn create(&mut self, id: SessionId, timeout_ms: i32, now: MonoMs) -> bool {
        let new = self.propose(id, timeout_ms, now);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.applied = true;
        }
        new
    }

    /// The same when createSession is only being proposed: requests of the session may follow it at once, but should
    /// it come to nothing, no snapshot may have brought the session to other servers or to a restart.
    pub fn propose(&mut self, id: SessionId, timeout_ms: i32, now: MonoMs) -> bool {
        if self.sessions.contains_key(&id) {
            self.touch(id, now, timeout_ms);
            return false;
        }
        let due = self.due(now, timeout_ms);
        self.buckets.entry(due).or_default().push(id);
        let bucket = Some(due);
        let (closing, applied, owner) = (false, false, None);
        let session = Session { timeout_ms, due, bucket, closing, applied, owner };
        self.sessions.insert(id, session);
        true
    }

    /// Replaces everything by the sessions of a snapshot and log, each with its full timeout from
    /// `now` and without an owner: at start, and when this server becomes leader.
    pub fn restore(&mut self, sessions: impl IntoIterator<Item = (SessionId, i32)>, now: MonoMs) {
        self.sessions.clear();
        self.buckets.clear();
        self.last_due = None;
        // In order, so that those that end together do so in the same order everywhere.
        let mut sessions: Vec<(SessionId, i32)> = sessions.into_iter().collect();
        sessions.sort_unstable();
        for (id, timeout_ms) in sessions {
            self.create(id, timeout_ms, now);
        }
    }

    /// A sign of life at `at`, worth `timeout_ms` (the connection's negotiated timeout). False for
    /// a session that is unknown or closing.
    pub fn touch(&mut self, id: SessionId, at: MonoMs, timeout_ms: i32) -> bool {
        let due = self.due(at, timeout_ms);
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        if session.closing {
            return false;
        }
        if session.due == due {
            return true;
        }
        session.due = due;
        if session.bucket.is_some_and(|bucket| due < bucket) {
            // A reconnect negotiated a shorter timeout: the entry must be met earlier.
            session.bucket = Some(due);
            self.buckets.entry(due).or_default().push(id);
        } else if self.last_due != Some(due) {
            self.buckets.entry(due).or_default();
            self.last_due = Some(due);
        }
        true
    }

    /// Applies what a client core or a learner gathered. Touches of unknown sessions are passed
    /// over.
    pub fn apply_touches(&mut self, touches: impl IntoIterator<Item = Touch>) {
        for touch in touches {
            self.touch(touch.id, touch.at, touch.timeout_ms);
        }
    }

    /// Sessions whose time is over at `now`. They are marked closing; the caller submits a
    /// closeSession for each.
    pub fn expire_due(&mut self, now: MonoMs) -> Vec<SessionId> {
        let mut expired = Vec::new();
        while let Some(entry) = self.buckets.first_entry() {
            let bucket = *entry.key();
            if bucket > now {
                break;
            }
            for id in entry.remove() {
                let Some(session) = self.sessions.get_mut(&id) else { continue };
                if session.bucket != Some(bucket) {
                    continue;
                }
                if session.due > bucket && !session.closing {
                    session.bucket = Some(session.due);
                    self.buckets.entry(session.due).or_default().push(id);
                    continue;
                }
                session.bucket = None;
                // One that is closing already has its closeSession on the way.
                if !session.closing {
                    session.closing = true;
                    expired.push(id);
                }
            }
        }
        expired
    }

    /// When [`SessionTracker::expire_due`] may next have something to do.
    pub fn next_due(&self) -> Option<MonoMs> {
        self.buckets.first_key_value().map(|(due, _)| *due)
    }

    /// A closeSession has been prepared: no more touches, no more requests.
    pub fn set_closing(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.closing = true;
        }
    }

    /// True for a known session whose end is decided but not yet applied.
    pub fn is_closing(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|session| session.closing)
    }

    /// Known, and its end is not decided: it may be resumed.
    pub fn is_open(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|session| !session.closing)
    }

    /// Forgets a session; says whether it was known.
    pub fn remove(&mut self, id: SessionId) -> bool {
        self.sessions.remove(&id).is_some()
    }

    pub fn contains(&self, id: SessionId) -> bool {
        self.sessions.contains_key(&id)
    }

    /// The timeout its createSession transaction persisted, in milliseconds.
    pub fn timeout_ms(&self, id: SessionId) -> Option<i32> {
        self.sessions.get(&id).map(|session| session.timeout_ms)
    }

    /// Makes `owner` (an opaque token: a connection or a learner link) the only one that may use
    /// the session.
    ///
    /// Errors: [`SessionFault::Expired`] when there is nothing to own any more.
    pub fn set_owner(&mut self, id: SessionId, owner: u64) -> Result<(), SessionFault> {
        let session = self.sessions.get_mut(&id).filter(|session| !session.closing);
        session.ok_or(SessionFault::Expired)?.owner = Some(owner);
        Ok(())
    }

    /// The owner, if one has claimed the session.
    pub fn owner(&self, id: SessionId) -> Option<u64> {
        self.sessions.get(&id).and_then(|session| session.owner)
    }

    /// Whether a request that came through `owner` may use the session. A session that has no owner
    /// yet, as after a change of leader, becomes the asker's. closeSession is not to be checked.
    pub fn check(&mut self, id: SessionId, owner: u64) -> Result<(), SessionFault> {
        match self.sessions.entry(id) {
            Entry::Occupied(mut session) if !session.get().closing => {
                match *session.get_mut().owner.get_or_insert(owner) {
                    current if current == owner => Ok(()),
                    _ => Err(SessionFault::Moved),
                }
            }
            _ => Err(SessionFault::Expired),
        }
    }

    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// For snapshots: every session that is applied, closing ones too, with its persisted timeout in
    /// milliseconds; in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, i32)> {
        let applied = self.sessions.iter().filter(|(_, session)| session.applied);
        applied.map(|(id, session)| (*id, session.timeout_ms))
    }

    /// For `dump`: buckets in order of time, the sessions of each in order of id. Sessions that
    /// have expired and only wait for their closeSession are in none. O(sessions).
    pub fn dump(&self) -> Vec<SessionBucket> {
        let mut by_due: BTreeMap<MonoMs, Vec<SessionId>> =
            self.buckets.keys().map(|due| (*due, Vec::new())).collect();
        for (id, session) in self.sessions.iter().filter(|(_, session)| session.bucket.is_some()) {
            by_due.entry(session.due).or_default().push(*id);
        }
        let sorted = |(due, mut sessions): (MonoMs, Vec<SessionId>)| {
            sessions.sort_unstable();
            SessionBucket { due, sessions }
        };
        by_due.into_iter().map(sorted).collect()
    }
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;
