//! One value of a result set's row to JSON. In the binary protocol the column's plan tells both where a value ends and
//! what it means; what is written is what the stream writes for the same value.

use flowd_codec::json;

use crate::charset::{Charset, InvalidText};
use crate::row::{Place, RowError};
use crate::table::{Column, Plan};
use crate::value::reader::Reader;
use crate::value::{self, Decoded, ValueError, plain};

/// What a NULL in the key is called.
pub(super) const NULL_KEY: &str = "NULL, although it is part of the key";

/// Why a value could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The row ends before.
    Short,
    /// It is no value of its column.
    Value(ValueError),
}

impl From<ValueError> for Fault {
    fn from(error: ValueError) -> Self {
        Self::Value(error)
    }
}

impl Fault {
    #[cold]
    pub(super) fn at(self, place: Place<'_>, column: &Column, reader: &Reader<'_>) -> RowError {
        match self {
            Self::Short => place.short(Some(column), reader.position()),
            Self::Value(error) => place.refused(column, reader.position(), error),
        }
    }
}

/// Appends the next value as JSON.
#[inline]
pub(super) fn write(
    plan: &Plan,
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    decoded: &mut Decoded,
    invalid: InvalidText,
) -> Result<(), Fault> {
    match *plan {
        Plan::I32 | Plan::I24 => json::write_i64(out, i32::from_le_bytes(fixed(reader)?).into()),
        Plan::I64 => json::write_i64(out, i64::from_le_bytes(fixed(reader)?)),
        Plan::U32 | Plan::U24 => json::write_u64(out, u32::from_le_bytes(fixed(reader)?).into()),
        Plan::U64 => json::write_u64(out, u64::from_le_bytes(fixed(reader)?)),
        Plan::I8 => json::write_i64(out, i8::from_le_bytes(fixed(reader)?).into()),
        Plan::U8 => json::write_u64(out, u8::from_le_bytes(fixed(reader)?).into()),
        Plan::I16 => json::write_i64(out, i16::from_le_bytes(fixed(reader)?).into()),
        Plan::U16 | Plan::Year => json::write_u64(out, u16::from_le_bytes(fixed(reader)?).into()),
        Plan::F32 => json::write_f32(out, f32::from_le_bytes(fixed(reader)?)),
        Plan::F64 => json::write_f64(out, f64::from_le_bytes(fixed(reader)?)),
        Plan::Text(_) | Plan::Bytes(_) | Plan::Bool | Plan::Bits => {
            value::write(plan, lengthed(reader)?, out, decoded, invalid)?;
        }
        // The server's own text, as the stream writes it.
        Plan::Json => value::write(&Plan::Text(Charset::Utf8), lengthed(reader)?, out, decoded, invalid)?,
        Plan::Uuid => value::write(&Plan::Text(Charset::Ascii), lengthed(reader)?, out, decoded, invalid)?,
        Plan::Decimal { .. } => plain::write_decimal(lengthed(reader)?, out)?,
        Plan::Date => plain::write_date(short(reader)?, out)?,
        Plan::Time(digits) => plain::write_time(short(reader)?, digits, out)?,
        Plan::DateTime(digits) => plain::write_datetime(short(reader)?, digits, plain::Zone::None, out)?,
        Plan::Timestamp(digits) => plain::write_datetime(short(reader)?, digits, plain::Zone::Utc, out)?,
        // No table of the catalog has such columns here.
        Plan::Enum(_) | Plan::Set(_) | Plan::Excluded => {}
    }
    Ok(())
}

/// The next value's bytes, without a length; none where the row ends before.
pub(super) fn raw<'a>(plan: &Plan, reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    match plan {
        Plan::I8 | Plan::U8 => reader.take(1),
        Plan::I16 | Plan::U16 | Plan::Year => reader.take(2),
        Plan::I24 | Plan::U24 | Plan::I32 | Plan::U32 | Plan::F32 => reader.take(4),
        Plan::I64 | Plan::U64 | Plan::F64 => reader.take(8),
        Plan::Date | Plan::Time(_) | Plan::DateTime(_) | Plan::Timestamp(_) => short(reader).ok(),
        Plan::Decimal { .. } | Plan::Bool | Plan::Bits | Plan::Text(_) | Plan::Bytes(_) => {
            reader.length_encoded_bytes()
        }
        Plan::Json | Plan::Uuid => reader.length_encoded_bytes(),
        Plan::Enum(_) | Plan::Set(_) | Plan::Excluded => reader.take(0),
    }
}

#[inline]
fn fixed<const SIZE: usize>(reader: &mut Reader<'_>) -> Result<[u8; SIZE], Fault> {
    let bytes = reader.take(SIZE).ok_or(Fault::Short)?;
    bytes.try_into().map_err(|_| Fault::Short)
}

/// Bytes behind a length-encoded length; nearly all are short.
#[inline]
fn lengthed<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Fault> {
    reader.length_encoded_bytes().ok_or(Fault::Short)
}

/// Bytes behind a length of one byte.
#[inline]
fn short<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Fault> {
    let length = reader.u8().ok_or(Fault::Short)?;
    reader.take(length.into()).ok_or(Fault::Short)
}
