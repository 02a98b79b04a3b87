//! Golden bytes of the client protocol, captured from Apache ZooKeeper 3.9.5, and of transactions as its log holds
//! them; each is decoded, encoded again, and cut at every length. No decoder may panic, whatever the bytes.

mod support;

use ringkeeper::base::prng::Prng;
use ringkeeper::wire::connect::{ConnectRequest, ConnectResponse};
use ringkeeper::wire::jute::Result;
use ringkeeper::wire::multi::{MultiHeader, MultiOp, decode_multi, encode_multi};
use ringkeeper::wire::reply::{EventType, ReplyHeader, encode_reply, encode_watch_event};
use ringkeeper::wire::request::{
    AuthPacket, CreateRequest, PathModeRequest, PathVersionRequest, PathWatchRequest,
    ReconfigRequest, RequestHeader, SetAclRequest, SetDataRequest, SetWatchesRequest,
};
use ringkeeper::wire::txn::{CreateMode, Txn, TxnHeader, decode_txn};
use ringkeeper::wire::{AclList, DecodeError, JuteWrite, OpCode, Reader, Stat};
use ringkeeper::wire::{four_letter::FourLetterWord, stat::StatPersisted};

use support::{bodies, unhex};

/// Frames of a fresh 3.9.5 server, without their lengths (client-protocol 17).
mod captured {
    pub const CONNECT: &str = "00000000 0000000000000000 00002710 0000000000000000 00000010 \
                               00000000000000000000000000000000 00";
    pub const CONNECTED: &str = "00000000 00002710 0100001c0c6a0000 00000010 \
                                 047693d44109160f82229fc6f2c53cac 00";
    pub const CREATE: &str = "00000001 00000001 00000002 2f61 00000002 6869 00000001 0000001f \
                              00000005 776f726c64 00000006 616e796f6e65 00000000";
    pub const GET_DATA: &str = "00000003 00000004 00000002 2f61 01";
    pub const GOT_DATA: &str = "00000003 0000000000000003 00000000 00000002 6869 0000000000000002 \
                                0000000000000002 000001a1fb7d67c1 000001a1fb7d67c1 00000000 \
                                00000000 00000000 0000000000000000 00000002 00000000 \
                                0000000000000002";
    pub const SET_DATA: &str = "00000004 00000005 00000002 2f61 00000001 78 00000000";
    pub const EVENT: &str = "0000001e ffffffff 0000000000000004 00000000 00000003 00000003 \
                             00000002 2f61";
    pub const MULTI: &str = "00000005 0000000e 0000000d 00 ffffffff 00000002 2f61 00000007 \
                             00000002 00 ffffffff 00000002 2f61 ffffffff ffffffff 01 ffffffff";
    pub const AUTH: &str = "fffffffc 00000064 00000000 00000006 646967657374 00000003 753a70";
    pub const SET_WATCHES: &str = "fffffff8 00000065 0000000000000000 00000001 00000005 \
                                   2f676f6e65 00000000 00000000";
}

/// The body of a captured request.
fn body(frame: &str) -> (RequestHeader, Vec<u8>) {
    let bytes = unhex(frame);
    let mut r = Reader::new(&bytes);
    let header = RequestHeader::decode(&mut r).expect("a header");
    (header, r.rest().to_vec())
}

/// Checks that a record decodes from the whole and from nothing shorter.
fn cut_everywhere(what: &str, bytes: &[u8], decode: impl Fn(&[u8]) -> bool) {
    assert!(decode(bytes), "{what}: the whole record");
    for len in 0..bytes.len() {
        assert!(!decode(&bytes[..len]), "{what}: decodes from {len} of {} bytes", bytes.len());
    }
    let trailed = [bytes, b"trailing"].concat();
    assert!(decode(&trailed), "{what}: bytes after the record are ignored");
}

#[test]
fn handshake_frames() {
    let bytes = unhex(captured::CONNECT);
    let request = ConnectRequest::decode(&bytes).expect("a ConnectRequest");
    assert_eq!((request.timeout_ms, request.session_id), (10_000, 0));
    assert_eq!((request.passwd, request.read_only), (Some(&[0; 16][..]), Some(false)));
    let mut out = Vec::new();
    request.encode(&mut out);
    assert_eq!(out, bytes);
    // The flag is the one field that may be missing.
    for len in 0..bytes.len() {
        let decoded = ConnectRequest::decode(&bytes[..len]);
        assert_eq!(decoded.is_ok(), len == bytes.len() - 1, "{len} bytes");
        assert!(decoded.is_err() || decoded.is_ok_and(|r| r.read_only.is_none()));
    }
    let bytes = unhex(captured::CONNECTED);
    let response = ConnectResponse::decode(&bytes).expect("a ConnectResponse");
    assert_eq!(response.session_id, 0x0100_001c_0c6a_0000);
    assert_eq!(response.passwd, bodies::session_password(response.session_id));
    let mut out = Vec::new();
    response.encode_frame(&mut out);
    assert_eq!(out[..4], (bytes.len() as u32).to_be_bytes());
    assert_eq!(out[4..], bytes);
}

#[test]
fn session_passwords() {
    for (id, password) in [
        (0x0100_000e_e119_0000, "edaabc7976e6f63b13f0f6cbaf92fb14"),
        (1, "054cc74a37327db215e702e20c73f005"),
        (0x0123_4567_89ab_cdef, "f7cd1b8b3f946c477425d41be3f667c6"),
        (-1, "20f62cb5648dc2d771471c8a2486a9ee"),
    ] {
        assert_eq!(support::hex(&bodies::session_password(id)), password, "{id:#x}");
    }
}

#[test]
fn captured_requests() {
    let (header, bytes) = body(captured::CREATE);
    assert_eq!(header, RequestHeader { xid: 1, op: 1 });
    let create = CreateRequest::decode(OpCode::Create, &mut Reader::new(&bytes)).expect("create");
    assert_eq!((create.path, create.data), (Some(&b"/a"[..]), Some(&b"hi"[..])));
    let mut out = Vec::new();
    create.encode(&mut out);
    assert_eq!(out, bytes);
    assert_eq!(bytes, bodies::create_open("/a", b"hi", 0));

    let (_, bytes) = body(captured::GET_DATA);
    let get = PathWatchRequest::decode(&mut Reader::new(&bytes)).expect("getData");
    assert_eq!((get.path, get.watch), (Some(&b"/a"[..]), true));
    let (_, bytes) = body(captured::SET_DATA);
    let set = SetDataRequest::decode(&mut Reader::new(&bytes)).expect("setData");
    assert_eq!((set.data, set.version), (Some(&b"x"[..]), 0));

    let (_, bytes) = body(captured::MULTI);
    let ops = decode_multi(&mut Reader::new(&bytes)).expect("multi");
    assert_eq!(ops.len(), 2);
    assert!(matches!(ops[0], MultiOp::Check(check) if check.version == 7));
    let mut out = Vec::new();
    encode_multi(&ops, &mut out);
    assert_eq!(out, bytes);

    let (header, bytes) = body(captured::AUTH);
    assert_eq!((header.xid, header.op), (-4, OpCode::Auth.code()));
    let auth = AuthPacket::decode(&mut Reader::new(&bytes)).expect("auth");
    assert_eq!((auth.scheme, auth.auth), (Some(&b"digest"[..]), Some(&b"u:p"[..])));

    let (header, bytes) = body(captured::SET_WATCHES);
    let op = OpCode::from_code(header.op).expect("setWatches");
    let set = SetWatchesRequest::decode(op, &mut Reader::new(&bytes)).expect("setWatches");
    let data: Vec<&[u8]> = set.data.expect("a list").iter().flatten().collect();
    assert_eq!(data, [b"/gone"]);
}

#[test]
fn captured_replies() {
    let bytes = unhex(captured::GOT_DATA);
    let mut r = Reader::new(&bytes);
    let header = ReplyHeader::decode(&mut r).expect("a header");
    assert_eq!((header.xid, header.zxid.0, header.err), (3, 3, 0));
    let data = r.buffer().expect("data");
    let stat = Stat::decode(&mut r).expect("a Stat");
    assert!(r.is_empty());
    assert_eq!((stat.czxid, stat.data_length, stat.mtime), (2, 2, 0x01a1_fb7d_67c1));
    let mut out = Vec::new();
    encode_reply(&mut out, header, |out| {
        out.put_buffer(data);
        stat.encode(out);
    });
    assert_eq!(out[4..], bytes);
    let mut out = Vec::new();
    let zxid = ringkeeper::base::Zxid(4);
    encode_watch_event(&mut out, EventType::NodeDataChanged, b"/a", zxid);
    assert_eq!(out, unhex(captured::EVENT));
}

#[test]
fn records_cut_at_every_length() {
    let acl = bodies::open_acl();
    let ok = |result: Result<()>| result.is_ok();
    for op in [OpCode::Create, OpCode::CreateTtl] {
        let ttl = (op == OpCode::CreateTtl).then_some(5);
        let bytes = bodies::create(Some(b"/a"), Some(b"data"), &acl, 0, ttl);
        cut_everywhere("create", &bytes, |b| {
            ok(CreateRequest::decode(op, &mut Reader::new(b)).map(drop))
        });
    }
    cut_everywhere("delete", &bodies::path_int(Some(b"/a"), 1), |b| {
        ok(PathVersionRequest::decode(&mut Reader::new(b)).map(drop))
    });
    cut_everywhere("addWatch", &bodies::path_int(Some(b"/a"), 1), |b| {
        ok(PathModeRequest::decode(&mut Reader::new(b)).map(drop))
    });
    cut_everywhere("getData", &bodies::path_watch(Some(b"/a"), true), |b| {
        ok(PathWatchRequest::decode(&mut Reader::new(b)).map(drop))
    });
    cut_everywhere("setData", &bodies::set_data(Some(b"/a"), Some(b"x"), 1), |b| {
        ok(SetDataRequest::decode(&mut Reader::new(b)).map(drop))
    });
    cut_everywhere("setACL", &bodies::set_acl(Some(b"/a"), &acl, 1), |b| {
        ok(SetAclRequest::decode(&mut Reader::new(b)).map(drop))
    });
    cut_everywhere("ACL", &acl, |b| ok(AclList::decode(&mut Reader::new(b)).map(drop)));
    cut_everywhere("auth", &bodies::auth(Some(b"digest"), Some(b"u:p")), |b| {
        ok(AuthPacket::decode(&mut Reader::new(b)).map(drop))
    });
    let ops = [
        (OpCode::Delete.code(), bodies::path_int(Some(b"/a"), 1)),
        (OpCode::Create.code(), bodies::create_open("/b", b"x", 1)),
    ];
    cut_everywhere("multi", &bodies::multi(&ops), |b| decode_multi(&mut Reader::new(b)).is_ok());
    for (op, lists) in [(OpCode::SetWatches, 3), (OpCode::SetWatches2, 5)] {
        let mut bytes = Vec::new();
        bytes.put_long(9);
        for _ in 0..lists {
            bytes.put_int(1);
            bytes.put_str("/a");
        }
        cut_everywhere("setWatches", &bytes, |b| {
            ok(SetWatchesRequest::decode(op, &mut Reader::new(b)).map(drop))
        });
    }
    let mut bytes = Vec::new();
    bytes.put_str("server.1=a");
    bytes.put_buffer(None);
    bytes.put_buffer(None);
    bytes.put_long(-1);
    cut_everywhere("reconfig", &bytes, |b| {
        ok(ReconfigRequest::decode(&mut Reader::new(b)).map(drop))
    });
    let mut bytes = Vec::new();
    Stat { czxid: 1, pzxid: -1, ..Stat::default() }.encode(&mut bytes);
    assert_eq!(bytes.len(), Stat::WIRE_BYTES);
    cut_everywhere("Stat", &bytes, |b| ok(Stat::decode(&mut Reader::new(b)).map(drop)));
    let mut bytes = Vec::new();
    StatPersisted { mzxid: 4, ..StatPersisted::default() }.encode(&mut bytes);
    assert_eq!(bytes.len(), StatPersisted::WIRE_BYTES);
    cut_everywhere("StatPersisted", &bytes, |b| {
        ok(StatPersisted::decode(&mut Reader::new(b)).map(drop))
    });
    let mut bytes = Vec::new();
    MultiHeader::END.encode(&mut bytes);
    assert_eq!(bytes.len(), MultiHeader::WIRE_BYTES);
    cut_everywhere("MultiHeader", &bytes, |b| {
        ok(MultiHeader::decode(&mut Reader::new(b)).map(drop))
    });
}

/// Transactions of the log that a 3.9.5 server wrote (disk-format, appendix D). The framing of the file is the
/// storage room's; here a record is checksum, length, bytes, end mark.
fn log_records() -> Vec<&'static [u8]> {
    let log: &'static [u8] = include_bytes!("golden/log.1.zk3.9.5");
    let mut r = Reader::new(log);
    r.bytes(16).expect("the file header");
    let mut records = Vec::new();
    while let (Ok(_), Ok(Some(bytes))) = (r.long(), r.buffer()) {
        if bytes.is_empty() {
            break;
        }
        assert_eq!(r.bytes(1), Ok(&b"B"[..]), "the end mark");
        records.push(bytes);
    }
    records
}

#[test]
fn logged_transactions() {
    let records = log_records();
    assert_eq!(records.len(), 22);
    let mut ops = Vec::new();
    for (index, bytes) in records.iter().enumerate() {
        let (header, txn, digest) = decode_txn(bytes).expect("a transaction");
        assert_eq!(header.zxid.0, index as i64 + 1);
        // A refused write changes nothing, and the server that logged it wrote no digest.
        let refused = matches!(txn, Txn::Error { .. });
        assert_eq!(digest.is_some(), !refused, "digest of transaction {index}");
        ops.push(header.op);
        let mut out = Vec::new();
        header.encode(&mut out);
        assert_eq!(out[..], bytes[..TxnHeader::WIRE_BYTES]);
        match txn {
            Txn::Create(create) => create.encode(&mut out),
            Txn::SetData(set) => set.encode(&mut out),
            Txn::SetAcl(set) => set.encode(&mut out),
            _ => continue,
        }
        assert_eq!(out[..], bytes[..out.len()], "transaction {index} encoded again");
        assert_eq!(bytes.len() - out.len(), 12, "transaction {index}: the digest is the rest");
        // Shorter than its record it is no transaction; without a whole digest it has none.
        for len in 0..bytes.len() {
            match decode_txn(&bytes[..len]) {
                // A plain create may end before its last number: the form of the 3.3 era.
                Ok((_, _, digest)) => {
                    let tail = if header.op == OpCode::Create.code() { 16 } else { 12 };
                    assert!(digest.is_none() && len + tail >= bytes.len(), "{index} cut at {len}");
                }
                Err(error) => assert_eq!(error, DecodeError::EndOfData, "{index} cut at {len}"),
            }
        }
    }
    assert_eq!(&ops[..8], &[-10, 1, 1, 15, 1, 1, 5, -1]);
    let (_, txn, _) = decode_txn(records[11]).expect("the TTL node");
    assert!(matches!(txn, Txn::Create(c) if c.mode == CreateMode::Ttl(60_000)));
    let (_, txn, _) = decode_txn(records[13]).expect("the multi that failed");
    assert!(matches!(txn, Txn::Multi(multi) if multi.is_failed() && multi.len() == 3));
}

#[test]
fn operations_and_words_round_trip() {
    for op in OpCode::ALL {
        assert_eq!(OpCode::from_code(op.code()), Some(*op));
    }
    for word in FourLetterWord::ALL {
        let text = word.as_str();
        if text.len() == 4 {
            let bytes: [u8; 4] = text.as_bytes().try_into().expect("four letters");
            assert_eq!(FourLetterWord::from_bytes(bytes), Some(*word));
        }
    }
}

/// Runs every decoder of the crate over the bytes; also what the fuzz targets do.
fn decode_all(bytes: &[u8]) {
    let reader = || Reader::new(bytes);
    if let Ok(request) = ConnectRequest::decode(bytes) {
        let mut out = Vec::new();
        request.encode(&mut out);
        assert_eq!(ConnectRequest::decode(&out), Ok(request));
    }
    let _ = ConnectResponse::decode(bytes);
    for op in OpCode::ALL {
        let _ = CreateRequest::decode(*op, &mut reader());
        if let Ok(set) = SetWatchesRequest::decode(*op, &mut reader()) {
            let lists = [set.data, set.exist, set.child, set.persistent, set.persistent_recursive];
            for list in lists.into_iter().flatten() {
                assert_eq!(list.iter().count(), list.len());
            }
        }
        if let Ok(Txn::Multi(multi)) = Txn::decode(op.code(), &mut reader()) {
            assert_eq!(multi.iter().count(), multi.len());
        }
    }
    let _ = PathVersionRequest::decode(&mut reader());
    let _ = SetDataRequest::decode(&mut reader());
    let _ = SetAclRequest::decode(&mut reader());
    let _ = PathWatchRequest::decode(&mut reader());
    let _ = PathModeRequest::decode(&mut reader());
    let _ = AuthPacket::decode(&mut reader());
    let _ = ReconfigRequest::decode(&mut reader());
    if let Ok(ops) = decode_multi(&mut reader()) {
        let mut out = Vec::new();
        encode_multi(&ops, &mut out);
        let again = decode_multi(&mut Reader::new(&out)).expect("what was encoded");
        assert_eq!(again, ops);
    }
    if let Ok(Some(list)) = AclList::decode(&mut reader()) {
        assert_eq!(list.iter().count(), list.len());
    }
    let _ = decode_txn(bytes);
}

/// A bounded stand-in for the fuzz targets: captured bytes, spoiled a little or a lot.
#[test]
fn spoiled_bytes_never_panic() {
    use captured::*;
    let frames = [CONNECT, CONNECTED, CREATE, GET_DATA, SET_DATA, MULTI, AUTH, SET_WATCHES];
    let mut seeds: Vec<Vec<u8>> = frames.iter().map(|frame| unhex(frame)).collect();
    seeds.extend(frames[2..].iter().map(|frame| unhex(frame)[8..].to_vec()));
    seeds.extend(log_records().iter().map(|record| record.to_vec()));
    let rounds = support::env_number("RINGKEEPER_SPOIL_ROUNDS", 20_000);
    let mut rng = Prng::new(support::env_number("RINGKEEPER_SPOIL_SEED", 7));
    for _ in 0..rounds {
        let mut bytes = seeds[rng.below(seeds.len() as u64) as usize].clone();
        for _ in 0..rng.below(4) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = match rng.below(4) {
                0 => 0xff,
                1 => 0,
                2 => bytes[at].wrapping_add(1),
                _ => rng.next_u64() as u8,
            };
        }
        if rng.chance(1, 3) {
            bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize);
        }
        decode_all(&bytes);
    }
}
