//! A server that agrees with everything and keeps nothing: replies have the size real ones have.

use ringkeeper::base::Zxid;
use ringkeeper::wire::connect::{ConnectRequest, ConnectResponse};
use ringkeeper::wire::multi::{MultiHeader, MultiOp, decode_multi};
use ringkeeper::wire::reply::{ReplyHeader, encode_header_only, encode_reply};
use ringkeeper::wire::request::{CreateRequest, RequestHeader, xid};
use ringkeeper::wire::{ErrorCode, JuteWrite, OpCode, Reader, Stat};

use crate::frames::After;

/// The state of one connection.
pub struct NullServer {
    connected: bool,
    value: Vec<u8>,
    zxid: i64,
}

impl NullServer {
    /// `value_bytes` is the length of what every znode seems to hold.
    pub fn new(value_bytes: usize) -> NullServer {
        NullServer { connected: false, value: vec![0x5a; value_bytes], zxid: 1 }
    }

    /// Answers one frame; bytes that are no request end the connection.
    pub fn answer(&mut self, frame: &[u8], out: &mut Vec<u8>) -> After {
        if !self.connected {
            return self.connect(frame, out);
        }
        let mut reader = Reader::new(frame);
        let Ok(header) = RequestHeader::decode(&mut reader) else {
            return After::Close;
        };
        let Some(op) = OpCode::from_code(header.op) else {
            encode_header_only(out, header.xid, Zxid::NONE, ErrorCode::Unimplemented);
            return After::Close;
        };
        self.zxid += i64::from(op.is_write());
        let xid = if op == OpCode::Ping { xid::PING } else { header.xid };
        let reply = ReplyHeader { xid, zxid: Zxid(self.zxid), err: 0 };
        let mut decoded = true;
        encode_reply(out, reply, |out| decoded = self.body(op, reader, out));
        if decoded && op != OpCode::CloseSession { After::KeepOpen } else { After::Close }
    }

    fn connect(&mut self, frame: &[u8], out: &mut Vec<u8>) -> After {
        let Ok(request) = ConnectRequest::decode(frame) else {
            return After::Close;
        };
        self.connected = true;
        let response = ConnectResponse {
            timeout_ms: request.timeout_ms.max(1),
            session_id: 1,
            passwd: [1; 16],
            read_only: request.read_only.map(|_| false),
        };
        response.encode_frame(out);
        After::KeepOpen
    }

    fn stat(&self) -> Stat {
        Stat { mzxid: self.zxid, data_length: self.value.len() as i32, ..Stat::default() }
    }

    /// Appends the reply's body; false when the request does not decode.
    fn body(&self, op: OpCode, mut reader: Reader<'_>, out: &mut Vec<u8>) -> bool {
        match op {
            OpCode::GetData => {
                out.put_buffer(Some(&self.value));
                self.stat().encode(out);
            }
            OpCode::SetData | OpCode::Exists | OpCode::SetAcl => self.stat().encode(out),
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                let Ok(request) = CreateRequest::decode(op, &mut reader) else {
                    return false;
                };
                out.put_buffer(request.path);
                if op != OpCode::Create {
                    self.stat().encode(out);
                }
            }
            OpCode::Sync => match reader.ustring() {
                Ok(path) => out.put_buffer(path),
                Err(_) => return false,
            },
            OpCode::GetChildren | OpCode::GetChildren2 => {
                out.put_int(0);
                if op == OpCode::GetChildren2 {
                    self.stat().encode(out);
                }
            }
            OpCode::AddWatch => out.put_int(0),
            OpCode::Multi => return self.multi(reader, out),
            _ => {}
        }
        true
    }

    fn multi(&self, mut reader: Reader<'_>, out: &mut Vec<u8>) -> bool {
        let Ok(ops) = decode_multi(&mut reader) else {
            return false;
        };
        for op in &ops {
            let code = match op {
                MultiOp::Create(_) => OpCode::Create,
                MultiOp::Delete(_) => OpCode::Delete,
                MultiOp::SetData(_) => OpCode::SetData,
                _ => OpCode::Check,
            };
            MultiHeader { op: code.code(), done: false, err: 0 }.encode(out);
            match op {
                MultiOp::Create(_) => out.put_buffer(op.path()),
                MultiOp::SetData(_) => self.stat().encode(out),
                _ => {}
            }
        }
        MultiHeader::END.encode(out);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(op: OpCode, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut frame = Vec::new();
        RequestHeader { xid: 7, op: op.code() }.encode(&mut frame);
        body(&mut frame);
        frame
    }

    #[test]
    fn replies_have_the_size_of_real_ones() {
        let mut server = NullServer::new(100);
        let mut out = Vec::new();
        let hello = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout_ms: 4000,
            session_id: 0,
            passwd: Some(&[0; 16]),
            read_only: Some(false),
        };
        let mut frame = Vec::new();
        hello.encode(&mut frame);
        assert_eq!(server.answer(&frame, &mut out), After::KeepOpen);
        assert_eq!(out.len(), 4 + 37);
        for (op, len) in [
            (OpCode::GetData, 4 + 16 + 4 + 100 + 68),
            (OpCode::SetData, 4 + 16 + 68),
            (OpCode::Ping, 4 + 16),
        ] {
            out.clear();
            let frame = request(op, |_| {});
            assert_eq!(server.answer(&frame, &mut out), After::KeepOpen);
            assert_eq!(out.len(), len, "{op:?}");
        }
        let frame = request(OpCode::CloseSession, |_| {});
        assert_eq!(server.answer(&frame, &mut out), After::Close);
        assert_eq!(server.answer(&[0; 3], &mut out), After::Close);
    }
}
