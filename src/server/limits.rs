//! From the configuration to the limits on clients that the client cores keep (reference: configuration 8).

use std::time::Instant;

use super::Config;
use crate::shard::{Admission, ConnectOptions, LargeOptions, ThrottleOptions};

/// What all client cores share.
pub(super) fn admission(config: &Config, epoch: Instant) -> Admission {
    let seed = epoch.elapsed().as_nanos() as u64 ^ u64::from(std::process::id()) << 32;
    Admission::new(connects(config), large(config), seed)
}

/// Tokens are meant as new sessions: with weights there are so many more of them.
fn connects(config: &Config) -> Option<ConnectOptions> {
    let throttle = &config.throttle;
    let weights = throttle.connection_weights;
    let (new_weight, resumed_weight) = match weights {
        true => (throttle.connection_weight_global, throttle.connection_weight_renew),
        false => (1, 1),
    };
    (throttle.connection_tokens != 0).then(|| ConnectOptions {
        tokens_max: throttle.connection_tokens * new_weight,
        fill_ms: throttle.connection_fill_ms,
        fill_count: throttle.connection_fill_count * new_weight,
        freeze_ms: Some(throttle.connection_freeze_ms).filter(|ms| *ms != -1),
        drop_increase: throttle.connection_drop_increase,
        drop_decrease: throttle.connection_drop_decrease,
        decrease_ratio: throttle.connection_decrease_ratio,
        new_weight,
        resumed_weight,
    })
}

fn large(config: &Config) -> Option<LargeOptions> {
    let above_bytes = usize::try_from(config.throttle.large_request_bytes_min).ok();
    let above_bytes = above_bytes.filter(|bytes| *bytes > 0)?;
    let in_flight_bytes_max = config.throttle.large_requests_bytes_max.max(1) as usize;
    Some(LargeOptions { above_bytes, in_flight_bytes_max })
}

/// Each client core has its share of the requests.
pub(super) fn throttle(config: &Config) -> Option<ThrottleOptions> {
    let throttle = &config.throttle;
    let requests = usize::try_from(throttle.requests_max).ok().filter(|requests| *requests > 0)?;
    Some(ThrottleOptions {
        requests_max: (requests / config.profile.client_cores.max(1)).max(1),
        op_wait_ms: throttle.throttled_op_wait_ms.max(0),
        stale_by_latency: throttle.stale_latency_check,
        drop_stale: throttle.drop_stale,
    })
}
