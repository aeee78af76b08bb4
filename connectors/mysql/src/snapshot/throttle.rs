//! Bounds on how fast the source is read: rows and bytes a second, and threads that it runs itself.
//!
//! Invariant: over any time longer than `CREDIT_MAX` all workers together take no more than the rates allow, however
//! large the pieces are that they take.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::error::WireError;
use crate::query::text;

/// What was not used for so long back may be caught up: a read takes its time, and that counts too.
const CREDIT_MAX: Duration = Duration::from_secs(1);
/// A rate so small that its wait is longer means that one: a bound for arithmetic, not a tuning.
const WAIT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// The rates that all workers share.
#[derive(Debug)]
pub struct Throttle {
    buckets: Mutex<[Bucket; 2]>,
}

impl Throttle {
    /// With bounds on rows and on bytes a second; `None` is unlimited.
    pub fn new(rows_per_second: Option<u64>, bytes_per_second: Option<u64>) -> Self {
        Self { buckets: Mutex::new([rows_per_second, bytes_per_second].map(Bucket::new)) }
    }

    /// Accounts for what was read up to `now`; the caller is to wait that long before it reads on.
    pub fn take(&self, rows: u64, bytes: u64, now: Instant) -> Duration {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let [of_rows, of_bytes] = &mut *buckets;
        of_rows.take(rows, now).max(of_bytes.take(bytes, now))
    }
}

/// One rate.
#[derive(Debug)]
struct Bucket {
    per_second: Option<u64>,
    /// When everything that was taken will have been paid for; `None`: nothing was taken yet.
    paid: Option<Instant>,
}

impl Bucket {
    fn new(per_second: Option<u64>) -> Self {
        Self { per_second, paid: None }
    }

    fn take(&mut self, count: u64, now: Instant) -> Duration {
        let Some(per_second) = self.per_second else { return Duration::ZERO };
        let earliest = now.checked_sub(CREDIT_MAX).unwrap_or(now);
        let start = self.paid.unwrap_or(now).max(earliest);
        let paid = (start + cost(count, per_second)).min(now + WAIT_MAX);
        self.paid = Some(paid);
        paid.saturating_duration_since(now)
    }
}

fn cost(count: u64, per_second: u64) -> Duration {
    let cost = Duration::try_from_secs_f64(count as f64 / per_second.max(1) as f64);
    cost.map_or(WAIT_MAX, |cost| cost.min(WAIT_MAX))
}

/// Threads of ours that run at every moment: the one that answers [`threads_running`], and the one that sends the binlog,
/// which counts as running on every server while it waits.
pub const OURS_RUNNING: u64 = 2;

/// How many threads the source runs right now, ours among them.
pub fn threads_running(connection: &mut Connection) -> Result<u64, WireError> {
    let row = connection.query_first("SHOW GLOBAL STATUS LIKE 'Threads_running'")?.unwrap_or_default();
    let value = text(&row, 1);
    value.parse().map_err(|_| WireError::Protocol(format!("Threads_running is {value:?}, not a number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seconds(wait: Duration) -> f64 {
        (wait.as_secs_f64() * 1000.0).round() / 1000.0
    }

    #[test]
    fn without_rates_nobody_waits() {
        let throttle = Throttle::new(None, None);
        assert_eq!(throttle.take(u64::MAX, u64::MAX, Instant::now()), Duration::ZERO);
    }

    #[test]
    fn all_takers_together_keep_to_the_rate() {
        let throttle = Throttle::new(Some(100), None);
        let now = Instant::now();
        // Two workers at the same moment: the second one waits for both.
        assert_eq!(seconds(throttle.take(50, 0, now)), 0.5);
        assert_eq!(seconds(throttle.take(50, 0, now)), 1.0);
        assert_eq!(seconds(throttle.take(100, 0, now + SECOND)), 1.0);
    }

    #[test]
    fn the_scarcer_of_rows_and_bytes_decides() {
        let throttle = Throttle::new(Some(1000), Some(1000));
        assert_eq!(seconds(throttle.take(10, 5000, Instant::now())), 5.0);
    }

    #[test]
    fn the_time_of_a_read_counts_but_idle_time_is_not_saved_up() {
        let start = Instant::now();
        let throttle = Throttle::new(Some(100), None);
        assert_eq!(seconds(throttle.take(10, 0, start)), 0.1);
        // The next read took 0.3 s of its own: it has paid for 0.2 s of it already.
        assert_eq!(seconds(throttle.take(50, 0, start + SECOND * 4 / 10)), 0.2);
        // An hour of idleness is worth a second.
        let later = start + SECOND * 3600;
        assert_eq!(seconds(throttle.take(100, 0, later)), 0.0);
        assert_eq!(seconds(throttle.take(100, 0, later)), 1.0);
    }

    #[test]
    fn a_rate_far_too_small_makes_a_long_wait_and_no_panic() {
        let throttle = Throttle::new(Some(1), Some(1));
        let now = Instant::now();
        for _ in 0..3 {
            assert_eq!(throttle.take(u64::MAX, u64::MAX, now), WAIT_MAX);
        }
    }
}
