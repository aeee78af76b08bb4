//! A captured table, made ready for events: its decoding plan, the topic, and the parts of an event that do not change
//! from row to row.

use std::fmt::Write;

use flowd_binlog::table::Table;
use flowd_codec::event::{Framing, Template, marker};
use flowd_codec::json;
use flowd_engine::sequence::{TopicId, Topics};
use sha2::{Digest, Sha256};

use crate::rows::Operation;

/// The longest table part of an event id; with the longest transaction id and count, an id stays under 200 bytes.
const ID_PART_MAX: usize = 80;

/// What every event of a connector has in common.
#[derive(Debug, Clone)]
pub struct EventSettings {
    /// `/flowd/mysql/<connectorName>`.
    pub source: String,
    /// `mysql` or `mariadb`.
    pub connector: &'static str,
    /// The connector's logical name.
    pub name: String,
    /// The topic, with `{db}` and `{table}` to be filled in.
    pub subject: String,
    /// What stands around the event's JSON.
    pub framing: Framing,
    /// Whether the envelope's top-level `ts_*` (the clock at encoding) are written.
    pub clock_fields: bool,
    /// Whether the source waits until events are applied, which each of them says then.
    pub applied: bool,
    /// The topics' numbers, shared with whoever counts events.
    pub topics: Topics,
}

/// Where rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// From the table itself.
    Snapshot,
    /// From the binlog.
    Stream,
}

/// A captured table.
#[derive(Debug)]
pub struct CapturedTable {
    /// Names, columns and how to decode them.
    pub table: Table,
    /// The table's number among all that this stream has met; the same for every version of its definition.
    pub number: u32,
    /// Over how many lanes the stream's events are spread, 1 or all. Of a snapshot's table it is not known here: that
    /// depends on where in the stream a chunk is handed on.
    pub lanes: u16,
    /// What its events have in common.
    pub events: TableEvents,
}

/// What the events of one table have in common, whatever its columns are.
#[derive(Debug)]
pub struct TableEvents {
    /// The schema …
    pub schema: Box<str>,
    /// … and the table.
    pub name: Box<str>,
    /// The topic.
    pub topic: String,
    /// The topic's number.
    pub topic_id: TopicId,
    /// `db.table` as it stands in event ids: ASCII, at most 80 bytes.
    pub id_part: Box<str>,
    /// Heads of the events that create, update, delete and read, of the one that empties, and of markers.
    templates: [Template; 6],
    /// Of `data.source`: everything before `ts_ms` …
    pub source_head: Box<[u8]>,
    /// … and `"table":…,"server_id":`.
    pub source_table: Box<[u8]>,
    /// `"snapshot":…,"db":…,"sequence":null,"ts_us":`.
    pub source_db: Box<[u8]>,
}

impl CapturedTable {
    /// Prepares the table's constant parts; its events are spread over `lanes` if its key allows that.
    pub fn new(table: Table, number: u32, lanes: u16, phase: Phase, settings: &EventSettings) -> Self {
        let events = TableEvents::new(table.schema(), table.name(), phase, settings);
        let lanes = if table.has_exact_key() { lanes } else { 1 };
        Self { table, number, lanes, events }
    }
}

impl TableEvents {
    /// Prepares the constant parts of a table's events.
    pub fn new(schema: &str, name: &str, phase: Phase, settings: &EventSettings) -> Self {
        let topic = topic(&settings.subject, schema, name);
        let template = |kind: &str| Template::new(settings.framing, &settings.source, kind, &topic);
        let templates = [
            template("flowd.change.c"),
            template("flowd.change.u"),
            template("flowd.change.d"),
            template("flowd.change.r"),
            template("flowd.change.t"),
            template(marker::EVENT_TYPE),
        ];
        let mut source_head =
            format!("{{\"version\":\"{}\",\"connector\":", env!("CARGO_PKG_VERSION")).into_bytes();
        json::write_string(&mut source_head, settings.connector);
        source_head.extend_from_slice(b",\"name\":");
        json::write_string(&mut source_head, &settings.name);
        source_head.extend_from_slice(b",\"ts_ms\":");
        let mut source_db = match phase {
            Phase::Stream => b",\"snapshot\":\"false\",\"db\":".to_vec(),
            Phase::Snapshot => b",\"snapshot\":\"true\",\"db\":".to_vec(),
        };
        json::write_string(&mut source_db, schema);
        source_db.extend_from_slice(b",\"sequence\":null,\"ts_us\":");
        let mut source_table = b",\"table\":".to_vec();
        json::write_string(&mut source_table, name);
        source_table.extend_from_slice(b",\"server_id\":");
        Self {
            schema: schema.into(),
            name: name.into(),
            id_part: id_part(schema, name).into(),
            topic_id: settings.topics.intern(&topic),
            templates,
            source_head: source_head.into(),
            source_table: source_table.into(),
            source_db: source_db.into(),
            topic,
        }
    }

    /// The event head for an operation on rows.
    pub fn template(&self, operation: Operation) -> &Template {
        match operation {
            Operation::Create => &self.templates[0],
            Operation::Update => &self.templates[1],
            Operation::Delete => &self.templates[2],
            Operation::Read => &self.templates[3],
        }
    }

    /// The event head for what empties the table.
    pub fn truncate(&self) -> &Template {
        &self.templates[4]
    }

    /// The event head for what takes a rejected event's place.
    pub fn marker(&self) -> &Template {
        &self.templates[5]
    }
}

/// The topic of a table: the template filled in, with `_` for what a topic cannot hold.
pub fn topic(template: &str, schema: &str, table: &str) -> String {
    let filled = template.replace("{db}", schema).replace("{table}", table);
    filled.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect()
}

/// Remembers which table owns which topic, to refuse a second one that the replacement of characters made the same.
#[derive(Debug, Default)]
pub struct TopicOwners {
    owners: std::collections::HashMap<String, String>,
}

impl TopicOwners {
    /// Notes the table's topic. `Err` holds the other table where two names became one topic; tables that share a
    /// topic by the user's own template are fine.
    pub fn claim(&mut self, template: &str, schema: &str, table: &str) -> Result<(), String> {
        let filled = template.replace("{db}", schema).replace("{table}", table);
        let topic = topic(template, schema, table);
        match self.owners.get(&topic) {
            Some(owner) if *owner != filled => Err(owner.clone()),
            Some(_) => Ok(()),
            None => {
                self.owners.insert(topic, filled);
                Ok(())
            }
        }
    }
}

/// `db.table` in ASCII: other characters (and dots inside names) as `%` and hex, long names cut and hashed.
fn id_part(schema: &str, table: &str) -> String {
    let mut text = String::new();
    for (index, name) in [schema, table].into_iter().enumerate() {
        if index > 0 {
            text.push('.');
        }
        for byte in name.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'$' => text.push(char::from(byte)),
                _ => write!(text, "%{byte:02X}").expect("a String takes all"),
            }
        }
    }
    if text.len() > ID_PART_MAX {
        let digest = Sha256::digest(text.as_bytes());
        text.truncate(ID_PART_MAX - 33);
        text.push('~');
        for byte in &digest[..16] {
            write!(text, "{byte:02x}").expect("a String takes all");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_parts_are_short_ascii_and_distinct() {
        assert_eq!(id_part("shop", "orders"), "shop.orders");
        assert_ne!(id_part("a.b", "c"), id_part("a", "b.c"));
        assert_eq!(id_part("we ird", "ñ"), "we%20ird.%C3%B1");
        let (one, two) = (id_part("x", &"é".repeat(64)), id_part("x", &format!("{}e", "é".repeat(63))));
        assert!(one.is_ascii() && one.len() == ID_PART_MAX && one != two);
    }

    #[test]
    fn two_names_that_become_one_topic_are_refused() {
        let mut topics = TopicOwners::default();
        assert_eq!(topics.claim("{db}.{table}", "shop", "a b"), Ok(()));
        assert_eq!(topics.claim("{db}.{table}", "shop", "a b"), Ok(()));
        assert_eq!(topics.claim("{db}.{table}", "shop", "a_b"), Err("shop.a b".into()));
        let mut shared = TopicOwners::default();
        assert_eq!(shared.claim("orders", "shop", "a"), Ok(()));
        assert_eq!(shared.claim("orders", "shop", "b"), Ok(()));
    }
}
