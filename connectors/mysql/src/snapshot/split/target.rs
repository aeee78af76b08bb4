//! The middle between two keys, as values of their first columns. Pure arithmetic: no such row need exist.

use flowd_binlog::result::{KeyKind, KeyValue};

use super::{Texts, temporal, text};
use crate::snapshot::Key;

/// Digits of a decimal that are calculated with; those behind are cut off.
const DIGITS: usize = 36;

/// Where between two keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// Half way.
    Middle,
    /// For texts: the beginning of all that have the same character as the high end, where the two part.
    Boundary,
}

/// Above `low`, at most `high`, in the first column where they differ; `None` where they differ in none, or where it is
/// no text and has no boundary.
pub(super) fn target(texts: &Texts<'_>, low: &Key, high: &Key, aim: Aim) -> Option<Key> {
    low.iter().zip(high).zip(texts).enumerate().find_map(|(index, ((from, to), text))| {
        let between = if from == to { None } else { between(from, to, *text, aim) };
        between.map(|between| [&low[..index], &[between]].concat())
    })
}

/// `None` where the two are the same for their column's order.
fn between(low: &KeyValue, high: &KeyValue, text: Option<(&str, &str)>, aim: Aim) -> Option<KeyValue> {
    if aim == Aim::Boundary && low.kind != KeyKind::Text {
        return None;
    }
    let bytes = match low.kind {
        KeyKind::Signed => {
            let number = halfway(signed(low)?, signed(high)?)?;
            i64::try_from(number).ok()?.to_le_bytes().into()
        }
        KeyKind::Unsigned => {
            let number = halfway(unsigned(low)?, unsigned(high)?)?;
            u64::try_from(number).ok()?.to_le_bytes().into()
        }
        KeyKind::Float => {
            let float = |value: &KeyValue| Some(f64::from(f32::from_le_bytes(fixed(value)?)));
            (halfway_real(float(low)?, float(high)?) as f32).to_le_bytes().into()
        }
        KeyKind::Double => {
            let double = |value: &KeyValue| Some(f64::from_le_bytes(fixed(value)?));
            halfway_real(double(low)?, double(high)?).to_le_bytes().into()
        }
        KeyKind::Decimal => decimal(&low.bytes, &high.bytes)?,
        KeyKind::Date | KeyKind::Time | KeyKind::DateTime => temporal::between(low, high)?,
        KeyKind::Text => text::between(&low.bytes, &high.bytes, text?, aim)?,
        KeyKind::Bytes => text::between_bytes(&low.bytes, &high.bytes),
        KeyKind::Ascii => text::between_uuids(&low.bytes, &high.bytes)?,
    };
    Some(KeyValue { kind: low.kind, bytes })
}

/// Above `low`, at most `high`.
pub(super) fn halfway(low: i128, high: i128) -> Option<i128> {
    (low < high).then(|| high - (high - low) / 2)
}

fn halfway_real(low: f64, high: f64) -> f64 {
    low / 2.0 + high / 2.0
}

fn fixed<const SIZE: usize>(value: &KeyValue) -> Option<[u8; SIZE]> {
    (&*value.bytes).try_into().ok()
}

fn signed(value: &KeyValue) -> Option<i128> {
    Some(i64::from_le_bytes(fixed(value)?).into())
}

fn unsigned(value: &KeyValue) -> Option<i128> {
    Some(u64::from_le_bytes(fixed(value)?).into())
}

/// Decimals as text, of any number of digits: the first [`DIGITS`] count.
fn decimal(low: &[u8], high: &[u8]) -> Option<Box<[u8]>> {
    let (low, high) = (Digits::parse(low)?, Digits::parse(high)?);
    let whole = low.whole.len().max(high.whole.len());
    let all = whole + low.fraction.len().max(high.fraction.len());
    let kept = all.min(DIGITS);
    let middle = halfway(low.number(whole, kept)?, high.number(whole, kept)?)?;
    let mut digits = format!("{:0kept$}", middle.unsigned_abs());
    digits.extend(std::iter::repeat_n('0', all - kept));
    let sign = if middle < 0 { "-" } else { "" };
    let (whole, fraction) = digits.split_at(whole);
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}").into_bytes().into())
}

struct Digits<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Digits<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        (digits(whole) && digits(fraction)).then_some(Self { negative, whole, fraction })
    }

    /// The first `kept` digits, where `whole` of them are before the point.
    fn number(&self, whole: usize, kept: usize) -> Option<i128> {
        let zeros = std::iter::repeat_n(b'0', whole - self.whole.len());
        let digits = zeros.chain(self.whole.bytes()).chain(self.fraction.bytes());
        let digits = digits.chain(std::iter::repeat(b'0')).take(kept);
        let number = digits.fold(0_i128, |number, digit| number * 10 + i128::from(digit - b'0'));
        Some(if self.negative { -number } else { number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: KeyKind, low: &[u8], high: &[u8], expected: Option<&[u8]>) {
        let value = |bytes: &[u8]| KeyValue { kind, bytes: bytes.into() };
        let middle = between(&value(low), &value(high), None, Aim::Middle);
        assert_eq!(middle.as_ref().map(|value| &*value.bytes), expected, "{kind:?} {low:?} {high:?}");
    }

    #[test]
    fn a_middle_of_integers_is_above_the_low_and_at_most_the_high_one() {
        for (low, high, middle) in
            [(1, 9, 5), (1, 2, 2), (-9, -1, -5), (i64::MIN, i64::MAX, 0), (i64::MAX - 1, i64::MAX, i64::MAX)]
        {
            check(
                KeyKind::Signed,
                &i64::to_le_bytes(low),
                &i64::to_le_bytes(high),
                Some(&i64::to_le_bytes(middle)),
            );
        }
        check(KeyKind::Signed, &[1; 8], &[1; 8], None);
        let half = (1_u64 << 63).to_le_bytes();
        check(KeyKind::Unsigned, &[0; 8], &[0xff; 8], Some(&half));
    }

    #[test]
    fn a_middle_of_reals_overflows_nowhere() {
        check(KeyKind::Double, &1_f64.to_le_bytes(), &4_f64.to_le_bytes(), Some(&2.5_f64.to_le_bytes()));
        check(
            KeyKind::Double,
            &f64::MAX.to_le_bytes(),
            &f64::MAX.to_le_bytes(),
            Some(&f64::MAX.to_le_bytes()),
        );
        check(
            KeyKind::Float,
            &(-f32::MAX).to_le_bytes(),
            &f32::MAX.to_le_bytes(),
            Some(&0_f32.to_le_bytes()),
        );
    }

    #[test]
    fn a_middle_of_decimals_has_their_digits() {
        let decimal = |low: &str, high: &str, expected: Option<&str>| {
            check(KeyKind::Decimal, low.as_bytes(), high.as_bytes(), expected.map(str::as_bytes));
        };
        decimal("1.00", "4.00", Some("2.50"));
        decimal("1.0", "3", Some("2.0"));
        decimal("-3.5", "-1.5", Some("-2.5"));
        decimal("-0.10", "99.90", Some("49.90"));
        decimal("5", "100", Some("53"));
        decimal("0.01", "0.02", Some("0.02"));
        // Of 65 digits the first 36 count.
        decimal(&"1".repeat(65), &"3".repeat(65), Some(&("2".repeat(36) + &"0".repeat(29))));
        decimal("1", "1", None);
        decimal("one", "2", None);
    }

    #[test]
    fn the_first_column_that_differs_is_halved_and_those_behind_are_open() {
        let number = |number: u64| KeyValue { kind: KeyKind::Unsigned, bytes: number.to_le_bytes().into() };
        let key = |numbers: &[u64]| numbers.iter().map(|&value| number(value)).collect::<Key>();
        let none = [None; 3];
        let check = |low: &[u64], high: &[u64], expected: Option<Key>| {
            assert_eq!(target(&none, &key(low), &key(high), Aim::Middle), expected, "{low:?} {high:?}");
        };
        check(&[1, 2, 9], &[1, 6, 0], Some(key(&[1, 4])));
        check(&[1, 2, 9], &[1, 2, 9], None);
        // A text that differs by case alone is the same.
        let text = |text: &str| KeyValue { kind: KeyKind::Text, bytes: text.as_bytes().into() };
        let texts = [Some(("utf8mb4", "utf8mb4_general_ci")), None];
        let middle = target(&texts, &vec![text("A"), number(2)], &vec![text("a"), number(8)], Aim::Middle);
        assert_eq!(middle, Some(vec![text("A"), number(5)]));
    }
}
