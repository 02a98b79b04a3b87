//! Requests become proposals: those of this server's own clients, those that learners forward, and its own.

use super::learners::{NOBODY, OWN, owner_of};
use super::{COUNTER_MAX, Leader};
use crate::auth::{Identities, Identity};
use crate::base::SessionId;
use crate::peer::core::Core;
use crate::peer::host::{Host, LinkId};
use crate::peer::queue::{Connecting, Waiting};
use crate::pipeline::apply::ReplyTo;
use crate::pipeline::messages::RequestBatch;
use crate::pipeline::{ConnToken, Outcome, Prep, PrepContext, Write};
use crate::session::{SessionFault, password_matches};
use crate::wire::quorum_packet::{ForwardedRequest, QuorumPacket};
use crate::wire::{ErrorCode, JuteWrite, OpCode, Reader};

/// Who asked.
#[derive(Clone, Copy)]
enum Asker {
    Client(ReplyTo),
    Learner,
    Server,
}

impl Leader {
    /// Whether another request may be taken: memory is bounded, and the epoch has zxids left.
    pub fn takes_requests(&self, core: &Core) -> bool {
        self.is_serving()
            && core.queue.len() < core.options.outstanding_txns_max
            && !self.is_used_up(core)
    }

    /// The epoch's zxids are given out: only another election makes new ones. A standalone server
    /// has none, and counts on into the next epoch as Apache's does.
    pub fn is_used_up(&self, core: &Core) -> bool {
        !core.options.standalone && self.prep.last_zxid().counter() >= COUNTER_MAX
    }

    pub fn client_requests(&mut self, core: &mut Core, batch: &RequestBatch) {
        for request in &batch.requests {
            let conn = ConnToken { shard: batch.shard, conn: request.conn };
            // A session that was resumed elsewhere since: its old connection is being closed.
            if core.attached.get(&request.session) != Some(&conn) {
                core.close_conn(conn);
                continue;
            }
            let write = Write {
                session: request.session,
                cxid: request.xid,
                op: request.op,
                body: &batch.bytes[request.body.start as usize..request.body.end as usize],
                identities: &request.identities,
                local: None,
            };
            let to = ReplyTo { conn, xid: request.xid };
            if core.local.contains(request.session) {
                self.local_request(core, write, to);
            } else {
                self.prepare(core, &write, Asker::Client(to));
            }
        }
    }

    /// A request of a session that only this server knows (reference: zab 12.7).
    fn local_request(&mut self, core: &mut Core, write: Write<'_>, to: ReplyTo) {
        if write.op == OpCode::CloseSession.code() {
            core.end_local(write.session);
            return core.answer(to, ErrorCode::Ok.code());
        }
        if Prep::makes_ephemeral(write.op, write.body)
            && let Some(timeout_ms) = core.upgrade_local(write.session)
        {
            core.db.sessions.propose(write.session, timeout_ms, core.now);
            let _ = core.db.sessions.set_owner(write.session, OWN);
            self.propose_session(core, write.session, timeout_ms, Waiting::default());
            return self.prepare(core, &write, Asker::Client(to));
        }
        let write = Write { local: Some(ErrorCode::EphemeralOnLocalSession), ..write };
        self.prepare(core, &write, Asker::Client(to));
    }

    fn prepare(&mut self, core: &mut Core, write: &Write<'_>, asker: Asker) {
        if let Asker::Client(to) = asker
            && core.refuses_writes()
            && write.op != OpCode::CloseSession.code()
        {
            // Without a transaction: those who ask again and again must not fill the disk.
            return core.answer(to, ErrorCode::SystemError.code());
        }
        let start = self.open_packet();
        let Core { db, auth, wall, progress, .. } = core;
        progress.prepared += 1;
        progress.closings += u64::from(write.op == OpCode::CloseSession.code());
        let mut cx = PrepContext { tree: &db.tree, sessions: &mut db.sessions, auth, now: *wall };
        let outcome = self.prep.prepare(&mut cx, write, &mut self.chunk);
        let reply = match asker {
            Asker::Client(to) => Some(to),
            Asker::Learner | Asker::Server => None,
        };
        let refused = match outcome {
            Outcome::Txn(zxid) => {
                if write.op == OpCode::CloseSession.code() && core.local.is_enabled() {
                    self.closed.insert(write.session);
                }
                let waiting = Waiting { reply, connect: None };
                return self.push_txn(core, zxid, start, waiting);
            }
            Outcome::Refused(code) => code,
            Outcome::Dropped => ErrorCode::SessionExpired,
        };
        self.chunk.truncate(start);
        match (asker, outcome) {
            // Its server waits for a transaction, whatever becomes of the request.
            (Asker::Learner, _) => self.refuse(core, write, refused),
            (Asker::Client(to), Outcome::Dropped) => core.close_conn(to.conn),
            (Asker::Client(to), _) => core.answer(to, refused.code()),
            (Asker::Server, _) => {}
        }
    }

    /// An error transaction for a forwarded request.
    fn refuse(&mut self, core: &mut Core, write: &Write<'_>, code: ErrorCode) {
        let start = self.open_packet();
        let Core { db, auth, wall, .. } = core;
        let cx = PrepContext { tree: &db.tree, sessions: &mut db.sessions, auth, now: *wall };
        let zxid = self.prep.refuse(&cx, write, code, &mut self.chunk);
        self.push_txn(core, zxid, start, Waiting::default());
    }

    /// A REQUEST packet.
    pub(super) fn request(
        &mut self,
        core: &mut Core,
        host: &mut dyn Host,
        link: LinkId,
        packet: &QuorumPacket<'_>,
    ) -> Result<(), String> {
        let data = packet.data.unwrap_or_default();
        let request = ForwardedRequest::decode(data).map_err(|e| format!("REQUEST: {e}"))?;
        if request.op == OpCode::Sync.code() {
            self.sync(host, link);
            return Ok(());
        }
        if request.op == OpCode::CreateSession.code() {
            let timeout_ms = Reader::new(request.body).int();
            let timeout_ms = timeout_ms.map_err(|e| format!("createSession: {e}"))?;
            self.forwarded_session(core, link, request.session, timeout_ms);
            return Ok(());
        }
        let ids = packet.authinfo.into_iter().flat_map(|ids| ids.iter());
        let identities = ids.fold(Identities::none(), |ids, (scheme, id)| {
            let (scheme, id) = (String::from_utf8_lossy(scheme), String::from_utf8_lossy(id));
            ids.with(Identity::new(&scheme, &id))
        });
        let write = Write {
            session: request.session,
            cxid: request.cxid,
            op: request.op,
            body: request.body,
            identities: &identities,
            local: None,
        };
        match self.may_forward(core, link, &request) {
            Ok(local) => self.prepare(core, &Write { local, ..write }, Asker::Learner),
            Err(code) => {
                core.progress.prepared += 1;
                self.refuse(core, &write, code);
            }
        }
        Ok(())
    }

    /// Only what a session's present server may ask for (reference: zab 12.5, 13.1). Of a session that may be local to
    /// the learner the answer is what its ephemerals are refused with.
    fn may_forward(
        &self,
        core: &mut Core,
        link: LinkId,
        request: &ForwardedRequest<'_>,
    ) -> Result<Option<ErrorCode>, ErrorCode> {
        let op = OpCode::from_code(request.op).filter(|op| op.is_write());
        let op = op.ok_or(ErrorCode::Unimplemented)?;
        if op == OpCode::CloseSession || request.session == NOBODY {
            return Ok(None);
        }
        match core.db.sessions.check(request.session, owner_of(link)) {
            Ok(()) => Ok(None),
            Err(SessionFault::Expired) if self.may_be_local(core, request.session) => {
                Ok(Some(ErrorCode::SessionExpired))
            }
            Err(SessionFault::Expired) => Err(ErrorCode::SessionExpired),
            Err(SessionFault::Moved) => Err(ErrorCode::SessionMoved),
        }
    }

    /// Whether a session that is not known to all may be known to a learner: not one of this server's own, nor one
    /// that all have known until just now.
    fn may_be_local(&self, core: &Core, session: SessionId) -> bool {
        let made_here = (session.0 >> 56) as u8 == core.me().0 as u8;
        let known = core.db.sessions.contains(session) || self.closed.contains(session);
        core.local.is_enabled() && !made_here && !known
    }

    /// A learner's client gets a session; its id was made there.
    fn forwarded_session(
        &mut self,
        core: &mut Core,
        link: LinkId,
        session: SessionId,
        timeout_ms: i32,
    ) {
        core.db.sessions.propose(session, timeout_ms, core.now);
        // It was just made; one that is closing keeps its end.
        let _ = core.db.sessions.set_owner(session, owner_of(link));
        self.propose_session(core, session, timeout_ms, Waiting::default());
    }

    pub fn create_session(&mut self, core: &mut Core, conn: ConnToken, timeout_ms: i32) {
        if core.local.is_enabled() {
            return core.create_local(conn, timeout_ms);
        }
        let session = core.session_ids.next_id();
        core.db.sessions.propose(session, timeout_ms, core.now);
        let _ = core.db.sessions.set_owner(session, OWN);
        core.attached.insert(session, conn);
        let connect = Some(Connecting { conn, session, timeout_ms });
        self.propose_session(core, session, timeout_ms, Waiting { reply: None, connect });
    }

    fn propose_session(
        &mut self,
        core: &mut Core,
        session: SessionId,
        timeout_ms: i32,
        waiting: Waiting,
    ) {
        core.progress.prepared += 1;
        let start = self.open_packet();
        let zxid = self.prep.create_session(core.wall, session, timeout_ms, &mut self.chunk);
        self.push_txn(core, zxid, start, waiting);
    }

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
        let sessions = &mut core.db.sessions;
        let alive = sessions.is_open(session) && password_matches(session, passwd);
        if alive {
            core.db.sessions.touch(session, core.now, timeout_ms);
            let _ = core.db.sessions.set_owner(session, OWN);
        }
        core.answer_resume(conn, session, timeout_ms, alive);
    }

    /// Sessions that were not heard of in time. Touches are gathered on the client cores, so what is due is looked at
    /// once the touches made before that have arrived.
    pub(super) fn expire_sessions(&mut self, core: &mut Core) {
        if core.stopping {
            return;
        }
        for session in core.db.sessions.expire_due(core.now - core.options.touch_slack_ms) {
            tracing::info!("Expiring session {session}, timeout exceeded");
            core.sessions_expired += 1;
            self.internal(core, session, OpCode::CloseSession, &[]);
        }
    }

    /// A write that the server asks of itself.
    fn internal(&mut self, core: &mut Core, session: SessionId, op: OpCode, body: &[u8]) {
        let identities = Identities::none();
        let op = op.code();
        let write = Write { session, cxid: 0, op, body, identities: &identities, local: None };
        self.prepare(core, &write, Asker::Server);
    }

    /// Empty containers and TTL nodes that are over (data-model 4.1).
    pub(super) fn sweep_containers(&mut self, core: &mut Core) {
        if core.refuses_writes() {
            self.next_reap = core.now + core.options.container_check_ms;
            self.next_sweep = self.next_reap;
            return;
        }
        if core.now >= self.next_sweep && self.reap.is_empty() {
            self.next_sweep = core.now + core.options.container_check_ms;
            let never_used = core.options.container_never_used_ms;
            self.reap.extend(core.db.tree.reap_candidates(core.wall, never_used));
        }
        while core.now >= self.next_reap
            && let Some(path) = self.reap.pop_front()
        {
            self.next_reap = core.now + core.options.container_delete_gap_ms;
            tracing::info!("Attempting to delete candidate container: {}", path.escape_ascii());
            let mut body = Vec::new();
            body.put_buffer(Some(&path));
            self.internal(core, NOBODY, OpCode::DeleteContainer, &body);
        }
    }
}
