//! What is told of an event that a sink does not take: its dead letter. For rejects only: it reads the event again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flowd_codec::dead_letter::{Origin, dead_letter};
use flowd_codec::json;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    id: Option<String>,
    subject: Option<String>,
    data: Option<Data>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Data {
    source: Option<Place>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Place {
    db: Option<String>,
    table: Option<String>,
    gtid: Option<String>,
    file: Option<String>,
    pos: Option<u64>,
}

/// The reason with the event's id, for the log, and one dead-letter line without newline. The event goes in as it is
/// where it is JSON; any other text as a string, and any other bytes as an object with their base64.
pub(crate) fn letter(reason: &str, event: &[u8]) -> (String, Vec<u8>) {
    // What has another form than ours tells nothing of itself.
    let head: Head = serde_json::from_slice(event).unwrap_or_default();
    let place = head.data.and_then(|data| data.source).unwrap_or_default();
    let origin = Origin {
        topic: head.subject.as_deref(),
        db: place.db.as_deref(),
        table: place.table.as_deref(),
        transaction: place.gtid.as_deref(),
        file: place.file.as_deref(),
        pos: place.pos,
        id: head.id.as_deref(),
    };
    let line = dead_letter(reason, &origin, Some(&as_json(event)));
    let told = match &head.id {
        Some(id) => format!("{reason}; event {id}"),
        None => reason.to_owned(),
    };
    (told, line)
}

fn as_json(event: &[u8]) -> Vec<u8> {
    // A newline between members would tear the line.
    if let Ok(value) = serde_json::from_slice::<&RawValue>(event)
        && !value.get().contains(['\n', '\r'])
    {
        return value.get().as_bytes().to_vec();
    }
    let mut out = Vec::new();
    match std::str::from_utf8(event) {
        Ok(text) => json::write_string(&mut out, text),
        Err(_) => {
            out.extend_from_slice(b"{\"base64\":\"");
            out.extend_from_slice(STANDARD.encode(event).as_bytes());
            out.extend_from_slice(b"\"}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(event: &[u8]) -> serde_json::Value {
        let (_, line) = letter("no \"t\"", event);
        assert!(!line.contains(&b'\n'));
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn a_dead_letter_holds_the_reason_the_place_and_the_event_as_it_came() {
        let event = br#"{"id":"i","subject":"s","data":{"source":{"db":"d","table":"t","gtid":null,"file":"f","pos":4}}}"#;
        let value = parsed(event);
        assert_eq!(
            (&value["reason"], &value["topic"], &value["id"]),
            (&"no \"t\"".into(), &"s".into(), &"i".into())
        );
        assert_eq!((&value["db"], &value["pos"]), (&"d".into(), &4.into()));
        assert_eq!(value["event"]["data"]["source"]["table"], "t");
        assert_eq!(letter("no", event).0, "no; event i");
    }

    #[test]
    fn bytes_that_are_no_json_are_kept_too() {
        assert_eq!(parsed(b"what?\n")["event"], "what?\n");
        assert_eq!(parsed(b"{\"a\":\n1}")["event"], "{\"a\":\n1}");
        assert_eq!(parsed(b"\xff\x00")["event"]["base64"], "/wA=");
    }
}
