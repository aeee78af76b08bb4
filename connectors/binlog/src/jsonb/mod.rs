//! MySQL's binary JSON as the server's own text (what `CAST(j AS CHAR)` prints), wrapped in a JSON string. The format
//! is read in place by offsets; a document that points outside itself, that nests deeper than the server allows or that
//! shows a part of itself twice is refused, so that no input makes more text than its own size explains.

mod double;

use flowd_codec::json;

use crate::value::reader::{Reader, little};
use crate::value::{ValueError, decimal, write_packed_date, write_packed_datetime, write_packed_time};

/// The server's JSON_DOCUMENT_MAX_DEPTH.
const DEPTH_MAX: u32 = 100;

const CORRUPT: &str = "a binary JSON document that contradicts itself";

/// Appends the document as a JSON string; `text` is room to work in.
pub(crate) fn write(document: &[u8], out: &mut Vec<u8>, text: &mut Vec<u8>) -> Result<(), &'static str> {
    text.clear();
    write_text(document, text).ok_or(CORRUPT)?;
    out.push(b'"');
    json::write_escaped(out, text);
    out.push(b'"');
    Ok(())
}

/// Appends the document's text, without quotes around the whole. None where the document contradicts itself.
fn write_text(document: &[u8], text: &mut Vec<u8>) -> Option<()> {
    // A column that became NOT NULL without a value holds nothing; the server reads that as the literal null.
    let Some((&kind, body)) = document.split_first() else {
        text.extend_from_slice(b"null");
        return Some(());
    };
    let mut walk = Walk { text, budget: document.len() };
    walk.value(kind, body, 0)
}

/// Writes one document. `budget` is how many bytes of the document may still be shown.
struct Walk<'t> {
    text: &'t mut Vec<u8>,
    budget: usize,
}

impl Walk<'_> {
    /// Every value and every text pays for itself; a document that shows a part twice runs out.
    fn pay(&mut self, bytes: usize) -> Option<()> {
        self.budget = self.budget.checked_sub(bytes)?;
        Some(())
    }

    /// One value of type `kind` at the start of `body`, which reaches to the end of the enclosing container.
    fn value(&mut self, kind: u8, body: &[u8], depth: u32) -> Option<()> {
        self.pay(1)?;
        let mut reader = Reader::new(body);
        match kind {
            0x00 => self.container(body, Shape { members: true, width: 2 }, depth + 1)?,
            0x01 => self.container(body, Shape { members: true, width: 4 }, depth + 1)?,
            0x02 => self.container(body, Shape { members: false, width: 2 }, depth + 1)?,
            0x03 => self.container(body, Shape { members: false, width: 4 }, depth + 1)?,
            0x04 => self.text.extend_from_slice(literal(reader.u8()?)?),
            0x05 => json::write_i64(self.text, (reader.little(2)? as i16).into()),
            0x06 => json::write_u64(self.text, reader.little(2)?),
            0x07 => json::write_i64(self.text, (reader.little(4)? as i32).into()),
            0x08 => json::write_u64(self.text, reader.little(4)?),
            0x09 => json::write_i64(self.text, reader.little(8)? as i64),
            0x0A => json::write_u64(self.text, reader.little(8)?),
            0x0B => double::write(f64::from_bits(reader.little(8)?), self.text).then_some(())?,
            0x0C => {
                let length = length(&mut reader)?;
                let string = reader.take(length)?;
                self.pay(length)?;
                write_quoted(string, self.text)?;
            }
            0x0F => {
                let field_type = reader.u8()?;
                let length = length(&mut reader)?;
                let value = reader.take(length)?;
                self.pay(length)?;
                write_opaque(field_type, value, self.text)?;
            }
            _ => return None,
        }
        Some(())
    }

    /// An object or array: count, size, key entries, value entries, then what they point at. Offsets count from here.
    fn container(&mut self, body: &[u8], shape: Shape, depth: u32) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        let mut reader = Reader::new(body);
        let count = reader.little(shape.width)? as usize;
        let size = reader.little(shape.width)? as usize;
        let body = body.get(..size)?;
        let mut keys = Reader::starting_at(body, reader.position());
        let keys_size = if shape.members { count.checked_mul(shape.width + 2)? } else { 0 };
        let mut values = Reader::starting_at(body, reader.position().checked_add(keys_size)?);
        self.text.push(if shape.members { b'{' } else { b'[' });
        for index in 0..count {
            if index > 0 {
                self.text.extend_from_slice(b", ");
            }
            if shape.members {
                let (offset, length) = (keys.little(shape.width)? as usize, keys.little(2)? as usize);
                let key = body.get(offset..offset.checked_add(length)?)?;
                self.pay(length)?;
                write_quoted(key, self.text)?;
                self.text.extend_from_slice(b": ");
            }
            let kind = values.u8()?;
            let entry = values.take(shape.width)?;
            if shape.holds_inline(kind) {
                self.value(kind, entry, depth)?;
            } else {
                self.value(kind, body.get(little(entry) as usize..)?, depth)?;
            }
        }
        self.text.push(if shape.members { b'}' } else { b']' });
        Some(())
    }
}

/// What kind of container it is.
#[derive(Clone, Copy)]
struct Shape {
    /// An object; otherwise an array.
    members: bool,
    /// Bytes of counts and offsets: 2, or 4 in a large container.
    width: usize,
}

impl Shape {
    /// Whether a value of that type stands in its entry, instead of where the entry points.
    fn holds_inline(self, kind: u8) -> bool {
        matches!(kind, 0x04..=0x06) || self.width == 4 && matches!(kind, 0x07 | 0x08)
    }
}

fn literal(code: u8) -> Option<&'static [u8]> {
    match code {
        0 => Some(b"null"),
        1 => Some(b"true"),
        2 => Some(b"false"),
        _ => None,
    }
}

/// A length in 7-bit groups, low ones first, at most 32 bits.
fn length(reader: &mut Reader<'_>) -> Option<usize> {
    let mut length = 0u64;
    for group in 0..5 {
        let byte = reader.u8()?;
        length |= u64::from(byte & 0x7F) << (7 * group);
        if byte & 0x80 == 0 {
            return u32::try_from(length).ok().map(|length| length as usize);
        }
    }
    None
}

/// A string in quotes, escaped as the server does: control characters with small digits.
fn write_quoted(string: &[u8], text: &mut Vec<u8>) -> Option<()> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    std::str::from_utf8(string).ok()?;
    text.push(b'"');
    let mut rest = string;
    while let Some(at) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        text.extend_from_slice(&rest[..at]);
        match rest[at] {
            byte @ (b'"' | b'\\') => text.extend_from_slice(&[b'\\', byte]),
            0x08 => text.extend_from_slice(b"\\b"),
            b'\t' => text.extend_from_slice(b"\\t"),
            b'\n' => text.extend_from_slice(b"\\n"),
            0x0C => text.extend_from_slice(b"\\f"),
            b'\r' => text.extend_from_slice(b"\\r"),
            byte => {
                text.extend_from_slice(b"\\u00");
                text.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        rest = &rest[at + 1..];
    }
    text.extend_from_slice(rest);
    text.push(b'"');
    Some(())
}

/// A value of an SQL type: a number, a date or time in quotes, or base64 with the type's number.
fn write_opaque(field_type: u8, value: &[u8], text: &mut Vec<u8>) -> Option<()> {
    if field_type == 246 {
        let [precision, scale, digits @ ..] = value else { return None };
        return decimal::write_bare(digits, *precision, *scale, text).ok();
    }
    let temporal: fn(i64, &mut Vec<u8>) -> Result<(), ValueError> = match field_type {
        10 => write_packed_date,
        11 => write_packed_time,
        7 | 12 => write_packed_datetime,
        _ => {
            write_base64(field_type, value, text);
            return Some(());
        }
    };
    temporal(i64::from_le_bytes(value.try_into().ok()?), text).ok()
}

/// `"base64:typeN:…"`, with the server's line end (escaped, as in any string) behind every 76 characters but the last.
fn write_base64(field_type: u8, value: &[u8], text: &mut Vec<u8>) {
    const LINE_BYTES: usize = 57;
    text.extend_from_slice(b"\"base64:type");
    json::write_u64(text, field_type.into());
    text.push(b':');
    for (index, line) in value.chunks(LINE_BYTES).enumerate() {
        if index > 0 {
            text.extend_from_slice(b"\\n");
        }
        json::write_base64(text, line);
    }
    text.push(b'"');
}

#[cfg(test)]
mod tests;
