//! Operations against a set of keys, closed loop or open loop.
//!
//! Closed loop: every connection always has W requests out; the rate is what the server makes of
//! it. Open loop: requests are due at fixed moments whatever the server does, and latency counts
//! from the moment a request was due, so that a stall is charged to every request it delayed (no
//! coordinated omission).

use std::collections::VecDeque;

use crate::clock::{SECOND_NS, now_ns};
use crate::error::{Error, Result};
use crate::fleet::{Arrival, Conn, Fleet};
use crate::mix::{Kind, Requests};
use crate::process::{Usage, usage, usage_of_cpu};
use crate::pump::match_reply;
use crate::report::{Latencies, Object, clamp_latency, latencies};

/// How hard, and for how long.
#[derive(Clone, Debug)]
pub struct Pace {
    pub in_flight: usize,
    /// Requests per second over all connections; `None` is a closed loop.
    pub rate: Option<f64>,
    pub warmup_ns: u64,
    pub measure_ns: u64,
}

/// After the window, how long answers to what was sent in it are waited for.
const DRAIN_LIMIT_NS: u64 = 20 * SECOND_NS;

/// What was seen of the requests that count.
struct Tally {
    by_kind: Vec<Latencies>,
    errors: u64,
    /// Requests that count: intended (open loop) or answered (closed loop) within these moments.
    from_ns: u64,
    until_ns: u64,
    open_loop: bool,
}

impl Tally {
    fn record(&mut self, tag: u8, intended_ns: u64, now_ns: u64, err: i32) {
        let moment = if self.open_loop { intended_ns } else { now_ns };
        if moment < self.from_ns || moment >= self.until_ns {
            return;
        }
        self.errors += u64::from(err != 0);
        let latency = clamp_latency(now_ns.saturating_sub(intended_ns));
        self.by_kind[tag as usize].saturating_record(latency);
    }

    fn count(&self) -> u64 {
        self.by_kind.iter().map(Latencies::len).sum()
    }
}

/// Moments at which requests are due, dealt to the connections in turn.
struct Schedule {
    interval_ns: f64,
    start_ns: u64,
    issued: u64,
}

impl Schedule {
    fn due_ns(&self) -> u64 {
        self.start_ns + (self.issued as f64 * self.interval_ns) as u64
    }
}

struct Run<'a> {
    requests: &'a mut Requests,
    in_flight: usize,
    tally: Tally,
    /// Open loop: what is due but has no room yet, by connection.
    backlog: Vec<VecDeque<u64>>,
    schedule: Option<Schedule>,
}

impl Run<'_> {
    /// An answer came: count it and put the next request in its place.
    fn on_frame(&mut self, conn: &mut Conn, arrival: Arrival<'_>) -> Result<()> {
        let Arrival { conn: index, frame, now_ns } = arrival;
        let (pending, err) = if self.requests.mix.contains(Kind::Echo) {
            let pending = conn.pending.pop_front();
            (pending.ok_or_else(|| Error::Protocol("an echo of nothing".into()))?, 0)
        } else {
            let Some((pending, header, _)) = match_reply(conn, frame)? else {
                return Ok(());
            };
            (pending, header.err)
        };
        self.tally.record(pending.tag, pending.intended_ns, now_ns, err);
        if self.schedule.is_none() {
            if now_ns < self.tally.until_ns {
                self.requests.queue_next(conn, now_ns);
            }
        } else if let Some(intended_ns) = self.backlog[index].pop_front() {
            self.requests.queue_next(conn, intended_ns);
        }
        Ok(())
    }

    /// Sends what the schedule says is due by now; answers how long until the next is.
    fn issue_due(&mut self, fleet: &mut Fleet) -> Result<u64> {
        let Some(schedule) = &mut self.schedule else {
            return Ok(SECOND_NS / 20);
        };
        let now = now_ns();
        let conns = fleet.conns.len();
        let first = schedule.issued as usize;
        while schedule.due_ns() <= now && schedule.due_ns() < self.tally.until_ns {
            let index = schedule.issued as usize % conns;
            let conn = fleet.conn(index);
            if conn.pending.len() < self.in_flight {
                self.requests.queue_next(conn, schedule.due_ns());
            } else {
                self.backlog[index].push_back(schedule.due_ns());
            }
            schedule.issued += 1;
        }
        let due_ns = schedule.due_ns();
        let issued = schedule.issued as usize;
        for step in first..issued.min(first + conns) {
            fleet.flush(step % conns)?;
        }
        Ok(if due_ns < self.tally.until_ns { due_ns.saturating_sub(now) } else { SECOND_NS / 20 })
    }

    fn run_until(&mut self, fleet: &mut Fleet, moment_ns: u64) -> Result<()> {
        while now_ns() < moment_ns {
            let wait_ns = self.issue_due(fleet)?.min(moment_ns.saturating_sub(now_ns()));
            fleet.turn(wait_ns, |conn, arrival| self.on_frame(conn, arrival))?;
        }
        Ok(())
    }

    fn drain(&mut self, fleet: &mut Fleet) -> Result<u64> {
        let deadline = now_ns() + DRAIN_LIMIT_NS;
        let waiting = |fleet: &Fleet, backlog: &[VecDeque<u64>]| {
            let pending =
                fleet.conns.iter().flatten().map(|conn| conn.pending.len()).sum::<usize>();
            pending + backlog.iter().map(VecDeque::len).sum::<usize>()
        };
        while waiting(fleet, &self.backlog) > 0 && now_ns() < deadline {
            fleet.turn(SECOND_NS / 20, |conn, arrival| self.on_frame(conn, arrival))?;
        }
        Ok(waiting(fleet, &self.backlog) as u64)
    }
}

/// Runs `requests` at `pace` and reports into `object`. `server` is the server's process id, if
/// known.
pub fn run(
    fleet: &mut Fleet,
    requests: &mut Requests,
    pace: &Pace,
    server: Option<&str>,
    object: &mut Object,
) -> Result<()> {
    let start_ns = now_ns();
    let from_ns = start_ns + pace.warmup_ns;
    let until_ns = from_ns + pace.measure_ns;
    let tally = Tally {
        by_kind: Kind::ALL.iter().map(|_| latencies()).collect(),
        errors: 0,
        from_ns,
        until_ns,
        open_loop: pace.rate.is_some(),
    };
    let schedule = pace.rate.map(|rate| Schedule {
        interval_ns: SECOND_NS as f64 / rate,
        start_ns,
        issued: 0,
    });
    let backlog = vec![VecDeque::new(); fleet.conns.len()];
    let mut run = Run { requests, in_flight: pace.in_flight, tally, backlog, schedule };
    if run.schedule.is_none() {
        for conn in fleet.conns.iter_mut().flatten() {
            (0..pace.in_flight).for_each(|_| run.requests.queue_next(conn, start_ns));
        }
        fleet.flush_all()?;
    }
    run.run_until(fleet, from_ns)?;
    let before = cpu_readings(server)?;
    let measured_from_ns = now_ns();
    run.run_until(fleet, until_ns)?;
    let after = cpu_readings(server)?;
    let measured_seconds = (now_ns() - measured_from_ns) as f64 / 1e9;
    let unanswered = run.drain(fleet)?;
    let client_after = after.1.with_memory("self")?;
    let tally = run.tally;
    let seconds = pace.measure_ns as f64 / 1e9;
    let ops = tally.count();
    object.number("seconds", seconds);
    object.integer("ops", ops);
    object.number("ops_per_second", ops as f64 / seconds);
    object.integer("errors", tally.errors);
    object.integer("unanswered", unanswered);
    let mut all = latencies();
    tally.by_kind.iter().for_each(|one| all += one);
    object.latency("latency_us", &all);
    for ((_, name), histogram) in Kind::ALL.iter().zip(&tally.by_kind) {
        if !histogram.is_empty() && histogram.len() < ops {
            object.latency(&format!("{name}_latency_us"), histogram);
        }
    }
    if let Some(pid) = server {
        object.usage("server", before.0, after.0.with_memory(pid)?, measured_seconds, ops);
    }
    object.usage("client", before.1, client_after, measured_seconds, ops);
    Ok(())
}

/// The server's and our own usage, in this order.
pub fn readings(server: Option<&str>) -> Result<(Usage, Usage)> {
    let server = server.map(usage).transpose()?.unwrap_or_default();
    Ok((server, usage("self")?))
}

/// As [`readings`], CPU only: for the edges of a window in which requests are on their way.
pub fn cpu_readings(server: Option<&str>) -> Result<(Usage, Usage)> {
    let server = server.map(usage_of_cpu).transpose()?.unwrap_or_default();
    Ok((server, usage_of_cpu("self")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_loop_counts_by_the_moment_a_request_was_due() {
        let mut tally = Tally {
            by_kind: Kind::ALL.iter().map(|_| latencies()).collect(),
            errors: 0,
            from_ns: 100,
            until_ns: 200,
            open_loop: true,
        };
        tally.record(0, 99, 150, 0);
        tally.record(0, 150, 5_000_150, -101);
        tally.record(0, 200, 210, 0);
        assert_eq!((tally.count(), tally.errors), (1, 1));
        assert!(tally.by_kind[0].max() >= 4_990_000);
        tally.open_loop = false;
        tally.record(0, 99, 150, 0);
        assert_eq!(tally.count(), 2);
    }

    #[test]
    fn the_schedule_does_not_drift() {
        let schedule = Schedule { interval_ns: 1e9 / 3.0, start_ns: 10, issued: 3_000_000 };
        assert_eq!(schedule.due_ns(), 10 + 1_000_000 * SECOND_NS);
    }
}
