//! JSON text, written and searched without a value tree.
//!
//! The writers only append to a caller's buffer and allocate nothing of their own (beyond the buffer's growth); what
//! they append is valid JSON for every input. Of the readers, `scan` looks for the members of an object or the elements of
//! an array, skips what is in them and is no validator; `value` is one. Full parsing is `serde_json`'s business.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

mod scan;
mod value;

pub use scan::{Elements, elements, find_top_level_string, members};
pub(crate) use scan::{string_end, unquote};
pub use value::{checked, value};
pub(crate) use value::{is_short_escape, value_end};

/// What follows the backslash for a byte: 0 = not escaped, `u` = as `\u00XX`, else the letter itself.
static ESCAPES: [u8; 256] = escapes();

const fn escapes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = b'u';
        byte += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
}

/// Bytes looked at together while nothing needs an escape; the compiler makes vector code of one block.
const BLOCK: usize = 32;
/// Bytes of one machine word, the step where escapes are dense.
const WORD: usize = 8;

/// Appends `text` as a JSON string with its quotes. Escaped are `"`, `\` and U+0000–001F (`\b \t \n \f \r`, the rest
/// as `\u00XX` with capital digits); everything else stays raw UTF-8.
#[inline]
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    write_escaped(out, text.as_bytes());
    out.push(b'"');
}

/// Appends the inside of a JSON string, without quotes, escaped as by [`write_string`].
///
/// `utf8` must be valid UTF-8; this is only checked in debug builds. Since no byte of a multi-byte character is ever
/// escaped, text may be handed over in pieces that are cut between characters.
#[inline]
pub fn write_escaped(out: &mut Vec<u8>, utf8: &[u8]) {
    debug_assert!(std::str::from_utf8(utf8).is_ok(), "write_escaped was given bytes that are not UTF-8");
    out.reserve(utf8.len() + WORD);
    if utf8.len() < BLOCK {
        escape_words(out, utf8);
    } else {
        escape_blocks(out, utf8);
    }
}

/// Long texts: whole runs without an escape are copied at once, the neighbourhood of an escape goes word by word.
fn escape_blocks(out: &mut Vec<u8>, utf8: &[u8]) {
    let mut rest = utf8;
    while !rest.is_empty() {
        let (clean, dirty) = rest.split_at(clean_blocks(rest));
        out.extend_from_slice(clean);
        let (now, later) = dirty.split_at(dirty.len().min(2 * BLOCK));
        escape_words(out, now);
        rest = later;
    }
}

/// The length of the longest run of whole blocks at the front in which nothing needs an escape.
#[inline]
fn clean_blocks(bytes: &[u8]) -> usize {
    let mut clean = 0;
    for block in bytes.chunks_exact(BLOCK) {
        // An OR over the whole block instead of an early exit: this is what lets it become vector instructions.
        let dirty = block.iter().fold(false, |dirty, &b| dirty | (b < 0x20) | (b == b'"') | (b == b'\\'));
        if dirty {
            break;
        }
        clean += BLOCK;
    }
    clean
}

/// Copies whole words and takes back what lies behind the first byte that needs an escape: with dense escapes this
/// beats searching first and copying later. The bytes after the last whole word are handled as one more word, since
/// most texts of a row are shorter than two.
#[inline]
fn escape_words(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut rest = bytes;
    while let Some((word, later)) = rest.split_first_chunk::<WORD>() {
        out.extend_from_slice(word);
        let mask = special_mask(u64::from_le_bytes(*word));
        if mask == 0 {
            rest = later;
            continue;
        }
        let before = (mask.trailing_zeros() / 8) as usize;
        out.truncate(out.len() - (WORD - before));
        write_escape(out, word[before]);
        rest = &rest[before + 1..];
    }
    let word = short_word(rest);
    let used = (1_u64 << (8 * rest.len())) - 1;
    if special_mask(word) & used == 0 {
        let end = out.len() + rest.len();
        out.extend_from_slice(&word.to_le_bytes());
        out.truncate(end);
    } else {
        rest.iter().for_each(|&byte| write_byte(out, byte));
    }
}

/// The first byte that no JSON string holds as it is: `"`, `\` or a control character. Most strings are short: blocks pay
/// only behind their usual length.
#[inline]
pub(crate) fn first_special(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = bytes[at..].first_chunk::<WORD>() {
        let mask = special_mask(u64::from_le_bytes(*word));
        if mask != 0 {
            return Some(at + (mask.trailing_zeros() / 8) as usize);
        }
        at += WORD;
        if at == BLOCK {
            at += clean_blocks(&bytes[at..]);
        }
    }
    let found = bytes[at..].iter().position(|&byte| ESCAPES[byte as usize] != 0);
    found.map(|found| at + found)
}

/// Fewer than eight bytes as the low bytes of a word, put together in registers: through memory, two short stores
/// followed by a long load would stall. The upper bytes are zero.
#[inline]
fn short_word(bytes: &[u8]) -> u64 {
    let count = bytes.len();
    let shifted = |value: u64, index: usize| value << (8 * index);
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        // The two halves may overlap; where they do, they agree.
        (Some(low), Some(high)) => {
            u64::from(u32::from_le_bytes(*low)) | shifted(u32::from_le_bytes(*high).into(), count - 4)
        }
        _ if count == 0 => 0,
        _ => {
            let byte = |index: usize| shifted(bytes[index].into(), index);
            byte(0) | byte(count / 2) | byte(count - 1)
        }
    }
}

#[inline]
fn write_byte(out: &mut Vec<u8>, byte: u8) {
    if ESCAPES[byte as usize] == 0 {
        out.push(byte);
    } else {
        write_escape(out, byte);
    }
}

/// The high bit of the first byte of `word` that needs an escape, and none before it. What stands above that bit may be
/// wrong: a difference that falls below zero borrows from the byte above, and only a byte that needs an escape does that.
#[inline]
const fn special_mask(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    let control = word.wrapping_sub(ONES * 0x20);
    let quote = (word ^ (ONES * b'"' as u64)).wrapping_sub(ONES);
    let slash = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    (control | quote | slash) & !word & HIGH
}

#[inline]
fn write_escape(out: &mut Vec<u8>, byte: u8) {
    match ESCAPES[byte as usize] {
        b'u' => {
            const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
            let (high, low) = (DIGITS[(byte >> 4) as usize], DIGITS[(byte & 15) as usize]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
        letter => out.extend_from_slice(&[b'\\', letter]),
    }
}

/// Appends the text of a JSON value on one line: its line ends become blanks. In JSON they stand only between tokens, where a
/// blank does as well.
pub fn write_on_one_line(out: &mut Vec<u8>, json: &[u8]) {
    let mut rest = json;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
        out.extend_from_slice(&rest[..at]);
        out.push(b' ');
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Appends a signed integer.
#[inline]
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends an unsigned integer.
#[inline]
pub fn write_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a double in the shortest form that reads back as the same double. JSON has no NaN and no infinities: they
/// become `null`.
#[inline]
pub fn write_f64(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

/// Appends a float in the shortest form that reads back as the same float; otherwise as [`write_f64`].
#[inline]
pub fn write_f32(out: &mut Vec<u8>, value: f32) {
    if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

/// Appends standard base64 with padding, without quotes.
pub fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]);
    debug_assert_eq!(written, Ok(out.len() - start), "base64 has four characters for each three bytes begun");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("writers write UTF-8")
    }

    fn check_string(text: &str) {
        let json = written(|out| write_string(out, text));
        assert_eq!(serde_json::from_str::<String>(&json).expect("valid JSON"), text, "{json}");
    }

    #[test]
    fn each_escaped_character_has_the_promised_form() {
        let text = "\"\\/\u{8}\t\n\u{c}\r\u{0}\u{1f}\u{7f}\u{2028}é😀<";
        let expected = "\"\\\"\\\\/\\b\\t\\n\\f\\r\\u0000\\u001F\u{7f}\u{2028}é😀<\"";
        assert_eq!(written(|out| write_string(out, text)), expected);
    }

    #[test]
    fn an_escape_is_found_at_every_place_of_every_length() {
        for length in 0..150 {
            check_string(&"x".repeat(length));
            for at in 0..length {
                for special in ['"', '\\', '\n', '\u{1}'] {
                    let mut text: Vec<char> = vec!['y'; length];
                    text[at] = special;
                    check_string(&text.iter().collect::<String>());
                }
            }
        }
    }

    #[test]
    fn every_single_byte_is_judged_like_the_table() {
        for byte in 0..=255_u8 {
            for place in 0..8 {
                let mut word = [b'a'; 8];
                word[place] = byte;
                let found = special_mask(u64::from_le_bytes(word)).trailing_zeros() as usize / 8;
                let expected = if ESCAPES[byte as usize] == 0 { 8 } else { place };
                assert_eq!(found, expected, "byte {byte} at {place}");
            }
        }
    }

    #[test]
    fn the_first_special_byte_is_found_at_every_place_of_every_length() {
        for length in 0..150 {
            assert_eq!(first_special(&vec![b'\xff'; length]), None);
            for at in 0..length {
                for special in [b'"', b'\\', 0, 0x1f] {
                    let mut text = vec![b'y'; length];
                    text[length - 1] = b'"';
                    text[at] = special;
                    assert_eq!(first_special(&text), Some(at));
                }
            }
        }
    }

    #[test]
    fn line_ends_become_blanks_in_what_is_written_and_nowhere_else() {
        let out = |json: &[u8]| {
            let mut out = b"\n".to_vec();
            write_on_one_line(&mut out, json);
            out
        };
        assert_eq!(out(b"{\r\n\"a\":\n1}\n"), b"\n{  \"a\": 1} ");
        assert_eq!(out(b""), b"\n");
    }

    #[test]
    fn floats_are_shortest_and_always_valid_json() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-1.5, "-1.5"),
            (f64::NAN, "null"),
            (f64::INFINITY, "null"),
            (f64::NEG_INFINITY, "null"),
        ];
        for (value, text) in cases {
            assert_eq!(written(|out| write_f64(out, value)), text);
        }
        assert_eq!(written(|out| write_f32(out, 0.1)), "0.1");
        assert_eq!(written(|out| write_f32(out, f32::NAN)), "null");
        for value in [1e300, 1e-300, 5e-324, f64::MAX, 1e16, 1e-5, 123_456_789.125] {
            let text = written(|out| write_f64(out, value));
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|v| v.is_number()), "{text}");
            assert_eq!(text.parse(), Ok(value));
        }
    }

    #[test]
    fn integers_reach_their_limits() {
        assert_eq!(written(|out| write_i64(out, i64::MIN)), "-9223372036854775808");
        assert_eq!(written(|out| write_u64(out, u64::MAX)), "18446744073709551615");
    }

    #[test]
    fn base64_is_standard_and_padded() {
        for (bytes, text) in [(&b""[..], ""), (b"\xff", "/w=="), (b"\xfb\xff", "+/8="), (b"abc", "YWJj")] {
            assert_eq!(written(|out| write_base64(out, bytes)), text);
        }
    }

    proptest! {
        #[test]
        fn every_string_reads_back_as_itself(text in "\\PC*|[\\x00-\\x7f\"\\\\é😀]{0,200}") {
            check_string(&text);
        }

        #[test]
        fn every_double_and_float_reads_back_as_itself(bits in any::<u64>()) {
            let double = f64::from_bits(bits);
            let float = f32::from_bits((bits >> 32) as u32);
            if double.is_finite() {
                prop_assert_eq!(written(|out| write_f64(out, double)).parse::<f64>(), Ok(double));
            }
            if float.is_finite() {
                prop_assert_eq!(written(|out| write_f32(out, float)).parse::<f32>(), Ok(float));
            }
        }
    }
}
