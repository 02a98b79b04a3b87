//! Answers to four-letter words, byte for byte those of the reference (admin-and-metrics 1 to 3).
//!
//! Called by the core that owns the connection, once per word; the answer is sent whole and the
//! connection closed. What `crst`, `srst` and `stmk` do to the server is the caller's part, and
//! comes before the answer.

mod lists;
mod mntr;
pub mod report;

use std::fmt::Write as _;

use crate::admin::java_format;
use crate::wire::four_letter::FourLetterWord;

use report::{ConfReport, Environment, Mode, ServerReport};

/// The words a client may use (`4lw.commands.whitelist`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Whitelist {
    all: bool,
    words: Vec<String>,
}

impl Whitelist {
    /// `items` as configured; `*` anywhere allows all. `srvr` is always allowed, and `isro` where
    /// clients may meet a read-only server and must be able to tell.
    pub fn new(items: &[String], read_only_mode: bool) -> Whitelist {
        let mut words: Vec<String> = items.iter().map(|item| item.trim().to_owned()).collect();
        words.push("srvr".to_owned());
        if read_only_mode {
            words.push("isro".to_owned());
        }
        Whitelist { all: words.iter().any(|word| word == "*"), words }
    }

    pub fn allows(&self, word: FourLetterWord) -> bool {
        self.all || self.words.iter().any(|allowed| allowed == word.as_str())
    }
}

/// A word as it came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    pub word: FourLetterWord,
    /// The eight bytes after `stmk`; to be read when [`Request::reads_mask`] says so, `None` if
    /// they never came.
    pub trace_mask: Option<i64>,
}

impl Request {
    pub fn of(word: FourLetterWord) -> Request {
        Request { word, trace_mask: None }
    }

    /// Whether eight more bytes belong to this word.
    pub fn reads_mask(word: FourLetterWord, whitelist: &Whitelist) -> bool {
        word == FourLetterWord::Stmk && whitelist.allows(word)
    }
}

const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// The bytes to send before closing; empty when the connection is to be closed without an answer.
pub fn answer(
    request: Request,
    report: &ServerReport,
    conf: &ConfReport,
    whitelist: &Whitelist,
) -> Vec<u8> {
    use FourLetterWord as W;
    let word = request.word;
    if !whitelist.allows(word) {
        let name = word.as_str();
        return format!("{name} is not executed because it is not in the whitelist.\n")
            .into_bytes();
    }
    let text = match word {
        W::Ruok => "imok".to_owned(),
        W::Envi => envi(&report.version, &report.environment),
        W::Gtmk => report.trace_mask.to_string(),
        W::Stmk => request.trace_mask.map_or(String::new(), |mask| mask.to_string()),
        W::TelnetClose => String::new(),
        W::Isro if !report.serving => "null".to_owned(),
        W::Hash if !report.serving => NOT_SERVING.to_owned(),
        _ if !report.serving => format!("{NOT_SERVING}\n"),
        W::Isro => if report.mode == Mode::ReadOnly { "ro" } else { "rw" }.to_owned(),
        W::Hash => lists::hash(&report.digests),
        W::Conf => self::conf(conf, report),
        W::Cons => lists::cons(&report.connections),
        W::Crst => "Connection stats reset.\n".to_owned(),
        W::Srst => "Server stats reset.\n".to_owned(),
        W::Dirs => format!(
            "datadir_size: {}\nlogdir_size: {}\n",
            report.data_dir_bytes, report.log_dir_bytes
        ),
        W::Dump => lists::dump(report),
        W::Mntr => mntr::mntr(report),
        W::Srvr => srvr(report, false),
        W::Stat => srvr(report, true),
        W::Wchs => lists::wchs(&report.watches),
        W::Wchc => lists::wchc(&report.watches),
        W::Wchp => lists::wchp(&report.watches),
    };
    text.into_bytes()
}

fn srvr(report: &ServerReport, with_clients: bool) -> String {
    let mut out = format!("Zookeeper version: {}\n", report.version);
    if report.mode == Mode::ReadOnly {
        out.push_str("READ-ONLY mode; serving only read-only clients\n");
    }
    if with_clients {
        out.push_str("Clients:\n");
        for connection in &report.connections {
            lists::connection(&mut out, connection, true);
        }
        out.push('\n');
    }
    let latency = &report.latency;
    let avg = java_format::double(java_format::rounded(latency.avg_ms));
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "Latency min/avg/max: {}/{avg}/{}\nReceived: {}\nSent: {}\nConnections: {}\n\
         Outstanding: {}\nZxid: {}\nMode: {}\nNode count: {}\n",
        latency.min_ms,
        latency.max_ms,
        report.packets_received,
        report.packets_sent,
        report.connection_count,
        report.outstanding,
        report.last_zxid,
        report.mode.as_str(),
        report.node_count
    );
    if report.mode == Mode::Leader {
        let sizes = report.proposal_sizes;
        let (last, min, max) = (sizes.last, sizes.min, sizes.max);
        let _ = writeln!(out, "Proposal sizes last/min/max: {last}/{min}/{max}");
    }
    out
}

fn conf(conf: &ConfReport, report: &ServerReport) -> String {
    let rows = [
        ("clientPort", conf.client_port.to_string()),
        ("secureClientPort", conf.secure_client_port.to_string()),
        ("dataDir", conf.data_dir.clone()),
        ("dataDirSize", report.data_dir_bytes.to_string()),
        ("dataLogDir", conf.data_log_dir.clone()),
        ("dataLogSize", report.log_dir_bytes.to_string()),
        ("tickTime", conf.tick_time_ms.to_string()),
        ("maxClientCnxns", conf.cnxns_per_ip_max.to_string()),
        ("minSessionTimeout", conf.session_timeout_ms_min.to_string()),
        ("maxSessionTimeout", conf.session_timeout_ms_max.to_string()),
        ("clientPortListenBacklog", conf.listen_backlog.to_string()),
        ("serverId", conf.server_id.to_string()),
    ];
    let mut out: String = rows.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    if let Some(quorum) = &conf.quorum {
        let _ = write!(
            out,
            "initLimit={}\nsyncLimit={}\nelectionAlg={}\nelectionPort={}\nquorumPort={}\n\
             peerType={}\n",
            quorum.init_limit_ticks,
            quorum.sync_limit_ticks,
            quorum.election_alg,
            quorum.election_port,
            quorum.quorum_port,
            i32::from(quorum.observer)
        );
        // A read-only server knows no members that count.
        let membership = quorum.membership.as_ref().filter(|_| report.mode != Mode::ReadOnly);
        if let Some(membership) = membership {
            // The blank after the colon and the missing newline at the end are the reference's.
            let _ = write!(out, "membership: \n{membership}");
        }
    }
    out
}

/// The rows of `envi` and of the admin server's `environment`.
pub fn environment_rows(version: &str, env: &Environment) -> Vec<(&'static str, String)> {
    const NOT_A_JVM: &str = "<NA>";
    let known = |text: &str| if text.is_empty() { NOT_A_JVM } else { text }.to_owned();
    vec![
        ("zookeeper.version", version.to_owned()),
        ("host.name", known(&env.host_name)),
        ("java.version", NOT_A_JVM.to_owned()),
        ("java.vendor", NOT_A_JVM.to_owned()),
        ("java.home", NOT_A_JVM.to_owned()),
        ("java.class.path", NOT_A_JVM.to_owned()),
        ("java.library.path", NOT_A_JVM.to_owned()),
        ("java.io.tmpdir", known(&env.temp_dir)),
        ("java.compiler", NOT_A_JVM.to_owned()),
        ("os.name", known(&env.os_name)),
        ("os.arch", known(&env.os_arch)),
        ("os.version", known(&env.os_version)),
        ("user.name", known(&env.user_name)),
        ("user.home", known(&env.user_home)),
        ("user.dir", known(&env.user_dir)),
        ("os.memory.free", format!("{}MB", env.memory_free_mb)),
        ("os.memory.max", format!("{}MB", env.memory_max_mb)),
        ("os.memory.total", format!("{}MB", env.memory_total_mb)),
    ]
}

fn envi(version: &str, env: &Environment) -> String {
    let rows = environment_rows(version, env);
    let mut out = "Environment:\n".to_owned();
    for (key, value) in rows {
        let _ = writeln!(out, "{key}={value}");
    }
    out
}

#[cfg(test)]
mod tests;
