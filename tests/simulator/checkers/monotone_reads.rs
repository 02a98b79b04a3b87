//! Monotone reads: the zxid of what a session is told never goes back, on whatever server; and a read shows the state
//! at the zxid of its answer.

use std::collections::BTreeMap;

use ringkeeper::base::Zxid;

use super::model::{Model, Seen};
use super::violated;

#[derive(Default)]
pub struct MonotoneReads {
    seen: BTreeMap<usize, Zxid>,
    pub reads: u64,
}

impl MonotoneReads {
    /// A new session of this client begins.
    pub fn begins(&mut self, client: usize) {
        self.seen.remove(&client);
    }

    /// Anything that a client is told.
    pub fn told(&mut self, client: usize, zxid: Zxid) {
        let seen = self.seen.entry(client).or_default();
        if zxid < *seen {
            violated("monotone reads", format!("client {client} is told {zxid} after {seen}"));
        }
        *seen = zxid;
    }

    pub fn read(&mut self, path: &str, zxid: Zxid, seen: Option<Seen>, model: &Model) {
        self.reads += 1;
        if model.knows(zxid) && model.at(path, zxid) != seen {
            let should = model.at(path, zxid);
            let text = format!("{path} at {zxid} shows {seen:?} and is {should:?}");
            violated("monotone reads", text);
        }
    }
}

#[test]
fn backwards_and_from_another_time() {
    let mut checker = MonotoneReads::default();
    checker.told(1, Zxid(5));
    checker.told(2, Zxid(4));
    super::assert_caught("monotone reads", || checker.told(1, Zxid(4)));
    let seen = Some(Seen { czxid: Zxid(1), mzxid: Zxid(1), version: 0 });
    let wrong = || checker.read("/a", Zxid(0), seen, &Model::default());
    super::assert_caught("monotone reads", wrong);
    checker.begins(1);
    checker.told(1, Zxid(1));
}
