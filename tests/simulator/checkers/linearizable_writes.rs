//! Linearizable writes: each write does what the one sequence says at its place, and a write that begins after
//! another was acknowledged comes after it.

use ringkeeper::base::Zxid;
use ringkeeper::wire::ErrorCode;

use super::model::{Model, Seen};
use super::violated;

/// What a client has asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    Create,
    /// With the version that it expects, or -1.
    Set(i32),
    Delete(i32),
    Sync,
    Close,
}

#[derive(Default)]
pub struct LinearizableWrites {
    /// The newest write that anybody was told of.
    last: Zxid,
}

impl LinearizableWrites {
    /// A write that begins now must come after this.
    pub fn floor(&self) -> Zxid {
        self.last
    }

    /// A write was answered; its session is still the asker's.
    pub fn answered(
        &mut self,
        (ask, path): (&Ask, &str),
        floor: Zxid,
        (zxid, err): (Zxid, i32),
        model: &Model,
    ) {
        if matches!(ask, Ask::Sync) {
            return;
        }
        if zxid <= floor {
            let text = format!("{ask:?} {path} is {zxid}, and began after {floor}");
            violated("linearizable writes", text);
        }
        self.last = self.last.max(zxid);
        if err == ErrorCode::SessionExpired.code() || err == ErrorCode::SessionMoved.code() {
            return;
        }
        if !model.knows(zxid) {
            return;
        }
        let should = outcome(ask, model.before(path, zxid)).code();
        if err != should {
            let text = format!("{ask:?} {path} at {zxid} came to {err}, not to {should}");
            violated("linearizable writes", text);
        }
        let is_there = err == 0 && matches!(ask, Ask::Create | Ask::Set(_));
        if is_there && model.at(path, zxid).is_none_or(|seen| seen.mzxid != zxid) {
            let text = format!("{ask:?} {path} at {zxid} is not in the history");
            violated("no lost write", text);
        }
    }
}

fn outcome(ask: &Ask, before: Option<Seen>) -> ErrorCode {
    match (ask, before) {
        (Ask::Create, None) | (Ask::Sync | Ask::Close, _) => ErrorCode::Ok,
        (Ask::Create, Some(_)) => ErrorCode::NodeExists,
        (Ask::Set(_) | Ask::Delete(_), None) => ErrorCode::NoNode,
        (Ask::Set(expected) | Ask::Delete(expected), Some(seen)) => {
            let matches = *expected == -1 || *expected == seen.version;
            if matches { ErrorCode::Ok } else { ErrorCode::BadVersion }
        }
    }
}

#[test]
fn a_wrong_place_and_a_wrong_result() {
    let model = Model::default();
    let mut checker = LinearizableWrites::default();
    checker.answered((&Ask::Create, "/a"), checker.floor(), (Zxid(5), 0), &model);
    let wrong = || checker.answered((&Ask::Create, "/b"), Zxid(5), (Zxid(4), 0), &model);
    super::assert_caught("linearizable writes", wrong);
    let seen = Some(Seen { czxid: Zxid(1), mzxid: Zxid(1), version: 3 });
    assert_eq!(outcome(&Ask::Set(3), seen), ErrorCode::Ok);
    assert_eq!(outcome(&Ask::Set(2), seen), ErrorCode::BadVersion);
    assert_eq!(outcome(&Ask::Delete(-1), None), ErrorCode::NoNode);
    assert_eq!(outcome(&Ask::Create, seen), ErrorCode::NodeExists);
    // The history is empty: nothing can be set in it.
    let wrong = || checker.answered((&Ask::Set(-1), "/a"), Zxid(0), (Zxid(0), 0), &model);
    super::assert_caught("linearizable writes", wrong);
    // Nor was anything created at its beginning.
    let mut checker = LinearizableWrites::default();
    let wrong = || checker.answered((&Ask::Create, "/a"), Zxid(-1), (Zxid(0), 0), &model);
    super::assert_caught("no lost write", wrong);
}
