//! A log file: the reader that walks a file in a window and the one that has all of it in memory see the same.
//!
//! The first byte says what the rest is: 0 a whole file; else payloads that get frames and checksums around them (two
//! bytes of length each), as random bytes never have a checksum that is right, cut as far from the end as it says.
#![no_main]

use std::fs;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use ringkeeper::storage::log_scan::{LogFile, ScanError};
use ringkeeper::wire::log_format::{
    END_OF_RECORD, LogItem, RecordReader, file_header, record_head,
};

const PAYLOAD_MAX: usize = 4096;

fn build(kind: u8, mut rest: &[u8]) -> Vec<u8> {
    if kind == 0 {
        return rest.to_vec();
    }
    let mut file = file_header().to_vec();
    while let Some((head, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*head)) % (PAYLOAD_MAX + 2);
        let (payload, after) = after.split_at(length.min(after.len()));
        file.extend_from_slice(&record_head(payload));
        file.extend_from_slice(payload);
        file.push(END_OF_RECORD);
        rest = after;
    }
    file.truncate(file.len() - usize::from(kind - 1).min(file.len()));
    file
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, rest)) = bytes.split_first() else { return };
    let content = build(kind, rest);
    // Under cargo test a directory that it cleans.
    let temp = option_env!("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let path = temp.join(format!("ringkeeper-fuzz-log.{}", std::process::id()));
    fs::write(&path, &content).expect("a file to read");
    let file = LogFile::open(&path, PAYLOAD_MAX);
    let memory = RecordReader::new(&content, PAYLOAD_MAX);
    let (mut file, mut memory) = match (file, memory) {
        (Ok(file), Ok(memory)) => (file, memory),
        (Err(ScanError::Damaged { damage, .. }), Err(same)) => return assert_eq!(damage, same),
        (file, memory) => panic!("{:?} and {:?}", file.err(), memory.err()),
    };
    loop {
        match (file.read(), memory.read()) {
            (Ok(Some(one)), LogItem::Record(other)) => assert_eq!(one, other),
            (Ok(None), LogItem::CleanEnd { .. } | LogItem::TornEnd { .. }) => break,
            (
                Err(ScanError::Damaged { offset, damage, .. }),
                LogItem::Corrupt { offset: at, damage: same },
            ) => break assert_eq!((offset, damage), (at, same)),
            (one, other) => panic!("{one:?} and {other:?}"),
        }
    }
});
