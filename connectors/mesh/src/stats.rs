//! Counters of the `mesh` target, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// A statistic. The target's thread alone writes it, anybody reads it; nothing is ordered by it, hence `Relaxed`.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Its value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Only the one writer calls this, so a load and a store lose nothing.
    pub(crate) fn add(&self, count: u64) {
        self.set(self.get().wrapping_add(count));
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// What the target has done so far.
#[derive(Debug, Default)]
pub struct Stats {
    /// Publishes handed to a connection, repeats included.
    pub published: Counter,
    /// Events acknowledged.
    pub acked: Counter,
    /// Publishes that were repeats: after a refusal, a time-out or a lost connection.
    pub resent: Counter,
    /// Refusals that may heal.
    pub refused: Counter,
    /// Publishes that were not answered in time.
    pub timed_out: Counter,
    /// Events rejected for good.
    pub rejected: Counter,
    /// Answers that were for nothing in flight: late, doubled or somebody else's.
    pub alien_answers: Counter,
    /// Connections opened after the first ones.
    pub reconnects: Counter,
    /// Publishes without answer now.
    pub in_flight: Counter,
    /// Connections that are greeted now.
    pub connected: Counter,
}
