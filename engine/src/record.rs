//! What a source hands on: batches of records, borrowed from the bytes as they came off the wire.

use bytes::Bytes;

/// A place in a batch's bytes, `start..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes that the span names.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }
}

/// Where a source stands, as bytes that only the source itself reads. An empty one stands before everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Position(pub Bytes);

/// One record of a batch: a connector's own description of a span of the batch's bytes. A record may hold several
/// rows that share schema, operation and transaction, as a binlog ROWS event does.
///
/// The engine asks nothing of it: only the connector's own encoder looks inside.
pub trait ConnectorRecord: Send + 'static {}

/// A record that is a message of somebody else's: a body, as it came.
pub trait Body {
    /// Where in the batch's bytes the body lies.
    fn body(&self) -> Span;
}

/// A frozen run of records: one shared buffer and spans into it. Passing it on shares, never copies.
#[derive(Debug)]
pub struct Batch<R> {
    /// The bytes off the wire that the records borrow.
    pub bytes: Bytes,
    /// In the order of the source. Empty where the source only moved on (`position`).
    pub records: Vec<R>,
    /// Where the source stands once everything of this batch is acknowledged.
    pub position: Position,
    /// Time of the newest change that the batch covers, µs since 1970 (0: none); for the lag metric.
    pub time_us: i64,
}
