//! Watches: who is told when a znode changes (reference: data-model 9).
//!
//! Pure: no IO, no clock. A client core owns one [`WatchTable`] for its own connections; nobody
//! else touches it. Filtering an event by the READ permission of the connection is the caller's
//! business: the table hands every watcher to the callback and consumes one-shot watches whether or
//! not the caller delivers the event.

#![forbid(unsafe_code)]

mod table;
mod watchers;

pub use table::{NULL_PATH, WatchKind, WatchTable};
