//! The middle between two dates or times in the binary protocol's packed form (Protocol manual, "Binary Protocol
//! Resultset Row"). A zero in a date, which the servers allow, counts as a one: middles are real dates.

use flowd_binlog::result::{KeyKind, KeyValue};

use super::target::halfway;

const SECOND_US: i128 = 1_000_000;
const DAY_US: i128 = 24 * 3600 * SECOND_US;

/// `None` where both are the same, or are no such values.
pub(super) fn between(low: &KeyValue, high: &KeyValue) -> Option<Box<[u8]>> {
    let microseconds = match low.kind {
        KeyKind::Time => time,
        _ => date_time,
    };
    let (from, to) = (microseconds(&low.bytes)?, microseconds(&high.bytes)?);
    // In the unit that both keep to, so that no fraction appears that the column does not have.
    let unit = match low.kind {
        KeyKind::Date => DAY_US,
        _ if from % SECOND_US == 0 && to % SECOND_US == 0 => SECOND_US,
        _ => 1,
    };
    let middle = halfway(from / unit, to / unit)? * unit;
    match low.kind {
        KeyKind::Date => Some(packed_date(middle)?[..4].into()),
        KeyKind::Time => packed_time(middle),
        _ => Some(packed_date(middle)?.into()),
    }
}

/// Microseconds since 1970, of 0, 4, 7 or 11 bytes.
fn date_time(bytes: &[u8]) -> Option<i128> {
    let byte = |index: usize| i128::from(bytes.get(index).copied().unwrap_or(0));
    let year = i64::try_from(byte(0) | byte(1) << 8).ok()?;
    let (month, day) = (i64::try_from(byte(2)).ok()?.max(1), i64::try_from(byte(3)).ok()?.max(1));
    let fraction = bytes.get(7..11).map_or(0, le32);
    let seconds = (byte(4) * 60 + byte(5)) * 60 + byte(6);
    Some(i128::from(days_of(year, month, day)) * DAY_US + seconds * SECOND_US + fraction)
}

/// Microseconds, of 0, 8 or 12 bytes.
fn time(bytes: &[u8]) -> Option<i128> {
    if bytes.is_empty() {
        return Some(0);
    }
    let (head, fraction) = bytes.split_at_checked(8)?;
    let days = le32(&head[1..5]);
    let seconds = ((days * 24 + i128::from(head[5])) * 60 + i128::from(head[6])) * 60 + i128::from(head[7]);
    let fraction = if fraction.len() == 4 { le32(fraction) } else { 0 };
    let amount = seconds * SECOND_US + fraction;
    Some(if head[0] == 0 { amount } else { -amount })
}

fn le32(bytes: &[u8]) -> i128 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | i128::from(byte))
}

fn packed_date(microseconds: i128) -> Option<[u8; 11]> {
    let (days, rest) = (microseconds.div_euclid(DAY_US), microseconds.rem_euclid(DAY_US));
    let (year, month, day) = date_of(i64::try_from(days).ok()?);
    let [y0, y1] = u16::try_from(year).ok()?.to_le_bytes();
    let [hour, minute, second, f0, f1, f2, f3] = clock(rest)?;
    Some([y0, y1, u8::try_from(month).ok()?, u8::try_from(day).ok()?, hour, minute, second, f0, f1, f2, f3])
}

fn packed_time(microseconds: i128) -> Option<Box<[u8]>> {
    let amount = i128::try_from(microseconds.unsigned_abs()).ok()?;
    let [d0, d1, d2, d3] = u32::try_from(amount / DAY_US).ok()?.to_le_bytes();
    let clock = clock(amount % DAY_US)?;
    Some([&[u8::from(microseconds < 0), d0, d1, d2, d3][..], &clock].concat().into())
}

/// Hour, minute, second, and four bytes of microseconds.
fn clock(microseconds: i128) -> Option<[u8; 7]> {
    let seconds = u32::try_from(microseconds / SECOND_US).ok()?;
    let [f0, f1, f2, f3] = u32::try_from(microseconds % SECOND_US).ok()?.to_le_bytes();
    let part = |number: u32| u8::try_from(number).ok();
    Some([part(seconds / 3600)?, part(seconds / 60 % 60)?, part(seconds % 60)?, f0, f1, f2, f3])
}

/// Days since 1970-01-01 of a date of the Gregorian calendar: years that begin in March, in eras of 400 years.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of days since 1970-01-01.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(kind: KeyKind, bytes: &[u8]) -> KeyValue {
        KeyValue { kind, bytes: bytes.into() }
    }

    fn check(kind: KeyKind, low: &[u8], high: &[u8], expected: Option<&[u8]>) {
        let middle = between(&value(kind, low), &value(kind, high));
        assert_eq!(middle.as_deref(), expected, "{low:?} {high:?}");
    }

    #[test]
    fn every_day_of_the_calendar_survives_the_way_there_and_back() {
        let first = days_of(0, 1, 1);
        assert_eq!(days_of(1970, 1, 1), 0);
        assert_eq!(days_of(2000, 3, 1) - days_of(2000, 2, 1), 29);
        for days in (first..=days_of(9999, 12, 31)).step_by(13) {
            let (year, month, day) = date_of(days);
            assert_eq!(days_of(year, month, day), days);
        }
    }

    #[test]
    fn a_middle_of_dates_is_a_day() {
        check(KeyKind::Date, &[0xe4, 7, 2, 27], &[0xe4, 7, 3, 1], Some(&[0xe4, 7, 2, 29]));
        check(KeyKind::Date, &[0xe4, 7, 2, 28], &[0xe4, 7, 2, 29], Some(&[0xe4, 7, 2, 29]));
        // 0000-00-00 is no day.
        check(KeyKind::Date, &[], &[2, 0, 1, 1], Some(&[1, 0, 1, 1]));
    }

    #[test]
    fn a_middle_of_date_times_has_a_fraction_only_if_one_of_them_has() {
        let noon = [0xe4, 7, 1, 1, 12, 0, 0];
        let middle = [0xe4, 7, 1, 1, 6, 0, 0, 0, 0, 0, 0];
        check(KeyKind::DateTime, &noon[..4], &noon, Some(&middle));
        let second = [0xe4, 7, 1, 1, 0, 0, 1];
        check(KeyKind::DateTime, &noon[..4], &second, Some(&[0xe4, 7, 1, 1, 0, 0, 1, 0, 0, 0, 0]));
        let three = [0xe4, 7, 1, 1, 0, 0, 0, 3, 0, 0, 0];
        check(KeyKind::DateTime, &noon[..4], &three, Some(&[0xe4, 7, 1, 1, 0, 0, 0, 2, 0, 0, 0]));
        check(KeyKind::DateTime, &noon, &noon, None);
    }

    #[test]
    fn a_middle_of_times_may_be_negative() {
        let minus = |hour| [1, 0, 0, 0, 0, hour, 0, 0];
        check(KeyKind::Time, &minus(9), &minus(5), Some(&[1, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0]));
        check(
            KeyKind::Time,
            &minus(2),
            &[0, 2, 0, 0, 0, 0, 0, 0],
            Some(&[0, 0, 0, 0, 0, 23, 0, 0, 0, 0, 0, 0]),
        );
        check(KeyKind::Time, &minus(1), &[], Some(&[1, 0, 0, 0, 0, 0, 30, 0, 0, 0, 0, 0]));
    }
}
