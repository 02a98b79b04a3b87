//! Kill -9 at random instants under load, restart, and look.
//!
//! Every writer is one session with pipelined requests, so its acknowledged writes are a prefix of what it sent,
//! and what a server may show after the crash is the state after some prefix that holds at least all of them: not
//! one acknowledged write less, nothing half done, nothing out of order. That is checked literally, by replaying
//! the writer's own list until the state matches.
//!
//! - `RINGKEEPER_CRASH_ROUNDS`: kills, default 3. `RINGKEEPER_CRASH_SEED`: default from the clock, printed.
//! - `RINGKEEPER_CRASH_SUBJECT=apache`: the same against Apache, to test the test; `turns`: the two take turns, each
//!   killed under load and started on what the other was killed over.

#[path = "crash/model.rs"]
mod model;
mod support;
#[path = "crash/writer.rs"]
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringkeeper::base::prng::Prng;
use ringkeeper::wire::OpCode;

use support::bodies;
use support::client::Session;
use support::server::{Kind, Server, available};
use writer::{Sequence, Writer};

const WRITERS: usize = 4;

/// Long enough for a restart and a check, so that writers' sessions outlive the crash.
const WRITER_TIMEOUT_MS: i32 = 30_000;

/// The shortest a server grants at tickTime 2000.
const SHORT_TIMEOUT_MS: i32 = 4000;

fn subject() -> Kind {
    match std::env::var("RINGKEEPER_CRASH_SUBJECT").as_deref() {
        Ok("apache") => Kind::Apache,
        _ => Kind::Ours,
    }
}

/// Who is to start after a kill.
fn next(kind: Kind) -> Kind {
    match (std::env::var("RINGKEEPER_CRASH_SUBJECT").as_deref(), kind) {
        (Ok("turns"), Kind::Ours) => Kind::Apache,
        (Ok("turns"), Kind::Apache) => Kind::Ours,
        _ => kind,
    }
}

fn create(session: &mut Session, path: &str, flags: i32) {
    let body = bodies::create_open(path, b"", flags);
    let reply = session.call(OpCode::Create, &body).expect("a create before the load");
    assert_eq!(reply.header.err, 0, "create {path}");
}

fn exists(session: &mut Session, path: &str) -> bool {
    let body = bodies::path_watch(Some(path.as_bytes()), false);
    session.call(OpCode::Exists, &body).expect("exists").header.err == 0
}

/// Sessions whose end is the point: one that is closed, one whose client dies with the server.
struct Doomed {
    closed: Session,
    abandoned: String,
}

impl Doomed {
    fn new(port: u16, round: u64) -> Doomed {
        let open = |timeout| Session::open(port, timeout).expect("a session");
        let abandoned = format!("/gone/abandoned{round}");
        create(&mut open(SHORT_TIMEOUT_MS), &abandoned, 1);
        let mut closed = open(WRITER_TIMEOUT_MS);
        create(&mut closed, &format!("/gone/closed{round}"), 1);
        closed.call(OpCode::CloseSession, &[]).expect("closeSession");
        Doomed { closed, abandoned }
    }

    fn check(&self, port: u16, round: u64, checker: &mut Session) {
        assert!(!exists(checker, &format!("/gone/closed{round}")), "a closed session's ephemeral");
        let again = Session::attach(port, WRITER_TIMEOUT_MS, self.closed.id, &self.closed.passwd);
        assert!(again.is_err(), "a closed session came back");
        assert!(exists(checker, &self.abandoned), "an ephemeral went before its session");
    }
}

/// Load until the kill: every writer stops where its connection breaks.
fn load_and_kill(server: &mut Server, writers: &mut [Writer], load: Duration) {
    let stop = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        for writer in writers.iter_mut() {
            let stop = stop.clone();
            scope.spawn(move || writer.write_until_broken(&stop));
        }
        std::thread::sleep(load);
        assert!(server.is_running(), "the server ended by itself:\n{}", server.output_tail());
        server.kill();
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn acknowledged_writes_survive_kills() {
    if !available(subject(), "crash") || !available(next(subject()), "crash") {
        return;
    }
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = support::env_number("RINGKEEPER_CRASH_SEED", clock.map_or(1, |d| d.as_secs()));
    let rounds = support::env_number("RINGKEEPER_CRASH_ROUNDS", 3);
    support::say(&format!("crash: seed {seed}, {rounds} rounds"));
    let mut rng = Prng::new(seed);
    let mut server = Server::start(subject(), "crash", "snapCount=2000\n");
    let mut first = Session::open(server.port, WRITER_TIMEOUT_MS).expect("a session");
    create(&mut first, "/seq", 0);
    create(&mut first, "/gone", 0);
    let mut writers: Vec<Writer> =
        (0..WRITERS).map(|id| Writer::new(id, server.port, WRITER_TIMEOUT_MS)).collect();
    let mut abandoned_at = Instant::now();
    for round in 0..rounds {
        let doomed = Doomed::new(server.port, round);
        // From "hardly started" to "in the middle of it, snapshots included".
        let load = Duration::from_millis(20 + rng.below(1500));
        load_and_kill(&mut server, &mut writers, load);
        server.kind = next(server.kind);
        server.launch();
        abandoned_at = Instant::now();
        let mut checker = Session::open(server.port, WRITER_TIMEOUT_MS).expect("a session");
        doomed.check(server.port, round, &mut checker);
        let last = checker.call(OpCode::Ping, &[]).expect("a ping").header.zxid.0;
        for writer in &mut writers {
            writer.resume(server.port);
        }
        let sequence = Sequence::read(&mut checker);
        let mut acknowledged = 0;
        for writer in &mut writers {
            acknowledged += writer.check(&mut checker, last, &sequence);
        }
        sequence.check(&writers);
        support::say(&format!(
            "crash: round {round}: killed after {} ms, {acknowledged} acknowledged, all there",
            load.as_millis()
        ));
    }
    // A session gets its whole timeout again after a restart, and a tick at most on top.
    let mut checker = Session::open(server.port, WRITER_TIMEOUT_MS).expect("a session");
    let deadline = abandoned_at + Duration::from_secs(14);
    while (0..rounds).any(|round| exists(&mut checker, &format!("/gone/abandoned{round}"))) {
        assert!(Instant::now() < deadline, "ephemerals of sessions that nobody resumed");
        std::thread::sleep(Duration::from_millis(200));
    }
    for writer in &mut writers {
        writer.check_ephemerals();
    }
}
