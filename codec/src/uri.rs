//! URI references, as the attributes `source` and `dataschema` are: what Java's `java.net.URI` takes, since that is what reads
//! them at EventMesh. A publish whose `source` it does not take is refused, however often it comes.

/// Whether `text` is a URI reference: allowed characters, whole percent-encoded bytes, one fragment, a scheme with
/// something behind it. Characters beyond ASCII are allowed, as Java has it, except for spaces and controls.
pub fn is_reference(text: &str) -> bool {
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    has_plain_characters(text)
        && has_whole_escapes(text)
        && !fragment.contains('#')
        && has_scheme_or_none(rest)
}

fn has_plain_characters(text: &str) -> bool {
    let is_plain = |byte: u8| {
        byte > b' ' && !matches!(byte, b'<' | b'>' | b'"' | b'{' | b'}' | b'|' | b'\\' | b'^' | b'`' | 0x7f)
    };
    let is_foreign = |c: char| !c.is_control() && !c.is_whitespace();
    text.bytes().all(is_plain) && (text.is_ascii() || text.chars().all(is_foreign))
}

/// Each `%` has its two digits.
fn has_whole_escapes(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// What stands before the first `:` is a scheme, unless the `:` is inside the path or the query; brackets stand in no path.
fn has_scheme_or_none(text: &str) -> bool {
    let before = &text[..text.find([':', '/', '?']).unwrap_or(text.len())];
    let rest = match text[before.len()..].strip_prefix(':') {
        Some("") => return false,
        Some(rest) if is_scheme(before) => rest,
        Some(_) => return false,
        None => text,
    };
    let path = rest.split('?').next().unwrap_or_default();
    let path = path.strip_prefix("//").map_or(path, |rest| rest.split_once('/').map_or("", |(_, path)| path));
    !path.contains(['[', ']'])
}

fn is_scheme(text: &str) -> bool {
    let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    text.bytes().next().is_some_and(|first| first.is_ascii_alphabetic())
        && text.as_bytes().iter().all(is_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_javas_uri_takes_is_a_reference_and_nothing_else() {
        for text in [
            "",
            "/flowd/mariadb/demo",
            "https://github.com/cloudevents?x=[1]#f",
            "mailto:cncf-wg@lists.example.com",
            "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
            "1-555-123-4567",
            "a/b:c",
            "//[::1]:80/é%20",
        ] {
            assert!(is_reference(text), "{text}");
        }
        for text in [
            "a b", "/a\n", "{a}", "a|b", "/100%", "/%zz", "a#b#c", ":a", "1a:b", "http:", "/a[1]", "/\u{a0}",
            "\u{7f}",
        ] {
            assert!(!is_reference(text), "{text}");
        }
    }
}
