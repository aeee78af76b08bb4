//! The rows that are there already: read in chunks beside the stream, without locks, and handed on between its batches.

pub mod plan;
pub mod query;
pub mod split;
pub mod state;
pub mod throttle;
pub mod track;

use flowd_binlog::result::KeyValue;

/// A full key, in key order.
pub type Key = Vec<KeyValue>;

/// The rows of a table with `after < key <= upto`, in the server's own order; `None` is open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Range {
    /// Exclusive lower bound.
    pub after: Option<Key>,
    /// Inclusive upper bound.
    pub upto: Option<Key>,
}
