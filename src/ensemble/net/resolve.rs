//! Names become addresses on side threads: a resolver may take seconds.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::ConnId;
use crate::ensemble::EventFd;
use crate::pipeline::Wake;

/// Side threads at once. A name server that hangs must not collect them without end.
const THREADS_MAX: usize = 32;

type Resolved = (ConnId, io::Result<Vec<SocketAddr>>);

pub(super) struct Resolver {
    wake: EventFd,
    sender: Sender<Resolved>,
    receiver: Receiver<Resolved>,
    /// One reference for each side thread, and one here.
    threads: Arc<()>,
}

impl Resolver {
    pub fn new(wake: EventFd) -> Resolver {
        let (sender, receiver) = channel();
        Resolver { wake, sender, receiver, threads: Arc::default() }
    }

    /// Literal addresses are answered at once. A name that is not found is left out as long as another is.
    pub fn resolve(&self, id: ConnId, hosts: Vec<(String, u16)>) {
        let literal = |(host, port): &(String, u16)| {
            host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, *port))
        };
        // The receiver is in `self`, so sending cannot fail here.
        if let Some(addresses) = hosts.iter().map(literal).collect() {
            let _ = self.sender.send((id, Ok(addresses)));
            return;
        }
        if Arc::strong_count(&self.threads) > THREADS_MAX {
            let error = io::Error::other("too many names are being resolved");
            let _ = self.sender.send((id, Err(error)));
            return;
        }
        let (sender, wake, thread) = (self.sender.clone(), self.wake.clone(), self.threads.clone());
        let run = move || {
            // Nobody waits any more when the server stops.
            let _ = sender.send((id, look_up(&hosts)));
            drop(thread);
            wake.wake();
        };
        if let Err(error) = std::thread::Builder::new().name("resolve".into()).spawn(run) {
            let _ = self.sender.send((id, Err(error)));
        }
    }

    pub fn poll(&self) -> Option<Resolved> {
        self.receiver.try_recv().ok()
    }
}

/// Blocks for as long as the system's resolver does.
fn look_up(hosts: &[(String, u16)]) -> io::Result<Vec<SocketAddr>> {
    let mut found = Vec::new();
    let mut failed = None;
    for (host, port) in hosts {
        match (host.as_str(), *port).to_socket_addrs() {
            Ok(addresses) => found.extend(addresses),
            Err(error) => {
                failed = Some(io::Error::other(format!("cannot resolve {host}: {error}")));
            }
        }
    }
    match failed {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}
