//! A server that is started while another one still has its port or its directory: it waits a little, ends with a
//! reason, and has changed nothing.

mod support;

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ringkeeper::wire::OpCode;

use support::bodies;
use support::client::Session;
use support::server::{Kind, Server, available, free_port, ours_command};

const TIMEOUT_MS: i32 = 40_000;
const PATIENCE: Duration = Duration::from_secs(20);

/// How a server ends that is not expected to serve, and what it says.
fn run(config: &Path) -> (Option<i32>, String) {
    let words = ours_command();
    let out = config.with_extension("out");
    let file = File::create(&out).expect("a file for what it says");
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(config).stdin(Stdio::null());
    command.stdout(file.try_clone().expect("a second handle")).stderr(file);
    let mut child = command.spawn().expect("a process");
    let until = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().expect("a status") {
            Some(status) => break status.code(),
            None if Instant::now() > until => {
                let _ = child.kill().and_then(|()| child.wait());
                panic!("it serves");
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    (status, fs::read_to_string(out).expect("what it says"))
}

fn create(session: &mut Session, path: &str) {
    let body = bodies::create_open(path, b"data", 0);
    assert_eq!(session.call(OpCode::Create, &body).expect("an answer").header.err, 0, "{path}");
}

/// The only log file, whose records end where its zeros begin.
fn log_of(server: &Server) -> PathBuf {
    let dir = fs::read_dir(server.dir.join("data/version-2")).expect("the directory");
    let mut files = dir.map(|entry| entry.expect("an entry").path());
    let is_log = |path: &PathBuf| {
        path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"log."))
    };
    files.find(is_log).expect("a log")
}

/// The kernel may keep a killed server's port for a moment.
fn take_port(port: u16) -> TcpListener {
    let until = Instant::now() + PATIENCE;
    loop {
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(listener) => return listener,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_directory_in_use_is_left_alone() {
    if !available(Kind::Ours, "second-start") {
        return;
    }
    let server = Server::start(Kind::Ours, "directory-in-use", "");
    let mut session = Session::open(server.port, TIMEOUT_MS).expect("a session");
    create(&mut session, "/before");
    let config = server.dir.join("second.cfg");
    let data = server.dir.join("data");
    let text = format!(
        "dataDir={}\nclientPortAddress=127.0.0.1\nclientPort={}\nadmin.enableServer=false\n",
        data.display(),
        free_port()
    );
    fs::write(&config, text).expect("a configuration");
    let (status, told) = run(&config);
    assert_eq!(status, Some(3), "{told}");
    assert!(told.contains("another server is running"), "{told}");
    create(&mut session, "/after");
}

#[test]
fn nothing_is_touched_while_somebody_has_the_port() {
    if !available(Kind::Ours, "second-start") {
        return;
    }
    let mut server = Server::start(Kind::Ours, "port-in-use", "preAllocSize=64\n");
    let mut session = Session::open(server.port, TIMEOUT_MS).expect("a session");
    create(&mut session, "/a");
    server.kill();
    // As another server leaves it in the middle of a write: a head, and little of what it announces.
    let log = log_of(&server);
    let mut bytes = fs::read(&log).expect("the log");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("records") + 1;
    let torn = [0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 100, 9, 9, 9];
    bytes[end..end + torn.len()].copy_from_slice(&torn);
    fs::write(&log, &bytes).expect("the log");
    let other = take_port(server.port);
    let (status, told) = run(&server.dir.join("zoo.cfg"));
    assert_eq!(status, Some(1), "{told}");
    assert!(told.contains("cannot listen on"), "{told}");
    assert!(fs::read(&log).expect("the log") == bytes, "the other's log is changed");
    drop(other);
    server.launch();
    assert_eq!(fs::metadata(&log).expect("the log").len(), end as u64, "it is cut off now");
    let mut session = Session::open(server.port, TIMEOUT_MS).expect("a session");
    let exists = bodies::path_watch(Some(b"/a"), false);
    assert_eq!(session.call(OpCode::Exists, &exists).expect("an answer").header.err, 0);
}
