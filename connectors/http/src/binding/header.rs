//! Attributes as header values: percent-encoded where they are not visible ASCII.

use std::borrow::Cow;
use std::str::Utf8Error;

use hyper::header::HeaderName;

/// What the name of an attribute's header begins with.
pub(crate) const PREFIX: &str = "ce-";

/// The header of `specversion`.
pub(crate) const SPECVERSION: HeaderName = HeaderName::from_static("ce-specversion");

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// The header of an attribute or extension, whose name is legal. Of those that most events have it costs no memory.
pub(crate) fn name_of(attribute: &str) -> HeaderName {
    const ID: HeaderName = HeaderName::from_static("ce-id");
    const SOURCE: HeaderName = HeaderName::from_static("ce-source");
    const TYPE: HeaderName = HeaderName::from_static("ce-type");
    const SUBJECT: HeaderName = HeaderName::from_static("ce-subject");
    const TIME: HeaderName = HeaderName::from_static("ce-time");
    const PARTITION_KEY: HeaderName = HeaderName::from_static("ce-partitionkey");
    match attribute {
        "id" => ID,
        "source" => SOURCE,
        "type" => TYPE,
        "subject" => SUBJECT,
        "time" => TIME,
        "partitionkey" => PARTITION_KEY,
        other => HeaderName::try_from([PREFIX, other].concat())
            .expect("an attribute's name is lower-case letters and digits"),
    }
}

/// Appends an attribute's value as a header has it: space, `"`, `%` and all but visible ASCII are percent-encoded.
pub(crate) fn encode(out: &mut Vec<u8>, value: &str) {
    percent_encode(out, value, |byte| matches!(byte, 0x21..=0x7e) && !matches!(byte, b'"' | b'%'));
}

/// Appends `text` with every byte that is not `plain` as `%XX`.
pub(crate) fn percent_encode(out: &mut Vec<u8>, text: &str, plain: impl Fn(u8) -> bool) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| !plain(*byte)) {
        out.extend_from_slice(&rest[..at]);
        let byte = rest[at];
        out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// The value of an attribute, read from its header: a quoted string is unquoted, then percent-encoding undone. A `%` that begins
/// no encoded byte stands for itself, since there are senders that do not encode.
///
/// # Errors
/// Where the bytes are not UTF-8.
pub(crate) fn decode(value: &[u8]) -> Result<Cow<'_, str>, Utf8Error> {
    let value = value.trim_ascii();
    let decoded = match value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) {
        Some(inside) => percent_decode(&unescape(inside)),
        None if value.contains(&b'%') => percent_decode(value),
        None => return str::from_utf8(value).map(Cow::Borrowed),
    };
    String::from_utf8(decoded).map(Cow::Owned).map_err(|error| error.utf8_error())
}

/// The inside of a quoted string (RFC 9110, section 5.6.4) without its backslashes.
fn unescape(inside: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    while let Some(&byte) = bytes.next() {
        let quoted = if byte == b'\\' { bytes.next().copied() } else { None };
        out.push(quoted.unwrap_or(byte));
    }
    out
}

fn percent_decode(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let encoded = if byte == b'%' { after.split_first_chunk().and_then(hex_byte) } else { None };
        if let Some((value, after)) = encoded {
            out.push(value);
            rest = after;
        } else {
            out.push(byte);
        }
    }
    out
}

fn hex_byte<'a>((digits, after): (&[u8; 2], &'a [u8])) -> Option<(u8, &'a [u8])> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let value = digit(digits[0])? * 16 + digit(digits[1])?;
    Some((u8::try_from(value).ok()?, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_encoded_as_the_binding_says() {
        for (value, encoded) in [
            ("plain/-._~!", "plain/-._~!"),
            ("Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
            (r#"{"id":1}"#, "{%22id%22:1}"),
            ("100%\u{7f}\n", "100%25%7F%0A"),
            ("", ""),
        ] {
            let mut out = Vec::new();
            encode(&mut out, value);
            assert_eq!(out, encoded.as_bytes());
            assert_eq!(decode(encoded.as_bytes()).unwrap(), value);
        }
    }

    #[test]
    fn values_of_senders_that_do_not_encode_are_read() {
        for (header, value) in [
            (&b"100% sure"[..], "100% sure"),
            (b"%zz%", "%zz%"),
            ("Euro €".as_bytes(), "Euro €"),
            (b"\"in \\\"quotes\\\" and %41\"", "in \"quotes\" and A"),
            (b"%41%2", "A%2"),
        ] {
            assert_eq!(decode(header).unwrap(), value);
        }
        assert!(decode(b"\xff").is_err());
        assert!(decode(b"%FF").is_err());
    }
}
