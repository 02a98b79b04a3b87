//! What a client core tells about itself: counters that anybody may read at any time, and on request a full account
//! of its connections and watches.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use super::{ConnStats, Shard, ShardCounts};
use crate::base::{MonoMs, SessionId, WallMs};
use crate::pipeline::messages::Report;

/// Written by one client core only, with relaxed stores; read by anybody.
#[derive(Debug)]
pub struct ShardCounters {
    received: AtomicU64,
    sent: AtomicU64,
    /// Writes forwarded and unanswered.
    pub outstanding: AtomicUsize,
    pub connections: AtomicUsize,
    pub watches: AtomicUsize,
    auth_failed: AtomicU64,
    latency_ms_min: AtomicI64,
    latency_ms_max: AtomicI64,
    latency_ms_total: AtomicI64,
    latency_count: AtomicU64,
}

impl Default for ShardCounters {
    fn default() -> Self {
        ShardCounters {
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            outstanding: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            watches: AtomicUsize::new(0),
            auth_failed: AtomicU64::new(0),
            latency_ms_min: AtomicI64::new(i64::MAX),
            latency_ms_max: AtomicI64::new(0),
            latency_ms_total: AtomicI64::new(0),
            latency_count: AtomicU64::new(0),
        }
    }
}

/// A reading of the counters of one core, or summed over all.
#[derive(Clone, Copy, Debug, Default)]
pub struct CounterSnapshot {
    pub received: u64,
    pub sent: u64,
    pub outstanding: usize,
    pub connections: usize,
    pub watches: usize,
    pub auth_failed: u64,
    /// Milliseconds; `i64::MAX` while nothing was measured.
    pub latency_ms_min: i64,
    pub latency_ms_max: i64,
    pub latency_ms_total: i64,
    pub latency_count: u64,
}

fn bump(counter: &AtomicU64) {
    // One writer: a load and a store need no locked instruction.
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

impl ShardCounters {
    pub(super) fn received(&self) {
        bump(&self.received);
    }

    pub(super) fn sent(&self) {
        bump(&self.sent);
    }

    pub(super) fn auth_failed(&self) {
        bump(&self.auth_failed);
    }

    pub(super) fn latency(&self, ms: i64) {
        if ms < self.latency_ms_min.load(Ordering::Relaxed) {
            self.latency_ms_min.store(ms, Ordering::Relaxed);
        }
        if ms > self.latency_ms_max.load(Ordering::Relaxed) {
            self.latency_ms_max.store(ms, Ordering::Relaxed);
        }
        let total = self.latency_ms_total.load(Ordering::Relaxed);
        self.latency_ms_total.store(total + ms, Ordering::Relaxed);
        bump(&self.latency_count);
    }

    /// `srst`, on the counting core.
    pub(super) fn reset(&self) {
        self.received.store(0, Ordering::Relaxed);
        self.sent.store(0, Ordering::Relaxed);
        self.latency_ms_min.store(i64::MAX, Ordering::Relaxed);
        self.latency_ms_max.store(0, Ordering::Relaxed);
        self.latency_ms_total.store(0, Ordering::Relaxed);
        self.latency_count.store(0, Ordering::Relaxed);
    }

    pub fn snapshot(&self) -> CounterSnapshot {
        CounterSnapshot {
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            outstanding: self.outstanding.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
            watches: self.watches.load(Ordering::Relaxed),
            auth_failed: self.auth_failed.load(Ordering::Relaxed),
            latency_ms_min: self.latency_ms_min.load(Ordering::Relaxed),
            latency_ms_max: self.latency_ms_max.load(Ordering::Relaxed),
            latency_ms_total: self.latency_ms_total.load(Ordering::Relaxed),
            latency_count: self.latency_count.load(Ordering::Relaxed),
        }
    }
}

impl CounterSnapshot {
    /// Sums over cores.
    pub fn add(&mut self, other: &CounterSnapshot) {
        self.received += other.received;
        self.sent += other.sent;
        self.outstanding += other.outstanding;
        self.connections += other.connections;
        self.watches += other.watches;
        self.auth_failed += other.auth_failed;
        if self.latency_count == 0 {
            self.latency_ms_min = other.latency_ms_min;
        }
        if other.latency_count > 0 {
            self.latency_ms_min = self.latency_ms_min.min(other.latency_ms_min);
        }
        self.latency_ms_max = self.latency_ms_max.max(other.latency_ms_max);
        self.latency_ms_total += other.latency_ms_total;
        self.latency_count += other.latency_count;
    }
}

/// One connection's line of `cons`.
#[derive(Clone, Debug)]
pub struct ConnReport {
    pub peer: std::net::SocketAddr,
    pub queued: usize,
    pub stats: ConnStats,
    pub session: Option<SessionId>,
    pub timeout_ms: i32,
    pub established: WallMs,
    pub is_command: bool,
    /// Milliseconds since it was last heard of.
    pub idle_ms: MonoMs,
}

/// The data watch table, as `wchc` and `wchp` list it.
#[derive(Clone, Debug, Default)]
pub struct WatchDump {
    pub watchers: usize,
    pub paths: usize,
    pub total: usize,
    /// Path and session of each data watch.
    pub entries: Vec<(Vec<u8>, SessionId)>,
}

/// A client core's full account.
#[derive(Clone, Debug, Default)]
pub struct ShardReport {
    pub shard: u16,
    pub connections: Vec<ConnReport>,
    pub watches: WatchDump,
    /// What was counted, when asked for.
    pub counts: Option<Box<ShardCounts>>,
}

impl Shard {
    /// What this core tells of what is asked for.
    pub(super) fn report(&self, asked: &dyn Report) -> ShardReport {
        let counts = asked.wants_counts().then(|| self.counts.clone());
        if !asked.wants_lists() {
            return ShardReport { shard: self.id, counts, ..ShardReport::default() };
        }
        let connections = self.conns.iter().filter(|(_, conn)| !conn.is_closing());
        let connections = connections.map(|(_, conn)| {
            let session = conn.session();
            ConnReport {
                peer: conn.peer,
                queued: conn.writes.len(),
                stats: *conn.stats,
                session: session.map(|active| active.session),
                timeout_ms: session.map_or(0, |active| active.timeout_ms),
                established: session.map_or(0, |active| active.established),
                is_command: conn.is_sessionless(),
                idle_ms: self.now - conn.last_heard,
            }
        });
        ShardReport {
            shard: self.id,
            connections: connections.collect(),
            watches: self.watch_dump(),
            counts,
        }
    }

    fn watch_dump(&self) -> WatchDump {
        let mut entries = Vec::new();
        for (path, watchers) in self.watches.by_path() {
            for watcher in watchers {
                let session = self.conns.get(watcher).and_then(|conn| conn.session());
                if let Some(active) = session {
                    entries.push((path.to_vec(), active.session));
                }
            }
        }
        WatchDump {
            watchers: self.watches.data_watchers(),
            paths: self.watches.data_paths(),
            total: self.watches.data_watches(),
            entries,
        }
    }

    /// Publishes the gauges that change with connections and watches.
    pub fn publish_gauges(&self) {
        let counters = &self.links.counters;
        counters.connections.store(self.conns.len(), Ordering::Relaxed);
        counters.watches.store(self.watches.watches(), Ordering::Relaxed);
    }

    /// `crst`: forgets what connections have done so far.
    pub fn reset_connection_stats(&mut self) {
        for key in self.conns.keys() {
            if let Some(conn) = self.conns.get_mut(key) {
                let reset = ConnStats { last_op_reset: true, last_xid: None, ..Default::default() };
                *conn.stats = reset;
            }
        }
    }
}
