//! The consensus, pure: no clock, no IO, no async. Inputs in, effects out; one file per phase.
//!
//! A standalone server is an ensemble of one: the same request, transaction, log, commit, apply path with a
//! quorum that its own log satisfies. Lives on the Zab core.

pub mod discovery;
pub mod election;
pub mod leader_election;
pub mod leading;
pub mod links;
pub mod liveness;
pub mod quorums;
pub mod synchronisation;
pub mod vote;
pub mod voting;

pub use leading::Leading;
pub use quorums::Quorum;
