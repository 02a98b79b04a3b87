//! Log output: readable lines or JSON, on stderr (reference: admin-and-metrics 9 for the texts
//! watched for).
//!
//! Level, first one that is set: `RINGKEEPER_LOG`, `RUST_LOG`, `ringkeeper.log.level`, `info`. The
//! two variables and the key take a level or tracing's filter syntax
//! (`info,ringkeeper::zab=debug`).

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::config_reader::Reader;
use super::jvm_flags::Env;

/// Shape of a log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// Time, level, target, text.
    #[default]
    Readable,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    const WORDS: &'static [(&'static str, LogFormat)] =
        &[("readable", LogFormat::Readable), ("json", LogFormat::Json)];
}

/// What the logger is set up from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogSettings {
    pub format: LogFormat,
    /// A level or filter that [`EnvFilter`] takes.
    pub filter: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        LogSettings { format: LogFormat::Readable, filter: "info".to_owned() }
    }
}

impl LogSettings {
    pub(super) fn read(from: &mut Reader<'_>, env: &Env) -> LogSettings {
        let format = from.one_of("ringkeeper.log.format", LogFormat::WORDS, LogFormat::Readable);
        let key = "ringkeeper.log.level";
        let mut filter = "info".to_owned();
        if let Some(found) = from.find(key) {
            match check(&found.value) {
                Ok(()) => filter = found.value,
                Err(text) => from.problem(&found, text, ALLOWED),
            }
        }
        LogSettings { format, filter }.with_env(env, &mut from.warnings)
    }

    /// Lets the environment override the level. A bad filter there is left out with a warning, so
    /// that a stray `RUST_LOG` of another program's making does not keep the server down.
    fn with_env(mut self, env: &Env, warnings: &mut Vec<String>) -> LogSettings {
        for name in ["RINGKEEPER_LOG", "RUST_LOG"] {
            let Some(text) = env.var(name).filter(|text| !text.is_empty()) else { continue };
            match check(text) {
                Ok(()) => {
                    self.filter = text.to_owned();
                    break;
                }
                Err(error) => warnings.push(format!("{name}={text}: {error}; left out")),
            }
        }
        self
    }

    /// Key and value, for `check-config`.
    pub fn effective(&self) -> Vec<(String, String)> {
        let format = match self.format {
            LogFormat::Readable => "readable",
            LogFormat::Json => "json",
        };
        vec![
            ("ringkeeper.log.format".to_owned(), format.to_owned()),
            ("ringkeeper.log.level".to_owned(), self.filter.clone()),
        ]
    }

    /// Installs the logger for the process. A second call changes nothing and says so with `false`.
    pub fn install(&self) -> bool {
        let filter = EnvFilter::try_new(&self.filter).unwrap_or_else(|_| EnvFilter::new("info"));
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_thread_names(true);
        match self.format {
            LogFormat::Readable => builder.try_init().is_ok(),
            LogFormat::Json => builder.json().with_ansi(false).try_init().is_ok(),
        }
    }
}

const ALLOWED: &str = "error, warn, info, debug, trace, off, or target=level,...";

fn check(text: &str) -> Result<(), String> {
    EnvFilter::try_new(text).map(|_| ()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::jvm_flags::JvmFlags;
    use crate::server::properties::Properties;

    fn read(text: &str, env: &[(&str, &str)]) -> (LogSettings, usize, usize) {
        let properties = Properties::parse(text.as_bytes()).expect("valid");
        let flags = JvmFlags::default();
        let mut reader = Reader::new("zoo.cfg", &properties, &flags);
        let settings = LogSettings::read(&mut reader, &Env::of(env));
        (settings, reader.problems.len(), reader.warnings.len())
    }

    #[test]
    fn the_environment_beats_the_file() {
        let file = "ringkeeper.log.level=warn\nringkeeper.log.format=JSON";
        let (settings, problems, _) = read(file, &[]);
        assert_eq!((settings.filter.as_str(), problems), ("warn", 0));
        assert_eq!(settings.format, LogFormat::Json);
        assert_eq!(read(file, &[("RUST_LOG", "debug")]).0.filter, "debug");
        let both = [("RUST_LOG", "debug"), ("RINGKEEPER_LOG", "info,ringkeeper::zab=trace")];
        assert_eq!(read(file, &both).0.filter, "info,ringkeeper::zab=trace");
    }

    #[test]
    fn a_bad_level_is_an_error_in_the_file_and_a_warning_in_the_environment() {
        assert_eq!(read("ringkeeper.log.level=a=b=c", &[]).1, 1);
        let (settings, problems, warnings) = read("", &[("RUST_LOG", "a=b=c")]);
        assert_eq!((settings.filter.as_str(), problems, warnings), ("info", 0, 1));
    }
}
