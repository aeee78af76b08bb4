//! The part of a ROWS event before its first row: which table, what is done, which columns the images hold.

use super::RowError;
use crate::value::reader::Reader;

/// What a ROWS event does to its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowsKind {
    /// Rows after an insert.
    Write,
    /// Rows before and after an update.
    Update,
    /// Rows before a delete.
    Delete,
}

/// The head of a ROWS event, version 1 (MariaDB, types 23–25) or 2 (MySQL, types 30–32).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowsHeader<'a> {
    /// The id that the TABLE_MAP gave, 48 bits; [`RowsHeader::DUMMY_TABLE_ID`] closes a statement without rows.
    pub table_id: u64,
    /// Bit 0: last ROWS event of its statement.
    pub flags: u16,
    /// What is done.
    pub kind: RowsKind,
    /// Number of columns.
    pub width: usize,
    /// Where the first row starts in the body.
    pub rows_offset: usize,
    /// Columns that the first image holds: before, or after an insert.
    pub(super) first: &'a [u8],
    /// Columns that the image after an update holds; otherwise empty.
    pub(super) second: &'a [u8],
}

impl<'a> RowsHeader<'a> {
    /// A ROWS event with this table id has no table and no rows.
    pub const DUMMY_TABLE_ID: u64 = 0x00FF_FFFF;

    /// Reads the head. `body` is the event behind its 19 header bytes, without the checksum.
    ///
    /// # Errors
    /// [`RowError::Header`] where `event_type` is no ROWS event of version 1 or 2, or the body is cut.
    pub fn parse(event_type: u8, body: &'a [u8]) -> Result<Self, RowError> {
        let kind = match event_type {
            23 | 30 => RowsKind::Write,
            24 | 31 => RowsKind::Update,
            25 | 32 => RowsKind::Delete,
            _ => return Err(RowError::Header { what: "an event type that has no plain rows", offset: 0 }),
        };
        let mut reader = Reader::new(body);
        let head = (|| {
            let table_id = reader.little(6)?;
            let flags = reader.little(2)? as u16;
            if event_type >= 30 {
                // Extra information; its length counts itself.
                let extra = reader.little(2)? as usize;
                reader.take(extra.checked_sub(2)?)?;
            }
            let width = reader.length()?;
            let bitmap = width.div_ceil(8);
            let first = reader.take(bitmap)?;
            let second = if kind == RowsKind::Update { reader.take(bitmap)? } else { &[] };
            Some(Self { table_id, flags, kind, width, rows_offset: reader.position(), first, second })
        })();
        head.ok_or(RowError::Header { what: "the head is cut", offset: reader.position() })
    }

    /// Whether the statement ends with this event.
    pub fn ends_statement(&self) -> bool {
        self.flags & 1 == 1
    }
}
