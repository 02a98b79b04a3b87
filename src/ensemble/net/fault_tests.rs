//! Others that do not read, do not answer, send too much, or go away.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread::{self, JoinHandle};

use super::tests::World;
use super::*;
use crate::base::prng::Prng;

/// A port of which no connection comes about: its queue is full and nobody accepts.
fn silent_port() -> (TcpListener, Vec<TcpStream>, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    // SAFETY: no memory involved; listening again only changes the queue's length.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = listener.local_addr().expect("address");
    let mut fill = Vec::new();
    while let Ok(one) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        fill.push(one);
    }
    (listener, fill, address.port())
}

#[test]
fn an_address_that_does_not_answer_makes_room_for_the_next() {
    let mut world = World::new();
    let (_listener, _fill, silent) = silent_port();
    let (_, port) = world.listen();
    let local = |port| ("127.0.0.1".to_owned(), port);
    // The first would take an hour to fail: the second is tried before that.
    let conn = world.net.dial_any(vec![local(silent), local(port)], Duration::from_secs(3600));
    world.until(|_, event| match event {
        NetEvent::Connected { conn: up } => (up == conn).then_some(()),
        NetEvent::Closed { why, .. } => panic!("{why}"),
        _ => None,
    });
    let alone = world.net.dial("127.0.0.1", silent, Duration::from_millis(100));
    let why = world.until(|_, event| match event {
        NetEvent::Closed { conn, why } if conn == alone => Some(why),
        _ => None,
    });
    assert_eq!(why, "no connection in time");
}

#[test]
fn a_peer_that_resets_is_told_of() {
    let mut world = World::new();
    let (conn, other) = world.outsider();
    world.net.send(conn, b"never read");
    while world.net.queued_bytes(conn) > 0 {
        world.spin();
    }
    drop(other); // With unread input, which is a reset.
    let why = world.until(|_, event| match event {
        NetEvent::Closed { why, .. } => Some(why),
        _ => None,
    });
    assert!(why.contains("reset"), "{why}");
}

#[test]
fn what_was_sent_last_arrives_though_input_was_not_read() {
    // The other side's end is what ends it, not the clock.
    let mut world = World::with(|options| {
        (options.input_bytes_max, options.linger) = (1, Duration::from_secs(3600));
    });
    let (conn, mut other) = world.outsider();
    other.write_all(&[1; 200_000]).expect("fits the buffers");
    let bytes = vec![7u8; 1 << 20];
    world.net.send(conn, &bytes);
    world.net.close(conn);
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        // Late, so that everything lies in the buffers when a close would reset.
        thread::sleep(Duration::from_millis(100));
        other.read_to_end(&mut got).map(|_| got)
    });
    for _ in 0..5000 {
        world.turn();
        if world.net.conns.is_empty() {
            break;
        }
    }
    assert!(world.net.conns.is_empty(), "the other side's end is not seen");
    assert_eq!(reader.join().expect("reader").expect("no reset").len(), bytes.len());
}

#[test]
fn a_linger_ends_by_the_clock() {
    let mut world = World::new();
    let (conn, _other) = world.outsider();
    world.net.send(conn, &vec![0; 64 << 20]);
    world.net.close(conn);
    for _ in 0..5000 {
        assert_eq!(world.turn(), None);
        if world.net.conns.is_empty() {
            return;
        }
    }
    panic!("it lingers for ever");
}

#[test]
fn too_much_output_ends_the_connection() {
    let mut world = World::with(|options| options.output_bytes_max = 1 << 20);
    let (conn, _other) = world.outsider();
    let shared = Arc::new(vec![0u8; 100_000]);
    for _ in 0..500 {
        world.net.send_shared(conn, &shared, 0..shared.len());
        assert!(world.net.queued_bytes(conn) <= 1 << 20);
        if let Some(NetEvent::Closed { why, .. }) = world.turn() {
            assert!(why.contains("does not read"), "{why}");
            return;
        }
    }
    panic!("it takes everything");
}

#[test]
fn reading_stops_at_the_limit_and_that_silence_does_not_count() {
    const LIMIT: usize = 64 << 10;
    let mut world = World::new();
    let (a, b) = world.pair();
    world.net.set_input_max(b, LIMIT);
    world.net.set_read_timeout(b, Some(Duration::from_millis(20)));
    let total = 16 << 20;
    world.net.send(a, &vec![3; total]);
    for _ in 0..100 {
        if let Some(NetEvent::Closed { why, .. }) = world.turn() {
            panic!("{why}");
        }
        assert!(world.net.input(b).len() < LIMIT + RECEIVE_BYTES);
    }
    world.net.set_read_timeout(b, None);
    let mut got = world.net.input(b).len();
    world.net.consume(b, got);
    world.until(|net, _| {
        let more = net.input(b).len();
        net.consume(b, more);
        got += more;
        (got == total).then_some(())
    });
}

#[test]
fn connections_above_the_limit_are_closed_at_once() {
    let mut world = World::with(|options| options.accepted_max = 2);
    let (_, port) = world.listen();
    let connect = || TcpStream::connect(("127.0.0.1", port)).expect("connected");
    let (_one, _two, mut three) = (connect(), connect(), connect());
    let mut accepted = Vec::new();
    let mut wait = |world: &mut World, count: usize| {
        for _ in 0..200 {
            if let Some(NetEvent::Accepted { conn, .. }) = world.turn() {
                accepted.push(conn);
            }
        }
        assert_eq!(accepted.len(), count);
        accepted[0]
    };
    let first = wait(&mut world, 2);
    three.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    assert_eq!(three.read(&mut [0; 1]).expect("ended"), 0);
    drop(_one);
    world.net.close(first);
    while world.net.conns.len() > 1 {
        world.turn();
    }
    let _four = connect();
    wait(&mut world, 3);
}

#[test]
fn no_event_follows_a_close() {
    let mut world = World::new();
    let (conn, mut other) = world.outsider();
    other.write_all(b"too late").expect("written");
    drop(other);
    while world.net.events.len() < 2 {
        world.spin();
    }
    world.net.close(conn);
    assert_eq!(world.net.poll_event(Instant::now()), None);
}

#[test]
fn what_fails_in_a_submission_is_due_at_once() {
    let mut world = World::new();
    let (a, _) = world.pair();
    drop(world.net.open_stream(a));
    assert!(world.net.submit(&mut world.ring.submission()));
    let due = world.net.next_due().expect("an event waits");
    assert!(due <= Instant::now());
    assert!(matches!(world.net.poll_event(due), Some(NetEvent::Closed { conn, .. }) if conn == a));
}

/// A thread that writes `bytes` in pieces of any size.
fn write_all(mut stream: StreamWriter, bytes: Vec<u8>, seed: u64) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut prng = Prng::new(seed);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(rest.len().min(1 + prng.below(700_000) as usize));
            stream.write_all(piece).expect("written");
            rest = left;
        }
        stream.finish().expect("finished");
    })
}

#[test]
fn streams_of_many_threads_keep_their_places() {
    let mut world = World::new();
    let mut prng = Prng::new(11);
    let (mut expected, mut got) = (BTreeMap::new(), BTreeMap::<ConnId, Vec<u8>>::new());
    let mut writers = Vec::new();
    let pairs: Vec<_> = (0..4).map(|_| world.pair()).collect();
    for (n, (a, b)) in (0u8..).zip(pairs) {
        let sent: &mut Vec<u8> = expected.entry(b).or_default();
        for m in 0..4u8 {
            let between = vec![n * 16 + m; prng.below(3000) as usize];
            world.net.send(a, &between);
            sent.extend_from_slice(&between);
            let salt = prng.next_u64();
            let bytes: Vec<u8> =
                (0..2_000_000u64).map(|i| (i.wrapping_mul(salt) >> 32) as u8).collect();
            sent.extend_from_slice(&bytes);
            let stream = world.net.open_stream(a).expect("open");
            writers.push(write_all(stream, bytes, salt));
        }
        world.net.send(a, b"end");
        sent.extend_from_slice(b"end");
    }
    let total: usize = expected.values().map(Vec::len).sum();
    world.until(|net, event| {
        let NetEvent::Received { conn } = event else { panic!("{event:?}") };
        let input = net.take_input(conn);
        got.entry(conn).or_default().extend_from_slice(&input);
        (got.values().map(Vec::len).sum::<usize>() == total).then_some(())
    });
    assert!(got == expected, "not what was written, or not in its order");
    for writer in writers {
        writer.join().expect("writer");
    }
}
