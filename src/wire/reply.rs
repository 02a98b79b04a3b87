//! Reply frames and watch events (reference: client-protocol 5, 7).

use super::error_code::ErrorCode;
use super::jute::{JuteWrite, Reader, Result};
use super::request::xid;
use crate::base::Zxid;

/// `ReplyHeader`: 16 bytes in front of every reply body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyHeader {
    pub xid: i32,
    pub zxid: Zxid,
    pub err: i32,
}

impl ReplyHeader {
    pub const WIRE_BYTES: usize = 16;

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_int(self.xid);
        out.put_long(self.zxid.0);
        out.put_int(self.err);
    }

    pub fn decode(r: &mut Reader<'_>) -> Result<Self> {
        Ok(ReplyHeader { xid: r.int()?, zxid: Zxid(r.long()?), err: r.int()? })
    }
}

/// Appends a frame: its length, the header, and the body that `body` writes.
pub fn encode_reply(out: &mut Vec<u8>, header: ReplyHeader, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put_int(0);
    header.encode(out);
    body(out);
    seal_frame(out, start);
}

/// Appends a frame of a header alone: errors, and operations without a result.
pub fn encode_header_only(out: &mut Vec<u8>, xid: i32, zxid: Zxid, err: ErrorCode) {
    let header = ReplyHeader { xid, zxid, err: err.code() };
    encode_reply(out, header, |_| {});
}

/// Writes the length of the frame that began at `start`.
pub fn seal_frame(out: &mut [u8], start: usize) {
    let len = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

/// What happened to a znode, as watchers are told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(i32)]
pub enum EventType {
    NodeCreated = 1,
    NodeDeleted = 2,
    NodeDataChanged = 3,
    NodeChildrenChanged = 4,
}

/// Appends a `WatcherEvent` frame; state is always SyncConnected.
pub fn encode_watch_event(out: &mut Vec<u8>, event: EventType, path: &[u8], zxid: Zxid) {
    let header = ReplyHeader { xid: xid::WATCH_EVENT, zxid, err: 0 };
    encode_reply(out, header, |out| {
        out.put_int(event as i32);
        out.put_int(3);
        out.put_buffer(Some(path));
    });
}
