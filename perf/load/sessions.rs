//! Runs about sessions rather than operations: many idle ones, and storms of new ones.

use std::net::SocketAddr;

use ringkeeper::wire::OpCode;

use crate::clock::{SECOND_NS, now_ns};
use crate::error::{Error, Result};
use crate::fleet::Fleet;
use crate::pump::match_reply;
use crate::report::{Latencies, Object, clamp_latency, latencies};
use crate::run::{cpu_readings, readings};

/// Many sessions that only ping.
pub struct Idle {
    pub addrs: Vec<SocketAddr>,
    pub sessions: usize,
    pub session_timeout_ms: i32,
    pub ping_every_ns: u64,
    /// Pinging before measuring, so that a server that compiles as it runs is not measured cold.
    pub warmup_ns: u64,
    pub measure_ns: u64,
}

impl Idle {
    /// Opens the sessions, then pings each in its turn, evenly spread, and reports what that costs
    /// the server.
    pub fn run(&self, server: Option<&str>, object: &mut Object) -> Result<()> {
        let (before, _) = readings(server)?;
        let opening_ns = now_ns();
        let timeout_ms = Some(self.session_timeout_ms);
        let mut fleet = Fleet::assemble(&self.addrs, self.sessions, timeout_ms)?;
        object.number("open_seconds", (now_ns() - opening_ns) as f64 / 1e9);
        let mut pings = Pings {
            start_ns: now_ns(),
            interval_ns: self.ping_every_ns as f64 / self.sessions as f64,
            issued: 0,
            histogram: latencies(),
        };
        let from_ns = pings.start_ns + self.warmup_ns;
        pings.run_until(&mut fleet, from_ns)?;
        pings.histogram.clear();
        let (steady_server, steady_client) = cpu_readings(server)?;
        pings.run_until(&mut fleet, from_ns + self.measure_ns)?;
        let histogram = pings.histogram;
        let (after, client_after) = readings(server)?;
        let seconds = self.measure_ns as f64 / 1e9;
        object.integer("sessions", self.sessions as u64);
        object.number("seconds", seconds);
        object.latency("latency_us", &histogram);
        if server.is_some() {
            object.usage("server", steady_server, after, seconds, histogram.len());
            object.integer("server_rss_before_bytes", before.rss_bytes);
            let grown = after.rss_bytes as f64 - before.rss_bytes as f64;
            object.number("rss_bytes_per_session", grown / self.sessions as f64);
        }
        object.usage("client", steady_client, client_after, seconds, histogram.len());
        fleet.close_sessions()
    }
}

/// Pings of all sessions in turn, evenly spread over time.
struct Pings {
    start_ns: u64,
    interval_ns: f64,
    issued: u64,
    histogram: Latencies,
}

impl Pings {
    fn due_ns(&self) -> u64 {
        self.start_ns + (self.issued as f64 * self.interval_ns) as u64
    }

    fn run_until(&mut self, fleet: &mut Fleet, until_ns: u64) -> Result<()> {
        while now_ns() < until_ns {
            while self.due_ns() <= now_ns() {
                let index = (self.issued % fleet.conns.len() as u64) as usize;
                fleet.conn(index).request(OpCode::Ping, self.due_ns(), 0, |_| {});
                fleet.flush(index)?;
                self.issued += 1;
            }
            let wait_ns = self.due_ns().min(until_ns).saturating_sub(now_ns());
            fleet.turn(wait_ns, |conn, arrival| {
                if let Some((pending, _, _)) = match_reply(conn, arrival.frame)? {
                    let latency = arrival.now_ns.saturating_sub(pending.intended_ns);
                    self.histogram.saturating_record(clamp_latency(latency));
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// New sessions, one after the other, a number of them at once.
pub struct Storm {
    pub addrs: Vec<SocketAddr>,
    pub sessions: usize,
    pub at_once: usize,
    pub session_timeout_ms: i32,
}

/// A storm without any progress for this long has failed.
const STORM_SILENCE_NS: u64 = 30 * SECOND_NS;

impl Storm {
    /// Connects, waits for the session, keeps it, and so on; closes them all at the end. Latency
    /// runs from the start of the connection to the server's answer that the session exists.
    pub fn run(&self, server: Option<&str>, object: &mut Object) -> Result<()> {
        let mut fleet = Fleet::new()?;
        let (before, client_before) = readings(server)?;
        let start_ns = now_ns();
        let mut histogram = latencies();
        let mut started_ns: Vec<u64> = Vec::with_capacity(self.sessions);
        let mut heard_ns = start_ns;
        while histogram.len() < self.sessions as u64 {
            let under_way = |done: u64, started: usize| started - done as usize;
            while started_ns.len() < self.sessions
                && under_way(histogram.len(), started_ns.len()) < self.at_once
            {
                let addr = self.addrs[started_ns.len() % self.addrs.len()];
                started_ns.push(now_ns());
                fleet.open(addr, Some(self.session_timeout_ms))?;
            }
            fleet.turn(SECOND_NS / 20, |_, arrival| {
                heard_ns = arrival.now_ns;
                let latency = arrival.now_ns - started_ns[arrival.conn];
                histogram.saturating_record(clamp_latency(latency));
                Ok(())
            })?;
            if now_ns() > heard_ns + STORM_SILENCE_NS {
                return Err(Error::TimedOut("storm: no new session came up"));
            }
        }
        let seconds = (now_ns() - start_ns) as f64 / 1e9;
        let (after, client_after) = readings(server)?;
        let ops = histogram.len();
        object.integer("sessions", ops);
        object.number("seconds", seconds);
        object.number("ops_per_second", ops as f64 / seconds);
        object.latency("latency_us", &histogram);
        if server.is_some() {
            object.usage("server", before, after, seconds, ops);
        }
        object.usage("client", client_before, client_after, seconds, ops);
        let closing_ns = now_ns();
        fleet.close_sessions()?;
        object.number("close_seconds", (now_ns() - closing_ns) as f64 / 1e9);
        Ok(())
    }
}
