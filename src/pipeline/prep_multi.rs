//! Validation of a multi (reference: client-protocol 9.2, disk-format 4.4): one zxid, each operation sees the effects
//! of those before it, the first refusal undoes them all.

use super::prep::{Prep, PrepContext, Refusal, Write};
use crate::wire::multi::MultiOp;
use crate::wire::txn::TxnHeader;
use crate::wire::{ErrorCode, JuteWrite, OpCode};

/// Appends the multi's record. A refused multi is a transaction too: operations before the refused one keep their
/// records, it carries its code, later ones "runtime inconsistency". What is malformed inside an operation (a null
/// path, a null ACL id) refuses the request as a whole.
pub(super) fn prepare(
    prep: &mut Prep,
    cx: &mut PrepContext<'_>,
    write: &Write<'_>,
    header: &TxnHeader,
    ops: &[MultiOp<'_>],
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    // The reference looks at every path before it begins.
    if ops.iter().any(|op| op.path().is_none()) {
        return Err(ErrorCode::MarshallingError);
    }
    let digest = prep.digest();
    prep.outstanding.begin_multi();
    let record = out.len();
    out.put_int(ops.len() as i32);
    let mut refused = None;
    for op in ops {
        if refused.is_some() {
            put_error(out, ErrorCode::RuntimeInconsistency);
            continue;
        }
        let start = out.len();
        out.put_int(code(op).code());
        out.put_int(0);
        match prepare_op(prep, cx, write, header, op, out) {
            Ok(()) => {
                let len = (out.len() - start - 8) as i32;
                out[start + 4..start + 8].copy_from_slice(&len.to_be_bytes());
            }
            Err(code) => {
                refused = Some(code);
                out.truncate(start);
                put_error(out, code);
            }
        }
    }
    if refused.is_none() && !prep.fits(out, record) {
        refused = Some(ErrorCode::MarshallingError);
    }
    prep.outstanding.end_multi(refused.is_none());
    if refused.is_some() {
        prep.restore_digest(digest);
    }
    match refused {
        Some(ErrorCode::MarshallingError) => Err(ErrorCode::MarshallingError),
        _ => Ok(()),
    }
}

fn put_error(out: &mut Vec<u8>, code: ErrorCode) {
    out.put_int(OpCode::Error.code());
    out.put_int(4);
    out.put_int(code.code());
}

fn code(op: &MultiOp<'_>) -> OpCode {
    match op {
        MultiOp::Create(request) => request.op,
        MultiOp::Delete(_) => OpCode::Delete,
        MultiOp::SetData(_) => OpCode::SetData,
        MultiOp::Check(_) => OpCode::Check,
        MultiOp::GetChildren(_) => OpCode::GetChildren,
        MultiOp::GetData(_) => OpCode::GetData,
    }
}

fn prepare_op(
    prep: &mut Prep,
    cx: &mut PrepContext<'_>,
    write: &Write<'_>,
    header: &TxnHeader,
    op: &MultiOp<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    match op {
        MultiOp::Create(request) => prep.create(cx, write, header, request, out),
        MultiOp::Delete(request) => prep.delete(cx, write, header.zxid, request, out),
        MultiOp::SetData(request) => prep.set_data(cx, write, header, request, out),
        MultiOp::Check(request) => prep.check(cx, write, request, out),
        // The decoder of opcode 14 lets no reads through.
        MultiOp::GetChildren(_) | MultiOp::GetData(_) => Err(ErrorCode::MarshallingError),
    }
}
