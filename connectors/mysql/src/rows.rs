//! The records that flow, still as they came off the wire: a ROWS event of the binlog, or a chunk of a snapshot.

use std::sync::Arc;

use flowd_engine::record::{ConnectorRecord, Span};

use crate::captured::{CapturedTable, TableEvents};
use crate::transaction::TransactionId;

/// What a record does to its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Rows that were there already, read by a snapshot.
    Read,
    /// Rows that were inserted.
    Create,
    /// Rows that were changed; each has an image before and one after.
    Update,
    /// Rows that were deleted.
    Delete,
}

/// One ROWS event of a captured table.
#[derive(Debug, Clone)]
pub struct RowsEvent {
    /// What it does.
    pub operation: Operation,
    /// Its body (behind the header, before the checksum) in the batch's bytes.
    pub payload: Span,
    /// Its event type code, which tells the layout of the body.
    pub kind: u8,
    /// The table as it was when the event was written.
    pub table: Arc<CapturedTable>,
    /// Where it stands in the binlog.
    pub written: Written,
    /// Rows of this table in this transaction before this event.
    pub first_row: u64,
    /// Rows at the head of this event that were handed on before.
    pub skip: u32,
    /// Set where the event was too large to be read: its bytes. `payload` is empty then.
    pub oversize: Option<u64>,
    /// Whether a snapshot still has to read the table, and will hold what this does. Set only where the table has no key:
    /// no consumer could tell then that an insert and a row that was read are the same row.
    pub is_covered: bool,
}

/// Where, when and by whom a change was written to the binlog.
#[derive(Debug, Clone)]
pub struct Written {
    /// The transaction.
    pub transaction: TransactionId,
    /// When the transaction was committed, µs since 1970.
    pub time_us: i64,
    /// Thread id of the transaction's session, where the binlog tells.
    pub thread: Option<u32>,
    /// The originating server's id.
    pub server_id: u32,
    /// The binlog file …
    pub file: Arc<str>,
    /// … and where in it the event starts; on MariaDB 11.8, where the transaction does.
    pub offset: u64,
}

/// A TRUNCATE of a captured table.
#[derive(Debug, Clone)]
pub struct Truncation {
    /// What the table's events have in common.
    pub table: Arc<TableEvents>,
    /// Where it stands in the binlog.
    pub written: Written,
}

/// What all rows of a snapshot have in common.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The snapshot's own id.
    pub snapshot: Box<str>,
    /// First part of every id: the snapshot's, but a table that is read whole has one of its own.
    pub id: Box<str>,
    /// When the snapshot started, µs since 1970.
    pub time_us: i64,
    /// The binlog file at its start …
    pub file: Box<str>,
    /// … and the offset.
    pub offset: u64,
}

/// Rows of a captured table as a snapshot read them.
#[derive(Debug, Clone)]
pub struct ChunkRows {
    /// The rows in the batch's bytes, each a 32-bit little-endian length and as many bytes in the binary protocol.
    pub payload: Span,
    /// The table as it was when they were read.
    pub table: Arc<CapturedTable>,
    /// The snapshot.
    pub origin: Arc<Origin>,
    /// Rows in `payload`.
    pub rows: u32,
    /// Names the chunk for ever: `<when the process began to read, 16 digits>-<number>`.
    pub chunk: Box<str>,
    /// Over how many lanes the rows are spread, 1 or all: as the stream's events of the table where the chunk stands.
    pub lanes: u16,
    /// Hashes, ascending, of keys whose rows the stream has already handed on in a newer form.
    pub outdated: Box<[u64]>,
    /// Where the table has no key: the number of the chunk's first row in the table.
    pub first_row: Option<u64>,
    /// Sizes of rows that were too large to be kept, bytes.
    pub oversize: Box<[u64]>,
}

/// Another process goes on with a snapshot: what an earlier one left under way is of no more use. It stands before
/// everything else that the process hands on.
#[derive(Debug, Clone)]
pub struct RunBeginning {
    /// The table among whose events it goes.
    pub table: Arc<TableEvents>,
    /// The snapshot.
    pub origin: Arc<Origin>,
    /// The chunk in whose place it stands: the run's number 0.
    pub chunk: Box<str>,
}

/// A record of this source.
#[derive(Debug, Clone)]
pub enum MySqlRecord {
    /// From the binlog.
    Rows(RowsEvent),
    /// From the binlog: no row of the table is left.
    Truncation(Truncation),
    /// From a snapshot.
    Chunk(ChunkRows),
    /// From a snapshot that goes on.
    RunBeginning(RunBeginning),
}

#[cfg(test)]
impl MySqlRecord {
    /// The ROWS event that it is.
    pub(crate) fn rows(&self) -> &RowsEvent {
        match self {
            Self::Rows(rows) => rows,
            other => panic!("{other:?} is no event of rows"),
        }
    }

    /// The same, to be changed.
    pub(crate) fn rows_mut(&mut self) -> &mut RowsEvent {
        match self {
            Self::Rows(rows) => rows,
            other => panic!("{other:?} is no event of rows"),
        }
    }
}

impl ConnectorRecord for MySqlRecord {}
