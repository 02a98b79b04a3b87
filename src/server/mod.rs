//! The server as a whole: configuration, logging, assembly, start and shutdown.
//!
//! | file | holds |
//! |---|---|
//! | [`properties`] | the grammar of `zoo.cfg` |
//! | [`jvm_flags`] | `-D` settings from `SERVER_JVMFLAGS` and `JVMFLAGS` |
//! | [`config_keys`] | every key and what becomes of it |
//! | [`config_settings`] | the settings by subject, field next to key |
//! | [`config`], [`config_cluster`], [`config_auth`], [`server_lines`] | the configuration |
//! | [`profile`] | this server's own knobs |
//! | [`logging`] | log output |
//! | [`exit_code`] | how the process ends |

pub mod config;
pub mod config_auth;
pub mod config_cluster;
pub mod config_error;
pub mod config_keys;
pub mod config_reader;
pub mod config_settings;
mod config_unknown;
pub mod exit_code;
pub mod jvm_flags;
pub mod logging;
pub mod profile;
pub mod properties;
pub mod server_lines;
mod suggest;

#[cfg(test)]
mod config_tests;

pub use config::{Config, Loaded};
pub use config_error::ConfigError;
pub use exit_code::ExitCode;
pub use jvm_flags::Env;

/// Runs a server until it is told to stop.
pub fn run(loaded: Loaded) -> ExitCode {
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if loaded.config.ensemble.is_some() {
        tracing::error!(
            "this build serves standalone only: the configuration names an ensemble (server.N)"
        );
    } else {
        tracing::error!("the serving part is not linked in this build");
    }
    ExitCode::Unexpected
}
