//! A standalone server in memory, whose disk is as fast as a test says.

use std::ops::Range;
use std::sync::Arc;

use super::*;
use crate::auth::{AuthConfig, Identities};
use crate::base::SessionId;
use crate::base::slab::{Key, Slab};
use crate::base::tally::Tally;
use crate::pipeline::Applier;
use crate::pipeline::messages::{RequestBatch, WriteRequest};
use crate::pipeline::prep::PrepOptions;
use crate::session::SessionTracker;
use crate::tree::{OwnerOptions, Tree, TreeWriter};
use crate::wire::acl::OPEN_ACL_UNSAFE;
use crate::wire::quorum_packet::{PacketType, QuorumPacket};
use crate::wire::{ErrorCode, JuteWrite, OpCode};
use crate::zab::Quorum;
use crate::zab::liveness::Limits;

/// Only what a server on its own asks for is answered, and what a learner does that cannot be cut.
#[derive(Default)]
struct Memory {
    /// Links dialled and not closed since, of how many.
    open_links: Vec<LinkId>,
    dialled: u64,
    /// What the links were given.
    sent: Vec<(LinkId, Vec<u8>)>,
    appended: Zxid,
    records: usize,
    due: bool,
    /// Sessions of each snapshot taken.
    snapshots: Vec<Vec<SessionId>>,
    batches: Vec<Arc<CommitBatch>>,
    /// The client cores are behind.
    crowded: bool,
}

fn no() -> ! {
    unreachable!("a server on its own asks for no such thing")
}

#[rustfmt::skip]
impl Host for Memory {
    fn append(&mut self, zxid: Zxid, _: &[u8]) -> Result<(), Fatal> {
        self.appended = zxid;
        self.records += 1;
        Ok(())
    }
    fn log_idle(&self) -> bool { true }
    fn truncate(&mut self, _: Zxid) -> Result<bool, Fatal> { Ok(false) }
    fn reload(&mut self) -> Result<Recovered, Fatal> { no() }
    fn read_log(&mut self, _: Zxid, _: Zxid) -> Option<Vec<Proposal>> { no() }
    fn write_epoch(&mut self, _: EpochFile, _: i64) -> Result<(), Fatal> { Ok(()) }
    fn snapshot_due(&mut self) -> bool { std::mem::take(&mut self.due) }
    fn write_snapshot(&mut self, source: Source) {
        self.snapshots.push(source.sessions.iter().map(|(id, _)| *id).collect());
    }
    fn give_up_snapshot(&mut self) { no() }
    fn begin_received_snapshot(&mut self, _: Zxid) -> Result<(), Fatal> { Ok(()) }
    fn received_snapshot_bytes(&mut self, _: &[u8]) -> Result<(), Fatal> { no() }
    fn adopt_received_snapshot(&mut self, _: Zxid) { no() }
    fn abandon_received_snapshot(&mut self) {}
    fn send_vote(&mut self, _: Sid, _: Vec<u8>) { no() }
    fn connect_all_voters(&mut self) { no() }
    fn votes_delivered(&self) -> bool { no() }
    fn accept_learners(&mut self, _: bool) { no() }
    fn dial(&mut self, _: Sid) -> LinkId {
        self.dialled += 1;
        self.open_links.push(LinkId(self.dialled));
        LinkId(self.dialled)
    }
    fn send(&mut self, link: LinkId, bytes: &[u8]) { self.sent.push((link, bytes.to_vec())); }
    fn learner_known(&mut self, _: LinkId, _: Sid) { no() }
    fn send_shared(&mut self, _: LinkId, _: &Arc<Vec<u8>>, _: Range<usize>) { no() }
    fn stream_snapshot(&mut self, _: LinkId, _: Source) { no() }
    fn set_read_timeout(&mut self, _: LinkId, _: MonoMs) {}
    fn close(&mut self, link: LinkId) { self.open_links.retain(|open| *open != link); }
    fn shards_have_room(&self) -> bool { !self.crowded }
    fn to_shards(&mut self, batch: &Arc<CommitBatch>) { self.batches.push(batch.clone()); }
    fn control_shards(&mut self, _: ToShard) {}
    fn wake_shards(&mut self) {}
    fn show_state(&mut self, _: ServerState, _: &Arc<Tree>) {}
}

struct Rig {
    peer: Peer,
    host: Memory,
    conn: Key,
    next_xid: i32,
}

fn options() -> PeerOptions {
    PeerOptions {
        sid: Sid(1),
        quorum: Quorum::Majority(vec![Sid(1)]),
        standalone: true,
        observer: false,
        limits: Limits { tick_ms: 2000, init_limit_ticks: 10, sync_limit_ticks: 5 },
        config_version: 0,
        config_text: Vec::new(),
        container_check_ms: 60_000,
        container_delete_gap_ms: 1,
        container_never_used_ms: 0,
        touch_slack_ms: 10,
        outstanding_txns_max: 1000,
        prep: PrepOptions {
            digest_enabled: true,
            extended_types: false,
            close_session_txn: true,
            enforce_quota: false,
            reconfig_enabled: false,
            record_bytes_max: 1 << 20,
        },
        owners: OwnerOptions::default(),
        force_snapshot_sync: false,
        log_sync: true,
        packet_bytes_max: 1 << 20,
        observer_logs: true,
        leader_connect_delay_ms: 100,
        leader_serves: true,
        local: Default::default(),
        sync_limits: Default::default(),
    }
}

impl Rig {
    fn new() -> Rig {
        Rig::with(options())
    }

    fn with(options: PeerOptions) -> Rig {
        let recovered = Recovered {
            tree: TreeWriter::new(OwnerOptions::default()),
            sessions: SessionTracker::new(2000),
            applier: Applier::default(),
            recent: Vec::new(),
            loads: Default::default(),
        };
        let parts = PeerParts {
            recovered,
            epochs: Epochs::default(),
            session_ids: SessionIds::new(1, 1),
            auth: Arc::new(Auth::new(AuthConfig::default())),
            election: None,
            commit_log_count: 500,
        };
        let mut host = Memory::default();
        let mut peer = Peer::new(options, parts);
        peer.set_time(0, 1000);
        peer.start(&mut host).expect("a start");
        let conn = Slab::default().insert(());
        Rig { peer, host, conn, next_xid: 1 }
    }

    fn token(&self) -> ConnToken {
        ConnToken { shard: 0, conn: self.conn }
    }

    fn turn(&mut self) -> Vec<Item> {
        self.peer.end_turn(&mut self.host).expect("a turn");
        self.host.batches.drain(..).flat_map(|batch| batch.items.clone()).collect()
    }

    /// Everything appended is durable.
    fn flush(&mut self) -> Vec<Item> {
        self.peer.logged(self.host.appended);
        self.turn()
    }

    fn ask_for_session(&mut self) {
        let message = ToZab::CreateSession { conn: self.token(), timeout_ms: 10_000 };
        self.peer.message(&mut self.host, message);
    }

    fn open(&mut self) -> SessionId {
        self.ask_for_session();
        self.turn();
        match self.flush()[..] {
            [Item::SessionReady { session, .. }] => session,
            ref other => panic!("no session: {other:?}"),
        }
    }

    fn write(&mut self, session: SessionId, op: OpCode, body: Vec<u8>) {
        let request = WriteRequest {
            conn: self.conn,
            session,
            xid: self.next_xid,
            op: op.code(),
            body: 0..body.len() as u32,
            identities: Identities::none(),
        };
        self.next_xid += 1;
        let batch = RequestBatch { shard: 0, sent_at: 0, bytes: body, requests: vec![request] };
        self.peer.message(&mut self.host, ToZab::Requests(batch));
    }

    fn create(&mut self, session: SessionId, path: &[u8], flags: i32) {
        let mut body = Vec::new();
        body.put_buffer(Some(path));
        body.put_buffer(None);
        body.extend_from_slice(OPEN_ACL_UNSAFE.as_bytes());
        body.put_int(flags);
        self.write(session, OpCode::Create, body);
    }
}

/// Error and zxid of each reply.
fn replies(items: &[Item]) -> Vec<(i32, i64)> {
    let reply = |item: &Item| match item {
        Item::Reply { err, zxid, .. } => Some((*err, zxid.0)),
        _ => None,
    };
    items.iter().filter_map(reply).collect()
}

#[test]
fn a_snapshot_has_the_sessions_that_are_applied_and_no_others() {
    let mut rig = Rig::new();
    let first = rig.open();
    rig.ask_for_session();
    rig.host.due = true;
    rig.turn();
    assert_eq!(rig.host.snapshots, [vec![first]], "the second is not durable yet");
    rig.flush();
    rig.write(first, OpCode::CloseSession, Vec::new());
    rig.host.due = true;
    rig.turn();
    assert_eq!(rig.host.snapshots[1].len(), 2, "the first has not ended yet");
    rig.flush();
    rig.host.due = true;
    rig.turn();
    assert!(!rig.host.snapshots[2].contains(&first) && rig.host.snapshots[2].len() == 1);
}

/// Its createSession may come to nothing, like anybody's.
#[test]
fn a_snapshot_has_no_session_that_is_just_being_upgraded() {
    let local = LocalOptions { sessions: true, upgrading: true, read_only_after_ms: None };
    let mut rig = Rig::with(PeerOptions { local, ..options() });
    rig.ask_for_session();
    let Item::SessionReady { session, .. } = rig.turn()[0] else { panic!("no session") };
    rig.create(session, b"/e", 1);
    rig.host.due = true;
    rig.turn();
    assert_eq!(rig.host.snapshots, [vec![]], "createSession is not durable yet");
    assert_eq!(replies(&rig.flush()), [(0, 2)]);
    rig.host.due = true;
    rig.turn();
    assert_eq!(rig.host.snapshots[1], [session]);
}

#[test]
fn answers_alone_leave_the_tree_to_its_readers() {
    let mut rig = Rig::new();
    let session = rig.open();
    let moved = rig.peer.tree().tree().changes();
    // Neither a request that is none nor a refused resumption changes anything.
    rig.write(session, OpCode::Create, Vec::new());
    let resume = ToZab::ResumeSession {
        conn: rig.token(),
        session: SessionId(77),
        passwd: Vec::new(),
        timeout_ms: 10_000,
    };
    rig.peer.message(&mut rig.host, resume);
    let items = rig.turn();
    assert_eq!(replies(&items), [(ErrorCode::MarshallingError.code(), 1)]);
    assert!(matches!(items.last(), Some(Item::SessionRejected { .. })), "{items:?}");
    assert_eq!(rig.peer.tree().tree().changes(), moved);
    rig.create(session, b"/a", 0);
    rig.turn();
    rig.flush();
    assert!(rig.peer.tree().tree().changes() > moved);
}

#[test]
fn with_little_room_only_ends_of_sessions_are_logged() {
    let mut rig = Rig::new();
    let session = rig.open();
    rig.create(session, b"/e", 1);
    rig.turn();
    assert_eq!(replies(&rig.flush()), [(0, 2)]);
    rig.peer.set_space_low(true);
    let records = rig.host.records;
    for path in [&b"/a"[..], b"/b"] {
        rig.create(session, path, 0);
    }
    assert_eq!(replies(&rig.turn()), [(ErrorCode::SystemError.code(), 2); 2]);
    assert_eq!(rig.host.records, records, "not even a refusal is logged");
    rig.write(session, OpCode::CloseSession, Vec::new());
    rig.turn();
    assert_eq!(replies(&rig.flush()), [(0, 3)]);
    assert!(rig.peer.tree().view().lookup(b"/e").is_none());
    let other = rig.open();
    rig.peer.set_space_low(false);
    rig.create(other, b"/a", 0);
    rig.turn();
    assert_eq!(replies(&rig.flush()), [(0, 5)]);
}

#[test]
fn counts_begin_anew_when_asked_to() {
    let mut rig = Rig::new();
    let session = rig.open();
    rig.peer.set_time(40, 1040);
    rig.create(session, b"/app", 0);
    rig.turn();
    rig.peer.set_time(47, 1047);
    rig.flush();
    let counts = rig.peer.counts();
    assert_eq!((counts.propagation.tally.count, counts.propagation.tally.max), (2, 7));
    assert_eq!((counts.prep.changes_queued, counts.prep.changes_removed), (2, 2));
    assert_eq!(counts.written.iter().map(|(key, _)| key).collect::<Vec<_>>(), [b"app"]);
    assert_eq!(counts.leader.proposals, 0, "nobody is led");
    rig.peer.reset_counts();
    let counts = rig.peer.counts();
    assert_eq!((counts.propagation.tally.count, counts.prep.changes_queued), (0, 0));
    assert_eq!((counts.written.iter().count(), rig.peer.status(false).applied), (0, 0));
}

#[test]
fn what_is_committed_is_counted_where_it_waits() {
    let mut rig = Rig::new();
    let session = rig.open();
    rig.peer.reset_counts();
    let before = rig.peer.progress();
    for path in [&b"/a"[..], b"/b", b"/c"] {
        rig.create(session, path, 0);
    }
    rig.peer.set_time(40, 1040);
    rig.turn();
    rig.host.crowded = true;
    rig.flush();
    let progress = rig.peer.progress();
    assert_eq!((progress.prepared - before.prepared, progress.proposed - before.proposed), (3, 3));
    assert_eq!(progress.applied, before.applied, "the client cores are behind");
    rig.host.crowded = false;
    rig.peer.set_time(49, 1049);
    assert_eq!(replies(&rig.turn()).len(), 3);
    rig.write(session, OpCode::CloseSession, Vec::new());
    rig.turn();
    rig.flush();
    let counts = rig.peer.counts().applied;
    assert_eq!(counts.count, 4);
    assert_eq!(counts.queue_size, Tally { min: 1, max: 3, count: 2, sum: 4 });
    assert_eq!(counts.run_size, counts.queue_size);
    assert_eq!(counts.local_ms.tally, Tally { min: 0, max: 9, count: 4, sum: 27 });
    assert_eq!(counts.other_ms.tally.count, 0);
    let progress = rig.peer.progress();
    assert_eq!((progress.closings, progress.applied - before.applied), (1, 4));
    // Nobody waits for the end of a session that was not heard of.
    rig.open();
    rig.peer.set_time(60_000, 61_000);
    rig.turn();
    rig.flush();
    assert_eq!(rig.peer.progress().closings, 2);
    assert_eq!(rig.peer.counts().applied.other_ms.tally.count, 1);
}

/// A server with a transaction, which has just been told to follow server 2.
fn follower() -> Rig {
    let mut rig = Rig::new();
    rig.open();
    let learner = Learner::new(&rig.peer.core, &mut rig.host, Sid(2));
    rig.peer.role = Role::Learning(Box::new(learner));
    rig
}

/// The leader of epoch 1 answers a new link up to the learner's ACKEPOCH, which is returned: its zxid and its epoch.
fn acknowledged_epoch(rig: &mut Rig, link: LinkId) -> (Zxid, i32) {
    rig.peer.link_up(&mut rig.host, link);
    rig.turn();
    hear(rig, link, PacketType::LeaderInfo, Zxid(1 << 32), Some(&0x10000_i32.to_be_bytes()));
    let (_, bytes) = rig.host.sent.pop().expect("an answer");
    let (packet, _) = QuorumPacket::decode(&bytes, 1 << 20).expect("sound").expect("whole");
    assert_eq!(packet.kind, PacketType::AckEpoch);
    let epoch = packet.data.and_then(|data| Some(i32::from_be_bytes(*data.first_chunk()?)));
    (packet.zxid, epoch.expect("an epoch"))
}

fn hear(rig: &mut Rig, link: LinkId, kind: PacketType, zxid: Zxid, data: Option<&[u8]>) {
    let mut bytes = Vec::new();
    QuorumPacket { kind, zxid, data, authinfo: None }.encode(&mut bytes);
    if kind == PacketType::Trunc {
        // What follows belongs to this link and must not be taken for the next one's.
        QuorumPacket::bare(PacketType::NewLeader, Zxid(1 << 32)).encode(&mut bytes);
    }
    rig.peer.link_input(&mut rig.host, link, &bytes).expect("no failure of the disk");
    rig.turn();
}

/// To leave would need an election that may find no quorum: where a majority claims nothing, no epoch begins.
#[test]
fn a_history_that_cannot_be_cut_is_asked_for_whole_in_the_same_epoch() {
    let mut rig = follower();
    let [first] = rig.host.open_links[..] else { panic!("one link") };
    assert_eq!(acknowledged_epoch(&mut rig, first), (Zxid(1), 0), "the own history, a promise");
    hear(&mut rig, first, PacketType::Trunc, Zxid(0), None);
    assert!(!rig.peer.is_looking(), "the role is kept");
    let [second] = rig.host.open_links[..] else { panic!("one link") };
    assert_ne!(first, second);
    assert_eq!(acknowledged_epoch(&mut rig, second), (Zxid::NONE, -1), "nothing, no promise");
    hear(&mut rig, second, PacketType::Snap, Zxid(5), None);
    assert!(!rig.peer.is_looking(), "a tree is taken");
    assert_eq!(rig.host.open_links, [second]);

    // The next leader hears the truth again.
    rig.peer.link_down(&mut rig.host, second, "gone").expect("no failure of the disk");
    assert!(rig.peer.is_looking());
    let learner = Learner::new(&rig.peer.core, &mut rig.host, Sid(3));
    rig.peer.role = Role::Learning(Box::new(learner));
    let third = *rig.host.open_links.last().expect("a link");
    assert_eq!(acknowledged_epoch(&mut rig, third), (Zxid(1), -1));
}

#[test]
fn no_diff_is_taken_where_the_whole_tree_is_needed() {
    for kind in [PacketType::Diff, PacketType::Trunc] {
        let mut rig = follower();
        acknowledged_epoch(&mut rig, LinkId(1));
        hear(&mut rig, LinkId(1), PacketType::Trunc, Zxid(0), None);
        acknowledged_epoch(&mut rig, LinkId(2));
        hear(&mut rig, LinkId(2), kind, Zxid(7), None);
        assert!(rig.peer.is_looking(), "{kind:?}: what must be cut would stay");
    }
}
