//! The ground floor: identifiers, time values, limits, samples, a generational slab and a seeded generator.
//!
//! Nothing here does IO, reads a clock or knows about another room.

pub mod ids;
pub mod limits;
pub mod planted;
pub mod prng;
pub mod slab;
pub mod tally;
pub mod time;

pub use ids::{SessionId, Sid, Zxid};
pub use planted::{Planted, planted};
pub use time::{MonoMs, WallMs};
