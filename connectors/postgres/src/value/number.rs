//! Numbers: exact or refused.

use flowd_sink::image::Value;
use flowd_sink::rows::value::{self, append, digits, finite, is_no};

use super::Precision;

type Done = Result<(), String>;

pub(super) fn boolean(value: &Value<'_>, out: &mut Vec<u8>) -> Done {
    match digits(value, "boolean")? {
        "1" | "true" => out.push(b't'),
        "0" | "false" => out.push(b'f'),
        _ => return Err(is_no(value, "boolean: 0 or 1, true or false")),
    }
    Ok(())
}

pub(super) fn integer(value: &Value<'_>, min: i64, max: i64, out: &mut Vec<u8>) -> Done {
    let number = value::integer(value, min.into()..=max.into())?;
    append(out, format_args!("{number}"));
    Ok(())
}

pub(super) fn numeric(value: &Value<'_>, precision: Option<Precision>, out: &mut Vec<u8>) -> Done {
    let text = digits(value, "decimal number")?;
    let decimal = Decimal::read(text).ok_or_else(|| is_no(value, "decimal number"))?;
    if let Some(Precision { digits, scale }) = precision
        && !decimal.fits(digits, scale)
    {
        return Err(format!("{text} does not fit into numeric({digits},{scale})"));
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// A decimal number as `significant digits × 10^exponent`; without any digit it is zero.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    significant: i64,
    exponent: i64,
}

impl Decimal {
    fn read(text: &str) -> Option<Self> {
        /// Far beyond what a numeric holds, and far from any overflow.
        const EXPONENT_MAX: i64 = 1_000_000;
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (unsigned, 0),
        };
        let (before, behind) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if before.is_empty() || !is_digits(before) || !is_digits(behind) || exponent.abs() > EXPONENT_MAX {
            return None;
        }
        let all = || before.bytes().chain(behind.bytes());
        let length = |count: usize| i64::try_from(count).ok();
        let leading = all().take_while(|digit| *digit == b'0').count();
        if leading == before.len() + behind.len() {
            return Some(Self { significant: 0, exponent: 0 });
        }
        let trailing = all().rev().take_while(|digit| *digit == b'0').count();
        let significant = length(before.len() + behind.len() - leading - trailing)?;
        Some(Self { significant, exponent: exponent - length(behind.len())? + length(trailing)? })
    }

    /// Whether a numeric keeps all of its digits.
    fn fits(&self, digits: i64, scale: i64) -> bool {
        self.significant == 0
            || (self.exponent >= -scale && self.significant + self.exponent <= digits - scale)
    }
}

pub(super) fn double(value: &Value<'_>, out: &mut Vec<u8>) -> Done {
    let text = digits(value, "number")?;
    let number: f64 = text.parse().map_err(|_| is_no(value, "number"))?;
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and then differs")]
    if text.parse::<i128>().is_ok_and(|whole| number as i128 != whole) {
        return Err(format!("{text} has more digits than double precision keeps"));
    }
    finite(value, number)?;
    append(out, format_args!("{number:e}"));
    Ok(())
}

/// Taken as the text of a single, or as the double that a single is; a double with more digits is refused.
pub(super) fn real(value: &Value<'_>, out: &mut Vec<u8>) -> Done {
    let text = digits(value, "number")?;
    let number: f64 = text.parse().map_err(|_| is_no(value, "number"))?;
    let single: f32 = text.parse().map_err(|_| is_no(value, "number"))?;
    finite(value, f64::from(single))?;
    let short = single.to_string();
    if f64::from(single) != number && short.parse() != Ok(number) {
        return Err(format!("{text} has more digits than single precision keeps"));
    }
    append(out, format_args!("{single:e}"));
    Ok(())
}
