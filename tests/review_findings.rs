//! Failing scenarios found by reading: each test names what a client may rely on.
mod support;

use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringkeeper::auth::{Auth, AuthConfig, Identities};
use ringkeeper::base::{SessionId, Zxid};
use ringkeeper::pipeline::messages::{ToShard, ToZab};
use ringkeeper::pipeline::prep::PrepOptions;
use ringkeeper::pipeline::{CommitBatch, ConnToken, Item};
use ringkeeper::pipeline::{Mailbox, Outcome, Prep, PrepContext, Wake, Write};
use ringkeeper::session::SessionTracker;
use ringkeeper::shard::{Admission, Links, Shard, ShardCounters, ShardOptions};
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

struct NoWake;
impl Wake for NoWake {
    fn wake(&self) {}
}

struct NoCommands;
impl ringkeeper::shard::CommandHandler for NoCommands {
    fn reads_mask(&self, _: ringkeeper::wire::four_letter::FourLetterWord) -> bool {
        false
    }
    fn start(
        &self,
        _: ringkeeper::wire::four_letter::FourLetterWord,
        _: Option<[u8; 8]>,
    ) -> Box<dyn ringkeeper::shard::PendingAnswer> {
        unreachable!()
    }
}

/// A client core without a runtime, and its two mailboxes in the hands of the test.
fn lone_shard(
    to_zab: Arc<Mailbox<ToZab>>,
    mailbox: Arc<Mailbox<ToShard>>,
    epoch: Instant,
) -> Shard {
    let links = Links {
        tree: TreeWriter::new(OwnerOptions::default()).tree().clone(),
        auth: Arc::new(Auth::new(AuthConfig::default())),
        to_zab,
        mailbox,
        admission: Arc::new(Admission::default()),
        commands: Arc::new(NoCommands),
        counters: Arc::new(ShardCounters::default()),
        epoch,
    };
    let options = ShardOptions {
        max_frame_bytes: 1 << 20,
        session_timeout_ms_min: 4000,
        session_timeout_ms_max: 40_000,
        outstanding_limit: 1000,
        max_client_cnxns: 0,
        max_cnxns: 0,
        sessionless_timeout_ms: 10_000,
        tcp_keepalive: false,
        out_bytes_high: 1 << 20,
        out_bytes_max: 64 << 20,
        read_chunk_bytes: 64 << 10,
        throttle: None,
        eager_acl: false,
    };
    Shard::new(0, options, links)
}

/// A ping behind a write that a slow disk holds up is a sign of life all the same.
#[test]
fn pings_behind_a_slow_write_keep_the_session() {
    let to_zab = Arc::new(Mailbox::<ToZab>::new(64, Box::new(NoWake)));
    let mailbox = Arc::new(Mailbox::<ToShard>::new(64, Box::new(NoWake)));
    let epoch = Instant::now();
    let mut shard = lone_shard(to_zab.clone(), mailbox.clone(), epoch);
    shard.set_now(epoch);
    let conn = shard.add_conn("127.0.0.1:1".parse().unwrap());
    let mut hello = vec![0, 0, 0, 45];
    hello.extend_from_slice(&[0; 12]);
    hello.extend_from_slice(&4000i32.to_be_bytes());
    hello.extend_from_slice(&[0; 8]);
    hello.extend_from_slice(&16i32.to_be_bytes());
    hello.extend_from_slice(&[0; 17]);
    shard.on_bytes(conn, &hello);
    let items = vec![Item::SessionReady {
        conn: ConnToken { shard: 0, conn },
        session: SessionId(9),
        timeout_ms: 4000,
        passwd: [0; 16],
    }];
    let batch = CommitBatch { items, ..CommitBatch::default() };
    mailbox.push(ToShard::Committed(Arc::new(batch))).unwrap();
    shard.on_mailbox();
    shard.end_turn();
    let mut write = Vec::new();
    let body = bodies::create_open("/a", b"", 0);
    write.extend_from_slice(&(8 + body.len() as i32).to_be_bytes());
    write.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
    write.extend_from_slice(&body);
    shard.on_bytes(conn, &write);
    shard.end_turn();
    shard.flush_touches();
    while to_zab.pop().is_some() {}
    // The flush hangs; the client pings every third of its timeout.
    let mut heard = Vec::new();
    for ms in [1300u64, 2600, 3900, 5200] {
        shard.set_now(epoch + Duration::from_millis(ms));
        shard.on_bytes(conn, &[0, 0, 0, 8, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 11]);
        shard.end_turn();
        shard.flush_touches();
        while let Some(message) = to_zab.pop() {
            if let ToZab::Touches(touches) = message {
                heard.extend(touches.iter().map(|touch| touch.at));
            }
        }
    }
    assert_eq!(heard.len(), 4, "touches heard at {heard:?}");
}
