//! Scripts written by hand: what is asked byte by byte, and what a generator cannot time. Each is a table or a
//! script of inputs with the answer of the reference (client-protocol, section numbers as given); it runs against
//! this server and, when its jars are there, against Apache, so a wrong expectation shows as well.

use std::time::{Duration, Instant};

use ringkeeper::base::prng::Prng;
use ringkeeper::wire::connect::ConnectResponse;
use ringkeeper::wire::{JuteWrite, OpCode};

use super::frames::matches;
use crate::support::bodies::{self, session_password};
use crate::support::client::{Got, Session, Wire};
use crate::support::server::{Kind, Server, available};
use crate::support::{env_number, hex, unhex};

pub const WAIT: Duration = Duration::from_secs(5);

/// Runs a script on a fresh server of every kind there is.
pub fn on_each(name: &str, extra: &str, script: impl Fn(&Server)) {
    for kind in [Kind::Apache, Kind::Ours] {
        if available(kind, name) {
            script(&Server::start(kind, name, extra));
        }
    }
}

/// A handshake frame without its length.
fn connect_frame(
    zxid: i64,
    timeout: i32,
    id: i64,
    passwd: Option<&[u8]>,
    flag: Option<bool>,
) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_int(0);
    out.put_long(zxid);
    out.put_int(timeout);
    out.put_long(id);
    out.put_buffer(passwd);
    if let Some(flag) = flag {
        out.put_bool(flag);
    }
    out
}

/// What a server answers to a first frame: "closed", "rejected N" or "timeout T in N bytes".
fn handshake(port: u16, frame: &[u8]) -> String {
    let mut wire = Wire::connect(port).expect("a connection");
    wire.send_frame(frame);
    match wire.next(WAIT) {
        Got::Frame(bytes) => {
            let answer = ConnectResponse::decode(&bytes).expect("a ConnectResponse");
            if answer.session_id == 0 {
                assert_eq!(answer.passwd, [0; 16], "a rejection carries a zero password");
                assert_eq!(wire.next(WAIT), Got::Closed, "a rejection is followed by the close");
                return format!("rejected {} in {} bytes", answer.timeout_ms, bytes.len());
            }
            assert_eq!(answer.passwd, session_password(answer.session_id), "session password");
            assert_ne!(answer.read_only, Some(true));
            format!("timeout {} in {} bytes", answer.timeout_ms, bytes.len())
        }
        other => format!("{other:?}"),
    }
}

/// Section 4: layouts, clamping and refusals.
#[test]
fn handshake_matrix() {
    on_each("handshake", "", |server| {
        let zero: &[u8] = &[0; 16];
        let new = |timeout| connect_frame(0, timeout, 0, Some(zero), Some(false));
        let rows: &[(&str, Vec<u8>, &str)] = &[
            ("zero timeout", new(0), "timeout 4000 in 37 bytes"),
            ("negative timeout", new(-5), "timeout 4000 in 37 bytes"),
            ("just below the least", new(3999), "timeout 4000 in 37 bytes"),
            ("just above the least", new(4001), "timeout 4001 in 37 bytes"),
            ("just above the most", new(40001), "timeout 40000 in 37 bytes"),
            ("the most an int holds", new(i32::MAX), "timeout 40000 in 37 bytes"),
            (
                "no read-only flag",
                connect_frame(0, 9000, 0, Some(zero), None),
                "timeout 9000 in 36 bytes",
            ),
            (
                "read-only flag set",
                connect_frame(0, 9000, 0, Some(zero), Some(true)),
                "timeout 9000 in 37 bytes",
            ),
            ("null password", connect_frame(0, 9000, 0, None, None), "timeout 9000 in 36 bytes"),
            (
                "long password",
                connect_frame(0, 9000, 0, Some(&[7; 40]), None),
                "timeout 9000 in 36 bytes",
            ),
            (
                "bytes after the record",
                [new(9000), b"more".to_vec()].concat(),
                "timeout 9000 in 37 bytes",
            ),
            ("from the future", connect_frame(1 << 40, 9000, 0, Some(zero), Some(false)), "Closed"),
            (
                "unknown session",
                connect_frame(0, 9000, 0x7777, Some(&session_password(0x7777)), Some(false)),
                "rejected 0 in 37 bytes",
            ),
            (
                "unknown session, no flag",
                connect_frame(0, 9000, 0x7777, Some(&session_password(0x7777)), None),
                "rejected 0 in 36 bytes",
            ),
            ("too short", vec![0; 10], "Closed"),
            ("password past the end", unhex(&format!("{}7fffffff", "00".repeat(24))), "Closed"),
            ("password of length -2", unhex(&format!("{}fffffffe", "00".repeat(24))), "Closed"),
        ];
        for (what, frame, expected) in rows {
            assert_eq!(handshake(server.port, frame), *expected, "{:?}: {what}", server.kind);
        }
    });
}

/// Section 3 and 11: what may come before a handshake besides a handshake.
#[test]
fn first_bytes_of_a_connection() {
    let ruok = "ruok is not executed because it is not in the whitelist.";
    on_each("first-bytes", "", |server| {
        assert!(server.ask("srvr").starts_with("Zookeeper version: "), "{:?}", server.kind);
        assert_eq!(server.ask("ruok").trim_end(), ruok, "{:?}", server.kind);
        let silent: &[&[u8]] =
            &[b"xxxx", b"RUOK", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\x10\0\0", b"GET / HTTP/1.1"];
        for bytes in silent {
            let mut wire = Wire::connect(server.port).expect("a connection");
            wire.send(bytes);
            let end = wire.read_to_close(WAIT);
            assert_eq!(end, (Vec::new(), true), "{:?}: {}", server.kind, bytes.escape_ascii());
        }
        // In pieces, as slow networks deliver them.
        let mut wire = Wire::connect(server.port).expect("a connection");
        for byte in b"ruok" {
            wire.send(&[*byte]);
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(wire.read_to_close(WAIT).0.starts_with(ruok.as_bytes()), "{:?}", server.kind);
        // After the handshake the words are lengths.
        let mut session = Session::open(server.port, 9000).expect("a session");
        session.wire.send(b"srvr");
        assert_eq!(session.wire.read_to_close(WAIT), (Vec::new(), true), "{:?}", server.kind);
    });
    on_each("words", "4lw.commands.whitelist=*\n", |server| {
        for (word, start) in [
            ("ruok", "imok"),
            ("isro", "rw"),
            ("conf", "clientPort="),
            ("envi", "Environment:"),
            ("wchs", "0 connections watching"),
            ("dirs", "datadir_size"),
            ("mntr", "zk_version\t"),
            ("stat", "Zookeeper version: "),
            ("gtmk", ""),
        ] {
            let answer = server.ask(word);
            assert!(answer.starts_with(start), "{:?}: {word}: {answer}", server.kind);
        }
    });
}

/// Section 11: an undecodable body is answered, and the connection lives on.
#[test]
fn malformed_bodies() {
    on_each("malformed", "", |server| {
        let mut session = Session::open(server.port, 9000).expect("a session");
        let null = bodies::path_only(None);
        let rows: &[(&str, OpCode, Vec<u8>, i32)] = &[
            ("create without a body", OpCode::Create, Vec::new(), -5),
            ("getData cut short", OpCode::GetData, b"\0\0\0\x02/".to_vec(), -5),
            ("path of length -2", OpCode::Exists, b"\xff\xff\xff\xfe\0".to_vec(), -5),
            ("huge path", OpCode::GetChildren, b"\x7f\xff\xff\xff\0".to_vec(), -5),
            ("null path, delete", OpCode::Delete, bodies::path_int(None, -1), -5),
            ("null path, getData", OpCode::GetData, bodies::path_watch(None, false), -5),
            ("null path, setData", OpCode::SetData, bodies::set_data(None, None, -1), -8),
            (
                "null path, setACL",
                OpCode::SetAcl,
                bodies::set_acl(None, &bodies::open_acl(), -1),
                -8,
            ),
            ("null path, getACL", OpCode::GetAcl, null.clone(), -5),
            ("null path, sync", OpCode::Sync, null.clone(), 0),
            ("null path, getEphemerals", OpCode::GetEphemerals, null, 0),
            ("null path, addWatch", OpCode::AddWatch, bodies::path_int(None, 0), 0),
            ("unknown watch mode", OpCode::AddWatch, bodies::path_int(Some(b"/"), 7), -5),
            ("unknown watch type", OpCode::RemoveWatches, bodies::path_int(Some(b"/"), 9), -5),
        ];
        for (what, op, body, err) in rows {
            let reply = session.call(*op, body).expect(what);
            assert_eq!(reply.header.err, *err, "{:?}: {what}", server.kind);
        }
        // Undecodable writes of a standalone server take no zxid: only delete, setData and setACL did.
        let reply = session.call(OpCode::Ping, &[]).expect("a ping");
        assert_eq!(reply.header.zxid.0, 4, "{:?}: zxids used", server.kind);
    });
}

/// Sections 4.3, 11 and 12: which connection is closed when a session is attached again.
#[test]
fn attaching_again() {
    on_each("attach", "", |server| {
        let mut first = Session::open(server.port, 9000).expect("a session");
        let mut second =
            Session::attach(server.port, 9000, first.id, &first.passwd).expect("the session again");
        assert_eq!(first.wire.next(WAIT), Got::Closed, "{:?}: the older connection", server.kind);
        // A wrong password is refused, after the connection in use has been closed.
        let wrong = Session::attach(server.port, 9000, first.id, &[1; 16]);
        assert!(wrong.is_err(), "{:?}: a wrong password", server.kind);
        assert_eq!(second.wire.next(WAIT), Got::Closed, "{:?}: the victim", server.kind);
        let mut third =
            Session::attach(server.port, 9000, first.id, &first.passwd).expect("once more");
        let reply = third.call(OpCode::CloseSession, &[]).expect("closeSession");
        assert_eq!(reply.header.err, 0);
        assert_eq!(third.wire.next(WAIT), Got::Closed, "{:?}: after closeSession", server.kind);
        let gone = Session::attach(server.port, 9000, first.id, &first.passwd);
        assert!(gone.is_err(), "{:?}: a closed session", server.kind);
    });
}

/// Sections 11 and 12: a silent session ends between its timeout and a tick later; its ephemerals go with it,
/// and whoever watches is told.
#[test]
fn expiry() {
    on_each("expiry", "", |server| {
        let mut watcher = Session::open(server.port, 30_000).expect("a session");
        let mut idle = Session::open(server.port, 4000).expect("a session");
        let reply = idle.call(OpCode::Create, &bodies::create_open("/e", b"", 1)).expect("create");
        assert_eq!(reply.header.err, 0);
        let start = Instant::now();
        let exists = bodies::path_watch(Some(b"/e"), true);
        assert_eq!(watcher.call(OpCode::Exists, &exists).expect("exists").header.err, 0);
        let end = idle.wire.next(Duration::from_secs(12));
        let waited = start.elapsed();
        assert_eq!(end, Got::Closed, "{:?}", server.kind);
        let range = Duration::from_millis(3900)..Duration::from_millis(7500);
        assert!(range.contains(&waited), "{:?}: closed after {waited:?}", server.kind);
        let Got::Frame(event) = watcher.wire.next(WAIT) else {
            panic!("{:?}: no event", server.kind);
        };
        let deleted = "ffffffff ................ 00000000 00000002 00000003 00000002 2f65";
        assert!(matches(deleted, &event), "{:?}: {}", server.kind, hex(&event));
        let again = Session::attach(server.port, 4000, idle.id, &idle.passwd);
        assert!(again.is_err(), "{:?}: an expired session is rejected", server.kind);
    });
}

/// The connection from outside, as a fuzzer sees it: right frames, wrong frames and noise in any order, cut into
/// pieces of any size, on many connections, some of them left half way. Afterwards the server serves as before.
#[test]
fn noise_harms_nobody_else() {
    let name = "noise";
    let kind = crate::subject();
    if !available(kind, name) {
        return;
    }
    let seed = env_number("RINGKEEPER_NOISE_SEED", 11);
    let mut server = Server::start(kind, name, "");
    let mut witness = Session::open(server.port, 30_000).expect("a session");
    let body = bodies::create_open("/witness", b"here", 1);
    assert_eq!(witness.call(OpCode::Create, &body).expect("create").header.err, 0);
    let mut rng = Prng::new(seed);
    let mut left = Vec::new();
    for round in 0..env_number("RINGKEEPER_NOISE_ROUNDS", 400) {
        let mut bytes = Vec::new();
        if rng.chance(4, 5) {
            bytes.put_buffer(Some(&connect_frame(0, 9000, 0, Some(&[0; 16]), Some(false))));
        }
        for _ in 0..rng.below(6) {
            noise(&mut rng, &mut bytes);
        }
        let mut wire = Wire::connect(server.port).expect("a connection");
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let piece = 1 + rng.below(rest.len() as u64) as usize;
            wire.send(&rest[..piece]);
            rest = &rest[piece..];
        }
        if rng.chance(1, 4) {
            left.push(wire);
        }
        if round % 50 == 0 {
            assert_eq!(witness.call(OpCode::Ping, &[]).expect("a ping").header.err, 0);
        }
    }
    let get = bodies::path_watch(Some(b"/witness"), false);
    let reply = witness.call(OpCode::GetData, &get).expect("getData");
    assert_eq!((reply.header.err, &reply.body[..8]), (0, &b"\0\0\0\x04here"[..]), "seed {seed}");
    assert!(Session::open(server.port, 9000).is_ok(), "seed {seed}: new sessions are welcome");
    assert!(server.is_running());
}

/// A frame that is right, spoiled, or no frame at all. createTTL is left out: spoiled, it may be what kills the
/// reference.
fn noise(rng: &mut Prng, out: &mut Vec<u8>) {
    let ops =
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 14, 17, 18, 22, 100, 101, 102, 103, 104, 105, 106];
    let bodies: [Vec<u8>; 5] = [
        bodies::path_watch(Some(b"/noise"), true),
        bodies::create_open("/noise", b"data", 2),
        bodies::multi(&[(2, bodies::path_int(Some(b"/noise"), -1))]),
        bodies::auth(Some(b"digest"), Some(b"u:p")),
        Vec::new(),
    ];
    let mut frame = Vec::new();
    frame.put_int(rng.next_u64() as i32);
    frame.put_int(ops[rng.below(ops.len() as u64) as usize]);
    frame.extend_from_slice(&bodies[rng.below(5) as usize]);
    // Not the operation: see above.
    for _ in 0..rng.below(3) {
        let at = rng.below(frame.len() as u64) as usize;
        if !(4..8).contains(&at) {
            frame[at] = rng.next_u64() as u8;
        }
    }
    match rng.below(10) {
        0 => out.extend((0..rng.below(40)).map(|_| rng.next_u64() as u8)),
        1 => out.extend_from_slice(&frame),
        _ => out.put_buffer(Some(&frame)),
    }
}

/// Java has U+FFFD for malformed UTF-8 from the moment it reads a path: watches on such paths are one.
#[test]
fn watches_on_malformed_paths_are_one() {
    on_each("malformed-watches", "", |server| {
        let mut session = Session::open(server.port, 9000).expect("a session");
        let script: [(OpCode, &[u8], i32, i32); 6] = [
            (OpCode::AddWatch, b"/\xef\xbf\xbd", 0, 0),
            (OpCode::CheckWatches, b"/\xff", 3, 0),
            (OpCode::RemoveWatches, b"/\xfe", 3, 0),
            (OpCode::CheckWatches, b"/\xef\xbf\xbd", 3, -121),
            (OpCode::AddWatch, b"/\xff", 1, 0),
            (OpCode::RemoveWatches, b"/\xef\xbf\xbd", 3, 0),
        ];
        for (op, path, mode, expected) in script {
            let reply = session.call(op, &bodies::path_int(Some(path), mode)).expect("an answer");
            assert_eq!(reply.header.err, expected, "{:?}: {op:?}", server.kind);
        }
    });
}

/// Rows of the table of differences that can be asked for: this server alone.
#[test]
fn our_own_answers() {
    let name = "own-answers";
    if !available(Kind::Ours, name) {
        return;
    }
    let server = Server::start(Kind::Ours, name, "extendedTypesEnabled=true\n");
    let open = || Session::open(server.port, 9000).expect("a session");
    let mut session = open();
    let acl = bodies::open_acl();
    let ttl = bodies::create(Some(b"/t"), None, &acl, 0, Some(-1));
    assert_eq!(session.call(OpCode::CreateTtl, &ttl).expect("createTTL").header.err, -8);
    let limits = bodies::create_open("/zookeeper/quota/zookeeper_limits", b"count=1", 0);
    assert_eq!(session.call(OpCode::Create, &limits).expect("create").header.err, 0);
    let limits = bodies::create_open("/zookeeper/zookeeper_limits", b"count=1", 0);
    assert_eq!(session.call(OpCode::Create, &limits).expect("create").header.err, 0);
    let limits = bodies::path_int(Some(b"/zookeeper/zookeeper_limits"), -1);
    assert_eq!(session.call(OpCode::Delete, &limits).expect("delete").header.err, 0);
    for op in [OpCode::DeleteContainer, OpCode::CreateSession, OpCode::Check] {
        let mut session = open();
        let reply = session.call(op, &bodies::path_int(Some(b"/t"), 4000)).expect("an answer");
        assert_eq!((reply.header.err, reply.header.zxid.0), (-6, -1), "{op:?}");
        assert_eq!(session.wire.next(WAIT), Got::Closed, "{op:?}");
    }
}

/// A null path is a key of its own among watches, apart from the empty one; where a node is looked up it is no path at
/// all, and ends what it is in.
#[test]
fn null_paths_are_not_empty_ones() {
    on_each("null-paths", "", |server| {
        let mut session = Session::open(server.port, 9000).expect("a session");
        let (null, empty) = (None, Some(&b""[..]));
        let rows: &[(OpCode, Option<&[u8]>, i32, i32)] = &[
            (OpCode::AddWatch, empty, 0, 0),
            (OpCode::CheckWatches, null, 3, -121),
            (OpCode::RemoveWatches, null, 3, -121),
            (OpCode::AddWatch, null, 1, 0),
            (OpCode::RemoveWatches, empty, 3, 0),
            (OpCode::CheckWatches, empty, 3, -121),
            (OpCode::CheckWatches, null, 5, 0),
            (OpCode::CheckWatches, null, 4, -121),
            (OpCode::RemoveWatches, null, 3, 0),
            (OpCode::RemoveWatches, null, 3, -121),
        ];
        for (n, (op, path, mode, expected)) in rows.iter().enumerate() {
            let reply = session.call(*op, &bodies::path_int(*path, *mode)).expect("an answer");
            assert_eq!(reply.header.err, *expected, "{:?}: line {n}: {op:?}", server.kind);
        }
        type Lists<'a> = [&'a [Option<&'a [u8]>]; 5];
        let lists = |lists: Lists<'_>| {
            let mut out = Vec::new();
            out.put_long(1 << 40);
            for list in lists {
                out.put_int(list.len() as i32);
                list.iter().for_each(|path| out.put_buffer(*path));
            }
            out
        };
        let root = Some(&b"/"[..]);
        let rows: &[(Lists<'_>, i32)] = &[
            ([&[], &[], &[], &[null], &[]], 0),
            ([&[], &[], &[], &[], &[null]], 0),
            ([&[null], &[], &[], &[], &[]], -5),
            ([&[], &[null], &[], &[], &[]], -5),
            ([&[root], &[], &[null], &[empty], &[]], -5),
        ];
        for (n, (body, expected)) in rows.iter().enumerate() {
            let reply = session.call(OpCode::SetWatches2, &lists(*body)).expect("an answer");
            assert_eq!(reply.header.err, *expected, "{:?}: lists {n}", server.kind);
        }
        // What came before the null one is there, what came behind it is not.
        let rows: &[(Option<&[u8]>, i32, i32)] =
            &[(root, 2, 0), (empty, 3, -121), (null, 4, 0), (null, 5, 0)];
        for (path, kind, expected) in rows {
            let body = bodies::path_int(*path, *kind);
            let reply = session.call(OpCode::CheckWatches, &body).expect("an answer");
            assert_eq!(reply.header.err, *expected, "{:?}: {path:?} {kind}", server.kind);
        }
        for op in [OpCode::GetAllChildrenNumber, OpCode::GetAcl] {
            let reply = session.call(op, &bodies::path_only(null)).expect("an answer");
            assert_eq!(reply.header.err, -5, "{:?}: {op:?}", server.kind);
        }
        let body = bodies::path_watch(null, true);
        let ops = [OpCode::Exists, OpCode::GetData, OpCode::GetChildren, OpCode::GetChildren2];
        for op in ops {
            let reply = session.call(op, &body).expect("an answer");
            assert_eq!(reply.header.err, -5, "{:?}: {op:?}", server.kind);
        }
    });
}

/// A quota is compared with the use that is applied; what a setData takes off it is the length that is outstanding.
/// Inside a multi nothing is applied in between, so both can be told apart.
#[test]
fn quotas_know_what_is_outstanding() {
    on_each("outstanding-quota", "enforceQuota=true\n", |server| {
        let mut session = Session::open(server.port, 9000).expect("a session");
        let mut ask = |op, body: Vec<u8>| session.call(op, &body).expect("an answer");
        let create = |path: &str, data: &[u8]| bodies::create_open(path, data, 0);
        let limits = b"count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=-1";
        let stats = "/zookeeper/quota/q/zookeeper_stats";
        for (path, data) in [
            ("/q", &b"12345"[..]),
            ("/zookeeper/quota/q", b""),
            ("/zookeeper/quota/q/zookeeper_limits", limits),
            (stats, b""),
        ] {
            assert_eq!(ask(OpCode::Create, create(path, data)).header.err, 0, "{path}");
        }
        let set = |path: &str, bytes: usize| {
            (5, bodies::set_data(Some(path.as_bytes()), Some(&vec![b'x'; bytes]), -1))
        };
        type Ops = Vec<(i32, Vec<u8>)>;
        let rows: [(Ops, bool, &str); 5] = [
            // 5 used: 5 + (10 - 5), then 5 + (15 - 10): by what is applied the second would be 15.
            (vec![set("/q", 10), set("/q", 15)], true, "the outstanding length goes"),
            // 15 used: 15 + (1 - 15), then 15 + (12 - 1).
            (vec![set("/q", 1), set("/q", 12)], false, "it is shorter than what is applied"),
            (vec![set("/q", 1)], true, "back"),
            // 1 used: 1 + 6, then 1 + (10 - 6).
            (vec![(1, create("/q/c", b"123456")), set("/q/c", 10)], true, "made just now"),
            // 11 used: 11 + (9 - 10), then 11 + (1 - 1).
            (vec![set("/q/c", 9), set("/q", 1)], true, "a difference of nothing"),
        ];
        for (ops, works, what) in rows {
            let reply = ask(OpCode::Multi, bodies::multi(&ops));
            // The header of the first result: its type is -1 in a multi that failed.
            let first = i32::from_be_bytes(*reply.body.first_chunk().expect("a header"));
            assert_eq!(first != -1, works, "{:?}: {what}", server.kind);
        }
        let reply = ask(OpCode::GetData, bodies::path_watch(Some(stats.as_bytes()), false));
        let text = &reply.body[4..];
        assert!(text.starts_with(b"count=2,bytes=10"), "{:?}: {text:?}", server.kind);
    });
}
