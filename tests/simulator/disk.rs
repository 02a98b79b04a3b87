//! A disk in memory: what was flushed survives a crash, what was not may or may not, in pieces too.

use std::collections::BTreeSet;

use ringkeeper::base::Zxid;
use ringkeeper::base::prng::Prng;
use ringkeeper::peer::{Epochs, Recovered};
use ringkeeper::tree::OwnerOptions;
use ringkeeper::wire::log_format::{LOG_HEADER_BYTES, RECORD_OVERHEAD, encode_record};
use ringkeeper::wire::snapshot_format::{DigestSection, Trailer, encode_header};
use simd_adler32::Adler32;

use crate::checkers::total_order::TotalOrder;
use crate::checkers::violated;
use crate::image;

pub const OWNERS: OwnerOptions = OwnerOptions { extended_types: false, emulate_353_ttl: false };

/// What a disk writes whole or not at all, and what the log writes at once; bytes.
const SECTOR: usize = 512;
const BLOCK: usize = 4096;

/// A snapshot's file.
#[derive(Clone)]
pub struct Snapshot {
    pub zxid: Zxid,
    /// The newest transaction whose effects it may hold.
    pub end: Zxid,
    pub file: Vec<u8>,
}

impl Snapshot {
    /// One that a leader has sent: `bytes` from the session table to the end of the nodes, `end` as in the field.
    pub fn received(zxid: Zxid, end: Zxid, bytes: &[u8]) -> Snapshot {
        let (mut file, mut sum) = (Vec::new(), Adler32::new());
        encode_header(&mut file);
        file.extend_from_slice(bytes);
        sum.write(&file);
        let trailer = Trailer { digest: Some(DigestSection::UNKNOWN), last_zxid: Some(end) };
        trailer.encode(&mut file, &mut sum);
        Snapshot { zxid, end, file }
    }
}

/// What a flush that did not come to its end has left in a file of the log.
#[derive(Clone)]
pub struct Debris {
    /// The first transaction of the file.
    pub file: Zxid,
    /// Behind its last whole record.
    pub offset: usize,
    pub bytes: Vec<u8>,
    /// First transaction of the flush.
    first: Zxid,
}

impl Debris {
    /// Where the file ends once everything is cut off that is not one of these records.
    pub fn whole_to(&self, records: &[(Zxid, Vec<u8>)]) -> usize {
        let whole = records.iter().filter(|(zxid, _)| *zxid >= self.first);
        let bytes: usize = whole.map(|(_, record)| record.len() + RECORD_OVERHEAD).sum();
        self.offset + bytes
    }
}

#[derive(Default)]
pub struct Disk {
    pub log: Vec<(Zxid, Vec<u8>)>,
    /// The first transactions of its files.
    pub files: BTreeSet<Zxid>,
    /// The file that was written last is not written to any more.
    closed: bool,
    /// A snapshot was put in place here: what the log holds before it is not all that there was.
    pub base: Zxid,
    /// So many records of the log are durable.
    pub durable: usize,
    pub debris: Option<Debris>,
    pub snapshots: Vec<Snapshot>,
    pub epochs: Epochs,
}

impl Disk {
    pub fn append(&mut self, zxid: Zxid, txn: &[u8]) {
        if std::mem::take(&mut self.closed) || self.files.is_empty() {
            self.files.insert(zxid);
        }
        self.log.push((zxid, txn.to_vec()));
    }

    /// The next transaction begins another file.
    pub fn close_file(&mut self) {
        self.closed = true;
    }

    /// Power is lost: of what was not flushed a part may have made it, from the front on, and pieces of what follows.
    /// `torn` draws the pieces.
    pub fn crash(&mut self, prng: &mut Prng, torn: &mut Prng) {
        let unflushed = (self.log.len() - self.durable) as u64;
        let kept = self.durable + prng.below(unflushed + 1) as usize;
        self.debris = self.tear(kept, torn);
        self.log.truncate(kept);
        self.durable = kept;
        // Files of what is lost have not come about, but that one.
        let last = self.log.last().map(|(zxid, _)| *zxid).max(self.debris.as_ref().map(|d| d.file));
        self.files.retain(|start| Some(*start) <= last);
        // A snapshot may be on disk before the log that leads up to it.
        if let Some(newest) = self.snapshots.last()
            && self.end() < newest.zxid
        {
            self.base = newest.zxid;
        }
    }

    /// Pieces of the records behind the first `kept`, as far as they lie in one file: one flush at a time is under way.
    fn tear(&self, kept: usize, torn: &mut Prng) -> Option<Debris> {
        let first = self.log.get(kept)?.0;
        let file = *self.files.range(..=first).next_back()?;
        let in_file = |zxid: &Zxid| self.files.range(..=*zxid).next_back() == Some(&file);
        let framed = |bytes: &[u8]| bytes.len() + RECORD_OVERHEAD;
        let before = self.log[..kept].iter().filter(|(zxid, _)| *zxid >= file);
        let offset = LOG_HEADER_BYTES + before.map(|(_, bytes)| framed(bytes)).sum::<usize>();
        let mut bytes = Vec::new();
        let mut first_ends = 0;
        for (_, record) in self.log[kept..].iter().take_while(|(zxid, _)| in_file(zxid)) {
            encode_record(&mut bytes, record);
            if first_ends == 0 {
                first_ends = bytes.len();
            }
        }
        let padding = BLOCK - (offset + bytes.len()) % BLOCK;
        match torn.below(4) {
            0 => return None,
            // The file ends in the middle of the record.
            1 => bytes.truncate(torn.below(first_ends as u64) as usize),
            // Zeros follow what was written of it.
            2 => {
                let cut = torn.below(first_ends as u64) as usize;
                bytes[cut..].fill(0);
                bytes.resize(bytes.len() + padding, 0);
            }
            // Sectors are written in any order, and some are not.
            _ => {
                bytes.resize(bytes.len() + padding, 0);
                lose_sectors(&mut bytes, offset, first_ends, torn);
            }
        }
        Some(Debris { file, offset, bytes, first })
    }

    /// Records after `zxid`, in the order in which they were written.
    pub fn log_after(&self, zxid: Zxid) -> &[(Zxid, Vec<u8>)] {
        let behind = self.log.iter().rev().take_while(|(later, _)| *later > zxid).count();
        &self.log[self.log.len() - behind..]
    }

    /// The newest transaction.
    pub fn end(&self) -> Zxid {
        self.log.last().map_or(self.base, |(zxid, _)| *zxid)
    }

    /// The newest transaction that survives losing power now.
    pub fn safe(&self) -> Zxid {
        self.log[..self.durable].last().map_or(self.base, |(zxid, _)| *zxid)
    }

    /// A leader's snapshot takes the place of everything after it.
    pub fn adopt(&mut self, adopted: Snapshot, with_snapshot: bool) {
        self.cut(adopted.zxid);
        if with_snapshot {
            if self.log.last().is_none_or(|(last, _)| *last != adopted.zxid) {
                self.base = adopted.zxid;
            }
            self.snapshots.retain(|snapshot| snapshot.zxid < adopted.zxid);
            self.snapshots.push(adopted);
        }
    }

    pub fn cut(&mut self, to: Zxid) {
        self.log.retain(|(zxid, _)| *zxid <= to);
        self.files.retain(|start| *start <= to);
        self.debris = None;
        self.closed = true;
        self.base = self.base.min(to);
        self.durable = self.log.len();
    }

    /// The state that a start finds.
    pub fn recover(&mut self, now: i64) -> Recovered {
        let image::Started { recovered, mut replayed, snapshot } = image::start(self, now);
        let mut last = snapshot;
        for (zxid, _) in &replayed {
            TotalOrder::replayed(last, *zxid);
            last = *zxid;
        }
        let known = self.log_after(snapshot).len();
        if replayed.len() < known {
            let text = format!("a start reads {} of {known} transactions", replayed.len());
            violated("no lost write", text);
        }
        assert!(self.log_after(snapshot) == &replayed[..known], "others than were written");
        // Among the pieces there were whole ones.
        self.log.extend(replayed.drain(known..));
        self.durable = self.log.len();
        self.debris = None;
        self.closed = true;
        recovered
    }
}

/// Loses sectors that were zeros before, at least one of those that the first record is in.
fn lose_sectors(bytes: &mut [u8], offset: usize, first_ends: usize, torn: &mut Prng) {
    let sector_of = |at: usize| (offset + at) / SECTOR;
    let first = sector_of(0);
    let certain = first + torn.below((sector_of(first_ends - 1) - first + 1) as u64) as usize;
    for sector in first..=sector_of(bytes.len() - 1) {
        if sector == certain || torn.below(2) == 0 {
            let from = (sector * SECTOR).saturating_sub(offset);
            let to = ((sector + 1) * SECTOR - offset).min(bytes.len());
            bytes[from..to].fill(0);
        }
    }
}

#[test]
fn a_torn_log_starts_with_what_is_whole() {
    use ringkeeper::wire::JuteWrite;
    let header = |zxid| ringkeeper::wire::txn::TxnHeader {
        session: ringkeeper::base::SessionId(1),
        cxid: 0,
        zxid: Zxid(zxid),
        time: 0,
        op: -10,
    };
    let mut torn = Prng::new(5);
    let mut tears = 0;
    for seed in 0..600 {
        let mut prng = Prng::new(seed);
        let mut disk = Disk::default();
        disk.recover(0);
        for zxid in 1..=2 + prng.below(30) as i64 {
            if prng.below(10) == 0 {
                disk.close_file();
            }
            let mut txn = Vec::new();
            header(zxid).encode(&mut txn);
            txn.put_int(4000);
            disk.append(Zxid(zxid), &txn);
        }
        disk.durable = prng.below(disk.log.len() as u64) as usize;
        let durable = disk.durable;
        disk.crash(&mut prng, &mut torn);
        let (kept, is_torn) = (disk.log.len(), disk.debris.is_some());
        disk.recover(0);
        assert!(durable <= kept && kept <= disk.log.len());
        tears += u64::from(is_torn);
        // A second start finds the same.
        let after = disk.log.clone();
        disk.recover(0);
        assert!(disk.log == after);
    }
    assert!(tears > 100, "{tears} were torn");
}
