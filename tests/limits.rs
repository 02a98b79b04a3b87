//! Limits on clients (reference: client-protocol 16), seen from outside, on this server and, when its jars are there,
//! on Apache.

mod support;

use std::fs;
use std::time::Duration;

use ringkeeper::wire::OpCode;

use support::bodies;
use support::client::{Got, Session};
use support::server::{Kind, Server, available, free_port};

const TIMEOUT_MS: i32 = 40_000;
const WORDS: &str = "4lw.commands.whitelist=*\n";

fn on_each(name: &str, extra: &str, script: impl Fn(&Server)) {
    for kind in [Kind::Apache, Kind::Ours] {
        if available(kind, name) {
            script(&Server::start(kind, name, &format!("{WORDS}{extra}")));
        }
    }
}

fn counted(server: &Server, key: &str) -> f64 {
    let text = server.ask("mntr");
    let line = text.lines().find_map(|line| line.strip_prefix("zk_")?.strip_prefix(key));
    let value = line.and_then(|line| line.strip_prefix('\t')).unwrap_or_else(|| panic!("no {key}"));
    value.parse().expect("a number")
}

fn create(session: &mut Session, path: &str, bytes: usize) -> Option<i32> {
    let body = bodies::create_open(path, &vec![7; bytes], 0);
    session.call(OpCode::Create, &body).ok().map(|reply| reply.header.err)
}

#[test]
fn connections_beyond_their_tokens_are_turned_away() {
    let config = "connection_throttle_tokens=5\nconnection_throttle_fill_time=3600000\n\
                  connection_throttle_weight_enabled=true\n";
    on_each("connection-throttle", config, |server| {
        // Fifteen tokens: four new sessions take twelve, a resumed one two more, and one is left.
        let sessions = [(); 4].map(|()| Session::open(server.port, TIMEOUT_MS));
        let sessions = sessions.map(|session| session.expect("a session"));
        let (id, passwd) = (sessions[0].id, sessions[0].passwd);
        let resumed = Session::attach(server.port, TIMEOUT_MS, id, &passwd);
        let mut resumed = resumed.expect("there was a token for it");
        let again = Session::attach(server.port, TIMEOUT_MS, id, &passwd);
        assert!(again.is_err(), "{:?}: one token is not enough", server.kind);
        assert!(Session::open(server.port, TIMEOUT_MS).is_err(), "{:?}", server.kind);
        assert_eq!(create(&mut resumed, "/a", 1), Some(0), "{:?}: the others live on", server.kind);
        assert_eq!(counted(server, "connection_rejected"), 2.0, "{:?}", server.kind);
        assert_eq!(counted(server, "connection_request_count"), 5.0, "{:?}", server.kind);
        assert_eq!(counted(server, "max_connection_token_deficit"), 14.0, "{:?}", server.kind);
        assert_eq!(counted(server, "connection_drop_probability"), 0.0, "{:?}", server.kind);
    });
}

#[test]
fn the_chance_to_be_turned_away_grows_with_the_load() {
    let config = "connection_throttle_tokens=1\nconnection_throttle_fill_time=3600000\n\
                  connection_throttle_freeze_time=0\nconnection_throttle_drop_increase=1\n";
    on_each("blue-throttle", config, |server| {
        let session = Session::open(server.port, TIMEOUT_MS).expect("a session");
        // The next one finds no token, and makes it certain.
        while counted(server, "connection_drop_probability") == 0.0 {
            assert!(Session::open(server.port, TIMEOUT_MS).is_err(), "{:?}", server.kind);
        }
        assert_eq!(counted(server, "connection_drop_probability"), 1.0, "{:?}", server.kind);
        drop(session);
    });
}

#[test]
fn large_requests_beyond_their_bytes_close_the_connection() {
    let config = "largeRequestThreshold=1000\nlargeRequestMaxBytes=5000\n";
    on_each("large-requests", config, |server| {
        let mut session = Session::open(server.port, TIMEOUT_MS).expect("a session");
        assert_eq!(create(&mut session, "/small", 900), Some(0), "{:?}", server.kind);
        for path in ["/a", "/b", "/c"] {
            assert_eq!(create(&mut session, path, 3000), Some(0), "{:?}: {path}", server.kind);
        }
        assert_eq!(counted(server, "large_requests_rejected"), 0.0, "{:?}", server.kind);
        assert_eq!(create(&mut session, "/too-large", 6000), None, "{:?}", server.kind);
        assert_eq!(counted(server, "large_requests_rejected"), 1.0, "{:?}", server.kind);
        let mut session = Session::open(server.port, TIMEOUT_MS).expect("a session");
        let exists = bodies::path_watch(Some(b"/too-large"), false);
        let reply = session.call(OpCode::Exists, &exists).expect("an answer");
        assert_eq!(reply.header.err, -101, "{:?}: it was not carried out", server.kind);
        assert_eq!(create(&mut session, "/later", 3000), Some(0), "{:?}", server.kind);
    });
}

/// Whatever waits for the throttler is answered in the end, and in order.
#[test]
fn throttled_requests_are_answered_all_the_same() {
    on_each("throttler", "request_throttle_max_requests=1\n", |server| {
        let mut sessions =
            [(); 3].map(|()| Session::open(server.port, TIMEOUT_MS).expect("a session"));
        let mut sent = Vec::new();
        for n in 0..60 {
            for (of, session) in sessions.iter_mut().enumerate() {
                let xid = match n % 3 {
                    2 => session.post(OpCode::Exists, &bodies::path_watch(Some(b"/"), false)),
                    _ => {
                        let body = bodies::create_open(&format!("/{of}-{n}"), b"", 0);
                        session.post(OpCode::Create, &body)
                    }
                };
                sent.push((of, xid));
            }
        }
        for (of, xid) in sent {
            let reply = sessions[of].reply().expect("an answer");
            assert_eq!((reply.header.xid, reply.header.err), (xid, 0), "{:?}", server.kind);
        }
        assert!(counted(server, "request_throttle_wait_count") > 0.0, "{:?}", server.kind);
    });
}

/// Who waits longer than an operation may is told so, in its turn, and nothing of it is carried out.
#[test]
fn operations_that_wait_too_long_are_refused() {
    let config = "request_throttle_max_requests=1\nthrottled_op_wait_time=1\n";
    on_each("throttled-ops", config, |server| {
        let mut session = Session::open(server.port, TIMEOUT_MS).expect("a session");
        let mut refused = Vec::new();
        for round in 0..50 {
            let path = |n| format!("/{round}-{n}");
            let create = |n| bodies::create_open(&path(n), &[7; 1000], 0);
            let posted: Vec<i32> =
                (0..200).map(|n| session.post(OpCode::Create, &create(n))).collect();
            for (n, xid) in posted.into_iter().enumerate() {
                let reply = session.reply().expect("an answer");
                assert_eq!(reply.header.xid, xid, "{:?}", server.kind);
                match reply.header.err {
                    0 => {}
                    -127 => refused.push(path(n)),
                    err => panic!("{:?}: error {err}", server.kind),
                }
            }
            if !refused.is_empty() {
                break;
            }
        }
        assert!(!refused.is_empty(), "{:?}: nobody waited a millisecond", server.kind);
        assert!(counted(server, "throttled_ops") >= refused.len() as f64, "{:?}", server.kind);
        for path in refused {
            let exists = bodies::path_watch(Some(path.as_bytes()), false);
            // One at a time nobody waits, or not for long; asked again until it is let through.
            let err = loop {
                let reply = session.call(OpCode::Exists, &exists).expect("an answer");
                if reply.header.err != -127 {
                    break reply.header.err;
                }
            };
            assert_eq!(err, -101, "{:?}: {path} was refused and is there", server.kind);
        }
    });
}

/// An ensemble of one leads itself; what its ACLs do not allow is refused before it takes a zxid.
#[test]
fn eager_acls_refuse_without_a_zxid() {
    for kind in [Kind::Apache, Kind::Ours] {
        if !available(kind, "eager-acl") {
            continue;
        }
        let (quorum, election) = (free_port(), free_port());
        let config = format!(
            "{WORDS}standaloneEnabled=false\ninitLimit=10\nsyncLimit=5\nenableEagerACLCheck=true\n\
             server.1=127.0.0.1:{quorum}:{election}\n"
        );
        let mut server = Server::prepare(kind, "eager-acl", &config);
        fs::create_dir_all(server.dir.join("data")).expect("a directory");
        fs::write(server.dir.join("data/myid"), "1\n").expect("myid");
        server.launch_as("Mode: leader");
        let mut session = Session::open(server.port, TIMEOUT_MS).expect("a session");
        let read_only = bodies::acl(Some(&[bodies::Entry::new(1, "world", "anyone")]));
        let node = bodies::create(Some(b"/a"), None, &read_only, 0, None);
        let created = session.call(OpCode::Create, &node).expect("an answer").header;
        assert_eq!(created.err, 0, "{kind:?}");
        let set = bodies::set_data(Some(b"/a"), Some(b"x"), -1);
        let rows: [(OpCode, Vec<u8>, i32, i64); 5] = [
            (OpCode::SetData, set, -102, 0),
            (OpCode::Create, bodies::create_open("/a/b", b"", 0), -102, 0),
            (OpCode::Delete, bodies::path_int(Some(b"/a/b"), -1), -102, 0),
            (OpCode::SetAcl, bodies::set_acl(Some(b"/a"), &bodies::open_acl(), -1), -102, 0),
            // What is not there is the leader's to refuse, with a zxid.
            (OpCode::Delete, bodies::path_int(Some(b"/b"), -1), -101, created.zxid.0 + 1),
        ];
        for (op, body, err, zxid) in rows {
            let header = session.call(op, &body).expect("an answer").header;
            assert_eq!((header.err, header.zxid.0), (err, zxid), "{kind:?}: {op:?}");
        }
        assert_eq!(session.wire.next(Duration::from_millis(10)), Got::Silent, "{kind:?}");
    }
}

/// What has no meaning here, or would have none in Apache either, is said once at the start.
#[test]
fn settings_without_an_effect_get_one_line_each() {
    if !available(Kind::Ours, "limits") {
        return;
    }
    let server = |extra: &str| Server::start(Kind::Ours, "no-effect", extra).output();
    let quiet = server("request_throttle_max_requests=9\nthrottled_op_wait_time=5\n");
    assert!(!quiet.contains("throttle"), "{quiet}");
    let alone = server("throttled_op_wait_time=5\nenableEagerACLCheck=true\n");
    let throttled = server(
        "request_throttle_max_requests=9\nrequest_throttle_stall_time=5\n\
         request_throttle_drop_stale=false\nrequest_stale_connection_check=false\n",
    );
    for (output, key) in [
        (&alone, "throttled_op_wait_time"),
        (&alone, "enableEagerACLCheck"),
        (&throttled, "request_throttle_stall_time"),
        (&throttled, "request_throttle_drop_stale=false"),
        (&throttled, "request_stale_connection_check=false"),
    ] {
        let lines = output.lines().filter(|line| line.contains(&format!("{key} is set and")));
        assert_eq!(lines.count(), 1, "{key}:\n{output}");
    }
}
