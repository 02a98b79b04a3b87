//! The clients of the server under test, and how far each has been told to be.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ringkeeper::wire::OpCode;

use crate::model;
use crate::support::bodies;
use crate::support::client::Session;

/// Requests a writer has on the way at a time.
const WINDOW: u64 = 8;
pub const WRITER_TIMEOUT_MS: i32 = 40_000;

/// What a writer's client knows at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Writer {
    pub session: i64,
    pub acknowledged: u64,
    pub sent: u64,
}

/// Sessions that end while the server runs: how far each is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    Opened,
    /// Its ephemeral is acknowledged.
    Created,
    /// The request to close it is on the way.
    Closing,
    Closed,
}

#[derive(Clone, Debug, Default)]
pub struct Told {
    pub writers: Vec<Writer>,
    /// By number; the ephemeral of number n is `/gone/n`.
    pub passing: Vec<(i64, Phase)>,
}

#[derive(Default)]
struct Counters {
    session: AtomicU64,
    acknowledged: AtomicU64,
    sent: AtomicU64,
}

/// Shared by clients and disk.
pub struct Shared {
    writers: Vec<Counters>,
    passing: Mutex<Vec<(i64, Phase)>>,
    pub stop: AtomicBool,
}

impl Shared {
    pub fn new(writers: usize) -> Arc<Shared> {
        Arc::new(Shared {
            writers: (0..writers).map(|_| Counters::default()).collect(),
            passing: Mutex::default(),
            stop: AtomicBool::new(false),
        })
    }

    /// Everything clients know now. Acknowledged before sent: what is sent meanwhile may be missing from an image.
    pub fn sample(&self) -> Told {
        let load = |n: &AtomicU64| n.load(Ordering::SeqCst);
        let writers = self.writers.iter().map(|counters| {
            let acknowledged = load(&counters.acknowledged);
            let session = load(&counters.session) as i64;
            Writer { session, acknowledged, sent: load(&counters.sent) }
        });
        let writers = writers.collect();
        Told { writers, passing: self.passing.lock().expect("no panic under the lock").clone() }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

/// The nodes everybody needs.
pub fn prepare(port: u16, writers: usize) {
    let mut session = Session::open(port, WRITER_TIMEOUT_MS).expect("a session");
    let homes =
        (0..writers).flat_map(|id| ["", "/register", "/multi"].map(|n| format!("/w{id}{n}")));
    for path in ["/seq".to_string(), "/gone".to_string()].into_iter().chain(homes) {
        let body = bodies::create_open(&path, b"", 0);
        let reply = session.call(OpCode::Create, &body).expect("a create before the load");
        assert_eq!(reply.header.err, 0, "create {path}");
    }
    session.call(OpCode::CloseSession, &[]).expect("closeSession");
}

/// Writes with a full window until it is told to stop.
pub fn write(shared: &Shared, id: usize, port: u16) {
    let mut session = Session::open(port, WRITER_TIMEOUT_MS).expect("a writer's session");
    let counters = &shared.writers[id];
    counters.session.store(session.id as u64, Ordering::SeqCst);
    let (mut sent, mut acknowledged) = (0, 0);
    while !shared.stopped() {
        while sent < acknowledged + WINDOW {
            let (op, body) = model::request(id, sent);
            sent += 1;
            counters.sent.store(sent, Ordering::SeqCst);
            session.post(op, &body);
        }
        let reply = session.reply().expect("an answer");
        assert_eq!(reply.header.err, 0, "writer {id}: request {acknowledged} refused");
        acknowledged += 1;
        counters.acknowledged.store(acknowledged, Ordering::SeqCst);
    }
}

/// Opens sessions, gives each an ephemeral, closes them.
pub fn come_and_go(shared: &Shared, port: u16) {
    let passing = |number: usize, phase| {
        shared.passing.lock().expect("no panic under the lock")[number].1 = phase;
    };
    for number in 0.. {
        if shared.stopped() {
            return;
        }
        let mut session = Session::open(port, WRITER_TIMEOUT_MS).expect("a session");
        let mut all = shared.passing.lock().expect("no panic under the lock");
        all.push((session.id, Phase::Opened));
        drop(all);
        let body = bodies::create_open(&format!("/gone/{number}"), b"", 1);
        assert_eq!(session.call(OpCode::Create, &body).expect("a create").header.err, 0);
        passing(number, Phase::Created);
        if number % 4 == 3 {
            // Left alone; it outlives the test.
            continue;
        }
        passing(number, Phase::Closing);
        session.call(OpCode::CloseSession, &[]).expect("closeSession");
        passing(number, Phase::Closed);
    }
}
