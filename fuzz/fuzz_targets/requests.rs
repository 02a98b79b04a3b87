//! A request frame: header, then the body its operation calls for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringkeeper::wire::request::{
    AuthPacket, CreateRequest, PathModeRequest, PathVersionRequest, PathWatchRequest,
    ReconfigRequest, RequestHeader, SetAclRequest, SetDataRequest, SetWatchesRequest,
};
use ringkeeper::wire::{OpCode, Reader};

fuzz_target!(|bytes: &[u8]| {
    let mut r = Reader::new(bytes);
    let Ok(header) = RequestHeader::decode(&mut r) else {
        return;
    };
    match OpCode::from_code(header.op) {
        Some(
            op @ (OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl),
        ) => {
            let start = r.rest();
            if let Ok(create) = CreateRequest::decode(op, &mut r) {
                let mut out = Vec::new();
                create.encode(&mut out);
                let again = CreateRequest::decode(op, &mut Reader::new(&out));
                assert_eq!(again, Ok(create), "from {start:02x?}");
            }
        }
        Some(OpCode::Delete | OpCode::Check) => _ = PathVersionRequest::decode(&mut r),
        Some(OpCode::SetData) => _ = SetDataRequest::decode(&mut r),
        Some(OpCode::SetAcl) => {
            if let Ok(SetAclRequest { acl: Some(acl), .. }) = SetAclRequest::decode(&mut r) {
                assert_eq!(acl.iter().count(), acl.len());
            }
        }
        Some(op @ (OpCode::SetWatches | OpCode::SetWatches2)) => {
            if let Ok(set) = SetWatchesRequest::decode(op, &mut r) {
                for list in [set.data, set.exist, set.child].into_iter().flatten() {
                    assert_eq!(list.iter().count(), list.len());
                }
            }
        }
        Some(OpCode::AddWatch | OpCode::CheckWatches | OpCode::RemoveWatches) => {
            _ = PathModeRequest::decode(&mut r);
        }
        Some(OpCode::Auth) => _ = AuthPacket::decode(&mut r),
        Some(OpCode::Reconfig) => _ = ReconfigRequest::decode(&mut r),
        _ => _ = PathWatchRequest::decode(&mut r),
    }
});
