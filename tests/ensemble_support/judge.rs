//! Calls every judge on what clients recorded and on what the servers hold in the end.

use super::checkers::linearizable::State;
use super::checkers::{
    acknowledged, digests, ephemerals, linearizable, session_order, trees, watch_order,
};
use super::client::EnsembleClient;
use super::ensemble::{Ensemble, ask};
use super::history::{History, RegisterOp, Sighting, Timed};
use super::walk;
use super::{PATIENCE, wait_for};
use crate::support::{bodies, say};
use ringkeeper::wire::OpCode;
use std::time::{Duration, Instant};

/// Writes in quiet before digests are compared: servers note one at every 128th zxid.
const QUIET_WRITES: usize = 150;

/// Whether a line of a log says that a digest is another than the leader's. Apache's learners say so by mistake
/// while they replay what a snapshot already held, so it counts only in quiet.
fn tells_mismatch(line: &str) -> bool {
    let line = line.to_lowercase();
    line.contains("digest") && (line.contains("mismatch") || line.contains("not matching"))
}

/// Judges what can be judged without the servers.
pub fn history(history: &History, registers: usize) -> Vec<String> {
    let mut wrong = session_order::check(&history.seen);
    for register in 0..registers {
        let ops: Vec<Timed<RegisterOp>> = history
            .registers
            .iter()
            .filter(|(of, _)| *of == register)
            .map(|(_, timed)| timed.clone())
            .collect();
        let initial = State { value: 0, version: 0 };
        if let Err(why) = linearizable::check(initial, &ops) {
            wrong.push(format!("register {register}: {why}"));
        }
    }
    for (session, heard) in &history.watched {
        wrong.extend(watch_order::check(*session, heard));
    }
    wrong.extend(ephemerals::check(&history.lives, &history.sightings));
    wrong
}

/// Children of `/sequence` with their data.
fn sequence(client: &mut EnsembleClient) -> Vec<(String, String)> {
    let names = walk::children(client, "/sequence");
    let mut found = Vec::new();
    for name in names {
        let path = format!("/sequence/{name}");
        let body = bodies::path_watch(Some(path.as_bytes()), false);
        let answer = client.surely("getData", |client| client.call(OpCode::GetData, &body));
        assert_eq!(answer.err, 0, "a child of /sequence vanished");
        found.push((path, String::from_utf8_lossy(&answer.data().0).into_owned()));
    }
    found
}

/// Waits until ephemerals of the load are gone, and notes what is left.
fn last_sightings(client: &mut EnsembleClient, history: &mut History) {
    let left = wait_for("ephemerals to go", || {
        let left = walk::children(client, "/ephemerals");
        left.is_empty().then_some(())
    });
    if left.is_ok() {
        return;
    }
    for name in walk::children(client, "/ephemerals") {
        let path = format!("/ephemerals/{name}");
        let (call, ret) = (u64::MAX - 1, u64::MAX - 1);
        history.sightings.push(Sighting { path, call, ret, there: true, last: true });
    }
}

/// Waits until all servers have applied the same zxid.
fn settle(ensemble: &Ensemble) -> Vec<String> {
    let running: Vec<usize> =
        (0..ensemble.len()).filter(|index| ensemble.mode(*index).is_some()).collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let zxids: Vec<Option<i64>> = running.iter().map(|index| ensemble.zxid(*index)).collect();
        if zxids.iter().all(|zxid| zxid.is_some() && *zxid == zxids[0]) {
            return Vec::new();
        }
        if Instant::now() > deadline {
            return vec![format!("servers do not come to the same zxid: {zxids:x?}")];
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What servers say about themselves: complaints and digests during some writes in quiet, and whole trees.
pub fn servers(ensemble: &Ensemble) -> Vec<String> {
    let running: Vec<usize> =
        (0..ensemble.len()).filter(|index| ensemble.mode(*index).is_some()).collect();
    let name = |index: &usize| format!("server {} ({:?})", index + 1, ensemble.slots[*index].kind);
    let mut wrong = settle(ensemble);
    let mut clients: Vec<EnsembleClient> =
        running.iter().map(|index| walk::session_at(ensemble.address(*index))).collect();
    let logged: Vec<usize> = running.iter().map(|index| ensemble.logs(*index).len()).collect();
    // Before it, Apache's learners have noted digests of trees that were still being put right.
    let quiet_from = running.iter().filter_map(|index| ensemble.zxid(*index)).max().unwrap_or(0);
    clients[0].surely("create", |client| client.create("/quiet", b"", 0));
    for _ in 0..QUIET_WRITES {
        clients[0].surely("set", |client| client.set("/quiet", b"", -1));
    }
    let mut found = Vec::new();
    for (index, client) in running.iter().zip(&mut clients) {
        client.surely("sync", |client| client.sync("/"));
        found.push((name(index), walk::tree(client)));
    }
    wrong.extend(trees::check(&found));
    let mut by_server = Vec::new();
    for index in &running {
        match digests::parse(&ask(ensemble.address(*index), "hash")) {
            Ok(mut digests) => {
                digests.retain(|zxid, _| *zxid > quiet_from);
                if digests.is_empty() {
                    wrong.push(format!("{}: no digest at all", name(index)));
                }
                by_server.push((name(index), digests));
            }
            Err(why) => wrong.push(format!("{}: {why}", name(index))),
        }
    }
    wrong.extend(digests::check(&by_server));
    for (index, before) in running.iter().zip(logged) {
        let logs = ensemble.logs(*index);
        let new = String::from_utf8_lossy(&logs.as_bytes()[before..]).into_owned();
        let complaints = new.lines().filter(|line| tells_mismatch(line));
        wrong.extend(complaints.take(3).map(|line| format!("{}: {line}", name(index))));
    }
    clients.iter_mut().for_each(|client| drop(client.close()));
    wrong.extend(settle(ensemble));
    wrong
}

/// Everything together; fails the test with all that is wrong.
pub fn all(ensemble: &Ensemble, mut recorded: History, registers: usize, what: &str) {
    let servers_now = ensemble.addresses();
    let mut client = EnsembleClient::open(&servers_now, Duration::from_secs(20), 0)
        .unwrap_or_else(|trouble| panic!("no session after the load: {trouble:?}"));
    client.surely("sync", |client| client.sync("/"));
    last_sightings(&mut client, &mut recorded);
    let mut wrong = history(&recorded, registers);
    wrong.extend(acknowledged::check(&recorded.created, &sequence(&mut client)));
    let _ = client.close();
    wrong.extend(servers(ensemble));
    say(&format!(
        "{what}: {} writes acknowledged, {} answers in order, {} reconnects, {} expired",
        recorded.acknowledged(),
        recorded.seen.len(),
        recorded.reconnects,
        recorded.expired_sessions
    ));
    let told: Vec<&String> = wrong.iter().take(30).collect();
    assert!(wrong.is_empty(), "{what}: {} things are wrong:\n{told:#?}", wrong.len());
    assert!(recorded.acknowledged() > 0, "{what}: a load without any write proves nothing");
}
