//! The bounded ring between two threads: one producer, one consumer, counted in items.
//!
//! Neither side spins: a producer of a full ring and a consumer of an empty one sleep in a [`WakeSlot`]. The producer sleeps until
//! half of the ring is free: woken for each item, it would fall asleep again behind it. Closing, from
//! either side or from a [`Closer`], refuses new items at once; what is in the ring is still handed out. The bytes that
//! the items hold are counted by a budget, not here.
//!
//! Memory: `capacity` items.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::sync::{AtomicBool, Ordering};
use crate::wake::WakeSlot;
use queue::Queue;

/// A ring's two ends.
pub(crate) fn ring<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        queue: Queue::new(capacity),
        closed: AtomicBool::new(false),
        filled: WakeSlot::new(),
        emptied: WakeSlot::new(),
    });
    (Sender(shared.clone()), Receiver(shared))
}

struct Shared<T> {
    queue: Queue<T>,
    /// Set once by whoever closes; read by both sides. `Release`/`Acquire`: a consumer that sees it also sees every
    /// item pushed before it.
    closed: AtomicBool,
    /// The consumer waits here.
    filled: WakeSlot,
    /// The producer waits here.
    emptied: WakeSlot,
}

impl<T> Shared<T> {
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.filled.wake();
        self.emptied.wake();
    }

    /// The next item; `Some(None)` at the end; `None` where there is nothing yet.
    fn look(&self) -> Option<Option<T>> {
        if let Some(item) = self.queue.pop() {
            if self.queue.is_half_free() {
                self.emptied.wake();
            }
            return Some(Some(item));
        }
        if !self.closed.load(Ordering::Acquire) {
            return None;
        }
        // An item may have come between the first look and the close.
        let last = self.queue.pop();
        Some(last)
    }
}

/// The producer's end. Dropping it closes the ring.
pub(crate) struct Sender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// Puts an item in, sleeping while the ring is full. `Err` gives it back: the ring is closed.
    pub(crate) fn push(&mut self, item: T) -> Result<(), T> {
        let mut waiting = Some(item);
        self.0.emptied.wait(|| {
            let item = waiting.take().expect("put back below unless the wait is over");
            if self.0.closed.load(Ordering::Acquire) {
                return Some(Err(item));
            }
            match self.0.queue.push(item) {
                Ok(()) => Some(Ok(())),
                Err(item) => {
                    waiting = Some(item);
                    None
                }
            }
        })?;
        self.0.filled.wake();
        Ok(())
    }

    /// Whether the next [`push`](Self::push) goes through at once, for a task: there is room, which nobody else takes, or
    /// the ring is closed.
    pub(crate) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let is_ready = || self.0.closed.load(Ordering::Acquire) || !self.0.queue.is_full();
        self.0.emptied.poll(context, || is_ready().then_some(()))
    }

    /// A handle that closes the ring from elsewhere.
    pub(crate) fn closer(&self) -> Closer<T> {
        Closer(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The consumer's end. Dropping it closes the ring.
pub(crate) struct Receiver<T>(Arc<Shared<T>>);

impl<T> Receiver<T> {
    /// Takes the next item, sleeping while there is none; `None` once the ring is closed and empty.
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.0.filled.wait(|| self.0.look())
    }

    /// As [`pop`](Self::pop), for a task.
    pub(crate) fn poll_pop(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.filled.poll(context, || self.0.look())
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.close();
        // What nobody will take gives its memory back now, not when the producer's thread ends.
        while self.0.queue.pop().is_some() {}
    }
}

/// Closes a ring from a third thread.
pub(crate) struct Closer<T>(Arc<Shared<T>>);

impl<T> Closer<T> {
    pub(crate) fn close(&self) {
        self.0.close();
    }
}

#[cfg(not(loom))]
mod queue {
    //! crossbeam's queue, which is lock-free.

    use crossbeam::queue::ArrayQueue;

    pub(super) struct Queue<T>(ArrayQueue<T>);

    impl<T> Queue<T> {
        pub(super) fn new(capacity: usize) -> Self {
            Self(ArrayQueue::new(capacity))
        }

        pub(super) fn push(&self, item: T) -> Result<(), T> {
            self.0.push(item)
        }

        pub(super) fn pop(&self) -> Option<T> {
            self.0.pop()
        }

        pub(super) fn is_full(&self) -> bool {
            self.0.is_full()
        }

        pub(super) fn is_half_free(&self) -> bool {
            self.0.len() <= self.0.capacity() / 2
        }
    }
}

#[cfg(loom)]
mod queue {
    //! A stand-in for crossbeam's queue that loom can see into, with no more ordering than crossbeam promises: full
    //! and empty are told by two counters with `Acquire` and `Release`.

    use crate::sync::{AtomicUsize, Mutex, Ordering};

    pub(super) struct Queue<T> {
        slots: Vec<Mutex<Option<T>>>,
        head: AtomicUsize,
        tail: AtomicUsize,
    }

    impl<T> Queue<T> {
        pub(super) fn new(capacity: usize) -> Self {
            let slots = (0..capacity).map(|_| Mutex::new(None)).collect();
            Self { slots, head: AtomicUsize::new(0), tail: AtomicUsize::new(0) }
        }

        pub(super) fn push(&self, item: T) -> Result<(), T> {
            if self.is_full() {
                return Err(item);
            }
            let tail = self.tail.load(Ordering::Relaxed);
            *self.slots[tail % self.slots.len()].lock().expect("no panic inside") = Some(item);
            self.tail.store(tail + 1, Ordering::Release);
            Ok(())
        }

        pub(super) fn pop(&self) -> Option<T> {
            let head = self.head.load(Ordering::Relaxed);
            if head == self.tail.load(Ordering::Acquire) {
                return None;
            }
            let item = self.slots[head % self.slots.len()].lock().expect("no panic inside").take();
            self.head.store(head + 1, Ordering::Release);
            item
        }

        /// Asked by the producer.
        pub(super) fn is_full(&self) -> bool {
            self.tail.load(Ordering::Relaxed) - self.head.load(Ordering::Acquire) == self.slots.len()
        }

        /// Asked by the consumer.
        pub(super) fn is_half_free(&self) -> bool {
            self.tail.load(Ordering::Acquire) - self.head.load(Ordering::Relaxed) <= self.slots.len() / 2
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};
    use std::thread;

    use super::*;

    #[test]
    fn items_come_out_in_the_order_they_went_in() {
        let (mut sender, mut receiver) = ring(2);
        let producer = thread::spawn(move || (0..10_000).for_each(|item| sender.push(item).unwrap()));
        for item in 0..10_000 {
            assert_eq!(receiver.pop(), Some(item));
        }
        assert_eq!(receiver.pop(), None);
        producer.join().unwrap();
    }

    #[test]
    fn a_closed_ring_hands_out_what_it_holds_and_takes_no_more() {
        let (mut sender, mut receiver) = ring(4);
        sender.push(1).unwrap();
        sender.closer().close();
        assert_eq!(sender.push(2), Err(2));
        assert_eq!(receiver.pop(), Some(1));
        assert_eq!(receiver.pop(), None);
    }

    #[test]
    fn a_producer_asleep_on_a_full_ring_is_woken_when_the_consumer_goes() {
        let (mut sender, receiver) = ring(1);
        sender.push(1).unwrap();
        let producer = thread::spawn(move || sender.push(2));
        drop(receiver);
        assert_eq!(producer.join().unwrap(), Err(2));
    }

    #[test]
    fn a_task_is_woken_once_a_full_ring_has_room_or_is_closed() {
        let (mut sender, mut receiver) = ring(1);
        let (count, waker) = counting_waker();
        let mut context = Context::from_waker(&waker);
        assert_eq!(sender.poll_ready(&mut context), Poll::Ready(()));
        sender.push(1).unwrap();
        assert_eq!(sender.poll_ready(&mut context), Poll::Pending);
        assert_eq!(receiver.pop(), Some(1));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(sender.poll_ready(&mut context), Poll::Ready(()));
        sender.push(2).unwrap();
        assert_eq!(sender.poll_ready(&mut context), Poll::Pending);
        drop(receiver);
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
        assert_eq!(sender.poll_ready(&mut context), Poll::Ready(()));
        assert_eq!(sender.push(3), Err(3));
    }

    #[test]
    fn a_producer_of_a_full_ring_is_woken_once_half_of_it_is_free() {
        let (mut sender, mut receiver) = ring(4);
        let (count, waker) = counting_waker();
        let mut context = Context::from_waker(&waker);
        (0..4).for_each(|item| sender.push(item).unwrap());
        assert_eq!(sender.poll_ready(&mut context), Poll::Pending);
        let woken = [0, 1, 2, 3].map(|item| {
            assert_eq!(receiver.pop(), Some(item));
            count.0.load(Ordering::SeqCst)
        });
        assert_eq!(woken, [0, 1, 1, 1]);
    }

    /// How often it was woken, and the waker.
    fn counting_waker() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        (count.clone(), Waker::from(count))
    }

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_task_that_found_nothing_is_woken_once_by_the_next_item() {
        let (mut sender, mut receiver) = ring(4);
        let (count, waker) = counting_waker();
        let mut context = Context::from_waker(&waker);
        assert_eq!(receiver.poll_pop(&mut context), Poll::Pending);
        sender.push(1).unwrap();
        sender.push(2).unwrap();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(receiver.poll_pop(&mut context), Poll::Ready(Some(1)));
        drop(sender);
        assert_eq!(receiver.poll_pop(&mut context), Poll::Ready(Some(2)));
        assert_eq!(*pin!(receiver.poll_pop(&mut context)), Poll::Ready(None));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;

    /// Runs both ends on threads of their own: loom's `join` does not bear a late `unpark` of the thread that joins.
    fn model<P, C>(capacity: usize, produce: P, consume: C)
    where
        P: Fn(Sender<u32>) + Copy + Send + Sync + 'static,
        C: Fn(Receiver<u32>) + Copy + Send + Sync + 'static,
    {
        let mut model = loom::model::Builder::new();
        // All interleavings with up to three preemptions; without the bound one model takes minutes.
        model.preemption_bound = Some(3);
        model.check(move || {
            let (sender, receiver) = ring(capacity);
            let producer = loom::thread::spawn(move || produce(sender));
            let consumer = loom::thread::spawn(move || consume(receiver));
            producer.join().expect("no panic");
            consumer.join().expect("no panic");
        });
    }

    #[test]
    fn loom_no_wake_up_is_lost_and_no_item_either() {
        let produce = |mut sender: Sender<u32>| (1..=2).for_each(|item| sender.push(item).expect("open"));
        model(1, produce, |mut receiver| {
            assert_eq!(receiver.pop(), Some(1));
            assert_eq!(receiver.pop(), Some(2));
            assert_eq!(receiver.pop(), None);
        });
    }

    #[test]
    fn loom_a_producer_that_sleeps_until_half_is_free_is_woken() {
        let produce = |mut sender: Sender<u32>| (1..=3).for_each(|item| sender.push(item).expect("open"));
        model(2, produce, |mut receiver| {
            (1..=3).for_each(|item| assert_eq!(receiver.pop(), Some(item)));
        });
    }

    #[test]
    fn loom_a_close_loses_no_item_that_was_taken() {
        let produce = |mut sender: Sender<u32>| {
            let closer = sender.closer();
            sender.push(7).expect("open");
            closer.close();
            assert_eq!(sender.push(8), Err(8));
        };
        model(1, produce, |mut receiver| {
            assert_eq!(receiver.pop(), Some(7));
            assert_eq!(receiver.pop(), None);
        });
    }

    #[test]
    fn loom_a_consumer_that_goes_frees_the_producer() {
        let produce = |mut sender: Sender<u32>| {
            let first = sender.push(1);
            let second = sender.push(2);
            assert!(first.is_ok() || second.is_err());
        };
        model(1, produce, drop);
    }

    #[test]
    fn loom_a_third_thread_wakes_both_ends() {
        loom::model(|| {
            let (sender, mut receiver) = ring::<u32>(1);
            let closer = sender.closer();
            let consumer = loom::thread::spawn(move || assert_eq!(receiver.pop(), None));
            let third = loom::thread::spawn(move || closer.close());
            consumer.join().expect("no panic");
            third.join().expect("no panic");
            drop(sender);
        });
    }
}
