//! What the four-letter words are answered from: plain values, filled by whoever can see the cores.
//!
//! Not every word needs every part; [`Parts::of`] says what to fill, because connections, sessions
//! and watches are dear to gather on a large server. What is not needed may stay at its default.

use crate::admin::metrics::Metrics;
use crate::admin::version::VERSION;
pub use crate::base::tally::Sizes;
use crate::base::{MonoMs, SessionId, WallMs, Zxid};
use crate::wire::four_letter::FourLetterWord;

/// The role of the server, as `Mode:` and `zk_server_state` name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    #[default]
    Standalone,
    Leader,
    Follower,
    Observer,
    ReadOnly,
}

impl Mode {
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Standalone => "standalone",
            Mode::Leader => "leader",
            Mode::Follower => "follower",
            Mode::Observer => "observer",
            Mode::ReadOnly => "read-only",
        }
    }
}

/// Request latency since the last reset, ms. `avg` is rounded when shown.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Latency {
    pub min_ms: i64,
    pub avg_ms: f64,
    pub max_ms: i64,
}

/// One connection, as `cons` and `stat` show it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ConnectionReport {
    /// `/ip:port`.
    pub remote: String,
    /// 1 waits for the client to send, 4 for it to receive; 0 is the connection that asks.
    pub interest_ops: u32,
    pub queued: i64,
    pub received: i64,
    pub sent: i64,
    /// `None` before the connect request.
    pub session: Option<ConnectionSession>,
}

/// The part of a `cons` line that needs a session.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ConnectionSession {
    pub id: SessionId,
    /// `SESS`, `GETD`, …; `None` prints `null` (a resumed session that has sent nothing yet).
    pub last_operation: Option<&'static str>,
    pub established_wall_ms: WallMs,
    pub timeout_ms: i64,
    /// The last xid that is not negative; `None` after `crst`, and then left out.
    pub last_cxid: Option<i64>,
    pub last_zxid: Zxid,
    pub last_response_mono_ms: MonoMs,
    pub last_latency_ms: i64,
    pub min_latency_ms: i64,
    /// Whole milliseconds, unlike the server's average.
    pub avg_latency_ms: i64,
    pub max_latency_ms: i64,
}

/// Things that expire at the same time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExpiryBucket<T> {
    pub expires_wall_ms: WallMs,
    /// May be empty; the bucket is listed nevertheless.
    pub items: Vec<T>,
}

/// The session tracker of this server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SessionsReport {
    /// Leader or standalone: buckets in the order of expiry. `local` with local sessions switched
    /// on.
    Tracker { local: Option<Vec<ExpiryBucket<SessionId>>>, global: Vec<ExpiryBucket<SessionId>> },
    /// Follower or observer: ids and timeouts in ms.
    Learner { local: Option<Vec<ExpiryBucket<SessionId>>>, global: Vec<(SessionId, i64)> },
}

impl Default for SessionsReport {
    fn default() -> Self {
        SessionsReport::Tracker { local: None, global: Vec::new() }
    }
}

/// The data watch table; child watches are not in it, as in the reference.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WatchesReport {
    /// For `wchs`.
    pub connections: i64,
    pub paths: i64,
    pub total: i64,
    /// For `wchc`.
    pub by_session: Vec<(SessionId, Vec<String>)>,
    /// For `wchp`.
    pub by_path: Vec<(String, Vec<SessionId>)>,
}

/// One line of `hash`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DigestReport {
    pub zxid: Zxid,
    pub digest: i64,
}

/// Quotas and use under one top-level node; -1 is no limit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NamespaceQuota {
    pub namespace: String,
    pub count_limit: i64,
    pub count_usage: i64,
    pub bytes_limit: i64,
    pub bytes_usage: i64,
}

/// Gauges that only a leader has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LeaderGauges {
    /// Connected learners, observers included.
    pub learners: i64,
    pub synced_followers: i64,
    pub synced_non_voting_followers: i64,
    pub pending_syncs: i64,
    pub uptime_ms: i64,
}

/// What `mntr` shows beyond the rest of the report.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MonitorReport {
    /// `leading - broadcast`; `None` standalone.
    pub peer_state: Option<String>,
    /// Of an observer.
    pub observer_master_id: Option<i64>,
    /// Data and child watches.
    pub watch_count: i64,
    pub ephemerals_count: i64,
    pub approximate_data_bytes: i64,
    pub global_sessions: i64,
    pub local_sessions: i64,
    pub open_file_descriptors: i64,
    pub max_file_descriptors: i64,
    pub connection_drop_probability: f64,
    pub outstanding_tls_handshakes: i64,
    pub auth_failed: i64,
    pub non_mtls_local_connections: i64,
    pub non_mtls_remote_connections: i64,
    pub uptime_ms: i64,
    /// Voting members; `None` standalone.
    pub quorum_size: Option<i64>,
    /// Leaders, and followers that serve observers.
    pub synced_observers: Option<i64>,
    pub leader: Option<LeaderGauges>,
    pub quotas: Vec<NamespaceQuota>,
}

/// The process and its host, for `envi`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Environment {
    pub host_name: String,
    pub temp_dir: String,
    pub os_name: String,
    pub os_arch: String,
    pub os_version: String,
    pub user_name: String,
    pub user_home: String,
    pub user_dir: String,
    pub memory_free_mb: i64,
    pub memory_max_mb: i64,
    pub memory_total_mb: i64,
}

/// Everything together.
#[derive(Clone, Debug)]
pub struct ServerReport {
    pub version: String,
    /// Serving clients; false while there is no quorum, during start and shutdown.
    pub serving: bool,
    pub mode: Mode,
    pub latency: Latency,
    pub packets_received: i64,
    pub packets_sent: i64,
    /// Plain and secure.
    pub connection_count: i64,
    pub outstanding: i64,
    pub last_zxid: Zxid,
    pub node_count: i64,
    /// Used for a leader only.
    pub proposal_sizes: Sizes,
    pub client_response_sizes: Sizes,
    pub data_dir_bytes: i64,
    /// Preallocated space included.
    pub log_dir_bytes: i64,
    pub trace_mask: i64,
    pub connections: Vec<ConnectionReport>,
    pub sessions: SessionsReport,
    pub ephemerals: Vec<(SessionId, Vec<String>)>,
    /// Idle limits of connections: `ip: /… sessionId: 0x…` is made of remote and session.
    pub connection_expiry: Vec<ExpiryBucket<(String, SessionId)>>,
    pub watches: WatchesReport,
    pub digests: Vec<DigestReport>,
    pub environment: Environment,
    pub monitor: MonitorReport,
    pub metrics: Metrics,
}

impl Default for ServerReport {
    fn default() -> Self {
        ServerReport {
            version: VERSION.to_owned(),
            serving: false,
            mode: Mode::default(),
            latency: Latency::default(),
            packets_received: 0,
            packets_sent: 0,
            connection_count: 0,
            outstanding: 0,
            last_zxid: Zxid::ZERO,
            node_count: 0,
            proposal_sizes: Sizes::default(),
            client_response_sizes: Sizes::default(),
            data_dir_bytes: 0,
            log_dir_bytes: 0,
            trace_mask: TRACE_MASK_DEFAULT,
            connections: Vec::new(),
            sessions: SessionsReport::default(),
            ephemerals: Vec::new(),
            connection_expiry: Vec::new(),
            watches: WatchesReport::default(),
            digests: Vec::new(),
            environment: Environment::default(),
            monitor: MonitorReport::default(),
            metrics: Metrics::default(),
        }
    }
}

/// What `gtmk` shows until `stmk` changes it.
pub const TRACE_MASK_DEFAULT: i64 = 306;

/// What `conf` shows; fixed at start except for the membership.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConfReport {
    /// -1 when there is no such port.
    pub client_port: i32,
    pub secure_client_port: i32,
    /// With `version-2`.
    pub data_dir: String,
    pub data_log_dir: String,
    pub tick_time_ms: i32,
    pub cnxns_per_ip_max: i32,
    pub session_timeout_ms_min: i32,
    pub session_timeout_ms_max: i32,
    pub listen_backlog: i32,
    pub server_id: i64,
    /// `None` standalone.
    pub quorum: Option<QuorumConf>,
}

/// The part of `conf` that a member of an ensemble adds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QuorumConf {
    pub init_limit_ticks: i32,
    pub sync_limit_ticks: i32,
    pub election_alg: i32,
    pub election_port: u16,
    pub quorum_port: u16,
    pub observer: bool,
    /// The text of `/zookeeper/config`; `None` on a read-only server.
    pub membership: Option<String>,
}

/// Which dear parts of a [`ServerReport`] a word is answered from. What is cheap is always
/// expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Parts {
    pub connections: bool,
    pub sessions: bool,
    pub watch_summary: bool,
    pub watch_lists: bool,
    pub digests: bool,
    pub dir_sizes: bool,
    pub metrics: bool,
}

impl Parts {
    pub fn of(word: FourLetterWord) -> Parts {
        use FourLetterWord as W;
        Parts {
            connections: matches!(word, W::Cons | W::Stat),
            sessions: word == W::Dump,
            watch_summary: word == W::Wchs,
            watch_lists: matches!(word, W::Wchc | W::Wchp),
            digests: word == W::Hash,
            dir_sizes: matches!(word, W::Conf | W::Dirs),
            metrics: word == W::Mntr,
        }
    }
}
