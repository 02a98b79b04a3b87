//! `multiAddress.enabled`: servers that others know by several addresses, of which not all answer.

mod ensemble_support;
mod support;

use std::fs;
use std::time::Duration;

use ensemble_support::alone;
use ensemble_support::client::EnsembleClient;
use ensemble_support::ensemble::{ELECTION_PORT, Ensemble, QUORUM_PORT, Settings};
use ensemble_support::kind::{Kind, available};

/// Nobody listens there.
const DEAD: &str = "127.255.7.7";

/// The others' first address is a dead one in every server's own view.
fn plant_dead_addresses(ensemble: &Ensemble) {
    for (index, slot) in ensemble.slots.iter().enumerate() {
        let path = slot.dir.join("zoo.cfg");
        let text = fs::read_to_string(&path).expect("zoo.cfg");
        let own = format!("server.{}=", index + 1);
        let dead = format!("={DEAD}:{QUORUM_PORT}:{ELECTION_PORT}|");
        let lines = text.lines().map(|line| match line.starts_with("server.") {
            true if !line.starts_with(&own) => line.replacen('=', &dead, 1),
            _ => line.to_string(),
        });
        let text: Vec<String> = lines.collect();
        fs::write(path, text.join("\n")).expect("zoo.cfg");
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
    plant_dead_addresses(&ensemble);
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
