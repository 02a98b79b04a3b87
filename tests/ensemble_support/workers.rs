//! Clients of a load, each with a session of its own, and what each records.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringkeeper::base::prng::Prng;

use super::client::{Answer, EnsembleClient, Trouble};
use super::history::{
    CreateOutcome, Created, History, Life, NEVER, RegisterOp, Seen, Sighting, Timed, Watched,
};

/// What the clients of one load share.
pub struct Shared {
    pub servers: Vec<SocketAddr>,
    pub start: Instant,
    pub stop: AtomicBool,
    pub registers: usize,
    pub timeout: Duration,
    pub pause: Duration,
    /// Whether a read after a sync counts as the newest. A leader that is cut off answers a sync until it notices,
    /// so where links are cut a fence (a write of the same session before the read) does what sync cannot.
    pub trust_sync: bool,
    /// The values of registers: none is written twice.
    pub next_value: AtomicU64,
}

const EPHEMERAL: i32 = 1;
const SEQUENTIAL: i32 = 2;
const BAD_VERSION: i32 = -103;
const NODE_EXISTS: i32 = -110;

pub fn register_path(register: usize) -> String {
    format!("/registers/{register}")
}

fn number(data: &[u8]) -> u64 {
    std::str::from_utf8(data).ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)
}

/// One client of a load.
pub struct Worker<'a> {
    pub shared: &'a Shared,
    pub number: usize,
    pub rng: Prng,
    pub history: History,
    client: EnsembleClient,
}

impl<'a> Worker<'a> {
    /// Opens the session.
    pub fn new(shared: &'a Shared, number: usize, seed: u64) -> Worker<'a> {
        let rng = Prng::new(seed ^ (number as u64) << 32);
        let client = Worker::session(shared, seed + number as u64);
        Worker { shared, number, rng, history: History::default(), client }
    }

    fn session(shared: &Shared, seed: u64) -> EnsembleClient {
        EnsembleClient::open(&shared.servers, shared.timeout, seed)
            .unwrap_or_else(|trouble| panic!("no session on the ensemble: {trouble:?}"))
    }

    fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    fn at(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.shared.start).as_nanos() as u64
    }

    fn stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    fn rest(&self) {
        std::thread::sleep(self.shared.pause);
    }

    /// A session that expired is replaced by a new one.
    fn renew(&mut self) {
        self.history.expired_sessions += 1;
        self.history.reconnects += self.client.reconnects;
        let seed = self.rng.next_u64();
        self.client = Worker::session(self.shared, seed);
    }

    fn after(&mut self, trouble: &Trouble) {
        if *trouble == Trouble::Expired {
            self.renew();
        }
    }

    fn saw(&mut self, answer: &Answer, register: Option<(usize, i32)>) {
        let seen = Seen {
            client: self.number,
            session: self.client.id,
            at: self.now(),
            zxid: answer.zxid,
            register,
        };
        self.history.seen.push(seen);
    }

    fn record(&mut self, register: usize, call: u64, ret: u64, op: RegisterOp) {
        self.history.registers.push((register, Timed { client: self.number, call, ret, op }));
    }

    /// Sets, conditional sets, plain reads and reads that must be the newest, on registers drawn at random.
    pub fn work_on_registers(&mut self) {
        let mut versions: BTreeMap<usize, i32> = BTreeMap::new();
        while !self.stopped() {
            let register = self.rng.below(self.shared.registers as u64) as usize;
            match self.rng.below(10) {
                0..4 => self.set(register, -1, &mut versions),
                4..6 => {
                    let expected = versions.get(&register).copied().unwrap_or(0);
                    self.set(register, expected, &mut versions);
                }
                6..8 => self.read(register, &mut versions),
                _ => self.read_newest(register, &mut versions),
            }
            self.rest();
        }
    }

    fn set(&mut self, register: usize, expected: i32, versions: &mut BTreeMap<usize, i32>) {
        let value = self.shared.next_value.fetch_add(1, Ordering::Relaxed);
        let path = register_path(register);
        let call = self.now();
        match self.client.set(&path, value.to_string().as_bytes(), expected) {
            Ok(answer) => {
                let ret = self.now();
                let op = match answer.err {
                    0 => {
                        let version = answer.stat().version;
                        versions.insert(register, version);
                        self.saw(&answer, Some((register, version)));
                        RegisterOp::Set { value, version }
                    }
                    BAD_VERSION => {
                        self.saw(&answer, None);
                        RegisterOp::Refused { expected }
                    }
                    err => panic!("setData answered {err}"),
                };
                self.record(register, call, ret, op);
            }
            Err(trouble) => {
                if trouble != Trouble::Unsent {
                    self.record(register, call, NEVER, RegisterOp::Unknown { value, expected });
                }
                self.after(&trouble);
            }
        }
    }

    fn get(
        &mut self,
        register: usize,
        watch: bool,
        versions: &mut BTreeMap<usize, i32>,
    ) -> Option<(u64, i32)> {
        match self.client.get(&register_path(register), watch) {
            Ok(answer) => {
                assert_eq!(answer.err, 0, "getData of a register");
                let (data, stat) = answer.data();
                versions.insert(register, stat.version);
                self.saw(&answer, Some((register, stat.version)));
                Some((number(&data), stat.version))
            }
            Err(trouble) => {
                self.after(&trouble);
                None
            }
        }
    }

    /// A read that may be old, but not older than what the session saw.
    fn read(&mut self, register: usize, versions: &mut BTreeMap<usize, i32>) {
        self.get(register, false, versions);
    }

    /// A read that must be the newest. It counts only if fence and read ran on one connection.
    fn read_newest(&mut self, register: usize, versions: &mut BTreeMap<usize, i32>) {
        let call = self.now();
        let session = self.client.id;
        let path = register_path(register);
        let fenced = if self.shared.trust_sync {
            self.client.sync(&path)
        } else {
            self.client.set("/fence", b"", -1)
        };
        match fenced {
            Ok(answer) => {
                assert_eq!(answer.err, 0, "the fence");
                self.saw(&answer, None);
                let before = self.client.reconnects;
                let Some((value, version)) = self.get(register, false, versions) else {
                    return;
                };
                // A write is behind the session wherever it goes; a sync is only where it was made.
                let kept = self.client.reconnects == before || !self.shared.trust_sync;
                if kept && self.client.id == session {
                    self.record(register, call, self.now(), RegisterOp::Read { value, version });
                }
            }
            Err(trouble) => self.after(&trouble),
        }
    }

    /// Sequential creates, each with a token of its own as data.
    pub fn create_in_sequence(&mut self) {
        let mut serial = 0;
        while !self.stopped() {
            serial += 1;
            let token = format!("{}.{serial}", self.number);
            match self.client.create("/sequence/n-", token.as_bytes(), SEQUENTIAL) {
                Ok(answer) => {
                    self.saw(&answer, None);
                    let outcome = match answer.err {
                        0 => CreateOutcome::Acknowledged(answer.path()),
                        err => CreateOutcome::Refused(err),
                    };
                    self.history.created.push(Created { client: self.number, token, outcome });
                }
                Err(trouble) => {
                    if trouble != Trouble::Unsent {
                        let outcome = CreateOutcome::Unknown;
                        self.history.created.push(Created { client: self.number, token, outcome });
                    }
                    self.after(&trouble);
                }
            }
            self.rest();
        }
    }

    /// Holds one ephemeral and looks whether it is there; and leaves others behind, looking how they go.
    pub fn hold_ephemerals(&mut self, abandon_timeout: Duration) {
        let mut held = self.new_ephemeral("held");
        let mut abandoned: Vec<usize> = Vec::new();
        let mut last_left = Instant::now();
        while !self.stopped() {
            if held.is_none() {
                held = self.new_ephemeral("held");
            }
            if abandoned.is_empty() || last_left.elapsed() > abandon_timeout * 2 {
                abandoned.extend(self.leave_one_behind(abandon_timeout));
                last_left = Instant::now();
            }
            let index = held.iter().chain(&abandoned).copied().collect::<Vec<usize>>();
            for life in index {
                self.look_at(life);
            }
            if let Some(life) = held {
                self.history.lives[life].last_answer = self.at(self.client.last_answer);
            }
            self.rest();
        }
        // The owner's last word is yet to come: whoever judges calls `finish`.
        if let Some(life) = held {
            self.history.lives[life].last_word = self.now();
            self.history.lives[life].closed = true;
        }
    }

    fn new_ephemeral(&mut self, name: &str) -> Option<usize> {
        let serial = self.shared.next_value.fetch_add(1, Ordering::Relaxed);
        let path = format!("/ephemerals/{name}-{}-{serial}", self.number);
        match self.client.create(&path, b"", EPHEMERAL) {
            Ok(answer) => {
                assert_eq!(answer.err, 0, "create {path}");
                let now = self.now();
                self.history.lives.push(Life {
                    path,
                    timeout_ns: self.client.timeout.as_nanos() as u64,
                    born: now,
                    last_word: NEVER,
                    closed: false,
                    told_expired: None,
                    last_answer: now,
                });
                Some(self.history.lives.len() - 1)
            }
            Err(trouble) => {
                self.after(&trouble);
                None
            }
        }
    }

    /// A session of its own makes an ephemeral and falls silent.
    fn leave_one_behind(&mut self, timeout: Duration) -> Option<usize> {
        let serial = self.shared.next_value.fetch_add(1, Ordering::Relaxed);
        let path = format!("/ephemerals/left-{}-{serial}", self.number);
        let seed = self.rng.next_u64();
        let mut owner = EnsembleClient::open(&self.shared.servers, timeout, seed).ok()?;
        let answer = owner.create(&path, b"", EPHEMERAL).ok()?;
        assert_eq!(answer.err, 0, "create {path}");
        self.history.lives.push(Life {
            path,
            timeout_ns: owner.timeout.as_nanos() as u64,
            born: self.now(),
            last_word: self.at(owner.last_word),
            closed: false,
            told_expired: None,
            last_answer: self.at(owner.last_answer),
        });
        Some(self.history.lives.len() - 1)
    }

    fn look_at(&mut self, life: usize) {
        let path = self.history.lives[life].path.clone();
        let call = self.now();
        let session = self.client.id;
        // A write of this session goes before the look, so that a server which lags behind cannot be asked.
        let seen = self.client.set("/fence", b"", -1).and_then(|_| self.client.exists(&path));
        match seen {
            Ok(there) => {
                let ret = self.now();
                self.history.sightings.push(Sighting { path, call, ret, there, last: false });
            }
            Err(trouble) => {
                if trouble == Trouble::Expired {
                    self.bury(session);
                }
                self.after(&trouble);
            }
        }
    }

    /// The held ephemerals of a session that was declared expired.
    fn bury(&mut self, _session: i64) {
        let now = self.now();
        for life in self.history.lives.iter_mut().filter(|life| life.last_word == NEVER) {
            life.told_expired = Some(now);
            life.last_word = life.last_answer;
        }
    }

    /// One session with data watches on all registers.
    pub fn watch_registers(&mut self) {
        let mut heard: Vec<Watched> = Vec::new();
        let mut versions = BTreeMap::new();
        let mut session = self.client.id;
        while !self.stopped() {
            for register in 0..self.shared.registers {
                let armed = heard.iter().rev().find_map(|one| match one {
                    Watched::Armed { register: r, .. } if *r == register => Some(true),
                    Watched::Event { register: r } if *r == register => Some(false),
                    _ => None,
                });
                let watch = armed != Some(true);
                let shown = self.get(register, watch, &mut versions);
                if self.client.id != session {
                    let old = std::mem::replace(&mut session, self.client.id);
                    self.history.watched.push((old, std::mem::take(&mut heard)));
                    continue;
                }
                for path in std::mem::take(&mut self.client.events) {
                    let name = path.rsplit('/').next().unwrap_or_default();
                    let register = name.parse().expect("an event for a register");
                    heard.push(Watched::Event { register });
                }
                if let Some((_, version)) = shown {
                    heard.push(match watch {
                        true => Watched::Armed { register, version },
                        false => Watched::Read { register, version },
                    });
                }
            }
            self.rest();
        }
        self.history.watched.push((session, heard));
    }

    /// Closes the session and hands over what was recorded.
    pub fn finish(mut self) -> History {
        let deadline = Instant::now() + super::PATIENCE;
        while let Err(trouble) = self.client.close() {
            if trouble == Trouble::Expired {
                break;
            }
            // A session that was closed without our hearing it comes back as expired.
            assert!(Instant::now() < deadline, "a session that cannot be closed: {trouble:?}");
        }
        self.history.reconnects += self.client.reconnects;
        self.history
    }
}

/// Makes what the workers work on.
pub fn prepare(client: &mut EnsembleClient, registers: usize) {
    let mut paths: Vec<(String, &[u8])> = vec![
        ("/registers".into(), b""),
        ("/sequence".into(), b""),
        ("/ephemerals".into(), b""),
        ("/fence".into(), b""),
    ];
    paths.extend((0..registers).map(|register| (register_path(register), b"0".as_slice())));
    for (path, data) in paths {
        let answer = client.surely("preparing", |client| client.create(&path, data, 0));
        assert!(matches!(answer.err, 0 | NODE_EXISTS), "create {path}: {}", answer.err);
    }
}
