//! What a plan gives to the workers and hears from them.

use crate::snapshot::{Key, Range};

/// Names a table as it was defined when it was opened: after a discard it has another one.
pub type TableId = u32;

/// Names a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId {
    pub(super) table: TableId,
    pub(super) number: u64,
}

/// Names a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkId {
    pub(super) table: TableId,
    pub(super) number: u64,
}

impl ChunkId {
    /// The table that it is of.
    pub fn table(self) -> TableId {
        self.table
    }
}

/// A worker's right to read a range, for as long as no discard makes it stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// The table.
    pub table: TableId,
    /// What is to be read.
    pub range: Range,
    /// Others have nothing to do: divide the range first, if it can be.
    pub divide: bool,
    /// The table has no usable key: it is read in one go.
    pub whole: bool,
}

/// What a worker is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Look at a table, then say [`super::Plan::opened`], or [`super::Plan::give_back`] where that failed.
    Open {
        /// The id for the answer.
        table: TableId,
        /// Its schema.
        schema: String,
        /// Its name.
        name: String,
    },
    /// Read.
    Read(Lease),
    /// Nothing right now.
    Wait,
    /// Nothing will need a worker any more, unless something is discarded.
    Done,
}

/// What a worker found when it looked at a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// It is not there.
    Gone,
    /// It has a usable key.
    Keyed {
        /// What the order of the rows depends on: the key's columns, each with whatever else orders it, such as its
        /// collation. Where these texts differ from the kept ones the table is read from its beginning.
        columns: Vec<String>,
        /// The last key; `None`: the table is empty.
        upto: Option<Key>,
        /// A guess.
        rows_estimated: u64,
    },
    /// It has none.
    Whole {
        /// A guess.
        rows_estimated: u64,
    },
}
