//! What is wrong with a configuration, said so that it can be put right without searching.

use std::fmt;

/// One thing that is wrong, with the reference's text for it (configuration 14) and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `file:line`, a file, or the variable or argument the value came from.
    pub place: String,
    /// The key as written; empty when the problem is not about one key.
    pub key: String,
    /// The value as written; shown only with a key.
    pub value: String,
    /// The text Apache ZooKeeper gives, where it has one: operators search for it.
    pub text: String,
    /// What would be right.
    pub allowed: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}={}: ", self.key, self.value)?;
        }
        f.write_str(&self.text)?;
        if !self.allowed.is_empty() {
            write!(f, " (allowed: {})", self.allowed)?;
        }
        Ok(())
    }
}

/// Everything found wrong in one reading. Exit code:
/// [`ExitCode::Invocation`](super::exit_code::ExitCode).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, or what stood in for it.
    pub source: String,
    /// Never empty.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn one(source: &str, text: impl Into<String>, allowed: &str) -> ConfigError {
        let problem = Problem {
            place: source.to_owned(),
            key: String::new(),
            value: String::new(),
            text: text.into(),
            allowed: allowed.to_owned(),
        };
        ConfigError { source: source.to_owned(), problems: vec![problem] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error processing {}", self.source)?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
