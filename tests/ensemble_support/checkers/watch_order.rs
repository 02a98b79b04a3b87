//! A data watch fires once for a change, before its session sees the change, and never without one.

use std::collections::HashMap;

use super::super::history::Watched;

/// What one session heard and read of its watched registers, in order.
pub fn check(session: i64, heard: &[Watched]) -> Vec<String> {
    let mut wrong = Vec::new();
    // The version at which a watch waits.
    let mut armed: HashMap<usize, i32> = HashMap::new();
    // The version beyond which the next read must be, after an event.
    let mut fired: HashMap<usize, i32> = HashMap::new();
    for (number, one) in heard.iter().enumerate() {
        let mut complain = |what: &str| {
            wrong.push(format!("session 0x{session:x}, record {number}, {one:?}: {what}"));
        };
        match one {
            Watched::Event { register } => match armed.remove(register) {
                Some(version) => {
                    fired.insert(*register, version);
                }
                None => complain("an event without a watch"),
            },
            Watched::Read { register, version } | Watched::Armed { register, version } => {
                if let Some(before) = fired.remove(register)
                    && *version <= before
                {
                    complain(&format!("an event, and yet the version is still {before}"));
                }
                if let Some(waiting) = armed.get(register)
                    && version > waiting
                {
                    complain(&format!("the watch set at version {waiting} has not fired"));
                    armed.remove(register);
                }
                if matches!(one, Watched::Armed { .. }) {
                    armed.insert(*register, *version);
                }
            }
        }
    }
    wrong
}
