//! The command line: `ringkeeper [server|try-ensemble|check-config]`.
//!
//! Without arguments an embedded server starts on the loopback address. `server` takes a `zoo.cfg`,
//! or Apache ZooKeeper's positional form.

mod try_ensemble;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use clap::{Parser, Subcommand};

use crate::server::{self, Config, ConfigError, Env, ExitCode, Loaded};

#[derive(Parser)]
#[command(
    name = "ringkeeper",
    version = crate::admin::version::VERSION,
    about = "A drop-in replacement for the Apache ZooKeeper server",
    after_help = "Without a command: a server on 127.0.0.1:2181 with its data in ./data."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Start a server from zoo.cfg, or from: port datadir [ticktime] [maxcnxns]
    Server {
        /// zoo.cfg | port datadir [ticktime] [maxcnxns]
        #[arg(allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Start an ensemble on this machine for trying out, with its data in a temporary directory
    TryEnsemble {
        /// How many servers
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=7))]
        servers: u16,
        /// Client port of the first
        #[arg(
            long,
            default_value_t = 2181,
            value_parser = clap::value_parser!(u16).range(1024..=60_000)
        )]
        port: u16,
    },
    /// Read a zoo.cfg and print the settings in force and what there is to say about them
    CheckConfig {
        /// The file
        file: std::path::PathBuf,
    },
}

const USAGE: &str = "Usage: ringkeeper server configfile | port datadir [ticktime] [maxcnxns]";

/// Runs what the arguments (the program's name first) ask for, with the environment of the process.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let failed = error.use_stderr();
            // Nothing is left to do when the terminal is gone.
            let _ = error.print();
            return if failed { ExitCode::Invocation } else { ExitCode::Ok };
        }
    };
    let env = Env::from_process();
    match cli.command {
        None => start(Config::embedded(&env)),
        Some(Command::Server { args }) => start(load(&args, &env)),
        Some(Command::TryEnsemble { servers, port }) => {
            try_ensemble::run(servers, port, &mut std::io::stdout().lock())
        }
        Some(Command::CheckConfig { file }) => {
            check_config(&file, &env, &mut std::io::stdout().lock())
        }
    }
}

fn load(args: &[String], env: &Env) -> Result<Loaded, ConfigError> {
    match args {
        [file] => Config::load(Path::new(file), env),
        args => Config::positional(args, env),
    }
}

fn start(loaded: Result<Loaded, ConfigError>) -> ExitCode {
    let code = match loaded {
        Ok(loaded) => {
            loaded.config.logging.install();
            server::run(loaded)
        }
        Err(error) => {
            eprintln!("{error}");
            if error.source == "arguments" {
                eprintln!("{USAGE}");
            }
            ExitCode::Invocation
        }
    };
    if let Some(line) = code.last_line() {
        eprintln!("{line}");
    }
    code
}

fn check_config(file: &Path, env: &Env, out: &mut impl Write) -> ExitCode {
    let text = match Config::load(file, env) {
        Ok(Loaded { config, warnings }) => {
            let settings = config.effective().into_iter().map(|(k, v)| format!("{k}={v}\n"));
            let warnings = warnings.into_iter().map(|w| format!("# warning: {w}\n"));
            settings.chain(warnings).collect::<String>()
        }
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::Invocation;
        }
    };
    match out.write_all(text.as_bytes()) {
        Ok(()) => ExitCode::Ok,
        Err(_) => ExitCode::Unexpected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(args: &[&str]) -> ExitCode {
        run(std::iter::once("ringkeeper").chain(args.iter().copied()).map(OsString::from))
    }

    #[test]
    fn wrong_invocations_end_with_2() {
        for args in [
            &["nonsense"][..],
            &["server"],
            &["server", "/no/such/zoo.cfg"],
            &["server", "2181"],
            &["server", "port", "dir"],
            &["server", "1", "2", "3", "4", "5"],
            &["check-config", "/no/such/zoo.cfg"],
        ] {
            assert_eq!(exit(args), ExitCode::Invocation, "{args:?}");
        }
        assert_eq!(exit(&["--version"]), ExitCode::Ok);
    }

    #[test]
    fn check_config_prints_settings_and_warnings_and_no_password() {
        let dir = tempfile::tempdir().expect("temp dir");
        let file = dir.path().join("zoo.cfg");
        let text = "dataDir=/d\nclientPort=2181\nkinit=x\nssl.keyStore.password=sesame\n";
        std::fs::write(&file, text).expect("written");
        let mut out = Vec::new();
        assert_eq!(check_config(&file, &Env::default(), &mut out), ExitCode::Ok);
        let out = String::from_utf8(out).expect("text");
        assert!(out.contains("tickTime=3000\n") && out.contains("clientPort=0.0.0.0:2181\n"));
        assert!(out.contains("kinit has no meaning here") && !out.contains("sesame"), "{out}");
    }
}
