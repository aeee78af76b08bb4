//! Looking for something in a JSON text without a value tree: what is not looked for is skipped by its brackets and
//! quotes alone.

use std::borrow::Cow;

/// Finds a string member of the object that `json` is, whatever the order of the members; members of nested objects
/// do not count. `None` where there is no such member, where it is no string, or where the text is no JSON object as
/// far as it had to be read. Of members with the same name the first counts.
pub fn find_top_level_string<'a>(json: &'a [u8], name: &str) -> Option<Cow<'a, str>> {
    let mut scan = Scan { json, at: 0 };
    scan.expect(b'{')?;
    if scan.peek()? == b'}' {
        return None;
    }
    loop {
        let key = scan.string()?;
        scan.expect(b':')?;
        if is(key, name)? {
            return unquote(scan.string()?);
        }
        scan.skip_value()?;
        match scan.peek()? {
            b',' => scan.at += 1,
            _ => return None,
        }
    }
}

/// Whether the inside of a JSON string is this name. `None` where it is no string's.
fn is(inside: &[u8], name: &str) -> Option<bool> {
    match inside.contains(&b'\\') {
        true => Some(unquote(inside)? == name),
        false => Some(inside == name.as_bytes()),
    }
}

/// The text of a JSON string that is given without its quotes; borrowed where nothing is escaped.
pub(crate) fn unquote(inside: &[u8]) -> Option<Cow<'_, str>> {
    if memchr::memchr(b'\\', inside).is_none() {
        return std::str::from_utf8(inside).ok().map(Cow::Borrowed);
    }
    let mut quoted = Vec::with_capacity(inside.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(inside);
    quoted.push(b'"');
    serde_json::from_slice(&quoted).ok().map(Cow::Owned)
}

/// Where the string ends whose inside begins here.
pub(crate) fn string_end(inside: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', inside.get(at..)?)?;
        if inside[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// The first `"` or `\`. Most strings are short: a vector search pays only behind their usual length.
fn quote_or_slash(bytes: &[u8]) -> Option<usize> {
    const SHORT: usize = 32;
    let (short, long) = bytes.split_at(bytes.len().min(SHORT));
    match super::first_special(short) {
        Some(at) if matches!(short[at], b'"' | b'\\') => Some(at),
        Some(_) => memchr::memchr2(b'"', b'\\', bytes),
        None => memchr::memchr2(b'"', b'\\', long).map(|at| short.len() + at),
    }
}

/// A place in a JSON text. Every method skips white space first.
struct Scan<'a> {
    json: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    /// The next byte that is not white space; the place stays before it.
    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.json.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        if self.peek()? != byte {
            return None;
        }
        self.at += 1;
        Some(())
    }

    /// The inside of a string, still escaped.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            let found = self.at + quote_or_slash(self.json.get(self.at..)?)?;
            if self.json[found] == b'"' {
                self.at = found + 1;
                return Some(&self.json[start..found]);
            }
            self.at = found + 2;
        }
    }

    fn skip_value(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'{' | b'[' => self.skip_nested(),
            _ => {
                let rest = &self.json[self.at..];
                self.at += rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']'))?;
                Some(())
            }
        }
    }

    /// Skips an object or an array by its depth alone, without recursion.
    fn skip_nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.json.get(self.at)? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }
}

/// The elements of the array that `json` is, each as its own text. Made for texts that were checked before: in one that
/// is no array there are none, and in one that is not JSON they end early.
pub fn elements(json: &[u8]) -> Elements<'_> {
    let mut scan = Scan { json, at: 0 };
    let is_open = scan.expect(b'[').is_some() && scan.peek().is_some_and(|byte| byte != b']');
    Elements { scan, is_open }
}

/// See [`elements`].
pub struct Elements<'a> {
    scan: Scan<'a>,
    is_open: bool,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if !std::mem::take(&mut self.is_open) {
            return None;
        }
        self.scan.peek()?;
        let start = self.scan.at;
        self.scan.skip_value()?;
        let element = self.scan.json[start..self.scan.at].trim_ascii_end();
        if self.scan.peek() == Some(b',') {
            self.scan.at += 1;
            self.is_open = true;
        }
        Some(element)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_member_is_found_in_any_order_and_only_at_the_top() {
        let check = |json: &str, expected: Option<&str>| {
            assert_eq!(find_top_level_string(json.as_bytes(), "id").as_deref(), expected, "{json}");
        };
        check(r#"{"id":"1"}"#, Some("1"));
        check(r#"{"data":{"node":{"id":"2","x":["}",{"id":"3"}]}},"type":"t","id":"1"}"#, Some("1"));
        check(
            " { \"a\" : [ 1 , -2.5e3 , null ] , \"b\\\"\" : \"\\\\\" , \"id\" :\t\"x\\u0041\\\"\" } ",
            Some("xA\""),
        );
        check(r#"{"\u0069d":"1"}"#, Some("1"));
        check(r#"{"data":{"id":"2"}}"#, None);
        check(r#"{"id":7}"#, None);
        check(r#"{}"#, None);
        check(r#"["id","1"]"#, None);
        check(r#""{\"id\":\"1\"}""#, None);
        check("", None);
    }

    #[test]
    fn a_cut_text_never_gives_a_member_that_it_does_not_hold() {
        let json = br#"{"data":{"a":"\"}","b":[1,{}]},"x":true,"id":"abc"}"#;
        for end in 0..json.len() - 1 {
            assert_eq!(find_top_level_string(&json[..end], "id"), None, "cut at {end}");
        }
        assert_eq!(find_top_level_string(&json[..json.len() - 1], "id").as_deref(), Some("abc"));
    }

    #[test]
    fn elements_are_told_as_they_stand() {
        let check = |json: &str, expected: &[&str]| {
            let found: Vec<_> =
                elements(json.as_bytes()).map(|text| std::str::from_utf8(text).expect("UTF-8")).collect();
            assert_eq!(found, expected, "{json}");
        };
        check("[]", &[]);
        check(" [ ] ", &[]);
        check(
            r#"[{"a":"]"},[1,2] , "x,\"" ,-1.5 ,null]"#,
            &[r#"{"a":"]"}"#, "[1,2]", r#""x,\"""#, "-1.5", "null"],
        );
        check(r#"{"a":[1]}"#, &[]);
        check("[1,", &["1"]);
        check("", &[]);
    }

    proptest! {
        #[test]
        fn the_search_agrees_with_a_full_parser(
            members in prop::collection::vec(("[a-c\"\\\\]{0,2}|id", "[a-z{}\\[\\],:\"\\\\]{0,6}"), 0..6),
        ) {
            let mut object = serde_json::Map::new();
            for (index, (name, text)) in members.iter().enumerate() {
                let value = match index % 3 {
                    0 => serde_json::json!(text),
                    1 => serde_json::json!({ text.as_str(): [text, 1, null] }),
                    _ => serde_json::json!([-1.5, true, {"id": text}]),
                };
                object.insert(name.clone(), value);
            }
            let text = serde_json::to_vec(&object).expect("serialises");
            let expected = object.get("id").and_then(|value| value.as_str());
            let found = find_top_level_string(&text, "id");
            prop_assert_eq!(found.as_deref(), expected);
        }

        #[test]
        fn the_search_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            find_top_level_string(&bytes, "id");
        }
    }
}
