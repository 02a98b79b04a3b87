//! A client core alone: bytes and time in, bytes and forwarded writes out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{
    Admission, CommandHandler, LargeOptions, Links, PendingAnswer, Shard, ShardCounters,
    ShardOptions, ThrottleOptions,
};
use crate::auth::{Auth, AuthConfig};
use crate::base::slab::Key;
use crate::base::tally::Tally;
use crate::base::{MonoMs, SessionId, Zxid};
use crate::pipeline::messages::{ToShard, ToZab};
use crate::pipeline::{CommitBatch, ConnToken, Item, Mailbox, Wake};
use crate::tree::{Create, OwnerOptions, TreeWriter};
use crate::wire::acl::OPEN_ACL_UNSAFE;
use crate::wire::connect::ConnectRequest;
use crate::wire::four_letter::FourLetterWord;
use crate::wire::multi::{MultiOp, encode_multi};
use crate::wire::reply::ReplyHeader;
use crate::wire::request::PathWatchRequest;
use crate::wire::{AclList, JuteWrite, OpCode, Reader};

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

impl CommandHandler for Nobody {
    fn reads_mask(&self, _: FourLetterWord) -> bool {
        false
    }

    fn start(&self, _: FourLetterWord, _: Option<[u8; 8]>) -> Box<dyn PendingAnswer> {
        unreachable!("no four-letter words here")
    }
}

pub(super) fn options() -> ShardOptions {
    ShardOptions {
        max_frame_bytes: 1 << 20,
        session_timeout_ms_min: 4000,
        session_timeout_ms_max: 40_000,
        outstanding_limit: 1000,
        max_client_cnxns: 0,
        max_cnxns: 0,
        sessionless_timeout_ms: 10_000,
        tcp_keepalive: false,
        out_bytes_high: 1 << 20,
        out_bytes_max: 64 << 20,
        read_chunk_bytes: 64 << 10,
        throttle: None,
        eager_acl: false,
    }
}

/// The core, and everybody around it.
struct Rig {
    shard: Shard,
    to_zab: Arc<Mailbox<ToZab>>,
    mailbox: Arc<Mailbox<ToShard>>,
    epoch: Instant,
    /// Writes that the Zab core has, oldest first.
    forwarded: VecDeque<(Key, i32)>,
    next_session: i64,
}

impl Rig {
    fn new(options: ShardOptions, admission: Admission) -> Rig {
        Rig::on(TreeWriter::new(OwnerOptions::default()), options, admission)
    }

    fn on(tree: TreeWriter, options: ShardOptions, admission: Admission) -> Rig {
        let to_zab = Arc::new(Mailbox::new(64, Box::new(Nobody)));
        let mailbox = Arc::new(Mailbox::new(64, Box::new(Nobody)));
        let epoch = Instant::now();
        let links = Links {
            tree: tree.tree().clone(),
            auth: Arc::new(Auth::new(AuthConfig::default())),
            to_zab: to_zab.clone(),
            mailbox: mailbox.clone(),
            admission: Arc::new(admission),
            commands: Arc::new(Nobody),
            counters: Arc::new(ShardCounters::default()),
            epoch,
        };
        let shard = Shard::new(0, options, links);
        Rig { shard, to_zab, mailbox, epoch, forwarded: VecDeque::new(), next_session: 1 }
    }

    fn at(&mut self, ms: MonoMs) {
        self.shard.set_now(self.epoch + Duration::from_millis(ms as u64));
    }

    fn connect(&mut self) -> Key {
        self.shard.add_conn("127.0.0.1:1".parse().expect("an address"))
    }

    /// The handshake's bytes, and the answer to them if the Zab core was asked.
    fn shake_hands(&mut self, conn: Key, timeout_ms: i32) -> bool {
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout_ms,
            session_id: 0,
            passwd: Some(&[0; 16]),
            read_only: Some(false),
        };
        let mut body = Vec::new();
        request.encode(&mut body);
        self.send_frame(conn, &body);
        let Some(ToZab::CreateSession { conn, timeout_ms }) = self.to_zab.pop() else {
            return false;
        };
        let session = SessionId(self.next_session);
        self.next_session += 1;
        self.deliver(Item::SessionReady { conn, session, timeout_ms, passwd: [0; 16] });
        self.shard.conn_mut(conn.conn).expect("it is there").output.clear();
        true
    }

    fn open(&mut self) -> Key {
        let conn = self.connect();
        assert!(self.shake_hands(conn, 10_000));
        conn
    }

    fn deliver(&mut self, item: Item) {
        let batch = CommitBatch { items: vec![item], ..CommitBatch::default() };
        self.mailbox.push(ToShard::Committed(Arc::new(batch))).expect("room");
        self.shard.on_mailbox();
        self.turn();
    }

    fn send_frame(&mut self, conn: Key, payload: &[u8]) {
        let mut frame = Vec::new();
        frame.put_buffer(Some(payload));
        self.shard.on_bytes(conn, &frame);
        self.turn();
    }

    fn send(&mut self, conn: Key, xid: i32, op: OpCode, body: &[u8]) {
        let mut payload = Vec::new();
        payload.put_int(xid);
        payload.put_int(op.code());
        payload.extend_from_slice(body);
        self.send_frame(conn, &payload);
    }

    /// A write of so many bytes of data.
    fn write(&mut self, conn: Key, xid: i32, bytes: usize) {
        let mut body = Vec::new();
        body.put_buffer(Some(b"/a"));
        body.put_buffer(Some(&vec![7; bytes]));
        body.put_int(-1);
        self.send(conn, xid, OpCode::SetData, &body);
    }

    fn turn(&mut self) {
        self.shard.end_turn();
        while let Some(message) = self.to_zab.pop() {
            match message {
                ToZab::Requests(batch) => {
                    self.forwarded.extend(batch.requests.iter().map(|r| (r.conn, r.xid)));
                }
                other => {
                    // A handshake's message is its sender's to take.
                    let _ = self.to_zab.push(other);
                    return;
                }
            }
        }
    }

    /// The xids that the Zab core has and has not answered.
    fn under_way(&self) -> Vec<i32> {
        self.forwarded.iter().map(|(_, xid)| *xid).collect()
    }

    /// The Zab core answers the oldest write.
    fn answer_one(&mut self) {
        let (conn, xid) = self.forwarded.pop_front().expect("a write");
        let conn = ConnToken { shard: 0, conn };
        self.deliver(Item::Reply { conn, xid, zxid: Zxid(1), err: 0, body: 0..0 });
    }

    /// xid and error of each reply since this was asked last.
    fn replies(&mut self, conn: Key) -> Vec<(i32, i32)> {
        let output = std::mem::take(&mut self.shard.conn_mut(conn).expect("it is there").output);
        let mut r = Reader::new(&output);
        let mut replies = Vec::new();
        while let Ok(Some(frame)) = r.buffer() {
            let header = ReplyHeader::decode(&mut Reader::new(frame)).expect("a reply");
            replies.push((header.xid, header.err));
        }
        replies
    }

    fn is_closing(&self, conn: Key) -> bool {
        self.shard.conn(conn).is_none_or(|conn| conn.is_closing())
    }
}

fn throttle(requests_max: usize) -> ShardOptions {
    let throttle =
        ThrottleOptions { requests_max, op_wait_ms: 0, stale_by_latency: false, drop_stale: true };
    ShardOptions { throttle: Some(throttle), ..options() }
}

fn path_watch(path: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_buffer(Some(path));
    body.put_bool(false);
    body
}

#[test]
fn latency_counts_from_the_arrival_of_what_had_to_wait() {
    let mut rig = Rig::new(options(), Admission::default());
    rig.at(100);
    let conn = rig.open();
    rig.write(conn, 1, 1);
    rig.at(103);
    rig.send(conn, 2, OpCode::Exists, &path_watch(b"/"));
    assert!(rig.replies(conn).is_empty(), "behind the write");
    rig.at(110);
    rig.answer_one();
    assert_eq!(rig.replies(conn), [(1, 0), (2, 0)]);
    rig.at(120);
    rig.send(conn, 3, OpCode::Exists, &path_watch(b"/"));
    let (reads, updates) = (&rig.shard.counts.reads.tally, &rig.shard.counts.updates.tally);
    assert_eq!((reads.count, reads.min, reads.max), (2, 0, 7));
    // The session, and the write.
    assert_eq!((updates.count, updates.min, updates.max), (2, 0, 10));
    let whole = rig.shard.links.counters.snapshot();
    assert_eq!((whole.latency_count, whole.latency_ms_total, whole.latency_ms_max), (4, 17, 10));
}

#[test]
fn throttled_requests_wait_in_turn_whoever_sends_them() {
    let mut rig = Rig::new(throttle(2), Admission::default());
    let conns = [(); 3].map(|()| rig.open());
    for xid in 1..=3 {
        rig.write(conns[0], xid, 1);
    }
    rig.write(conns[1], 4, 1);
    rig.send(conns[2], 5, OpCode::Ping, &[]);
    assert_eq!(rig.under_way(), [1, 2], "no more than two");
    assert!(rig.replies(conns[2]).is_empty(), "not even a ping passes");
    assert_eq!(rig.shard.counts.throttle_waits, 3);
    rig.answer_one();
    assert_eq!(rig.under_way(), [2, 3]);
    rig.answer_one();
    assert_eq!(rig.under_way(), [3, 4]);
    assert!(rig.replies(conns[2]).is_empty(), "there was no room left");
    rig.answer_one();
    assert_eq!(rig.replies(conns[2]), [(-2, 0)]);
    assert_eq!(rig.replies(conns[0]), [(1, 0), (2, 0), (3, 0)]);
    // Somebody who comes while others wait does not pass them by.
    rig.write(conns[1], 6, 1);
    rig.write(conns[1], 7, 1);
    rig.write(conns[0], 8, 1);
    assert_eq!(rig.under_way(), [4, 6]);
    rig.answer_one();
    assert_eq!(rig.under_way(), [6, 7]);
}

#[test]
fn who_waits_longer_than_an_operation_may_is_told_so_in_its_turn() {
    let mut wanted = throttle(1);
    wanted.throttle = wanted.throttle.map(|t| ThrottleOptions { op_wait_ms: 50, ..t });
    let mut rig = Rig::new(wanted, Admission::default());
    rig.at(0);
    let (slow, other) = (rig.open(), rig.open());
    rig.write(slow, 1, 1);
    rig.write(other, 2, 1);
    rig.send(other, 3, OpCode::Ping, &[]);
    rig.at(30);
    rig.write(other, 4, 1);
    rig.at(60);
    rig.answer_one();
    // 60 ms are too long, 30 are not; a ping is spared.
    assert_eq!(rig.replies(other), [(2, -127), (-2, 0)]);
    assert_eq!(rig.under_way(), [4]);
    assert_eq!(rig.shard.counts.throttled_ops, 1);
    rig.at(200);
    rig.answer_one();
    assert_eq!(rig.replies(other), [(4, 0)]);
    let waited = rig.shard.counts.throttle_ms.tally;
    assert_eq!((waited.count, waited.max), (4, 60));
}

#[test]
fn a_wait_for_the_own_write_is_none_for_the_throttler() {
    let mut wanted = throttle(5);
    wanted.throttle = wanted.throttle.map(|t| ThrottleOptions { op_wait_ms: 50, ..t });
    let mut rig = Rig::new(wanted, Admission::default());
    rig.at(0);
    let conn = rig.open();
    rig.write(conn, 1, 1);
    rig.send(conn, 2, OpCode::Exists, &path_watch(b"/"));
    rig.write(conn, 3, 1);
    rig.at(500);
    rig.answer_one();
    assert_eq!(rig.replies(conn), [(1, 0), (2, 0)]);
    assert_eq!(rig.under_way(), [3]);
    assert_eq!((rig.shard.counts.throttled_ops, rig.shard.counts.throttle_ms.tally.max), (0, 0));
}

#[test]
fn stale_requests_go_with_their_connection_or_close_it() {
    let mut wanted = throttle(1);
    wanted.throttle = wanted.throttle.map(|t| ThrottleOptions { stale_by_latency: true, ..t });
    let mut rig = Rig::new(wanted, Admission::default());
    rig.at(0);
    let conns = [(); 3].map(|()| rig.open());
    rig.write(conns[0], 1, 1);
    rig.write(conns[1], 2, 1);
    rig.write(conns[1], 3, 1);
    rig.write(conns[2], 4, 1);
    rig.shard.remove_conn(conns[1]);
    assert_eq!((rig.shard.counts.stale_dropped, rig.shard.counts.drops), (1, 1));
    // Longer than its session's timeout.
    rig.at(10_001);
    rig.answer_one();
    assert!(rig.is_closing(conns[2]), "it came too late");
    assert_eq!(rig.shard.counts.stale_dropped, 2);
    assert!(rig.under_way().is_empty());
    // An answer that nobody waits for any more.
    rig.write(conns[0], 5, 1);
    rig.shard.remove_conn(conns[0]);
    rig.answer_one();
    assert_eq!(rig.shard.counts.stale_replies, 1);
}

#[test]
fn large_requests_that_do_not_fit_together_close_their_connection() {
    let large = LargeOptions { above_bytes: 100, in_flight_bytes_max: 1000 };
    let mut rig = Rig::new(options(), Admission::new(None, Some(large), 1));
    let (first, second, small) = (rig.open(), rig.open(), rig.open());
    rig.write(first, 1, 600);
    rig.write(small, 2, 10);
    rig.write(second, 3, 600);
    assert!(rig.is_closing(second));
    assert_eq!(rig.shard.counts.large_rejected, 1);
    assert_eq!(rig.under_way(), [1, 2]);
    rig.answer_one();
    rig.write(first, 4, 900);
    assert_eq!(rig.under_way(), [2, 4], "the first is answered: there is room");
    // The length alone is enough.
    let third = rig.open();
    rig.shard.on_bytes(third, &500i32.to_be_bytes());
    assert!(rig.is_closing(third));
    // What is under way on a connection that goes makes room as well.
    rig.shard.remove_conn(first);
    let fourth = rig.open();
    rig.write(fourth, 5, 900);
    assert!(!rig.is_closing(fourth));
}

#[test]
fn a_handshake_without_a_token_is_closed_without_a_word() {
    let options_of = |tokens_max| super::ConnectOptions {
        tokens_max,
        fill_ms: 1000,
        fill_count: 1,
        freeze_ms: None,
        drop_increase: 0.02,
        drop_decrease: 0.002,
        decrease_ratio: 0.0,
        new_weight: 1,
        resumed_weight: 1,
    };
    let mut rig = Rig::new(options(), Admission::new(Some(options_of(1)), None, 1));
    rig.at(10);
    rig.open();
    let late = rig.connect();
    assert!(!rig.shake_hands(late, 10_000), "the Zab core is not asked");
    assert!(rig.is_closing(late));
    assert!(rig.shard.conn(late).expect("it lingers").output.is_empty());
    let counts = &rig.shard.counts;
    assert_eq!((counts.rejected, counts.connects, counts.token_deficit.max), (1, 1, 1));
    rig.at(1011);
    rig.open();
}

#[test]
fn an_acl_refuses_before_anything_is_forwarded() {
    let mut tree = TreeWriter::new(OwnerOptions::default());
    tree.begin();
    let mut read_only = Vec::new();
    for number in [1, 1] {
        read_only.put_int(number);
    }
    read_only.put_buffer(Some(b"world"));
    read_only.put_buffer(Some(b"anyone"));
    let closed = AclList::decode(&mut Reader::new(&read_only)).expect("a list").expect("a list");
    for (path, acl) in [(&b"/a"[..], closed), (&b"/open"[..], OPEN_ACL_UNSAFE)] {
        let create =
            Create { path, data: None, acl, owner: 0, zxid: Zxid(1), time: 0, parent_cversion: 1 };
        tree.create(&create).expect("a node");
    }
    tree.publish(Zxid(1));
    let mut rig =
        Rig::on(tree, ShardOptions { eager_acl: true, ..options() }, Admission::default());
    let conn = rig.open();
    let body = |path: &[u8], rest: &[u8]| {
        let mut body = Vec::new();
        body.put_buffer(Some(path));
        body.extend_from_slice(rest);
        body
    };
    let create = |path: &[u8], acl: &[u8]| body(path, &[&[0, 0, 0, 0], acl, &[0; 4]].concat());
    let open = OPEN_ACL_UNSAFE.as_bytes();
    rig.write(conn, 1, 1);
    rig.send(conn, 2, OpCode::Create, &create(b"/a/b", open));
    rig.send(conn, 3, OpCode::Create, &create(b"/open/b", &[0; 4]));
    rig.send(conn, 4, OpCode::Delete, &body(b"/a/b", &(-1i32).to_be_bytes()));
    rig.send(conn, 5, OpCode::SetAcl, &body(b"/a", &[open, &[0; 4]].concat()));
    assert_eq!(rig.replies(conn), [(1, -102), (2, -102), (3, -114), (4, -102), (5, -102)]);
    assert!(rig.under_way().is_empty());
    rig.send(conn, 6, OpCode::Create, &create(b"/open/b", open));
    // What is not there and what is no path is for the leader to say.
    rig.send(conn, 7, OpCode::Create, &create(b"/missing/b", open));
    rig.send(conn, 8, OpCode::Delete, &body(b"no-path", &(-1i32).to_be_bytes()));
    // Its answer waits for those before it.
    rig.write(conn, 9, 1);
    assert_eq!((rig.under_way(), rig.replies(conn)), (vec![6, 7, 8], vec![]));
    for _ in 0..3 {
        rig.answer_one();
    }
    assert_eq!(rig.replies(conn), [(6, 0), (7, 0), (8, 0), (9, -102)]);
}

#[test]
fn a_silent_handshake_is_swept_and_counted_from_the_last_byte() {
    let mut rig = Rig::new(options(), Admission::default());
    rig.at(0);
    let (silent, slow, active) = (rig.connect(), rig.connect(), rig.open());
    rig.at(9_000);
    rig.shard.on_bytes(slow, &[0, 0]);
    rig.at(10_000);
    assert_eq!(rig.shard.sweep(), [], "just long enough");
    rig.at(10_001);
    assert_eq!(rig.shard.sweep(), [silent]);
    rig.shard.remove_conn(silent);
    rig.at(19_000);
    assert_eq!(rig.shard.sweep(), []);
    rig.at(19_001);
    assert_eq!(rig.shard.sweep(), [slow], "a session's silence is its own");
    assert!(!rig.is_closing(active));
    assert_eq!(rig.shard.counts.sessionless_expired, 2);
}

#[test]
fn a_closed_connection_that_stays_is_swept_when_its_time_is_over() {
    let mut rig = Rig::new(options(), Admission::default());
    rig.at(0);
    let conn = rig.open();
    rig.send(conn, 1, OpCode::Ping, &[]);
    rig.at(1_000);
    rig.shard.close(conn);
    rig.at(3_000);
    assert_eq!(rig.shard.sweep(), [], "its reply may still go out");
    // The reader took it in the meantime: its time begins anew.
    let output = rig.shard.conn(conn).expect("it is there").output.len();
    rig.shard.conn_mut(conn).expect("it is there").sent = output;
    rig.at(3_001);
    assert_eq!(rig.shard.sweep(), []);
    rig.at(5_001);
    assert_eq!(rig.shard.sweep(), []);
    rig.at(5_002);
    assert_eq!(rig.shard.sweep(), [conn]);
}

/// A ping behind a write that a slow disk holds up is a sign of life all the same.
#[test]
fn pings_behind_a_slow_write_keep_the_session() {
    let mut rig = Rig::new(options(), Admission::default());
    rig.at(0);
    let conn = rig.connect();
    assert!(rig.shake_hands(conn, 4000));
    rig.write(conn, 1, 10);
    rig.shard.flush_touches();
    while rig.to_zab.pop().is_some() {}
    // The flush hangs; the client pings every third of its timeout.
    let mut heard = Vec::new();
    for ms in [1300, 2600, 3900, 5200] {
        rig.at(ms);
        rig.send(conn, -2, OpCode::Ping, b"");
        rig.shard.flush_touches();
        while let Some(message) = rig.to_zab.pop() {
            if let ToZab::Touches(touches) = message {
                heard.extend(touches.iter().map(|touch| touch.at));
            }
        }
    }
    assert_eq!(heard.len(), 4, "touches heard at {heard:?}");
    assert_eq!(rig.under_way(), [1]);
}

fn tally(min: i64, max: i64, count: i64, sum: i64) -> Tally {
    Tally { min, max, count, sum }
}

#[test]
fn how_requests_of_a_session_wait_is_counted() {
    let mut rig = Rig::new(options(), Admission::default());
    rig.at(0);
    let (one, other) = (rig.open(), rig.open());
    rig.write(one, 1, 1);
    rig.write(one, 2, 1);
    rig.send(one, 3, OpCode::Ping, &[]);
    rig.send(one, 4, OpCode::Ping, &[]);
    rig.write(other, 1, 1);
    (0..3).for_each(|_| rig.answer_one());
    assert_eq!(rig.replies(one).len(), 4);
    let counts = &rig.shard.counts.order;
    // Two writes, the second behind the first, and one; answered with three, two and one waiting.
    assert_eq!(counts.in_session, tally(1, 3, 6, 10));
    assert_eq!(counts.sessions, tally(1, 2, 3, 5));
    // The two reads went with the second answer; nothing waited behind the other session's.
    assert_eq!(counts.reads_after_write, tally(0, 2, 2, 2));
    assert_eq!(counts.reads_let_go, tally(0, 2, 2, 2));
    assert_eq!(counts.drained, tally(1, 1, 2, 2));
    // Turns with requests: the three writes, and that of the two reads.
    assert_eq!(counts.reads_issued, tally(0, 2, 4, 2));
    assert_eq!(counts.reads, tally(0, 2, 4, 3));
    assert_eq!(counts.writes, tally(1, 3, 4, 7));
    assert_eq!(counts.answer_ms.tally, tally(0, 0, 2, 0));
}

#[test]
fn a_reads_time_ends_with_its_turn() {
    let mut rig = Rig::new(options(), Admission::default());
    let conn = rig.open();
    rig.at(50);
    let mut frame = Vec::new();
    let exists = [&[0, 0, 0, 1, 0, 0, 0, 3][..], &path_watch(b"/")].concat();
    frame.put_buffer(Some(&exists));
    rig.shard.on_bytes(conn, &frame);
    rig.at(57);
    rig.turn();
    assert_eq!(rig.shard.counts.order.answer_ms.tally, tally(7, 7, 1, 7));
}

#[test]
fn a_connection_that_goes_takes_along_what_waited_on_it() {
    let mut rig = Rig::new(options(), Admission::default());
    let (one, other) = (rig.open(), rig.open());
    rig.write(one, 1, 1);
    rig.send(one, 2, OpCode::Ping, &[]);
    rig.shard.remove_conn(one);
    rig.forwarded.clear();
    rig.write(other, 1, 1);
    rig.answer_one();
    let counts = &rig.shard.counts.order;
    assert_eq!((counts.sessions, counts.reads), (tally(1, 1, 1, 1), tally(0, 0, 2, 0)));
}

#[test]
fn a_multi_read_is_many_reads() {
    let mut tree = TreeWriter::new(OwnerOptions::default());
    tree.begin();
    for (path, data) in [(&b"/app"[..], &b"12345"[..]), (b"/app/child", b"")] {
        let acl = AclList::decode(&mut Reader::new(OPEN_ACL_UNSAFE.as_bytes()));
        let acl = acl.expect("a list").expect("not null");
        tree.create(&Create {
            path,
            data: Some(data),
            acl,
            owner: 0,
            zxid: Zxid(1),
            time: 1,
            parent_cversion: 0,
        })
        .expect("made");
    }
    tree.publish(Zxid(1));
    let mut rig = Rig::on(tree, options(), Admission::default());
    let conn = rig.open();
    let read = |path: &'static [u8]| PathWatchRequest { path: Some(path), watch: false };
    let ops = [
        MultiOp::GetData(read(b"/app")),
        MultiOp::GetData(read(b"/app/missing")),
        MultiOp::GetChildren(read(b"/app")),
        MultiOp::GetData(read(b"/")),
    ];
    let mut body = Vec::new();
    encode_multi(&ops, &mut body);
    rig.send(conn, 1, OpCode::MultiRead, &body);
    assert_eq!(rig.replies(conn), [(1, 0)]);
    let read: Vec<_> = rig.shard.counts.read.iter().map(|(key, t)| (key.to_vec(), *t)).collect();
    // Data and a Stat; the name of a child and a Stat.
    assert_eq!(read, [(b"app".to_vec(), tally(77, 77, 2, 154))]);
}
