//! Golden answers, captured from Apache ZooKeeper 3.9.5 (reference: admin-and-metrics 1 to 3).

use super::report::*;
use super::*;
use crate::admin::metrics::{Advanced, AdvancedSet, Basic, BasicSet, Counter, CounterSet, Metrics};
use crate::base::{SessionId, Zxid};

const APACHE: &str =
    "3.9.5-293c895a8d966a3ecb92872be4a1daf87d725da2, built on 2026-02-11 20:15 UTC";
const SESSION: SessionId = SessionId(0x0100_0025_95c1_0000);

fn follower() -> ServerReport {
    ServerReport {
        version: APACHE.to_owned(),
        serving: true,
        mode: Mode::Follower,
        latency: Latency { min_ms: 0, avg_ms: 7.3, max_ms: 20 },
        packets_received: 25,
        packets_sent: 25,
        connection_count: 2,
        last_zxid: Zxid(0x1_0000_0005),
        node_count: 8,
        data_dir_bytes: 658,
        log_dir_bytes: 67_108_880,
        ..ServerReport::default()
    }
}

fn all() -> Whitelist {
    Whitelist::new(&["*".to_owned()], false)
}

fn ask(word: FourLetterWord, report: &ServerReport) -> String {
    let bytes = answer(Request::of(word), report, &ConfReport::default(), &all());
    String::from_utf8(bytes).expect("text")
}

use FourLetterWord as W;

#[test]
fn srvr_as_captured() {
    let expected = "Zookeeper version: 3.9.5-293c895a8d966a3ecb92872be4a1daf87d725da2, built on \
                    2026-02-11 20:15 UTC\nLatency min/avg/max: 0/7.3/20\nReceived: 25\nSent: 25\n\
                    Connections: 2\nOutstanding: 0\nZxid: 0x100000005\nMode: follower\n\
                    Node count: 8\n";
    assert_eq!(ask(W::Srvr, &follower()), expected);
    let leader = ServerReport {
        mode: Mode::Leader,
        proposal_sizes: Sizes { last: 64, min: 48, max: 93 },
        ..follower()
    };
    let text = ask(W::Srvr, &leader);
    assert!(text.ends_with("Node count: 8\nProposal sizes last/min/max: 64/48/93\n"), "{text}");
    let read_only = ServerReport { mode: Mode::ReadOnly, ..follower() };
    let text = ask(W::Srvr, &read_only);
    let second = text.lines().nth(1);
    assert_eq!(second, Some("READ-ONLY mode; serving only read-only clients"));
}

fn connections() -> Vec<ConnectionReport> {
    let session = ConnectionSession {
        id: SESSION,
        last_operation: Some("SETD"),
        established_wall_ms: 1_795_221_302_753,
        timeout_ms: 30_000,
        last_cxid: Some(8),
        last_zxid: Zxid(0x1_0000_0005),
        last_response_mono_ms: 2_481_849,
        last_latency_ms: 5,
        min_latency_ms: 0,
        avg_latency_ms: 8,
        max_latency_ms: 20,
    };
    let first = ConnectionReport {
        remote: "/127.0.0.1:42686".to_owned(),
        interest_ops: 1,
        queued: 0,
        received: 9,
        sent: 10,
        session: Some(session),
    };
    let asking = ConnectionReport {
        remote: "/127.0.0.1:42104".to_owned(),
        received: 1,
        ..ConnectionReport::default()
    };
    vec![first, asking]
}

#[test]
fn cons_and_stat_as_captured() {
    let mut report = ServerReport { connections: connections(), ..follower() };
    assert_eq!(
        ask(W::Cons, &report),
        " /127.0.0.1:42686[1](queued=0,recved=9,sent=10,sid=0x100002595c10000,lop=SETD,\
         est=1795221302753,to=30000,lcxid=0x8,lzxid=0x100000005,lresp=2481849,llat=5,minlat=0,\
         avglat=8,maxlat=20)\n /127.0.0.1:42104[0](queued=0,recved=1,sent=0)\n\n"
    );
    let stat = ask(W::Stat, &report);
    let expected = format!(
        "Zookeeper version: {APACHE}\nClients:\n \
         /127.0.0.1:42686[1](queued=0,recved=9,sent=10)\n \
         /127.0.0.1:42104[0](queued=0,recved=1,sent=0)\n\nLatency min/avg/max: 0/7.3/20\n"
    );
    assert!(stat.starts_with(&expected), "{stat}");
    // After crst.
    let session = report.connections[0].session.as_mut().expect("session");
    (session.last_operation, session.last_cxid) = (None, None);
    let cons = ask(W::Cons, &report);
    assert!(cons.contains("lop=null,est=") && cons.contains("to=30000,lzxid="), "{cons}");
}

#[test]
fn dump_as_captured() {
    let bucket = |at: i64, items: Vec<SessionId>| ExpiryBucket { expires_wall_ms: at, items };
    let buckets = vec![
        bucket(1_795_221_333_000, vec![]),
        bucket(1_795_221_335_000, vec![]),
        bucket(1_795_221_345_000, vec![SESSION]),
    ];
    let mut report = ServerReport {
        sessions: SessionsReport::Tracker { local: None, global: buckets.clone() },
        ephemerals: vec![(SESSION, vec!["/app/e".to_owned()])],
        connection_expiry: vec![ExpiryBucket {
            expires_wall_ms: 1_795_221_331_000,
            items: vec![("/127.0.0.1:52076".to_owned(), SessionId::NONE)],
        }],
        ..follower()
    };
    let tail = "ephemeral nodes dump:\nSessions with Ephemerals (1):\n0x100002595c10000:\n\
                \t/app/e\nConnections dump:\nConnections Sets (1)/(1):\n\
                1 expire at Sat Nov 21 00:35:31 UTC 2026:\n\
                \tip: /127.0.0.1:52076 sessionId: 0x0\n";
    let sets = "(3)/(1):\n0 expire at Sat Nov 21 00:35:33 UTC 2026:\n\
                0 expire at Sat Nov 21 00:35:35 UTC 2026:\n\
                1 expire at Sat Nov 21 00:35:45 UTC 2026:\n\t0x100002595c10000\n";
    assert_eq!(ask(W::Dump, &report), format!("SessionTracker dump:\nSession Sets {sets}{tail}"));
    report.sessions = SessionsReport::Tracker { local: Some(vec![]), global: buckets };
    assert_eq!(
        ask(W::Dump, &report),
        format!(
            "SessionTracker dump:\nLocal Session Sets (0)/(0):\nGlobal Session Sets {sets}{tail}"
        )
    );
    report.sessions = SessionsReport::Learner { local: None, global: vec![(SESSION, 30_000)] };
    assert_eq!(
        ask(W::Dump, &report),
        format!("SessionTracker dump:\nGlobal Sessions(1):\n0x100002595c10000\t30000ms\n{tail}")
    );
}

#[test]
fn watches_hash_and_dirs_as_captured() {
    let report = ServerReport {
        watches: WatchesReport {
            connections: 1,
            paths: 3,
            total: 3,
            by_session: vec![(SESSION, vec!["/app".to_owned()])],
            by_path: vec![("/app".to_owned(), vec![SESSION])],
        },
        digests: vec![DigestReport { zxid: Zxid(0x1_0000_0080), digest: 1_371_985_504 }],
        ..follower()
    };
    assert_eq!(ask(W::Wchs, &report), "1 connections watching 3 paths\nTotal watches:3\n");
    assert_eq!(ask(W::Wchc, &report), "0x100002595c10000\n\t/app\n\n");
    assert_eq!(ask(W::Wchp, &report), "/app\n\t0x100002595c10000\n\n");
    assert_eq!(ask(W::Hash, &report), "100000080: 1371985504\n");
    assert_eq!(ask(W::Hash, &follower()), "");
    assert_eq!(ask(W::Dirs, &report), "datadir_size: 658\nlogdir_size: 67108880\n");
}

#[test]
fn short_words() {
    let report = follower();
    let expected = [
        (W::Ruok, "imok"),
        (W::Isro, "rw"),
        (W::Gtmk, "306"),
        (W::Crst, "Connection stats reset.\n"),
        (W::Srst, "Server stats reset.\n"),
        (W::Stmk, ""),
        (W::TelnetClose, ""),
    ];
    for (word, text) in expected {
        assert_eq!(ask(word, &report), text, "{word:?}");
    }
    let read_only = ServerReport { mode: Mode::ReadOnly, ..follower() };
    assert_eq!(ask(W::Isro, &read_only), "ro");
    let request = Request { word: W::Stmk, trace_mask: Some(-2) };
    assert_eq!(answer(request, &report, &ConfReport::default(), &all()), b"-2");
}

#[test]
fn conf_as_captured() {
    let mut conf = ConfReport {
        client_port: 2181,
        secure_client_port: -1,
        data_dir: "/var/lib/zk/data/version-2".to_owned(),
        data_log_dir: "/var/lib/zk/log/version-2".to_owned(),
        tick_time_ms: 2000,
        cnxns_per_ip_max: 60,
        session_timeout_ms_min: 4000,
        session_timeout_ms_max: 40_000,
        listen_backlog: -1,
        server_id: 1,
        quorum: None,
    };
    let base = "clientPort=2181\nsecureClientPort=-1\ndataDir=/var/lib/zk/data/version-2\n\
                dataDirSize=658\ndataLogDir=/var/lib/zk/log/version-2\ndataLogSize=67108880\n\
                tickTime=2000\nmaxClientCnxns=60\nminSessionTimeout=4000\n\
                maxSessionTimeout=40000\nclientPortListenBacklog=-1\nserverId=1\n";
    let ask = |conf: &ConfReport| {
        String::from_utf8(answer(Request::of(W::Conf), &follower(), conf, &all())).expect("text")
    };
    assert_eq!(ask(&conf), base);
    let membership = "server.1=127.0.0.1:2888:3888:participant\n\
                      server.4=127.0.0.1:2891:3891:observer\nversion=0";
    conf.quorum = Some(QuorumConf {
        init_limit_ticks: 10,
        sync_limit_ticks: 5,
        election_alg: 3,
        election_port: 3888,
        quorum_port: 2888,
        observer: false,
        membership: Some(membership.to_owned()),
    });
    assert_eq!(
        ask(&conf),
        format!(
            "{base}initLimit=10\nsyncLimit=5\nelectionAlg=3\nelectionPort=3888\nquorumPort=2888\n\
             peerType=0\nmembership: \n{membership}"
        )
    );
}

#[test]
fn envi_keeps_every_key() {
    let keys = "zookeeper.version host.name java.version java.vendor java.home java.class.path \
                java.library.path java.io.tmpdir java.compiler os.name os.arch os.version \
                user.name user.home user.dir os.memory.free os.memory.max os.memory.total";
    let text = ask(W::Envi, &follower());
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("Environment:"));
    let found: Vec<&str> = lines.filter_map(|line| Some(line.split_once('=')?.0)).collect();
    assert_eq!(found, keys.split_whitespace().collect::<Vec<_>>());
    assert!(text.contains(&format!("zookeeper.version={APACHE}\n")));
}

#[test]
fn the_whitelist_decides_first() {
    let default = Whitelist::new(&["srvr".to_owned()], false);
    let refuse = |word: FourLetterWord, list: &Whitelist| {
        let bytes = answer(Request::of(word), &follower(), &ConfReport::default(), list);
        let name = word.as_str();
        String::from_utf8(bytes).expect("text")
            == format!("{name} is not executed because it is not in the whitelist.\n")
    };
    for word in FourLetterWord::ALL {
        assert_eq!(refuse(*word, &default), *word != W::Srvr, "{word:?}");
    }
    let bitnami = Whitelist::new(&[" mntr".to_owned(), "odd".to_owned()], true);
    assert!(!refuse(W::Mntr, &bitnami) && !refuse(W::Srvr, &bitnami) && !refuse(W::Isro, &bitnami));
    assert!(refuse(W::Ruok, &bitnami));
    assert!(!Request::reads_mask(W::Stmk, &default) && Request::reads_mask(W::Stmk, &all()));
}

#[test]
fn a_server_that_does_not_serve_says_so() {
    let report = ServerReport { serving: false, ..follower() };
    for word in FourLetterWord::ALL {
        let text = ask(*word, &report);
        match word {
            W::Ruok => assert_eq!(text, "imok"),
            W::Isro => assert_eq!(text, "null"),
            W::Gtmk => assert_eq!(text, "306"),
            W::Envi => assert!(text.starts_with("Environment:\n")),
            W::Stmk | W::TelnetClose => assert_eq!(text, ""),
            W::Hash => assert_eq!(text, NOT_SERVING),
            _ => assert_eq!(text, format!("{NOT_SERVING}\n"), "{word:?}"),
        }
    }
}

fn leader_with_metrics() -> ServerReport {
    let mut metrics = Metrics::default();
    metrics.count(Counter::Proposal, 12);
    metrics.count_for(CounterSet::QuotaExceeded, "my-app", 3);
    metrics.sample(Basic::FsyncTime, 3);
    metrics.sample(Basic::FsyncTime, 4);
    (1..=1000).for_each(|ms| metrics.sample_advanced(Advanced::ReadLatency, ms));
    metrics.sample_for(BasicSet::ReadPerNamespace, "app", 72);
    metrics.sample_advanced_for(AdvancedSet::AckLatency, "1", 2);
    let leader = LeaderGauges { learners: 3, synced_followers: 2, ..LeaderGauges::default() };
    let monitor = MonitorReport {
        peer_state: Some("leading - broadcast".to_owned()),
        quorum_size: Some(3),
        leader: Some(leader),
        quotas: vec![NamespaceQuota { namespace: "a b".to_owned(), ..Default::default() }],
        ..MonitorReport::default()
    };
    ServerReport {
        mode: Mode::Leader,
        proposal_sizes: Sizes { last: 64, min: 48, max: 93 },
        monitor,
        metrics,
        ..follower()
    }
}

#[test]
fn mntr_shows_real_values() {
    let text = ask(W::Mntr, &leader_with_metrics());
    let head = format!(
        "zk_version\t{APACHE}\nzk_server_state\tleader\nzk_peer_state\tleading - broadcast\n\
         zk_avg_latency\t7.3\n"
    );
    assert!(text.starts_with(&head), "{text}");
    for line in [
        "zk_znode_count\t8",
        "zk_followers\t3",
        "zk_learners\t3",
        "zk_synced_followers\t2",
        "zk_quorum_size\t3",
        "zk_min_proposal_size\t48",
        "zk_connection_drop_probability\t0.0",
        "zk_proposal_count\t12",
        "zk_my_app_quota_exceeded_error_per_namespace\t3",
        "zk_a_b_quota_count_limit_per_namespace\t0",
        "zk_avg_fsynctime\t3.5",
        "zk_min_fsynctime\t3",
        "zk_max_fsynctime\t4",
        "zk_cnt_fsynctime\t2",
        "zk_sum_fsynctime\t7",
        "zk_avg_readlatency\t500.5",
        "zk_avg_app_read_per_namespace\t72.0",
        "zk_p999_1_ack_latency\t2",
        "zk_avg_snapshottime\t0.0",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line} is not in\n{text}");
    }
}

#[test]
fn mntr_survives_the_parsers_in_the_wild() {
    let text = ask(W::Mntr, &leader_with_metrics());
    let mut seen = std::collections::BTreeSet::new();
    for line in text.lines() {
        let (key, value) = line.split_once('\t').expect("a tab");
        assert!(key.starts_with("zk_") && seen.insert(key), "{line}");
        assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{line}");
        let first = value.chars().next().expect("a value");
        assert!(first.is_ascii_alphanumeric() || first == '-', "{line}");
    }
    let head = &text[..2048];
    for key in ["zk_version", "zk_max_file_descriptor_count", "zk_pending_syncs", "zk_followers"] {
        assert!(head.contains(&format!("{key}\t")), "{key} beyond the first 2 KB");
    }
}

#[test]
fn roles_change_what_mntr_shows() {
    let text = ask(W::Mntr, &follower());
    assert!(!text.contains("zk_learners") && !text.contains("proposal_size"), "{text}");
    let report = ServerReport { mode: Mode::ReadOnly, ..leader_with_metrics() };
    let text = ask(W::Mntr, &report);
    assert!(!text.contains("zk_peer_state") && !text.contains("zk_quorum_size"), "{text}");
}

#[test]
fn the_version_is_what_tools_expect() {
    let version = ServerReport::default().version;
    let (name, built) = version.split_once(", built on ").expect("two parts");
    let rest = name.strip_prefix("3.9.5-ringkeeper-").expect("the compatible release first");
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    assert!(rest.chars().all(allowed), "{name}");
    let shape: String = built.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00 00:00 UTC");
}
