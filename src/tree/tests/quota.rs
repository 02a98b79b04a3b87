//! Quotas: counting, limits, and what kills Apache ZooKeeper 3.9.5.

use super::*;

fn stats(writer: &TreeWriter, path: &str) -> String {
    let path = format!("/zookeeper/quota{path}/zookeeper_stats");
    let view = writer.view();
    let data = view.lookup(path.as_bytes()).unwrap().data();
    String::from_utf8(data.unwrap().to_vec()).unwrap()
}

/// A quota as the clients make it.
fn set_up(writer: &mut TreeWriter, path: &str, limits: &[u8], zxid: i64) {
    let mut at = String::from("/zookeeper/quota");
    for (nth, name) in path[1..].split('/').enumerate() {
        at = format!("{at}/{name}");
        if writer.view().lookup(at.as_bytes()).is_none() {
            create(writer, &at, b"", 0, zxid + nth as i64);
        }
    }
    create(writer, &format!("{at}/zookeeper_limits"), limits, 0, zxid + 8);
    create(writer, &format!("{at}/zookeeper_stats"), b"count=99,bytes=99", 0, zxid + 9);
}

#[test]
fn text_as_java_parses_and_writes_it() {
    let text = |s: &str| QuotaText::parse(Some(s.as_bytes()));
    let rows = [
        ("count=1,bytes=2", "count=1,bytes=2"),
        ("bytes=2", "count=-1,bytes=2"),
        ("", "count=-1,bytes=-1"),
        (";,;", "count=-1,bytes=-1"),
        ("count==5", "count=-1,bytes=-1"),
        ("count=3=9;;bytes=+4", "count=3,bytes=4"),
        (
            "count=-1,bytes=-1=;byteHardLimit=20;countHardLimit=4",
            "count=-1,bytes=-1=;byteHardLimit=20;countHardLimit=4",
        ),
    ];
    for (from, to) in rows {
        assert_eq!(text(from).unwrap().encode(), to.as_bytes(), "{from}");
    }
    for bad in ["garbage", "bytes=", "count=x", ",count=1", "count=1,b", "count= 1"] {
        assert_eq!(text(bad), Err(MalformedQuota), "{bad}");
    }
    assert_eq!(QuotaText::parse(None), Err(MalformedQuota));
}

#[test]
fn usage_follows_the_tree_without_a_trace_in_the_status() {
    let mut writer = TreeWriter::new(OwnerOptions::default());
    create(&mut writer, "/q", b"123", 0, 1);
    create(&mut writer, "/q/a", b"12", 0, 2);
    set_up(&mut writer, "/q", b"count=5,bytes=-1", 10);
    assert_eq!(stats(&writer, "/q"), "count=2,bytes=5");
    let stats_path = b"/zookeeper/quota/q/zookeeper_stats";
    let before = writer.view().lookup(stats_path).unwrap().persisted();
    create(&mut writer, "/q/b", b"7", 0, 30);
    create(&mut writer, "/qq", b"7", 0, 31);
    assert_eq!(stats(&writer, "/q"), "count=3,bytes=6");
    let set = Op::SetData { path: b"/q/a".into(), data: None, version: 1 };
    apply_published(&mut writer, &set, 32).unwrap();
    apply_published(&mut writer, &Op::Delete { path: b"/q/b".into() }, 33).unwrap();
    assert_eq!(stats(&writer, "/q"), "count=2,bytes=3");
    let node = writer.view().lookup(stats_path).unwrap().persisted();
    assert_eq!(node, before);
    // The deepest quota alone is charged.
    set_up(&mut writer, "/q/a", b"count=1", 40);
    create(&mut writer, "/q/a/x", b"", 0, 60);
    assert_eq!(
        (stats(&writer, "/q"), stats(&writer, "/q/a")),
        ("count=2,bytes=3".into(), "count=2,bytes=0".into())
    );
    assert_eq!(digest_of(&dump(&writer)), writer.digest());
}

#[test]
fn limits() {
    let mut writer = TreeWriter::new(OwnerOptions::default());
    create(&mut writer, "/q", b"", 0, 1);
    let limits = b"count=1,bytes=10=;byteHardLimit=20";
    set_up(&mut writer, "/q", limits, 10);
    let check = |writer: &TreeWriter, path: &str, count, bytes| {
        let found = writer.quota_check(path.as_bytes(), count, bytes)?;
        Ok::<_, ErrorCode>(found.map(|found| (found.count, found.hard, found.limit, found.wanted)))
    };
    assert_eq!(check(&writer, "/other", 1, 100), Ok(None));
    assert_eq!(check(&writer, "/q", 0, 20), Ok(None), "the hard limit replaces the soft one");
    assert_eq!(check(&writer, "/q", 0, 21), Ok(Some((false, true, 20, 21))));
    assert_eq!(check(&writer, "/q/a", 1, 5), Ok(Some((true, false, 1, 2))));
    assert_eq!(check(&writer, "/q/a", 1, 21), Ok(Some((false, true, 20, 21))));

    let limits_path = b"/zookeeper/quota/q/zookeeper_limits";
    let set = |writer: &mut TreeWriter, data: Option<&[u8]>| {
        let data = data.map(Into::into);
        let op = Op::SetData { path: limits_path.into(), data, version: 1 };
        apply_published(writer, &op, 50).unwrap();
    };
    set(&mut writer, Some(b"garbage"));
    assert_eq!(check(&writer, "/q/a", 1, 1), Err(ErrorCode::MarshallingError));
    set(&mut writer, None);
    assert_eq!(check(&writer, "/q/a", 1, 1), Err(ErrorCode::MarshallingError));
    set(&mut writer, Some(b""));
    assert_eq!(check(&writer, "/q/a", 1, 1000), Ok(None));
    set(&mut writer, Some(b"countHardLimit=1"));
    assert_eq!(check(&writer, "/q/a", 1, 1), Ok(Some((true, true, 1, 2))));
    apply_published(&mut writer, &Op::Delete { path: limits_path.into() }, 51).unwrap();
    assert_eq!(check(&writer, "/q/a", 1, 1), Ok(None));
    create(&mut writer, "/q/a", b"", 0, 52);
    assert_eq!(stats(&writer, "/q"), "count=1,bytes=0", "no longer counted");
}

#[test]
fn what_kills_the_reference_does_no_harm() {
    let mut writer = TreeWriter::new(OwnerOptions::default());
    create(&mut writer, "/zookeeper/quota/zookeeper_limits", b"count=1", 0, 1);
    create(&mut writer, "/zookeeper/quota/zookeeper_stats", b"", 0, 2);
    create(&mut writer, "/zookeeper/zookeeper_limits", b"", 0, 3);
    assert_eq!(writer.quota_paths().count(), 0);
    let delete = Op::Delete { path: b"/zookeeper/zookeeper_limits".into() };
    apply_published(&mut writer, &delete, 4).unwrap();

    create(&mut writer, "/q", b"1", 0, 5);
    set_up(&mut writer, "/q", b"countHardLimit=2", 10);
    for broken in [None, Some(b"garbage".to_vec())] {
        let path = b"/zookeeper/quota/q/zookeeper_stats".to_vec();
        apply_published(&mut writer, &Op::SetData { path, data: broken, version: 1 }, 30).unwrap();
        let violation = writer.quota_check(b"/q/x/y", 2, 0).unwrap().unwrap();
        assert_eq!((violation.hard, violation.wanted), (true, 3));
        create(&mut writer, "/q/x", b"22", 0, 31);
        assert_eq!(stats(&writer, "/q"), "count=2,bytes=3");
        apply_published(&mut writer, &Op::Delete { path: b"/q/x".into() }, 32).unwrap();
    }
    // A quota on the root counts nothing.
    assert_eq!(writer.quota_check(b"/z", 1, 1), Ok(None));
}

#[test]
fn a_load_registers_and_recounts() {
    let mut writer = TreeWriter::new(OwnerOptions::default());
    create(&mut writer, "/q", b"123", 0, 1);
    set_up(&mut writer, "/q", b"count=5", 10);
    let path = b"/zookeeper/quota/q/zookeeper_stats".to_vec();
    let data = Some(b"count=70,bytes=70".to_vec());
    apply_published(&mut writer, &Op::SetData { path, data, version: 1 }, 30).unwrap();
    let (acls, records, _) = super::walk::walk_all(&writer);
    let loaded = load(&acls, &records, Zxid(30));
    assert_eq!(stats(&loaded, "/q"), "count=1,bytes=3");
    assert_eq!(loaded.quota_paths().collect::<Vec<_>>(), [b"/q"]);
}

#[test]
fn every_readable_quota_is_listed_under_its_top() {
    let mut writer = TreeWriter::new(OwnerOptions::default());
    create(&mut writer, "/q", b"123", 0, 1);
    create(&mut writer, "/q/a", b"12", 0, 2);
    set_up(&mut writer, "/q", b"count=5,bytes=-1=;byteHardLimit=20", 10);
    set_up(&mut writer, "/q/a", b"garbage", 30);
    let mut rows = writer.view().quotas();
    rows.sort_by_key(|row| (row.count_limit, row.count_used));
    let row = |count_limit, bytes_limit, count_used, bytes_used| QuotaRow {
        top: b"q"[..].into(),
        count_limit,
        bytes_limit,
        count_used,
        bytes_used,
    };
    // The use below the deeper quota is its own, malformed limits or not.
    assert_eq!(rows, [row(0, 0, 1, 2), row(0, 0, 2, 5), row(5, 20, 0, 0)]);
}
