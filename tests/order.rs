//! The order rule under real concurrency: writers change two nodes in one multi while readers watch and read them
//! through many connections. It fails if a client sees new data before the event for it, gets an event for what its
//! read had already shown, sees half a multi, or sees time run backwards.
//!
//! `RINGKEEPER_ORDER_SECONDS`: how long (default 3).

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringkeeper::wire::reply::ReplyHeader;
use ringkeeper::wire::{OpCode, Reader, Stat};
use support::bodies;
use support::client::{ANSWER_WAIT, Got, Session};
use support::server::{Kind, Server, available};

const A: &[u8] = b"/order/a";
const B: &[u8] = b"/order/b";

/// One frame of a reader's connection, understood.
enum Seen {
    Event { zxid: i64 },
    Reply { header: ReplyHeader, body: Vec<u8> },
}

fn next(session: &mut Session) -> Seen {
    let Got::Frame(frame) = session.wire.next(ANSWER_WAIT) else {
        panic!("the server went silent")
    };
    let mut r = Reader::new(&frame);
    let header = ReplyHeader::decode(&mut r).expect("a reply header");
    if header.xid == -1 {
        Seen::Event { zxid: header.zxid.0 }
    } else {
        Seen::Reply { header, body: r.rest().to_vec() }
    }
}

fn stat_of(body: &[u8]) -> Stat {
    let mut r = Reader::new(body);
    r.buffer().expect("data");
    Stat::decode(&mut r).expect("a stat")
}

/// Both nodes move together: versions are equal at every committed state.
fn write(port: u16, stop: &AtomicBool, writes: &AtomicU64) {
    let mut session = Session::open(port, 10_000).expect("a session");
    let both = bodies::multi(&[
        (OpCode::SetData.code(), bodies::set_data(Some(A), Some(b"x"), -1)),
        (OpCode::SetData.code(), bodies::set_data(Some(B), Some(b"x"), -1)),
    ]);
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..4 {
            session.post(OpCode::Multi, &both);
        }
        for _ in 0..4 {
            let reply = session.reply().expect("an answer to a multi");
            assert_eq!(reply.header.err, 0);
            writes.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What a reader's connection has shown so far.
#[derive(Default)]
struct Reader1 {
    /// mzxid that the read which left the watch showed; `None` once the watch has fired.
    watched_at: Option<i64>,
    /// Highest mzxid of /order/a seen in any read.
    newest: i64,
    last_header_zxid: i64,
    version_a: i32,
    events: u64,
}

impl Reader1 {
    fn event(&mut self, zxid: i64) {
        let at = self.watched_at.take().expect("an event without a watch");
        assert!(zxid > at, "event 0x{zxid:x} for what a read at 0x{at:x} had already shown");
        assert!(zxid >= self.newest, "0x{:x} was shown before its event 0x{zxid:x}", self.newest);
        self.events += 1;
    }

    fn read_a(&mut self, stat: Stat, leaves_watch: bool) {
        assert!(stat.mzxid >= self.newest, "time ran backwards on /order/a");
        if let Some(at) = self.watched_at {
            assert_eq!(stat.mzxid, at, "new data before the event for it");
        }
        self.newest = stat.mzxid;
        self.version_a = stat.version;
        if leaves_watch {
            self.watched_at = Some(stat.mzxid);
        }
    }

    fn header(&mut self, header: ReplyHeader) {
        assert_eq!(header.err, 0);
        assert!(header.zxid.0 >= self.last_header_zxid, "reply zxids ran backwards");
        self.last_header_zxid = header.zxid.0;
    }
}

/// Leaves a watch, reads a few times more, reads the other node, and both in one request; all pipelined.
fn read(port: u16, stop: &AtomicBool) -> u64 {
    let mut session = Session::open(port, 10_000).expect("a session");
    let mut state = Reader1::default();
    let watch = bodies::path_watch(Some(A), true);
    let plain_a = bodies::path_watch(Some(A), false);
    let plain_b = bodies::path_watch(Some(B), false);
    let both = bodies::multi(&[
        (OpCode::GetData.code(), plain_a.clone()),
        (OpCode::GetData.code(), plain_b.clone()),
    ]);
    while !stop.load(Ordering::Relaxed) {
        let needs_watch = state.watched_at.is_none();
        session.post(OpCode::GetData, if needs_watch { &watch } else { &plain_a });
        session.post(OpCode::GetData, &plain_a);
        session.post(OpCode::GetData, &plain_b);
        session.post(OpCode::MultiRead, &both);
        let mut replies = 0;
        while replies < 4 {
            match next(&mut session) {
                Seen::Event { zxid } => state.event(zxid),
                Seen::Reply { header, body } => {
                    state.header(header);
                    match replies {
                        0 => state.read_a(stat_of(&body), needs_watch),
                        1 => state.read_a(stat_of(&body), false),
                        2 => {
                            let b = stat_of(&body).version;
                            assert!(b >= state.version_a, "half a multi: b {b} behind a");
                        }
                        _ => check_both(&body),
                    }
                    replies += 1;
                }
            }
        }
    }
    state.events
}

fn check_both(body: &[u8]) {
    let mut r = Reader::new(body);
    let mut versions = Vec::new();
    for _ in 0..2 {
        r.bytes(9).expect("a multi header");
        r.buffer().expect("data");
        versions.push(Stat::decode(&mut r).expect("a stat").version);
    }
    assert_eq!(versions[0], versions[1], "half a multi in one request");
}

fn run(cores: u32) {
    let extra = format!("ringkeeper.client.cores={cores}\nringkeeper.pin=off\n");
    let server = Server::start(Kind::Ours, "order", &extra);
    let mut session = Session::open(server.port, 10_000).expect("a session");
    for path in ["/order", "/order/a", "/order/b"] {
        let body = bodies::create_open(path, b"x", 0);
        assert_eq!(session.call(OpCode::Create, &body).expect("a reply").header.err, 0);
    }
    let (stop, writes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let port = server.port;
    let writers: Vec<_> = (0..3)
        .map(|_| {
            let (stop, writes) = (stop.clone(), writes.clone());
            std::thread::spawn(move || write(port, &stop, &writes))
        })
        .collect();
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let stop = stop.clone();
            std::thread::spawn(move || read(port, &stop))
        })
        .collect();
    let seconds = support::env_number("RINGKEEPER_ORDER_SECONDS", 3);
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until && !readers.iter().chain([]).any(|reader| reader.is_finished()) {
        std::thread::sleep(Duration::from_millis(20));
    }
    stop.store(true, Ordering::Relaxed);
    let events: u64 = readers.into_iter().map(|reader| reader.join().expect("a reader")).sum();
    for writer in writers {
        writer.join().expect("a writer");
    }
    let writes = writes.load(Ordering::Relaxed);
    support::say(&format!("order: {cores} client cores, {writes} multis, {events} events"));
    assert!(writes > 10 && events > 10, "nothing was tested");
}

#[test]
fn order_holds_on_one_client_core() {
    if available(Kind::Ours, "order") {
        run(1);
    }
}

#[test]
fn order_holds_across_client_cores() {
    if available(Kind::Ours, "order") {
        run(3);
    }
}
