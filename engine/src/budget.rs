//! The byte budget: what the buffers of a pipeline may hold together, and who waits when it is spent.
//!
//! The sum. `pipeline.memory` is split once ([`Shares::of`]):
//!
//! ```text
//! 1/4  source   buffers being filled, and batches that wait for their lane or are being encoded
//! 1/2  parcels  encoded parcels: pooled, being filled, in the rings, and with the target until recycled
//! 1/8  snapshot chunks that are being read or wait for their moment, and the keys that changed meanwhile
//! 1/8  rest     sockets, the target's own tables, catalogs, the registry's write buffer, the ledger of positions
//! ```
//!
//! The parcels' half is divided among the lanes evenly, each with a budget of its own. A lane can then only wait for
//! parcels of its own that come *before* what it encodes now: the target either finds them in the lane's ring or holds
//! them already. Lanes that ran ahead can thus never starve the lane whose turn it is.
//!
//! A request that is larger than its share is granted once nothing else is out, so that it is slow and never stuck.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crossbeam::queue::ArrayQueue;

use crate::parcel::{BYTES_FULL, Parcel};
use crate::sync::{AtomicBool, AtomicUsize, Ordering};
use crate::wake::WakeSlot;
use crate::worker::Closed;

/// How `pipeline.memory` is shared out, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// For what the source has read and the lanes have not encoded yet.
    pub source: usize,
    /// For encoded parcels of all lanes, pooled ones included.
    pub parcels: usize,
    /// For what a snapshot has read and the source has not handed on yet.
    pub snapshot: usize,
    /// For everything that is not counted one by one.
    pub rest: usize,
}

impl Shares {
    /// The least `pipeline.memory` that makes sense: 16 MiB, so that each of eight lanes has room for two parcels.
    pub const MEMORY_MIN: usize = 16 * 1024 * 1024;

    /// Splits `memory` bytes.
    pub fn of(memory: usize) -> Self {
        let source = memory / 4;
        let parcels = memory / 2;
        let snapshot = memory / 8;
        Self { source, parcels, snapshot, rest: memory - source - parcels - snapshot }
    }

    /// One lane's part of the parcels' share.
    pub fn lane(&self, lanes: usize) -> usize {
        self.parcels / lanes.max(1)
    }

    /// The largest event off the wire that is still transcoded; larger ones follow `onReject`.
    pub fn event_bytes_max(&self) -> usize {
        self.source
    }
}

/// A byte budget that one thread takes from and any thread gives back to.
pub(crate) struct Budget {
    limit: usize,
    /// Raised by the one taker, lowered by givers. `AcqRel`, because a buffer freed by the giver is free for the taker.
    used: AtomicUsize,
    /// Set once by whoever closes; read by the taker.
    closed: AtomicBool,
    /// The taker waits here.
    freed: WakeSlot,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            freed: WakeSlot::new(),
        })
    }

    /// A permit for nothing yet.
    pub(crate) fn permit(self: &Arc<Self>) -> Permit {
        Permit { budget: self.clone(), bytes: 0 }
    }

    /// Bytes that are out.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Wakes the taker and refuses from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.freed.wake();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// Bytes taken from a budget; given back when dropped.
pub(crate) struct Permit {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Permit {
    /// Takes `bytes` more, sleeping until they fit or until this permit is all that is out.
    pub(crate) fn acquire(&mut self, bytes: usize) -> Result<(), Closed> {
        self.budget.freed.wait(|| self.look(bytes))?;
        self.force(bytes);
        Ok(())
    }

    /// As [`acquire`](Self::acquire), for a task.
    pub(crate) fn poll_acquire(
        &mut self,
        context: &mut Context<'_>,
        bytes: usize,
    ) -> Poll<Result<(), Closed>> {
        ready!(self.budget.freed.poll(context, || self.look(bytes)))?;
        self.force(bytes);
        Poll::Ready(Ok(()))
    }

    /// Whether `bytes` more may be taken; `None` where not yet.
    fn look(&self, bytes: usize) -> Option<Result<(), Closed>> {
        let Budget { limit, used, .. } = &*self.budget;
        if self.budget.is_closed() {
            return Some(Err(Closed));
        }
        let used = used.load(Ordering::Acquire);
        let fits = used.saturating_add(bytes) <= *limit || used == self.bytes;
        fits.then_some(Ok(()))
    }

    /// Takes `bytes` more at once, over the limit if need be: they exist already.
    pub(crate) fn force(&mut self, bytes: usize) {
        self.budget.used.fetch_add(bytes, Ordering::AcqRel);
        self.bytes += bytes;
    }

    /// This permit's bytes, leaving an empty one in its place.
    pub(crate) fn split(&mut self) -> Self {
        let bytes = std::mem::take(&mut self.bytes);
        Self { budget: self.budget.clone(), bytes }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.bytes > 0 {
            let before = self.budget.used.fetch_sub(self.bytes, Ordering::AcqRel);
            debug_assert!(before >= self.bytes, "{} bytes given back of {before} that were out", self.bytes);
            self.budget.freed.wake();
        }
    }
}

/// Spare parcels of events of one kind. There are never more alive, spare ones included, than permits were out at one time, because a new
/// one is only made when none is spare.
pub(crate) struct Pool<E> {
    spare: ArrayQueue<Parcel<E>>,
}

impl<E> Pool<E> {
    /// A fresh buffer's capacity: a full parcel and 64 KiB for its last event.
    const BUFFER_BYTES: usize = BYTES_FULL + 64 * 1024;
    /// A fresh list's capacity: a full parcel of the smallest events that occur (about 256 bytes).
    const EVENTS: usize = 1024;
    /// What a parcel counts in its lane's budget before it is filled: 360 KiB where an event is 40 bytes.
    pub(crate) const CHARGE: usize = Self::BUFFER_BYTES + Self::EVENTS * size_of::<E>();

    /// A pool for a parcels' share of so many bytes.
    pub(crate) fn new(share: usize, lanes: usize) -> Arc<Self> {
        Arc::new(Self { spare: ArrayQueue::new((share / Self::CHARGE).max(lanes)) })
    }

    /// An empty parcel.
    pub(crate) fn take(&self) -> Parcel<E> {
        self.spare.pop().unwrap_or_else(|| Parcel {
            buffer: Vec::with_capacity(Self::BUFFER_BYTES),
            events: Vec::with_capacity(Self::EVENTS),
            rejects: Vec::new(),
        })
    }

    /// Takes a parcel's memory back. One that grew, or whose buffer was taken out, is not kept.
    pub(crate) fn give(&self, mut parcel: Parcel<E>) {
        let usual =
            parcel.buffer.capacity() == Self::BUFFER_BYTES && parcel.events.capacity() <= 2 * Self::EVENTS;
        if usual {
            parcel.clear();
            drop(self.spare.push(parcel));
        }
    }

    /// How many bytes a filled parcel holds over its charge.
    pub(crate) fn excess(parcel: &Parcel<E>) -> usize {
        let lines: usize = parcel.rejects.iter().map(|reject| reject.line.capacity()).sum();
        let held = parcel.buffer.capacity() + parcel.events.capacity() * size_of::<E>() + lines;
        held.saturating_sub(Self::CHARGE)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::task::Waker;
    use std::thread;

    use super::*;

    #[test]
    fn the_shares_add_up_to_the_memory() {
        for memory in [Shares::MEMORY_MIN, 64 << 20, 256 << 20, 1_000_000_007] {
            let shares = Shares::of(memory);
            assert_eq!(shares.source + shares.parcels + shares.snapshot + shares.rest, memory);
        }
    }

    #[test]
    fn the_least_memory_has_room_for_two_parcels_in_each_of_eight_lanes() {
        assert!(Shares::of(Shares::MEMORY_MIN).lane(8) >= 2 * Pool::<[u64; 5]>::CHARGE);
    }

    #[test]
    fn a_taker_sleeps_until_bytes_come_back() {
        let budget = Budget::new(100);
        let mut first = budget.permit();
        first.acquire(80).unwrap();
        let other = budget.clone();
        let taker = thread::spawn(move || {
            let mut second = other.permit();
            second.acquire(50).unwrap();
            other.used()
        });
        drop(first);
        assert_eq!(taker.join().unwrap(), 50);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_task_is_refused_room_that_is_not_there_and_takes_it_once_it_is() {
        let budget = Budget::new(100);
        let (mut first, mut second) = (budget.permit(), budget.permit());
        let mut context = Context::from_waker(Waker::noop());
        assert!(first.poll_acquire(&mut context, 80).is_ready());
        assert!(second.poll_acquire(&mut context, 50).is_pending());
        assert_eq!(budget.used(), 80);
        drop(first);
        assert_eq!(second.poll_acquire(&mut context, 50), Poll::Ready(Ok(())));
        assert_eq!(budget.used(), 50);
        budget.close();
        assert_eq!(second.poll_acquire(&mut context, 1), Poll::Ready(Err(Closed)));
    }

    #[test]
    fn a_request_over_the_limit_passes_when_it_is_alone() {
        let budget = Budget::new(100);
        let mut permit = budget.permit();
        permit.acquire(40).unwrap();
        permit.acquire(1_000).unwrap();
        assert_eq!(budget.used(), 1_040);
    }

    #[test]
    fn a_closed_budget_refuses_a_sleeping_taker() {
        let budget = Budget::new(100);
        let mut first = budget.permit();
        first.acquire(100).unwrap();
        let other = budget.clone();
        let taker = thread::spawn(move || other.permit().acquire(1));
        budget.close();
        assert_eq!(taker.join().unwrap(), Err(Closed));
    }

    #[test]
    fn a_parcel_that_grew_is_not_kept() {
        let pool = Pool::<u64>::new(10 * Pool::<u64>::CHARGE, 1);
        let mut parcel = pool.take();
        parcel.buffer.resize(4 << 20, 0);
        assert!(Pool::excess(&parcel) > 3 << 20);
        pool.give(parcel);
        assert_eq!(pool.spare.len(), 0);
        pool.give(pool.take());
        assert_eq!(pool.spare.len(), 1);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;

    /// The taker has a thread of its own: loom's `join` does not bear a late `unpark` of the thread that joins.
    fn model(limit: usize, give: fn(Permit, &Budget) -> Option<Permit>, taken: Result<(), Closed>) {
        loom::model(move || {
            let budget = Budget::new(limit);
            let mut permit = budget.permit();
            permit.acquire(limit).expect("open");
            let (giving, taking) = (budget.clone(), budget.clone());
            let giver = loom::thread::spawn(move || give(permit, &giving));
            let taker = loom::thread::spawn(move || {
                let mut next = taking.permit();
                assert_eq!(next.acquire(1), taken);
            });
            let kept = giver.join().expect("no panic");
            taker.join().expect("no panic");
            drop(kept);
            assert_eq!(budget.used(), 0);
        });
    }

    #[test]
    fn loom_bytes_given_back_wake_the_taker() {
        let give = |permit, _: &Budget| {
            drop(permit);
            None
        };
        model(2, give, Ok(()));
    }

    #[test]
    fn loom_a_close_wakes_the_taker() {
        let close = |permit, budget: &Budget| {
            budget.close();
            Some(permit)
        };
        model(1, close, Err(Closed));
    }
}
