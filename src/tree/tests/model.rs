//! The tree against a plain map.

use super::*;

#[derive(Default)]
struct Model {
    nodes: BTreeMap<Vec<u8>, Dumped>,
}

impl Model {
    fn apply(&mut self, op: &Op, zxid: i64) {
        let time = time_of(zxid);
        match op {
            Op::Create { path, data, acl, owner, cversion } => {
                let stat = StatPersisted {
                    czxid: zxid,
                    mzxid: zxid,
                    pzxid: zxid,
                    ctime: time,
                    mtime: time,
                    ephemeral_owner: *owner,
                    ..StatPersisted::default()
                };
                let acl = Some(acl_bytes(*acl));
                let node = Dumped { data: data.clone(), acl, stat, num_children: 0 };
                self.nodes.insert(path.clone(), node);
                let parent = self.nodes.get_mut(path::parent(path).unwrap()).unwrap();
                parent.stat.cversion = *cversion;
                parent.stat.pzxid = zxid;
                parent.num_children += 1;
            }
            Op::Delete { path } => {
                self.nodes.remove(path).unwrap();
                let parent = self.nodes.get_mut(path::parent(path).unwrap()).unwrap();
                parent.stat.pzxid = zxid;
                parent.num_children -= 1;
            }
            Op::SetData { path, data, version } => {
                let node = self.nodes.get_mut(path).unwrap();
                node.data.clone_from(data);
                (node.stat.version, node.stat.mzxid, node.stat.mtime) = (*version, zxid, time);
            }
            Op::SetAcl { path, acl, version } => {
                let node = self.nodes.get_mut(path).unwrap();
                node.acl = Some(acl_bytes(*acl));
                node.stat.aversion = *version;
            }
        }
    }
}

#[test]
fn random_transactions() {
    let (seeds, rounds) = if cfg!(miri) { (1, 150) } else { (8, 6_000) };
    for seed in 0..seeds {
        let mut writer = TreeWriter::new(OwnerOptions::default());
        let mut workload = Workload::new(seed);
        let mut model = Model { nodes: dump(&writer) };
        for zxid in 1..rounds {
            let op = workload.next(&writer);
            apply_published(&mut writer, &op, zxid).unwrap();
            model.apply(&op, zxid);
            if zxid % (rounds / 6) == 0 || zxid == rounds - 1 {
                let dumped = dump(&writer);
                assert_eq!(dumped, model.nodes, "seed {seed} zxid {zxid}");
                assert_eq!(writer.digest(), digest_of(&dumped), "seed {seed} zxid {zxid}");
                check_sets(&writer, &dumped);
            }
        }
    }
}

fn check_sets(writer: &TreeWriter, dumped: &BTreeMap<Vec<u8>, Dumped>) {
    let view = writer.view();
    let owned = |owner| dumped.values().filter(|node| node.stat.ephemeral_owner == owner).count();
    let mut total = 0;
    for session in view.ephemeral_sessions() {
        let paths = writer.ephemerals_of(session);
        assert_eq!(paths.len(), owned(session.0));
        for path in &paths {
            assert_eq!(dumped[&path[..]].stat.ephemeral_owner, session.0);
        }
        total += paths.len();
    }
    assert_eq!(view.ephemerals_count(), total as u64);
    assert_eq!(writer.containers_count(), owned(owner::CONTAINER_OWNER));
    let usage = view.lookup(b"").unwrap().usage();
    let data = dumped.values().filter_map(|node| node.data.as_ref());
    let bytes = data.map(|data| data.len() as u64).sum::<u64>();
    assert_eq!(usage, Usage { nodes: dumped.len() as u64, bytes });
    let names = dumped.keys().map(|path| path.len() as u64).sum::<u64>();
    assert_eq!(view.approximate_data_size(), bytes + names);
}
