//! `clientTcpKeepAlive` and `tcpKeepAlive`: the kernel asks idle connections whether they are still there, if it was
//! told to and not otherwise. Seen in its own list of sockets.

mod ensemble_support;
mod support;

use std::fs;
use std::net::SocketAddrV4;

use ensemble_support::ensemble::{ELECTION_PORT, Ensemble, QUORUM_PORT, Settings};
use ensemble_support::{alone, kind, wait_for};
use support::client::Session;
use support::server::{Kind, Server, available};

/// An established connection, as one of its ends sees it. IPv6 addresses are left out, their ports are not.
#[derive(Debug)]
struct Socket {
    here: SocketAddrV4,
    there: SocketAddrV4,
    /// The kernel's timer of it: 0 is none, 1 repeats what is not acknowledged, 2 keeps it alive.
    timer: u8,
}

const ESTABLISHED: &str = "01";
const KEEPALIVE: u8 = 2;

fn sockets() -> Vec<Socket> {
    let list = ["tcp", "tcp6"].map(|kind| fs::read_to_string(format!("/proc/net/{kind}")));
    let text = list.map(Result::unwrap_or_default).concat();
    text.lines().filter_map(socket).collect()
}

/// A line of the list: number, local and remote address, state, queues, timer.
fn socket(line: &str) -> Option<Socket> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let address = |text: &str| {
        let (ip, port) = text.split_once(':')?;
        // Four bytes of the network, read as a number of this machine.
        let ip = u32::from_str_radix(ip, 16).unwrap_or_default().to_ne_bytes();
        Some(SocketAddrV4::new(ip.into(), u16::from_str_radix(port, 16).ok()?))
    };
    let (here, there) = (address(words.get(1)?)?, address(words.get(2)?)?);
    let timer = words.get(5)?.split(':').next()?.parse().ok()?;
    (words[3] == ESTABLISHED).then_some(Socket { here, there, timer })
}

/// Waits until so many such sockets are there and idle, and answers how many are kept alive.
fn kept_alive(count: usize, wanted: impl Fn(&Socket) -> bool) -> usize {
    let found = wait_for("idle connections", || {
        let found: Vec<Socket> = sockets().into_iter().filter(&wanted).collect();
        let idle = found.iter().all(|socket| matches!(socket.timer, 0 | KEEPALIVE));
        (found.len() == count && idle).then_some(found)
    });
    let found = found.unwrap_or_else(|why| panic!("{why}: {:?}", sockets()));
    found.iter().filter(|socket| socket.timer == KEEPALIVE).count()
}

#[test]
fn connections_of_clients() {
    for kind in [Kind::Apache, Kind::Ours] {
        for (extra, expected) in [("clientTcpKeepAlive=true\n", 1), ("", 0)] {
            if !available(kind, "keepalive_clients") {
                continue;
            }
            let server = Server::start(kind, "keepalive_clients", extra);
            let _session = Session::open(server.port, 40_000).expect("a session");
            let of_a_client = |socket: &Socket| socket.here.port() == server.port;
            assert_eq!(kept_alive(1, of_a_client), expected, "{kind:?} with {extra:?}");
        }
    }
}

/// Apache does it for election connections only; those to a leader end by their own silence either way.
#[test]
fn connections_between_servers() {
    let (name, kinds) = ("keepalive_servers", [kind::Kind::Ours; 3]);
    if !kind::available(&kinds, name) {
        return;
    }
    let _alone = alone();
    for (extra, kept) in [("tcpKeepAlive=true\n", true), ("", false)] {
        let mut ensemble = Ensemble::make(name, &kinds, &[], Settings::with(extra));
        ensemble.start_all();
        ensemble.wait_all();
        // Three pairs vote, two followers follow; each connection has two ends here.
        for (port, ends) in [(ELECTION_PORT, 6), (QUORUM_PORT, 4)] {
            let addresses = [0, 1, 2].map(|n| SocketAddrV4::new(ensemble.network.address(n), port));
            let mine = |socket: &Socket| {
                addresses.contains(&socket.here) || addresses.contains(&socket.there)
            };
            assert_eq!(
                kept_alive(ends, mine),
                if kept { ends } else { 0 },
                "port {port}, {extra:?}"
            );
        }
    }
}
