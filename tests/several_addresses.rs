//! `multiAddress.enabled`: servers that others know by several addresses, of which not all answer.

mod ensemble_support;
mod support;

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use ensemble_support::alone;
use ensemble_support::client::EnsembleClient;
use ensemble_support::ensemble::{ELECTION_PORT, Ensemble, QUORUM_PORT, Settings};
use ensemble_support::kind::{Kind, available};
use ensemble_support::network::namespaces_available;

/// Nobody listens there.
const DEAD: Ipv4Addr = Ipv4Addr::new(127, 255, 7, 7);

/// Servers of ours have two addresses each, and in their own view the others have a dead one before those that they
/// have. Java asks whether a machine answers, not whether a port does, and takes no other address then: it is told of
/// none that is dead.
fn plant_addresses(ensemble: &Ensemble) {
    let kind = |index: usize| ensemble.slots[index].kind;
    write_addresses(ensemble, |index, other| {
        let address = ensemble.network.address(other);
        let [a, b, c, d] = address.octets();
        let mut hosts = vec![address];
        if kind(other) == Kind::Ours {
            hosts.push(Ipv4Addr::new(a, b, c, d + 100));
        }
        if kind(index) == Kind::Ours && other != index {
            hosts.insert(0, DEAD);
        }
        hosts
    });
}

/// Server lines of several addresses: `hosts(index, other)` has those of `other` in the view of `index`.
fn write_addresses(ensemble: &Ensemble, hosts: impl Fn(usize, usize) -> Vec<Ipv4Addr>) {
    for (index, slot) in ensemble.slots.iter().enumerate() {
        let path = slot.dir.join("zoo.cfg");
        let text = fs::read_to_string(&path).expect("zoo.cfg");
        let kept = text.lines().filter(|line| !line.starts_with("server."));
        let mut lines: Vec<String> = kept.map(String::from).collect();
        for other in 0..ensemble.len() {
            let hosts = hosts(index, other);
            let addresses: Vec<String> =
                hosts.iter().map(|host| format!("{host}:{QUORUM_PORT}:{ELECTION_PORT}")).collect();
            lines.push(format!("server.{}={}", other + 1, addresses.join("|")));
        }
        fs::write(path, lines.join("\n")).expect("zoo.cfg");
    }
}

fn any_address_will_do(name: &str, kinds: &[Kind], extra: &str) {
    if !available(kinds, name) {
        return;
    }
    let _alone = alone();
    let settings = Settings {
        java_flags: vec!["-Dzookeeper.multiAddress.enabled=true".into()],
        ..Settings::with(&format!("multiAddress.enabled=true\n{extra}"))
    };
    let mut ensemble = Ensemble::make(name, kinds, &[], settings);
    plant_addresses(&ensemble);
    ensemble.start_all();
    let leader = ensemble.wait_all();
    ensemble.kill(leader);
    let others: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
    ensemble.wait_leader_of(&others);
    let timeout = Duration::from_secs(30);
    let mut client = EnsembleClient::open(&ensemble.addresses(), timeout, 1).expect("a session");
    client.surely("create", |client| client.create("/n", b"", 0));
    ensemble.start(leader);
    ensemble.wait_all();
}

/// Addresses that swallow whatever is sent to them: first the first of everybody, then, under the established
/// connections, the second. Neither may keep anybody from electing or joining. What a connect or TCP's own patience
/// would take is longer than this test waits.
#[test]
fn an_address_may_swallow_everything() {
    let (name, kinds) = ("an_address_may_swallow_everything", [Kind::Ours; 3]);
    if !available(&kinds, name) || !namespaces_available(name) {
        return;
    }
    let _alone = alone();
    let settings = Settings::with(
        "multiAddress.enabled=true\nmultiAddress.reachabilityCheckTimeoutMs=500\n\
         cnxTimeout=1000000\n",
    );
    let mut ensemble = Ensemble::make_apart(name, &kinds, &[], settings);
    let links = ensemble.network.links();
    links.add_second_addresses();
    let first = |index| ensemble.network.address(index);
    let second = |index| links.second_address(index);
    write_addresses(&ensemble, |_, other| vec![first(other), second(other)]);
    let ports = [QUORUM_PORT, ELECTION_PORT];
    (0..3).for_each(|index| links.silence(first(index), &ports));
    ensemble.start_all();
    let leader = ensemble.wait_all();
    let timeout = Duration::from_secs(30);
    let mut client = EnsembleClient::open(&ensemble.addresses(), timeout, 1).expect("a session");
    client.surely("create", |client| client.create("/n", b"", 0));
    let links = ensemble.network.links();
    links.heal();
    (0..3).for_each(|index| links.silence(links.second_address(index), &ports));
    ensemble.kill(leader);
    let others: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
    ensemble.wait_leader_of(&others);
    client.surely("set", |client| client.set("/n", b"over the first", -1));
    ensemble.start(leader);
    ensemble.wait_all();
}

#[test]
fn ours_reach_each_other() {
    any_address_will_do("several_addresses", &[Kind::Ours; 3], "");
}

#[test]
fn ours_and_java_reach_each_other() {
    let kinds = [Kind::Ours, Kind::Apache39, Kind::Ours];
    any_address_will_do("several_addresses_mixed", &kinds, "");
}

#[test]
fn datagrams_go_to_all() {
    any_address_will_do("several_addresses_datagrams", &[Kind::Ours; 3], "electionAlg=0\n");
}
