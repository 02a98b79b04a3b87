//! A server without a quorum: what it says to readers, to everybody else, and how they come back to a quorum. The same
//! requests go to Apache's, which must give the same answers.
//!
//! Who survives was a leader or a follower; its session ids begin with its id.

mod ensemble_support;
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use ensemble_support::client::EnsembleClient;
use ensemble_support::ensemble::{Ensemble, Settings, ask};
use ensemble_support::kind::{Kind, available};
use ensemble_support::{alone, wait_for};
use ringkeeper::wire::connect::ConnectRequest;
use ringkeeper::wire::{OpCode, Reader, Stat};
use support::bodies;
use support::client::{Got, Session, Wire};

const TIMEOUT_MS: i32 = 20_000;

/// Milliseconds; a session asks for it, and outlives the test.
const PATIENT: Duration = Duration::from_secs(5);

fn settings() -> Settings {
    Settings {
        extra: "readonlymode.enabled=true\nlocalSessionsEnabled=true\n\
                localSessionsUpgradingEnabled=true\n"
            .into(),
        java_flags: vec!["-Dreadonlymode.enabled=true".into()],
        ..Settings::default()
    }
}

fn request<'a>(id: i64, passwd: &'a [u8], read_only: Option<bool>) -> ConnectRequest<'a> {
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0,
        timeout_ms: TIMEOUT_MS,
        session_id: id,
        passwd: Some(passwd),
        read_only,
    }
}

fn greet(address: SocketAddr, request: &ConnectRequest<'_>) -> std::io::Result<Session> {
    Session::greet(Wire::dial(address, PATIENT)?, request)
}

/// What becomes of a handshake: a session, a rejection, or a closed connection.
fn outcome(address: SocketAddr, request: &ConnectRequest<'_>) -> String {
    match greet(address, request) {
        Ok(session) => format!("a session, read-only {:?}", session.read_only),
        Err(error) if error.to_string() == "session rejected" => "rejected".into(),
        Err(error) => {
            assert_eq!(error.to_string(), "no answer to the handshake");
            "closed".into()
        }
    }
}

/// Code and body of an answer; its zxid must be the last that this server has.
fn ask_session(session: &mut Session, zxid: i64, op: OpCode, body: &[u8]) -> (i32, Vec<u8>) {
    let reply = session.call(op, body).unwrap_or_else(|e| panic!("{op:?}: {e}"));
    assert_eq!(reply.header.zxid.0, zxid, "{op:?}");
    (reply.header.err, reply.body)
}

/// Two of three servers of a kind are killed, and the third is asked everything.
fn alone_with_readers(kind: Kind, name: &str, survivor_leads: bool) {
    if !available(&[kind], name) {
        return;
    }
    let _alone = alone();
    let mut ensemble = Ensemble::make(name, &[kind; 3], &[kind], settings());
    let observer = ensemble.address(3);
    ensemble.start_all();
    let leader = ensemble.wait_all();
    let first = if survivor_leads { leader } else { (leader + 1) % 3 };
    let others = [(first + 1) % 3, (first + 2) % 3];
    let survivor = ensemble.address(first);
    let mut writer = EnsembleClient::open(&[survivor], PATIENT * 8, 0).expect("opens");
    writer.surely("create", |client| client.create("/a", b"before", 0));
    // An ephemeral makes its session known to all.
    writer.surely("create", |client| client.create("/ephemeral", b"", 1));
    others.iter().for_each(|index| ensemble.kill(*index));
    let found = wait_for("a read-only server", || {
        (ensemble.mode(first).as_deref() == Some("read-only")).then_some(())
    });
    found.expect("it serves readers");
    let found = wait_for("a read-only observer", || (ask(observer, "isro") == "ro").then_some(()));
    found.expect("it serves readers as well");
    assert_eq!(ask(survivor, "isro"), "ro");
    let srvr = ask(survivor, "srvr");
    assert_eq!(srvr.lines().nth(1), Some("READ-ONLY mode; serving only read-only clients"));
    assert!(!ask(survivor, "conf").contains("membership"));
    let dump = ask(survivor, "dump");
    assert!(dump.contains("Local Session Sets (0)/(0):\nGlobal Sessions(1):\n"), "{dump}");
    assert!(ask(survivor, "mntr").contains("zk_server_state\tread-only\n"));
    let zxid = ensemble.zxid(first).expect("it serves");

    handshakes(survivor, zxid, &writer);
    let mut reader = greet(survivor, &request(0, &[0; 16], Some(true))).expect("a reader");
    assert_eq!(reader.read_only, Some(true));
    assert_eq!(reader.id as u64 >> 56, first as u64 + 1, "the id of its server in {:x}", reader.id);
    assert_eq!(reader.passwd, bodies::session_password(reader.id));
    reads(&mut reader, zxid);
    writes(&mut reader, zxid);
    comings_and_goings(survivor, reader, zxid);

    let mut reader = greet(observer, &request(0, &[0; 16], Some(true))).expect("a reader");
    assert_eq!(reader.read_only, Some(true));
    let mut reader_too = greet(survivor, &request(0, &[0; 16], Some(true))).expect("a reader");
    let watch = bodies::path_watch(Some(b"/a"), true);
    assert_eq!(ask_session(&mut reader, zxid, OpCode::GetData, &watch).0, 0);
    ensemble.start(others[0]);
    ensemble.wait_all();
    assert_eq!(
        reader.wire.next(PATIENT * 4),
        Got::Closed,
        "a reader must look for a writable server"
    );
    assert_eq!(reader_too.wire.next(PATIENT * 4), Got::Closed);
    for at in [survivor, observer] {
        let found = wait_for("a writable server", || (ask(at, "isro") == "rw").then_some(()));
        found.expect("there is a quorum");
    }
    // A client that has never met another server asks for a new session.
    for index in [first, others[0]] {
        let mut client = greet(ensemble.address(index), &request(0, &[0; 16], Some(true)))
            .expect("a session with a quorum");
        assert_eq!(client.read_only, Some(false));
        let set = bodies::set_data(Some(b"/a"), Some(b"after"), -1);
        assert_eq!(client.call(OpCode::SetData, &set).expect("an answer").header.err, 0);
    }
    // The session that was known to all is still alive, and its ephemeral with it.
    assert!(writer.surely("exists", |client| client.exists("/ephemeral")));
}

fn handshakes(survivor: SocketAddr, zxid: i64, writer: &EnsembleClient) {
    let new = |read_only| outcome(survivor, &request(0, &[0; 16], read_only));
    assert_eq!(new(Some(false)), "closed");
    assert_eq!(new(None), "closed");
    let ahead = ConnectRequest { last_zxid_seen: zxid + 1, ..request(0, &[0; 16], Some(true)) };
    assert_eq!(outcome(survivor, &ahead), "closed");
    let global = bodies::session_password(writer.id);
    assert_eq!(outcome(survivor, &request(writer.id, &global, Some(true))), "closed");
    let unknown = 0x0177_0000_0000_0001;
    let passwd = bodies::session_password(unknown);
    assert_eq!(outcome(survivor, &request(unknown, &passwd, Some(true))), "rejected");
}

fn reads(reader: &mut Session, zxid: i64) {
    let mut ask = |op, body: &[u8]| ask_session(reader, zxid, op, body);
    let (err, body) = ask(OpCode::GetData, &bodies::path_watch(Some(b"/a"), true));
    let mut r = Reader::new(&body);
    assert_eq!((err, r.buffer().expect("data")), (0, Some(&b"before"[..])));
    assert_eq!(Stat::decode(&mut r).expect("a Stat").version, 0);
    assert_eq!(ask(OpCode::Exists, &bodies::path_watch(Some(b"/none"), true)).0, -101);
    let (err, body) = ask(OpCode::GetChildren, &bodies::path_watch(Some(b"/"), true));
    assert_eq!((err, Reader::new(&body).int()), (0, Ok(3)));
    let multi = bodies::multi(&[(4, bodies::path_watch(Some(b"/a"), false))]);
    assert_eq!(ask(OpCode::MultiRead, &multi).0, 0);
    assert_eq!(ask(OpCode::AddWatch, &bodies::path_int(Some(b"/a"), 1)).0, 0);
    assert_eq!(ask(OpCode::CheckWatches, &bodies::path_int(Some(b"/a"), 2)).0, 0);
    assert_eq!(ask(OpCode::WhoAmI, &[]).0, 0);
    assert_eq!(ask(OpCode::Ping, &[]).0, 0);
}

fn writes(reader: &mut Session, zxid: i64) {
    let refused = [
        (OpCode::Create, bodies::create_open("/b", b"", 0)),
        (OpCode::Create2, bodies::create_open("/b", b"", 0)),
        (OpCode::Create, bodies::create_open("/b", b"", 1)),
        (OpCode::SetData, bodies::set_data(Some(b"/a"), Some(b"lost"), -1)),
        (OpCode::Delete, bodies::path_int(Some(b"/a"), -1)),
        (OpCode::SetAcl, bodies::set_acl(Some(b"/a"), &bodies::open_acl(), -1)),
        (OpCode::Multi, bodies::multi(&[(2, bodies::path_int(Some(b"/a"), -1))])),
        (OpCode::Sync, bodies::path_only(Some(b"/a"))),
        // Nothing is decoded.
        (OpCode::SetData, Vec::new()),
    ];
    for (op, body) in refused {
        assert_eq!(ask_session(reader, zxid, op, &body), (-119, Vec::new()), "{op:?}");
    }
    let still = bodies::path_watch(Some(b"/a"), false);
    let (_, body) = ask_session(reader, zxid, OpCode::GetData, &still);
    assert_eq!(Reader::new(&body).buffer(), Ok(Some(&b"before"[..])));
}

fn comings_and_goings(survivor: SocketAddr, mut reader: Session, zxid: i64) {
    let wrong = request(reader.id, &[7; 16], Some(true));
    assert_eq!(outcome(survivor, &wrong), "rejected");
    assert_eq!(reader.wire.next(PATIENT), Got::Closed, "the older connection of the session");
    let mut again = greet(survivor, &request(reader.id, &reader.passwd, Some(true)))
        .expect("the session goes on");
    assert_eq!((again.id, again.read_only), (reader.id, Some(true)));
    assert_eq!(ask_session(&mut again, zxid, OpCode::CloseSession, &[]), (0, Vec::new()));
    assert_eq!(again.wire.next(PATIENT), Got::Closed);
    let over = request(reader.id, &reader.passwd, Some(true));
    assert_eq!(outcome(survivor, &over), "rejected");
}

#[test]
fn a_follower_serves_readers_until_there_is_a_quorum() {
    alone_with_readers(Kind::Ours, "read_only_follower", false);
}

#[test]
fn a_leader_serves_readers_until_there_is_a_quorum() {
    alone_with_readers(Kind::Ours, "read_only_leader", true);
}

#[test]
fn apache_gives_the_same_answers() {
    alone_with_readers(Kind::Apache39, "read_only_apache", false);
}

/// Without `readonlymode.enabled` nobody is served; with it but without local sessions nobody gets a session.
#[test]
fn without_the_settings_nobody_is_served() {
    let name = "read_only_without";
    if !available(&[Kind::Ours], name) {
        return;
    }
    let _alone = alone();
    for extra in ["", "readonlymode.enabled=true\n"] {
        let mut ensemble = Ensemble::make(name, &[Kind::Ours; 3], &[], Settings::with(extra));
        ensemble.start_all();
        ensemble.wait_all();
        ensemble.kill(1);
        ensemble.kill(2);
        let wanted = (!extra.is_empty()).then_some("read-only");
        let found = wait_for("the quorum to be missed", || {
            let says = ask(ensemble.address(0), "srvr");
            let idle = says.contains("not currently serving requests");
            let there = wanted.is_some_and(|mode| says.contains(&format!("Mode: {mode}")));
            (there || (wanted.is_none() && idle)).then_some(())
        });
        found.expect("it says so");
        let reader = request(0, &[0; 16], Some(true));
        assert_eq!(outcome(ensemble.address(0), &reader), "closed", "with {extra:?}");
    }
}
