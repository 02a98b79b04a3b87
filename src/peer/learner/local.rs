//! Requests of this learner's own clients: forwarded in order, answered when their transactions come back (reference:
//! zab 12, 13).

use super::Learner;
use crate::auth::Identities;
use crate::base::{SessionId, Zxid};
use crate::peer::core::Core;
use crate::peer::queue::{Connecting, Waiting};
use crate::pipeline::apply::ReplyTo;
use crate::pipeline::messages::RequestBatch;
use crate::pipeline::{ConnToken, Prep};
use crate::session::{Touch, password_matches};
use crate::wire::quorum_packet::{ForwardedRequest, PacketType, Revalidate, put_request};
use crate::wire::{ErrorCode, JuteWrite, OpCode};

/// A request that the leader has.
#[derive(Debug)]
pub(super) struct Forwarded {
    pub session: SessionId,
    pub cxid: i32,
    pub waiting: Waiting,
    /// A sync's path, which its answer repeats.
    pub body: Vec<u8>,
    /// What a refusal is answered with, whatever the leader calls it.
    pub refusal: Option<ErrorCode>,
}

impl Learner {
    pub fn client_requests(&mut self, core: &mut Core, batch: &RequestBatch) {
        for request in &batch.requests {
            let conn = ConnToken { shard: batch.shard, conn: request.conn };
            if core.attached.get(&request.session) != Some(&conn) {
                core.close_conn(conn);
                continue;
            }
            let body = &batch.bytes[request.body.start as usize..request.body.end as usize];
            let to = ReplyTo { conn, xid: request.xid };
            if request.op == OpCode::CloseSession.code() && core.end_local(request.session) {
                self.ended.push(to);
                continue;
            }
            // What no leader can decode must not reach one: a Java leader gives it another's zxid.
            let is_sync = request.op == OpCode::Sync.code();
            if !is_sync && !Prep::decodes(request.op, body) {
                let code = match OpCode::from_code(request.op) {
                    Some(_) => ErrorCode::MarshallingError,
                    None => ErrorCode::Unimplemented,
                };
                self.refuse(core, to, code);
                continue;
            }
            let refusal = self.make_global(core, request.session, request.op, body);
            self.forward(request.session, request.xid, request.op, body, &request.identities);
            let waiting = Waiting { reply: Some(to), connect: None };
            let entry = Forwarded {
                session: request.session,
                cxid: request.xid,
                waiting,
                body: if is_sync { body.to_vec() } else { Vec::new() },
                refusal,
            };
            if is_sync {
                self.syncs.push_back(entry);
            } else {
                self.forwarded.push_back(entry);
            }
        }
    }

    /// A session that only this server knows must be known to all before it has an ephemeral (reference: zab 12.7). If
    /// it may not be, the leader refuses, and the client is told why.
    fn make_global(
        &mut self,
        core: &mut Core,
        session: SessionId,
        op: i32,
        body: &[u8],
    ) -> Option<ErrorCode> {
        if !core.local.contains(session) || !Prep::makes_ephemeral(op, body) {
            return None;
        }
        match core.upgrade_local(session) {
            Some(timeout_ms) => {
                self.forward_session(session, timeout_ms, Waiting::default());
                None
            }
            None => Some(ErrorCode::EphemeralOnLocalSession),
        }
    }

    /// Answers the ends of local sessions that nothing is under way for any more: their answers come last.
    pub(super) fn answer_ended(&mut self, core: &mut Core) {
        let Learner { ended, forwarded, syncs, .. } = self;
        ended.retain(|to| {
            let under_way = forwarded.iter().chain(syncs.iter()).filter_map(|f| f.waiting.reply);
            let waits = under_way.into_iter().any(|earlier| earlier.conn == to.conn);
            if !waits {
                core.answer(*to, ErrorCode::Ok.code());
            }
            waits
        });
    }

    /// Answered here, behind the requests of the connection that are under way: their answers come first.
    fn refuse(&mut self, core: &mut Core, to: ReplyTo, code: ErrorCode) {
        let behind = self.forwarded.iter().chain(&self.syncs);
        let waits = behind.filter_map(|f| f.waiting.reply).any(|earlier| earlier.conn == to.conn);
        if waits {
            // Rare and broken anyway; the order of answers is worth more than the connection.
            core.close_conn(to.conn);
        } else {
            core.answer(to, code.code());
        }
    }

    fn forward(
        &mut self,
        session: SessionId,
        cxid: i32,
        op: i32,
        body: &[u8],
        identities: &Identities,
    ) {
        let ids = identities.iter().map(|id| (id.scheme.as_bytes(), id.id.as_bytes()));
        let request = ForwardedRequest { session, cxid, op, body };
        put_request(&mut self.out, &request, Some(ids));
    }

    pub fn create_session(&mut self, core: &mut Core, conn: ConnToken, timeout_ms: i32) {
        if core.local.is_enabled() {
            return core.create_local(conn, timeout_ms);
        }
        let session = core.session_ids.next_id();
        core.attached.insert(session, conn);
        let connect = Some(Connecting { conn, session, timeout_ms });
        self.forward_session(session, timeout_ms, Waiting { reply: None, connect });
    }

    /// The leader is asked to make a session known to all.
    fn forward_session(&mut self, session: SessionId, timeout_ms: i32, waiting: Waiting) {
        let mut body = Vec::new();
        body.put_int(timeout_ms);
        let op = OpCode::CreateSession.code();
        let request = ForwardedRequest { session, cxid: 0, op, body: &body };
        put_request(&mut self.out, &request, None::<std::iter::Empty<_>>);
        self.forwarded.push_back(Forwarded {
            session,
            cxid: 0,
            waiting,
            body: Vec::new(),
            refusal: None,
        });
    }

    /// A wrong password is answered here; whether the session lives, the leader knows.
    pub fn resume_session(
        &mut self,
        core: &mut Core,
        conn: ConnToken,
        session: SessionId,
        passwd: &[u8],
        timeout_ms: i32,
    ) {
        if core.resume_local(conn, session, passwd, timeout_ms) {
            return;
        }
        core.detach(session);
        if !password_matches(session, passwd) {
            return core.answer_resume(conn, session, timeout_ms, false);
        }
        let mut data = Vec::new();
        Revalidate { session, timeout_ms }.encode(&mut data);
        self.put(PacketType::Revalidate, Zxid::NONE, Some(&data));
        self.revalidating.push_back((session, conn, timeout_ms));
    }

    /// Whether another request may be taken: memory is bounded.
    pub fn has_room(&self, core: &Core) -> bool {
        let waiting = self.forwarded.len() + self.syncs.len() + self.revalidating.len();
        waiting + core.queue.len() < core.options.outstanding_txns_max
    }

    pub fn touch(&mut self, touches: Vec<Touch>) {
        for touch in touches {
            self.touches.touch(touch.id, touch.at, touch.timeout_ms);
        }
    }
}
