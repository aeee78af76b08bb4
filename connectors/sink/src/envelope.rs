//! The envelope of a change event: operation, database, table and images, found in one pass over `data`.
//!
//! `data` has been read as JSON before, so that this only has to find its way. Nothing is copied; what comes out are pieces of
//! the text. Kept: whatever the text, this ends, and does not panic.

use flowd_codec::json;

use crate::store::Op;

/// What a change event says. Texts are the insides of JSON strings, escapes and all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Envelope<'a> {
    pub(crate) op: Op,
    pub(crate) db: &'a [u8],
    pub(crate) table: &'a [u8],
    pub(crate) before: Option<&'a [u8]>,
    pub(crate) after: Option<&'a [u8]>,
}

/// Reads the envelope.
///
/// # Errors
/// What is missing or has another form, in a few words.
pub(crate) fn read(data: &[u8]) -> Result<Envelope<'_>, &'static str> {
    let (mut before, mut after, mut op) = (None, None, None);
    let (mut db, mut table) = (None, None);
    for (name, value) in json::members(data).ok_or("`data` is no object")? {
        match name {
            b"before" => before = Some(value),
            b"after" => after = Some(value),
            b"op" => op = Some(value),
            b"source" => {
                for (name, value) in json::members(value).ok_or("`data.source` is no object")? {
                    match name {
                        b"db" => db = text(value),
                        b"table" => table = text(value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let op = match op.ok_or("`data.op` is missing")? {
        b"\"c\"" => Op::Create,
        b"\"u\"" => Op::Update,
        b"\"d\"" => Op::Delete,
        b"\"r\"" => Op::Read,
        b"\"t\"" => Op::Truncate,
        _ => return Err("`data.op` is none of c, u, d, r and t"),
    };
    let before = image(before).ok_or("`data.before` is neither an object nor null")?;
    let after = image(after).ok_or("`data.after` is neither an object nor null")?;
    match op {
        Op::Create | Op::Read | Op::Update if after.is_none() => return Err("`data.after` is missing"),
        Op::Update | Op::Delete if before.is_none() => return Err("`data.before` is missing"),
        _ => {}
    }
    let db = db.ok_or("`data.source.db` is missing")?;
    let table = table.ok_or("`data.source.table` is missing")?;
    Ok(Envelope { op, db, table, before, after })
}

/// The inside of a string.
fn text(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// An image: an object, or nothing.
fn image(value: Option<&[u8]>) -> Option<Option<&[u8]>> {
    match value {
        None | Some(b"null") => Some(None),
        Some(object) if object.first() == Some(&b'{') => Some(Some(object)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(data: &str, expected: (Op, &str, &str, Option<&str>, Option<&str>)) {
        let envelope = read(data.as_bytes()).unwrap();
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        let found = (
            envelope.op,
            text(envelope.db),
            text(envelope.table),
            envelope.before.map(text),
            envelope.after.map(text),
        );
        assert_eq!(found, expected);
    }

    #[test]
    fn what_an_event_of_ours_says_is_found() {
        check(
            r#"{"before":null,"after":{"id":1,"t":"}\"{"},"source":{"version":"1","db":"shop","sequence":null,"table":"orders","pos":4},"transaction":null,"op":"c","ts_ms":1}"#,
            (Op::Create, "shop", "orders", None, Some(r#"{"id":1,"t":"}\"{"}"#)),
        );
        check(
            r#"{"before":null,"after":null,"source":{"db":"a","table":"b"},"op":"t"}"#,
            (Op::Truncate, "a", "b", None, None),
        );
    }

    #[test]
    fn the_order_of_members_and_white_space_do_not_matter() {
        check(
            " { \"op\" : \"u\" , \"source\" : { \"table\" : \"t\\\"\" , \"x\" : [ [ ] , { } ] , \"db\" : \"d\" } ,\n \"before\" : { \"a\" : 1 } , \"after\" : {} } ",
            (Op::Update, "d", "t\\\"", Some("{ \"a\" : 1 }"), Some("{}")),
        );
    }

    #[test]
    fn what_is_no_change_is_told() {
        for (data, expected) in [
            ("[]", "no object"),
            ("{}", "`data.op` is missing"),
            (r#"{"op":"m"}"#, "none of c, u, d"),
            (r#"{"op":"c","after":1}"#, "neither an object nor null"),
            (r#"{"op":"c","after":null}"#, "`data.after` is missing"),
            (r#"{"op":"u","after":{}}"#, "`data.before` is missing"),
            (r#"{"op":"d","source":{"db":"a"},"before":{}}"#, "`data.source.table` is missing"),
            (r#"{"op":"d","source":1,"before":{}}"#, "`data.source` is no object"),
        ] {
            let reason = read(data.as_bytes()).unwrap_err();
            assert!(reason.contains(expected), "{data}: {reason}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_a_panic(data in "[\\[\\]{}\",:\\\\a ]{0,40}", cut in 0_usize..200) {
            let _ = read(data.as_bytes());
            let whole = r#"{"before":null,"after":{"a":[{"b":"\\\""}]},"source":{"db":"d","table":"t"},"op":"c"}"#;
            let _ = read(&whole.as_bytes()[..cut.min(whole.len())]);
        }
    }
}
