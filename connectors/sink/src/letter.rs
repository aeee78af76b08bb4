//! What is told of an event that a sink does not take: its dead letter. For rejects only: it reads the event again.

use flowd_codec::dead_letter::{Origin, as_json, dead_letter};
use serde_json::Value;

/// The reason with the event's id, for the log, and one dead-letter line without newline. The event goes in as it is
/// where it is JSON; any other text as a string, and any other bytes as an object with their base64.
pub(crate) fn letter(reason: &str, event: &[u8]) -> (String, Vec<u8>) {
    // What has another form than ours tells as much of itself as it can.
    let head: Value = serde_json::from_slice(event).unwrap_or_default();
    let place = &head["data"]["source"];
    let origin = Origin {
        topic: head["subject"].as_str(),
        db: place["db"].as_str(),
        table: place["table"].as_str(),
        transaction: place["gtid"].as_str(),
        file: place["file"].as_str(),
        pos: place["pos"].as_u64(),
        id: head["id"].as_str(),
    };
    let line = dead_letter(reason, &origin, Some(&as_json(event)));
    let told = match origin.id {
        Some(id) => format!("{reason}; event {id}"),
        None => reason.to_owned(),
    };
    (told, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(event: &[u8]) -> Value {
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
    fn an_event_whose_data_is_no_object_tells_who_it_is_all_the_same() {
        for data in ["[1]", "\"text\"", "7", "null", "{\"source\":[]}"] {
            let value = parsed(format!(r#"{{"id":"i","subject":"s","data":{data}}}"#).as_bytes());
            assert_eq!((&value["id"], &value["topic"]), (&"i".into(), &"s".into()), "{data}");
            assert_eq!(value["db"], Value::Null);
        }
    }

    #[test]
    fn bytes_that_are_no_json_are_kept_too() {
        assert_eq!(parsed(b"what?\n")["event"], "what?\n");
        assert_eq!(parsed(b"{\"a\":\n1}")["event"], "{\"a\":\n1}");
        assert_eq!(parsed(b"\xff\x00")["event"]["base64"], "/wA=");
    }
}
