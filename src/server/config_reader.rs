//! Typed reading of settings: finds a key where it may stand, checks its value, and gathers what is
//! wrong.
//!
//! Nothing is reported twice and nothing ends the reading early, so one run shows every mistake.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::config_error::Problem;
use super::config_keys::{self, Scope};
use super::jvm_flags::JvmFlags;
use super::properties::Properties;

/// A password or key. Never shown: not in `Debug`, not by `check-config`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<hidden>")
    }
}

/// A value found, and where.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub value: String,
    pub key: String,
    pub place: String,
}

/// Reads settings from a file and the JVM flags; lives for one start.
pub(super) struct Reader<'a> {
    pub file: &'a str,
    pub properties: &'a Properties,
    pub flags: &'a JvmFlags,
    /// Put before every key asked for; used for the two TLS families.
    pub prefix: &'static str,
    pub warnings: Vec<String>,
    pub problems: Vec<Problem>,
    /// Keys that something asked for: the proof that a key of the table is not merely tolerated.
    pub asked: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    pub fn new(file: &'a str, properties: &'a Properties, flags: &'a JvmFlags) -> Reader<'a> {
        Reader {
            file,
            properties,
            flags,
            prefix: "",
            warnings: Vec::new(),
            problems: Vec::new(),
            asked: BTreeSet::new(),
        }
    }

    /// Where line `line` of the file is, for messages.
    pub fn place(&self, line: u32) -> String {
        if line == 0 { self.file.to_owned() } else { format!("{}:{line}", self.file) }
    }

    pub fn problem(&mut self, found: &Found, text: impl Into<String>, allowed: impl Into<String>) {
        // A password with a mistake in it is still a password.
        let hidden = is_secret(&found.key);
        self.problems.push(Problem {
            place: found.place.clone(),
            key: found.key.clone(),
            value: if hidden { "<hidden>".to_owned() } else { found.value.clone() },
            text: text.into(),
            allowed: allowed.into(),
        });
    }

    /// A problem that is about the whole file.
    pub fn file_problem(&mut self, text: impl Into<String>, allowed: impl Into<String>) {
        self.problems.push(Problem {
            place: self.file.to_owned(),
            key: String::new(),
            value: String::new(),
            text: text.into(),
            allowed: allowed.into(),
        });
    }

    pub fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    /// The value in force for `key`, by the precedence of its [`Scope`].
    pub fn find(&mut self, key: &str) -> Option<Found> {
        let key = format!("{}{key}", self.prefix);
        let scope = config_keys::lookup(&key).map_or(Scope::Property, |spec| spec.scope);
        let found = match scope {
            Scope::File => self.in_file(&key),
            Scope::Property => self.as_property(&key),
            Scope::Dual => self.as_property(&key).or_else(|| self.as_flag(&key)),
            Scope::Bare => self.as_flag(&key).or_else(|| self.bare_in_file(&key)),
            Scope::Own => self.in_file(&key).or_else(|| self.as_flag(&key)),
        };
        self.asked.insert(key);
        found
    }

    fn in_file(&self, key: &str) -> Option<Found> {
        let entry = self.properties.find(key)?;
        let (value, key) = (entry.value.clone(), entry.key.clone());
        Some(Found { value, key, place: self.place(entry.line) })
    }

    fn as_flag(&self, name: &str) -> Option<Found> {
        let flag = self.flags.properties.get(name)?;
        let key = format!("-D{name}");
        Some(Found { value: flag.value.clone(), key, place: flag.origin.to_owned() })
    }

    fn as_property(&mut self, key: &str) -> Option<Found> {
        self.in_file(key)
            .or_else(|| self.as_guide_name(key))
            .or_else(|| self.as_flag(&format!("zookeeper.{key}")))
            .or_else(|| self.property_name_in_file(key))
    }

    fn as_guide_name(&mut self, key: &str) -> Option<Found> {
        let guide_name = config_keys::lookup(key)?.guide_name?;
        let found = self.in_file(guide_name)?;
        self.warn(format!(
            "{}: {guide_name} is a name of the admin guide that Apache ZooKeeper does not honour; \
             taken as {key}",
            found.place
        ));
        Some(found)
    }

    fn property_name_in_file(&mut self, key: &str) -> Option<Found> {
        let name = format!("zookeeper.{key}");
        let found = self.in_file(&name)?;
        self.warn(format!(
            "{}: Apache ZooKeeper ignores {name} in this file; taken as {key}",
            found.place
        ));
        Some(found)
    }

    fn bare_in_file(&mut self, key: &str) -> Option<Found> {
        let found = self.in_file(key)?;
        self.warn(format!(
            "{}: Apache ZooKeeper takes {key} only as a JVM flag (-D{key}); honoured here",
            found.place
        ));
        Some(found)
    }

    /// An integer as the reference's own keys take it: decimal, nothing around it.
    pub fn plain_int(&mut self, key: &str, default: i32) -> i32 {
        let Some(found) = self.find(key) else { return default };
        found.value.parse().unwrap_or_else(|_| {
            let text = format!("For input string: \"{}\"", found.value);
            self.problem(&found, text, "a decimal integer without unit or remark");
            default
        })
    }

    /// A boolean as the reference's own keys take it.
    pub fn plain_bool(&mut self, key: &str, default: bool) -> bool {
        let Some(found) = self.find(key) else { return default };
        let written = found.key.clone();
        self.bool_of(&found).unwrap_or_else(|| {
            let text =
                format!("Invalid option {} for {written}. Choose 'true' or 'false.'", found.value);
            self.problem(&found, text, "true, false");
            default
        })
    }

    fn bool_of(&self, found: &Found) -> Option<bool> {
        let word = &found.value;
        match (word.eq_ignore_ascii_case("true"), word.eq_ignore_ascii_case("false")) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }

    /// A boolean property. Apache ZooKeeper takes anything but `true` for false; here that is an
    /// error.
    pub fn flag(&mut self, key: &str, default: bool) -> bool {
        let Some(found) = self.find(key) else { return default };
        self.bool_of(&found).unwrap_or_else(|| {
            self.problem(&found, "not a boolean", "true, false");
            default
        })
    }

    /// A switch that knows only the two lower-case words; anything else leaves the default in
    /// force, as in Apache ZooKeeper, where `skipACL=true` must not open the tree.
    pub fn yes_no(&mut self, key: &str, default: bool) -> bool {
        let Some(found) = self.find(key) else { return default };
        match found.value.as_str() {
            "yes" => true,
            "no" => false,
            other => {
                let stays = if default { "yes" } else { "no" };
                self.warn(format!(
                    "{}: {}={other} has no effect, only the words yes and no have; {stays} stays \
                     in force",
                    found.place, found.key
                ));
                default
            }
        }
    }

    /// Only the exact text `false` switches off.
    pub fn unless_false(&mut self, key: &str) -> bool {
        let Some(found) = self.find(key) else { return true };
        if found.value != "false" && found.value != "true" {
            self.warn(format!(
                "{}: {}={} does not switch it off, only the exact word false does",
                found.place, found.key, found.value
            ));
        }
        found.value != "false"
    }

    /// Only the exact text `true` switches on.
    pub fn if_true(&mut self, key: &str) -> bool {
        let Some(found) = self.find(key) else { return false };
        if found.value != "false" && found.value != "true" {
            self.warn(format!(
                "{}: {}={} does not switch it on, only the exact word true does",
                found.place, found.key, found.value
            ));
        }
        found.value == "true"
    }

    /// True when the key is there at all, whatever its value.
    pub fn present(&mut self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// An integer property: decimal, `0x`, `#` or leading-0 octal, within `min..=max`.
    pub fn int(&mut self, key: &str, default: i64, min: i64, max: i64) -> i64 {
        self.optional_int(key, min, max).unwrap_or(default)
    }

    /// As [`Reader::int`], for keys whose default depends on something else.
    pub fn optional_int(&mut self, key: &str, min: i64, max: i64) -> Option<i64> {
        let found = self.find(key)?;
        match decode(&found.value) {
            Some(value) if (min..=max).contains(&value) => Some(value),
            parsed => {
                let text = match parsed {
                    Some(_) => "out of range".to_owned(),
                    None => format!("For input string: \"{}\"", found.value),
                };
                self.problem(&found, text, range(min, max));
                None
            }
        }
    }

    /// An integer that keeps its default, with a warning, when it cannot be read.
    pub fn lenient_int(&mut self, key: &str, default: i64, min: i64, max: i64) -> i64 {
        let Some(found) = self.find(key) else { return default };
        match decode(&found.value) {
            Some(value) if (min..=max).contains(&value) => value,
            _ => {
                self.warn(format!(
                    "{}: {}={} is not usable, {default} stays in force (allowed: {})",
                    found.place,
                    found.key,
                    found.value,
                    range(min, max)
                ));
                default
            }
        }
    }

    pub fn float(&mut self, key: &str, default: f64) -> f64 {
        let Some(found) = self.find(key) else { return default };
        match found.value.parse::<f64>() {
            Ok(value) if value.is_finite() => value,
            _ => {
                let text = format!("For input string: \"{}\"", found.value);
                self.problem(&found, text, "a number such as 0.33");
                default
            }
        }
    }

    pub fn text(&mut self, key: &str) -> Option<String> {
        self.find(key).map(|found| found.value)
    }

    pub fn text_or(&mut self, key: &str, default: &str) -> String {
        self.text(key).unwrap_or_else(|| default.to_owned())
    }

    pub fn secret(&mut self, key: &str) -> Option<Secret> {
        self.find(key).filter(|found| !found.value.is_empty()).map(|found| Secret(found.value))
    }

    /// A path; empty counts as not given.
    pub fn path(&mut self, key: &str) -> Option<PathBuf> {
        self.find(key).filter(|found| !found.value.is_empty()).map(|f| PathBuf::from(f.value))
    }

    /// A comma list, items trimmed, empty ones dropped.
    pub fn list(&mut self, key: &str) -> Vec<String> {
        let text = self.text(key).unwrap_or_default();
        text.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect()
    }

    /// One of a few words; `exact` says whether case matters.
    pub fn one_of<T: Copy>(&mut self, key: &str, words: &[(&str, T)], default: T) -> T {
        let Some(found) = self.find(key) else { return default };
        let hit = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(&found.value));
        hit.map(|(_, value)| *value).unwrap_or_else(|| {
            let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.problem(&found, "unknown value", allowed.join(", "));
            default
        })
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let password = key.ends_with("password") || key.ends_with("superdigest");
    password && !key.ends_with("passwordpath")
}

fn range(min: i64, max: i64) -> String {
    match (min, max) {
        (i64::MIN, i64::MAX) => "an integer".to_owned(),
        (min, i64::MAX) => format!("an integer from {min}"),
        (i64::MIN, max) => format!("an integer up to {max}"),
        (min, max) => format!("an integer from {min} to {max}"),
    }
}

/// Java's `Long.decode`: sign, then decimal, `0x`, `0X`, `#`, or octal after a leading 0.
fn decode(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let hex = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
        .or_else(|| digits.strip_prefix('#'));
    let (digits, radix) = match hex {
        Some(hex) => (hex, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (&digits[1..], 8),
        None => (digits, 10),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if negative { -value } else { value }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::jvm_flags::Env;

    fn read<T>(file: &str, flags: &str, f: impl FnOnce(&mut Reader<'_>) -> T) -> (T, Vec<Problem>) {
        let properties = Properties::parse(file.as_bytes()).expect("valid");
        let flags = JvmFlags::from_env(&Env::of(&[("JVMFLAGS", flags)]));
        let mut reader = Reader::new("zoo.cfg", &properties, &flags);
        let value = f(&mut reader);
        (value, reader.problems)
    }

    #[test]
    fn integers_decode_as_java_does() {
        let cases = [("10", 10), ("-1", -1), ("+7", 7), ("0x10", 16), ("#f", 15), ("010", 8)];
        for (text, value) in cases {
            assert_eq!(decode(text), Some(value), "{text}");
        }
        for text in ["", "1k", "1_0", "0x", "--1", "9223372036854775808", "08", "-"] {
            assert_eq!(decode(text), None, "{text}");
        }
        assert_eq!(decode("-9223372036854775808"), Some(i64::MIN));
    }

    #[test]
    fn precedence_follows_the_scope() {
        let both = |key: &str, file: &str, flags: &str| read(file, flags, |r| r.text(key)).0;
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(both("snapCount", "snapCount=1", "-Dzookeeper.snapCount=2"), some("1"));
        assert_eq!(both("snapCount", "", "-Dzookeeper.snapCount=2"), some("2"));
        assert_eq!(
            both("snapCount", "zookeeper.snapCount=1", "-Dzookeeper.snapCount=2"),
            some("2")
        );
        assert_eq!(both("snapCount", "zookeeper.snapCount=1", ""), some("1"));
        assert_eq!(both("jute.maxbuffer", "jute.maxbuffer=1", "-Djute.maxbuffer=2"), some("2"));
        assert_eq!(both("jute.maxbuffer", "jute.maxbuffer=1", ""), some("1"));
        assert_eq!(both("tickTime", "", "-Dzookeeper.tickTime=2"), None);
        assert_eq!(both("fsync.warningthresholdms", "", "-Dfsync.warningthresholdms=5"), some("5"));
        assert_eq!(both("connection_throttle_tokens", "connectionMaxTokens=9", ""), some("9"));
    }

    #[test]
    fn a_wrong_value_names_place_key_value_and_what_is_allowed() {
        let (value, problems) = read("\n\nsnapCount=many\n", "", |r| r.int("snapCount", 3, 2, 9));
        assert_eq!(value, 3);
        assert_eq!(
            problems[0].to_string(),
            "zoo.cfg:3: snapCount=many: For input string: \"many\" (allowed: an integer from 2 \
             to 9)"
        );
        let (_, problems) =
            read("standaloneEnabled=maybe", "", |r| r.plain_bool("standaloneEnabled", true));
        assert!(
            problems[0]
                .text
                .ends_with("Invalid option maybe for standaloneEnabled. Choose 'true' or 'false.'")
        );
    }

    #[test]
    fn yes_and_no_are_the_only_words_of_their_switches() {
        assert!(!read("skipACL=true", "", |r| r.yes_no("skipACL", false)).0);
        assert!(read("skipACL=yes", "", |r| r.yes_no("skipACL", false)).0);
        assert!(read("forceSync=false", "", |r| r.yes_no("forceSync", true)).0);
        assert!(read("admin.enableServer=False", "", |r| r.unless_false("admin.enableServer")).0);
    }

    #[test]
    fn passwords_are_not_shown() {
        let (secret, _) =
            read("ssl.keyStore.password=pw", "", |r| r.secret("ssl.keyStore.password"));
        let secret = secret.expect("given");
        assert_eq!((secret.expose(), format!("{secret:?}").as_str()), ("pw", "<hidden>"));
        let (_, problems) =
            read("ssl.keyStore.password=pw", "", |r| r.int("ssl.keyStore.password", 0, 0, 1));
        assert_eq!(problems[0].value, "<hidden>");
    }
}
