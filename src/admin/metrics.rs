//! Counters and summaries under the reference's names (admin-and-metrics 6).
//!
//! Each core owns a [`Metrics`] and adds to it without sharing anything; whoever answers `mntr`
//! merges them. Gauges are not here: they are read off the server when asked for.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::java_format;
use crate::base::tally::{KeyedTallies, Samples, Tally};

macro_rules! catalogue {
    ($(#[$outer:meta])* $name:ident { $($variant:ident = $text:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name { $($variant,)* }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The name in the catalogue, without a `zk_` prefix.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    };
}

catalogue! {
    /// Numbers that only grow.
    Counter {
        SnapshotError = "snapshot_error_count",
        SnapshotRateLimited = "snapshot_rate_limited_count",
        RestoreError = "restore_error_count",
        RestoreRateLimited = "restore_rate_limited_count",
        Proposal = "proposal_count",
        Commit = "commit_count",
        Looking = "looking_count",
        DiffSync = "diff_count",
        SnapSync = "snap_count",
        QuitLeadingDisloyalVoter = "quit_leading_due_to_disloyal_voter",
        LearnerProposalReceived = "learner_proposal_received_count",
        LearnerCommitReceived = "learner_commit_received_count",
        SkipLearnerRequest = "skip_learner_request_to_next_processor_count",
        RequestsNotForwarded = "requests_not_forwarded_to_commit_processor",
        Revalidate = "revalidate_count",
        ConnectionRevalidate = "connection_revalidate_count",
        ConnectionRequest = "connection_request_count",
        ConnectionDrop = "connection_drop_count",
        ConnectionRejected = "connection_rejected",
        SessionlessExpired = "sessionless_connections_expired",
        StaleSessionsExpired = "stale_sessions_expired",
        BytesReceived = "bytes_received_count",
        ResponseBytes = "response_bytes",
        WatchBytes = "watch_bytes",
        PrepQueued = "prep_processor_request_queued",
        OutstandingChangesQueued = "outstanding_changes_queued",
        OutstandingChangesRemoved = "outstanding_changes_removed",
        SyncQueued = "sync_processor_request_queued",
        RequestCommitQueued = "request_commit_queued",
        ThrottleWait = "request_throttle_wait_count",
        ThrottledOps = "throttled_ops",
        StaleRequests = "stale_requests",
        StaleRequestsDropped = "stale_requests_dropped",
        StaleReplies = "stale_replies",
        LargeRequestsRejected = "large_requests_rejected",
        CacheHits = "response_packet_cache_hits",
        CacheMisses = "response_packet_cache_misses",
        ChildrenCacheHits = "response_packet_get_children_cache_hits",
        ChildrenCacheMisses = "response_packet_get_children_cache_misses",
        EnsembleAuthSuccess = "ensemble_auth_success",
        EnsembleAuthFail = "ensemble_auth_fail",
        EnsembleAuthSkip = "ensemble_auth_skip",
        UnsuccessfulHandshake = "unsuccessful_handshake",
        TlsHandshakeExceeded = "tls_handshake_exceeded",
        InsecureAdmin = "insecure_admin_count",
        ClosedWithoutServer = "cnxn_closed_without_zk_server_running",
        DigestMismatches = "digest_mismatches_count",
        UnrecoverableError = "unrecoverable_error_count",
        DeadWatchersQueued = "dead_watchers_queued",
        DeadWatchersCleared = "dead_watchers_cleared",
        AddDeadWatcherStall = "add_dead_watcher_stall_time",
    }
}

catalogue! {
    /// Summaries of average, least, greatest, count and sum. Milliseconds unless the name says
    /// otherwise.
    Basic {
        FsyncTime = "fsynctime",
        SnapshotTime = "snapshottime",
        RestoreTime = "restore_time",
        DbInitTime = "dbinittime",
        StartupSnapLoadTime = "startup_snap_load_time",
        StartupTxnsLoadTime = "startup_txns_load_time",
        StartupTxnsLoaded = "startup_txns_loaded",
        ProposalProcessTime = "proposal_process_time",
        CommitProcessTime = "commit_process_time",
        ElectionTime = "election_time",
        FollowerSyncTime = "follower_sync_time",
        ObserverSyncTime = "observer_sync_time",
        InflightSnap = "inflight_snap_count",
        InflightDiff = "inflight_diff_count",
        UnavailableTime = "unavailable_time",
        LeaderUnavailableTime = "leader_unavailable_time",
        LearnerRequestQueue = "learner_request_processor_queue_size",
        ConnectionTokenDeficit = "connection_token_deficit",
        NodeCreatedWatch = "node_created_watch_count",
        NodeDeletedWatch = "node_deleted_watch_count",
        NodeChangedWatch = "node_changed_watch_count",
        NodeChildrenWatch = "node_children_watch_count",
        PrepQueueSize = "prep_processor_queue_size",
        PrepProcessTime = "prep_process_time",
        SyncQueueSize = "sync_processor_queue_size",
        SyncProcessTime = "sync_process_time",
        SyncBatchSize = "sync_processor_batch_size",
        ReadCommitQueued = "read_commit_proc_req_queued",
        WriteCommitQueued = "write_commit_proc_req_queued",
        CommitCommitQueued = "commit_commit_proc_req_queued",
        ReadCommitIssued = "read_commit_proc_issued",
        WriteCommitIssued = "write_commit_proc_issued",
        RequestsInSessionQueue = "requests_in_session_queue",
        PendingSessionQueue = "pending_session_queue_size",
        ReadsAfterWrite = "reads_after_write_in_session_queue",
        ReadsIssued = "reads_issued_from_session_queue",
        SessionQueuesDrained = "session_queues_drained",
        EmptyPoolWait = "time_waiting_empty_pool_in_commit_processor_read_ms",
        WriteBatchTime = "write_batch_time_in_commit_processor",
        ConcurrentRequests = "concurrent_request_processing_in_commit_processor",
        SocketClosingTime = "socket_closing_time",
        NettyQueuedBuffer = "netty_queued_buffer_capacity",
    }
}

catalogue! {
    /// Summaries with quantiles as well. Milliseconds.
    Advanced {
        ReadLatency = "readlatency",
        UpdateLatency = "updatelatency",
        PropagationLatency = "propagation_latency",
        ProposalLatency = "proposal_latency",
        ProposalAckCreation = "proposal_ack_creation_latency",
        CommitPropagation = "commit_propagation_latency",
        QuorumAckLatency = "quorum_ack_latency",
        ObserverMasterProposal = "om_proposal_process_time_ms",
        ObserverMasterCommit = "om_commit_process_time_ms",
        PrepQueueTime = "prep_processor_queue_time_ms",
        CloseSessionPrepTime = "close_session_prep_time",
        SyncQueueTime = "sync_processor_queue_time_ms",
        SyncFlushTime = "sync_processor_queue_flush_time_ms",
        SyncQueueAndFlushTime = "sync_processor_queue_and_flush_time_ms",
        ReadCommitTime = "read_commitproc_time_ms",
        WriteCommitTime = "write_commitproc_time_ms",
        LocalWriteCommitted = "local_write_committed_time_ms",
        ServerWriteCommitted = "server_write_committed_time_ms",
        ReadFinalTime = "read_final_proc_time_ms",
        WriteFinalTime = "write_final_proc_time_ms",
        ThrottleQueueTime = "request_throttle_queue_time_ms",
        DeadWatchersCleaner = "dead_watchers_cleaner_latency",
        StallTime = "jvm_pause_time_ms",
    }
}

catalogue! {
    /// Counters per key.
    CounterSet {
        QuotaExceeded = "quota_exceeded_error_per_namespace",
    }
}

catalogue! {
    /// Basic summaries per key: a top-level node, or a server id.
    BasicSet {
        LearnerQueueSize = "learner_handler_qp_size",
        ReadPerNamespace = "read_per_namespace",
        WritePerNamespace = "write_per_namespace",
    }
}

catalogue! {
    /// Advanced summaries per server id.
    AdvancedSet {
        AckLatency = "ack_latency",
        LearnerQueueTime = "learner_handler_qp_time_ms",
    }
}

/// Keys in one set. Namespaces come from clients, so their number is theirs to choose; what comes
/// after these is counted under [`OTHER_KEYS`].
pub const SET_KEYS_MAX: usize = 256;

/// The key for all keys beyond [`SET_KEYS_MAX`].
pub const OTHER_KEYS: &str = "_other";

/// Average, least, greatest, count, sum. `min` and `max` are 0 while there is no sample.
pub type Summary = Tally;

impl Summary {
    /// Rounded to four decimals.
    pub fn average(&self) -> f64 {
        java_format::average_value(self.sum, self.count)
    }
}

/// A summary with quantiles, exact below 256 and within one percent above.
#[derive(Clone, Debug)]
pub struct Distribution {
    pub summary: Summary,
    histogram: Histogram<u64>,
}

/// Largest value the quantiles tell apart: an hour in ms. Greater ones count as this.
const QUANTILE_MAX: u64 = 3_600_000;

impl Default for Distribution {
    fn default() -> Self {
        // Two digits are within what the constructor takes; it grows with the values it meets.
        let mut histogram = Histogram::new(2).expect("two significant digits");
        histogram.auto(true);
        Distribution { summary: Summary::default(), histogram }
    }
}

impl Distribution {
    pub fn add(&mut self, value: i64) {
        self.summary.add(value);
        // Cannot fail: the histogram grows by itself up to the bound. (Its saturating method would
        // not grow.)
        let _ = self.histogram.record(u64::try_from(value).unwrap_or(0).min(QUANTILE_MAX));
    }

    /// Adds what a core has counted; values above 63 are up to three percent too high then.
    pub fn merge_samples(&mut self, samples: &Samples) {
        self.summary.merge(&samples.tally);
        for (value, count) in samples.iter() {
            // Cannot fail, as above.
            let _ = self.histogram.record_n(value.min(QUANTILE_MAX), count);
        }
    }

    pub fn merge(&mut self, other: &Distribution) {
        self.summary.merge(&other.summary);
        // Cannot fail: the histogram grows by itself. If it did, quantiles would be partial, counts
        // right.
        let _ = self.histogram.add(&other.histogram);
    }

    /// The value below which this share (0 to 1) of the samples lies; 0 without samples.
    pub fn quantile(&self, share: f64) -> i64 {
        if self.histogram.is_empty() {
            return 0;
        }
        let bound = self.histogram.value_at_quantile(share) as i64;
        bound.min(self.summary.max)
    }
}

/// All of one core's counters and summaries, or the sum over cores.
#[derive(Clone, Debug)]
pub struct Metrics {
    counters: Vec<i64>,
    basics: Vec<Summary>,
    advanced: Vec<Distribution>,
    counter_sets: Vec<BTreeMap<String, i64>>,
    basic_sets: Vec<BTreeMap<String, Summary>>,
    advanced_sets: Vec<BTreeMap<String, Distribution>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            counters: vec![0; Counter::ALL.len()],
            basics: vec![Summary::default(); Basic::ALL.len()],
            advanced: vec![Distribution::default(); Advanced::ALL.len()],
            counter_sets: vec![BTreeMap::new(); CounterSet::ALL.len()],
            basic_sets: vec![BTreeMap::new(); BasicSet::ALL.len()],
            advanced_sets: vec![BTreeMap::new(); AdvancedSet::ALL.len()],
        }
    }
}

impl Metrics {
    pub fn count(&mut self, counter: Counter, by: i64) {
        self.counters[counter as usize] += by;
    }

    pub fn sample(&mut self, basic: Basic, value: i64) {
        self.basics[basic as usize].add(value);
    }

    /// Adds samples that were summed up elsewhere.
    pub fn merge_basic(&mut self, basic: Basic, samples: &Summary) {
        self.basics[basic as usize].merge(samples);
    }

    /// Adds what a core has counted.
    pub fn merge_advanced(&mut self, advanced: Advanced, samples: &Samples) {
        self.advanced[advanced as usize].merge_samples(samples);
    }

    /// Adds what a core has counted for each key.
    pub fn merge_set(&mut self, set: BasicSet, tallies: &KeyedTallies) {
        for (key, tally) in tallies.iter() {
            let key = String::from_utf8_lossy(key);
            keyed(&mut self.basic_sets[set as usize], &key).merge(tally);
        }
    }

    /// The same for a key.
    pub fn merge_advanced_for(&mut self, set: AdvancedSet, key: &str, samples: &Samples) {
        keyed(&mut self.advanced_sets[set as usize], key).merge_samples(samples);
    }

    /// Adds samples of a key that were summed up elsewhere.
    pub fn merge_for(&mut self, set: BasicSet, key: &str, samples: &Summary) {
        keyed(&mut self.basic_sets[set as usize], key).merge(samples);
    }

    pub fn sample_advanced(&mut self, advanced: Advanced, value: i64) {
        self.advanced[advanced as usize].add(value);
    }

    pub fn count_for(&mut self, set: CounterSet, key: &str, by: i64) {
        *keyed(&mut self.counter_sets[set as usize], key) += by;
    }

    pub fn sample_for(&mut self, set: BasicSet, key: &str, value: i64) {
        keyed(&mut self.basic_sets[set as usize], key).add(value);
    }

    pub fn sample_advanced_for(&mut self, set: AdvancedSet, key: &str, value: i64) {
        keyed(&mut self.advanced_sets[set as usize], key).add(value);
    }

    pub fn counter(&self, counter: Counter) -> i64 {
        self.counters[counter as usize]
    }

    pub fn basic(&self, basic: Basic) -> &Summary {
        &self.basics[basic as usize]
    }

    pub fn advanced(&self, advanced: Advanced) -> &Distribution {
        &self.advanced[advanced as usize]
    }

    /// Sets with their keys, in a stable order.
    pub fn counter_sets(&self) -> impl Iterator<Item = (CounterSet, &str, i64)> {
        let sets = CounterSet::ALL.iter().zip(&self.counter_sets);
        sets.flat_map(|(set, map)| map.iter().map(|(k, value)| (*set, k.as_str(), *value)))
    }

    pub fn basic_sets(&self) -> impl Iterator<Item = (BasicSet, &str, &Summary)> {
        let sets = BasicSet::ALL.iter().zip(&self.basic_sets);
        sets.flat_map(|(set, map)| map.iter().map(|(k, value)| (*set, k.as_str(), value)))
    }

    pub fn advanced_sets(&self) -> impl Iterator<Item = (AdvancedSet, &str, &Distribution)> {
        let sets = AdvancedSet::ALL.iter().zip(&self.advanced_sets);
        sets.flat_map(|(set, map)| map.iter().map(|(k, value)| (*set, k.as_str(), value)))
    }

    /// Adds another core's numbers to these.
    pub fn merge(&mut self, other: &Metrics) {
        for (mine, theirs) in self.counters.iter_mut().zip(&other.counters) {
            *mine += theirs;
        }
        for (mine, theirs) in self.basics.iter_mut().zip(&other.basics) {
            mine.merge(theirs);
        }
        for (mine, theirs) in self.advanced.iter_mut().zip(&other.advanced) {
            mine.merge(theirs);
        }
        for (set, key, value) in other.counter_sets() {
            self.count_for(set, key, value);
        }
        for (set, key, value) in other.basic_sets() {
            keyed(&mut self.basic_sets[set as usize], key).merge(value);
        }
        for (set, key, value) in other.advanced_sets() {
            keyed(&mut self.advanced_sets[set as usize], key).merge(value);
        }
    }

    /// What `srst` does.
    pub fn reset(&mut self) {
        *self = Metrics::default();
    }
}

/// The value of a key, which is made if there is room for another. A known key costs no allocation.
fn keyed<'a, V: Default>(map: &'a mut BTreeMap<String, V>, key: &str) -> &'a mut V {
    let known = map.contains_key(key);
    let key = if known || map.len() < SET_KEYS_MAX { key } else { OTHER_KEYS };
    if !map.contains_key(key) {
        map.insert(key.to_owned(), V::default());
    }
    map.get_mut(key).expect("present or just inserted")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_words() {
        let names: Vec<&str> = Counter::ALL
            .iter()
            .map(|m| m.as_str())
            .chain(Basic::ALL.iter().map(|m| m.as_str()))
            .chain(Advanced::ALL.iter().map(|m| m.as_str()))
            .chain(CounterSet::ALL.iter().map(|m| m.as_str()))
            .chain(BasicSet::ALL.iter().map(|m| m.as_str()))
            .chain(AdvancedSet::ALL.iter().map(|m| m.as_str()))
            .collect();
        let unique: BTreeSet<&&str> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(names.iter().all(|name| name.chars().all(word)));
    }

    #[test]
    fn merging_cores_is_the_same_as_counting_on_one() {
        let (mut all, mut a, mut b) = (Metrics::default(), Metrics::default(), Metrics::default());
        for value in 0..1000 {
            let core = if value % 3 == 0 { &mut a } else { &mut b };
            for metrics in [core, &mut all] {
                metrics.count(Counter::Commit, 1);
                metrics.sample(Basic::FsyncTime, value - 5);
                metrics.sample_advanced(Advanced::ReadLatency, value);
                metrics.sample_for(BasicSet::ReadPerNamespace, "app", value);
                metrics.count_for(CounterSet::QuotaExceeded, "app", 2);
                metrics.sample_advanced_for(AdvancedSet::AckLatency, "1", value);
            }
        }
        a.merge(&b);
        assert_eq!(a.counter(Counter::Commit), 1000);
        assert_eq!(a.basic(Basic::FsyncTime), all.basic(Basic::FsyncTime));
        assert_eq!(a.basic(Basic::FsyncTime).min, -5);
        let (merged, one) =
            (a.advanced(Advanced::ReadLatency), all.advanced(Advanced::ReadLatency));
        assert_eq!(merged.summary, one.summary);
        for share in [0.5, 0.95, 0.99, 0.999] {
            assert_eq!(merged.quantile(share), one.quantile(share));
            let exact = share * 1000.0;
            assert!((merged.quantile(share) as f64 - exact).abs() <= exact * 0.02);
        }
        assert!(a.basic_sets().eq(all.basic_sets()) && a.counter_sets().eq(all.counter_sets()));
        a.reset();
        assert_eq!((a.counter(Counter::Commit), a.basic_sets().count()), (0, 0));
    }

    #[test]
    fn empty_and_odd_samples() {
        let mut distribution = Distribution::default();
        assert_eq!((distribution.quantile(0.5), distribution.summary.average()), (0, 0.0));
        distribution.add(-7);
        distribution.add(i64::MAX);
        assert_eq!(distribution.summary.min, -7);
        assert!(distribution.quantile(0.999) >= QUANTILE_MAX as i64);
    }

    #[test]
    fn clients_cannot_make_sets_grow_without_end() {
        let mut metrics = Metrics::default();
        for number in 0..SET_KEYS_MAX + 100 {
            metrics.sample_for(BasicSet::WritePerNamespace, &format!("n{number}"), 1);
        }
        assert_eq!(metrics.basic_sets().count(), SET_KEYS_MAX + 1);
        let other = metrics.basic_sets().find(|(_, key, _)| *key == OTHER_KEYS);
        assert_eq!(other.expect("the rest").2.count, 100);
    }
}
