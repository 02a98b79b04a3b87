//! Judges of histories: pure, one to a file. Each answers what is wrong, in words; nothing when all is well.
//! `tests/ensemble_checkers.rs` shows each of them histories known good and known bad.

pub mod acknowledged;
pub mod digests;
pub mod ephemerals;
pub mod linearizable;
pub mod session_order;
pub mod trees;
pub mod watch_order;
