//! One server and the connections to it: carries out steps and writes down what came of them.

use std::time::Duration;

use ringkeeper::wire::connect::{ConnectRequest, ConnectResponse};
use ringkeeper::wire::{JuteWrite, OpCode};

use super::render::Names;
use super::step::{Attach, Request, Step};
use crate::support::bodies::session_password;
use crate::support::client::{ANSWER_WAIT, Got, Wire};
use crate::support::server::Server;

/// A place for a connection and its session.
#[derive(Default)]
pub struct Slot {
    wire: Option<Wire>,
    session: i64,
}

/// What a slot looks like to the generator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotState {
    Empty,
    Connected,
    /// The session should be alive, its connection is gone.
    Detached,
}

pub struct World {
    pub server: Server,
    pub names: Names,
    slots: Vec<Slot>,
}

impl World {
    pub fn new(server: Server, slots: usize) -> World {
        let slots = (0..slots).map(|_| Slot::default()).collect();
        World { server, names: Names::default(), slots }
    }

    pub fn state(&self, slot: usize) -> SlotState {
        match &self.slots[slot] {
            Slot { wire: Some(_), .. } => SlotState::Connected,
            Slot { session: 0, .. } => SlotState::Empty,
            _ => SlotState::Detached,
        }
    }

    /// The server went away: sessions stay, connections do not.
    pub fn forget_connections(&mut self) {
        for slot in &mut self.slots {
            slot.wire = None;
        }
    }

    /// Carries out a step and collects its effects from every connection.
    pub fn run(&mut self, step: &Step) -> Vec<String> {
        let mut lines = Vec::new();
        let (slot, closing) = match step {
            Step::Burst { slot, requests } => {
                self.burst(*slot, requests, &mut lines);
                let close = OpCode::CloseSession.code();
                (*slot, requests.iter().any(|r| r.op == close && r.body.is_empty()))
            }
            Step::Connect { slot, attach, timeout_ms, read_only } => {
                self.connect(*slot, *attach, *timeout_ms, *read_only, &mut lines);
                (*slot, false)
            }
            Step::Drop { slot } => {
                self.slots[*slot].wire = None;
                (*slot, false)
            }
            Step::Raw { slot, bytes, .. } => {
                self.raw(*slot, bytes, &mut lines);
                (*slot, false)
            }
        };
        if closing {
            self.slots[slot] = Slot::default();
        }
        self.barrier(closing, &mut lines);
        lines
    }

    fn burst(&mut self, slot: usize, requests: &[Request], lines: &mut Vec<String>) {
        let Some(wire) = self.slots[slot].wire.as_mut() else {
            return;
        };
        let mut out = Vec::new();
        for request in requests {
            out.put_int(request.body.len() as i32 + 8);
            out.put_int(request.xid);
            out.put_int(request.op);
            out.extend_from_slice(&request.body);
        }
        wire.send(&out);
        let (mut answered, mut refused) = (0, false);
        let mut events = lines.len();
        while answered < requests.len() {
            let request = &requests[answered];
            match wire.next(ANSWER_WAIT) {
                Got::Frame(frame) => {
                    let event = frame.starts_with(&[0xff; 4]);
                    answered += usize::from(!event);
                    refused |= !event && frame.get(12..16).is_some_and(|err| err != [0; 4]);
                    lines.push(self.names.frame(Some(request.op), &frame));
                    if request.op == OpCode::CloseSession.code() && !event {
                        // Its ephemerals go in no particular order.
                        let reply = lines.len() - 1;
                        lines[events..reply].sort();
                    }
                    if !event {
                        events = lines.len();
                    }
                }
                Got::Closed => {
                    lines.push("closed by the server".into());
                    self.slots[slot].wire = None;
                    return;
                }
                Got::Silent => {
                    lines.push("no answer".into());
                    self.slots[slot].wire = None;
                    return;
                }
            }
        }
        if requests.iter().any(|r| ends_connection(r, refused)) {
            self.expect_close(slot, lines);
        }
    }

    fn expect_close(&mut self, slot: usize, lines: &mut Vec<String>) {
        let Some(wire) = self.slots[slot].wire.as_mut() else {
            return;
        };
        // Long enough for a close that comes, short enough for the case that it does not.
        match wire.next(Duration::from_millis(400)) {
            Got::Frame(frame) => lines.push(self.names.frame(None, &frame)),
            Got::Closed => {
                lines.push("closed by the server".into());
                self.slots[slot].wire = None;
            }
            Got::Silent => lines.push("stays open".into()),
        }
    }

    fn connect(
        &mut self,
        slot: usize,
        attach: Attach,
        timeout_ms: i32,
        read_only: Option<bool>,
        lines: &mut Vec<String>,
    ) {
        let session = match attach {
            Attach::New => 0,
            Attach::Unknown => 0x7_1234_5678,
            _ => self.slots[slot].session,
        };
        let mut password = if session == 0 { [0; 16] } else { session_password(session) };
        if attach == Attach::WrongPassword {
            password[3] ^= 1;
        }
        let future = attach == Attach::FromTheFuture;
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: if future { self.names.last_zxid + 1000 } else { 0 },
            timeout_ms,
            session_id: session,
            passwd: Some(&password),
            read_only,
        };
        let mut out = Vec::new();
        request.encode(&mut out);
        let Ok(mut wire) = Wire::connect(self.server.port) else {
            lines.push("connection refused".into());
            return;
        };
        wire.send_frame(&out);
        let answer = wire.next(ANSWER_WAIT);
        let accepted = self.note_handshake(&answer, lines);
        let old = self.slots[slot].wire.take();
        if let Some(mut old) = old {
            self.note_old_connection(&mut old, lines);
            if future {
                // Refused before it could take anything over.
                self.slots[slot].wire = Some(old);
            }
        }
        match accepted {
            Some(id) => self.slots[slot] = Slot { wire: Some(wire), session: id },
            None => {
                let rejected = matches!(answer, Got::Frame(_));
                if rejected && wire.next(ANSWER_WAIT) == Got::Closed {
                    lines.push("closed by the server".into());
                }
            }
        }
    }

    /// Writes the answer to a handshake down; the session id if it was accepted.
    fn note_handshake(&mut self, answer: &Got, lines: &mut Vec<String>) -> Option<i64> {
        let frame = match answer {
            Got::Frame(frame) => frame,
            other => {
                lines.push(format!("handshake: {other:?}"));
                return None;
            }
        };
        let Ok(answer) = ConnectResponse::decode(frame) else {
            lines.push(format!("handshake: undecodable {frame:02x?}"));
            return None;
        };
        let (id, zero) = (answer.session_id, answer.passwd == [0; 16]);
        let password = match id {
            0 if zero => "zero",
            id if answer.passwd == session_password(id) => "right",
            _ => "WRONG",
        };
        lines.push(format!(
            "handshake: {} bytes, session {}, timeout {}, password {password}, flag {:?}",
            frame.len(),
            self.names.session(id),
            answer.timeout_ms,
            answer.read_only,
        ));
        (id != 0).then_some(id)
    }

    /// The connection a session had before: closed when the session was taken over.
    fn note_old_connection(&mut self, old: &mut Wire, lines: &mut Vec<String>) {
        match old.next(Duration::from_millis(300)) {
            Got::Closed => lines.push("the older connection is closed".into()),
            Got::Silent => lines.push("the older connection stays".into()),
            Got::Frame(frame) => lines.push(self.names.frame(None, &frame)),
        }
    }

    fn raw(&mut self, slot: usize, bytes: &[u8], lines: &mut Vec<String>) {
        if let Some(mut wire) = self.slots[slot].wire.take() {
            wire.send(bytes);
            let (rest, closed) = wire.read_to_close(Duration::from_secs(2));
            lines.push(format!("{} bytes, closed: {closed}", rest.len()));
        }
    }

    /// A ping on every connection: when its answer is in, so are the events of all that happened before.
    fn barrier(&mut self, sort_events: bool, lines: &mut Vec<String>) {
        for slot in 0..self.slots.len() {
            let Some(wire) = self.slots[slot].wire.as_mut() else {
                continue;
            };
            let mut ping = Vec::new();
            ping.put_int(-2);
            ping.put_int(OpCode::Ping.code());
            wire.send_frame(&ping);
            let start = lines.len();
            loop {
                match wire.next(ANSWER_WAIT) {
                    Got::Frame(frame) => {
                        let event = frame.starts_with(&[0xff; 4]);
                        let shown = self.names.frame(Some(OpCode::Ping.code()), &frame);
                        lines.push(format!("connection {slot}: {shown}"));
                        if !event {
                            break;
                        }
                    }
                    end => {
                        lines.push(format!("connection {slot}: {end:?}"));
                        self.slots[slot].wire = None;
                        break;
                    }
                }
            }
            if sort_events {
                // The ephemerals of a closed session go in no particular order.
                lines[start..].sort();
            }
        }
    }
}

/// Requests after which the server closes the connection.
fn ends_connection(request: &Request, refused: bool) -> bool {
    match OpCode::from_code(request.op) {
        None | Some(OpCode::CloseSession) => true,
        Some(OpCode::Auth | OpCode::Sasl) => refused,
        Some(op) => !op.is_client_request(),
    }
}
