//! The key of a result set's row as values that can go back to the server as parameters.

use super::{NULL_BITS_UNUSED, close, number_of, open, value};
use crate::row::{Place, RowError, RowNumber};
use crate::table::wire::bit_of;
use crate::table::{NOT_KEY, Plan, Table};
use crate::value::reader::Reader;

/// How the bytes of a [`KeyValue`] are to be understood, and how they go back to the server as a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum KeyKind {
    /// 8 bytes, little-endian, two's complement: every signed integer type.
    Signed = 1,
    /// 8 bytes, little-endian: unsigned integers, YEAR, BIT, and the number of an ENUM or SET.
    Unsigned = 2,
    /// 4 bytes, IEEE 754, little-endian.
    Float = 3,
    /// 8 bytes, IEEE 754, little-endian.
    Double = 4,
    /// The decimal's digits as text.
    Decimal = 5,
    /// The packed date of the binary protocol without its length byte (0 or 4 bytes).
    Date = 6,
    /// The packed time of the binary protocol without its length byte (0, 8 or 12 bytes).
    Time = 7,
    /// DATETIME and TIMESTAMP (UTC): the packed form without its length byte (0, 4, 7 or 11 bytes).
    DateTime = 8,
    /// Text in the column's own character set.
    Text = 9,
    /// BINARY, VARBINARY, BLOB.
    Bytes = 10,
    /// ASCII text that the server reads as a value of the column's type: UUID.
    Ascii = 11,
}

/// One value of a key, as the server sent it: exact, and ready to be a parameter. A key has no NULL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyValue {
    /// What the bytes are.
    pub kind: KeyKind,
    /// The value.
    pub bytes: Box<[u8]>,
}

/// The key's values of a row, in key order; empty where the table has no key. `row` and `table` are those of
/// [`encode`](super::encode).
///
/// # Errors
/// A row that is cut or too long, or a key that is NULL. What the values mean is not looked at.
pub fn key(table: &Table, row: &[u8]) -> Result<Vec<KeyValue>, RowError> {
    let place = Place { table, row: RowNumber::Chunk(0) };
    let mut reader = Reader::new(row);
    let nulls = open(place, &mut reader)?;
    let mut values = vec![None; table.key.len()];
    let selected = table.columns.iter().filter(|column| column.plan != Plan::Excluded);
    for (bit, column) in (NULL_BITS_UNUSED..).zip(selected) {
        if !bit_of(nulls, bit) {
            let bytes = value::raw(&column.plan, &mut reader)
                .ok_or_else(|| place.short(Some(column), reader.position()))?;
            if column.key_slot != NOT_KEY {
                values[usize::from(column.key_slot)] = Some(key_value(&column.plan, bytes));
            }
        } else if column.key_slot != NOT_KEY {
            return Err(place.corrupt(column, reader.position(), value::NULL_KEY));
        }
    }
    for (slot, column) in table.key.iter().enumerate().filter(|(_, column)| column.by_number) {
        let bytes = number_of(place, column, &mut reader)?;
        values[slot] = Some(KeyValue { kind: KeyKind::Unsigned, bytes: bytes.into() });
    }
    close(place, &reader, row.len())?;
    // A key column is never excluded, so each slot was met.
    Ok(values.into_iter().flatten().collect())
}

fn key_value(plan: &Plan, bytes: &[u8]) -> KeyValue {
    let kind = match plan {
        Plan::I8 | Plan::I16 | Plan::I24 | Plan::I32 | Plan::I64 => KeyKind::Signed,
        Plan::U8 | Plan::U16 | Plan::U24 | Plan::U32 | Plan::U64 => KeyKind::Unsigned,
        Plan::Year | Plan::Bool | Plan::Bits | Plan::Enum(_) | Plan::Set(_) => KeyKind::Unsigned,
        Plan::F32 => KeyKind::Float,
        Plan::F64 => KeyKind::Double,
        Plan::Decimal { .. } => KeyKind::Decimal,
        Plan::Date => KeyKind::Date,
        Plan::Time(_) => KeyKind::Time,
        Plan::DateTime(_) | Plan::Timestamp(_) => KeyKind::DateTime,
        Plan::Text(_) | Plan::Json => KeyKind::Text,
        Plan::Bytes(_) | Plan::Excluded => KeyKind::Bytes,
        Plan::Uuid => KeyKind::Ascii,
    };
    let bytes = match (kind, plan) {
        (KeyKind::Signed, _) => widened(bytes, bytes.last().is_some_and(|&high| high >= 0x80)),
        (KeyKind::Unsigned, Plan::Bool | Plan::Bits) => {
            let little: Vec<u8> = bytes.iter().rev().copied().collect();
            widened(&little, false)
        }
        (KeyKind::Unsigned, _) => widened(bytes, false),
        _ => bytes.into(),
    };
    KeyValue { kind, bytes }
}

/// Little-endian bytes made eight.
fn widened(bytes: &[u8], negative: bool) -> Box<[u8]> {
    let mut wide = if negative { [0xFF; 8] } else { [0; 8] };
    for (wide, byte) in wide.iter_mut().zip(bytes) {
        *wide = *byte;
    }
    wide.into()
}
