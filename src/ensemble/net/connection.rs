//! One connection's life: dialling, open, closing.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::squeue::Entry;
use io_uring::{opcode, types};

use super::output::{Flight, Output};
use super::{Kind, RECEIVE_BYTES, sys};
use crate::base::Sid;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Names are being resolved, addresses tried ([`super::dial`]).
    Dialling,
    Open,
    /// What is queued is sent and the other side's end awaited, until then.
    Closing(Instant),
    /// Whatever the kernel has is awaited.
    Dead,
}

/// What a completion came to.
pub(super) enum Doing {
    Nothing,
    /// More input.
    Received,
    Lost(String),
}

/// Owned by [`super::Net`].
pub(super) struct Connection {
    state: State,
    fd: Option<OwnedFd>,
    /// Counts against the limit on what others may open.
    pub accepted: bool,
    dial_deadline: Option<Instant>,
    pub read_timeout: Option<Duration>,
    pub last_read: Instant,
    /// Bytes received and not taken at which the socket is not read any more.
    pub input_max: usize,
    input: Vec<u8>,
    /// Input before this was consumed.
    at: usize,
    receive_buffer: Box<[u8]>,
    receiving: bool,
    pub output: Output,
    /// Whose it is, if what waits here is counted.
    pub counts_as: Option<Sid>,
    sending: Option<Box<Flight>>,
    cancelled: bool,
    /// Closing: our end was sent, the other side's was seen.
    ended: bool,
    peer_ended: bool,
}

impl Connection {
    fn new(state: State, fd: Option<OwnedFd>, input_max: usize) -> Connection {
        Connection {
            state,
            fd,
            accepted: false,
            dial_deadline: None,
            read_timeout: None,
            last_read: Instant::now(),
            input_max,
            input: Vec::new(),
            at: 0,
            receive_buffer: Box::default(),
            receiving: false,
            output: Output::default(),
            counts_as: None,
            sending: None,
            cancelled: false,
            ended: false,
            peer_ended: false,
        }
    }

    pub fn dialling(deadline: Instant, input_max: usize) -> Connection {
        let mut conn = Connection::new(State::Dialling, None, input_max);
        conn.dial_deadline = Some(deadline);
        conn
    }

    pub fn accepted(fd: OwnedFd, input_max: usize) -> Connection {
        let mut conn = Connection::new(State::Open, Some(fd), input_max);
        conn.accepted = true;
        conn
    }

    /// What is left of the time to dial in; `None` when it is not dialled any more.
    pub fn dial_time_left(&self) -> Option<Duration> {
        let deadline = self.dial_deadline.filter(|_| self.state == State::Dialling)?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    /// An address has answered.
    pub fn connected(&mut self, fd: OwnedFd) {
        self.state = State::Open;
        self.fd = Some(fd);
        self.dial_deadline = None;
        self.last_read = Instant::now();
    }

    /// The socket once there is one.
    pub fn fd(&self) -> Option<&OwnedFd> {
        self.fd.as_ref()
    }

    /// The next receive, if one is wanted.
    pub fn receive(&mut self) -> Option<Entry> {
        let wanted = match self.state {
            State::Open => self.input.len() - self.at < self.input_max,
            State::Closing(_) => !self.peer_ended,
            _ => false,
        };
        if !wanted || self.receiving {
            return None;
        }
        let fd = self.fd.as_ref()?.as_raw_fd();
        if self.receive_buffer.is_empty() {
            self.receive_buffer = vec![0; RECEIVE_BYTES].into_boxed_slice();
        }
        self.receiving = true;
        // A silence that was our own choice does not count.
        self.last_read = Instant::now();
        let (pointer, length) = (self.receive_buffer.as_mut_ptr(), RECEIVE_BYTES as u32);
        Some(opcode::Recv::new(types::Fd(fd), pointer, length).build())
    }

    pub fn received(&mut self, res: i32) -> Doing {
        self.receiving = false;
        if self.is_closing() {
            // Read and thrown away: a close with unread input would take from the peer what was sent last.
            let again = matches!(-res, libc::EINTR | libc::EAGAIN);
            self.peer_ended |= res <= 0 && !again;
            return Doing::Nothing;
        }
        match res {
            0 => Doing::Lost("closed by the other side".to_owned()),
            res if res < 0 => match -res {
                libc::EINTR | libc::EAGAIN | libc::ECANCELED => Doing::Nothing,
                code => Doing::Lost(io::Error::from_raw_os_error(code).to_string()),
            },
            count => {
                self.compact();
                self.input.extend_from_slice(&self.receive_buffer[..count as usize]);
                self.last_read = Instant::now();
                Doing::Received
            }
        }
    }

    /// The next send, if there is something to send.
    pub fn send(&mut self) -> Option<Entry> {
        if !matches!(self.state, State::Open | State::Closing(_)) || self.sending.is_some() {
            return None;
        }
        let fd = self.fd.as_ref()?.as_raw_fd();
        let flight = self.output.take_off();
        let flight = self.sending.insert(flight?);
        let message = &raw const flight.message;
        let flags = libc::MSG_NOSIGNAL as u32;
        Some(opcode::SendMsg::new(types::Fd(fd), message).flags(flags).build())
    }

    pub fn sent(&mut self, res: i32) -> Doing {
        let Some(flight) = self.sending.take() else { return Doing::Nothing };
        if self.state == State::Dead {
            return Doing::Nothing;
        }
        match res {
            res if res >= 0 => {
                self.output.landed(*flight, res as usize);
                Doing::Nothing
            }
            res => match -res {
                libc::EINTR | libc::EAGAIN => {
                    self.output.landed(*flight, 0);
                    Doing::Nothing
                }
                code => Doing::Lost(io::Error::from_raw_os_error(code).to_string()),
            },
        }
    }

    pub fn input(&self) -> &[u8] {
        &self.input[self.at..]
    }

    pub fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.input.len());
        if self.at == self.input.len() {
            self.input.clear();
            self.at = 0;
        }
    }

    fn compact(&mut self) {
        if self.at > 0 {
            self.input.drain(..self.at);
            self.at = 0;
        }
    }

    pub fn take_input(&mut self) -> Vec<u8> {
        self.compact();
        std::mem::take(&mut self.input)
    }

    /// `input` was taken; of it `taken` bytes were used.
    pub fn give_back(&mut self, mut input: Vec<u8>, taken: usize) {
        if self.input.is_empty() {
            self.at = taken.min(input.len());
            self.input = input;
            self.consume(0);
        } else {
            input.drain(..taken);
            input.append(&mut self.input);
            self.input = input;
            self.at = 0;
        }
    }

    /// True when nothing is left to wait for.
    pub fn close(&mut self, until: Instant) -> bool {
        match self.state {
            State::Dialling => {
                self.state = State::Dead;
                true
            }
            State::Open => {
                self.state = State::Closing(until);
                (self.input, self.at) = (Vec::new(), 0);
                false
            }
            State::Closing(_) | State::Dead => false,
        }
    }

    /// Ends it now; what the kernel has is awaited.
    pub fn abort(&mut self) {
        self.state = State::Dead;
        self.output.clear();
        if let Some(fd) = &self.fd {
            sys::shut_down(fd, libc::SHUT_RDWR);
        }
    }

    pub fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing(_) | State::Dead)
    }

    /// A closing connection's next step: our end after the last byte, then the other side's end or the time.
    pub fn closing_is_over(&mut self, now: Instant) -> bool {
        let State::Closing(until) = self.state else { return false };
        let sent = self.output.is_empty() && self.sending.is_none();
        if sent
            && !std::mem::replace(&mut self.ended, true)
            && let Some(fd) = &self.fd
        {
            sys::shut_down(fd, libc::SHUT_WR);
        }
        now >= until || (sent && self.peer_ended)
    }

    /// Once, when something is still in flight on a dead connection.
    pub fn must_cancel(&mut self) -> bool {
        let must = self.state == State::Dead && !self.cancelled && !self.is_finished();
        self.cancelled |= must;
        must
    }

    pub fn in_flight(&self) -> impl Iterator<Item = Kind> {
        let receiving = self.receiving.then_some(Kind::Receive);
        let sending = self.sending.as_ref().map(|_| Kind::Send);
        receiving.into_iter().chain(sending)
    }

    pub fn is_finished(&self) -> bool {
        self.state == State::Dead && self.in_flight().next().is_none()
    }

    /// Why it must end by now.
    pub fn is_late(&self, now: Instant) -> Option<&'static str> {
        if self.is_closing() {
            return None;
        }
        if self.dial_deadline.is_some_and(|deadline| now >= deadline) {
            return Some("no connection in time");
        }
        let silence = now.saturating_duration_since(self.last_read);
        let silent = self.receiving && self.read_timeout.is_some_and(|most| silence >= most);
        silent.then_some("nothing was received in time")
    }

    pub fn due(&self) -> Option<Instant> {
        match self.state {
            State::Closing(until) => Some(until),
            State::Dead => None,
            _ => {
                let silence = self.read_timeout.filter(|_| self.receiving);
                let silence = silence.map(|timeout| self.last_read + timeout);
                silence.into_iter().chain(self.dial_deadline).min()
            }
        }
    }

    /// The ring goes; what the kernel may still touch is leaked.
    pub fn let_go(self) {
        if self.in_flight().next().is_some() {
            if let Some(fd) = &self.fd {
                sys::shut_down(fd, libc::SHUT_RDWR);
            }
            std::mem::forget(self);
        }
    }
}
