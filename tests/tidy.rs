//! The floors, the permits and the budgets of the house, held by a test.
//!
//! Budgets are ratchets: [`LONG_FUNCTIONS`] lists what is over its budget today, with its length. It may shrink.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms, low to high. Rooms of one row do not know each other.
const FLOORS: &[&[&str]] = &[
    &["base"],
    &["wire"],
    &["tree", "watch", "session", "auth", "zab"],
    &["pipeline"],
    &["peer"],
    &["storage"],
    &["ensemble", "shard"],
    &["admin"],
    &["server"],
    &["cli"],
];

/// Rooms that must compile without a runtime or an operating system.
const PURE: &[&str] =
    &["base", "wire", "tree", "watch", "session", "auth", "zab", "pipeline", "peer"];

/// Crates that pure rooms must not name.
const IMPURE_CRATES: &[&str] = &["glommio", "io_uring", "libc"];

/// Rooms with a permit for unsafe code.
const UNSAFE_ROOMS: &[&str] = &["tree", "storage", "ensemble", "shard", "server"];

const FILE_LINES: usize = 1000;
const LINE_COLUMNS: usize = 100;
const FUNCTION_LINES: usize = 70;

/// Functions above the budget: file, name, lines allowed.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];

/// Files with tables of bytes or text whose lines cannot be broken.
const LONG_LINES: &[&str] = &[];

struct Source {
    path: String,
    room: String,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            walk(&path, out);
        } else if name.ends_with(".rs") {
            out.push(path);
        }
    }
}

/// Every Rust source below the folders, with the room it belongs to (empty outside `src/`).
fn sources(folders: &[&str]) -> Vec<Source> {
    let mut files = Vec::new();
    for folder in folders {
        walk(&root().join(folder), &mut files);
    }
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let path = file.strip_prefix(root()).unwrap_or(&file).to_string_lossy().into_owned();
            let room = path
                .strip_prefix("src/")
                .and_then(|rest| rest.split(['/', '.']).next())
                .unwrap_or_default()
                .to_string();
            let text = fs::read_to_string(&file).unwrap_or_default();
            Source { path, room, text }
        })
        .collect()
}

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&room))
}

/// The line without its comment and without what is inside string literals, near enough for counting braces and
/// finding names. Raw strings that span lines are beyond it.
fn code(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars().peekable();
    let mut in_string = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' if in_string => {
                chars.next();
            }
            '"' => in_string = !in_string,
            '\'' if !in_string => {
                // A char literal, not a lifetime: skip its inside.
                let ahead: Vec<char> = chars.clone().take(3).collect();
                match ahead.as_slice() {
                    ['\\', _, '\'', ..] => drop(chars.by_ref().take(3).count()),
                    [_, '\'', ..] => drop(chars.by_ref().take(2).count()),
                    _ => {}
                }
            }
            '/' if !in_string && chars.peek() == Some(&'/') => break,
            c if !in_string => out.push(c),
            _ => {}
        }
    }
    out
}

/// Rooms that a line of code names through `crate::`, including `crate::{a, b}` on one line.
fn rooms_named(line: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for part in line.split("crate::").skip(1) {
        let names: Vec<&str> = match part.strip_prefix('{') {
            Some(list) => {
                let list = list.split_once('}').map_or(list, |(inside, _)| inside);
                list.split(',').map(str::trim).collect()
            }
            None => vec![part],
        };
        for name in names {
            let name: String =
                name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            rooms.push(name);
        }
    }
    rooms
}

fn complain(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn rooms_import_downward_only() {
    let mut found = Vec::new();
    for source in sources(&["src"]) {
        let Some(own) = floor_of(&source.room) else {
            if !matches!(source.room.as_str(), "lib" | "main") {
                found.push(format!("{}: a room without a floor", source.path));
            }
            continue;
        };
        for (number, line) in source.text.lines().enumerate() {
            for named in rooms_named(&code(line)) {
                let Some(other) = floor_of(&named) else {
                    continue;
                };
                if named != source.room && other >= own {
                    found.push(format!("{}:{}: {named}", source.path, number + 1));
                }
            }
        }
    }
    complain("imports that do not go down", &found);
}

#[test]
fn pure_rooms_name_no_runtime() {
    let mut found = Vec::new();
    for source in sources(&["src"]).iter().filter(|s| PURE.contains(&s.room.as_str())) {
        for (number, line) in source.text.lines().enumerate() {
            let line = code(line);
            for name in IMPURE_CRATES {
                if line.contains(&format!("{name}::")) || line.contains(&format!("use {name}")) {
                    found.push(format!("{}:{}: {name}", source.path, number + 1));
                }
            }
        }
    }
    complain("runtime or system crates in pure rooms", &found);
}

#[test]
fn glommio_is_named_in_one_room() {
    let mut found = Vec::new();
    for source in sources(&["src"]).iter().filter(|s| s.room != "shard") {
        for (number, line) in source.text.lines().enumerate() {
            if code(line).contains("glommio") {
                found.push(format!("{}:{}", source.path, number + 1));
            }
        }
    }
    complain("glommio outside shard/", &found);
}

#[test]
fn unsafe_only_by_permit() {
    let mut found = Vec::new();
    for source in sources(&["src"]).iter().filter(|s| !UNSAFE_ROOMS.contains(&s.room.as_str())) {
        for (number, line) in source.text.lines().enumerate() {
            let code = code(line);
            let words: Vec<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            if words.contains(&"unsafe") {
                found.push(format!("{}:{}", source.path, number + 1));
            }
        }
    }
    complain("unsafe without a permit", &found);
}

#[test]
fn files_and_lines_keep_their_budgets() {
    let mut found = Vec::new();
    for source in sources(&["src", "tests", "benches", "perf", "fuzz"]) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            found.push(format!("{}: {lines} lines", source.path));
        }
        if LONG_LINES.contains(&source.path.as_str()) {
            continue;
        }
        for (number, line) in source.text.lines().enumerate() {
            let columns = line.chars().count();
            // Comments written to a wider margin are for people; code is not excused.
            if columns > LINE_COLUMNS && !code(line).trim().is_empty() {
                found.push(format!("{}:{}: {columns} columns", source.path, number + 1));
            }
        }
    }
    complain("over budget", &found);
}

/// Name and length, in lines, of every function of a rustfmt-formatted source: from its `fn` line to the closing
/// brace at the same indentation.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let Some(at) = trimmed.find("fn ") else {
            continue;
        };
        let qualifiers = ["pub", "const", "async", "unsafe", "extern"];
        let before = trimmed[..at].trim();
        let declares = before
            .split_whitespace()
            .all(|word| qualifiers.iter().any(|q| word.starts_with(q)) || word.starts_with('"'));
        if !declares {
            continue;
        }
        let name: String =
            trimmed[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let indent = &line[..line.len() - trimmed.len()];
        let close = format!("{indent}}}");
        let end =
            lines[start..].iter().position(|l| *l == close || l.ends_with(';') && *l == *line);
        if let Some(end) = end {
            found.push((name, end + 1));
        }
    }
    found
}

#[test]
fn functions_keep_their_budget() {
    let mut allowed: BTreeMap<String, usize> = LONG_FUNCTIONS
        .iter()
        .map(|(file, name, lines)| (format!("{file}: {name}"), *lines))
        .collect();
    let mut found = Vec::new();
    for source in sources(&["src", "tests", "benches", "perf"]) {
        for (name, lines) in functions(&source.text) {
            let budget = allowed.remove(&format!("{}: {name}", source.path));
            if lines > budget.unwrap_or(FUNCTION_LINES) {
                found.push(format!("{}: {name} has {lines} lines", source.path));
            } else if budget.is_some_and(|budget| budget > lines.max(FUNCTION_LINES)) {
                found.push(format!("{}: {name}: lower its allowance to {lines}", source.path));
            }
        }
    }
    found.extend(allowed.keys().map(|row| format!("{row} is gone: drop its row")));
    complain("functions over budget", &found);
}

#[test]
fn the_checks_see_what_they_should() {
    assert_eq!(code(r#"let a = "unsafe"; // unsafe"#).trim(), "let a = ;");
    assert_eq!(rooms_named("use crate::{wire::Stat, tree};"), ["wire", "tree"]);
    assert_eq!(rooms_named("crate::zab::x(crate::base::y)"), ["zab", "base"]);
    let text = "pub fn a() {\n    b();\n}\n    fn c(\n    ) {\n        d();\n    }\n";
    assert_eq!(functions(text), [("a".to_string(), 3), ("c".to_string(), 4)]);
}
