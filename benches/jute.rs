//! Decoding of requests and transactions, encoding of replies. `cargo bench --bench jute`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringkeeper::base::{SessionId, Zxid};
use ringkeeper::wire::acl::OPEN_ACL_UNSAFE;
use ringkeeper::wire::multi::{MultiOp, decode_multi, encode_multi};
use ringkeeper::wire::reply::{EventType, ReplyHeader, encode_reply, encode_watch_event};
use ringkeeper::wire::request::{CreateRequest, PathWatchRequest, SetDataRequest};
use ringkeeper::wire::txn::{SetDataTxn, TxnDigest, TxnHeader, decode_txn};
use ringkeeper::wire::{JuteWrite, OpCode, Reader, Stat};

const PATH: &[u8] = b"/bench/service/instances/node-0000000042";
const DATA: [u8; 100] = [7; 100];

fn requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(1));
    let mut get = Vec::new();
    PathWatchRequest { path: Some(PATH), watch: false }.encode(&mut get);
    group.bench_function("getData", |b| {
        b.iter(|| PathWatchRequest::decode(&mut Reader::new(black_box(&get))))
    });
    let mut set = Vec::new();
    SetDataRequest { path: Some(PATH), data: Some(&DATA), version: -1 }.encode(&mut set);
    group.bench_function("setData", |b| {
        b.iter(|| SetDataRequest::decode(&mut Reader::new(black_box(&set))))
    });
    let request = CreateRequest {
        op: OpCode::Create,
        path: Some(PATH),
        data: Some(&DATA),
        acl: Some(OPEN_ACL_UNSAFE),
        flags: 0,
        ttl: -1,
    };
    let mut create = Vec::new();
    request.encode(&mut create);
    group.bench_function("create", |b| {
        b.iter(|| CreateRequest::decode(OpCode::Create, &mut Reader::new(black_box(&create))))
    });
    let mut multi = Vec::new();
    encode_multi(&[MultiOp::Create(request); 8], &mut multi);
    group.bench_function("multi of 8 creates", |b| {
        b.iter(|| decode_multi(&mut Reader::new(black_box(&multi))).map(|ops| ops.len()))
    });
    group.finish();
}

fn txns(c: &mut Criterion) {
    let mut bytes = Vec::new();
    let header = TxnHeader {
        session: SessionId(0x0100_0000_0000_0001),
        cxid: 7,
        zxid: Zxid(9),
        time: 1_700_000_000_000,
        op: OpCode::SetData.code(),
    };
    header.encode(&mut bytes);
    SetDataTxn { path: PATH, data: Some(&DATA), version: 3 }.encode(&mut bytes);
    TxnDigest { version: 2, tree: 77 }.encode(&mut bytes);
    c.bench_function("decode/setData transaction", |b| b.iter(|| decode_txn(black_box(&bytes))));
}

fn replies(c: &mut Criterion) {
    let mut out = Vec::with_capacity(4096);
    let stat = Stat { data_length: 100, ..Stat::default() };
    c.bench_function("encode/getData reply", |b| {
        b.iter(|| {
            out.clear();
            let header = ReplyHeader { xid: 1, zxid: Zxid(9), err: 0 };
            encode_reply(&mut out, header, |out| {
                out.put_buffer(Some(&DATA));
                stat.encode(out);
            });
            out.len()
        })
    });
    c.bench_function("encode/watch event", |b| {
        b.iter(|| {
            out.clear();
            encode_watch_event(&mut out, EventType::NodeDataChanged, PATH, Zxid(9));
            out.len()
        })
    });
}

criterion_group!(benches, requests, txns, replies);
criterion_main!(benches);
