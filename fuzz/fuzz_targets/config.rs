//! A configuration: `zoo.cfg`, the file of members it names as `members`, `myid` in its `data`, and the variable
//! SERVER_JVMFLAGS, parted by bytes 0xff. It is refused with its places named, or its settings can be listed.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ringkeeper::server::properties::Properties;
use ringkeeper::server::{Config, Env};

/// The working directory from then on, so that names in a configuration are short.
static SITE: LazyLock<PathBuf> = LazyLock::new(|| {
    // Under cargo test a directory that it cleans.
    let temp = option_env!("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let site = temp.join(format!("ringkeeper-fuzz-config.{}", std::process::id()));
    fs::create_dir_all(site.join("data")).expect("a directory");
    std::env::set_current_dir(&site).expect("is there");
    site
});

/// Names of hosts are looked up, and who answers is not the fuzzer's to ask.
fn asks_a_name_server(text: &[u8]) -> bool {
    let Ok(properties) = Properties::parse(text) else { return false };
    let alphabetic = |text: &str| text.chars().any(|c| !matches!(c, '0'..='9' | '.' | ':'));
    properties.iter().any(|entry| {
        let client = entry.value.split_once(';').map(|(_, client)| client);
        client.is_some_and(alphabetic) || entry.key.ends_with("Address") && alphabetic(&entry.value)
    })
}

fuzz_target!(|bytes: &[u8]| {
    let site = &*SITE;
    let mut parts = bytes.split(|byte| *byte == 0xff);
    let mut part = || parts.next().unwrap_or_default();
    let (zoo_cfg, members, my_id, flags) = (part(), part(), part(), part());
    let flags = String::from_utf8_lossy(flags);
    if asks_a_name_server(zoo_cfg) || asks_a_name_server(members) || flags.contains("ddress") {
        return;
    }
    for (name, text) in [("zoo.cfg", zoo_cfg), ("members", members), ("data/myid", my_id)] {
        fs::write(site.join(name), text).expect("a file to read");
    }
    match Config::load(&site.join("zoo.cfg"), &Env::of(&[("SERVER_JVMFLAGS", &flags)])) {
        Ok(loaded) => assert!(!loaded.config.effective().is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
