//! What a machine can do to the member of an ensemble that runs on it: a disk that dies, is full or returns other bytes,
//! a clock that jumps, the identity of another member. Others go on, nothing acknowledged is lost, and the member says what is wrong.
//!
//! Disks need root, `mkfs.ext4` and a loop device, clocks libfaketime; each is skipped loudly without.

mod ensemble_support;
mod support;

use std::fs;
use std::path::Path;
use std::sync::MutexGuard;
use std::thread::sleep;
use std::time::Duration;

use ensemble_support::ensemble::{Ensemble, Settings, write_id};
use ensemble_support::kind::{Kind, available};
use ensemble_support::load::{self, Mix};
use ensemble_support::{alone, judge, load_time, seed, wait_for, walk};
use support::disk::Disk;

const OURS: [Kind; 3] = [Kind::Ours; 3];
const DISK_BYTES: u64 = 96 << 20;
/// The exit status of a log that cannot be written (`server/exit_code.rs`).
const LOG_FAILED: Option<i32> = Some(20);

/// Three servers that lead and follow, each with a disk of its own; `None` when there can be none.
fn on_disks(name: &str) -> Option<(Ensemble, Vec<Disk>)> {
    let ensemble = Ensemble::make(name, &OURS, &[], Settings::with("preAllocSize=4096\n"));
    let mut disks = Vec::new();
    for (index, slot) in ensemble.slots.iter().enumerate() {
        match Disk::make(&slot.dir.join("data"), &slot.dir.join("image"), DISK_BYTES) {
            Ok(disk) => disks.push(disk),
            Err(why) => {
                support::skipped(name, &why);
                return None;
            }
        }
        write_id(&slot.dir, index + 1);
        let root = fs::File::open(slot.dir.join("data/myid")).expect("myid");
        root.sync_all().expect("it stays when the disk dies");
        let root = fs::File::open(slot.dir.join("data")).expect("the directory");
        root.sync_all().expect("it stays when the disk dies");
    }
    Some((ensemble, disks))
}

/// What every test here begins with; `None` when its servers cannot be started.
fn may_run(name: &str) -> Option<MutexGuard<'static, ()>> {
    available(&OURS, name).then(alone)
}

/// Starts the servers, lets clients write all the time while `harm` happens, and judges what they saw. Answers how many
/// of their sessions have expired too.
fn under_load(
    name: &str,
    mut ensemble: Ensemble,
    harm: impl FnOnce(&mut Ensemble),
) -> (Ensemble, usize) {
    let mix = Mix::small(seed(name));
    ensemble.start_all();
    ensemble.wait_all();
    let history = load::run(&ensemble.addresses(), &mix, || harm(&mut ensemble));
    let expired = history.expired_sessions;
    judge::all(&ensemble, history, mix.registers, name);
    (ensemble, expired)
}

fn followers(leader: usize) -> Vec<usize> {
    (0..OURS.len()).filter(|index| *index != leader).collect()
}

#[test]
fn a_disk_that_dies() {
    let name = "a_disk_that_dies";
    let Some(_alone) = may_run(name) else { return };
    let Some((ensemble, disks)) = on_disks(name) else { return };
    under_load(name, ensemble, |ensemble| {
        sleep(load_time() / 4);
        for of_the_leader in [true, false] {
            let leader = ensemble.wait_all();
            let victim = if of_the_leader { leader } else { followers(leader)[0] };
            disks[victim].die();
            assert_eq!(ensemble.wait_end(victim), LOG_FAILED, "server {}", victim + 1);
            let said = ensemble.logs(victim);
            assert!(said.contains("cannot write the transaction log"), "the reason is not told");
            ensemble.wait_leader_of(&followers(victim));
            sleep(load_time() / 4);
            disks[victim].revive();
            ensemble.start(victim);
            ensemble.wait_all();
        }
        sleep(load_time() / 4);
    });
}

/// A file that takes all the room there is.
fn fill(disk: &Disk) -> std::path::PathBuf {
    let path = disk.at.join("ballast");
    let mut file = fs::File::create(&path).expect("a file on the disk");
    let zeros = vec![0; 1 << 16];
    while std::io::Write::write_all(&mut file, &zeros).is_ok() {}
    path
}

#[test]
fn a_full_disk() {
    let name = "a_full_disk";
    let Some(_alone) = may_run(name) else { return };
    let Some((ensemble, disks)) = on_disks(name) else { return };
    under_load(name, ensemble, |ensemble| {
        let leader = ensemble.wait_all();
        let victim = followers(leader)[0];
        let ballast = fill(&disks[victim]);
        // What was prepared ahead takes some of it still.
        let mut client = walk::session_at(ensemble.address(leader));
        let value = vec![7; 200_000];
        for number in 0..400 {
            let path = format!("/large{number}");
            client.surely("create", |client| client.create(&path, &value, 0));
            client.surely("delete", |client| client.delete(&path));
            if !ensemble.is_running(victim) {
                break;
            }
        }
        drop(client.close());
        assert_eq!(ensemble.wait_end(victim), LOG_FAILED, "server {}", victim + 1);
        let said = ensemble.logs(victim);
        assert!(said.contains("nearly full"), "not announced");
        assert!(said.contains("no space left"), "the reason is not told");
        ensemble.wait_leader_of(&[leader]);
        fs::remove_file(ballast).expect("the ballast goes");
        ensemble.start(victim);
        ensemble.wait_all();
        sleep(load_time() / 2);
    });
}

/// The log file that a server wrote last, and how many bytes of it are not padding.
fn newest_log(ensemble: &Ensemble, index: usize) -> (std::path::PathBuf, Vec<u8>, usize) {
    let zxid = |name: &String| i64::from_str_radix(&name["log.".len()..], 16).expect("a zxid");
    let newest = ensemble.files(index, "log.").into_iter().max_by_key(zxid).expect("a log");
    let path = ensemble.data_dir(index).join(newest);
    let bytes = fs::read(&path).expect("the log");
    let used = bytes.iter().rposition(|byte| *byte != 0).expect("records") + 1;
    (path, bytes, used)
}

/// The end of a log is torn: its member goes back to where the log still is whole, and gets the rest from the others.
/// A log that is wrong in the middle is history that cannot be trusted: its member says so and does not start, and an
/// empty directory makes it whole again.
#[test]
fn a_log_that_is_torn_or_wrong() {
    let name = "a_log_that_is_torn_or_wrong";
    let Some(_alone) = may_run(name) else { return };
    let ensemble = Ensemble::make(name, &OURS, &[], Settings::default());
    under_load(name, ensemble, |ensemble| {
        sleep(load_time() / 3);
        let victim = followers(ensemble.wait_all())[0];
        ensemble.kill(victim);
        let (path, mut bytes, used) = newest_log(ensemble, victim);
        bytes[used - 9..used].fill(0);
        fs::write(&path, &bytes).expect("the log");
        ensemble.start(victim);
        ensemble.wait_all();
        sleep(load_time() / 3);
        ensemble.kill(victim);
        let (path, mut bytes, used) = newest_log(ensemble, victim);
        bytes[used / 2] ^= 0x55;
        fs::write(&path, &bytes).expect("the log");
        ensemble.start(victim);
        assert_ne!(ensemble.wait_end(victim), Some(0), "it serves what it cannot trust");
        assert!(ensemble.logs(victim).contains("is damaged at offset"), "the reason is not told");
        ensemble.wipe(victim);
        ensemble.start(victim);
        ensemble.wait_all();
        sleep(load_time() / 3);
    });
}

/// Where Debian puts it.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// Waits until the leader's transactions are so many hours from now.
fn wait_until_it_dates(ensemble: &Ensemble, leader: usize, hours: i64) {
    let mut client = walk::session_at(ensemble.address(leader));
    client.surely("create", |client| client.create("/clock", b"", 0));
    let dated = wait_for("the leader's clock to jump", || {
        let stat = client.surely("set", |client| client.set("/clock", b"", -1)).stat();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now_ms = now.expect("after 1970").as_millis() as i64;
        ((stat.mtime - now_ms) / 3_600_000 - hours).abs().le(&1).then_some(())
    });
    dated.unwrap_or_else(|why| panic!("{why}"));
    drop(client.close());
}

/// Wall clocks that jump: no session is lost or kept too long by it, no server leaves.
#[test]
fn clocks_that_jump() {
    let name = "clocks_that_jump";
    let Some(_alone) = may_run(name) else { return };
    if !Path::new(FAKETIME).exists() {
        return support::skipped(name, "libfaketime is not installed");
    }
    let mut ensemble = Ensemble::make(name, &OURS, &[], Settings::default());
    for slot in &mut ensemble.slots {
        let clock = slot.dir.join("clock");
        fs::write(&clock, "+0").expect("a clock");
        let clock = clock.display().to_string();
        let env = [
            ("LD_PRELOAD", FAKETIME),
            ("FAKETIME_TIMESTAMP_FILE", &clock),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_CACHE_DURATION", "1"),
        ];
        slot.env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    }
    let mut leader = 0;
    let (mut ensemble, expired) = under_load(name, ensemble, |ensemble| {
        leader = ensemble.wait_all();
        for (index, jump) in [(leader, "+36h"), (leader, "-36h"), (followers(leader)[0], "+36h")] {
            fs::write(ensemble.slots[index].dir.join("clock"), jump).expect("a clock");
            let hours = if jump == "-36h" { -36 } else { 36 };
            if index == leader {
                wait_until_it_dates(ensemble, leader, hours);
            }
            // A follower's clock shows nowhere; it is looked up once a second.
            sleep(Duration::from_secs(1) + load_time() / 3);
        }
    });
    assert_eq!(ensemble.wait_all(), leader, "nobody had to be elected anew");
    assert_eq!(expired, 0, "sessions were lost");
    // A server that comes back into an ensemble whose clocks have gone on differently.
    let back = followers(leader)[1];
    ensemble.kill(back);
    ensemble.start(back);
    ensemble.wait_all();
    ensemble.kill(leader);
    ensemble.start(leader);
    ensemble.wait_all();
    let wrong = judge::servers(&ensemble);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Somebody copies a data directory with its `myid`: the copy must not take the place of the member, and it says why it
/// does not start.
#[test]
fn the_id_of_another() {
    let name = "the_id_of_another";
    let Some(_alone) = may_run(name) else { return };
    let ensemble = Ensemble::make(name, &OURS, &[], Settings::default());
    under_load(name, ensemble, |ensemble| {
        ensemble.stop(0);
        write_id(&ensemble.slots[0].dir, 2);
        ensemble.start(0);
        assert_ne!(ensemble.wait_end(0), Some(0), "it serves as another");
        let said = ensemble.logs(0);
        assert!(said.contains("in use") && said.contains("22388"), "the reason is not told");
        sleep(load_time() / 2);
        // Of a server that is no member at all.
        write_id(&ensemble.slots[0].dir, 9);
        ensemble.start(0);
        assert_ne!(ensemble.wait_end(0), Some(0), "it serves as nobody");
        assert!(ensemble.logs(0).contains("My id 9"), "the reason is not told");
        write_id(&ensemble.slots[0].dir, 1);
        ensemble.start(0);
        ensemble.wait_all();
    });
}
