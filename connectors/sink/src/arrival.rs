//! Waiting for the next parcel with a bound, for targets that have something to do when nothing comes.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use flowd_engine::worker::{Delivery, Outlet};

/// What the wait brought.
#[derive(Debug)]
pub(crate) enum Arrival<E> {
    /// The next parcel.
    Parcel(Delivery<E>),
    /// Nothing came by the deadline.
    Nothing,
    /// Nothing more will come.
    End,
}

/// Waits on this thread, and no other.
pub(crate) struct Waiter(Waker);

impl Waiter {
    /// For the calling thread.
    pub(crate) fn new() -> Self {
        Self(Waker::from(Arc::new(Unpark(thread::current()))))
    }

    /// The next parcel, waited for until `deadline` at the latest.
    pub(crate) fn next_until<E>(&self, parcels: &mut dyn Outlet<E>, deadline: Instant) -> Arrival<E> {
        let mut context = Context::from_waker(&self.0);
        loop {
            match parcels.poll_next(&mut context) {
                Poll::Ready(Some(delivery)) => return Arrival::Parcel(delivery),
                Poll::Ready(None) => return Arrival::End,
                Poll::Pending => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Arrival::Nothing;
            }
            thread::park_timeout(left);
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
