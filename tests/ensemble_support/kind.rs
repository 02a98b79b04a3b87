//! Whose server runs in a slot, and the command that starts it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::support;
use crate::support::server::{apache_classpath, ours_command};

/// Whose server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    Apache39,
    Apache38,
    Ours,
}

impl Kind {
    pub fn is_java(self) -> bool {
        self != Kind::Ours
    }
}

/// Where Debian puts Apache 3.8.0; its manifest names what else it needs.
const DEBIAN_JARS: [&str; 2] =
    ["/usr/share/java/zookeeper-3.8.0.jar", "/usr/share/java/slf4j-simple.jar"];

fn class_path(kind: Kind) -> Option<String> {
    match kind {
        Kind::Apache39 => {
            let logging = std::env::var("RINGKEEPER_APACHE_LOGGING_CLASSPATH").unwrap_or_default();
            apache_classpath().map(|path| format!("{path}:{logging}"))
        }
        Kind::Apache38 => std::env::var("RINGKEEPER_APACHE38_CLASSPATH")
            .ok()
            .or_else(|| Path::new(DEBIAN_JARS[0]).exists().then(|| DEBIAN_JARS.join(":"))),
        Kind::Ours => None,
    }
}

fn java_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        let mut java = Command::new("java");
        java.arg("-version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        java.status().is_ok_and(|status| status.success())
    })
}

/// Whether this server can be told to be one of several: asked by starting it on such a zoo.cfg, and seeing
/// whether it stays.
fn ours_forms_ensembles() -> bool {
    static FORMS: OnceLock<bool> = OnceLock::new();
    *FORMS.get_or_init(|| match std::env::var("RINGKEEPER_ENSEMBLE").as_deref() {
        Ok("ours") => true,
        Ok("apache") => false,
        _ => ours_command().is_some() && stays_up(),
    })
}

fn stays_up() -> bool {
    let dir = support::server::temp_dir("ensemble-probe");
    let data = dir.join("data");
    let address = "127.93.0.1";
    let config = format!(
        "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort=22181\n\
         clientPortAddress={address}\nadmin.enableServer=false\n\
         server.1={address}:22288:22388\nserver.2=127.93.0.2:22288:22388\n\
         server.3=127.93.0.3:22288:22388\n",
        data.display()
    );
    let written = std::fs::create_dir_all(&data)
        .and_then(|()| std::fs::write(data.join("myid"), "1"))
        .and_then(|()| std::fs::write(dir.join("zoo.cfg"), config));
    written.expect("a configuration to probe with");
    let words = ours_command().expect("asked before");
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(dir.join("zoo.cfg"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else {
        return false;
    };
    std::thread::sleep(std::time::Duration::from_secs(2));
    let stays = matches!(child.try_wait(), Ok(None));
    // A server that ignored the other members serves alone, and says so.
    let alone =
        super::ensemble::ask(([127, 93, 0, 1], 22181).into(), "srvr").contains("standalone");
    let _ = child.kill();
    let _ = child.wait();
    let _ = std::fs::remove_dir_all(&dir);
    stays && !alone
}

/// Whether servers of all these kinds can be started here; says so when not.
pub fn available(kinds: &[Kind], test: &str) -> bool {
    for kind in kinds {
        let (there, why) = match kind {
            Kind::Apache39 => {
                (class_path(*kind).is_some(), "RINGKEEPER_APACHE_CLASSPATH is not set")
            }
            Kind::Apache38 => (class_path(*kind).is_some(), "Apache 3.8.0 is not installed"),
            Kind::Ours => (ours_forms_ensembles(), "the server forms no ensembles yet"),
        };
        let why = if there && kind.is_java() && !java_there() { "there is no java" } else { why };
        if !there || why == "there is no java" {
            support::skipped(test, why);
            return false;
        }
    }
    true
}

/// The words that start a server of this kind on a configuration.
pub fn command(kind: Kind, java_flags: &[String], config: &Path) -> Vec<String> {
    let mut words = match kind {
        Kind::Ours => ours_command().expect("a command that starts this server"),
        Kind::Apache39 | Kind::Apache38 => {
            let fixed = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
            let mut words: Vec<String> = fixed.map(String::from).to_vec();
            words.extend_from_slice(java_flags);
            words.push("-Dorg.slf4j.simpleLogger.showDateTime=true".into());
            words.push("-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS".into());
            words.push("-cp".into());
            words.push(class_path(kind).expect("asked before"));
            words.push("org.apache.zookeeper.server.quorum.QuorumPeerMain".into());
            words
        }
    };
    words.push(config.display().to_string());
    words
}
