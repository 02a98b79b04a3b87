//! `electionAlg=0` for real: three servers that vote by datagrams.

mod ensemble_support;
mod support;

use std::time::Duration;

use ensemble_support::client::EnsembleClient;
use ensemble_support::ensemble::{Ensemble, Settings, ask};
use ensemble_support::kind::{Kind, available};
use ensemble_support::{alone, wait_for};

/// Lines of all logs so far that speak of the election's choice.
fn warnings(ensemble: &Ensemble, index: usize) -> usize {
    ensemble.logs(index).lines().filter(|line| line.contains("electionAlg=")).count()
}

#[test]
fn leaders_are_elected_by_datagrams() {
    let name = "election_by_datagrams";
    if !available(&[Kind::Ours], name) {
        return;
    }
    let _alone = alone();
    let settings = Settings::with("electionAlg=0\n");
    let mut ensemble = Ensemble::make(name, &[Kind::Ours; 3], &[Kind::Ours], settings);
    ensemble.start_all();
    let mut leader = ensemble.wait_all();
    let timeout = Duration::from_secs(30);
    let mut client = EnsembleClient::open(&ensemble.addresses(), timeout, 1).expect("a session");
    client.surely("create", |client| client.create("/n", b"", 0));
    for round in 0..3 {
        ensemble.kill(leader);
        let others: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
        let next = ensemble.wait_leader_of(&others);
        let data = [b'0' + round];
        client.surely("set", |client| client.set("/n", &data, -1));
        ensemble.start(leader);
        assert_eq!(ensemble.wait_all(), next, "who comes back must follow");
        let read = client.surely("sync and get", |client| {
            client.sync("/n")?;
            client.get("/n", false)
        });
        assert_eq!(read.data().0, data);
        leader = next;
    }
    for index in 0..ensemble.len() {
        assert!(ask(ensemble.address(index), "conf").contains("electionAlg=0\n"));
        // One line for each start, and nobody listens for notifications.
        let starts = ensemble.logs(index).matches(" starting").count();
        assert_eq!(warnings(&ensemble, index), starts, "server {}", index + 1);
        let election = (ensemble.network.address(index), ensemble_support::ensemble::ELECTION_PORT);
        assert!(std::net::TcpStream::connect(election).is_err());
    }
}

/// All servers at once are stopped and come back with what they had.
#[test]
fn all_come_back_and_the_replaced_ones_run_the_fast_election() {
    let name = "election_all_come_back";
    if !available(&[Kind::Ours], name) {
        return;
    }
    let _alone = alone();
    for (alg, runs) in [(0, 0), (1, 3), (2, 3)] {
        let settings = Settings::with(&format!("electionAlg={alg}\n"));
        let mut ensemble = Ensemble::make(name, &[Kind::Ours; 3], &[], settings);
        ensemble.start_all();
        ensemble.wait_all();
        let timeout = Duration::from_secs(30);
        let mut client = EnsembleClient::open(&ensemble.addresses(), timeout, 1).expect("opens");
        client.surely("create", |client| client.create("/kept", b"", 0));
        (0..3).for_each(|index| ensemble.kill(index));
        ensemble.start_all();
        ensemble.wait_all();
        let there = wait_for("the node", || client.exists("/kept").ok()).expect("an answer");
        assert!(there, "electionAlg={alg}");
        let conf = ask(ensemble.address(0), "conf");
        assert!(conf.contains(&format!("electionAlg={runs}\n")), "{conf}");
        assert_eq!(warnings(&ensemble, 0), 2, "one line for each start");
    }
}
