//! What a sink counts besides what the engine counts.

use flowd_engine::metrics::{Counter, Gauge};

/// The sink's numbers: its thread writes, anybody reads. They are statistics, nothing is ordered by them.
#[derive(Debug, Default)]
pub struct SinkStats {
    /// Events that arrived, members of batch events each.
    pub received: Counter,
    /// Events that the target has, or whose dead letter is written; markers too.
    pub applied: Counter,
    /// Events that came again.
    pub duplicates: Counter,
    /// Events that came after they were passed over, and were rejected. Only with published delivery.
    pub late: Counter,
    /// Events of an epoch or a snapshot's run that is over.
    pub outdated: Counter,
    /// Numbers that did not come within the wait and were passed over. Only with published delivery.
    pub missing: Counter,
    /// Events that found the buffer full and will be sent again. Only with applied delivery.
    pub dropped: Counter,
    /// Events that wait for others before them …
    pub waiting: Gauge,
    /// … and what they hold, in bytes.
    pub waiting_bytes: Gauge,
    /// Transactions of the target.
    pub puts: Counter,
    /// Events that the target refused for a while.
    pub deferred: Counter,
    /// Connections to the target made anew.
    pub reopened: Counter,
}
