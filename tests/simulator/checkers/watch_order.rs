//! Watch order: a client gets the event of a watch before anything from the same server that shows the change or comes
//! after it; a watch speaks once.

use std::collections::BTreeMap;

use ringkeeper::base::Zxid;

use super::model::{Model, Seen};
use super::violated;

/// Left by a read at `since`, that saw this.
#[derive(Clone, Copy, Debug)]
struct Left {
    since: Zxid,
    seen: Option<Seen>,
}

#[derive(Default)]
pub struct WatchOrder {
    left: BTreeMap<usize, BTreeMap<String, Left>>,
    pub fired: u64,
}

impl WatchOrder {
    pub fn left(&mut self, client: usize, path: &str, since: Zxid, seen: Option<Seen>) {
        let paths = self.left.entry(client).or_default();
        paths.entry(path.to_owned()).or_insert(Left { since, seen });
    }

    /// The client has lost its connection, and its watches with it.
    pub fn gone(&mut self, client: usize) {
        self.left.remove(&client);
    }

    pub fn event(&mut self, client: usize, path: &str, zxid: Zxid) {
        let left = self.left.entry(client).or_default().remove(path);
        self.fired += 1;
        match left {
            None => violated("watch order", format!("client {client}: an event of {path} unasked")),
            Some(left) if zxid <= left.since => {
                let text =
                    format!("client {client}: {path} at {zxid}, watched since {}", left.since);
                violated("watch order", text);
            }
            Some(_) => {}
        }
    }

    /// The client reads a path itself.
    pub fn read(&self, client: usize, path: &str, zxid: Zxid, seen: Option<Seen>) {
        let left = self.left.get(&client).and_then(|paths| paths.get(path));
        if let Some(left) = left
            && left.seen != seen
        {
            let text = format!("client {client} reads the new {path} at {zxid} before its event");
            violated("watch order", text);
        }
    }

    /// The client gets any answer of this zxid.
    pub fn answer(&self, client: usize, zxid: Zxid, model: &Model) {
        if !model.knows(zxid) {
            return;
        }
        for (path, left) in self.left.get(&client).into_iter().flatten() {
            if zxid > left.since && model.at(path, zxid) != left.seen {
                let text = format!("client {client} is at {zxid} before the event of {path}");
                violated("watch order", text);
            }
        }
    }
}

#[test]
fn late_early_and_unasked_events() {
    let seen = |mzxid| Some(Seen { czxid: Zxid(1), mzxid: Zxid(mzxid), version: 0 });
    let caught = |wrong: &mut dyn FnMut(&mut WatchOrder)| {
        let mut checker = WatchOrder::default();
        checker.left(1, "/a", Zxid(5), seen(1));
        checker.read(1, "/a", Zxid(6), seen(1));
        super::assert_caught("watch order", || wrong(&mut checker));
    };
    caught(&mut |checker| checker.read(1, "/a", Zxid(7), seen(7)));
    caught(&mut |checker| checker.event(1, "/a", Zxid(5)));
    caught(&mut |checker| checker.event(1, "/b", Zxid(6)));
    caught(&mut |checker| {
        checker.event(1, "/a", Zxid(6));
        checker.event(1, "/a", Zxid(7));
    });
}
