//! Acknowledgement: one counter per writer, and the watermark, which is their minimum.
//!
//! A writer counts what it has finished in order, so a single number says everything; there is no count per event and
//! no channel. The watermark can only grow, and it never passes what some writer has not finished.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;

use crate::sync::{AtomicU64, Ordering};

/// The counters of a fixed number of writers.
#[derive(Debug)]
pub struct Acks {
    /// Each is written by its writer alone and read by whoever asks for the watermark. `Release`/`Acquire`: who sees
    /// the count also sees what the writer did before it counted.
    counters: Box<[CachePadded<AtomicU64>]>,
}

impl Acks {
    /// Counters for `writers` writers, all at 0.
    ///
    /// # Panics
    /// With no writer there is no minimum.
    pub fn new(writers: usize) -> Self {
        assert!(writers > 0, "acknowledgement needs at least one writer");
        Self { counters: (0..writers).map(|_| CachePadded::new(AtomicU64::new(0))).collect() }
    }

    /// The writer with this index has finished everything before `count`. A smaller count than before changes nothing.
    pub fn advance(&self, writer: usize, count: u64) {
        let counter = &self.counters[writer];
        // The writer is the only one who stores here, so its own load is never stale.
        if count > counter.load(Ordering::Relaxed) {
            counter.store(count, Ordering::Release);
        }
    }

    /// What every writer has finished: everything before this count.
    pub fn watermark(&self) -> u64 {
        self.counters.iter().map(|counter| counter.load(Ordering::Acquire)).min().unwrap_or(0)
    }
}

/// A slot that holds the newest value only: one thread puts, another takes what is newest. Neither ever waits.
pub(crate) struct Latest<T>(Arc<ArrayQueue<T>>);

impl<T> Latest<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(ArrayQueue::new(1)))
    }

    /// Replaces the value.
    pub(crate) fn put(&self, value: T) {
        drop(self.0.force_push(value));
    }

    /// The value, if one was put since the last take.
    pub(crate) fn take(&self) -> Option<T> {
        self.0.pop()
    }
}

impl<T> Clone for Latest<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_value_is_taken_and_only_once() {
        let latest = Latest::new();
        latest.put(1);
        latest.put(2);
        assert_eq!(latest.take(), Some(2));
        assert_eq!(latest.take(), None);
    }

    #[test]
    fn the_watermark_is_the_slowest_writer() {
        let acks = Acks::new(3);
        acks.advance(0, 9);
        acks.advance(1, 4);
        assert_eq!(acks.watermark(), 0);
        acks.advance(2, 7);
        assert_eq!(acks.watermark(), 4);
    }

    #[test]
    fn a_counter_never_goes_back() {
        let acks = Acks::new(1);
        acks.advance(0, 9);
        acks.advance(0, 3);
        assert_eq!(acks.watermark(), 9);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::AtomicUsize;

    #[test]
    fn loom_the_watermark_never_passes_work_that_is_not_done() {
        loom::model(|| {
            let shared = Arc::new((Acks::new(2), AtomicUsize::new(0), AtomicUsize::new(0)));
            let first = shared.clone();
            let first = loom::thread::spawn(move || {
                for count in 1..=2 {
                    first.1.store(count, Ordering::Relaxed);
                    first.0.advance(0, count as u64);
                }
            });
            let second = shared.clone();
            let second = loom::thread::spawn(move || {
                second.2.store(1, Ordering::Relaxed);
                second.0.advance(1, 1);
            });
            let early = shared.0.watermark();
            assert!(shared.1.load(Ordering::Relaxed) as u64 >= early);
            assert!(shared.2.load(Ordering::Relaxed) as u64 >= early);
            first.join().expect("no panic");
            second.join().expect("no panic");
            assert_eq!(shared.0.watermark(), 1);
        });
    }
}
