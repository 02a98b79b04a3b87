//! What becomes of keys that nothing asked for: ignored ones are named once, mistyped ones get a
//! suggestion.

use std::collections::BTreeMap;

use super::config_error::Problem;
use super::config_keys::{self, Class, Scope};
use super::config_reader::Reader;
use super::suggest::nearest;

/// Goes over file and flags after everything was read. Returns the keys that nothing knows, as
/// written.
pub(super) fn report(reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    let mut unknown = BTreeMap::new();
    let properties = reader.properties;
    for entry in properties.iter() {
        let place = reader.place(entry.line);
        if !judge(reader, &place, &entry.key, &entry.value) {
            unknown.insert(entry.key.clone(), entry.value.clone());
        }
    }
    let flags = reader.flags;
    for (name, flag) in &flags.properties {
        let key = name.strip_prefix("zookeeper.").unwrap_or(name);
        let prefixed = key.len() < name.len();
        let ours = prefixed || name.starts_with("ringkeeper.");
        // Other -D properties are the business of a JVM that is not there.
        let bare = config_keys::lookup(name)
            .is_some_and(|spec| matches!(spec.scope, Scope::Bare | Scope::Dual));
        if !ours && !bare {
            continue;
        }
        if prefixed && config_keys::lookup(key).is_some_and(|spec| spec.scope == Scope::File) {
            reader.warn(format!(
                "{}: -D{name} has no effect, {key} is read from the configuration file only",
                flag.origin
            ));
        } else if !judge(reader, flag.origin, key, &flag.value) {
            unknown.insert(name.clone(), flag.value.clone());
        }
    }
    unknown
}

/// Says what is to be said about one key; false when nothing knows it.
fn judge(reader: &mut Reader<'_>, place: &str, written: &str, value: &str) -> bool {
    let key = written.strip_prefix("zookeeper.").unwrap_or(written);
    if config_keys::by_guide_name(key).is_some() {
        return true;
    }
    if let Some(spec) = config_keys::lookup(key) {
        let tolerated = spec.class == Class::Mapped && !reader.asked.contains(key);
        if spec.class == Class::Ignored || tolerated {
            reader.warn(format!("{place}: {written} has no meaning here: {}", spec.note));
        }
        return true;
    }
    let suggestion = nearest(key, config_keys::all_names());
    let hint = suggestion.map_or(String::new(), |name| format!("; did you mean {name}?"));
    if key.starts_with("ringkeeper.") {
        let allowed = suggestion.map_or("the keys in tuning.md".to_owned(), str::to_owned);
        reader.problems.push(Problem {
            place: place.to_owned(),
            key: written.to_owned(),
            value: value.to_owned(),
            text: "unknown key".to_owned(),
            allowed,
        });
        return true;
    }
    reader.warn(format!("{place}: {written} is not a known key{hint}"));
    false
}
