//! One seed: two fresh servers, the same steps, the first difference.

use std::time::{Duration, Instant};

use ringkeeper::wire::OpCode;

use super::generator::Generator;
use super::step::{Attach, Request, Step};
use super::values;
use super::world::{SlotState, World};
use crate::support::server::{Kind, Server};
use crate::support::{bodies, say};

/// Connections of a run.
const SLOTS: usize = 4;

/// The reaper of containers and TTL nodes first looks after a minute, by each server's own clock: a run ends
/// before. Sessions live at least as long.
const RUN_TIME: Duration = Duration::from_secs(45);

/// The seeds a text names.
pub fn seeds(text: &str) -> Vec<u64> {
    let number = |t: &str| t.trim().parse::<u64>().unwrap_or_else(|_| panic!("not a seed: {t:?}"));
    text.split(',')
        .flat_map(|part| match part.split_once("..") {
            Some((first, last)) => number(first)..=number(last),
            None => number(part)..=number(part),
        })
        .collect()
}

/// The configuration a seed runs under, beyond the usual.
fn config(seed: u64) -> String {
    format!(
        "minSessionTimeout=60000\nmaxSessionTimeout=120000\n\
         DigestAuthenticationProvider.superDigest={}\n\
         extendedTypesEnabled={}\nenforceQuota={}\nreconfigEnabled={}\n",
        bodies::digest_id("super", "secret"),
        extended_types(seed),
        enforce_quota(seed),
        seed.is_multiple_of(5),
    )
}

fn extended_types(seed: u64) -> bool {
    seed % 2 == 1
}

fn enforce_quota(seed: u64) -> bool {
    seed.is_multiple_of(3)
}

struct Pair {
    reference: World,
    subject: World,
    started: Instant,
    seed: u64,
    at: u64,
}

impl Pair {
    fn new(kind: Kind, seed: u64) -> Pair {
        let start = |kind, role: &str| {
            let mut server = Server::prepare(kind, &format!("oracle-{role}-{seed}"), &config(seed))
                // What is compared is answers; the reference need not wait for its disk.
                .java_flag("-Dzookeeper.forceSync=no");
            server.launch();
            World::new(server, SLOTS)
        };
        let (reference, subject) = (start(Kind::Apache, "reference"), start(kind, "subject"));
        Pair { reference, subject, started: Instant::now(), seed, at: 0 }
    }

    /// Both worlds take the step; a report if they do not answer alike.
    fn take(&mut self, step: &Step) -> Result<(), String> {
        self.at += 1;
        if std::env::var_os("RINGKEEPER_ORACLE_TRACE").is_some() {
            say(&format!("step {}\n{}", self.at, step.describe()));
        }
        let expected = self.reference.run(step);
        let got = self.subject.run(step);
        if expected == got {
            return Ok(());
        }
        let mut report = format!(
            "\noracle: seed {} step {}: different answers\n{}\n",
            self.seed,
            self.at,
            step.describe()
        );
        for line in 0..expected.len().max(got.len()) {
            let (a, b) = (expected.get(line), got.get(line));
            let show = |l: Option<&String>| l.map_or("(nothing)".to_string(), String::clone);
            if a == b {
                report.push_str(&format!("    both      {}\n", show(a)));
            } else {
                report.push_str(&format!("  ! reference {}\n", show(a)));
                report.push_str(&format!("  ! subject   {}\n", show(b)));
            }
        }
        for (role, world) in [("reference", &mut self.reference), ("subject", &mut self.subject)] {
            if !world.server.is_running() {
                report
                    .push_str(&format!("the {role} has ended:\n{}\n", world.server.output_tail()));
            }
        }
        report.push_str(&format!(
            "replay: RINGKEEPER_ORACLE_SEEDS={} RINGKEEPER_ORACLE_STEPS={} \
             cargo test --release --test oracle generated\n",
            self.seed, self.at
        ));
        Err(report)
    }

    fn ask(&mut self, op: OpCode, body: Vec<u8>, text: String) -> Result<(), String> {
        let xid = if op == OpCode::Auth { -4 } else { self.at as i32 };
        let request = Request { xid, op: op.code(), body, text };
        self.take(&Step::Burst { slot: 0, requests: vec![request] })
    }

    /// Reads every node there is, as the super user.
    fn dump(&mut self) -> Result<usize, String> {
        let (timeout_ms, read_only) = (90_000, Some(false));
        let attach = match self.reference.state(0) {
            SlotState::Empty => Attach::New,
            _ => Attach::Resume,
        };
        self.take(&Step::Connect { slot: 0, attach, timeout_ms, read_only })?;
        let auth = bodies::auth(Some(b"digest"), Some(values::SUPER.as_bytes()));
        self.ask(OpCode::Auth, auth, "auth super".into())?;
        let mut todo = vec![b"/".to_vec()];
        let mut nodes = 0;
        while let Some(path) = todo.pop() {
            nodes += 1;
            let shown = path.escape_ascii().to_string();
            self.ask(OpCode::GetData, bodies::path_watch(Some(&path), false), shown.clone())?;
            self.ask(OpCode::GetAcl, bodies::path_only(Some(&path)), shown.clone())?;
            self.ask(OpCode::GetChildren2, bodies::path_watch(Some(&path), false), shown)?;
            for name in self.reference.names.children.clone() {
                let mut child = if path == b"/" { Vec::new() } else { path.clone() };
                child.push(b'/');
                child.extend_from_slice(&name);
                todo.push(child);
            }
        }
        Ok(nodes)
    }

    /// Both servers die and come back: what they said must still be so.
    fn restart(&mut self) {
        for world in [&mut self.reference, &mut self.subject] {
            world.server.kill();
            world.server.launch();
            world.forget_connections();
        }
    }
}

/// Runs one seed; says how far it went, or what differed.
pub fn seed(kind: Kind, seed: u64, steps: u64) -> Result<String, String> {
    say(&format!("oracle: seed {seed}, {steps} steps"));
    let mut pair = Pair::new(kind, seed);
    let mut generator = Generator::new(seed, enforce_quota(seed));
    while pair.at < steps && pair.started.elapsed() < RUN_TIME {
        let step = generator.step(&mut pair.reference, SLOTS);
        pair.take(&step)?;
    }
    let (taken, seconds) = (pair.at, pair.started.elapsed().as_secs());
    let nodes = pair.dump()?;
    pair.restart();
    let again = pair.dump()?;
    let answers = &pair.reference.names.answers;
    if std::env::var_os("RINGKEEPER_ORACLE_TRACE").is_some() {
        say(&format!("answers by (operation, error): {answers:?}"));
    }
    Ok(format!(
        "{taken} of {steps} steps in {seconds} s alike, {} kinds of answers; then {nodes} nodes, \
         {again} after a restart",
        answers.len()
    ))
}
