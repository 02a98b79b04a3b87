//! Three servers in real processes, harmed in every way that can be arranged, while clients write and record; then
//! every judge looks at what they recorded.
//!
//! - `RINGKEEPER_FAULTS_SUBJECT`: `ours`, `apache`, `apache38` or `mixed` (two of ours, one Apache). By default
//!   this server if it forms ensembles, else Apache, which tests the test.
//!
//! What cuts links needs root, iproute2 and nftables, and is skipped loudly without them.

mod ensemble_support;
mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::Duration;

use ensemble_support::checkers::linearizable::{self, State};
use ensemble_support::checkers::{acknowledged, trees};
use ensemble_support::client::{EnsembleClient, Trouble};
use ensemble_support::ensemble::{ELECTION_PORT, Ensemble, QUORUM_PORT, Settings};
use ensemble_support::history::{CreateOutcome, Created, RegisterOp, Timed};
use ensemble_support::kind::{Kind, available};
use ensemble_support::load::{self, Mix};
use ensemble_support::network::namespaces_available;
use ensemble_support::{alone, judge, load_time, seed, walk};
use ringkeeper::base::prng::Prng;

fn subject() -> [Kind; 3] {
    use Kind::{Apache38, Apache39, Ours};
    static OURS: OnceLock<bool> = OnceLock::new();
    let ours = || *OURS.get_or_init(|| available(&[Ours], "the faults with this server"));
    match std::env::var("RINGKEEPER_FAULTS_SUBJECT").as_deref() {
        Ok("ours") => [Ours; 3],
        Ok("apache") => [Apache39; 3],
        Ok("apache38") => [Apache38; 3],
        Ok("mixed") => [Ours, Apache39, Ours],
        Ok(other) => panic!("RINGKEEPER_FAULTS_SUBJECT={other}: no such subject"),
        Err(_) if ours() => [Ours; 3],
        Err(_) => [Apache39; 3],
    }
}

/// A load on three servers, each on loopback, while `harm` is done to them.
fn on_loopback(name: &str, settings: Settings, harm: impl FnOnce(&mut Ensemble, &mut Prng)) {
    let kinds = subject();
    if !available(&kinds, name) {
        return;
    }
    let _alone = alone();
    let mut ensemble = Ensemble::make(name, &kinds, &[], settings);
    under_load(name, &mut ensemble, true, harm);
}

/// The same, each in a network namespace.
fn apart(name: &str, harm: impl FnOnce(&mut Ensemble, &mut Prng)) {
    let kinds = subject();
    if !available(&kinds, name) || !namespaces_available(name) {
        return;
    }
    let _alone = alone();
    let mut ensemble = Ensemble::make_apart(name, &kinds, &[], Settings::hasty());
    under_load(name, &mut ensemble, false, harm);
}

fn under_load(
    name: &str,
    ensemble: &mut Ensemble,
    trust_sync: bool,
    harm: impl FnOnce(&mut Ensemble, &mut Prng),
) {
    let seed = seed(name);
    let mut rng = Prng::new(seed);
    ensemble.start_all();
    ensemble.wait_all();
    let mix = Mix { trust_sync, ..Mix::small(seed) };
    let history = load::run(&ensemble.addresses(), &mix, || {
        sleep(load_time() / 4);
        harm(ensemble, &mut rng);
        ensemble.wait_all();
        sleep(load_time() / 4);
    });
    judge::all(ensemble, history, mix.registers, name);
}

fn a_follower(ensemble: &mut Ensemble) -> usize {
    let leader = ensemble.wait_all();
    (0..ensemble.len()).find(|index| *index != leader).expect("more than one server")
}

#[test]
fn killed_leader() {
    on_loopback("killed_leader", Settings::default(), |ensemble, rng| {
        for _ in 0..2 {
            let leader = ensemble.wait_all();
            ensemble.kill(leader);
            let others: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
            ensemble.wait_leader_of(&others);
            sleep(Duration::from_millis(rng.below(1500)));
            ensemble.start(leader);
        }
    });
}

#[test]
fn killed_follower() {
    on_loopback("killed_follower", Settings::with("snapCount=200\n"), |ensemble, rng| {
        for _ in 0..2 {
            let follower = a_follower(ensemble);
            ensemble.kill(follower);
            sleep(Duration::from_millis(rng.below(2000)));
            ensemble.start(follower);
        }
    });
}

#[test]
fn all_killed_at_once() {
    on_loopback("all_killed_at_once", Settings::default(), |ensemble, _| {
        (0..3).for_each(|index| ensemble.kill(index));
        ensemble.start_all();
    });
}

#[test]
fn paused_leader() {
    on_loopback("paused_leader", Settings::hasty(), |ensemble, rng| {
        let leader = ensemble.wait_all();
        ensemble.pause(leader);
        let others: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
        ensemble.wait_leader_of(&others);
        sleep(Duration::from_millis(rng.below(1500)));
        ensemble.resume(leader);
    });
}

#[test]
fn paused_follower() {
    on_loopback("paused_follower", Settings::hasty(), |ensemble, rng| {
        // Once shorter than the limit of the leader's patience, once longer.
        for pause_ms in [rng.below(2000), 4000 + rng.below(1000)] {
            let follower = a_follower(ensemble);
            ensemble.pause(follower);
            sleep(Duration::from_millis(pause_ms));
            ensemble.resume(follower);
        }
    });
}

#[test]
fn wiped_follower() {
    on_loopback("wiped_follower", Settings::default(), |ensemble, _| {
        let follower = a_follower(ensemble);
        ensemble.kill(follower);
        ensemble.wipe(follower);
        ensemble.start(follower);
    });
}

/// What no peer would say, on ports where only peers are expected; and connections that say nothing.
fn disturb(ensemble: &Ensemble, rng: &mut Prng) -> Vec<TcpStream> {
    let mut kept = Vec::new();
    for index in 0..ensemble.len() {
        for port in [QUORUM_PORT, ELECTION_PORT] {
            let address = SocketAddr::from((ensemble.network.address(index), port));
            for kind in 0..5u64 {
                let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1))
                else {
                    // Only a leader listens on the quorum port.
                    continue;
                };
                let bytes: Vec<u8> = match kind {
                    0 => (0..rng.below(3000)).map(|_| rng.next_u64() as u8).collect(),
                    // Lengths that are huge or negative, where a length may be expected.
                    1 => vec![0x7f; 64],
                    2 => vec![0xff; 64],
                    // The beginning of what a peer says: protocol version, then nothing.
                    3 => vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00],
                    _ => Vec::new(),
                };
                let _ = stream.write_all(&bytes);
                if kind > 2 {
                    kept.push(stream);
                }
            }
        }
    }
    kept
}

#[test]
fn garbage_on_peer_ports() {
    on_loopback("garbage_on_peer_ports", Settings::hasty(), |ensemble, rng| {
        let mut kept = disturb(ensemble, rng);
        sleep(Duration::from_secs(1));
        // And while there is an election.
        let leader = ensemble.wait_all();
        ensemble.kill(leader);
        kept.extend(disturb(ensemble, rng));
        ensemble.start(leader);
        ensemble.wait_all();
        kept.extend(disturb(ensemble, rng));
        sleep(Duration::from_secs(1));
    });
}

#[test]
fn isolated_leader() {
    apart("isolated_leader", |ensemble, _| {
        let leader = ensemble.wait_all();
        ensemble.network.links().isolate(leader);
        let others: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
        ensemble.wait_leader_of(&others);
        sleep(load_time() / 2);
        ensemble.network.links().heal();
    });
}

#[test]
fn deaf_leader() {
    apart("deaf_leader", |ensemble, _| {
        let leader = ensemble.wait_all();
        let others: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
        for other in &others {
            ensemble.network.links().cut(*other, leader);
        }
        ensemble.wait_leader_of(&others);
        sleep(load_time() / 2);
        ensemble.network.links().heal();
    });
}

#[test]
fn mute_leader() {
    apart("mute_leader", |ensemble, _| {
        let leader = ensemble.wait_all();
        let others: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
        for other in &others {
            ensemble.network.links().cut(leader, *other);
        }
        ensemble.wait_leader_of(&others);
        sleep(load_time() / 2);
        ensemble.network.links().heal();
    });
}

#[test]
fn followers_that_do_not_hear_each_other() {
    apart("followers_that_do_not_hear_each_other", |ensemble, _| {
        let leader = ensemble.wait_all();
        let others: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
        ensemble.network.links().cut_both(others[0], others[1]);
        sleep(load_time());
        ensemble.network.links().heal();
    });
}

#[test]
fn flapping_links() {
    apart("flapping_links", |ensemble, rng| {
        let rounds = 2 + load_time().as_secs() / 3;
        for _ in 0..rounds {
            let one = rng.below(3) as usize;
            let other = (one + 1 + rng.below(2) as usize) % 3;
            match rng.below(3) {
                0 => ensemble.network.links().cut(one, other),
                1 => ensemble.network.links().cut_both(one, other),
                _ => ensemble.network.links().isolate(one),
            }
            sleep(Duration::from_millis(200 + rng.below(4000)));
            ensemble.network.links().heal();
            sleep(Duration::from_millis(rng.below(1500)));
        }
    });
}

#[test]
fn pulled_cable() {
    apart("pulled_cable", |ensemble, _| {
        let leader = ensemble.wait_all();
        ensemble.network.links().cable(leader, false);
        let others: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
        ensemble.wait_leader_of(&others);
        ensemble.network.links().cable(leader, true);
    });
}

#[test]
fn slow_leader() {
    apart("slow_leader", |ensemble, _| {
        let leader = ensemble.wait_all();
        ensemble.network.links().slow(leader, 200);
        sleep(load_time());
        ensemble.network.links().slow(leader, 0);
    });
}

#[test]
fn a_minority_acknowledges_no_write() {
    let kinds = subject();
    let name = "a_minority_acknowledges_no_write";
    if !available(&kinds, name) || !namespaces_available(name) {
        return;
    }
    let _alone = alone();
    let mut ensemble = Ensemble::make_apart(name, &kinds, &[], Settings::hasty());
    ensemble.start_all();
    let leader = ensemble.wait_all();
    let at = [ensemble.address(leader)];
    let mut client = EnsembleClient::open(&at, Duration::from_secs(6), 0).expect("a session");
    client.surely("create", |client| client.create("/before", b"", 0));
    ensemble.network.links().isolate(leader);
    let answer = client.create("/after", b"", 0);
    assert!(matches!(answer, Err(Trouble::Unknown)), "a minority answered {answer:?}");
    let others: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
    ensemble.wait_leader_of(&others);
    ensemble.network.links().heal();
    ensemble.wait_all();
    let wrong = judge::servers(&ensemble);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The judges must catch a server that answers from an old copy: one member is made to forget the others, and
/// serves alone what it had. Always with Apache, whose behaviour is known.
#[test]
fn a_server_with_an_old_copy_is_caught() {
    let name = "a_server_with_an_old_copy_is_caught";
    if !available(&[Kind::Apache39], name) {
        return;
    }
    let _alone = alone();
    let mut ensemble = Ensemble::make(name, &[Kind::Apache39; 3], &[], Settings::default());
    ensemble.start_all();
    ensemble.wait_all();
    let majority = [ensemble.address(1), ensemble.address(2)];
    let timeout = Duration::from_secs(20);
    let mut client = EnsembleClient::open(&majority, timeout, 0).expect("a session");
    client.surely("create", |client| client.create("/sequence", b"", 0));
    client.surely("create", |client| client.create("/r", b"0", 0));
    drop(walk::session_at(ensemble.address(0)).close());
    ensemble.stop(0);
    ensemble.plant_standalone(0);
    client.surely("set", |client| client.set("/r", b"1", -1));
    let made = client.surely("create", |client| client.create("/sequence/n-", b"1.1", 2));
    ensemble.start(0);
    assert_eq!(ensemble.wait_serving(0), "standalone");
    let mut reader = walk::session_at(ensemble.address(0));
    let (data, stat) = reader.surely("get", |reader| reader.get("/r", false)).data();
    assert_eq!(data, b"0", "the planted server has an old copy");
    let history = [
        Timed { client: 1, call: 0, ret: 1, op: RegisterOp::Set { value: 1, version: 1 } },
        Timed {
            client: 2,
            call: 2,
            ret: 3,
            op: RegisterOp::Read { value: 0, version: stat.version },
        },
    ];
    assert!(linearizable::check(State { value: 0, version: 0 }, &history).is_err());
    let outcome = CreateOutcome::Acknowledged(made.path());
    let attempt = Created { client: 1, token: "1.1".into(), outcome };
    assert!(walk::children(&mut reader, "/sequence").is_empty());
    assert!(!acknowledged::check(&[attempt], &[]).is_empty());
    let mut other = walk::session_at(ensemble.address(1));
    let found = [
        ("the old copy".to_string(), walk::tree(&mut reader)),
        ("the ensemble".to_string(), walk::tree(&mut other)),
    ];
    assert!(!trees::check(&found).is_empty(), "trees that differ were taken for the same");
}
