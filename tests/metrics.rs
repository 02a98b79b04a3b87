//! `mntr` has real values: what can be known beforehand is the same on Apache ZooKeeper, when its jars are there, and
//! `srst` sets all of it back.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use ringkeeper::wire::OpCode;

use support::bodies;
use support::client::Session;
use support::server::{Kind, Server, available, free_port};

const TIMEOUT_MS: i32 = 40_000;
const CONFIG: &str = "4lw.commands.whitelist=*\nenforceQuota=true\n";

fn mntr(server: &Server) -> BTreeMap<String, String> {
    let text = server.ask("mntr");
    let lines = text.lines().filter_map(|line| line.strip_prefix("zk_")?.split_once('\t'));
    lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn number(values: &BTreeMap<String, String>, key: &str) -> i64 {
    let value = values.get(key).unwrap_or_else(|| panic!("no {key}"));
    value.parse().unwrap_or_else(|_| panic!("{key}: {value}"))
}

/// What both servers must say of the script, whatever their speed.
const SAME: &[&str] = &[
    "cnt_readlatency",
    "cnt_updatelatency",
    "cnt_propagation_latency",
    "cnt_app_read_per_namespace",
    "sum_app_read_per_namespace",
    "min_app_read_per_namespace",
    "max_app_read_per_namespace",
    "cnt_app_write_per_namespace",
    "sum_app_write_per_namespace",
    "cnt_node_changed_watch_count",
    "sum_node_changed_watch_count",
    "cnt_node_children_watch_count",
    "cnt_node_deleted_watch_count",
    "cnt_node_created_watch_count",
    "connection_request_count",
    "connection_revalidate_count",
    "watch_bytes",
    "response_bytes",
    "last_client_response_size",
    "min_client_response_size",
    "max_client_response_size",
    "outstanding_changes_queued",
    "outstanding_changes_removed",
    "app_quota_exceeded_error_per_namespace",
    "app_quota_count_limit_per_namespace",
    "app_quota_bytes_limit_per_namespace",
    "app_quota_count_usage_per_namespace",
    "app_quota_bytes_usage_per_namespace",
    "packets_received",
];

/// Apache counts some things only after it has answered.
fn let_it_count(server: &Server) {
    if server.kind == Kind::Apache {
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn script(server: &Server) -> BTreeMap<String, String> {
    let mut session = Session::open(server.port, TIMEOUT_MS).expect("a session");
    let mut ask = |op, body: Vec<u8>| session.call(op, &body).expect("an answer").header.err;
    let create = |path: &str, data: &[u8]| bodies::create_open(path, data, 0);
    let read = |path: &str, watch| bodies::path_watch(Some(path.as_bytes()), watch);
    let set = |data: &'static [u8]| bodies::set_data(Some(b"/app"), Some(data), -1);
    assert_eq!(ask(OpCode::Create, create("/app", b"12345")), 0);
    assert_eq!(ask(OpCode::Create, create("/zookeeper/quota/app", b"")), 0);
    let (limits, stats) = ("zookeeper_limits", "zookeeper_stats");
    let at = |name| format!("/zookeeper/quota/app/{name}");
    let text = b"count=-1,bytes=-1=;byteHardLimit=1000;countHardLimit=3";
    assert_eq!(ask(OpCode::Create, create(&at(limits), text)), 0);
    assert_eq!(ask(OpCode::Create, create(&at(stats), b"")), 0);
    let_it_count(server);
    assert_eq!(server.ask("srst"), "Server stats reset.\n", "{:?}", server.kind);

    assert_eq!(ask(OpCode::GetData, read("/app", true)), 0);
    assert_eq!(ask(OpCode::SetData, set(b"123456")), 0);
    assert_eq!(ask(OpCode::GetData, read("/app", false)), 0);
    assert_eq!(ask(OpCode::GetChildren, read("/app", true)), 0);
    assert_eq!(ask(OpCode::Create, create("/app/child", b"x")), 0);
    assert_eq!(ask(OpCode::GetChildren2, read("/app", false)), 0);
    assert_eq!(ask(OpCode::Exists, read("/app/child", true)), 0);
    assert_eq!(ask(OpCode::Exists, read("/missing", false)), -101);
    assert_eq!(ask(OpCode::Create, create("/app/more", b"x")), 0);
    assert_eq!(ask(OpCode::Create, create("/app/too-many", b"x")), -125);
    assert_eq!(ask(OpCode::Delete, bodies::path_int(Some(b"/app/child"), -1)), 0);
    assert_eq!(ask(OpCode::Ping, Vec::new()), 0);
    assert_eq!(ask(OpCode::Exists, read("/app", false)), 0);
    let_it_count(server);
    let values = mntr(server);
    for key in ["readlatency", "updatelatency"] {
        let of = |part: &str| number(&values, &format!("{part}_{key}"));
        assert!(of("min") <= of("p50") && of("p50") <= of("p99"), "{:?}: {key}", server.kind);
        assert!(of("p999") <= of("max") && of("max") <= of("sum"), "{:?}: {key}", server.kind);
    }
    let greatest = number(&values, "max_latency");
    let parts = number(&values, "max_readlatency").max(number(&values, "max_updatelatency"));
    assert_eq!(greatest, parts, "{:?}: both tell of the same requests", server.kind);
    values
}

#[test]
fn mntr_counts_what_apache_counts() {
    let mut told = Vec::new();
    for kind in [Kind::Ours, Kind::Apache] {
        if available(kind, "metrics") {
            told.push(script(&Server::start(kind, "metrics", CONFIG)));
        }
    }
    let Some((ours, others)) = told.split_first() else { return };
    let picked = |values: &BTreeMap<String, String>| -> Vec<String> {
        let line = |key: &&str| format!("{key}={}", values.get(*key).map_or("none", |v| v));
        SAME.iter().map(line).collect()
    };
    for apache in others {
        assert_eq!(picked(ours), picked(apache));
    }
    for (key, value) in SAME.iter().map(|key| (key, ours.get(*key))) {
        assert!(value.is_some(), "no {key}");
    }
    assert_eq!((number(ours, "cnt_readlatency"), number(ours, "cnt_updatelatency")), (8, 5));
    // Thirteen answers, three events, and the word that set it back. Apache counts the answers to words a little late.
    assert_eq!(number(ours, "packets_sent"), 17);
    // The stages of a write are this server's own.
    for key in ["prep_processor_request_queued", "cnt_prep_processor_queue_time_ms"] {
        assert_eq!(number(ours, key), 5, "{key}");
    }
    for key in ["sync_processor_request_queued", "sum_sync_processor_batch_size"] {
        assert_eq!(number(ours, key), 5, "{key}");
    }
    let flushes = number(ours, "cnt_fsynctime");
    assert!((1..=5).contains(&flushes), "{flushes} flushes");
    assert_eq!(number(ours, "cnt_sync_processor_queue_flush_time_ms"), flushes);
    assert_eq!(number(ours, "cnt_sync_processor_queue_and_flush_time_ms"), 5);
}

/// Of a server that leads an ensemble of its own, besides.
const LEADER_SAME: &[&str] = &[
    "proposal_count",
    "commit_count",
    "cnt_quorum_ack_latency",
    "last_proposal_size",
    "min_proposal_size",
    "max_proposal_size",
];

/// Of the way it came to that.
const ROLE_SAME: &[&str] = &[
    "looking_count",
    "cnt_election_time",
    "cnt_unavailable_time",
    "cnt_leader_unavailable_time",
    "diff_count",
    "snap_count",
];

#[test]
fn a_leader_counts_what_apache_counts() {
    let mut told = Vec::new();
    for kind in [Kind::Ours, Kind::Apache] {
        if !available(kind, "leader-metrics") {
            continue;
        }
        let (quorum, election) = (free_port(), free_port());
        let config = format!(
            "{CONFIG}standaloneEnabled=false\ninitLimit=10\nsyncLimit=5\n\
             server.1=127.0.0.1:{quorum}:{election}\n"
        );
        let mut server = Server::prepare(kind, "leader-metrics", &config);
        std::fs::create_dir_all(server.dir.join("data")).expect("a directory");
        std::fs::write(server.dir.join("data/myid"), "1\n").expect("myid");
        server.launch_as("Mode: leader");
        // It leads before it serves.
        while !mntr(&server).contains_key("znode_count") {
            std::thread::sleep(Duration::from_millis(20));
        }
        let before = mntr(&server);
        let after = script(&server);
        let line = |values: &BTreeMap<String, String>, key: &str| {
            format!("{key}={}", values.get(key).map_or("none", |value| value))
        };
        let roles = ROLE_SAME.iter().map(|key| line(&before, key));
        let counts = SAME.iter().chain(LEADER_SAME).map(|key| line(&after, key));
        told.push(roles.chain(counts).collect::<Vec<_>>());
    }
    let Some((ours, others)) = told.split_first() else { return };
    for apache in others {
        assert_eq!(ours, apache);
    }
    for expected in ["looking_count=1", "cnt_election_time=1", "proposal_count=5"] {
        assert!(ours.iter().any(|line| line == expected), "{expected}: {ours:?}");
    }
}

/// Nothing of before is left, on any core.
#[test]
fn srst_sets_every_counter_back() {
    if !available(Kind::Ours, "srst") {
        return;
    }
    let server = Server::start(Kind::Ours, "srst", CONFIG);
    script(&server);
    assert_eq!(server.ask("srst"), "Server stats reset.\n");
    let values = mntr(&server);
    for (key, value) in &values {
        let counted = ["cnt_", "sum_", "max_", "p99_"].iter().any(|start| key.starts_with(start));
        let gauge = ["max_file_descriptor_count", "max_client_response_size"].contains(&&key[..]);
        if counted && !gauge {
            assert_eq!(value, "0", "{key}");
        }
    }
    assert_eq!(number(&values, "max_client_response_size"), -1);
    for key in ["response_bytes", "watch_bytes", "connection_request_count"] {
        assert_eq!(number(&values, key), 0, "{key}");
    }
    // The two words themselves.
    assert!(number(&values, "packets_received") <= 2);
    assert!(!values.contains_key("app_quota_exceeded_error_per_namespace"));
}
