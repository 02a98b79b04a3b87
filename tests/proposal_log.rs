//! The proposal log on a real ring and a real disk.

mod disk_support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use disk_support::{disk_dir, set_data};
use io_uring::IoUring;
use ringkeeper::base::Zxid;
use ringkeeper::storage::log::{self, LogStats, Submit};
use ringkeeper::storage::log_scan::LogScan;
use ringkeeper::storage::{DataLayout, Flushed, LogError, LogOptions, ProposalLog};
use ringkeeper::wire::log_format::{LogItem, RECORD_BYTES_MAX_DEFAULT, RecordReader};

const MAX: usize = RECORD_BYTES_MAX_DEFAULT;

/// A loop around the log as the Zab core's is, with nothing else on the ring.
struct Core {
    ring: IoUring,
    log: ProposalLog,
    durable: Zxid,
}

impl Core {
    fn new(dir: &Path, options: LogOptions) -> Core {
        let ring = IoUring::new(16).unwrap();
        Core { ring, log: ProposalLog::create(dir, options).unwrap(), durable: Zxid::ZERO }
    }

    fn append(&mut self, zxid: i64, len: usize) {
        self.log.append(Zxid(zxid), &set_data(zxid, len)).unwrap();
    }

    fn submit(&mut self) -> Submit {
        let submit = self.log.submit_flush(&mut self.ring.submission()).unwrap();
        self.ring.submit().unwrap();
        submit
    }

    /// Waits for the flush in flight.
    fn reap(&mut self) -> Result<Option<Flushed>, LogError> {
        let mut done = None;
        while self.log.in_flight() {
            self.ring.submit_and_wait(1).unwrap();
            for cqe in self.ring.completion() {
                assert!(log::owns(cqe.user_data()));
                if let Some(result) = self.log.complete(cqe.user_data(), cqe.result()) {
                    assert!(done.replace(result?).is_none(), "one answer per flush");
                }
            }
        }
        if let Some(flushed) = done {
            assert!(flushed.up_to >= self.durable, "durability never goes back");
            self.durable = flushed.up_to;
        }
        Ok(done)
    }

    fn flush(&mut self) {
        while self.log.pending() {
            assert_eq!(self.submit(), Submit::Queued);
            self.reap().unwrap();
        }
    }
}

fn layout(dir: &Path) -> DataLayout {
    DataLayout::open(dir, None, true).unwrap()
}

/// Payloads of all logs in order; the file names with them.
fn contents(layout: &DataLayout) -> (Vec<Vec<u8>>, Vec<String>) {
    let logs = layout.logs().unwrap();
    let names = logs.iter().map(|log| log.path.file_name().unwrap().to_str().unwrap().to_owned());
    let names = names.collect();
    let mut scan = LogScan::new(&logs, Zxid::ZERO, MAX);
    let mut records = Vec::new();
    while let Some((record, _)) = scan.read().unwrap() {
        records.push(record.payload.to_vec());
    }
    (records, names)
}

fn no_prealloc() -> LogOptions {
    LogOptions { prealloc_bytes: 0, reserve_bytes: 0, ..LogOptions::default() }
}

fn small_prealloc() -> LogOptions {
    LogOptions { prealloc_bytes: 1, reserve_bytes: 0, ..LogOptions::default() }
}

fn wait_for_spare(dir: &DataLayout) {
    let spare = dir.log_dir.join(".ringkeeper-spare");
    let start = Instant::now();
    while !spare.exists() {
        assert!(start.elapsed() < Duration::from_secs(30), "no spare was prepared");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_is_flushed_is_read_back_in_every_mode() {
    for direct in [true, false] {
        for force_sync in [true, false] {
            for prealloc_bytes in [0, 1] {
                let temp = disk_dir();
                let layout = layout(temp.path());
                let options = LogOptions { direct, force_sync, prealloc_bytes, ..no_prealloc() };
                let mut core = Core::new(&layout.log_dir, options);
                let mut expected = Vec::new();
                for zxid in 1..=60 {
                    let len = (zxid as usize * 977) % 9000;
                    core.append(zxid, len);
                    expected.push(set_data(zxid, len));
                    if zxid % 7 == 0 {
                        core.flush();
                        assert_eq!(core.durable, Zxid(zxid));
                        assert!(contents(&layout).0 == expected, "all flushed is readable");
                    }
                }
                core.flush();
                let (records, names) = contents(&layout);
                assert!(records == expected);
                assert_eq!(names[0], "log.1");
            }
        }
    }
}

#[test]
fn nothing_is_opened_before_the_first_append() {
    let temp = disk_dir();
    let layout = layout(temp.path());
    let mut core = Core::new(&layout.log_dir, no_prealloc());
    assert!(!core.log.pending() && core.log.path().is_none() && core.log.size_bytes() == 0);
    assert_eq!(core.submit(), Submit::Nothing);
    core.log.roll();
    assert!(layout.logs().unwrap().is_empty());
    core.append(0x1_0000_0001, 5);
    assert_eq!(core.log.path().unwrap().file_name().unwrap(), "log.100000001");
}

#[test]
fn appends_during_a_flush_join_the_next_and_rolls_keep_the_order() {
    let temp = disk_dir();
    let layout = layout(temp.path());
    let mut core = Core::new(&layout.log_dir, no_prealloc());
    let mut expected = Vec::new();
    let mut zxid = 0;
    let mut add = |core: &mut Core, len: usize| {
        zxid += 1;
        core.append(zxid, len);
        expected.push(set_data(zxid, len));
        zxid
    };
    for round in 0..40usize {
        let before = add(&mut core, round * 311 % 5000);
        assert_eq!(core.submit(), Submit::Queued);
        assert!(core.log.in_flight());
        // While the kernel has the first batch: more, a roll, more, another roll, more.
        add(&mut core, 4000);
        if round % 3 == 0 {
            core.log.roll();
        }
        add(&mut core, round);
        if round % 4 == 0 {
            core.log.roll();
        }
        let last = add(&mut core, 3 * round);
        assert_eq!(core.submit(), Submit::Nothing, "one flush at a time");
        let flushed = core.reap().unwrap().unwrap();
        assert_eq!(flushed.up_to, Zxid(before), "later appends are not durable yet");
        core.flush();
        assert_eq!(core.durable, Zxid(last));
    }
    let (records, names) = contents(&layout);
    assert!(records == expected);
    assert!(names.len() > 20);
    assert_eq!(core.log.stats().records, 160);
}

#[test]
fn a_record_larger_than_any_buffer_works() {
    let temp = disk_dir();
    let layout = layout(temp.path());
    let mut core = Core::new(&layout.log_dir, no_prealloc());
    for (zxid, len) in [(1, 10), (2, 2_000_000), (3, 10), (4, 1_000_000)] {
        core.append(zxid, len);
    }
    core.flush();
    let sizes: Vec<usize> = contents(&layout).0.iter().map(Vec::len).collect();
    assert_eq!(sizes, [10, 2_000_000, 10, 1_000_000].map(|len| set_data(1, len).len()));
}

#[test]
fn a_prepared_segment_is_used_and_the_tail_is_zeros() {
    let temp = disk_dir();
    let layout = layout(temp.path());
    let mut core = Core::new(&layout.log_dir, small_prealloc());
    wait_for_spare(&layout);
    core.append(1, 100);
    // The spare has its name a moment before the thread hands it over.
    core.flush();
    core.log.roll();
    wait_for_spare(&layout);
    std::thread::sleep(Duration::from_millis(50));
    core.append(2, 100);
    core.flush();
    let LogStats { segments, .. } = core.log.stats();
    assert_eq!(segments, 2);
    let file = fs::read(layout.log_dir.join("log.2")).unwrap();
    assert_eq!(file.len(), 4 << 20, "prepared ahead");
    let mut reader = RecordReader::new(&file, MAX).unwrap();
    assert!(matches!(reader.read(), LogItem::Record(_)));
    let LogItem::CleanEnd { offset } = reader.read() else { panic!("no clean end") };
    assert_eq!(offset, core.log.size_bytes());
    assert!(file[offset as usize..].iter().all(|&byte| byte == 0));
}

#[test]
fn a_full_segment_continues_in_the_next_and_no_segment_waits_for_one() {
    let temp = disk_dir();
    let layout = layout(temp.path());
    let mut core = Core::new(&layout.log_dir, small_prealloc());
    let mut expected = Vec::new();
    for zxid in 1..=40 {
        core.append(zxid, 500_000);
        expected.push(set_data(zxid, 500_000));
        core.flush();
        if zxid % 10 == 0 {
            std::thread::sleep(Duration::from_millis(300));
        }
    }
    let (records, names) = contents(&layout);
    assert!(records == expected);
    assert!((2..=6).contains(&names.len()), "{names:?}");
}

#[test]
fn the_size_limit_counts_records_not_padding() {
    let temp = disk_dir();
    let layout = layout(temp.path());
    let limit = LogOptions { size_limit_bytes: Some(10_000), ..small_prealloc() };
    let mut core = Core::new(&layout.log_dir, limit);
    for zxid in 1..=30 {
        core.append(zxid, 1000);
        core.flush();
    }
    let names = contents(&layout).1;
    assert_eq!(names, ["log.1", "log.b", "log.15"]);
}

#[test]
fn history_is_never_overwritten_but_a_torn_beginning_is() {
    let temp = disk_dir();
    let layout = layout(temp.path());
    let mut core = Core::new(&layout.log_dir, no_prealloc());
    core.append(5, 10);
    core.flush();
    drop(core);
    let path = layout.log_dir.join("log.5");
    let whole = fs::read(&path).unwrap();
    let mut core = Core::new(&layout.log_dir, no_prealloc());
    assert!(core.log.append(Zxid(5), &set_data(5, 10)).is_err());
    assert!(core.log.poisoned().is_some(), "the log must not go on with a gap");
    assert!(core.log.append(Zxid(6), &set_data(6, 10)).is_err());
    assert_eq!(fs::read(&path).unwrap(), whole);
    drop(core);
    for cut in [0, 10, 16, 40] {
        fs::write(&path, &whole[..cut]).unwrap();
        let mut core = Core::new(&layout.log_dir, no_prealloc());
        core.append(5, 10);
        core.flush();
        assert_eq!(fs::read(&path).unwrap(), whole, "cut at {cut}");
    }
}

#[test]
fn a_zxid_that_goes_back_is_refused_without_poison() {
    let temp = disk_dir();
    let layout = layout(temp.path());
    let mut core = Core::new(&layout.log_dir, no_prealloc());
    core.append(5, 1);
    assert!(core.log.append(Zxid(4), &set_data(4, 1)).is_err());
    core.append(6, 1);
    core.flush();
    assert_eq!(core.durable, Zxid(6));
}

/// Feeds results that a disk would give, without letting the kernel near the chain.
fn feed(core: &mut Core, results: &[(u64, i32)]) -> Option<Result<Flushed, LogError>> {
    assert_eq!(core.log.submit_flush(&mut core.ring.submission()).unwrap(), Submit::Queued);
    let mut answer = None;
    for &(entry, res) in results {
        assert!(answer.is_none());
        answer = core.log.complete(log::LOG_USER_DATA + entry, res);
    }
    answer
}

fn one_pending(dir: &DataLayout, new_name: bool) -> Core {
    let mut core = Core::new(&dir.log_dir, no_prealloc());
    core.append(1, 10_000);
    core.flush();
    if new_name {
        core.log.roll();
    }
    core.append(2, 10_000);
    core
}

#[test]
fn failures_poison_for_good() {
    const CANCELED: i32 = -125;
    // With the file's second batch, and with its first, whose chain syncs the name too.
    let cases = [
        (false, vec![(0, -5)], LogError::Write(5)),
        (false, vec![(0, -28)], LogError::DiskFull),
        (false, vec![(0, -122)], LogError::DiskFull),
        (true, vec![(0, -5), (1, CANCELED)], LogError::Write(5)),
        (true, vec![(0, -28), (1, CANCELED)], LogError::DiskFull),
        (true, vec![(0, 12288), (1, -5)], LogError::Sync(5)),
        (true, vec![(0, 12288), (1, CANCELED)], LogError::Sync(125)),
    ];
    for (new_name, results, expected) in cases {
        let temp = disk_dir();
        let mut core = one_pending(&layout(temp.path()), new_name);
        assert_eq!(feed(&mut core, &results), Some(Err(expected.clone())));
        assert_eq!(core.log.poisoned(), Some(&expected));
        assert!(core.log.append(Zxid(3), &set_data(3, 1)).is_err());
        let mut other = IoUring::new(8).unwrap();
        assert_eq!(core.log.submit_flush(&mut other.submission()), Err(expected));
    }
}

#[test]
fn short_and_interrupted_writes_are_continued() {
    const CANCELED: i32 = -125;
    let lengths = [-4, -11, 0, 100, 4096, 5000, 8192];
    for (first, new_name) in lengths.into_iter().flat_map(|n| [(n, false), (n, true)]) {
        let temp = disk_dir();
        let layout = layout(temp.path());
        let mut core = one_pending(&layout, new_name);
        let results = [(0, first), (1, CANCELED)];
        assert_eq!(feed(&mut core, &results[..1 + usize::from(new_name)]), None);
        assert!(core.log.pending() && !core.log.in_flight());
        core.append(3, 5);
        // A new ring, as the pushed chain must never reach the kernel: its results were made up.
        core.ring = IoUring::new(16).unwrap();
        core.flush();
        assert_eq!(core.durable, Zxid(3));
        if first < 4096 {
            assert_eq!(contents(&layout).0.len(), 3);
        }
    }
}

#[test]
fn a_disk_that_takes_nothing_is_given_up() {
    let temp = disk_dir();
    let mut core = one_pending(&layout(temp.path()), false);
    core.ring = IoUring::new(64).unwrap();
    let error = (0..20).find_map(|_| feed(&mut core, &[(0, 0)])).unwrap();
    assert_eq!(error, Err(LogError::Write(0)));
}

#[test]
fn a_ring_without_room_gets_no_half_chain() {
    let temp = disk_dir();
    let layout = layout(temp.path());
    let mut core = Core::new(&layout.log_dir, no_prealloc());
    core.ring = IoUring::new(1).unwrap();
    core.append(1, 1);
    assert_eq!(core.submit(), Submit::RingFull);
    assert!(core.log.pending() && !core.log.in_flight());
    core.ring = IoUring::new(4).unwrap();
    core.flush();
    assert_eq!(core.durable, Zxid(1));
}

#[test]
fn low_space_is_told_before_the_disk_is_full() {
    let temp = disk_dir();
    let layout = layout(temp.path());
    let greedy = LogOptions { reserve_bytes: u64::MAX, ..LogOptions::default() };
    let mut core = Core::new(&layout.log_dir, greedy);
    assert!(core.log.space_low());
    // What is on its way still gets through.
    core.append(1, 1);
    core.flush();
    assert!(!Core::new(&layout.log_dir, no_prealloc()).log.space_low());
}

#[test]
fn dropping_the_log_in_flight_is_safe() {
    let temp = disk_dir();
    let layout = layout(temp.path());
    let mut core = Core::new(&layout.log_dir, no_prealloc());
    core.append(1, 1_000_000);
    assert_eq!(core.submit(), Submit::Queued);
    let Core { mut ring, log, .. } = core;
    drop(log);
    let start = Instant::now();
    let mut seen = 0;
    while seen < 2 && start.elapsed() < Duration::from_secs(20) {
        ring.submit_and_wait(1).unwrap();
        seen += ring.completion().count();
    }
    assert_eq!(contents(&layout).0, [set_data(1, 1_000_000)]);
}
