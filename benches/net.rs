//! Proposals of several sizes to two followers over loopback, on one ring: shared bytes against a copy for each.
//! `cargo bench --bench net`. One iteration is one turn of a leader: 32 proposals to each of two followers, and
//! everything received at the other ends, which live on the same ring; the difference is what counts.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use io_uring::IoUring;
use ringkeeper::ensemble::EventFd;
use ringkeeper::ensemble::net::{ConnId, Net, NetEvent};

const PROPOSALS: usize = 32;

struct World {
    net: Net,
    ring: IoUring,
}

impl World {
    fn turn(&mut self, mut event: impl FnMut(&mut Net, NetEvent)) {
        while !self.net.submit(&mut self.ring.submission()) {
            self.ring.submit().expect("submitted");
        }
        self.ring.submit_and_wait(1).expect("entered");
        for entry in self.ring.completion() {
            self.net.complete(entry.user_data(), entry.result());
        }
        let now = Instant::now();
        while let Some(happened) = self.net.poll_event(now) {
            event(&mut self.net, happened);
        }
    }
}

/// Two connections, opened.
fn followers() -> (World, Vec<ConnId>) {
    let net = Net::new(EventFd::new().expect("eventfd"));
    let mut world = World { net, ring: IoUring::new(64).expect("ring") };
    let listener = world.net.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("bound");
    let port = world.net.local_address(listener).expect("address").port();
    for _ in 0..2 {
        world.net.dial("127.0.0.1", port, Duration::from_secs(5));
    }
    let (mut accepted, mut connected) = (Vec::new(), 0);
    while accepted.len() + connected < 4 {
        world.turn(|_, event| match event {
            NetEvent::Accepted { conn, .. } => accepted.push(conn),
            NetEvent::Connected { .. } => connected += 1,
            other => panic!("{other:?}"),
        });
    }
    (world, accepted)
}

fn broadcast(world: &mut World, to: &[ConnId], chunk: &Arc<Vec<u8>>, size: usize, shared: bool) {
    for start in (0..chunk.len()).step_by(size) {
        for conn in to {
            match shared {
                true => world.net.send_shared(*conn, chunk, start..start + size),
                false => world.net.send(*conn, &chunk[start..start + size]),
            }
        }
    }
    let mut left = chunk.len() * to.len();
    while left > 0 {
        world.turn(|net, event| {
            let NetEvent::Received { conn } = event else { panic!("{event:?}") };
            let length = net.input(conn).len();
            net.consume(conn, length);
            left -= length;
        });
    }
}

fn proposals(c: &mut Criterion) {
    for size in [200, 1024, 4096, 16_384] {
        let mut group = c.benchmark_group(format!("net/{size} B to two"));
        group.throughput(Throughput::Elements(PROPOSALS as u64 * 2));
        for (name, shared) in [("shared", true), ("copied", false)] {
            let (mut world, to) = followers();
            let chunk = Arc::new(vec![7u8; size * PROPOSALS]);
            group.bench_function(name, |b| {
                b.iter(|| broadcast(&mut world, &to, &chunk, size, shared));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, proposals);
criterion_main!(benches);
