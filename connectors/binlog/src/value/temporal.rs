//! DATE, TIME(n), DATETIME(n), TIMESTAMP(n) of a row image, and the packed forms inside MySQL's JSON. Zero and partial
//! dates are written as they are; only numbers that no clock shows are refused.

use super::ValueError;
use super::reader::{big, little};
use super::short::SHORT_MAX;

const CORRUPT: ValueError = ValueError::Corrupt("a date or time with impossible parts");

/// A text being written into its place in the output: `"-838:59:59.000000"` and `"9999-12-31T23:59:59.999999Z"` fit.
/// A buffer of its own would have to be copied right behind its byte-wise writes, which stalls the processor.
struct Text<'a> {
    bytes: &'a mut [u8; SHORT_MAX],
    len: usize,
}

/// Appends what `write` writes, in quotes.
#[inline]
fn quoted(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Text<'_>) -> Result<(), ValueError>,
) -> Result<(), ValueError> {
    let start = out.len();
    out.extend_from_slice(&[b'"'; SHORT_MAX]);
    let bytes = out.last_chunk_mut().expect("just appended");
    let mut text = Text { bytes, len: 1 };
    write(&mut text)?;
    text.push(b'"');
    let len = text.len;
    out.truncate(start + len);
    Ok(())
}

impl Text<'_> {
    #[inline]
    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    #[inline]
    fn push_all<const SIZE: usize>(&mut self, text: [u8; SIZE]) {
        self.bytes[self.len..self.len + SIZE].copy_from_slice(&text);
        self.len += SIZE;
    }

    #[inline]
    fn push_date(&mut self, (year, month, day): (u32, u32, u32)) {
        let ([a, b], [c, d], [e, f], [g, h]) = (two(year / 100), two(year % 100), two(month), two(day));
        self.push_all([a, b, c, d, b'-', e, f, b'-', g, h]);
    }

    #[inline]
    fn push_clock(&mut self, (hour, minute, second): (u32, u32, u32)) {
        if hour > 99 {
            self.push(b'0' + (hour / 100) as u8);
        }
        let ([a, b], [c, d], [e, f]) = (two(hour % 100), two(minute), two(second));
        self.push_all([a, b, b':', c, d, b':', e, f]);
    }

    /// `.` and `digits` digits of a fraction that is held in an even number of digits.
    #[inline]
    fn push_fraction(&mut self, fraction: u32, digits: u8) -> Result<(), ValueError> {
        if digits == 0 {
            return Ok(());
        }
        let even = usize::from(digits.div_ceil(2)) * 2;
        let mut rest = fraction;
        self.push(b'.');
        for place in self.bytes[self.len..self.len + even].iter_mut().rev() {
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        self.len += usize::from(digits);
        if rest == 0 { Ok(()) } else { Err(CORRUPT) }
    }
}

/// Two digits of a number below 100.
#[inline]
fn two(number: u32) -> [u8; 2] {
    [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]
}

/// Cuts a value into its fixed part and its fraction, both big-endian.
#[inline]
fn parts<const SIZE: usize>(value: &[u8], digits: u8) -> Result<(u64, u32), ValueError> {
    let (fixed, fraction) = value.split_at_checked(SIZE).ok_or(super::WIDTH)?;
    if fraction.len() != usize::from(digits.div_ceil(2)) || digits > 6 {
        return Err(super::WIDTH);
    }
    Ok((big(fixed), big(fraction) as u32))
}

/// Year, month, day.
pub(super) type Date = (u32, u32, u32);
/// Hour, minute, second.
pub(super) type Clock = (u32, u32, u32);

/// What stands behind a date with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zone {
    /// Nothing.
    None,
    /// `Z`.
    Utc,
}

/// A value in its parts, each known to be in its range; the fraction in µs, and how many digits of it are shown.
#[derive(Debug, Clone, Copy)]
pub(super) enum Moment {
    Date(Date),
    Time { negative: bool, clock: Clock, micros: u32, digits: u8 },
    DateTime { date: Date, clock: Clock, micros: u32, digits: u8, zone: Zone },
}

/// Appends the value as the functions for row images do.
#[inline]
pub(super) fn write_parts(moment: Moment, out: &mut Vec<u8>) -> Result<(), ValueError> {
    quoted(out, |text| match moment {
        Moment::Date(date) => {
            text.push_date(date);
            Ok(())
        }
        Moment::Time { negative, clock, micros, digits } => {
            if negative {
                text.push(b'-');
            }
            text.push_clock(clock);
            text.push_fraction(micros / fraction_unit(digits), digits)
        }
        Moment::DateTime { date, clock, micros, digits, zone } => {
            text.push_date(date);
            text.push(b'T');
            text.push_clock(clock);
            text.push_fraction(micros / fraction_unit(digits), digits)?;
            if zone == Zone::Utc {
                text.push(b'Z');
            }
            Ok(())
        }
    })
}

/// µs of the last of the even number of digits in which a fraction is held.
#[inline]
fn fraction_unit(digits: u8) -> u32 {
    match digits {
        0 => 1,
        1 | 2 => 10_000,
        3 | 4 => 100,
        _ => 1,
    }
}

/// DATE: 5 bits day, 4 bits month, 15 bits year, little-endian.
pub(super) fn write_date(value: [u8; 3], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let number = little(&value) as u32;
    let (year, month, day) = (number >> 9, number >> 5 & 15, number & 31);
    if year > 9999 || month > 12 {
        return Err(CORRUPT);
    }
    quoted(out, |text| {
        text.push_date((year, month, day));
        Ok(())
    })
}

/// TIME(n): hours, minutes and seconds in 10, 6 and 6 bits behind a sign, the fraction behind; negative values are the
/// two's complement of the whole.
pub(super) fn write_time(value: &[u8], digits: u8, out: &mut Vec<u8>) -> Result<(), ValueError> {
    parts::<3>(value, digits)?;
    let fraction_bits = u32::from(digits.div_ceil(2)) * 8;
    let packed = big(value) as i64 - (0x80_0000 << fraction_bits);
    let size = packed.unsigned_abs();
    let clock = clock((size >> fraction_bits) as u32, 838)?;
    quoted(out, |text| {
        if packed < 0 {
            text.push(b'-');
        }
        text.push_clock(clock);
        text.push_fraction((size & ((1 << fraction_bits) - 1)) as u32, digits)
    })
}

/// DATETIME(n): sign, 17 bits year·13+month, 5 bits day, 17 bits clock, then the fraction.
pub(super) fn write_datetime(value: &[u8], digits: u8, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let (fixed, fraction) = parts::<5>(value, digits)?;
    let packed = fixed.checked_sub(1 << 39).ok_or(CORRUPT)?;
    let (date, clock) = (date(packed >> 17)?, clock(packed as u32 & 0x1_FFFF, 23)?);
    quoted(out, |text| {
        text.push_date(date);
        text.push(b'T');
        text.push_clock(clock);
        text.push_fraction(fraction, digits)
    })
}

/// TIMESTAMP(n): seconds since 1970, then the fraction; second 0 without a fraction is the server's zero date.
pub(super) fn write_timestamp(value: &[u8], digits: u8, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let (seconds, fraction) = parts::<4>(value, digits)?;
    let of_day = (seconds % 86_400) as u32;
    let date = if seconds == 0 && fraction == 0 { (0, 0, 0) } else { civil((seconds / 86_400) as u32) };
    quoted(out, |text| {
        text.push_date(date);
        text.push(b'T');
        text.push_clock((of_day / 3600, of_day / 60 % 60, of_day % 60));
        text.push_fraction(fraction, digits)?;
        text.push(b'Z');
        Ok(())
    })
}

/// The calendar date of a day since 1970-01-01. Years are counted from March, in the 400-year eras of the calendar.
fn civil(day: u32) -> (u32, u32, u32) {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u32::from(month <= 2), month, day)
}

/// Year, month and day out of (year·13+month)·32+day.
#[inline]
fn date(packed: u64) -> Result<(u32, u32, u32), ValueError> {
    let (months, day) = ((packed >> 5) as u32, packed as u32 & 31);
    let (year, month) = (months / 13, months % 13);
    if packed >> 22 == 0 && year <= 9999 { Ok((year, month, day)) } else { Err(CORRUPT) }
}

/// Hour, minute and second out of their bits.
#[inline]
fn clock(packed: u32, hour_max: u32) -> Result<(u32, u32, u32), ValueError> {
    let (hour, minute, second) = (packed >> 12, packed >> 6 & 63, packed & 63);
    if hour <= hour_max && minute <= 59 && second <= 59 { Ok((hour, minute, second)) } else { Err(CORRUPT) }
}

/// Appends the date of a packed 64-bit temporal, as inside MySQL's JSON: `"2020-01-02"`.
pub(crate) fn write_packed_date(packed: i64, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let packed = u64::try_from(packed).map_err(|_| CORRUPT)?;
    let date = date(packed >> 24 >> 17)?;
    quoted(out, |text| {
        text.push_date(date);
        Ok(())
    })
}

/// Appends a packed 64-bit DATETIME: `"2020-01-02 03:04:05.000600"`, always six digits.
pub(crate) fn write_packed_datetime(packed: i64, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let packed = u64::try_from(packed).map_err(|_| CORRUPT)?;
    let (date, clock) = (date(packed >> 24 >> 17)?, clock((packed >> 24) as u32 & 0x1_FFFF, 23)?);
    quoted(out, |text| {
        text.push_date(date);
        text.push(b' ');
        text.push_clock(clock);
        text.push_fraction(packed as u32 & 0xFF_FFFF, 6)
    })
}

/// Appends a packed 64-bit TIME: `"-10:11:12.500000"`, always six digits.
pub(crate) fn write_packed_time(packed: i64, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let size = packed.unsigned_abs();
    let clock = clock(u32::try_from(size >> 24).map_err(|_| CORRUPT)?, 838)?;
    quoted(out, |text| {
        if packed < 0 {
            text.push(b'-');
        }
        text.push_clock(clock);
        text.push_fraction(size as u32 & 0xFF_FFFF, 6)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{check, check_refused};
    use super::*;
    use crate::table::Plan;

    fn date_bytes(year: u32, month: u32, day: u32) -> [u8; 3] {
        let [low, middle, high, _] = (year << 9 | month << 5 | day).to_le_bytes();
        [low, middle, high]
    }

    /// A fraction of a second in the bytes of `digits` digits.
    fn fraction_bytes(micros: u64, digits: u8) -> Vec<u8> {
        let bytes = usize::from(digits.div_ceil(2));
        let unit = 10u64.pow(6 - 2 * bytes as u32);
        (micros / unit).to_be_bytes()[8 - bytes..].to_vec()
    }

    fn datetime_bytes(parts: [u64; 6], micros: u64, digits: u8) -> Vec<u8> {
        let [year, month, day, hour, minute, second] = parts;
        let packed = ((year * 13 + month) << 5 | day) << 17 | hour << 12 | minute << 6 | second;
        let mut bytes = (packed + (1 << 39)).to_be_bytes()[3..].to_vec();
        bytes.extend(fraction_bytes(micros, digits));
        bytes
    }

    fn time_bytes(negative: bool, hour: u64, minute: u64, second: u64, micros: u64, digits: u8) -> Vec<u8> {
        let bytes = usize::from(digits.div_ceil(2));
        let unit = 10u64.pow(6 - 2 * bytes as u32);
        let size = ((hour << 12 | minute << 6 | second) << (8 * bytes)) | (micros / unit);
        let zero = 0x80_0000u64 << (8 * bytes);
        let stored = if negative { zero - size } else { zero + size };
        stored.to_be_bytes()[8 - 3 - bytes..].to_vec()
    }

    #[test]
    fn zero_and_partial_dates_stay_as_they_are() {
        check(&Plan::Date, &date_bytes(2016, 9, 16), "\"2016-09-16\"");
        check(&Plan::Date, &date_bytes(0, 0, 0), "\"0000-00-00\"");
        check(&Plan::Date, &date_bytes(2020, 5, 0), "\"2020-05-00\"");
        check(&Plan::Date, &date_bytes(9999, 12, 31), "\"9999-12-31\"");
        check(&Plan::DateTime(0), &datetime_bytes([0; 6], 0, 0), "\"0000-00-00T00:00:00\"");
        check(&Plan::DateTime(2), &datetime_bytes([2020, 0, 0, 0, 0, 0], 0, 2), "\"2020-00-00T00:00:00.00\"");
        check(&Plan::Timestamp(0), &[0; 4], "\"0000-00-00T00:00:00Z\"");
        check(&Plan::Timestamp(3), &[0; 6], "\"0000-00-00T00:00:00.000Z\"");
        // MariaDB takes the first second of 1970 where it has a fraction.
        check(&Plan::Timestamp(1), &[0, 0, 0, 0, 50], "\"1970-01-01T00:00:00.5Z\"");
    }

    #[test]
    fn times_are_signed_and_reach_838_hours() {
        // -838:59:59 is 0x800000 - (838<<12 | 59<<6 | 59).
        check(&Plan::Time(0), &[0x4B, 0x91, 0x05], "\"-838:59:59\"");
        check(&Plan::Time(6), &time_bytes(true, 838, 59, 59, 0, 6), "\"-838:59:59.000000\"");
        check(&Plan::Time(6), &[0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], "\"-00:00:00.000001\"");
        check(&Plan::Time(1), &[0x7F, 0xFF, 0xFF, 0xCE], "\"-00:00:00.5\"");
        check(&Plan::Time(3), &time_bytes(false, 12, 34, 56, 789_000, 3), "\"12:34:56.789\"");
    }

    #[test]
    fn timestamps_are_utc_with_the_columns_digits() {
        // 2018-06-20T13:37:03Z is 1529501823 = 0x5B2A587F.
        check(&Plan::Timestamp(0), &1_529_501_823u32.to_be_bytes(), "\"2018-06-20T13:37:03Z\"");
        check(&Plan::Timestamp(3), &[0x5B, 0x2A, 0x58, 0x7F, 0x04, 0xB0], "\"2018-06-20T13:37:03.120Z\"");
        check(&Plan::Timestamp(0), &[0xFF; 4], "\"2106-02-07T06:28:15Z\"");
        check(&Plan::Timestamp(0), &951_782_400u32.to_be_bytes(), "\"2000-02-29T00:00:00Z\"");
    }

    #[test]
    fn parts_that_no_clock_shows_are_refused() {
        check_refused(&Plan::Date, &date_bytes(2020, 13, 1));
        check_refused(&Plan::Date, &date_bytes(10000, 1, 1));
        check_refused(&Plan::DateTime(0), &datetime_bytes([2020, 1, 1, 24, 0, 0], 0, 0));
        check_refused(&Plan::DateTime(0), &[0; 5]);
        check_refused(&Plan::Time(0), &time_bytes(false, 839, 0, 0, 0, 0));
        check_refused(&Plan::Timestamp(2), &[1, 2, 3, 4, 100]);
        check_refused(&Plan::Timestamp(2), &[1, 2, 3, 4]);
    }

    #[test]
    fn packed_forms_of_json_have_six_digits() {
        let check = |write: fn(i64, &mut Vec<u8>) -> Result<(), ValueError>, packed, expected: &str| {
            let mut out = Vec::new();
            write(packed, &mut out).expect("valid");
            assert_eq!(String::from_utf8(out).expect("ASCII"), expected);
        };
        let ymd = ((2020i64 * 13 + 1) << 5 | 2) << 17;
        check(write_packed_date, ymd << 24, "\"2020-01-02\"");
        check(
            write_packed_datetime,
            (ymd | 3 << 12 | 4 << 6 | 5) << 24 | 600,
            "\"2020-01-02 03:04:05.000600\"",
        );
        check(write_packed_time, -((10 << 12 | 11 << 6 | 12) << 24 | 500_000), "\"-10:11:12.500000\"");
        assert!(write_packed_time(i64::MIN, &mut Vec::new()).is_err());
        assert!(write_packed_date(-1, &mut Vec::new()).is_err());
    }

    /// Days since 1970 of a date, by counting.
    fn count_days(year: u32, month: u32, day: u32) -> u32 {
        let leap =
            |year: u32| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let months = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let years: u32 = (1970..year).map(|year| 365 + u32::from(leap(year))).sum();
        let before: u32 = months[..month as usize - 1].iter().sum();
        years + before + u32::from(month > 2 && leap(year)) + day - 1
    }

    proptest! {
        #[test]
        fn every_datetime_reads_back(
            parts in (0u64..=9999, 0u64..=12, 0u64..=31, 0u64..=23, 0u64..=59, 0u64..=59),
            micros in 0u64..1_000_000,
            digits in 0u8..=6,
        ) {
            let (year, month, day, hour, minute, second) = parts;
            let fraction = format!(".{micros:06}");
            let shown = if digits == 0 { "" } else { &fraction[..=usize::from(digits)] };
            let cut = micros - micros % 10u64.pow(6 - u32::from(digits));
            let bytes = datetime_bytes([year, month, day, hour, minute, second], cut, digits);
            let expected =
                format!("\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{shown}\"");
            check(&Plan::DateTime(digits), &bytes, &expected);
        }

        #[test]
        fn every_time_reads_back(
            negative: bool, hour in 0u64..=838, minute in 0u64..=59, second in 0u64..=59,
            micros in 0u64..1_000_000, digits in 0u8..=6,
        ) {
            let fraction = format!(".{micros:06}");
            let shown = if digits == 0 { "" } else { &fraction[..=usize::from(digits)] };
            let cut = micros - micros % 10u64.pow(6 - u32::from(digits));
            let negative = negative && (hour, minute, second, cut) != (0, 0, 0, 0);
            let sign = if negative { "-" } else { "" };
            let bytes = time_bytes(negative, hour, minute, second, cut, digits);
            check(&Plan::Time(digits), &bytes, &format!("\"{sign}{hour:02}:{minute:02}:{second:02}{shown}\""));
        }

        #[test]
        fn every_day_is_its_date(year in 1970u32..2106, month in 1u32..=12, day in 1u32..=28) {
            prop_assert_eq!(civil(count_days(year, month, day)), (year, month, day));
        }
    }
}
