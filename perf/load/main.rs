//! `zkload`: a load program for servers that speak the ZooKeeper client protocol.
//!
//! One thread and one epoll; see `perf/README.md` for what the figures mean. JSON goes to stdout,
//! the same figures for people to stderr.

mod clock;
mod error;
mod fanout;
mod fleet;
mod keys;
mod mix;
mod poll;
mod process;
mod pump;
mod report;
mod run;
mod sessions;

use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use clock::{now_ns, seconds_ns};
use error::{Error, Result};
use fanout::FanOut;
use fleet::Fleet;
use keys::KeySpace;
use mix::{Kind, Mix, Requests};
use report::Object;
use run::Pace;
use sessions::{Idle, Storm};

#[derive(Parser)]
#[command(name = "zkload", version, about = "Loads a ZooKeeper server and measures it")]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Common {
    /// Where the server listens; several, with commas between them, share the connections evenly.
    #[arg(long, default_value = "127.0.0.1:2181", global = true)]
    addr: String,
    /// The server's process id, or several with commas between them: adds the CPU and memory of all
    /// of them to the result.
    #[arg(long, global = true)]
    server_pid: Option<String>,
    /// Session timeout to ask for, in milliseconds.
    #[arg(long, default_value_t = 30_000, global = true)]
    session_timeout_ms: i32,
    /// Bytes of a value, or of a frame when the mix is `echo`.
    #[arg(long, default_value_t = 100, global = true)]
    value_bytes: usize,
}

#[derive(Subcommand)]
enum Command {
    /// Operations against a set of keys (created first), closed loop or at a fixed rate.
    Run(RunArgs),
    /// Creates keys as fast as the server takes them and says what each costs in memory.
    Fill(FillArgs),
    /// Opens sessions that only ping.
    Idle(IdleArgs),
    /// Opens sessions as fast as the server lets us.
    Storm(StormArgs),
    /// Many sessions watch one znode, one session changes it.
    Watch(WatchArgs),
}

#[derive(Args)]
struct KeyArgs {
    /// Number of keys.
    #[arg(long, default_value_t = 1000)]
    keys: u64,
    /// Length of a key's path in bytes; 0 is as short as it gets.
    #[arg(long, default_value_t = 0)]
    path_bytes: usize,
    /// The znode all keys are below.
    #[arg(long, default_value = "/zkload")]
    root: String,
    /// Connections.
    #[arg(short, long, default_value_t = 16)]
    connections: usize,
    /// Requests in flight on each connection.
    #[arg(short = 'w', long, default_value_t = 16)]
    in_flight: usize,
    /// Keys per multi while creating; 1 sends plain creates.
    #[arg(long, default_value_t = 1)]
    batch: u64,
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    keys: KeyArgs,
    /// Kinds with weights: get, set, exists, children, create, sync, ping; or echo alone.
    #[arg(long, default_value = "get=90,set=10")]
    mix: Mix,
    /// Open loop: requests per second over all connections. Latency counts from when a request was
    /// due.
    #[arg(long)]
    rate: Option<f64>,
    /// Seconds before measuring.
    #[arg(long, default_value_t = 2.0)]
    warmup: f64,
    /// Seconds measured.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// The keys are there already.
    #[arg(long)]
    no_create: bool,
}

#[derive(Args)]
struct FillArgs {
    #[command(flatten)]
    keys: KeyArgs,
}

#[derive(Args)]
struct IdleArgs {
    #[arg(long, default_value_t = 10_000)]
    sessions: usize,
    /// Seconds between two pings of one session.
    #[arg(long, default_value_t = 5.0)]
    ping_every: f64,
    /// Seconds of pinging before measuring.
    #[arg(long, default_value_t = 5.0)]
    warmup: f64,
    #[arg(long, default_value_t = 15.0)]
    seconds: f64,
}

#[derive(Args)]
struct StormArgs {
    #[arg(long, default_value_t = 5000)]
    sessions: usize,
    /// Sessions being opened at the same time.
    #[arg(long, default_value_t = 64)]
    at_once: usize,
}

#[derive(Args)]
struct WatchArgs {
    #[arg(long, default_value_t = 1000)]
    watchers: usize,
    /// One persistent watch per session instead of one-shot watches armed again by reading.
    #[arg(long)]
    persistent: bool,
    #[arg(long, default_value_t = 2.0)]
    warmup: f64,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut object = Object::default();
    match dispatch(&cli, &mut object) {
        Ok(()) => {
            object.print();
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("zkload: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: &Cli, object: &mut Object) -> Result<()> {
    poll::tighten_timers();
    let addrs: Vec<SocketAddr> = cli.common.addr.split(',').map(resolve).collect::<Result<_>>()?;
    let pid = cli.common.server_pid.as_deref();
    let session_timeout_ms = cli.common.session_timeout_ms;
    let value = keys::value(cli.common.value_bytes);
    match &cli.command {
        Command::Run(args) => run_keys(&cli.common, &addrs, pid, args, object),
        Command::Fill(args) => fill(&cli.common, &addrs, pid, &args.keys, object),
        Command::Idle(args) => {
            at_least_one(args.sessions, "--sessions")?;
            if args.ping_every <= 0.0 {
                return Err(Error::Usage("--ping-every must be above 0".into()));
            }
            let ping_every_ns = seconds_ns(args.ping_every);
            let measure_ns = seconds_ns(args.seconds);
            let sessions = args.sessions;
            let warmup_ns = seconds_ns(args.warmup);
            let idle =
                Idle { addrs, sessions, session_timeout_ms, ping_every_ns, warmup_ns, measure_ns };
            idle.run(pid, object)
        }
        Command::Storm(args) => {
            at_least_one(args.at_once, "--at-once")?;
            let (sessions, at_once) = (args.sessions, args.at_once);
            Storm { addrs, sessions, at_once, session_timeout_ms }.run(pid, object)
        }
        Command::Watch(args) => {
            at_least_one(args.watchers, "--watchers")?;
            let fan_out = FanOut {
                addrs,
                watchers: args.watchers,
                session_timeout_ms,
                persistent: args.persistent,
                value,
                warmup_ns: seconds_ns(args.warmup),
                measure_ns: seconds_ns(args.seconds),
            };
            fan_out.run(pid, object)
        }
    }
}

fn resolve(text: &str) -> Result<SocketAddr> {
    let bad = || Error::Usage(format!("{text:?} is no IPv4 host:port"));
    let mut found = text.to_socket_addrs().map_err(|_| bad())?;
    found.find(SocketAddr::is_ipv4).ok_or_else(bad)
}

fn at_least_one(count: usize, option: &str) -> Result<()> {
    if count > 0 { Ok(()) } else { Err(Error::Usage(format!("{option} must be at least 1"))) }
}

fn key_space(args: &KeyArgs) -> Result<KeySpace> {
    at_least_one(args.connections, "--connections")?;
    at_least_one(args.in_flight, "--in-flight")?;
    at_least_one(args.keys as usize, "--keys")?;
    if !args.root.starts_with('/') || args.root.ends_with('/') {
        return Err(Error::Usage("--root must be a path such as /zkload".into()));
    }
    Ok(KeySpace { root: args.root.clone(), count: args.keys, path_bytes: args.path_bytes })
}

fn run_keys(
    common: &Common,
    addrs: &[SocketAddr],
    pid: Option<&str>,
    args: &RunArgs,
    object: &mut Object,
) -> Result<()> {
    let space = key_space(&args.keys)?;
    if args.rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
        return Err(Error::Usage("--rate must be above 0".into()));
    }
    let echo = args.mix.contains(Kind::Echo);
    let timeout_ms = (!echo).then_some(common.session_timeout_ms);
    let mut fleet = Fleet::assemble(addrs, args.keys.connections, timeout_ms)?;
    let value = keys::value(common.value_bytes);
    if !echo && !args.no_create {
        create_keys_of(&mut fleet, &args.keys, &space, &value)?;
    }
    let mut requests = Requests::new(args.mix.clone(), space, value);
    let pace = Pace {
        in_flight: args.keys.in_flight,
        rate: args.rate,
        warmup_ns: seconds_ns(args.warmup),
        measure_ns: seconds_ns(args.seconds).max(1),
    };
    object.integer("connections", args.keys.connections as u64);
    object.integer("in_flight", args.keys.in_flight as u64);
    object.text("loop", if args.rate.is_some() { "open" } else { "closed" });
    run::run(&mut fleet, &mut requests, &pace, pid, object)?;
    if echo { Ok(()) } else { fleet.close_sessions() }
}

fn create_keys_of(fleet: &mut Fleet, args: &KeyArgs, space: &KeySpace, value: &[u8]) -> Result<()> {
    pump::create_keys(fleet, space, value, args.in_flight.max(32), args.batch)
}

fn fill(
    common: &Common,
    addrs: &[SocketAddr],
    pid: Option<&str>,
    args: &KeyArgs,
    object: &mut Object,
) -> Result<()> {
    let space = key_space(args)?;
    let mut fleet = Fleet::assemble(addrs, args.connections, Some(common.session_timeout_ms))?;
    let (before, client_before) = run::readings(pid)?;
    let start_ns = now_ns();
    create_keys_of(&mut fleet, args, &space, &keys::value(common.value_bytes))?;
    let seconds = (now_ns() - start_ns) as f64 / 1e9;
    let (after, client_after) = run::readings(pid)?;
    object.integer("keys", args.keys);
    object.number("seconds", seconds);
    object.number("ops_per_second", args.keys as f64 / seconds);
    if pid.is_some() {
        object.usage("server", before, after, seconds, args.keys);
        object.integer("server_rss_before_bytes", before.rss_bytes);
        let grown = after.rss_bytes as f64 - before.rss_bytes as f64;
        object.number("rss_bytes_per_znode", grown / args.keys as f64);
    }
    object.usage("client", client_before, client_after, seconds, args.keys);
    fleet.close_sessions()
}
