//! The configuration as a whole: the errors and warnings of the reference (configuration 14, 15),
//! in files on disk.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::config::{Config, Loaded};
use super::config_auth::AuthProvider;
use super::config_error::ConfigError;
use super::config_keys::{self, Class, KEYS, TLS_CLIENT_KEYS, TLS_KEYS};
use super::config_reader::Reader;
use super::jvm_flags::{Env, JvmFlags};
use super::properties::Properties;
use super::unserved;
use crate::base::prng::Prng;

/// A directory with a `zoo.cfg`; `$D` in the text stands for it.
struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new(text: &str) -> Site {
        let site = Site { dir: tempfile::tempdir().expect("temp dir") };
        site.write("zoo.cfg", text);
        site
    }

    fn write(&self, name: &str, text: &str) {
        let text = text.replace("$D", &self.dir.path().display().to_string());
        std::fs::write(self.dir.path().join(name), text).expect("written");
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("zoo.cfg")
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        self.load_with(&Env::default())
    }

    fn load_with(&self, env: &Env) -> Result<Loaded, ConfigError> {
        Config::load(&self.file(), env)
    }
}

/// Settings that are read and do nothing, the line that must say so, and whether only a member has it. With nothing
/// set nothing is said.
const WITHOUT_EFFECT: &[(&str, &str, bool)] = &[
    ("request_throttle_stall_time=50", "request_throttle_stall_time", false),
    (
        "request_throttle_max_requests=9\nrequest_throttle_drop_stale=false",
        "request_throttle_drop_stale=false",
        false,
    ),
    (
        "request_throttle_max_requests=9\nrequest_stale_connection_check=false",
        "request_stale_connection_check=false",
        false,
    ),
    ("throttled_op_wait_time=5", "throttled_op_wait_time", false),
    ("audit.enable=true", "audit.enable", false),
    ("client.portUnification=true", "client.portUnification (TLS)", false),
    ("java.security.auth.login.config=/j", "java.security.auth.login.config (SASL)", false),
    ("quorum.auth.enableSasl=true", "quorum.auth.enableSasl", false),
    ("reconfigEnabled=true", "reconfigEnabled", true),
    ("observerMasterPort=2191", "observerMasterPort", true),
    ("oraclePath=/o", "oraclePath", true),
    ("readonlymode.enabled=true", "readonlymode.enabled without localSessionsEnabled", true),
];

#[test]
fn what_has_no_effect_is_said_in_one_line() {
    let said = |member: bool, tail: &str| {
        let others = if member { THREE } else { "" };
        let site = Site::new(&format!("{BASE}{others}{tail}\n"));
        site.write("myid", "1");
        unserved::warnings(&site.load().expect(tail).config)
    };
    assert_eq!((said(false, ""), said(true, "")), (vec![], vec![]));
    for (text, start, of_members) in WITHOUT_EFFECT {
        let lines = said(true, text);
        assert!(lines.len() == 1 && lines[0].starts_with(start), "{text}: {lines:?}");
        assert!(!lines[0].contains('\n'), "{text}: {lines:?}");
        assert_eq!(said(false, text), if *of_members { vec![] } else { lines }, "{text}");
    }
    let eager = "enableEagerACLCheck=true";
    assert!(said(false, eager)[0].starts_with("enableEagerACLCheck is set and has no effect"));
    assert!(said(true, eager).is_empty());
}

const BASE: &str = "dataDir=$D\nclientPort=2181\n";
const THREE: &str = "initLimit=10\nsyncLimit=5\nserver.1=h:2888:3888\nserver.2=i:2888:3888\n\
                     server.3=j:2888:3888\n";

fn load(tail: &str) -> Loaded {
    Site::new(&format!("{BASE}{tail}")).load().expect(tail)
}

fn error(text: &str) -> String {
    Site::new(text).load().expect_err(text).to_string()
}

#[test]
fn a_minimal_file_gets_the_references_defaults() {
    let config = load("").config;
    assert_eq!(config.tick_time_ms, 3000);
    assert_eq!((config.session_timeout_ms_min, config.session_timeout_ms_max), (6000, 60_000));
    assert_eq!(config.client_address.expect("port").to_string(), "0.0.0.0:2181");
    assert_eq!(config.data_log_dir, config.data_dir);
    assert_eq!(config.clients.cnxns_per_ip_max, 60);
    assert_eq!(config.clients.four_letter_whitelist, ["srvr"]);
    assert_eq!(config.storage.snap_count, 100_000);
    assert!(config.storage.force_sync && !config.auth.skip_acl && config.admin.enabled);
    assert!(config.ensemble.is_none() && config.unknown.is_empty());
    assert_eq!(config.profile.flush_delay_us, 0);
}

#[test]
fn every_key_that_promises_to_work_is_read_by_something() {
    let site = Site::new(BASE);
    let bytes = std::fs::read(site.file()).expect("readable");
    let properties = Properties::parse(&bytes).expect("valid");
    let flags = JvmFlags::default();
    let mut reader = Reader::new("zoo.cfg", &properties, &flags);
    let asked = super::config::asked_keys(&mut reader);
    // Families and files are read entry by entry, not by asking.
    let elsewhere: BTreeSet<&str> = BTreeSet::from(["server.*", "group.*", "weight.*"]);
    let mut expected: Vec<String> = KEYS
        .iter()
        .filter(|spec| matches!(spec.class, Class::Works | Class::Own))
        .map(|spec| spec.name.to_owned())
        .collect();
    let works = |spec: &&config_keys::KeySpec| spec.class == Class::Works;
    for spec in TLS_KEYS.iter().filter(works) {
        expected.push(format!("ssl.{}", spec.name));
        expected.push(format!("ssl.quorum.{}", spec.name));
    }
    expected.extend(TLS_CLIENT_KEYS.iter().filter(works).map(|s| format!("ssl.{}", s.name)));
    for key in expected {
        assert!(asked.contains(&key) || elsewhere.contains(key.as_str()), "{key} is never read");
    }
}

#[test]
fn every_ignored_key_gets_exactly_one_warning() {
    for spec in KEYS.iter().filter(|spec| spec.class == Class::Ignored) {
        let warnings = load(&format!("{}=1\n", spec.name)).warnings;
        let named: Vec<&String> = warnings.iter().filter(|w| w.contains(spec.name)).collect();
        assert_eq!(named.len(), 1, "{}: {named:?}", spec.name);
        assert!(named[0].contains("zoo.cfg:3") && named[0].contains("no meaning"), "{named:?}");
    }
}

#[test]
fn errors_1_to_13() {
    let missing = Config::load(&PathBuf::from("/no/zoo.cfg"), &Env::default());
    let missing = missing.expect_err("missing").to_string();
    assert!(missing.contains("Error processing /no/zoo.cfg"), "{missing}");
    assert!(missing.contains("/no/zoo.cfg file is missing"), "{missing}");
    let cases = [
        ("clientPort=2181", "dataDir is not set"),
        ("dataDir=$D\ntickTime=0", "tickTime is not set"),
        (
            "dataDir=$D\nminSessionTimeout=9\nmaxSessionTimeout=8",
            "minSessionTimeout must not be larger than maxSessionTimeout",
        ),
        ("dataDir=$D\ntickTime=-5", "minSessionTimeout must not be larger than maxSessionTimeout"),
        (
            "dataDir=$D\nclientPortAddress=127.0.0.1",
            "clientPortAddress is set but clientPort is not set",
        ),
        (
            "dataDir=$D\nsecureClientPortAddress=127.0.0.1",
            "secureClientPortAddress is set but secureClientPort is not set",
        ),
        ("dataDir=$D\nclientPort=1\nclientPortAddress=no.such.host.invalid", "not known"),
        ("dataDir=$D\ntickTime=abc", "zoo.cfg:2: tickTime=abc: For input string: \"abc\""),
        ("dataDir=$D\nmaxClientCnxns=60 # x", "For input string: \"60 # x\""),
        ("dataDir=$D\ntickTime=", "For input string: \"\""),
        (
            "dataDir=$D\nreconfigEnabled=yes",
            "Invalid option yes for reconfigEnabled. Choose 'true' or 'false.'",
        ),
        ("dataDir=$D\nclientPort=65536", "port out of range:65536"),
        ("dataDir=$D\nclientPort=-1", "port out of range:-1"),
        ("dataDir=$D\nelectionAlg=4", "Invalid electionAlg value. Only 3 is supported."),
        ("dataDir=$D\nelectionAlg=-1", "Invalid electionAlg value. Only 3 is supported."),
        ("dataDir=$D\npeerType=boss", "Unrecognised peertype: boss"),
        ("dataDir=$D\nmetricsProvider.className=x.Y", "metrics provider class was not found"),
    ];
    for (text, expected) in cases {
        let error = error(text);
        assert!(error.contains(expected), "{text:?}: {error}");
    }
    let error = error(&format!("{BASE}{}", THREE.replace("initLimit=10\nsyncLimit=5\n", "")));
    assert!(error.contains("initLimit is not set") && error.contains("syncLimit is not set"));
}

#[test]
fn the_older_elections_are_named_once() {
    for (alg, says) in [
        ("0", Some("Apache ZooKeeper 3.6 and later cannot take part")),
        ("1", Some("electionAlg=1 was replaced by FastLeaderElection")),
        ("2", Some("electionAlg=2 was replaced by FastLeaderElection")),
        ("3", None),
    ] {
        let site = Site::new(&format!("{BASE}electionAlg={alg}\n"));
        let loaded = site.load().expect(alg);
        assert_eq!(loaded.config.peers.election_alg.to_string(), alg);
        let lines: Vec<_> =
            loaded.warnings.iter().filter(|line| line.contains("electionAlg")).collect();
        assert_eq!(lines.len(), usize::from(says.is_some()), "{lines:?}");
        assert!(says.is_none_or(|says| lines[0].contains(says)), "{lines:?}");
    }
}

#[test]
fn errors_14_and_15_myid() {
    let site = Site::new(&format!("{BASE}{THREE}"));
    assert!(site.load().expect_err("no myid").to_string().contains("myid file is missing"));
    for (text, shown) in [(" 1", " 1"), ("1 \n", "1 "), ("1\t\n", "1\t"), ("", "null"), ("x", "x")]
    {
        site.write("myid", text);
        let error = site.load().expect_err(text).to_string();
        assert!(error.contains(&format!("serverid {shown} is not a number")), "{text:?}: {error}");
    }
    for text in ["2", "2\n", "2\r\n", "2\n2\n"] {
        site.write("myid", text);
        let ensemble = site.load().expect(text).config.ensemble.expect("ensemble");
        assert_eq!((ensemble.my_id, ensemble.quorum.servers.len()), (2, 3), "{text:?}");
    }
}

#[test]
fn errors_16_to_19() {
    let cases = [
        (
            "standaloneEnabled=false",
            "standaloneEnabled = false then number of participants should be >0",
        ),
        ("server.1=h:1:2:observer", "Observers w/o participants is an invalid configuration"),
        (
            "server.1=h:1:2\nserver.2=i:1:2:observer",
            "Observers w/o quorum is an invalid configuration",
        ),
        (
            "quorum.auth.learnerRequireSasl=true",
            "quorum.auth.enableSasl is disabled, so cannot enable quorum.auth.learnerRequireSasl",
        ),
        (
            "quorum.auth.enableSasl=true\nquorum.auth.serverRequireSasl=true",
            "quorum.auth.learnerRequireSasl is disabled, so cannot enable \
             quorum.auth.serverRequireSasl",
        ),
    ];
    for (tail, expected) in cases {
        let error = error(&format!("{BASE}{tail}"));
        assert!(error.contains(expected), "{tail:?}: {error}");
    }
}

#[test]
fn errors_20_to_26() {
    let dynamic = "initLimit=1\nsyncLimit=1\ndynamicConfigFile=$D/zoo.cfg.dynamic.1f";
    let site = Site::new(&format!("{BASE}{dynamic}"));
    site.write("myid", "1");
    let missing = site.load().expect_err("no file").to_string();
    assert!(missing.contains("zoo.cfg:5: dynamicConfigFile="), "{missing}");
    site.write("zoo.cfg.dynamic.1f", "server.1=h:1:2\ntickTime=1\nversion=1");
    let error = site.load().expect_err("bad file").to_string();
    assert!(
        error.contains("dynamic.1f:2: tickTime=1: Unrecognised parameter: tickTime"),
        "{error}"
    );
    assert!(error.contains("dynamic file shouldn't have version inside"), "{error}");
    site.write("zoo.cfg", &format!("{BASE}{dynamic}\nserver.1=h:1:2"));
    let error = site.load().expect_err("both").to_string();
    assert!(error.contains("parameter: server.1 must be in a separate dynamic config file"));
    let in_file = |tail: &str| self::error(&format!("{BASE}{tail}"));
    assert!(in_file("server.1=h:1").contains("h:1 does not have the form"));
    assert!(in_file(&format!("{THREE}group.1=1:2")).contains("Server 3is not in a group"));
    assert!(
        in_file("secureClientPort=1\nssl.authProvider=foo")
            .contains("No auth provider configured for the SSL authentication scheme 'foo'.")
    );
    assert!(in_file("enforce.auth.enabled=true").contains("must be  configured."));
    let scheme = "enforce.auth.enabled=true\nenforce.auth.schemes=digest,odd";
    assert!(in_file(scheme).contains("Authentication scheme odd is not available."));
    assert!(in_file("ssl.context.supplier.class=x").contains("Java class"));
}

#[test]
fn error_25_client_addresses_must_agree() {
    let server = "server.1=h:1:2;127.0.0.1:2182\nserver.2=i:1:2\nserver.3=j:1:2\n\
                  initLimit=1\nsyncLimit=1\n";
    let site = Site::new(&format!("{BASE}{server}"));
    site.write("myid", "1");
    let error = site.load().expect_err("ports differ").to_string();
    assert!(
        error.contains(
            "client address for this server (id = 1) in static config file is 0.0.0.0:2181 is \
             different from client address found in dynamic file: 127.0.0.1:2182"
        ),
        "{error}"
    );
    site.write("zoo.cfg", &format!("dataDir=$D\n{server}"));
    let config = site.load().expect("one place").config;
    assert_eq!(config.client_address.expect("listed").to_string(), "127.0.0.1:2182");
    // A static address is not shown to the others.
    site.write("myid", "2");
    site.write("zoo.cfg", &format!("{BASE}{server}"));
    let ensemble = site.load().expect("static").config.ensemble.expect("ensemble");
    let shown = ensemble.quorum.to_config_text();
    assert!(shown.contains("server.2=i:1:2:participant\n"), "{shown}");
    assert!(ensemble.quorum.servers[&2].client_address.is_some());
}

#[test]
fn error_27_arguments() {
    let args = |args: &[&str]| args.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let env = Env::default();
    for bad in [&[][..], &["2181"], &["1", "2", "3", "4", "5"]] {
        let error = Config::positional(&args(bad), &env).expect_err("refused").to_string();
        let expected = format!("Invalid number of arguments:[{}]", bad.join(", "));
        assert!(error.contains(&expected), "{error}");
    }
    let config = Config::positional(&args(&["2181", "/d"]), &env).expect("two").config;
    assert_eq!((config.clients.cnxns_per_ip_max, config.tick_time_ms), (0, 3000));
    let four = Config::positional(&args(&["2181", "/d", "500", "7"]), &env).expect("four").config;
    assert_eq!((four.clients.cnxns_per_ip_max, four.tick_time_ms), (7, 500));
    assert_eq!(four.session_timeout_ms_max, 10_000);
}

#[test]
fn the_embedded_server_is_on_loopback() {
    let config = Config::embedded(&Env::default()).expect("valid").config;
    assert_eq!(config.client_address.expect("port").to_string(), "127.0.0.1:2181");
    assert_eq!((config.data_dir, config.tick_time_ms), (PathBuf::from("./data"), 2000));
}

#[test]
fn the_docker_images_file_serves_the_port_of_its_server_line() {
    let site = Site::new("dataDir=$D\nstandaloneEnabled=true\nserver.1=localhost:2888:3888;2181\n");
    assert_eq!(site.load().expect("no myid").config.client_address, None);
    site.write("myid", "1");
    let loaded = site.load().expect("myid");
    assert_eq!(loaded.config.client_address.expect("port").port(), 2181);
    assert!(loaded.config.ensemble.is_none() && loaded.config.my_id == Some(1));
    assert!(loaded.warnings.iter().any(|w| w.contains("only one server specified (ignoring)")));
}

#[test]
fn warnings_of_the_reference() {
    let warned = |tail: &str, expected: &str| {
        let warnings = load(tail).warnings;
        assert!(warnings.iter().any(|w| w.contains(expected)), "{tail}: {warnings:?}");
    };
    warned("", "maxCnxns is not configured, using default value 0.");
    warned("", "running in standalone mode");
    warned("autopurge.snapRetainCount=1", "Invalid autopurge.snapRetainCount: 1. Defaulting to 3");
    warned("commitLogCount=9", "less than the recommended 500");
    warned("snapCount=1", "SnapCount should be 2 or more. Now, snapCount is reset to 2");
    warned("dataLogDir=logs", "logs is relative. Prepend ./ to indicate that you're sure!");
    warned("authProvider.1=com.example.Mine", "Problems loading com.example.Mine");
    warned("forceSync=no", "forceSync=no");
    warned("skipACL=true", "has no effect");
    warned("tickTiem=3", "tickTiem is not a known key; did you mean tickTime?");
    warned("zookeeper.snapCount=1000", "Apache ZooKeeper ignores zookeeper.snapCount");
    warned("connectionMaxTokens=5", "taken as connection_throttle_tokens");
    warned("jute.maxbuffer=4194304", "only as a JVM flag");
    let site = Site::new(&format!("{BASE}{THREE}server.4=k:1:2\npeerType=observer\n"));
    site.write("myid", "1");
    let warnings = site.load().expect("four").warnings.join("\n");
    assert!(warnings.contains("Non-optimal configuration, consider an odd number of servers."));
    assert!(warnings.contains(
        "Peer type from servers list (PARTICIPANT) doesn't match peerType (OBSERVER). Defaulting \
         to servers list."
    ));
}

#[test]
fn a_dynamic_file_gives_members_and_version() {
    let site = Site::new(&format!(
        "{BASE}initLimit=1\nsyncLimit=1\ndynamicConfigFile=$D/zoo.cfg.dynamic.100000002\n"
    ));
    site.write("myid", "2");
    site.write("zoo.cfg.dynamic.100000002", "server.1=h:1:2;2181\nserver.2=i:1:2:observer\n");
    // One voter and an observer are a standalone configuration, which cannot have observers.
    assert!(site.load().expect_err("observer").to_string().contains("Observers w/o quorum"));
    site.write(
        "zoo.cfg.dynamic.100000002",
        "server.1=h:1:2;2181\nserver.2=i:1:2:observer\nserver.3=j:1:2",
    );
    site.write("zoo.cfg.dynamic.next", "server.1=h:1:2\nversion=100000009");
    let ensemble = site.load().expect("valid").config.ensemble.expect("ensemble");
    assert_eq!(ensemble.quorum.version, 0x1_0000_0002);
    assert_eq!(ensemble.peer_type.to_string(), "observer");
    assert_eq!(ensemble.next.expect("next").version, 0x1_0000_0009);
    site.write("zoo.cfg.dynamic.next", "server.1=h");
    let loaded = site.load().expect("broken next is no error");
    assert!(loaded.warnings.iter().any(|w| w.contains("NextQuorumVerifier")));
}

#[test]
fn own_keys_are_strict() {
    let error = error(&format!("{BASE}ringkeeper.client.core=2"));
    assert!(error.contains("zoo.cfg:3: ringkeeper.client.core=2: unknown key"), "{error}");
    assert!(error.contains("allowed: ringkeeper.client.cores"), "{error}");
    let profile = load("ringkeeper.profile=small\nmaxBatchSize=50\n").config.profile;
    assert_eq!((profile.client_cores, profile.flush_batch_max), (1, 50));
}

#[test]
fn flags_are_below_the_file_and_agents_are_named() {
    let env = Env::of(&[(
        "JVMFLAGS",
        "-Xmx1g -Dzookeeper.snapCount=7 -Dzookeeper.preAllocSize=9 -Djute.maxbuffer=2000 \
         -Dzookeeper.tickTime=5 -Dzookeeper.kinit=k -Dzookeeper.snapCont=1 -Duser.home=/x",
    )]);
    let loaded = Site::new(&format!("{BASE}snapCount=8")).load_with(&env).expect("valid");
    let config = loaded.config;
    assert_eq!((config.storage.snap_count, config.storage.pre_alloc_kib), (8, 9));
    assert_eq!((config.clients.jute_maxbuffer, config.tick_time_ms), (2000, 3000));
    let warnings = loaded.warnings.join("\n");
    for part in [
        "-Xmx1g",
        "-Dzookeeper.tickTime has no effect",
        "kinit has no meaning",
        "did you mean snapCount",
    ] {
        assert!(warnings.contains(part), "{part}: {warnings}");
    }
    assert!(!warnings.contains("user.home"), "{warnings}");
}

#[test]
fn providers_are_known_by_their_apache_names() {
    let config = load(
        "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n\
         superUser.2=bob\nsuperUser=alice\n",
    )
    .config;
    assert_eq!(config.auth_providers.schemes, [("sasl".to_owned(), AuthProvider::Sasl)]);
    assert_eq!(config.auth_providers.super_users, ["bob"]);
    assert_eq!(config.auth.sasl_super_user.as_deref(), Some("alice"));
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let error = error("dataDir=$D\ntickTime=x\nclientPort=y\nsyncEnabled=z\nsnapCount=w\n");
    for key in ["tickTime=x", "clientPort=y", "syncEnabled=z", "snapCount=w"] {
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn random_files_never_panic() {
    let mut prng = Prng::new(5);
    let pick =
        |prng: &mut Prng, from: &[&str]| from[prng.below(from.len() as u64) as usize].to_owned();
    let values =
        ["", "1", "-1", "0", "abc", "true", "h:1:2", "99999999999999999999", "\\u00", "::1"];
    let names: Vec<&str> = KEYS
        .iter()
        .map(|spec| spec.name)
        .filter(|name| *name != "clientPortAddress" && *name != "secureClientPortAddress")
        .chain(["server.1", "server.", "group.1", "group", "weight.x", "ssl.clientAuth", ""])
        .collect();
    let site = Site::new("");
    for _ in 0..300 {
        let mut bytes = Vec::new();
        for _ in 0..prng.below(12) {
            let line = match prng.below(4) {
                0 => (0..prng.below(30)).map(|_| prng.next_u64() as u8).collect(),
                _ => {
                    let name = pick(&mut prng, &names);
                    let value = pick(&mut prng, &values);
                    format!("{name}={value}\n").into_bytes()
                }
            };
            bytes.extend(line);
        }
        std::fs::write(site.file(), &bytes).expect("written");
        let _ = site.load();
    }
}

/// Milliseconds after which an election connection that acknowledges nothing is given up.
#[test]
fn addresses_are_checked_where_there_may_be_several() {
    let timeout_ms = |text: &str| {
        let site = Site::new(&format!("dataDir=$D\nclientPort=2181\n{text}"));
        let config = site.load().expect("valid").config;
        super::members::unacknowledged_vote_timeout(&config.peers).as_millis()
    };
    const CHECK: &str = "multiAddress.reachabilityCheckTimeoutMs";
    let several = format!("multiAddress.enabled=true\n{CHECK}=300\n");
    assert_eq!(timeout_ms(""), 5000, "cnxTimeout");
    assert_eq!(timeout_ms(&format!("cnxTimeout=700\n{CHECK}=300\n")), 700);
    assert_eq!(timeout_ms("multiAddress.enabled=true\n"), 1000);
    assert_eq!(timeout_ms(&several), 300);
    assert_eq!(timeout_ms(&format!("{several}cnxTimeout=200\n")), 200);
    assert_eq!(timeout_ms(&format!("{several}{CHECK}=0\n")), 1);
    let unchecked = "multiAddress.reachabilityCheckEnabled=false\n";
    assert_eq!(timeout_ms(&format!("{several}{unchecked}")), 5000);
}
