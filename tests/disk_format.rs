//! Log and snapshot formats against files captured from Apache ZooKeeper, and every row of the damage matrix.

mod disk_support;

use disk_support::{Memory, error_txn, golden, set_data};
use ringkeeper::base::Zxid;
use ringkeeper::storage::snapshot_reader::read_from;
use ringkeeper::storage::{Compression, SnapshotError, SnapshotOptions, snapshot};
use ringkeeper::wire::DecodeError;
use ringkeeper::wire::log_format::{
    Damage, LogItem, RECORD_BYTES_MAX_DEFAULT, RecordReader, encode_record, file_header,
};
use ringkeeper::wire::txn::decode_txn;

const MAX: usize = RECORD_BYTES_MAX_DEFAULT;

/// Records of a file until something else comes, and that.
fn read_all(file: &[u8]) -> (Vec<(i64, Vec<u8>)>, LogItem<'_>) {
    let mut reader = RecordReader::new(file, MAX).unwrap();
    let mut records = Vec::new();
    loop {
        match reader.read() {
            LogItem::Record(r) => records.push((r.header.zxid.0, r.payload.to_vec())),
            end => return (records, end),
        }
    }
}

fn log_of(txns: &[Vec<u8>]) -> Vec<u8> {
    let mut file = file_header().to_vec();
    for txn in txns {
        encode_record(&mut file, txn);
    }
    file
}

fn three() -> Vec<u8> {
    log_of(&[set_data(1, 40), set_data(2, 50), set_data(3, 60)])
}

/// Offset of the n-th record of [`three`].
fn start_of(n: usize) -> usize {
    16 + (0..n).map(|n| set_data(n as i64 + 1, 40 + 10 * n).len() + 13).sum::<usize>()
}

#[test]
fn golden_logs_decode_and_encode_to_the_byte() {
    for name in ["log.1.zk3.8.0", "log.1.zk3.9.5"] {
        let file = golden(name);
        let (records, end) = read_all(&file);
        let zxids: Vec<i64> = records.iter().map(|(zxid, _)| *zxid).collect();
        assert_eq!(zxids, (1..=0x16).collect::<Vec<_>>());
        let LogItem::CleanEnd { offset } = end else { panic!("{end:?}") };
        let mut again = file_header().to_vec();
        for (_, payload) in &records {
            encode_record(&mut again, payload);
        }
        assert_eq!(again, file[..offset as usize], "{name}");
        assert!(file[offset as usize..].iter().all(|&byte| byte == 0));
        let digests = records.iter().filter(|(_, p)| decode_txn(p).unwrap().2.is_some()).count();
        assert_eq!(digests, 22 - 3, "every transaction but the three errors has a digest");
    }
    let file = golden("log.1.zk3.9.5");
    let LogItem::CleanEnd { offset } = read_all(&file).1 else { panic!() };
    assert_eq!(offset, 0x7b7);
}

#[test]
fn golden_snapshots_decode_and_encode_to_the_byte() {
    let cases = [
        ("snapshot.0.zk3.8.0", Compression::Plain, false),
        ("snapshot.0.zk3.9.5", Compression::Plain, true),
        ("snapshot.16.zk3.8.0", Compression::Plain, false),
        ("snapshot.16.zk3.9.5", Compression::Plain, true),
        ("snapshot.16.zk3.9.5.gz", Compression::Gzip, true),
        ("snapshot.16.zk3.9.5.snappy", Compression::Snappy, true),
    ];
    for (name, compression, last_zxid_section) in cases {
        let file = golden(name);
        let mut tree = Memory::default();
        let info = read_from(&file[..], compression, MAX, &mut tree).unwrap();
        assert_eq!(info.last_zxid.is_some(), last_zxid_section, "{name}");
        let digest = info.digest.unwrap();
        tree.end = (digest.zxid, digest.tree);
        // Where nothing was applied since load the digest section is empty, the zxid section is not.
        tree.zxid = info.last_zxid.unwrap_or(Zxid::ZERO);
        let options = SnapshotOptions { last_zxid_section, ..SnapshotOptions::default() };
        let mut again = Vec::new();
        let bytes = snapshot::write_to(&mut again, &mut tree, &options).unwrap();
        assert_eq!(bytes, again.len() as u64);
        let mut plain = Vec::new();
        let mut input =
            ringkeeper::storage::snapshot_codec::decoder(&file[..], compression).unwrap();
        input.read_to_end(&mut plain).unwrap();
        assert_eq!(again, plain, "{name}");
        assert_eq!(info.bytes, plain.len() as u64);
    }
}

#[test]
fn golden_snapshot_says_what_the_annotation_says() {
    let mut tree = Memory::default();
    let file = golden("snapshot.16.zk3.9.5");
    let info = read_from(&file[..], Compression::Plain, MAX, &mut tree).unwrap();
    assert_eq!(tree.sessions, [(ringkeeper::base::SessionId(0x0100_000f_878d_0002), 40000)]);
    assert_eq!(tree.acls.iter().map(|acl| acl.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(tree.nodes[0].path, b"");
    assert_eq!(tree.nodes[0].stat.cversion, 9);
    let n = tree.nodes.iter().find(|node| node.path == b"/n").unwrap();
    assert_eq!(n.data, None);
    let digest = info.digest.unwrap();
    assert_eq!((digest.zxid, digest.version, digest.tree), (Zxid(0x16), 2, 0x4_9c52_3113));
    assert_eq!(info.last_zxid, Some(Zxid(0x16)));
}

#[test]
fn sections_are_told_by_length_whatever_the_settings() {
    for compression in [Compression::Plain, Compression::Gzip, Compression::Snappy] {
        for (digest, last_zxid_section) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let options =
                SnapshotOptions { compression, digest, last_zxid_section, ..Default::default() };
            let mut tree = Memory::small_tree(5);
            tree.end = (Zxid(9), 77);
            let mut file = Vec::new();
            snapshot::write_to(&mut file, &mut tree, &options).unwrap();
            let mut back = Memory::default();
            let info = read_from(&file[..], compression, MAX, &mut back).unwrap();
            assert_eq!(info.digest.map(|d| (d.zxid, d.tree)), digest.then_some((Zxid(9), 77)));
            assert_eq!(info.last_zxid, last_zxid_section.then_some(Zxid(9)));
            assert_eq!(back.nodes, tree.nodes);
        }
    }
}

#[test]
fn a_cut_or_changed_snapshot_never_loads() {
    let file = golden("snapshot.16.zk3.9.5");
    let seal1 = 0x437;
    let whole_without_sections = [seal1 + 13, seal1 + 13 + 33];
    for cut in (0..file.len()).filter(|cut| !whole_without_sections.contains(cut)) {
        let result = read_from(&file[..cut], Compression::Plain, MAX, &mut Memory::default());
        assert!(result.is_err(), "cut at {cut}");
    }
    // The string of a seal is not compared, as in Java; the last one is under no later seal either.
    for at in 0..file.len() - 5 {
        let mut changed = file.clone();
        changed[at] ^= 0x40;
        let result = read_from(&changed[..], Compression::Plain, MAX, &mut Memory::default());
        assert!(result.is_err(), "byte {at} changed");
    }
}

#[test]
fn unreasonable_lengths_in_a_snapshot_are_refused_early() {
    let mut file = golden("snapshot.0.zk3.9.5");
    let data_of_root = 16 + 4 + {
        let mut tree = Memory::default();
        read_from(&file[..], Compression::Plain, MAX, &mut tree).unwrap();
        4 + tree.acls.iter().map(|(_, list)| 8 + list.len()).sum::<usize>() + 4
    };
    file[data_of_root..data_of_root + 4].copy_from_slice(&(MAX as i32 + 1).to_be_bytes());
    let error = read_from(&file[..], Compression::Plain, MAX, &mut Memory::default()).unwrap_err();
    let SnapshotError::Corrupt { error, .. } = error else { panic!("{error}") };
    assert_eq!(error, DecodeError::BadLength(MAX as i32 + 1));
}

// The damage matrix (reference: disk-format 3.5), one test per row.

#[test]
fn zero_tail_or_cut_after_a_record_is_a_clean_end() {
    let file = three();
    for zeros in [0, 1, 11, 12, 13, 5000] {
        let mut file = file.clone();
        let end = file.len() as u64;
        file.resize(file.len() + zeros, 0);
        let (records, item) = read_all(&file);
        assert_eq!((records.len(), item), (3, LogItem::CleanEnd { offset: end }), "{zeros} zeros");
    }
}

#[test]
fn crash_at_every_byte_of_the_last_records_drops_only_those() {
    let file = three();
    for cut in start_of(1)..file.len() {
        let mut cut_off = file[..cut].to_vec();
        for padding in [0, 4096] {
            cut_off.resize(cut + padding, 0);
            let whole = if cut >= start_of(2) { 2 } else { 1 };
            let (records, item) = read_all(&cut_off);
            assert_eq!(records.len(), whole, "cut at {cut}, padding {padding}");
            let offset = start_of(whole) as u64;
            let at_boundary = cut == start_of(whole);
            // The upper half of the checksum is zeros: a cut inside it looks like padding.
            match item {
                LogItem::CleanEnd { offset: o } => {
                    assert!(o == offset && (at_boundary || cut < start_of(whole) + 8), "{cut}");
                }
                LogItem::TornEnd { offset: o } => assert!(o == offset && !at_boundary, "{cut}"),
                other => panic!("cut at {cut}, padding {padding}: {other:?}"),
            }
        }
    }
}

/// A flush of many records of which a power failure kept some sectors: what was there before stays readable, the rest
/// is a torn end or whole, and never a reason not to start.
#[test]
fn any_part_of_the_sectors_of_a_flush_is_a_legal_end() {
    let durable = log_of(&[set_data(1, 700), set_data(2, 40)]);
    let flush: Vec<Vec<u8>> = (3..9).map(|zxid| set_data(zxid, 150 + 97 * zxid as usize)).collect();
    let mut whole = durable.clone();
    flush.iter().for_each(|txn| encode_record(&mut whole, txn));
    let size = whole.len().next_multiple_of(512) + 4096;
    let mut before = durable.clone();
    before.resize(size, 0);
    whole.resize(size, 0);
    let first = durable.len() / 512;
    let sectors = size / 512 - 8 - first;
    assert!((8..16).contains(&sectors), "{sectors}");
    let mut torn_before_whole = 0;
    for kept in 0u32..1 << sectors {
        let mut file = before.clone();
        for n in (0..sectors).filter(|n| kept >> n & 1 == 1) {
            let at = (first + n) * 512;
            file[at..at + 512].copy_from_slice(&whole[at..at + 512]);
        }
        let (records, item) = read_all(&file);
        let zxids: Vec<i64> = records.iter().map(|record| record.0).collect();
        assert!(zxids.starts_with(&[1, 2]) && zxids.is_sorted(), "{kept:b}: {zxids:?}");
        match item {
            LogItem::CleanEnd { .. } => {}
            LogItem::TornEnd { .. } => torn_before_whole += usize::from(kept >> (sectors - 1) == 1),
            other => panic!("{kept:b}: {other:?}"),
        }
    }
    assert!(torn_before_whole > 100, "{torn_before_whole}");
}

#[test]
fn wrong_end_byte_on_the_last_record_drops_it() {
    let mut file = three();
    *file.last_mut().unwrap() = 0x43;
    let (records, item) = read_all(&file);
    assert_eq!((records.len(), item), (2, LogItem::TornEnd { offset: start_of(2) as u64 }));
}

#[test]
fn wrong_end_byte_on_a_middle_record_is_refused() {
    let mut file = three();
    file[start_of(2) - 1] = 0;
    let damage = Damage::LostRecord { next_valid: start_of(2) as u64 };
    let (records, item) = read_all(&file);
    let offset = start_of(1) as u64;
    assert_eq!((records.len(), item), (1, LogItem::Corrupt { offset, damage }));
}

#[test]
fn a_length_that_hides_later_records_is_refused() {
    for length in [0, 5000] {
        let mut file = three();
        let at = start_of(1) + 8;
        file[at..at + 4].copy_from_slice(&i32::to_be_bytes(length));
        let (_, item) = read_all(&file);
        let damage = Damage::LostRecord { next_valid: start_of(2) as u64 };
        assert_eq!(item, LogItem::Corrupt { offset: start_of(1) as u64, damage });
    }
}

#[test]
fn checksum_mismatch_is_refused_anywhere() {
    for n in 0..3 {
        let mut file = three();
        file[start_of(n) + 12 + 20] ^= 1;
        let (records, item) = read_all(&file);
        let expected = LogItem::Corrupt { offset: start_of(n) as u64, damage: Damage::Checksum };
        assert_eq!((records.len(), item), (n, expected));
    }
}

#[test]
fn unreasonable_lengths_are_refused() {
    for length in [-1, -2, i32::MIN, MAX as i32 + 1, i32::MAX] {
        let mut file = three();
        let at = start_of(2) + 8;
        file[at..at + 4].copy_from_slice(&length.to_be_bytes());
        let (records, item) = read_all(&file);
        let damage = Damage::Length(length);
        let expected = LogItem::Corrupt { offset: start_of(2) as u64, damage };
        assert_eq!((records.len(), item), (2, expected));
    }
}

#[test]
fn unknown_type_is_refused() {
    let mut txn = set_data(4, 10);
    txn[28..32].copy_from_slice(&99i32.to_be_bytes());
    let file = log_of(&[set_data(3, 10), txn]);
    let (records, item) = read_all(&file);
    let undecodable = matches!(item, LogItem::Corrupt { damage: Damage::Undecodable(_), .. });
    assert!(records.len() == 1 && undecodable, "{item:?}");
}

#[test]
fn headers_short_or_wrong_are_refused() {
    for length in 0..16 {
        let damage = RecordReader::new(&file_header()[..length], MAX).unwrap_err();
        assert_eq!(damage, Damage::ShortHeader(length));
    }
    let damage = RecordReader::new(&[0; 4096], MAX).unwrap_err();
    assert_eq!(damage, Damage::BadMagic([0; 4]));
    // Version and dbid are not looked at.
    let mut odd = file_header();
    odd[7] = 9;
    odd[15] = 9;
    assert!(RecordReader::new(&odd, MAX).is_ok());
}

#[test]
fn error_records_and_repeats_are_framed_like_others() {
    let file = log_of(&[set_data(5, 1), error_txn(5, -5), set_data(6, 1)]);
    assert_eq!(read_all(&file).0.len(), 3);
}
