//! Dates and times: only the event format's own forms are taken, because the server guesses at others.
//!
//! Zero, partial and impossible dates pass; the session's sql_mode takes them. A fraction is never rounded: digits that
//! the column does not keep must be zeros.

use flowd_sink::image::Value;

use crate::sink::value::is_no;

type Written = Result<(), String>;

pub(super) fn date(value: &Value<'_>, out: &mut Vec<u8>) -> Written {
    let found = moment(value, "date")?;
    if found.clock.bytes().chain(found.fraction.bytes()).any(|byte| !matches!(byte, b'0' | b':')) {
        return Err(is_no(value, "date alone"));
    }
    quoted(&[found.date], out);
    Ok(())
}

pub(super) fn date_time(value: &Value<'_>, fraction: usize, out: &mut Vec<u8>) -> Written {
    let found = moment(value, "date and time")?;
    let kept = kept(value, found.fraction, fraction)?;
    let clock = if found.clock.is_empty() { "00:00:00" } else { found.clock };
    quoted(&[found.date, " ", clock, point(kept), kept], out);
    Ok(())
}

pub(super) fn time(value: &Value<'_>, fraction: usize, out: &mut Vec<u8>) -> Written {
    let wrong = || is_no(value, "time");
    let Value::Text(text) = value else { return Err(wrong()) };
    let (sign, rest) = text.strip_prefix('-').map_or(("", &**text), |rest| ("-", rest));
    let (clock, behind) = rest.split_once('.').unwrap_or((rest, "0"));
    let (hours, minutes) = clock.split_once(':').ok_or_else(wrong)?;
    let hours_fit = matches!(hours.len(), 2 | 3) && is_digits(hours);
    if !hours_fit || !fits(minutes, "00:00") || !is_fraction(behind) {
        return Err(wrong());
    }
    let behind = if rest.contains('.') { behind } else { "" };
    let kept = kept(value, behind, fraction)?;
    quoted(&[sign, clock, point(kept), kept], out);
    Ok(())
}

/// The parts of a date with or without a time.
struct Moment<'v> {
    date: &'v str,
    /// `hh:mm:ss`, or empty.
    clock: &'v str,
    /// The digits behind the point.
    fraction: &'v str,
}

/// `2018-06-20`, `2018-06-20T06:37:03`, with a fraction, with `Z`; a blank instead of the T.
fn moment<'v>(value: &'v Value<'_>, what: &str) -> Result<Moment<'v>, String> {
    let wrong = || is_no(value, what);
    let Value::Text(text) = value else { return Err(wrong()) };
    let (date, rest) = text.split_at_checked(10).ok_or_else(wrong)?;
    if !fits(date, "0000-00-00") {
        return Err(wrong());
    }
    let Some(rest) = rest.strip_prefix(['T', ' ']) else {
        return if rest.is_empty() { Ok(Moment { date, clock: "", fraction: "" }) } else { Err(wrong()) };
    };
    let rest = rest.strip_suffix('Z').unwrap_or(rest);
    let (clock, fraction) = rest.split_once('.').unwrap_or((rest, "0"));
    if !fits(clock, "00:00:00") || !is_fraction(fraction) {
        return Err(wrong());
    }
    Ok(Moment { date, clock, fraction: if rest.contains('.') { fraction } else { "" } })
}

/// Whether the text has the shape: a digit for each 0, the rest as it is.
fn fits(text: &str, shape: &str) -> bool {
    let alike = |(byte, shape): (u8, u8)| if shape == b'0' { byte.is_ascii_digit() } else { byte == shape };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(alike)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_fraction(text: &str) -> bool {
    (1..=9).contains(&text.len()) && is_digits(text)
}

/// The digits that the column keeps.
fn kept<'v>(value: &Value<'_>, digits: &'v str, column: usize) -> Result<&'v str, String> {
    let (kept, cut) = digits.split_at(digits.len().min(column));
    if cut.bytes().any(|byte| byte != b'0') {
        let what = format!("time of {column} digits behind the second, which is what the column keeps");
        return Err(is_no(value, &what));
    }
    Ok(kept)
}

fn point(kept: &str) -> &'static str {
    if kept.is_empty() { "" } else { "." }
}

fn quoted(parts: &[&str], out: &mut Vec<u8>) {
    out.push(b'\'');
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    out.push(b'\'');
}
