//! Values: the text of a JSON value becomes an SQL literal that the target's column stores exactly, or is refused.
//!
//! Only a column's type decides how a value is read; the forms are those of the event format, and numbers and texts that
//! say the same. Invariant: a literal that is written here either is stored as it is or the server refuses it.

use flowd_sink::image::{self, Value};
use flowd_sink::rows::layout::Origin;
use flowd_sink::rows::value::{self, base64, is_no};

use crate::sink::sql;

mod number;
mod space;
mod temporal;

/// How a column's values are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// Whole numbers within bounds.
    Integer { min: i128, max: i128 },
    /// DECIMAL: digits before and behind the point.
    Decimal { integer: usize, fraction: usize },
    /// Single precision.
    Float,
    /// Double precision.
    Double,
    /// BIT of so many bits.
    Bit { bits: u32 },
    /// YEAR.
    Year,
    /// DATE.
    Date,
    /// TIME with so many digits of a second's fraction.
    Time { fraction: usize },
    /// DATETIME and TIMESTAMP (the session's zone is UTC), likewise.
    DateTime { fraction: usize },
    /// Text in a character set.
    Text,
    /// Bytes; BINARY is filled up to its width.
    Binary { width: Option<usize> },
    /// One of these texts, or the empty one.
    Enum(Vec<String>),
    /// Some of these texts.
    Set(Vec<String>),
    /// MySQL's JSON.
    Json,
    /// GEOMETRY and what is derived from it.
    Geometry,
    /// VECTOR.
    Vector,
    /// What the server reads from text: UUID, INET4, INET6, and types of later versions.
    Other,
}

/// How the server must take a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// Strictly.
    Exact,
    /// The empty value of an ENUM, which a strict session refuses.
    Loose,
}

/// Writes the value whose JSON is `raw` for a column of that form; NULL for null. The error says what the value is not.
pub(super) fn write(form: &Form, raw: &str, origin: Origin, out: &mut Vec<u8>) -> Result<Written, String> {
    let value = image::value(raw)?;
    if value == Value::Null {
        out.extend_from_slice(b"NULL");
        return Ok(Written::Exact);
    }
    match form {
        Form::Integer { min, max } => number::integer(&value, *min, *max, out),
        Form::Decimal { integer, fraction } => number::decimal(&value, *integer, *fraction, out),
        Form::Float => number::float(&value, out),
        Form::Double => number::double(&value, out),
        Form::Bit { bits } => number::bit(&value, *bits, out),
        Form::Year => number::year(&value, out),
        Form::Date => temporal::date(&value, out),
        Form::Time { fraction } => temporal::time(&value, *fraction, out),
        Form::DateTime { fraction } => temporal::date_time(&value, *fraction, out),
        Form::Text | Form::Other => value::text(&value).map(|text| sql::text(text, out)),
        Form::Binary { width } => binary(&value, *width, out),
        Form::Enum(labels) => return label(&value, labels, out),
        Form::Set(labels) => set(&value, labels, out),
        Form::Json => {
            sql::text(value::document(&value, raw, origin), out);
            Ok(())
        }
        Form::Geometry => space::geometry(&value, out),
        Form::Vector => space::vector(&value, out),
    }
    .map(|()| Written::Exact)
}

fn binary(value: &Value<'_>, width: Option<usize>, out: &mut Vec<u8>) -> Result<(), String> {
    let mut bytes = base64(value)?;
    if let Some(width) = width.filter(|width| *width > bytes.len()) {
        bytes.resize(width, 0);
    }
    sql::bytes(&bytes, out);
    Ok(())
}

/// A text that is no label is never given to the server: it would take digits for a label's number.
fn label(value: &Value<'_>, labels: &[String], out: &mut Vec<u8>) -> Result<Written, String> {
    let Value::Text(text) = value else { return Err(is_no(value, "label of the ENUM")) };
    let known = labels.iter().any(|label| label == text);
    if !known && !text.is_empty() {
        return Err(is_no(value, "label of the ENUM"));
    }
    sql::text(text, out);
    Ok(if known { Written::Exact } else { Written::Loose })
}

fn set(value: &Value<'_>, labels: &[String], out: &mut Vec<u8>) -> Result<(), String> {
    let Value::Text(text) = value else { return Err(is_no(value, "list of labels of the SET")) };
    let is_known = |one: &str| labels.iter().any(|label| label == one);
    if !text.is_empty() && !text.split(',').all(is_known) {
        return Err(is_no(value, "list of labels of the SET"));
    }
    sql::text(text, out);
    Ok(())
}

#[cfg(test)]
mod tests;
