//! What stops a run. All of it is final: a load program that papers over a failure measures
//! nothing.

use std::{fmt, io};

#[derive(Debug)]
pub enum Error {
    Io(&'static str, io::Error),
    /// The server closed a connection that should have stayed open.
    Closed,
    /// The server answered what it should not have; the text says what.
    Protocol(String),
    /// Nothing came within the time limit for the step named.
    TimedOut(&'static str),
    Usage(String),
}

pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(what, error) => write!(f, "{what}: {error}"),
            Error::Closed => write!(f, "the server closed a connection"),
            Error::Protocol(what) => write!(f, "unexpected answer: {what}"),
            Error::TimedOut(what) => write!(f, "timed out: {what}"),
            Error::Usage(what) => write!(f, "{what}"),
        }
    }
}

/// Names the step an I/O error happened in.
pub fn io_at(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::Io(what, error)
}
