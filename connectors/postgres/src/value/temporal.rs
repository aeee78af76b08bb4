//! Dates and times: only the event format's own forms are taken, because the server guesses at others and carries
//! 24:00 and a sixtieth second over.
//!
//! PostgreSQL has no zero and no partial dates. A fraction is never rounded: digits that the column does not keep must be
//! zeros; zeros at the end are left out, so that a time has one text.

use flowd_sink::image::Value;

use super::{Done, Written, is_no};
use crate::config::ZeroDates;

pub(super) fn date(value: &Value<'_>, zero_dates: ZeroDates, out: &mut Vec<u8>) -> Done {
    let moment = Moment::read(value, "date")?;
    if moment.clock.bytes().chain(moment.fraction.bytes()).any(|byte| !matches!(byte, b'0' | b':')) {
        return Err(is_no(value, "date alone"));
    }
    if moment.is_zero_date(value, zero_dates)? {
        return Ok(Written::Null);
    }
    out.extend_from_slice(moment.date.as_bytes());
    Ok(Written::Text)
}

pub(super) fn timestamp(
    value: &Value<'_>,
    fraction: usize,
    zoned: bool,
    zero_dates: ZeroDates,
    out: &mut Vec<u8>,
) -> Done {
    let moment = Moment::read(value, "date and time")?;
    let kept = kept(value, moment.fraction, fraction)?;
    if moment.is_zero_date(value, zero_dates)? {
        return Ok(Written::Null);
    }
    let clock = if moment.clock.is_empty() { "00:00:00" } else { moment.clock };
    let zone = if zoned { "+00" } else { "" };
    append(&[moment.date, " ", clock, point(kept), kept, zone], out);
    Ok(Written::Text)
}

/// Within a day.
pub(super) fn time(value: &Value<'_>, fraction: usize, out: &mut Vec<u8>) -> Result<(), String> {
    let span = Span::read(value)?;
    if span.sign == "-" || !is_clock(span.clock) {
        return Err(is_no(value, "time of a day, from 00:00:00 to 23:59:59; an `interval` column takes it"));
    }
    let kept = kept(value, span.fraction, fraction)?;
    append(&[span.clock, point(kept), kept], out);
    Ok(())
}

/// A TIME of MySQL: up to 838:59:59, also below zero.
pub(super) fn interval(value: &Value<'_>, fraction: usize, out: &mut Vec<u8>) -> Result<(), String> {
    let span = Span::read(value)?;
    let kept = kept(value, span.fraction, fraction)?;
    append(&[span.sign, span.clock, point(kept), kept], out);
    Ok(())
}

/// The parts of a time.
struct Span<'v> {
    sign: &'static str,
    /// `hh:mm:ss` or `hhh:mm:ss`.
    clock: &'v str,
    fraction: &'v str,
}

impl<'v> Span<'v> {
    fn read(value: &'v Value<'_>) -> Result<Self, String> {
        let wrong = || is_no(value, "time");
        let Value::Text(text) = value else { return Err(wrong()) };
        let (sign, rest) = text.strip_prefix('-').map_or(("", &**text), |rest| ("-", rest));
        let (clock, fraction) = split_fraction(rest).ok_or_else(wrong)?;
        let (hours, rest) = clock.split_once(':').ok_or_else(wrong)?;
        let is_hours = matches!(hours.len(), 2 | 3) && is_digits(hours);
        if !is_hours || !is_below_sixty(rest) {
            return Err(wrong());
        }
        Ok(Self { sign, clock, fraction })
    }
}

/// The parts of a date with or without a time.
struct Moment<'v> {
    date: &'v str,
    /// `hh:mm:ss`, or empty.
    clock: &'v str,
    /// The digits behind the point.
    fraction: &'v str,
}

impl<'v> Moment<'v> {
    /// `2018-06-20`, `2018-06-20T06:37:03`, with a fraction, with `Z`; a blank instead of the T.
    fn read(value: &'v Value<'_>, what: &str) -> Result<Self, String> {
        let wrong = || is_no(value, what);
        let Value::Text(text) = value else { return Err(wrong()) };
        let (date, rest) = text.split_at_checked(10).ok_or_else(wrong)?;
        if !fits(date, "0000-00-00") {
            return Err(wrong());
        }
        if rest.is_empty() {
            return Ok(Self { date, clock: "", fraction: "" });
        }
        let rest = rest.strip_prefix(['T', ' ']).ok_or_else(wrong)?;
        let rest = rest.strip_suffix('Z').unwrap_or(rest);
        let (clock, fraction) = split_fraction(rest).ok_or_else(wrong)?;
        if !is_clock(clock) {
            return Err(wrong());
        }
        Ok(Self { date, clock, fraction })
    }

    /// Whether NULL stands for it; the error names a date that is none.
    fn is_zero_date(&self, value: &Value<'_>, zero_dates: ZeroDates) -> Result<bool, String> {
        let number = |from: usize, to: usize| self.date[from..to].parse::<u16>().unwrap_or(0);
        let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
        if year == 0 || month == 0 || day == 0 {
            return match zero_dates {
                ZeroDates::Null => Ok(true),
                ZeroDates::Reject => Err(format!(
                    "{}: PostgreSQL has no zero and no partial dates (connectorConfig.zeroDates: asNull stores NULL)",
                    is_no(value, "date")
                )),
            };
        }
        if day > days(year, month) { Err(is_no(value, "date of the calendar")) } else { Ok(false) }
    }
}

/// Days of a month; none where there is no such month.
fn days(year: u16, month: u16) -> u16 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    }
}

/// What stands before the point and behind it.
fn split_fraction(text: &str) -> Option<(&str, &str)> {
    match text.split_once('.') {
        None => Some((text, "")),
        Some((clock, fraction)) if (1..=9).contains(&fraction.len()) && is_digits(fraction) => {
            Some((clock, fraction))
        }
        Some(_) => None,
    }
}

/// `hh:mm:ss` of a day.
fn is_clock(text: &str) -> bool {
    fits(text, "00:00:00") && &text[..2] < "24" && is_below_sixty(&text[3..])
}

/// `mm:ss`.
fn is_below_sixty(text: &str) -> bool {
    fits(text, "00:00") && text.as_bytes()[0] < b'6' && text.as_bytes()[3] < b'6'
}

/// Whether the text has the shape: a digit for each 0, the rest as it is.
fn fits(text: &str, shape: &str) -> bool {
    let alike = |(byte, shape): (u8, u8)| if shape == b'0' { byte.is_ascii_digit() } else { byte == shape };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(alike)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The digits that the column keeps, without zeros at their end.
fn kept<'v>(value: &Value<'_>, digits: &'v str, column: usize) -> Result<&'v str, String> {
    let digits = digits.trim_end_matches('0');
    if digits.len() > column {
        let what = format!("time of {column} digits behind the second, which is what the column keeps");
        return Err(is_no(value, &what));
    }
    Ok(digits)
}

fn point(kept: &str) -> &'static str {
    if kept.is_empty() { "" } else { "." }
}

fn append(parts: &[&str], out: &mut Vec<u8>) {
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}
