//! The data directory handed back and forth between this server's storage and a running Apache ZooKeeper.
//!
//! Runs only with `RINGKEEPER_APACHE_CLASSPATH` set to the jars of Apache 3.9.5 (`/path/to/lib/*`), and with
//! `RINGKEEPER_APACHE38_CLASSPATH` set to those of 3.8.0; a Java runtime must be on the path. What is missing is
//! skipped, and said so.

mod disk_support;
mod support;
#[path = "disk_interop/swap.rs"]
mod swap;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use disk_support::{Memory, disk_dir, header};
use io_uring::IoUring;
use ringkeeper::base::Zxid;
use ringkeeper::storage::{
    Compression, DataLayout, LogOptions, ProposalLog, Recovered, RecoveryOptions, SnapshotOptions,
    recover, snapshot,
};
use ringkeeper::wire::acl::OPEN_ACL_UNSAFE;
use ringkeeper::wire::log_format::{LOG_HEADER_BYTES, RECORD_OVERHEAD};
use ringkeeper::wire::txn::{CreateMode, CreateTxn, Txn, decode_txn};
use ringkeeper::wire::{JuteWrite, OpCode};
use support::server::{Kind, apache_versions, available};

const PATIENCE: Duration = Duration::from_secs(60);

/// A standalone Apache server on a directory; killed when dropped.
struct Apache {
    child: Child,
    port: u16,
    log: std::path::PathBuf,
}

impl Apache {
    fn spawn(class_path: &str, dir: &Path, properties: &[&str]) -> Apache {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = dir.join("zoo.cfg");
        let data = dir.join("data");
        fs::write(
            &config,
            format!(
                "dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\ntickTime=2000\n\
                 admin.enableServer=false\n4lw.commands.whitelist=*\n",
                data.display()
            ),
        )
        .unwrap();
        let log = dir.join("apache.out");
        let out = fs::File::create(&log).unwrap();
        let child = Command::new("java")
            .args(["-Xmx256m", "-cp", class_path])
            .args(properties)
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(&config)
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Apache { child, port, log }
    }

    /// Started, and serving.
    fn start(class_path: &str, dir: &Path, properties: &[&str]) -> Apache {
        let mut apache = Apache::spawn(class_path, dir, properties);
        let told = |apache: &Apache| fs::read_to_string(&apache.log).unwrap_or_default();
        assert!(apache.comes_up(), "Apache ended: {}", told(&apache));
        apache
    }

    /// Waits until it serves; false when it ends instead.
    fn comes_up(&mut self) -> bool {
        let started = Instant::now();
        while !self.word("srvr").contains("Zxid") {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(started.elapsed() < PATIENCE, "Apache neither serves nor ends");
            sleep(Duration::from_millis(100));
        }
        true
    }

    /// The answer to a four-letter word; empty while the server is not up.
    fn word(&self, word: &str) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let asked = stream.write_all(word.as_bytes());
            let _ = asked.and_then(|()| stream.read_to_string(&mut answer));
        }
        answer
    }

    fn zxid(&self) -> Zxid {
        let answer = self.word("srvr");
        let line = answer.lines().find_map(|line| line.strip_prefix("Zxid: 0x")).unwrap();
        Zxid(i64::from_str_radix(line, 16).unwrap())
    }

    fn client(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut client = Client { stream, xid: 0 };
        let mut hello = Vec::new();
        hello.put_int(0);
        hello.put_long(0);
        hello.put_int(30_000);
        hello.put_long(0);
        hello.put_buffer(Some(&[0; 16]));
        hello.put_bool(false);
        client.exchange(&hello);
        client
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The least of a client: one request at a time.
struct Client {
    stream: TcpStream,
    xid: i32,
}

impl Client {
    fn exchange(&mut self, body: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.put_buffer(Some(body));
        self.stream.write_all(&frame).unwrap();
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).unwrap();
        let mut reply = vec![0; i32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut reply).unwrap();
        reply
    }

    /// Error code and what follows the reply header.
    fn request(&mut self, op: i32, body: &[u8]) -> (i32, Vec<u8>) {
        self.xid += 1;
        let mut request = Vec::new();
        request.put_int(self.xid);
        request.put_int(op);
        request.extend_from_slice(body);
        let reply = self.exchange(&request);
        (i32::from_be_bytes(reply[12..16].try_into().unwrap()), reply[16..].to_vec())
    }

    fn create(&mut self, path: &str, data: &[u8]) {
        let mut body = Vec::new();
        body.put_str(path);
        body.put_buffer(Some(data));
        body.extend_from_slice(OPEN_ACL_UNSAFE.as_bytes());
        body.put_int(0);
        assert_eq!(self.request(1, &body).0, 0, "create {path}");
    }

    fn data(&mut self, path: &str) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_str(path);
        body.put_bool(false);
        let (error, reply) = self.request(4, &body);
        assert_eq!(error, 0, "getData {path}");
        let length = i32::from_be_bytes(reply[..4].try_into().unwrap()) as usize;
        reply[4..4 + length].to_vec()
    }
}

fn create_txn(zxid: i64, path: &str, data: &[u8], parent_cversion: i32) -> Vec<u8> {
    let mut txn = Vec::new();
    header(zxid, 1).encode(&mut txn);
    CreateTxn {
        op: OpCode::Create,
        path: path.as_bytes(),
        data: Some(data),
        acl: OPEN_ACL_UNSAFE,
        mode: CreateMode::Persistent,
        parent_cversion,
    }
    .encode(&mut txn);
    txn
}

/// Logs transactions the way the server does and waits until they are durable.
fn log(layout: &DataLayout, txns: &[(i64, Vec<u8>)], roll_every: usize) {
    let options = LogOptions { prealloc_bytes: 1 << 20, ..LogOptions::default() };
    let mut log = ProposalLog::create(&layout.log_dir, options).unwrap();
    let mut ring = IoUring::new(8).unwrap();
    for (n, (zxid, txn)) in txns.iter().enumerate() {
        log.append(Zxid(*zxid), txn).unwrap();
        if (n + 1) % roll_every == 0 {
            log.roll();
        }
    }
    while log.pending() {
        log.submit_flush(&mut ring.submission()).unwrap();
        while log.in_flight() {
            ring.submit_and_wait(1).unwrap();
            for cqe in ring.completion() {
                log.complete(cqe.user_data(), cqe.result()).transpose().unwrap();
            }
        }
    }
}

fn reopen(layout: &DataLayout) -> Recovered<Memory> {
    recover(layout, &RecoveryOptions::default(), Memory::default).unwrap()
}

/// Every version with every way to compress.
fn versions_and<T: Copy>(kinds: &[T]) -> Vec<((&'static str, String), T)> {
    let versions = apache_versions("disk_interop");
    versions.into_iter().flat_map(|v| kinds.iter().map(move |kind| (v.clone(), *kind))).collect()
}

#[test]
fn apache_opens_what_we_wrote_and_we_open_what_it_added() {
    let kinds = [Compression::Plain, Compression::Gzip, Compression::Snappy];
    for ((version, class_path), compression) in versions_and(&kinds) {
        let temp = disk_dir();
        let layout = DataLayout::open(&temp.path().join("data"), None, true).unwrap();
        let mut tree = Memory::small_tree(0);
        tree.nodes.pop();
        let options = SnapshotOptions { compression, ..SnapshotOptions::default() };
        snapshot::write(&layout.snap_dir, &mut tree, &options).unwrap();
        let big = vec![b'x'; 200_000];
        let txns: Vec<(i64, Vec<u8>)> = (1..=25i64)
            .map(|zxid| {
                let data = if zxid % 10 == 0 { &big[..] } else { b"small" };
                (zxid, create_txn(zxid, &format!("/n{zxid}"), data, zxid as i32))
            })
            .collect();
        log(&layout, &txns, 7);
        {
            let apache = Apache::start(&class_path, temp.path(), &["-Dzookeeper.preAllocSize=64"]);
            assert_eq!(apache.zxid(), Zxid(25), "{version} {compression:?}");
            let mut client = apache.client();
            assert_eq!(client.data("/n1"), b"small");
            assert_eq!(client.data("/n20"), big);
            client.create("/from-apache", b"hello");
        }
        let found = reopen(&layout);
        // The session and the node.
        assert_eq!(found.last_zxid, Zxid(27), "{version} {compression:?}");
        let created = found.target.applied.iter().any(|(_, txn)| {
            matches!(decode_txn(txn), Ok((_, Txn::Create(create), _))
                if create.path == b"/from-apache" && create.data == Some(b"hello"))
        });
        assert!(created);
    }
}

#[test]
fn we_continue_a_directory_of_apache_and_it_takes_it_back() {
    for ((version, class_path), method) in versions_and(&["", "gz", "snappy"]) {
        let temp = disk_dir();
        let compression = format!("-Dzookeeper.snapshot.compression.method={method}");
        let properties = ["-Dzookeeper.preAllocSize=64", compression.as_str()];
        {
            let apache = Apache::start(&class_path, temp.path(), &properties);
            let mut client = apache.client();
            for n in 1..=20 {
                client.create(&format!("/a{n}"), b"from apache");
            }
        }
        let layout = DataLayout::open(&temp.path().join("data"), None, false).unwrap();
        let found = reopen(&layout);
        assert_eq!((found.last_zxid, found.replayed), (Zxid(21), 21));
        let nodes = found.target.nodes.len();
        assert_eq!(nodes, 4, "the first snapshot is the empty tree");
        log(&layout, &[(22, create_txn(22, "/ours", b"from us", 21))], 10);
        {
            let apache = Apache::start(&class_path, temp.path(), &properties);
            assert_eq!(apache.zxid(), Zxid(22), "{version} {method}");
            let mut client = apache.client();
            assert_eq!(client.data("/a20"), b"from apache");
            assert_eq!(client.data("/ours"), b"from us");
        }
        // Apache took a snapshot when it started; ours is read back from that.
        let found = reopen(&layout);
        assert!(found.rejected.is_empty());
        let (path, info) = found.snapshot.unwrap();
        let suffix = if method.is_empty() { "snapshot.16" } else { method };
        assert!(path.to_str().unwrap().ends_with(suffix), "{}", path.display());
        assert_eq!(info.nodes, 4 + 21);
        let ours = found.target.nodes.iter().find(|node| node.path == b"/ours").unwrap();
        assert_eq!(ours.data.as_deref(), Some(&b"from us"[..]));
    }
}

/// A flush that the power ended: of the last record's sectors some are zeros still.
fn directory_with_a_torn_end(torn: Range<usize>) -> (tempfile::TempDir, DataLayout, u64) {
    let temp = disk_dir();
    let layout = DataLayout::open(&temp.path().join("data"), None, true).unwrap();
    let mut tree = Memory::small_tree(0);
    tree.nodes.pop();
    snapshot::write(&layout.snap_dir, &mut tree, &SnapshotOptions::default()).unwrap();
    let big = vec![b'x'; 8 << 10];
    let data = |zxid| if zxid == 4 { &big[..] } else { b"small" };
    let create = |zxid| create_txn(zxid, &format!("/n{zxid}"), data(zxid), zxid as i32);
    let txns: Vec<(i64, Vec<u8>)> = (1..=4).map(|zxid| (zxid, create(zxid))).collect();
    log(&layout, &txns, 10);
    let whole: usize = txns[..3].iter().map(|(_, txn)| txn.len() + RECORD_OVERHEAD).sum();
    let end = LOG_HEADER_BYTES + whole;
    let path = layout.log_dir.join("log.1");
    let mut bytes = fs::read(&path).unwrap();
    let sector = |number: usize| (end.next_multiple_of(512) + number * 512).min(bytes.len());
    let torn = sector(torn.start)..sector(torn.end);
    bytes[torn].fill(0);
    fs::write(&path, bytes).unwrap();
    (temp, layout, end as u64)
}

/// Apache takes a missing end for padding, and refuses to start over a hole. After a start of ours it opens both.
#[test]
fn a_torn_end_is_cut_off_so_that_apache_opens_the_log() {
    for (version, class_path) in apache_versions("disk_interop") {
        for (torn, apache_minds) in [(3..1 << 20, false), (3..5, true)] {
            let (temp, _, _) = directory_with_a_torn_end(torn.clone());
            let mut alone = Apache::spawn(&class_path, temp.path(), &[]);
            assert_eq!(alone.comes_up(), !apache_minds, "{version} {torn:?}: on its own");
            drop(alone);
            let (temp, layout, end) = directory_with_a_torn_end(torn.clone());
            assert_eq!(reopen(&layout).last_zxid, Zxid(3), "{version} {torn:?}");
            assert_eq!(fs::metadata(layout.log_dir.join("log.1")).unwrap().len(), end);
            log(&layout, &[(4, create_txn(4, "/again", b"later", 4))], 10);
            let apache = Apache::start(&class_path, temp.path(), &[]);
            assert_eq!(apache.zxid(), Zxid(4), "{version} {torn:?}");
            let mut client = apache.client();
            assert_eq!(client.data("/n3"), b"small");
            assert_eq!(client.data("/again"), b"later");
        }
    }
}

#[test]
fn servers_take_turns_on_one_directory() {
    if !available(Kind::Ours, "disk_interop") {
        return;
    }
    for ((version, class_path), method) in versions_and(&["", "gz", "snappy"]) {
        swap::take_turns(version, &class_path, method);
    }
}
