//! Request to transaction to changes, events and reply, without log and connections: what the Zab core spends on a
//! write besides waiting. `cargo bench --bench pipeline`.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringkeeper::auth::{Auth, AuthConfig, Identities};
use ringkeeper::base::slab::Key;
use ringkeeper::base::{SessionId, Zxid};
use ringkeeper::pipeline::apply::ReplyTo;
use ringkeeper::pipeline::prep::PrepOptions;
use ringkeeper::pipeline::{Applier, CommitBatch, ConnToken, Outcome, Prep, PrepContext, Write};
use ringkeeper::session::SessionTracker;
use ringkeeper::tree::{OwnerOptions, TreeWriter};
use ringkeeper::wire::OpCode;
use ringkeeper::wire::acl::OPEN_ACL_UNSAFE;
use ringkeeper::wire::multi::{MultiOp, encode_multi};
use ringkeeper::wire::request::{CreateRequest, PathVersionRequest, SetDataRequest};

const SESSION: SessionId = SessionId(0x0100_0000_0000_0001);
const DATA: [u8; 100] = [7; 100];
/// Writes prepared before they are applied together, as when they share a flush.
const DEPTH: usize = 16;

/// Under `cargo test` a bench only has to run, so it runs small.
fn scaled(n: u64) -> u64 {
    if std::env::args().any(|arg| arg == "--bench") { n } else { n.min(100) }
}

struct World {
    tree: TreeWriter,
    sessions: SessionTracker,
    auth: Auth,
    prep: Prep,
    applier: Applier,
    ids: Identities,
}

impl World {
    /// With `/bench` and this many nodes below it.
    fn new(nodes: u64) -> World {
        let options = PrepOptions {
            digest_enabled: true,
            extended_types: false,
            close_session_txn: true,
            enforce_quota: false,
            reconfig_enabled: false,
            record_bytes_max: 2 << 20,
        };
        let tree = TreeWriter::new(OwnerOptions::default());
        let mut sessions = SessionTracker::new(2000);
        sessions.create(SESSION, 30_000, 0);
        let mut world = World {
            prep: Prep::new(options, Zxid::ZERO, tree.digest()),
            tree,
            sessions,
            auth: Auth::new(AuthConfig::default()),
            applier: Applier::default(),
            ids: Identities::of_peer(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        };
        world.run(OpCode::Create, &[create("/bench")]);
        for n in 0..nodes {
            world.run(OpCode::Create, &[create(&node(n))]);
        }
        world
    }

    /// Prepares all, then applies all; a refusal would measure something else.
    fn run(&mut self, op: OpCode, bodies: &[Vec<u8>]) {
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(bodies.len());
        for body in bodies {
            let World { tree, sessions, auth, prep, ids, .. } = self;
            let (op, local) = (op.code(), None);
            let write = Write { session: SESSION, cxid: 1, op, body, identities: ids, local };
            let mut cx = PrepContext { tree, sessions, auth, now: 1_700_000_000_000 };
            let outcome = prep.prepare(&mut cx, &write, &mut bytes);
            assert!(matches!(outcome, Outcome::Txn(_)), "{outcome:?}");
            ends.push(bytes.len());
        }
        let conn = ConnToken { shard: 0, conn: Key::from_bits(1) };
        let mut batch = CommitBatch::default();
        let mut start = 0;
        self.tree.begin();
        for end in ends {
            let World { tree, sessions, applier, .. } = self;
            let reply = Some(ReplyTo { conn, xid: 1 });
            let txn = &bytes[start..end];
            applier.apply(tree, sessions, txn, reply, &mut batch).expect("our own transaction");
            start = end;
        }
        let last = self.prep.last_zxid();
        self.tree.publish(last);
        self.prep.applied(last);
        black_box(&batch);
        assert_eq!(self.applier.digest_mismatches, 0);
    }
}

fn node(n: u64) -> String {
    format!("/bench/instance-{n:010}")
}

fn create_request(path: &str) -> CreateRequest<'_> {
    CreateRequest {
        op: OpCode::Create,
        path: Some(path.as_bytes()),
        data: Some(&DATA),
        acl: Some(OPEN_ACL_UNSAFE),
        flags: 0,
        ttl: -1,
    }
}

fn create(path: &str) -> Vec<u8> {
    let mut body = Vec::new();
    create_request(path).encode(&mut body);
    body
}

fn delete(path: &str) -> Vec<u8> {
    let mut body = Vec::new();
    PathVersionRequest { path: Some(path.as_bytes()), version: -1 }.encode(&mut body);
    body
}

fn set_data(path: &str) -> SetDataRequest<'_> {
    SetDataRequest { path: Some(path.as_bytes()), data: Some(&DATA), version: -1 }
}

fn bench_set_data(c: &mut Criterion) {
    let mut group = c.benchmark_group("setData");
    let nodes = scaled(100_000);
    let mut world = World::new(nodes);
    for depth in [1, DEPTH] {
        group.throughput(Throughput::Elements(depth as u64));
        let mut next = 0;
        group.bench_function(format!("{depth} in flight"), |b| {
            b.iter_batched(
                || {
                    let body = |n| {
                        let mut body = Vec::new();
                        set_data(&node(n)).encode(&mut body);
                        body
                    };
                    next += 7919;
                    (0..depth as u64).map(|n| body((next + n) % nodes)).collect::<Vec<_>>()
                },
                |bodies| world.run(OpCode::SetData, &bodies),
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// The nodes are deleted again outside the measured time, so that the tree stays as large as it was.
fn bench_create(c: &mut Criterion) {
    let mut group = c.benchmark_group("create");
    let mut world = World::new(scaled(100_000));
    for depth in [1, DEPTH] {
        let paths: Vec<String> = (0..depth).map(|n| format!("/bench/new-{n:010}")).collect();
        let creates: Vec<Vec<u8>> = paths.iter().map(|path| create(path)).collect();
        let deletes: Vec<Vec<u8>> = paths.iter().map(|path| delete(path)).collect();
        group.throughput(Throughput::Elements(depth as u64));
        group.bench_function(format!("{depth} in flight"), |b| {
            b.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let start = Instant::now();
                    world.run(OpCode::Create, &creates);
                    spent += start.elapsed();
                    world.run(OpCode::Delete, &deletes);
                }
                spent
            });
        });
    }
    group.finish();
}

fn bench_multi(c: &mut Criterion) {
    let mut world = World::new(scaled(1000));
    let (first, second) = (node(1), node(2));
    let path = |path| Some(str::as_bytes(path));
    let ops = [
        MultiOp::Check(PathVersionRequest { path: path(&first), version: -1 }),
        MultiOp::SetData(set_data(&second)),
        MultiOp::Create(create_request("/bench/lock")),
        MultiOp::Delete(PathVersionRequest { path: path("/bench/lock"), version: -1 }),
    ];
    let mut body = Vec::new();
    encode_multi(&ops, &mut body);
    let bodies = [body];
    c.bench_function("multi of check, setData, create, delete", |b| {
        b.iter(|| world.run(OpCode::Multi, &bodies));
    });
}

criterion_group!(benches, bench_set_data, bench_create, bench_multi);
criterion_main!(benches);
