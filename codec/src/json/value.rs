//! Where a JSON value ends, checked on the way there (RFC 8259): as strict as a parser, and nearly as fast as a search, since it
//! makes nothing of what it sees and looks at the inside of a long string in blocks.
//!
//! Invariant: what it takes `serde_json` takes, with the same end. What is nested deeper than [`DEPTH_MAX`] it leaves to a
//! parser, and so needs no memory.

use serde_json::value::RawValue;

use super::first_special;

/// A word has a bit for each open bracket.
const DEPTH_MAX: u32 = u64::BITS;

/// The one JSON value that the text is, without the white space around it; `None` where it is none, or one that is nested
/// deeper than 64 brackets.
pub fn value(text: &str) -> Option<&str> {
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    (value_end(text)? == text.len()).then_some(text)
}

/// As [`value`], of any bytes, however deep.
///
/// # Errors
/// What a parser says is wrong.
pub fn checked(json: &[u8]) -> Result<&str, serde_json::Error> {
    let known = simdutf8::basic::from_utf8(json).ok().and_then(value);
    known.map_or_else(|| serde_json::from_slice::<&RawValue>(json).map(RawValue::get), Ok)
}

/// Where the value ends that begins with the text; `None` as for [`value`].
pub(crate) fn value_end(text: &str) -> Option<usize> {
    let mut walk = Walk { bytes: text.as_bytes(), at: 0, objects: 0, depth: 0 };
    loop {
        let is_whole = walk.value()?;
        if is_whole && !walk.goes_on()? {
            return Some(walk.at);
        }
    }
}

/// Whether a backslash and this letter are a whole escape.
pub(crate) fn is_short_escape(letter: u8) -> bool {
    matches!(letter, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')
}

/// A place in the text. Every answer `None` means that this is no JSON.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The open brackets, the innermost in the lowest bit: 1 for an object's.
    objects: u64,
    depth: u32,
}

impl Walk<'_> {
    /// Passes a value, or opens one that has others in it: then false, and the first of them begins here.
    #[inline]
    fn value(&mut self) -> Option<bool> {
        match self.bytes.get(self.at)? {
            b'"' => self.string()?,
            b'{' => return self.opened(true, b'}'),
            b'[' => return self.opened(false, b']'),
            b't' => self.literal(b"true")?,
            b'f' => self.literal(b"false")?,
            b'n' => self.literal(b"null")?,
            _ => self.number()?,
        }
        Some(true)
    }

    /// Behind a value: goes to the next one, or closes what ends here; false where nothing is open any more.
    #[inline]
    fn goes_on(&mut self) -> Option<bool> {
        while self.depth > 0 {
            let byte = self.peek()?;
            self.at += 1;
            match (byte, self.objects & 1 == 1) {
                (b',', true) => return self.name().map(|()| true),
                (b',', false) => return self.peek().map(|_| true),
                (b'}', true) | (b']', false) => {
                    self.objects >>= 1;
                    self.depth -= 1;
                }
                _ => return None,
            }
        }
        Some(false)
    }

    /// At an opening bracket: true where it is closed at once, else the place is at the first value.
    fn opened(&mut self, is_object: bool, closing: u8) -> Option<bool> {
        self.at += 1;
        if self.peek()? == closing {
            self.at += 1;
            return Some(true);
        }
        self.objects = self.objects << 1 | u64::from(is_object);
        self.depth += 1;
        if is_object {
            self.name()?;
        }
        (self.depth <= DEPTH_MAX).then_some(false)
    }

    /// A member's name, and the way to its value.
    fn name(&mut self) -> Option<()> {
        (self.peek()? == b'"').then_some(())?;
        self.string()?;
        (self.peek()? == b':').then_some(())?;
        self.at += 1;
        self.peek().map(drop)
    }

    /// The next byte that is not white space; the place is before it.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at)? {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                byte => return Some(*byte),
            }
        }
    }

    /// At an opening quote.
    #[inline]
    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            self.at += first_special(&self.bytes[self.at..])?;
            match self.bytes[self.at] {
                b'"' => break,
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
        self.at += 1;
        Some(())
    }

    fn escape(&mut self) -> Option<()> {
        let (letter, behind) = self.bytes[self.at + 1..].split_first()?;
        self.at += match letter {
            letter if is_short_escape(*letter) => 2,
            b'u' if behind.first_chunk::<4>()?.iter().all(u8::is_ascii_hexdigit) => 6,
            _ => return None,
        };
        Some(())
    }

    fn literal(&mut self, word: &[u8]) -> Option<()> {
        let is_it = self.bytes[self.at..].starts_with(word);
        self.at += word.len();
        is_it.then_some(())
    }

    fn number(&mut self) -> Option<()> {
        self.at += usize::from(self.bytes[self.at] == b'-');
        match self.bytes.get(self.at)? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            self.at += usize::from(matches!(self.bytes.get(self.at), Some(b'+' | b'-')));
            self.digits()?;
        }
        Some(())
    }

    /// At least one digit.
    fn digits(&mut self) -> Option<()> {
        let begin = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        (self.at > begin).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    /// What serde_json says of the text: the end of the value that begins with it.
    fn end_for_a_parser(text: &str) -> Option<usize> {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
        let is_value = values.next()?.is_ok();
        is_value.then(|| values.byte_offset())
    }

    fn check(text: &str) {
        assert_eq!(value(text).is_some(), serde_json::from_str::<IgnoredAny>(text).is_ok(), "{text:?}");
        if let (Some(end), false) = (value_end(text), text.starts_with(|c: char| c.is_ascii_whitespace())) {
            // A stream of values needs something between two numbers; one value does not.
            assert!(end_for_a_parser(&text[..end]) == Some(end), "{text:?} up to {end}");
        }
    }

    #[test]
    fn what_is_json_is_told_as_a_parser_tells_it() {
        // Between tildes.
        let texts = concat!(
            "~ ~{}~[]~[ ]~{ }~{,}~[,]~[1,]~{\"a\":1,}~{\"a\"}~{\"a\":}~{1:2}~[1 2]~[1]]~{\"a\":1}}~{]~[}~[{]}~",
            "{\"a\":[}]~\"~\"a~\"a\"~\"\\\"\"~\"\\\\\"~\"\\u00e4\"~\"\\u00g4\"~\"\\u00\"~\"\\ud800\"~\"\\x\"~",
            "\"\\~\"a\nb\"~\"\u{7f}ü\u{2028}\"~0~-0~00~01~-~-a~1.~.5~1.5~1e5~1E+5~1e-~1e~1.e1~+1~1e999~",
            "123456789012345678901234567890~true~false~null~tru~nulls~True~NaN~1 ~ 1~\u{a0}1~1\u{b}~[1,2 , 3\n]~",
            " {\"a\" : [ true , { } , null ] ,\r\n\t\"\" : \"x\" } ~{\"a\":1 \"b\":2}~{\"a\" 1}~{\"a\":1,\"b\"}~",
            "{\"a\":1,2}~{\"a\",\"b\":1}~\"a long string of more than thirty-two bytes\\t, then\"",
        );
        texts.split('~').for_each(check);
    }

    #[test]
    fn a_value_may_have_something_behind_it() {
        for (text, end) in
            [("1,2", 1), ("\"a\"}", 3), ("{\"a\":[1]},", 9), ("01", 1), ("-0.5e1]", 6), ("nullx", 4)]
        {
            assert_eq!(value_end(text), Some(end), "{text}");
        }
        assert_eq!(value_end(" 1"), None);
    }

    #[test]
    fn what_is_nested_deeper_than_a_word_has_bits_is_left_to_a_parser() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        for (depth, expected) in [(1, true), (63, true), (64, true), (65, false), (100_000, false)] {
            // An innermost empty array opens nothing.
            assert_eq!(value(&nested(depth + 1)).is_some(), expected, "{depth}");
        }
    }

    proptest! {
        #[test]
        fn texts_of_json_characters_are_told_as_a_parser_tells_them(text in "[\\[\\]{}\",:\\\\u0-2a.eE+\\- tn]{0,24}") {
            check(&text);
        }

        #[test]
        fn json_is_taken_and_cut_json_is_not(
            texts in prop::collection::vec("[ -~ü\n\"\\\\]{0,40}", 0..4), number in any::<f64>(), cut in any::<prop::sample::Index>(),
        ) {
            let json = serde_json::json!({"a": texts, "b": {"c": [number, null, {}]}}).to_string();
            check(&json);
            let cut = cut.index(json.len());
            if json.is_char_boundary(cut) {
                prop_assert_eq!(value(&json[..cut]), None);
            }
        }
    }
}
