//! multi and multiRead (reference: client-protocol 9).

use super::jute::{DecodeError, JuteWrite, Reader, Result};
use super::op_code::OpCode;
use super::request::{
    CreateRequest, PathVersionRequest, PathWatchRequest, SetDataRequest, create_flags,
};

/// `MultiHeader`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MultiHeader {
    pub op: i32,
    pub done: bool,
    pub err: i32,
}

impl MultiHeader {
    pub const WIRE_BYTES: usize = 9;
    /// Closes requests and responses.
    pub const END: MultiHeader = MultiHeader { op: -1, done: true, err: -1 };

    pub fn decode(r: &mut Reader<'_>) -> Result<Self> {
        Ok(MultiHeader { op: r.int()?, done: r.bool()?, err: r.int()? })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_int(self.op);
        out.put_bool(self.done);
        out.put_int(self.err);
    }
}

/// One operation of a multi.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MultiOp<'a> {
    Create(CreateRequest<'a>),
    Delete(PathVersionRequest<'a>),
    SetData(SetDataRequest<'a>),
    Check(PathVersionRequest<'a>),
    GetChildren(PathWatchRequest<'a>),
    GetData(PathWatchRequest<'a>),
}

impl MultiOp<'_> {
    pub fn is_read(&self) -> bool {
        matches!(self, MultiOp::GetChildren(_) | MultiOp::GetData(_))
    }

    pub fn path(&self) -> Option<&[u8]> {
        match self {
            MultiOp::Create(c) => c.path,
            MultiOp::Delete(d) | MultiOp::Check(d) => d.path,
            MultiOp::SetData(s) => s.path,
            MultiOp::GetChildren(g) | MultiOp::GetData(g) => g.path,
        }
    }
}

/// Why a multi as a whole is answered -5. The difference decides whether a zxid is consumed (reference:
/// client-protocol 5.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MultiError {
    /// Bad type or flag, mixed kinds, truncation: an I/O error in the reference.
    Malformed(DecodeError),
    /// A null ACL vector.
    NullAcl,
}

impl From<DecodeError> for MultiError {
    fn from(error: DecodeError) -> Self {
        MultiError::Malformed(error)
    }
}

/// Decodes a whole multi or multiRead. Kinds are not mixed; null paths are left for the caller.
pub fn decode_multi<'a>(r: &mut Reader<'a>) -> std::result::Result<Vec<MultiOp<'a>>, MultiError> {
    let mut ops: Vec<MultiOp<'a>> = Vec::new();
    loop {
        let header = MultiHeader::decode(r)?;
        if header.done {
            return Ok(ops);
        }
        let op = decode_op(header.op, r)?;
        if ops.first().is_some_and(|first| first.is_read() != op.is_read()) {
            return Err(DecodeError::BadValue("multi: reads and writes mixed").into());
        }
        ops.push(op);
    }
}

fn decode_op<'a>(code: i32, r: &mut Reader<'a>) -> std::result::Result<MultiOp<'a>, MultiError> {
    let bad_type = DecodeError::BadValue("multi: operation type");
    let op = OpCode::from_code(code).ok_or(bad_type)?;
    Ok(match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
            MultiOp::Create(rewrite_create(CreateRequest::decode(op, r)?)?)
        }
        OpCode::Delete => MultiOp::Delete(PathVersionRequest::decode(r)?),
        OpCode::Check => MultiOp::Check(PathVersionRequest::decode(r)?),
        OpCode::SetData => MultiOp::SetData(SetDataRequest::decode(r)?),
        OpCode::GetChildren => MultiOp::GetChildren(PathWatchRequest::decode(r)?),
        OpCode::GetData => MultiOp::GetData(PathWatchRequest::decode(r)?),
        _ => return Err(bad_type.into()),
    })
}

/// The decoder of the reference rewrites some combinations of type and flag (client-protocol 9.1).
fn rewrite_create(mut c: CreateRequest<'_>) -> std::result::Result<CreateRequest<'_>, MultiError> {
    // A null ACL of createTTL is refused like one outside a multi.
    if c.op == OpCode::CreateTtl {
        if create_flags::is_known(c.flags) && !create_flags::is_ttl(c.flags) {
            c.op = if c.flags == create_flags::CONTAINER {
                OpCode::CreateContainer
            } else {
                OpCode::Create
            };
            c.ttl = -1;
        }
        return Ok(c);
    }
    if !create_flags::is_known(c.flags) || create_flags::is_ttl(c.flags) {
        return Err(DecodeError::BadValue("multi: create flags").into());
    }
    if c.acl.is_none() {
        return Err(MultiError::NullAcl);
    }
    if c.flags == create_flags::CONTAINER {
        c.op = OpCode::CreateContainer;
    }
    Ok(c)
}

/// Encodes operations as a request body, for clients and tests.
pub fn encode_multi(ops: &[MultiOp<'_>], out: &mut Vec<u8>) {
    for op in ops {
        let code = match op {
            MultiOp::Create(c) => c.op,
            MultiOp::Delete(_) => OpCode::Delete,
            MultiOp::SetData(_) => OpCode::SetData,
            MultiOp::Check(_) => OpCode::Check,
            MultiOp::GetChildren(_) => OpCode::GetChildren,
            MultiOp::GetData(_) => OpCode::GetData,
        };
        MultiHeader { op: code.code(), done: false, err: -1 }.encode(out);
        match op {
            MultiOp::Create(c) => c.encode(out),
            MultiOp::Delete(d) | MultiOp::Check(d) => d.encode(out),
            MultiOp::SetData(s) => s.encode(out),
            MultiOp::GetChildren(g) | MultiOp::GetData(g) => g.encode(out),
        }
    }
    MultiHeader::END.encode(out);
}
