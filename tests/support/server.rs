//! Starts and stops servers: this one, and Apache ZooKeeper as the reference.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::client::Wire;

/// How long a server may take from start to serving.
const START_WAIT: Duration = Duration::from_secs(40);

/// Whose server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Ours,
    Apache,
}

/// Apache ZooKeeper's jars, from the environment.
pub fn apache_classpath() -> Option<String> {
    std::env::var("RINGKEEPER_APACHE_CLASSPATH").ok().filter(|path| !path.is_empty())
}

/// Every version of Apache ZooKeeper there is, by name: the reference, and Debian's.
pub fn apache_versions(test: &str) -> Vec<(&'static str, String)> {
    let versions =
        [("3.9.5", "RINGKEEPER_APACHE_CLASSPATH"), ("3.8.0", "RINGKEEPER_APACHE38_CLASSPATH")];
    let mut there = Vec::new();
    for (version, variable) in versions {
        match std::env::var(variable).ok().filter(|path| !path.is_empty()) {
            Some(path) => there.push((version, path)),
            None => super::skipped(test, &format!("with {version}: {variable} is not set")),
        }
    }
    there
}

/// The command that starts this server, without the configuration file: of `RINGKEEPER_SERVER_CMD`, or the one that was
/// built along with the test.
pub fn ours_command() -> Vec<String> {
    match std::env::var("RINGKEEPER_SERVER_CMD") {
        Ok(command) => command.split_whitespace().map(String::from).collect(),
        Err(_) => vec![env!("CARGO_BIN_EXE_ringkeeper").to_owned(), "server".to_owned()],
    }
}

/// Whether servers of this kind can be started here; says so when not.
pub fn available(kind: Kind, test: &str) -> bool {
    let there = kind == Kind::Ours || apache_classpath().is_some();
    if !there {
        super::skipped(test, "RINGKEEPER_APACHE_CLASSPATH is not set");
    }
    there
}

/// A port nobody listens on at the moment, from below the range that outgoing connections take theirs from: a
/// server that comes back must find it free, and a client that knocks meanwhile must not be given it as its own
/// (a socket connected to itself).
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 12_000 + (std::process::id() * 37 + serial) % 20_000;
        let port = u16::try_from(port).expect("below 32000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A new directory below cargo's directory for tests.
pub fn temp_dir(name: &str) -> PathBuf {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{name}-{}-{serial}", std::process::id()));
    fs::create_dir_all(&dir).expect("a directory for the test");
    dir
}

/// A standalone server with a directory of its own. Killed, and its directory removed, when dropped; the
/// directory stays when the test is failing.
pub struct Server {
    pub kind: Kind,
    pub port: u16,
    pub dir: PathBuf,
    /// Whose jars an Apache server is started from; those of the environment if none.
    pub class_path: Option<String>,
    java_flags: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// Writes the configuration and starts the server. `extra` are further lines of zoo.cfg.
    pub fn start(kind: Kind, name: &str, extra: &str) -> Server {
        let mut server = Server::prepare(kind, name, extra);
        server.launch();
        server
    }

    /// Everything but the start.
    pub fn prepare(kind: Kind, name: &str, extra: &str) -> Server {
        let dir = temp_dir(&format!("{name}-{kind:?}").to_lowercase());
        let port = free_port();
        let text = format!(
            "tickTime=2000\ndataDir={}\nclientPortAddress=127.0.0.1\nclientPort={port}\n\
             admin.enableServer=false\nmaxClientCnxns=0\n{extra}",
            dir.join("data").display()
        );
        fs::write(dir.join("zoo.cfg"), text).expect("zoo.cfg");
        Server { kind, port, dir, class_path: None, java_flags: Vec::new(), child: None }
    }

    /// A flag for the Java virtual machine, for what zoo.cfg cannot say.
    pub fn java_flag(mut self, flag: &str) -> Server {
        self.java_flags.push(flag.to_string());
        self
    }

    fn command(&self) -> Command {
        let config = self.dir.join("zoo.cfg");
        match self.kind {
            Kind::Ours => {
                let words = ours_command();
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]).arg(config);
                command
            }
            Kind::Apache => {
                let mut command = Command::new("java");
                command
                    .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
                    .args(&self.java_flags)
                    .arg("-cp")
                    .arg(self.class_path.clone().or_else(apache_classpath).expect("a class path"))
                    .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
                    .arg(config);
                command
            }
        }
    }

    /// Starts the process and waits until it serves.
    pub fn launch(&mut self) {
        self.launch_as("Mode: standalone");
    }

    /// Starts the process and waits until `srvr` says this.
    pub fn launch_as(&mut self, mode: &str) {
        let log = File::options().create(true).append(true).open(self.dir.join("out.log"));
        let log = log.expect("the server's output file");
        let child = self
            .command()
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the output file"))
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap_or_else(|e| panic!("{:?} does not start: {e}", self.kind)));
        let deadline = Instant::now() + START_WAIT;
        while !self.ask("srvr").contains(mode) {
            assert!(self.is_running(), "{:?} ended at once:\n{}", self.kind, self.output_tail());
            assert!(Instant::now() < deadline, "{:?} does not serve in time", self.kind);
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// What a four-letter word answers; empty when nobody listens.
    pub fn ask(&self, word: &str) -> String {
        let Ok(mut wire) = Wire::connect(self.port) else {
            return String::new();
        };
        wire.send(word.as_bytes());
        String::from_utf8_lossy(&wire.read_to_close(Duration::from_secs(3)).0).into_owned()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// The exit status of a server that has ended by itself.
    pub fn take_exit_code(&mut self) -> Option<i32> {
        self.child.take()?.wait().ok()?.code()
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// SIGKILL, and the wait for its effect.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What the server printed, in all its lives.
    pub fn output(&self) -> String {
        let text = fs::read(self.dir.join("out.log")).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The end of what the server printed.
    pub fn output_tail(&self) -> String {
        let text = self.output();
        let start = (text.len().saturating_sub(4000)..).find(|&at| text.is_char_boundary(at));
        text[start.unwrap_or_default()..].to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}
