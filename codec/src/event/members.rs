//! The members of an event in the form in which nearly all arrive: an object without white space between its members.
//!
//! A JSON parser has to expect anything behind each byte; this one steps from quote to quote, and leaves whatever is unusual
//! to the parser.

use serde::Deserialize as _;
use serde_json::value::RawValue;

use crate::json;

/// A place between two members. Every answer `None` means: read this text in another way.
pub(super) struct Members<'a> {
    rest: &'a str,
    is_first: bool,
}

impl<'a> Members<'a> {
    pub(super) fn of(json: &'a [u8]) -> Option<Self> {
        // Once for all: the pieces below are cut at ASCII characters.
        let rest = simdutf8::basic::from_utf8(json).ok()?.strip_prefix('{')?;
        Some(Self { rest, is_first: true })
    }

    /// The name of the next member, whose value is to be asked for then; `Some(None)` at the end of the text.
    pub(super) fn name(&mut self) -> Option<Option<&'a str>> {
        if self.rest == "}" {
            return Some(None);
        }
        let rest = match std::mem::take(&mut self.is_first) {
            true => self.rest,
            false => self.rest.strip_prefix(',')?,
        };
        let rest = rest.strip_prefix('"')?;
        let (name, rest) = rest.split_at(json::first_special(rest.as_bytes())?);
        self.rest = rest.strip_prefix("\":")?;
        Some(Some(name))
    }

    /// A string without escapes. `None` leaves the place where it is.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        let rest = self.rest.strip_prefix('"')?;
        let (text, rest) = rest.split_at(json::first_special(rest.as_bytes())?);
        self.rest = rest.strip_prefix('"')?;
        Some(text)
    }

    /// The inside of a string; its escapes are whole and of one letter. `None` leaves the place where it is.
    pub(super) fn escaped_text(&mut self) -> Option<&'a str> {
        let rest = self.rest.strip_prefix('"')?;
        let (text, rest) = rest.split_at(string_end(rest.as_bytes())?);
        self.rest = &rest[1..];
        Some(text)
    }

    /// Any value, checked.
    pub(super) fn value(&mut self) -> Option<&'a RawValue> {
        let value = <&RawValue>::deserialize(&mut serde_json::Deserializer::from_str(self.rest)).ok()?;
        self.rest = self.rest.strip_prefix(value.get())?;
        Some(value)
    }
}

/// Names that were met, so that most of those that are new are known to be so without a look at the others.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Met(u64);

impl Met {
    /// Takes note of a name; false where none of those before can be the same.
    pub(super) fn may_have(&mut self, name: &str) -> bool {
        let [first, .., last] = name.as_bytes() else { return true };
        let mixed = usize::from(*first) * 7 + usize::from(*last) * 13 + name.len() * 29;
        let bit = 1 << (mixed % 64);
        let is_met = self.0 & bit != 0;
        self.0 |= bit;
        is_met
    }
}

/// Where a string ends whose inside begins here: the place of its quote. `None` for control characters, and for escapes that
/// are not of one letter.
fn string_end(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += json::first_special(&text[at..])?;
        match (text[at], text.get(at + 1)) {
            (b'"', _) => return Some(at),
            (b'\\', Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')) => at += 2,
            _ => return None,
        }
    }
}
