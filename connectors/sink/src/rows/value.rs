//! What a value is, before a dialect writes it: numbers, bytes, documents, dates and times, exact or refused.
//!
//! Only what every database asks in the same way stands here. The errors say what the value is not; a dialect puts the
//! column's name before them.

use std::fmt;
use std::io::Write as _;
use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::layout::Origin;
use crate::image::Value;

pub mod temporal;

/// `… is no …`; a value that is too long to be shown is cut.
pub fn is_no(value: &Value<'_>, what: &str) -> String {
    format!("{} is no {what}", shown(value))
}

/// The value for people, cut where it is too long.
pub fn shown(value: &Value<'_>) -> String {
    const CHARS_MAX: usize = 60;
    let text = match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(text) | Value::Structure(text) => (*text).to_owned(),
        Value::Text(text) => format!("\"{text}\""),
    };
    if text.chars().count() <= CHARS_MAX {
        return text;
    }
    text.chars().take(CHARS_MAX).chain(['…']).collect()
}

/// The text of a text, a number or a document.
///
/// # Errors
/// It is none of them.
pub fn text<'v>(value: &'v Value<'_>) -> Result<&'v str, String> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Number(text) | Value::Structure(text) => Ok(text),
        _ => Err(is_no(value, "text")),
    }
}

/// The text of a number, or of a text that may be one.
///
/// # Errors
/// It is neither; `what` says what was looked for.
pub fn digits<'v>(value: &'v Value<'_>, what: &str) -> Result<&'v str, String> {
    match value {
        Value::Bool(true) => Ok("1"),
        Value::Bool(false) => Ok("0"),
        Value::Number(text) => Ok(text),
        Value::Text(text) => Ok(text),
        _ => Err(is_no(value, what)),
    }
}

/// A whole number within the range; also as what other writers of JSON make of one: `1.0`, `1e3`.
///
/// # Errors
/// It is none, or out of range.
pub fn integer(value: &Value<'_>, range: RangeInclusive<i128>) -> Result<i128, String> {
    let text = digits(value, "whole number")?;
    let short = text.parse::<i64>().ok().map(i128::from);
    let number = short.or_else(|| text.parse().ok()).or_else(|| whole(text));
    let number = number.ok_or_else(|| is_no(value, "whole number"))?;
    if !range.contains(&number) {
        return Err(format!("{number} is out of range: {} to {}", range.start(), range.end()));
    }
    Ok(number)
}

/// A number that is written with a point or an exponent, and is whole and exact as a double.
fn whole(text: &str) -> Option<i128> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let number: f64 = text.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "whole and far within the bounds")]
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i128)
}

/// Whether a floating-point column can hold the number that was read.
///
/// # Errors
/// It is beyond its range.
pub fn finite(value: &Value<'_>, number: f64) -> Result<(), String> {
    if number.is_finite() { Ok(()) } else { Err(is_no(value, "number that the column can hold")) }
}

/// Bytes from base64.
///
/// # Errors
/// It is no base64.
pub fn base64(value: &Value<'_>) -> Result<Vec<u8>, String> {
    let Value::Text(text) = value else { return Err(is_no(value, "bytes in base64")) };
    STANDARD.decode(text.as_bytes()).map_err(|_| is_no(value, "bytes in base64"))
}

/// The text of a document whose JSON in the event is `raw`; a change event holds it as a string.
pub fn document<'v>(value: &'v Value<'_>, raw: &'v str, origin: Origin) -> &'v str {
    match (value, origin) {
        (Value::Text(text), Origin::Change) => text,
        _ => raw,
    }
}

/// Appends without a copy in between.
pub fn append(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes all");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::value;

    #[test]
    fn whole_numbers_are_exact_and_within_the_range() {
        for (raw, expected) in [
            ("18446744073709551615", Ok(u64::MAX.into())),
            ("18446744073709551616", Err("18446744073709551616 is out of range: 0 to 18446744073709551615")),
            ("-1", Err("-1 is out of range: 0 to 18446744073709551615")),
            ("true", Ok(1)),
            ("1.0", Ok(1)),
            ("1e3", Ok(1000)),
            (r#""99999""#, Ok(99_999)),
            ("1.5", Err("1.5 is no whole number")),
            ("1e30", Err("1e30 is no whole number")),
            (r#""1 OR 1""#, Err("\"1 OR 1\" is no whole number")),
            (r#""""#, Err("\"\" is no whole number")),
            ("[1]", Err("[1] is no whole number")),
        ] {
            let found = integer(&value(raw).expect("a value"), 0..=u64::MAX.into());
            assert_eq!(found, expected.map_err(str::to_owned), "{raw}");
        }
    }

    #[test]
    fn what_is_too_long_to_be_shown_is_cut_between_characters() {
        let long = format!("\"{}\"", "é".repeat(90));
        let text = is_no(&value(&long).expect("a value"), "number");
        assert_eq!(text, format!("\"{}… is no number", "é".repeat(59)));
    }

    #[test]
    fn a_document_is_the_string_in_a_change_event_and_the_json_itself_in_others() {
        let raw = r#""{\"a\":1}""#;
        let value = value(raw).expect("a value");
        assert_eq!(document(&value, raw, Origin::Change), r#"{"a":1}"#);
        assert_eq!(document(&value, raw, Origin::Plain), raw);
    }

    #[test]
    fn bytes_are_base64_and_nothing_else() {
        assert_eq!(base64(&value(r#""AP8=""#).expect("a value")), Ok(vec![0, 255]));
        for raw in [r#""AP8""#, r#""A P8=""#, "1", "null"] {
            let error = base64(&value(raw).expect("a value")).expect_err(raw);
            assert!(error.ends_with("is no bytes in base64"), "{error}");
        }
    }
}
