//! Reads a whole tree from one server.

use std::net::SocketAddr;
use std::time::Duration;

use ringkeeper::wire::{OpCode, Reader, Stat};

use super::checkers::trees::{Node, Tree};
use super::client::{Answer, EnsembleClient};
use crate::support::bodies;

/// A session at one server only, which has been brought up to date by a sync.
pub fn session_at(server: SocketAddr) -> EnsembleClient {
    let mut client = EnsembleClient::open(&[server], Duration::from_secs(20), 0)
        .unwrap_or_else(|trouble| panic!("no session at {server}: {trouble:?}"));
    client.surely("sync", |client| client.sync("/"));
    client
}

/// Names of the children of a znode.
pub fn children(client: &mut EnsembleClient, path: &str) -> Vec<String> {
    let body = bodies::path_watch(Some(path.as_bytes()), false);
    let answer = client.surely("getChildren", |client| client.call(OpCode::GetChildren, &body));
    let mut r = Reader::new(&answer.body);
    let count = if answer.err == 0 { r.int().expect("a count") } else { 0 };
    (0..count)
        .map(|_| {
            let name = r.buffer().expect("a name").unwrap_or_default();
            String::from_utf8_lossy(name).into_owned()
        })
        .collect()
}

fn read(client: &mut EnsembleClient, op: OpCode, body: &[u8]) -> Answer {
    client.surely("a read", |client| client.call(op, body))
}

/// Every znode that a server has.
pub fn tree(client: &mut EnsembleClient) -> Tree {
    let mut tree = Tree::new();
    let mut todo = vec!["/".to_string()];
    while let Some(path) = todo.pop() {
        let answer =
            read(client, OpCode::GetData, &bodies::path_watch(Some(path.as_bytes()), false));
        if answer.err != 0 {
            // Gone between the list of its parent and now: somebody is still at work.
            continue;
        }
        let mut r = Reader::new(&answer.body);
        let data = r.buffer().expect("data").map(<[u8]>::to_vec);
        let stat = Stat::decode(&mut r).expect("a Stat");
        let body = bodies::path_only(Some(path.as_bytes()));
        let mut acl = read(client, OpCode::GetAcl, &body).body;
        // The Stat comes again behind it.
        acl.truncate(acl.len().saturating_sub(Stat::WIRE_BYTES));
        let parent = if path == "/" { "" } else { path.as_str() };
        let below = children(client, &path);
        todo.extend(below.iter().map(|name| format!("{parent}/{name}")));
        tree.insert(path, Node { data, acl, stat });
    }
    tree
}
