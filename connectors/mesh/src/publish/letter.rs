//! What is told of an event that the mesh will not take: its topic, its place, and its dead letter. For rejects and
//! messages only: it reads the event's JSON again.

use flowd_codec::dead_letter::{Origin, dead_letter};
use serde::Deserialize;

/// Where an event comes from.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Head {
    subject: Option<String>,
    data: Data,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Data {
    source: Place,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Place {
    db: Option<String>,
    table: Option<String>,
    gtid: Option<String>,
    file: Option<String>,
    pos: Option<u64>,
}

impl Head {
    /// Reads an event; what it does not have stays unknown.
    pub(crate) fn of(event: &[u8]) -> Self {
        serde_json::from_slice(event).unwrap_or_default()
    }

    /// The topic.
    pub(crate) fn topic(&self) -> &str {
        self.subject.as_deref().unwrap_or("?")
    }

    /// The reason with table and position behind it, for the log.
    pub(crate) fn with_place(&self, reason: &str) -> String {
        let Place { db: Some(db), table: Some(table), gtid, file: Some(file), pos: Some(pos) } =
            &self.data.source
        else {
            return reason.to_owned();
        };
        let gtid = gtid.as_ref().map_or_else(String::new, |gtid| format!(" ({gtid})"));
        format!("{reason}; {db}.{table} at {file}:{pos}{gtid}")
    }

    /// One dead-letter line, without newline. `event` is JSON and goes in as it is.
    pub(crate) fn dead_letter(&self, reason: &str, id: &str, event: &[u8]) -> Vec<u8> {
        let Place { db, table, gtid, file, pos } = &self.data.source;
        let origin = Origin {
            topic: self.subject.as_deref(),
            db: db.as_deref(),
            table: table.as_deref(),
            transaction: gtid.as_deref(),
            file: file.as_deref(),
            pos: *pos,
            id: Some(id),
        };
        dead_letter(reason, &origin, Some(event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_is_one_json_object_with_reason_place_and_event() {
        let event = br#"{"id":"id-1","subject":"shop.t","data":{"after":{"a":1},"source":{"db":"shop","table":"t","gtid":"0-1-7","file":"binlog.000002","pos":339,"row":0}}}"#;
        let head = Head::of(event);
        let line = head.dead_letter("too \"big\"", "id-1", event);
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        for (name, expected) in [
            ("reason", "too \"big\""),
            ("topic", "shop.t"),
            ("db", "shop"),
            ("table", "t"),
            ("transaction", "0-1-7"),
            ("file", "binlog.000002"),
            ("id", "id-1"),
        ] {
            assert_eq!(value[name], expected, "{name}");
        }
        assert_eq!((&value["pos"], &value["event"]["data"]["after"]["a"]), (&339.into(), &1.into()));
        assert_eq!(head.with_place("no"), "no; shop.t at binlog.000002:339 (0-1-7)");
    }

    #[test]
    fn what_an_event_does_not_have_is_null() {
        let head = Head::of(br#"{"data":{}}"#);
        let line = head.dead_letter("no", "id-1", b"{}");
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert!(value["file"].is_null() && value["pos"].is_null(), "{value}");
        assert_eq!((head.topic(), head.with_place("no").as_str()), ("?", "no"));
    }
}
