//! A multi: what decodes is encoded and decoded again to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringkeeper::wire::Reader;
use ringkeeper::wire::multi::{decode_multi, encode_multi};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(ops) = decode_multi(&mut Reader::new(bytes)) {
        let mut out = Vec::new();
        encode_multi(&ops, &mut out);
        assert_eq!(decode_multi(&mut Reader::new(&out)).as_ref(), Ok(&ops));
    }
});
