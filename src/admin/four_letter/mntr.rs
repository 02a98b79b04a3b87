//! `mntr` (reference: admin-and-metrics 3).
//!
//! Parsers in the wild take one `recv` of 2,048 bytes, or give up on one line they do not
//! understand: the classic keys come first, no key is without a value, and keys hold letters,
//! digits and `_` only.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};

use crate::admin::java_format;
use crate::admin::metrics::{Advanced, Basic, Counter, Distribution, Metrics, Summary};

use super::report::{Mode, MonitorReport, ServerReport};

pub(super) fn mntr(report: &ServerReport) -> String {
    let mut out = Lines(String::with_capacity(16 << 10));
    let monitor = &report.monitor;
    out.line("version", &report.version);
    out.line("server_state", report.mode.as_str());
    // A server cut off from its ensemble shows neither a peer state nor what belongs to the
    // ensemble.
    let quorum = report.mode != Mode::ReadOnly;
    if let Some(state) = monitor.peer_state.as_ref().filter(|_| quorum) {
        out.line("peer_state", state);
    }
    if let Some(id) = monitor.observer_master_id.filter(|_| quorum) {
        out.line("observer_master_id", id);
    }
    classic_gauges(&mut out, report);
    if quorum {
        quorum_gauges(&mut out, monitor);
    }
    other_gauges(&mut out, report);
    quotas(&mut out, monitor);
    counters_and_summaries(&mut out, &report.metrics);
    out.0
}

struct Lines(String);

impl Lines {
    fn line(&mut self, key: &str, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "zk_{key}\t{value}");
    }

    fn double(&mut self, key: &str, value: f64) {
        self.line(key, java_format::double(java_format::rounded(value)));
    }

    fn summary(&mut self, name: &str, summary: &Summary) {
        self.double(&format!("avg_{name}"), summary.average());
        self.line(&format!("min_{name}"), summary.min);
        self.line(&format!("max_{name}"), summary.max);
        self.line(&format!("cnt_{name}"), summary.count);
        self.line(&format!("sum_{name}"), summary.sum);
    }

    fn distribution(&mut self, name: &str, distribution: &Distribution) {
        self.summary(name, &distribution.summary);
        for (word, share) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)] {
            self.line(&format!("{word}_{name}"), distribution.quantile(share));
        }
    }
}

fn classic_gauges(out: &mut Lines, report: &ServerReport) {
    let monitor = &report.monitor;
    out.double("avg_latency", report.latency.avg_ms);
    out.line("max_latency", report.latency.max_ms);
    out.line("min_latency", report.latency.min_ms);
    out.line("packets_received", report.packets_received);
    out.line("packets_sent", report.packets_sent);
    out.line("num_alive_connections", report.connection_count);
    out.line("outstanding_requests", report.outstanding);
    out.line("znode_count", report.node_count);
    out.line("watch_count", monitor.watch_count);
    out.line("ephemerals_count", monitor.ephemerals_count);
    out.line("approximate_data_size", monitor.approximate_data_bytes);
    out.line("open_file_descriptor_count", monitor.open_file_descriptors);
    out.line("max_file_descriptor_count", monitor.max_file_descriptors);
}

fn quorum_gauges(out: &mut Lines, monitor: &MonitorReport) {
    if let Some(leader) = &monitor.leader {
        // The name before 3.6, which dashboards still ask for, beside the present one.
        out.line("followers", leader.learners);
        out.line("learners", leader.learners);
        out.line("synced_followers", leader.synced_followers);
        out.line("pending_syncs", leader.pending_syncs);
        out.line("synced_non_voting_followers", leader.synced_non_voting_followers);
        out.line("leader_uptime", leader.uptime_ms);
    }
    if let Some(observers) = monitor.synced_observers {
        out.line("synced_observers", observers);
    }
    if let Some(size) = monitor.quorum_size {
        out.line("quorum_size", size);
    }
}

fn other_gauges(out: &mut Lines, report: &ServerReport) {
    let monitor = &report.monitor;
    if monitor.leader.is_some() {
        out.line("last_proposal_size", report.proposal_sizes.last);
        out.line("max_proposal_size", report.proposal_sizes.max);
        out.line("min_proposal_size", report.proposal_sizes.min);
    }
    let sizes = report.client_response_sizes;
    let rows = [
        ("global_sessions", monitor.global_sessions),
        ("local_sessions", monitor.local_sessions),
        ("last_client_response_size", sizes.last),
        ("max_client_response_size", sizes.max),
        ("min_client_response_size", sizes.min),
        ("outstanding_tls_handshake", monitor.outstanding_tls_handshakes),
        ("auth_failed_count", monitor.auth_failed),
        ("non_mtls_local_conn_count", monitor.non_mtls_local_connections),
        ("non_mtls_remote_conn_count", monitor.non_mtls_remote_connections),
        ("uptime", monitor.uptime_ms),
    ];
    for (key, value) in rows {
        out.line(key, value);
    }
    out.double("connection_drop_probability", monitor.connection_drop_probability);
}

fn quotas(out: &mut Lines, monitor: &MonitorReport) {
    for quota in &monitor.quotas {
        let namespace = key_of(&quota.namespace);
        let rows = [
            ("count_limit", quota.count_limit),
            ("count_usage", quota.count_usage),
            ("bytes_limit", quota.bytes_limit),
            ("bytes_usage", quota.bytes_usage),
        ];
        for (what, value) in rows {
            out.line(&format!("{namespace}_quota_{what}_per_namespace"), value);
        }
    }
}

fn counters_and_summaries(out: &mut Lines, metrics: &Metrics) {
    for counter in Counter::ALL {
        out.line(counter.as_str(), metrics.counter(*counter));
    }
    for (set, key, value) in metrics.counter_sets() {
        out.line(&format!("{}_{}", key_of(key), set.as_str()), value);
    }
    for basic in Basic::ALL {
        out.summary(basic.as_str(), metrics.basic(*basic));
    }
    for advanced in Advanced::ALL {
        out.distribution(advanced.as_str(), metrics.advanced(*advanced));
    }
    for (set, key, summary) in metrics.basic_sets() {
        out.summary(&format!("{}_{}", key_of(key), set.as_str()), summary);
    }
    for (set, key, distribution) in metrics.advanced_sets() {
        out.distribution(&format!("{}_{}", key_of(key), set.as_str()), distribution);
    }
}

/// Names of nodes may hold anything; keys may not.
fn key_of(name: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.is_empty() && name.chars().all(plain) {
        return Cow::Borrowed(name);
    }
    let mapped: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    Cow::Owned(if mapped.is_empty() { "_".to_owned() } else { mapped })
}
