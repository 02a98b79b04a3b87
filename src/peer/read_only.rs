//! Serving readers without a quorum (reference: client-protocol 15, zab 17): from some time after the election began
//! until it ends. The tree is that of the own log, whatever of it the others have; client cores answer the reads and
//! refuse the writes. Sessions are local ones, as in Apache: without `localSessionsEnabled` nobody gets one.

use super::core::Core;
use crate::pipeline::ConnToken;
use crate::pipeline::apply::ReplyTo;
use crate::pipeline::messages::{RequestBatch, ToZab};
use crate::wire::{ErrorCode, OpCode};

/// What a client core says while this server serves readers only.
pub(super) fn message(core: &mut Core, message: ToZab) {
    match message {
        ToZab::CreateSession { conn, timeout_ms } if core.local.is_enabled() => {
            core.create_local(conn, timeout_ms);
        }
        // Apache answers with bytes that no client understands.
        ToZab::CreateSession { conn, .. } => core.close_conn(conn),
        ToZab::ResumeSession { conn, session, passwd, timeout_ms } => {
            // One that the others know may live on: nothing may be said about it here.
            if core.db.sessions.contains(session) || !core.local.is_enabled() {
                tracing::info!("Refusing global session reconnection in RO mode: {session}");
                core.close_conn(conn);
            } else if !core.resume_local(conn, session, &passwd, timeout_ms) {
                core.answer_resume(conn, session, timeout_ms, false);
            }
        }
        ToZab::Requests(batch) => requests(core, &batch),
        ToZab::Touches(touches) => {
            core.local.touch(touches);
        }
        ToZab::Report(_) | ToZab::ResetCounts | ToZab::SnapshotAdopted(_) | ToZab::Shutdown => {}
    }
}

/// Only the end of a session gets here; client cores refuse the rest by themselves.
fn requests(core: &mut Core, batch: &RequestBatch) {
    for request in &batch.requests {
        let conn = ConnToken { shard: batch.shard, conn: request.conn };
        if core.attached.get(&request.session) != Some(&conn) {
            core.close_conn(conn);
            continue;
        }
        let ends = request.op == OpCode::CloseSession.code() && core.end_local(request.session);
        let code = if ends { ErrorCode::Ok } else { ErrorCode::NotReadOnly };
        core.answer(ReplyTo { conn, xid: request.xid }, code.code());
    }
}
