//! What the one sequence of transactions makes of the nodes: a tree of the plainest kind, with its past.

use std::collections::{BTreeMap, BTreeSet};

use ringkeeper::base::{SessionId, Zxid};
use ringkeeper::wire::txn::{CreateMode, Txn, TxnHeader};

use super::violated;

/// A node as a client may see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    pub czxid: Zxid,
    pub mzxid: Zxid,
    pub version: i32,
}

/// Follows the sequence as long as it is known without a gap.
#[derive(Default)]
pub struct Model {
    last: Zxid,
    paths: BTreeMap<String, Vec<(Zxid, Option<Seen>)>>,
    ephemerals: BTreeMap<SessionId, BTreeSet<String>>,
    lost_track: bool,
}

impl Model {
    pub fn delivered(&mut self, before: Zxid, header: &TxnHeader, txn: &Txn<'_>) {
        // A server that came by a snapshot began behind transactions that nobody has shown yet: rare, and not followed.
        if before != self.last && !(before.counter() == 0 && self.last.counter() == 0) {
            self.lost_track = true;
        }
        if self.lost_track {
            return;
        }
        let zxid = header.zxid;
        self.last = zxid;
        match txn {
            Txn::Create(create) => {
                let path = text(create.path);
                let before = self.now(&path);
                if before.is_some() {
                    violated("linearizable writes", format!("{zxid} creates {path} again"));
                }
                if create.mode == CreateMode::Ephemeral {
                    self.ephemerals.entry(header.session).or_default().insert(path.clone());
                }
                let seen = Seen { czxid: zxid, mzxid: zxid, version: 0 };
                self.put(path, zxid, Some(seen));
            }
            Txn::SetData(set) => {
                let path = text(set.path);
                let Some(seen) = self.now(&path) else {
                    violated("linearizable writes", format!("{zxid} sets {path}: it is not there"));
                };
                if set.version != seen.version + 1 {
                    let text = format!("{zxid}: {path} from {} to {}", seen.version, set.version);
                    violated("linearizable writes", text);
                }
                let after = Seen { mzxid: zxid, version: set.version, ..seen };
                self.put(path, zxid, Some(after));
            }
            Txn::Delete { path } => {
                let path = text(path);
                if self.now(&path).is_none() {
                    violated("linearizable writes", format!("{zxid} deletes {path} again"));
                }
                self.put(path, zxid, None);
            }
            Txn::CloseSession { .. } => {
                for path in self.ephemerals.remove(&header.session).unwrap_or_default() {
                    if self.now(&path).is_some() {
                        self.put(path, zxid, None);
                    }
                }
            }
            _ => {}
        }
    }

    fn put(&mut self, path: String, zxid: Zxid, seen: Option<Seen>) {
        if seen.is_none() {
            for paths in self.ephemerals.values_mut() {
                paths.remove(&path);
            }
        }
        self.paths.entry(path).or_default().push((zxid, seen));
    }

    fn now(&self, path: &str) -> Option<Seen> {
        self.paths.get(path)?.last()?.1
    }

    /// Whether everything up to `zxid` is known.
    pub fn knows(&self, zxid: Zxid) -> bool {
        !self.lost_track && zxid <= self.last
    }

    /// The node after `zxid`.
    pub fn at(&self, path: &str, zxid: Zxid) -> Option<Seen> {
        let past = self.paths.get(path)?;
        let after = past.partition_point(|(changed, _)| *changed <= zxid);
        past[..after].last()?.1
    }

    /// The node just before `zxid`.
    pub fn before(&self, path: &str, zxid: Zxid) -> Option<Seen> {
        self.at(path, Zxid(zxid.0 - 1))
    }

    /// `mzxid_of` tells what a server has.
    pub fn end(&self, sid: ringkeeper::base::Sid, mzxid_of: impl Fn(&str) -> Option<i64>) {
        if self.lost_track {
            return;
        }
        for path in self.paths.keys() {
            let (has, should) = (mzxid_of(path), self.now(path).map(|seen| seen.mzxid.0));
            if has != should {
                let text = format!("server {} has {path} of {has:x?}, not {should:x?}", sid.0);
                violated("no lost write", text);
            }
        }
    }
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[test]
fn what_no_tree_allows() {
    let header = |zxid| TxnHeader {
        session: SessionId(1),
        cxid: 1,
        zxid: Zxid(zxid),
        time: 0,
        op: ringkeeper::wire::OpCode::SetData.code(),
    };
    let set = |version| {
        Txn::SetData(ringkeeper::wire::txn::SetDataTxn { path: b"/a", data: None, version })
    };
    let delete = Txn::Delete { path: b"/a" };
    let made = || {
        let mut model = Model::default();
        let seen = Seen { czxid: Zxid(1), mzxid: Zxid(1), version: 0 };
        model.put("/a".to_owned(), Zxid(1), Some(seen));
        model.last = Zxid(1);
        model
    };
    let mut model = made();
    model.delivered(Zxid(1), &header(2), &set(1));
    assert_eq!(model.before("/a", Zxid(2)).map(|seen| seen.version), Some(0));
    assert_eq!(model.at("/a", Zxid(2)).map(|seen| seen.version), Some(1));
    model.delivered(Zxid(2), &header(3), &delete);
    let twice = || model.delivered(Zxid(3), &header(4), &delete);
    super::assert_caught("linearizable writes", twice);
    let jump = || made().delivered(Zxid(1), &header(2), &set(5));
    super::assert_caught("linearizable writes", jump);
    super::assert_caught("no lost write", || made().end(ringkeeper::base::Sid(1), |_| None));
}
