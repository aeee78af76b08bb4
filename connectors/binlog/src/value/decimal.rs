//! The server's packed DECIMAL: groups of nine digits in four big-endian bytes, left-over digits at both ends in fewer.
//! The top bit of the first byte is set for what is not negative; a negative value has every bit turned.

use super::ValueError;

/// Bytes for 0–9 digits.
const GROUP_BYTES: [u8; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
/// What 0–9 digits stay below.
const GROUP_LIMIT: [u32; 10] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];
/// 65 digits with sign, point, a leading zero and quotes fit.
const TEXT_MAX: usize = 72;

const CORRUPT: ValueError = ValueError::Corrupt("a DECIMAL with impossible digits");

/// Bytes of a packed DECIMAL; `scale` is at most `precision`.
pub(crate) fn binary_size(precision: u8, scale: u8) -> u8 {
    let side = |digits: u8| digits / 9 * 4 + GROUP_BYTES[usize::from(digits % 9)];
    side(precision - scale) + side(scale)
}

/// Appends the value as a JSON string in plain notation at the column's scale.
pub(crate) fn write(value: &[u8], precision: u8, scale: u8, out: &mut Vec<u8>) -> Result<(), ValueError> {
    out.push(b'"');
    write_bare(value, precision, scale, out)?;
    out.push(b'"');
    Ok(())
}

/// Appends the value without quotes, as the server prints it.
pub(crate) fn write_bare(
    value: &[u8],
    precision: u8,
    scale: u8,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let start = out.len();
    out.extend_from_slice(&[0; TEXT_MAX]);
    let mut text = Text { bytes: out.last_chunk_mut().expect("just appended"), len: 0 };
    format(value, precision, scale, &mut text)?;
    let len = text.len;
    out.truncate(start + len);
    Ok(())
}

/// A text being written into its place in the output.
struct Text<'a> {
    bytes: &'a mut [u8; TEXT_MAX],
    len: usize,
}

impl Text<'_> {
    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    /// `digits` digits of `number` with leading zeros.
    fn push_digits(&mut self, mut number: u32, digits: usize) {
        for place in self.bytes[self.len..self.len + digits].iter_mut().rev() {
            *place = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.len += digits;
    }
}

/// Walks the groups of one value.
struct Groups<'a> {
    rest: &'a [u8],
    /// Turned on every byte: 0 or 0xFF.
    turn: u8,
    /// On the first byte only.
    sign: u8,
}

impl Groups<'_> {
    fn next(&mut self, digits: usize) -> Result<u32, ValueError> {
        let (group, rest) = self.rest.split_at_checked(usize::from(GROUP_BYTES[digits])).ok_or(CORRUPT)?;
        self.rest = rest;
        let mut number = 0;
        for &byte in group {
            number = number << 8 | u32::from(byte ^ self.turn ^ self.sign);
            self.sign = 0;
        }
        if number < GROUP_LIMIT[digits] { Ok(number) } else { Err(CORRUPT) }
    }
}

fn format(value: &[u8], precision: u8, scale: u8, text: &mut Text<'_>) -> Result<(), ValueError> {
    if precision > 65 || scale > precision || value.len() != usize::from(binary_size(precision, scale)) {
        return Err(CORRUPT);
    }
    let (whole, scale) = (usize::from(precision - scale), usize::from(scale));
    let positive = value.first().ok_or(CORRUPT)? & 0x80 != 0;
    let mut groups = Groups { rest: value, turn: if positive { 0 } else { 0xFF }, sign: 0x80 };
    if !positive {
        text.push(b'-');
    }
    let mut significant = 0;
    let start = text.len;
    let first = whole % 9;
    for digits in std::iter::once(first).chain(std::iter::repeat_n(9, whole / 9)) {
        let number = groups.next(digits)?;
        significant |= number;
        if text.len > start {
            text.push_digits(number, digits);
        } else if number != 0 {
            text.push_digits(number, number.ilog10() as usize + 1);
        }
    }
    if text.len == start {
        text.push(b'0');
    }
    if scale > 0 {
        text.push(b'.');
        for digits in std::iter::repeat_n(9, scale / 9).chain(std::iter::once(scale % 9)) {
            let number = groups.next(digits)?;
            significant |= number;
            text.push_digits(number, digits);
        }
    }
    if !positive && significant == 0 {
        // There is no negative zero.
        text.bytes.copy_within(start..text.len, 0);
        text.len -= 1;
    }
    Ok(())
}

/// Packs digits the way the server does; the reference that the tests decode against.
#[cfg(test)]
pub(crate) fn pack(negative: bool, whole: &str, fraction: &str) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut group = |digits: &str| {
        let number: u32 = if digits.is_empty() { 0 } else { digits.parse().expect("digits") };
        let size = usize::from(GROUP_BYTES[digits.len()]);
        packed.extend_from_slice(&number.to_be_bytes()[4 - size..]);
    };
    let (head, full) = whole.split_at(whole.len() % 9);
    group(head);
    (0..full.len() / 9).for_each(|index| group(&full[index * 9..index * 9 + 9]));
    let (full, tail) = fraction.split_at(fraction.len() / 9 * 9);
    (0..full.len() / 9).for_each(|index| group(&full[index * 9..index * 9 + 9]));
    group(tail);
    packed[0] ^= 0x80;
    if negative {
        packed.iter_mut().for_each(|byte| *byte ^= 0xFF);
    }
    packed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{check, check_refused};
    use super::*;
    use crate::table::Plan;

    #[test]
    fn the_manuals_example_reads_as_documented() {
        // DECIMAL(14,4): 1234567890.1234 is 81 0D FB 38 D2 04 D2.
        let plan = Plan::Decimal { precision: 14, scale: 4 };
        check(&plan, &[0x81, 0x0D, 0xFB, 0x38, 0xD2, 0x04, 0xD2], "\"1234567890.1234\"");
        check(&plan, &[0x7E, 0xF2, 0x04, 0xC7, 0x2D, 0xFB, 0x2D], "\"-1234567890.1234\"");
    }

    #[test]
    fn zero_has_the_columns_scale_and_never_a_sign() {
        let plan = Plan::Decimal { precision: 10, scale: 2 };
        check(&plan, &pack(false, "00000000", "00"), "\"0.00\"");
        check(&plan, &pack(true, "00000000", "00"), "\"0.00\"");
        check(&Plan::Decimal { precision: 5, scale: 0 }, &pack(true, "00001", ""), "\"-1\"");
        check(&Plan::Decimal { precision: 4, scale: 4 }, &pack(true, "", "5000"), "\"-0.5000\"");
    }

    #[test]
    fn digits_that_no_group_can_hold_are_refused() {
        check_refused(&Plan::Decimal { precision: 9, scale: 0 }, &[0xFF; 4]);
        check_refused(&Plan::Decimal { precision: 2, scale: 0 }, &[0x80 | 100]);
        check_refused(&Plan::Decimal { precision: 10, scale: 2 }, &[0x80; 3]);
    }

    proptest! {
        #[test]
        fn every_decimal_reads_back(whole in "[0-9]{0,35}", fraction in "[0-9]{0,30}", negative: bool) {
            prop_assume!(!whole.is_empty() || !fraction.is_empty());
            let plan = Plan::Decimal { precision: (whole.len() + fraction.len()) as u8, scale: fraction.len() as u8 };
            let trimmed = whole.trim_start_matches('0');
            let zero = trimmed.is_empty() && fraction.bytes().all(|digit| digit == b'0');
            let sign = if negative && !zero { "-" } else { "" };
            let point = if fraction.is_empty() { "" } else { "." };
            let head = if trimmed.is_empty() { "0" } else { trimmed };
            check(&plan, &pack(negative, &whole, &fraction), &format!("\"{sign}{head}{point}{fraction}\""));
        }
    }
}
