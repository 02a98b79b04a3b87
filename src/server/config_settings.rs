//! The settings by subject, each field next to the key it is read from.
//!
//! Units come last in the names. Defaults and ranges are those of the configuration reference,
//! sections 3 to 13.

use std::path::PathBuf;

use super::config_reader::{Reader, Secret};
use crate::auth::DigestAlgorithm;

/// How `check-config` shows a value.
pub trait Shown {
    fn shown(&self) -> String;
}

macro_rules! shown_by_display {
    ($($ty:ty)*) => { $(impl Shown for $ty {
        fn shown(&self) -> String { self.to_string() }
    })* };
}
shown_by_display!(bool i32 i64 u16 f64 String);

impl Shown for Secret {
    fn shown(&self) -> String {
        format!("{self:?}")
    }
}

impl Shown for PathBuf {
    fn shown(&self) -> String {
        self.display().to_string()
    }
}

impl Shown for Vec<String> {
    fn shown(&self) -> String {
        self.join(",")
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> String {
        self.as_ref().map_or_else(|| "<not set>".to_owned(), Shown::shown)
    }
}

macro_rules! settings {
    ($(#[$outer:meta])* $name:ident {
        $($(#[$inner:meta])* $field:ident: $ty:ty = $how:ident($key:literal $(, $arg:expr)*);)*
    }) => {
        $(#[$outer])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $($(#[$inner])* pub $field: $ty,)* }

        impl $name {
            pub(super) fn read(from: &mut Reader<'_>) -> Self {
                $name { $($field: from.$how($key $(, $arg)*),)* }
            }

            /// Key and value of every field, for `check-config`; `prefix` is put before the keys.
            pub fn effective(&self, prefix: &str, out: &mut Vec<(String, String)>) {
                $(out.push((format!("{prefix}{}", $key), self.$field.shown()));)*
            }
        }
    };
}

macro_rules! words {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$inner])* $variant,)* }

        impl $name {
            const WORDS: &'static [(&'static str, $name)] = &[$(($word, $name::$variant),)*];

            /// The word as it stands in the file.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl Shown for $name {
            fn shown(&self) -> String {
                self.as_str().to_owned()
            }
        }
    };
}

const MAX_I32: i64 = i32::MAX as i64;
const ANY: i64 = i64::MIN;
const NO_LIMIT: i64 = i64::MAX;

words! {
    /// Compression of snapshot files; also their suffix.
    Compression {
        None = "",
        Gzip = "gz",
        Snappy = "snappy",
    }
}

words! {
    /// Whether a TLS server asks for a client certificate.
    ClientAuth {
        None = "none",
        Want = "want",
        Need = "need",
    }
}

words! {
    /// What serves metrics.
    MetricsProvider {
        /// `mntr` only.
        Default = "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
        /// `mntr` and an HTTP endpoint.
        Prometheus = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider",
        /// No counters and summaries, gauges only.
        Null = "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
    }
}

words! {
    /// Apache's connection factories; the same thing here.
    ConnectionFactory {
        Nio = "org.apache.zookeeper.server.NIOServerCnxnFactory",
        Netty = "org.apache.zookeeper.server.NettyServerCnxnFactory",
    }
}

words! {
    /// Apache's watch managers; the same thing here.
    WatchManager {
        Plain = "org.apache.zookeeper.server.watch.WatchManager",
        Optimized = "org.apache.zookeeper.server.watch.WatchManagerOptimized",
    }
}

/// Digest algorithm of the `digest` scheme.
impl Shown for DigestAlgorithm {
    fn shown(&self) -> String {
        self.as_str().to_owned()
    }
}

settings! {
    /// Connections of clients (configuration 3, 8).
    Clients {
        /// Connections from one address; 0 is no limit.
        cnxns_per_ip_max: i32 = plain_int("maxClientCnxns", 60);
        /// Connections in all; 0 or less is no limit.
        cnxns_max: i64 = int("maxCnxns", 0, ANY, MAX_I32);
        /// Accept backlog; -1 is the system's.
        listen_backlog: i32 = plain_int("clientPortListenBacklog", -1);
        /// `SO_KEEPALIVE` on client sockets.
        tcp_keep_alive: bool = flag("clientTcpKeepAlive", false);
        factory: ConnectionFactory =
            one_of("serverCnxnFactory", ConnectionFactory::WORDS, ConnectionFactory::Nio);
        /// Life of a connection that never sends a connect request.
        sessionless_timeout_ms: i64 = int("nio.sessionlessCnxnTimeout", 10_000, 0, MAX_I32);
        /// Four-letter words, as written; `*` is all of them.
        four_letter_whitelist: Vec<String> = four_letter_whitelist("4lw.commands.whitelist");
        /// Largest client frame, bytes.
        jute_maxbuffer: i64 = int("jute.maxbuffer", 0xfffff, 1, MAX_I32);
        /// What logs, snapshots and peers may have beyond that, bytes; not set: the same again, at
        /// least 1024.
        jute_maxbuffer_extra: Option<i64> =
            optional_int("jute.maxbuffer.extrasize", 0, MAX_I32);
        /// A server without its ensemble serves reads.
        read_only_mode: bool = if_true("readonlymode.enabled");
        watch_manager: WatchManager =
            one_of("watchManagerName", WatchManager::WORDS, WatchManager::Plain);
    }
}

settings! {
    /// Requests and connections held back under load (configuration 8).
    Throttle {
        /// Requests outstanding before sockets are not read any more.
        global_outstanding_limit: i64 = int("globalOutstandingLimit", 1000, 0, MAX_I32);
        /// Requests in the pipeline before stalling; 0 is off.
        requests_max: i64 = int("request_throttle_max_requests", 0, ANY, MAX_I32);
        stall_ms: i64 = int("request_throttle_stall_time", 100, 0, MAX_I32);
        drop_stale: bool = flag("request_throttle_drop_stale", true);
        stale_latency_check: bool = flag("request_stale_latency_check", false);
        stale_connection_check: bool = flag("request_stale_connection_check", true);
        /// Drain of requests at shutdown.
        shutdown_timeout_ms: i64 = int("request_throttler.shutdownTimeout", 10_000, 0, MAX_I32);
        /// Wait after which an operation is answered ThrottledOp; 0 is off.
        throttled_op_wait_ms: i64 = int("throttled_op_wait_time", 0, ANY, MAX_I32);
        /// Size from which a request is large, bytes; below 1 is off.
        large_request_bytes_min: i64 = int("largeRequestThreshold", -1, ANY, MAX_I32);
        /// Large requests in flight, bytes.
        large_requests_bytes_max: i64 = int("largeRequestMaxBytes", 104_857_600, 1, MAX_I32);
        /// Token bucket of new connections; 0 is off.
        connection_tokens: i64 = int("connection_throttle_tokens", 0, ANY, MAX_I32);
        connection_fill_ms: i64 = int("connection_throttle_fill_time", 1, 1, MAX_I32);
        connection_fill_count: i64 = int("connection_throttle_fill_count", 1, 0, MAX_I32);
        connection_freeze_ms: i64 = int("connection_throttle_freeze_time", -1, ANY, MAX_I32);
        connection_drop_increase: f64 = float("connection_throttle_drop_increase", 0.02);
        connection_drop_decrease: f64 = float("connection_throttle_drop_decrease", 0.002);
        connection_decrease_ratio: f64 = float("connection_throttle_decrease_ratio", 0.0);
        connection_weights: bool = flag("connection_throttle_weight_enabled", false);
        connection_weight_global: i64 =
            int("connection_throttle_global_session_weight", 3, ANY, MAX_I32);
        connection_weight_renew: i64 =
            int("connection_throttle_renew_session_weight", 2, ANY, MAX_I32);
        connection_weight_local: i64 =
            int("connection_throttle_local_session_weight", 1, ANY, MAX_I32);
    }
}

settings! {
    /// Log, snapshots, purge (configuration 4).
    Storage {
        /// The log grows by this much, KiB; 0 is no padding.
        pre_alloc_kib: i64 = lenient_int("preAllocSize", 65_536, 0, MAX_I32);
        /// Transactions between snapshots, at least 2; about half of it is drawn at random.
        snap_count: i64 = int("snapCount", 100_000, ANY, MAX_I32);
        /// Logged KiB between snapshots; 0 and negative switch it off.
        snap_size_limit_kib: i64 = int("snapSizeLimitInKb", 4_194_304, ANY, i64::MAX / 1024);
        /// Log file size at which it is rolled, KiB; negative is off.
        txn_log_size_limit_kib: i64 = int("txnLogSizeLimitInKb", -1, ANY, i64::MAX / 1024);
        /// Committed transactions kept for learners, at least 500.
        commit_log_count: i64 = int("commitLogCount", 500, ANY, MAX_I32);
        /// Log bytes over snapshot bytes up to which a learner is served from disk; negative is
        /// off.
        snapshot_size_factor: f64 = float("snapshotSizeFactor", 0.33);
        snapshot_compression: Compression =
            one_of("snapshot.compression.method", Compression::WORDS, Compression::None);
        /// Start with logs and no snapshot.
        trust_empty_snapshot: bool = flag("snapshot.trust.empty", false);
        data_dir_autocreate: bool = flag("datadir.autocreate", true);
        db_autocreate: bool = flag("db.autocreate", true);
        /// False: the log is not flushed. Loses acknowledged writes.
        force_sync: bool = yes_no("forceSync", true);
        /// Wait for more before a flush, ms; not set: the profile decides.
        flush_delay_ms: Option<i64> = optional_int("flushDelay", 0, MAX_I32);
        /// Idle wait before an early flush, ms; not set: a third of the flush delay.
        write_queue_poll_ms_max: Option<i64> = optional_int("maxWriteQueuePollTime", 0, MAX_I32);
        /// Transactions in one flush; not set: the profile decides.
        batch_txns_max: Option<i64> = optional_int("maxBatchSize", 1, MAX_I32);
        /// Flush duration from which there is a warning.
        fsync_warning_ms: i64 = int("fsync.warningthresholdms", 1000, ANY, NO_LIMIT);
        serialize_last_zxid: bool = flag("serializeLastProcessedZxid.enabled", true);
        digest: bool = flag("digest.enabled", true);
        close_session_txn: bool = flag("closeSessionTxn.enabled", true);
        /// Snapshots kept by the purge, at least 3.
        purge_retain_count: i32 = plain_int("autopurge.snapRetainCount", 3);
        /// Hours between purges, the first at start; 0 and negative switch it off.
        purge_interval_hours: i32 = plain_int("autopurge.purgeInterval", 0);
    }
}

settings! {
    /// Containers, TTL, quotas (configuration 7).
    Nodes {
        extended_types: bool = flag("extendedTypesEnabled", false);
        emulate_353_ttl: bool = flag("emulate353TTLNodes", false);
        container_check_ms: i64 = int("znode.container.checkIntervalMs", 60_000, 1, MAX_I32);
        container_deletes_per_minute_max: i64 =
            int("znode.container.maxPerMinute", 10_000, 1, MAX_I32);
        /// Age at which a container that never had a child goes; 0 is off.
        container_never_used_ms_max: i64 =
            int("znode.container.maxNeverUsedIntervalMs", 0, 0, NO_LIMIT);
        enforce_quota: bool = flag("enforceQuota", false);
    }
}

settings! {
    /// Ensemble timing and behaviour (configuration 5). Ticks are `tick_time_ms` long.
    Peers {
        init_limit_ticks: i32 = plain_int("initLimit", 0);
        sync_limit_ticks: i32 = plain_int("syncLimit", 0);
        /// 0: the older election by datagrams; 1 to 3: FastLeaderElection.
        election_alg: i32 = plain_int("electionAlg", 3);
        /// 0: the init limit.
        connect_to_learner_master_limit_ticks: i64 =
            int("connectToLearnerMasterLimit", 0, 0, MAX_I32);
        standalone_enabled: bool = plain_bool("standaloneEnabled", true);
        reconfig_enabled: bool = plain_bool("reconfigEnabled", false);
        sync_enabled: bool = plain_bool("syncEnabled", true);
        /// Wins over `sync_enabled` when set; [`Peers::observers_log`] is the outcome.
        observer_sync_enabled: Option<String> = text("observer.syncEnabled");
        /// 0 and negative: followers serve no observers.
        observer_master_port: i32 = plain_int("observerMasterPort", 0);
        observer_master_bytes_max: i64 = int("observerMaster.sizeLimit", 33_554_432, 0, MAX_I32);
        observer_reconnect_delay_ms: i64 = int("observer.reconnectDelayMs", 0, 0, NO_LIMIT);
        observer_election_delay_ms: i64 = int("observer.election.DelayMs", 200, 0, MAX_I32);
        listen_on_all_ips: bool = plain_bool("quorumListenOnAllIPs", false);
        leader_serves: bool = yes_no("leaderServes", true);
        election_connect_timeout_ms: i64 = int("cnxTimeout", 5000, 1, MAX_I32);
        /// Negative: sync limit times tick time.
        election_read_timeout_ms: i64 = int("quorumCnxnTimeoutMs", -1, ANY, MAX_I32);
        /// 0: for ever.
        election_bind_retries_max: i64 = int("electionPortBindRetry", 3, ANY, MAX_I32);
        election_keep_alive: bool = flag("tcpKeepAlive", false);
        notification_ms_min: i64 = int("fastleader.minNotificationInterval", 200, 1, MAX_I32);
        notification_ms_max: i64 = int("fastleader.maxNotificationInterval", 60_000, 1, MAX_I32);
        leader_connect_retry_ms: i64 = int("leaderConnectDelayDuringRetryMs", 100, 0, MAX_I32);
        /// -1: no limit of its own.
        epoch_wait_ms_max: i64 = int("leader.maxTimeToWaitForEpoch", -1, ANY, MAX_I32);
        snap_syncs_max: i64 = int("leader.maxConcurrentSnapSyncs", 10, 1, MAX_I32);
        diff_syncs_max: i64 = int("leader.maxConcurrentDiffSyncs", 100, 1, MAX_I32);
        force_snapshot_sync: bool = flag("forceSnapshotSync", false);
        local_sessions: bool = plain_bool("localSessionsEnabled", false);
        local_sessions_upgrade: bool = plain_bool("localSessionsUpgradingEnabled", false);
        multi_address: bool = flag("multiAddress.enabled", false);
        reachability_timeout_ms: i32 = plain_int("multiAddress.reachabilityCheckTimeoutMs", 1000);
        reachability_check: bool = plain_bool("multiAddress.reachabilityCheckEnabled", true);
        /// File whose first byte decides for a leader of two servers.
        oracle_path: Option<PathBuf> = path("oraclePath");
        follower_no_delay: bool = flag("follower.nodelay", true);
        leader_no_delay: bool = flag("leader.nodelay", true);
        /// TLS on quorum and election ports.
        tls: bool = plain_bool("sslQuorum", false);
        /// Quorum ports take TLS and plain.
        port_unification: bool = plain_bool("portUnification", false);
        reload_cert_files: bool = plain_bool("sslQuorumReloadCertFiles", false);
        sasl: bool = plain_bool("quorum.auth.enableSasl", false);
        sasl_learner_required: bool = plain_bool("quorum.auth.learnerRequireSasl", false);
        sasl_server_required: bool = plain_bool("quorum.auth.serverRequireSasl", false);
        sasl_learner_context: String =
            text_or("quorum.auth.learner.saslLoginContext", "QuorumLearner");
        sasl_server_context: String =
            text_or("quorum.auth.server.saslLoginContext", "QuorumServer");
        sasl_service_principal: String =
            text_or("quorum.auth.kerberos.servicePrincipal", "zkquorum/localhost");
    }
}

impl Peers {
    /// Whether an observer logs and snapshots: the property, where set, wins over the file's key.
    pub fn observers_log(&self) -> bool {
        match &self.observer_sync_enabled {
            Some(text) => text.eq_ignore_ascii_case("true"),
            None => self.sync_enabled,
        }
    }
}

settings! {
    /// Authentication and ACLs (configuration 9).
    Auth {
        digest: bool = flag("DigestAuthenticationProvider.enabled", true);
        /// `super:<base64 digest>`.
        super_digest: Option<Secret> = secret("DigestAuthenticationProvider.superDigest");
        digest_alg: DigestAlgorithm = one_of(
            "DigestAuthenticationProvider.digestAlg", DigestAlgorithm::NAMES, DigestAlgorithm::Sha1
        );
        x509_super_user: Option<String> = text("X509AuthenticationProvider.superUser");
        sasl_super_user: Option<String> = text("superUser");
        sasl_super_password: Option<Secret> = secret("SASLAuthenticationProvider.superPassword");
        /// All SASL users match any SASL ACL.
        any_sasl_user: bool = present("letAnySaslUserDoX");
        use_x_forwarded_for: bool = flag("IPAuthenticationProvider.usexforwardedfor", false);
        jaas_file: Option<PathBuf> = path("java.security.auth.login.config");
        sasl_server_context: String = text_or("sasl.serverconfig", "Server");
        allow_sasl_failed_clients: bool = flag("allowSaslFailedClients", false);
        require_client_sasl: bool = flag("sessionRequireClientSASLAuth", false);
        enforce: bool = flag("enforce.auth.enabled", false);
        enforce_schemes: Vec<String> = list("enforce.auth.schemes");
        ensemble_names: Vec<String> = list("ensembleAuthName");
        kerberos_remove_host: bool = flag("kerberos.removeHostFromPrincipal", false);
        kerberos_remove_realm: bool = flag("kerberos.removeRealmFromPrincipal", false);
        kerberos_canonicalize: bool = flag("kerberos.canonicalizeHostNames", false);
        kerberos_rules: String = text_or("security.auth_to_local", "DEFAULT");
        server_realm: Option<String> = text("server.realm");
        server_principal: Option<String> = text("server.principal");
        /// No ACL is checked.
        skip_acl: bool = yes_no("skipACL", false);
        /// Learners check before they forward.
        eager_acl_check: bool = flag("enableEagerACLCheck", false);
    }
}

settings! {
    /// One TLS family (configuration 10): `ssl.` for clients, `ssl.quorum.` for servers.
    TlsStores {
        key_store: Option<PathBuf> = path("keyStore.location");
        key_store_password: Option<Secret> = secret("keyStore.password");
        /// Wins over the password itself.
        key_store_password_path: Option<PathBuf> = path("keyStore.passwordPath");
        key_store_type: Option<String> = text("keyStore.type");
        trust_store: Option<PathBuf> = path("trustStore.location");
        trust_store_password: Option<Secret> = secret("trustStore.password");
        trust_store_password_path: Option<PathBuf> = path("trustStore.passwordPath");
        trust_store_type: Option<String> = text("trustStore.type");
        protocol: String = text_or("protocol", "TLSv1.3");
        enabled_protocols: Vec<String> = list("enabledProtocols");
        /// JSSE names.
        cipher_suites: Vec<String> = list("ciphersuites");
        /// Always none: a Java class that supplies security cannot be left out silently.
        context_supplier: Option<String> = refused_class("context.supplier.class");
        hostname_verification: bool = flag("hostnameVerification", true);
        /// Not set: false for clients, true among servers.
        client_hostname_verification: Option<bool> = optional_flag("clientHostnameVerification");
        /// Not set: false for clients, true among servers.
        allow_reverse_dns: Option<bool> = optional_flag("allowReverseDnsLookup");
        crl: bool = flag("crl", false);
        ocsp: bool = flag("ocsp", false);
        client_auth: ClientAuth = one_of("clientAuth", ClientAuth::WORDS, ClientAuth::Need);
        handshake_detection_ms: i64 = int("handshakeDetectionTimeoutMillis", 5000, 1, MAX_I32);
    }
}

settings! {
    /// TLS switches of the client port (configuration 8, 10).
    ClientTls {
        /// Scheme that makes an id of a certificate.
        auth_provider: String = text_or("ssl.authProvider", "x509");
        /// The client port takes TLS and plain.
        port_unification: bool = flag("client.portUnification", false);
        reload_certs: bool = flag("client.certReload", false);
        fips_mode: bool = flag("fips-mode", true);
        /// Handshakes at a time; 0 and negative: no limit.
        handshakes_max: i64 = int("netty.server.outstandingHandshake.limit", -1, ANY, MAX_I32);
        early_drop: bool = flag("netty.server.earlyDropSecureConnectionHandshakes", false);
    }
}

settings! {
    /// The HTTP admin server (configuration 11).
    Admin {
        enabled: bool = unless_false("admin.enableServer");
        address: String = text_or("admin.serverAddress", "0.0.0.0");
        port: i64 = lenient_int("admin.serverPort", 8080, 0, 65_535);
        command_url: String = text_or("admin.commandURL", "/commands");
        idle_timeout_ms: i64 = int("admin.idleTimeout", 30_000, 0, MAX_I32);
        port_unification: bool = flag("admin.portUnification", false);
        force_https: bool = flag("admin.forceHttps", false);
        need_client_auth: bool = flag("admin.needClientAuth", false);
        rate_limit_ms: i64 = int("admin.rateLimiterIntervalInMS", 300_000, 0, NO_LIMIT);
        snapshot: bool = flag("admin.snapshot.enabled", true);
        restore: bool = flag("admin.restore.enabled", true);
    }
}

settings! {
    /// Metrics, audit, stall watch (configuration 8, 12).
    Observability {
        metrics: MetricsProvider = metrics_class("metricsProvider.className");
        metrics_host: String = text_or("metricsProvider.httpHost", "0.0.0.0");
        /// 0: any free port.
        metrics_port: i64 = int("metricsProvider.httpPort", 7000, 0, 65_535);
        process_metrics: bool = flag("metricsProvider.exportJvmInfo", true);
        audit: bool = flag("audit.enable", false);
        stall_watch: bool = plain_bool("jvm.pause.monitor", false);
        stall_info_ms: i64 = int("jvm.pause.info-threshold.ms", 1000, 0, NO_LIMIT);
        stall_warn_ms: i64 = int("jvm.pause.warn-threshold.ms", 10_000, 0, NO_LIMIT);
        stall_check_ms: i64 = int("jvm.pause.sleep.time.ms", 500, 1, NO_LIMIT);
    }
}

impl Reader<'_> {
    fn four_letter_whitelist(&mut self, key: &str) -> Vec<String> {
        let given = self.find(key).is_some();
        if given { self.list(key) } else { vec!["srvr".to_owned()] }
    }

    fn optional_flag(&mut self, key: &str) -> Option<bool> {
        self.find(key)?;
        Some(self.flag(key, false))
    }

    fn refused_class(&mut self, key: &str) -> Option<String> {
        let found = self.find(key).filter(|found| !found.value.is_empty())?;
        self.problem(
            &found,
            "a Java class cannot supply the TLS context here",
            "leave it out and set keyStore, trustStore and protocols",
        );
        None
    }

    fn metrics_class(&mut self, key: &str) -> MetricsProvider {
        let Some(found) = self.find(key) else { return MetricsProvider::Default };
        let words = MetricsProvider::WORDS;
        match words.iter().find(|(word, _)| *word == found.value) {
            Some((_, provider)) => *provider,
            None => {
                let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                let text = "metrics provider class was not found";
                self.problem(&found, text, allowed.join(", "));
                MetricsProvider::Default
            }
        }
    }
}
