//! Requests become transactions here (leader), and transactions become changes, events and replies (every server).
//!
//! Pure: time comes in as an argument, bytes come in and go out. [`prep`] and [`apply`] run on the Zab core; the
//! messages between cores are defined here because both sides import downward to them.

pub mod apply;
pub mod batch;
pub mod mailbox;
pub mod messages;
pub mod outstanding;
mod owners;
pub mod prep;
mod prep_multi;
mod prep_ops;
#[cfg(test)]
mod tests;

pub use apply::Applier;
pub use batch::{CommitBatch, Item};
pub use mailbox::{Mailbox, Wake};
pub use messages::{ConnToken, ToShard, ToZab};
pub use prep::{Outcome, Prep, PrepContext, Write};
