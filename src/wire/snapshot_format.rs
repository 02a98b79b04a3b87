//! The snapshot's records (reference: disk-format 7): header, session table, ACL map, nodes, and up to three seals
//! with the digest and last-zxid sections between them.
//!
//! A seal carries the Adler-32 of every byte before it, earlier seals included; whoever writes or reads the stream
//! keeps that running sum. Decoders take a slice and answer [`DecodeError::EndOfData`] when it ends too early, so a
//! streaming reader can come back with more.

use super::acl::AclList;
use super::jute::{DecodeError, JuteWrite, Reader, Result};
use super::stat::StatPersisted;
use super::txn::DIGEST_VERSION;
use crate::base::{SessionId, Zxid};

pub const SNAPSHOT_MAGIC: [u8; 4] = *b"ZKSN";
pub const SNAPSHOT_VERSION: i32 = 2;
/// Always written; never looked at.
pub const SNAPSHOT_DBID: i64 = -1;
pub const SNAPSHOT_HEADER_BYTES: usize = 16;
/// A seal: checksum and the string `/`.
pub const SEAL_BYTES: usize = 13;
/// The string `/`, which ends the nodes and every seal.
pub const TERMINATOR: [u8; 5] = [0, 0, 0, 1, b'/'];
/// What ends the tree in a SNAP, as a string.
pub const SNAP_SIGNATURE: &[u8] = b"BenWasHere";
/// zxid, version and digest.
pub const DIGEST_SECTION_BYTES: usize = 20;
/// lastProcessedZxid.
pub const ZXID_SECTION_BYTES: usize = 8;
/// ACL id of nodes without a list of their own: world:anyone with every permission.
pub const ACL_ID_OPEN: i64 = -1;

pub fn encode_header(out: &mut Vec<u8>) {
    out.extend_from_slice(&SNAPSHOT_MAGIC);
    out.put_int(SNAPSHOT_VERSION);
    out.put_long(SNAPSHOT_DBID);
}

/// Checks the magic, which is all Apache's reader checks.
pub fn decode_header(r: &mut Reader<'_>) -> Result<()> {
    let mut ahead = *r;
    let magic = ahead.bytes(4)?;
    ahead.bytes(12)?;
    if magic != SNAPSHOT_MAGIC {
        return Err(DecodeError::BadValue("snapshot magic"));
    }
    *r = ahead;
    Ok(())
}

/// Sessions with their timeouts in milliseconds.
pub fn encode_sessions(out: &mut Vec<u8>, sessions: &[(SessionId, i32)]) {
    out.put_int(sessions.len() as i32);
    for (id, timeout_ms) in sessions {
        out.put_long(id.0);
        out.put_int(*timeout_ms);
    }
}

/// The count before the session table or the ACL map. Java never writes null or less.
pub fn decode_count(r: &mut Reader<'_>) -> Result<usize> {
    let mut ahead = *r;
    let count = ahead.int()?;
    let count = usize::try_from(count).map_err(|_| DecodeError::BadValue("snapshot count"))?;
    *r = ahead;
    Ok(count)
}

pub fn decode_session(r: &mut Reader<'_>) -> Result<(SessionId, i32)> {
    let mut ahead = *r;
    let session = (SessionId(ahead.long()?), ahead.int()?);
    *r = ahead;
    Ok(session)
}

/// ACL ids with their encoded lists (count, then entries).
pub fn encode_acls(out: &mut Vec<u8>, acls: &[(i64, Vec<u8>)]) {
    out.put_int(acls.len() as i32);
    for (id, list) in acls {
        out.put_long(*id);
        out.extend_from_slice(list);
    }
}

pub fn decode_acl<'a>(r: &mut Reader<'a>) -> Result<(i64, AclList<'a>)> {
    let mut ahead = *r;
    let id = ahead.long()?;
    let list = AclList::decode(&mut ahead)?.ok_or(DecodeError::BadValue("snapshot ACL list"))?;
    *r = ahead;
    Ok((id, list))
}

/// A node as the snapshot holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeRecord<'a> {
    /// Empty for the root.
    pub path: &'a [u8],
    pub data: Option<&'a [u8]>,
    /// Key of the ACL map, or [`ACL_ID_OPEN`]; in a fuzzy snapshot it may be missing from the map.
    pub acl_id: i64,
    pub stat: StatPersisted,
}

impl NodeRecord<'_> {
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_buffer(Some(self.path));
        out.put_buffer(self.data);
        out.put_long(self.acl_id);
        self.stat.encode(out);
    }
}

/// The next node, or `None` at the terminator, which is consumed. Lengths above `buffer_max` bytes are refused.
pub fn decode_node<'a>(r: &mut Reader<'a>, buffer_max: usize) -> Result<Option<NodeRecord<'a>>> {
    let mut ahead = *r;
    let path = limited(&mut ahead, buffer_max)?.ok_or(DecodeError::BadValue("node path"))?;
    if path == b"/" {
        *r = ahead;
        return Ok(None);
    }
    let node = NodeRecord {
        path,
        data: limited(&mut ahead, buffer_max)?,
        acl_id: ahead.long()?,
        stat: StatPersisted::decode(&mut ahead)?,
    };
    *r = ahead;
    Ok(Some(node))
}

fn limited<'a>(r: &mut Reader<'a>, buffer_max: usize) -> Result<Option<&'a [u8]>> {
    let length = Reader::new(r.rest()).int()?;
    if usize::try_from(length).is_ok_and(|length| length > buffer_max) {
        return Err(DecodeError::BadLength(length));
    }
    r.buffer()
}

/// A seal over `sum`, the Adler-32 of everything before it.
pub fn encode_seal(out: &mut Vec<u8>, sum: u32) {
    out.put_long(i64::from(sum));
    out.extend_from_slice(&TERMINATOR);
}

/// The tree's digest and the last zxid it includes, both as they were when the last node had been written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DigestSection {
    pub zxid: Zxid,
    pub version: i32,
    pub tree: u64,
}

impl DigestSection {
    /// Nobody knows the digest: readers compare with none.
    pub const UNKNOWN: DigestSection =
        DigestSection { zxid: Zxid::ZERO, version: DIGEST_VERSION, tree: 0 };

    pub fn new(zxid: Zxid, tree: u64) -> DigestSection {
        DigestSection { zxid, version: DIGEST_VERSION, tree }
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_long(self.zxid.0);
        out.put_int(self.version);
        out.put_long(self.tree as i64);
    }

    fn decode(r: &mut Reader<'_>) -> Result<DigestSection> {
        Ok(DigestSection { zxid: Zxid(r.long()?), version: r.int()?, tree: r.long()? as u64 })
    }
}

/// Which sections stand between the first seal and the end of the file. What is there decides, not the settings of
/// whoever reads: Apache 3.9 goes by its settings and cannot read its own files after a change of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sections {
    None,
    Zxid,
    Digest,
    Both,
}

impl Sections {
    /// By the bytes left after the first seal; `None` if no writer leaves that many.
    pub fn by_length(bytes: usize) -> Option<Sections> {
        const ZXID: usize = ZXID_SECTION_BYTES + SEAL_BYTES;
        const DIGEST: usize = DIGEST_SECTION_BYTES + SEAL_BYTES;
        const BOTH: usize = ZXID + DIGEST;
        match bytes {
            0 => Some(Sections::None),
            ZXID => Some(Sections::Zxid),
            DIGEST => Some(Sections::Digest),
            BOTH => Some(Sections::Both),
            _ => None,
        }
    }

    pub fn digest(self) -> bool {
        matches!(self, Sections::Digest | Sections::Both)
    }

    pub fn zxid(self) -> bool {
        matches!(self, Sections::Zxid | Sections::Both)
    }
}

/// Longest trailer after the nodes: three seals and both sections.
pub const TRAILER_BYTES_MAX: usize = 3 * SEAL_BYTES + DIGEST_SECTION_BYTES + ZXID_SECTION_BYTES;

/// What follows the nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Trailer {
    pub digest: Option<DigestSection>,
    /// lastProcessedZxid when the last node had been written; larger than the name's in a fuzzy snapshot.
    pub last_zxid: Option<Zxid>,
}

impl Trailer {
    /// Appends seals and sections. `sum` is the running checksum of everything before.
    pub fn encode(&self, out: &mut Vec<u8>, sum: &mut simd_adler32::Adler32) {
        let mut seal = |out: &mut Vec<u8>, from: usize| {
            sum.write(&out[from..]);
            let start = out.len();
            encode_seal(out, sum.finish());
            sum.write(&out[start..]);
        };
        seal(out, out.len());
        if let Some(digest) = &self.digest {
            let start = out.len();
            digest.encode(out);
            seal(out, start);
        }
        if let Some(zxid) = self.last_zxid {
            let start = out.len();
            out.put_long(zxid.0);
            seal(out, start);
        }
    }

    /// Decodes and verifies everything after the terminator of the nodes; `bytes` reaches to the end of the file.
    pub fn decode(bytes: &[u8], sum: &mut simd_adler32::Adler32) -> Result<Trailer> {
        let mut r = Reader::new(bytes);
        check_seal(&mut r, sum)?;
        let sections = Sections::by_length(r.rest().len())
            .ok_or(DecodeError::BadValue("length of the sections after the first seal"))?;
        let mut trailer = Trailer::default();
        if sections.digest() {
            sum.write(&r.rest()[..DIGEST_SECTION_BYTES]);
            trailer.digest = Some(DigestSection::decode(&mut r)?);
            check_seal(&mut r, sum)?;
        }
        if sections.zxid() {
            sum.write(&r.rest()[..ZXID_SECTION_BYTES]);
            trailer.last_zxid = Some(Zxid(r.long()?));
            check_seal(&mut r, sum)?;
        }
        Ok(trailer)
    }
}

/// The string after the checksum is not compared, as in Java, but it is covered by the next seal.
fn check_seal(r: &mut Reader<'_>, sum: &mut simd_adler32::Adler32) -> Result<()> {
    let bytes = r.bytes(SEAL_BYTES)?;
    if Reader::new(bytes).long()? != i64::from(sum.finish()) {
        return Err(DecodeError::BadValue("snapshot checksum"));
    }
    sum.write(bytes);
    Ok(())
}
