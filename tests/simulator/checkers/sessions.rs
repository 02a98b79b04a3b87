//! Sessions: no ephemeral without its session, none left of a session that was closed, and no session ends within
//! its timeout while its client speaks to a server that serves.

use std::collections::BTreeMap;

use ringkeeper::base::{MonoMs, SessionId, Sid, Zxid};
use ringkeeper::peer::Peer;
use ringkeeper::wire::txn::{Txn, TxnHeader};

use super::violated;

/// A server that serves and does not reach its leader notices within two sync limits, and its clients with it.
const UNHEARD_MS_MAX: MonoMs = 2000;
/// Clients tell of themselves this often.
pub const TOUCH_MS: MonoMs = 500;
/// What else a touch may take: the leader's ping, a turn, the network.
const ON_THE_WAY_MS_MAX: MonoMs = 600;

/// As its client sees it.
#[derive(Clone, Copy, Debug)]
struct Life {
    timeout_ms: MonoMs,
    /// On a server that serves, since then without a break.
    since: Option<MonoMs>,
    /// The last such time and its end.
    last: Option<(MonoMs, MonoMs)>,
    closing: bool,
    /// Its server stood still since it was taken up there: nobody may have heard of it for longer than its timeout.
    interrupted: bool,
}

#[derive(Default)]
pub struct Sessions {
    /// Sessions without a transaction are legal (`localSessionsEnabled`). Nothing is promised to them.
    pub may_be_local: bool,
    lives: BTreeMap<SessionId, Life>,
    made: BTreeMap<SessionId, Zxid>,
    ended: BTreeMap<SessionId, Zxid>,
}

impl Sessions {
    /// A client speaks for its session from now on.
    pub fn attached(&mut self, session: SessionId, timeout_ms: i32, now: MonoMs) {
        let closing = self.lives.get(&session).is_some_and(|life| life.closing);
        if let Some(zxid) = self.ended.get(&session).filter(|_| !closing) {
            violated("sessions", format!("{session} is resumed, it has ended at {zxid}"));
        }
        if !self.may_be_local && !self.made.contains_key(&session) {
            violated("sessions", format!("{session} is there, and no transaction made it"));
        }
        let timeout_ms = MonoMs::from(timeout_ms);
        let life =
            Life { timeout_ms, since: Some(now), last: None, closing: false, interrupted: false };
        let life = self.lives.entry(session).or_insert(life);
        (life.since, life.interrupted) = (Some(now), false);
    }

    /// Its server stands still until then.
    pub fn interrupted(&mut self, session: SessionId, until: MonoMs) {
        if let Some(life) = self.lives.get_mut(&session) {
            (life.since, life.last, life.interrupted) = (Some(until), None, true);
        }
    }

    /// The transaction that made it, unless it is a local one.
    pub fn made(&self, session: SessionId) -> Option<Zxid> {
        self.made.get(&session).copied()
    }

    pub fn is_local(&self, session: SessionId) -> bool {
        self.may_be_local && !self.made.contains_key(&session)
    }

    /// It cannot any more.
    pub fn detached(&mut self, session: SessionId, now: MonoMs) {
        if let Some(life) = self.lives.get_mut(&session)
            && let Some(since) = life.since.take()
        {
            life.last = Some((since, now));
        }
    }

    /// Its client asks for its end.
    pub fn closing(&mut self, session: SessionId) {
        if let Some(life) = self.lives.get_mut(&session) {
            life.closing = true;
        }
    }

    /// Told that there is no such session, though it has `seen` so much of the history.
    pub fn rejected(&mut self, session: SessionId, seen: Zxid, now: MonoMs) {
        let Some(life) = self.lives.get(&session).filter(|life| !life.closing) else { return };
        // A local session becomes everybody's by its createSession: until its client has seen that or what follows, it
        // was told nothing that another server must know. One that does not have it may refuse the session, and that
        // createSession may be committed all the same.
        let promised = self.made.get(&session).is_some_and(|made| *made <= seen);
        if (self.may_be_local && !promised) || life.interrupted {
            return;
        }
        let heard = life.last.map_or(0, |(_, end)| end);
        let earliest = heard + life.timeout_ms - UNHEARD_MS_MAX - TOUCH_MS - ON_THE_WAY_MS_MAX;
        if now < earliest {
            let text = format!("{session} is lost at {now}, it was served until {heard}");
            violated("sessions", text);
        }
    }

    /// The first delivery of a transaction.
    pub fn delivered(&mut self, header: &TxnHeader, txn: &Txn<'_>) {
        let (session, zxid) = (header.session, header.zxid);
        match txn {
            Txn::CreateSession { .. } => {
                if let Some(first) = self.made.insert(session, zxid) {
                    violated("sessions", format!("{session} is made at {first} and at {zxid}"));
                }
            }
            Txn::CloseSession { .. } => {
                self.ended.entry(session).or_insert(zxid);
                if header.cxid == 0 {
                    self.expired(session, header.time);
                }
            }
            _ => {}
        }
    }

    /// A leader has let it expire at `at`.
    fn expired(&self, session: SessionId, at: MonoMs) {
        let Some(life) = self.lives.get(&session) else { return };
        let now = life.since.map(|since| (since, MonoMs::MAX));
        let long = life.timeout_ms - ON_THE_WAY_MS_MAX - TOUCH_MS;
        for (since, until) in [now, life.last].into_iter().flatten() {
            if since <= at - long && until >= at {
                let text = format!("{session} expires at {at}, it is served since {since}");
                violated("sessions", text);
            }
        }
    }

    /// What a serving server has.
    pub fn census(&self, sid: Sid, applied: Zxid, peer: &Peer) {
        for session in peer.tree().view().ephemeral_sessions() {
            self.owns(sid, applied, session, peer.sessions().contains(session));
        }
    }

    fn owns(&self, sid: Sid, applied: Zxid, session: SessionId, known: bool) {
        if !known {
            let text = format!("server {} at {applied}: ephemerals of {session}, unknown", sid.0);
            violated("sessions", text);
        }
        if let Some(ended) = self.ended.get(&session)
            && *ended <= applied
        {
            let text = format!("server {}: ephemerals of {session}, ended at {ended}", sid.0);
            violated("sessions", text);
        }
    }

    /// When nobody has spoken for any session for longer than its timeout.
    pub fn end(&self, sid: Sid, applied: Zxid, peer: &Peer) {
        self.census(sid, applied, peer);
        if !peer.sessions().is_empty() {
            let text = format!("server {}: {} outlive everything", sid.0, peer.sessions().len());
            violated("sessions", text);
        }
    }
}

#[test]
fn lost_early_resumed_late_and_orphaned() {
    let (session, timeout_ms) = (SessionId(1), 4000);
    let header = |cxid, time| TxnHeader { session, cxid, zxid: Zxid(5), time, op: -11 };
    let close = Txn::CloseSession { paths: None };
    let caught = |wrong: &mut dyn FnMut(&mut Sessions)| {
        let mut checker = Sessions::default();
        checker.delivered(&header(0, 0), &Txn::CreateSession { timeout_ms });
        checker.attached(session, timeout_ms, 1000);
        super::assert_caught("sessions", || wrong(&mut checker));
    };
    let seen = Zxid(5);
    caught(&mut |checker| checker.delivered(&header(0, 5000), &close));
    caught(&mut |checker| {
        checker.detached(session, 2000);
        checker.rejected(session, seen, 2800);
    });
    caught(&mut |checker| {
        checker.detached(session, 2000);
        checker.delivered(&header(0, 7000), &close);
        checker.rejected(session, seen, 7000);
        checker.owns(Sid(1), Zxid(4), session, true);
        checker.owns(Sid(1), Zxid(5), session, true);
    });
    caught(&mut |checker| {
        checker.detached(session, 1000);
        checker.delivered(&header(0, 9000), &close);
        checker.attached(session, timeout_ms, 9000);
    });
    caught(&mut |checker| checker.owns(Sid(1), Zxid(4), session, false));
    caught(&mut |checker| checker.delivered(&header(0, 0), &Txn::CreateSession { timeout_ms }));
    caught(&mut |checker| checker.attached(SessionId(2), timeout_ms, 6000));
}

#[test]
fn an_upgraded_session_is_promised_once_its_client_has_seen_it() {
    let (session, timeout_ms) = (SessionId(1), 4000);
    let header = TxnHeader { session, cxid: 0, zxid: Zxid(5), time: 1500, op: -10 };
    let rejected_at = |seen: i64, now: MonoMs| {
        let mut checker = Sessions { may_be_local: true, ..Sessions::default() };
        checker.attached(session, timeout_ms, 1000);
        checker.delivered(&header, &Txn::CreateSession { timeout_ms });
        checker.detached(session, 2000);
        checker.rejected(session, Zxid(seen), now);
    };
    rejected_at(4, 2800);
    super::assert_caught("sessions", || rejected_at(5, 2800));
    super::assert_caught("sessions", || rejected_at(9, 2800));
    rejected_at(5, 7000);
}
