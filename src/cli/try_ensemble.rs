//! `try-ensemble`: three servers on this machine, for trying out.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use crate::server::ExitCode;

/// Apart from each other and from the client ports.
const QUORUM_PORT_STEP: u16 = 700;
const ELECTION_PORT_STEP: u16 = 1700;

/// Starts `servers` servers with client ports from `port` on, and waits until the last of them has ended.
pub(super) fn run(servers: u16, port: u16, out: &mut impl Write) -> ExitCode {
    match start(servers, port, out) {
        Ok(children) => wait(children),
        Err(error) => {
            eprintln!("the servers cannot be started: {error}");
            ExitCode::Unexpected
        }
    }
}

fn start(servers: u16, port: u16, out: &mut impl Write) -> io::Result<Vec<Child>> {
    let dir = std::env::temp_dir().join(format!("ringkeeper-ensemble-{}", std::process::id()));
    let mut children = Vec::new();
    for id in 1..=servers {
        let config = write_config(&dir, id, servers, port)?;
        let log = fs::File::create(dir.join(format!("server.{id}.log")))?;
        let child = Command::new(std::env::current_exe()?)
            .arg("server")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        children.push(child);
    }
    let clients: Vec<String> =
        (1..=servers).map(|id| format!("127.0.0.1:{}", port + id - 1)).collect();
    writeln!(out, "{servers} servers, data and logs in {}", dir.display())?;
    writeln!(out, "connect:  {}", clients.join(","))?;
    for (child, client) in children.iter().zip(&clients) {
        let (host, port) = client.split_once(':').unwrap_or_default();
        writeln!(
            out,
            "  {client}  process {}   who leads: echo srvr | nc {host} {port}",
            child.id()
        )?;
    }
    writeln!(out, "kill the leader with kill -9 and its process, and another takes over")?;
    writeln!(out, "stop: Ctrl-C")?;
    out.flush()?;
    Ok(children)
}

fn write_config(dir: &Path, id: u16, servers: u16, port: u16) -> io::Result<PathBuf> {
    let data = dir.join(id.to_string());
    fs::create_dir_all(&data)?;
    fs::write(data.join("myid"), id.to_string())?;
    let mut text = format!(
        "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort={}\n\
         4lw.commands.whitelist=*\n",
        data.display(),
        port + id - 1
    );
    for other in 1..=servers {
        let (quorum, election) =
            (port + QUORUM_PORT_STEP + other, port + ELECTION_PORT_STEP + other);
        text.push_str(&format!("server.{other}=127.0.0.1:{quorum}:{election}\n"));
    }
    let path = dir.join(format!("server.{id}.cfg"));
    fs::write(&path, text)?;
    Ok(path)
}

/// A Ctrl-C reaches the servers as it reaches this process, which it ends.
fn wait(mut children: Vec<Child>) -> ExitCode {
    while !children.is_empty() {
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        thread::sleep(Duration::from_millis(200));
    }
    ExitCode::Ok
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{Config, Env};

    #[test]
    fn the_configurations_are_those_of_one_ensemble() {
        let dir = tempfile::tempdir().expect("temp dir");
        for id in 1..=3 {
            let path = write_config(dir.path(), id, 3, 2181).expect("written");
            let loaded = Config::load(&path, &Env::default()).expect("valid");
            let ensemble = loaded.config.ensemble.expect("an ensemble");
            assert_eq!(ensemble.my_id, i64::from(id));
            assert_eq!(ensemble.quorum.participants(), 3);
        }
    }
}
