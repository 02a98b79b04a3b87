//! What a writer does, as a function of a number, and what its nodes look like after the first so many.

use std::collections::BTreeMap;

use ringkeeper::wire::OpCode;

use crate::support::bodies;

/// A writer's world: names below its home, and its own entries in `/seq` as `seq:<token>`; with their data.
pub type State = BTreeMap<String, String>;

/// The request with number `n` of writer `id`.
pub fn request(id: usize, n: u64) -> (OpCode, Vec<u8>) {
    let data = format!("{id}-{n}");
    let set = |name: &str| {
        let path = format!("/w{id}/{name}");
        bodies::set_data(Some(path.as_bytes()), Some(data.as_bytes()), -1)
    };
    let create = |name: String, flags| {
        bodies::create_open(&format!("/w{id}/{name}"), data.as_bytes(), flags)
    };
    match n % 7 {
        0 => (OpCode::Create, create(format!("k{n}"), 0)),
        1 => (OpCode::SetData, set("register")),
        2 => {
            let ops = [
                (OpCode::Create.code(), create(format!("m{n}a"), 0)),
                (OpCode::SetData.code(), set("multi")),
                (OpCode::Create.code(), create(format!("m{n}b"), 0)),
            ];
            (OpCode::Multi, bodies::multi(&ops))
        }
        3 => (OpCode::Create, bodies::create_open("/seq/s-", data.as_bytes(), 2)),
        4 => (OpCode::Create, create(format!("e{n}"), 1)),
        5 => {
            // Every other one of the group's first nodes goes again, and ephemerals of the group before.
            let victim =
                if n.is_multiple_of(2) { format!("k{}", n - 5) } else { format!("e{}", n - 1) };
            let path = format!("/w{id}/{victim}");
            (OpCode::Delete, bodies::path_int(Some(path.as_bytes()), -1))
        }
        _ => (OpCode::Create2, create(format!("c{n}"), 0)),
    }
}

/// What request `n` does to the writer's world.
pub fn apply(state: &mut State, id: usize, n: u64) {
    let data = format!("{id}-{n}");
    let mut put = |name: String| state.insert(name, data.clone());
    match n % 7 {
        0 => drop(put(format!("k{n}"))),
        1 => drop(put("register".into())),
        2 => {
            put(format!("m{n}a"));
            put(format!("m{n}b"));
            put("multi".into());
        }
        3 => drop(put(format!("seq:{data}"))),
        4 => drop(put(format!("e{n}"))),
        5 if n.is_multiple_of(2) => drop(state.remove(&format!("k{}", n - 5))),
        5 => drop(state.remove(&format!("e{}", n - 1))),
        _ => drop(put(format!("c{n}"))),
    }
}

/// The names two states do not share, for a report.
pub fn difference(expected: &State, got: &State) -> String {
    let missing: Vec<&String> = expected.keys().filter(|k| !got.contains_key(*k)).collect();
    let extra: Vec<&String> = got.keys().filter(|k| !expected.contains_key(*k)).collect();
    let changed: Vec<&String> = expected
        .iter()
        .filter(|(k, v)| got.get(*k).is_some_and(|g| g != *v))
        .map(|x| x.0)
        .collect();
    format!("missing {missing:?}, not written {extra:?}, other data {changed:?}")
}
