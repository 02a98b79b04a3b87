//! The ensemble's shared configuration: members, voting groups, version (reference: configuration
//! 6).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::config_keys;
use super::config_reader::{Found, Reader};
use super::properties::{Entry, Properties};
use super::server_lines::{PeerType, QuorumServer};

/// Voting by groups: a quorum has a majority of weight in a majority of the groups.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Groups {
    /// Group of every voting member.
    pub group_of: BTreeMap<i64, i64>,
    /// Weight of members that have another than 1.
    pub weight_of: BTreeMap<i64, i64>,
}

impl Groups {
    pub fn weight(&self, id: i64) -> i64 {
        self.weight_of.get(&id).copied().unwrap_or(1)
    }
}

/// Members and how they vote. The same on every server of the ensemble, except for static client
/// addresses.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QuorumConfig {
    pub servers: BTreeMap<i64, QuorumServer>,
    /// `None`: a plain majority.
    pub groups: Option<Groups>,
    /// zxid of the reconfiguration that made it; 0 for a configuration written by hand.
    pub version: i64,
}

impl QuorumConfig {
    pub fn participants(&self) -> usize {
        self.of_type(PeerType::Participant)
    }

    pub fn observers(&self) -> usize {
        self.of_type(PeerType::Observer)
    }

    fn of_type(&self, peer_type: PeerType) -> usize {
        self.servers.values().filter(|server| server.peer_type == peer_type).count()
    }

    /// The text of `/zookeeper/config` and of `conf`'s membership: ends in the version, without a
    /// newline.
    pub fn to_config_text(&self) -> String {
        let mut text = String::new();
        for (id, server) in &self.servers {
            let _ = writeln!(text, "server.{id}={server}");
        }
        if let Some(groups) = &self.groups {
            let mut members: BTreeMap<i64, Vec<String>> = BTreeMap::new();
            for (id, group) in &groups.group_of {
                members.entry(*group).or_default().push(id.to_string());
            }
            for (group, ids) in members {
                let _ = writeln!(text, "group.{group}={}", ids.join(":"));
            }
            for id in groups.group_of.keys() {
                let _ = writeln!(text, "weight.{id}={}", groups.weight(*id));
            }
        }
        let _ = write!(text, "version={:x}", self.version);
        text
    }
}

/// The three files that name members; they differ in what else may stand in them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MembersFile {
    /// `zoo.cfg`: anything.
    Static,
    /// What `dynamicConfigFile` names: members only.
    Dynamic,
    /// The proposed configuration beside it: members and the version.
    Next,
}

/// Reads members, groups and version out of `entries`, which stand in `file`.
pub(super) fn read_quorum(
    reader: &mut Reader<'_>,
    file: &str,
    entries: &Properties,
    kind: MembersFile,
    multi_address: bool,
) -> QuorumConfig {
    let mut config = QuorumConfig::default();
    let mut groups = Groups::default();
    let mut by_groups = false;
    for entry in entries.iter() {
        let found = found_in(file, entry);
        let key = entry.key.as_str();
        if config_keys::is_group_key(key) {
            by_groups = true;
            if key.starts_with("group") {
                read_group(reader, &found, &mut groups);
            } else if let Some((id, weight)) = read_weight(reader, &found) {
                groups.weight_of.insert(id, weight);
            }
        } else if config_keys::is_ensemble_key(key) {
            if let Some(server) = read_server(reader, &found, multi_address) {
                config.servers.insert(server.id, server);
            }
        } else if key == "version" && kind == MembersFile::Next {
            match i64::from_str_radix(&entry.value, 16) {
                Ok(version) => config.version = version,
                Err(_) => {
                    let text = format!("For input string: \"{}\"", entry.value);
                    reader.problem(&found, text, "a hexadecimal version");
                }
            }
        } else if key == "version" && kind == MembersFile::Dynamic {
            reader.problem(&found, "dynamic file shouldn't have version inside", "leave it out");
        } else if kind != MembersFile::Static {
            let text = format!("Unrecognised parameter: {key}");
            reader.problem(&found, text, "server.N, group.N, weight.N");
        }
    }
    if by_groups {
        check_groups(reader, &config, &groups);
        config.groups = Some(groups);
    }
    config
}

fn found_in(file: &str, entry: &Entry) -> Found {
    Found {
        value: entry.value.clone(),
        key: entry.key.clone(),
        place: format!("{file}:{}", entry.line),
    }
}

/// The number after the first dot of a key such as `server.3`.
fn id_of(reader: &mut Reader<'_>, found: &Found) -> Option<i64> {
    let digits = found.key.split_once('.').map_or(found.key.as_str(), |(_, id)| id);
    let id = digits.parse().ok();
    if id.is_none() {
        let text = format!("For input string: \"{digits}\"");
        reader.problem(found, text, "an integer id after the dot of the key");
    }
    id
}

fn read_server(
    reader: &mut Reader<'_>,
    found: &Found,
    multi_address: bool,
) -> Option<QuorumServer> {
    let id = id_of(reader, found)?;
    match QuorumServer::parse(id, &found.value, multi_address) {
        Ok(server) => Some(server),
        Err(text) => {
            let allowed = "host:quorumPort:electionPort[:participant|observer][;[host:]clientPort]";
            reader.problem(found, text, allowed);
            None
        }
    }
}

fn read_group(reader: &mut Reader<'_>, found: &Found, groups: &mut Groups) {
    let Some(group) = id_of(reader, found) else { return };
    for member in found.value.split(':') {
        let Ok(id) = member.trim().parse::<i64>() else {
            let text = format!("For input string: \"{member}\"");
            reader.problem(found, text, "server ids parted by colons");
            return;
        };
        if groups.group_of.insert(id, group).is_some() {
            // The missing blank is in the reference's text.
            let text = format!("Server {id}is in multiple groups");
            reader.problem(found, text, "each server in one group");
        }
    }
}

fn read_weight(reader: &mut Reader<'_>, found: &Found) -> Option<(i64, i64)> {
    let id = id_of(reader, found)?;
    match found.value.parse() {
        Ok(weight) if weight >= 0 => Some((id, weight)),
        _ => {
            let text = format!("For input string: \"{}\"", found.value);
            reader.problem(found, text, "an integer from 0");
            None
        }
    }
}

fn check_groups(reader: &mut Reader<'_>, config: &QuorumConfig, groups: &Groups) {
    for (id, server) in &config.servers {
        let votes = server.peer_type == PeerType::Participant;
        if votes && !groups.group_of.contains_key(id) {
            let text = format!("Server {id}is not in a group");
            reader.file_problem(text, "every voting server in one group");
        }
    }
    for id in groups.group_of.keys().chain(groups.weight_of.keys()) {
        if !config.servers.contains_key(id) {
            let text = format!("a group or weight names server {id}, which is not a server");
            reader.file_problem(text, "ids of server.N lines");
        }
    }
}

/// What the number of members forbids or warns of (configuration 14, 15).
pub(super) fn check_members(
    reader: &mut Reader<'_>,
    config: &QuorumConfig,
    standalone_enabled: bool,
) {
    let (participants, observers) = (config.participants(), config.observers());
    match participants {
        0 if !standalone_enabled => reader.file_problem(
            "standaloneEnabled = false then number of participants should be >0",
            "at least one server.N line",
        ),
        0 if observers > 0 => reader.file_problem(
            "Observers w/o participants is an invalid configuration",
            "at least one server.N line of a participant",
        ),
        0 => {}
        1 if standalone_enabled => {
            reader.warn("Invalid configuration, only one server specified (ignoring)");
            if observers > 0 {
                reader.file_problem(
                    "Observers w/o quorum is an invalid configuration",
                    "standaloneEnabled=false, or more participants",
                );
            }
        }
        1 | 2 => reader.warn("No server failure will be tolerated. You need at least 3 servers."),
        n if n % 2 == 0 => {
            reader.warn("Non-optimal configuration, consider an odd number of servers.");
        }
        _ => {}
    }
}

/// The version in the name of a dynamic file: what follows the last dot, if hexadecimal, else 0.
/// Names such as `zoo.cfg.bad` count as hexadecimal in Apache ZooKeeper, and so here.
pub(super) fn version_of_name(name: &str) -> i64 {
    let suffix = name.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    i64::from_str_radix(suffix, 16).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::jvm_flags::JvmFlags;

    fn read(text: &str, dynamic: bool) -> (QuorumConfig, Vec<String>) {
        let entries = Properties::parse(text.as_bytes()).expect("valid");
        let flags = JvmFlags::default();
        let kind = if dynamic { MembersFile::Dynamic } else { MembersFile::Static };
        let mut reader = Reader::new("zoo.cfg", &entries, &flags);
        let config = read_quorum(&mut reader, "zoo.cfg", &entries, kind, false);
        check_members(&mut reader, &config, true);
        (config, reader.problems.into_iter().map(|p| p.to_string()).collect())
    }

    #[test]
    fn config_text_is_that_of_the_config_node() {
        let (config, problems) = read(
            "server.4=127.0.0.1:2891:3891:observer\nserver.1=127.0.0.1:2888:3888;2181\n\
             server.2=h:1:2",
            false,
        );
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(
            config.to_config_text(),
            "server.1=127.0.0.1:2888:3888:participant;0.0.0.0:2181\nserver.2=h:1:2:participant\n\
             server.4=127.0.0.1:2891:3891:observer\nversion=0"
        );
    }

    #[test]
    fn groups_and_weights() {
        let members = "server.1=h:1:2\nserver.2=i:1:2\nserver.3=j:1:2\n";
        let (config, problems) =
            read(&format!("{members}group.1=1:2\ngroup.2=3\nweight.3=0"), false);
        assert_eq!(problems, Vec::<String>::new());
        let groups = config.groups.expect("groups");
        assert_eq!((groups.group_of[&2], groups.weight(3), groups.weight(1)), (1, 0, 1));
        let problem = |tail: &str| read(&format!("{members}{tail}"), false).1.join("\n");
        assert!(problem("group.1=1:2\ngroup.2=2:3").contains("Server 2is in multiple groups"));
        assert!(problem("group.1=1:2").contains("Server 3is not in a group"));
        assert!(problem("group.1=1:2:3:9").contains("server 9, which is not a server"));
        assert!(problem("grouphello=1").contains("For input string: \"grouphello\""));
        assert!(problem("group.1=1:2:3\nweight.1=x").contains("zoo.cfg:5: weight.1=x"));
    }

    #[test]
    fn numbers_of_members() {
        let problem = |text: &str| read(text, false).1.join("\n");
        assert!(problem("server.1=h:1:2:observer").contains("Observers w/o participants"));
        let one = "server.1=h:1:2\nserver.2=i:1:2:observer";
        assert!(problem(one).contains("Observers w/o quorum"));
        assert!(problem("server.x=h:1:2").contains("For input string: \"x\""));
    }

    #[test]
    fn a_dynamic_file_holds_members_only() {
        let problems = read("server.1=h:1:2\ntickTime=1\nversion=1", true).1.join("\n");
        assert!(problems.contains("Unrecognised parameter: tickTime"));
        assert!(problems.contains("dynamic file shouldn't have version inside"));
    }

    #[test]
    fn versions_of_names() {
        assert_eq!(version_of_name("/etc/zoo.cfg.dynamic.100000003"), 0x1_0000_0003);
        assert_eq!(version_of_name("zoo.cfg.dynamic"), 0);
        assert_eq!(version_of_name("zoo.cfg.bad"), 0xbad);
        assert_eq!(version_of_name("plain"), 0);
    }
}
