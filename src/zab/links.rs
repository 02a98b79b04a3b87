//! Connections between servers for votes (reference: election 3): one for each pair, dialled by the larger sid.
//!
//! Pure: connections are opaque numbers, bytes go in and out. The smaller of two may dial too: it says who it is, hangs
//! up, and is dialled back, which is how a server that has restarted replaces its old connection.

use std::collections::BTreeMap;

use crate::base::{MonoMs, Sid};
use crate::wire::notification::{InitialMessage, put_frame, take_frame};

/// A connection as the caller numbers it. Never used again for another.
pub type LinkConn = u64;

/// What follows from an input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkEffect {
    /// Answered by [`Links::dialled`] or [`Links::closed`] under the same number.
    Dial {
        sid: Sid,
        conn: LinkConn,
        /// `host:port` of each address that the other side has named; else the configured ones.
        addresses: Vec<String>,
    },
    Write {
        conn: LinkConn,
        bytes: Vec<u8>,
    },
    /// Send what was written, then close; nothing more is heard of it.
    Close {
        conn: LinkConn,
    },
    Deliver {
        from: Sid,
        body: Vec<u8>,
    },
}

type Effects = Vec<LinkEffect>;

#[derive(Debug)]
struct Peer {
    /// The connection in use.
    conn: Option<LinkConn>,
    /// A dial under way.
    dialling: Option<LinkConn>,
    /// The newest vote that has found no connection.
    queued: Option<Vec<u8>>,
    /// What was sent last, ever: sent again on a new connection that has nothing newer.
    last: Option<Vec<u8>>,
}

#[derive(Debug)]
enum State {
    /// Accepted; the first message comes.
    Opening {
        since: MonoMs,
    },
    Open {
        sid: Sid,
    },
}

/// Half-open connections at a time. Who comes later finds the oldest hung up.
const OPENING_MAX: usize = 64;

/// Connections of servers outside the configuration at a time: observers of old that do not say who they are, servers
/// about to join. Who comes later is hung up, so that nobody can make the server remember sids without end.
const STRANGERS_MAX: usize = 64;

/// All of a server's election connections. Lives on the Zab core.
#[derive(Debug)]
pub struct Links {
    me: Sid,
    /// `host:port` of the own election ports, as the configuration has them.
    own_addresses: Vec<String>,
    handshake_ms: i64,
    peers: BTreeMap<Sid, Peer>,
    conns: BTreeMap<LinkConn, State>,
    next_dial: LinkConn,
    anonymous: i64,
    /// Members of the configuration: only they are dialled.
    known: Vec<Sid>,
    /// Whose dials have failed since they were asked for last.
    unreachable: Vec<Sid>,
}

/// Numbers of connections that this side dials; the caller numbers accepted ones below.
pub const DIALLED: LinkConn = 1 << 40;

impl Links {
    pub fn new(me: Sid, own_addresses: Vec<String>, known: Vec<Sid>, handshake_ms: i64) -> Links {
        Links {
            me,
            own_addresses,
            handshake_ms,
            peers: BTreeMap::new(),
            conns: BTreeMap::new(),
            next_dial: DIALLED,
            anonymous: 0,
            known,
            unreachable: Vec::new(),
        }
    }

    fn peer(&mut self, sid: Sid) -> &mut Peer {
        let fresh = || Peer { conn: None, dialling: None, queued: None, last: None };
        self.peers.entry(sid).or_insert_with(fresh)
    }

    /// A vote for `sid`. Only the newest waits; without a connection one is dialled. A server outside the configuration
    /// is told only while it is connected, or being dialled back: nothing is kept for it.
    pub fn send(&mut self, sid: Sid, body: Vec<u8>, out: &mut Effects) {
        if !self.known.contains(&sid) && !self.peers.contains_key(&sid) {
            return;
        }
        let peer = self.peer(sid);
        if let Some(conn) = peer.conn {
            let mut bytes = Vec::with_capacity(body.len() + 4);
            put_frame(&mut bytes, &body);
            peer.last = Some(body);
            out.push(LinkEffect::Write { conn, bytes });
        } else {
            peer.queued = Some(body);
            self.dial(sid, Vec::new(), out);
        }
    }

    fn dial(&mut self, sid: Sid, addresses: Vec<String>, out: &mut Effects) {
        if !self.known.contains(&sid) && (addresses.is_empty() || !self.has_room_for(sid)) {
            return;
        }
        let conn = self.next_dial;
        let peer = self.peer(sid);
        if peer.conn.is_some() || peer.dialling.is_some() {
            return;
        }
        peer.dialling = Some(conn);
        self.next_dial += 1;
        out.push(LinkEffect::Dial { sid, conn, addresses });
    }

    fn has_room_for(&self, sid: Sid) -> bool {
        let stranger = |other: &&Sid| !self.known.contains(*other) && **other != sid;
        self.known.contains(&sid) || self.peers.keys().filter(stranger).count() < STRANGERS_MAX
    }

    /// Dials everybody that something was ever meant for.
    pub fn connect_all(&mut self, out: &mut Effects) {
        for sid in self.peers.keys().copied().collect::<Vec<_>>() {
            self.dial(sid, Vec::new(), out);
        }
    }

    /// Whether some vote has left: then the others may just be slow.
    pub fn have_delivered(&self) -> bool {
        self.peers.is_empty() || self.peers.values().any(|peer| peer.queued.is_none())
    }

    /// A dial has succeeded.
    pub fn dialled(&mut self, conn: LinkConn, out: &mut Effects) {
        let dialling = |(_, peer): &(&Sid, &mut Peer)| peer.dialling == Some(conn);
        let Some((&sid, peer)) = self.peers.iter_mut().find(dialling) else {
            return out.push(LinkEffect::Close { conn });
        };
        peer.dialling = None;
        let mut bytes = Vec::new();
        let addresses = self.own_addresses.clone();
        // In one piece: Java reads it with one call.
        InitialMessage { sid: self.me, addresses }.encode(&mut bytes);
        out.push(LinkEffect::Write { conn, bytes });
        if sid > self.me {
            // It knows now that this server is here, and dials back.
            out.push(LinkEffect::Close { conn });
        } else {
            self.open(conn, sid, out);
        }
    }

    /// Somebody has connected to the election port.
    pub fn accepted(&mut self, conn: LinkConn, now: MonoMs, out: &mut Effects) {
        let opening = |state: &State| matches!(state, State::Opening { .. });
        if self.conns.values().filter(|state| opening(state)).count() >= OPENING_MAX
            && let Some((&oldest, _)) = self.conns.iter().find(|(_, state)| opening(state))
        {
            self.conns.remove(&oldest);
            out.push(LinkEffect::Close { conn: oldest });
        }
        self.conns.insert(conn, State::Opening { since: now });
    }

    /// `conn` becomes the connection with `sid`, in place of another.
    fn open(&mut self, conn: LinkConn, sid: Sid, out: &mut Effects) {
        self.hang_up(sid, out);
        self.give_up_dial(sid, out);
        self.conns.insert(conn, State::Open { sid });
        let peer = self.peer(sid);
        peer.conn = Some(conn);
        let body = peer.queued.take().or_else(|| peer.last.clone());
        if let Some(body) = body {
            self.send(sid, body, out);
        }
    }

    fn hang_up(&mut self, sid: Sid, out: &mut Effects) {
        let Some(peer) = self.peers.get_mut(&sid) else { return };
        if let Some(old) = peer.conn.take() {
            self.conns.remove(&old);
            out.push(LinkEffect::Close { conn: old });
        }
    }

    /// A dial under way has lost its purpose.
    fn give_up_dial(&mut self, sid: Sid, out: &mut Effects) {
        let Some(peer) = self.peers.get_mut(&sid) else { return };
        if let Some(conn) = peer.dialling.take() {
            out.push(LinkEffect::Close { conn });
        }
    }

    /// Bytes of a connection that were not taken before; answers how many are taken now.
    pub fn bytes(&mut self, conn: LinkConn, bytes: &[u8], out: &mut Effects) -> usize {
        let mut taken = 0;
        loop {
            let rest = &bytes[taken..];
            let step = match self.conns.get(&conn) {
                None => return bytes.len(),
                Some(State::Opening { .. }) => self.first_message(conn, rest, out),
                Some(State::Open { sid }) => {
                    let from = *sid;
                    take_frame(rest).map(|frame| {
                        frame.map(|(body, length)| {
                            out.push(LinkEffect::Deliver { from, body: body.to_vec() });
                            length
                        })
                    })
                }
            };
            match step {
                Ok(Some(length)) => taken += length,
                Ok(None) => return taken,
                Err(error) => {
                    tracing::warn!("an election connection is closed: {error}");
                    self.closed(conn);
                    out.push(LinkEffect::Close { conn });
                    return bytes.len();
                }
            }
        }
    }

    fn first_message(
        &mut self,
        conn: LinkConn,
        bytes: &[u8],
        out: &mut Effects,
    ) -> Result<Option<usize>, crate::wire::DecodeError> {
        let Some((message, length)) = InitialMessage::decode(bytes)? else { return Ok(None) };
        let mut sid = message.sid;
        if sid == Sid(i64::MAX) {
            self.anonymous -= 1;
            sid = Sid(self.anonymous);
        }
        if sid == self.me {
            tracing::warn!("a server connects under this server's own id {}: check myid", sid.0);
            self.conns.remove(&conn);
            out.push(LinkEffect::Close { conn });
        } else if sid < self.me && sid.0 >= 0 {
            self.conns.remove(&conn);
            out.push(LinkEffect::Close { conn });
            self.hang_up(sid, out);
            // One that began while nobody was there may take as long as a dial may take; now somebody is.
            self.give_up_dial(sid, out);
            self.dial(sid, message.addresses, out);
        } else if self.has_room_for(sid) {
            self.open(conn, sid, out);
        } else {
            self.conns.remove(&conn);
            out.push(LinkEffect::Close { conn });
        }
        Ok(Some(length))
    }

    /// A connection is gone, or a dial has failed.
    pub fn closed(&mut self, conn: LinkConn) {
        self.conns.remove(&conn);
        for (sid, peer) in &mut self.peers {
            if peer.conn == Some(conn) {
                peer.conn = None;
            }
            if peer.dialling == Some(conn) {
                peer.dialling = None;
                self.unreachable.push(*sid);
            }
        }
        let known = &self.known;
        let busy = |peer: &Peer| peer.conn.is_some() || peer.dialling.is_some();
        self.peers.retain(|sid, peer| known.contains(sid) || busy(peer));
    }

    /// Servers whose dials have failed since this was asked last.
    pub fn take_unreachable(&mut self) -> Vec<Sid> {
        std::mem::take(&mut self.unreachable)
    }

    /// Hangs up on those that have not said who they are in time.
    pub fn tick(&mut self, now: MonoMs, out: &mut Effects) {
        let late = |state: &State| match state {
            State::Opening { since } => now - since >= self.handshake_ms,
            State::Open { .. } => false,
        };
        let late: Vec<_> =
            self.conns.iter().filter(|(_, state)| late(state)).map(|(conn, _)| *conn).collect();
        for conn in late {
            self.conns.remove(&conn);
            out.push(LinkEffect::Close { conn });
        }
    }

    /// When [`Links::tick`] has something to do.
    pub fn next_due(&self) -> Option<MonoMs> {
        let due = self.conns.values().filter_map(|state| match state {
            State::Opening { since } => Some(since + self.handshake_ms),
            State::Open { .. } => None,
        });
        due.min()
    }
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;
