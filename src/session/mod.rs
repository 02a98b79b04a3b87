//! Sessions: their ids and passwords, their timeouts, who owns them, and when they expire
//! (reference: data-model 11, client-protocol 4.4-4.7 and 14).
//!
//! Pure: no IO, no clock. The [`SessionTracker`] lives on the Zab core; a client core gathers the
//! touches of its connections in a [`TouchBatch`] and sends it there.
//!
//! Seam: local sessions (reference: data-model 11.5) would be a second tracker per server,
//! consulted before this one and never replicated. None exists yet: every session here is global.

#![forbid(unsafe_code)]

mod identity;
mod touch;
mod tracker;

pub use identity::{PASSWORD_BYTES, SessionIds, clamp_timeout, password, password_matches};
pub use touch::{Touch, TouchBatch};
pub use tracker::{SessionBucket, SessionFault, SessionTracker};
