//! What a run asks for: kinds of operation with weights, and their requests.

use std::str::FromStr;

use ringkeeper::base::prng::Prng;
use ringkeeper::wire::acl::OPEN_ACL_UNSAFE;
use ringkeeper::wire::request::{CreateRequest, PathWatchRequest, SetDataRequest, create_flags};
use ringkeeper::wire::{JuteWrite, OpCode};

use crate::fleet::Conn;
use crate::keys::KeySpace;

/// Kinds of operation, by the names used on the command line and in results.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    Get,
    Set,
    Exists,
    Children,
    /// A persistent sequential znode below `<root>/new`.
    Create,
    Sync,
    Ping,
    /// A frame of fixed size for the echo reference.
    Echo,
}

impl Kind {
    pub const ALL: [(Kind, &'static str); 8] = [
        (Kind::Get, "get"),
        (Kind::Set, "set"),
        (Kind::Exists, "exists"),
        (Kind::Children, "children"),
        (Kind::Create, "create"),
        (Kind::Sync, "sync"),
        (Kind::Ping, "ping"),
        (Kind::Echo, "echo"),
    ];
}

/// Weighted kinds, written `get=90,set=10` or just `get`.
#[derive(Clone, Debug)]
pub struct Mix {
    weights: Vec<(Kind, u64)>,
    total: u64,
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Mix, String> {
        let mut weights = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let kind = Kind::ALL.iter().find(|(_, known)| *known == name);
            let (kind, _) = kind.ok_or_else(|| format!("no operation is called {name:?}"))?;
            let weight: u32 = weight.parse().map_err(|_| format!("bad weight in {part:?}"))?;
            weights.push((*kind, u64::from(weight)));
        }
        let total = weights.iter().map(|(_, weight)| weight).sum();
        if total == 0 { Err("all weights are zero".into()) } else { Ok(Mix { weights, total }) }
    }
}

impl Mix {
    pub fn contains(&self, kind: Kind) -> bool {
        self.weights.iter().any(|(known, _)| *known == kind)
    }

    fn draw(&self, prng: &mut Prng) -> Kind {
        if let [(only, _)] = self.weights[..] {
            return only;
        }
        let mut point = prng.below(self.total);
        for (kind, weight) in &self.weights {
            if point < *weight {
                return *kind;
            }
            point -= weight;
        }
        self.weights[0].0
    }
}

/// Makes the requests of a run: uniformly random keys, a fixed seed.
pub struct Requests {
    pub mix: Mix,
    pub keys: KeySpace,
    pub value: Vec<u8>,
    prng: Prng,
    path: Vec<u8>,
}

impl Requests {
    pub fn new(mix: Mix, keys: KeySpace, value: Vec<u8>) -> Requests {
        Requests { mix, keys, value, prng: Prng::new(1), path: Vec::new() }
    }

    /// Queues one request on `conn`.
    pub fn queue_next(&mut self, conn: &mut Conn, intended_ns: u64) {
        let kind = self.mix.draw(&mut self.prng);
        let tag = kind as u8;
        let key = self.prng.below(self.keys.count);
        self.keys.write_key(key, &mut self.path);
        let path = Some(&self.path[..]);
        match kind {
            Kind::Get => read(conn, OpCode::GetData, intended_ns, tag, path),
            Kind::Exists => read(conn, OpCode::Exists, intended_ns, tag, path),
            Kind::Set => {
                let body = SetDataRequest { path, data: Some(&self.value), version: -1 };
                conn.request(OpCode::SetData, intended_ns, tag, |out| body.encode(out));
            }
            Kind::Children => {
                let directory = self.prng.below(self.keys.directories());
                self.keys.write_directory(directory, &mut self.path);
                read(conn, OpCode::GetChildren2, intended_ns, tag, Some(&self.path));
            }
            Kind::Create => {
                self.path.clear();
                self.path.extend_from_slice(self.keys.root.as_bytes());
                self.path.extend_from_slice(b"/new/n");
                let flags = create_flags::PERSISTENT_SEQUENTIAL;
                let body = create(&self.path, &self.value, flags);
                conn.request(OpCode::Create, intended_ns, tag, |out| body.encode(out));
            }
            Kind::Sync => {
                conn.request(OpCode::Sync, intended_ns, tag, |out| out.put_buffer(path));
            }
            Kind::Ping => conn.request(OpCode::Ping, intended_ns, tag, |_| {}),
            Kind::Echo => conn.plain_frame(self.value.len(), intended_ns, tag),
        }
    }
}

fn read(conn: &mut Conn, op: OpCode, intended_ns: u64, tag: u8, path: Option<&[u8]>) {
    let body = PathWatchRequest { path, watch: false };
    conn.request(op, intended_ns, tag, |out| body.encode(out));
}

/// A create that anybody may do anything with.
pub fn create<'a>(path: &'a [u8], data: &'a [u8], flags: i32) -> CreateRequest<'a> {
    CreateRequest {
        op: OpCode::Create,
        path: Some(path),
        data: Some(data),
        acl: Some(OPEN_ACL_UNSAFE),
        flags,
        ttl: -1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_drawn_by_its_weights() {
        let mix: Mix = "get=90,set=10".parse().unwrap();
        let mut prng = Prng::new(3);
        let sets = (0..10_000).filter(|_| mix.draw(&mut prng) == Kind::Set).count();
        assert!((900..1100).contains(&sets), "{sets}");
        assert!("get=90,swim=10".parse::<Mix>().is_err());
        assert!("get=0".parse::<Mix>().is_err());
    }
}
