//! Watch fan-out: many sessions watch one znode, one session changes it.

use std::net::SocketAddr;

use ringkeeper::wire::request::{PathWatchRequest, SetDataRequest};
use ringkeeper::wire::{JuteWrite, OpCode};

use crate::clock::{SECOND_NS, now_ns};
use crate::error::{Error, Result};
use crate::fleet::Fleet;
use crate::keys::KeySpace;
use crate::pump::{create_keys, match_reply, pump};
use crate::report::{Latencies, Object, clamp_latency, latencies};
use crate::run::readings;

pub struct FanOut {
    pub addrs: Vec<SocketAddr>,
    pub watchers: usize,
    pub session_timeout_ms: i32,
    /// A persistent watch per session (addWatch) instead of a one-shot one armed again by each
    /// reader.
    pub persistent: bool,
    pub value: Vec<u8>,
    pub warmup_ns: u64,
    pub measure_ns: u64,
}

const ROUND_LIMIT_NS: u64 = 30 * SECOND_NS;
const TAG_ARM: u8 = 1;

/// Where a change is on its way to the watchers. The setter is the last connection of the fleet.
struct Round {
    sent_ns: u64,
    events: usize,
    armed: usize,
    set_done: bool,
}

/// What the rounds showed.
struct Seen {
    each: Latencies,
    last: Latencies,
    set: Latencies,
}

impl FanOut {
    /// Sets the znode again and again, each time when every watcher has had its event and is armed
    /// again.
    pub fn run(&self, server: Option<&str>, object: &mut Object) -> Result<()> {
        let timeout_ms = Some(self.session_timeout_ms);
        let mut fleet = Fleet::assemble(&self.addrs, self.watchers + 1, timeout_ms)?;
        let keys = KeySpace { root: "/zkload-watch".into(), count: 1, path_bytes: 0 };
        create_keys(&mut fleet, &keys, &self.value, 1, 1)?;
        let mut path = Vec::new();
        keys.write_key(0, &mut path);
        self.arm_all(&mut fleet, &path)?;
        let mut seen = Seen { each: latencies(), last: latencies(), set: latencies() };
        let warm_ns = now_ns() + self.warmup_ns;
        while now_ns() < warm_ns {
            self.round(&mut fleet, &path, &mut seen)?;
        }
        seen.each.clear();
        seen.last.clear();
        seen.set.clear();
        let (before, client_before) = readings(server)?;
        let start_ns = now_ns();
        while now_ns() < start_ns + self.measure_ns {
            self.round(&mut fleet, &path, &mut seen)?;
        }
        let seconds = (now_ns() - start_ns) as f64 / 1e9;
        let (after, client_after) = readings(server)?;
        let events = seen.each.len();
        object.integer("watchers", self.watchers as u64);
        object.number("seconds", seconds);
        object.integer("changes", seen.last.len());
        object.number("ops_per_second", events as f64 / seconds);
        object.latency("latency_us", &seen.each);
        object.latency("last_watcher_latency_us", &seen.last);
        object.latency("set_latency_us", &seen.set);
        if server.is_some() {
            object.usage("server", before, after, seconds, events);
        }
        object.usage("client", client_before, client_after, seconds, events);
        fleet.close_sessions()
    }

    fn arm_all(&self, fleet: &mut Fleet, path: &[u8]) -> Result<()> {
        let mut queued = 0;
        let setter = self.watchers;
        let arm = |conn: &mut crate::fleet::Conn| {
            queued += 1;
            if queued > setter {
                return false;
            }
            if self.persistent {
                conn.request(OpCode::AddWatch, 0, TAG_ARM, |out| {
                    out.put_buffer(Some(path));
                    out.put_int(0);
                });
            } else {
                let body = PathWatchRequest { path: Some(path), watch: true };
                conn.request(OpCode::GetData, 0, TAG_ARM, |out| body.encode(out));
            }
            true
        };
        // One request per connection and no second one: the pump stops before it reaches the
        // setter.
        pump(fleet, 1, arm, |header, _| match header.err {
            0 => Ok(()),
            err => Err(Error::Protocol(format!("arming a watch answered {err}"))),
        })
    }

    fn round(&self, fleet: &mut Fleet, path: &[u8], seen: &mut Seen) -> Result<()> {
        let setter = self.watchers;
        let mut round = Round { sent_ns: now_ns(), events: 0, armed: 0, set_done: false };
        let body = SetDataRequest { path: Some(path), data: Some(&self.value), version: -1 };
        fleet.conn(setter).request(OpCode::SetData, round.sent_ns, 0, |out| body.encode(out));
        fleet.flush(setter)?;
        let read = PathWatchRequest { path: Some(path), watch: true };
        while !self.is_over(&round) {
            fleet.turn(SECOND_NS / 20, |conn, arrival| {
                let latency = clamp_latency(arrival.now_ns.saturating_sub(round.sent_ns));
                match match_reply(conn, arrival.frame)? {
                    None => {
                        round.events += 1;
                        seen.each.saturating_record(latency);
                        if round.events == self.watchers {
                            seen.last.saturating_record(latency);
                        }
                        if !self.persistent {
                            let now = arrival.now_ns;
                            conn.request(OpCode::GetData, now, TAG_ARM, |out| read.encode(out));
                        }
                    }
                    Some((pending, header, _)) if header.err == 0 => {
                        if pending.tag == TAG_ARM {
                            round.armed += 1;
                        } else {
                            round.set_done = true;
                            seen.set.saturating_record(latency);
                        }
                    }
                    Some((_, header, _)) => {
                        return Err(Error::Protocol(format!("answered {}", header.err)));
                    }
                }
                Ok(())
            })?;
            if now_ns() > round.sent_ns + ROUND_LIMIT_NS {
                return Err(Error::TimedOut("waiting for watch events"));
            }
        }
        Ok(())
    }

    fn is_over(&self, round: &Round) -> bool {
        let armed = self.persistent || round.armed == self.watchers;
        round.set_done && round.events == self.watchers && armed
    }
}
