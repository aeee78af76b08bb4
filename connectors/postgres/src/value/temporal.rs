//! Dates and times: only the event format's own forms are taken, because the server guesses at others and carries
//! 24:00 and a sixtieth second over.
//!
//! PostgreSQL has no zero and no partial dates. A fraction is never rounded: digits that the column does not keep must be
//! zeros; zeros at the end are left out, so that a time has one text.

use flowd_sink::image::Value;
use flowd_sink::rows::value::is_no;
use flowd_sink::rows::value::temporal::{Moment, Span, not_kept, point};

use super::{Done, Written};
use crate::config::ZeroDates;

pub(super) fn date(value: &Value<'_>, zero_dates: ZeroDates, out: &mut Vec<u8>) -> Done {
    let moment = moment(value, "date")?;
    let date = moment.date_alone(value)?;
    if is_zero_date(value, date, zero_dates)? {
        return Ok(Written::Null);
    }
    out.extend_from_slice(date.as_bytes());
    Ok(Written::Text)
}

pub(super) fn timestamp(
    value: &Value<'_>,
    fraction: usize,
    zoned: bool,
    zero_dates: ZeroDates,
    out: &mut Vec<u8>,
) -> Done {
    let moment = moment(value, "date and time")?;
    let kept = kept(value, moment.fraction, fraction)?;
    if is_zero_date(value, moment.date, zero_dates)? {
        return Ok(Written::Null);
    }
    let zone = if zoned { "+00" } else { "" };
    append(&[moment.date, " ", moment.clock(), point(kept), kept, zone], out);
    Ok(Written::Text)
}

/// Within a day.
pub(super) fn time(value: &Value<'_>, fraction: usize, out: &mut Vec<u8>) -> Result<(), String> {
    let span = span(value)?;
    if span.sign == "-" || !is_clock(span.clock) {
        return Err(is_no(value, "time of a day, from 00:00:00 to 23:59:59; an `interval` column takes it"));
    }
    let kept = kept(value, span.fraction, fraction)?;
    append(&[span.clock, point(kept), kept], out);
    Ok(())
}

/// A TIME of MySQL: up to 838:59:59, also below zero.
pub(super) fn interval(value: &Value<'_>, fraction: usize, out: &mut Vec<u8>) -> Result<(), String> {
    let span = span(value)?;
    let kept = kept(value, span.fraction, fraction)?;
    append(&[span.sign, span.clock, point(kept), kept], out);
    Ok(())
}

/// Minutes and seconds are below sixty.
fn span<'v>(value: &'v Value<'_>) -> Result<Span<'v>, String> {
    let span = Span::read(value)?;
    if is_below_sixty(&span.clock[span.clock.len() - 5..]) { Ok(span) } else { Err(is_no(value, "time")) }
}

/// Its time is one of a day.
fn moment<'v>(value: &'v Value<'_>, what: &str) -> Result<Moment<'v>, String> {
    let moment = Moment::read(value, what)?;
    if is_clock(moment.clock()) { Ok(moment) } else { Err(is_no(value, what)) }
}

/// Whether NULL stands for it; the error names a date that is none.
fn is_zero_date(value: &Value<'_>, date: &str, zero_dates: ZeroDates) -> Result<bool, String> {
    let number = |from: usize, to: usize| date[from..to].parse::<u16>().unwrap_or(0);
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

/// A time that has the shape `hh:mm:ss` or `hhh:mm:ss` is one of a day.
fn is_clock(text: &str) -> bool {
    text.len() == 8 && &text[..2] < "24" && is_below_sixty(&text[3..])
}

/// The same of `mm:ss`.
fn is_below_sixty(text: &str) -> bool {
    text.as_bytes()[0] < b'6' && text.as_bytes()[3] < b'6'
}

/// The digits that the column keeps, without zeros at their end.
fn kept<'v>(value: &Value<'_>, digits: &'v str, column: usize) -> Result<&'v str, String> {
    let digits = digits.trim_end_matches('0');
    if digits.len() > column {
        return Err(not_kept(value, column));
    }
    Ok(digits)
}

fn append(parts: &[&str], out: &mut Vec<u8>) {
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}
