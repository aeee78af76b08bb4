//! Dead letters: one JSON object a line, with the reason, where the event comes from, and the event if there is one.
//!
//! Whoever rejects an event writes it with this, so that one file has one form. Not here: what is done with the line.

use crate::json;

/// Where a rejected event comes from; what is not known becomes null.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The topic that it was for, or came from.
    pub topic: Option<&'a str>,
    /// The source's database.
    pub db: Option<&'a str>,
    /// The source's table.
    pub table: Option<&'a str>,
    /// The source's transaction.
    pub transaction: Option<&'a str>,
    /// The file of the source's log …
    pub file: Option<&'a str>,
    /// … and the place in it.
    pub pos: Option<u64>,
    /// The event's id.
    pub id: Option<&'a str>,
}

/// One dead letter, without newline. `event` is JSON and goes in as it is.
pub fn dead_letter(reason: &str, origin: &Origin<'_>, event: Option<&[u8]>) -> Vec<u8> {
    let mut line = b"{\"reason\":".to_vec();
    json::write_string(&mut line, reason);
    let texts = [
        ("topic", origin.topic),
        ("db", origin.db),
        ("table", origin.table),
        ("transaction", origin.transaction),
        ("file", origin.file),
    ];
    for (name, text) in texts {
        member(&mut line, name, text);
    }
    line.extend_from_slice(b",\"pos\":");
    match origin.pos {
        Some(pos) => json::write_u64(&mut line, pos),
        None => line.extend_from_slice(b"null"),
    }
    member(&mut line, "id", origin.id);
    line.extend_from_slice(b",\"event\":");
    line.extend_from_slice(event.unwrap_or(b"null"));
    line.push(b'}');
    line
}

fn member(line: &mut Vec<u8>, name: &str, text: Option<&str>) {
    line.extend_from_slice(b",\"");
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\":");
    match text {
        Some(text) => json::write_string(line, text),
        None => line.extend_from_slice(b"null"),
    }
}

/// What was rejected, as JSON on one line: as it is where it is JSON; any other text as a string, and any other bytes as an
/// object with their base64.
pub fn as_json(event: &[u8]) -> Vec<u8> {
    // A newline between members would tear the line.
    if let Ok(value) = json::checked(event)
        && !value.contains(['\n', '\r'])
    {
        return value.as_bytes().to_vec();
    }
    let mut out = Vec::new();
    match std::str::from_utf8(event) {
        Ok(text) => json::write_string(&mut out, text),
        Err(_) => {
            out.extend_from_slice(b"{\"base64\":\"");
            json::write_base64(&mut out, event);
            out.extend_from_slice(b"\"}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_is_one_json_object_and_what_is_not_known_is_null() {
        let origin = Origin { topic: Some("shop.t"), pos: Some(339), ..Origin::default() };
        let line = dead_letter("too \"big\"", &origin, Some(b"{\"a\":1}"));
        let expected = concat!(
            r#"{"reason":"too \"big\"","topic":"shop.t","db":null,"table":null,"transaction":null,"file":null,"#,
            r#""pos":339,"id":null,"event":{"a":1}}"#
        );
        assert_eq!(String::from_utf8(line).expect("UTF-8"), expected);
        let nothing = dead_letter("no", &Origin::default(), None);
        assert!(nothing.ends_with(br#""pos":null,"id":null,"event":null}"#));
    }
}
