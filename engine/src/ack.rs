//! Acknowledgement: one counter per writer, and the watermark, which is their minimum.
//!
//! A writer counts what it has finished in order, so a single number says everything; there is no count per event and
//! no channel. The watermark can only grow, and it never passes what some writer has not finished.

use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;

use crate::record::Position;
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::wake::WakeSlot;

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

/// The newest acknowledged position with the counts of events that belong to it: put as one and taken as one.
#[derive(Clone)]
pub(crate) struct AckedMark(Arc<Mutex<Acked>>);

struct Acked {
    /// None once it was taken.
    position: Option<Position>,
    /// The last number of each lane of each topic (`sequence`).
    counts: Vec<u64>,
}

impl AckedMark {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Acked { position: None, counts: Vec::new() })))
    }

    /// The position is reached, and with it these counts are.
    pub(crate) fn put(&self, position: Position, changes: impl IntoIterator<Item = (u32, u64)>) {
        let mut acked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (slot, number) in changes {
            let slot = slot as usize;
            if slot >= acked.counts.len() {
                acked.counts.resize(slot + 1, 0);
            }
            acked.counts[slot] = number;
        }
        acked.position = Some(position);
    }

    /// The position, if one was put since the last take; its counts go over those in `counts` that have changed since
    /// the pipeline began.
    pub(crate) fn take(&self, counts: &mut Vec<u64>) -> Option<Position> {
        let mut acked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let position = acked.position.take()?;
        if counts.len() < acked.counts.len() {
            counts.resize(acked.counts.len(), 0);
        }
        // A lane that has counted nothing in this run keeps what it had.
        for (count, newest) in counts.iter_mut().zip(&acked.counts) {
            *count = (*count).max(*newest);
        }
        Some(position)
    }
}

/// The acknowledged positions as a source sees them: for one that must acknowledge in its turn what it was sent.
///
/// Clones are the same handle; one of them waits at a time.
#[derive(Clone)]
pub struct Confirmed(Arc<Confirmations>);

struct Confirmations {
    newest: Latest<Position>,
    waiter: WakeSlot,
}

impl Confirmed {
    /// Nothing confirmed yet.
    pub fn new() -> Self {
        Self(Arc::new(Confirmations { newest: Latest::new(), waiter: WakeSlot::new() }))
    }

    /// The engine's side: everything up to `position` is acknowledged.
    pub fn put(&self, position: Position) {
        self.0.newest.put(position);
        self.0.waiter.wake();
    }

    /// The newest acknowledged position, if there is one since the last time.
    pub fn take(&self) -> Option<Position> {
        self.0.newest.take()
    }

    /// As [`take`](Self::take), for a task that waits.
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<Position> {
        self.0.waiter.poll(context, || self.take())
    }
}

impl Default for Confirmed {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::task::Waker;

    use super::*;

    fn position(number: u8) -> Position {
        Position(vec![number].into())
    }

    #[test]
    fn a_confirmation_wakes_the_one_who_waits_and_is_told_once() {
        let confirmed = Confirmed::new();
        let mut context = Context::from_waker(Waker::noop());
        assert!(confirmed.poll(&mut context).is_pending());
        let handle = confirmed.clone();
        handle.put(position(1));
        handle.put(position(2));
        assert_eq!(confirmed.poll(&mut context), Poll::Ready(position(2)));
        assert_eq!(confirmed.take(), None);
    }

    #[test]
    fn a_lane_that_counts_nothing_keeps_what_was_stored() {
        let mark = AckedMark::new();
        let mut counts = vec![4, 0, 6];
        assert_eq!(mark.take(&mut counts), None);
        mark.put(position(1), [(1, 2)]);
        mark.put(position(2), [(3, 1)]);
        assert_eq!(mark.take(&mut counts), Some(position(2)));
        assert_eq!(counts, [4, 2, 6, 1]);
    }

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
    fn loom_a_position_is_never_taken_with_other_counts_than_its_own() {
        loom::model(|| {
            let mark = AckedMark::new();
            let putting = mark.clone();
            let putting = loom::thread::spawn(move || {
                for number in 1..=2 {
                    putting.put(Position(vec![number].into()), [(0, u64::from(number))]);
                }
            });
            let mut counts = Vec::new();
            for _ in 0..2 {
                if let Some(position) = mark.take(&mut counts) {
                    assert_eq!(u64::from(position.0[0]), counts[0]);
                }
            }
            putting.join().expect("no panic");
        });
    }

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
