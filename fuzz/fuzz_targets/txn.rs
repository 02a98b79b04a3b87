//! A transaction as logs and proposals hold it: lists inside can be walked to their ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringkeeper::wire::Reader;
use ringkeeper::wire::txn::{Txn, decode_txn};

fn walk(txn: Txn<'_>) {
    match txn {
        Txn::Multi(multi) => {
            assert_eq!(multi.iter().count(), multi.len());
            for sub in multi.iter() {
                let _ = Txn::decode(sub.op, &mut Reader::new(sub.data));
            }
        }
        Txn::CloseSession { paths: Some(paths) } => assert_eq!(paths.iter().count(), paths.len()),
        Txn::Create(create) => assert_eq!(create.acl.iter().count(), create.acl.len()),
        _ => {}
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok((_, txn, _)) = decode_txn(bytes) {
        walk(txn);
    }
});
