//! The rows that are there already: read in chunks beside the stream, without locks, and handed on between its batches
//! (the method of DBLog, arXiv 2010.12597, with marks that hold on these servers).
//!
//! A worker leases a range of a table. From then on the keys that the stream changes in that table are tracked. The
//! worker opens a read view that sees all that the stream had received (`mark`), and reads. Once the stream has passed
//! all that the view may have seen, the source's thread hands the chunk on; rows whose keys a transaction has touched
//! that the view did not surely see are left out, because the stream has handed them on already, and newer.
//!
//! Not here: the stream itself, and when there is a snapshot at all (`begin`).

pub mod mark;
pub mod plan;
pub mod query;
pub mod running;
pub mod split;
pub mod state;
pub mod throttle;
pub mod track;

mod buffers;
mod settings;
mod shared;
mod worker;

use flowd_binlog::result::KeyValue;

pub use running::{Ready, Snapshot};
pub use settings::Settings;

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
