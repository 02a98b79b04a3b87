//! Linearizability of one register: whether all operations can be put in one order that respects real time and in
//! which each of them is right.
//!
//! In general that is a search which takes exponential time exactly when a history is wrong. Here versions name the
//! order: every set makes the next version, every read tells one, and only sets without an answer have to be found
//! a place, at any moment after their call or nowhere. So each version gets the earliest and the latest moment at
//! which it can have been made, and it is enough that none is later than the other. Exact but for one thing: two
//! refused sets that could each be explained, but not both at once, are let pass.

use std::collections::BTreeMap;

use super::super::history::{NEVER, RegisterOp, Timed};

/// A register's value and version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    pub value: u64,
    pub version: i32,
}

/// What is known of one version.
#[derive(Clone, Debug)]
struct Made {
    value: Option<u64>,
    /// Call and return of the set that made it, once that is known.
    writer: Option<(u64, u64)>,
    /// The latest call of a read that shows it: the next version is not made before.
    shown_until: u64,
    /// The earliest return of a read that shows it: it is made by then.
    shown_by: u64,
    earliest: u64,
    latest: u64,
}

const UNKNOWN: Made =
    Made { value: None, writer: None, shown_until: 0, shown_by: NEVER, earliest: 0, latest: NEVER };

/// A set without an answer.
struct Lost {
    value: u64,
    expected: i32,
    call: u64,
}

type Versions = BTreeMap<i32, Made>;

/// Whether the operations on one register, which began as `initial`, are linearizable.
pub fn check(initial: State, ops: &[Timed<RegisterOp>]) -> Result<(), String> {
    let mut versions = Versions::new();
    let first = Made { value: Some(initial.value), writer: Some((0, 0)), ..UNKNOWN };
    versions.insert(initial.version, first);
    let mut lost = Vec::new();
    for timed in ops {
        note(&mut versions, &mut lost, timed)?;
    }
    let (&lowest, _) = versions.first_key_value().expect("the initial version");
    if lowest < initial.version {
        return Err(format!("version {lowest} was before the first"));
    }
    let (&highest, _) = versions.last_key_value().expect("the initial version");
    for version in initial.version..highest {
        versions.entry(version).or_insert(UNKNOWN);
    }
    lost.sort_by_key(|one: &Lost| one.call);
    name_writers(&mut versions, &mut lost)?;
    latest_moments(&mut versions);
    fill_gaps(&mut versions, &mut lost)?;
    earliest_moments(&mut versions)?;
    refusals(&versions, ops)
}

/// Enters what one operation tells.
fn note(
    versions: &mut Versions,
    lost: &mut Vec<Lost>,
    timed: &Timed<RegisterOp>,
) -> Result<(), String> {
    let (value, version) = match timed.op {
        RegisterOp::Set { value, version } | RegisterOp::Read { value, version } => {
            (value, version)
        }
        RegisterOp::Unknown { value, expected } => {
            lost.push(Lost { value, expected, call: timed.call });
            return Ok(());
        }
        RegisterOp::Refused { .. } => return Ok(()),
    };
    let made = versions.entry(version).or_insert(UNKNOWN);
    if *made.value.get_or_insert(value) != value {
        return Err(format!("version {version} has two values: {made:?} and {timed:?}"));
    }
    if matches!(timed.op, RegisterOp::Set { .. }) {
        if made.writer.replace((timed.call, timed.ret)).is_some() {
            return Err(format!("version {version} was made twice: {timed:?}"));
        }
    } else {
        made.shown_until = made.shown_until.max(timed.call);
        made.shown_by = made.shown_by.min(timed.ret);
    }
    Ok(())
}

/// Finds the set without an answer that made a version whose value was read.
fn name_writers(versions: &mut Versions, lost: &mut Vec<Lost>) -> Result<(), String> {
    for (version, made) in versions.iter_mut().filter(|(_, made)| made.writer.is_none()) {
        let Some(value) = made.value else {
            continue;
        };
        let place = lost.iter().position(|one| one.value == value);
        let one = place.map(|place| lost.remove(place)).ok_or_else(|| {
            format!("nobody, or somebody twice, wrote {value}, read as version {version}")
        })?;
        if one.expected != -1 && one.expected != version - 1 {
            let expected = one.expected;
            return Err(format!("{value} was for version {expected} only, not for {version}"));
        }
        made.writer = Some((one.call, NEVER));
    }
    Ok(())
}

fn latest_moments(versions: &mut Versions) {
    let mut latest = NEVER;
    for made in versions.values_mut().rev() {
        let returned = made.writer.map_or(NEVER, |(_, ret)| ret);
        latest = latest.min(returned).min(made.shown_by);
        made.latest = latest;
    }
}

/// Gives versions that nobody is known to have made to sets without an answer: conditional ones fit one version
/// only, the others serve in the order of their calls.
fn fill_gaps(versions: &mut Versions, lost: &mut Vec<Lost>) -> Result<(), String> {
    for (version, made) in versions.iter_mut().filter(|(_, made)| made.writer.is_none()) {
        let place = lost
            .iter()
            .position(|one| one.expected == version - 1 && one.call <= made.latest)
            .or_else(|| lost.iter().position(|one| one.expected == -1));
        let one = place.map(|place| lost.remove(place));
        let one = one.filter(|one| one.call <= made.latest);
        let one = one.ok_or_else(|| format!("nobody can have made version {version}: {made:?}"))?;
        made.writer = Some((one.call, NEVER));
    }
    Ok(())
}

fn earliest_moments(versions: &mut Versions) -> Result<(), String> {
    let mut moment = 0;
    for (version, made) in versions.iter_mut() {
        let (call, _) = made.writer.expect("every version has a writer by now");
        moment = moment.max(call);
        made.earliest = moment;
        if made.earliest > made.latest {
            return Err(format!(
                "version {version} cannot have been made at any moment: what came before lasted \
                 until {}, and it was there by {}: {made:?}",
                made.earliest, made.latest
            ));
        }
        moment = moment.max(made.shown_until);
    }
    Ok(())
}

/// A set was refused because the version was another: there was such a moment.
fn refusals(versions: &Versions, ops: &[Timed<RegisterOp>]) -> Result<(), String> {
    for timed in ops {
        let RegisterOp::Refused { expected } = timed.op else {
            continue;
        };
        let below = versions.get(&expected).is_none_or(|made| made.latest > timed.call);
        let above = versions.get(&(expected + 1)).is_some_and(|made| made.earliest <= timed.ret);
        if !below && !above {
            return Err(format!("the version was right all the time: {timed:?}"));
        }
    }
    Ok(())
}
