//! What members of an ensemble count of each other: the way of a transaction from leader to learners and back, and the
//! learners' coming. Ensembles of this server and, when its jars are there, of Apache's must agree.

mod ensemble_support;
mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ensemble_support::ensemble::{Ensemble, Settings, ask};
use ensemble_support::kind::{Kind, available};
use ensemble_support::{alone, wait_for};
use ringkeeper::wire::OpCode;
use ringkeeper::wire::connect::ConnectRequest;
use support::bodies;
use support::client::{Session, Wire};

use Kind::{Apache39, Ours};

const PATIENT: Duration = Duration::from_secs(20);

/// A session's beginning and end, a node, and as many changes of it.
const SETS: i64 = 20;
const TXNS: i64 = SETS + 3;

type Values = BTreeMap<String, String>;

fn mntr(at: SocketAddr) -> Values {
    let text = ask(at, "mntr");
    let lines = text.lines().filter_map(|line| line.strip_prefix("zk_")?.split_once('\t'));
    lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn number(values: &Values, key: &str) -> i64 {
    let value = values.get(key).unwrap_or_else(|| panic!("no {key}"));
    value.parse().unwrap_or_else(|_| panic!("{key}: {value}"))
}

/// Waits until a server has counted so much: what it does for others is done a little later.
fn wait_until(at: SocketAddr, key: &str, wanted: i64) -> Values {
    let counted = || Some(mntr(at)).filter(|values| number(values, key) >= wanted);
    wait_for(&format!("{key} to be {wanted}"), counted).unwrap_or_else(|why| panic!("{why}"))
}

fn greet(at: SocketAddr, session_id: i64, passwd: &[u8]) -> std::io::Result<Session> {
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0,
        timeout_ms: 20_000,
        session_id,
        passwd: Some(passwd),
        read_only: Some(false),
    };
    Session::greet(Wire::dial(at, PATIENT)?, &request)
}

fn call(session: &mut Session, op: OpCode, body: &[u8]) {
    assert_eq!(session.call(op, body).expect("an answer").header.err, 0, "{op:?}");
}

/// At a member: a session from its beginning to its end.
fn write(at: SocketAddr) {
    let mut session = greet(at, 0, &[0; 16]).expect("a session");
    call(&mut session, OpCode::Create, &bodies::create_open("/app", b"", 0));
    for _ in 0..SETS {
        call(&mut session, OpCode::SetData, &bodies::set_data(Some(b"/app"), Some(b"x"), -1));
    }
    call(&mut session, OpCode::CloseSession, &[]);
}

/// Each learner's coming begins and ends; of one that the log or the tree is sent to.
fn learners_have_come(leader: SocketAddr) {
    let values = mntr(leader);
    let of = |key: &str| number(&values, key);
    let came = of("diff_count") + of("snap_count");
    assert!(came >= 2, "{came} learners");
    let samples = of("cnt_inflight_diff_count") + of("cnt_inflight_snap_count");
    assert_eq!(samples, 2 * came);
    assert!(of("max_inflight_diff_count").max(of("max_inflight_snap_count")) >= 1);
}

fn of_follower(values: &Values) {
    for key in [
        "cnt_proposal_latency",
        "cnt_commit_propagation_latency",
        "cnt_proposal_ack_creation_latency",
        "cnt_local_write_committed_time_ms",
        "request_commit_queued",
    ] {
        assert_eq!(number(values, key), TXNS, "{key}");
    }
    assert_eq!(number(values, "cnt_server_write_committed_time_ms"), 0);
    assert!(number(values, "cnt_learner_request_processor_queue_size") >= TXNS);
}

fn of_observer(values: &Values) {
    assert_eq!(number(values, "cnt_commit_propagation_latency"), TXNS);
    assert_eq!(number(values, "cnt_server_write_committed_time_ms"), TXNS);
    for key in ["cnt_proposal_latency", "cnt_proposal_ack_creation_latency"] {
        assert_eq!(number(values, key), 0, "{key}");
    }
}

fn of_leader(values: &Values, kind: Kind, ids: [usize; 3]) {
    let [leader, follower, observer] = ids.map(|index| index + 1);
    assert_eq!(number(values, "cnt_proposal_ack_creation_latency"), TXNS);
    assert_eq!(number(values, "cnt_close_session_prep_time"), 1);
    assert_eq!(number(values, "cnt_proposal_latency"), 0);
    for learner in [follower, observer] {
        assert!(number(values, &format!("cnt_{learner}_learner_handler_qp_size")) > 0);
    }
    // Apache takes one in a thousand.
    if kind == Ours {
        for learner in [follower, observer] {
            let key = format!("cnt_{learner}_learner_handler_qp_time_ms");
            assert!(number(values, &key) > 0, "{key}");
        }
        assert_eq!(number(values, &format!("cnt_{leader}_ack_latency")), TXNS);
        assert_eq!(number(values, &format!("cnt_{follower}_ack_latency")), TXNS);
        assert!(!values.contains_key(&format!("cnt_{observer}_ack_latency")));
        assert_eq!(number(values, "prep_processor_request_queued"), TXNS);
        assert_eq!(number(values, "cnt_proposal_process_time"), TXNS);
    }
}

fn run(kind: Kind) {
    let settings = Settings { tick_ms: 1000, ..Settings::default() };
    let mut ensemble = Ensemble::make("metrics-of-members", &[kind, kind], &[kind], settings);
    // Alone it serves nobody.
    ensemble.start(0);
    if kind == Ours {
        let refused = || greet(ensemble.address(0), 0, &[0; 16]).err().filter(is_end);
        wait_for("a refusal", refused).unwrap_or_else(|why| panic!("{why}"));
    }
    ensemble.start(1);
    ensemble.start(2);
    let leader = ensemble.wait_all();
    let ids = [leader, 1 - leader, 2];
    let [leader, follower, observer] = ids.map(|index| ensemble.address(index));
    if kind == Ours {
        let alone = mntr(ensemble.address(0));
        assert!(number(&alone, "cnxn_closed_without_zk_server_running") >= 1);
    }
    learners_have_come(leader);
    for at in [leader, follower, observer] {
        assert_eq!(ask(at, "srst"), "Server stats reset.\n");
    }
    write(follower);
    wait_until(observer, "cnt_commit_propagation_latency", TXNS);
    of_observer(&wait_until(observer, "cnt_server_write_committed_time_ms", TXNS));
    of_follower(&wait_until(follower, "cnt_proposal_ack_creation_latency", TXNS));
    if kind == Ours {
        let acks = format!("cnt_{}_ack_latency", ids[1] + 1);
        wait_until(leader, &acks, TXNS);
    }
    of_leader(&wait_until(leader, "cnt_proposal_ack_creation_latency", TXNS), kind, ids);
    // A session that moves from learner to learner is asked about.
    assert_eq!(number(&mntr(leader), "revalidate_count"), 0);
    let moving = greet(observer, 0, &[0; 16]).expect("a session");
    greet(follower, moving.id, &moving.passwd).expect("the same session");
    assert_eq!(number(&mntr(leader), "revalidate_count"), 1);
}

/// The server has taken the connection and hung up.
fn is_end(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::Other
}

#[test]
fn members_count_what_apaches_count() {
    let _alone = alone();
    for kind in [Ours, Apache39] {
        if available(&[kind], "metrics-of-members") {
            run(kind);
        }
    }
}
