//! The transaction that is open: what of it was met, handed on, and taken back.

use crate::transaction::TransactionId;

/// A transaction between its first event and its last.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) id: TransactionId,
    /// From the GTID event; without one, each event's own second.
    pub(super) commit_us: Option<i64>,
    /// Where its first event starts.
    pub(super) start: u64,
    pub(super) thread: Option<u32>,
    pub(super) kind: TransactionKind,
    /// Captured rows met so far, handed on, skipped or taken back.
    pub(super) rows: u64,
    /// The same without those that were taken back since: what a resumed reader skips.
    pub(super) kept: u64,
    /// What `kept` was when its records last left for a batch; 0 before.
    pub(super) sent: u64,
    /// Its savepoints, oldest first.
    pub(super) savepoints: Vec<Savepoint>,
    /// Captured rows at its head that an earlier connection or process handed on.
    pub(super) skip: u64,
    /// Rows met so far by table number.
    pub(super) by_table: Vec<(u32, u64)>,
    /// Index in `pending` of its first record there.
    pub(super) first_pending: usize,
    /// Whether records of it left in an earlier batch.
    pub(super) partly_sent: bool,
}

/// A mark inside a transaction that it may go back to.
#[derive(Debug)]
pub(super) struct Savepoint {
    pub(super) name: String,
    /// Rows before it.
    pub(super) rows: u64,
    /// Index in `pending` of the first record behind it.
    pub(super) pending: usize,
}

/// What is known of how the transaction will end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TransactionKind {
    /// Opened by a GTID, nothing else seen yet.
    Announced,
    /// BEGIN was seen (or implied): ends with XID, COMMIT or ROLLBACK.
    Open,
    /// One statement only.
    Standalone,
    /// The first half of an XA transaction.
    Xa,
}

impl Transaction {
    /// Adds rows of a table; returns how many there were before.
    pub(super) fn count(&mut self, number: u32, rows: u64) -> u64 {
        match self.by_table.iter_mut().rev().find(|(table, _)| *table == number) {
            Some((_, count)) => std::mem::replace(count, *count + rows),
            None => {
                self.by_table.push((number, rows));
                0
            }
        }
    }
}
