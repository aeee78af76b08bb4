//! Numbers in hexadecimal digits, for ids.

/// The 16 digits of a number, lower case, with its leading zeros.
#[inline]
pub fn digits(number: u64) -> [u8; 16] {
    let mut text = [0; 16];
    text[..8].copy_from_slice(&half((number >> 32) as u32));
    text[8..].copy_from_slice(&half(number as u32));
    text
}

/// All digits at once, a byte each: the nibbles spread, then 39 more for those from `a` on.
#[inline]
fn half(number: u32) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut digits = u64::from(number);
    digits = (digits | digits << 16) & 0x0000_FFFF_0000_FFFF;
    digits = (digits | digits << 8) & 0x00FF_00FF_00FF_00FF;
    digits = (digits | digits << 4) & (ONES * 0x0F);
    let letters = ((digits + ONES * 6) >> 4) & ONES;
    (digits + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'9' - 1)).to_be_bytes()
}

/// Appends a number without leading zeros, as `{:x}` writes it.
#[inline]
pub fn push(out: &mut String, number: u64) {
    let (digits, zeros) = (digits(number), number.leading_zeros() as usize / 4);
    out.push_str(std::str::from_utf8(&digits[zeros.min(15)..]).expect("digits are ASCII"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_those_of_the_formatter() {
        for number in
            [0, 1, 15, 16, u64::MAX, 0x0123_4567_89AB_CDEF, 0xFEDC_BA98_7654_3210, 0x9A09_A90A_0F00_00F0]
        {
            assert_eq!(digits(number), *format!("{number:016x}").as_bytes());
            let mut out = "x".to_owned();
            push(&mut out, number);
            assert_eq!(out, format!("x{number:x}"));
        }
    }
}
