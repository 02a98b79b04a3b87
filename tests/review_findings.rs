//! Failing scenarios found by reading: each test names what a client may rely on.
mod support;

use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use ringkeeper::auth::{Auth, AuthConfig, Identities};
use ringkeeper::base::{SessionId, Zxid};
use ringkeeper::pipeline::prep::PrepOptions;
use ringkeeper::pipeline::{Outcome, Prep, PrepContext, Write};
use ringkeeper::session::SessionTracker;
use ringkeeper::tree::{Create, OwnerOptions, TreeWriter};
use ringkeeper::wire::OpCode;
use ringkeeper::wire::acl::OPEN_ACL_UNSAFE;
use ringkeeper::wire::txn::{Txn, decode_txn};
use support::bodies;
use support::client::Session;
use support::server::{Kind, Server};

/// Replies that fit into the socket's buffers in one go must not leave the input behind them waiting for ever.
#[test]
fn pipelined_large_reads_are_all_answered() {
    let server = Server::start(Kind::Ours, "review-high", "");
    let mut s = Session::open(server.port, 10_000).unwrap();
    s.call(OpCode::Create, &bodies::create_open("/big", &vec![7; 400_000], 0)).unwrap();
    let body = bodies::path_watch(Some(b"/big"), false);
    for _ in 0..40 {
        s.post(OpCode::GetData, &body);
    }
    for n in 0..40 {
        let reply = s.reply();
        assert!(reply.is_ok(), "reply {n} of 40: {:?}", reply.err());
    }
}

/// As `nc -N`, busybox nc, ncat and socat ask: the sending side is closed right after the word.
#[test]
fn a_half_closed_question_is_answered() {
    let server = Server::start(Kind::Ours, "review-half", "4lw.commands.whitelist=*\n");
    for word in ["ruok", "srvr", "mntr"] {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(word.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        assert!(!text.is_empty(), "{word}: no answer");
    }
}

#[test]
fn sessions_close_without_the_close_session_record() {
    let mut server = Server::start(Kind::Ours, "review-close", "closeSessionTxn.enabled=false\n");
    let mut s = Session::open(server.port, 10_000).unwrap();
    s.call(OpCode::Create, &bodies::create_open("/e", b"", 1)).unwrap();
    let closed = s.call(OpCode::CloseSession, b"");
    std::thread::sleep(Duration::from_millis(1500));
    assert!(server.is_running(), "died:\n{}", server.output_tail());
    assert!(closed.is_ok(), "{closed:?}");
}

/// What is logged must be readable: a closeSession that names many ephemerals may be larger than any request.
#[test]
fn a_server_starts_again_after_a_large_close_session() {
    let mut server = Server::start(Kind::Ours, "review-large", "");
    let mut s = Session::open(server.port, 30_000).unwrap();
    let name = "x".repeat(2000);
    for n in 0..1200 {
        s.post(OpCode::Create, &bodies::create_open(&format!("/{n}{name}"), b"", 1));
    }
    for _ in 0..1200 {
        assert_eq!(s.reply().unwrap().header.err, 0);
    }
    s.call(OpCode::CloseSession, b"").unwrap();
    let mut s = Session::open(server.port, 30_000).unwrap();
    s.call(OpCode::Create, &bodies::create_open("/after", b"", 0)).unwrap();
    server.kill();
    server.launch();
    let mut s = Session::open(server.port, 30_000).unwrap();
    let there = s.call(OpCode::Exists, &bodies::path_watch(Some(b"/after"), false)).unwrap();
    assert_eq!(there.header.err, 0, "an acknowledged create is gone");
}

/// One request of any client must not become a record that no restart can read.
#[test]
fn a_server_starts_again_after_an_acl_that_expands() {
    let mut server = Server::start(Kind::Ours, "review-acl", "");
    let mut s = Session::open(server.port, 30_000).unwrap();
    for n in 0..8 {
        let auth = bodies::auth(Some(b"digest"), Some(format!("user{n}:pw").as_bytes()));
        s.call(OpCode::Auth, &auth).unwrap();
    }
    let entries: Vec<_> = (1..20_000).map(|p| bodies::Entry::new(p, "auth", "")).collect();
    let acl = bodies::acl(Some(&entries));
    let body = bodies::create(Some(b"/pill"), Some(b""), &acl, 0, None);
    let reply = s.call(OpCode::Create, &body).unwrap();
    println!("create answered {}", reply.header.err);
    s.call(OpCode::Create, &bodies::create_open("/after", b"", 0)).unwrap();
    server.kill();
    server.launch();
    let mut s = Session::open(server.port, 30_000).unwrap();
    let there = s.call(OpCode::Exists, &bodies::path_watch(Some(b"/after"), false)).unwrap();
    assert_eq!(there.header.err, 0, "an acknowledged create is gone");
}

/// Session 1 deletes its ephemeral, session 2 takes the name, session 1 closes; all before any of it is applied.
#[test]
fn closing_a_session_spares_another_sessions_node_of_the_same_name() {
    let mut tree = TreeWriter::new(OwnerOptions::default());
    tree.begin();
    tree.create(&Create {
        path: b"/lock",
        data: None,
        acl: OPEN_ACL_UNSAFE,
        owner: 1,
        zxid: Zxid(1),
        time: 0,
        parent_cversion: 1,
    })
    .unwrap();
    tree.publish(Zxid(1));
    let mut sessions = SessionTracker::new(2000);
    sessions.create(SessionId(1), 10_000, 0);
    sessions.create(SessionId(2), 10_000, 0);
    let auth = Auth::new(AuthConfig::default());
    let options = PrepOptions {
        digest_enabled: true,
        extended_types: false,
        close_session_txn: true,
        enforce_quota: false,
        reconfig_enabled: false,
        record_bytes_max: 2 << 20,
    };
    let mut prep = Prep::new(options, Zxid(1), tree.digest());
    let identities = Identities::none();
    let mut ask = |session, op: OpCode, body: &[u8]| {
        let mut out = Vec::new();
        let mut cx = PrepContext { tree: &tree, sessions: &mut sessions, auth: &auth, now: 5 };
        let write = Write {
            session: SessionId(session),
            cxid: 1,
            op: op.code(),
            body,
            identities: &identities,
            local: None,
        };
        assert!(matches!(prep.prepare(&mut cx, &write, &mut out), Outcome::Txn(_)));
        out
    };
    ask(1, OpCode::Delete, &bodies::path_int(Some(b"/lock"), -1));
    let created = ask(2, OpCode::Create, &bodies::create_open("/lock", b"", 1));
    assert!(matches!(decode_txn(&created).unwrap().1, Txn::Create(_)));
    let closed = ask(1, OpCode::CloseSession, b"");
    let Txn::CloseSession { paths: Some(paths) } = decode_txn(&closed).unwrap().1 else {
        panic!("a closeSession with its record")
    };
    let paths: Vec<_> = paths.iter().collect();
    assert!(paths.is_empty(), "session 1 takes session 2's /lock with it: {paths:?}");
}
