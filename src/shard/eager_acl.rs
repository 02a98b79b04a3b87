//! `enableEagerACLCheck` (reference: data-model 10.6): a member of an ensemble refuses what the ACL it has applied does
//! not allow, before anything is forwarded. Whoever passes is checked again by the leader.

use super::Shard;
use super::reads::Asker;
use crate::base::slab::Key;
use crate::tree::path as paths;
use crate::wire::acl::perms;
use crate::wire::request::{CreateRequest, PathVersionRequest, SetAclRequest, SetDataRequest};
use crate::wire::{AclList, ErrorCode, OpCode, Reader};

/// The node whose ACL decides, the permission it must grant, and the list to be set.
type Question<'a> = (&'a [u8], i32, Option<Option<AclList<'a>>>);

/// `None` for what is not checked here: other operations, and requests that the leader refuses for other reasons.
fn question(op: OpCode, body: &[u8]) -> Option<Question<'_>> {
    let mut r = Reader::new(body);
    match op {
        OpCode::Create | OpCode::Create2 => {
            let request = CreateRequest::decode(op, &mut r).ok()?;
            Some((parent(request.path?)?, perms::CREATE, Some(request.acl)))
        }
        OpCode::Delete => {
            let request = PathVersionRequest::decode(&mut r).ok()?;
            Some((parent(request.path?)?, perms::DELETE, None))
        }
        OpCode::SetData => Some((SetDataRequest::decode(&mut r).ok()?.path?, perms::WRITE, None)),
        OpCode::SetAcl => {
            let request = SetAclRequest::decode(&mut r).ok()?;
            Some((request.path?, perms::ADMIN, Some(request.acl)))
        }
        _ => None,
    }
}

fn parent(path: &[u8]) -> Option<&[u8]> {
    if path.contains(&0) || paths::is_special(path) {
        return None;
    }
    paths::parent(path)
}

impl Shard {
    /// Why a write is refused at once, if it is.
    pub(super) fn eager_refusal(&self, key: Key, op: OpCode, body: &[u8]) -> Option<ErrorCode> {
        let conn = self.conns.get(key)?;
        let (path, perms, acl) = question(op, body)?;
        let auth = &self.links.auth;
        if let Some(acl) = acl
            && let Err(code) = auth.fixup_acl(acl, &conn.identities)
        {
            return Some(code);
        }
        let asker = Asker { auth, identities: &conn.identities };
        let (_, allowed) = self
            .links
            .tree
            .read(|view| view.lookup(path).is_none_or(|node| asker.may(&node, perms)));
        (!allowed).then_some(ErrorCode::NoAuth)
    }
}
