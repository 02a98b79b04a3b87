//! Tests of the room as a whole.

mod apply;
mod concurrent;
mod model;
mod quota;
mod replay;
mod walk;

use super::*;
use crate::base::Zxid;
use crate::base::prng::Prng;
use crate::wire::acl::{OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, encode_acl_list, perms};
use crate::wire::{AclEntry, AclList, ErrorCode, Reader, StatPersisted};
use std::collections::BTreeMap;

/// A transaction, as far as the tree cares.
#[derive(Clone, Debug)]
enum Op {
    Create { path: Vec<u8>, data: Option<Vec<u8>>, acl: usize, owner: i64, cversion: i32 },
    Delete { path: Vec<u8> },
    SetData { path: Vec<u8>, data: Option<Vec<u8>>, version: i32 },
    SetAcl { path: Vec<u8>, acl: usize, version: i32 },
}

/// So many that most are used by few nodes, and come and go.
const ACLS: usize = 60;

/// Some lists to choose from.
fn acl_bytes(nth: usize) -> Vec<u8> {
    match nth {
        0 => OPEN_ACL_UNSAFE.as_bytes().to_vec(),
        1 => READ_ACL_UNSAFE.as_bytes().to_vec(),
        _ => {
            let id = format!("user{nth}:hash");
            let entry =
                AclEntry { perms: perms::ALL, scheme: Some(b"digest"), id: Some(id.as_bytes()) };
            let mut out = Vec::new();
            encode_acl_list([entry].into_iter(), &mut out);
            out
        }
    }
}

fn acl_list(bytes: &[u8]) -> AclList<'_> {
    AclList::decode(&mut Reader::new(bytes)).unwrap().unwrap()
}

fn time_of(zxid: i64) -> i64 {
    1_700_000_000_000 + zxid * 7
}

/// Applies inside an open batch.
fn apply(writer: &mut TreeWriter, op: &Op, zxid: i64) -> Result<(), ErrorCode> {
    let (z, time) = (Zxid(zxid), time_of(zxid));
    match op {
        Op::Create { path, data, acl, owner, cversion } => writer
            .create(&Create {
                path,
                data: data.as_deref(),
                acl: acl_list(&acl_bytes(*acl)),
                owner: *owner,
                zxid: z,
                time,
                parent_cversion: *cversion,
            })
            .map(drop),
        Op::Delete { path } => writer.delete(path, z).map(drop),
        Op::SetData { path, data, version } => {
            writer.set_data(path, data.as_deref(), *version, z, time).map(drop)
        }
        Op::SetAcl { path, acl, version } => {
            writer.set_acl(path, acl_list(&acl_bytes(*acl)), *version).map(drop)
        }
    }
}

fn apply_published(writer: &mut TreeWriter, op: &Op, zxid: i64) -> Result<(), ErrorCode> {
    writer.begin();
    let result = apply(writer, op, zxid);
    writer.publish(Zxid(zxid));
    result
}

fn create(writer: &mut TreeWriter, path: &str, data: &[u8], owner: i64, zxid: i64) {
    let op = Op::Create { path: path.into(), data: Some(data.into()), acl: 0, owner, cversion: -1 };
    apply_published(writer, &op, zxid).unwrap();
}

/// Makes operations that a leader could have made from the state of `writer`.
struct Workload {
    prng: Prng,
    paths: Vec<Vec<u8>>,
}

impl Workload {
    fn new(seed: u64) -> Self {
        Workload { prng: Prng::new(seed), paths: vec![Vec::new()] }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.prng.below(bound as u64) as usize
    }

    fn data(&mut self) -> Option<Vec<u8>> {
        let len = self.below(20);
        (!self.prng.chance(1, 10)).then(|| vec![b'd'; len])
    }

    fn next(&mut self, writer: &TreeWriter) -> Op {
        loop {
            let nth = self.below(self.paths.len());
            let path = self.paths[nth].clone();
            let Some(node) = writer.view().lookup(&path) else {
                self.paths.swap_remove(nth);
                continue;
            };
            let stat = node.persisted();
            match self.below(10) {
                0..=3 if node.node_type() != NodeType::Ephemeral && path.len() < 40 => {
                    // Few names, so that paths come back after a delete.
                    let name = format!("/n{}", self.below(12));
                    let child = [&path[..], name.as_bytes()].concat();
                    if writer.view().lookup(&child).is_some() {
                        continue;
                    }
                    self.paths.push(child.clone());
                    let owners = [0, 0, 0, 0x77, 0x78, owner::CONTAINER_OWNER];
                    let owner = owners[self.below(owners.len())];
                    let (data, acl) = (self.data(), self.below(ACLS));
                    let cversion = stat.cversion + 1;
                    return Op::Create { path: child, data, acl, owner, cversion };
                }
                4..=6 if node.num_children() == 0 && !path.is_empty() => {
                    return Op::Delete { path };
                }
                7 => {
                    let data = self.data();
                    return Op::SetData { path, data, version: stat.version + 1 };
                }
                8 => {
                    let acl = self.below(ACLS);
                    return Op::SetAcl { path, acl, version: stat.aversion + 1 };
                }
                _ => {}
            }
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Dumped {
    data: Option<Vec<u8>>,
    acl: Option<Vec<u8>>,
    stat: StatPersisted,
    num_children: usize,
}

/// Everything that can be reached from the root; each node must also be found by its path.
fn dump(writer: &TreeWriter) -> BTreeMap<Vec<u8>, Dumped> {
    let view = writer.view();
    let mut all = BTreeMap::new();
    let mut waiting = vec![Vec::new()];
    while let Some(path) = waiting.pop() {
        let node = view.lookup(&path).unwrap_or_else(|| panic!("{path:?} is listed but not there"));
        let mut rebuilt = Vec::new();
        node.path(&mut rebuilt);
        assert_eq!(rebuilt, path);
        node.for_each_child(|name| waiting.push([&path[..], b"/", name].concat()));
        let acl = node.acl().unwrap().list().map(|list| list.as_bytes().to_vec());
        let dumped = Dumped {
            data: node.data().map(Into::into),
            acl,
            stat: node.persisted(),
            num_children: node.num_children(),
        };
        assert!(all.insert(path, dumped).is_none(), "a child is listed twice");
    }
    assert_eq!(view.node_count(), all.len() as u64);
    all
}

/// The digest from scratch.
fn digest_of(all: &BTreeMap<Vec<u8>, Dumped>) -> u64 {
    let counted = all.iter().filter(|(path, _)| !path::is_outside_digest(path));
    counted.fold(0, |sum, (path, node)| {
        let crc = digest::path_data_crc(path, node.data.as_deref());
        sum.wrapping_add(digest::node_digest(crc, &node.stat))
    })
}

/// Nodes in a snapshot's form: path, data, ACL id, status.
type Record = (Vec<u8>, Option<Vec<u8>>, i64, StatPersisted);

type AclMap = Vec<(i64, Vec<u8>)>;

fn load(acls: &[(i64, Vec<u8>)], records: &[Record], zxid: Zxid) -> TreeWriter {
    let mut loader = TreeLoader::new(OwnerOptions::default());
    for (id, list) in acls {
        loader.load_acl(*id, acl_list(list));
    }
    for (path, data, acl, stat) in records {
        loader.load_node(path, data.as_deref(), *acl, stat).unwrap();
    }
    loader.finish(zxid)
}
