//! What was acknowledged is there, once; what was refused is not; what had no answer is there at most once.

use std::collections::HashMap;

use super::super::history::{CreateOutcome, Created};

/// `found` are path and data of every child of the parent in the end.
pub fn check(created: &[Created], found: &[(String, String)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut places: HashMap<&str, Vec<&str>> = HashMap::new();
    for (path, token) in found {
        places.entry(token).or_default().push(path);
    }
    let mut last_of: HashMap<usize, &str> = HashMap::new();
    for one in created {
        let at = places.remove(one.token.as_str()).unwrap_or_default();
        if at.len() > 1 {
            wrong.push(format!("{one:?} was done more than once: {at:?}"));
        }
        match &one.outcome {
            CreateOutcome::Acknowledged(path) => {
                if !at.contains(&path.as_str()) {
                    wrong.push(format!("{one:?} is lost, or elsewhere: {at:?}"));
                }
                let number = &path[path.len().saturating_sub(10)..];
                let before = last_of.insert(one.client, number);
                if before.is_some_and(|before| before >= number) {
                    wrong.push(format!("{one:?} is numbered below {before:?} of the same client"));
                }
            }
            CreateOutcome::Refused(_) if !at.is_empty() => {
                wrong.push(format!("{one:?} was done after all: {at:?}"));
            }
            CreateOutcome::Refused(_) | CreateOutcome::Unknown => {}
        }
    }
    for (token, at) in places {
        wrong.push(format!("nobody wrote {token:?} at {at:?}"));
    }
    wrong
}
