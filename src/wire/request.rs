//! Request bodies (reference: client-protocol 7 to 9), borrowed from the frame. Trailing bytes are ignored.

use super::acl::AclList;
use super::jute::{JuteWrite, Reader, Result};
use super::op_code::OpCode;

/// xids with a meaning of their own (reference: client-protocol 5.1).
pub mod xid {
    pub const WATCH_EVENT: i32 = -1;
    pub const PING: i32 = -2;
    pub const AUTH: i32 = -4;
    pub const SET_WATCHES: i32 = -8;
}

/// `RequestHeader`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    pub xid: i32,
    pub op: i32,
}

impl RequestHeader {
    pub const WIRE_BYTES: usize = 8;

    pub fn decode(r: &mut Reader<'_>) -> Result<RequestHeader> {
        Ok(RequestHeader { xid: r.int()?, op: r.int()? })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_int(self.xid);
        out.put_int(self.op);
    }
}

/// `flags` of the create family.
pub mod create_flags {
    pub const PERSISTENT: i32 = 0;
    pub const EPHEMERAL: i32 = 1;
    pub const PERSISTENT_SEQUENTIAL: i32 = 2;
    pub const EPHEMERAL_SEQUENTIAL: i32 = 3;
    pub const CONTAINER: i32 = 4;
    pub const PERSISTENT_TTL: i32 = 5;
    pub const PERSISTENT_SEQUENTIAL_TTL: i32 = 6;

    pub fn is_known(flags: i32) -> bool {
        (PERSISTENT..=PERSISTENT_SEQUENTIAL_TTL).contains(&flags)
    }

    pub fn is_ephemeral(flags: i32) -> bool {
        matches!(flags, EPHEMERAL | EPHEMERAL_SEQUENTIAL)
    }

    pub fn is_sequential(flags: i32) -> bool {
        matches!(flags, PERSISTENT_SEQUENTIAL | EPHEMERAL_SEQUENTIAL | PERSISTENT_SEQUENTIAL_TTL)
    }

    pub fn is_ttl(flags: i32) -> bool {
        matches!(flags, PERSISTENT_TTL | PERSISTENT_SEQUENTIAL_TTL)
    }
}

/// create, create2, createContainer and createTTL; `op` tells which.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CreateRequest<'a> {
    pub op: OpCode,
    pub path: Option<&'a [u8]>,
    pub data: Option<&'a [u8]>,
    pub acl: Option<AclList<'a>>,
    pub flags: i32,
    /// Milliseconds, of createTTL only; -1 otherwise.
    pub ttl: i64,
}

impl<'a> CreateRequest<'a> {
    pub fn decode(op: OpCode, r: &mut Reader<'a>) -> Result<CreateRequest<'a>> {
        Ok(CreateRequest {
            op,
            path: r.ustring()?,
            data: r.buffer()?,
            acl: AclList::decode(r)?,
            flags: r.int()?,
            ttl: if op == OpCode::CreateTtl { r.long()? } else { -1 },
        })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_buffer(self.path);
        out.put_buffer(self.data);
        match self.acl {
            Some(acl) => out.extend_from_slice(acl.as_bytes()),
            None => out.put_int(-1),
        }
        out.put_int(self.flags);
        if self.op == OpCode::CreateTtl {
            out.put_long(self.ttl);
        }
    }
}

/// delete, and check inside a multi.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathVersionRequest<'a> {
    pub path: Option<&'a [u8]>,
    /// -1 matches any version.
    pub version: i32,
}

impl<'a> PathVersionRequest<'a> {
    pub fn decode(r: &mut Reader<'a>) -> Result<Self> {
        Ok(PathVersionRequest { path: r.ustring()?, version: r.int()? })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_buffer(self.path);
        out.put_int(self.version);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetDataRequest<'a> {
    pub path: Option<&'a [u8]>,
    pub data: Option<&'a [u8]>,
    pub version: i32,
}

impl<'a> SetDataRequest<'a> {
    pub fn decode(r: &mut Reader<'a>) -> Result<Self> {
        Ok(SetDataRequest { path: r.ustring()?, data: r.buffer()?, version: r.int()? })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_buffer(self.path);
        out.put_buffer(self.data);
        out.put_int(self.version);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetAclRequest<'a> {
    pub path: Option<&'a [u8]>,
    pub acl: Option<AclList<'a>>,
    pub version: i32,
}

impl<'a> SetAclRequest<'a> {
    pub fn decode(r: &mut Reader<'a>) -> Result<Self> {
        Ok(SetAclRequest { path: r.ustring()?, acl: AclList::decode(r)?, version: r.int()? })
    }
}

/// exists, getData, getChildren, getChildren2: a path and whether to leave a watch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathWatchRequest<'a> {
    pub path: Option<&'a [u8]>,
    pub watch: bool,
}

impl<'a> PathWatchRequest<'a> {
    pub fn decode(r: &mut Reader<'a>) -> Result<Self> {
        Ok(PathWatchRequest { path: r.ustring()?, watch: r.bool()? })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_buffer(self.path);
        out.put_bool(self.watch);
    }
}

/// addWatch (`mode`), checkWatches and removeWatches (`type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathModeRequest<'a> {
    pub path: Option<&'a [u8]>,
    pub mode: i32,
}

impl<'a> PathModeRequest<'a> {
    pub fn decode(r: &mut Reader<'a>) -> Result<Self> {
        Ok(PathModeRequest { path: r.ustring()?, mode: r.int()? })
    }
}

/// A `vector<ustring>` of a request, walked lazily.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathList<'a> {
    count: i32,
    encoded: &'a [u8],
}

impl<'a> PathList<'a> {
    /// `None` for a null vector.
    pub fn decode(r: &mut Reader<'a>) -> Result<Option<PathList<'a>>> {
        let Some(count) = r.vector()? else {
            return Ok(None);
        };
        let start = r.rest();
        for _ in 0..count {
            r.ustring()?;
        }
        Ok(Some(PathList { count, encoded: &start[..start.len() - r.rest().len()] }))
    }

    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Each path; `None` for a null one.
    pub fn iter(&self) -> impl Iterator<Item = Option<&'a [u8]>> + use<'a> {
        let mut r = Reader::new(self.encoded);
        (0..self.count).map_while(move |_| r.ustring().ok())
    }
}

/// setWatches (persistent lists empty) and setWatches2. A null list is an error only when its turn comes, so it
/// is kept apart (reference: data-model 9.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetWatchesRequest<'a> {
    pub relative_zxid: i64,
    pub data: Option<PathList<'a>>,
    pub exist: Option<PathList<'a>>,
    pub child: Option<PathList<'a>>,
    pub persistent: Option<PathList<'a>>,
    pub persistent_recursive: Option<PathList<'a>>,
}

impl<'a> SetWatchesRequest<'a> {
    pub fn decode(op: OpCode, r: &mut Reader<'a>) -> Result<Self> {
        const EMPTY: Option<PathList<'static>> = Some(PathList { count: 0, encoded: &[] });
        let with_persistent = op == OpCode::SetWatches2;
        Ok(SetWatchesRequest {
            relative_zxid: r.long()?,
            data: PathList::decode(r)?,
            exist: PathList::decode(r)?,
            child: PathList::decode(r)?,
            persistent: if with_persistent { PathList::decode(r)? } else { EMPTY },
            persistent_recursive: if with_persistent { PathList::decode(r)? } else { EMPTY },
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AuthPacket<'a> {
    pub scheme: Option<&'a [u8]>,
    pub auth: Option<&'a [u8]>,
}

impl<'a> AuthPacket<'a> {
    pub fn decode(r: &mut Reader<'a>) -> Result<Self> {
        r.int()?;
        Ok(AuthPacket { scheme: r.ustring()?, auth: r.buffer()? })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReconfigRequest<'a> {
    pub joining_servers: Option<&'a [u8]>,
    pub leaving_servers: Option<&'a [u8]>,
    pub new_members: Option<&'a [u8]>,
    pub cur_config_id: i64,
}

impl<'a> ReconfigRequest<'a> {
    pub fn decode(r: &mut Reader<'a>) -> Result<Self> {
        Ok(ReconfigRequest {
            joining_servers: r.ustring()?,
            leaving_servers: r.ustring()?,
            new_members: r.ustring()?,
            cur_config_id: r.long()?,
        })
    }
}
