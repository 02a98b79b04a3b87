//! A bounded queue into a core, and one wake.
//!
//! Any core pushes, one core pops. Waking another core is the dearest thing on the write path, so it is skipped
//! while the owner is awake: the owner announces that it will sleep, looks once more, and only then sleeps; a
//! pusher wakes it only if it finds that announcement.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam::queue::ArrayQueue;

/// Gets the owner of a mailbox out of its sleep. Called from any core.
pub trait Wake: Send + Sync {
    fn wake(&self);
}

pub struct Mailbox<T> {
    queue: ArrayQueue<T>,
    /// True while the owner sleeps or is about to.
    asleep: AtomicBool,
    waker: Box<dyn Wake>,
}

impl<T> fmt::Debug for Mailbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({}/{})", self.queue.len(), self.queue.capacity())
    }
}

impl<T> Mailbox<T> {
    pub fn new(slots: usize, waker: Box<dyn Wake>) -> Mailbox<T> {
        Mailbox { queue: ArrayQueue::new(slots), asleep: AtomicBool::new(false), waker }
    }

    /// Puts a message in, without waking; gives it back when the queue is full.
    pub fn push(&self, message: T) -> Result<(), T> {
        self.queue.push(message)
    }

    /// Wakes the owner if it sleeps. Call once after a run of pushes.
    pub fn wake(&self) {
        // Pairs with the fence in `prepare_sleep`: either the owner sees the push, or this sees `asleep`.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    pub fn pop(&self) -> Option<T> {
        self.queue.pop()
    }

    /// Free slots; can only grow while the caller is the only pusher.
    pub fn room(&self) -> usize {
        self.queue.capacity() - self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Owner: announces sleep. False when something has arrived meanwhile: do not sleep.
    pub fn prepare_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.queue.is_empty() {
            return true;
        }
        self.asleep.store(false, Ordering::Relaxed);
        false
    }

    /// Owner: awake again, whatever the reason.
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    struct Count(Arc<AtomicUsize>);

    impl Wake for Count {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn only_a_sleeper_is_woken_and_only_once() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let mailbox = Mailbox::new(2, Box::new(Count(wakes.clone())));
        assert_eq!(mailbox.push(1), Ok(()));
        mailbox.wake();
        assert_eq!(wakes.load(Ordering::Relaxed), 0);
        assert!(!mailbox.prepare_sleep(), "there is a message");
        assert_eq!(mailbox.pop(), Some(1));
        assert!(mailbox.prepare_sleep());
        assert_eq!(mailbox.push(2), Ok(()));
        mailbox.wake();
        mailbox.wake();
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        assert_eq!(mailbox.push(3), Ok(()));
        assert_eq!(mailbox.push(4), Err(4));
    }
}
