//! The wake-up slot: how one waiter sleeps until another thread has changed something, without spinning.
//!
//! A waiter is a [`Waker`], so that a blocking thread (whose waker unparks it) and an async task wait by the same path.
//! One slot has one waiter at a time and any number of threads that wake it.
//!
//! Why no wake-up is lost: the waiter *sets* `waiting`, then *looks* at the state; the other side *changes* the state,
//! then *looks* at `waiting`. A sequentially consistent fence stands between the two steps on both sides. One of the
//! two fences is first in the single order of such fences: if the waiter's is, the other side sees `waiting` and wakes
//! it; if the other side's is, the waiter's look sees the change and does not sleep. The loom models in `ring` and
//! `budget` walk through every interleaving.
//!
//! The mutex is taken only to go to sleep and to wake a sleeper, never while data flows.

use std::sync::Arc;
use std::sync::PoisonError;
use std::task::{Context, Poll, Wake, Waker};

use crate::sync::{AtomicBool, Mutex, Ordering, Thread, current, fence, park};

/// A place for one waiter.
pub(crate) struct WakeSlot {
    /// Set by the waiter before it looks a last time, cleared by whoever wakes it. Ordered by the fences; `AcqRel` only
    /// makes the waker that was stored before it visible. Every write is a swap, so that writes of both sides form one
    /// chain and a clearing can never hide a setting that came after it.
    waiting: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl WakeSlot {
    pub(crate) fn new() -> Self {
        Self { waiting: AtomicBool::new(false), waker: Mutex::new(None) }
    }

    /// Announces the waiter. It must look at the state once more after this, before it sleeps.
    fn arm(&self, waker: &Waker) {
        let mut slot = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
        drop(slot);
        self.waiting.swap(true, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// The waiter found what it looked for after all. Only spares the other side a wake-up.
    fn disarm(&self) {
        self.waiting.swap(false, Ordering::AcqRel);
    }

    /// Wakes the waiter, if there is one. Call after the state has changed.
    pub(crate) fn wake(&self) {
        fence(Ordering::SeqCst);
        if !self.waiting.load(Ordering::Relaxed) || !self.waiting.swap(false, Ordering::AcqRel) {
            return;
        }
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What `look` finds, or nothing yet: the task is woken when it is to look again.
    pub(crate) fn poll<T>(&self, context: &Context<'_>, mut look: impl FnMut() -> Option<T>) -> Poll<T> {
        if let Some(found) = look() {
            return Poll::Ready(found);
        }
        self.look_last(context.waker(), look)
    }

    /// Sleeps until `look` finds something.
    pub(crate) fn wait<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        if let Some(found) = look() {
            return found;
        }
        with_thread_waker(|waker| {
            loop {
                if let Poll::Ready(found) = self.look_last(waker, &mut look) {
                    return found;
                }
                park();
            }
        })
    }

    fn look_last<T>(&self, waker: &Waker, mut look: impl FnMut() -> Option<T>) -> Poll<T> {
        self.arm(waker);
        match look() {
            Some(found) => {
                self.disarm();
                Poll::Ready(found)
            }
            None => Poll::Pending,
        }
    }
}

/// A waker that unparks a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs `run` with this thread's own waker, which is made once per thread.
#[cfg(not(loom))]
pub(crate) fn with_thread_waker<T>(run: impl FnOnce(&Waker) -> T) -> T {
    thread_local! {
        static WAKER: Waker = Waker::from(Arc::new(Unpark(current())));
    }
    WAKER.with(run)
}

/// In a model every waiting makes its own waker: a model's threads do not outlive one interleaving.
#[cfg(loom)]
pub(crate) fn with_thread_waker<T>(run: impl FnOnce(&Waker) -> T) -> T {
    run(&Waker::from(Arc::new(Unpark(current()))))
}
