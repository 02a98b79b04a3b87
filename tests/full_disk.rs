//! A disk that fills: a small file system of its own, mounted for the test. Before it is full it is announced, and
//! writers are refused while everything else goes on, until there is room again. Without a reserve the server ends
//! with an exit status of its own; nothing acknowledged is lost, and no room is needed to start again.
//!
//! Needs root, `mkfs.ext4` and a loop device; without them it says so and does nothing.

mod support;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ringkeeper::wire::{OpCode, Reader};

use support::bodies;
use support::client::Session;
use support::disk::Disk;
use support::server::{Kind, Server, available};

const IMAGE_BYTES: u64 = 160 << 20;
/// What is freed later on.
const BALLAST_BYTES: usize = 40 << 20;
const VALUE_BYTES: usize = 200_000;
const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT_MS: i32 = 40_000;

fn value(n: usize) -> Vec<u8> {
    // Not compressible by any file system.
    let mut state = n as u64 * 2 + 1;
    let mut bytes = Vec::with_capacity(VALUE_BYTES);
    while bytes.len() < VALUE_BYTES {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes
}

fn holds(session: &mut Session, n: usize) -> bool {
    let body = bodies::path_watch(Some(format!("/n{n}").as_bytes()), false);
    let reply = session.call(OpCode::GetData, &body).expect("getData");
    reply.header.err == 0
        && Reader::new(&reply.body).buffer().is_ok_and(|data| data == Some(&value(n)[..]))
}

fn exit_code(server: &mut Server) -> Option<i32> {
    let deadline = Instant::now() + PATIENCE;
    while server.is_running() {
        assert!(Instant::now() < deadline, "it goes on:\n{}", server.output_tail());
        std::thread::sleep(Duration::from_millis(20));
    }
    server.take_exit_code()
}

/// Writes until the server has gone; returns how many were acknowledged.
fn write_until_broken(server: &Server, first: usize) -> usize {
    let mut session = Session::open(server.port, TIMEOUT_MS).expect("a session");
    let mut n = first;
    loop {
        let body = bodies::create_open(&format!("/n{n}"), &value(n), 0);
        match session.call(OpCode::Create, &body) {
            Ok(reply) => assert_eq!(reply.header.err, 0, "/n{n}"),
            Err(_) => return n,
        }
        n += 1;
    }
}

/// A server whose data is on a disk of its own, part of which is taken already. `None` when there cannot be one here.
fn on_a_small_disk(name: &str, extra: &str) -> Option<(Server, Disk, PathBuf)> {
    if !available(Kind::Ours, name) {
        return None;
    }
    let config = format!("preAllocSize=8192\nsnapCount=100000\n{extra}");
    let mut server = Server::prepare(Kind::Ours, name, &config);
    let disk = match Disk::make(&server.dir.join("data"), &server.dir.join("image"), IMAGE_BYTES) {
        Ok(disk) => disk,
        Err(why) => {
            support::skipped(name, &why);
            return None;
        }
    };
    let ballast = disk.at.join("ballast");
    fs::write(&ballast, vec![1; BALLAST_BYTES]).expect("a large file");
    server.launch();
    Some((server, disk, ballast))
}

fn create(session: &mut Session, path: &str, data: &[u8], flags: i32) -> i32 {
    let body = bodies::create_open(path, data, flags);
    session.call(OpCode::Create, &body).expect("an answer").header.err
}

fn exists(session: &mut Session, path: &str) -> bool {
    let body = bodies::path_watch(Some(path.as_bytes()), false);
    session.call(OpCode::Exists, &body).expect("an answer").header.err == 0
}

#[test]
fn a_disk_that_fills_refuses_writers_until_there_is_room() {
    let Some((mut server, disk, ballast)) = on_a_small_disk("filling-disk", "") else { return };
    let mut session = Session::open(server.port, TIMEOUT_MS).expect("a session");
    let mut owner = Session::open(server.port, TIMEOUT_MS).expect("a session");
    let mut idle = Session::open(server.port, 4000).expect("a session");
    assert_eq!(create(&mut owner, "/owned", b"", 1), 0);
    assert_eq!(create(&mut idle, "/idle", b"", 1), 0);
    let mut acknowledged = 0;
    let refused = loop {
        match create(&mut session, &format!("/n{acknowledged}"), &value(acknowledged), 0) {
            0 => acknowledged += 1,
            err => break err,
        }
    };
    assert_eq!(refused, -1, "{}", server.output_tail());
    assert!(acknowledged > 100, "{acknowledged} writes fill the disk");
    assert!(server.output().contains("nearly full"), "not announced:\n{}", server.output_tail());

    // Every kind of write is refused without a zxid, however often it is asked for.
    let zxid = session.call(OpCode::Ping, &[]).expect("a ping").header.zxid;
    let open = bodies::open_acl();
    let writes: [(OpCode, Vec<u8>); 5] = [
        (OpCode::Create2, bodies::create_open("/more", b"", 0)),
        (OpCode::SetData, bodies::set_data(Some(b"/n0"), Some(b""), -1)),
        (OpCode::SetAcl, bodies::set_acl(Some(b"/n0"), &open, -1)),
        (OpCode::Delete, bodies::path_int(Some(b"/n0"), -1)),
        (OpCode::Multi, bodies::multi(&[(2, bodies::path_int(Some(b"/n0"), -1))])),
    ];
    for (op, body) in writes.iter().cycle().take(1000) {
        let header = session.call(*op, body).expect("an answer").header;
        assert_eq!(header.err, -1, "{op:?}");
    }
    let taken = session.call(OpCode::Ping, &[]).expect("a ping").header.zxid.0 - zxid.0;
    assert!(taken <= 1, "{taken} zxids: the idle session's end takes the only one");
    // Everything else goes on: reads, new sessions, and the ends of sessions with all they own.
    assert!((0..acknowledged).all(|n| holds(&mut session, n)));
    let mut newcomer = Session::open(server.port, TIMEOUT_MS).expect("a session");
    assert!(exists(&mut newcomer, "/owned"));
    assert_eq!(owner.call(OpCode::CloseSession, &[]).expect("an end").header.err, 0);
    assert!(!exists(&mut newcomer, "/owned"));
    let deadline = Instant::now() + PATIENCE;
    while exists(&mut newcomer, "/idle") {
        assert!(Instant::now() < deadline, "a silent session does not expire");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(create(&mut newcomer, "/more", b"", 0), -1, "still");

    // It needs no restart to be of use again, and has lost nothing over one.
    fs::remove_file(&ballast).expect("the ballast goes");
    while create(&mut newcomer, "/more", b"", 0) != 0 {
        assert!(Instant::now() < deadline, "writes are still refused");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(server.output().contains("room again"), "{}", server.output_tail());
    server.kill();
    server.launch();
    let mut session = Session::open(server.port, TIMEOUT_MS).expect("a session");
    assert!((0..acknowledged).all(|n| holds(&mut session, n)));
    let there = ["/more", "/owned", "/idle"].map(|path| exists(&mut session, path));
    assert_eq!(there, [true, false, false]);
    server.kill();
    drop(disk);
}

#[test]
fn a_disk_that_is_full_ends_the_server_and_loses_nothing() {
    let config = "ringkeeper.disk.reserveBytes=0\n";
    let Some((mut server, disk, ballast)) = on_a_small_disk("full-disk", config) else { return };
    let acknowledged = write_until_broken(&server, 0);
    assert_eq!(exit_code(&mut server), Some(20), "{}", server.output_tail());
    let (told, tail) = (server.output(), server.output_tail());
    assert!(told.contains("no space left"), "the reason is not told:\n{tail}");
    let lines = told.lines().count();
    assert!(lines < 100, "{lines} lines, on what may be the same disk:\n{tail}");
    assert!(acknowledged > 100, "{acknowledged} writes fill the disk");

    // Still full: it starts, everything is there, and the first write that does not fit ends it again.
    server.launch();
    let mut session = Session::open(server.port, TIMEOUT_MS);
    if let Ok(session) = &mut session {
        for n in 0..acknowledged {
            assert!(holds(session, n), "/n{n} was acknowledged");
        }
    }
    drop(session);
    let more = write_until_broken_or_refused(&server, acknowledged + 1);
    assert_eq!(exit_code(&mut server), Some(20), "{}", server.output_tail());

    // With room it goes on as if nothing had been.
    fs::remove_file(&ballast).expect("the ballast goes");
    server.launch();
    let mut session = Session::open(server.port, TIMEOUT_MS).expect("a session");
    for n in (0..acknowledged).chain(acknowledged + 1..more) {
        assert!(holds(&mut session, n), "/n{n} was acknowledged");
    }
    let body = bodies::create_open("/after", b"", 0);
    assert_eq!(session.call(OpCode::Create, &body).expect("a create").header.err, 0);
    server.kill();
    drop(disk);
}

/// As [`write_until_broken`]; but a disk that is full may have no room for a session to begin with.
fn write_until_broken_or_refused(server: &Server, first: usize) -> usize {
    match Session::open(server.port, TIMEOUT_MS) {
        Ok(_) => write_until_broken(server, first),
        Err(_) => first,
    }
}
