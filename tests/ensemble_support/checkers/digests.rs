//! Digests that servers took of their trees agree wherever two of them took one at the same zxid.

use std::collections::BTreeMap;

/// The digests in the answer to the word `hash`, by zxid (reference: admin-and-metrics 2.8).
pub fn parse(answer: &str) -> Result<BTreeMap<i64, String>, String> {
    let bad = || format!("hash answered {answer:?}");
    let mut digests = BTreeMap::new();
    for line in answer.lines() {
        let (zxid, digest) = line.split_once(": ").ok_or_else(bad)?;
        let zxid = i64::from_str_radix(zxid.trim_start_matches("0x"), 16).map_err(|_| bad())?;
        digests.insert(zxid, digest.to_string());
    }
    Ok(digests)
}

/// Every disagreement; `by_server` names each server.
pub fn check(by_server: &[(String, BTreeMap<i64, String>)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut known: BTreeMap<i64, (&str, &str)> = BTreeMap::new();
    for (server, digests) in by_server {
        for (zxid, digest) in digests {
            let (other, expected) = known.entry(*zxid).or_insert((server, digest));
            if expected != digest {
                wrong.push(format!(
                    "at zxid 0x{zxid:x} {other} has digest {expected} and {server} {digest}"
                ));
            }
        }
    }
    wrong
}
