//! Packets between a leader and its learners (reference: zab 1). Decoded where they were received.
//!
//! `type i32, zxid i64, data (i32 length, -1 is null), authinfo (i32 count, -1 is null)`, one behind the other without
//! a length around them.

use super::jute::{DecodeError, JuteWrite, Reader, Result};
use crate::base::{SessionId, Sid, Zxid};

/// What a packet says. Lives in every packet's first four bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketType {
    Request,
    Proposal,
    Ack,
    Commit,
    Ping,
    Revalidate,
    Sync,
    Inform,
    CommitAndActivate,
    NewLeader,
    FollowerInfo,
    UpToDate,
    Diff,
    Trunc,
    Snap,
    ObserverInfo,
    LeaderInfo,
    AckEpoch,
    InformAndActivate,
    /// Of a later version: passed over.
    Other(i32),
}

/// By code, from 1.
const TYPES: [PacketType; 19] = [
    PacketType::Request,
    PacketType::Proposal,
    PacketType::Ack,
    PacketType::Commit,
    PacketType::Ping,
    PacketType::Revalidate,
    PacketType::Sync,
    PacketType::Inform,
    PacketType::CommitAndActivate,
    PacketType::NewLeader,
    PacketType::FollowerInfo,
    PacketType::UpToDate,
    PacketType::Diff,
    PacketType::Trunc,
    PacketType::Snap,
    PacketType::ObserverInfo,
    PacketType::LeaderInfo,
    PacketType::AckEpoch,
    PacketType::InformAndActivate,
];

impl PacketType {
    pub fn from_code(code: i32) -> PacketType {
        let at = usize::try_from(code).ok().and_then(|code| code.checked_sub(1));
        at.and_then(|at| TYPES.get(at).copied()).unwrap_or(PacketType::Other(code))
    }

    pub fn code(self) -> i32 {
        match self {
            PacketType::Other(code) => code,
            known => TYPES.iter().position(|kind| *kind == known).map_or(0, |at| at as i32 + 1),
        }
    }
}

/// The identities that a forwarded request carries, walked lazily. Checked when the packet was decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AuthInfo<'a> {
    count: i32,
    encoded: &'a [u8],
}

impl<'a> AuthInfo<'a> {
    /// Scheme and id of each.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut reader = Reader::new(self.encoded);
        (0..self.count).map_while(move |_| {
            let scheme = reader.buffer().ok()?.unwrap_or_default();
            Some((scheme, reader.buffer().ok()?.unwrap_or_default()))
        })
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Option<AuthInfo<'a>>> {
        let count = reader.int()?;
        if count == -1 {
            return Ok(None);
        }
        if !(0..=AUTHINFO_MAX).contains(&count) {
            return Err(DecodeError::BadLength(count));
        }
        let start = reader.rest();
        for _ in 0..2 * count {
            let taken = start.len() - reader.rest().len();
            limited(reader, AUTHINFO_BYTES_MAX.saturating_sub(taken))?;
        }
        let encoded = &start[..start.len() - reader.rest().len()];
        Ok(Some(AuthInfo { count, encoded }))
    }
}

/// More identities than any client has, and all their bytes: what a packet may hold besides its data.
const AUTHINFO_MAX: i32 = 4096;
const AUTHINFO_BYTES_MAX: usize = 1 << 20;

/// Bytes before a packet's data.
const HEAD_BYTES: usize = 16;

/// One packet. `data` of a PROPOSAL is the transaction as the log holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuorumPacket<'a> {
    pub kind: PacketType,
    pub zxid: Zxid,
    pub data: Option<&'a [u8]>,
    pub authinfo: Option<AuthInfo<'a>>,
}

impl<'a> QuorumPacket<'a> {
    /// Type, zxid and the data's length: what precedes the data.
    pub const HEAD_BYTES: usize = HEAD_BYTES;
    /// What follows the data where there is no authinfo.
    pub const TAIL: [u8; 4] = [0xff; 4];

    /// Without data.
    pub fn bare(kind: PacketType, zxid: Zxid) -> QuorumPacket<'static> {
        QuorumPacket { kind, zxid, data: None, authinfo: None }
    }

    /// The head of a packet whose data follows.
    pub fn head(kind: PacketType, zxid: Zxid, data_bytes: usize) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        head[..4].copy_from_slice(&kind.code().to_be_bytes());
        head[4..12].copy_from_slice(&zxid.0.to_be_bytes());
        head[12..].copy_from_slice(&(data_bytes as i32).to_be_bytes());
        head
    }

    /// The packet at the front of `bytes`, and its length; `None` when it is not all there. Data longer than
    /// `data_max` bytes is refused.
    pub fn decode(bytes: &'a [u8], data_max: usize) -> Result<Option<(QuorumPacket<'a>, usize)>> {
        let mut reader = Reader::new(bytes);
        match QuorumPacket::read(&mut reader, data_max) {
            Ok(packet) => Ok(Some((packet, bytes.len() - reader.rest().len()))),
            Err(DecodeError::EndOfData) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(reader: &mut Reader<'a>, data_max: usize) -> Result<QuorumPacket<'a>> {
        let kind = PacketType::from_code(reader.int()?);
        let zxid = Zxid(reader.long()?);
        let data = limited(reader, data_max)?;
        let authinfo = AuthInfo::decode(reader)?;
        Ok(QuorumPacket { kind, zxid, data, authinfo })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_int(self.kind.code());
        out.put_long(self.zxid.0);
        out.put_buffer(self.data);
        match self.authinfo {
            None => out.put_int(-1),
            Some(ids) => {
                out.put_int(ids.count);
                out.extend_from_slice(ids.encoded);
            }
        }
    }
}

/// A buffer of at most `max` bytes; null is none.
fn limited<'a>(reader: &mut Reader<'a>, max: usize) -> Result<Option<&'a [u8]>> {
    let length = Reader::new(reader.rest()).int()?;
    if length < -1 || usize::try_from(length).is_ok_and(|length| length > max) {
        return Err(DecodeError::BadLength(length));
    }
    reader.buffer()
}

/// The version that learners and leaders of 3.4 and later speak.
pub const LEARNER_PROTOCOL: i32 = 0x10000;

/// What servers of this project put behind LearnerInfo and behind LEADERINFO's number, where Java does not look:
/// the other side acknowledges for all before, and cuts logs safely.
pub const RINGKEEPER_MARK: i32 = 0x524b_0001;

/// The data of FOLLOWERINFO and OBSERVERINFO.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LearnerInfo {
    /// `None`: the learner does not say who it is.
    pub sid: Option<Sid>,
    pub protocol_version: i32,
    pub config_version: i64,
    /// [`RINGKEEPER_MARK`] of one of ours.
    pub mark: Option<i32>,
}

impl LearnerInfo {
    /// Older learners leave out what is at the end (reference: zab 1).
    pub fn decode(data: &[u8]) -> LearnerInfo {
        let mut reader = Reader::new(data);
        LearnerInfo {
            sid: reader.long().ok().map(Sid),
            protocol_version: reader.int().unwrap_or_default(),
            config_version: reader.long().unwrap_or_default(),
            mark: reader.int().ok(),
        }
    }
}

/// A request that a learner hands on: the data of REQUEST.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ForwardedRequest<'a> {
    pub session: SessionId,
    pub cxid: i32,
    pub op: i32,
    /// The client's record without its header.
    pub body: &'a [u8],
}

impl<'a> ForwardedRequest<'a> {
    pub fn decode(data: &'a [u8]) -> Result<ForwardedRequest<'a>> {
        let mut reader = Reader::new(data);
        Ok(ForwardedRequest {
            session: SessionId(reader.long()?),
            cxid: reader.int()?,
            op: reader.int()?,
            body: reader.rest(),
        })
    }
}

/// Appends a REQUEST. `ids` is `None` for createSession only: a Java leader refuses a write without a list.
pub fn put_request<'i>(
    out: &mut Vec<u8>,
    request: &ForwardedRequest<'_>,
    ids: Option<impl Iterator<Item = (&'i [u8], &'i [u8])>>,
) {
    out.extend_from_slice(&QuorumPacket::head(
        PacketType::Request,
        Zxid::NONE,
        16 + request.body.len(),
    ));
    out.put_long(request.session.0);
    out.put_int(request.cxid);
    out.put_int(request.op);
    out.extend_from_slice(request.body);
    let Some(ids) = ids else { return out.put_int(-1) };
    let at = out.len();
    out.put_int(0);
    let mut count = 0i32;
    for (scheme, id) in ids {
        out.put_buffer(Some(scheme));
        out.put_buffer(Some(id));
        count += 1;
    }
    out[at..at + 4].copy_from_slice(&count.to_be_bytes());
}

/// A learner asks whether a session may go on: the data of REVALIDATE towards the leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Revalidate {
    pub session: SessionId,
    /// Milliseconds.
    pub timeout_ms: i32,
}

impl Revalidate {
    pub fn decode(data: &[u8]) -> Result<Revalidate> {
        let mut reader = Reader::new(data);
        Ok(Revalidate { session: SessionId(reader.long()?), timeout_ms: reader.int()? })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_long(self.session.0);
        out.put_int(self.timeout_ms);
    }
}

/// The sessions of a PING's answer with their timeouts in milliseconds. What is cut at the end is left out.
pub fn touches(data: &[u8]) -> impl Iterator<Item = (SessionId, i32)> + '_ {
    let mut reader = Reader::new(data);
    std::iter::from_fn(move || Some((SessionId(reader.long().ok()?), reader.int().ok()?)))
}

pub fn put_touch(out: &mut Vec<u8>, session: SessionId, timeout_ms: i32) {
    out.put_long(session.0);
    out.put_int(timeout_ms);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_codes() {
        for code in 1..=19 {
            assert_eq!(PacketType::from_code(code).code(), code);
            assert!(!matches!(PacketType::from_code(code), PacketType::Other(_)));
        }
        for code in [0, -1, 20, i32::MIN] {
            assert_eq!(PacketType::from_code(code), PacketType::Other(code));
        }
    }

    #[test]
    fn every_prefix_is_incomplete_and_the_whole_is_itself() {
        let ids: [(&[u8], &[u8]); 2] = [(b"ip", b"127.0.0.1"), (b"digest", b"u:h")];
        let request = ForwardedRequest { session: SessionId(7), cxid: 3, op: 5, body: b"body" };
        let mut bytes = Vec::new();
        put_request(&mut bytes, &request, Some(ids.into_iter()));
        for end in 0..bytes.len() {
            assert_eq!(QuorumPacket::decode(&bytes[..end], 100), Ok(None), "{end}");
        }
        let (packet, length) = QuorumPacket::decode(&bytes, 100).expect("valid").expect("whole");
        assert_eq!(length, bytes.len());
        assert_eq!(ForwardedRequest::decode(packet.data.expect("data")), Ok(request));
        let back: Vec<_> = packet.authinfo.expect("ids").iter().collect();
        assert_eq!(back, ids);
        let mut again = Vec::new();
        packet.encode(&mut again);
        assert_eq!(again, bytes);
        assert!(QuorumPacket::decode(&bytes, 3).is_err(), "data longer than allowed");
    }

    #[test]
    fn identities_are_bounded_in_number_and_in_all_their_bytes() {
        let request = |count: i32| {
            let mut bytes = Vec::new();
            QuorumPacket::bare(PacketType::Request, Zxid::NONE).encode(&mut bytes);
            bytes.truncate(HEAD_BYTES);
            bytes.put_int(count);
            bytes
        };
        assert_eq!(QuorumPacket::decode(&request(AUTHINFO_MAX), 9), Ok(None));
        assert!(QuorumPacket::decode(&request(AUTHINFO_MAX + 1), 9).is_err());
        let mut long = request(1);
        long.put_int(AUTHINFO_BYTES_MAX as i32 + 1);
        assert!(QuorumPacket::decode(&long, 9).is_err(), "refused by its length alone");
        let mut many = request(4);
        many.put_buffer(Some(&vec![7; AUTHINFO_BYTES_MAX / 2]));
        assert_eq!(QuorumPacket::decode(&many, 9), Ok(None));
        many.put_int(AUTHINFO_BYTES_MAX as i32 / 2 + 1);
        assert!(QuorumPacket::decode(&many, 9).is_err(), "too much together");
    }

    #[test]
    fn a_head_is_what_encode_writes() {
        let data: &[u8] = b"txn";
        let mut made = QuorumPacket::head(PacketType::Proposal, Zxid(9), data.len()).to_vec();
        made.extend_from_slice(data);
        made.extend_from_slice(&QuorumPacket::TAIL);
        let mut encoded = Vec::new();
        let kind = PacketType::Proposal;
        QuorumPacket { kind, zxid: Zxid(9), data: Some(data), authinfo: None }.encode(&mut encoded);
        assert_eq!(made, encoded);
    }

    #[test]
    fn learner_info_of_every_age() {
        let mut data = Vec::new();
        assert_eq!(LearnerInfo::decode(&data).sid, None);
        data.put_long(3);
        let info = LearnerInfo::decode(&data);
        assert_eq!((info.sid, info.protocol_version), (Some(Sid(3)), 0));
        data.put_int(LEARNER_PROTOCOL);
        data.put_long(0x1_0000_0002);
        let info = LearnerInfo::decode(&data);
        assert_eq!((info.config_version, info.mark), (0x1_0000_0002, None));
        data.put_int(RINGKEEPER_MARK);
        assert_eq!(LearnerInfo::decode(&data).mark, Some(RINGKEEPER_MARK));
    }

    #[test]
    fn touches_that_are_cut_are_left_out() {
        let mut data = Vec::new();
        put_touch(&mut data, SessionId(1), 4000);
        put_touch(&mut data, SessionId(2), 5000);
        let all: Vec<_> = touches(&data).collect();
        assert_eq!(all, [(SessionId(1), 4000), (SessionId(2), 5000)]);
        assert_eq!(touches(&data[..23]).count(), 1);
    }
}
