//! Wakes one task of the target's thread. A ring is remembered until it is heard.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Cell<bool>,
    listener: RefCell<Option<Waker>>,
}

impl Bell {
    pub(crate) fn ring(&self) {
        if !self.rung.replace(true)
            && let Some(waker) = self.listener.take()
        {
            waker.wake();
        }
    }

    /// Ready once after each ring. One task listens.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.rung.take() {
            return Poll::Ready(());
        }
        let mut listener = self.listener.borrow_mut();
        if !listener.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *listener = Some(context.waker().clone());
        }
        Poll::Pending
    }
}
