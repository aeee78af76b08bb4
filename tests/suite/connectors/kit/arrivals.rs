//! What comes out of the mesh: each event counted by its number, and held against what its id was before.

use std::collections::HashMap;

use crate::harness::{Flowd, Mesh};

/// A subscriber of one topic from its first event on.
pub(super) struct Arrivals {
    tail: Flowd,
    /// How far its output is read.
    read: usize,
    ids: HashMap<String, u64>,
    numbers: HashMap<u64, String>,
    events: u64,
}

impl Arrivals {
    pub(super) fn of(mesh: &Mesh, topic: &str) -> Self {
        let (ids, numbers) = (HashMap::new(), HashMap::new());
        Self { tail: mesh.tail(topic), read: 0, ids, numbers, events: 0 }
    }

    /// How many events came, repeats too.
    pub(super) fn events(&mut self) -> u64 {
        self.look();
        self.events
    }

    /// How many messages have arrived.
    pub(super) fn messages(&mut self) -> u64 {
        self.look();
        self.numbers.len() as u64
    }

    /// Whether a message has arrived.
    pub(super) fn has(&mut self, number: u64) -> bool {
        self.look();
        self.numbers.contains_key(&number)
    }

    fn look(&mut self) {
        assert!(self.tail.is_running(), "flowd tail ended: {}", self.tail.log());
        for line in self.tail.lines_from(&mut self.read) {
            self.add(&line);
        }
    }

    /// A message has one id however often it comes, and no two share one.
    fn add(&mut self, line: &str) {
        let event: serde_json::Value = serde_json::from_str(line).expect("an event is JSON");
        if event["type"] == "flowd.rejected" {
            return;
        }
        let (id, number) = (event["id"].as_str().expect("an event has an id"), super::number(line));
        self.events += 1;
        let first = self.ids.entry(id.to_owned()).or_insert(number);
        assert_eq!(*first, number, "two messages have the id {id}");
        let first = self.numbers.entry(number).or_insert_with(|| id.to_owned());
        assert_eq!(first, id, "message {number} has two ids");
    }
}
