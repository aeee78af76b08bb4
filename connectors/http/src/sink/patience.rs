//! A bound on waits that come one after another: one timer for all of them, which is set again only when it rings.
//!
//! A timer for each wait is put among all timers and taken out again, under their lock, though next to none ever rings.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Bounds one wait after another.
#[derive(Default)]
pub(super) struct Patience {
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// What `work` gives; `None` where that takes longer than `time_max`.
    pub(super) async fn wait<T>(&mut self, time_max: Duration, work: impl Future<Output = T>) -> Option<T> {
        let until = Instant::now() + time_max;
        let mut work = pin!(work);
        poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
            if timer.deadline() > until {
                timer.as_mut().reset(until);
            }
            loop {
                ready!(timer.as_mut().poll(context));
                if timer.deadline() >= until {
                    return Poll::Ready(None);
                }
                // It was set for a wait before this one.
                timer.as_mut().reset(until);
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::sleep;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_wait_ends_at_its_own_bound_whatever_was_waited_for_before() {
        let mut patience = Patience::default();
        for (time_max, before) in [(SHORT, SHORT), (2 * SHORT, SHORT), (SHORT, LONG), (3 * SHORT, LONG)] {
            // The timer may ring for this one while the next is waited for, or long after it.
            assert_eq!(patience.wait(before, sleep(SHORT / 4)).await, Some(()));
            let begin = Instant::now();
            assert_eq!(patience.wait(time_max, pending::<()>()).await, None);
            assert!((time_max..LONG / 2).contains(&begin.elapsed()), "{:?}", begin.elapsed());
        }
    }

    #[tokio::test]
    async fn a_wait_survives_that_the_bound_of_an_earlier_one_passes() {
        let mut patience = Patience::default();
        assert_eq!(patience.wait(SHORT, sleep(SHORT / 4)).await, Some(()));
        assert_eq!(patience.wait(LONG, sleep(3 * SHORT)).await, Some(()));
    }

    #[tokio::test]
    async fn what_is_there_at_once_needs_no_timer() {
        let mut patience = Patience::default();
        assert_eq!(patience.wait(Duration::ZERO, ready(1)).await, Some(1));
        assert!(patience.timer.is_none());
    }
}
