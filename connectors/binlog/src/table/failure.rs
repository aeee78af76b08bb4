//! Why a TABLE_MAP cannot be made ready. Every message names the table, and where there is one the column, the type
//! and what avoids it.

use thiserror::Error;

/// Why a [`Table`](super::Table) could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TableError {
    /// The event's bytes contradict the format.
    #[error("TABLE_MAP event{}: {what} at byte {offset} of its body", of(.table))]
    Malformed {
        /// `schema.table` where it could be read, else empty.
        table: String,
        /// What is wrong.
        what: &'static str,
        /// Byte offset in the event's body.
        offset: usize,
    },
    /// A type byte that we do not know; without its size not even skipping is possible.
    #[error(
        "table {table}: column {index} has type {code} of the binlog, which flowd does not know; \
         leave the table out with tableExcludeList"
    )]
    UnknownType {
        /// `schema.table`.
        table: String,
        /// 0-based.
        index: usize,
        /// As in the event.
        code: u8,
    },
    /// A known type that flowd does not transport yet.
    #[error("table {table}: column `{column}` is {what}, which flowd does not transport; {remedy}")]
    Unsupported {
        /// `schema.table`.
        table: String,
        /// The column.
        column: String,
        /// The type in the words of SQL.
        what: String,
        /// What avoids it.
        remedy: String,
    },
    /// Neither the event nor the catalog says what a row means.
    #[error(
        "table {table}: the binlog does not say {what} and the catalog has no such table; \
         run SET GLOBAL binlog_row_metadata=FULL before the rows are written"
    )]
    SchemaUnknown {
        /// `schema.table`.
        table: String,
        /// What is missing.
        what: String,
    },
    /// The catalog describes another shape of the table than the event.
    #[error(
        "table {table}: the catalog does not fit the binlog: {what}; the table was changed since the row was \
         written or since the catalog was read. SET GLOBAL binlog_row_metadata=FULL lets the binlog describe itself"
    )]
    CatalogMismatch {
        /// `schema.table`.
        table: String,
        /// Columns or types that differ.
        what: String,
    },
    /// MariaDB keeps UUID and INET as BINARY, and no column of the catalog tells them apart.
    #[error(
        "table {table}: column `{column}` is BINARY({width}), UUID or INET, and the catalog has no such column to tell \
         which; leave it out with columnExcludeList: {table}.{column}"
    )]
    Ambiguous {
        /// `schema.table`.
        table: String,
        /// The column.
        column: String,
        /// Bytes.
        width: u16,
    },
    /// The configuration leaves out a column of the key.
    #[error("table {table}: columnExcludeList leaves out column `{column}`, which is part of the key")]
    KeyExcluded {
        /// `schema.table`.
        table: String,
        /// The column.
        column: String,
    },
}

fn of(table: &str) -> String {
    if table.is_empty() { String::new() } else { format!(" of {table}") }
}
