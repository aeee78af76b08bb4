//! How far each partition of each topic is read: the position of the source, as text that a person can read.
//!
//! An offset here is Kafka's own: that of the next record. No I/O.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use flowd_source::Position;

/// The next offset of each partition, by topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Offsets(BTreeMap<String, BTreeMap<i32, i64>>);

impl Offsets {
    /// Reads what [`Self::position`] wrote.
    pub(crate) fn read(position: &Position) -> Result<Self, String> {
        serde_json::from_slice(&position.0).map(Self).map_err(|error| {
            format!("the stored position is not one of the Kafka source ({error}); was another connector run under this connectorName?")
        })
    }

    /// As it is stored: `{"topic":{"partition":offset}}`.
    pub(crate) fn position(&self) -> Position {
        let mut text = String::with_capacity(64);
        text.push('{');
        for (topic, partitions) in &self.0 {
            // The names of topics hold nothing that JSON escapes.
            let _ = write!(text, "{}\"{topic}\":{{", if text.len() > 1 { "," } else { "" });
            for (index, (partition, offset)) in partitions.iter().enumerate() {
                let _ = write!(text, "{}\"{partition}\":{offset}", if index > 0 { "," } else { "" });
            }
            text.push('}');
        }
        text.push('}');
        Position(text.into())
    }

    /// The same for a reader: `topic: partition at offset, …; …`.
    pub(crate) fn words(&self) -> String {
        let topics = self.0.iter().map(|(topic, partitions)| {
            let places: Vec<String> =
                partitions.iter().map(|(partition, offset)| format!("{partition} at {offset}")).collect();
            format!("{topic}: {}", places.join(", "))
        });
        topics.collect::<Vec<_>>().join("; ")
    }

    /// Everything before `offset` is read.
    pub(crate) fn set(&mut self, topic: &str, partition: i32, offset: i64) {
        if let Some(known) = self.0.get_mut(topic) {
            known.insert(partition, offset);
        } else {
            self.0.insert(topic.to_owned(), BTreeMap::from([(partition, offset)]));
        }
    }

    /// The next offset of a partition.
    pub(crate) fn get(&self, topic: &str, partition: i32) -> Option<i64> {
        self.0.get(topic)?.get(&partition).copied()
    }

    /// Whether any partition of a topic is known.
    pub(crate) fn has(&self, topic: &str) -> bool {
        self.0.contains_key(topic)
    }

    /// Every partition with its next offset.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, i32, i64)> {
        self.0.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(move |(partition, offset)| (topic.as_str(), *partition, *offset))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_was_written() {
        let mut offsets = Offsets::default();
        assert_eq!(Offsets::read(&offsets.position()).unwrap(), offsets);
        for (topic, partition, offset) in [("b", 0, 7), ("a", 10, 1 << 40), ("a", 2, 0), ("b", 0, 8)] {
            offsets.set(topic, partition, offset);
        }
        assert_eq!(offsets.position().0, br#"{"a":{"2":0,"10":1099511627776},"b":{"0":8}}"#.as_slice());
        assert_eq!(Offsets::read(&offsets.position()).unwrap(), offsets);
        assert_eq!(offsets.iter().collect::<Vec<_>>(), [("a", 2, 0), ("a", 10, 1 << 40), ("b", 0, 8)]);
        assert_eq!((offsets.get("b", 0), offsets.get("b", 1)), (Some(8), None));
        assert!(offsets.has("a") && !offsets.has("c"));
        assert_eq!(offsets.words(), "a: 2 at 0, 10 at 1099511627776; b: 0 at 8");
    }

    #[test]
    fn a_position_of_another_connector_is_refused() {
        let error = Offsets::read(&Position(vec![0, 0, 1].into())).unwrap_err();
        assert!(error.contains("connectorName"), "{error}");
    }
}
