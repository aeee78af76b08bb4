//! Times as CloudEvents write them: RFC 3339 in UTC, always six fraction digits and `Z`. No time zones, no clocks.

const US_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// 0000-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z, the first and the last time that four year digits can say.
const TIME_US_MIN: i64 = -62_167_219_200 * US_PER_SECOND;
const TIME_US_MAX: i64 = 253_402_300_800 * US_PER_SECOND - 1;

/// Bytes of a written time.
pub const RFC3339_SIZE: usize = 27;

/// Appends `time_us` (microseconds since 1970-01-01T00:00:00Z, leap seconds not counted) as
/// `2026-11-25T00:00:00.000000Z`, without quotes. RFC 3339 has four digits for the year: a time outside the years 0
/// to 9999 is written as the nearest one inside.
pub fn write_rfc3339_us(out: &mut Vec<u8>, time_us: i64) {
    let time_us = time_us.clamp(TIME_US_MIN, TIME_US_MAX);
    let second = time_us.div_euclid(US_PER_SECOND);
    let fraction = time_us.rem_euclid(US_PER_SECOND) as u32;
    let (year, month, day) = civil_from_days(second.div_euclid(SECONDS_PER_DAY));
    let of_day = second.rem_euclid(SECONDS_PER_DAY) as u32;

    // Written where it stays: read back as a whole to be copied, so many short writes would stall the processor.
    out.extend_from_slice(b"0000-00-00T00:00:00.000000Z");
    let text = out.last_chunk_mut().expect("it was appended just now");
    put_two(text, 0, year / 100);
    put_two(text, 2, year % 100);
    put_two(text, 5, month);
    put_two(text, 8, day);
    put_two(text, 11, of_day / 3600);
    put_two(text, 14, of_day / 60 % 60);
    put_two(text, 17, of_day % 60);
    put_two(text, 20, fraction / 10_000);
    put_two(text, 22, fraction / 100 % 100);
    put_two(text, 24, fraction % 100);
}

/// A time with its text: events of one transaction, and most that come fast, have the same, which is then copied.
#[derive(Debug, Clone, Default)]
pub struct TimeText {
    time_us: i64,
    /// Empty before the first.
    text: Vec<u8>,
}

impl TimeText {
    /// The text of a time, as [`write_rfc3339_us`] writes it.
    #[inline]
    pub fn of(&mut self, time_us: i64) -> &[u8] {
        if time_us != self.time_us || self.text.is_empty() {
            self.time_us = time_us;
            self.text.clear();
            write_rfc3339_us(&mut self.text, time_us);
        }
        &self.text
    }

    /// The text of the time asked for last.
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

/// Writes two decimal digits; `value` is below 100.
#[inline]
fn put_two(text: &mut [u8; RFC3339_SIZE], at: usize, value: u32) {
    debug_assert!(value < 100, "{value} has more than two digits");
    text[at..at + 2].copy_from_slice(&PAIRS[value as usize]);
}

/// `00` to `99`: half the divisions of a time.
static PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut value = 0;
    while value < 100 {
        pairs[value] = [b'0' + (value / 10) as u8, b'0' + (value % 10) as u8];
        value += 1;
    }
    pairs
};

/// The date (year, month 1–12, day 1–31) of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// Years are counted from 1 March, so that the leap day is the last of its year; 400 years are 146,097 days.
/// `day` lies in the years 0 to 9999.
#[inline]
pub(crate) fn civil_from_days(day: i64) -> (u32, u32, u32) {
    // 719,468 days from 0000-03-01 to 1970-01-01; one more era of 400 years keeps January and February of year 0 positive.
    let day = (day + 719_468 + 146_097) as u32;
    let era = day / 146_097;
    let of_era = day % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u32::from(month <= 2) - 400;
    (year, month, day_of_month)
}

/// The day, counted from 1970-01-01, of a date that exists in the years 0 to 9999.
fn days_from_civil(year: u32, month: u32, day: u32) -> i64 {
    let march_year = i64::from(year) - i64::from(month <= 2);
    let era = march_year.div_euclid(400);
    let year_of_era = march_year.rem_euclid(400);
    let month_from_march = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

/// Reads an RFC 3339 time of any zone and any number of fraction digits, as microseconds since 1970-01-01T00:00:00Z;
/// what is finer is cut off. A leap second (`:60`) counts as the second after it. `None` where `text` is no such time.
pub fn parse_rfc3339_us(text: &str) -> Option<i64> {
    let Rfc3339 { date: (year, month, day), second_of_day, fraction_us, zone_seconds } = Rfc3339::read(text)?;
    let seconds = days_from_civil(year, month, day) * SECONDS_PER_DAY + second_of_day - zone_seconds;
    Some(seconds * US_PER_SECOND + fraction_us)
}

/// Whether [`parse_rfc3339_us`] reads it: the same without the sums.
pub fn is_rfc3339(text: &str) -> bool {
    Rfc3339::read(text).is_some()
}

/// What a time says, not added up.
struct Rfc3339 {
    /// Year, month and day.
    date: (u32, u32, u32),
    second_of_day: i64,
    fraction_us: i64,
    zone_seconds: i64,
}

impl Rfc3339 {
    #[inline]
    fn read(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let has_shape = bytes.len() >= 20
            && (bytes[4], bytes[7], bytes[13], bytes[16]) == (b'-', b'-', b':', b':')
            && matches!(bytes[10], b'T' | b't');
        if !has_shape {
            return None;
        }
        let year = digits(&bytes[0..4])?;
        let (month, day) = (digits(&bytes[5..7])?, digits(&bytes[8..10])?);
        let (hour, minute, second) =
            (digits(&bytes[11..13])?, digits(&bytes[14..16])?, digits(&bytes[17..19])?);
        if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
            return None;
        }
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let (fraction_us, zone) = fraction(&bytes[19..])?;
        let second_of_day = i64::from(hour * 3600 + minute * 60 + second);
        let date = (year, month, day);
        Some(Self { date, second_of_day, fraction_us, zone_seconds: zone_seconds(zone)? })
    }
}

fn days_in_month(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}

fn digits(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0')))
}

/// Splits `.123456Z` into microseconds and the zone.
fn fraction(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = bytes.strip_prefix(b".") else { return Some((0, bytes)) };
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let us =
        (0..6).fold(0, |sum, index| sum * 10 + if index < count { i64::from(rest[index] - b'0') } else { 0 });
    Some((us, &rest[count..]))
}

/// Seconds that the zone is ahead of UTC.
fn zone_seconds(zone: &[u8]) -> Option<i64> {
    let sign = match zone {
        b"Z" | b"z" => return Some(0),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return None,
    };
    if zone.len() != 6 || zone[3] != b':' {
        return None;
    }
    let (hours, minutes) = (digits(&zone[1..3])?, digits(&zone[4..6])?);
    (hours <= 23 && minutes <= 59).then(|| sign * i64::from(hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(time_us: i64) -> String {
        let mut out = Vec::new();
        write_rfc3339_us(&mut out, time_us);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn a_remembered_time_is_that_which_was_asked_for() {
        let mut text = TimeText::default();
        for time_us in [0, 0, 1_764_028_800_000_000, 1_764_028_800_000_000, -1, 0] {
            assert_eq!(text.of(time_us), written(time_us).as_bytes());
            assert_eq!(text.text(), written(time_us).as_bytes());
        }
    }

    #[test]
    fn known_times_are_written_with_six_digits_and_z() {
        let cases = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (1_764_028_800_000_000, "2025-11-25T00:00:00.000000Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
            (TIME_US_MIN, "0000-01-01T00:00:00.000000Z"),
            (TIME_US_MAX, "9999-12-31T23:59:59.999999Z"),
        ];
        for (time_us, text) in cases {
            assert_eq!(written(time_us), text);
            assert_eq!(parse_rfc3339_us(text), Some(time_us));
        }
    }

    #[test]
    fn a_time_beyond_four_year_digits_is_the_nearest_one_inside() {
        assert_eq!(written(i64::MAX), "9999-12-31T23:59:59.999999Z");
        assert_eq!(written(i64::MIN), "0000-01-01T00:00:00.000000Z");
    }

    #[test]
    fn every_day_follows_the_day_before_it() {
        let (mut year, mut month, mut day) = (0, 1, 1);
        for number in -719_528..=2_932_896 {
            assert_eq!(civil_from_days(number), (year, month, day));
            day += 1;
            if day > days_in_month(year, month) {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
        assert_eq!(year, 10_000);
    }

    #[test]
    fn zones_and_fractions_are_read() {
        let base = parse_rfc3339_us("2018-06-20T13:37:03Z").expect("valid");
        for text in
            ["2018-06-20T15:37:03+02:00", "2018-06-20t08:07:03.000-05:30", "2018-06-20T13:37:03.0000000009z"]
        {
            assert_eq!(parse_rfc3339_us(text), Some(base), "{text}");
        }
        assert_eq!(parse_rfc3339_us("2018-06-20T13:37:03.12Z"), Some(base + 120_000));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let wrong = [
            "",
            "2018-06-20",
            "2018-06-20T13:37:03",
            "2018-02-30T00:00:00Z",
            "2018-13-01T00:00:00Z",
            "2018-01-01T24:00:00Z",
            "2018-01-01T00:60:00Z",
            "2018-01-01T00:00:61Z",
            "2018-01-01T00:00:00.Z",
            "2018-01-01T00:00:00+1:00",
            "2018-01-01T00:00:00Zx",
            "2018/01/01T00:00:00Z",
            "2018-01-01T00:00:0éZ",
        ];
        for text in wrong {
            assert_eq!(parse_rfc3339_us(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_as_the_same_time(time_us in TIME_US_MIN..=TIME_US_MAX) {
            prop_assert_eq!(parse_rfc3339_us(&written(time_us)), Some(time_us));
        }
    }
}
