//! Validation of each kind of write, in the reference's order of checks (data-model 6): first failing row wins.

use super::outstanding::{OwnedAcl, Record};
use super::owners::{parent_or_root, raw_owner};
use super::prep::{Prep, PrepContext, Refusal, Write, next_version};
use super::prep_multi;
use crate::base::Zxid;
use crate::tree::NodeType;
use crate::tree::owner::TTL_MS_MAX;
use crate::tree::{digest, path as paths};
use crate::wire::acl::perms;
use crate::wire::multi::{MultiError, MultiOp, decode_multi};
use crate::wire::request::{
    CreateRequest, PathVersionRequest, ReconfigRequest, SetAclRequest, SetDataRequest, create_flags,
};
use crate::wire::txn::{CreateMode, CreateTxn, SetAclTxn, SetDataTxn, TxnHeader};
use crate::wire::{AclList, ErrorCode, JuteWrite, OpCode, Reader, StatPersisted};

/// A body that is not what its operation asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Undecodable {
    /// Only an undecodable multi takes a zxid with it (client-protocol 5.2).
    pub consumes_zxid: bool,
}

/// A write request, decoded.
#[derive(Debug)]
pub(super) enum Decoded<'a> {
    Create(CreateRequest<'a>),
    Delete(PathVersionRequest<'a>),
    DeleteContainer(Option<&'a [u8]>),
    SetData(SetDataRequest<'a>),
    SetAcl(SetAclRequest<'a>),
    Multi(Vec<MultiOp<'a>>),
    Reconfig,
    CloseSession,
}

impl<'a> Decoded<'a> {
    pub(super) fn decode(op: OpCode, body: &'a [u8]) -> Result<Decoded<'a>, Undecodable> {
        let mut r = Reader::new(body);
        Ok(match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                Decoded::Create(CreateRequest::decode(op, &mut r)?)
            }
            OpCode::Delete => Decoded::Delete(PathVersionRequest::decode(&mut r)?),
            OpCode::DeleteContainer => Decoded::DeleteContainer(r.ustring()?),
            OpCode::SetData => Decoded::SetData(SetDataRequest::decode(&mut r)?),
            OpCode::SetAcl => Decoded::SetAcl(SetAclRequest::decode(&mut r)?),
            OpCode::Multi => Decoded::Multi(decode_txn_multi(&mut r)?),
            OpCode::Reconfig => {
                ReconfigRequest::decode(&mut r)?;
                Decoded::Reconfig
            }
            OpCode::CloseSession => Decoded::CloseSession,
            _ => return Err(Undecodable { consumes_zxid: false }),
        })
    }

    /// Whether a node that goes with its session is among what it makes.
    pub(super) fn makes_ephemeral(&self) -> bool {
        let makes = |request: &CreateRequest<'_>| {
            let plain = matches!(request.op, OpCode::Create | OpCode::Create2);
            plain
                && create_flags::is_known(request.flags)
                && create_flags::is_ephemeral(request.flags)
        };
        match self {
            Decoded::Create(request) => makes(request),
            Decoded::Multi(ops) => {
                ops.iter().any(|op| matches!(op, MultiOp::Create(request) if makes(request)))
            }
            _ => false,
        }
    }

    /// Validates and appends the record. The outstanding changes and the running digest are those after the
    /// transaction when it succeeds, and untouched when it does not.
    pub(super) fn prepare(
        &self,
        prep: &mut Prep,
        cx: &mut PrepContext<'_>,
        write: &Write<'_>,
        header: &TxnHeader,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        match self {
            Decoded::Create(request) => prep.create(cx, write, header, request, out).map(|_| ()),
            Decoded::Delete(request) => prep.delete(cx, write, header.zxid, request, out),
            Decoded::DeleteContainer(path) => prep.delete_container(cx, header.zxid, *path, out),
            Decoded::SetData(request) => prep.set_data(cx, write, header, request, out),
            Decoded::SetAcl(request) => prep.set_acl(cx, write, header.zxid, request, out),
            Decoded::Multi(ops) => prep_multi::prepare(prep, cx, write, header, ops, out),
            Decoded::Reconfig if !prep.options.reconfig_enabled => Err(ErrorCode::ReconfigDisabled),
            // A standalone server has no membership to change.
            Decoded::Reconfig => Err(ErrorCode::Unimplemented),
            Decoded::CloseSession => {
                prep.close_session(cx, write, header.zxid, out);
                Ok(())
            }
        }
    }
}

/// A multi under opcode 14 carries no reads.
fn decode_txn_multi<'a>(r: &mut Reader<'a>) -> Result<Vec<MultiOp<'a>>, Undecodable> {
    match decode_multi(r) {
        Ok(ops) if ops.iter().all(|op| !op.is_read()) => Ok(ops),
        Err(MultiError::NullAcl) => Err(Undecodable { consumes_zxid: false }),
        Ok(_) | Err(MultiError::Malformed(_)) => Err(Undecodable { consumes_zxid: true }),
    }
}

/// What a create with these flags makes, after the checks that come before the session's (data-model 6).
fn create_mode(prep: &Prep, request: &CreateRequest<'_>) -> Result<CreateMode, Refusal> {
    let flags = request.flags;
    if !create_flags::is_known(flags) {
        return Err(ErrorCode::BadArguments);
    }
    if create_flags::is_ttl(flags) {
        if !prep.options.extended_types {
            return Err(ErrorCode::Unimplemented);
        }
        if !(1..=TTL_MS_MAX).contains(&request.ttl) {
            return Err(ErrorCode::BadArguments);
        }
        return Ok(CreateMode::Ttl(request.ttl));
    }
    // createTTL without a TTL flag: 3.9.5 accepts a negative ttl here and dies applying it.
    if request.op == OpCode::CreateTtl {
        return Err(ErrorCode::BadArguments);
    }
    Ok(match request.op {
        OpCode::CreateContainer => CreateMode::Container,
        _ if create_flags::is_ephemeral(flags) => CreateMode::Ephemeral,
        _ => CreateMode::Persistent,
    })
}

fn path_for_create(path: Option<&[u8]>) -> Result<&[u8], Refusal> {
    let path = path.ok_or(ErrorCode::MarshallingError)?;
    if !path.contains(&b'/') || path.contains(&0) {
        return Err(ErrorCode::BadArguments);
    }
    Ok(path)
}

impl Prep {
    /// The created path, as the reply echoes it.
    pub(super) fn create(
        &mut self,
        cx: &mut PrepContext<'_>,
        write: &Write<'_>,
        header: &TxnHeader,
        request: &CreateRequest<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let mode = create_mode(self, request)?;
        if mode == CreateMode::Ephemeral
            && let Some(code) = write.local
        {
            return Err(code);
        }
        let path = path_for_create(request.path)?;
        let acl = cx.auth.fixup_acl(request.acl, write.identities)?;
        let parent_path = parent_or_root(path);
        let parent = self.node(cx, parent_path).ok_or(ErrorCode::NoNode)?;
        self.require(cx, write, &parent.acl, perms::CREATE)?;
        let mut full = path.to_vec();
        if create_flags::is_sequential(request.flags) {
            paths::push_sequence(&mut full, parent.sequence);
        }
        if !paths::validate(&full) {
            return Err(ErrorCode::BadArguments);
        }
        if self.node(cx, &full).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if is_ephemeral(cx, &parent) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let bytes = request.data.map_or(0, |data| data.len() as i64);
        self.check_quota(cx, &full, 1, bytes)?;
        let acl = AclList::decode(&mut Reader::new(&acl)).ok().flatten();
        let acl = acl.ok_or(ErrorCode::InvalidAcl)?;
        let parent_cversion = parent.sequence.wrapping_add(1);
        // The record's type is the operation's; a createTTL got here only with a TTL, a createContainer always
        // makes one, and the rest are plain.
        let txn = CreateTxn {
            op: request.op,
            path: &full,
            data: request.data,
            acl,
            mode,
            parent_cversion,
        };
        let start = out.len();
        txn.encode(out);
        if !self.fits(out, start) {
            return Err(ErrorCode::MarshallingError);
        }
        self.put_create(header, &txn, &parent, parent_path);
        Ok(())
    }

    fn put_create(
        &mut self,
        header: &TxnHeader,
        txn: &CreateTxn<'_>,
        parent: &Record,
        parent_path: &[u8],
    ) {
        let mut after = parent.clone();
        after.child_count += 1;
        after.sequence = txn.parent_cversion;
        // The tree refuses a cversion that wrapped; so does its picture here (data-model 3).
        if txn.parent_cversion > after.stat.cversion {
            after.stat.cversion = txn.parent_cversion;
            after.stat.pzxid = header.zxid.0;
        }
        self.put_changed(header.zxid, parent_path, parent, after);
        let stat = StatPersisted {
            czxid: header.zxid.0,
            mzxid: header.zxid.0,
            ctime: header.time,
            mtime: header.time,
            ephemeral_owner: raw_owner(txn.mode, header.session),
            pzxid: header.zxid.0,
            ..StatPersisted::default()
        };
        let record = Record {
            exists: true,
            stat,
            sequence: 0,
            child_count: 0,
            acl: OwnedAcl::new(txn.acl),
            content_crc: digest::path_data_crc(txn.path, txn.data),
            data_len: txn.data.map_or(0, <[u8]>::len),
        };
        self.put_created(header.zxid, txn.path, record);
    }

    pub(super) fn delete(
        &mut self,
        cx: &mut PrepContext<'_>,
        write: &Write<'_>,
        zxid: Zxid,
        request: &PathVersionRequest<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let path = path_for_delete(request.path)?;
        let parent_path = parent_or_root(path);
        let parent = self.node(cx, parent_path).ok_or(ErrorCode::NoNode)?;
        self.require(cx, write, &parent.acl, perms::DELETE)?;
        let node = self.node(cx, path).ok_or(ErrorCode::NoNode)?;
        next_version(node.stat.version, request.version)?;
        if node.child_count > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        out.put_buffer(Some(path));
        self.put_delete(zxid, path, &node, parent_path, &parent);
        Ok(())
    }

    /// The reaper's delete: no session, no ACL, no version; the node must still be empty and not an ephemeral.
    fn delete_container(
        &mut self,
        cx: &mut PrepContext<'_>,
        zxid: Zxid,
        path: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let path = path_for_delete(path)?;
        let parent_path = parent_or_root(path);
        let parent = self.node(cx, parent_path).ok_or(ErrorCode::NoNode)?;
        let node = self.node(cx, path).ok_or(ErrorCode::NoNode)?;
        if node.child_count > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        if is_ephemeral(cx, &node) {
            return Err(ErrorCode::BadVersion);
        }
        out.put_buffer(Some(path));
        self.put_delete(zxid, path, &node, parent_path, &parent);
        Ok(())
    }

    fn put_delete(
        &mut self,
        zxid: Zxid,
        path: &[u8],
        node: &Record,
        parent_path: &[u8],
        parent: &Record,
    ) {
        let mut after = parent.clone();
        after.child_count -= 1;
        after.stat.pzxid = zxid.0;
        self.put_changed(zxid, parent_path, parent, after);
        self.put_deleted(zxid, path, node);
    }

    pub(super) fn set_data(
        &mut self,
        cx: &mut PrepContext<'_>,
        write: &Write<'_>,
        header: &TxnHeader,
        request: &SetDataRequest<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let path = valid_path(request.path)?;
        let before = self.node(cx, path).ok_or(ErrorCode::NoNode)?;
        self.require(cx, write, &before.acl, perms::WRITE)?;
        // The usage is the applied one, the length that goes is the outstanding one, as in Apache.
        let data_len = request.data.map_or(0, <[u8]>::len);
        self.check_quota(cx, path, 0, data_len as i64 - before.data_len as i64)?;
        let version = next_version(before.stat.version, request.version)?;
        SetDataTxn { path, data: request.data, version }.encode(out);
        let mut after = before.clone();
        after.stat.version = version;
        after.stat.mzxid = header.zxid.0;
        after.stat.mtime = header.time;
        after.content_crc = digest::path_data_crc(path, request.data);
        after.data_len = data_len;
        self.put_changed(header.zxid, path, &before, after);
        Ok(())
    }

    fn set_acl(
        &mut self,
        cx: &mut PrepContext<'_>,
        write: &Write<'_>,
        zxid: Zxid,
        request: &SetAclRequest<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let path = valid_path(request.path)?;
        let acl = cx.auth.fixup_acl(request.acl, write.identities)?;
        let before = self.node(cx, path).ok_or(ErrorCode::NoNode)?;
        self.require(cx, write, &before.acl, perms::ADMIN)?;
        let version = next_version(before.stat.aversion, request.version)?;
        let acl = AclList::decode(&mut Reader::new(&acl)).ok().flatten();
        let acl = acl.ok_or(ErrorCode::InvalidAcl)?;
        let start = out.len();
        SetAclTxn { path, acl, version }.encode(out);
        if !self.fits(out, start) {
            return Err(ErrorCode::MarshallingError);
        }
        let mut after = before.clone();
        after.stat.aversion = version;
        after.acl = OwnedAcl::new(acl);
        self.put_changed(zxid, path, &before, after);
        Ok(())
    }

    /// Inside a multi. The logged version is one above the node's, as the reference writes it; nobody reads it.
    pub(super) fn check(
        &mut self,
        cx: &mut PrepContext<'_>,
        write: &Write<'_>,
        request: &PathVersionRequest<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let path = valid_path(request.path)?;
        let node = self.node(cx, path).ok_or(ErrorCode::NoNode)?;
        self.require(cx, write, &node.acl, perms::READ)?;
        let version = next_version(node.stat.version, request.version)?;
        PathVersionRequest { path: Some(path), version }.encode(out);
        Ok(())
    }

    /// Takes the session's ephemerals with it, those of outstanding creates included.
    fn close_session(
        &mut self,
        cx: &mut PrepContext<'_>,
        write: &Write<'_>,
        zxid: Zxid,
        out: &mut Vec<u8>,
    ) {
        cx.sessions.set_closing(write.session);
        let mut doomed = cx.tree.ephemerals_of(write.session);
        // A path that changes hands while this is prepared belongs to its next owner.
        doomed.retain(|path| !self.outstanding.touches(path));
        let pending = self.outstanding.ephemerals_of(write.session.0);
        doomed.extend(pending.map(|path| Box::from(&path[..])));
        let start = out.len();
        if self.options.close_session_txn {
            out.put_int(doomed.len() as i32);
            for path in &doomed {
                out.put_buffer(Some(path));
            }
        }
        if !self.fits(out, start) {
            // A session's end cannot be refused. Without a list every server deletes what the session owns.
            out.truncate(start);
        }
        for path in &doomed {
            let parent_path = parent_or_root(path);
            let (Some(node), Some(parent)) = (self.node(cx, path), self.node(cx, parent_path))
            else {
                continue;
            };
            self.put_delete(zxid, path, &node, parent_path, &parent);
        }
    }

    /// Usage is read from the tree as applied, as the reference does.
    fn check_quota(
        &mut self,
        cx: &PrepContext<'_>,
        path: &[u8],
        count: i64,
        bytes: i64,
    ) -> Result<(), Refusal> {
        if !self.options.enforce_quota {
            return Ok(());
        }
        match cx.tree.quota_check(path, count, bytes)? {
            Some(violation) if violation.hard => {
                self.count_exceeded_quota(path);
                Err(ErrorCode::QuotaExceeded)
            }
            Some(violation) => {
                self.warn_of_soft_quota(cx.now, &violation);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn is_ephemeral(cx: &PrepContext<'_>, node: &Record) -> bool {
    let kind = cx.tree.tree().options().node_type(node.stat.ephemeral_owner);
    kind == Ok(NodeType::Ephemeral)
}

fn path_for_delete(path: Option<&[u8]>) -> Result<&[u8], Refusal> {
    let path = path_for_create(path)?;
    if paths::is_special(path) {
        return Err(ErrorCode::BadArguments);
    }
    Ok(path)
}

fn valid_path(path: Option<&[u8]>) -> Result<&[u8], Refusal> {
    path.filter(|path| paths::validate(path)).ok_or(ErrorCode::BadArguments)
}
