//! Names become addresses on side threads: a resolver may take seconds.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::ConnId;
use crate::ensemble::EventFd;
use crate::pipeline::Wake;

type Resolved = (ConnId, io::Result<Vec<SocketAddr>>);

pub(super) struct Resolver {
    wake: EventFd,
    sender: Sender<Resolved>,
    receiver: Receiver<Resolved>,
}

impl Resolver {
    pub fn new(wake: EventFd) -> Resolver {
        let (sender, receiver) = channel();
        Resolver { wake, sender, receiver }
    }

    /// Literal addresses are answered at once.
    pub fn resolve(&self, id: ConnId, host: &str, port: u16) {
        let sender = self.sender.clone();
        if let Ok(ip) = host.parse::<IpAddr>() {
            // The receiver is in `self`.
            let _ = sender.send((id, Ok(vec![SocketAddr::new(ip, port)])));
            return;
        }
        let (host, wake) = (host.to_owned(), self.wake.clone());
        let run = move || {
            let addresses = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            let error = |error| io::Error::other(format!("cannot resolve {host}: {error}"));
            // Nobody waits any more when the server stops.
            let _ = sender.send((id, addresses.map_err(error)));
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
