//! What the integration tests share: a raw protocol client, request bodies, and a launcher for this server
//! and for Apache ZooKeeper.
//!
//! Environment:
//!
//! - `RINGKEEPER_SERVER_CMD`: how to start this server; the configuration file is appended. Default: the binary
//!   cargo built for the test, with the word `server`.
//! - `RINGKEEPER_APACHE_CLASSPATH`: Apache ZooKeeper's jars. Without it what needs the original is skipped, and
//!   says so on stderr.
#![allow(dead_code)] // every test binary compiles this module and uses a part of it

pub mod bodies;
pub mod client;
pub mod disk;
pub mod server;

use std::io::Write;

/// Says on the real stderr, past the capture of the test harness, that a test did not run.
pub fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// Progress on the real stderr: long tests must be seen to move, and seeds must be seen at all.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A number from the environment.
pub fn env_number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.trim().parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")),
        Err(_) => default,
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Hexadecimal digits, blanks allowed, as bytes.
pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "odd number of digits in {text:?}");
    let value = |d: u8| (d as char).to_digit(16).expect("a hexadecimal digit") as u8;
    digits.chunks(2).map(|pair| value(pair[0]) << 4 | value(pair[1])).collect()
}
