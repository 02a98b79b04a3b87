//! A disk that is really full: a small file system of its own, mounted for the test. Announced before, ended with an
//! exit status of its own, nothing acknowledged lost, and no room needed to start again.
//!
//! Needs root, `mkfs.ext4` and a loop device; without them it says so and does nothing.

mod support;

use std::fs;
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

#[test]
fn a_full_disk_is_announced_and_loses_nothing() {
    if !available(Kind::Ours, "full_disk") {
        return;
    }
    let config = "preAllocSize=8192\nsnapCount=100000\n";
    let mut server = Server::prepare(Kind::Ours, "full-disk", config);
    let disk = match Disk::make(&server.dir.join("data"), &server.dir.join("image"), IMAGE_BYTES) {
        Ok(disk) => disk,
        Err(why) => return support::skipped("full_disk", &why),
    };
    let ballast = disk.at.join("ballast");
    fs::write(&ballast, vec![1; BALLAST_BYTES]).expect("a large file");
    server.launch();
    let acknowledged = write_until_broken(&server, 0);
    assert_eq!(exit_code(&mut server), Some(20), "{}", server.output_tail());
    let (told, tail) = (server.output(), server.output_tail());
    assert!(told.contains("nearly full"), "not announced:\n{tail}");
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
}

/// As [`write_until_broken`]; but a disk that is full may have no room for a session to begin with.
fn write_until_broken_or_refused(server: &Server, first: usize) -> usize {
    match Session::open(server.port, TIMEOUT_MS) {
        Ok(_) => write_until_broken(server, first),
        Err(_) => first,
    }
}
