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

/// What this server says of requests that come one after the other, five writes and nine reads; a standalone Apache
/// has no such stage.
const ORDER: &[(&str, i64)] = &[
    ("cnt_requests_in_session_queue", 10),
    ("max_requests_in_session_queue", 1),
    ("sum_pending_session_queue_size", 5),
    ("cnt_reads_after_write_in_session_queue", 5),
    ("cnt_reads_issued_from_session_queue", 5),
    ("sum_session_queues_drained", 5),
    ("sum_read_commit_proc_issued", 9),
    ("sum_read_commit_proc_req_queued", 9),
    ("sum_write_commit_proc_req_queued", 5),
    ("sum_write_commit_proc_issued", 5),
    ("sum_commit_commit_proc_req_queued", 5),
    ("request_commit_queued", 5),
    ("cnt_local_write_committed_time_ms", 5),
    ("cnt_server_write_committed_time_ms", 0),
    ("cnt_read_final_proc_time_ms", 9),
    ("cnt_write_final_proc_time_ms", 5),
    ("cnt_proposal_process_time", 5),
    ("cnt_prep_process_time", 5),
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
    let several = [OpCode::GetData, OpCode::GetChildren, OpCode::GetData];
    let several = several.iter().zip(["/app", "/app", "/missing"]);
    let several: Vec<_> = several.map(|(op, path)| (op.code(), read(path, false))).collect();
    assert_eq!(ask(OpCode::MultiRead, bodies::multi(&several)), 0);
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
    assert_eq!((number(ours, "cnt_readlatency"), number(ours, "cnt_updatelatency")), (9, 5));
    // Fourteen answers, three events, and the word that set it back. Apache counts the answers to words a little late.
    assert_eq!(number(ours, "packets_sent"), 18);
    for (key, expected) in ORDER {
        assert_eq!(number(ours, key), *expected, "{key}");
    }
    let turns = number(ours, "cnt_commit_process_time");
    assert!((1..=5).contains(&turns), "{turns} turns");
    assert_eq!(number(ours, "cnt_write_batch_time_in_commit_processor"), turns);
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
    "cnt_proposal_ack_creation_latency",
    "request_commit_queued",
    "sum_write_commit_proc_issued",
    "cnt_write_commitproc_time_ms",
    "cnt_local_write_committed_time_ms",
    "cnt_server_write_committed_time_ms",
    "cnt_write_final_proc_time_ms",
];

/// Of the way it came to that.
const ROLE_SAME: &[&str] = &[
    "looking_count",
    "cnt_election_time",
    "cnt_unavailable_time",
    "cnt_leader_unavailable_time",
    "diff_count",
    "snap_count",
    "cnt_dbinittime",
    "cnt_startup_snap_load_time",
    "cnt_startup_txns_load_time",
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

/// A start counts what it loads: a new database has no transactions to replay, and a second start has those of the
/// first.
#[test]
fn a_start_counts_what_it_loads() {
    const KEYS: [&str; 5] = [
        "cnt_dbinittime",
        "cnt_startup_snap_load_time",
        "cnt_startup_txns_load_time",
        "cnt_startup_txns_loaded",
        "sum_startup_txns_loaded",
    ];
    let counted = |server: &Server| {
        let values = mntr(server);
        KEYS.map(|key| number(&values, key))
    };
    for kind in [Kind::Ours, Kind::Apache] {
        if !available(kind, "startup-metrics") {
            continue;
        }
        let mut server = Server::start(kind, "startup-metrics", CONFIG);
        assert_eq!(counted(&server), [1, 1, 0, 0, 0], "{kind:?}");
        let mut session = Session::open(server.port, TIMEOUT_MS).expect("a session");
        for path in ["/a", "/b"] {
            let create = bodies::create_open(path, b"x", 0);
            assert_eq!(session.call(OpCode::Create, &create).expect("made").header.err, 0);
        }
        server.kill();
        server.launch();
        // The session's beginning, too.
        assert_eq!(counted(&server), [1, 1, 1, 1, 3], "{kind:?}");
    }
}

/// What a client says of the ensemble that it wants.
#[test]
fn names_of_ensembles_are_counted() {
    let provider = "org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider";
    let config = format!("{CONFIG}authProvider.1={provider}\nensembleAuthName=a,b\n");
    for kind in [Kind::Ours, Kind::Apache] {
        if !available(kind, "ensemble-names") {
            continue;
        }
        let server = Server::start(kind, "ensemble-names", &config);
        for (name, passes) in [(&b"b"[..], true), (b"", true), (b"c", false)] {
            let mut session = Session::open(server.port, TIMEOUT_MS).expect("a session");
            let body = bodies::auth(Some(b"ensemble"), Some(name));
            assert_eq!(session.call(OpCode::Auth, &body).is_ok(), passes, "{kind:?}: {name:?}");
        }
        let values = mntr(&server);
        let names = ["success", "skip", "fail"].map(|end| format!("ensemble_auth_{end}"));
        assert_eq!(names.map(|name| number(&values, &name)), [1, 1, 1], "{kind:?}");
    }
}

/// Samples come while nothing is asked for, and a process that was stopped knows it.
#[test]
fn stalls_are_watched_for_when_asked_to() {
    let config = format!("{CONFIG}jvm.pause.monitor=true\njvm.pause.sleep.time.ms=20\n");
    for kind in [Kind::Ours, Kind::Apache] {
        if !available(kind, "stalls") {
            continue;
        }
        let server = Server::start(kind, "stalls", &config);
        let pid = server.pid().expect("it runs").to_string();
        let signal = |name: &str| {
            let sent = std::process::Command::new("kill").args([name, &pid]).status();
            assert!(sent.expect("kill").success());
        };
        signal("-STOP");
        // Longer than either sleeps at most, which is a second.
        std::thread::sleep(Duration::from_millis(1500));
        signal("-CONT");
        for look in 0.. {
            assert!(look < 1000, "{kind:?}: nothing was noticed");
            let values = mntr(&server);
            // Not there before the server is.
            if values.contains_key("znode_count") && number(&values, "max_jvm_pause_time_ms") >= 400
            {
                assert!(number(&values, "cnt_jvm_pause_time_ms") > 0);
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A name, or one with `…` for whatever else there is.
fn is_meant(pattern: &str, name: &str) -> bool {
    match pattern.split_once('…') {
        Some((start, end)) => name.starts_with(start) && name.ends_with(end),
        None => pattern == name,
    }
}

/// A row is filled somewhere, or the page of knobs says why it stays at 0; never both.
#[test]
fn rows_that_nothing_fills_are_explained() {
    let read = |path: &str| {
        let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let (catalogue, filling, page) =
        (read("src/admin/metrics.rs"), read("src/server/metrics.rs"), read("tuning.md"));
    let (_, rest) = page.split_once("These stay at 0").expect("the list");
    let (list, _) = rest.split_once("\n## ").expect("its end");
    let cells = list.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let empty: Vec<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let rows = catalogue.lines().filter_map(|line| {
        let (variant, name) = line.trim().strip_suffix("\",")?.split_once(" = \"")?;
        variant.chars().all(char::is_alphanumeric).then_some((variant, name))
    });
    let mut known = 0;
    for (variant, name) in rows {
        known += 1;
        let mut words = filling.split(|c: char| !(c.is_alphanumeric() || c == ':'));
        let is_filled = words.any(|word| word.split("::").last() == Some(variant));
        let is_listed = empty.iter().any(|pattern| is_meant(pattern, name));
        assert!(is_filled != is_listed, "{name}: filled {is_filled}, listed {is_listed}");
    }
    assert!(known > 100, "{known} rows");
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
