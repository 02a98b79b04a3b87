//! Settings that are read and do not do what they do in Apache ZooKeeper: each gets one line that says why.

use super::Config;

const LATER: &str = "has no effect in this version";

/// Key, whether it is set to something that asks for an effect, and why it has none.
type Row = (&'static str, bool, &'static str);

/// At the start, for the log: one line each.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let rows = throttling(config).into_iter().chain(missing(config));
    let set = rows.filter(|(_, is_set, _)| *is_set);
    let mut lines: Vec<_> = set.map(|(key, _, why)| format!("{key} is set and {why}")).collect();
    if config.ensemble.is_some() && config.clients.read_only_mode && !config.peers.local_sessions {
        lines.push(
            "readonlymode.enabled without localSessionsEnabled: as in Apache ZooKeeper, a server \
             without a quorum then answers isro with ro, and has no sessions to give"
                .to_owned(),
        );
    }
    lines
}

/// What has no meaning here.
fn throttling(config: &Config) -> [Row; 5] {
    let throttle = &config.throttle;
    let on = throttle.requests_max > 0;
    [
        (
            "request_throttle_stall_time",
            throttle.stall_ms != 100,
            "has no effect: requests that wait go on as soon as there is room, nobody polls",
        ),
        (
            "request_throttle_drop_stale=false",
            on && !throttle.drop_stale,
            "spares late requests only: one that waits is on its connection and goes with it",
        ),
        (
            "request_stale_connection_check=false",
            on && !throttle.stale_connection_check,
            "has no effect: a request that waits is on its connection and goes with it",
        ),
        (
            "throttled_op_wait_time",
            throttle.throttled_op_wait_ms > 0 && !on,
            "has no effect: without request_throttle_max_requests no request waits for others",
        ),
        (
            "enableEagerACLCheck",
            config.auth.eager_acl_check && config.ensemble.is_none(),
            "has no effect on a standalone server, as in Apache ZooKeeper: nothing is forwarded",
        ),
    ]
}

/// What this version does not have.
fn missing(config: &Config) -> [Row; 7] {
    let peers = &config.peers;
    let ensemble = config.ensemble.is_some();
    [
        ("quorum.auth.enableSasl", peers.sasl, LATER),
        ("java.security.auth.login.config (SASL)", config.auth.jaas_file.is_some(), LATER),
        ("audit.enable", config.observability.audit, LATER),
        ("client.portUnification (TLS)", config.client_tls.port_unification, LATER),
        ("reconfigEnabled", ensemble && peers.reconfig_enabled, LATER),
        ("observerMasterPort", ensemble && peers.observer_master_port > 0, LATER),
        ("oraclePath", ensemble && peers.oracle_path.is_some(), LATER),
    ]
}
