//! Packets and votes between servers. `cargo bench --bench peers`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringkeeper::base::{SessionId, Sid, Zxid};
use ringkeeper::wire::notification::{Notification, PeerState};
use ringkeeper::wire::quorum_packet::{ForwardedRequest, PacketType, QuorumPacket, put_request};

const DATA_MAX: usize = 2 << 20;

/// A hundred of each kind behind one another, as they lie in a receive buffer.
fn stream(one: &[u8]) -> Vec<u8> {
    one.repeat(100)
}

fn decode_all(bytes: &[u8]) -> i64 {
    let (mut at, mut sum) = (0, 0i64);
    while let Ok(Some((packet, taken))) = QuorumPacket::decode(&bytes[at..], DATA_MAX) {
        sum = sum.wrapping_add(packet.zxid.0 + i64::from(packet.kind.code()));
        at += taken;
    }
    assert_eq!(at, bytes.len());
    sum
}

fn packets(c: &mut Criterion) {
    let mut ack = Vec::new();
    QuorumPacket::bare(PacketType::Ack, Zxid(0x1_0000_0007)).encode(&mut ack);
    let data = [7; 180];
    let mut proposal = QuorumPacket::head(PacketType::Proposal, Zxid(9), data.len()).to_vec();
    proposal.extend_from_slice(&data);
    proposal.extend_from_slice(&QuorumPacket::TAIL);
    let ids: [(&[u8], &[u8]); 2] = [(b"ip", b"127.0.0.1"), (b"digest", b"user:hash")];
    let session = SessionId(0x0100_0000_0000_0001);
    let forwarded = ForwardedRequest { session, cxid: 7, op: 5, body: &data };
    let mut request = Vec::new();
    put_request(&mut request, &forwarded, Some(ids.into_iter()));

    let mut group = c.benchmark_group("decode packets");
    group.throughput(Throughput::Elements(100));
    for (name, one) in [("ACK", &ack), ("PROPOSAL", &proposal), ("REQUEST", &request)] {
        let bytes = stream(one);
        group.bench_function(name, |b| b.iter(|| decode_all(black_box(&bytes))));
    }
    group.finish();

    let mut out = Vec::with_capacity(4096);
    c.bench_function("encode packets/ACK", |b| {
        b.iter(|| {
            out.clear();
            QuorumPacket::bare(PacketType::Ack, black_box(Zxid(7))).encode(&mut out);
            out.len()
        })
    });
}

fn votes(c: &mut Criterion) {
    let config = b"server.1=127.0.0.1:2888:3888:participant\nversion=0".repeat(3);
    let notification = Notification {
        state: PeerState::Looking,
        leader: Sid(2),
        zxid: Zxid(0x1_0000_0005),
        election_epoch: 3,
        peer_epoch: 1,
        version: Notification::VERSION,
        config: Some(&config),
    };
    let mut body = Vec::new();
    notification.encode(&mut body);
    c.bench_function("decode votes/notification", |b| {
        b.iter(|| Notification::decode(black_box(&body)).map(|n| n.zxid))
    });
    let mut out = Vec::with_capacity(1024);
    c.bench_function("encode votes/notification", |b| {
        b.iter(|| {
            out.clear();
            black_box(&notification).encode(&mut out);
            out.len()
        })
    });
}

criterion_group!(benches, packets, votes);
criterion_main!(benches);
