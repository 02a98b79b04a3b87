//! The configuration's members become what the Zab core needs to know of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use super::assembly::touch_interval_ms;
use super::config::Ensemble;
use super::config_cluster::QuorumConfig;
use super::config_settings::Peers;
use super::server_lines::{PeerAddress, PeerType};
use super::{Config, ExitCode, restore};
use crate::auth::Auth;
use crate::base::{MonoMs, Sid};
use crate::ensemble::Membership;
use crate::ensemble::ports::{MemberAddress, PortOptions};
use crate::peer::{Epochs, LocalOptions, Peer, PeerOptions, PeerParts, Recovered, SyncLimits};
use crate::pipeline::prep::PrepOptions;
use crate::session::SessionIds;
use crate::storage::{DataLayout, epochs};
use crate::zab::Quorum;
use crate::zab::election::{Election, ElectionOptions, FINALIZE_MS};
use crate::zab::leader_election::{LeaderElection, LeaderElectionOptions};
use crate::zab::liveness::Limits;
use crate::zab::quorums::Hierarchy;
use crate::zab::voting::Voting;

/// The server id in session ids of a standalone server (reference: client-protocol 4.7).
const STANDALONE_SID: Sid = Sid(1);

/// Milliseconds without a quorum before readers are served, at least (reference: zab 17).
const READ_ONLY_DELAY_MS_MIN: i64 = 2000;

type Failed = (ExitCode, String);

/// The voters and their rule.
fn quorum(config: &QuorumConfig) -> Quorum {
    let votes = config.servers.values().filter(|server| server.peer_type == PeerType::Participant);
    match &config.groups {
        None => Quorum::Majority(votes.map(|server| Sid(server.id)).collect()),
        Some(groups) => Quorum::Hierarchical(Hierarchy::new(votes.map(|server| {
            let group = groups.group_of.get(&server.id).copied().unwrap_or_default();
            (Sid(server.id), group, groups.weight(server.id))
        }))),
    }
}

/// The machine, with what the disk holds.
pub(super) fn peer(
    config: &Config,
    layout: &DataLayout,
    recovered: Recovered,
    auth: &Arc<Auth>,
    boot_ms: MonoMs,
) -> Result<Peer, Failed> {
    let last = recovered.tree.tree().applied();
    let options = peer_options(config);
    let mut stored = epochs::StoredEpochs::default();
    let mut election = None;
    if config.ensemble.is_some() {
        stored = epochs::load(&layout.snap_dir, last)
            .map_err(|error| (ExitCode::Unexpected, error.to_string()))?;
        election = Some(voting(config, &options));
    }
    // Sessions outlive a reboot of one member, and its clock since boot starts again.
    let since_1970 = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis() as MonoMs;
    let clock = if options.standalone { boot_ms } else { since_1970 };
    let session_ids = SessionIds::new(options.sid.0, clock);
    let parts = PeerParts {
        recovered,
        epochs: Epochs { accepted: stored.accepted, current: stored.current },
        session_ids,
        auth: auth.clone(),
        election,
        commit_log_count: config.storage.commit_log_count.max(0) as usize,
    };
    Ok(Peer::new(options, parts))
}

/// The election that the configuration says.
fn voting(config: &Config, options: &PeerOptions) -> Voting {
    let (me, quorum) = (options.sid, options.quorum.clone());
    if config.peers.election_alg == 0 {
        let clock = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos() as u64;
        let seed = clock ^ u64::from(std::process::id());
        return LeaderElection::new(LeaderElectionOptions::new(me, quorum), seed).into();
    }
    let options = ElectionOptions {
        me,
        quorum,
        config: options.config_text.clone(),
        min_interval_ms: config.peers.notification_ms_min,
        max_interval_ms: config.peers.notification_ms_max,
        finalize_ms: FINALIZE_MS,
    };
    Election::new(options).into()
}

fn peer_options(config: &Config) -> PeerOptions {
    let (profile, nodes, peers) = (&config.profile, &config.nodes, &config.peers);
    let ensemble = config.ensemble.as_ref();
    PeerOptions {
        sid: ensemble.map_or(STANDALONE_SID, |ensemble| Sid(ensemble.my_id)),
        quorum: ensemble
            .map_or(Quorum::standalone(STANDALONE_SID), |ensemble| quorum(&ensemble.quorum)),
        standalone: ensemble.is_none(),
        observer: ensemble.is_some_and(|ensemble| ensemble.peer_type == PeerType::Observer),
        limits: Limits {
            tick_ms: i64::from(config.tick_time_ms),
            init_limit_ticks: i64::from(peers.init_limit_ticks),
            sync_limit_ticks: i64::from(peers.sync_limit_ticks),
        },
        config_version: ensemble.map_or(0, |ensemble| ensemble.quorum.version),
        config_text: ensemble
            .map_or(Vec::new(), |ensemble| ensemble.quorum.to_config_text().into_bytes()),
        container_check_ms: nodes.container_check_ms,
        container_delete_gap_ms: (60_000 / nodes.container_deletes_per_minute_max).max(1),
        container_never_used_ms: nodes.container_never_used_ms_max,
        touch_slack_ms: 2 * touch_interval_ms(config) as i64,
        outstanding_txns_max: profile.zab_outstanding_txns_max,
        prep: PrepOptions {
            digest_enabled: config.storage.digest,
            extended_types: nodes.extended_types,
            close_session_txn: config.storage.close_session_txn,
            enforce_quota: nodes.enforce_quota,
            reconfig_enabled: peers.reconfig_enabled,
            record_bytes_max: restore::record_bytes_max(config),
        },
        owners: restore::owner_options(config),
        force_snapshot_sync: peers.force_snapshot_sync,
        log_sync: config.storage.snapshot_size_factor >= 0.0,
        packet_bytes_max: restore::record_bytes_max(config),
        observer_logs: peers.observers_log(),
        leader_connect_delay_ms: peers.leader_connect_retry_ms,
        leader_serves: peers.leader_serves,
        local: local_options(config),
        sync_limits: SyncLimits {
            snaps_max: peers.snap_syncs_max.max(1) as usize,
            diffs_max: peers.diff_syncs_max.max(1) as usize,
        },
    }
}

/// Local sessions and read-only mode are for members of an ensemble.
fn local_options(config: &Config) -> LocalOptions {
    if config.ensemble.is_none() {
        return LocalOptions::default();
    }
    // What Apache waits before it serves readers: an election that goes well is over by then.
    let delay_ms = i64::from(config.tick_time_ms).max(READ_ONLY_DELAY_MS_MIN);
    LocalOptions {
        sessions: config.peers.local_sessions,
        upgrading: config.peers.local_sessions_upgrade,
        read_only_after_ms: config.clients.read_only_mode.then_some(delay_ms),
    }
}

/// Ports and addresses of a member of an ensemble; `None` standalone.
pub(super) fn membership(config: &Config) -> Result<Option<Membership>, Failed> {
    let Some(ensemble) = &config.ensemble else { return Ok(None) };
    let own = ensemble.quorum.servers.get(&ensemble.my_id).ok_or_else(|| {
        let known: Vec<_> = ensemble.quorum.servers.keys().map(|id| id.to_string()).collect();
        let text = format!(
            "My id {} not in the peer list: {} must hold one of {}",
            ensemble.my_id,
            config.data_dir.join("myid").display(),
            known.join(", ")
        );
        (ExitCode::Unexpected, text)
    })?;
    let peers = &config.peers;
    let handshake_ms = match peers.election_read_timeout_ms {
        ms if ms > 0 => ms,
        _ => i64::from(config.tick_time_ms) * i64::from(peers.sync_limit_ticks),
    };
    let bind = |port: fn(&PeerAddress) -> u16| own_addresses(config, &own.addresses, port);
    let election_address = |address: &PeerAddress| match address.host.contains(':') {
        true => format!("[{}]:{}", address.host, address.election_port),
        false => format!("{}:{}", address.host, address.election_port),
    };
    Ok(Some(Membership {
        me: Sid(ensemble.my_id),
        own_election_addresses: own.addresses.iter().map(election_address).collect(),
        handshake_ms,
        ports: PortOptions {
            members: addresses(ensemble),
            own_quorum: bind(|address| address.quorum_port)?,
            own_election: bind(|address| address.election_port)?,
            connect_timeout: Duration::from_millis(peers.election_connect_timeout_ms as u64),
            unacknowledged_vote_timeout: unacknowledged_vote_timeout(peers),
            tcp_keepalive: peers.election_keep_alive,
            votes_by_datagrams: peers.election_alg == 0,
        },
    }))
}

/// Apache asks whether the address of a connection still answers, if there may be another one. Here its votes tell.
pub(super) fn unacknowledged_vote_timeout(peers: &Peers) -> Duration {
    let connect_ms = peers.election_connect_timeout_ms;
    let checked_ms = i64::from(peers.reachability_timeout_ms.max(1));
    let checked = peers.multi_address && peers.reachability_check;
    let ms = if checked { connect_ms.min(checked_ms) } else { connect_ms };
    Duration::from_millis(ms as u64)
}

fn addresses(ensemble: &Ensemble) -> BTreeMap<Sid, MemberAddress> {
    let member = |address: &PeerAddress| {
        let host = || address.host.clone();
        ((host(), address.quorum_port), (host(), address.election_port))
    };
    let servers = ensemble.quorum.servers.iter();
    let servers = servers.map(|(id, server)| {
        let (quorum, election) = server.addresses.iter().map(member).unzip();
        (Sid(*id), MemberAddress { quorum, election })
    });
    servers.collect()
}

/// Where this server's own port is bound.
fn own_addresses(
    config: &Config,
    addresses: &[PeerAddress],
    port: impl Fn(&PeerAddress) -> u16,
) -> Result<Vec<SocketAddr>, Failed> {
    let mut bound = Vec::new();
    for address in addresses {
        let port = port(address);
        if config.peers.listen_on_all_ips {
            bound.push(SocketAddr::new(IpAddr::from([0, 0, 0, 0]), port));
            break;
        }
        let resolved = (address.host.as_str(), port).to_socket_addrs();
        let first = resolved.ok().and_then(|mut addresses| addresses.next());
        bound.push(first.ok_or_else(|| {
            let host = &address.host;
            let text = format!(
                "this server's own address {host} cannot be resolved; give its server line an \
                 address, or set quorumListenOnAllIPs=true"
            );
            (ExitCode::Unexpected, text)
        })?);
    }
    Ok(bound)
}
