//! Order within a session, whichever servers answer it: time never runs backwards, and a session sees what it
//! wrote.

use std::collections::HashMap;

use super::super::history::Seen;

/// `seen` in the order in which answers arrived, of any number of sessions.
pub fn check(seen: &[Seen]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut zxids: HashMap<i64, i64> = HashMap::new();
    let mut versions: HashMap<(i64, usize), i32> = HashMap::new();
    for one in seen {
        let newest = zxids.entry(one.session).or_insert(one.zxid);
        if one.zxid < *newest {
            wrong.push(format!(
                "session 0x{:x} went back from zxid 0x{newest:x}: {one:?}",
                one.session
            ));
        }
        *newest = one.zxid.max(*newest);
        if let Some((register, version)) = one.register {
            let newest = versions.entry((one.session, register)).or_insert(version);
            if version < *newest {
                wrong.push(format!(
                    "session 0x{:x} had seen version {newest} of register {register}: {one:?}",
                    one.session
                ));
            }
            *newest = version.max(*newest);
        }
    }
    wrong
}
