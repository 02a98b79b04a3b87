//! Dialling a server that may have several addresses, some of which may be dead: what is sent there is answered by
//! nobody, and a connect ends by the clock alone. Each address is tried a moment after the one before, all are waited
//! for together, and whichever answers first is taken.
//!
//! Apache asks all addresses for an echo first and dials one that answers, or after a second any
//! (`multiAddress.reachabilityCheckTimeoutMs`). Connecting is the better question: a machine may answer whose port
//! does not, and many answer no echo.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::squeue::Entry;
use io_uring::{opcode, types};

use super::sys::{self, RawAddress};
use super::{ConnId, Kind, user_data};

/// How long an address is waited for before the next one is tried too: more than a round trip between most servers.
const HEAD_START: Duration = Duration::from_millis(100);
/// Addresses remembered as silent. Others may name any number of them.
const SILENT_MAX: usize = 256;

/// A connect that the kernel has.
struct Attempt {
    dial: ConnId,
    fd: OwnedFd,
    address: SocketAddr,
    /// Read by the kernel until its completion.
    raw: Box<RawAddress>,
    /// Nobody waits for it any more.
    given_up: bool,
}

/// A connection that is wanted.
struct Dial {
    /// Not tried yet, the next one last.
    addresses: Vec<SocketAddr>,
    head_start: Duration,
    /// When the next one is tried, whatever becomes of those before.
    next_at: Instant,
    /// Why the last one that failed did.
    failed: io::Error,
}

/// What a completion came to.
pub(super) enum Dialled {
    Connected(ConnId, OwnedFd),
    Failed(ConnId, io::Error),
}

/// Owned by [`super::Net`].
#[derive(Default)]
pub(super) struct Dials {
    keepalive: bool,
    dials: BTreeMap<ConnId, Dial>,
    attempts: BTreeMap<u64, Attempt>,
    next_attempt: u64,
    /// Addresses that did not answer while another of the same server did: they are tried last from then on.
    silent: BTreeSet<SocketAddr>,
    /// For the ring: connects, and cancellations by their user data.
    pub entries: Vec<Entry>,
    pub cancels: Vec<u64>,
}

impl Dials {
    /// `keepalive`: of all sockets that come about.
    pub fn new(keepalive: bool) -> Dials {
        Dials { keepalive, ..Dials::default() }
    }

    /// Begins with the first address. `left`: how long all of them have together.
    pub fn begin(
        &mut self,
        id: ConnId,
        mut addresses: Vec<SocketAddr>,
        left: Duration,
    ) -> Option<Dialled> {
        addresses.sort_by_key(|address| self.silent.contains(address));
        addresses.dedup();
        let head_start = HEAD_START.min(left / (addresses.len() as u32 + 1));
        addresses.reverse();
        let failed = io::Error::other("the name has no address");
        let next_at = Instant::now() + head_start;
        self.dials.insert(id, Dial { addresses, head_start, next_at, failed });
        self.try_next(id)
    }

    /// The next address for which there can be a socket; the failure when none is left, and none is waited for.
    fn try_next(&mut self, id: ConnId) -> Option<Dialled> {
        let dial = self.dials.get_mut(&id)?;
        while let Some(address) = dial.addresses.pop() {
            let fd = match sys::socket(&address) {
                Ok(fd) => fd,
                Err(error) => {
                    dial.failed = error;
                    continue;
                }
            };
            sys::set_options(&fd, self.keepalive);
            let raw = Box::new(RawAddress::new(&address));
            let fd_number = types::Fd(fd.as_raw_fd());
            let connect = opcode::Connect::new(fd_number, raw.as_ptr(), raw.length()).build();
            let number = self.next_attempt;
            self.next_attempt += 1;
            self.entries.push(connect.user_data(user_data(Kind::Connect, number)));
            self.attempts.insert(number, Attempt { dial: id, fd, address, raw, given_up: false });
            dial.next_at = Instant::now() + dial.head_start;
            return None;
        }
        if self.attempts.values().any(|attempt| attempt.dial == id && !attempt.given_up) {
            return None;
        }
        self.dials.remove(&id).map(|dial| Dialled::Failed(id, dial.failed))
    }

    /// A connect's completion.
    pub fn completed(&mut self, number: u64, res: i32) -> Option<Dialled> {
        let Attempt { dial: id, fd, address, given_up, .. } = self.attempts.remove(&number)?;
        if given_up {
            return None;
        }
        if res != 0 {
            self.dials.get_mut(&id)?.failed = io::Error::from_raw_os_error(-res);
            return self.try_next(id);
        }
        self.silent.remove(&address);
        let others = self.attempts.values().filter(|attempt| attempt.dial == id);
        let others: Vec<SocketAddr> = others.map(|attempt| attempt.address).collect();
        if self.silent.len() + others.len() <= SILENT_MAX {
            self.silent.extend(others);
        }
        self.give_up(id);
        Some(Dialled::Connected(id, fd))
    }

    /// The addresses whose turn it is by the clock.
    pub fn tick(&mut self, now: Instant) {
        let due = |(_, dial): &(&ConnId, &Dial)| !dial.addresses.is_empty() && now >= dial.next_at;
        let due: Vec<ConnId> = self.dials.iter().filter(due).map(|(id, _)| *id).collect();
        for id in due {
            // One that is waited for is there, so this cannot be its end.
            self.try_next(id);
        }
    }

    /// Nobody wants the connection any more, or it is there.
    pub fn give_up(&mut self, id: ConnId) {
        self.dials.remove(&id);
        for (number, attempt) in &mut self.attempts {
            if attempt.dial == id && !attempt.given_up {
                attempt.given_up = true;
                sys::shut_down(&attempt.fd, libc::SHUT_RDWR);
                self.cancels.push(user_data(Kind::Connect, *number));
            }
        }
    }

    /// When [`Dials::tick`] has something to do.
    pub fn next_due(&self) -> Option<Instant> {
        let waiting = self.dials.values().filter(|dial| !dial.addresses.is_empty());
        waiting.map(|dial| dial.next_at).min()
    }

    /// The ring goes; what the kernel may still read is leaked.
    pub fn let_go(&mut self) {
        for (_, attempt) in std::mem::take(&mut self.attempts) {
            sys::shut_down(&attempt.fd, libc::SHUT_RDWR);
            std::mem::forget(attempt.raw);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEFT: Duration = Duration::from_secs(3600);

    fn addresses(ports: &[u16]) -> Vec<SocketAddr> {
        ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect()
    }

    /// Ports that are being tried, and whether somebody waits for them.
    fn tried(dials: &Dials) -> Vec<(u16, bool)> {
        dials.attempts.values().map(|a| (a.address.port(), !a.given_up)).collect()
    }

    fn later(dials: &Dials) -> Instant {
        dials.next_due().expect("another address waits")
    }

    #[test]
    fn the_next_is_tried_by_the_clock_and_at_once_after_a_refusal() {
        let mut dials = Dials::default();
        assert!(dials.begin(7, addresses(&[1, 2, 3]), LEFT).is_none());
        assert_eq!(tried(&dials), [(1, true)]);
        dials.tick(Instant::now());
        assert_eq!(tried(&dials), [(1, true)], "it has a head start");
        dials.tick(later(&dials));
        assert_eq!(tried(&dials), [(1, true), (2, true)], "the first still waits");
        assert!(dials.completed(0, -libc::ECONNREFUSED).is_none());
        assert_eq!(tried(&dials), [(2, true), (3, true)]);
        assert_eq!(dials.next_due(), None);
        assert!(dials.completed(1, -libc::ECONNREFUSED).is_none(), "the third may answer");
        let Some(Dialled::Failed(7, error)) = dials.completed(2, -libc::ENETUNREACH) else {
            panic!("nobody is left");
        };
        assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH));
        assert_eq!(dials.entries.len(), 3);
    }

    #[test]
    fn the_first_that_answers_ends_the_others_and_the_silent_are_last_from_then_on() {
        let mut dials = Dials::default();
        dials.begin(7, addresses(&[1, 2]), LEFT);
        dials.begin(8, addresses(&[3]), LEFT);
        dials.tick(later(&dials));
        assert_eq!(tried(&dials), [(1, true), (3, true), (2, true)]);
        assert!(matches!(dials.completed(2, 0), Some(Dialled::Connected(7, _))));
        assert_eq!(tried(&dials), [(1, false), (3, true)], "another dial goes on");
        assert_eq!(dials.cancels, [user_data(Kind::Connect, 0)]);
        assert!(dials.completed(0, 0).is_none(), "too late");
        dials.begin(9, addresses(&[1, 2]), LEFT);
        assert_eq!(tried(&dials), [(3, true), (2, true)]);
        // It answers again: it has its place back.
        assert!(dials.completed(3, -libc::ECONNREFUSED).is_none());
        assert!(matches!(dials.completed(4, 0), Some(Dialled::Connected(9, _))));
        dials.begin(10, addresses(&[1, 2]), LEFT);
        assert_eq!(tried(&dials), [(3, true), (1, true)]);
    }

    #[test]
    fn nothing_follows_a_dial_that_is_given_up() {
        let mut dials = Dials::default();
        dials.begin(7, addresses(&[1, 2]), LEFT);
        dials.give_up(7);
        assert_eq!((dials.next_due(), tried(&dials)), (None, vec![(1, false)]));
        dials.tick(Instant::now() + LEFT);
        assert!(dials.completed(0, -libc::ECANCELED).is_none());
        assert_eq!(tried(&dials), []);
        assert!(matches!(dials.begin(8, Vec::new(), LEFT), Some(Dialled::Failed(8, _))));
    }
}
