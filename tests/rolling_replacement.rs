//! A running ensemble is replaced server by server while clients write, hold ephemerals and watch; and put back.
//! Nothing acknowledged is lost or done twice, no session is lost, and all trees are the same in the end.

mod ensemble_support;
mod support;

use std::thread::sleep;

use ensemble_support::ensemble::{Ensemble, Settings};
use ensemble_support::kind::{Kind, available};
use ensemble_support::load::{self, Mix};
use ensemble_support::{alone, judge, load_time, seed};
use support::say;

/// Every server in turn becomes one of `kind`, the leader last, as operators do it.
fn replace_all(ensemble: &mut Ensemble, kind: Kind) {
    let leader = ensemble.wait_all();
    let mut order: Vec<usize> = (0..ensemble.len()).filter(|index| *index != leader).collect();
    order.push(leader);
    for index in order {
        ensemble.stop(index);
        ensemble.swap(index, kind);
        ensemble.start(index);
        let leader = ensemble.wait_all();
        let zxid = ensemble.zxid(leader).unwrap_or_default();
        say(&format!("  server {} is {kind:?} now; {} leads, 0x{zxid:x}", index + 1, leader + 1));
        sleep(load_time() / 6);
    }
}

fn rolling(name: &str, from: Kind, to: &[Kind]) {
    if !available(&[&[from], to].concat(), name) {
        return;
    }
    let _alone = alone();
    let seed = seed(name);
    let mut ensemble = Ensemble::make(name, &[from; 3], &[from], Settings::default());
    ensemble.start_all();
    ensemble.wait_all();
    let mix = Mix::small(seed);
    let history = load::run(&ensemble.addresses(), &mix, || {
        sleep(load_time() / 6);
        to.iter().for_each(|kind| replace_all(&mut ensemble, *kind));
    });
    assert_eq!(history.expired_sessions, 0, "{name}: sessions were lost");
    judge::all(&ensemble, history, mix.registers, name);
}

/// Tests the test.
#[test]
fn apache_to_apache() {
    rolling("apache_to_apache", Kind::Apache39, &[Kind::Apache39]);
}

#[test]
fn apache_38_to_apache_39() {
    rolling("apache_38_to_apache_39", Kind::Apache38, &[Kind::Apache39]);
}

#[test]
fn apache_to_ours_and_back() {
    rolling("apache_to_ours_and_back", Kind::Apache39, &[Kind::Ours, Kind::Apache39]);
}

#[test]
fn apache_38_to_ours_and_back() {
    rolling("apache_38_to_ours_and_back", Kind::Apache38, &[Kind::Ours, Kind::Apache38]);
}
