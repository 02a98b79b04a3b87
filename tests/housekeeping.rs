//! What a server does by itself, seen from outside, on this server and, when its jars are there, on Apache: reaping of
//! containers and TTL nodes, quotas, the purge of old files.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ringkeeper::wire::{OpCode, Reader};

use support::bodies;
use support::client::Session;
use support::server::{Kind, Server, apache_classpath, available, temp_dir};

const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT_MS: i32 = 40_000;

fn on_each(name: &str, extra: &str, java_flags: &[&str], script: impl Fn(&Server)) {
    for kind in [Kind::Apache, Kind::Ours] {
        if available(kind, name) {
            let prepared = Server::prepare(kind, name, extra);
            let mut server =
                java_flags.iter().fold(prepared, |server, flag| server.java_flag(flag));
            server.launch();
            script(&server);
        }
    }
}

fn error(session: &mut Session, op: OpCode, body: &[u8]) -> i32 {
    session.call(op, body).expect("an answer").header.err
}

fn create(session: &mut Session, path: &str, data: &[u8]) -> i32 {
    error(session, OpCode::Create, &bodies::create_open(path, data, 0))
}

fn container(session: &mut Session, path: &str) {
    let body = bodies::create(Some(path.as_bytes()), None, &bodies::open_acl(), 4, None);
    assert_eq!(error(session, OpCode::CreateContainer, &body), 0, "{path}");
}

fn ttl(session: &mut Session, path: &str, ms: i64) {
    let body = bodies::create(Some(path.as_bytes()), None, &bodies::open_acl(), 5, Some(ms));
    assert_eq!(error(session, OpCode::CreateTtl, &body), 0, "{path}");
}

fn exists(session: &mut Session, path: &str) -> bool {
    error(session, OpCode::Exists, &bodies::path_watch(Some(path.as_bytes()), true)) == 0
}

fn wait_until_gone(session: &mut Session, path: &str, kind: Kind) {
    let deadline = Instant::now() + PATIENCE;
    while exists(session, path) {
        assert!(Instant::now() < deadline, "{kind:?}: {path} is not reaped");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The reaper takes what is over and nothing else; what it is to leave alone is looked at after it has come by again
/// for something that began later.
#[test]
fn containers_and_ttl_nodes_are_reaped() {
    let flags = ["-Dznode.container.checkIntervalMs=300"];
    let config = "extendedTypesEnabled=true\nznode.container.checkIntervalMs=300\n";
    on_each("reaping", config, &flags, |server| {
        let mut session = Session::open(server.port, TIMEOUT_MS).expect("a session");
        for path in ["/used", "/never-used", "/in-use"] {
            container(&mut session, path);
        }
        assert_eq!(create(&mut session, "/used/child", b""), 0);
        assert_eq!(create(&mut session, "/in-use/child", b""), 0);
        ttl(&mut session, "/short", 500);
        ttl(&mut session, "/short-with-child", 500);
        assert_eq!(create(&mut session, "/short-with-child/child", b""), 0);
        ttl(&mut session, "/long", 3_600_000);
        assert!(exists(&mut session, "/used"));
        let delete = bodies::path_int(Some(b"/used/child"), -1);
        assert_eq!(error(&mut session, OpCode::Delete, &delete), 0);
        wait_until_gone(&mut session, "/used", server.kind);
        wait_until_gone(&mut session, "/short", server.kind);
        ttl(&mut session, "/later", 500);
        wait_until_gone(&mut session, "/later", server.kind);
        for path in ["/never-used", "/in-use", "/in-use/child", "/short-with-child", "/long"] {
            assert!(exists(&mut session, path), "{:?}: {path} was reaped", server.kind);
        }
        let told = session.events.iter().any(|event| {
            let mut r = Reader::new(&event.body);
            let kind = r.int().expect("a type");
            let _ = r.int();
            kind == 2 && r.ustring().is_ok_and(|path| path == Some(b"/used"))
        });
        assert!(told, "{:?}: no event of the end of /used", server.kind);
    });
}

/// Hard limits refuse, soft ones do not; usage is counted below the node and given back.
#[test]
fn quotas_are_enforced() {
    on_each("quotas", "enforceQuota=true\n", &[], |server| {
        let mut session = Session::open(server.port, TIMEOUT_MS).expect("a session");
        let limits = [
            ("/soft", "count=2,bytes=10"),
            ("/hard", "count=-1,bytes=-1=;byteHardLimit=20;countHardLimit=3"),
        ];
        for (path, text) in limits {
            assert_eq!(create(&mut session, path, b"12345"), 0);
            let quota = format!("/zookeeper/quota{path}");
            assert_eq!(create(&mut session, &quota, b""), 0);
            assert_eq!(
                create(&mut session, &format!("{quota}/zookeeper_limits"), text.as_bytes()),
                0
            );
            assert_eq!(create(&mut session, &format!("{quota}/zookeeper_stats"), b""), 0);
        }
        let set = |path: &str, data: &[u8]| bodies::set_data(Some(path.as_bytes()), Some(data), -1);
        let delete = |path: &str| bodies::path_int(Some(path.as_bytes()), -1);
        let data = |path, data: &'static [u8]| bodies::create_open(path, data, 0);
        let script: [(OpCode, Vec<u8>, i32); 12] = [
            (OpCode::Create, data("/soft/a", b"more than ten bytes"), 0),
            (OpCode::Create, data("/soft/b", b""), 0),
            (OpCode::Create, data("/soft/c", b""), 0),
            (OpCode::Create, data("/hard/a", b"12345"), 0),
            (OpCode::Create, data("/hard/b", b"12345678901"), -125),
            (OpCode::Create, data("/hard/b", b"1234567890"), 0),
            (OpCode::Create, data("/hard/c", b""), -125),
            (OpCode::SetData, set("/hard/a", b"123456"), -125),
            (OpCode::SetData, set("/hard/a", b"54321"), 0),
            (OpCode::Delete, delete("/hard/b"), 0),
            (OpCode::SetData, set("/hard/a", b"123456789012345"), 0),
            (OpCode::Create, data("/hard/c", b""), 0),
        ];
        for (n, (op, body, expected)) in script.into_iter().enumerate() {
            let got = error(&mut session, op, &body);
            assert_eq!(got, expected, "{:?}: line {n}: {op:?}", server.kind);
        }
        let stats = bodies::path_watch(Some(b"/zookeeper/quota/hard/zookeeper_stats"), false);
        let reply = session.call(OpCode::GetData, &stats).expect("getData");
        let text = Reader::new(&reply.body).buffer().expect("data").unwrap_or_default();
        assert_eq!(text, b"count=3,bytes=20", "{:?}", server.kind);
    });
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir.join("version-2")).expect("the directory");
    let names = entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.starts_with('.')).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("version-2")).expect("a directory");
    for name in names(from) {
        let path = |dir: &Path| dir.join("version-2").join(&name);
        fs::copy(path(from), path(to)).expect("a copy");
    }
}

/// The scheduled purge leaves what Apache's own tool leaves of the same files, and a database.
#[test]
fn autopurge_leaves_what_the_tool_of_apache_leaves() {
    if !available(Kind::Ours, "autopurge") {
        return;
    }
    let mut server = Server::start(Kind::Ours, "autopurge", "snapCount=40\npreAllocSize=64\n");
    let data = server.dir.join("data");
    let mut session = Session::open(server.port, TIMEOUT_MS).expect("a session");
    let deadline = Instant::now() + PATIENCE;
    let mut nodes = 0;
    let snapshots = |dir: &Path| names(dir).iter().filter(|n| n.starts_with("snapshot.")).count();
    while snapshots(&data) < 6 {
        assert!(Instant::now() < deadline, "no snapshots: {:?}", names(&data));
        assert_eq!(create(&mut session, &format!("/n{nodes}"), b"data"), 0);
        nodes += 1;
    }
    server.kill();
    let before = names(&data);
    let expected = apache_classpath().map(|class_path| {
        let dir = temp_dir("autopurge-copy");
        copy(&data, &dir);
        let mut tool = Command::new("java");
        tool.args(["-cp", &class_path, "org.apache.zookeeper.server.PurgeTxnLog"]);
        let status = tool.args([&dir, &dir]).args(["-n", "3"]).output().expect("java").status;
        assert!(status.success(), "Apache's tool fails");
        let left = names(&dir);
        let _ = fs::remove_dir_all(dir);
        left
    });
    let config = server.dir.join("zoo.cfg");
    let text = fs::read_to_string(&config).expect("zoo.cfg");
    fs::write(&config, format!("{text}autopurge.purgeInterval=1\nautopurge.snapRetainCount=3\n"))
        .expect("zoo.cfg");
    server.launch();
    while snapshots(&data) > 3 {
        assert!(Instant::now() < deadline + PATIENCE, "not purged: {:?}", names(&data));
        std::thread::sleep(Duration::from_millis(20));
    }
    // Snapshots go first: the logs are gone once the server says so.
    while !server.output_tail().contains("purged") {
        assert!(Instant::now() < deadline + PATIENCE, "no word of it:\n{}", server.output_tail());
        std::thread::sleep(Duration::from_millis(20));
    }
    let left = names(&data);
    assert!(left.is_subset(&before) && left.len() < before.len(), "{left:?} of {before:?}");
    match expected {
        Some(expected) => assert_eq!(left, expected),
        None => support::skipped("autopurge", "the comparison: no jars of Apache"),
    }
    server.kill();
    server.launch();
    let mut session = Session::open(server.port, TIMEOUT_MS).expect("a session");
    assert!((0..nodes).all(|n| exists(&mut session, &format!("/n{n}"))));
}
