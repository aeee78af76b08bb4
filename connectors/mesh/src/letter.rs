//! What is told of an event that the mesh will not take: its topic, and its dead-letter line.

use std::borrow::Cow;

use serde::Deserialize;

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
    fn a_dead_letter_is_one_json_object() {
        let line = dead_letter("too \"big\"", "shop.t", "id-1", br#"{"data":{"a":1}}"#);
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["reason"], "too \"big\"");
        assert_eq!((&value["topic"], &value["id"]), (&"shop.t".into(), &"id-1".into()));
        assert_eq!(value["event"]["data"]["a"], 1);
    }
}
