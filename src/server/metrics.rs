//! What the cores have counted, under the names of the catalogue (reference: admin-and-metrics 6).

use crate::admin::four_letter::report::{Mode, NamespaceQuota, ServerReport};
use crate::admin::metrics::{Advanced, AdvancedSet, Basic, BasicSet, Counter, CounterSet, Metrics};
use crate::auth::EnsembleName;
use crate::base::tally::Sizes;
use crate::ensemble::{CoreCounts, ZabCounts, ZabReport};
use crate::peer::{AppliedCounts, LoadCounts, PeerCounts, RoleCounts};
use crate::shard::{OrderCounts, ShardCounts, ShardReport};
use crate::tree::Tree;

/// Adds up all cores' parts. A core that did not answer in time is missing until the next time.
pub(super) fn fill(report: &mut ServerReport, shards: &[ShardReport], zab: &ZabReport) {
    let metrics = &mut report.metrics;
    let mut sizes = Sizes::default();
    for counts in shards.iter().filter_map(|shard| shard.counts.as_deref()) {
        of_shard(metrics, counts);
        sizes.merge(&counts.response_sizes);
    }
    report.client_response_sizes = sizes;
    metrics.count(Counter::DigestMismatches, zab.peer.digest_mismatches as i64);
    metrics.count(Counter::StaleSessionsExpired, zab.peer.sessions_expired as i64);
    metrics.merge_basic(Basic::SnapshotTime, &zab.snapshots_ms);
    if let Some(ZabCounts { core, peer, queues }) = zab.counts.as_deref() {
        of_core(metrics, core);
        of_peer(metrics, peer);
        of_loads(metrics, &peer.loads);
        of_applied(metrics, &peer.applied);
        for (sid, queue) in queues {
            let sid = sid.0.to_string();
            metrics.merge_for(BasicSet::LearnerQueueSize, &sid, &queue.size);
            metrics.merge_advanced_for(AdvancedSet::LearnerQueueTime, &sid, &queue.ms);
        }
        of_roles(metrics, &peer.roles, report.mode == Mode::Observer);
        report.proposal_sizes = peer.leader.proposal_sizes;
    }
}

fn of_shard(metrics: &mut Metrics, counts: &ShardCounts) {
    metrics.merge_advanced(Advanced::ReadLatency, &counts.reads);
    metrics.merge_advanced(Advanced::UpdateLatency, &counts.updates);
    metrics.merge_advanced(Advanced::WriteCommitTime, &counts.commits);
    // A read waits for earlier writes of its session and for nothing else.
    metrics.merge_advanced(Advanced::ReadCommitTime, &counts.reads);
    for (counter, value) in [
        (Counter::ConnectionRequest, counts.connects),
        (Counter::ConnectionRevalidate, counts.revalidations),
        (Counter::ConnectionDrop, counts.drops),
        (Counter::ConnectionRejected, counts.rejected),
        (Counter::SessionlessExpired, counts.sessionless_expired),
        (Counter::BytesReceived, counts.bytes_received),
        (Counter::ResponseBytes, counts.response_bytes),
        (Counter::WatchBytes, counts.watch_bytes),
        (Counter::ThrottleWait, counts.throttle_waits),
        (Counter::ThrottledOps, counts.throttled_ops),
        (Counter::StaleRequests, counts.stale),
        (Counter::StaleRequestsDropped, counts.stale_dropped),
        (Counter::StaleReplies, counts.stale_replies),
        (Counter::LargeRequestsRejected, counts.large_rejected),
        (Counter::ClosedWithoutServer, counts.no_server),
        (Counter::EnsembleAuthSuccess, counts.ensemble_names[EnsembleName::Right as usize]),
        (Counter::EnsembleAuthFail, counts.ensemble_names[EnsembleName::Wrong as usize]),
        (Counter::EnsembleAuthSkip, counts.ensemble_names[EnsembleName::Unasked as usize]),
    ] {
        metrics.count(counter, value as i64);
    }
    for (basic, tally) in [
        (Basic::NodeCreatedWatch, &counts.created),
        (Basic::NodeDeletedWatch, &counts.deleted),
        (Basic::NodeChangedWatch, &counts.changed),
        (Basic::NodeChildrenWatch, &counts.children),
    ] {
        metrics.merge_basic(basic, tally);
    }
    metrics.merge_basic(Basic::ConnectionTokenDeficit, &counts.token_deficit);
    metrics.merge_advanced(Advanced::ThrottleQueueTime, &counts.throttle_ms);
    metrics.merge_set(BasicSet::ReadPerNamespace, &counts.read);
    of_order(metrics, &counts.order);
}

fn of_order(metrics: &mut Metrics, counts: &OrderCounts) {
    for (basic, tally) in [
        (Basic::ReadCommitIssued, &counts.reads_issued),
        (Basic::ReadCommitQueued, &counts.reads),
        (Basic::WriteCommitQueued, &counts.writes),
        (Basic::RequestsInSessionQueue, &counts.in_session),
        (Basic::PendingSessionQueue, &counts.sessions),
        (Basic::ReadsAfterWrite, &counts.reads_after_write),
        (Basic::ReadsIssued, &counts.reads_let_go),
        (Basic::SessionQueuesDrained, &counts.drained),
    ] {
        metrics.merge_basic(basic, tally);
    }
    metrics.merge_advanced(Advanced::ReadFinalTime, &counts.answer_ms);
}

fn of_applied(metrics: &mut Metrics, counts: &AppliedCounts) {
    metrics.count(Counter::RequestCommitQueued, counts.count as i64);
    metrics.merge_basic(Basic::CommitCommitQueued, &counts.queue_size);
    metrics.merge_basic(Basic::WriteCommitIssued, &counts.run_size);
    metrics.merge_advanced(Advanced::LocalWriteCommitted, &counts.local_ms);
    metrics.merge_advanced(Advanced::ServerWriteCommitted, &counts.other_ms);
}

fn of_loads(metrics: &mut Metrics, counts: &LoadCounts) {
    for (basic, tally) in [
        (Basic::DbInitTime, &counts.all_ms),
        (Basic::StartupSnapLoadTime, &counts.snapshot_ms),
        (Basic::StartupTxnsLoadTime, &counts.txns_ms),
        (Basic::StartupTxnsLoaded, &counts.txns),
    ] {
        metrics.merge_basic(basic, tally);
    }
}

fn of_core(metrics: &mut Metrics, counts: &CoreCounts) {
    metrics.count(Counter::PrepQueued, counts.prep_queued as i64);
    metrics.merge_advanced(Advanced::PrepQueueTime, &counts.prep_queue_ms);
    metrics.merge_basic(Basic::PrepQueueSize, &counts.prep_queue_size);
    metrics.merge_basic(Basic::PrepProcessTime, &counts.prep_ms);
    metrics.merge_advanced(Advanced::CloseSessionPrepTime, &counts.close_ms);
    metrics.merge_basic(Basic::ProposalProcessTime, &counts.propose_ms);
    metrics.merge_basic(Basic::CommitProcessTime, &counts.commit_ms);
    // Nothing else is done in between.
    metrics.merge_basic(Basic::WriteBatchTime, &counts.commit_ms);
    metrics.merge_advanced(Advanced::WriteFinalTime, &counts.apply_ms);
    metrics.merge_basic(Basic::LearnerRequestQueue, &counts.forward_queue_size);
    metrics.merge_advanced(Advanced::StallTime, &counts.stall_ms);
    metrics.count(Counter::SyncQueued, counts.log_queued as i64);
    metrics.merge_advanced(Advanced::SyncQueueTime, &counts.log_queue_ms);
    // What waits for a flush goes with the next one, all of it.
    metrics.merge_basic(Basic::SyncQueueSize, &counts.log_batch);
    metrics.merge_basic(Basic::SyncBatchSize, &counts.log_batch);
    metrics.merge_advanced(Advanced::SyncFlushTime, &counts.flush_ms);
    metrics.merge_advanced(Advanced::SyncQueueAndFlushTime, &counts.log_all_ms);
    metrics.merge_basic(Basic::SyncProcessTime, &counts.flush_ms.tally);
    metrics.merge_basic(Basic::FsyncTime, &counts.flush_ms.tally);
}

fn of_peer(metrics: &mut Metrics, counts: &PeerCounts) {
    metrics.count(Counter::OutstandingChangesQueued, counts.prep.changes_queued as i64);
    metrics.count(Counter::OutstandingChangesRemoved, counts.prep.changes_removed as i64);
    for (key, tally) in counts.prep.quotas_exceeded.iter() {
        metrics.count_for(CounterSet::QuotaExceeded, &String::from_utf8_lossy(key), tally.count);
    }
    metrics.merge_set(BasicSet::WritePerNamespace, &counts.written);
    metrics.merge_advanced(Advanced::PropagationLatency, &counts.propagation);
    metrics.count(Counter::Proposal, counts.leader.proposals as i64);
    metrics.count(Counter::Commit, counts.leader.commits as i64);
    metrics.merge_advanced(Advanced::QuorumAckLatency, &counts.leader.quorum_ack);
    for (sid, samples) in &counts.leader.acks {
        metrics.merge_advanced_for(AdvancedSet::AckLatency, &sid.0.to_string(), samples);
    }
    metrics.merge_advanced(Advanced::ProposalLatency, &counts.transit.proposed);
    metrics.merge_advanced(Advanced::ProposalAckCreation, &counts.transit.acknowledged);
    metrics.merge_advanced(Advanced::CommitPropagation, &counts.transit.committed);
}

/// `observer`: what a sync counts as.
fn of_roles(metrics: &mut Metrics, roles: &RoleCounts, observer: bool) {
    for (counter, value) in [
        (Counter::Looking, roles.looking),
        (Counter::LearnerProposalReceived, roles.proposals_received),
        (Counter::LearnerCommitReceived, roles.commits_received),
        (Counter::DiffSync, roles.diffs),
        (Counter::SnapSync, roles.snaps),
        (Counter::Revalidate, roles.revalidations),
    ] {
        metrics.count(counter, value as i64);
    }
    let sync = if observer { Basic::ObserverSyncTime } else { Basic::FollowerSyncTime };
    for (basic, tally) in [
        (Basic::ElectionTime, &roles.election),
        (sync, &roles.sync),
        (Basic::InflightDiff, &roles.diffs_under_way),
        (Basic::InflightSnap, &roles.snaps_under_way),
        (Basic::UnavailableTime, &roles.unavailable),
        (Basic::LeaderUnavailableTime, &roles.leader_unavailable),
    ] {
        metrics.merge_basic(basic, tally);
    }
}

/// Limits and use of every quota, summed up by top-level node as the reference does.
pub(super) fn quotas(tree: &Tree) -> Vec<NamespaceQuota> {
    let (_, all) = tree.read(|view| view.quotas());
    let mut by_top: Vec<NamespaceQuota> = Vec::new();
    for quota in all {
        let name = String::from_utf8_lossy(&quota.top).into_owned();
        let at = by_top.iter().position(|known| known.namespace == name).unwrap_or_else(|| {
            by_top.push(NamespaceQuota { namespace: name, ..NamespaceQuota::default() });
            by_top.len() - 1
        });
        let sum = &mut by_top[at];
        sum.count_limit = sum.count_limit.saturating_add(quota.count_limit);
        sum.bytes_limit = sum.bytes_limit.saturating_add(quota.bytes_limit);
        sum.count_usage = sum.count_usage.saturating_add(quota.count_used);
        sum.bytes_usage = sum.bytes_usage.saturating_add(quota.bytes_used);
    }
    by_top
}
