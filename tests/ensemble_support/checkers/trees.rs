//! All servers hold the same tree in the end, down to every field of every Stat.

use std::collections::BTreeMap;

use ringkeeper::wire::Stat;

/// What a server shows of a znode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    pub data: Option<Vec<u8>>,
    /// As encoded.
    pub acl: Vec<u8>,
    pub stat: Stat,
}

pub type Tree = BTreeMap<String, Node>;

/// How many differences are told: one cause often makes thousands.
const TOLD: usize = 20;

/// Every server writes this znode by itself when it starts, and at its own time.
const OWN_TIME: &str = "/zookeeper/config";

/// What is compared of a znode, by name.
fn fields(path: &str, node: Option<&Node>) -> Vec<(&'static str, String)> {
    let Some(Node { data, acl, stat }) = node else {
        return vec![("there", "no".into())];
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mtime = if path == OWN_TIME { 0 } else { stat.mtime };
    vec![
        ("there", "yes".into()),
        ("data", format!("{:?}", data.as_deref().map(text))),
        ("acl", format!("{acl:02x?}")),
        ("czxid", format!("0x{:x}", stat.czxid)),
        ("mzxid", format!("0x{:x}", stat.mzxid)),
        ("pzxid", format!("0x{:x}", stat.pzxid)),
        ("times", format!("{} {mtime}", stat.ctime)),
        ("versions", format!("{} {} {}", stat.version, stat.cversion, stat.aversion)),
        ("owner", format!("0x{:x}", stat.ephemeral_owner)),
        ("sizes", format!("{} {}", stat.data_length, stat.num_children)),
    ]
}

/// Differences of all other trees to the first.
pub fn check(trees: &[(String, Tree)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(((first, expected), others)) = trees.split_first() else {
        return wrong;
    };
    for (name, tree) in others {
        let paths = expected.keys().chain(tree.keys().filter(|path| !expected.contains_key(*path)));
        for path in paths {
            let one = fields(path, expected.get(path));
            let other = fields(path, tree.get(path));
            for ((field, here), (_, there)) in one.iter().zip(&other) {
                if here != there {
                    wrong.push(format!("{path}: {field}: {first} has {here}, {name} {there}"));
                }
            }
        }
    }
    wrong.truncate(TOLD);
    wrong
}
