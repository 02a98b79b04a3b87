//! What a server without a JVM takes from `SERVER_JVMFLAGS` and `JVMFLAGS` (reference:
//! configuration 16.1).

use std::collections::BTreeMap;

/// The environment variables a server start looks at; a value, so that tests need not touch the
/// process.
#[derive(Clone, Debug, Default)]
pub struct Env {
    vars: BTreeMap<String, String>,
}

impl Env {
    /// The environment of this process. Values that are not Unicode are left out.
    pub fn from_process() -> Env {
        let vars = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        Env { vars }
    }

    /// An environment of just these variables.
    pub fn of(vars: &[(&str, &str)]) -> Env {
        Env { vars: vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect() }
    }

    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str)
    }
}

/// A `-Dname=value` and the variable it was found in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    pub value: String,
    pub origin: &'static str,
}

/// System properties by full name, later ones having won.
#[derive(Clone, Debug, Default)]
pub struct JvmFlags {
    pub properties: BTreeMap<String, Flag>,
    pub warnings: Vec<String>,
}

impl JvmFlags {
    /// Reads both variables in the order in which the start script hands them to the JVM.
    pub fn from_env(env: &Env) -> JvmFlags {
        let mut flags = JvmFlags::default();
        for origin in ["SERVER_JVMFLAGS", "JVMFLAGS"] {
            if let Some(text) = env.var(origin) {
                flags.take(origin, text);
            }
        }
        if env.var("ZOO_DATADIR_AUTOCREATE_DISABLE").is_some_and(|v| !v.is_empty()) {
            let origin = "ZOO_DATADIR_AUTOCREATE_DISABLE";
            let flag = Flag { value: "false".to_owned(), origin };
            flags.properties.insert("zookeeper.datadir.autocreate".to_owned(), flag);
        }
        flags
    }

    fn take(&mut self, origin: &'static str, text: &str) {
        let mut ignored = Vec::new();
        for word in words(text) {
            if let Some(property) = word.strip_prefix("-D") {
                let (name, value) = property.split_once('=').unwrap_or((property, ""));
                let flag = Flag { value: value.to_owned(), origin };
                self.properties.insert(name.to_owned(), flag);
            } else if word.starts_with("-javaagent:") || word.starts_with("-agent") {
                self.warnings.push(format!(
                    "{origin}: {word} is a JVM agent and is not run: scrape metrics from the \
                     Prometheus endpoint (metricsProvider.className) instead"
                ));
            } else {
                ignored.push(word);
            }
        }
        if !ignored.is_empty() {
            let list = ignored.join(" ");
            self.warnings.push(format!("{origin}: JVM options have no meaning here: {list}"));
        }
    }
}

/// Splits like a shell: blanks part words, quotes and backslashes protect.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_flags_win_and_quotes_protect() {
        let env = Env::of(&[
            ("SERVER_JVMFLAGS", "-Dzookeeper.a=1 -Dzookeeper.b='x y' -Xmx1g"),
            ("JVMFLAGS", "  -Dzookeeper.a=2 \"-Dc=d e\" -javaagent:jmx.jar=1 -Dbare"),
        ]);
        let flags = JvmFlags::from_env(&env);
        let value = |name: &str| flags.properties[name].value.as_str();
        assert_eq!(value("zookeeper.a"), "2");
        assert_eq!(flags.properties["zookeeper.a"].origin, "JVMFLAGS");
        assert_eq!((value("zookeeper.b"), value("c"), value("bare")), ("x y", "d e", ""));
        assert_eq!(flags.warnings.len(), 2);
        assert!(flags.warnings[0].contains("-Xmx1g") && flags.warnings[1].contains("agent"));
    }

    #[test]
    fn the_autocreate_variable_is_a_property() {
        let env = Env::of(&[("ZOO_DATADIR_AUTOCREATE_DISABLE", "1")]);
        let flags = JvmFlags::from_env(&env);
        assert_eq!(flags.properties["zookeeper.datadir.autocreate"].value, "false");
    }
}
