//! A snapshot stream, plain, gzip or snappy by its first byte: what it holds is counted as the reader counts it, and
//! nothing is longer than allowed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringkeeper::base::SessionId;
use ringkeeper::storage::snapshot_reader::read_from;
use ringkeeper::storage::{Compression, SinkError, SnapshotSink};
use ringkeeper::wire::snapshot_format::NodeRecord;

const BUFFER_MAX: usize = 4096;

#[derive(Default)]
struct Counts {
    sessions: u64,
    acls: u64,
    nodes: u64,
}

impl SnapshotSink for Counts {
    fn session(&mut self, _: SessionId, _: i32) -> Result<(), SinkError> {
        self.sessions += 1;
        Ok(())
    }

    fn acl(&mut self, _: i64, _: &[u8]) -> Result<(), SinkError> {
        self.acls += 1;
        Ok(())
    }

    fn node(&mut self, node: &NodeRecord<'_>) -> Result<(), SinkError> {
        assert!(node.path.len() <= BUFFER_MAX && node.data.unwrap_or_default().len() <= BUFFER_MAX);
        self.nodes += 1;
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, stream)) = bytes.split_first() else { return };
    let kinds = [Compression::Plain, Compression::Gzip, Compression::Snappy];
    let compression = kinds[usize::from(*kind) % kinds.len()];
    let mut counts = Counts::default();
    if let Ok(info) = read_from(stream, compression, BUFFER_MAX, &mut counts) {
        let counted = (counts.sessions, counts.acls, counts.nodes);
        assert_eq!((info.sessions, info.acls, info.nodes), counted);
    }
});
