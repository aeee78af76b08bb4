//! Events as they arrived, one CloudEvent a line, and what must hold for every stream of them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// One event: its text as it came, and the same parsed.
#[derive(Debug, Clone)]
pub struct Event {
    pub text: String,
    pub json: Value,
}

impl Event {
    pub fn id(&self) -> &str {
        self.json["id"].as_str().expect("an event has an id")
    }

    /// Whether it stands in the place of another.
    pub fn is_marker(&self) -> bool {
        self.json["type"] == "flowd.rejected"
    }

    /// `r`, `c`, `u`, `d` or `t`; `-` of a marker.
    pub fn op(&self) -> &str {
        if self.is_marker() {
            return "-";
        }
        self.data()["op"].as_str().expect("an event has an op")
    }

    pub fn data(&self) -> &Value {
        &self.json["data"]
    }

    pub fn before(&self) -> &Value {
        &self.data()["before"]
    }

    pub fn after(&self) -> &Value {
        &self.data()["after"]
    }

    pub fn table(&self) -> &str {
        let topic = || self.json["subject"].as_str()?.rsplit('.').next();
        let named = self.data()["source"]["table"].as_str();
        named.or_else(|| topic().filter(|_| self.is_marker())).expect("an event names its table")
    }

    /// The row key's text, where the table has a key.
    pub fn key(&self) -> Option<&str> {
        self.json.get("partitionkey").map(|key| key.as_str().expect("partitionkey is a string"))
    }

    /// The text without what differs between replays and runs: the envelope's own `ts_*`, which say when the event was
    /// built and are the last of what flowd writes (what stands behind them are the attributes that a mesh adds on the
    /// way), and the place in a sequence, which is another in another epoch or run of a snapshot.
    pub fn lasting(&self) -> String {
        let text = self.text.rfind(r#","ts_ms":"#).map_or(self.text.as_str(), |end| &self.text[..end]);
        let attributes = &text[..text.find(r#","data":"#).unwrap_or(text.len())];
        for (first, last) in [(r#","epoch":""#, r#","sequence":""#), (r#","snapshot":""#, r#","after":""#)] {
            let Some(begin) = attributes.find(first) else { continue };
            let value = begin + attributes[begin..].find(last).expect("they stand together") + last.len();
            let end = value + attributes[value..].find('"').expect("a text ends") + 1;
            return [&text[..begin], &text[end..]].concat();
        }
        text.to_owned()
    }
}

/// Events in the order of arrival.
#[derive(Debug, Clone, Default)]
pub struct Events(pub Vec<Event>);

impl Events {
    /// All whole lines of a file; none if there is no file yet.
    pub fn read(path: &Path) -> Self {
        Self::parse(&fs::read_to_string(path).unwrap_or_default())
    }

    /// All whole lines of a text.
    pub fn parse(text: &str) -> Self {
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |line: &str| {
            let json = serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON: {error}: {line}"));
            Event { text: line.to_owned(), json }
        };
        Self(whole.lines().map(parse).collect())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Event> {
        self.0.iter()
    }

    /// The events of one table.
    pub fn of(&self, table: &str) -> Self {
        Self(self.iter().filter(|event| event.table() == table).cloned().collect())
    }

    /// Without the markers that stand for events that were rejected.
    pub fn changes(&self) -> Self {
        Self(self.iter().filter(|event| !event.is_marker()).cloned().collect())
    }

    /// Every id once, where it occurred first; panics where a repeated id has other bytes.
    pub fn first_occurrences(&self) -> Self {
        Self(self.first().into_iter().cloned().collect())
    }

    /// The same without copies.
    pub fn first(&self) -> Vec<&Event> {
        let mut seen: HashMap<&str, String> = HashMap::new();
        let mut first = Vec::new();
        for event in self.iter() {
            let lasting = event.lasting();
            match seen.get(event.id()) {
                Some(earlier) => {
                    assert_eq!(*earlier, lasting, "the id {} occurs again with other bytes", event.id());
                }
                None => {
                    seen.insert(event.id(), lasting);
                    first.push(event);
                }
            }
        }
        first
    }

    /// The ops in order, as one word.
    pub fn ops(&self) -> String {
        self.iter().map(Event::op).collect()
    }
}
