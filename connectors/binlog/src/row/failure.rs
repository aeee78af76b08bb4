//! Why a row cannot be read, of a ROWS event or of a result set.

use std::fmt;

use thiserror::Error;

/// Which row it was. 0-based.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowNumber {
    /// In its ROWS event.
    Event(u32),
    /// In its chunk of a snapshot.
    Chunk(u32),
}

impl fmt::Display for RowNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(row) => write!(formatter, "row {row} of the ROWS event"),
            Self::Chunk(row) => write!(formatter, "row {row} of the snapshot's chunk"),
        }
    }
}

/// Why a row could not be decoded. Offsets are bytes in the event's body (behind the 19 bytes of the event header), or in
/// the payload of the result set's row.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RowError {
    /// The part before the first row is cut or contradicts itself.
    #[error("ROWS event: {what} at byte {offset} of its body")]
    Header {
        /// What is wrong.
        what: &'static str,
        /// Where.
        offset: usize,
    },
    /// The event has another number of columns than its TABLE_MAP.
    #[error("table {table}: the ROWS event has {event} columns, its TABLE_MAP {map}")]
    Width {
        /// `schema.table`.
        table: String,
        /// Columns of the ROWS event.
        event: usize,
        /// Columns of the TABLE_MAP.
        map: usize,
    },
    /// The event ends inside a row.
    #[error("table {table}: {row} is cut at byte {offset} of the body, in {place}")]
    Short {
        /// `schema.table`.
        table: String,
        /// Which row.
        row: RowNumber,
        /// Where.
        offset: usize,
        /// The column, or the null bitmap.
        place: String,
    },
    /// The bytes are no value of the column's type.
    #[error("table {table}: {row}, column `{column}` ends at byte {offset} and is {what}")]
    Corrupt {
        /// `schema.table`.
        table: String,
        /// The column.
        column: String,
        /// Which row.
        row: RowNumber,
        /// One past the value.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// Text that is not valid in its character set.
    #[error(
        "table {table}: {row}, column `{column}` ends at byte {offset} and holds bytes that are \
         not valid in its character set; mend the row, or set connectorConfig.invalidText: replace"
    )]
    InvalidText {
        /// `schema.table`.
        table: String,
        /// The column.
        column: String,
        /// Which row.
        row: RowNumber,
        /// One past the value.
        offset: usize,
    },
    /// A column of the key is not in the row image.
    #[error(
        "table {table}: {row} does not hold the key column `{column}`; \
         run SET GLOBAL binlog_row_image=FULL (or NOBLOB)"
    )]
    KeyAbsent {
        /// `schema.table`.
        table: String,
        /// The column.
        column: String,
        /// Which row.
        row: RowNumber,
    },
    /// More bytes than the columns take.
    #[error(
        "table {table}: {row} has {size} bytes, and its columns end at byte {offset}; the table was changed while it \
         was read"
    )]
    Overlong {
        /// `schema.table`.
        table: String,
        /// Which row.
        row: RowNumber,
        /// Bytes of the row.
        size: usize,
        /// Where the last column ends.
        offset: usize,
    },
}
