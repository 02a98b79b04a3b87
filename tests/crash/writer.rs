//! A session that writes, remembers what was acknowledged, and compares.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use ringkeeper::wire::{OpCode, Reader, Stat};

use crate::model::{State, apply, difference, request};
use crate::support::bodies;
use crate::support::client::{Reply, Session};

/// Requests on the way at a time.
const WINDOW: u64 = 24;

/// Reads on the way at a time.
const READ_WINDOW: usize = 200;

pub struct Writer {
    id: usize,
    session: Session,
    /// The state after the first `settled` requests; all of them known to be applied.
    state: State,
    settled: u64,
    /// Requests sent and acknowledged, counted from the first ever.
    sent: u64,
    acknowledged: u64,
    /// The zxid each acknowledged create was told, by name.
    zxids: BTreeMap<String, i64>,
    /// The names each acknowledged sequential create was told, by token.
    sequential: BTreeMap<String, String>,
}

impl Writer {
    pub fn new(id: usize, port: u16, timeout_ms: i32) -> Writer {
        let mut session = Session::open(port, timeout_ms).expect("a writer's session");
        let mut state = State::new();
        for name in ["", "/register", "/multi"] {
            let body = bodies::create_open(&format!("/w{id}{name}"), b"", 0);
            assert_eq!(session.call(OpCode::Create, &body).expect("a create").header.err, 0);
            if let Some(name) = name.strip_prefix('/') {
                state.insert(name.to_string(), String::new());
            }
        }
        Writer {
            id,
            session,
            state,
            settled: 0,
            sent: 0,
            acknowledged: 0,
            zxids: BTreeMap::new(),
            sequential: BTreeMap::new(),
        }
    }

    /// Writes with a full window until the server goes away.
    pub fn write_until_broken(&mut self, stop: &AtomicBool) {
        loop {
            while self.sent < self.acknowledged + WINDOW && !stop.load(Ordering::Relaxed) {
                let (op, body) = request(self.id, self.sent);
                self.session.post(op, &body);
                self.sent += 1;
            }
            match self.session.reply() {
                Ok(reply) => self.acknowledge(&reply),
                Err(_) => return,
            }
        }
    }

    fn acknowledge(&mut self, reply: &Reply) {
        let n = self.acknowledged;
        assert_eq!(reply.header.err, 0, "writer {}: request {n} refused", self.id);
        self.acknowledged += 1;
        let name = match n % 7 {
            0 => format!("k{n}"),
            4 => format!("e{n}"),
            6 => format!("c{n}"),
            3 => {
                let path = Reader::new(&reply.body).ustring().expect("a path").unwrap_or_default();
                let path = String::from_utf8_lossy(path).into_owned();
                self.sequential.insert(format!("{}-{n}", self.id), path);
                return;
            }
            _ => return,
        };
        self.zxids.insert(name, reply.header.zxid.0);
    }

    /// Takes the session up again; it must not have been lost.
    pub fn resume(&mut self, port: u16) {
        let (timeout, id, passwd) = (self.session.timeout_ms, self.session.id, self.session.passwd);
        self.session = Session::attach(port, timeout, id, &passwd)
            .unwrap_or_else(|e| panic!("writer {}: its session is gone: {e}", self.id));
    }

    /// What the server has of this writer.
    fn observe(&self, checker: &mut Session, last_zxid: i64, sequence: &Sequence) -> State {
        let home = format!("/w{}", self.id);
        let mut state = State::new();
        for (name, data, stat) in children_with_data(checker, &home) {
            if let Some(zxid) = self.zxids.get(&name) {
                assert_eq!(stat.czxid, *zxid, "{home}/{name}: another zxid than was told");
            }
            assert!(stat.mzxid <= last_zxid, "{home}/{name}: from the future");
            let owner = if name.starts_with('e') { self.session.id } else { 0 };
            assert_eq!(stat.ephemeral_owner, owner, "{home}/{name}: owner");
            state.insert(name, data);
        }
        for (path, token) in &sequence.0 {
            if token.starts_with(&format!("{}-", self.id)) {
                if let Some(told) = self.sequential.get(token) {
                    assert_eq!(told, path, "token {token} is under another name than was told");
                }
                let twice = state.insert(format!("seq:{token}"), token.clone());
                assert_eq!(twice, None, "token {token} was created twice");
            }
        }
        state
    }

    /// Compares after a restart and settles what was in doubt; returns how many were acknowledged since the last.
    pub fn check(&mut self, checker: &mut Session, last_zxid: i64, sequence: &Sequence) -> u64 {
        let got = self.observe(checker, last_zxid, sequence);
        let before = self.settled;
        let acknowledged = self.acknowledged - before;
        while self.settled < self.acknowledged {
            apply(&mut self.state, self.id, self.settled);
            self.settled += 1;
        }
        let at_least = self.state.clone();
        while self.state != got {
            assert!(
                self.settled < self.sent,
                "writer {}: requests {before}..{} acknowledged, ..{} sent; no prefix gives what is \
                 there. Against the acknowledged ones: {}",
                self.id,
                self.acknowledged,
                self.sent,
                difference(&at_least, &got)
            );
            apply(&mut self.state, self.id, self.settled);
            self.settled += 1;
        }
        // What was sent and not applied never will be: go on from here.
        self.sent = self.settled;
        self.acknowledged = self.settled;
        acknowledged
    }

    /// The session's own list of its ephemerals.
    pub fn check_ephemerals(&mut self) {
        let body = bodies::path_only(Some(b"/"));
        let reply = self.session.call(OpCode::GetEphemerals, &body).expect("getEphemerals");
        let got: BTreeSet<String> = strings(&reply.body).into_iter().collect();
        let expected: BTreeSet<String> = self
            .state
            .keys()
            .filter(|name| name.starts_with('e'))
            .map(|name| format!("/w{}/{name}", self.id))
            .collect();
        assert_eq!(got, expected, "writer {}: ephemerals", self.id);
    }
}

/// The nodes in `/seq`: paths with their tokens.
pub struct Sequence(Vec<(String, String)>);

impl Sequence {
    pub fn read(checker: &mut Session) -> Sequence {
        let nodes = children_with_data(checker, "/seq").into_iter();
        Sequence(nodes.map(|(name, token, _)| (format!("/seq/{name}"), token)).collect())
    }

    /// No sequential name was given twice, and all are different from each other's by construction of the counter.
    pub fn check(&self, writers: &[Writer]) {
        let mut names = BTreeSet::new();
        for path in writers.iter().flat_map(|writer| writer.sequential.values()) {
            assert!(names.insert(path.clone()), "{path} was given twice");
        }
        let there: BTreeSet<String> = self.0.iter().map(|(path, _)| path.clone()).collect();
        let lost: Vec<&String> = names.difference(&there).collect();
        assert!(lost.is_empty(), "acknowledged sequential nodes are gone: {lost:?}");
    }
}

fn strings(body: &[u8]) -> Vec<String> {
    let mut r = Reader::new(body);
    let count = r.vector().expect("a list").unwrap_or(0);
    (0..count)
        .map(|_| {
            let name = r.ustring().expect("a name").unwrap_or_default();
            String::from_utf8_lossy(name).into_owned()
        })
        .collect()
}

fn children(session: &mut Session, path: &str) -> Vec<String> {
    let body = bodies::path_watch(Some(path.as_bytes()), false);
    let reply = session.call(OpCode::GetChildren, &body).expect("getChildren");
    assert_eq!(reply.header.err, 0, "children of {path}");
    strings(&reply.body)
}

/// Name, data and status of every child. Many are asked for at a time: a check that takes longer than the sessions'
/// timeout ends what it is to check.
fn children_with_data(session: &mut Session, path: &str) -> Vec<(String, String, Stat)> {
    let names = children(session, path);
    let mut nodes = Vec::with_capacity(names.len());
    for some in names.chunks(READ_WINDOW) {
        for name in some {
            let child = format!("{path}/{name}");
            session.post(OpCode::GetData, &bodies::path_watch(Some(child.as_bytes()), false));
        }
        for name in some {
            let reply = session.reply().expect("getData");
            assert_eq!(reply.header.err, 0, "data of {path}/{name}");
            let mut r = Reader::new(&reply.body);
            let data = r.buffer().expect("data").unwrap_or_default();
            let data = String::from_utf8_lossy(data).into_owned();
            nodes.push((name.clone(), data, Stat::decode(&mut r).expect("a Stat")));
        }
    }
    nodes
}
