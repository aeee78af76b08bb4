//! A double the way MySQL prints one inside JSON: the shortest digits that read back, in plain notation within about
//! fifteen places of the point, else with an exponent; what looks like an integer gets `.0`.

/// Decimal exponent from which plain notation ends, in both directions (the server's MAX_DECPT_FOR_F_FORMAT).
const PLAIN_MAX: i32 = 15;

/// Appends the text. Infinity and NaN are no JSON and are not written: false.
pub(super) fn write(number: f64, out: &mut Vec<u8>) -> bool {
    if !number.is_finite() {
        return false;
    }
    if number.is_sign_negative() {
        out.push(b'-');
    }
    let mut buffer = zmij::Buffer::new();
    let mut digits = Digits::of(buffer.format_finite(number.abs()).as_bytes());
    digits.trim();
    let Digits { bytes, count, point } = digits;
    let digits = &bytes[..count];
    if point <= -PLAIN_MAX || (point > PLAIN_MAX && count as i32 <= point) {
        write_exponent(digits, point - 1, out);
    } else {
        write_plain(digits, point, out);
    }
    true
}

/// Significant digits; the number is 0.DIGITS · 10^point.
struct Digits {
    bytes: [u8; 32],
    count: usize,
    point: i32,
}

impl Digits {
    /// Takes apart a plain or scientific decimal text without a sign.
    fn of(text: &[u8]) -> Self {
        let mut digits = Self { bytes: [b'0'; 32], count: 0, point: 0 };
        let mantissa_end = text.iter().position(|&byte| byte == b'e').unwrap_or(text.len());
        let mut behind_point = false;
        for &byte in &text[..mantissa_end] {
            match byte {
                b'.' => behind_point = true,
                b'0' if digits.count == 0 => digits.point -= i32::from(behind_point),
                _ => {
                    if digits.count < digits.bytes.len() {
                        digits.bytes[digits.count] = byte;
                        digits.count += 1;
                    }
                    digits.point += i32::from(!behind_point);
                }
            }
        }
        digits.point += exponent(text.get(mantissa_end + 1..).unwrap_or_default());
        digits
    }

    /// Drops zeros at the end; zero itself is one digit before the point.
    fn trim(&mut self) {
        while self.count > 0 && self.bytes[self.count - 1] == b'0' {
            self.count -= 1;
        }
        if self.count == 0 {
            (self.count, self.point) = (1, 1);
        }
    }
}

fn exponent(text: &[u8]) -> i32 {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    sign * digits.iter().fold(0, |number, digit| number * 10 + i32::from(digit - b'0'))
}

fn write_plain(digits: &[u8], point: i32, out: &mut Vec<u8>) {
    let whole = point.max(0) as usize;
    if point <= 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + point.unsigned_abs() as usize, b'0');
        out.extend_from_slice(digits);
    } else if whole < digits.len() {
        out.extend_from_slice(&digits[..whole]);
        out.push(b'.');
        out.extend_from_slice(&digits[whole..]);
    } else {
        out.extend_from_slice(digits);
        out.resize(out.len() + whole - digits.len(), b'0');
        out.extend_from_slice(b".0");
    }
}

fn write_exponent(digits: &[u8], exponent: i32, out: &mut Vec<u8>) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    out.push(b'e');
    out.extend_from_slice(itoa::Buffer::new().format(exponent).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_read_as_mysql_9_printed_them() {
        let check = |number: f64, expected: &str| {
            let mut out = Vec::new();
            assert!(write(number, &mut out));
            assert_eq!(String::from_utf8(out).expect("ASCII"), expected);
        };
        check(-0.0, "-0.0");
        check(0.0, "0.0");
        check(3.0, "3.0");
        check(1e10, "10000000000.0");
        check(1e14, "100000000000000.0");
        check(1e15, "1e15");
        check(1e16, "1e16");
        check(1.234_567_890_123_456_8e17, "1.2345678901234568e17");
        check(1.234_567_890_123_456_8e16, "1.2345678901234568e16");
        check(-1e-5, "-0.00001");
        check(1.5e-14, "0.000000000000015");
        check(1e-15, "0.000000000000001");
        check(1e-16, "1e-16");
        check(5e-324, "5e-324");
        check(f64::MAX, "1.7976931348623157e308");
        check(2e23, "2e23");
        check(123_456_789.5, "123456789.5");
        check(1234567890123456.5, "1234567890123456.5");
    }

    #[test]
    fn what_is_no_json_number_is_not_written() {
        let mut out = Vec::new();
        assert!(!write(f64::NAN, &mut out));
        assert!(!write(f64::INFINITY, &mut out));
        assert!(out.is_empty());
    }
}
