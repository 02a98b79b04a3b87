//! Look-ups, reads and applies at several tree sizes. `RINGKEEPER_BENCH_LARGE=1` adds ten million
//! nodes.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringkeeper::base::Zxid;
use ringkeeper::base::prng::Prng;
use ringkeeper::tree::{Create, OwnerOptions, TreeLoader, TreeWriter};
use ringkeeper::wire::StatPersisted;
use ringkeeper::wire::acl::OPEN_ACL_UNSAFE;
use std::hint::black_box;
use std::time::Duration;

/// Children of one parent in the trees below.
const FANOUT: usize = 1000;

fn parent(nth: usize) -> String {
    format!("/services-{:05}", nth / FANOUT)
}

fn path(nth: usize) -> String {
    format!("{}/node-{nth:010}", parent(nth))
}

fn filled(nodes: usize) -> TreeWriter {
    let stat = StatPersisted { czxid: 1, mzxid: 1, pzxid: 1, ..StatPersisted::default() };
    let mut loader = TreeLoader::new(OwnerOptions::default());
    loader.load_acl(1, OPEN_ACL_UNSAFE);
    loader.load_node(b"", Some(b""), -1, &StatPersisted::default()).expect("root");
    for nth in 0..nodes {
        if nth % FANOUT == 0 {
            loader.load_node(parent(nth).as_bytes(), None, 1, &stat).expect("parent");
        }
        loader.load_node(path(nth).as_bytes(), Some(b"data"), 1, &stat).expect("child");
    }
    loader.finish(Zxid(1))
}

fn sizes() -> Vec<usize> {
    // `cargo test` runs each benchmark once: keep that quick.
    if std::env::args().any(|arg| arg == "--test") || !std::env::args().any(|arg| arg == "--bench")
    {
        return vec![1000];
    }
    let mut sizes = vec![1000, 1_000_000];
    if std::env::var_os("RINGKEEPER_BENCH_LARGE").is_some() {
        sizes.push(10_000_000);
    }
    sizes
}

fn reads(c: &mut Criterion, writer: &TreeWriter, nodes: usize) {
    let mut prng = Prng::new(1);
    let paths: Vec<String> = (0..4096).map(|_| path(prng.below(nodes as u64) as usize)).collect();
    let mut group = c.benchmark_group("tree-read");
    let mut nth = 0;
    let mut next = || {
        nth = (nth + 1) % paths.len();
        paths[nth].as_bytes()
    };
    group.bench_function(BenchmarkId::new("get-data", nodes), |b| {
        b.iter(|| {
            let path = next();
            writer.tree().read(|view| {
                let node = view.lookup(black_box(path))?;
                Some((node.stat(), node.data()?.len(), node.acl()?.world_readable()))
            })
        });
    });
    group.bench_function(BenchmarkId::new("miss", nodes), |b| {
        b.iter(|| {
            writer.tree().read(|view| view.lookup(black_box(b"/services-00000/x")).is_some())
        });
    });
    group.throughput(Throughput::Elements(FANOUT.min(nodes) as u64));
    group.bench_function(BenchmarkId::new("children", nodes), |b| {
        let mut out = Vec::new();
        b.iter(|| {
            writer.tree().read(|view| {
                out.clear();
                if let Some(node) = view.lookup(parent(0).as_bytes()) {
                    node.for_each_child(|name| out.extend_from_slice(name));
                }
                out.len()
            })
        });
    });
    group.finish();
}

fn applies(c: &mut Criterion, writer: &mut TreeWriter, nodes: usize) {
    let mut group = c.benchmark_group("tree-apply");
    let mut prng = Prng::new(2);
    let mut zxid = 1;
    for len in [100, 10_000] {
        let data = vec![7u8; len];
        group.bench_function(BenchmarkId::new(format!("set-{len}"), nodes), |b| {
            b.iter_batched(
                || path(prng.below(nodes as u64) as usize),
                |path| {
                    zxid += 1;
                    writer.begin();
                    let set = writer.set_data(path.as_bytes(), Some(&data), 1, Zxid(zxid), zxid);
                    writer.publish(Zxid(zxid));
                    set
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.bench_function(BenchmarkId::new("create-delete", nodes), |b| {
        b.iter_batched(
            || format!("{}/new", parent(prng.below(nodes as u64) as usize)),
            |path| {
                zxid += 1;
                let new = Create {
                    path: path.as_bytes(),
                    data: Some(b"data"),
                    acl: OPEN_ACL_UNSAFE,
                    owner: 0,
                    zxid: Zxid(zxid),
                    time: zxid,
                    parent_cversion: -1,
                };
                writer.begin();
                let created = writer.create(&new);
                let deleted = writer.delete(path.as_bytes(), Zxid(zxid));
                writer.publish(Zxid(zxid));
                (created, deleted)
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn walks(c: &mut Criterion, writer: &TreeWriter, nodes: usize) {
    let mut group = c.benchmark_group("tree-whole");
    group.sample_size(10).throughput(Throughput::Elements(nodes as u64));
    group.bench_function(BenchmarkId::new("snapshot-walk", nodes), |b| {
        let mut out = Vec::new();
        b.iter(|| {
            let mut walk = writer.begin_snapshot();
            loop {
                out.clear();
                if !walk.next_chunk(1024, &mut out) {
                    break;
                }
            }
        });
    });
    group.bench_function(BenchmarkId::new("load", nodes), |b| {
        b.iter(|| filled(nodes).tree().applied());
    });
    group.finish();
}

fn tree(c: &mut Criterion) {
    for nodes in sizes() {
        let mut writer = filled(nodes);
        reads(c, &writer, nodes);
        // Before nodes have 10,000 bytes: a walk copies all data.
        walks(c, &writer, nodes);
        applies(c, &mut writer, nodes);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    targets = tree
}
criterion_main!(benches);
