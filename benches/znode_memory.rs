//! Bytes of resident memory per znode beyond its data, with the server's allocator. Not a criterion
//! benchmark: it prints one line per size. `RINGKEEPER_BENCH_LARGE=1` adds ten million nodes.

use ringkeeper::base::Zxid;
use ringkeeper::tree::{Create, OwnerOptions, TreeWriter};
use ringkeeper::wire::acl::OPEN_ACL_UNSAFE;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FANOUT: u64 = 1000;

/// Resident bytes of this process.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("second field of statm") * 4096
}

fn create(writer: &mut TreeWriter, path: &str, data: &[u8], zxid: u64) {
    let zxid = zxid as i64 + 1;
    let new = Create {
        path: path.as_bytes(),
        data: Some(data),
        acl: OPEN_ACL_UNSAFE,
        owner: 0,
        zxid: Zxid(zxid),
        time: 1_700_000_000_000 + zxid,
        parent_cversion: -1,
    };
    writer.begin();
    writer.create(&new).expect("a new node");
    writer.publish(Zxid(zxid));
}

fn measure(nodes: u64, data_len: usize) {
    let data = vec![b'd'; data_len];
    let mut writer = TreeWriter::new(OwnerOptions::default());
    let before = resident();
    for nth in 0..nodes {
        let parent = format!("/services-{:06}", nth / FANOUT);
        if nth % FANOUT == 0 {
            create(&mut writer, &parent, b"", nth);
        }
        // Fifteen bytes of name.
        create(&mut writer, &format!("{parent}/node-{nth:010}"), &data, nth);
    }
    let used = resident().saturating_sub(before);
    let per_node = used as f64 / nodes as f64 - data_len as f64;
    println!("znode_memory/{nodes} data {data_len:3}: {per_node:.1} bytes per znode beyond data");
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, nodes, data_len] = &arguments[..]
        && let (Ok(nodes), Ok(data_len)) = (nodes.parse(), data_len.parse())
    {
        return measure(nodes, data_len);
    }
    let bench = arguments.iter().any(|argument| argument == "--bench");
    if !bench || arguments.iter().any(|argument| argument == "--test") {
        return measure(1000, 0);
    }
    let mut sizes = vec![1_000_000, 2_000_000];
    if std::env::var_os("RINGKEEPER_BENCH_LARGE").is_some() {
        sizes.push(10_000_000);
    }
    // A process per measurement: freed memory of one must not serve the next.
    for nodes in sizes {
        for data_len in [0usize, 100] {
            let exe = std::env::current_exe().expect("own path");
            let arguments = [nodes.to_string(), data_len.to_string()];
            let status = std::process::Command::new(exe).args(arguments).status();
            assert!(status.expect("starts").success());
        }
    }
}
