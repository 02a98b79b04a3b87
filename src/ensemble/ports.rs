//! The election and the quorum port: who listens where, which connection is which server's.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::net::{ConnId, ListenerId, Net, NetEvent};
use crate::base::{MonoMs, Sid};
use crate::peer::LinkId;
use crate::zab::links::{DIALLED, LinkConn, LinkEffect, Links};

/// Where a member is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberAddress {
    /// Host and port of each.
    pub quorum: Vec<(String, u16)>,
    pub election: Vec<(String, u16)>,
}

/// Settings of the ports.
#[derive(Clone, Debug)]
pub struct PortOptions {
    pub members: BTreeMap<Sid, MemberAddress>,
    /// Resolved at the start.
    pub own_quorum: Vec<SocketAddr>,
    pub own_election: Vec<SocketAddr>,
    pub connect_timeout: Duration,
    /// An election connection is given up when a vote is not acknowledged for so long. Nothing else tells that its
    /// address is dead: nobody answers votes, and the next one would wait behind those that TCP repeats ever more
    /// rarely.
    pub unacknowledged_vote_timeout: Duration,
    /// `zookeeper.tcpKeepAlive`, for all sockets to other servers.
    pub tcp_keepalive: bool,
    /// `electionAlg=0`: votes are datagrams on the quorum ports, and nobody listens on election ports.
    pub votes_by_datagrams: bool,
}

/// How long a connection to the quorum port may wait for this server to become leader.
const WAIT_FOR_LEADER: Duration = Duration::from_secs(3);
/// Times a port is tried that somebody else has: a process that has just been killed may still hold it for a moment.
const BIND_TRIES: u32 = 30;
const BIND_PAUSE: Duration = Duration::from_millis(100);

/// Owned by the Zab core of a member of an ensemble.
#[derive(Debug)]
pub struct Ports {
    options: PortOptions,
    pub links: Links,
    quorum_listeners: Vec<ListenerId>,
    election_listeners: Vec<ListenerId>,
    /// Sockets for votes by datagrams, one for each own address.
    datagrams: Vec<u64>,
    /// Election connections, both ways.
    by_conn: HashMap<ConnId, LinkConn>,
    by_link: HashMap<LinkConn, ConnId>,
    /// Quorum connections that wait for this server to lead.
    early: Vec<(ConnId, Instant)>,
    /// Quorum connections in use.
    pub quorum: Vec<ConnId>,
    pub accepting: bool,
    effects: Vec<LinkEffect>,
}

/// What a network event means to the machine above.
#[derive(Debug)]
pub enum PortEvent {
    Vote {
        from: Sid,
        body: Vec<u8>,
    },
    Unreachable(Sid),
    LinkUp(LinkId),
    LinkDown(LinkId, String),
    /// Bytes wait in the connection's input.
    LinkInput(LinkId),
}

impl Ports {
    /// Binds both ports.
    pub fn open(options: PortOptions, links: Links, net: &mut Net) -> Result<Ports, String> {
        let (mut election_listeners, mut datagrams) = (Vec::new(), Vec::new());
        if options.votes_by_datagrams {
            let open = |address| net.bind_datagrams(address);
            datagrams = bind(open, &options.own_quorum, "quorum (UDP)")?;
        } else {
            let open = |address| net.listen(address);
            election_listeners = bind(open, &options.own_election, "election")?;
        }
        let quorum_listeners = bind(|address| net.listen(address), &options.own_quorum, "quorum")?;
        Ok(Ports {
            options,
            links,
            quorum_listeners,
            election_listeners,
            datagrams,
            by_conn: HashMap::new(),
            by_link: HashMap::new(),
            early: Vec::new(),
            quorum: Vec::new(),
            accepting: false,
            effects: Vec::new(),
        })
    }

    /// `looking`: this server may become leader any moment.
    pub fn event(
        &mut self,
        net: &mut Net,
        event: NetEvent,
        now: MonoMs,
        looking: bool,
        out: &mut Vec<PortEvent>,
    ) {
        match event {
            NetEvent::Accepted { listener, conn, .. } => {
                if self.election_listeners.contains(&listener) {
                    net.set_send_timeout(conn, self.options.unacknowledged_vote_timeout);
                    self.by_conn.insert(conn, conn);
                    self.by_link.insert(conn, conn);
                    self.links.accepted(conn, now, &mut self.effects);
                } else if self.quorum_listeners.contains(&listener) {
                    self.learner_connects(net, conn, looking, out);
                }
            }
            NetEvent::Connected { conn } => match self.by_conn.get(&conn) {
                Some(link) => {
                    net.set_send_timeout(conn, self.options.unacknowledged_vote_timeout);
                    self.links.dialled(*link, &mut self.effects);
                }
                None => out.push(PortEvent::LinkUp(LinkId(conn))),
            },
            NetEvent::Received { conn } => match self.by_conn.get(&conn) {
                Some(link) => {
                    let taken = self.links.bytes(*link, net.input(conn), &mut self.effects);
                    net.consume(conn, taken);
                }
                // Kept for the moment in which this server leads.
                None if self.early.iter().any(|(early, _)| *early == conn) => {}
                None => out.push(PortEvent::LinkInput(LinkId(conn))),
            },
            NetEvent::Closed { conn, why } => {
                if let Some(link) = self.by_conn.remove(&conn) {
                    self.by_link.remove(&link);
                    self.links.closed(link);
                } else if let Some(at) = self.early.iter().position(|(early, _)| *early == conn) {
                    self.early.remove(at);
                } else {
                    self.quorum.retain(|other| *other != conn);
                    out.push(PortEvent::LinkDown(LinkId(conn), why));
                }
            }
        }
        self.carry_out(net, out);
    }

    fn learner_connects(
        &mut self,
        net: &mut Net,
        conn: ConnId,
        looking: bool,
        out: &mut Vec<PortEvent>,
    ) {
        if self.accepting {
            self.quorum.push(conn);
            out.push(PortEvent::LinkUp(LinkId(conn)));
        } else if looking {
            // A learner that has heard of the result before this server: it need not come again.
            self.early.push((conn, Instant::now() + WAIT_FOR_LEADER));
        } else {
            net.close(conn);
        }
    }

    /// This server leads, or leads no more.
    pub fn accept_learners(&mut self, net: &mut Net, accept: bool, out: &mut Vec<PortEvent>) {
        self.accepting = accept;
        for (conn, _) in std::mem::take(&mut self.early) {
            if accept {
                self.quorum.push(conn);
                out.push(PortEvent::LinkUp(LinkId(conn)));
                if !net.input(conn).is_empty() {
                    out.push(PortEvent::LinkInput(LinkId(conn)));
                }
            } else {
                net.close(conn);
            }
        }
    }

    pub fn send_vote(&mut self, net: &mut Net, to: Sid, body: Vec<u8>) {
        if !self.options.votes_by_datagrams {
            return self.links.send(to, body, &mut self.effects);
        }
        let member = self.options.members.get(&to);
        let (Some(member), Some(socket)) = (member, self.datagrams.first()) else { return };
        // Whoever is asked twice answers twice, which does no harm.
        for (host, port) in &member.quorum {
            net.send_datagram_to(*socket, host, *port, &body);
        }
    }

    pub fn connect_all(&mut self) {
        self.links.connect_all(&mut self.effects);
    }

    /// Dials a leader's quorum port; of several addresses the first that answers is taken.
    pub fn dial_leader(&mut self, net: &mut Net, leader: Sid) -> LinkId {
        let member = self.options.members.get(&leader);
        let hosts = member.map_or_else(Vec::new, |member| member.quorum.clone());
        let conn = net.dial_any(hosts, self.options.connect_timeout);
        self.quorum.push(conn);
        LinkId(conn)
    }

    pub fn tick(&mut self, net: &mut Net, now: MonoMs, out: &mut Vec<PortEvent>) {
        self.links.tick(now, &mut self.effects);
        let instant = Instant::now();
        self.early.retain(|(conn, until)| {
            if instant >= *until {
                net.close(*conn);
            }
            instant < *until
        });
        self.carry_out(net, out);
    }

    /// What the links asked for.
    pub fn carry_out(&mut self, net: &mut Net, out: &mut Vec<PortEvent>) {
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                self.carry_out_one(net, effect, out);
            }
        }
        out.extend(self.links.take_unreachable().into_iter().map(PortEvent::Unreachable));
    }

    fn carry_out_one(&mut self, net: &mut Net, effect: LinkEffect, out: &mut Vec<PortEvent>) {
        match effect {
            LinkEffect::Dial { sid, conn: link, addresses } => {
                let mut hosts: Vec<_> =
                    addresses.iter().filter_map(|address| split_host_port(address)).collect();
                let known = self.options.members.get(&sid).map(|member| member.election.as_slice());
                for host in known.unwrap_or_default() {
                    if !hosts.contains(host) {
                        hosts.push(host.clone());
                    }
                }
                if hosts.is_empty() {
                    return self.links.closed(link);
                }
                let conn = net.dial_any(hosts, self.options.connect_timeout);
                self.by_conn.insert(conn, link);
                self.by_link.insert(link, conn);
            }
            LinkEffect::Write { conn: link, bytes } => {
                if let Some(conn) = self.by_link.get(&link) {
                    net.send(*conn, &bytes);
                }
            }
            LinkEffect::Close { conn: link } => {
                if let Some(conn) = self.by_link.remove(&link) {
                    self.by_conn.remove(&conn);
                    net.close(conn);
                }
            }
            LinkEffect::Deliver { from, body } => out.push(PortEvent::Vote { from, body }),
        }
    }

    pub fn next_due(&self) -> Option<MonoMs> {
        self.links.next_due()
    }
}

// Accepted election connections keep their number; dialled ones are numbered apart from them.
const _: () = assert!(DIALLED > u32::MAX as u64);

fn split_host_port(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), port.parse().ok()?))
}

fn bind(
    mut open: impl FnMut(SocketAddr) -> io::Result<u64>,
    addresses: &[SocketAddr],
    what: &str,
) -> Result<Vec<u64>, String> {
    let mut listeners = Vec::new();
    for address in addresses {
        let mut tries = 0;
        listeners.push(loop {
            match open(*address) {
                Ok(listener) => break listener,
                Err(_) if tries < BIND_TRIES => {
                    tries += 1;
                    std::thread::sleep(BIND_PAUSE);
                }
                Err(error) => {
                    return Err(format!("cannot listen on the {what} port {address}: {error}"));
                }
            }
        });
    }
    Ok(listeners)
}
