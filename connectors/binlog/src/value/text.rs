//! Text in its character set, and bytes: CHAR to LONGTEXT, BINARY to LONGBLOB, MariaDB's UUID.

use flowd_codec::json;

use super::ValueError;
use crate::charset::{Charset, InvalidText};

/// Appends text as a JSON string.
#[inline]
pub(super) fn write(
    charset: Charset,
    value: &[u8],
    out: &mut Vec<u8>,
    decoded: &mut String,
    invalid: InvalidText,
) -> Result<(), ValueError> {
    out.push(b'"');
    if charset.keeps_ascii() && is_plain(value) {
        out.extend_from_slice(value);
    } else if charset == Charset::Utf8 && std::str::from_utf8(value).is_ok() {
        json::write_escaped(out, value);
    } else {
        decoded.clear();
        charset.decode(value, decoded, invalid).map_err(|_| ValueError::InvalidText)?;
        json::write_escaped(out, decoded.as_bytes());
    }
    out.push(b'"');
    Ok(())
}

/// Whether every byte is ASCII that stands for itself in a JSON string. Eight bytes at a time; the last eight may overlap
/// those before, so that only a text under eight bytes is looked at byte by byte.
#[inline]
fn is_plain(value: &[u8]) -> bool {
    let Some(last) = value.last_chunk() else {
        return value.iter().all(|&byte| matches!(byte, 0x20..=0x7F) && byte != b'"' && byte != b'\\');
    };
    let (words, _) = value.as_chunks();
    words.iter().fold(special(*last), |found, &word| found | special(word)) == 0
}

/// Not 0 where one of the bytes is not ASCII, is a control character below 0x20, a quote or a backslash.
#[inline]
const fn special(word: [u8; 8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_le_bytes(word);
    let (quote, slash) = (word ^ (ONES * b'"' as u64), word ^ (ONES * b'\\' as u64));
    // A borrow out of `x - n` where `x` has no high bit of its own: some byte was below `n`.
    let below = word.wrapping_sub(ONES * 0x20) & !word;
    let found = quote.wrapping_sub(ONES) & !quote | slash.wrapping_sub(ONES) & !slash | below | word;
    found & (ONES << 7)
}

/// Appends base64 of the bytes, padded on the right with 0x00 to `width` (the binlog cuts BINARY's last zeros off).
pub(super) fn write_bytes(value: &[u8], width: usize, out: &mut Vec<u8>, padded: &mut Vec<u8>) {
    out.push(b'"');
    if value.len() >= width {
        json::write_base64(out, value);
    } else {
        padded.clear();
        padded.extend_from_slice(value);
        padded.resize(width, 0);
        json::write_base64(out, padded);
    }
    out.push(b'"');
}

/// Appends a UUID in lower case. The bytes stand in text order; cut ones are zeros on the right.
pub(super) fn write_uuid(value: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut bytes = [0; 16];
    bytes
        .get_mut(..value.len())
        .ok_or(ValueError::Corrupt("a UUID of more than 16 bytes"))?
        .copy_from_slice(value);
    let mut text = [b'-'; 38];
    let mut at = 1;
    for (index, byte) in bytes.into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
    text[0] = b'"';
    text[37] = b'"';
    out.extend_from_slice(&text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{check, check_refused};
    use super::*;
    use crate::table::Plan;

    #[test]
    fn every_charset_comes_out_as_utf8() {
        let check = |charset: &str, bytes: &[u8], expected: &str| {
            check(&Plan::Text(Charset::from_name(charset).expect("known")), bytes, expected);
        };
        check("utf8mb4", "aé€😀".as_bytes(), "\"aé€😀\"");
        check("utf8mb4", b"a\"\\\n\x1F", r#""a\"\\\n\u001F""#);
        check("latin1", &[0x80, 0xE9, 0x81, b'"'], "\"€é\u{81}\\\"\"");
        check("ucs2", &[0x00, 0x61, 0x20, 0xAC], "\"a€\"");
        check("utf16", &[0xD8, 0x3D, 0xDE, 0x00, 0x00, 0x22], "\"😀\\\"\"");
        check("utf16le", &[0x3D, 0xD8, 0x00, 0xDE], "\"😀\"");
        check("utf32", &[0, 1, 0xF6, 0], "\"😀\"");
        check("gbk", &[0xC4, 0xE3, b'x'], "\"你x\"");
        check("cp932", &[0x83, 0x5C], "\"ソ\"");
        check("cp1251", &[0xC6], "\"Ж\"");
    }

    #[test]
    fn plain_text_is_told_from_what_needs_work_at_every_place() {
        for length in 0..40 {
            let plain = vec![b'a'; length];
            assert!(is_plain(&plain), "{length}");
            for (at, byte) in (0..length).flat_map(|at| (0..=255u8).map(move |byte| (at, byte))) {
                let mut text = plain.clone();
                text[at] = byte;
                let expected = (0x20..0x80).contains(&byte) && byte != b'"' && byte != b'\\';
                assert_eq!(is_plain(&text), expected, "{byte:02X} at {at} of {length}");
            }
        }
    }

    #[test]
    fn invalid_bytes_stop_or_are_replaced_as_asked() {
        for (charset, bytes) in [
            ("utf8mb4", &[b'a', 0xFF][..]),
            ("ascii", &[b'a', 0x80]),
            ("utf16", &[0, b'a', 0xD8, 0]),
            ("utf32", &[0, 0, 0, b'a', 0, 0x11, 0, 0]),
            ("ucs2", &[0, b'a', 0]),
            ("gbk", &[b'a', 0xFF]),
        ] {
            let charset = Charset::from_name(charset).expect("known");
            check_refused(&Plan::Text(charset), bytes);
            let mut out = Vec::new();
            write(charset, bytes, &mut out, &mut String::new(), InvalidText::Replace).expect("replaced");
            assert_eq!(out, "\"a\u{FFFD}\"".as_bytes(), "{charset:?}");
        }
    }

    #[test]
    fn binary_is_padded_and_varbinary_is_not() {
        check(&Plan::Bytes(5), &[1, 2], "\"AQIAAAA=\"");
        check(&Plan::Bytes(5), &[], "\"AAAAAAA=\"");
        check(&Plan::Bytes(0), &[0, 1, 2], "\"AAEC\"");
        check(&Plan::Bytes(0), &[], "\"\"");
    }

    #[test]
    fn a_uuid_with_zeros_at_its_end_keeps_its_place() {
        let bytes = [0x12, 0x3E, 0x45, 0x67, 0xE8, 0x9B, 0x12, 0xD3, 0xA4, 0x56, 0x42, 0x66, 0x55, 0x44];
        check(&Plan::Uuid, &bytes, "\"123e4567-e89b-12d3-a456-426655440000\"");
        check_refused(&Plan::Uuid, &[1; 17]);
    }
}
