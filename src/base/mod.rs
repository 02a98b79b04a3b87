//! The ground floor: identifiers, time values, limits, samples, a generational slab, a seeded generator, and the parts
//! of lock-free code.
//!
//! Nothing here does IO, reads a clock or knows about another room.

pub mod ids;
pub mod limits;
pub mod planted;
pub mod prng;
pub mod slab;
pub mod sync;
pub mod tally;
pub mod time;

pub use ids::{SessionId, Sid, Zxid};
pub use planted::{Planted, planted};
pub use time::{MonoMs, WallMs};
