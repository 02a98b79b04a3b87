//! Makes steps from a seed. A small space of paths, so that operations meet; every operation and mode, right
//! and wrong; and nothing that would bring Apache ZooKeeper 3.9.5 down or where this server differs on purpose
//! (see [`super::differences`]).

use ringkeeper::base::prng::Prng;
use ringkeeper::wire::{JuteWrite, OpCode};

use super::step::{Attach, Request, Step};
use super::values;
use super::world::{SlotState, World};
use crate::support::bodies;

/// Requests of a pipelined burst, at most.
const BURST_MAX: u64 = 12;
/// Below `jute.maxbuffer`, headers included: a longer frame takes answers before it along, or not.
const MULTI_BYTES_MAX: usize = 1_000_000;

pub struct Generator {
    pub rng: Prng,
    xid: i32,
    /// Paths that exist or did.
    pub known: Vec<Vec<u8>>,
    pub last_zxid: i64,
    /// At most one write in a burst: quotas are checked against what is applied, so with two the answer of the
    /// second depends on how far the first has come.
    pub lone_writes: bool,
}

impl Generator {
    pub fn new(seed: u64, lone_writes: bool) -> Generator {
        let rng = Prng::new(seed);
        Generator { rng, xid: 0, known: Vec::new(), last_zxid: 0, lone_writes }
    }

    /// The next step, given how the connections stand and what has been created.
    pub fn step(&mut self, world: &mut World, slots: usize) -> Step {
        self.last_zxid = world.names.last_zxid;
        // Usage nodes are left to `quota`: other text in them kills the reference, at the latest on replay.
        let quota = |path: &Vec<u8>| path.windows(10).any(|part| part == b"/zookeeper");
        self.known.extend(world.names.created.drain(..).filter(|path| !quota(path)));
        let excess = self.known.len().saturating_sub(60);
        self.known.drain(..excess);
        let slot = self.rng.below(slots as u64) as usize;
        match world.state(slot) {
            SlotState::Empty => {
                let attach = self.one(&[(12, Attach::New), (1, Attach::Unknown)]);
                self.connect(slot, attach)
            }
            SlotState::Detached => {
                let attach = self.one(&[(6, Attach::Resume), (1, Attach::WrongPassword)]);
                self.connect(slot, attach)
            }
            SlotState::Connected => match self.rng.below(200) {
                0..=1 => self.connect(slot, Attach::Resume),
                2 => self.connect(slot, Attach::WrongPassword),
                3 => self.connect(slot, Attach::FromTheFuture),
                4..=5 => Step::Drop { slot },
                6 => self.raw(slot),
                7..=8 => self.fatal(slot),
                9..=11 => {
                    self.single(slot, OpCode::CloseSession.code(), Vec::new(), "closeSession")
                }
                12..=19 => self.auth(slot),
                20 => {
                    let mut token = Vec::new();
                    token.put_buffer(Some(b"token"));
                    self.single(slot, OpCode::Sasl.code(), token, "sasl")
                }
                21..=24 => self.quota(slot),
                _ => self.burst(slot),
            },
        }
    }

    /// Works on a quota: limits and usage nodes of one of the short paths. What kills the reference stays out:
    /// limits without a path, and usage text that is no usage text.
    fn quota(&mut self, slot: usize) -> Step {
        let base = self.one(&[(3, "/a"), (2, "/a/b"), (1, "/b"), (1, "/b/never")]);
        let home = format!("/zookeeper/quota{base}");
        let limits = self.one(&[
            (3, "count=4,bytes=-1"),
            (3, "count=-1,bytes=-1=;byteHardLimit=60;countHardLimit=5"),
            (2, "count=-1,bytes=20=;countHardLimit=2"),
            (1, "count==5"),
            (1, ""),
            (1, "garbage"),
            (1, "bytes="),
        ]);
        let (limits_path, stats_path) =
            (format!("{home}/zookeeper_limits"), format!("{home}/zookeeper_stats"));
        let usage = "count=1,bytes=2";
        let path = |p: &str| Some(p.as_bytes().to_vec());
        let mut requests = Vec::new();
        let mut ask = |xid: i32, op: OpCode, body: Vec<u8>, text: &str| {
            let text = format!("{op:?} {text}");
            requests.push(Request { xid, op: op.code(), body, text });
        };
        let xid = self.next_xid();
        match self.rng.below(8) {
            0..=3 => {
                let mut at = "/zookeeper/quota".to_string();
                for part in base.split('/').skip(1) {
                    at = format!("{at}/{part}");
                    ask(xid, OpCode::Create, bodies::create_open(&at, b"", 0), &at);
                }
                let body = bodies::create_open(&limits_path, limits.as_bytes(), 0);
                ask(xid, OpCode::Create, body, &format!("{limits_path} {limits}"));
                let body = bodies::create_open(&stats_path, usage.as_bytes(), 0);
                ask(xid, OpCode::Create, body, &stats_path);
            }
            4 => {
                let body =
                    bodies::set_data(path(&limits_path).as_deref(), Some(limits.as_bytes()), -1);
                ask(xid, OpCode::SetData, body, &format!("{limits_path} {limits}"));
            }
            5 => {
                let body = bodies::path_int(path(&limits_path).as_deref(), -1);
                ask(xid, OpCode::Delete, body, &limits_path);
            }
            6 => {
                let body =
                    bodies::set_data(path(&stats_path).as_deref(), Some(usage.as_bytes()), -1);
                ask(xid, OpCode::SetData, body, &stats_path);
            }
            _ => {}
        }
        let body = bodies::path_watch(path(&stats_path).as_deref(), true);
        ask(xid, OpCode::GetData, body, &stats_path);
        Step::Burst { slot, requests }
    }

    /// Picks by weight.
    pub fn one<T: Copy>(&mut self, choices: &[(u64, T)]) -> T {
        let mut at = self.rng.below(choices.iter().map(|(weight, _)| weight).sum());
        for (weight, value) in choices {
            if at < *weight {
                return *value;
            }
            at -= weight;
        }
        choices[0].1
    }

    fn connect(&mut self, slot: usize, attach: Attach) -> Step {
        let timeout_ms = self.one(&[(1, 0), (1, -5), (2, 90_000), (1, i32::MAX), (1, 60_001)]);
        let read_only = self.one(&[(3, Some(false)), (1, Some(true)), (2, None)]);
        Step::Connect { slot, attach, timeout_ms, read_only }
    }

    fn next_xid(&mut self) -> i32 {
        self.xid += 1;
        match self.rng.below(200) {
            // Opaque to the server, whatever it is.
            0 => i32::MAX,
            1 => 0,
            2 => -77,
            _ => self.xid,
        }
    }

    fn single(&mut self, slot: usize, op: i32, body: Vec<u8>, text: &str) -> Step {
        let xid = self.next_xid();
        Step::Burst { slot, requests: vec![Request { xid, op, body, text: text.into() }] }
    }

    fn auth(&mut self, slot: usize) -> Step {
        let (scheme, auth) = self.one(&[
            (4, (Some("digest"), Some("u0:p0"))),
            (4, (Some("digest"), Some("u1:p1"))),
            (2, (Some("digest"), Some(values::SUPER))),
            (1, (Some("digest"), Some("nocolon"))),
            (1, (Some("digest"), Some("a:b:c"))),
            (1, (Some("digest"), Some(""))),
            (1, (Some("ip"), Some("127.0.0.1"))),
            (1, (Some("bogus"), Some("x"))),
            (1, (Some("world"), Some("anyone"))),
            (1, (Some(""), Some("x"))),
        ]);
        let body = bodies::auth(scheme.map(str::as_bytes), auth.map(str::as_bytes));
        let xid = self.one(&[(4, -4), (1, 5)]);
        let text = format!("auth {scheme:?} {auth:?}");
        let op = OpCode::Auth.code();
        Step::Burst { slot, requests: vec![Request { xid, op, body, text }] }
    }

    /// Operations nobody may send: answered and closed.
    fn fatal(&mut self, slot: usize) -> Step {
        let codes = [0, -1, 10, 13, 23, 50, 99, 108, 777, i32::MIN, i32::MAX];
        let op = codes[self.rng.below(codes.len() as u64) as usize];
        let body = bodies::path_int(Some(b"/a"), -1);
        self.single(slot, op, body, "not an operation for clients")
    }

    fn raw(&mut self, slot: usize) -> Step {
        let choices: [(&'static str, &[u8]); 5] = [
            ("a negative length", b"\xff\xff\xff\xfe"),
            ("a zero length", b"\0\0\0\0"),
            ("a length above the limit", b"\0\x10\0\0"),
            ("a frame shorter than a header", b"\0\0\0\x04\0\0\0\x01"),
            ("a four-letter word", b"ruok"),
        ];
        let (text, bytes) = choices[self.rng.below(5) as usize];
        Step::Raw { slot, bytes: bytes.to_vec(), text }
    }

    fn burst(&mut self, slot: usize) -> Step {
        let count = if self.rng.chance(1, 3) { 1 + self.rng.below(BURST_MAX) } else { 1 };
        let mut requests = Vec::new();
        for _ in 0..count {
            let request = self.request();
            let op = OpCode::from_code(request.op);
            requests.push(request);
            // What follows a setACL in the pipeline is checked by the reference against the old list or the new
            // one, as it happens: its pending change leaves the list out.
            let write = op.is_some_and(OpCode::is_write);
            if op == Some(OpCode::SetAcl) || (write && self.lone_writes) {
                break;
            }
        }
        Step::Burst { slot, requests }
    }

    fn request(&mut self) -> Request {
        let op = self.op();
        let (mut body, mut text) = self.body(op);
        if self.rng.chance(1, 60) && !body.is_empty() && op != OpCode::CloseSession {
            self.damage(op, &mut body);
            text.push_str(" DAMAGED");
        }
        let xid = match op {
            OpCode::Ping => -2,
            OpCode::SetWatches | OpCode::SetWatches2 => -8,
            _ => self.next_xid(),
        };
        let text = format!("{op:?} {text}");
        Request { xid, op: op.code(), body, text }
    }

    /// Cuts a body short or spoils its first length.
    fn damage(&mut self, op: OpCode, body: &mut Vec<u8>) {
        match self.rng.below(3) {
            1 if body.len() >= 4 => {
                let lengths: [i32; 4] = [-2, i32::MIN, i32::MAX, 0x00ff_ffff];
                let len = lengths[self.rng.below(4) as usize];
                body[..4].copy_from_slice(&len.to_be_bytes());
            }
            2 => body.extend_from_slice(b"trailing"),
            _ => {
                // A createTTL cut inside its ttl must not become a request the reference dies of.
                let end = if op == OpCode::CreateTtl { 8 } else { body.len() };
                body.truncate(self.rng.below(end as u64) as usize);
            }
        }
    }

    fn op(&mut self) -> OpCode {
        use OpCode::*;
        self.one(&[
            (14, Create),
            (7, Create2),
            (3, CreateContainer),
            (3, CreateTtl),
            (12, Delete),
            (8, Exists),
            (10, GetData),
            (10, SetData),
            (4, GetAcl),
            (3, SetAcl),
            (5, GetChildren),
            (6, GetChildren2),
            (2, GetAllChildrenNumber),
            (2, GetEphemerals),
            (3, Sync),
            (12, Multi),
            (5, MultiRead),
            (5, AddWatch),
            (3, RemoveWatches),
            (3, CheckWatches),
            (2, SetWatches),
            (2, SetWatches2),
            (2, WhoAmI),
            (2, Ping),
            (1, Reconfig),
        ])
    }

    fn body(&mut self, op: OpCode) -> (Vec<u8>, String) {
        use OpCode::*;
        match op {
            Create | Create2 | CreateContainer | CreateTtl => self.create(op, false),
            Delete => {
                let (path, version) = (self.path(), self.version());
                (bodies::path_int(path.as_deref(), version), format!("{} v{version}", show(&path)))
            }
            Exists | GetData | GetChildren | GetChildren2 => {
                let (path, watch) = (self.path(), self.rng.chance(2, 5));
                (bodies::path_watch(path.as_deref(), watch), format!("{} {watch}", show(&path)))
            }
            SetData => self.set_data(),
            GetAcl | Sync | GetAllChildrenNumber => {
                let path = self.path();
                (bodies::path_only(path.as_deref()), show(&path))
            }
            GetEphemerals => {
                let prefix = self.one(&[
                    (2, Some("/")),
                    (1, Some("")),
                    (1, None),
                    (2, Some("/a")),
                    (1, Some(" ")),
                ]);
                (bodies::path_only(prefix.map(str::as_bytes)), format!("{prefix:?}"))
            }
            SetAcl => {
                let path = self.path();
                // A root that lets nobody in makes for a dull run.
                let path = path.filter(|p| p != b"/" || self.rng.chance(1, 20));
                let (acl, text) = self.acl();
                let version = self.version();
                let body = bodies::set_acl(path.as_deref(), &acl, version);
                (body, format!("{} {text} v{version}", show(&path)))
            }
            Multi | MultiRead => self.multi(op),
            AddWatch => self.path_mode(&[(5, 0), (5, 1), (1, 2), (1, -1)]),
            CheckWatches | RemoveWatches => {
                self.path_mode(&[(3, 1), (3, 2), (3, 3), (2, 4), (2, 5), (1, 0), (1, 6)])
            }
            SetWatches | SetWatches2 => self.set_watches(op),
            Reconfig => {
                let mut out = Vec::new();
                out.put_buffer(Some(b"server.7=127.0.0.1:1:2;3"));
                out.put_buffer(None);
                out.put_buffer(None);
                out.put_long(-1);
                (out, "joining server.7".into())
            }
            _ => (Vec::new(), String::new()),
        }
    }

    fn path_mode(&mut self, modes: &[(u64, i32)]) -> (Vec<u8>, String) {
        let (path, mode) = (self.path(), self.one(modes));
        (bodies::path_int(path.as_deref(), mode), format!("{} mode {mode}", show(&path)))
    }

    /// A create of any kind; `in_multi` allows what only multi decodes safely.
    fn create(&mut self, op: OpCode, in_multi: bool) -> (Vec<u8>, String) {
        let flags = match op {
            OpCode::CreateContainer => self.one(&[(8, 4), (1, 0), (1, 2), (1, 5)]),
            OpCode::CreateTtl => {
                self.one(&[(6, 5), (4, 6), (1, 0), (1, 1), (1, 2), (1, 4), (1, 7), (1, -1)])
            }
            _ => self.one(&[
                (8, 0),
                (6, 1),
                (5, 2),
                (4, 3),
                (1, 4),
                (u64::from(!in_multi), 5),
                (u64::from(!in_multi), 6),
                (1, 7),
                (1, -1),
            ]),
        };
        let ttl = (op == OpCode::CreateTtl).then(|| match flags {
            5 | 6 => self.one(&[
                (6, 1_000_000),
                (1, 0xff_ffff_ffff),
                (1, 0x100_0000_0000),
                (1, 0),
                (1, -1),
                (1, i64::MIN),
            ]),
            // Negative ones are logged and then kill the reference.
            _ => self.one(&[(1, 0), (1, 1), (1, 500_000)]),
        });
        let mut path = self.path();
        if matches!(flags, 2 | 3 | 6) && self.rng.chance(3, 4) {
            let tail: &[u8] = if self.rng.chance(1, 3) { b"/" } else { b"-" };
            path.get_or_insert_default().extend_from_slice(tail);
        }
        let data = self.data();
        let (mut acl, mut acl_text) = self.acl();
        // A null inside an entry makes the reference forget to undo a multi.
        while in_multi && acl_text.contains(":null") {
            (acl, acl_text) = self.acl();
        }
        let body = bodies::create(path.as_deref(), data.as_deref(), &acl, flags, ttl);
        let len = data.map_or(-1, |d| d.len() as i64);
        (body, format!("{} data {len} flags {flags} ttl {ttl:?} {acl_text}", show(&path)))
    }

    fn set_data(&mut self) -> (Vec<u8>, String) {
        let (path, data, version) = (self.path(), self.data(), self.version());
        let body = bodies::set_data(path.as_deref(), data.as_deref(), version);
        (body, format!("{} data {:?} v{version}", show(&path), data.map(|d| d.len())))
    }

    fn multi(&mut self, op: OpCode) -> (Vec<u8>, String) {
        use OpCode::*;
        let count = self.one(&[(1, 0), (3, 1), (5, 2), (4, 3), (2, 5), (1, 9)]);
        let read = (op == MultiRead) ^ self.rng.chance(1, 25);
        let (mut ops, mut texts, mut size) = (Vec::new(), Vec::new(), 0);
        for _ in 0..count {
            let sub = match (read ^ self.rng.chance(1, 60), self.rng.chance(1, 60)) {
                (_, true) => self.one(&[(1, Exists), (1, SetAcl), (1, Ping)]),
                (true, _) => self.one(&[(1, GetData), (1, GetChildren)]),
                (false, _) => self.one(&[
                    (6, Create),
                    (2, Create2),
                    (1, CreateContainer),
                    (1, CreateTtl),
                    (4, Delete),
                    (4, SetData),
                    (3, Check),
                ]),
            };
            let (body, text) = match sub {
                Create | Create2 | CreateContainer | CreateTtl => self.create(sub, true),
                Check => self.body(Delete),
                sub => self.body(sub),
            };
            size += body.len();
            if size > MULTI_BYTES_MAX {
                break;
            }
            texts.push(format!("{sub:?} {text}"));
            ops.push((sub.code(), body));
        }
        (bodies::multi(&ops), format!("[{}]", texts.join("; ")))
    }

    fn set_watches(&mut self, op: OpCode) -> (Vec<u8>, String) {
        let lists = if op == OpCode::SetWatches2 { 5 } else { 3 };
        let relative = match self.rng.below(4) {
            0 => 0,
            1 => -1,
            2 => self.last_zxid / 2,
            _ => self.last_zxid,
        };
        let mut out = Vec::new();
        out.put_long(relative);
        let mut text = format!("from {relative}");
        for _ in 0..lists {
            if self.rng.chance(1, 40) {
                out.put_int(-1);
                text.push_str(" null");
                continue;
            }
            let paths: Vec<Vec<u8>> =
                (0..self.rng.below(3)).map(|_| self.path().unwrap_or_default()).collect();
            out.put_int(paths.len() as i32);
            text.push_str(" [");
            for path in paths {
                text.push_str(&show(&Some(path.clone())));
                out.put_buffer(Some(&path));
            }
            text.push(']');
        }
        (out, text)
    }
}

/// A path for people.
pub fn show(path: &Option<Vec<u8>>) -> String {
    path.as_ref().map_or("null".into(), |p| p.escape_ascii().to_string())
}
