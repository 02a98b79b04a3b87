//! The model checker's side of `base::sync`: loom's atomics and locks, and an epoch and a life of memory that the
//! checker can follow. Every ordering stronger than relaxed is noted by its place in the source, and the one named by
//! [`WEAK`] is left out.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::Location;
use std::sync::LockResult;

pub use loom::hint::spin_loop;
pub use loom::sync::{Mutex, MutexGuard};
pub use loom::thread::yield_now;
pub use std::sync::atomic::Ordering;

pub const SMALL: bool = true;

/// Names what this process is to do wrong: a place as [`places`] gives it, [`PIN`] or [`NOTIFY`].
pub const WEAK: &str = "RINGKEEPER_MODEL_WEAK";
/// Pinning keeps nothing alive.
pub const PIN: &str = "pin";
/// The condition variable wakes nobody.
pub const NOTIFY: &str = "notify";

thread_local! {
    // All threads of a model are coroutines of one.
    static PLACES: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    static WRONG: String = std::env::var(WEAK).unwrap_or_default();
}

/// Where orderings stronger than relaxed were met so far: `file:line:column`.
pub fn places() -> BTreeSet<String> {
    PLACES.with_borrow(Clone::clone)
}

fn wrong(what: &str) -> bool {
    WRONG.with(|wrong| wrong == what)
}

/// Notes an ordering; false when this process is to do without it.
fn kept(order: Ordering, place: &Location<'_>) -> bool {
    if order == Ordering::Relaxed {
        return true;
    }
    let place = format!("{}:{}:{}", place.file(), place.line(), place.column());
    let kept = !wrong(&place);
    PLACES.with_borrow_mut(|places| places.insert(place));
    kept
}

#[track_caller]
fn effective(order: Ordering) -> Ordering {
    if kept(order, Location::caller()) { order } else { Ordering::Relaxed }
}

#[track_caller]
pub fn fence(order: Ordering) {
    if kept(order, Location::caller()) {
        loom::sync::atomic::fence(order);
    }
}

macro_rules! common {
    ($value:ty) => {
        #[track_caller]
        pub fn load(&self, order: Ordering) -> $value {
            self.0.load(effective(order))
        }

        #[track_caller]
        pub fn store(&self, value: $value, order: Ordering) {
            self.0.store(value, effective(order));
        }

        #[track_caller]
        pub fn swap(&self, value: $value, order: Ordering) -> $value {
            self.0.swap(value, effective(order))
        }

        pub fn get_mut(&mut self) -> &mut $value {
            let value = self.0.with_mut(std::ptr::from_mut);
            // SAFETY: what the atomic holds, borrowed as long as the atomic is.
            unsafe { &mut *value }
        }
    };
}

macro_rules! numbers {
    ($($name:ident: $value:ty,)*) => { $(
        pub struct $name(loom::sync::atomic::$name);

        impl Default for $name {
            fn default() -> Self {
                Self::new(0)
            }
        }

        // Not each of them needs all.
        #[allow(dead_code)]
        impl $name {
            common!($value);

            pub fn new(value: $value) -> Self {
                Self(loom::sync::atomic::$name::new(value))
            }

            #[track_caller]
            pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                self.0.fetch_add(value, effective(order))
            }

            #[track_caller]
            pub fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                self.0.fetch_sub(value, effective(order))
            }
        }
    )* };
}

numbers! {
    AtomicI32: i32,
    AtomicI64: i64,
    AtomicU32: u32,
    AtomicU64: u64,
}

pub struct AtomicPtr<T>(loom::sync::atomic::AtomicPtr<T>);

impl<T> Default for AtomicPtr<T> {
    fn default() -> Self {
        Self::new(std::ptr::null_mut())
    }
}

impl<T> AtomicPtr<T> {
    common!(*mut T);

    pub fn new(value: *mut T) -> Self {
        Self(loom::sync::atomic::AtomicPtr::new(value))
    }

    pub fn into_inner(mut self) -> *mut T {
        *self.get_mut()
    }

    #[track_caller]
    pub fn compare_exchange_weak(
        &self,
        current: *mut T,
        new: *mut T,
        success: Ordering,
        failure: Ordering,
    ) -> Result<*mut T, *mut T> {
        self.0.compare_exchange_weak(current, new, effective(success), failure)
    }
}

#[derive(Default)]
pub struct Condvar(loom::sync::Condvar);

impl Condvar {
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.0.wait(guard)
    }

    pub fn notify_all(&self) {
        if !wrong(NOTIFY) {
            self.0.notify_all();
        }
    }
}

/// A collector that promises no more than crossbeam's does: what is deferred runs once nobody is pinned, after all that
/// was done before it was deferred and after all that those did who were pinned; and who is pinned after it ran knows
/// of it. That who is pinned earlier may know of it too is not promised, and not modelled.
pub mod epoch {
    use super::{Ordering, PIN, wrong};
    use loom::sync::atomic::AtomicUsize;
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::rc::Rc;

    type Deferred = Box<dyn FnOnce()>;

    struct Collector {
        pinned: AtomicUsize,
        deferred: AtomicUsize,
        collections: AtomicUsize,
        /// Those at the front are as old as their number; how many have run.
        waiting: RefCell<(VecDeque<Deferred>, usize)>,
    }

    thread_local! {
        static COLLECTOR: RefCell<Option<Rc<Collector>>> = const { RefCell::new(None) };
    }

    pub struct Guard(Rc<Collector>);

    /// For one execution of a model.
    pub fn begin() {
        let collector = Collector {
            pinned: AtomicUsize::new(0),
            deferred: AtomicUsize::new(0),
            collections: AtomicUsize::new(0),
            waiting: RefCell::default(),
        };
        COLLECTOR.set(Some(Rc::new(collector)));
    }

    /// Runs what is left; all other threads have ended.
    pub fn end() {
        let collector = COLLECTOR.take().expect("an execution");
        collector.collect();
        assert!(collector.waiting.borrow().0.is_empty(), "something was never given back");
    }

    pub fn pin() -> Guard {
        let collector = COLLECTOR.with_borrow(Clone::clone).expect("an execution");
        if !wrong(PIN) {
            collector.pinned.fetch_add(1, Ordering::Relaxed);
        }
        collector.collections.fetch_add(0, Ordering::Acquire);
        Guard(collector)
    }

    impl Collector {
        fn collect(&self) {
            if self.waiting.borrow().0.is_empty() {
                return;
            }
            let known = self.deferred.fetch_add(0, Ordering::Acquire);
            // Before the look at who is pinned: who is pinned after that look comes after this.
            self.collections.fetch_add(1, Ordering::Release);
            if self.pinned.fetch_add(0, Ordering::Acquire) != 0 {
                return;
            }
            loop {
                let mut waiting = self.waiting.borrow_mut();
                if waiting.1 >= known {
                    return;
                }
                let Some(next) = waiting.0.pop_front() else { return };
                waiting.1 += 1;
                drop(waiting);
                next();
            }
        }
    }

    impl Guard {
        /// # Safety
        /// As crossbeam's.
        pub unsafe fn defer_unchecked<F: FnOnce()>(&self, run: F) {
            let run: Box<dyn FnOnce() + '_> = Box::new(run);
            // SAFETY: by contract what it holds lives long enough.
            let run = unsafe { std::mem::transmute::<Box<dyn FnOnce() + '_>, Deferred>(run) };
            self.0.waiting.borrow_mut().0.push_back(run);
            self.0.deferred.fetch_add(1, Ordering::Release);
        }
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            if !wrong(PIN) {
                self.0.pinned.fetch_sub(1, Ordering::Release);
            }
            self.0.collect();
        }
    }
}

/// A cell of loom's stands for each piece of memory: writing it for making and ending, reading it for looking. Loom
/// reports accesses of which neither is known to happen before the other.
pub mod memory {
    use loom::cell::UnsafeCell;
    use std::cell::RefCell;
    use std::collections::HashMap;
    use std::rc::Rc;

    thread_local! {
        static CELLS: RefCell<HashMap<usize, Rc<UnsafeCell<()>>>> = RefCell::default();
    }

    /// For one execution of a model.
    pub fn begin() {
        CELLS.with_borrow_mut(HashMap::clear);
    }

    pub fn made<T>(start: *const T) {
        let cell = Rc::new(UnsafeCell::new(()));
        cell.with_mut(|_| ());
        CELLS.with_borrow_mut(|cells| cells.insert(start.addr(), cell));
    }

    pub fn seen<T>(start: *const T) {
        let cell = CELLS.with_borrow(|cells| cells.get(&start.addr()).cloned());
        cell.expect("looked at after it was gone").with(|_| ());
    }

    pub fn gone<T>(start: *const T) {
        let cell = CELLS.with_borrow_mut(|cells| cells.remove(&start.addr()));
        cell.expect("gone twice").with_mut(|_| ());
    }
}
