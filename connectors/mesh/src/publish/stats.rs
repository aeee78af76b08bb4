//! What the `mesh` target counts, for metrics. Its thread alone writes, anybody reads.

use flowd_engine::metrics::{Counter, Gauge};

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
    pub in_flight: Gauge,
    /// Events that are published and not applied yet, with delivery `applied`.
    pub awaiting: Gauge,
    /// Events that were published again because they were not applied in time.
    pub resent_unapplied: Counter,
    /// Sinks in `appliedBy` that were never heard of.
    pub unheard: Gauge,
    /// Connections that are greeted now.
    pub connected: Gauge,
}
