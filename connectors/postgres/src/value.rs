//! Values: the text of a JSON value becomes the text that the column's type reads, exactly, or is refused.
//!
//! Only a column's type decides how a value is read; the forms are those of the event format, and numbers and texts that
//! say the same. What the server would round, cut or guess at is found here, before it does. Invariant: a text that is
//! written here either is stored as what the event says or the server refuses it.

use flowd_sink::image::{self, Value};
use flowd_sink::rows::layout::Origin;
use flowd_sink::rows::value::{self, base64, is_no, shown};
use memchr::memchr;

use crate::config::ZeroDates;

mod bits;
mod number;
mod temporal;

/// How a column's values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `boolean`.
    Boolean,
    /// Whole numbers within bounds.
    Integer { min: i64, max: i64 },
    /// `numeric`: how many digits, and how many of them behind the point; `None` for any.
    Numeric(Option<Precision>),
    /// Single precision.
    Real,
    /// Double precision.
    Double,
    /// `bit` of so many bits; `bit varying` of at most so many.
    Bits { width: Option<usize>, fixed: bool },
    /// `date`.
    Date,
    /// `time` with so many digits of a second's fraction.
    Time { fraction: usize },
    /// `timestamp`, likewise; with a zone it is in UTC.
    Timestamp { fraction: usize, zoned: bool },
    /// `interval`, likewise: a TIME of MySQL, which goes beyond a day.
    Interval { fraction: usize },
    /// Text of at most so many characters.
    Text { chars_max: Option<usize> },
    /// `bytea`.
    Bytes,
    /// `uuid`.
    Uuid,
    /// `json` and `jsonb`.
    Json,
    /// What the server reads from text and never rounds: enumerations, addresses, types of extensions.
    Other,
    /// What flowd does not write: arrays, and types whose input rounds or cuts silently.
    Unwritten,
}

/// Of a `numeric`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Precision {
    pub(crate) digits: i64,
    /// Less than zero where digits before the point are not kept either.
    pub(crate) scale: i64,
}

/// How values are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) origin: Origin,
    pub(crate) zero_dates: ZeroDates,
}

/// What was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Text,
    /// Nothing: it is NULL.
    Null,
}

type Done = Result<Written, String>;

impl Form {
    /// Two texts that differ are two values, whatever the column's equality.
    pub(crate) fn is_canonical(self) -> bool {
        matches!(
            self,
            Self::Boolean
                | Self::Integer { .. }
                | Self::Bits { .. }
                | Self::Date
                | Self::Time { .. }
                | Self::Timestamp { .. }
                | Self::Bytes
                | Self::Uuid
        )
    }
}

/// Appends the value whose JSON is `raw`, for a column of that form. The error says what the value is not.
pub(crate) fn write(form: Form, raw: &str, reading: Reading, out: &mut Vec<u8>) -> Done {
    let value = image::value(raw)?;
    if value == Value::Null {
        return Ok(Written::Null);
    }
    match form {
        Form::Boolean => number::boolean(&value, out),
        Form::Integer { min, max } => number::integer(&value, min, max, out),
        Form::Numeric(precision) => number::numeric(&value, precision, out),
        Form::Real => number::real(&value, out),
        Form::Double => number::double(&value, out),
        Form::Bits { width, fixed } => bits::bits(&value, width, fixed, out),
        Form::Date => return temporal::date(&value, reading.zero_dates, out),
        Form::Time { fraction } => temporal::time(&value, fraction, out),
        Form::Timestamp { fraction, zoned } => {
            return temporal::timestamp(&value, fraction, zoned, reading.zero_dates, out);
        }
        Form::Interval { fraction } => temporal::interval(&value, fraction, out),
        Form::Text { chars_max } => text(&value, chars_max, out),
        Form::Bytes => bytes(&value, out),
        Form::Uuid => uuid(&value, out),
        Form::Json => push(value::document(&value, raw, reading.origin), out),
        Form::Other => other(&value, out),
        Form::Unwritten => Err("flowd writes no values of the column's type".into()),
    }
    .map(|()| Written::Text)
}

fn text(value: &Value<'_>, chars_max: Option<usize>, out: &mut Vec<u8>) -> Result<(), String> {
    let text = value::text(value)?;
    // Characters are at most bytes: most texts need no count.
    if let Some(most) = chars_max.filter(|most| text.len() > *most) {
        let chars = text.chars().count();
        if chars > most {
            return Err(format!("{} has {chars} characters; the column takes {most}", shown(value)));
        }
    }
    push(text, out)
}

/// No text of PostgreSQL has the character U+0000.
fn push(text: &str, out: &mut Vec<u8>) -> Result<(), String> {
    if let Some(at) = memchr(0, text.as_bytes()) {
        return Err(format!("the text has the character U+0000 at byte {at}, which PostgreSQL cannot hold"));
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn bytes(value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    write_bytes(&base64(value)?, out);
    Ok(())
}

/// Writes bytes as the text of a `bytea`.
pub(crate) fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\x");
    hexadecimal(bytes, out);
}

fn hexadecimal(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(
        bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
    );
}

/// Its text with or without hyphens; or its 16 bytes, as a BINARY(16) has them.
fn uuid(value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    const SIZE: usize = 16;
    let wrong = || is_no(value, "UUID");
    let Value::Text(text) = value else { return Err(wrong()) };
    if text.len() == STANDARD_SIZE_OF_16 {
        let bytes = base64(value).map_err(|_| wrong())?;
        if bytes.len() != SIZE {
            return Err(wrong());
        }
        hexadecimal(&bytes, out);
        return Ok(());
    }
    let is_hyphen = |(index, byte): (usize, u8)| byte == b'-' && matches!(index, 8 | 13 | 18 | 23);
    let hyphens = text.bytes().enumerate().filter(|one| is_hyphen(*one)).count();
    let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
    if digits != 2 * SIZE || digits + hyphens != text.len() || !matches!(hyphens, 0 | 4) {
        return Err(wrong());
    }
    out.extend(text.bytes().filter(|byte| *byte != b'-').map(|byte| byte.to_ascii_lowercase()));
    Ok(())
}

/// Characters of 16 bytes in base64.
const STANDARD_SIZE_OF_16: usize = 24;

fn other(value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    match value {
        Value::Bool(true) => push("true", out),
        Value::Bool(false) => push("false", out),
        _ => push(value::text(value)?, out),
    }
}

#[cfg(test)]
mod tests;
