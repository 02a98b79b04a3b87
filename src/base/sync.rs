//! What lock-free code is made of, in one place, so that `tests/lock_free.rs` can compile the very
//! sources of `tree` with a model checker's parts in their stead.

pub use crossbeam::epoch;
pub use std::hint::spin_loop;
pub use std::sync::atomic::{
    AtomicI32, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence,
};
pub use std::sync::{Condvar, Mutex, MutexGuard};
pub use std::thread::yield_now;

/// True where every step is dear, under Miri and in the model: tables start small and stay small,
/// nothing is random.
pub const SMALL: bool = cfg!(miri);

/// The life of memory behind a published pointer. Nothing happens here; the model checks each call:
/// whoever looks must know that it is made, and nobody may look once it is gone.
pub mod memory {
    /// It is filled and may be published.
    #[inline(always)]
    pub fn made<T>(_: *const T) {}

    /// Somebody looks at it.
    #[inline(always)]
    pub fn seen<T>(_: *const T) {}

    /// It is about to be used for something else.
    #[inline(always)]
    pub fn gone<T>(_: *const T) {}
}
