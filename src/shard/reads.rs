//! Requests answered on this core, from the shared tree. Reference: client-protocol 8, data-model 6 and 10.5.

use super::Shard;
use super::input::count_sent;
use super::watch_requests::watch_key;
use crate::auth::{Auth, Identities, mask_digests};
use crate::base::slab::Key;
use crate::base::{MonoMs, Zxid};
use crate::tree::{NodeView, View};
use crate::watch::WatchKind;
use crate::wire::acl::perms;
use crate::wire::multi::{MultiHeader, MultiOp, decode_multi};
use crate::wire::reply::{ReplyHeader, encode_reply};
use crate::wire::request::PathWatchRequest;
use crate::wire::{DecodeError, ErrorCode, JuteWrite, OpCode, Reader, java_text};

/// A read's answer before it is sent: the code, and in the scratch buffer the body.
pub(super) struct Answer<'a> {
    pub err: ErrorCode,
    /// The watch to leave once everything the read has seen is delivered.
    pub watch: Option<(Option<&'a [u8]>, WatchKind)>,
    /// An error whose body is sent all the same (multiRead).
    pub body_with_error: bool,
}

impl<'a> Answer<'a> {
    pub(super) fn ok() -> Answer<'a> {
        Answer { err: ErrorCode::Ok, watch: None, body_with_error: false }
    }

    pub(super) fn refused(err: ErrorCode) -> Answer<'a> {
        Answer { err, watch: None, body_with_error: false }
    }
}

impl From<DecodeError> for Answer<'_> {
    fn from(_: DecodeError) -> Self {
        Answer::refused(ErrorCode::MarshallingError)
    }
}

/// Who asks.
pub(super) struct Asker<'s> {
    pub(super) auth: &'s Auth,
    pub(super) identities: &'s Identities,
}

impl Asker<'_> {
    pub(super) fn may(&self, node: &NodeView<'_>, perms: i32) -> bool {
        let Some(acl) = node.acl() else { return false };
        if acl.world_perms() & perms != 0 {
            return true;
        }
        match acl.list() {
            Some(list) => self.auth.check_acl(list, perms, self.identities),
            None => self.identities.is_super() || self.auth.config().skip_acl,
        }
    }
}

impl Shard {
    pub(super) fn answer_read(
        &mut self,
        key: Key,
        xid: i32,
        op: OpCode,
        body: &[u8],
        came: MonoMs,
    ) {
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        let (zxid, answer) = self.make_answer(key, op, body, &mut out);
        self.drain_to(zxid);
        if let Some((path, kind)) = answer.watch
            && self.conns.get(key).is_some_and(|conn| !conn.is_closing())
        {
            self.watches.add(&watch_key(path), key, kind);
        }
        if op == OpCode::MultiRead {
            self.counts.has_read_many(body, &out);
        } else if answer.err == ErrorCode::Ok
            && let Ok(Some(path)) = Reader::new(body).ustring()
        {
            self.counts.has_read(op, path, &out);
        }
        self.send_answer(key, (xid, op, came), zxid, &answer, &out);
        if out.capacity() > 1 << 20 {
            out = Vec::new();
        }
        self.scratch = out;
    }

    fn make_answer<'b>(
        &mut self,
        key: Key,
        op: OpCode,
        body: &'b [u8],
        out: &mut Vec<u8>,
    ) -> (Zxid, Answer<'b>) {
        if self.read_only && (op.is_write() || op == OpCode::Sync) {
            return (self.links.tree.applied(), Answer::refused(ErrorCode::NotReadOnly));
        }
        match op {
            OpCode::Exists
            | OpCode::GetData
            | OpCode::GetAcl
            | OpCode::GetChildren
            | OpCode::GetChildren2
            | OpCode::GetAllChildrenNumber
            | OpCode::MultiRead => self.read_tree(key, op, body, out),
            OpCode::SetWatches | OpCode::SetWatches2 => self.set_watches(key, op, body),
            OpCode::GetEphemerals => self.ephemerals(key, body, out),
            _ => {
                let zxid = self.links.tree.applied();
                let answer = match op {
                    OpCode::Ping => Answer::ok(),
                    OpCode::Sync => sync(body, out),
                    OpCode::WhoAmI => self.who_am_i(key, out),
                    OpCode::AddWatch => self.add_watch(body, out),
                    OpCode::CheckWatches => self.check_watches(key, zxid, body),
                    OpCode::RemoveWatches => self.remove_watches(key, zxid, body),
                    _ => Answer::refused(ErrorCode::Unimplemented),
                };
                (zxid, answer)
            }
        }
    }

    fn read_tree<'b>(
        &self,
        key: Key,
        op: OpCode,
        body: &'b [u8],
        out: &mut Vec<u8>,
    ) -> (Zxid, Answer<'b>) {
        let Some(conn) = self.conns.get(key) else {
            return (self.links.tree.applied(), Answer::ok());
        };
        let asker = Asker { auth: &self.links.auth, identities: &conn.identities };
        // May run more than once: the tree moved on while it read.
        self.links.tree.read(|view| {
            out.clear();
            let answer = match op {
                OpCode::Exists => exists(view, &asker, body, out),
                OpCode::GetData => get_data(view, &asker, body, out),
                OpCode::GetAcl => get_acl(view, &asker, body, out),
                OpCode::GetChildren => get_children(view, &asker, body, out, false),
                OpCode::GetChildren2 => get_children(view, &asker, body, out, true),
                OpCode::GetAllChildrenNumber => all_children_number(view, &asker, body, out),
                _ => multi_read(view, &asker, body, out),
            };
            answer.unwrap_or_else(Answer::from)
        })
    }

    fn send_answer(
        &mut self,
        key: Key,
        (xid, op, came): (i32, OpCode, MonoMs),
        zxid: Zxid,
        answer: &Answer<'_>,
        body: &[u8],
    ) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.is_closing() {
            return;
        }
        // A ping is answered with the ping's own xid, whatever came (client-protocol 5.1).
        let xid = if op == OpCode::Ping { crate::wire::request::xid::PING } else { xid };
        let with_body = answer.err == ErrorCode::Ok || answer.body_with_error;
        let header = ReplyHeader { xid, zxid, err: answer.err.code() };
        let before = conn.output.len();
        encode_reply(&mut conn.output, header, |out| {
            if with_body {
                out.extend_from_slice(body);
            }
        });
        match op {
            OpCode::Ping => self.counts.sent(conn.output.len() - before),
            _ => self.counts.responded(conn.output.len() - before),
        }
        count_sent(conn, &self.links.counters);
        conn.stats.answered(op, xid, zxid.0, (now - came).max(0), now);
        Self::mark_dirty(&mut self.dirty, key, conn);
        self.note_latency(false, came);
    }

    fn who_am_i<'b>(&self, key: Key, out: &mut Vec<u8>) -> Answer<'b> {
        let Some(conn) = self.conns.get(key) else { return Answer::ok() };
        let infos = self.links.auth.who_am_i(&conn.identities);
        out.put_int(infos.len() as i32);
        for (scheme, user) in &infos {
            out.put_str(scheme);
            out.put_str(user);
        }
        Answer::ok()
    }

    fn ephemerals<'b>(&self, key: Key, body: &[u8], out: &mut Vec<u8>) -> (Zxid, Answer<'b>) {
        let applied = self.links.tree.applied();
        let Ok(prefix) = Reader::new(body).ustring() else {
            return (applied, Answer::refused(ErrorCode::MarshallingError));
        };
        let prefix = prefix.unwrap_or_default();
        let all = matches!(prefix.trim_ascii(), b"" | b"/");
        let session = self.conns.get(key).and_then(|conn| conn.active().copied());
        let Some(active) = session else { return (applied, Answer::ok()) };
        let (zxid, ()) = self.links.tree.read(|view| {
            out.clear();
            out.put_int(0);
            let mut count = 0i32;
            view.ephemerals_of(active.session, |path| {
                if all || path.starts_with(prefix) {
                    out.put_buffer(Some(path));
                    count += 1;
                }
            });
            out[..4].copy_from_slice(&count.to_be_bytes());
        });
        (zxid, Answer::ok())
    }
}

/// On a standalone server an ordered no-op that echoes its path; malformed UTF-8 comes back as U+FFFD, as Java
/// decodes it.
fn sync<'b>(body: &[u8], out: &mut Vec<u8>) -> Answer<'b> {
    match Reader::new(body).ustring() {
        Ok(path) => {
            out.put_buffer(path.map(java_text).as_deref());
            Answer::ok()
        }
        Err(error) => error.into(),
    }
}

type Made<'b> = Result<Answer<'b>, DecodeError>;

fn exists<'b>(view: View<'_>, asker: &Asker<'_>, body: &'b [u8], out: &mut Vec<u8>) -> Made<'b> {
    let request = PathWatchRequest::decode(&mut Reader::new(body))?;
    let Some(path) = request.path else {
        return Ok(Answer::refused(ErrorCode::MarshallingError));
    };
    if path.contains(&0) {
        return Ok(Answer::refused(ErrorCode::BadArguments));
    }
    let watch = request.watch.then_some((Some(path), WatchKind::Data));
    let Some(node) = view.lookup(path) else {
        return Ok(Answer { err: ErrorCode::NoNode, watch, body_with_error: false });
    };
    if !asker.may(&node, perms::READ) {
        return Ok(Answer::refused(ErrorCode::NoAuth));
    }
    node.stat().encode(out);
    Ok(Answer { watch, ..Answer::ok() })
}

fn get_data<'b>(view: View<'_>, asker: &Asker<'_>, body: &'b [u8], out: &mut Vec<u8>) -> Made<'b> {
    let request = PathWatchRequest::decode(&mut Reader::new(body))?;
    let (path, node) = match readable(view, asker, request.path, perms::READ) {
        Ok(found) => found,
        Err(code) => return Ok(Answer::refused(code)),
    };
    out.put_buffer(node.data());
    node.stat().encode(out);
    Ok(Answer { watch: request.watch.then_some((Some(path), WatchKind::Data)), ..Answer::ok() })
}

fn get_children<'b>(
    view: View<'_>,
    asker: &Asker<'_>,
    body: &'b [u8],
    out: &mut Vec<u8>,
    with_stat: bool,
) -> Made<'b> {
    let request = PathWatchRequest::decode(&mut Reader::new(body))?;
    let (path, node) = match readable(view, asker, request.path, perms::READ) {
        Ok(found) => found,
        Err(code) => return Ok(Answer::refused(code)),
    };
    put_children(&node, out);
    if with_stat {
        node.stat().encode(out);
    }
    Ok(Answer { watch: request.watch.then_some((Some(path), WatchKind::Child)), ..Answer::ok() })
}

fn put_children(node: &NodeView<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.put_int(0);
    let mut count = 0i32;
    node.for_each_child(|name| {
        out.put_buffer(Some(name));
        count += 1;
    });
    out[start..start + 4].copy_from_slice(&count.to_be_bytes());
}

/// Readers of an ACL who may not change it do not see digests (data-model 10.5).
fn get_acl<'b>(view: View<'_>, asker: &Asker<'_>, body: &'b [u8], out: &mut Vec<u8>) -> Made<'b> {
    let path = Reader::new(body).ustring()?;
    let (_, node) = match readable(view, asker, path, perms::READ | perms::ADMIN) {
        Ok(found) => found,
        Err(code) => return Ok(Answer::refused(code)),
    };
    let list = node.acl().and_then(|acl| acl.list());
    match list {
        None => out.put_int(-1),
        Some(list) if asker.may(&node, perms::ADMIN) => out.extend_from_slice(list.as_bytes()),
        Some(list) => out.extend_from_slice(&mask_digests(list)),
    }
    node.stat().encode(out);
    Ok(Answer::ok())
}

fn all_children_number<'b>(
    view: View<'_>,
    asker: &Asker<'_>,
    body: &'b [u8],
    out: &mut Vec<u8>,
) -> Made<'b> {
    let path = Reader::new(body).ustring()?;
    let (path, node) = match readable(view, asker, path, perms::READ) {
        Ok(found) => found,
        Err(code) => return Ok(Answer::refused(code)),
    };
    // The reference keeps the root under two names, and "" counts the other one.
    let count = node.descendants() as i32 + i32::from(path.is_empty());
    out.put_int(count);
    Ok(Answer::ok())
}

/// The node, if it is there and the asker has one of `perms` on it.
fn readable<'v, 'b>(
    view: View<'v>,
    asker: &Asker<'_>,
    path: Option<&'b [u8]>,
    perms: i32,
) -> Result<(&'b [u8], NodeView<'v>), ErrorCode> {
    let path = path.ok_or(ErrorCode::MarshallingError)?;
    let node = view.lookup(path).ok_or(ErrorCode::NoNode)?;
    if !asker.may(&node, perms) {
        return Err(ErrorCode::NoAuth);
    }
    Ok((path, node))
}

/// One multiRead may name one large node very often; its answer ends, as a broken one, above this.
const MULTI_READ_BYTES_MAX: usize = 64 << 20;

/// Each operation fails or succeeds on its own; a write or a null path ends the whole with what there is so far.
fn multi_read<'b>(
    view: View<'_>,
    asker: &Asker<'_>,
    body: &'b [u8],
    out: &mut Vec<u8>,
) -> Made<'b> {
    let Ok(ops) = decode_multi(&mut Reader::new(body)) else {
        return Ok(Answer::refused(ErrorCode::MarshallingError));
    };
    let mut answer = Answer::ok();
    for op in &ops {
        if out.len() > MULTI_READ_BYTES_MAX {
            answer = broken_multi_read();
            break;
        }
        let (code, request, is_data) = match op {
            MultiOp::GetData(request) => (OpCode::GetData, request, true),
            MultiOp::GetChildren(request) => (OpCode::GetChildren, request, false),
            _ => {
                answer = broken_multi_read();
                break;
            }
        };
        match readable(view, asker, request.path, perms::READ) {
            Ok((_, node)) => {
                MultiHeader { op: code.code(), done: false, err: 0 }.encode(out);
                if is_data {
                    out.put_buffer(node.data());
                    node.stat().encode(out);
                } else {
                    put_children(&node, out);
                }
            }
            Err(ErrorCode::MarshallingError) => {
                answer = broken_multi_read();
                break;
            }
            Err(code) => {
                MultiHeader { op: -1, done: false, err: code.code() }.encode(out);
                out.put_int(code.code());
            }
        }
    }
    MultiHeader::END.encode(out);
    Ok(answer)
}

fn broken_multi_read<'b>() -> Answer<'b> {
    Answer { err: ErrorCode::MarshallingError, watch: None, body_with_error: true }
}
