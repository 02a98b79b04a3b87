//! A multi: what decodes is encoded and decoded again to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringkeeper::wire::Reader;
use ringkeeper::wire::multi::{MultiOp, decode_multi, encode_multi};

/// A createTTL without a TTL flag becomes a create; with a null ACL, which a create is refused for and a createTTL is
/// not (yet), it has no encoding of its own.
fn has_no_encoding(op: &MultiOp<'_>) -> bool {
    matches!(op, MultiOp::Create(create) if create.acl.is_none())
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(ops) = decode_multi(&mut Reader::new(bytes)) {
        if ops.iter().any(has_no_encoding) {
            return;
        }
        let mut out = Vec::new();
        encode_multi(&ops, &mut out);
        assert_eq!(decode_multi(&mut Reader::new(&out)).as_ref(), Ok(&ops));
    }
});
