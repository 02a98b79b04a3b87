//! Every key Apache ZooKeeper 3.9 knows, and our own: where it may stand and what becomes of it
//! (reference: configuration, class column).
//!
//! | class | promise |
//! |---|---|
//! | [`Class::Works`] | same meaning as in Apache ZooKeeper |
//! | [`Class::Mapped`] | accepted, stands for the nearest thing here; the note says which |
//! | [`Class::Ignored`] | accepted, one warning line at start says that it has no meaning here |
//! | [`Class::Own`] | ours, under `ringkeeper.`: Apache ZooKeeper starts with the same file |

/// What becomes of a key. See the module's table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    Works,
    Mapped,
    Ignored,
    Own,
}

/// Where a key may stand and which place wins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// In the file only.
    File,
    /// In the file as `K`, or as `-Dzookeeper.K`; the file wins.
    Property,
    /// As `Property`, and last as bare `-DK`.
    Dual,
    /// As `-DK`; Apache ZooKeeper never sees it in the file, so there it comes last.
    Bare,
    /// In the file or as `-DK`; the file wins.
    Own,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    pub name: &'static str,
    pub scope: Scope,
    pub class: Class,
    /// For mapped and ignored keys: what the key stands for here, or why it means nothing.
    pub note: &'static str,
    /// The spelling of the admin guide, which Apache ZooKeeper itself does not honour.
    pub guide_name: Option<&'static str>,
}

const fn works(name: &'static str) -> KeySpec {
    KeySpec { name, scope: Scope::Property, class: Class::Works, note: "", guide_name: None }
}

const fn mapped(name: &'static str, note: &'static str) -> KeySpec {
    KeySpec { class: Class::Mapped, note, ..works(name) }
}

const fn ignored(name: &'static str, note: &'static str) -> KeySpec {
    KeySpec { class: Class::Ignored, note, ..works(name) }
}

const fn own(name: &'static str) -> KeySpec {
    KeySpec { class: Class::Own, scope: Scope::Own, ..works(name) }
}

impl KeySpec {
    const fn file(self) -> KeySpec {
        KeySpec { scope: Scope::File, ..self }
    }

    const fn bare(self) -> KeySpec {
        KeySpec { scope: Scope::Bare, ..self }
    }

    const fn dual(self) -> KeySpec {
        KeySpec { scope: Scope::Dual, ..self }
    }

    const fn guide(self, name: &'static str) -> KeySpec {
        KeySpec { guide_name: Some(name), ..self }
    }
}

const WATCH_MANAGER: &str = "there is one watch table, without dead watchers to clean";
const SCHEDULER: &str =
    "requests are ordered per session on their core, there is no such thread pool";
const METRICS_QUEUE: &str = "summaries are kept per core and need no queue";
const TEST_ONLY: &str = "for tests of Apache ZooKeeper";
const LOG_SETUP: &str = "see ringkeeper.log.level and ringkeeper.log.format";
const CLIENT_SIDE: &str = "for clients, not for servers";
const RESPONSE_CACHE: &str = "replies are encoded from the shared tree; there is nothing to cache";
const PATH_STATS: &str = "hot paths are not sampled";
const IO_THREADS: &str = "see ringkeeper.client.cores";

/// The single keys. Families are in [`lookup`].
pub const KEYS: &[KeySpec] = &[
    // Basic (configuration 3)
    works("dataDir").file(),
    works("dataLogDir").file(),
    works("clientPort").file(),
    works("clientPortAddress").file(),
    works("secureClientPort").file(),
    works("secureClientPortAddress").file(),
    works("tickTime").file(),
    works("minSessionTimeout").file(),
    works("maxSessionTimeout").file(),
    works("maxClientCnxns").file(),
    works("maxCnxns"),
    works("clientPortListenBacklog").file(),
    works("4lw.commands.whitelist"),
    mapped("serverCnxnFactory", "both Apache factories are accepted and mean the same here"),
    works("clientTcpKeepAlive"),
    // Storage (4)
    works("preAllocSize"),
    works("snapCount"),
    works("snapSizeLimitInKb"),
    works("txnLogSizeLimitInKb"),
    works("commitLogCount"),
    works("snapshotSizeFactor"),
    works("snapshot.compression.method"),
    works("snapshot.trust.empty"),
    works("datadir.autocreate"),
    works("db.autocreate"),
    works("forceSync"),
    works("flushDelay"),
    works("maxWriteQueuePollTime"),
    works("maxBatchSize"),
    works("fsync.warningthresholdms").dual(),
    works("serializeLastProcessedZxid.enabled"),
    works("digest.enabled"),
    works("closeSessionTxn.enabled"),
    works("autopurge.snapRetainCount").file(),
    works("autopurge.purgeInterval").file(),
    ignored("intBufferStartingSizeBytes", "buffers grow by themselves"),
    // Cluster (5)
    works("initLimit").file(),
    works("syncLimit").file(),
    works("connectToLearnerMasterLimit"),
    works("electionAlg").file(),
    works("peerType").file(),
    works("standaloneEnabled").file(),
    works("reconfigEnabled").file(),
    works("syncEnabled").file(),
    works("observer.syncEnabled"),
    works("observerMasterPort").file(),
    works("observerMaster.sizeLimit"),
    works("observer.reconnectDelayMs"),
    works("observer.election.DelayMs"),
    works("quorumListenOnAllIPs").file(),
    works("leaderServes"),
    works("cnxTimeout"),
    works("quorumCnxnTimeoutMs"),
    ignored("quorum.cnxn.threads.size", "connecting to peers takes no threads").file(),
    works("electionPortBindRetry"),
    works("tcpKeepAlive"),
    works("fastleader.minNotificationInterval"),
    works("fastleader.maxNotificationInterval"),
    works("leaderConnectDelayDuringRetryMs"),
    works("leader.maxTimeToWaitForEpoch").guide("maxTimeToWaitForEpoch"),
    works("leader.maxConcurrentSnapSyncs").guide("maxConcurrentSnapSyncs"),
    works("leader.maxConcurrentDiffSyncs").guide("maxConcurrentDiffSyncs"),
    mapped("leader.ackLoggingFrequency", "late acks are in the ack_latency metric, not in the log"),
    works("forceSnapshotSync"),
    ignored("learner.asyncSending", "sending never blocks the Zab core").dual(),
    ignored("learner.closeSocketAsync", "closing never blocks the Zab core").dual(),
    ignored("leader.closeSocketAsync", "closing never blocks the Zab core").dual(),
    ignored("follower.skipLearnerRequestToNextProcessor", SCHEDULER),
    ignored("forward_learner_requests_to_commit_processor_disabled", SCHEDULER),
    works("localSessionsEnabled").file(),
    works("localSessionsUpgradingEnabled").file(),
    works("multiAddress.enabled"),
    works("multiAddress.reachabilityCheckTimeoutMs").file(),
    works("multiAddress.reachabilityCheckEnabled").file(),
    works("oraclePath").file(),
    works("dynamicConfigFile").file(),
    // Sessions, TTL, containers, buffers (7)
    works("jute.maxbuffer").bare(),
    works("jute.maxbuffer.extrasize"),
    works("extendedTypesEnabled"),
    works("emulate353TTLNodes"),
    works("znode.container.checkIntervalMs").bare(),
    works("znode.container.maxPerMinute").bare(),
    works("znode.container.maxNeverUsedIntervalMs").bare(),
    works("enforceQuota"),
    works("readonlymode.enabled").bare(),
    mapped("watchManagerName", "both Apache watch managers stand for the one watch table"),
    ignored("watcherCleanThreadsNum", WATCH_MANAGER),
    ignored("watcherCleanThreshold", WATCH_MANAGER),
    ignored("watcherCleanIntervalInSeconds", WATCH_MANAGER),
    ignored("maxInProcessingDeadWatchers", WATCH_MANAGER),
    ignored("bitHashCacheSize", WATCH_MANAGER),
    mapped("maxResponseCacheSize", RESPONSE_CACHE),
    mapped("maxGetChildrenResponseCacheSize", RESPONSE_CACHE),
    // Performance and throttling (8)
    works("globalOutstandingLimit"),
    works("request_throttle_max_requests").guide("requestThrottleLimit"),
    works("request_throttle_stall_time").guide("requestThrottleStallTime"),
    works("request_throttle_drop_stale").guide("requestThrottleDropStale"),
    works("request_stale_latency_check").guide("requestStaleLatencyCheck"),
    works("request_stale_connection_check").guide("requestStaleConnectionCheck"),
    mapped("request_throttler.shutdownTimeout", "bounds the drain of requests at shutdown"),
    works("throttled_op_wait_time").guide("throttledOpWaitTime"),
    works("largeRequestThreshold"),
    works("largeRequestMaxBytes"),
    works("connection_throttle_tokens").guide("connectionMaxTokens"),
    works("connection_throttle_fill_time").guide("connectionTokenFillTime"),
    works("connection_throttle_fill_count").guide("connectionTokenFillCount"),
    works("connection_throttle_freeze_time").guide("connectionFreezeTime"),
    works("connection_throttle_drop_increase").guide("connectionDropIncrease"),
    works("connection_throttle_drop_decrease").guide("connectionDropDecrease"),
    works("connection_throttle_decrease_ratio").guide("connectionDecreaseRatio"),
    works("connection_throttle_weight_enabled"),
    works("connection_throttle_global_session_weight"),
    works("connection_throttle_renew_session_weight"),
    works("connection_throttle_local_session_weight"),
    mapped("nio.numSelectorThreads", IO_THREADS),
    mapped("nio.numWorkerThreads", IO_THREADS),
    works("nio.sessionlessCnxnTimeout"),
    ignored("nio.directBufferBytes", "see ringkeeper.client.memoryBytes"),
    ignored("nio.shutdownTimeout", "there are no IO threads to wait for"),
    mapped("commitProcessor.numWorkerThreads", IO_THREADS),
    ignored("commitProcessor.maxReadBatchSize", SCHEDULER),
    ignored("commitProcessor.maxCommitBatchSize", SCHEDULER),
    ignored("commitProcessor.shutdownTimeout", SCHEDULER),
    ignored("netty.advancedFlowControl.enabled", "flow control is always on")
        .guide("advancedFlowControlEnabled"),
    works("netty.server.outstandingHandshake.limit").guide("outstandingHandshake.limit"),
    works("netty.server.earlyDropSecureConnectionHandshakes"),
    works("follower.nodelay").bare(),
    works("leader.nodelay").bare(),
    mapped("jvm.pause.monitor", "watches for stalls of the Zab core").file(),
    mapped("jvm.pause.info-threshold.ms", "stalls of the Zab core").file(),
    mapped("jvm.pause.warn-threshold.ms", "stalls of the Zab core").file(),
    mapped("jvm.pause.sleep.time.ms", "stalls of the Zab core").file(),
    ignored("pathStats.enabled", PATH_STATS),
    ignored("pathStats.slotCapacity", PATH_STATS),
    ignored("pathStats.slotDuration", PATH_STATS),
    ignored("pathStats.maxDepth", PATH_STATS),
    ignored("pathStats.sampleRate", PATH_STATS),
    ignored("pathStats.initialDelay", PATH_STATS),
    ignored("pathStats.delay", PATH_STATS),
    ignored("pathStats.topPathMax", PATH_STATS),
    mapped("messageTracker.Enabled", "log level debug shows the messages of learners"),
    mapped("messageTracker.BufferSize", "log level debug shows the messages of learners"),
    // Authentication and ACL (9)
    works("DigestAuthenticationProvider.enabled"),
    works("DigestAuthenticationProvider.superDigest"),
    works("DigestAuthenticationProvider.digestAlg"),
    works("X509AuthenticationProvider.superUser"),
    works("superUser"),
    works("SASLAuthenticationProvider.superPassword"),
    works("letAnySaslUserDoX"),
    works("IPAuthenticationProvider.usexforwardedfor"),
    works("sasl.serverconfig"),
    works("allowSaslFailedClients"),
    works("sessionRequireClientSASLAuth"),
    works("enforce.auth.enabled"),
    works("enforce.auth.schemes"),
    works("ensembleAuthName"),
    works("kerberos.removeHostFromPrincipal"),
    works("kerberos.removeRealmFromPrincipal"),
    works("kerberos.canonicalizeHostNames"),
    ignored("kerberos.minReLoginTimeMs", "the ticket is renewed by what provides the keytab"),
    ignored("kinit", "the ticket is renewed by what provides the keytab"),
    works("security.auth_to_local"),
    mapped("requireKerberosConfig", "a Kerberos mechanism without its files is an error anyway"),
    mapped("server.realm", "realm of the server's own principal"),
    mapped("server.principal", "the server's own principal"),
    works("skipACL"),
    works("enableEagerACLCheck"),
    works("quorum.auth.enableSasl").file(),
    works("quorum.auth.learnerRequireSasl").file(),
    works("quorum.auth.serverRequireSasl").file(),
    works("quorum.auth.learner.saslLoginContext").file(),
    works("quorum.auth.server.saslLoginContext").file(),
    works("quorum.auth.kerberos.servicePrincipal").file(),
    works("java.security.auth.login.config").bare(),
    // TLS switches (10); the two ssl families are below
    works("sslQuorum").file(),
    works("portUnification").file(),
    works("client.portUnification"),
    works("sslQuorumReloadCertFiles").file(),
    works("client.certReload"),
    works("fips-mode"),
    // AdminServer (11)
    works("admin.enableServer"),
    works("admin.serverAddress"),
    works("admin.serverPort"),
    works("admin.commandURL"),
    works("admin.idleTimeout"),
    ignored("admin.httpVersion", "HTTP/1.1 is spoken"),
    works("admin.portUnification"),
    works("admin.forceHttps"),
    works("admin.needClientAuth"),
    works("admin.rateLimiterIntervalInMS"),
    works("admin.snapshot.enabled"),
    works("admin.restore.enabled"),
    // Metrics and audit (12)
    works("metricsProvider.className").file(),
    works("metricsProvider.httpHost").file(),
    works("metricsProvider.httpPort").file(),
    mapped("metricsProvider.exportJvmInfo", "process_* families; there is no JVM to report").file(),
    ignored("metricsProvider.numWorkerThreads", METRICS_QUEUE).file(),
    ignored("metricsProvider.maxQueueSize", METRICS_QUEUE).file(),
    ignored("metricsProvider.workerShutdownTimeoutMs", METRICS_QUEUE).file(),
    works("audit.enable"),
    ignored("audit.impl.class", "audit lines go to the log, target `audit`"),
    ignored("jmx.log4j.disable", "there is no JMX"),
    ignored("jmx.log4j.mbean", "there is no JMX"),
    // Internal, test only (13)
    ignored("testingonly.initialZxid", TEST_ONLY),
    ignored("test.allowDiscontinuousProposals", TEST_ONLY),
    ignored("controllerPort", TEST_ONLY),
    mapped("log.dir", LOG_SETUP),
    mapped("log.file", LOG_SETUP),
    mapped("log.threshold", LOG_SETUP),
    mapped("root.logger", LOG_SETUP),
    mapped("console.threshold", LOG_SETUP),
    ignored("clientCnxnSocket", CLIENT_SIDE),
    ignored("request.timeout", CLIENT_SIDE),
    ignored("disableAutoWatchReset", CLIENT_SIDE),
    // Our own; each has its row in tuning.md
    own("ringkeeper.profile"),
    own("ringkeeper.client.cores"),
    own("ringkeeper.client.spinUs"),
    own("ringkeeper.client.ringDepth"),
    own("ringkeeper.client.memoryBytes"),
    own("ringkeeper.client.readChunkBytes"),
    own("ringkeeper.client.preemptMs"),
    own("ringkeeper.client.outBytesHigh"),
    own("ringkeeper.client.outBytesMax"),
    own("ringkeeper.zab.spinUs"),
    own("ringkeeper.zab.ringDepth"),
    own("ringkeeper.zab.outstandingTxnsMax"),
    own("ringkeeper.disk.reserveBytes"),
    own("ringkeeper.flush.batchMax"),
    own("ringkeeper.flush.delayUs"),
    own("ringkeeper.flush.bytesMax"),
    own("ringkeeper.pin"),
    own("ringkeeper.log.allowGaps"),
    own("ringkeeper.log.format"),
    own("ringkeeper.log.level"),
];

/// Suffixes of the client family `ssl.` and the quorum family `ssl.quorum.`.
pub const TLS_KEYS: &[KeySpec] = &[
    works("keyStore.location"),
    works("keyStore.password"),
    works("keyStore.passwordPath"),
    works("keyStore.type"),
    works("trustStore.location"),
    works("trustStore.password"),
    works("trustStore.passwordPath"),
    works("trustStore.type"),
    mapped("protocol", "the newest protocol to offer"),
    works("enabledProtocols"),
    works("ciphersuites"),
    works("context.supplier.class"),
    works("hostnameVerification"),
    works("clientHostnameVerification"),
    works("allowReverseDnsLookup"),
    works("crl"),
    works("ocsp"),
    works("clientAuth"),
    works("handshakeDetectionTimeoutMillis"),
];

/// Suffixes that exist in the client family only.
pub const TLS_CLIENT_KEYS: &[KeySpec] =
    &[works("authProvider"), ignored("sslProvider", "there is one TLS implementation")];

const SERVER_FAMILY: KeySpec = works("server.*").file();
const GROUP_FAMILY: KeySpec = works("group.*").file();
const WEIGHT_FAMILY: KeySpec = works("weight.*").file();
const AUTH_PROVIDER_FAMILY: KeySpec =
    mapped("authProvider.*", "Apache's providers by their class names");
const SUPER_USER_FAMILY: KeySpec = works("superUser.*");
const METRICS_FAMILY: KeySpec = ignored("metricsProvider.*", "not a key of these providers").file();
const CLIENT_FAMILY: KeySpec = ignored("client.*", CLIENT_SIDE);
const SASL_CLIENT_FAMILY: KeySpec = ignored("sasl.client*", CLIENT_SIDE);

/// The row for a key as written in the file (without a `zookeeper.` prefix), and the name to look
/// it up by.
pub fn lookup(key: &str) -> Option<&'static KeySpec> {
    if let Some(spec) = KEYS.iter().find(|spec| spec.name == key) {
        return Some(spec);
    }
    if let Some(suffix) = key.strip_prefix("ssl.quorum.") {
        return TLS_KEYS.iter().find(|spec| spec.name == suffix);
    }
    if let Some(suffix) = key.strip_prefix("ssl.") {
        return TLS_KEYS.iter().chain(TLS_CLIENT_KEYS).find(|spec| spec.name == suffix);
    }
    // Group and weight need no dot in Apache ZooKeeper either.
    let families: [(&str, &'static KeySpec); 8] = [
        ("server.", &SERVER_FAMILY),
        ("group", &GROUP_FAMILY),
        ("weight", &WEIGHT_FAMILY),
        ("authProvider.", &AUTH_PROVIDER_FAMILY),
        ("superUser.", &SUPER_USER_FAMILY),
        ("metricsProvider.", &METRICS_FAMILY),
        ("client.", &CLIENT_FAMILY),
        ("sasl.client", &SASL_CLIENT_FAMILY),
    ];
    families.iter().find(|(prefix, _)| key.starts_with(prefix)).map(|(_, spec)| *spec)
}

/// The row whose admin-guide spelling this is.
pub fn by_guide_name(key: &str) -> Option<&'static KeySpec> {
    KEYS.iter().find(|spec| spec.guide_name == Some(key))
}

/// True for a key that names an ensemble member or its voting group.
pub fn is_ensemble_key(key: &str) -> bool {
    let property = lookup(key).is_some_and(|spec| spec.class == Class::Mapped);
    !property && (key.starts_with("server.") || is_group_key(key))
}

/// True for a key that switches to voting by groups.
pub fn is_group_key(key: &str) -> bool {
    key.starts_with("group") || key.starts_with("weight")
}

/// Every spelling that is understood, for suggestions.
pub fn all_names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|spec| spec.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The names of the configuration reference, written down a second time and apart from the
    /// table, so that a row lost from the table is noticed.
    const REFERENCE: &str = include_str!("config_keys_reference.txt");

    #[test]
    fn no_key_of_the_reference_is_missing() {
        let mut count = 0;
        for line in REFERENCE.lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
            let (class, names) = line.split_once(' ').expect("class, then names");
            let class = match class {
                "M" => Class::Works,
                "A" => Class::Mapped,
                "I" => Class::Ignored,
                other => panic!("class {other}"),
            };
            for name in names.split_whitespace() {
                let spec = lookup(name).unwrap_or_else(|| panic!("{name} is not in the table"));
                assert_eq!(spec.class, class, "{name}");
                count += 1;
            }
        }
        assert!(count > 220, "{count}");
    }

    #[test]
    fn names_are_unique_and_notes_are_where_they_must_be() {
        let mut seen = BTreeSet::new();
        for spec in KEYS {
            assert!(seen.insert(spec.name), "{} twice", spec.name);
            let noted = matches!(spec.class, Class::Mapped | Class::Ignored);
            assert_eq!(noted, !spec.note.is_empty(), "{}", spec.name);
            assert_eq!(spec.class == Class::Own, spec.name.starts_with("ringkeeper."));
        }
    }

    #[test]
    fn ensemble_keys() {
        for key in ["server.1", "group.1", "grouphello", "weight.2"] {
            assert!(is_ensemble_key(key), "{key}");
        }
        for key in ["server.realm", "server.principal", "serverCnxnFactory", "dataDir"] {
            assert!(!is_ensemble_key(key), "{key}");
        }
    }
}
