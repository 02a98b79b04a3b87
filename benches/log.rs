//! The proposal log on a ring against the least a log can do: linked write → fdatasync into prepared zeros.
//!
//! Each measured step appends a batch of transactions of about 200 bytes and waits until it is durable. The files
//! are under `target/tmp`: on tmpfs the numbers mean nothing.

use std::fs::{self, File};
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use io_uring::{IoUring, opcode, squeue, types};
use ringkeeper::base::Zxid;
use ringkeeper::storage::log_segment::AlignedBuffer;
use ringkeeper::storage::os::open_direct;
use ringkeeper::storage::{LogOptions, ProposalLog};
use ringkeeper::wire::JuteWrite;

const BATCHES: [usize; 3] = [1, 16, 256];
const DATA: [u8; 128] = [7; 128];
const REFERENCE_BYTES: u64 = 64 << 20;

fn scratch(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/tmp/bench-log").join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("target/tmp is writable");
    dir
}

/// A setData transaction.
fn txn(zxid: i64, out: &mut Vec<u8>) {
    out.clear();
    out.put_long(0x0100_0000_0000_0001);
    out.put_int(1);
    out.put_long(zxid);
    out.put_long(1_700_000_000_000);
    out.put_int(5);
    out.put_str("/bench/node");
    out.put_buffer(Some(&DATA));
    out.put_int(zxid as i32);
    out.put_int(2);
    out.put_long(zxid);
}

fn wait(ring: &mut IoUring, log: &mut ProposalLog) -> Zxid {
    loop {
        ring.submit_and_wait(1).expect("the ring works");
        let mut durable = None;
        for cqe in ring.completion() {
            if let Some(flushed) = log.complete(cqe.user_data(), cqe.result()) {
                durable = Some(flushed.expect("the disk works").up_to);
            }
        }
        if let Some(durable) = durable {
            return durable;
        }
    }
}

fn proposal_log(c: &mut Criterion) {
    let mut group = c.benchmark_group("log/append and group commit");
    for batch in BATCHES {
        let dir = scratch("proposals");
        let mut log = ProposalLog::create(&dir, LogOptions::default()).expect("a log");
        let mut ring = IoUring::new(16).expect("a ring");
        // The first segment is prepared by now, as it is in a server that has been up for a while.
        let spare = dir.join(".ringkeeper-spare");
        while !spare.exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(100));
        let (mut zxid, mut bytes) = (0, Vec::new());
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(format!("{batch}"), |b| {
            b.iter(|| {
                for _ in 0..batch {
                    zxid += 1;
                    txn(zxid, &mut bytes);
                    log.append(Zxid(zxid), &bytes).expect("room");
                }
                log.submit_flush(&mut ring.submission()).expect("not poisoned");
                black_box(wait(&mut ring, &mut log))
            });
        });
        eprintln!("batch {batch}: {:?}", log.stats());
    }
    group.finish();
}

fn reference(c: &mut Criterion) {
    let mut group = c.benchmark_group("log/raw write and fdatasync");
    let dir = scratch("reference");
    let (file, direct) = open_direct(&dir.join("zeros"), true, true).expect("a file");
    fill(&file);
    eprintln!("O_DIRECT: {direct}");
    for batch in BATCHES {
        let mut ring = IoUring::new(16).expect("a ring");
        let mut bytes = Vec::new();
        txn(1, &mut bytes);
        let mut buffer = AlignedBuffer::default();
        buffer.extend(&vec![7; (bytes.len() + 13) * batch]);
        let length = buffer.padded().len();
        let mut at = 0;
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(format!("{batch}"), |b| {
            b.iter(|| {
                let fd = types::Fd(file.as_raw_fd());
                let write = opcode::Write::new(fd, buffer.padded().as_ptr(), length as u32)
                    .offset(at)
                    .build()
                    .flags(squeue::Flags::IO_LINK);
                let sync = opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build();
                // SAFETY: buffer and file outlive the wait below.
                unsafe { ring.submission().push_multiple(&[write, sync]).expect("room") };
                ring.submit_and_wait(2).expect("the ring works");
                assert!(ring.completion().all(|cqe| cqe.result() >= 0));
                at = (at + length as u64) % (REFERENCE_BYTES - length as u64) / 4096 * 4096;
            });
        });
    }
    group.finish();
}

fn fill(file: &File) {
    let mut zeros = AlignedBuffer::default();
    zeros.extend(&vec![0; 1 << 20]);
    for at in (0..REFERENCE_BYTES).step_by(1 << 20) {
        file.write_all_at(zeros.as_slice(), at).expect("room on the disk");
    }
    file.sync_all().expect("the disk works");
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(20);
    targets = proposal_log, reference
}
criterion_main!(benches);
