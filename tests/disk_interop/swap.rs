//! Whole servers that take turns on one directory: what one showed the next one shows, Stat for Stat, and the sessions
//! of its clients live on.

use ringkeeper::wire::{OpCode, Reader};

use crate::support::bodies::{self, Entry};
use crate::support::client::Session;
use crate::support::server::{Kind, Server};

const TIMEOUT_MS: i32 = 40_000;

/// Logs roll and snapshots are taken while the servers take turns.
pub const CONFIG: &str = "snapCount=30\nextendedTypesEnabled=true\n";

fn done(session: &mut Session, op: OpCode, body: &[u8], what: &str) {
    let reply = session.call(op, body).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(reply.header.err, 0, "{what}");
}

/// One of everything that leaves a trace on disk, in a part of the tree of its own.
fn fill(session: &mut Session, port: u16, round: usize) {
    let home = format!("/r{round}");
    let path = |name: &str| format!("{home}{name}");
    let create = |s: &mut Session, name: &str, data: &[u8], flags| {
        done(s, OpCode::Create, &bodies::create_open(&path(name), data, flags), &path(name));
    };
    create(session, "", b"home", 0);
    for n in 0..20 {
        create(session, "/seq-", format!("{n}").as_bytes(), 2);
        let set = bodies::set_data(Some(home.as_bytes()), Some(&[n; 40]), -1);
        done(session, OpCode::SetData, &set, "a setData");
    }
    create(session, "/ephemeral", b"mine", 1);
    create(session, "/\u{e9}\u{4e2d}", b"", 0);
    create(session, "/big", &vec![b'x'; 300_000], 0);
    create(session, "/gone", b"", 0);
    let gone = bodies::path_int(Some(path("/gone").as_bytes()), 0);
    done(session, OpCode::Delete, &gone, "a delete");
    let open = bodies::open_acl();
    let null = bodies::create(Some(path("/null").as_bytes()), None, &open, 0, None);
    done(session, OpCode::Create2, &null, "a node without data");
    let container = bodies::create(Some(path("/container").as_bytes()), Some(b"c"), &open, 4, None);
    done(session, OpCode::CreateContainer, &container, "a container");
    create(session, "/container/child", b"", 0);
    let ttl = bodies::create(Some(path("/ttl").as_bytes()), Some(b"t"), &open, 5, Some(600_000));
    done(session, OpCode::CreateTtl, &ttl, "a TTL node");
    let entries = [
        Entry::new(1, "world", "anyone"),
        Entry::new(31, "digest", &bodies::digest_id("user", "pw")),
        Entry::new(31, "ip", "127.0.0.1"),
    ];
    let acl = bodies::set_acl(Some(home.as_bytes()), &bodies::acl(Some(&entries)), -1);
    done(session, OpCode::SetAcl, &acl, "a setACL");
    let ops = [
        (OpCode::Create.code(), bodies::create_open(&path("/multi"), b"1", 0)),
        (OpCode::SetData.code(), bodies::set_data(Some(path("/multi").as_bytes()), Some(b"2"), 0)),
    ];
    done(session, OpCode::Multi, &bodies::multi(&ops), "a multi");
    let quota = format!("/zookeeper/quota{home}");
    for (name, data) in
        [("", ""), ("/zookeeper_limits", "count=99,bytes=-1"), ("/zookeeper_stats", "")]
    {
        let body = bodies::create_open(&format!("{quota}{name}"), data.as_bytes(), 0);
        done(session, OpCode::Create, &body, "a quota");
    }
    create(session, "/counted", b"by the quota", 0);
    // A refused request has a zxid of its own in the log.
    let refused = session.call(OpCode::Delete, &gone).expect("an answer");
    assert_eq!(refused.header.err, -101);
    let mut other = Session::open(port, TIMEOUT_MS).expect("a session");
    create(&mut other, "/closed", b"", 1);
    done(&mut other, OpCode::CloseSession, &[], "closeSession");
}

/// Every node with data, Stat and ACL as the server sends them, by path.
fn dump(session: &mut Session) -> Vec<(String, String)> {
    let mut nodes = Vec::new();
    let mut todo = vec!["/".to_string()];
    while let Some(path) = todo.pop() {
        let read = bodies::path_watch(Some(path.as_bytes()), false);
        let data = session.call(OpCode::GetData, &read).expect("getData");
        let acl = session.call(OpCode::GetAcl, &bodies::path_only(Some(path.as_bytes())));
        let acl = acl.expect("getACL");
        assert_eq!((data.header.err, acl.header.err), (0, 0), "{path}");
        let children = session.call(OpCode::GetChildren, &read).expect("getChildren").body;
        let mut r = Reader::new(&children);
        for _ in 0..r.vector().expect("a list").unwrap_or(0) {
            let name = r.ustring().expect("a name").unwrap_or_default();
            let name = String::from_utf8_lossy(name);
            todo.push(format!("{}/{name}", path.trim_end_matches('/')));
        }
        let (shown, hidden) = data.body.split_at(data.body.len().min(400));
        let sum = hidden.iter().fold(0u64, |sum, &b| sum.wrapping_mul(31).wrapping_add(b.into()));
        let shown = shown.escape_ascii();
        nodes.push((path, format!("{shown} +{sum:x}, ACL {}", acl.body.escape_ascii())));
    }
    nodes.sort();
    nodes
}

/// This server, then Apache, this one again, Apache again: each continues what the one before left.
pub fn take_turns(version: &str, class_path: &str, compression: &str) {
    let config = format!("{CONFIG}snapshot.compression.method={compression}\n");
    let mut server = Server::prepare(Kind::Ours, "swap", &config);
    server.class_path = Some(class_path.to_string());
    server.launch();
    let mut session = Session::open(server.port, TIMEOUT_MS).expect("a session");
    for (round, next) in [Kind::Apache, Kind::Ours, Kind::Apache].into_iter().enumerate() {
        fill(&mut session, server.port, round);
        let before = dump(&mut session);
        let last = session.call(OpCode::Ping, &[]).expect("a ping").header.zxid;
        server.kill();
        let from = server.kind;
        server.kind = next;
        server.launch();
        let what = format!("{version} {compression}: {next:?} after {from:?}");
        session = Session::attach(server.port, TIMEOUT_MS, session.id, &session.passwd)
            .unwrap_or_else(|error| panic!("{what}: the session is lost: {error}"));
        let after = dump(&mut session);
        for (one, other) in before.iter().zip(&after) {
            assert_eq!(one, other, "{what}");
        }
        assert_eq!(before.len(), after.len(), "{what}");
        let now = session.call(OpCode::Ping, &[]).expect("a ping").header.zxid;
        assert_eq!(last, now, "{what}: nothing was written by the change");
    }
}
