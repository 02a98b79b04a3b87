//! An ensemble of server processes: made, started, harmed, and always torn down.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::kind::{self, Kind};
use super::network::Network;
use super::wait_for;
use crate::support::client::Wire;
use crate::support::{say, server};

/// The same in every slot: addresses differ.
pub const CLIENT_PORT: u16 = 22181;
pub const QUORUM_PORT: u16 = 22288;
pub const ELECTION_PORT: u16 = 22388;

/// What zoo.cfg says besides addresses.
#[derive(Clone, Debug)]
pub struct Settings {
    pub tick_ms: u32,
    pub init_limit: u32,
    pub sync_limit: u32,
    /// Further lines.
    pub extra: String,
    /// Flags for Java servers, for what zoo.cfg cannot say.
    pub java_flags: Vec<String>,
}

impl Settings {
    /// Shorter limits, where a test has to wait for them to pass.
    pub fn hasty() -> Settings {
        Settings { tick_ms: 1000, sync_limit: 3, ..Settings::default() }
    }

    pub fn with(extra: &str) -> Settings {
        Settings { extra: extra.into(), ..Settings::default() }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            tick_ms: 2000,
            init_limit: 10,
            sync_limit: 5,
            extra: String::new(),
            java_flags: Vec::new(),
        }
    }
}

/// A member and the process that plays it, if one does.
pub struct Slot {
    pub kind: Kind,
    pub observer: bool,
    pub dir: PathBuf,
    /// Environment of its processes.
    pub env: Vec<(String, String)>,
    child: Option<Child>,
}

/// Servers that know each other. Its processes are killed when it is dropped, and its directory is removed then;
/// when the test is failing, the ends of the logs are printed and the directory stays.
pub struct Ensemble {
    pub slots: Vec<Slot>,
    pub network: Network,
    dir: PathBuf,
    settings: Settings,
}

/// What a four-letter word answers; empty when nobody does.
pub fn ask(address: SocketAddr, word: &str) -> String {
    let Ok(mut wire) = Wire::dial(address, Duration::from_secs(1)) else {
        return String::new();
    };
    wire.send(word.as_bytes());
    String::from_utf8_lossy(&wire.read_to_close(Duration::from_secs(3)).0).into_owned()
}

fn signal(pid: u32, name: &str) {
    let done = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(done.is_ok_and(|status| status.success()), "kill {name} {pid}");
}

/// The file that says who a server is.
pub fn write_id(slot_dir: &Path, id: usize) {
    fs::write(slot_dir.join("data/myid"), format!("{id}\n")).expect("myid");
}

impl Ensemble {
    /// Members of these kinds on loopback, voters first, then observers. Nothing runs yet.
    pub fn make(name: &str, voters: &[Kind], observers: &[Kind], settings: Settings) -> Ensemble {
        Ensemble::make_on(Network::loopback(), name, voters, observers, settings)
    }

    /// The same, each member in a network namespace of its own.
    pub fn make_apart(
        name: &str,
        voters: &[Kind],
        observers: &[Kind],
        settings: Settings,
    ) -> Ensemble {
        let network = Network::namespaces(voters.len() + observers.len());
        Ensemble::make_on(network, name, voters, observers, settings)
    }

    fn make_on(
        network: Network,
        name: &str,
        voters: &[Kind],
        observers: &[Kind],
        settings: Settings,
    ) -> Ensemble {
        let dir = server::temp_dir(name);
        let roles = voters.iter().map(|kind| (*kind, false));
        let roles = roles.chain(observers.iter().map(|kind| (*kind, true)));
        let slots = roles
            .enumerate()
            .map(|(index, (kind, observer))| {
                let dir = dir.join(format!("server{}", index + 1));
                fs::create_dir_all(dir.join("data")).expect("a directory for the server");
                write_id(&dir, index + 1);
                Slot { kind, observer, dir, env: Vec::new(), child: None }
            })
            .collect();
        let ensemble = Ensemble { slots, network, dir, settings };
        (0..ensemble.slots.len()).for_each(|index| ensemble.write_config(index));
        ensemble
    }

    fn write_config(&self, index: usize) {
        let Settings { tick_ms, init_limit, sync_limit, extra, .. } = &self.settings;
        let slot = &self.slots[index];
        let mut text = format!(
            "tickTime={tick_ms}\ninitLimit={init_limit}\nsyncLimit={sync_limit}\ndataDir={}\n\
             clientPort={CLIENT_PORT}\nclientPortAddress={}\nmaxClientCnxns=0\n\
             admin.enableServer=false\n4lw.commands.whitelist=*\n{extra}",
            slot.dir.join("data").display(),
            self.network.address(index)
        );
        if slot.observer {
            text += "peerType=observer\n";
        }
        for (other, member) in self.slots.iter().enumerate() {
            let role = if member.observer { ":observer" } else { "" };
            let address = self.network.address(other);
            let id = other + 1;
            text += &format!("server.{id}={address}:{QUORUM_PORT}:{ELECTION_PORT}{role}\n");
        }
        fs::write(slot.dir.join("zoo.cfg"), text).expect("zoo.cfg");
    }

    /// Makes a stopped member forget the others: it will serve what it has, alone. A planted fault.
    pub fn plant_standalone(&self, index: usize) {
        let path = self.slots[index].dir.join("zoo.cfg");
        let text = fs::read_to_string(&path).expect("zoo.cfg");
        let lines = text.lines().filter(|line| !line.starts_with("server."));
        let text: String = lines.flat_map(|line| [line, "\n"]).collect();
        fs::write(path, text).expect("zoo.cfg");
    }

    /// Undoes it.
    pub fn remember_the_others(&self, index: usize) {
        self.write_config(index);
    }

    /// Other further lines in everybody's zoo.cfg, from the next start on.
    pub fn set_extra(&mut self, extra: &str) {
        self.settings.extra = extra.to_owned();
        (0..self.len()).for_each(|index| self.write_config(index));
    }

    /// Waits until a server answers requests, whatever its role.
    pub fn wait_serving(&mut self, index: usize) -> String {
        self.waiting("a server to serve", |this| this.mode(index))
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Slots that vote.
    pub fn voters(&self) -> Vec<usize> {
        (0..self.len()).filter(|index| !self.slots[*index].observer).collect()
    }

    pub fn address(&self, index: usize) -> SocketAddr {
        SocketAddr::from((self.network.address(index), CLIENT_PORT))
    }

    /// Where clients connect to.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        (0..self.len()).map(|index| self.address(index)).collect()
    }

    pub fn data_dir(&self, index: usize) -> PathBuf {
        self.slots[index].dir.join("data/version-2")
    }

    /// Starts the process of a slot; does not wait.
    pub fn start(&mut self, index: usize) {
        assert!(self.slots[index].child.is_none(), "server {} runs already", index + 1);
        let slot = &self.slots[index];
        let mut words = self.network.prefix(index);
        let config = slot.dir.join("zoo.cfg");
        words.extend(kind::command(slot.kind, &self.settings.java_flags, &config));
        let out = slot.dir.join(format!("{:?}.log", slot.kind).to_lowercase());
        let log = File::options().create(true).append(true).open(out).expect("a log file");
        let child = Command::new(&words[0])
            .args(&words[1..])
            .envs(slot.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&slot.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn();
        let child = child.unwrap_or_else(|e| panic!("{words:?} does not start: {e}"));
        self.slots[index].child = Some(child);
    }

    pub fn start_all(&mut self) {
        (0..self.len()).for_each(|index| self.start(index));
    }

    /// SIGKILL, and the wait for its effect.
    pub fn kill(&mut self, index: usize) {
        if let Some(mut child) = self.slots[index].child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM as an operator does it, and the wait for its effect.
    pub fn stop(&mut self, index: usize) {
        if let Some(child) = &mut self.slots[index].child {
            signal(child.id(), "-TERM");
            let ended = wait_for("a server to end", || child.try_wait().ok().flatten());
            if let Err(why) = ended {
                panic!("server {}: {why}", index + 1);
            }
            self.slots[index].child = None;
        }
    }

    pub fn pause(&self, index: usize) {
        signal(self.pid(index), "-STOP");
    }

    pub fn resume(&self, index: usize) {
        signal(self.pid(index), "-CONT");
    }

    pub fn pid(&self, index: usize) -> u32 {
        self.slots[index].child.as_ref().expect("the server runs").id()
    }

    pub fn is_running(&mut self, index: usize) -> bool {
        let child = self.slots[index].child.as_mut();
        child.is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Waits for a process to end by itself; answers its exit status.
    pub fn wait_end(&mut self, index: usize) -> Option<i32> {
        let child = self.slots[index].child.as_mut().expect("the server runs");
        let ended = wait_for("a server to end", || child.try_wait().ok().flatten());
        self.slots[index].child = None;
        ended.unwrap_or_else(|why| panic!("server {}: {why}", index + 1)).code()
    }

    /// Another kind of server on the same data directory; the slot must be stopped.
    pub fn swap(&mut self, index: usize, kind: Kind) {
        assert!(self.slots[index].child.is_none(), "server {} runs", index + 1);
        self.slots[index].kind = kind;
    }

    /// Everything that a server has stored but its myid.
    pub fn wipe(&mut self, index: usize) {
        assert!(self.slots[index].child.is_none(), "server {} runs", index + 1);
        fs::remove_dir_all(self.data_dir(index)).expect("the data directory");
    }

    /// `leader`, `follower`, `observer`, or nothing when it does not serve.
    pub fn mode(&self, index: usize) -> Option<String> {
        self.slots[index].child.as_ref()?;
        let answer = ask(self.address(index), "srvr");
        answer.lines().find_map(|line| line.strip_prefix("Mode: ")).map(String::from)
    }

    /// The server that says it leads.
    pub fn leader(&self) -> Option<usize> {
        (0..self.len()).find(|index| self.mode(*index).as_deref() == Some("leader"))
    }

    /// Waits for a leader among `among`.
    pub fn wait_leader_of(&mut self, among: &[usize]) -> usize {
        self.waiting("a leader", |this| {
            among.iter().copied().find(|index| this.mode(*index).as_deref() == Some("leader"))
        })
    }

    /// Waits until every server that runs serves, and exactly one of them leads; answers which.
    pub fn wait_all(&mut self) -> usize {
        self.waiting("all servers to serve", |this| {
            let running: Vec<usize> =
                (0..this.len()).filter(|index| this.slots[*index].child.is_some()).collect();
            let modes: Option<Vec<String>> =
                running.iter().map(|index| this.mode(*index)).collect();
            let modes = modes?;
            let leaders = modes.iter().filter(|mode| *mode == "leader").count();
            let position = modes.iter().position(|mode| mode == "leader")?;
            (leaders == 1).then(|| running[position])
        })
    }

    fn waiting<T>(&mut self, what: &str, mut found: impl FnMut(&Ensemble) -> Option<T>) -> T {
        let result = wait_for(what, || {
            for index in 0..self.len() {
                if self.slots[index].child.is_some() && !self.is_running(index) {
                    panic!("server {} ({:?}) ended", index + 1, self.slots[index].kind);
                }
            }
            found(self)
        });
        result.unwrap_or_else(|why| panic!("{why}"))
    }

    /// The last zxid that a server has applied, from `srvr`.
    pub fn zxid(&self, index: usize) -> Option<i64> {
        let answer = ask(self.address(index), "srvr");
        let text = answer.lines().find_map(|line| line.strip_prefix("Zxid: 0x"))?;
        i64::from_str_radix(text, 16).ok()
    }

    /// All that a slot's servers have logged so far.
    pub fn logs(&self, index: usize) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(&self.slots[index].dir).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|ext| ext == "log") {
                text += &String::from_utf8_lossy(&fs::read(entry.path()).unwrap_or_default());
            }
        }
        text
    }

    fn print_logs(&self) {
        for (index, slot) in self.slots.iter().enumerate() {
            let text = self.logs(index);
            let tail: Vec<&str> = text.lines().rev().take(40).collect();
            say(&format!("--- server {} ({:?}), the end of its log:", index + 1, slot.kind));
            tail.iter().rev().for_each(|line| say(line));
        }
        say(&format!("--- kept: {}", self.dir.display()));
    }

    /// Files of a server's data directory whose names start so.
    pub fn files(&self, index: usize, prefix: &str) -> Vec<String> {
        let entries = fs::read_dir(self.data_dir(index)).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
        names.sort();
        names
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        (0..self.len()).for_each(|index| self.kill(index));
        if std::thread::panicking() {
            self.print_logs();
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}
