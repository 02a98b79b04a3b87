//! Ephemeral znodes live as long as their sessions: not gone early, not there for good.

use super::super::history::{Life, NEVER, Sighting};

/// Until when the znode had to be there, whatever the servers did in the meantime.
fn due_until(life: &Life) -> u64 {
    match (life.last_word, life.closed) {
        (NEVER, _) => NEVER,
        // A server counts from when it heard the last word, which is not before it was sent.
        (word, false) => word.saturating_add(life.timeout_ns),
        (word, true) => word,
    }
}

pub fn check(lives: &[Life], sightings: &[Sighting]) -> Vec<String> {
    let mut wrong = Vec::new();
    for life in lives {
        let due = due_until(life);
        for seen in sightings.iter().filter(|seen| seen.path == life.path) {
            if !seen.there && seen.call >= life.born && seen.ret < due {
                wrong.push(format!("gone early: {life:?} {seen:?}"));
            }
            if seen.there && seen.last && life.last_word != NEVER {
                wrong.push(format!("still there: {life:?} {seen:?}"));
            }
        }
        if let Some(told) = life.told_expired
            && told < life.last_answer.saturating_add(life.timeout_ns)
        {
            wrong.push(format!("the session expired before its timeout: {life:?}"));
        }
    }
    wrong
}
