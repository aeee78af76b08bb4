//! The event format's own forms of dates and times, taken apart; a server guesses at others.
//!
//! Only the shape is looked at: whether there is such a date, and what becomes of digits that the column does not keep,
//! is the dialect's business.

use super::is_no;
use crate::image::Value;

/// The parts of a date with or without a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment<'v> {
    /// `yyyy-mm-dd`.
    pub date: &'v str,
    /// `hh:mm:ss`, or empty.
    pub clock: &'v str,
    /// The digits behind the point.
    pub fraction: &'v str,
}

impl<'v> Moment<'v> {
    /// `2018-06-20`, `2018-06-20T06:37:03`, with a fraction, with `Z`; a blank instead of the T.
    ///
    /// # Errors
    /// It has another shape; `what` says what was looked for.
    pub fn read(value: &'v Value<'_>, what: &str) -> Result<Self, String> {
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
        if !fits(clock, "00:00:00") {
            return Err(wrong());
        }
        Ok(Self { date, clock, fraction })
    }

    /// Its date.
    ///
    /// # Errors
    /// There is a time that is not midnight.
    pub fn date_alone(&self, value: &Value<'_>) -> Result<&'v str, String> {
        let time = self.clock.bytes().chain(self.fraction.bytes());
        let is_midnight = time.into_iter().all(|byte| matches!(byte, b'0' | b':'));
        if is_midnight { Ok(self.date) } else { Err(is_no(value, "date alone")) }
    }

    /// Its time; midnight where it has none.
    pub fn clock(&self) -> &'v str {
        if self.clock.is_empty() { "00:00:00" } else { self.clock }
    }
}

/// The parts of a time: up to 838:59:59, also below zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span<'v> {
    /// `-`, or empty.
    pub sign: &'static str,
    /// `hh:mm:ss` or `hhh:mm:ss`.
    pub clock: &'v str,
    /// The digits behind the point.
    pub fraction: &'v str,
}

impl<'v> Span<'v> {
    /// `06:37:03`, with a sign, with a fraction.
    ///
    /// # Errors
    /// It has another shape.
    pub fn read(value: &'v Value<'_>) -> Result<Self, String> {
        let wrong = || is_no(value, "time");
        let Value::Text(text) = value else { return Err(wrong()) };
        let (sign, rest) = text.strip_prefix('-').map_or(("", &**text), |rest| ("-", rest));
        let (clock, fraction) = split_fraction(rest).ok_or_else(wrong)?;
        let (hours, rest) = clock.split_once(':').ok_or_else(wrong)?;
        let hours_fit = matches!(hours.len(), 2 | 3) && is_digits(hours);
        if !hours_fit || !fits(rest, "00:00") {
            return Err(wrong());
        }
        Ok(Self { sign, clock, fraction })
    }
}

/// The error of digits behind the second that a column of so many does not keep.
pub fn not_kept(value: &Value<'_>, column: usize) -> String {
    is_no(value, &format!("time of {column} digits behind the second, which is what the column keeps"))
}

/// What stands between a second and the digits of its fraction.
pub fn point(fraction: &str) -> &'static str {
    if fraction.is_empty() { "" } else { "." }
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

/// Whether the text has the shape: a digit for each 0, the rest as it is.
fn fits(text: &str, shape: &str) -> bool {
    let alike = |(byte, shape): (u8, u8)| if shape == b'0' { byte.is_ascii_digit() } else { byte == shape };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(alike)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::value;

    #[test]
    fn a_moment_has_the_formats_own_forms_and_no_others() {
        let read = |raw: &str| {
            let value = value(raw).expect("a value");
            Moment::read(&value, "date")
                .map(|found| format!("{}|{}|{}", found.date, found.clock, found.fraction))
        };
        for (raw, expected) in [
            (r#""2018-06-20""#, "2018-06-20||"),
            (r#""0000-00-00""#, "0000-00-00||"),
            (r#""2018-06-20T06:37:03Z""#, "2018-06-20|06:37:03|"),
            (r#""2018-06-20 06:37:03.120""#, "2018-06-20|06:37:03|120"),
        ] {
            assert_eq!(read(raw), Ok(expected.to_owned()));
        }
        for raw in [
            "20180620",
            r#""2018-6-20""#,
            r#""2018-06-20T""#,
            r#""2018-06-20T06:37""#,
            r#""2018-06-20T06:37:03.""#,
            r#""2018-06-20T06:37:03+02:00""#,
            r#""2018-06-20T06:37:03.1234567890""#,
            r#""2018-06-2é""#,
        ] {
            assert!(read(raw).expect_err(raw).ends_with("is no date"), "{raw}");
        }
    }

    #[test]
    fn a_span_goes_beyond_a_day_and_below_zero() {
        let read = |raw: &str| {
            let value = value(raw).expect("a value");
            Span::read(&value).map(|found| format!("{}|{}|{}", found.sign, found.clock, found.fraction))
        };
        assert_eq!(read(r#""-838:59:59.5""#), Ok("-|838:59:59|5".into()));
        assert_eq!(read(r#""06:37:03""#), Ok("|06:37:03|".into()));
        for raw in ["1", r#""6:37:03""#, r#""0006:37:03""#, r#""06:37""#, r#""06:37:03.""#, r#""--6:37:03""#]
        {
            assert!(read(raw).expect_err(raw).ends_with("is no time"), "{raw}");
        }
    }
}
