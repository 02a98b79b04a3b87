//! What both servers are asked to do.

/// One request of a burst.
#[derive(Clone, Debug)]
pub struct Request {
    pub xid: i32,
    pub op: i32,
    pub body: Vec<u8>,
    /// For people.
    pub text: String,
}

/// How a connection begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attach {
    /// A new session.
    New,
    /// The slot's own session.
    Resume,
    /// The slot's own session with a password that is not its own.
    WrongPassword,
    /// A session the server never had.
    Unknown,
    /// The slot's own session, by a client that has seen the future.
    FromTheFuture,
}

/// A step: one connection acts, everything that follows from it is collected from all of them.
#[derive(Clone, Debug)]
pub enum Step {
    Burst { slot: usize, requests: Vec<Request> },
    Connect { slot: usize, attach: Attach, timeout_ms: i32, read_only: Option<bool> },
    Drop { slot: usize },
    Raw { slot: usize, bytes: Vec<u8>, text: &'static str },
}

impl Step {
    /// Readable, one line per request.
    pub fn describe(&self) -> String {
        match self {
            Step::Burst { slot, requests } => {
                let lines: Vec<String> = requests
                    .iter()
                    .map(|r| {
                        let hex = crate::support::hex(&r.body[..r.body.len().min(200)]);
                        format!(
                            "  connection {slot} xid {} op {}: {}\n      {hex}",
                            r.xid, r.op, r.text
                        )
                    })
                    .collect();
                lines.join("\n")
            }
            Step::Connect { slot, attach, timeout_ms, read_only } => format!(
                "  connection {slot} connects: {attach:?}, timeout {timeout_ms}, flag {read_only:?}"
            ),
            Step::Drop { slot } => format!("  connection {slot} is dropped by the client"),
            Step::Raw { slot, text, .. } => format!("  connection {slot} sends {text}"),
        }
    }
}
