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
//! | [`preflight`] | what the machine must offer |
//! | [`assembly`], [`restore`], `members`, `listen`, `limits`, `unserved`, `signals` | start, run, stop |
//! | `commands`, `metrics` | what operators ask for |
//! | [`exit_code`] | how the process ends |

pub mod assembly;
mod commands;
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
mod limits;
mod listen;
pub mod logging;
mod members;
mod metrics;
pub mod preflight;
mod process;
pub mod profile;
pub mod properties;
pub mod restore;
pub mod server_lines;
mod signals;
mod suggest;
mod unserved;

#[cfg(test)]
mod config_tests;

pub use assembly::run;
pub use config::{Config, Loaded};
pub use config_error::ConfigError;
pub use exit_code::ExitCode;
pub use jvm_flags::Env;
