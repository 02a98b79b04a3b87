//! Two ends on one ring, over loopback.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use io_uring::IoUring;

use super::*;
use crate::base::prng::Prng;

pub(super) struct World {
    pub net: Net,
    pub ring: IoUring,
}

impl World {
    pub fn new() -> World {
        World::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut NetOptions)) -> World {
        let mut options = NetOptions::from(EventFd::new().expect("eventfd"));
        change(&mut options);
        World { net: Net::new(options), ring: IoUring::new(64).expect("ring") }
    }

    pub fn listen(&mut self) -> (ListenerId, u16) {
        let id = self.net.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("bound");
        (id, self.net.local_address(id).expect("address").port())
    }

    /// One turn; waits a little when nothing happens.
    pub fn turn(&mut self) -> Option<NetEvent> {
        self.spin();
        self.net.poll_event(Instant::now())
    }

    /// A turn that leaves its events.
    pub fn spin(&mut self) {
        while !self.net.submit(&mut self.ring.submission()) {
            self.ring.submit().expect("submitted");
        }
        let timeout = types::Timespec::new().nsec(2_000_000);
        let args = types::SubmitArgs::new().timespec(&timeout);
        let _ = self.ring.submitter().submit_with_args(1, &args);
        let entries: Vec<_> = self.ring.completion().map(|e| (e.user_data(), e.result())).collect();
        for (data, res) in entries {
            assert!(owns(data));
            self.net.complete(data, res);
        }
    }

    /// Accepts what a plain socket opens.
    pub fn outsider(&mut self) -> (ConnId, TcpStream) {
        let (_, port) = self.listen();
        let other = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        let conn = self.until(|_, event| match event {
            NetEvent::Accepted { conn, .. } => Some(conn),
            _ => None,
        });
        (conn, other)
    }

    /// Turns until an event is what is waited for; fails after many.
    pub fn until<T>(&mut self, mut wanted: impl FnMut(&mut Net, NetEvent) -> Option<T>) -> T {
        for _ in 0..5000 {
            if let Some(event) = self.turn()
                && let Some(found) = wanted(&mut self.net, event)
            {
                return found;
            }
        }
        panic!("it never happened");
    }

    /// A connection with both ends here: dialled, accepted.
    pub fn pair(&mut self) -> (ConnId, ConnId) {
        let (_, port) = self.listen();
        let dialled = self.net.dial("127.0.0.1", port, Duration::from_secs(5));
        let (mut up, mut accepted) = (false, None);
        self.until(|_, event| {
            match event {
                NetEvent::Connected { conn } => up = conn == dialled,
                NetEvent::Accepted { conn, .. } => accepted = Some(conn),
                other => panic!("{other:?}"),
            }
            accepted.filter(|_| up).map(|accepted| (dialled, accepted))
        })
    }
}

#[test]
fn bytes_go_both_ways_whatever_their_size() {
    let mut world = World::new();
    let (a, b) = world.pair();
    let mut prng = Prng::new(3);
    let mut expected: [Vec<u8>; 2] = Default::default();
    for n in 0..200u64 {
        let size = prng.below(40_000) as usize;
        let bytes: Vec<u8> = (0..size).map(|i| (i as u64 * 7 + n) as u8).collect();
        let side = prng.below(2) as usize;
        let to = if side == 0 { a } else { b };
        if prng.below(2) == 0 {
            world.net.send(to, &bytes);
            expected[1 - side].extend_from_slice(&bytes);
        } else {
            let half = size / 2;
            world.net.send_shared(to, &Arc::new(bytes.clone()), half..size);
            expected[1 - side].extend_from_slice(&bytes[half..]);
        }
    }
    let mut got: [Vec<u8>; 2] = Default::default();
    world.until(|net, event| {
        let NetEvent::Received { conn } = event else { panic!("{event:?}") };
        let side = usize::from(conn == b);
        // In odd bites, some of them given back.
        let input = net.take_input(conn);
        let bite = input.len() - input.len() / 3;
        got[side].extend_from_slice(&input[..bite]);
        net.give_back(conn, input, bite);
        let rest = net.input(conn).len();
        got[side].extend_from_slice(net.input(conn));
        net.consume(conn, rest);
        (got[0].len() == expected[0].len() && got[1].len() == expected[1].len()).then_some(())
    });
    assert!(got == expected, "other bytes than were sent");
}

#[test]
fn a_stream_goes_before_what_is_sent_after_it() {
    let mut world = World::new();
    let (a, b) = world.pair();
    world.net.send(a, b"before ");
    let mut stream = world.net.open_stream(a).expect("open");
    world.net.send(a, b" after");
    let total = 3 << 20;
    let writer = std::thread::spawn(move || {
        for n in 0..total / 65_536 {
            stream.write_all(&vec![n as u8; 65_536]).expect("written");
        }
        stream.finish().expect("finished");
    });
    let mut got = Vec::new();
    world.until(|net, event| {
        let NetEvent::Received { conn } = event else { panic!("{event:?}") };
        assert_eq!(conn, b);
        got.extend_from_slice(net.input(conn));
        let count = net.input(conn).len();
        net.consume(conn, count);
        (got.len() == total + 13).then_some(())
    });
    writer.join().expect("writer");
    assert_eq!(&got[..7], b"before ");
    assert_eq!(&got[got.len() - 6..], b" after");
    let whole = got[7..got.len() - 6].chunks(65_536).enumerate();
    assert!(whole.into_iter().all(|(n, chunk)| chunk.iter().all(|byte| *byte == n as u8)));
}

#[test]
fn a_stream_that_is_dropped_closes_the_connection() {
    let mut world = World::new();
    let (a, b) = world.pair();
    drop(world.net.open_stream(a).expect("open"));
    world.net.send(a, b"never");
    let mut closed = Vec::new();
    world.until(|_, event| {
        if let NetEvent::Closed { conn, .. } = event {
            closed.push(conn);
        }
        (closed.len() == 2).then_some(())
    });
    assert!(closed.contains(&a) && closed.contains(&b));
}

#[test]
fn dials_fail_and_silence_ends() {
    let mut world = World::new();
    let (listener, port) = world.listen();
    world.net.unlisten(listener);
    let refused = world.net.dial("localhost", port, Duration::from_secs(5));
    let why = world.until(|_, event| match event {
        NetEvent::Closed { conn, why } if conn == refused => Some(why),
        _ => None,
    });
    assert!(why.contains("refused"), "{why}");
    let nowhere = world.net.dial("no.such.name.invalid", 1, Duration::from_secs(20));
    world.until(|_, event| {
        matches!(event, NetEvent::Closed { conn, .. } if conn == nowhere).then_some(())
    });
    let (a, b) = world.pair();
    world.net.set_read_timeout(a, Some(Duration::from_millis(30)));
    let closed = world.until(|_, event| match event {
        NetEvent::Closed { conn, .. } => Some(conn),
        _ => None,
    });
    assert_eq!(closed, a, "the silent one is closed first");
    let closed = world.until(|_, event| match event {
        NetEvent::Closed { conn, .. } => Some(conn),
        _ => None,
    });
    assert_eq!(closed, b);
}

#[test]
fn what_is_queued_leaves_before_a_close() {
    let mut world = World::new();
    let (conn, mut other) = world.outsider();
    let bytes = vec![7u8; 1 << 20];
    world.net.send(conn, &bytes);
    world.net.close(conn);
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        other.read_to_end(&mut got).map(|_| got)
    });
    for _ in 0..5000 {
        assert_eq!(world.turn(), None, "a closed connection is not heard of");
        if world.net.conns.is_empty() {
            break;
        }
    }
    assert_eq!(reader.join().expect("reader").expect("read").len(), bytes.len());
    assert!(world.net.conns.is_empty());
}

#[test]
fn closing_at_any_time_ends_everything() {
    for seed in 0..40 {
        let mut world = World::new();
        let mut prng = Prng::new(seed);
        let mut open: Vec<ConnId> = Vec::new();
        let (_, port) = world.listen();
        for _ in 0..60 {
            match prng.below(5) {
                0 => open.push(world.net.dial("127.0.0.1", port, Duration::from_secs(5))),
                1 if !open.is_empty() => {
                    let at = prng.below(open.len() as u64) as usize;
                    world.net.close(open.swap_remove(at));
                }
                2 | 3 if !open.is_empty() => {
                    let at = prng.below(open.len() as u64) as usize;
                    world.net.send(open[at], &vec![1; prng.below(300_000) as usize]);
                }
                _ => match world.turn() {
                    Some(NetEvent::Accepted { conn, .. }) => open.push(conn),
                    Some(NetEvent::Closed { conn, .. }) => open.retain(|other| *other != conn),
                    _ => {}
                },
            }
        }
        if seed % 2 == 0 {
            continue; // Dropped in flight.
        }
        for conn in open {
            world.net.close(conn);
        }
        for _ in 0..5000 {
            if let Some(NetEvent::Accepted { conn, .. }) = world.turn() {
                world.net.close(conn);
            }
            if world.net.conns.is_empty() {
                break;
            }
        }
        assert!(world.net.conns.is_empty(), "seed {seed}: {:?}", world.net);
    }
}

#[test]
fn what_waits_for_a_server_is_counted_as_its() {
    let mut world = World::new();
    let (one, other) = world.pair();
    world.net.set_now(100);
    world.net.send(one, b"nobody's");
    world.spin();
    assert!(world.net.counts().is_empty());
    world.net.count_as(one, Sid(7));
    world.net.send(one, b"a");
    world.net.send(one, b"b");
    world.net.set_now(104);
    world.net.send_shared(one, &Arc::new(vec![1; 5000]), 0..5000);
    let wanted = b"nobody'sab".len() + 5000;
    while world.net.input(other).len() < wanted {
        world.turn();
    }
    let counts = &world.net.counts()[&Sid(7)];
    // Three left together: two behind the first, one behind the second, none behind the last.
    assert_eq!(counts.size, Tally { min: 0, max: 2, count: 3, sum: 3 });
    assert_eq!(counts.ms.tally, Tally { min: 4, max: 4, count: 1, sum: 4 });
    world.net.reset_counts();
    assert!(world.net.counts().is_empty());
}
