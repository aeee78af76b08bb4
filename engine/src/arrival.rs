//! Waiting for the next parcel with a bound, for targets that have something to do when nothing comes.

use std::task::{Context, Poll};
use std::thread;
use std::time::Instant;

use crate::wake::with_thread_waker;
use crate::worker::{Delivery, Outlet};

/// What the wait brought.
#[derive(Debug)]
pub enum Arrival<E> {
    /// The next parcel.
    Parcel(Delivery<E>),
    /// Nothing came by the deadline.
    Nothing,
    /// Nothing more will come.
    End,
}

/// The next parcel, waited for until `deadline` at the latest. The calling thread parks.
pub fn next_until<E>(parcels: &mut dyn Outlet<E>, deadline: Instant) -> Arrival<E> {
    next_or(parcels, Some(deadline), |_| false)
}

/// As [`next_until`], for a target that waits for something else besides: `is_over` tells whether that has come, and wakes the
/// thread when it is to be asked again.
pub(crate) fn next_or<E>(
    parcels: &mut dyn Outlet<E>,
    deadline: Option<Instant>,
    mut is_over: impl FnMut(&mut Context<'_>) -> bool,
) -> Arrival<E> {
    with_thread_waker(|waker| {
        let mut context = Context::from_waker(waker);
        loop {
            match parcels.poll_next(&mut context) {
                Poll::Ready(Some(delivery)) => return Arrival::Parcel(delivery),
                Poll::Ready(None) => return Arrival::End,
                Poll::Pending => {}
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if is_over(&mut context) || left.is_some_and(|left| left.is_zero()) {
                return Arrival::Nothing;
            }
            left.map_or_else(thread::park, thread::park_timeout);
        }
    })
}
