//! Sessions: their ids and passwords, their timeouts, who owns them, and when they expire
//! (reference: data-model 11, client-protocol 4.4-4.7 and 14).
//!
//! Pure: no IO, no clock. The [`SessionTracker`] lives on the Zab core; a client core gathers the
//! touches of its connections in a [`TouchBatch`] and sends it there.
//!
//! Local sessions (reference: data-model 11.5) are in a second tracker of each server, which is looked
//! into before the one of the sessions that all know, and is never replicated.

#![forbid(unsafe_code)]

mod identity;
mod touch;
mod tracker;

pub use identity::{PASSWORD_BYTES, SessionIds, clamp_timeout, password, password_matches};
pub use touch::{Touch, TouchBatch};
pub use tracker::{SessionBucket, SessionFault, SessionTracker};
