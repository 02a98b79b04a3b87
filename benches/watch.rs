//! Firing watches: what one event costs with many watchers, and with none.

use std::hint::black_box;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ringkeeper::base::slab::Key;
use ringkeeper::watch::{WatchKind, WatchTable};
use ringkeeper::wire::EventType;

/// Under `cargo test` a bench only has to run, so it runs small.
fn scaled(n: u64) -> u64 {
    if std::env::args().any(|arg| arg == "--bench") { n } else { n.min(100) }
}

fn trigger_watchers(c: &mut Criterion) {
    let mut group = c.benchmark_group("trigger");
    group.sample_size(10);
    for watchers in [1, 100, 100_000] {
        let n = scaled(watchers);
        for (name, kind) in [("one-shot", WatchKind::Data), ("persistent", WatchKind::Persistent)] {
            let mut table = WatchTable::new();
            let fill = |table: &mut WatchTable| {
                (0..n).for_each(|key| table.add(b"/config/flag", Key::from_bits(key), kind));
            };
            fill(&mut table);
            group.bench_function(BenchmarkId::new(name, watchers), |b| {
                b.iter_custom(|rounds| {
                    let mut spent = std::time::Duration::ZERO;
                    for _ in 0..rounds {
                        fill(&mut table);
                        let start = Instant::now();
                        table.trigger(EventType::NodeDataChanged, b"/config/flag", &mut |key| {
                            black_box(key);
                        });
                        spent += start.elapsed();
                    }
                    spent
                });
            });
        }
    }
    group.finish();
}

fn trigger_nothing(c: &mut Criterion) {
    let mut group = c.benchmark_group("miss");
    let mut table = WatchTable::new();
    for n in 0..scaled(1_000_000) {
        let path = format!("/service/instances/{n:08}");
        table.add(path.as_bytes(), Key::from_bits(n % 1000), WatchKind::Data);
    }
    let miss = |table: &mut WatchTable| {
        let path = black_box(&b"/service/locks/holder"[..]);
        table.trigger(EventType::NodeDataChanged, path, &mut |key| {
            black_box(key);
        });
    };
    group.bench_function("no recursive watch", |b| b.iter(|| miss(&mut table)));
    table.add(b"/elsewhere", Key::from_bits(1), WatchKind::PersistentRecursive);
    group.bench_function("a recursive watch elsewhere", |b| b.iter(|| miss(&mut table)));
    group.finish();
}

fn register(c: &mut Criterion) {
    let mut table = WatchTable::new();
    let paths: Vec<String> =
        (0..scaled(100_000)).map(|n| format!("/service/instances/{n:08}")).collect();
    let mut next = 0;
    c.bench_function("register and fire one-shot", |b| {
        b.iter(|| {
            let path = paths[next % paths.len()].as_bytes();
            next += 1;
            table.add(path, Key::from_bits(next as u64 % 1000), WatchKind::Data);
            table.trigger(EventType::NodeDataChanged, path, &mut |key| {
                black_box(key);
            });
        });
    });
}

criterion_group!(benches, trigger_watchers, trigger_nothing, register);
criterion_main!(benches);
