//! Four-letter words: asks every core for its part, puts a report together and has the admin room format it.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::Config;
use super::config::Ensemble;
use super::metrics;
use super::process;
use super::server_lines::PeerType;
use crate::admin::four_letter::report::{
    ConfReport, ConnectionReport, ConnectionSession, DigestReport, ExpiryBucket, Latency,
    LeaderGauges, Mode, MonitorReport, Parts, QuorumConf, ServerReport, SessionsReport,
    TRACE_MASK_DEFAULT, WatchesReport,
};
use crate::admin::four_letter::{Request, Whitelist, answer};
use crate::base::limits::SHARD_MAILBOX_CONTROL_SLOTS;
use crate::base::{SessionId, WallMs};
use crate::ensemble::{SharedState, ZabReport};
use crate::peer::ServerState;
use crate::pipeline::Mailbox;
use crate::pipeline::messages::{Report, ToShard, ToZab};
use crate::shard::runtime::wall_ms;
use crate::shard::{
    Admission, CommandHandler, ConnReport, CounterSnapshot, PendingAnswer, ShardCounters,
    ShardReport,
};
use crate::tree::Tree;
use crate::watch::NULL_PATH;
use crate::wire::OpCode;
use crate::wire::four_letter::FourLetterWord;

/// How long a core may take to answer before the report goes out without its part.
const PATIENCE: Duration = Duration::from_secs(2);

/// Collects the cores' parts.
#[derive(Debug)]
struct Gather {
    parts: Mutex<Vec<Box<dyn Any + Send>>>,
    expected: usize,
    until: Instant,
    lists: bool,
    counts: bool,
}

impl Report for Gather {
    fn wants_lists(&self) -> bool {
        self.lists
    }

    fn wants_counts(&self) -> bool {
        self.counts
    }

    fn add(&self, part: Box<dyn Any + Send>) {
        self.parts.lock().unwrap_or_else(|e| e.into_inner()).push(part);
    }
}

fn wants_lists(word: FourLetterWord) -> bool {
    let parts = Parts::of(word);
    parts.connections || parts.sessions || parts.watch_summary || parts.watch_lists
}

/// What does not change while the server runs, and the ways to the cores. Shared by the client cores.
struct Shared {
    state: Arc<SharedState>,
    admission: Arc<Admission>,
    counters: Vec<Arc<ShardCounters>>,
    whitelist: Whitelist,
    conf: ConfReport,
    snap_dir: PathBuf,
    log_dir: PathBuf,
    trace_mask: AtomicI64,
    epoch: Instant,
    /// Voting members; `None` standalone.
    voters: Option<i64>,
}

/// The handler of four-letter words.
pub struct Commands {
    shared: Arc<Shared>,
    to_zab: Arc<Mailbox<ToZab>>,
    mailboxes: Vec<Arc<Mailbox<ToShard>>>,
    asking: Mutex<()>,
}

impl Commands {
    pub fn new(
        config: &Config,
        (state, admission): (Arc<SharedState>, Arc<Admission>),
        to_zab: Arc<Mailbox<ToZab>>,
        mailboxes: Vec<Arc<Mailbox<ToShard>>>,
        counters: Vec<Arc<ShardCounters>>,
        epoch: Instant,
    ) -> Commands {
        let snap_dir = config.data_dir.join("version-2");
        let log_dir = config.data_log_dir.join("version-2");
        let whitelist =
            Whitelist::new(&config.clients.four_letter_whitelist, config.clients.read_only_mode);
        let shared = Shared {
            state,
            admission,
            counters,
            whitelist,
            conf: conf_report(config, &snap_dir, &log_dir),
            snap_dir,
            log_dir,
            trace_mask: AtomicI64::new(TRACE_MASK_DEFAULT),
            epoch,
            voters: config.ensemble.as_ref().map(|e| e.quorum.participants() as i64),
        };
        Commands { shared: Arc::new(shared), to_zab, mailboxes, asking: Mutex::new(()) }
    }

    /// What a word does to the server, besides its answer.
    fn act(&self, request: &Request) {
        match request.word {
            FourLetterWord::Crst => self.tell_shards(&ToShard::ResetConnectionStats),
            // The answer waits until every core has come to it.
            FourLetterWord::Srst => {
                self.tell_shards(&ToShard::ResetCounts);
                let _ = self.to_zab.push(ToZab::ResetCounts);
            }
            FourLetterWord::Stmk => {
                if let Some(mask) = request.trace_mask {
                    self.shared.trace_mask.store(mask, Ordering::Relaxed);
                }
            }
            _ => {}
        }
    }

    /// A core that is far behind is left out: what it holds comes first, and the slots that batches leave free
    /// are for all askers together.
    fn tell_shards(&self, message: &ToShard) {
        let _one_at_a_time = self.asking.lock().unwrap_or_else(|e| e.into_inner());
        for mailbox in &self.mailboxes {
            if mailbox.room() > SHARD_MAILBOX_CONTROL_SLOTS / 2 {
                let _ = mailbox.push(message.clone());
            }
            mailbox.wake();
        }
    }
}

fn port_of(address: Option<std::net::SocketAddr>) -> i32 {
    address.map_or(-1, |address| i32::from(address.port()))
}

fn conf_report(config: &Config, snap_dir: &Path, log_dir: &Path) -> ConfReport {
    let absolute = |path: &Path| {
        std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
    };
    ConfReport {
        client_port: port_of(config.client_address),
        secure_client_port: port_of(config.secure_client_address),
        data_dir: absolute(snap_dir),
        data_log_dir: absolute(log_dir),
        tick_time_ms: config.tick_time_ms,
        cnxns_per_ip_max: config.clients.cnxns_per_ip_max,
        session_timeout_ms_min: config.session_timeout_ms_min,
        session_timeout_ms_max: config.session_timeout_ms_max,
        listen_backlog: config.clients.listen_backlog,
        server_id: config.my_id.unwrap_or(0),
        quorum: config.ensemble.as_ref().map(|ensemble| quorum_conf(config, ensemble)),
    }
}

fn quorum_conf(config: &Config, ensemble: &Ensemble) -> QuorumConf {
    let own = ensemble.quorum.servers.get(&ensemble.my_id);
    let address = own.and_then(|own| own.addresses.first());
    QuorumConf {
        init_limit_ticks: config.peers.init_limit_ticks,
        sync_limit_ticks: config.peers.sync_limit_ticks,
        // The one that runs.
        election_alg: if config.peers.election_alg == 0 { 0 } else { 3 },
        election_port: address.map_or(0, |address| address.election_port),
        quorum_port: address.map_or(0, |address| address.quorum_port),
        observer: ensemble.peer_type == PeerType::Observer,
        membership: Some(ensemble.quorum.to_config_text()),
    }
}

impl CommandHandler for Commands {
    fn reads_mask(&self, word: FourLetterWord) -> bool {
        Request::reads_mask(word, &self.shared.whitelist)
    }

    fn start(&self, word: FourLetterWord, argument: Option<[u8; 8]>) -> Box<dyn PendingAnswer> {
        let request = Request { word, trace_mask: argument.map(i64::from_be_bytes) };
        let allowed = self.shared.whitelist.allows(word);
        if allowed {
            self.act(&request);
        }
        let asks_cores = allowed && !matches!(word, FourLetterWord::Ruok);
        let gather = Arc::new(Gather {
            parts: Mutex::default(),
            expected: if asks_cores { self.mailboxes.len() + 1 } else { 0 },
            until: Instant::now() + PATIENCE,
            lists: wants_lists(word),
            counts: Parts::of(word).metrics,
        });
        if asks_cores {
            self.tell_shards(&ToShard::Report(gather.clone()));
            let _ = self.to_zab.push(ToZab::Report(gather.clone()));
            self.to_zab.wake();
        }
        Box::new(Pending { gather, request, shared: self.shared.clone() })
    }
}

struct Pending {
    gather: Arc<Gather>,
    request: Request,
    shared: Arc<Shared>,
}

impl PendingAnswer for Pending {
    fn poll(&mut self) -> Option<Vec<u8>> {
        let mut parts = self.gather.parts.lock().unwrap_or_else(|e| e.into_inner());
        if parts.len() < self.gather.expected && Instant::now() < self.gather.until {
            return None;
        }
        let mut shards = Vec::new();
        let mut zab = ZabReport::default();
        for part in parts.drain(..) {
            match part.downcast::<ShardReport>() {
                Ok(report) => shards.push(*report),
                Err(part) => {
                    if let Ok(report) = part.downcast::<ZabReport>() {
                        zab = *report;
                    }
                }
            }
        }
        let report = self.shared.report(self.request.word, &shards, &zab);
        Some(answer(self.request, &report, &self.shared.conf, &self.shared.whitelist))
    }
}

impl Shared {
    fn report(
        &self,
        word: FourLetterWord,
        shards: &[ShardReport],
        zab: &ZabReport,
    ) -> ServerReport {
        let parts = Parts::of(word);
        let mut counters = CounterSnapshot::default();
        for shard in &self.counters {
            counters.add(&shard.snapshot());
        }
        let (state, tree) = self.state.now();
        let (_, (nodes, bytes, ephemerals)) = tree.read(|view| {
            (view.node_count(), view.approximate_data_size(), view.ephemerals_count())
        });
        let mut report = ServerReport {
            serving: state != ServerState::Looking,
            mode: mode(state),
            latency: latency(&counters),
            packets_received: counters.received as i64,
            packets_sent: counters.sent as i64,
            connection_count: counters.connections as i64,
            outstanding: counters.outstanding as i64,
            last_zxid: zab.peer.last_zxid,
            // The reference keeps the root under two names and counts both.
            node_count: nodes as i64 + 1,
            trace_mask: self.trace_mask.load(Ordering::Relaxed),
            digests: digests(zab),
            environment: process::environment(),
            ..ServerReport::default()
        };
        if parts.connections {
            let all = shards.iter().flat_map(|shard| &shard.connections);
            report.connections = all.map(connection).collect();
        }
        if parts.sessions {
            report.sessions = sessions(state, zab);
            report.ephemerals = ephemerals_of(&tree);
            report.connection_expiry = connection_expiry(shards);
        }
        if parts.watch_summary || parts.watch_lists {
            report.watches = watches(shards);
        }
        if parts.dir_sizes {
            report.data_dir_bytes = process::dir_bytes(&self.snap_dir);
            report.log_dir_bytes = process::dir_bytes(&self.log_dir);
        }
        if parts.metrics {
            report.monitor = self.monitor(&counters, zab, bytes, ephemerals);
            self.fill_quorum(&mut report.monitor, state, zab);
            metrics::fill(&mut report, shards, zab);
            report.monitor.quotas = metrics::quotas(&tree);
        }
        report
    }

    /// What only a member of an ensemble has.
    fn fill_quorum(&self, monitor: &mut MonitorReport, state: ServerState, zab: &ZabReport) {
        let word = match state {
            ServerState::Leading => "leading",
            ServerState::Following => "following",
            ServerState::Observing => "observing",
            ServerState::Looking | ServerState::Standalone | ServerState::ReadOnly => return,
        };
        monitor.peer_state = Some(format!("{word} - broadcast"));
        monitor.quorum_size = self.voters;
        if state == ServerState::Leading {
            let peer = &zab.peer;
            monitor.synced_observers = Some(peer.synced_observers as i64);
            monitor.leader = Some(LeaderGauges {
                learners: peer.learners as i64,
                synced_followers: peer.synced_followers as i64,
                synced_non_voting_followers: 0,
                pending_syncs: peer.pending_syncs as i64,
                uptime_ms: zab.uptime_ms,
            });
        }
    }

    fn monitor(
        &self,
        counters: &CounterSnapshot,
        zab: &ZabReport,
        data_bytes: u64,
        ephemerals: u64,
    ) -> MonitorReport {
        let (open, max) = process::descriptors();
        MonitorReport {
            watch_count: counters.watches as i64,
            ephemerals_count: ephemerals as i64,
            approximate_data_bytes: data_bytes as i64,
            global_sessions: zab.peer.sessions as i64,
            local_sessions: zab.peer.local_sessions.unwrap_or_default() as i64,
            open_file_descriptors: open,
            max_file_descriptors: max,
            auth_failed: counters.auth_failed as i64,
            uptime_ms: self.epoch.elapsed().as_millis() as i64,
            connection_drop_probability: self.admission.connection_drop_chance(),
            ..MonitorReport::default()
        }
    }
}

fn mode(state: ServerState) -> Mode {
    match state {
        ServerState::Looking | ServerState::Standalone => Mode::Standalone,
        ServerState::Leading => Mode::Leader,
        ServerState::Following => Mode::Follower,
        ServerState::Observing => Mode::Observer,
        ServerState::ReadOnly => Mode::ReadOnly,
    }
}

fn ephemerals_of(tree: &Tree) -> Vec<(SessionId, Vec<String>)> {
    let (_, all) = tree.read(|view| {
        let sessions = view.ephemeral_sessions().into_iter();
        let paths_of = |session| {
            let mut paths = Vec::new();
            view.ephemerals_of(session, |path| {
                paths.push(String::from_utf8_lossy(path).into_owned());
            });
            (session, paths)
        };
        sessions.map(paths_of).filter(|(_, paths)| !paths.is_empty()).collect::<Vec<_>>()
    });
    all
}

fn latency(counters: &CounterSnapshot) -> Latency {
    if counters.latency_count == 0 {
        return Latency::default();
    }
    Latency {
        min_ms: counters.latency_ms_min,
        avg_ms: counters.latency_ms_total as f64 / counters.latency_count as f64,
        max_ms: counters.latency_ms_max,
    }
}

fn digests(zab: &ZabReport) -> Vec<DigestReport> {
    let row = |(zxid, digest): &(_, u64)| DigestReport { zxid: *zxid, digest: *digest as i64 };
    zab.peer.digests.iter().map(row).collect()
}

fn sessions(state: ServerState, zab: &ZabReport) -> SessionsReport {
    let bucket = |(due, ids): &(WallMs, Vec<SessionId>)| ExpiryBucket {
        expires_wall_ms: *due,
        items: ids.clone(),
    };
    let local = zab.peer.local_sessions;
    let local = local.map(|_| zab.local_expiry.iter().map(bucket).collect());
    if !matches!(state, ServerState::Leading | ServerState::Standalone) {
        let global = zab.peer.session_timeouts.iter();
        let global = global.map(|(id, timeout_ms)| (*id, i64::from(*timeout_ms))).collect();
        return SessionsReport::Learner { local, global };
    }
    SessionsReport::Tracker { local, global: zab.expiry.iter().map(bucket).collect() }
}

/// Connections by the second at which they would be idle for too long.
fn connection_expiry(shards: &[ShardReport]) -> Vec<ExpiryBucket<(String, SessionId)>> {
    let mut buckets: BTreeMap<WallMs, Vec<(String, SessionId)>> = BTreeMap::new();
    for conn in shards.iter().flat_map(|shard| &shard.connections) {
        let limit = if conn.session.is_some() { i64::from(conn.timeout_ms) } else { 10_000 };
        let due = (wall_ms() - conn.idle_ms + limit) / 1000 * 1000 + 1000;
        let session = conn.session.unwrap_or(SessionId::NONE);
        buckets.entry(due).or_default().push((format!("/{}", conn.peer), session));
    }
    let bucket = |(expires_wall_ms, items)| ExpiryBucket { expires_wall_ms, items };
    buckets.into_iter().map(bucket).collect()
}

fn watches(shards: &[ShardReport]) -> WatchesReport {
    let mut by_session: BTreeMap<SessionId, Vec<String>> = BTreeMap::new();
    let mut by_path: BTreeMap<String, Vec<SessionId>> = BTreeMap::new();
    let mut report = WatchesReport::default();
    for watches in shards.iter().map(|shard| &shard.watches) {
        report.connections += watches.watchers as i64;
        report.total += watches.total as i64;
        for (path, session) in &watches.entries {
            let null = path == NULL_PATH;
            let path =
                if null { "null".into() } else { String::from_utf8_lossy(path).into_owned() };
            by_session.entry(*session).or_default().push(path.clone());
            by_path.entry(path).or_default().push(*session);
        }
    }
    report.paths = by_path.len() as i64;
    report.by_session = by_session.into_iter().collect();
    report.by_path = by_path.into_iter().collect();
    report
}

fn connection(conn: &ConnReport) -> ConnectionReport {
    let stats = &conn.stats;
    let session = conn.session.map(|id| ConnectionSession {
        id,
        last_operation: if stats.last_op_reset {
            Some("NA")
        } else {
            stats.last_op.map(operation_name)
        },
        established_wall_ms: conn.established,
        timeout_ms: i64::from(conn.timeout_ms),
        last_cxid: stats.last_xid.map(i64::from),
        last_zxid: crate::base::Zxid(stats.last_zxid),
        last_response_mono_ms: stats.last_response,
        last_latency_ms: stats.last_latency,
        min_latency_ms: if stats.count == 0 { 0 } else { stats.min_latency },
        avg_latency_ms: stats.total_latency / (stats.count.max(1) as i64),
        max_latency_ms: stats.max_latency,
    });
    ConnectionReport {
        remote: format!("/{}", conn.peer),
        interest_ops: u32::from(!conn.is_command),
        queued: conn.queued as i64,
        received: stats.received as i64,
        sent: stats.sent as i64,
        session,
    }
}

/// The short names of `cons` (reference: admin-and-metrics 2.4).
fn operation_name(op: OpCode) -> &'static str {
    match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => "CREA",
        OpCode::Delete | OpCode::DeleteContainer => "DELE",
        OpCode::Exists => "EXIS",
        OpCode::GetData => "GETD",
        OpCode::SetData => "SETD",
        OpCode::GetAcl => "GETA",
        OpCode::SetAcl => "SETA",
        OpCode::GetChildren | OpCode::GetChildren2 => "GETC",
        OpCode::GetAllChildrenNumber => "GETACN",
        OpCode::GetEphemerals => "GETE",
        OpCode::Sync => "SYNC",
        OpCode::Ping => "PING",
        OpCode::Check => "CHEC",
        OpCode::Multi => "MULT",
        OpCode::MultiRead => "MLTR",
        OpCode::Reconfig => "RECO",
        OpCode::CheckWatches => "CHKW",
        OpCode::RemoveWatches => "REMW",
        OpCode::SetWatches => "SETW",
        OpCode::SetWatches2 => "STW2",
        OpCode::AddWatch => "ADDW",
        OpCode::WhoAmI => "HOMI",
        OpCode::CreateSession => "SESS",
        OpCode::CloseSession => "CLOS",
        OpCode::Auth | OpCode::Sasl | OpCode::Error => "NA",
    }
}
