//! Transactions: what the log holds and PROPOSALs carry (reference: disk-format 3.2, 4).
//!
//! A transaction's bytes are `TxnHeader`, the record of its type, and 12 bytes of digest if there is one. They are
//! made once by the leader's pipeline and shared from then on; everybody else decodes them in place.

use super::acl::AclList;
use super::jute::{DecodeError, JuteWrite, Reader, Result};
use super::op_code::OpCode;
use super::request::PathList;
use crate::base::{SessionId, WallMs, Zxid};

/// Digest version of 3.6 and later; others are not compared.
pub const DIGEST_VERSION: i32 = 2;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxnHeader {
    pub session: SessionId,
    pub cxid: i32,
    pub zxid: Zxid,
    /// Wall clock of the leader when it prepared the request.
    pub time: WallMs,
    pub op: i32,
}

impl TxnHeader {
    pub const WIRE_BYTES: usize = 32;
    /// Session, cxid and zxid stand before the time.
    const TIME_AT: usize = 20;

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_long(self.session.0);
        out.put_int(self.cxid);
        out.put_long(self.zxid.0);
        out.put_long(self.time);
        out.put_int(self.op);
    }

    pub fn decode(r: &mut Reader<'_>) -> Result<TxnHeader> {
        Ok(TxnHeader {
            session: SessionId(r.long()?),
            cxid: r.int()?,
            zxid: Zxid(r.long()?),
            time: r.long()?,
            op: r.int()?,
        })
    }

    /// The time alone; `None` for less than a header.
    pub fn time_of(txn: &[u8]) -> Option<WallMs> {
        let bytes = txn.get(Self::TIME_AT..)?.first_chunk()?;
        Some(WallMs::from_be_bytes(*bytes))
    }
}

/// The digest of the tree after a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxnDigest {
    pub version: i32,
    pub tree: u64,
}

impl TxnDigest {
    pub const WIRE_BYTES: usize = 12;

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_int(self.version);
        out.put_long(self.tree as i64);
    }
}

/// How a created node lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateMode {
    Persistent,
    /// Owned by the session of the transaction's header.
    Ephemeral,
    Container,
    /// Milliseconds.
    Ttl(i64),
}

/// create, create2, createContainer, createTTL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CreateTxn<'a> {
    pub op: OpCode,
    pub path: &'a [u8],
    pub data: Option<&'a [u8]>,
    pub acl: AclList<'a>,
    pub mode: CreateMode,
    /// The parent's stored cversion after this create; -1 in records of the 3.3 era: "current + 1".
    pub parent_cversion: i32,
}

/// setData, and reconfig on `/zookeeper/config`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetDataTxn<'a> {
    pub path: &'a [u8],
    pub data: Option<&'a [u8]>,
    /// The new version.
    pub version: i32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetAclTxn<'a> {
    pub path: &'a [u8],
    pub acl: AclList<'a>,
    /// The new aversion.
    pub version: i32,
}

/// A multi's sub-transactions, each a type and its record, walked lazily.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MultiTxn<'a> {
    count: i32,
    encoded: &'a [u8],
}

/// One part of a multi. `op` -1 is an error entry, whatever its data (reference: disk-format 4.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubTxn<'a> {
    pub op: i32,
    pub data: &'a [u8],
}

impl<'a> MultiTxn<'a> {
    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = SubTxn<'a>> + use<'a> {
        let mut r = Reader::new(self.encoded);
        (0..self.count).map_while(move |_| decode_sub(&mut r).ok())
    }

    /// A failed multi changes nothing.
    pub fn is_failed(&self) -> bool {
        self.iter().any(|sub| sub.op == OpCode::Error.code())
    }
}

fn decode_sub<'a>(r: &mut Reader<'a>) -> Result<SubTxn<'a>> {
    Ok(SubTxn { op: r.int()?, data: r.buffer()?.unwrap_or_default() })
}

/// A decoded transaction record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Txn<'a> {
    Create(CreateTxn<'a>),
    Delete {
        path: &'a [u8],
    },
    /// The reaper's delete of a container or TTL node.
    DeleteContainer {
        path: &'a [u8],
    },
    SetData(SetDataTxn<'a>),
    Reconfig(SetDataTxn<'a>),
    SetAcl(SetAclTxn<'a>),
    /// Only inside a multi.
    Check {
        path: &'a [u8],
        version: i32,
    },
    Multi(MultiTxn<'a>),
    CreateSession {
        timeout_ms: i32,
    },
    /// `None`: written without a record (3.5 and older): every ephemeral of the session goes.
    CloseSession {
        paths: Option<PathList<'a>>,
    },
    Error {
        err: i32,
    },
}

impl<'a> Txn<'a> {
    /// Decodes the record of type `op`. `r` is left after the record: what follows at the top level is the digest.
    pub fn decode(op: i32, r: &mut Reader<'a>) -> Result<Txn<'a>> {
        let op = OpCode::from_code(op).ok_or(DecodeError::BadValue("transaction type"))?;
        Ok(match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                Txn::Create(decode_create(op, r)?)
            }
            OpCode::Delete => Txn::Delete { path: path(r)? },
            OpCode::DeleteContainer => Txn::DeleteContainer { path: path(r)? },
            OpCode::SetData => Txn::SetData(decode_set_data(r)?),
            OpCode::Reconfig => Txn::Reconfig(decode_set_data(r)?),
            OpCode::SetAcl => {
                Txn::SetAcl(SetAclTxn { path: path(r)?, acl: acl(r)?, version: r.int()? })
            }
            OpCode::Check => Txn::Check { path: path(r)?, version: r.int()? },
            OpCode::Multi => {
                let count = r.vector()?.unwrap_or(0);
                let start = r.rest();
                for _ in 0..count {
                    decode_sub(r)?;
                }
                Txn::Multi(MultiTxn { count, encoded: &start[..start.len() - r.rest().len()] })
            }
            OpCode::CreateSession => Txn::CreateSession { timeout_ms: r.int()? },
            OpCode::CloseSession if r.is_empty() || is_bare_digest(r.rest()) => {
                Txn::CloseSession { paths: None }
            }
            OpCode::CloseSession => Txn::CloseSession { paths: PathList::decode(r)? },
            OpCode::Error => Txn::Error { err: r.int()? },
            _ => return Err(DecodeError::BadValue("transaction type")),
        })
    }
}

/// A closeSession without a record may still have its digest (closeSessionTxn switched off). Nothing else is 12 bytes
/// that begin with the digest's version: two paths take more.
fn is_bare_digest(rest: &[u8]) -> bool {
    rest.len() == TxnDigest::WIRE_BYTES && rest.starts_with(&DIGEST_VERSION.to_be_bytes())
}

fn path<'a>(r: &mut Reader<'a>) -> Result<&'a [u8]> {
    r.ustring()?.ok_or(DecodeError::BadValue("transaction path"))
}

fn acl<'a>(r: &mut Reader<'a>) -> Result<AclList<'a>> {
    AclList::decode(r)?.ok_or(DecodeError::BadValue("transaction ACL"))
}

fn decode_create<'a>(op: OpCode, r: &mut Reader<'a>) -> Result<CreateTxn<'a>> {
    let (path, data, acl) = (path(r)?, r.buffer()?, acl(r)?);
    let plain = matches!(op, OpCode::Create | OpCode::Create2);
    let ephemeral = plain && r.bool()?;
    let parent_cversion = match r.int() {
        Ok(value) => value,
        // CreateTxnV0 of the 3.3 era ends here.
        Err(_) if op == OpCode::Create => -1,
        Err(error) => return Err(error),
    };
    let mode = match op {
        OpCode::CreateContainer => CreateMode::Container,
        OpCode::CreateTtl => CreateMode::Ttl(r.long()?),
        _ if ephemeral => CreateMode::Ephemeral,
        _ => CreateMode::Persistent,
    };
    Ok(CreateTxn { op, path, data, acl, mode, parent_cversion })
}

fn decode_set_data<'a>(r: &mut Reader<'a>) -> Result<SetDataTxn<'a>> {
    Ok(SetDataTxn { path: path(r)?, data: r.buffer()?, version: r.int()? })
}

/// Splits a transaction's bytes into header, record and digest. Bytes after the digest are ignored, fewer than 12
/// after the record are no digest.
pub fn decode_txn(bytes: &[u8]) -> Result<(TxnHeader, Txn<'_>, Option<TxnDigest>)> {
    let mut r = Reader::new(bytes);
    let header = TxnHeader::decode(&mut r)?;
    let txn = Txn::decode(header.op, &mut r)?;
    let digest = match (r.int(), r.long()) {
        (Ok(version), Ok(tree)) => Some(TxnDigest { version, tree: tree as u64 }),
        _ => None,
    };
    Ok((header, txn, digest))
}

impl CreateTxn<'_> {
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_buffer(Some(self.path));
        out.put_buffer(self.data);
        out.extend_from_slice(self.acl.as_bytes());
        if matches!(self.op, OpCode::Create | OpCode::Create2) {
            out.put_bool(self.mode == CreateMode::Ephemeral);
        }
        out.put_int(self.parent_cversion);
        if let CreateMode::Ttl(ttl) = self.mode {
            out.put_long(ttl);
        }
    }
}

impl SetDataTxn<'_> {
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_buffer(Some(self.path));
        out.put_buffer(self.data);
        out.put_int(self.version);
    }
}

impl SetAclTxn<'_> {
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_buffer(Some(self.path));
        out.extend_from_slice(self.acl.as_bytes());
        out.put_int(self.version);
    }
}
