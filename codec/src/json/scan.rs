//! Looking for something in a JSON text without a value tree: what is not looked for is skipped by its brackets and
//! quotes alone.

use std::borrow::Cow;

/// Finds a string member of the object that `json` is, whatever the order of the members; members of nested objects
/// do not count. `None` where there is no such member, where it is no string, or where the text is no JSON object as
/// far as it had to be read. Of members with the same name the first counts.
pub fn find_top_level_string<'a>(json: &'a [u8], name: &str) -> Option<Cow<'a, str>> {
    let mut members = members(json)?;
    while let Some(key) = members.name() {
        if is(key, name)? {
            return unquote(members.0.scan.string()?);
        }
        members.0.value()?;
    }
    None
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
        at += quote_or_slash(inside.get(at..)?)?;
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
        let rest = &self.json[self.at..];
        let size = string_end(rest)?;
        self.at += size + 1;
        Some(&rest[..size])
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
            let rest = self.json.get(self.at..)?;
            self.at += rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']'))?;
            match self.json[self.at] {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                _ => depth -= 1,
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }
}

/// The members of the object that `json` is: the inside of the name, and the text of the value. Made for texts that were
/// checked before: in one that is not JSON they end early. `None` where the text begins no object.
pub fn members(json: &[u8]) -> Option<Members<'_>> {
    Row::of(json, b'{').map(Members)
}

/// See [`members`].
pub struct Members<'a>(Row<'a>);

impl<'a> Members<'a> {
    /// The inside of the next one's name; its value is to be asked for then.
    fn name(&mut self) -> Option<&'a [u8]> {
        let name = self.0.begin()?.string()?;
        self.0.scan.expect(b':')?;
        Some(name)
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.name()?, self.0.value()?))
    }
}

/// The elements of the array that `json` is, each as its own text. Made for texts that were checked before: in one that
/// is no array there are none, and in one that is not JSON they end early.
pub fn elements(json: &[u8]) -> Elements<'_> {
    Elements(Row::of(json, b'['))
}

/// See [`elements`].
pub struct Elements<'a>(Option<Row<'a>>);

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let row = self.0.as_mut()?;
        row.begin()?;
        row.value()
    }
}

/// What stands between two brackets, separated by commas.
struct Row<'a> {
    scan: Scan<'a>,
    /// There is another one.
    is_open: bool,
}

impl<'a> Row<'a> {
    fn of(json: &'a [u8], bracket: u8) -> Option<Self> {
        let mut scan = Scan { json, at: 0 };
        scan.expect(bracket)?;
        let is_open = scan.peek().is_some_and(|byte| !matches!(byte, b'}' | b']'));
        Some(Self { scan, is_open })
    }

    /// Where the next one begins.
    fn begin(&mut self) -> Option<&mut Scan<'a>> {
        std::mem::take(&mut self.is_open).then_some(&mut self.scan)
    }

    /// The text of the value that comes next, and the way behind it.
    fn value(&mut self) -> Option<&'a [u8]> {
        self.scan.peek()?;
        let start = self.scan.at;
        self.scan.skip_value()?;
        let value = self.scan.json[start..self.scan.at].trim_ascii_end();
        if self.scan.peek() == Some(b',') {
            self.scan.at += 1;
            self.is_open = true;
        }
        Some(value)
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

    #[test]
    fn members_are_told_as_they_stand() {
        let check = |json: &str, expected: &[(&str, &str)]| {
            let text = |bytes| std::str::from_utf8(bytes).expect("UTF-8");
            let found: Vec<_> = members(json.as_bytes())
                .map(|members| members.map(|(name, value)| (text(name), text(value))).collect())
                .unwrap_or_default();
            assert_eq!(found, expected, "{json}");
        };
        check("{}", &[]);
        check(" { } ", &[]);
        check(
            r#"{"a\"":{"b":"}"} , "c" : [1,{}] ,"a":-1.5 }"#,
            &[(r#"a\""#, r#"{"b":"}"}"#), ("c", "[1,{}]"), ("a", "-1.5")],
        );
        check(r#"["a"]"#, &[]);
        check(r#"{"a":1,"b""#, &[("a", "1")]);
        check(r#"{"a":1,]}"#, &[("a", "1")]);
        assert!(members(b"[1]").is_none() && members(b"").is_none());
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
        fn the_search_never_panics(bytes in "[\\[\\]{}\",:\\\\a ]{0,40}") {
            find_top_level_string(bytes.as_bytes(), "id");
            members(bytes.as_bytes()).map(Iterator::count);
            elements(bytes.as_bytes()).count();
        }

        #[test]
        fn the_search_never_panics_on_bytes(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            find_top_level_string(&bytes, "id");
        }
    }
}
