//! Gives the program its commit and date. Offline; without git the commit is `0`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=RINGKEEPER_GIT");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo::rerun-if-changed=build.rs");
    // The log of HEAD changes with every commit; HEAD itself only when the branch does. A path
    // that is not there would make every build run this again.
    let paths = ["logs/HEAD", "HEAD"].map(|name| git(&["rev-parse", "--git-path", name]));
    for path in paths.into_iter().flatten().filter(|path| std::path::Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
    let commit =
        std::env::var("RINGKEEPER_GIT").ok().or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    let commit = commit.filter(|c| !c.is_empty() && c.chars().all(|c| c.is_ascii_alphanumeric()));
    println!("cargo::rustc-env=RINGKEEPER_GIT={}", commit.as_deref().unwrap_or("0"));
    // The commit's own date keeps builds of the same commit equal.
    let seconds = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .or_else(|| git(&["log", "-1", "--format=%ct"]))
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    println!("cargo::rustc-env=RINGKEEPER_BUILT={}", utc(seconds));
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// `YYYY-MM-DD HH:MM UTC`, by the proleptic Gregorian calendar.
fn utc(seconds: u64) -> String {
    let (mut days, rest) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= months[month] {
        days -= months[month];
        month += 1;
    }
    let (hour, minute) = (rest / 3600, rest / 60 % 60);
    format!("{year:04}-{:02}-{:02} {hour:02}:{minute:02} UTC", month + 1, days + 1)
}
