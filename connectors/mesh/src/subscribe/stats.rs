//! What a subscriber counts, for metrics. Its thread alone writes, anybody reads.

use flowd_engine::metrics::{Counter, Gauge};

/// What the subscriber has done so far.
#[derive(Debug, Default)]
pub struct Stats {
    /// Events pushed to us.
    pub pushes: Counter,
    /// Bytes of their JSON.
    pub bytes: Counter,
    /// Pushes acknowledged.
    pub acked: Counter,
    /// Pushes without event: the server could not write it (protocol manual, section 4.4).
    pub unreadable: Counter,
    /// Pushes whose connection was gone before they could be acknowledged; the server may push them again.
    pub unacked: Counter,
    /// Connections opened after the first one.
    pub reconnects: Counter,
    /// Pushes that are not acknowledged yet.
    pub in_hand: Gauge,
    /// Connections that are listening now.
    pub connected: Gauge,
}
