//! The fuzz targets without a fuzzer: each is compiled here as it stands, and plays its corpus, as it is and spoiled a
//! little, so that a change of the server cannot leave them behind. `fuzz/run` does the searching.

use std::fs;
use std::path::{Path, PathBuf};

use ringkeeper::base::prng::Prng;

/// What stands in for the fuzzer's crate.
extern crate self as libfuzzer_sys;

macro_rules! fuzz_target {
    (|$bytes:ident: &[u8]| $body:block) => {
        pub fn run($bytes: &[u8]) $body
    };
}
pub(crate) use fuzz_target;

/// For each target its module, and a test that plays its corpus.
macro_rules! targets {
    ($($name:ident in $path:literal,)*) => {
        $(
            // They are programs elsewhere, without a `main` of their own.
            #[allow(unused_attributes, unused_imports)]
            #[path = $path]
            mod $name;
        )*

        const TARGETS: &[&str] = &[$(stringify!($name),)*];

        mod plays {
            $(
                #[test]
                fn $name() {
                    super::play(stringify!($name), super::$name::run);
                }
            )*
        }
    };
}

targets! {
    config in "../fuzz/fuzz_targets/config.rs",
    connect in "../fuzz/fuzz_targets/connect.rs",
    connection in "../fuzz/fuzz_targets/connection.rs",
    election in "../fuzz/fuzz_targets/election.rs",
    log in "../fuzz/fuzz_targets/log.rs",
    multi in "../fuzz/fuzz_targets/multi.rs",
    quorum_packet in "../fuzz/fuzz_targets/quorum_packet.rs",
    requests in "../fuzz/fuzz_targets/requests.rs",
    snapshot in "../fuzz/fuzz_targets/snapshot.rs",
    texts in "../fuzz/fuzz_targets/texts.rs",
    txn in "../fuzz/fuzz_targets/txn.rs",
    words in "../fuzz/fuzz_targets/words.rs",
}

/// Spoiled copies of each input.
const COPIES: u64 = 100;

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn spoil(bytes: &mut Vec<u8>, rng: &mut Prng) {
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        let byte = [0, 0xff, rng.next_u64() as u8][rng.below(3) as usize];
        match bytes.get_mut(at) {
            Some(here) if rng.chance(3, 4) => *here = byte,
            Some(_) if rng.chance(1, 2) => bytes.truncate(at),
            _ => bytes.insert(at, byte),
        }
    }
}

/// Says which input it was when a target panics.
struct Named<'a>(&'a Path, &'a [u8]);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("from {}: {:02x?}", self.0.display(), self.1);
        }
    }
}

fn play(name: &str, run: fn(&[u8])) {
    let corpus = fuzz_dir().join("corpus").join(name);
    let mut files: Vec<PathBuf> =
        fs::read_dir(corpus).expect("a corpus").map(|entry| entry.expect("entry").path()).collect();
    files.sort();
    assert!(files.len() >= 3, "{name} has {} inputs", files.len());
    let mut rng = Prng::new(1);
    for file in files {
        let input = fs::read(&file).expect("an input");
        for copy in 0..=COPIES {
            let mut bytes = input.clone();
            if copy > 0 {
                spoil(&mut bytes, &mut rng);
            }
            let _named = Named(&file, &bytes);
            run(&bytes);
        }
    }
}

#[test]
fn every_target_is_played_here_and_run_there() {
    let names = |dir: &str| {
        let entries = fs::read_dir(fuzz_dir().join(dir)).expect("a directory");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").path())
            .map(|path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("fuzz_targets"), TARGETS);
    assert_eq!(names("corpus"), TARGETS);
    let manifest = fs::read_to_string(fuzz_dir().join("Cargo.toml")).expect("a manifest");
    for target in TARGETS {
        assert!(manifest.contains(&format!("name = \"{target}\"\n")), "{target} is not built");
    }
}
