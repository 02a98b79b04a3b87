//! Noise on connections: valid traffic, cut anywhere, changed, mixed with garbage, over four connections that break,
//! read slowly and resume each other's sessions. Nothing may panic, buffers stay bounded, and once both cores have
//! had their turns nobody is owed an answer.
//!
//! `RINGKEEPER_NOISE_SEED` and `RINGKEEPER_NOISE_CASES`: where to begin, and how many scripts.

mod support;
#[path = "connection_noise/world.rs"]
mod world;

use ringkeeper::base::SessionId;
use ringkeeper::base::prng::Prng;
use ringkeeper::session::{SessionIds, password};
use ringkeeper::wire::connect::ConnectRequest;
use ringkeeper::wire::{JuteWrite, OpCode};
use support::{bodies, env_number};
use world::{SLOTS, World, action};

/// Makes one script.
struct Script {
    rng: Prng,
    bytes: Vec<u8>,
    xid: i32,
    /// Connections that have been opened and, as far as is known, not broken.
    open: [bool; SLOTS],
}

impl Script {
    fn pick(&mut self, bound: u64) -> usize {
        self.rng.below(bound) as usize
    }

    fn act(&mut self, slot: usize, action: u8) {
        self.bytes.push((slot as u8) << 6 | action);
    }

    /// Bytes of a client, in segments of any size.
    fn send(&mut self, slot: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let len = match self.pick(4) {
                0 => 1 + self.pick(8),
                _ => 1 + self.pick(255),
            };
            let (segment, rest) = bytes.split_at(len.min(bytes.len()));
            let kind = self.pick(u64::from(action::SEGMENT_MAX) + 1) as u8;
            self.act(slot, kind);
            self.bytes.push(segment.len() as u8);
            self.bytes.extend_from_slice(segment);
            bytes = rest;
        }
    }

    fn path(&mut self) -> Vec<u8> {
        let mut path = format!("/{}", self.pick(3));
        for _ in 0..self.pick(3) {
            path.push_str(&format!("/{}", self.pick(2)));
        }
        path.into_bytes()
    }

    fn body(&mut self, op: OpCode) -> Vec<u8> {
        let path = self.path();
        let path = Some(&path[..]);
        let data = vec![b'd'; [0, 3, 40, 900][self.pick(4)]];
        let flags = self.pick(8) as i32;
        match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
                bodies::create(path, Some(&data), &bodies::open_acl(), flags, None)
            }
            OpCode::SetData => bodies::set_data(path, Some(&data), -1),
            OpCode::Delete => bodies::path_int(path, -1),
            OpCode::AddWatch | OpCode::CheckWatches | OpCode::RemoveWatches => {
                bodies::path_int(path, self.pick(4) as i32)
            }
            OpCode::SetAcl => bodies::set_acl(path, &bodies::open_acl(), -1),
            OpCode::Multi => {
                let create = OpCode::Create;
                let ops = [
                    (create.code(), self.body(create)),
                    (OpCode::SetData.code(), { self.body(OpCode::SetData) }),
                ];
                bodies::multi(&ops)
            }
            OpCode::MultiRead => {
                let get = OpCode::GetData;
                bodies::multi(&[(get.code(), self.body(get)), (get.code(), self.body(get))])
            }
            OpCode::Auth => bodies::auth(Some(b"digest"), Some(b"u:p")),
            OpCode::SetWatches | OpCode::SetWatches2 => {
                let mut out = 0_i64.to_be_bytes().to_vec();
                for _ in 0..5 {
                    out.put_int(1);
                    let path = self.path();
                    out.put_buffer(Some(&path));
                }
                out
            }
            OpCode::Sync | OpCode::GetAcl | OpCode::GetAllChildrenNumber => bodies::path_only(path),
            OpCode::Ping | OpCode::CloseSession | OpCode::WhoAmI => Vec::new(),
            _ => bodies::path_watch(path, self.pick(2) == 0),
        }
    }

    fn request(&mut self, out: &mut Vec<u8>) {
        let mut op = OpCode::ALL[self.pick(OpCode::ALL.len() as u64)];
        while !op.is_client_request() && self.pick(50) > 0 {
            op = OpCode::ALL[self.pick(OpCode::ALL.len() as u64)];
        }
        if op == OpCode::CloseSession && self.pick(4) > 0 {
            op = OpCode::GetData;
        }
        // Enough reads of large nodes behind one another to fill an output.
        let repeat = if op == OpCode::GetData { 1 + self.pick(6) } else { 1 };
        let body = self.body(op);
        for _ in 0..repeat {
            self.xid += 1;
            let xid = if self.pick(20) == 0 { -self.xid } else { self.xid };
            out.put_int(8 + body.len() as i32);
            out.put_int(xid);
            out.put_int(if self.pick(300) == 0 { 777 } else { op.code() });
            out.extend_from_slice(&body);
        }
    }

    /// One of the first sessions of a world, which other connections may have.
    fn resume(&mut self, out: &mut Vec<u8>) {
        let mut ids = SessionIds::new(1, 1);
        let session = (0..=self.pick(4)).fold(SessionId::NONE, |_, _| ids.next_id());
        let mut body = Vec::new();
        ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.pick(3) as i64,
            timeout_ms: 1000 * self.pick(50) as i32,
            session_id: session.0,
            passwd: Some(&password(session)[..16 - self.pick(8) / 7]),
            read_only: [None, Some(false)][self.pick(2)],
        }
        .encode(&mut body);
        out.put_buffer(Some(&body));
    }

    fn step(&mut self) {
        let slot = self.pick(SLOTS as u64);
        let mut bytes = Vec::new();
        if !self.open[slot] && self.pick(10) > 0 {
            self.open[slot] = true;
            if self.pick(3) > 0 {
                return self.act(slot, action::HANDSHAKE);
            }
            self.resume(&mut bytes);
            return self.send(slot, &bytes);
        }
        match self.pick(200) {
            0 => return self.act(slot, action::HANDSHAKE),
            1 => self.resume(&mut bytes),
            2..=3 => {
                let words = [&b"ruok"[..], b"ruok\n\n\n\n\n", b"stmk\0\0\0\0\0\0\0\x01", b"xxxx"];
                bytes.extend_from_slice(words[self.pick(4)]);
            }
            4 => bytes = (0..self.pick(300)).map(|_| self.rng.next_u64() as u8).collect(),
            5..=100 => {
                for _ in 0..=self.pick(6) {
                    self.request(&mut bytes);
                }
                if self.pick(25) == 0 {
                    let at = self.pick(bytes.len() as u64);
                    bytes[at] = self.rng.next_u64() as u8;
                }
            }
            101..=104 => {
                self.open[slot] = false;
                return self.act(slot, action::DROP);
            }
            105..=108 => return self.act(slot, action::TICK),
            109 => return self.act(slot, action::EXPIRE),
            110..=112 => return self.act(slot, action::FINISH_COMMANDS),
            113 => return self.act(slot, action::RESET_STATS),
            114..=145 => return self.act(slot, action::ZAB_TURN),
            146..=155 => return self.act(slot, action::ZAB_PREPARE),
            156..=185 => return self.act(slot, action::SHARD_TURN),
            _ => return self.act(slot, action::SLOW_TURN),
        }
        self.send(slot, &bytes);
    }
}

fn script(seed: u64) -> Vec<u8> {
    let mut script =
        Script { rng: Prng::new(seed), bytes: Vec::new(), xid: 0, open: [false; SLOTS] };
    let steps = 20 + script.pick(150);
    for _ in 0..steps {
        script.step();
    }
    script.bytes
}

/// Says which script it was, whatever went wrong in it.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            support::say(&format!("replay with RINGKEEPER_NOISE_SEED={} …_CASES=1", self.0));
        }
    }
}

#[test]
fn scripted_noise() {
    let first = env_number("RINGKEEPER_NOISE_SEED", 1);
    let cases = env_number("RINGKEEPER_NOISE_CASES", 4000);
    let (mut sent, mut sessions) = (0, 0);
    for seed in first..first + cases {
        let _named = Named(seed);
        let mut world = if seed % 2 == 0 { World::limited() } else { World::new() };
        world.play(&script(seed));
        sent += world.sent as u64;
        sessions += world.sessions;
    }
    if cases > 100 {
        assert!(sessions > cases && sent > cases * 1000, "{sessions} sessions, {sent} bytes");
    }
}

#[test]
fn plain_noise() {
    let cases = env_number("RINGKEEPER_NOISE_CASES", 4000);
    for seed in 0..cases {
        let _named = Named(seed);
        let mut rng = Prng::new(seed);
        let len = rng.below(600);
        let script: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
        World::new().play(&script);
        World::limited().play(&script);
    }
}

/// The scripts the fuzz target starts from; among them those it has found.
#[test]
fn scripts_of_the_fuzz_target() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/connection");
    let mut played = 0;
    for entry in std::fs::read_dir(corpus).expect("the corpus") {
        let script = std::fs::read(entry.expect("an entry").path()).expect("a script");
        World::new().play(&script);
        World::limited().play(&script);
        played += 1;
    }
    assert!(played >= 4, "{played} scripts");
}

/// Every way to cut a handshake and a few requests into two segments.
#[test]
fn every_cut_gives_the_same_answers() {
    let mut stream = world::handshake_frame();
    for (xid, op, body) in [
        (1, OpCode::Create, bodies::create_open("/cut", b"data", 0)),
        (2, OpCode::GetData, bodies::path_watch(Some(b"/cut"), true)),
        (3, OpCode::SetData, bodies::set_data(Some(b"/cut"), Some(b"x"), -1)),
        (4, OpCode::GetData, bodies::path_watch(Some(b"/cut"), false)),
    ] {
        stream.put_int(8 + body.len() as i32);
        stream.put_int(xid);
        stream.put_int(op.code());
        stream.extend_from_slice(&body);
    }
    let mut lengths = Vec::new();
    for cut in 0..=stream.len() {
        let mut script = Vec::new();
        for part in [&stream[..cut], &stream[cut..]] {
            script.extend([0, part.len() as u8]);
            script.extend_from_slice(part);
            script.extend([action::ZAB_TURN, action::SHARD_TURN]);
        }
        let mut world = World::new();
        world.play(&script);
        assert_eq!(world.sessions, 1);
        lengths.push(world.sent);
    }
    lengths.dedup();
    assert_eq!(lengths.len(), 1, "{lengths:?}");
}
