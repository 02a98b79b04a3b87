//! What the operating system tells about this process and its host.

use std::path::Path;

use crate::admin::four_letter::report::Environment;

/// Open and allowed file descriptors.
pub(super) fn descriptors() -> (i64, i64) {
    let open = std::fs::read_dir("/proc/self/fd").map_or(-1, |entries| entries.count() as i64);
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_ascii_whitespace().nth(3));
    (open, soft.and_then(|text| text.parse().ok()).unwrap_or(-1))
}

/// Sum of the sizes of the files in a directory, bytes.
pub(super) fn dir_bytes(dir: &Path) -> i64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len() as i64).sum()
}

fn first_line(path: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

/// The rows of `envi`.
pub(super) fn environment() -> Environment {
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let mb = |key: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<i64>().ok());
        kib.unwrap_or(0) / 1024
    };
    Environment {
        host_name: first_line("/proc/sys/kernel/hostname"),
        temp_dir: std::env::temp_dir().display().to_string(),
        os_name: "Linux".to_owned(),
        os_arch: std::env::consts::ARCH.to_owned(),
        os_version: first_line("/proc/sys/kernel/osrelease"),
        user_name: var("USER"),
        user_home: var("HOME"),
        user_dir: std::env::current_dir().map_or(String::new(), |dir| dir.display().to_string()),
        memory_free_mb: mb("MemAvailable:"),
        memory_max_mb: mb("MemTotal:"),
        memory_total_mb: mb("MemTotal:"),
    }
}
