//! The handshake (reference: client-protocol 4).

use super::jute::{JuteWrite, Reader, Result};

/// First frame of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectRequest<'a> {
    pub protocol_version: i32,
    pub last_zxid_seen: i64,
    /// Milliseconds; any value, clamped by the server.
    pub timeout_ms: i32,
    pub session_id: i64,
    pub passwd: Option<&'a [u8]>,
    /// `None` when the client is of the 3.3 era and does not send the flag: the response then leaves it out.
    pub read_only: Option<bool>,
}

impl<'a> ConnectRequest<'a> {
    pub fn decode(frame: &'a [u8]) -> Result<ConnectRequest<'a>> {
        let mut r = Reader::new(frame);
        Ok(ConnectRequest {
            protocol_version: r.int()?,
            last_zxid_seen: r.long()?,
            timeout_ms: r.int()?,
            session_id: r.long()?,
            passwd: r.buffer()?,
            read_only: r.bool().ok(),
        })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_int(self.protocol_version);
        out.put_long(self.last_zxid_seen);
        out.put_int(self.timeout_ms);
        out.put_long(self.session_id);
        out.put_buffer(self.passwd);
        if let Some(flag) = self.read_only {
            out.put_bool(flag);
        }
    }
}

/// The answer; a rejected session has timeout, id and password all zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectResponse {
    pub timeout_ms: i32,
    pub session_id: i64,
    pub passwd: [u8; 16],
    /// Present exactly when the request carried the flag.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// "Your session is gone": clients give the session up for good.
    pub fn rejected(read_only: Option<bool>) -> ConnectResponse {
        ConnectResponse { timeout_ms: 0, session_id: 0, passwd: [0; 16], read_only }
    }

    /// Appends the whole frame, length included.
    pub fn encode_frame(&self, out: &mut Vec<u8>) {
        out.put_int(36 + i32::from(self.read_only.is_some()));
        out.put_int(0);
        out.put_int(self.timeout_ms);
        out.put_long(self.session_id);
        out.put_buffer(Some(&self.passwd));
        if let Some(flag) = self.read_only {
            out.put_bool(flag);
        }
    }

    pub fn decode(frame: &[u8]) -> Result<ConnectResponse> {
        let mut r = Reader::new(frame);
        r.int()?;
        let timeout_ms = r.int()?;
        let session_id = r.long()?;
        let passwd = r.buffer()?.unwrap_or_default();
        let mut fixed = [0; 16];
        let len = passwd.len().min(16);
        fixed[..len].copy_from_slice(&passwd[..len]);
        Ok(ConnectResponse { timeout_ms, session_id, passwd: fixed, read_only: r.bool().ok() })
    }
}
