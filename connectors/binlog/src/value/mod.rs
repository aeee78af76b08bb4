//! One value of a row image to JSON. The bytes are already cut out of the row; what they mean is the column's plan.
//! Each function appends one JSON value, or fails and may leave a part behind (the row is then lost as a whole).

pub(crate) mod decimal;
pub(crate) mod plain;
pub(crate) mod reader;
pub(crate) mod short;
mod temporal;
mod text;

use flowd_codec::json;

use self::reader::{big, little};
use crate::charset::InvalidText;
use crate::jsonb;
use crate::table::Plan;

/// Why one value is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueError {
    /// The bytes are not valid in the column's character set.
    InvalidText,
    /// The bytes are no value of the column's type.
    Corrupt(&'static str),
}

const WIDTH: ValueError = ValueError::Corrupt("a value of another width than its type");

/// Room for what must be decoded before it can be escaped; reused from value to value.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    text: String,
    bytes: Vec<u8>,
}

/// Appends the value as JSON.
#[inline]
pub(crate) fn write(
    plan: &Plan,
    value: &[u8],
    out: &mut Vec<u8>,
    decoded: &mut Decoded,
    invalid: InvalidText,
) -> Result<(), ValueError> {
    match *plan {
        Plan::I32 => json::write_i64(out, i32::from_le_bytes(exactly(value)?).into()),
        Plan::U32 => json::write_u64(out, u32::from_le_bytes(exactly(value)?).into()),
        Plan::I64 => json::write_i64(out, i64::from_le_bytes(exactly(value)?)),
        Plan::U64 => json::write_u64(out, u64::from_le_bytes(exactly(value)?)),
        Plan::I8 => json::write_i64(out, i8::from_le_bytes(exactly(value)?).into()),
        Plan::U8 => json::write_u64(out, u8::from_le_bytes(exactly(value)?).into()),
        Plan::I16 => json::write_i64(out, i16::from_le_bytes(exactly(value)?).into()),
        Plan::U16 => json::write_u64(out, u16::from_le_bytes(exactly(value)?).into()),
        Plan::I24 => json::write_i64(out, signed_24(exactly(value)?)),
        Plan::U24 => json::write_u64(out, little(&exactly::<3>(value)?)),
        Plan::F32 => json::write_f32(out, f32::from_le_bytes(exactly(value)?)),
        Plan::F64 => json::write_f64(out, f64::from_le_bytes(exactly(value)?)),
        Plan::Text(charset) => return text::write(charset, value, out, &mut decoded.text, invalid),
        Plan::Bytes(width) => text::write_bytes(value, width.into(), out, &mut decoded.bytes),
        Plan::Decimal { precision, scale } => return decimal::write(value, precision, scale, out),
        Plan::Date => return temporal::write_date(exactly(value)?, out),
        Plan::Time(digits) => return temporal::write_time(value, digits, out),
        Plan::DateTime(digits) => return temporal::write_datetime(value, digits, out),
        Plan::Timestamp(digits) => return temporal::write_timestamp(value, digits, out),
        Plan::Year => json::write_u64(out, year(exactly(value)?)),
        Plan::Bool => return bool(exactly(value)?, out),
        Plan::Bits => bits(value, out),
        Plan::Enum(ref texts) => return enumeration(little(value), texts, out),
        Plan::Set(ref texts) => return set(little(value), texts, out),
        Plan::Json => return jsonb::write(value, out, &mut decoded.bytes).map_err(ValueError::Corrupt),
        Plan::Uuid => return text::write_uuid(value, out),
        Plan::Excluded => {}
    }
    Ok(())
}

pub(crate) use self::temporal::{write_packed_date, write_packed_datetime, write_packed_time};

#[inline]
fn exactly<const SIZE: usize>(value: &[u8]) -> Result<[u8; SIZE], ValueError> {
    value.try_into().map_err(|_| WIDTH)
}

fn signed_24([low, middle, high]: [u8; 3]) -> i64 {
    i64::from(i32::from_le_bytes([0, low, middle, high]) >> 8)
}

/// Years since 1900; 0 is the year 0.
fn year([years]: [u8; 1]) -> u64 {
    if years == 0 { 0 } else { 1900 + u64::from(years) }
}

fn bool([byte]: [u8; 1], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let text: &[u8] = match byte {
        0 => b"false",
        1 => b"true",
        _ => return Err(ValueError::Corrupt("a BIT(1) over 1")),
    };
    out.extend_from_slice(text);
    Ok(())
}

/// BIT(n), big-endian in the binlog, as base64 of its little-endian bytes.
fn bits(value: &[u8], out: &mut Vec<u8>) {
    let number = big(&value[..value.len().min(8)]);
    out.push(b'"');
    json::write_base64(out, &number.to_le_bytes()[..value.len().min(8)]);
    out.push(b'"');
}

/// Index 0 is the server's empty text for a value that the ENUM does not have.
fn enumeration(index: u64, texts: &[Box<[u8]>], out: &mut Vec<u8>) -> Result<(), ValueError> {
    if index == 0 {
        out.extend_from_slice(b"\"\"");
        return Ok(());
    }
    let text = usize::try_from(index - 1).ok().and_then(|index| texts.get(index));
    out.extend_from_slice(text.ok_or(ValueError::Corrupt("an ENUM index without a text"))?);
    Ok(())
}

fn set(mut members: u64, texts: &[Box<[u8]>], out: &mut Vec<u8>) -> Result<(), ValueError> {
    out.push(b'"');
    let start = out.len();
    while members != 0 {
        let text = texts.get(members.trailing_zeros() as usize);
        if out.len() != start {
            out.push(b',');
        }
        out.extend_from_slice(text.ok_or(ValueError::Corrupt("a SET bit without a text"))?);
        members &= members - 1;
    }
    out.push(b'"');
    Ok(())
}

#[cfg(test)]
pub(crate) fn check(plan: &Plan, value: &[u8], expected: &str) {
    let mut out = Vec::new();
    write(plan, value, &mut out, &mut Decoded::default(), InvalidText::Stop).expect("a valid value");
    assert_eq!(String::from_utf8(out).expect("UTF-8"), expected, "{plan:?} {value:02X?}");
}

#[cfg(test)]
pub(crate) fn check_refused(plan: &Plan, value: &[u8]) {
    let result = write(plan, value, &mut Vec::new(), &mut Decoded::default(), InvalidText::Stop);
    assert!(result.is_err(), "{plan:?} {value:02X?}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn integers_keep_their_sign_and_range() {
        check(&Plan::I8, &[0x80], "-128");
        check(&Plan::U8, &[0xFF], "255");
        check(&Plan::I16, &[0x00, 0x80], "-32768");
        check(&Plan::U16, &[0xFF, 0xFF], "65535");
        check(&Plan::I24, &[0x00, 0x00, 0x80], "-8388608");
        check(&Plan::I24, &[0xFF, 0xFF, 0x7F], "8388607");
        check(&Plan::U24, &[0xFF, 0xFF, 0xFF], "16777215");
        check(&Plan::I32, &[0, 0, 0, 0x80], "-2147483648");
        check(&Plan::U32, &[0xFF; 4], "4294967295");
        check(&Plan::I64, &i64::MIN.to_le_bytes(), "-9223372036854775808");
        check(&Plan::U64, &[0xFF; 8], "18446744073709551615");
    }

    #[test]
    fn a_year_is_its_number_and_zero_stays_zero() {
        check(&Plan::Year, &[118], "2018");
        check(&Plan::Year, &[0], "0");
        check(&Plan::Year, &[255], "2155");
    }

    #[test]
    fn one_bit_is_a_boolean_and_more_are_little_endian_bytes() {
        check(&Plan::Bool, &[1], "true");
        check(&Plan::Bool, &[0], "false");
        check(&Plan::Bits, &[0b1011_0001], "\"sQ==\"");
        check(&Plan::Bits, &[0b1011, 0b0001_1110], "\"Hgs=\"");
        check(&Plan::Bits, &[0x80, 0, 0, 0, 0, 0, 0, 1], "\"AQAAAAAAAIA=\"");
        check_refused(&Plan::Bool, &[2]);
    }

    #[test]
    fn floats_are_as_short_as_their_own_width_allows() {
        check(&Plan::F32, &1.1f32.to_le_bytes(), "1.1");
        check(&Plan::F64, &1234.567f64.to_le_bytes(), "1234.567");
    }

    #[test]
    fn enum_and_set_texts_come_in_definition_order() {
        let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().into()).collect();
        let plan = Plan::Enum(texts(&["\"a\"", "\"c,d\""]));
        check(&plan, &[2], "\"c,d\"");
        check(&plan, &[0], "\"\"");
        check_refused(&plan, &[3]);
        let plan = Plan::Set(texts(&["x", "y", "z"]));
        check(&plan, &[0b101], "\"x,z\"");
        check(&plan, &[0], "\"\"");
        check_refused(&plan, &[0b1000]);
    }

    #[test]
    fn a_value_of_the_wrong_width_is_refused() {
        for plan in
            [Plan::I8, Plan::I32, Plan::U24, Plan::F64, Plan::Date, Plan::Year, Plan::Time(3), Plan::Uuid]
        {
            check_refused(&plan, &[0; 17]);
        }
    }

    proptest! {
        #[test]
        fn every_integer_reads_back(number: i64) {
            check(&Plan::I64, &number.to_le_bytes(), &number.to_string());
            check(&Plan::I32, &(number as i32).to_le_bytes(), &(number as i32).to_string());
            let narrow = number % (1 << 23);
            check(&Plan::I24, &narrow.to_le_bytes()[..3], &narrow.to_string());
        }
    }
}
