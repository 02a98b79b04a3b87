//! The Zab core's loop: completions and messages in, one turn of the machine, submissions out.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use io_uring::{IoUring, opcode, types};

use super::counts::{CoreCounts, StallOptions, StallWatch, Waiting};
use super::net::{self, Datagram, Net, NetOptions};
use super::ports::{PortEvent, PortOptions, Ports};
use super::report::{ZabCounts, ZabReport};
use super::state::SharedState;
use super::world::World;
use super::{Disk, EventFd, SnapshotPolicy, WriteSnapshot};
use crate::base::tally::Tally;
use crate::base::{MonoMs, Sid, WallMs};
use crate::peer::{Fatal, LinkId, Peer};
use crate::pipeline::Mailbox;
use crate::pipeline::messages::{RequestBatch, ToShard, ToZab};
use crate::session::SessionBucket;
use crate::storage::LogError;
use crate::storage::log::Submit;
use crate::zab::links::Links;

/// The ring's tag of the eventfd read; the log and the sockets have their own ranges.
const WAKE: u64 = 1;

/// Milliseconds until a disk that is nearly full is announced again.
const SPACE_WARNING_MS: MonoMs = 10_000;

const STANDALONE_LOW: &str = "writes are refused until there is more room than \
     ringkeeper.disk.reserveBytes; reads go on, and sessions end as they should";
const MEMBER_LOW: &str = "free space, or the next write that does not fit stops this server \
     (nothing acknowledged is lost)";

/// Settings of the loop.
#[derive(Clone, Debug)]
pub struct CoreOptions {
    /// CPU to stay on.
    pub cpu: Option<usize>,
    /// How long to poll before sleeping.
    pub spin: Duration,
    pub ring_depth: u32,
    /// Transactions in one flush; more than that do not wait for `flush_delay`.
    pub flush_batch_max: usize,
    /// How long a flush waits for more to come.
    pub flush_delay: Duration,
    /// Milliseconds of a flush from which there is a warning.
    pub fsync_warning_ms: i64,
    /// Whether stalls of the loop are watched for.
    pub stalls: Option<StallOptions>,
}

/// Who this server is among others.
#[derive(Clone, Debug)]
pub struct Membership {
    pub me: Sid,
    /// `host:port` of each own election port, as the configuration has them.
    pub own_election_addresses: Vec<String>,
    /// Milliseconds until a connection must have said who it is.
    pub handshake_ms: i64,
    pub ports: PortOptions,
}

/// What the loop is made of.
pub struct CoreParts {
    pub peer: Peer,
    /// `None` on a standalone server.
    pub membership: Option<Membership>,
    pub disk: Disk,
    pub snapshots: SnapshotPolicy,
    pub write_snapshot: Arc<WriteSnapshot>,
    pub state: Arc<SharedState>,
    pub inbox: Arc<Mailbox<ToZab>>,
    pub wake: EventFd,
    pub shards: Vec<Arc<Mailbox<ToShard>>>,
    pub epoch: Instant,
}

/// Why the core ended.
#[derive(Debug)]
pub enum CoreExit {
    Stopped,
    /// The log is poisoned: what is on disk is not known.
    Log(LogError),
    Ring(io::Error),
    /// This server must not go on.
    Fatal(Fatal),
    /// A snapshot cannot be written.
    Snapshot,
}

impl From<Fatal> for CoreExit {
    fn from(fatal: Fatal) -> CoreExit {
        CoreExit::Fatal(fatal)
    }
}

/// Owned by its thread.
pub struct ZabCore {
    options: CoreOptions,
    peer: Peer,
    world: World,
    inbox: Arc<Mailbox<ToZab>>,
    wake: EventFd,
    epoch: Instant,
    ring: IoUring,
    wake_buffer: Box<u64>,
    wake_armed: bool,
    /// Links whose input could not be taken to its end.
    held_back: Vec<LinkId>,
    next_space_warning: MonoMs,
    space_warning: &'static str,
    counts: Box<CoreCounts>,
    /// What the flush under way began with.
    flushing: Option<Waiting>,
    stalls: Option<StallWatch>,
}

impl std::fmt::Debug for ZabCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ZabCore({:?})", self.peer.status(false))
    }
}

impl ZabCore {
    pub fn new(options: CoreOptions, parts: CoreParts) -> Result<ZabCore, String> {
        let ring = IoUring::builder().build(options.ring_depth);
        let ring = ring.map_err(|error| format!("the Zab core's ring: {error}"))?;
        let mut net_options = NetOptions::from(parts.wake.clone());
        // A packet with all that is around its data.
        let packet_bytes_max = parts.disk.record_bytes_max + (1 << 20);
        net_options.input_bytes_max = net_options.input_bytes_max.max(packet_bytes_max);
        let ports = parts.membership.as_ref().map(|membership| &membership.ports);
        net_options.keepalive = ports.is_some_and(|ports| ports.tcp_keepalive);
        let mut net = Net::new(net_options);
        let ports = match parts.membership {
            None => None,
            Some(membership) => {
                let known = membership.ports.members.keys().copied().collect();
                let Membership { me, own_election_addresses, handshake_ms, ports } = membership;
                let links = Links::new(me, own_election_addresses, known, handshake_ms);
                Some(Ports::open(ports, links, &mut net)?)
            }
        };
        let space_warning = if ports.is_some() { MEMBER_LOW } else { STANDALONE_LOW };
        let log = parts.disk.open_log().map_err(|fatal| fatal.to_string())?;
        let world = World {
            log: Some(log),
            disk: parts.disk,
            net,
            ports,
            port_events: Vec::new(),
            shards: parts.shards,
            snapshots: parts.snapshots,
            snapshot_state: Arc::default(),
            snapshot_due: false,
            space_low: false,
            write_snapshot: parts.write_snapshot,
            state: parts.state,
            flush_waits: None,
            stopping: false,
        };
        Ok(ZabCore {
            stalls: options.stalls.map(StallWatch::new),
            options,
            peer: parts.peer,
            world,
            inbox: parts.inbox,
            wake: parts.wake,
            epoch: parts.epoch,
            ring,
            wake_buffer: Box::new(0),
            wake_armed: false,
            held_back: Vec::new(),
            next_space_warning: 0,
            space_warning,
            counts: Box::default(),
            flushing: None,
        })
    }

    /// Runs until it is told to stop or cannot go on.
    pub fn run(mut self) -> CoreExit {
        if let Some(cpu) = self.options.cpu {
            pin(cpu);
        }
        self.peer.set_time(self.mono_ms(), wall_ms());
        if let Err(fatal) = self.peer.start(&mut self.world) {
            return fatal.into();
        }
        loop {
            if let Err(exit) = self.turn() {
                // A poisoned log says more than what failed because of it.
                return self.world.log_error().map_or(exit, CoreExit::Log);
            }
            let in_flight = self.world.log.as_ref().is_some_and(|log| log.in_flight());
            if self.peer.is_stopping() && self.peer.is_idle() && !in_flight {
                return CoreExit::Stopped;
            }
            if let Err(error) = self.wait() {
                return CoreExit::Ring(error);
            }
        }
    }

    fn mono_ms(&self) -> MonoMs {
        crate::base::time::mono_ms(self.epoch, Instant::now())
    }

    fn turn(&mut self) -> Result<(), CoreExit> {
        let now = self.mono_ms();
        self.peer.set_time(now, wall_ms());
        self.world.net.set_now(now);
        self.look_at_stalls(now);
        self.take_completions()?;
        self.look_at_space(now);
        self.take_port_events(now)?;
        self.take_inbox()?;
        self.peer.set_heard_everything(self.inbox.is_empty());
        self.end_turn()?;
        self.take_port_events(now)?;
        self.submit()?;
        if self.world.snapshot_state.failed.load(Ordering::Acquire) {
            return Err(CoreExit::Snapshot);
        }
        Ok(())
    }

    /// Proposes, then commits, and counts how long each took.
    fn end_turn(&mut self) -> Result<(), CoreExit> {
        let (before, started) = (self.peer.progress(), Instant::now());
        self.peer.propose(&mut self.world)?;
        let proposed = self.peer.progress();
        let mut middle = started;
        if proposed != before {
            middle = Instant::now();
            self.counts.proposed(&before, &proposed, middle - started);
        }
        self.peer.conclude(&mut self.world)?;
        let applied = self.peer.progress().applied - proposed.applied;
        if applied > 0 {
            self.counts.applied(applied, middle.elapsed());
        }
        Ok(())
    }

    fn look_at_stalls(&mut self, now: MonoMs) {
        if let Some(watch) = &mut self.stalls
            && let Some(stalled) = watch.turn(now)
        {
            self.counts.stall_ms.add(stalled);
            watch.tell(stalled);
        }
    }

    fn take_inbox(&mut self) -> Result<(), CoreExit> {
        while self.peer.takes_messages() && !self.peer.is_stopping() {
            let Some(message) = self.inbox.pop() else { return Ok(()) };
            match message {
                ToZab::Report(report) => {
                    report.add(Box::new(self.report(report.wants_lists(), report.wants_counts())));
                }
                ToZab::ResetCounts => {
                    *self.counts = CoreCounts::default();
                    *self.world.snapshot_state.took_ms() = Tally::default();
                    self.world.net.reset_counts();
                    self.peer.reset_counts();
                }
                message @ (ToZab::Requests(_) | ToZab::CreateSession { .. }) => {
                    self.take_request(message);
                }
                ToZab::SnapshotAdopted(Ok(())) => {
                    self.world.log = Some(self.world.disk.open_log()?);
                    self.peer.snapshot_adopted(&mut self.world)?;
                }
                ToZab::SnapshotAdopted(Err(why)) => {
                    let text = format!("the leader's snapshot cannot be put in place: {why}");
                    return Err(Fatal::Snapshot(text).into());
                }
                ToZab::Shutdown => {
                    self.world.stopping = true;
                    self.peer.message(&mut self.world, ToZab::Shutdown);
                }
                message => self.peer.message(&mut self.world, message),
            }
        }
        Ok(())
    }

    /// What a leader makes transactions of, and a learner forwards.
    fn take_request(&mut self, message: ToZab) {
        let (count, sent_at) = match &message {
            ToZab::Requests(RequestBatch { requests, sent_at, .. }) => {
                (requests.len(), Some(*sent_at))
            }
            _ => (1, None),
        };
        if !self.peer.is_leading() {
            self.counts.forward_queue_size.add(count as i64);
            return self.peer.message(&mut self.world, message);
        }
        let (before, started) = (self.peer.progress(), Instant::now());
        let waited_ms =
            sent_at.map_or(0, |at| crate::base::time::mono_ms(self.epoch, started) - at);
        self.peer.message(&mut self.world, message);
        self.counts.prepared(&before, &self.peer.progress(), waited_ms, started.elapsed());
    }

    /// What has happened on the ports, until nothing more does.
    fn take_port_events(&mut self, now: MonoMs) -> Result<(), CoreExit> {
        let World { ports: Some(_), .. } = &self.world else { return Ok(()) };
        for link in std::mem::take(&mut self.held_back) {
            self.link_input(link)?;
        }
        loop {
            let (before, instant) = (self.peer.progress(), Instant::now());
            while let Some(event) = self.world.net.poll_event(instant) {
                let looking = self.peer.is_looking();
                let World { ports: Some(ports), net, port_events, .. } = &mut self.world else {
                    break;
                };
                ports.event(net, event, now, looking, port_events);
            }
            while let Some(Datagram { socket, from, bytes }) = self.world.net.poll_datagram() {
                if let Some(answer) = self.peer.datagram(&mut self.world, &bytes)? {
                    self.world.net.send_datagram(socket, from, &answer);
                }
            }
            if let World { ports: Some(ports), net, port_events, .. } = &mut self.world {
                ports.tick(net, now, port_events);
            }
            let events = std::mem::take(&mut self.world.port_events);
            if events.is_empty() {
                return Ok(());
            }
            for event in events {
                self.port_event(event)?;
            }
            let prepared = self.peer.progress();
            if prepared != before {
                self.counts.prepared(&before, &prepared, 0, instant.elapsed());
            }
        }
    }

    fn port_event(&mut self, event: PortEvent) -> Result<(), CoreExit> {
        match event {
            PortEvent::Vote { from, body } => self.peer.vote(&mut self.world, from, &body)?,
            PortEvent::Unreachable(sid) => self.peer.unreachable(&mut self.world, sid)?,
            PortEvent::LinkUp(link) => self.peer.link_up(&mut self.world, link),
            PortEvent::LinkDown(link, why) => self.peer.link_down(&mut self.world, link, &why)?,
            PortEvent::LinkInput(link) => self.link_input(link)?,
        }
        Ok(())
    }

    fn link_input(&mut self, link: LinkId) -> Result<(), CoreExit> {
        let input = self.world.net.take_input(link.0);
        if input.is_empty() {
            return Ok(());
        }
        let taken = self.peer.link_input(&mut self.world, link, &input)?;
        // A packet that is not all there is offered again with what comes; a machine that waits for its disk is asked
        // again by itself.
        if taken < input.len() && self.peer.holds_back(link) {
            self.held_back.push(link);
        }
        self.world.net.give_back(link.0, input, taken);
        Ok(())
    }

    /// Sockets first: what goes to followers leaves together with the write to the own log.
    fn submit(&mut self) -> Result<(), CoreExit> {
        while !self.world.net.submit(&mut self.ring.submission()) {
            self.ring.submit().map_err(CoreExit::Ring)?;
        }
        if self.flush_may_wait() {
            return Ok(());
        }
        let Some(log) = &mut self.world.log else { return Ok(()) };
        if !log.pending() || log.in_flight() {
            return Ok(());
        }
        let waiting = self.world.flush_waits.take();
        loop {
            let submit = {
                let mut queue = self.ring.submission();
                log.submit_flush(&mut queue).map_err(CoreExit::Log)?
            };
            if submit == Submit::Queued
                && let Some(waiting) = waiting
            {
                self.counts.submitted(&waiting);
                self.flushing = Some(waiting);
            }
            // Alone, the write leaves with the call that waits for it.
            let waits = submit == Submit::Queued && self.inbox.is_empty();
            if submit == Submit::Nothing || (waits && self.options.spin.is_zero()) {
                return Ok(());
            }
            self.ring.submit().map_err(CoreExit::Ring)?;
            if submit != Submit::RingFull {
                return Ok(());
            }
        }
    }

    /// Whether the profile lets this flush wait for company.
    fn flush_may_wait(&self) -> bool {
        let Some(Waiting { since, count }) = self.world.flush_waits else { return false };
        count < self.options.flush_batch_max
            && since.elapsed() < self.options.flush_delay
            && !self.world.stopping
    }

    fn take_completions(&mut self) -> Result<(), CoreExit> {
        loop {
            let Some(entry) = self.ring.completion().next() else { return Ok(()) };
            let (data, res) = (entry.user_data(), entry.result());
            if data == WAKE {
                self.wake_armed = false;
                continue;
            }
            if net::owns(data) {
                self.world.net.complete(data, res);
                continue;
            }
            let Some(log) = &mut self.world.log else { continue };
            match log.complete(data, res) {
                None => {}
                Some(Ok(flushed)) => {
                    self.counts.flushed(flushed.micros, self.flushing.take());
                    self.warn_of_slow_flush(flushed.micros);
                    self.peer.logged(flushed.up_to);
                }
                Some(Err(error)) => return Err(CoreExit::Log(error)),
            }
        }
    }

    fn warn_of_slow_flush(&self, micros: u64) {
        let ms = (micros / 1000) as i64;
        if ms > self.options.fsync_warning_ms {
            tracing::warn!(
                "fsync-ing the write ahead log took {ms}ms which will adversely effect operation \
                 latency; is the disk shared, or failing?"
            );
        }
    }

    /// A full disk is announced, and on a standalone server closed to writers, before it is full. The look costs a
    /// load, so it is taken in every turn.
    fn look_at_space(&mut self, now: MonoMs) {
        let Some(log) = &self.world.log else { return };
        let was_low = self.world.space_low;
        let low = if was_low { !log.space_ample() } else { log.space_low() };
        if low && (!was_low || now >= self.next_space_warning) {
            self.next_space_warning = now + SPACE_WARNING_MS;
            tracing::error!("the disk of the log is nearly full: {}", self.space_warning);
        }
        if was_low && !low {
            tracing::info!("the disk of the log has room again: writes are taken");
        }
        self.world.space_low = low;
        self.peer.set_space_low(low);
    }

    /// Sleeps until a completion, a wake-up or the next thing to do by the clock.
    fn wait(&mut self) -> io::Result<()> {
        self.arm_wake()?;
        let started = Instant::now();
        while !self.options.spin.is_zero() && started.elapsed() < self.options.spin {
            if !self.inbox.is_empty() || !self.ring.completion().is_empty() {
                return Ok(());
            }
            std::hint::spin_loop();
        }
        if !self.inbox.prepare_sleep() {
            // With too much outstanding the inbox waits for the log, not the other way round.
            if self.peer.takes_messages() {
                return self.ring.submit().map(|_| ());
            }
        }
        let timeout = self.time_to_next();
        if let Some(watch) = &mut self.stalls {
            watch.sleeps(crate::base::time::mono_ms(self.epoch, Instant::now()), timeout);
        }
        let timeout = types::Timespec::from(timeout);
        let args = types::SubmitArgs::new().timespec(&timeout);
        let slept = self.ring.submitter().submit_with_args(1, &args);
        self.inbox.awake();
        match slept {
            Ok(_) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ETIME) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn time_to_next(&self) -> Duration {
        if self.peer.is_held_up() || !self.held_back.is_empty() {
            return Duration::from_micros(200);
        }
        if self.flush_may_wait() {
            return self.options.flush_delay;
        }
        let now = self.mono_ms();
        let ports = self.world.ports.as_ref().and_then(Ports::next_due).unwrap_or(MonoMs::MAX);
        let due = self.peer.next_due().min(ports);
        let wait = Duration::from_millis((due - now).clamp(1, 1000) as u64);
        match self.world.net.next_due() {
            Some(at) => wait.min(at.saturating_duration_since(Instant::now())),
            None => wait,
        }
        .max(Duration::from_micros(100))
    }

    fn arm_wake(&mut self) -> io::Result<()> {
        if self.wake_armed {
            return Ok(());
        }
        let buffer: *mut u64 = &mut *self.wake_buffer;
        let fd = types::Fd(self.wake.raw());
        let read = opcode::Read::new(fd, buffer.cast(), size_of::<u64>() as u32).build();
        // SAFETY: the buffer is boxed and lives as long as the ring; only one read of it is in flight at a time.
        unsafe { self.ring.submission().push(&read.user_data(WAKE)) }
            .map_err(|_| io::Error::other("the Zab core's submission queue is full"))?;
        self.wake_armed = true;
        Ok(())
    }

    fn report(&mut self, lists: bool, counts: bool) -> ZabReport {
        let stats = self.world.log.as_ref().map_or_else(Default::default, |log| log.stats());
        let status = self.peer.status(lists);
        let (now, wall) = (self.mono_ms(), wall_ms());
        let expiry = |buckets: Vec<SessionBucket>| {
            let buckets = buckets.into_iter();
            buckets.map(|bucket| (wall + (bucket.due - now), bucket.sessions)).collect()
        };
        let (global, local) = match lists {
            true => (self.peer.session_buckets(), self.peer.local_session_buckets()),
            false => (Vec::new(), Vec::new()),
        };
        let snapshots_ms = *self.world.snapshot_state.took_ms();
        ZabReport {
            expiry: expiry(global),
            local_expiry: expiry(local),
            snapshots_ms,
            counts: counts.then(|| self.counted()),
            log_bytes: stats.appended_bytes,
            uptime_ms: now,
            peer: status,
        }
    }

    fn counted(&mut self) -> Box<ZabCounts> {
        Box::new(ZabCounts {
            core: CoreCounts::clone(&self.counts),
            peer: self.peer.counts(),
            queues: self.world.net.counts().clone(),
        })
    }
}

fn wall_ms() -> WallMs {
    crate::base::time::wall_ms(SystemTime::now())
}

/// Keeps the calling thread on one CPU; a CPU that is not there is only worth a warning.
fn pin(cpu: usize) {
    // SAFETY: the set is a plain bit array of its own size, initialised to zero.
    let failed = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) != 0
    };
    if failed {
        let error = io::Error::last_os_error();
        tracing::warn!("the Zab core cannot stay on CPU {cpu}: {error}");
    }
}
