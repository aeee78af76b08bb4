//! Dates and times: only the event format's own forms are taken, because the server guesses at others.
//!
//! Zero, partial and impossible dates pass; the session's sql_mode takes them. A fraction is never rounded: digits that
//! the column does not keep must be zeros.

use flowd_sink::image::Value;
use flowd_sink::rows::value::temporal::{Moment, Span, not_kept, point};

type Written = Result<(), String>;

pub(super) fn date(value: &Value<'_>, out: &mut Vec<u8>) -> Written {
    quoted(&[Moment::read(value, "date")?.date_alone(value)?], out);
    Ok(())
}

pub(super) fn date_time(value: &Value<'_>, fraction: usize, out: &mut Vec<u8>) -> Written {
    let moment = Moment::read(value, "date and time")?;
    let kept = kept(value, moment.fraction, fraction)?;
    quoted(&[moment.date, " ", moment.clock(), point(kept), kept], out);
    Ok(())
}

pub(super) fn time(value: &Value<'_>, fraction: usize, out: &mut Vec<u8>) -> Written {
    let span = Span::read(value)?;
    let kept = kept(value, span.fraction, fraction)?;
    quoted(&[span.sign, span.clock, point(kept), kept], out);
    Ok(())
}

/// The digits that the column keeps.
fn kept<'v>(value: &Value<'_>, digits: &'v str, column: usize) -> Result<&'v str, String> {
    let (kept, cut) = digits.split_at(digits.len().min(column));
    if cut.bytes().any(|byte| byte != b'0') {
        return Err(not_kept(value, column));
    }
    Ok(kept)
}

fn quoted(parts: &[&str], out: &mut Vec<u8>) {
    out.push(b'\'');
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    out.push(b'\'');
}
