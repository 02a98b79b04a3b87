//! A message from one core to another and back: the queue alone, and with a wake through an eventfd.
//! `cargo bench --bench mailbox`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use criterion::{Criterion, criterion_group, criterion_main};
use ringkeeper::ensemble::EventFd;
use ringkeeper::pipeline::{Mailbox, Wake};

struct NoWake;

impl Wake for NoWake {
    fn wake(&self) {}
}

fn same_core(c: &mut Criterion) {
    let mailbox = Mailbox::new(64, Box::new(NoWake));
    c.bench_function("mailbox/push and pop on one core", |b| {
        b.iter(|| {
            let _ = mailbox.push(1u64);
            mailbox.wake();
            mailbox.pop()
        })
    });
}

/// Sleeps in `read`, as a core sleeps in its ring.
fn receive(mailbox: &Mailbox<u64>, wake: &EventFd, stop: &AtomicBool) -> Option<u64> {
    loop {
        if let Some(message) = mailbox.pop() {
            return Some(message);
        }
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        if mailbox.prepare_sleep() {
            wake.wait();
        }
        mailbox.awake();
    }
}

fn two_cores(c: &mut Criterion) {
    let stop = Arc::new(AtomicBool::new(false));
    let (there_wake, back_wake) = (EventFd::new().unwrap(), EventFd::new().unwrap());
    let there = Arc::new(Mailbox::new(64, Box::new(there_wake.clone())));
    let back = Arc::new(Mailbox::new(64, Box::new(back_wake.clone())));
    let echo = {
        let (there, back, stop, wake) =
            (there.clone(), back.clone(), stop.clone(), there_wake.clone());
        std::thread::spawn(move || {
            while let Some(message) = receive(&there, &wake, &stop) {
                let _ = back.push(message);
                back.wake();
            }
        })
    };
    c.bench_function("mailbox/hop to another core and back, both asleep", |b| {
        b.iter(|| {
            let _ = there.push(7);
            there.wake();
            receive(&back, &back_wake, &stop)
        })
    });
    stop.store(true, Ordering::Relaxed);
    there_wake.wake();
    echo.join().unwrap();
}

criterion_group!(benches, same_core, two_cores);
criterion_main!(benches);
