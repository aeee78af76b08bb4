//! The rows of one ROWS event, straight from the row image to JSON, row after row. A cursor: it can stop between two
//! rows, be opened again on the same bytes and go on. It never looks at another event.

mod failure;
mod header;
mod image;
mod key;
#[cfg(test)]
pub(crate) mod tests;

use std::ops::Range;

pub use self::failure::{RowError, RowNumber};
pub use self::header::{RowsHeader, RowsKind};
pub(crate) use self::image::Place;
use self::image::Present;
pub(crate) use self::key::Spans;
use crate::table::Table;
use crate::value::Decoded;
use crate::value::reader::Reader;

/// Room that encoding reuses from row to row and from event to event; one a lane.
#[derive(Debug, Default)]
pub struct Scratch {
    decoded: Decoded,
    before_spans: Spans,
    after_spans: Spans,
    before_key: Vec<u8>,
    after_key: Vec<u8>,
    /// The values of a key whose row is not written.
    values: Vec<u8>,
}

/// A place between two rows of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowMark {
    /// Byte offset in the event's body.
    pub offset: usize,
    /// 0-based index of the row that starts there.
    pub row: u32,
}

/// A cursor over the rows of one event.
#[derive(Debug)]
pub struct Rows<'a> {
    table: &'a Table,
    kind: RowsKind,
    first: Present<'a>,
    second: Present<'a>,
    reader: Reader<'a>,
    row: u32,
    body: &'a [u8],
}

/// One row as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRow {
    /// 0-based index in the event.
    pub row: u32,
    /// Where the JSON object before the change stands in the output; none for an insert.
    pub before: Option<Range<usize>>,
    /// Where the JSON object after the change stands in the output; none for a delete.
    pub after: Option<Range<usize>>,
    /// An update that changes the key. Then both keys differ; otherwise the key is [`Scratch::key`].
    pub key_changed: bool,
}

impl Scratch {
    /// Nothing reserved yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The key of the row that was encoded last, as a JSON object in key order: the one after the change, or of a
    /// delete the one before. Empty where the table has no key.
    pub fn key(&self) -> &[u8] {
        if self.after_key.is_empty() { &self.before_key } else { &self.after_key }
    }

    /// Room for a row with one image: what is decoded, where its key's values stand, its key; emptied for the next row.
    #[inline]
    pub(crate) fn parts(&mut self, table: &Table) -> (&mut Decoded, &mut Spans, &mut Vec<u8>) {
        self.before_key.clear();
        self.after_key.clear();
        self.after_spans.reset(table);
        (&mut self.decoded, &mut self.after_spans, &mut self.after_key)
    }

    /// The key before an update that changed it; otherwise the same as [`Scratch::key`].
    pub fn key_before(&self) -> &[u8] {
        if self.before_key.is_empty() { &self.after_key } else { &self.before_key }
    }
}

impl<'a> Rows<'a> {
    /// Opens the rows of a ROWS event at its first row. `body` is the event behind its 19 header bytes, without the
    /// checksum; `table` comes from the TABLE_MAP that the event names.
    ///
    /// # Errors
    /// A head that is cut, another number of columns than the table has, or images that hold no column at all: such a
    /// row takes no byte, so nobody can say how many there are.
    pub fn open(table: &'a Table, event_type: u8, body: &'a [u8]) -> Result<Self, RowError> {
        let header = RowsHeader::parse(event_type, body)?;
        if header.width != table.column_count() {
            return Err(RowError::Width {
                table: format!("{}.{}", table.schema(), table.name()),
                event: header.width,
                map: table.column_count(),
            });
        }
        let first = Present::new(header.first, header.width);
        let second = Present::new(header.second, header.width);
        if first.is_empty() && second.is_empty() {
            let what = "rows without any column; SET GLOBAL binlog_row_image=FULL avoids them";
            return Err(RowError::Header { what, offset: header.rows_offset });
        }
        Ok(Self {
            table,
            kind: header.kind,
            first,
            second,
            reader: Reader::starting_at(body, header.rows_offset),
            row: 0,
            body,
        })
    }

    /// What the event does to its rows.
    pub fn kind(&self) -> RowsKind {
        self.kind
    }

    /// Whether every row has been passed.
    pub fn is_done(&self) -> bool {
        self.reader.is_empty()
    }

    /// Where the next row starts.
    pub fn mark(&self) -> RowMark {
        RowMark { offset: self.reader.position(), row: self.row }
    }

    /// Goes on at a mark that [`Rows::mark`] gave for the same event.
    pub fn seek(&mut self, mark: RowMark) {
        self.reader = Reader::starting_at(self.body, mark.offset);
        self.row = mark.row;
    }

    /// Passes one row without writing it; false where there is none left.
    ///
    /// # Errors
    /// [`RowError::Short`] where the event ends inside the row.
    pub fn skip(&mut self) -> Result<bool, RowError> {
        if self.is_done() {
            return Ok(false);
        }
        let place = Place { table: self.table, row: RowNumber::Event(self.row) };
        image::skip(place, self.first, &mut self.reader)?;
        if self.kind == RowsKind::Update {
            image::skip(place, self.second, &mut self.reader)?;
        }
        self.row += 1;
        Ok(true)
    }

    /// Appends the next row's images to `out`, one JSON object behind the other, and its key to `scratch`; none where
    /// no row is left. After an error `out` may hold a part of the row and the cursor is of no further use.
    ///
    /// # Errors
    /// A row that is cut, a value that its column cannot have, text that is not valid in its character set (unless it
    /// is to be replaced), an image without a key column.
    pub fn encode(
        &mut self,
        out: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<Option<EncodedRow>, RowError> {
        if self.is_done() {
            return Ok(None);
        }
        let place = Place { table: self.table, row: RowNumber::Event(self.row) };
        let Scratch { decoded, before_spans, after_spans, before_key, after_key, .. } = scratch;
        before_key.clear();
        after_key.clear();
        let start = out.len();
        let first_spans = if self.kind == RowsKind::Write { &mut *after_spans } else { &mut *before_spans };
        first_spans.reset(self.table);
        image::encode(place, self.first, &mut self.reader, out, first_spans, decoded)?;
        let middle = out.len();
        let mut encoded = EncodedRow { row: self.row, before: None, after: None, key_changed: false };
        match self.kind {
            RowsKind::Write => {
                after_spans.write(place, out, after_key)?;
                encoded.after = Some(start..middle);
            }
            RowsKind::Delete => {
                before_spans.write(place, out, before_key)?;
                encoded.before = Some(start..middle);
            }
            RowsKind::Update => {
                after_spans.reset(self.table);
                image::encode(place, self.second, &mut self.reader, out, after_spans, decoded)?;
                after_spans.fill_from(before_spans);
                before_spans.write(place, out, before_key)?;
                encoded.key_changed = !after_spans.same_values(before_spans, out);
                if encoded.key_changed {
                    after_spans.write(place, out, after_key)?;
                }
                encoded.before = Some(start..middle);
                encoded.after = Some(middle..out.len());
            }
        }
        self.row += 1;
        Ok(Some(encoded))
    }

    /// Calls `touched` with the key of every row that is left, without writing the other columns: of an insert the key
    /// after it, of a delete the one before, of an update the one before and, where it is another, the one after. The
    /// bytes are those that [`Scratch::key`] has after [`Rows::encode`]. A table without a key has none. Tells whether
    /// the rows after the change lack a column, so that they alone do not say what the row is now.
    ///
    /// # Errors
    /// As [`Rows::encode`], for the columns of the key.
    pub fn keys(&mut self, scratch: &mut Scratch, mut touched: impl FnMut(&[u8])) -> Result<bool, RowError> {
        while self.table.has_key() && !self.is_done() {
            let place = Place { table: self.table, row: RowNumber::Event(self.row) };
            let Scratch { decoded, before_spans, after_spans, before_key, after_key, values } = scratch;
            before_key.clear();
            after_key.clear();
            values.clear();
            before_spans.reset(self.table);
            image::key(place, self.first, &mut self.reader, values, before_spans, decoded)?;
            before_spans.write(place, values, before_key)?;
            touched(before_key);
            if self.kind == RowsKind::Update {
                after_spans.reset(self.table);
                image::key(place, self.second, &mut self.reader, values, after_spans, decoded)?;
                after_spans.fill_from(before_spans);
                if !after_spans.same_values(before_spans, values) {
                    after_spans.write(place, values, after_key)?;
                    touched(after_key);
                }
            }
            self.row += 1;
        }
        Ok(match self.kind {
            RowsKind::Write => self.first.lacks_any(self.table),
            RowsKind::Update => self.second.lacks_any(self.table),
            RowsKind::Delete => false,
        })
    }
}
