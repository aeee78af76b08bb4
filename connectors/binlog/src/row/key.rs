//! The key of a row as JSON, put together from the values that the image's encoding has already written. Two images of
//! one row have the same key when these bytes are equal.

use std::ops::Range;

use super::RowError;
use super::image::Place;
use crate::table::Table;

/// Where the key's values stand in the output, in key order. Absent ones are empty: no JSON value is.
#[derive(Debug, Default)]
pub(crate) struct Spans(Vec<Range<usize>>);

impl Spans {
    /// Forgets everything; room for the table's key.
    pub(crate) fn reset(&mut self, table: &Table) {
        self.0.clear();
        self.0.resize(table.key.len(), 0..0);
    }

    #[inline]
    pub(crate) fn set(&mut self, slot: u16, span: Range<usize>) {
        self.0[usize::from(slot)] = span;
    }

    /// Takes what is absent here from `other`: an image after an update that lacks a column has not changed it.
    pub(crate) fn fill_from(&mut self, other: &Self) {
        for (span, other) in self.0.iter_mut().zip(&other.0) {
            if span.start == span.end {
                *span = other.clone();
            }
        }
    }

    /// Whether both name equal values.
    pub(crate) fn same_values(&self, other: &Self, out: &[u8]) -> bool {
        self.0.iter().zip(&other.0).all(|(one, two)| one == two || out[one.clone()] == out[two.clone()])
    }

    /// Appends the key as a JSON object in key order; nothing where the table has no key.
    pub(crate) fn write(&self, place: Place<'_>, out: &[u8], key: &mut Vec<u8>) -> Result<(), RowError> {
        for (column, span) in place.table.key.iter().zip(&self.0) {
            if span.start == span.end {
                return Err(place.key_absent(&place.table.columns[column.index].name));
            }
            column.member.append(key);
            write_value(&out[span.clone()], key);
        }
        if !self.0.is_empty() {
            key.push(b'}');
        }
        Ok(())
    }
}

/// Appends a JSON value; characters that a CloudEvents attribute must not hold become `\u` escapes.
#[inline]
fn write_value(value: &[u8], key: &mut Vec<u8>) {
    if value.iter().fold(true, |plain, &byte| plain & (byte < 0x7F)) {
        key.extend_from_slice(value);
    } else {
        write_escaping(value, key);
    }
}

fn write_escaping(value: &[u8], key: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            let code = u32::from(character);
            let forbidden = matches!(code, 0x7F..=0x9F | 0xFDD0..=0xFDEF) || code & 0xFFFE == 0xFFFE;
            if !forbidden {
                key.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            for unit in character.encode_utf16(&mut [0; 2]) {
                key.extend_from_slice(b"\\u");
                key.extend([12, 8, 4, 0].map(|shift| HEX[usize::from(*unit >> shift & 15)]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_an_attribute_must_not_hold_are_escaped() {
        let check = |value: &str, expected: &str| {
            let mut key = Vec::new();
            write_value(value.as_bytes(), &mut key);
            assert_eq!(String::from_utf8(key).expect("UTF-8"), expected);
        };
        check("\"a\u{7F}b\u{9F}\u{A0}\"", "\"a\\u007Fb\\u009F\u{A0}\"");
        check("\"\u{FFFF}\u{FDD0}\u{1FFFE}😀\"", "\"\\uFFFF\\uFDD0\\uD83F\\uDFFE😀\"");
        check("\"plain\"", "\"plain\"");
    }
}
