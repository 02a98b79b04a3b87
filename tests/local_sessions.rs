//! Local sessions: what makes them, what ends them, and when they become known to all; at leader, follower and observer,
//! of this server, of Apache's, and of both together. Every kind must give the same answers.

mod ensemble_support;
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use ensemble_support::ensemble::{Ensemble, Settings, ask};
use ensemble_support::kind::{Kind, available};
use ensemble_support::{alone, wait_for};
use ringkeeper::wire::connect::ConnectRequest;
use ringkeeper::wire::{OpCode, Reader, Stat};
use support::bodies;
use support::client::{Got, Session, Wire};

use Kind::{Apache39, Ours};

const PATIENT: Duration = Duration::from_secs(20);
const EPHEMERAL: i32 = 1;

fn settings(upgrading: bool) -> Settings {
    let extra = format!("localSessionsEnabled=true\nlocalSessionsUpgradingEnabled={upgrading}\n");
    Settings { tick_ms: 1000, ..Settings::with(&extra) }
}

fn greet(at: SocketAddr, timeout_ms: i32, id: i64, passwd: &[u8]) -> Option<Session> {
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0,
        timeout_ms,
        session_id: id,
        passwd: Some(passwd),
        read_only: Some(false),
    };
    match Session::greet(Wire::dial(at, PATIENT).expect("a connection"), &request) {
        Ok(session) => Some(session),
        Err(error) => {
            assert_eq!(error.to_string(), "session rejected");
            None
        }
    }
}

fn open(at: SocketAddr) -> Session {
    greet(at, 20_000, 0, &[0; 16]).expect("a new session")
}

/// Whether the session goes on at a server; if so on the connection that is answered.
fn resume(at: SocketAddr, session: &Session) -> Option<Session> {
    greet(at, 20_000, session.id, &session.passwd)
}

fn call(session: &mut Session, op: OpCode, body: &[u8]) -> (i32, i64, Vec<u8>) {
    let reply = session.call(op, body).unwrap_or_else(|error| panic!("{op:?}: {error}"));
    (reply.header.err, reply.header.zxid.0, reply.body)
}

fn create(session: &mut Session, path: &str, flags: i32) -> (i32, i64) {
    let (err, zxid, _) = call(session, OpCode::Create, &bodies::create_open(path, b"", flags));
    (err, zxid)
}

fn multi_create(session: &mut Session, path: &str) -> (i32, i64, Vec<u8>) {
    let first = (OpCode::Create.code(), bodies::create_open(path, b"", 0));
    let second = bodies::create_open(&format!("{path}-ephemeral"), b"", EPHEMERAL);
    call(session, OpCode::Multi, &bodies::multi(&[first, (OpCode::Create2.code(), second)]))
}

/// Owner of a node; `None` when it is not there.
fn owner(session: &mut Session, path: &str) -> Option<i64> {
    // What others have written is there after a sync.
    call(session, OpCode::Sync, &bodies::path_only(Some(path.as_bytes())));
    let body = bodies::path_watch(Some(path.as_bytes()), false);
    let (err, _, body) = call(session, OpCode::Exists, &body);
    (err == 0).then(|| Stat::decode(&mut Reader::new(&body)).expect("a Stat").ephemeral_owner)
}

/// Sessions of either kind that a server counts.
fn count(at: SocketAddr, kind: &str) -> i64 {
    let mntr = ask(at, "mntr");
    let name = format!("zk_{kind}_sessions\t");
    let line = mntr.lines().find_map(|line| line.strip_prefix(&name));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or_else(|| panic!("{mntr}"))
}

/// An ensemble, and its servers by role: leader, follower, observer.
fn ensemble(
    name: &str,
    voters: &[Kind],
    observer: Kind,
    upgrading: bool,
) -> (Ensemble, [usize; 3]) {
    let mut ensemble = Ensemble::make(name, voters, &[observer], settings(upgrading));
    // With equal histories the greatest id is elected.
    ensemble.start(voters.len() - 1);
    ensemble.start(voters.len() - 2);
    ensemble.wait_leader_of(&[voters.len() - 1]);
    (0..voters.len() - 2).for_each(|index| ensemble.start(index));
    ensemble.start(voters.len());
    let leader = ensemble.wait_all();
    (ensemble, [leader, 0, voters.len()])
}

fn a_local_session_leaves_no_trace(at: SocketAddr, elsewhere: SocketAddr, role: usize) {
    let before = open(at);
    let mut witness = open(elsewhere);
    let zxid = create(&mut witness, &format!("/witness{role}"), 0).1;
    let mut session = open(at);
    assert_eq!(session.id as u64 >> 56, before.id as u64 >> 56, "the id of its server");
    assert_ne!(session.id, before.id);
    assert_eq!(session.passwd, bodies::session_password(session.id));
    // It writes like any other, and its coming took no zxid.
    let path = format!("/local{role}");
    assert_eq!(create(&mut session, &path, 0), (0, zxid + 1));
    assert_eq!(owner(&mut witness, &path), Some(0));
    assert!(resume(elsewhere, &session).is_none(), "another server knows it");
    let mut session = resume(at, &session).expect("its own server knows it");
    let set = bodies::set_data(Some(path.as_bytes()), Some(b"x"), -1);
    assert_eq!(call(&mut session, OpCode::SetData, &set).1, zxid + 2);
    // Its end is answered behind its writes, and takes none either.
    session.post(OpCode::SetData, &set);
    session.post(OpCode::Sync, &bodies::path_only(Some(b"/")));
    let end = session.post(OpCode::CloseSession, &[]);
    let answers: Vec<_> = (0..3).map(|_| session.reply().expect("an answer")).collect();
    assert_eq!((answers[0].header.zxid.0, answers[2].header.xid), (zxid + 3, end));
    assert_eq!((answers[2].header.err, answers[2].header.zxid.0), (0, zxid + 3));
    assert_eq!(session.wire.next(PATIENT), Got::Closed);
    assert!(resume(at, &session).is_none(), "it is over");
    assert_eq!(create(&mut witness, &format!("/witness{role}-2"), 0).1, zxid + 4);
}

fn an_ephemeral_makes_it_global(at: SocketAddr, elsewhere: SocketAddr, role: usize) {
    let mut session = open(at);
    let zxid = create(&mut session, &format!("/persistent{role}"), 0).1;
    let path = format!("/ephemeral{role}");
    // createSession comes before the node.
    assert_eq!(create(&mut session, &path, EPHEMERAL), (0, zxid + 2));
    assert_eq!(create(&mut session, &format!("{path}-2"), EPHEMERAL), (0, zxid + 3));
    let mut witness = open(elsewhere);
    assert_eq!(owner(&mut witness, &path), Some(session.id));
    let mut moved = resume(elsewhere, &session).expect("every server knows it");
    assert_eq!(create(&mut moved, &format!("{path}-3"), EPHEMERAL), (0, zxid + 4));
    let mut back = resume(at, &session).expect("it moves back");
    assert_eq!(call(&mut back, OpCode::CloseSession, &[]).0, 0);
    for suffix in ["", "-2", "-3"] {
        assert_eq!(owner(&mut witness, &format!("{path}{suffix}")), None);
    }
    assert!(resume(at, &session).is_none() && resume(elsewhere, &session).is_none());

    let mut session = open(at);
    let (err, zxid, _) = multi_create(&mut session, &format!("/multi{role}"));
    assert_eq!(err, 0);
    assert_eq!(owner(&mut witness, &format!("/multi{role}-ephemeral")), Some(session.id));
    let mut moved = resume(elsewhere, &session).expect("every server knows it");
    assert_eq!(call(&mut moved, OpCode::CloseSession, &[]), (0, zxid + 1, Vec::new()));
}

fn silence_ends_it(at: SocketAddr) {
    let short = || greet(at, 2000, 0, &[0; 16]).expect("a short session");
    let (mut silent, mut heard) = (short(), short());
    assert!(count(at, "local") >= 2);
    let ended = wait_for("a silent session to end", || {
        assert_eq!(call(&mut heard, OpCode::Ping, &[]).0, 0);
        (silent.wire.next(Duration::from_millis(100)) == Got::Closed).then_some(())
    });
    ended.expect("it ends");
    assert!(resume(at, &silent).is_none());
    assert_eq!(call(&mut heard, OpCode::Ping, &[]).0, 0);
}

/// With upgrading, at every role of an ensemble of these kinds.
fn upgrading(name: &str, voters: &[Kind], observer: Kind) {
    if !available(&[voters, &[observer]].concat(), name) {
        return;
    }
    let _alone = alone();
    let (mut ensemble, roles) = ensemble(name, voters, observer, true);
    for (role, index) in roles.into_iter().enumerate() {
        let at = ensemble.address(index);
        let elsewhere = ensemble.address(roles[(role + 1) % 3]);
        a_local_session_leaves_no_trace(at, elsewhere, role);
        an_ephemeral_makes_it_global(at, elsewhere, role);
        silence_ends_it(at);
    }
    for (role, index) in roles.into_iter().enumerate() {
        let mut session = open(ensemble.address(index));
        let dump = ask(ensemble.address(index), "dump");
        let id = format!("\t0x{:x}", session.id);
        let global = if role == 0 { "\nGlobal Session Sets (" } else { "\nGlobal Sessions(0):\n" };
        let (local, _) = dump.split_once(global).unwrap_or_else(|| panic!("{dump}"));
        assert!(local.starts_with("SessionTracker dump:\nLocal Session Sets ("), "{dump}");
        assert!(local.contains(&id), "{dump}");
        assert_eq!(call(&mut session, OpCode::CloseSession, &[]).0, 0);
        assert_eq!(count(ensemble.address(index), "global"), 0, "sessions that nobody made global");
    }
    a_new_leader_ends_them(&mut ensemble, roles);
}

/// A server that has lost its leader has lost its local sessions, and they with it what was theirs alone.
fn a_new_leader_ends_them(ensemble: &mut Ensemble, [leader, follower, observer]: [usize; 3]) {
    let survivors = [ensemble.address(follower), ensemble.address(observer)];
    let local = survivors.map(open);
    let mut global = open(survivors[0]);
    assert_eq!(create(&mut global, "/outlives", EPHEMERAL).0, 0);
    ensemble.kill(leader);
    let voters = ensemble.voters().into_iter().filter(|index| *index != leader);
    ensemble.wait_leader_of(&voters.collect::<Vec<_>>());
    ensemble.wait_serving(follower);
    ensemble.wait_serving(observer);
    for (at, session) in survivors.into_iter().zip(local) {
        assert!(resume(at, &session).is_none(), "a local session has outlived its server's role");
    }
    let mut global = resume(survivors[1], &global).expect("all know it");
    assert_eq!(owner(&mut global, "/outlives"), Some(global.id));
}

/// Code of the second of two operations in a failed multi's answer.
fn second_code(body: &[u8]) -> i32 {
    let mut r = Reader::new(body);
    let mut code = 0;
    for _ in 0..2 {
        let (_, _, err) = (r.int(), r.bool(), r.int());
        code = r.int().expect("a code");
        assert_eq!(err, Ok(code));
    }
    code
}

/// Without upgrading nobody gets an ephemeral.
fn not_upgrading(name: &str, voters: &[Kind], observer: Kind) {
    if !available(&[voters, &[observer]].concat(), name) {
        return;
    }
    let _alone = alone();
    let (ensemble, roles) = ensemble(name, voters, observer, false);
    for (role, index) in roles.into_iter().enumerate() {
        let at = ensemble.address(index);
        let mut session = open(at);
        let zxid = create(&mut session, &format!("/before{role}"), 0).1;
        let path = format!("/refused{role}");
        // A refusal takes a zxid, as every other does.
        assert_eq!(create(&mut session, &path, EPHEMERAL), (-120, zxid + 1));
        let create2 = bodies::create_open(&path, b"", EPHEMERAL);
        let (err, at_zxid, body) = call(&mut session, OpCode::Create2, &create2);
        assert_eq!((err, at_zxid, body), (-120, zxid + 2, Vec::new()));
        let (err, at_zxid, body) = multi_create(&mut session, &path);
        // Only its own server knows why.
        let expected = if role == 0 { -120 } else { -112 };
        assert_eq!((err, at_zxid, second_code(&body)), (0, zxid + 3, expected), "role {role}");
        assert_eq!(owner(&mut session, &path), None);
        // Behind it all goes on.
        assert_eq!(create(&mut session, &path, 0), (0, zxid + 4));
        assert_eq!(call(&mut session, OpCode::CloseSession, &[]).0, 0);
    }
}

#[test]
fn ours_upgrades() {
    upgrading("local_ours", &[Ours; 3], Ours);
}

#[test]
fn apache_upgrades_alike() {
    upgrading("local_apache", &[Apache39; 3], Apache39);
}

#[test]
fn ours_upgrades_below_java() {
    upgrading("local_below_java", &[Ours, Ours, Apache39], Ours);
}

#[test]
fn java_upgrades_below_ours() {
    upgrading("local_below_ours", &[Apache39, Ours, Ours], Apache39);
}

#[test]
fn ours_refuses() {
    not_upgrading("refused_ours", &[Ours; 3], Ours);
}

#[test]
fn apache_refuses_alike() {
    not_upgrading("refused_apache", &[Apache39; 3], Apache39);
}

#[test]
fn ours_refuses_below_java() {
    not_upgrading("refused_below_java", &[Ours, Ours, Apache39], Ours);
}

#[test]
fn java_refuses_below_ours() {
    not_upgrading("refused_below_ours", &[Apache39, Ours, Ours], Apache39);
}
