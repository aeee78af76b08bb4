//! The record that flows: one ROWS event, still as it came off the wire.

use std::sync::Arc;

use flowd_engine::record::{ConnectorRecord, Operation, Span};

use crate::captured::CapturedTable;
use crate::transaction::TransactionId;

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
    /// The transaction.
    pub transaction: TransactionId,
    /// When the transaction was committed, µs since 1970.
    pub time_us: i64,
    /// Thread id of the transaction's session, where the binlog tells.
    pub thread: Option<u32>,
    /// The originating server's id.
    pub server_id: u32,
    /// Rows of this table in this transaction before this event.
    pub first_row: u64,
    /// Rows at the head of this event that were handed on before.
    pub skip: u32,
    /// The binlog file …
    pub file: Arc<str>,
    /// … and where in it the event starts; on MariaDB 11.8, where the transaction does.
    pub offset: u64,
    /// Set where the event was too large to be read: its bytes. `payload` is empty then.
    pub oversize: Option<u64>,
}

impl ConnectorRecord for RowsEvent {
    fn operation(&self) -> Operation {
        self.operation
    }

    fn payload(&self) -> Span {
        self.payload
    }

    fn time_us(&self) -> i64 {
        self.time_us
    }
}
