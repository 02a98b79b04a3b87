//! Bytes from a connection: four-letter words, the handshake, frames, and what each request does next.
//!
//! Requests of a connection are taken strictly in order. A write is forwarded at once, so writes pipeline; a read
//! behind an unanswered write stops the input until it is answered, and so does everything behind that read.

use super::conn::{Arrivals, OutstandingWrite};
use super::throttle::{Held, Verdict};
use super::{Conn, Shard};
use crate::auth::AuthOutcome;
use crate::base::slab::Key;
use crate::base::{MonoMs, SessionId, Zxid};
use crate::pipeline::messages::{ToZab, WriteRequest};
use crate::session::clamp_timeout;
use crate::wire::connect::ConnectRequest;
use crate::wire::four_letter::FourLetterWord;
use crate::wire::reply::{ReplyHeader, encode_header_only, encode_reply};
use crate::wire::request::{AuthPacket, RequestHeader};
use crate::wire::{ErrorCode, JuteWrite, OpCode, Reader};

/// What the runtime must do after input was taken.
#[derive(Debug)]
pub enum InputEffect {
    Nothing,
    /// Answer a four-letter word on this connection.
    Command(FourLetterWord, Option<[u8; 8]>),
}

/// Bytes of writes gathered in one turn before connections that have some in it wait for the next.
const FORWARD_BYTES_MAX: usize = 8 << 20;

/// How far one frame got.
pub(super) enum Step {
    /// Taken.
    Done,
    /// It must wait for something; the input stays as it is.
    Wait,
    /// The connection is closing.
    Closed,
}

/// First words of a connection: a command, or a length.
enum Opening {
    Incomplete,
    Length,
    Command(FourLetterWord, Option<[u8; 8]>),
}

fn opening(bytes: &[u8], reads_mask: impl Fn(FourLetterWord) -> bool) -> Opening {
    let Some(word) = bytes.first_chunk::<4>() else { return Opening::Incomplete };
    let Some(word) = FourLetterWord::from_bytes(*word) else { return Opening::Length };
    if !reads_mask(word) {
        return Opening::Command(word, None);
    }
    match bytes[4..].first_chunk::<8>() {
        Some(mask) => Opening::Command(word, Some(*mask)),
        None => Opening::Incomplete,
    }
}

impl Shard {
    /// Bytes arrived.
    pub fn on_bytes(&mut self, key: Key, bytes: &[u8]) -> InputEffect {
        let now = self.now;
        self.counts.bytes_received += bytes.len() as u64;
        let Some(conn) = self.conns.get_mut(key) else { return InputEffect::Nothing };
        if conn.is_closing() || conn.is_command() {
            return InputEffect::Nothing;
        }
        if conn.is_fresh() {
            // Apache's timer starts anew with every byte, too.
            conn.last_heard = self.now;
        }
        if conn.is_fresh() && conn.input.len() < 12 {
            // Commands are recognised before anything else, whatever the segments they come in.
            let mut head = [0; 12];
            let old = conn.input.len();
            let new = bytes.len().min(12 - old);
            head[..old].copy_from_slice(&conn.input);
            head[old..old + new].copy_from_slice(&bytes[..new]);
            let commands = &self.links.commands;
            match opening(&head[..old + new], |word| commands.reads_mask(word)) {
                Opening::Command(word, argument) => {
                    conn.begin_command();
                    self.links.counters.received();
                    conn.input = Vec::new();
                    return InputEffect::Command(word, argument);
                }
                Opening::Incomplete => {
                    conn.put_input(bytes, now);
                    return InputEffect::Nothing;
                }
                Opening::Length => {}
            }
        }
        if conn.input_waits && conn.active().is_some() {
            // Heard is heard, even while its requests wait: a slow disk must not end sessions.
            self.touch(key);
        }
        let Some(conn) = self.conns.get_mut(key) else { return InputEffect::Nothing };
        if conn.input.is_empty() && !conn.input_waits {
            let taken = self.take_frames(key, bytes, &mut Arrivals::default());
            if let Some(conn) = self.conns.get_mut(key)
                && !conn.is_closing()
            {
                conn.put_input(&bytes[taken..], now);
            }
        } else {
            conn.put_input(bytes, now);
            if !conn.input_waits {
                self.process_input(key);
            }
        }
        InputEffect::Nothing
    }

    /// Takes what it can of a connection's waiting input.
    pub(super) fn process_input(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.input_waits = false;
        let let_go = conn.writes.is_empty() && std::mem::take(&mut conn.behind_write);
        let input = std::mem::take(&mut conn.input);
        let mut arrivals = std::mem::take(&mut conn.arrivals);
        let reads = self.order.reads;
        let taken = self.take_frames(key, &input, &mut arrivals);
        if let_go {
            self.order.waits_no_more();
            self.order.let_go(&mut self.counts.order, self.order.reads - reads);
        }
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.is_closing() {
            return;
        }
        conn.input = input;
        conn.arrivals = arrivals;
        conn.was_held &= conn.input_waits;
        conn.input.drain(..taken);
        if conn.input.is_empty() {
            conn.input = Vec::new();
        }
        if conn.wants_input(self.options.read_chunk_bytes) {
            conn.wake_reader();
        }
    }

    /// Takes whole frames from the front of `bytes`, of which `arrivals` knows those that waited; answers how many
    /// bytes that was.
    fn take_frames(&mut self, key: Key, bytes: &[u8], arrivals: &mut Arrivals) -> usize {
        let mut taken = 0;
        loop {
            let rest = &bytes[taken..];
            let Some(head) = rest.first_chunk::<4>() else { return taken };
            let len = i32::from_be_bytes(*head);
            if len <= 0 || len as usize > self.options.max_frame_bytes {
                self.refuse_length(key, len);
                return taken;
            }
            if !self.links.admission.takes_frame(len as usize) {
                self.refuse_large(key, len);
                return taken;
            }
            let Some(frame) = rest.get(4..4 + len as usize) else { return taken };
            let came = arrivals.of(4 + frame.len()).unwrap_or(self.now);
            match self.take_frame(key, frame, came) {
                Step::Done => {
                    taken += 4 + frame.len();
                    arrivals.take(4 + frame.len());
                    self.unhold(key);
                }
                Step::Wait => {
                    if let Some(conn) = self.conns.get_mut(key) {
                        conn.input_waits = true;
                        // It waits for something else, and what is behind it does not wait for the throttler.
                        conn.was_held &= conn.held == Held::Waits;
                        if conn.active().is_some() {
                            self.touch(key);
                        }
                    }
                    return taken;
                }
                Step::Closed => return taken,
            }
        }
    }

    fn unhold(&mut self, key: Key) {
        if self.options.throttle.is_some()
            && let Some(conn) = self.conns.get_mut(key)
        {
            conn.held = Held::No;
        }
    }

    fn refuse_large(&mut self, key: Key, len: i32) {
        if let Some(conn) = self.conns.get(key) {
            tracing::warn!("{}: Rejecting large request of {len} bytes: closing", conn.peer);
        }
        self.counts.large_rejected += 1;
        self.close(key);
    }

    fn refuse_length(&mut self, key: Key, len: i32) {
        if let Some(conn) = self.conns.get(key) {
            let max = self.options.max_frame_bytes;
            tracing::warn!("{}: frame of length {len}, allowed are 1 to {max}: closing", conn.peer);
        }
        self.close(key);
    }

    /// `came`: when its last byte did.
    fn take_frame(&mut self, key: Key, frame: &[u8], came: MonoMs) -> Step {
        let Some(conn) = self.conns.get_mut(key) else { return Step::Closed };
        if conn.is_closing() {
            return Step::Closed;
        }
        if conn.is_fresh() {
            return self.handshake(key, frame);
        }
        let Some(active) = conn.active().copied() else { return Step::Wait };
        if conn.writes.back().is_some_and(|write| write.op == OpCode::CloseSession) {
            // What comes behind it is lost with the connection.
            return Step::Wait;
        }
        let mut r = Reader::new(frame);
        let Ok(header) = RequestHeader::decode(&mut r) else {
            self.close(key);
            return Step::Closed;
        };
        let body = r.rest();
        let op = OpCode::from_code(header.op).filter(|op| op.is_client_request());
        match op {
            Some(OpCode::Auth) => return self.authenticate(key, header, body),
            Some(OpCode::Sasl) => return self.sasl(key, header, body),
            _ if !self.links.auth.meets_enforced(&conn.identities) => {
                let code = ErrorCode::SessionClosedRequireSaslAuth;
                return self.answer_and_close(key, header.xid, Zxid::ZERO, code);
            }
            _ => {}
        }
        match self.ask_throttle(key, op, came) {
            Verdict::GoOn => {}
            Verdict::Refuse => return self.refuse_throttled(key, header.xid, came),
            Verdict::Step(step) => return step,
        }
        match op {
            None => self.answer_and_close(key, header.xid, Zxid::NONE, ErrorCode::Unimplemented),
            Some(op) if self.is_forwarded(op) => {
                self.forward_write(key, active.session, header, op, body, came)
            }
            Some(op) => self.read(key, header.xid, op, body, came),
        }
    }

    /// Behind the answers to what was sent before it.
    fn refuse_throttled(&mut self, key: Key, xid: i32, came: MonoMs) -> Step {
        let Some(conn) = self.conns.get_mut(key) else { return Step::Closed };
        if !conn.writes.is_empty() {
            return Step::Wait;
        }
        count_received(conn, &self.links.counters);
        self.touch(key);
        let zxid = self.links.tree.applied();
        self.drain_to(zxid);
        self.answer(key, xid, zxid, ErrorCode::ThrottledOp);
        self.note_latency(false, came);
        Step::Done
    }

    /// Whether the Zab core answers it; without a quorum only the end of a session is its affair.
    fn is_forwarded(&self, op: OpCode) -> bool {
        if self.read_only {
            return op == OpCode::CloseSession;
        }
        op.is_write() || (op == OpCode::Sync && self.forward_sync)
    }

    /// Checks of the handshake in the reference's order (client-protocol 4.3).
    fn handshake(&mut self, key: Key, frame: &[u8]) -> Step {
        let request = ConnectRequest::decode(frame).ok().filter(|_| !self.suspended);
        let Some(request) = request else {
            self.counts.no_server += u64::from(self.suspended);
            self.close(key);
            return Step::Closed;
        };
        let Some(deficit) = self.links.admission.connect(self.now, request.session_id != 0) else {
            return self.refuse_connect(key);
        };
        self.counts.token_deficit.add(deficit);
        self.counts.connects += 1;
        let applied = self.links.tree.applied();
        let Some(conn) = self.conns.get_mut(key) else { return Step::Closed };
        count_received(conn, &self.links.counters);
        if self.read_only && request.read_only != Some(true) {
            tracing::info!("Refusing session request for not-read-only client /{}", conn.peer);
            self.close(key);
            return Step::Closed;
        }
        if request.last_zxid_seen > applied.0 {
            tracing::info!(
                "{}: refusing session 0x{:x}: it has seen zxid 0x{:x}, this server is at {applied}; \
                 the client must try another server",
                conn.peer,
                request.session_id,
                request.last_zxid_seen
            );
            self.close(key);
            return Step::Closed;
        }
        let (min, max) = (self.options.session_timeout_ms_min, self.options.session_timeout_ms_max);
        let timeout_ms = clamp_timeout(request.timeout_ms, min, max);
        conn.begin_connecting(&request, self.now);
        self.counts.revalidations += u64::from(request.session_id != 0);
        let conn = self.token(key);
        self.send_to_zab(if request.session_id == 0 {
            ToZab::CreateSession { conn, timeout_ms }
        } else {
            ToZab::ResumeSession {
                conn,
                session: SessionId(request.session_id),
                passwd: request.passwd.unwrap_or_default().to_vec(),
                timeout_ms,
            }
        });
        Step::Done
    }

    fn refuse_connect(&mut self, key: Key) -> Step {
        if let Some(conn) = self.conns.get(key) {
            let peer = conn.peer;
            tracing::warn!(
                "Closing session 0x0 of {peer}: Connection throttle rejected connection"
            );
        }
        self.counts.rejected += 1;
        self.close(key);
        Step::Closed
    }

    /// Handled where it arrives: the identity counts for requests received after it.
    fn authenticate(&mut self, key: Key, header: RequestHeader, body: &[u8]) -> Step {
        let Ok(packet) = AuthPacket::decode(&mut Reader::new(body)) else {
            self.close(key);
            return Step::Closed;
        };
        let Some(conn) = self.conns.get_mut(key) else { return Step::Closed };
        let ids = &conn.identities;
        if let Some(name) = self.links.auth.ensemble_name(packet.scheme, packet.auth) {
            self.counts.named_ensemble(name);
        }
        let outcome = if packet.scheme == Some(b"key") {
            let (_, key) = self.links.tree.read(|view| {
                view.lookup(b"/key").map(|node| node.data().unwrap_or_default().to_vec())
            });
            self.links.auth.addauth_key(ids, packet.auth, key.as_deref())
        } else {
            self.links.auth.addauth(ids, packet.scheme, packet.auth, conn.peer.ip())
        };
        match outcome {
            AuthOutcome::Ok(identities) => {
                conn.identities = identities;
                count_received(conn, &self.links.counters);
                self.answer(key, header.xid, Zxid::ZERO, ErrorCode::Ok);
                Step::Done
            }
            AuthOutcome::FailedReplyAndClose => {
                tracing::warn!(
                    "{}: authentication failed for scheme {:?}",
                    conn.peer,
                    String::from_utf8_lossy(packet.scheme.unwrap_or_default())
                );
                self.links.counters.auth_failed();
                self.answer_and_close(key, header.xid, Zxid::ZERO, ErrorCode::AuthFailed)
            }
            AuthOutcome::CloseSilently => {
                self.close(key);
                Step::Closed
            }
        }
    }

    /// No mechanism is configured: any token is answered with a null one (auth-and-tls 7.2).
    fn sasl(&mut self, key: Key, header: RequestHeader, body: &[u8]) -> Step {
        let token = Reader::new(body).buffer();
        if !matches!(token, Ok(Some(_))) {
            self.close(key);
            return Step::Closed;
        }
        let Some(conn) = self.conns.get_mut(key) else { return Step::Closed };
        count_received(conn, &self.links.counters);
        count_sent(conn, &self.links.counters);
        let header = ReplyHeader { xid: header.xid, zxid: Zxid::ZERO, err: 0 };
        let before = conn.output.len();
        encode_reply(&mut conn.output, header, |out| out.put_buffer(None));
        self.counts.sent(conn.output.len() - before);
        Self::mark_dirty(&mut self.dirty, key, conn);
        Step::Done
    }

    fn forward_write(
        &mut self,
        key: Key,
        session: SessionId,
        header: RequestHeader,
        op: OpCode,
        body: &[u8],
        came: MonoMs,
    ) -> Step {
        let over = self.outstanding >= self.options.outstanding_limit;
        let backlog = self.has_backlog() || self.forward.bytes.len() > FORWARD_BYTES_MAX;
        let Some(conn) = self.conns.get_mut(key) else { return Step::Closed };
        // So every connection can always make progress with one request at a time.
        if conn.output_is_high(self.options.out_bytes_high)
            || ((over || backlog) && !conn.writes.is_empty())
        {
            // Leave to go on is leave to be under way: it is asked for again when that can be.
            conn.held = Held::No;
            return Step::Wait;
        }
        if self.options.eager_acl
            && let Some(code) = self.eager_refusal(key, op, body)
        {
            return self.refuse_eagerly(key, header.xid, code);
        }
        let Some(conn) = self.conns.get_mut(key) else { return Step::Closed };
        let start = self.forward.bytes.len() as u32;
        self.forward.bytes.extend_from_slice(body);
        self.forward.requests.push(WriteRequest {
            conn: key,
            session,
            xid: header.xid,
            op: header.op,
            body: start..self.forward.bytes.len() as u32,
            identities: conn.identities.clone(),
        });
        let forwarded = self.now;
        let large_bytes = self.links.admission.begun(RequestHeader::WIRE_BYTES + body.len());
        let write = OutstandingWrite { xid: header.xid, op, since: came, forwarded, large_bytes };
        conn.writes.push_back(write);
        self.order.forwarded(&mut self.counts.order, conn.writes.len());
        self.outstanding += 1;
        count_received(conn, &self.links.counters);
        self.touch(key);
        Step::Done
    }

    /// Behind the answers to what was sent before it.
    fn refuse_eagerly(&mut self, key: Key, xid: i32, code: ErrorCode) -> Step {
        let Some(conn) = self.conns.get_mut(key) else { return Step::Closed };
        if !conn.writes.is_empty() {
            conn.held = Held::No;
            return Step::Wait;
        }
        count_received(conn, &self.links.counters);
        self.touch(key);
        self.answer(key, xid, Zxid::ZERO, code);
        Step::Done
    }

    /// A request of this session was heard.
    pub(super) fn touch(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.last_heard = self.now;
        if !conn.touch_pending {
            conn.touch_pending = true;
            self.touched.push(key);
        }
    }

    fn read(&mut self, key: Key, xid: i32, op: OpCode, body: &[u8], came: MonoMs) -> Step {
        let Some(conn) = self.conns.get_mut(key) else { return Step::Closed };
        if !conn.writes.is_empty() {
            if !std::mem::replace(&mut conn.behind_write, true) {
                self.order.waits();
            }
            return Step::Wait;
        }
        if conn.output_is_high(self.options.out_bytes_high) {
            return Step::Wait;
        }
        count_received(conn, &self.links.counters);
        self.order.read(self.now);
        self.touch(key);
        self.answer_read(key, xid, op, body, came);
        Step::Done
    }

    /// Appends a reply without a body.
    pub(super) fn answer(&mut self, key: Key, xid: i32, zxid: Zxid, err: ErrorCode) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.is_closing() {
            return;
        }
        count_sent(conn, &self.links.counters);
        let before = conn.output.len();
        encode_header_only(&mut conn.output, xid, zxid, err);
        self.counts.sent(conn.output.len() - before);
        Self::mark_dirty(&mut self.dirty, key, conn);
    }

    fn answer_and_close(&mut self, key: Key, xid: i32, zxid: Zxid, err: ErrorCode) -> Step {
        self.answer(key, xid, zxid, err);
        self.close(key);
        Step::Closed
    }

    /// Reads no more, sends what there is, then closes. Watches go at once.
    pub fn close(&mut self, key: Key) {
        let now = self.now;
        self.drop_throttled(key);
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.is_closing() {
            return;
        }
        conn.begin_closing(now);
        conn.wake_reader();
        Self::mark_dirty(&mut self.dirty, key, conn);
        self.forget_writes(key);
        self.watches.remove_watcher(key);
    }
}

pub(super) fn count_received(conn: &mut Conn, counters: &super::ShardCounters) {
    conn.stats.received += 1;
    counters.received();
}

pub(super) fn count_sent(conn: &mut Conn, counters: &super::ShardCounters) {
    conn.stats.sent += 1;
    counters.sent();
}
