//! One row image: a null bitmap over the columns that are present, then their values. Written as one JSON object in one
//! pass, or walked over.

use super::key::Spans;
use super::{RowError, RowNumber};
use crate::table::wire::bit_of;
use crate::table::{Column, NOT_KEY, Plan, Table};
use crate::value::reader::Reader;
use crate::value::{Decoded, ValueError, write};

/// Which columns an image holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Present<'a> {
    bitmap: &'a [u8],
    /// All of them; then the bitmap need not be looked at.
    all: bool,
    /// Bytes of the null bitmap.
    null_bytes: usize,
}

impl<'a> Present<'a> {
    /// `width` columns, of which `bitmap` marks the present ones.
    pub(super) fn new(bitmap: &'a [u8], width: usize) -> Self {
        let count = (0..width).filter(|&index| bit_of(bitmap, index)).count();
        Self { bitmap, all: count == width, null_bytes: count.div_ceil(8) }
    }

    /// Whether it lacks a column that would be written.
    pub(super) fn lacks_any(self, table: &Table) -> bool {
        let lacks =
            |(index, column): (usize, &Column)| column.plan != Plan::Excluded && !bit_of(self.bitmap, index);
        !self.all && table.columns.iter().enumerate().any(lacks)
    }

    /// Whether such an image takes no byte.
    pub(super) fn is_empty(self) -> bool {
        self.null_bytes == 0
    }
}

/// Which row an image is; for errors.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) table: &'a Table,
    pub(crate) row: RowNumber,
}

impl Place<'_> {
    #[cold]
    pub(crate) fn short(self, column: Option<&Column>, offset: usize) -> RowError {
        let place = column.map_or("the null bitmap".into(), |column| format!("column `{}`", column.name));
        RowError::Short { table: self.name(), row: self.row, offset, place }
    }

    #[cold]
    pub(crate) fn refused(self, column: &Column, offset: usize, error: ValueError) -> RowError {
        let (table, column, row) = (self.name(), column.name.clone(), self.row);
        match error {
            ValueError::InvalidText => RowError::InvalidText { table, column, row, offset },
            ValueError::Corrupt(what) => RowError::Corrupt { table, column, row, offset, what },
        }
    }

    #[cold]
    pub(crate) fn corrupt(self, column: &Column, offset: usize, what: &'static str) -> RowError {
        self.refused(column, offset, ValueError::Corrupt(what))
    }

    #[cold]
    pub(crate) fn overlong(self, size: usize, offset: usize) -> RowError {
        RowError::Overlong { table: self.name(), row: self.row, size, offset }
    }

    #[cold]
    pub(crate) fn key_absent(self, column: &str) -> RowError {
        RowError::KeyAbsent { table: self.name(), column: column.into(), row: self.row }
    }

    fn name(self) -> String {
        format!("{}.{}", self.table.schema(), self.table.name())
    }
}

/// Appends the image as a JSON object and notes where the key's values stand in `out`.
pub(super) fn encode(
    place: Place<'_>,
    present: Present<'_>,
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    spans: &mut Spans,
    decoded: &mut Decoded,
) -> Result<(), RowError> {
    let start = out.len();
    let nulls = reader.take(present.null_bytes).ok_or_else(|| place.short(None, reader.position()))?;
    let mut ordinal = 0;
    for (index, column) in place.table.columns.iter().enumerate() {
        if !present.all && !bit_of(present.bitmap, index) {
            continue;
        }
        let null = bit_of(nulls, ordinal);
        ordinal += 1;
        let value = if null {
            None
        } else {
            Some(column.walk.value(reader).ok_or_else(|| place.short(Some(column), reader.position()))?)
        };
        if column.plan == Plan::Excluded {
            continue;
        }
        column.member.append(out);
        let value_start = out.len();
        match value {
            None => out.extend_from_slice(b"null"),
            Some(value) => write(&column.plan, value, out, decoded, place.table.invalid_text)
                .map_err(|error| place.refused(column, reader.position(), error))?,
        }
        if column.key_slot != NOT_KEY {
            spans.set(column.key_slot, value_start..out.len());
        }
    }
    // Every member brought a comma in front; the first one's place is the brace's.
    match out.get_mut(start) {
        Some(first) => *first = b'{',
        None => out.push(b'{'),
    }
    out.push(b'}');
    Ok(())
}

/// Appends the values of the key's columns alone, and notes where they stand in `out`.
pub(super) fn key(
    place: Place<'_>,
    present: Present<'_>,
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    spans: &mut Spans,
    decoded: &mut Decoded,
) -> Result<(), RowError> {
    let nulls = reader.take(present.null_bytes).ok_or_else(|| place.short(None, reader.position()))?;
    let mut ordinal = 0;
    for (index, column) in place.table.columns.iter().enumerate() {
        if !present.all && !bit_of(present.bitmap, index) {
            continue;
        }
        let null = bit_of(nulls, ordinal);
        ordinal += 1;
        let value_start = out.len();
        if !null {
            let value =
                column.walk.value(reader).ok_or_else(|| place.short(Some(column), reader.position()))?;
            if column.key_slot == NOT_KEY {
                continue;
            }
            write(&column.plan, value, out, decoded, place.table.invalid_text)
                .map_err(|error| place.refused(column, reader.position(), error))?;
        } else if column.key_slot != NOT_KEY {
            out.extend_from_slice(b"null");
        } else {
            continue;
        }
        spans.set(column.key_slot, value_start..out.len());
    }
    Ok(())
}

/// Walks over one image.
pub(super) fn skip(place: Place<'_>, present: Present<'_>, reader: &mut Reader<'_>) -> Result<(), RowError> {
    let nulls = reader.take(present.null_bytes).ok_or_else(|| place.short(None, reader.position()))?;
    let mut ordinal = 0;
    for (index, column) in place.table.columns.iter().enumerate() {
        if !present.all && !bit_of(present.bitmap, index) {
            continue;
        }
        if !bit_of(nulls, ordinal) {
            column.walk.value(reader).ok_or_else(|| place.short(Some(column), reader.position()))?;
        }
        ordinal += 1;
    }
    Ok(())
}
