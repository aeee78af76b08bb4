//! Rows of a result set in the binary protocol (Protocol manual, "Binary Protocol Resultset Row"), to the same JSON as
//! the rows of the binlog, in one pass. The session must send text in the column's own character set
//! (`character_set_results=NULL`), TIMESTAMP in UTC and CHAR without padding. It does no I/O.

mod key;
#[cfg(test)]
mod tests;
mod value;

pub use self::key::{KeyKind, KeyValue, key};
use crate::row::{Place, RowError, RowNumber, Scratch};
use crate::table::wire::bit_of;
use crate::table::{KeyColumn, NOT_KEY, Plan, Table};
use crate::value::reader::Reader;

/// The null bitmap leaves its first two bits unused.
const NULL_BITS_UNUSED: usize = 2;
/// BIGINT UNSIGNED.
const NUMBER_SIZE: usize = 8;

/// What to select so that [`encode`] and [`key`] can read the rows: the columns in table order without the excluded ones,
/// then the numbers of the ENUM and SET columns of the key, in key order. The table is from [`Table::from_catalog`]; for
/// any other it is empty.
pub fn select_list(table: &Table) -> String {
    table.select.to_string()
}

/// Appends the row as one JSON object to `out`; its key is then [`Scratch::key`]. `row` is the packet's payload: a zero
/// byte, the null bitmap, the values of [`select_list`]. `number` counts the rows of a chunk, for errors. After an error
/// `out` may hold a part of the row.
///
/// # Errors
/// A row that is cut or too long, a value that its column cannot have, text that is not valid in its character set
/// (unless it is to be replaced), a key that is NULL.
pub fn encode(
    table: &Table,
    row: &[u8],
    number: u32,
    out: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<(), RowError> {
    let place = Place { table, row: RowNumber::Chunk(number) };
    let mut reader = Reader::new(row);
    let nulls = open(place, &mut reader)?;
    let (decoded, spans, key) = scratch.parts(table);
    let start = out.len();
    let mut bit = NULL_BITS_UNUSED;
    for column in &table.columns {
        if column.plan == Plan::Excluded {
            continue;
        }
        column.member.append(out);
        let value_start = out.len();
        if bit_of(nulls, bit) {
            if column.key_slot != NOT_KEY {
                return Err(place.corrupt(column, reader.position(), value::NULL_KEY));
            }
            out.extend_from_slice(b"null");
        } else {
            value::write(&column.plan, &mut reader, out, decoded, table.invalid_text)
                .map_err(|fault| fault.at(place, column, &reader))?;
            if column.key_slot != NOT_KEY {
                spans.set(column.key_slot, value_start..out.len());
            }
        }
        bit += 1;
    }
    for column in table.key.iter().filter(|column| column.by_number) {
        number_of(place, column, &mut reader)?;
    }
    close(place, &reader, row.len())?;
    // Every member brought a comma in front; the first one's place is the brace's.
    match out.get_mut(start) {
        Some(first) => *first = b'{',
        None => out.push(b'{'),
    }
    out.push(b'}');
    spans.write(place, out, key)
}

/// Passes the head of a row; gives its null bitmap.
fn open<'a>(place: Place<'_>, reader: &mut Reader<'a>) -> Result<&'a [u8], RowError> {
    debug_assert!(!place.table.select.is_empty(), "a table of a TABLE_MAP");
    let nulls = match reader.u8() {
        Some(0) => reader.take((place.table.selected + NULL_BITS_UNUSED).div_ceil(8)),
        _ => None,
    };
    nulls.ok_or_else(|| place.short(None, reader.position()))
}

/// The number of an ENUM or SET of the key.
fn number_of<'a>(
    place: Place<'_>,
    column: &KeyColumn,
    reader: &mut Reader<'a>,
) -> Result<&'a [u8], RowError> {
    let number = reader.take(NUMBER_SIZE);
    number.ok_or_else(|| place.short(Some(&place.table.columns[column.index]), reader.position()))
}

/// Nothing may stand behind the last value: then the columns are others than we think.
fn close(place: Place<'_>, reader: &Reader<'_>, size: usize) -> Result<(), RowError> {
    if reader.is_empty() { Ok(()) } else { Err(place.overlong(size, reader.position())) }
}
