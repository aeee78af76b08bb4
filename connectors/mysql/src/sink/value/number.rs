//! Numbers: exact or refused. What the server would round is found here, before it does.

use flowd_sink::image::Value;
use flowd_sink::rows::value::{self, append, base64, digits, finite, is_no};

type Written = Result<(), String>;

pub(super) fn integer(value: &Value<'_>, min: i128, max: i128, out: &mut Vec<u8>) -> Written {
    let number = value::integer(value, min..=max)?;
    append(out, format_args!("{number}"));
    Ok(())
}

/// DECIMAL from its text. Digits behind the column's last are refused unless they are zeros.
pub(super) fn decimal(value: &Value<'_>, integer: usize, fraction: usize, out: &mut Vec<u8>) -> Written {
    let text = digits(value, "decimal number")?;
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (before, behind) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if before.is_empty() || !is_digits(before) || !is_digits(behind) {
        return Err(is_no(value, "decimal number"));
    }
    let (kept, cut) = behind.split_at(behind.len().min(fraction));
    let significant = before.trim_start_matches('0').len();
    if significant > integer || cut.bytes().any(|byte| byte != b'0') {
        let digits = integer + fraction;
        return Err(format!("{text} does not fit into DECIMAL({digits},{fraction})"));
    }
    if text.len() > unsigned.len() {
        out.push(b'-');
    }
    out.extend_from_slice(before.as_bytes());
    if !kept.is_empty() {
        out.push(b'.');
        out.extend_from_slice(kept.as_bytes());
    }
    Ok(())
}

pub(super) fn double(value: &Value<'_>, out: &mut Vec<u8>) -> Written {
    let number: f64 = digits(value, "number")?.parse().map_err(|_| is_no(value, "number"))?;
    exponential(value, number, out)
}

/// Single precision is written as the double that it is: so it is stored, and so it is found again in a comparison.
pub(super) fn float(value: &Value<'_>, out: &mut Vec<u8>) -> Written {
    let number: f32 = digits(value, "number")?.parse().map_err(|_| is_no(value, "number"))?;
    exponential(value, f64::from(number), out)
}

/// With an exponent the server takes it for a double, without one for a decimal.
fn exponential(value: &Value<'_>, number: f64, out: &mut Vec<u8>) -> Written {
    finite(value, number)?;
    append(out, format_args!("{number:e}"));
    Ok(())
}

/// true and false for one bit, else bytes in base64, the lowest first.
pub(super) fn bit(value: &Value<'_>, bits: u32, out: &mut Vec<u8>) -> Written {
    let number = match value {
        Value::Bool(bit) => u64::from(*bit),
        Value::Number(text) => text.parse().map_err(|_| is_no(value, "bits"))?,
        _ => {
            let bytes = base64(value)?;
            if bytes.len() > 8 {
                return Err(format!("{} bytes do not fit into BIT({bits})", bytes.len()));
            }
            bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
        }
    };
    if bits < 64 && number >> bits != 0 {
        return Err(format!("{number} does not fit into BIT({bits})"));
    }
    append(out, format_args!("{number}"));
    Ok(())
}

/// As a text of four digits: the number 0 could be taken for 2000.
pub(super) fn year(value: &Value<'_>, out: &mut Vec<u8>) -> Written {
    let year: u32 = digits(value, "year")?.parse().map_err(|_| is_no(value, "year"))?;
    if year != 0 && !(1901..=2155).contains(&year) {
        return Err(format!("{year} is out of range: 0, 1901 to 2155"));
    }
    append(out, format_args!("'{year:04}'"));
    Ok(())
}
