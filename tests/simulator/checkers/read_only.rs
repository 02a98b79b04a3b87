//! Readers without a quorum: they see all of their server's own log, which is the state of everybody's history as far as
//! it is that; nothing changes under them, no write is taken, and no session is theirs that others know.

use std::collections::BTreeMap;

use ringkeeper::base::{SessionId, Sid, Zxid};
use ringkeeper::wire::ErrorCode;

use super::model::{Model, Seen};
use super::violated;

const NAME: &str = "read only";

#[derive(Default)]
pub struct ReadOnly {
    /// What was read at a zxid that nobody has delivered; it may be one day, or never.
    undecided: BTreeMap<Zxid, Vec<(String, Option<Seen>)>>,
    pub reads: u64,
    pub refused: u64,
}

impl ReadOnly {
    /// A server without a quorum serves, and its log ends there.
    pub fn shows(&self, sid: Sid, applied: Zxid, end: Zxid) {
        // A leader begins its epoch without a transaction.
        if applied != end && applied.counter() != 0 {
            let text = format!("server {} shows readers {applied}, its log ends at {end}", sid.0);
            violated(NAME, text);
        }
    }

    /// A reader gets a session; `made` by which transaction.
    pub fn begins(&self, session: SessionId, made: Option<Zxid>) {
        if let Some(made) = made {
            violated(NAME, format!("{session} of {made} is served without a quorum"));
        }
    }

    /// `delivered`: the zxid is part of everybody's history.
    pub fn read(
        &mut self,
        path: &str,
        zxid: Zxid,
        seen: Option<Seen>,
        delivered: bool,
        model: &Model,
    ) {
        self.reads += 1;
        if delivered {
            judge(path, zxid, seen, model);
        } else if zxid.counter() != 0 {
            self.undecided.entry(zxid).or_default().push((path.to_owned(), seen));
        }
    }

    /// It has become part of everybody's history.
    pub fn delivered(&mut self, zxid: Zxid, model: &Model) {
        for (path, seen) in self.undecided.remove(&zxid).unwrap_or_default() {
            judge(&path, zxid, seen, model);
        }
    }

    /// A reader's write or the end of its session is answered.
    pub fn answered(&mut self, ends: bool, err: i32) {
        let expected = if ends { ErrorCode::Ok } else { ErrorCode::NotReadOnly };
        self.refused += u64::from(!ends);
        if err != expected.code() {
            violated(NAME, format!("answered with {err}, not with {expected:?}"));
        }
    }
}

fn judge(path: &str, zxid: Zxid, seen: Option<Seen>, model: &Model) {
    if model.knows(zxid) && model.at(path, zxid) != seen {
        let should = model.at(path, zxid);
        violated(NAME, format!("{path} at {zxid} shows {seen:?} and is {should:?}"));
    }
}

#[test]
fn another_state_a_write_and_a_global_session() {
    let seen = Some(Seen { czxid: Zxid(1), mzxid: Zxid(1), version: 0 });
    let caught = |wrong: &mut dyn FnMut(&mut ReadOnly)| {
        super::assert_caught(NAME, || wrong(&mut ReadOnly::default()));
    };
    let model = Model::default();
    caught(&mut |checker| checker.read("/a", Zxid(0), seen, true, &model));
    caught(&mut |checker| {
        checker.undecided.insert(Zxid(0), vec![("/a".to_owned(), seen)]);
        checker.delivered(Zxid(0), &model);
    });
    caught(&mut |checker| checker.answered(false, 0));
    caught(&mut |checker| checker.begins(SessionId(1), Some(Zxid(1))));
    caught(&mut |checker| checker.shows(Sid(1), Zxid(4), Zxid(5)));
    let mut checker = ReadOnly::default();
    checker.read("/a", Zxid(7), seen, false, &model);
    checker.answered(false, ErrorCode::NotReadOnly.code());
    checker.answered(true, 0);
    checker.shows(Sid(1), Zxid(5), Zxid(5));
    checker.begins(SessionId(1), None);
}
