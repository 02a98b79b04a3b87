//! Request bodies and the few values that tests need to build them.

use base64::Engine;
use ringkeeper::wire::JuteWrite;
use ringkeeper::wire::acl::OPEN_ACL_UNSAFE;
use sha1::{Digest, Sha1};

/// An access control entry that may be wrong on purpose.
#[derive(Clone, Debug)]
pub struct Entry {
    pub perms: i32,
    pub scheme: Option<Vec<u8>>,
    pub id: Option<Vec<u8>>,
}

impl Entry {
    pub fn new(perms: i32, scheme: &str, id: &str) -> Entry {
        Entry { perms, scheme: Some(scheme.into()), id: Some(id.into()) }
    }
}

/// `vector<ACL>`; `None` is the null vector.
pub fn acl(entries: Option<&[Entry]>) -> Vec<u8> {
    let mut out = Vec::new();
    match entries {
        None => out.put_int(-1),
        Some(entries) => {
            out.put_int(entries.len() as i32);
            for entry in entries {
                out.put_int(entry.perms);
                out.put_buffer(entry.scheme.as_deref());
                out.put_buffer(entry.id.as_deref());
            }
        }
    }
    out
}

/// `world:anyone` with every permission, encoded.
pub fn open_acl() -> Vec<u8> {
    OPEN_ACL_UNSAFE.as_bytes().to_vec()
}

/// create, create2, createContainer; createTTL when `ttl` is given.
pub fn create(
    path: Option<&[u8]>,
    data: Option<&[u8]>,
    acl: &[u8],
    flags: i32,
    ttl: Option<i64>,
) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_buffer(path);
    out.put_buffer(data);
    out.extend_from_slice(acl);
    out.put_int(flags);
    if let Some(ttl) = ttl {
        out.put_long(ttl);
    }
    out
}

/// A create with an open ACL.
pub fn create_open(path: &str, data: &[u8], flags: i32) -> Vec<u8> {
    create(Some(path.as_bytes()), Some(data), &open_acl(), flags, None)
}

/// delete and check; also addWatch, checkWatches and removeWatches, whose number is a mode.
pub fn path_int(path: Option<&[u8]>, number: i32) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_buffer(path);
    out.put_int(number);
    out
}

/// exists, getData, getChildren, getChildren2.
pub fn path_watch(path: Option<&[u8]>, watch: bool) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_buffer(path);
    out.put_bool(watch);
    out
}

/// getACL, sync, getAllChildrenNumber, getEphemerals.
pub fn path_only(path: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_buffer(path);
    out
}

pub fn set_data(path: Option<&[u8]>, data: Option<&[u8]>, version: i32) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_buffer(path);
    out.put_buffer(data);
    out.put_int(version);
    out
}

pub fn set_acl(path: Option<&[u8]>, acl: &[u8], version: i32) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_buffer(path);
    out.extend_from_slice(acl);
    out.put_int(version);
    out
}

pub fn auth(scheme: Option<&[u8]>, auth: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_int(0);
    out.put_buffer(scheme);
    out.put_buffer(auth);
    out
}

/// `MultiHeader` and record of each operation, and the closing header.
pub fn multi(ops: &[(i32, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (op, record) in ops {
        out.put_int(*op);
        out.put_bool(false);
        out.put_int(-1);
        out.extend_from_slice(record);
    }
    out.put_int(-1);
    out.put_bool(true);
    out.put_int(-1);
    out
}

/// `user:base64(sha1(user:password))`: a digest id.
pub fn digest_id(user: &str, password: &str) -> String {
    let hash = Sha1::digest(format!("{user}:{password}").as_bytes());
    format!("{user}:{}", base64::engine::general_purpose::STANDARD.encode(hash))
}

/// The password that belongs to a session id (reference: client-protocol 4.4), written here a second time so
/// that the server's own function is not its only witness.
pub fn session_password(id: i64) -> [u8; 16] {
    const MASK: u64 = (1 << 48) - 1;
    let mut state = (id as u64 ^ 0xb341_5c00 ^ 0x5_deec_e66d) & MASK;
    let mut out = [0; 16];
    for word in out.chunks_mut(4) {
        state = state.wrapping_mul(0x5_deec_e66d).wrapping_add(0xb) & MASK;
        word.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    out
}
