//! Starting from a directory: snapshots, logs, what is refused, what is cut, what is purged.

mod disk_support;

use std::fs;
use std::path::Path;

use disk_support::{Memory, disk_dir, error_txn, golden, set_data};
use ringkeeper::base::{SessionId, Zxid};
use ringkeeper::storage::log_scan::{ScanError, read_range};
use ringkeeper::storage::received::ReceivedSnapshot;
use ringkeeper::storage::recovery::{Decision, log_bytes_from};
use ringkeeper::storage::snapshot::SnapshotSource;
use ringkeeper::storage::truncate::{TruncateError, truncate};
use ringkeeper::storage::{
    Compression, DataLayout, PurgeSchedule, Recovered, RecoveryError, RecoveryOptions,
    RecoveryTarget, SinkError, SnapshotInfo, SnapshotOptions, SnapshotSink, purge, recover,
    snapshot,
};
use ringkeeper::wire::log_format::{Damage, RECORD_BYTES_MAX_DEFAULT, encode_record, file_header};
use ringkeeper::wire::snapshot_format::NodeRecord;

const MAX: usize = RECORD_BYTES_MAX_DEFAULT;
const EPOCH: i64 = 1 << 32;

struct Dir {
    _temp: tempfile::TempDir,
    layout: DataLayout,
}

impl Dir {
    fn new() -> Dir {
        let temp = disk_dir();
        let layout = DataLayout::open(temp.path(), None, true).unwrap();
        Dir { _temp: temp, layout }
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.layout.log_dir.join(name)
    }

    fn log(&self, txns: impl IntoIterator<Item = Vec<u8>>) -> std::path::PathBuf {
        let mut file = file_header().to_vec();
        let mut name = None;
        for txn in txns {
            let zxid = i64::from_be_bytes(txn[12..20].try_into().unwrap());
            name.get_or_insert(zxid);
            encode_record(&mut file, &txn);
        }
        let path = self.file(&format!("log.{:x}", name.unwrap()));
        fs::write(&path, file).unwrap();
        path
    }

    fn log_range(&self, zxids: std::ops::RangeInclusive<i64>) -> std::path::PathBuf {
        self.log(zxids.map(|zxid| set_data(zxid, 20)))
    }

    fn snapshot(&self, zxid: i64) -> std::path::PathBuf {
        self.snapshot_as(zxid, zxid, Compression::Plain)
    }

    fn snapshot_as(&self, zxid: i64, ends: i64, compression: Compression) -> std::path::PathBuf {
        let mut tree = Memory::small_tree(zxid);
        tree.end = (Zxid(ends), 1);
        tree.sessions = vec![(SessionId(zxid), 1000)];
        let options = SnapshotOptions { compression, ..SnapshotOptions::default() };
        snapshot::write(&self.layout.snap_dir, &mut tree, &options).unwrap().path
    }

    fn recover(&self) -> Result<Recovered<Memory>, RecoveryError> {
        recover(&self.layout, &RecoveryOptions::default(), Memory::default)
    }

    fn applied(&self) -> Vec<i64> {
        self.recover().unwrap().target.applied.iter().map(|(zxid, _)| zxid.0).collect()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.layout.log_dir).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn directories_written_by_apache_are_continued() {
    for version in ["3.8.0", "3.9.5"] {
        let dir = Dir::new();
        fs::write(dir.file("snapshot.0"), golden(&format!("snapshot.0.zk{version}"))).unwrap();
        fs::write(dir.file("log.1"), golden(&format!("log.1.zk{version}"))).unwrap();
        let found = dir.recover().unwrap();
        assert_eq!((found.last_zxid, found.replayed), (Zxid(0x16), 0x16));
        assert!(!found.first_snapshot());
        for (name, suffix) in [("", ""), (".gz", ".gz"), (".snappy", ".snappy")] {
            let sample = format!("snapshot.16.zk{version}{name}");
            if version == "3.8.0" && !name.is_empty() {
                continue;
            }
            let path = dir.file(&format!("snapshot.16{suffix}"));
            fs::write(&path, golden(&sample)).unwrap();
            let found = dir.recover().unwrap();
            assert_eq!((found.last_zxid, found.replayed), (Zxid(0x16), 0), "{sample}");
            assert_eq!(found.target.nodes.len(), 11, "{sample}");
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn starting_changes_nothing_on_disk() {
    let dir = Dir::new();
    dir.snapshot(3);
    dir.log_range(1..=9);
    let before = dir.names();
    for _ in 0..2 {
        assert_eq!(dir.recover().unwrap().last_zxid, Zxid(9));
    }
    assert_eq!(dir.names(), before);
}

#[test]
fn an_empty_directory_is_created_or_untrusted() {
    let dir = Dir::new();
    let found = dir.recover().unwrap();
    assert_eq!((found.decision, found.last_zxid), (Decision::Create, Zxid(0)));
    assert!(found.first_snapshot());
    let manual = RecoveryOptions { db_autocreate: false, ..RecoveryOptions::default() };
    let found = recover(&dir.layout, &manual, Memory::default).unwrap();
    assert_eq!((found.decision, found.last_zxid), (Decision::Untrusted, Zxid(-1)));
    let mark = dir.layout.log_dir.parent().unwrap().join("initialize");
    fs::write(&mark, b"").unwrap();
    let found = recover(&dir.layout, &manual, Memory::default).unwrap();
    assert_eq!((found.decision, found.last_zxid), (Decision::Create, Zxid(0)));
    assert!(!mark.exists(), "the mark is used up");
}

#[test]
fn logs_without_a_snapshot_need_trust() {
    let dir = Dir::new();
    dir.log_range(5..=8);
    let error = dir.recover().unwrap_err();
    assert!(matches!(error, RecoveryError::NoSnapshot { .. }), "{error}");
    let trust = RecoveryOptions { trust_empty: true, ..RecoveryOptions::default() };
    let found = recover(&dir.layout, &trust, Memory::default).unwrap();
    assert_eq!((found.last_zxid, found.replayed), (Zxid(8), 4));
    assert!(found.first_snapshot());
}

#[test]
fn the_newest_loadable_snapshot_wins_over_a_fresh_target() {
    let dir = Dir::new();
    dir.snapshot(2);
    let newer = dir.snapshot_as(4, 4, Compression::Gzip);
    dir.log_range(1..=6);
    assert_eq!(dir.applied(), [5, 6]);
    // Torn, but still gzip by its first bytes.
    let whole = fs::read(&newer).unwrap();
    fs::write(&newer, &whole[..whole.len() - 20]).unwrap();
    let found = dir.recover().unwrap();
    assert_eq!(found.rejected.len(), 1);
    assert_eq!(found.target.sessions, [(SessionId(2), 1000)], "nothing of the torn one stays");
    assert_eq!(found.replayed, 4);
    fs::remove_file(dir.file("snapshot.2")).unwrap();
    let error = dir.recover().unwrap_err();
    assert!(matches!(error, RecoveryError::NoneLoads { .. }), "{error}");
    // One that does not even look whole is no candidate at all.
    fs::write(&newer, b"\x1f").unwrap();
    assert!(matches!(dir.recover().unwrap_err(), RecoveryError::NoSnapshot { .. }));
}

#[test]
fn a_fuzzy_snapshot_goes_by_its_name_not_by_its_sections() {
    let dir = Dir::new();
    dir.snapshot_as(3, 6, Compression::Snappy);
    dir.log_range(1..=8);
    assert_eq!(dir.applied(), [4, 5, 6, 7, 8]);
}

#[test]
fn torn_tails_are_legal_in_every_file() {
    let dir = Dir::new();
    dir.snapshot(0);
    let first = dir.log_range(1..=4);
    let whole = fs::read(&first).unwrap();
    // The fourth record was torn and never acknowledged; its zxid was handed out again.
    for cut in 1..set_data(4, 20).len() + 13 {
        fs::write(&first, &whole[..whole.len() - cut]).unwrap();
        assert_eq!(dir.recover().unwrap().last_zxid, Zxid(3), "cut {cut}");
        // What is left of it is cut off, once and for all, and nothing else.
        let mended = fs::read(&first).unwrap();
        let (kept, rest) = mended.split_at(whole.len() - set_data(4, 20).len() - 13);
        assert_eq!(kept, &whole[..kept.len()], "cut {cut}");
        assert!(rest.iter().all(|byte| *byte == 0), "cut {cut}: {rest:?}");
    }
    dir.log_range(4..=6);
    assert_eq!(dir.applied(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn damage_is_refused_with_file_and_offset() {
    let dir = Dir::new();
    dir.snapshot(0);
    let path = dir.log_range(1..=3);
    let mut bytes = fs::read(&path).unwrap();
    bytes[16 + 30] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = dir.recover().unwrap_err();
    let text = error.to_string();
    let RecoveryError::Log(ScanError::Damaged { path: told, offset, damage }) = error else {
        panic!("{text}")
    };
    assert_eq!((told, offset, damage), (path.clone(), 16, Damage::Checksum));
    assert_eq!(fs::read(&path).unwrap(), bytes, "what is refused is not touched");
    assert!(text.contains("log.1") && text.contains("offset 16"), "{text}");
}

#[test]
fn a_headless_file_is_removed_if_it_is_the_newest_and_refused_otherwise() {
    for head in [0, 1, 15] {
        let dir = Dir::new();
        dir.snapshot(0);
        dir.log_range(1..=3);
        let headless = dir.file("log.4");
        fs::write(&headless, &file_header()[..head]).unwrap();
        assert_eq!(dir.recover().unwrap().last_zxid, Zxid(3));
        assert!(!headless.exists());
        fs::write(&headless, &file_header()[..head]).unwrap();
        dir.log_range(5..=6);
        let error = dir.recover().unwrap_err();
        assert!(error.to_string().contains("log.4"), "{error}");
    }
    let dir = Dir::new();
    dir.snapshot(0);
    fs::write(dir.file("log.1"), [0; 4096]).unwrap();
    assert!(matches!(dir.recover().unwrap_err(), RecoveryError::Log(_)), "bad magic");
    fs::write(dir.file("log.1"), b"junk").unwrap();
    assert!(matches!(dir.recover().unwrap_err(), RecoveryError::Log(_)), "short, no header");
}

#[test]
fn gaps_are_refused_unless_the_operator_says_so() {
    for (snapshot, logs) in [(0, vec![1, 2, 4]), (3, vec![5, 6])] {
        let dir = Dir::new();
        dir.snapshot(snapshot);
        dir.log(logs.iter().map(|&zxid| set_data(zxid, 5)));
        let error = dir.recover().unwrap_err();
        assert!(matches!(error, RecoveryError::Gap { .. }), "{error}");
        let old = RecoveryOptions { allow_gaps: true, ..RecoveryOptions::default() };
        let found = recover(&dir.layout, &old, Memory::default).unwrap();
        assert_eq!(found.last_zxid, Zxid(*logs.last().unwrap()));
    }
}

#[test]
fn a_new_epoch_may_start_anywhere() {
    let dir = Dir::new();
    dir.snapshot(EPOCH);
    dir.log([EPOCH + 1, EPOCH + 2, 2 * EPOCH + 7].map(|zxid| set_data(zxid, 5)));
    assert_eq!(dir.applied(), [EPOCH + 1, EPOCH + 2, 2 * EPOCH + 7]);
}

#[test]
fn a_repeated_zxid_is_accepted_for_errors_only_and_none_goes_back() {
    let dir = Dir::new();
    dir.snapshot(0);
    let path = dir.log([set_data(1, 5), error_txn(1, -5), set_data(2, 5)]);
    assert_eq!(dir.applied(), [1, 2]);
    fs::remove_file(path).unwrap();
    for second in [1, 2] {
        let path = dir.log([set_data(1, 5), set_data(2, 5), set_data(second, 5)]);
        let error = dir.recover().unwrap_err();
        assert!(matches!(error, RecoveryError::OutOfOrder { .. }), "{error}");
        fs::remove_file(path).unwrap();
    }
}

/// Refuses what it is told to.
struct Picky(SinkError);

impl SnapshotSink for Picky {
    fn session(&mut self, _: SessionId, _: i32) -> Result<(), SinkError> {
        Ok(())
    }

    fn acl(&mut self, _: i64, _: &[u8]) -> Result<(), SinkError> {
        Ok(())
    }

    fn node(&mut self, _: &NodeRecord<'_>) -> Result<(), SinkError> {
        Err(self.0.clone())
    }
}

impl RecoveryTarget for Picky {
    fn snapshot_loaded(&mut self, _: Zxid, _: &SnapshotInfo) -> Result<(), SinkError> {
        unreachable!("no snapshot loads")
    }

    fn apply(&mut self, _: Zxid, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

#[test]
fn a_sink_decides_whether_older_snapshots_are_tried() {
    let dir = Dir::new();
    dir.snapshot(1);
    dir.snapshot(2);
    let mut tries = 0;
    let fatal = || Picky(SinkError::Fatal("owner".into()));
    let error = recover(&dir.layout, &RecoveryOptions::default(), || {
        tries += 1;
        fatal()
    })
    .err()
    .unwrap();
    assert!(matches!(error, RecoveryError::Snapshot { .. }), "{error}");
    assert_eq!(tries, 1);
    let mut tries = 0;
    let error = recover(&dir.layout, &RecoveryOptions::default(), || {
        tries += 1;
        Picky(SinkError::Unusable("parent".into()))
    })
    .err()
    .unwrap();
    assert!(matches!(error, RecoveryError::NoneLoads { .. }), "{error}");
    assert_eq!(tries, 2);
}

#[test]
fn a_snapshot_replaces_its_namesake_only_when_it_is_whole() {
    let dir = Dir::new();
    let path = dir.snapshot(5);
    let first = fs::read(&path).unwrap();
    // A directory in the way of the passing name makes the writing fail.
    fs::create_dir(dir.layout.snap_dir.join(".ringkeeper-snapshot.5")).unwrap();
    let mut tree = Memory::small_tree(5);
    let options = SnapshotOptions::default();
    assert!(snapshot::write(&dir.layout.snap_dir, &mut tree, &options).is_err());
    assert_eq!(fs::read(&path).unwrap(), first);
    fs::remove_dir(dir.layout.snap_dir.join(".ringkeeper-snapshot.5")).unwrap();
    let written = snapshot::write(&dir.layout.snap_dir, &mut tree, &options).unwrap();
    assert_eq!(written.file_bytes, fs::metadata(&written.path).unwrap().len());
    assert_eq!(dir.names(), ["snapshot.5"]);
}

#[test]
fn a_log_is_read_back_only_where_nothing_is_missing() {
    let dir = Dir::new();
    let read = |after, to| {
        let found = read_range(&dir.layout, Zxid(after), Zxid(to), 1 << 20, MAX)?;
        Some(found.into_iter().map(|(zxid, _)| zxid.0).collect::<Vec<_>>())
    };
    dir.snapshot(0);
    dir.log_range(1..=5);
    dir.snapshot(3);
    dir.log_range(EPOCH + 1..=EPOCH + 3);
    assert_eq!(read(2, EPOCH + 2), Some(vec![3, 4, 5, EPOCH + 1, EPOCH + 2]));
    assert_eq!(read(6, EPOCH + 2), None, "the learner's last is not in the log");
    assert_eq!(read(2, EPOCH + 4), None, "nor what it is to be brought to");
    assert!(read_range(&dir.layout, Zxid(2), Zxid(EPOCH + 2), 60, MAX).is_none(), "too much");
    // A leader's snapshot took the place of 6 and 7, which this server never had.
    dir.snapshot(7);
    assert_eq!(read(2, EPOCH + 2), None);
    assert_eq!(read(EPOCH + 1, EPOCH + 2), Some(vec![EPOCH + 2]));
}

/// A source that nobody wants any more once so many nodes were taken from it.
struct GivenUp(Memory, usize);

impl SnapshotSource for GivenUp {
    fn zxid(&self) -> Zxid {
        self.0.zxid()
    }

    fn sessions(&self) -> &[(SessionId, i32)] {
        self.0.sessions()
    }

    fn acls(&self) -> &[(i64, Vec<u8>)] {
        self.0.acls()
    }

    fn next_chunk(&mut self, _max_nodes: usize, out: &mut Vec<u8>) -> bool {
        self.0.next_chunk(1, out)
    }

    fn end_state(&self) -> (Zxid, u64) {
        self.0.end_state()
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn is_given_up(&self) -> bool {
        self.0.written >= self.1
    }
}

#[test]
fn a_snapshot_that_is_given_up_never_takes_its_name() {
    let dir = Dir::new();
    let options = SnapshotOptions::default();
    let nodes = Memory::small_tree(5).nodes.len();
    // In the middle, and when everything is written and only the name is missing.
    for at in [2, nodes] {
        let mut source = GivenUp(Memory::small_tree(5), at);
        assert!(snapshot::write(&dir.layout.snap_dir, &mut source, &options).is_err());
        assert!(dir.names().is_empty(), "{:?}", dir.names());
    }
    let mut source = GivenUp(Memory::small_tree(5), nodes + 1);
    snapshot::write(&dir.layout.snap_dir, &mut source, &options).unwrap();
    assert_eq!(dir.names(), ["snapshot.5"]);
}

#[test]
fn a_large_snapshot_round_trips_and_keeps_its_pace() {
    let dir = Dir::new();
    for compression in [Compression::Plain, Compression::Gzip, Compression::Snappy] {
        let mut tree = Memory::small_tree(9);
        let big = vec![7; 1_000_000];
        for n in 0..30_000 {
            let data = if n % 10_000 == 5 { &big[..] } else { b"some data of a node" };
            tree.nodes.push(disk_support::Node::new(&format!("/a/n{n}"), data));
        }
        let rate_limit_bytes_per_s = 20 << 20;
        let options = SnapshotOptions { compression, rate_limit_bytes_per_s, ..Default::default() };
        let written = snapshot::write(&dir.layout.snap_dir, &mut tree, &options).unwrap();
        let expected = written.bytes as f64 / rate_limit_bytes_per_s as f64;
        assert!(written.took.as_secs_f64() >= expected * 0.9, "{written:?}");
        let found = dir.recover().unwrap();
        assert!(found.target.nodes == tree.nodes, "{compression:?}");
        fs::remove_file(written.path).unwrap();
    }
}

fn cut(dir: &Dir, target: i64) -> Result<(), TruncateError> {
    truncate(&dir.layout, Zxid(target), MAX)
}

#[test]
fn truncate_cuts_after_the_target_and_removes_later_files() {
    for target in 1..=9 {
        let dir = Dir::new();
        dir.snapshot(0);
        for range in [1..=3, 4..=6, 7..=9] {
            dir.log_range(range);
        }
        cut(&dir, target).unwrap();
        assert_eq!(dir.applied(), (1..=target).collect::<Vec<_>>());
    }
}

#[test]
fn truncate_to_a_zxid_that_is_not_logged_keeps_nothing_above_it() {
    let dir = Dir::new();
    dir.snapshot(0);
    dir.log([1, 2, EPOCH + 1, EPOCH + 2].map(|zxid| set_data(zxid, 5)));
    cut(&dir, EPOCH).unwrap();
    assert_eq!(dir.applied(), [1, 2]);
}

#[test]
fn truncate_removes_snapshots_that_hold_later_effects() {
    let dir = Dir::new();
    dir.snapshot(2);
    let fuzzy = dir.snapshot_as(4, 7, Compression::Plain);
    let later = dir.snapshot(8);
    // No trailer tells where this one ended, a node does.
    let mut tree = Memory::small_tree(5);
    tree.nodes[4].stat.mzxid = 7;
    let bare = SnapshotOptions { digest: false, last_zxid_section: false, ..Default::default() };
    let silent = snapshot::write(&dir.layout.snap_dir, &mut tree, &bare).unwrap().path;
    dir.log_range(1..=9);
    cut(&dir, 6).unwrap();
    for path in [&fuzzy, &later, &silent] {
        assert!(!Path::new(path).exists(), "{}", path.display());
    }
    assert_eq!(dir.applied(), [3, 4, 5, 6]);
}

#[test]
fn truncate_changes_nothing_when_it_must_refuse() {
    let dir = Dir::new();
    dir.snapshot(8);
    dir.log_range(1..=9);
    let before = dir.names();
    assert!(matches!(cut(&dir, 6), Err(TruncateError::NoSnapshotLeft(_))));
    assert_eq!(dir.names(), before);
    let dir = Dir::new();
    dir.snapshot(2);
    dir.log_range(5..=9);
    assert!(matches!(cut(&dir, 4), Err(TruncateError::NotInLog(_))));
    assert_eq!(dir.names().len(), 2);
}

#[test]
fn purge_keeps_what_the_kept_snapshots_need() {
    let dir = Dir::new();
    for zxid in [10, 20, 30, 40, 50] {
        dir.snapshot(zxid);
    }
    for start in [1, 11, 25, 35, 45] {
        dir.log_range(start..=start + 1);
    }
    fs::write(dir.file("log.readme"), b"").unwrap();
    fs::write(dir.file(".ringkeeper-spare"), b"").unwrap();
    // The newest looks torn: it is neither counted nor deleted.
    fs::write(dir.file("snapshot.3c"), b"torn").unwrap();
    purge::run(&dir.layout, 1).unwrap();
    let kept = [
        ".ringkeeper-spare",
        "log.19",
        "log.23",
        "log.2d",
        "log.readme",
        "snapshot.1e",
        "snapshot.28",
        "snapshot.32",
        "snapshot.3c",
    ];
    assert_eq!(dir.names(), kept, "three are kept whatever is asked");
    assert!(purge::run(&dir.layout, 3).unwrap().is_empty());
}

#[test]
fn purge_deletes_nothing_without_a_whole_snapshot() {
    let dir = Dir::new();
    dir.log_range(1..=2);
    dir.log_range(3..=4);
    fs::write(dir.file("snapshot.2"), b"torn").unwrap();
    assert!(purge::run(&dir.layout, 3).unwrap().is_empty());
    assert_eq!(dir.names().len(), 3);
}

#[test]
fn the_purge_schedule_starts_at_once_and_can_be_off() {
    let dir = Dir::new();
    let layout = || dir.layout.clone();
    assert!(PurgeSchedule::new(layout(), 0, 3, 0).is_none());
    let mut schedule = PurgeSchedule::new(layout(), 2, 3, 1000).unwrap();
    assert!(schedule.run_if_due(1000).unwrap().is_ok());
    assert!(schedule.run_if_due(1001).is_none());
    assert_eq!(schedule.next_due(), 1000 + 2 * 3_600_000);
    assert!(schedule.run_if_due(schedule.next_due()).is_some());
}

#[test]
fn log_bytes_count_the_files_a_replay_reads() {
    let dir = Dir::new();
    let sizes: Vec<u64> = [1..=3, 4..=6, 7..=9]
        .map(|range| fs::metadata(dir.log_range(range)).unwrap().len())
        .to_vec();
    assert_eq!(log_bytes_from(&dir.layout, Zxid(5)).unwrap(), sizes[1] + sizes[2]);
    assert_eq!(log_bytes_from(&dir.layout, Zxid(7)).unwrap(), sizes[1] + sizes[2]);
    assert_eq!(log_bytes_from(&dir.layout, Zxid(8)).unwrap(), sizes[2]);
}

/// A snapshot that came from a leader is the only copy of what lies between the log before it and the log behind it.
#[test]
fn an_older_snapshot_is_no_substitute_for_what_the_logs_lack() {
    let damaged = |behind: &[std::ops::RangeInclusive<i64>]| {
        let dir = Dir::new();
        dir.snapshot(0);
        dir.log_range(1..=4);
        let path = dir.snapshot(9);
        behind.iter().for_each(|range| drop(dir.log_range(range.clone())));
        // Whole at its end, wrong in the middle.
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        fs::write(&path, bytes).unwrap();
        dir
    };
    for behind in [vec![], vec![EPOCH + 1..=EPOCH + 2]] {
        let error = damaged(&behind).recover().unwrap_err();
        let expected = RecoveryError::Lost { snapshot: Zxid(9), before: Zxid(4) };
        assert_eq!(error.to_string(), expected.to_string(), "{behind:?}");
        let options = RecoveryOptions { allow_gaps: true, ..RecoveryOptions::default() };
        let found = recover(&damaged(&behind).layout, &options, Memory::default).unwrap();
        assert_eq!(found.replayed, 4 + 2 * behind.len() as u64, "allowed for one start");
    }
    // Logs that have it too are as good as the snapshot.
    let found = damaged(&[5..=9, EPOCH + 1..=EPOCH + 2]).recover().unwrap();
    assert_eq!((found.last_zxid, found.replayed), (Zxid(EPOCH + 2), 11));
}

/// Reference: zab 18, SNAP-below-log. The tree that a leader sends may be older than what was logged here.
#[test]
fn a_snapshot_from_the_leader_ends_the_log_that_goes_beyond_it() {
    for sections in [(true, true), (false, false)] {
        let dir = Dir::new();
        dir.snapshot(0);
        dir.log_range(1..=4);
        dir.log_range(5..=8);
        dir.snapshot(7);
        let mut stream = Vec::new();
        snapshot::stream(&mut stream, &mut Memory::small_tree(3)).unwrap();
        let signature = 4 + b"BenWasHere".len();
        let mut received = ReceivedSnapshot::begin(&dir.layout, Zxid(3)).unwrap();
        received.put(&stream[..100]).unwrap();
        received.put(&stream[100..stream.len() - signature]).unwrap();
        let before = ["log.1", "log.5", "snapshot.0", "snapshot.7"];
        assert!(before.iter().all(|name| dir.file(name).exists()), "{:?}", dir.names());
        received.adopt(&dir.layout, Zxid(3), sections.0, sections.1, MAX).unwrap();
        let found = dir.recover().unwrap();
        assert_eq!((found.last_zxid, found.replayed), (Zxid(3), 0), "{:?}", dir.names());
        assert!(!dir.names().iter().any(|name| name == "snapshot.7"), "{:?}", dir.names());
        // What the leader has instead goes on from there.
        dir.log_range(EPOCH + 1..=EPOCH + 2);
        assert_eq!(dir.applied(), [EPOCH + 1, EPOCH + 2]);
    }
}
