//! The configuration of a server: `zoo.cfg`, the JVM flags of old start scripts, or the positional
//! arguments (reference: configuration).
//!
//! Precedence, highest first: a key in the file, the same property in `JVMFLAGS`,
//! `SERVER_JVMFLAGS`, the default. Keys that Apache ZooKeeper takes only as JVM flags have the flag
//! first. Every key of [`config_keys`] is understood or warned of; a wrong value is an error, and
//! one reading reports all of them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use super::config_auth::{self, AuthProviders};
use super::config_cluster::{self, MembersFile, QuorumConfig};
use super::config_error::ConfigError;
use super::config_keys;
use super::config_reader::{Found, Reader};
use super::config_settings::{
    Admin, Auth, ClientTls, Clients, Nodes, Observability, Peers, Storage, Throttle, TlsStores,
};
use super::config_unknown;
use super::jvm_flags::{Env, JvmFlags};
use super::logging::LogSettings;
use super::profile::Profile;
use super::properties::{Entry, Properties};
use super::server_lines::{HostPort, PeerType};

/// Everything a server is started with. Made once, read by every core, never changed.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from; `None` for positional arguments and the embedded server.
    pub file: Option<PathBuf>,
    /// Holds `myid` and, under `version-2`, snapshots and epochs.
    pub data_dir: PathBuf,
    /// Holds the log under `version-2`.
    pub data_log_dir: PathBuf,
    pub tick_time_ms: i32,
    pub session_timeout_ms_min: i32,
    pub session_timeout_ms_max: i32,
    /// Where clients connect. The IPv4 wildcard stands for all addresses of both families. `None`:
    /// nowhere.
    pub client_address: Option<SocketAddr>,
    /// Where clients connect with TLS.
    pub secure_client_address: Option<SocketAddr>,
    pub clients: Clients,
    pub throttle: Throttle,
    pub storage: Storage,
    pub nodes: Nodes,
    pub auth: Auth,
    pub auth_providers: AuthProviders,
    pub client_tls: ClientTls,
    pub client_tls_stores: TlsStores,
    pub quorum_tls_stores: TlsStores,
    pub admin: Admin,
    pub observability: Observability,
    /// Ensemble settings; of use only with [`Config::ensemble`].
    pub peers: Peers,
    /// `myid`, if the file is there.
    pub my_id: Option<i64>,
    /// `None`: standalone.
    pub ensemble: Option<Ensemble>,
    pub profile: Profile,
    pub logging: LogSettings,
    /// Keys that nothing knows, as written.
    pub unknown: BTreeMap<String, String>,
}

/// This server's place among others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ensemble {
    pub my_id: i64,
    /// From the server lines; a contradicting `peerType` is warned of.
    pub peer_type: PeerType,
    pub quorum: QuorumConfig,
    /// A configuration proposed and not yet committed when the server stopped.
    pub next: Option<QuorumConfig>,
    /// The file that holds the members, when it is not `zoo.cfg` itself.
    pub dynamic_config_file: Option<PathBuf>,
}

/// A configuration and what there is to say about it, one line each.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads `zoo.cfg` and the files it names.
    pub fn load(path: &Path, env: &Env) -> Result<Loaded, ConfigError> {
        let source = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                ConfigError::one(&source, format!("{source} file is missing"), "an existing file")
            }
            _ => ConfigError::one(&source, error.to_string(), "a readable file"),
        })?;
        let properties = Properties::parse(&bytes).map_err(|error| {
            let place = format!("{source}:{}", error.line);
            ConfigError::one(&place, error.text, "four hexadecimal digits after \\u")
        })?;
        Config::build(&source, Some(path), &properties, env)
    }

    /// Apache ZooKeeper's positional form: `port datadir [ticktime] [maxcnxns]`.
    pub fn positional(args: &[String], env: &Env) -> Result<Loaded, ConfigError> {
        let keys = ["clientPort", "dataDir", "tickTime", "maxClientCnxns"];
        if args.len() < 2 || args.len() > keys.len() {
            let text = format!("Invalid number of arguments:[{}]", args.join(", "));
            return Err(ConfigError::one("arguments", text, "port datadir [ticktime] [maxcnxns]"));
        }
        let mut entries: Vec<Entry> = keys.iter().zip(args).map(|(k, v)| entry(k, v)).collect();
        if args.len() < keys.len() {
            entries.push(entry("maxClientCnxns", "0"));
        }
        Config::build("arguments", None, &Properties::from_entries(entries), env)
    }

    /// The server without any configuration: loopback only, data under the working directory.
    pub fn embedded(env: &Env) -> Result<Loaded, ConfigError> {
        let entries = [
            ("clientPort", "2181"),
            ("clientPortAddress", "127.0.0.1"),
            ("dataDir", "./data"),
            ("tickTime", "2000"),
            ("admin.serverAddress", "127.0.0.1"),
        ];
        let entries = entries.iter().map(|(k, v)| entry(k, v)).collect();
        Config::build("embedded defaults", None, &Properties::from_entries(entries), env)
    }

    fn build(
        source: &str,
        file: Option<&Path>,
        properties: &Properties,
        env: &Env,
    ) -> Result<Loaded, ConfigError> {
        let flags = JvmFlags::from_env(env);
        let mut reader = Reader::new(source, properties, &flags);
        reader.warnings.extend(flags.warnings.iter().cloned());
        let mut config = read_settings(&mut reader, env);
        config.file = file.map(Path::to_owned);
        check_settings(&mut reader, &mut config);
        if file.is_some() {
            read_ensemble(&mut reader, &mut config);
        }
        config_auth::check(&mut reader, &config);
        config.unknown = config_unknown::report(&mut reader);
        warn_of_the_unsafe(&mut reader, &config);
        if !reader.problems.is_empty() {
            return Err(ConfigError { source: source.to_owned(), problems: reader.problems });
        }
        Ok(Loaded { config, warnings: reader.warnings })
    }

    /// Key and value of everything in force, for `check-config`.
    pub fn effective(&self) -> Vec<(String, String)> {
        let address = |a: &Option<SocketAddr>| a.map_or("<not set>".to_owned(), |a| a.to_string());
        let mut rows = vec![
            ("dataDir".to_owned(), self.data_dir.display().to_string()),
            ("dataLogDir".to_owned(), self.data_log_dir.display().to_string()),
            ("tickTime".to_owned(), self.tick_time_ms.to_string()),
            ("minSessionTimeout".to_owned(), self.session_timeout_ms_min.to_string()),
            ("maxSessionTimeout".to_owned(), self.session_timeout_ms_max.to_string()),
            ("clientPort".to_owned(), address(&self.client_address)),
            ("secureClientPort".to_owned(), address(&self.secure_client_address)),
        ];
        self.clients.effective("", &mut rows);
        self.throttle.effective("", &mut rows);
        self.storage.effective("", &mut rows);
        self.nodes.effective("", &mut rows);
        self.auth.effective("", &mut rows);
        self.client_tls.effective("", &mut rows);
        self.client_tls_stores.effective("ssl.", &mut rows);
        self.quorum_tls_stores.effective("ssl.quorum.", &mut rows);
        self.admin.effective("", &mut rows);
        self.observability.effective("", &mut rows);
        self.peers.effective("", &mut rows);
        for (scheme, provider) in &self.auth_providers.schemes {
            rows.push((format!("authProvider.{scheme}"), format!("{provider:?}")));
        }
        rows.extend(self.profile.effective());
        rows.extend(self.logging.effective());
        if let Some(ensemble) = &self.ensemble {
            rows.push(("myid".to_owned(), ensemble.my_id.to_string()));
            rows.push(("peerType".to_owned(), ensemble.peer_type.to_string()));
            for line in ensemble.quorum.to_config_text().lines() {
                if let Some((key, value)) = line.split_once('=') {
                    rows.push((key.to_owned(), value.to_owned()));
                }
            }
        }
        rows
    }
}

/// The keys that reading a configuration asks for, whether set or not.
#[cfg(test)]
pub(super) fn asked_keys(reader: &mut Reader<'_>) -> std::collections::BTreeSet<String> {
    let mut config = read_settings(reader, &Env::default());
    check_settings(reader, &mut config);
    read_ensemble(reader, &mut config);
    reader.asked.clone()
}

fn entry(key: &str, value: &str) -> Entry {
    Entry { key: key.to_owned(), value: value.to_owned(), line: 0 }
}

fn read_settings(reader: &mut Reader<'_>, env: &Env) -> Config {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let (data_dir, data_log_dir) = read_dirs(reader);
    let (tick_time_ms, session_timeout_ms_min, session_timeout_ms_max) = read_times(reader);
    let storage = Storage::read(reader);
    let mut stores = |prefix: &'static str| {
        reader.prefix = prefix;
        let stores = TlsStores::read(reader);
        reader.prefix = "";
        stores
    };
    let client_tls_stores = stores("ssl.");
    let quorum_tls_stores = stores("ssl.quorum.");
    Config {
        file: None,
        data_dir,
        data_log_dir,
        tick_time_ms,
        session_timeout_ms_min,
        session_timeout_ms_max,
        client_address: listener(reader, "clientPort", "clientPortAddress"),
        secure_client_address: listener(reader, "secureClientPort", "secureClientPortAddress"),
        clients: Clients::read(reader),
        throttle: Throttle::read(reader),
        profile: Profile::read(reader, cpus, storage.flush_delay_ms, storage.batch_txns_max),
        storage,
        nodes: Nodes::read(reader),
        auth: Auth::read(reader),
        auth_providers: config_auth::read(reader),
        client_tls: ClientTls::read(reader),
        client_tls_stores,
        quorum_tls_stores,
        admin: Admin::read(reader),
        observability: Observability::read(reader),
        peers: Peers::read(reader),
        my_id: None,
        ensemble: None,
        logging: LogSettings::read(reader, env),
        unknown: BTreeMap::new(),
    }
}

fn read_dirs(reader: &mut Reader<'_>) -> (PathBuf, PathBuf) {
    let data_dir = reader.path("dataDir").unwrap_or_else(|| {
        reader.file_problem("dataDir is not set", "dataDir=<path>");
        PathBuf::new()
    });
    let data_log_dir = reader.path("dataLogDir").unwrap_or_else(|| data_dir.clone());
    for dir in [&data_dir, &data_log_dir] {
        let indicated = dir.is_absolute() || dir.starts_with(".");
        if !indicated && !dir.as_os_str().is_empty() {
            reader.warn(format!(
                "{} is relative. Prepend ./ to indicate that you're sure!",
                dir.display()
            ));
        }
        if data_dir == data_log_dir {
            break;
        }
    }
    (data_dir, data_log_dir)
}

fn read_times(reader: &mut Reader<'_>) -> (i32, i32, i32) {
    let tick = reader.plain_int("tickTime", 3000);
    if tick == 0 {
        reader.file_problem("tickTime is not set", "tickTime=<milliseconds>, not 0");
    }
    let mut bound = |key: &str, ticks: i32| match reader.plain_int(key, -1) {
        -1 => tick.saturating_mul(ticks),
        ms => ms,
    };
    let (min, max) = (bound("minSessionTimeout", 2), bound("maxSessionTimeout", 20));
    if min > max {
        reader.file_problem(
            "minSessionTimeout must not be larger than maxSessionTimeout",
            format!("now {min} and {max}, with tickTime={tick}"),
        );
    }
    (tick, min, max)
}

/// The address made of a port key and an address key. Port 0 counts as not set, as in Apache
/// ZooKeeper.
fn listener(reader: &mut Reader<'_>, port_key: &str, address_key: &str) -> Option<SocketAddr> {
    let port = reader.plain_int(port_key, 0);
    let host = reader.find(address_key).filter(|found| !found.value.is_empty());
    if port == 0 {
        if let Some(found) = host {
            let text = format!("{address_key} is set but {port_key} is not set");
            reader.problem(&found, text, format!("also {port_key}=<port>"));
        }
        return None;
    }
    let Ok(port_number) = u16::try_from(port) else {
        if let Some(found) = reader.find(port_key) {
            reader.problem(&found, format!("port out of range:{port}"), "0 to 65535");
        }
        return None;
    };
    match host {
        None => Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port_number))),
        Some(found) => resolve(reader, &found, &found.value.clone(), port_number),
    }
}

fn resolve(reader: &mut Reader<'_>, found: &Found, host: &str, port: u16) -> Option<SocketAddr> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = (bare, port).to_socket_addrs().ok().and_then(|mut all| all.next());
    if address.is_none() {
        let text = format!("{host}: Name or service not known");
        reader.problem(found, text, "a name or address of this machine");
    }
    address
}

/// Values that Apache ZooKeeper corrects with a warning, and combinations it refuses.
fn check_settings(reader: &mut Reader<'_>, config: &mut Config) {
    let storage = &mut config.storage;
    if storage.snap_count < 2 {
        reader.warn("SnapCount should be 2 or more. Now, snapCount is reset to 2");
        storage.snap_count = 2;
    }
    if storage.commit_log_count < 500 {
        reader.warn(format!(
            "The configured commitLogCount zookeeper.commitLogCount is less than the recommended \
             500: {}; 500 is in force",
            storage.commit_log_count
        ));
        storage.commit_log_count = 500;
    }
    if storage.snapshot_size_factor > 1.0 {
        reader.warn("The configured snapshotSizeFactor is larger than 1; 0.33 is in force");
        storage.snapshot_size_factor = 0.33;
    }
    if storage.snap_size_limit_kib == 0 {
        // Apache ZooKeeper announces 0 as "off" and then divides by it.
        storage.snap_size_limit_kib = -1;
    }
    if storage.purge_retain_count < 3 {
        reader.warn(format!(
            "Invalid autopurge.snapRetainCount: {}. Defaulting to 3",
            storage.purge_retain_count
        ));
        storage.purge_retain_count = 3;
    }
    match config.clients.cnxns_max {
        0 => reader.warn("maxCnxns is not configured, using default value 0."),
        n if n < 0 => reader.warn(format!("maxCnxns should be greater than or equal to 0: {n}")),
        _ => {}
    }
    check_weights(reader, config);
    check_peers(reader, config);
}

fn check_weights(reader: &mut Reader<'_>, config: &mut Config) {
    let throttle = &mut config.throttle;
    let defaults = [3, 2, 1];
    let weights = [
        ("global", &mut throttle.connection_weight_global),
        ("renew", &mut throttle.connection_weight_renew),
        ("local", &mut throttle.connection_weight_local),
    ];
    for ((kind, weight), default) in weights.into_iter().zip(defaults) {
        if *weight <= 0 {
            reader.warn(format!("connection throttle weight of {kind} sessions is now {default}"));
            *weight = default;
        }
    }
    let local = throttle.connection_weight_local;
    for weight in [&mut throttle.connection_weight_global, &mut throttle.connection_weight_renew] {
        if *weight < local {
            reader.warn("connection throttle weight raised to that of local sessions");
            *weight = local;
        }
    }
}

fn check_peers(reader: &mut Reader<'_>, config: &mut Config) {
    let peers = &mut config.peers;
    match peers.election_alg {
        3 => {}
        0 => reader.warn(
            "electionAlg=0: servers vote by datagrams to the quorum ports; every server of the ensemble \
             must say so, and Apache ZooKeeper 3.6 and later cannot take part",
        ),
        alg @ 1..=2 => reader.warn(format!(
            "electionAlg={alg} was replaced by FastLeaderElection (electionAlg=3), which this server runs"
        )),
        _ => {
            if let Some(found) = reader.find("electionAlg") {
                reader.problem(&found, "Invalid electionAlg value. Only 3 is supported.", "0 to 3");
            }
        }
    }
    if peers.election_bind_retries_max < 0 {
        peers.election_bind_retries_max = 3;
    }
    if peers.connect_to_learner_master_limit_ticks == 0 {
        peers.connect_to_learner_master_limit_ticks = i64::from(peers.init_limit_ticks);
    }
    let sasl = "quorum.auth.enableSasl";
    let learner = "quorum.auth.learnerRequireSasl";
    let server = "quorum.auth.serverRequireSasl";
    let rules = [
        (peers.sasl_server_required && !peers.sasl, sasl, server),
        (peers.sasl_learner_required && !peers.sasl, sasl, learner),
        (peers.sasl_server_required && !peers.sasl_learner_required, learner, server),
    ];
    for (broken, needed, wanted) in rules {
        if broken {
            reader.file_problem(
                format!("{needed} is disabled, so cannot enable {wanted}"),
                format!("also {needed}=true"),
            );
        }
    }
}

fn read_ensemble(reader: &mut Reader<'_>, config: &mut Config) {
    let peer_type = read_peer_type(reader);
    let dynamic_file = reader.path("dynamicConfigFile");
    let properties = reader.properties;
    let file = reader.file;
    let multi_address = config.peers.multi_address;
    let mut next = None;
    let mut quorum = match &dynamic_file {
        None => {
            let kind = MembersFile::Static;
            config_cluster::read_quorum(reader, file, properties, kind, multi_address)
        }
        Some(path) => {
            refuse_static_members(reader);
            next = read_next(reader, config, multi_address);
            read_dynamic(reader, path, multi_address)
        }
    };
    config_cluster::check_members(reader, &quorum, config.peers.standalone_enabled);
    if config.peers.oracle_path.is_some() {
        quorum.groups = None;
    }
    config.my_id = read_my_id(reader, &config.data_dir);
    if let Some(my_id) = config.my_id {
        apply_client_address(reader, config, &mut quorum, my_id);
    }
    if config.peers.standalone_enabled && quorum.participants() <= 1 {
        reader.warn("Either no config or no quorum defined in config, running in standalone mode");
        return;
    }
    let peer_type = check_peer_type(reader, config, &quorum, peer_type);
    for (ticks, key) in
        [(config.peers.init_limit_ticks, "initLimit"), (config.peers.sync_limit_ticks, "syncLimit")]
    {
        if ticks == 0 {
            reader.file_problem(format!("{key} is not set"), format!("{key}=<ticks>, not 0"));
        }
    }
    let Some(my_id) = config.my_id else {
        let allowed = format!("the server's id in {}", config.data_dir.join("myid").display());
        return reader.file_problem("myid file is missing", allowed);
    };
    config.ensemble =
        Some(Ensemble { my_id, peer_type, quorum, next, dynamic_config_file: dynamic_file });
}

fn read_peer_type(reader: &mut Reader<'_>) -> PeerType {
    let Some(found) = reader.find("peerType") else { return PeerType::Participant };
    PeerType::parse(&found.value).unwrap_or_else(|text| {
        reader.problem(&found, text, "participant, observer");
        PeerType::Participant
    })
}

/// The list of servers decides about the role; a contradicting `peerType` is only warned of.
fn check_peer_type(
    reader: &mut Reader<'_>,
    config: &Config,
    quorum: &QuorumConfig,
    peer_type: PeerType,
) -> PeerType {
    let member = config.my_id.and_then(|id| quorum.servers.get(&id));
    let listed = member.map_or(PeerType::Participant, |server| server.peer_type);
    if listed != peer_type {
        let word = |t: PeerType| t.to_string().to_uppercase();
        reader.warn(format!(
            "Peer type from servers list ({}) doesn't match peerType ({}). Defaulting to servers \
             list.",
            word(listed),
            word(peer_type)
        ));
    }
    listed
}

fn refuse_static_members(reader: &mut Reader<'_>) {
    let properties = reader.properties;
    for entry in properties.iter().filter(|e| config_keys::is_ensemble_key(&e.key)) {
        let found = Found {
            value: entry.value.clone(),
            key: entry.key.clone(),
            place: reader.place(entry.line),
        };
        let text = format!("parameter: {} must be in a separate dynamic config file", entry.key);
        reader.problem(&found, text, "either here or in the file dynamicConfigFile names");
    }
}

fn read_dynamic(reader: &mut Reader<'_>, path: &Path, multi_address: bool) -> QuorumConfig {
    let name = path.display().to_string();
    let entries = match std::fs::read(path) {
        Ok(bytes) => Properties::parse(&bytes).map_err(|e| (Some(e.line), e.text.to_owned())),
        Err(error) => Err((None, format!("{name} ({error})"))),
    };
    match entries {
        Ok(entries) => {
            let kind = MembersFile::Dynamic;
            let mut quorum =
                config_cluster::read_quorum(reader, &name, &entries, kind, multi_address);
            quorum.version = config_cluster::version_of_name(&name);
            quorum
        }
        Err((line, text)) => {
            if let Some(mut found) = reader.find("dynamicConfigFile") {
                if let Some(line) = line {
                    found.place = format!("{name}:{line}");
                }
                reader.problem(&found, text, "a readable file of server lines");
            }
            QuorumConfig::default()
        }
    }
}

/// The configuration proposed last, from `<zoo.cfg>.dynamic.next`. Whatever is wrong with it is a
/// warning: it may have been cut short by a crash, and the committed one is at hand.
fn read_next(
    reader: &mut Reader<'_>,
    config: &Config,
    multi_address: bool,
) -> Option<QuorumConfig> {
    let mut path = config.file.clone()?.into_os_string();
    path.push(".dynamic.next");
    let path = PathBuf::from(path);
    if !path.exists() {
        return None;
    }
    let name = path.display().to_string();
    let entries = std::fs::read(&path).ok().and_then(|bytes| Properties::parse(&bytes).ok());
    let known = reader.problems.len();
    let quorum = entries.map(|entries| {
        config_cluster::read_quorum(reader, &name, &entries, MembersFile::Next, multi_address)
    });
    let broken = reader.problems.len() > known;
    reader.problems.truncate(known);
    if broken || quorum.is_none() {
        reader.warn(format!("{name}: NextQuorumVerifier is initiated to null"));
        return None;
    }
    quorum
}

/// `myid`: the first line, not trimmed. `None` when the file is absent.
fn read_my_id(reader: &mut Reader<'_>, data_dir: &Path) -> Option<i64> {
    let path = data_dir.join("myid");
    if !path.is_file() {
        return None;
    }
    let text = match std::fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            reader.file_problem(format!("{}: {error}", path.display()), "a readable myid file");
            return None;
        }
    };
    let line = text.split(['\n', '\r']).next().filter(|_| !text.is_empty()).unwrap_or("null");
    let id = line.parse::<i64>().ok();
    if id.is_none() {
        let allowed = format!("a number and nothing else in the first line of {}", path.display());
        reader.file_problem(format!("serverid {line} is not a number"), allowed);
    }
    id
}

/// Brings `clientPort` and the client part of this server's own line together (configuration 6.4).
fn apply_client_address(
    reader: &mut Reader<'_>,
    config: &mut Config,
    quorum: &mut QuorumConfig,
    my_id: i64,
) {
    let Some(me) = quorum.servers.get_mut(&my_id) else { return };
    let Some(listed) = me.client_address.clone() else {
        me.client_address_is_static = true;
        me.client_address =
            config.client_address.map(|a| HostPort { host: a.ip().to_string(), port: a.port() });
        return;
    };
    let found = Found {
        value: me.to_string(),
        key: format!("server.{my_id}"),
        place: reader.file.to_owned(),
    };
    let Some(address) = resolve(reader, &found, &listed.host, listed.port) else { return };
    if let Some(own) = config.client_address {
        let same_port = own.port() == address.port();
        let agrees = if own.ip().is_unspecified() { same_port } else { own == address };
        if !agrees {
            reader.file_problem(
                format!(
                    "client address for this server (id = {my_id}) in static config file is {own} \
                     is different from client address found in dynamic file: {address}"
                ),
                "the same address in both places, or in one only",
            );
        }
    }
    config.client_address = Some(address);
}

fn warn_of_the_unsafe(reader: &mut Reader<'_>, config: &Config) {
    let notes = [
        (
            !config.storage.force_sync,
            "forceSync=no: acknowledged writes are lost in a power failure",
        ),
        (config.auth.skip_acl, "skipACL=yes: ACLs are not checked"),
        (config.auth.any_sasl_user, "letAnySaslUserDoX: any SASL user matches any SASL ACL"),
        (
            config.storage.trust_empty_snapshot,
            "snapshot.trust.empty=true: a lost snapshot goes unnoticed; use it for one start only",
        ),
        (!config.storage.digest, "digest.enabled=false: diverging servers go unnoticed"),
        (
            config.clients.jute_maxbuffer > 0xfffff,
            "jute.maxbuffer is enlarged: it must be the same on all servers and clients",
        ),
    ];
    for (unsafe_set, text) in notes {
        if unsafe_set {
            reader.warn(format!("unsafe setting: {text}"));
        }
    }
}
