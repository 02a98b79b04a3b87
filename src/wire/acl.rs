//! Access control lists. On the wire and on disk a list is `vector<ACL>`, `ACL = perms, scheme, id`; here it
//! stays in that encoded form ([`AclList`]) wherever it is only carried, compared or stored.

use super::jute::{JuteWrite, Reader, Result};

/// Permission bits (reference: data-model 10.1). Not validated: stored and returned as they came.
pub mod perms {
    pub const READ: i32 = 1;
    pub const WRITE: i32 = 2;
    pub const CREATE: i32 = 4;
    pub const DELETE: i32 = 8;
    pub const ADMIN: i32 = 16;
    pub const ALL: i32 = 31;
}

/// One entry, borrowed from an encoded list. Null strings are kept apart from empty ones because requests may
/// carry them; a stored list has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AclEntry<'a> {
    pub perms: i32,
    pub scheme: Option<&'a [u8]>,
    pub id: Option<&'a [u8]>,
}

impl<'a> AclEntry<'a> {
    pub fn decode(r: &mut Reader<'a>) -> Result<AclEntry<'a>> {
        Ok(AclEntry { perms: r.int()?, scheme: r.ustring()?, id: r.ustring()? })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_int(self.perms);
        out.put_buffer(self.scheme);
        out.put_buffer(self.id);
    }
}

/// An encoded, well-formed `vector<ACL>`: the count and the entries, exactly as on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AclList<'a> {
    encoded: &'a [u8],
}

/// `world:anyone` with all permissions.
pub const OPEN_ACL_UNSAFE: AclList<'static> =
    AclList { encoded: b"\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone" };

/// `world:anyone` with READ only: what `/zookeeper/config` starts with.
pub const READ_ACL_UNSAFE: AclList<'static> =
    AclList { encoded: b"\0\0\0\x01\0\0\0\x01\0\0\0\x05world\0\0\0\x06anyone" };

impl<'a> AclList<'a> {
    /// Reads a list; `None` for a null vector. Every entry is walked once, so iteration cannot fail later.
    pub fn decode(r: &mut Reader<'a>) -> Result<Option<AclList<'a>>> {
        let start = r.rest();
        let Some(count) = r.vector()? else {
            return Ok(None);
        };
        for _ in 0..count {
            AclEntry::decode(r)?;
        }
        let encoded = &start[..start.len() - r.rest().len()];
        if count == 0 {
            // A count below -1 reads as empty; keep the canonical form so that comparing bytes compares lists.
            return Ok(Some(AclList { encoded: &[0; 4] }));
        }
        Ok(Some(AclList { encoded }))
    }

    /// The encoded form, count included.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.encoded
    }

    pub fn len(&self) -> usize {
        Reader::new(self.encoded).int().map_or(0, |count| count as usize)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = AclEntry<'a>> + use<'a> {
        let mut r = Reader::new(self.encoded);
        let count = r.int().unwrap_or(0);
        (0..count).map_while(move |_| AclEntry::decode(&mut r).ok())
    }
}

/// Encodes entries as a list.
pub fn encode_acl_list<'a>(
    entries: impl ExactSizeIterator<Item = AclEntry<'a>>,
    out: &mut Vec<u8>,
) {
    out.put_int(entries.len() as i32);
    for entry in entries {
        entry.encode(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_the_lists_they_claim_to_be() {
        for (list, perms) in [(OPEN_ACL_UNSAFE, perms::ALL), (READ_ACL_UNSAFE, perms::READ)] {
            let entries: Vec<_> = list.iter().collect();
            assert_eq!(entries.len(), list.len());
            let entry = AclEntry { perms, scheme: Some(b"world"), id: Some(b"anyone") };
            assert_eq!(entries, [entry]);
            let mut out = Vec::new();
            encode_acl_list([entry].into_iter(), &mut out);
            assert_eq!(out, list.as_bytes());
        }
    }

    #[test]
    fn negative_count_is_an_empty_list() {
        let list = AclList::decode(&mut Reader::new(&[0xff, 0xff, 0xff, 0xf0])).unwrap().unwrap();
        assert_eq!(list.as_bytes(), [0; 4]);
        assert!(list.is_empty());
    }
}
