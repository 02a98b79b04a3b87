//! Where the servers of an ensemble live: loopback addresses, or network namespaces whose links can be cut.
//!
//! A namespace has one link to a bridge; the test's clients sit on the bridge. Cuts are nftables rules in the
//! namespace of whoever is not to hear, so one direction can be cut without the other.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support;

/// Addresses of an ensemble.
pub enum Network {
    /// 127.a.b.1 and up.
    Loopback([u8; 3]),
    Namespaces(Namespaces),
}

/// One namespace for each server, all on one bridge. Removed when dropped.
pub struct Namespaces {
    serial: u32,
    subnet: [u8; 3],
    count: usize,
}

/// Numbers that no other test of this machine uses at the moment.
fn serial() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    (std::process::id() * 8 + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000
}

fn run(words: &[&str]) -> Result<(), String> {
    let output = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{words:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{words:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

fn must(words: &[&str]) {
    run(words).unwrap_or_else(|why| panic!("{why}"));
}

/// Whether namespaces can be made here; says so when not.
pub fn namespaces_available(test: &str) -> bool {
    let name = format!("rkprobe{}", std::process::id());
    let made = run(&["ip", "netns", "add", &name])
        .and_then(|()| run(&["ip", "netns", "exec", &name, "nft", "add", "table", "inet", "cut"]));
    let _ = run(&["ip", "netns", "del", &name]);
    if let Err(why) = &made {
        let why = format!("network namespaces need root, iproute2 and nftables: {why}");
        support::skipped(test, &why);
    }
    made.is_ok()
}

impl Network {
    pub fn loopback() -> Network {
        let serial = serial();
        // 127.0.0.x stays what everybody expects it to be.
        Network::Loopback([127, 100 + (serial / 250) as u8, 1 + (serial % 250) as u8])
    }

    pub fn namespaces(count: usize) -> Network {
        Network::Namespaces(Namespaces::make(count))
    }

    /// The address of slot `index`.
    pub fn address(&self, index: usize) -> Ipv4Addr {
        let [a, b, c] = match self {
            Network::Loopback(prefix) => *prefix,
            Network::Namespaces(namespaces) => namespaces.subnet,
        };
        Ipv4Addr::new(a, b, c, index as u8 + 1)
    }

    /// What goes before the command of slot `index`.
    pub fn prefix(&self, index: usize) -> Vec<String> {
        match self {
            Network::Loopback(_) => Vec::new(),
            Network::Namespaces(spaces) => {
                ["ip", "netns", "exec", &spaces.name(index)].map(String::from).to_vec()
            }
        }
    }

    /// The namespaces, where a test cuts links.
    pub fn links(&self) -> &Namespaces {
        match self {
            Network::Namespaces(namespaces) => namespaces,
            Network::Loopback(_) => panic!("this ensemble has no links to cut"),
        }
    }
}

impl Namespaces {
    fn make(count: usize) -> Namespaces {
        let serial = serial();
        let subnet = [10, 200 + (serial / 250) as u8, (serial % 250) as u8];
        let spaces = Namespaces { serial, subnet, count };
        let [a, b, c] = subnet;
        let bridge = spaces.bridge();
        must(&["ip", "link", "add", &bridge, "type", "bridge"]);
        must(&["ip", "addr", "add", &format!("{a}.{b}.{c}.254/24"), "dev", &bridge]);
        must(&["ip", "link", "set", &bridge, "up"]);
        for index in 0..count {
            let (name, outer) = (spaces.name(index), spaces.outer(index));
            must(&["ip", "netns", "add", &name]);
            must(&[
                "ip", "link", "add", &outer, "type", "veth", "peer", "name", "eth0", "netns", &name,
            ]);
            must(&["ip", "link", "set", &outer, "master", &bridge, "up"]);
            let address = format!("{a}.{b}.{c}.{}/24", index + 1);
            spaces.inside(index, &["ip", "addr", "add", &address, "dev", "eth0"]);
            spaces.inside(index, &["ip", "link", "set", "eth0", "up"]);
            spaces.inside(index, &["ip", "link", "set", "lo", "up"]);
            spaces.inside(index, &["nft", "add", "table", "inet", "cut"]);
            let hook = "{ type filter hook input priority 0 ; }";
            spaces.inside(index, &["nft", "add", "chain", "inet", "cut", "in", hook]);
        }
        spaces
    }

    fn bridge(&self) -> String {
        format!("rkbr{}", self.serial)
    }

    fn name(&self, index: usize) -> String {
        format!("rkns{}-{index}", self.serial)
    }

    fn outer(&self, index: usize) -> String {
        format!("rkve{}-{index}", self.serial)
    }

    fn inside(&self, index: usize, words: &[&str]) {
        let name = self.name(index);
        let mut all = vec!["ip", "netns", "exec", name.as_str()];
        all.extend_from_slice(words);
        must(&all);
    }

    fn deafen(&self, to: usize, last_byte: usize) {
        let [a, b, c] = self.subnet;
        let from = format!("{a}.{b}.{c}.{last_byte}");
        self.inside(to, &["nft", "add", "rule", "inet", "cut", "in", "ip", "saddr", &from, "drop"]);
    }

    /// `to` no longer hears `from`.
    pub fn cut(&self, from: usize, to: usize) {
        self.deafen(to, from + 1);
    }

    /// Neither of the two hears the other.
    pub fn cut_both(&self, one: usize, other: usize) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// `index` hears no other server; its clients still reach it.
    pub fn isolate(&self, index: usize) {
        for other in (0..self.count).filter(|other| *other != index) {
            self.cut_both(index, other);
        }
    }

    /// Clients no longer reach `index`.
    pub fn cut_clients(&self, index: usize) {
        self.deafen(index, 254);
    }

    /// A second address of `index`.
    pub fn second_address(&self, index: usize) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, index as u8 + 101)
    }

    /// Gives everybody the second address.
    pub fn add_second_addresses(&self) {
        for index in 0..self.count {
            let address = format!("{}/24", self.second_address(index));
            self.inside(index, &["ip", "addr", "add", &address, "dev", "eth0"]);
        }
    }

    /// Nobody reaches these ports of an address any more, nor hears from them: packets are dropped without a word.
    pub fn silence(&self, address: Ipv4Addr, ports: &[u16]) {
        let address = address.to_string();
        for (index, port) in (0..self.count).flat_map(|index| ports.iter().map(move |p| (index, p)))
        {
            let port = port.to_string();
            let add = ["nft", "add", "rule", "inet", "cut", "in", "ip"];
            for words in [
                ["daddr", &address, "tcp", "dport", &port, "drop"],
                ["saddr", &address, "tcp", "sport", &port, "drop"],
            ] {
                self.inside(index, &[&add[..], &words].concat());
            }
        }
    }

    /// Everybody hears everybody.
    pub fn heal(&self) {
        for index in 0..self.count {
            self.inside(index, &["nft", "flush", "chain", "inet", "cut", "in"]);
        }
    }

    /// The cable of `index`, pulled or put back: the link itself goes down.
    pub fn cable(&self, index: usize, there: bool) {
        let state = if there { "up" } else { "down" };
        must(&["ip", "link", "set", &self.outer(index), state]);
    }

    /// Limits what `index` sends to `kbit` per second; 0 lifts the limit.
    pub fn slow(&self, index: usize, kbit: u32) {
        if kbit == 0 {
            self.inside(index, &["tc", "qdisc", "del", "dev", "eth0", "root"]);
            return;
        }
        let rate = format!("{kbit}kbit");
        self.inside(
            index,
            &[
                "tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", &rate, "burst",
                "4kb", "latency", "2s",
            ],
        );
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for index in 0..self.count {
            let _ = run(&["ip", "link", "del", &self.outer(index)]);
            let _ = run(&["ip", "netns", "del", &self.name(index)]);
        }
        let _ = run(&["ip", "link", "del", &self.bridge()]);
    }
}
