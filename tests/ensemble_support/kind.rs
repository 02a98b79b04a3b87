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

/// Whether ensembles of this server are wanted in this run, or have one of their own.
fn ours_wanted() -> bool {
    std::env::var("RINGKEEPER_ENSEMBLE").as_deref() != Ok("none")
}

/// Whether servers of all these kinds can be started here; says so when not.
pub fn available(kinds: &[Kind], test: &str) -> bool {
    for kind in kinds {
        let (there, why) = match kind {
            Kind::Apache39 => {
                (class_path(*kind).is_some(), "RINGKEEPER_APACHE_CLASSPATH is not set")
            }
            Kind::Apache38 => (class_path(*kind).is_some(), "Apache 3.8.0 is not installed"),
            Kind::Ours => (ours_wanted(), "RINGKEEPER_ENSEMBLE is none"),
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
        Kind::Ours => ours_command(),
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
