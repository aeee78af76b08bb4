//! Which event an answer is about: the `id` in its body (protocol manual, sections 4.7 and 5.4).

use std::borrow::Cow;

use serde::Deserialize;

#[derive(Deserialize)]
struct Bean<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

/// The event id in an answer's body: a JSON object with `id`, or the same as a JSON string literal.
pub(crate) fn body_id(body: &[u8]) -> Option<Cow<'_, str>> {
    if body.first() == Some(&b'"') {
        let text: String = serde_json::from_slice(body).ok()?;
        let bean: Bean<'_> = serde_json::from_str(&text).ok()?;
        return Some(Cow::Owned(bean.id.into_owned()));
    }
    // The usual case costs one pass and no memory: ids need no unescaping.
    serde_json::from_slice::<Bean<'_>>(body).ok().map(|bean| bean.id)
}

#[derive(Deserialize)]
struct Subject<'a> {
    #[serde(borrow)]
    subject: Cow<'a, str>,
}

/// The topic of an event, read from its JSON; for messages only.
pub(crate) fn topic(event: &[u8]) -> String {
    serde_json::from_slice::<Subject<'_>>(event)
        .map_or_else(|_| "?".to_owned(), |event| event.subject.into_owned())
}

/// One dead-letter line, without newline. `event` is JSON and goes in as it is.
pub(crate) fn dead_letter(reason: &str, topic: &str, id: &str, event: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(event.len() + reason.len() + topic.len() + id.len() + 64);
    for (name, text) in [("{\"reason\":", reason), (",\"topic\":", topic), (",\"id\":", id)] {
        line.extend_from_slice(name.as_bytes());
        flowd_codec::json::write_string(&mut line, text);
    }
    line.extend_from_slice(b",\"event\":");
    line.extend_from_slice(event);
    line.push(b'}');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_found_in_every_shape_of_body() {
        let java = br#"{"data":{"node":{"id":"inner"}},"id":"outer","source":"/","attributeNames":["id"]}"#;
        assert_eq!(body_id(java).as_deref(), Some("outer"));
        assert_eq!(body_id(br#"{"id":"a"}"#).as_deref(), Some("a"));
        assert_eq!(body_id(br#""{\"id\":\"a\"}""#).as_deref(), Some("a"));
        for nothing in [&b"{}"[..], b"", b"\"", b"\"x\"", b"{\"id\":7}", b"[1]", b"{\"id\":\"a\"", b"\xff"] {
            assert_eq!(body_id(nothing), None);
        }
    }

    #[test]
    fn a_dead_letter_is_one_json_object() {
        let line = dead_letter("too \"big\"", "shop.t", "id-1", br#"{"data":{"a":1}}"#);
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["reason"], "too \"big\"");
        assert_eq!((&value["topic"], &value["id"]), (&"shop.t".into(), &"id-1".into()));
        assert_eq!(value["event"]["data"]["a"], 1);
    }
}
