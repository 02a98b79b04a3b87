//! Votes between servers (reference: election 3.2, 3.4, 4): the message that opens a connection, the frame, the
//! notification.

use super::jute::{DecodeError, JuteWrite, Reader, Result};
use crate::base::{Sid, Zxid};

/// Longest notification with its configuration, bytes (reference: election 3.4).
pub const NOTIFICATION_BYTES_MAX: usize = 524_288;

/// What a server is doing when it sends a vote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerState {
    Looking,
    Following,
    Leading,
    Observing,
}

impl PeerState {
    pub fn code(self) -> i32 {
        match self {
            PeerState::Looking => 0,
            PeerState::Following => 1,
            PeerState::Leading => 2,
            PeerState::Observing => 3,
        }
    }

    pub fn from_code(code: i32) -> Option<PeerState> {
        [PeerState::Looking, PeerState::Following, PeerState::Leading, PeerState::Observing]
            .into_iter()
            .find(|state| state.code() == code)
    }
}

/// A vote on its way. Who sent it is known from the connection alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Notification<'a> {
    pub state: PeerState,
    /// Proposed or followed; `Sid::NOBODY` from a server without a vote.
    pub leader: Sid,
    pub zxid: Zxid,
    pub election_epoch: i64,
    pub peer_epoch: i64,
    /// 2 since 3.5; 0 for everything older, as the reference reads it.
    pub version: i32,
    /// The sender's committed configuration.
    pub config: Option<&'a [u8]>,
}

/// Body lengths of older versions (reference: election 4).
const WITHOUT_PEER_EPOCH: usize = 28;
const WITHOUT_VERSION: usize = 36;
const WITH_UNREAD_VERSION: usize = 40;

impl<'a> Notification<'a> {
    pub const VERSION: i32 = 2;

    pub fn decode(body: &'a [u8]) -> Result<Notification<'a>> {
        let mut r = Reader::new(body);
        let state = PeerState::from_code(r.int()?).ok_or(DecodeError::BadValue("peer state"))?;
        let (leader, zxid, election_epoch) = (Sid(r.long()?), Zxid(r.long()?), r.long()?);
        let old = |peer_epoch| Notification {
            state,
            leader,
            zxid,
            election_epoch,
            peer_epoch,
            version: 0,
            config: None,
        };
        match body.len() {
            WITHOUT_PEER_EPOCH => return Ok(old(zxid.epoch())),
            WITHOUT_VERSION => return Err(DecodeError::BadValue("length of a 3.4 notification")),
            WITH_UNREAD_VERSION => return Ok(old(r.long()?)),
            _ => {}
        }
        let (peer_epoch, version) = (r.long()?, r.int()?);
        let mut config = None;
        if version > 1 {
            let length = r.int()?;
            if length < 0 || length as usize > body.len() {
                return Err(DecodeError::BadLength(length));
            }
            config = Some(r.bytes(length as usize)?);
        }
        Ok(Notification { version, config, ..old(peer_epoch) })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_int(self.state.code());
        out.put_long(self.leader.0);
        out.put_long(self.zxid.0);
        out.put_long(self.election_epoch);
        out.put_long(self.peer_epoch);
        out.put_int(Notification::VERSION);
        out.put_buffer(Some(self.config.unwrap_or_default()));
    }
}

/// A notification with its length before it.
pub fn put_frame(out: &mut Vec<u8>, body: &[u8]) {
    out.put_buffer(Some(body));
}

/// The body at the front of `bytes`, and the frame's length; `None` when it is not all there.
pub fn take_frame(bytes: &[u8]) -> Result<Option<(&[u8], usize)>> {
    let Some(head) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = i32::from_be_bytes(*head);
    if length <= 0 || length as usize > NOTIFICATION_BYTES_MAX {
        return Err(DecodeError::BadLength(length));
    }
    let end = 4 + length as usize;
    Ok(bytes.get(4..end).map(|body| (body, end)))
}

/// Versions of the first message, in place of a sid.
const V1: i64 = -65536;
const V2: i64 = -65535;
/// Longest address part.
const ADDRESSES_BYTES_MAX: usize = 2048;

/// What the dialling side says first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InitialMessage {
    /// `Sid(i64::MAX)`: an observer that does not say who it is.
    pub sid: Sid,
    /// `host:port` of its election port; several only with multi-address. None from 3.4 and older.
    pub addresses: Vec<String>,
}

impl InitialMessage {
    /// One address goes as version 1, which everybody since 3.5 understands; several as version 2.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_long(if self.addresses.len() > 1 { V2 } else { V1 });
        out.put_long(self.sid.0);
        out.put_buffer(Some(self.addresses.join("|").as_bytes()));
    }

    /// The message at the front of `bytes`, and its length; `None` when it is not all there.
    pub fn decode(bytes: &[u8]) -> Result<Option<(InitialMessage, usize)>> {
        let mut r = Reader::new(bytes);
        match InitialMessage::read(&mut r) {
            Ok(message) => Ok(Some((message, bytes.len() - r.rest().len()))),
            Err(DecodeError::EndOfData) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<InitialMessage> {
        let first = r.long()?;
        if first >= 0 {
            return Ok(InitialMessage { sid: Sid(first), addresses: Vec::new() });
        }
        if first != V1 && first != V2 {
            return Err(DecodeError::BadValue("version of the first message"));
        }
        // Negative sids are for servers that do not say theirs; nobody may claim one.
        let sid = Sid(r.long()?);
        if sid.0 < 0 {
            return Err(DecodeError::BadValue("sid of the first message"));
        }
        let length = r.int()?;
        if length <= 0 || length as usize > ADDRESSES_BYTES_MAX {
            return Err(DecodeError::BadLength(length));
        }
        let text = std::str::from_utf8(r.bytes(length as usize)?)
            .map_err(|_| DecodeError::BadValue("election address"))?;
        let is_wildcard = |a: &str| a.starts_with("0.0.0.0:") || a.starts_with("[::]:");
        let mut addresses = Vec::new();
        for address in text.split('|') {
            let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(_))) {
                return Err(DecodeError::BadValue("election address"));
            }
            if !is_wildcard(address) {
                addresses.push(address.to_owned());
            }
        }
        Ok(InitialMessage { sid, addresses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Notification<'static> {
        Notification {
            state: PeerState::Leading,
            leader: Sid(3),
            zxid: Zxid(0x1_0000_0005),
            election_epoch: 7,
            peer_epoch: 1,
            version: 2,
            config: Some(b"version=0"),
        }
    }

    #[test]
    fn a_notification_of_now() {
        let mut body = Vec::new();
        sample().encode(&mut body);
        assert_eq!(body.len(), 44 + 9);
        assert_eq!(Notification::decode(&body), Ok(sample()));
        for end in 0..body.len() {
            let cut = Notification::decode(&body[..end]);
            assert!(matches!(end, 28 | 40) || cut.is_err(), "{end}: {cut:?}");
        }
        body.extend_from_slice(b"later versions may say more");
        assert_eq!(Notification::decode(&body), Ok(sample()));
    }

    #[test]
    fn notifications_of_old_versions() {
        let mut body = Vec::new();
        sample().encode(&mut body);
        let v33 = Notification::decode(&body[..28]).expect("3.3");
        assert_eq!((v33.peer_epoch, v33.version, v33.config), (1, 0, None));
        assert!(Notification::decode(&body[..36]).is_err());
        let v34 = Notification::decode(&body[..40]).expect("3.4.6");
        assert_eq!((v34.peer_epoch, v34.version), (1, 0));
        assert!(Notification::decode(&body[..44]).is_err(), "nine bytes are said to follow");
        let length = |body: &mut [u8], length: i32| {
            body[40..44].copy_from_slice(&length.to_be_bytes());
        };
        length(&mut body, 0);
        let empty = Notification { config: Some(b""), ..sample() };
        assert_eq!(Notification::decode(&body), Ok(empty), "what follows is not looked at");
        assert_eq!(Notification::decode(&body[..44]), Ok(empty));
        length(&mut body, 10);
        assert_eq!(Notification::decode(&body), Err(DecodeError::EndOfData));
        for bad in [-1, i32::MIN, 54, i32::MAX] {
            length(&mut body, bad);
            assert_eq!(Notification::decode(&body), Err(DecodeError::BadLength(bad)));
        }
        // Before 3.5 nothing is said of a configuration.
        body[36..40].copy_from_slice(&1i32.to_be_bytes());
        let v1 = Notification::decode(&body).expect("version 1");
        assert_eq!((v1.version, v1.config), (1, None));
        body[..4].copy_from_slice(&4i32.to_be_bytes());
        assert!(Notification::decode(&body).is_err());
    }

    #[test]
    fn frames() {
        let mut out = Vec::new();
        put_frame(&mut out, b"body");
        assert_eq!(take_frame(&out), Ok(Some((&b"body"[..], 8))));
        assert_eq!(take_frame(&out[..7]), Ok(None));
        for bad in [0, -1, NOTIFICATION_BYTES_MAX as i32 + 1] {
            assert_eq!(take_frame(&bad.to_be_bytes()), Err(DecodeError::BadLength(bad)));
        }
        assert_eq!(take_frame(&(NOTIFICATION_BYTES_MAX as i32).to_be_bytes()), Ok(None));
    }

    #[test]
    fn first_messages() {
        let one = InitialMessage { sid: Sid(2), addresses: vec!["127.0.0.1:3888".to_owned()] };
        let mut bytes = Vec::new();
        one.encode(&mut bytes);
        assert_eq!(bytes[..8], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
        assert_eq!(InitialMessage::decode(&bytes), Ok(Some((one.clone(), bytes.len()))));
        for end in 0..bytes.len() {
            assert_eq!(InitialMessage::decode(&bytes[..end]), Ok(None), "{end}");
        }
        let two = InitialMessage { sid: Sid(2), addresses: vec!["a:1".into(), "[::1]:2".into()] };
        let mut bytes = Vec::new();
        two.encode(&mut bytes);
        assert_eq!(bytes[7], 1);
        assert_eq!(InitialMessage::decode(&bytes), Ok(Some((two, bytes.len()))));
        let legacy = 5i64.to_be_bytes();
        let old = InitialMessage { sid: Sid(5), addresses: Vec::new() };
        assert_eq!(InitialMessage::decode(&legacy), Ok(Some((old, 8))));
        assert!(InitialMessage::decode(&(-5i64).to_be_bytes()).is_err());
        let mut wildcard = Vec::new();
        InitialMessage { sid: Sid(2), addresses: vec!["0.0.0.0:1".into()] }.encode(&mut wildcard);
        let decoded = InitialMessage::decode(&wildcard).expect("valid").expect("whole");
        assert_eq!(decoded.0.addresses, Vec::<String>::new());
        let mut made_up = Vec::new();
        InitialMessage { sid: Sid(-3), addresses: vec!["h:1".into()] }.encode(&mut made_up);
        assert!(InitialMessage::decode(&made_up).is_err());
        let mut no_port = Vec::new();
        InitialMessage { sid: Sid(2), addresses: vec!["hostname".into()] }.encode(&mut no_port);
        assert!(InitialMessage::decode(&no_port).is_err());
    }
}
