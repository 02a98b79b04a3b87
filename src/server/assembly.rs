//! Puts a server together, runs it, takes it down.

use std::fs::File;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::commands::Commands;
use super::config_auth::AuthProvider;
use super::profile::Pin;
use super::{
    Config, ExitCode, Loaded, limits, listen, members, preflight, restore, signals, unserved,
};
use crate::auth::{Auth, AuthConfig};
use crate::base::MonoMs;
use crate::base::limits::{SHARD_MAILBOX_SLOTS, ZAB_INBOX_SLOTS};
use crate::ensemble::{
    CoreExit, CoreOptions, CoreParts, Disk, EventFd, SharedState, SnapshotPolicy, StallOptions,
    ZabCore,
};
use crate::peer::{Fatal, Recovered};
use crate::pipeline::Mailbox;
use crate::pipeline::messages::{ToShard, ToZab};
use crate::shard::runtime::{self, RunningShard, RuntimeOptions, ShardWaker};
use crate::shard::{Links, ShardCounters, ShardOptions};
use crate::storage::{DataLayout, LogOptions};

/// Runs a server until it is told to stop or cannot go on.
pub fn run(loaded: Loaded) -> ExitCode {
    let Loaded { config, warnings } = loaded;
    tracing::info!("ringkeeper {} starting", env!("CARGO_PKG_VERSION"));
    for warning in warnings.iter().map(ToString::to_string).chain(unserved::warnings(&config)) {
        tracing::warn!("{warning}");
    }
    if config.ensemble.is_some() && (config.peers.tls || config.peers.sasl_server_required) {
        tracing::error!(
            "sslQuorum or quorum.auth.serverRequireSasl is set, and this version speaks to other \
             servers in the clear only: it does not start rather than do so; keep running Apache \
             ZooKeeper here for now"
        );
        return ExitCode::Invocation;
    }
    match start(&config) {
        Ok(server) => server.run_to_end(),
        Err((code, text)) => {
            tracing::error!("{text}");
            code
        }
    }
}

type Failed = (ExitCode, String);

fn unexpected(text: impl ToString) -> Failed {
    (ExitCode::Unexpected, text.to_string())
}

struct RunningServer {
    to_zab: Arc<Mailbox<ToZab>>,
    mailboxes: Vec<Arc<Mailbox<ToShard>>>,
    shards: Vec<RunningShard>,
    core: std::thread::JoinHandle<CoreExit>,
    ends: Receiver<End>,
    /// The directory is this server's until the end.
    _claim: Vec<File>,
}

/// Why the server stops.
enum End {
    Signal(i32),
    /// The Zab core's thread is over: its exit says why.
    Core,
}

/// Says so when it is dropped, however the thread that has it ends.
struct TellEnd(Sender<End>);

impl Drop for TellEnd {
    fn drop(&mut self) {
        // Nobody listens any more when the server stops anyway.
        let _ = self.0.send(End::Core);
    }
}

fn start(config: &Config) -> Result<RunningServer, Failed> {
    signals::block().map_err(unexpected)?;
    let profile = &config.profile;
    check_machine(config)?;
    let auth = Arc::new(Auth::new(auth_config(config)));
    let epoch = Instant::now();
    let layout = restore::open_layout(config)?;
    let addresses = client_addresses(config);
    let claim = claim(&layout, &addresses)?;
    let restored = restore::restore(config, &layout, epoch)?;
    tracing::info!(
        "data directory {}: zxid {}, {} znodes, {} sessions, recovered in {} ms",
        config.data_dir.display(),
        restored.tree.tree().applied(),
        restored.tree.view().node_count(),
        restored.sessions.len(),
        epoch.elapsed().as_millis()
    );
    let listeners = bind_all(&addresses, config)?;
    let wake = EventFd::new().map_err(unexpected)?;
    let to_zab = Arc::new(Mailbox::new(ZAB_INBOX_SLOTS, Box::new(wake.clone())));
    let wakers: Vec<_> = (0..profile.client_cores).map(|_| ShardWaker::default()).collect();
    let mailboxes: Vec<_> = wakers
        .iter()
        .map(|waker| Arc::new(Mailbox::new(SHARD_MAILBOX_SLOTS, Box::new(waker.clone()))))
        .collect();
    let counters: Vec<_> = wakers.iter().map(|_| Arc::new(ShardCounters::default())).collect();
    let state = Arc::new(SharedState::new(restored.tree.tree().clone()));
    let admission = Arc::new(limits::admission(config, epoch));
    let commands = Arc::new(Commands::new(
        config,
        (state.clone(), admission.clone()),
        to_zab.clone(),
        mailboxes.clone(),
        counters.clone(),
        epoch,
    ));
    let tree = restored.tree.tree().clone();
    let around = Around { auth: &auth, inbox: &to_zab, mailboxes: &mailboxes, wake, state, epoch };
    let (tell, ends) = channel();
    await_signals(tell.clone()).map_err(unexpected)?;
    let core = start_core(config, layout, restored, around, TellEnd(tell))?;
    let mut shards = Vec::new();
    for (id, listeners) in listeners.into_iter().enumerate() {
        let links = Links {
            tree: tree.clone(),
            auth: auth.clone(),
            to_zab: to_zab.clone(),
            mailbox: mailboxes[id].clone(),
            admission: admission.clone(),
            commands: commands.clone(),
            counters: counters[id].clone(),
            epoch,
        };
        let runtime = runtime_options(config, id);
        let waker = wakers[id].clone();
        let options = shard_options(config);
        let shard = runtime::start(id as u16, options, runtime, links, waker, listeners)
            .map_err(unexpected)?;
        shards.push(shard);
    }
    say_ready(config, &addresses);
    Ok(RunningServer { to_zab, mailboxes, shards, core, ends, _claim: claim })
}

/// Signals come in on a thread of their own, so that the main thread can wait for the Zab core's end as well.
fn await_signals(tell: Sender<End>) -> std::io::Result<()> {
    let wait = move || {
        let signal = loop {
            if let Some(signal) = signals::wait() {
                break signal;
            }
        };
        let _ = tell.send(End::Signal(signal));
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(|_| ())
}

/// Nobody else serves from here. One that is on its way out, Apache included, is waited for before anything is read: it
/// may still acknowledge writes. One that stays ends this start, before a torn end of its log is taken for a crash's.
fn claim(layout: &DataLayout, addresses: &[SocketAddr]) -> Result<Vec<File>, Failed> {
    for address in addresses {
        listen::wait_until_free(*address).map_err(|error| taken(*address, &error))?;
    }
    restore::lock(layout)
}

fn taken(address: SocketAddr, error: &std::io::Error) -> Failed {
    unexpected(format!(
        "cannot listen on {address}: {error}; another server may be running there, or set another \
         clientPort"
    ))
}

/// What the machine offers, and whether it is enough.
fn check_machine(config: &Config) -> Result<(), Failed> {
    let profile = &config.profile;
    let machine = preflight::check(profile.client_cores, profile.client_io_memory_bytes)
        .map_err(unexpected)?;
    tracing::info!(
        "kernel {}, {} CPUs, memlock {} KiB, nofile {}, io_uring: {}",
        machine.kernel,
        machine.cpus,
        machine.memlock_bytes / 1024,
        machine.nofile,
        machine.ring_features
    );
    Ok(())
}

/// What the Zab core shares with the rest of the server.
struct Around<'a> {
    auth: &'a Arc<Auth>,
    inbox: &'a Arc<Mailbox<ToZab>>,
    mailboxes: &'a [Arc<Mailbox<ToShard>>],
    wake: EventFd,
    state: Arc<SharedState>,
    epoch: Instant,
}

fn start_core(
    config: &Config,
    layout: DataLayout,
    restored: Recovered,
    around: Around<'_>,
    tell: TellEnd,
) -> Result<std::thread::JoinHandle<CoreExit>, Failed> {
    let storage = &config.storage;
    let zxid = restored.tree.tree().applied();
    let size_limit = u64::try_from(storage.snap_size_limit_kib).ok().filter(|kib| *kib > 0);
    let nanos = around.epoch.elapsed().as_nanos() as u64;
    let seed = nanos ^ zxid.0 as u64 ^ u64::from(std::process::id());
    let peer = members::peer(config, &layout, restored, around.auth, boot_ms())?;
    let parts = CoreParts {
        peer,
        membership: members::membership(config)?,
        snapshots: SnapshotPolicy::new(
            storage.snap_count.max(2) as u64,
            size_limit.map(|kib| kib * 1024),
            seed,
        ),
        write_snapshot: restore::snapshot_writer(config, &layout),
        state: around.state,
        inbox: around.inbox.clone(),
        wake: around.wake,
        shards: around.mailboxes.to_vec(),
        epoch: around.epoch,
        disk: disk(config, &layout, around.inbox, around.epoch),
    };
    restore::start_purge(config, &layout);
    let core = ZabCore::new(core_options(config), parts).map_err(unexpected)?;
    let run = move || {
        let _tell = tell;
        core.run()
    };
    std::thread::Builder::new().name("zab".into()).spawn(run).map_err(unexpected)
}

fn disk(config: &Config, layout: &DataLayout, inbox: &Arc<Mailbox<ToZab>>, epoch: Instant) -> Disk {
    let (settings, directory) = (config.clone(), layout.clone());
    let reload = move || restore::restore(&settings, &directory, epoch).map_err(|(_, text)| text);
    Disk {
        layout: layout.clone(),
        log_options: log_options(config),
        reload: Box::new(reload),
        record_bytes_max: restore::record_bytes_max(config),
        snapshot_size_factor: config.storage.snapshot_size_factor,
        snapshot_digest: config.storage.digest,
        snapshot_zxid: config.storage.serialize_last_zxid,
        inbox: inbox.clone(),
        receiving: None,
    }
}

/// The monotonic clock of the machine: session ids of a server that restarts must not repeat.
fn boot_ms() -> MonoMs {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime.split(' ').next().and_then(|text| text.parse::<f64>().ok());
    seconds.map_or(0, |seconds| (seconds * 1000.0) as MonoMs)
}

fn core_options(config: &Config) -> CoreOptions {
    let profile = &config.profile;
    CoreOptions {
        cpu: cpu_of(config, 0),
        spin: Duration::from_micros(profile.zab_spin_us),
        ring_depth: profile.zab_ring_depth,
        flush_batch_max: profile.flush_batch_max,
        flush_delay: Duration::from_micros(profile.flush_delay_us),
        fsync_warning_ms: config.storage.fsync_warning_ms,
        stalls: config.observability.stall_watch.then_some(StallOptions {
            info_ms: config.observability.stall_info_ms,
            warn_ms: config.observability.stall_warn_ms,
            check_ms: config.observability.stall_check_ms,
        }),
    }
}

fn log_options(config: &Config) -> LogOptions {
    let storage = &config.storage;
    let limit = u64::try_from(storage.txn_log_size_limit_kib).ok();
    LogOptions {
        prealloc_bytes: storage.pre_alloc_kib.max(0) as u64 * 1024,
        force_sync: storage.force_sync,
        size_limit_bytes: limit.map(|kib| kib * 1024),
        reserve_bytes: config.profile.disk_reserve_bytes,
        direct: true,
    }
}

pub(super) fn touch_interval_ms(config: &Config) -> u64 {
    (config.tick_time_ms as u64 / 8).clamp(10, 250)
}

fn shard_options(config: &Config) -> ShardOptions {
    let (clients, profile) = (&config.clients, &config.profile);
    let per_shard = config.throttle.global_outstanding_limit as usize / profile.client_cores;
    ShardOptions {
        max_frame_bytes: clients.jute_maxbuffer as usize,
        session_timeout_ms_min: config.session_timeout_ms_min,
        session_timeout_ms_max: config.session_timeout_ms_max,
        outstanding_limit: per_shard.max(1),
        max_client_cnxns: clients.cnxns_per_ip_max.max(0) as usize,
        max_cnxns: clients.cnxns_max.max(0) as usize,
        sessionless_timeout_ms: clients.sessionless_timeout_ms,
        tcp_keepalive: clients.tcp_keep_alive,
        out_bytes_high: profile.client_out_bytes_high,
        out_bytes_max: profile.client_out_bytes_max,
        read_chunk_bytes: profile.client_read_chunk_bytes,
        throttle: limits::throttle(config),
        // On a server of its own the check that follows is the same one.
        eager_acl: config.auth.eager_acl_check && config.ensemble.is_some(),
    }
}

fn runtime_options(config: &Config, id: usize) -> RuntimeOptions {
    let profile = &config.profile;
    RuntimeOptions {
        cpu: cpu_of(config, id + 1),
        spin: Duration::from_micros(profile.client_spin_us),
        io_memory_bytes: profile.client_io_memory_bytes,
        ring_depth: profile.client_ring_depth as usize,
        preempt: Duration::from_millis(profile.client_preempt_ms),
        touch_interval_ms: touch_interval_ms(config),
    }
}

/// The CPU of the n-th thread: the Zab core is 0, client cores follow. Unless a CPU is left over for everybody else
/// nobody is pinned: a pinned thread cannot get out of the way of what else must run there.
fn cpu_of(config: &Config, nth: usize) -> Option<usize> {
    let threads = config.profile.client_cores + 1;
    match &config.profile.pin {
        Pin::Off => None,
        Pin::Auto => {
            let allowed = preflight::allowed_cpus();
            (allowed.len() > threads).then(|| allowed[nth])
        }
        Pin::Cpus(cpus) => cpus.get(nth).copied(),
    }
}

fn auth_config(config: &Config) -> AuthConfig {
    let auth = &config.auth;
    let has = |wanted: AuthProvider| {
        config.auth_providers.schemes.iter().any(|(_, provider)| *provider == wanted)
    };
    let mut sasl_super_users = config.auth_providers.super_users.clone();
    sasl_super_users.extend(auth.sasl_super_user.clone());
    let enforced = if auth.require_client_sasl {
        Some(vec!["sasl".to_owned()])
    } else {
        auth.enforce.then(|| auth.enforce_schemes.clone())
    };
    AuthConfig {
        digest_enabled: auth.digest,
        digest_algorithm: auth.digest_alg,
        super_digest: auth.super_digest.as_ref().map(|secret| secret.expose().to_owned()),
        ensemble_provider: has(AuthProvider::Ensemble),
        ensemble_names: (!auth.ensemble_names.is_empty()).then(|| auth.ensemble_names.clone()),
        sasl_provider: has(AuthProvider::Sasl),
        x509_provider: has(AuthProvider::X509) || config.secure_client_address.is_some(),
        key_provider: has(AuthProvider::Key),
        x509_super_user: auth.x509_super_user.clone(),
        sasl_super_users,
        enforced_schemes: enforced,
        allow_sasl_failed_clients: auth.allow_sasl_failed_clients,
        skip_acl: auth.skip_acl,
        let_any_sasl_user_do: auth.any_sasl_user.then(|| "x".to_owned()),
        unknown_providers: Vec::new(),
    }
}

/// The IPv4 wildcard stands for all addresses of both families, where the machine has IPv6.
fn client_addresses(config: &Config) -> Vec<SocketAddr> {
    let Some(address) = config.client_address else { return Vec::new() };
    let all = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let is_wildcard = address.is_ipv4() && address.ip().is_unspecified();
    // Another port tells whether the machine has IPv6, without getting into the way of this one.
    if is_wildcard && TcpListener::bind(SocketAddr::new(all, 0)).is_ok() {
        return vec![SocketAddr::new(all, address.port())];
    }
    vec![address]
}

/// One listener per client core and address.
fn bind_all(addresses: &[SocketAddr], config: &Config) -> Result<Vec<Vec<TcpListener>>, Failed> {
    let cores = config.profile.client_cores;
    let mut per_core: Vec<Vec<TcpListener>> = (0..cores).map(|_| Vec::new()).collect();
    for address in addresses {
        let backlog = config.clients.listen_backlog;
        let bound = listen::bind(*address, cores, backlog).map_err(|e| taken(*address, &e))?;
        for (listeners, listener) in per_core.iter_mut().zip(bound) {
            listeners.push(listener);
        }
    }
    Ok(per_core)
}

fn say_ready(config: &Config, addresses: &[SocketAddr]) {
    let profile = &config.profile;
    tracing::info!(
        "profile {}: {} client core(s), one Zab core, pinned: {}",
        profile.name.as_str(),
        profile.client_cores,
        cpu_of(config, 0).is_some()
    );
    if config.secure_client_address.is_some() {
        tracing::warn!(
            "secureClientPort: TLS is not served by this version; the port stays closed"
        );
    }
    let Some(address) = addresses.first() else {
        tracing::warn!("clientPort is not set: nobody can connect");
        return;
    };
    tracing::info!("serving clients on {address}");
    if config.file.is_none() {
        let port = address.port();
        println!("ringkeeper serves on {address}, data in {}", config.data_dir.display());
        println!("try:  echo srvr | nc 127.0.0.1 {port}      (or any ZooKeeper client)");
        println!("stop: Ctrl-C");
    }
}

impl RunningServer {
    /// Waits for a signal or the end of the Zab core.
    fn run_to_end(self) -> ExitCode {
        if let Ok(End::Signal(signal)) = self.ends.recv() {
            tracing::info!("signal {signal}: stopping");
        }
        self.stop()
    }

    /// Client cores first, so that no request is taken that will not be answered; then the log is finished.
    fn stop(self) -> ExitCode {
        for mailbox in &self.mailboxes {
            insist(mailbox, ToShard::Shutdown);
        }
        insist(&self.to_zab, ToZab::Shutdown);
        let exit = self.core.join();
        for shard in self.shards {
            shard.join();
        }
        match exit {
            Ok(exit) => exit_code(&exit),
            Err(_) => ExitCode::Unexpected,
        }
    }
}

/// Puts a message into a mailbox that may be full for a moment.
fn insist<T>(mailbox: &Mailbox<T>, mut message: T) {
    for _ in 0..1000 {
        match mailbox.push(message) {
            Ok(()) => return mailbox.wake(),
            Err(back) => message = back,
        }
        mailbox.wake();
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn exit_code(exit: &CoreExit) -> ExitCode {
    match exit {
        CoreExit::Stopped => ExitCode::Ok,
        CoreExit::Log(error) => {
            tracing::error!("the log failed, nothing more is written to it: {error}");
            ExitCode::PoisonedLog
        }
        CoreExit::Ring(error) => {
            tracing::error!("the Zab core's ring failed: {error}");
            ExitCode::Unexpected
        }
        CoreExit::Fatal(fatal) => {
            tracing::error!("this server cannot go on: {fatal}");
            match fatal {
                Fatal::Disk(_) => ExitCode::PoisonedLog,
                Fatal::Data(_) => ExitCode::Unexpected,
                Fatal::UnmatchedCommit(_) => ExitCode::UnmatchedCommit,
                Fatal::Packet(_) => ExitCode::QuorumPacket,
                Fatal::Snapshot(_) => ExitCode::Snapshot,
            }
        }
        CoreExit::Snapshot => ExitCode::Snapshot,
    }
}
