//! The values that the binary protocol of a result set writes otherwise than the binlog: DECIMAL as text, dates and
//! times in whole bytes, left out from the end where they are zero (Protocol manual, "Binary Protocol Value").

use super::ValueError;
use super::reader::little;
use super::temporal::{self, Clock, Date, Moment};

pub(crate) use super::temporal::Zone;

const DECIMAL: ValueError = ValueError::Corrupt("a DECIMAL with impossible digits");
const WIDTH: ValueError = ValueError::Corrupt("a date or time of an impossible length");
const CORRUPT: ValueError = ValueError::Corrupt("a date or time with impossible parts");

/// Appends the decimal as a JSON string. ZEROFILL's zeros in front are cut off, and there is no negative zero: the stream
/// knows neither.
pub(crate) fn write_decimal(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        _ => (false, text),
    };
    let whole = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let fraction = match digits.get(whole..) {
        Some([b'.', fraction @ ..]) if !fraction.is_empty() => fraction,
        Some([]) => &[],
        _ => return Err(DECIMAL),
    };
    if whole == 0 || digits.len() > DIGITS_MAX || !fraction.iter().all(u8::is_ascii_digit) {
        return Err(DECIMAL);
    }
    let zeros = digits[..whole - 1].iter().take_while(|&&byte| byte == b'0').count();
    out.push(b'"');
    if negative && digits.iter().any(|byte| matches!(byte, b'1'..=b'9')) {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[zeros..]);
    out.push(b'"');
    Ok(())
}

/// Digits and a point of the longest display width.
const DIGITS_MAX: usize = 256;

/// DATE: nothing, or year (2 bytes), month, day.
#[inline]
pub(crate) fn write_date(value: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let date = match value {
        [] => (0, 0, 0),
        &[low, high, month, day] => date(low, high, month, day)?,
        _ => return Err(WIDTH),
    };
    temporal::write_parts(Moment::Date(date), out)
}

/// TIME(n): nothing, or sign, days (4 bytes), hour, minute, second, and if there is one the fraction in µs (4 bytes).
#[inline]
pub(crate) fn write_time(value: &[u8], digits: u8, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let Some((head, fraction)) = value.split_first_chunk::<8>() else {
        let zero = Moment::Time { negative: false, clock: (0, 0, 0), micros: 0, digits };
        return if value.is_empty() { temporal::write_parts(zero, out) } else { Err(WIDTH) };
    };
    let &[sign, a, b, c, d, hour, minute, second] = head;
    let days = u32::from_le_bytes([a, b, c, d]);
    let clock = clock(hour, minute, second)?;
    if days > 34 || sign > 1 || days * 24 + clock.0 > 838 {
        return Err(CORRUPT);
    }
    let clock = (days * 24 + clock.0, clock.1, clock.2);
    temporal::write_parts(Moment::Time { negative: sign == 1, clock, micros: micros(fraction)?, digits }, out)
}

/// DATETIME(n) and TIMESTAMP(n): nothing, or a date, or a date and a clock, or these and the fraction in µs.
#[inline]
pub(crate) fn write_datetime(
    value: &[u8],
    digits: u8,
    zone: Zone,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let (date, clock, micros) = match *value {
        [] => ((0, 0, 0), (0, 0, 0), 0),
        [low, high, month, day] => (date(low, high, month, day)?, (0, 0, 0), 0),
        [low, high, month, day, hour, minute, second, ref fraction @ ..] => {
            (date(low, high, month, day)?, clock(hour, minute, second)?, micros(fraction)?)
        }
        _ => return Err(WIDTH),
    };
    temporal::write_parts(Moment::DateTime { date, clock, micros, digits, zone }, out)
}

#[inline]
fn date(low: u8, high: u8, month: u8, day: u8) -> Result<Date, ValueError> {
    let year = u16::from_le_bytes([low, high]);
    if year <= 9999 && month <= 12 && day <= 31 {
        Ok((year.into(), month.into(), day.into()))
    } else {
        Err(CORRUPT)
    }
}

#[inline]
fn clock(hour: u8, minute: u8, second: u8) -> Result<Clock, ValueError> {
    if hour <= 23 && minute <= 59 && second <= 59 {
        Ok((hour.into(), minute.into(), second.into()))
    } else {
        Err(CORRUPT)
    }
}

#[inline]
fn micros(fraction: &[u8]) -> Result<u32, ValueError> {
    match fraction.len() {
        0 => Ok(0),
        4 => u32::try_from(little(fraction)).ok().filter(|&micros| micros < 1_000_000).ok_or(CORRUPT),
        _ => Err(WIDTH),
    }
}
