//! From the journal's records back to topics.
//!
//! Records may repeat what is known (each segment starts with a full account, and sparse segments are moved), so the
//! last word on an offset or a cursor wins. Invariant: the topics it gives satisfy `topic.rs`.

use std::collections::BTreeMap;

use super::group::Progress;
use super::record::{Arrival, Record};
use super::topic::{Body, Entry, Kind, Topic};

/// What was read so far.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    topics: Vec<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    name: String,
    base: u64,
    next: u64,
    events: BTreeMap<u64, (u64, u32, Arrival)>,
    cursors: BTreeMap<String, (u64, Vec<(u64, u64)>)>,
}

impl Restored {
    /// Takes the next record, which lies at `lsn`.
    pub(crate) fn take(&mut self, lsn: u64, record: Record<'_>) {
        match record {
            Record::Topic { topic, base, next, name } => {
                let memory = self.memory(topic);
                memory.name = name.into();
                memory.base = memory.base.max(base);
                memory.next = memory.next.max(next);
            }
            Record::Event { topic, offset, arrival, body } => {
                let memory = self.memory(topic);
                memory.next = memory.next.max(offset + 1);
                memory.events.insert(offset, (lsn, body.len() as u32, arrival));
            }
            Record::Cursor { topic, cursor, runs, group } => {
                self.memory(topic).cursors.insert(group.into(), (cursor, runs));
            }
        }
    }

    /// The topics, without what every group had acknowledged.
    pub(crate) fn topics(self) -> Vec<Topic> {
        self.topics.into_iter().map(Memory::topic).collect()
    }

    fn memory(&mut self, topic: u32) -> &mut Memory {
        let index = topic as usize;
        if index >= self.topics.len() {
            self.topics.resize_with(index + 1, Memory::default);
        }
        &mut self.topics[index]
    }
}

impl Memory {
    fn topic(mut self) -> Topic {
        let acknowledged = self.cursors.values().map(|(cursor, _)| *cursor).min().unwrap_or(0);
        let kept = self.events.split_off(&self.base.max(acknowledged));
        let base = kept.first_key_value().map_or(self.next, |(offset, _)| *offset);
        let mut topic = Topic::new(&self.name, base);
        for (offset, (lsn, length, arrival)) in kept {
            // Only whole segments are missing, and only below the oldest event anybody needs.
            if offset == topic.next() {
                topic.push(Entry { arrival, body: Body::Filed { lsn, length } });
            }
        }
        topic.visible = topic.next();
        for (group, (cursor, runs)) in self.cursors {
            let mut progress = Progress::restored(cursor, &runs);
            progress.skip_to(base);
            topic.add(Kind::Clustering(group.into()), progress);
        }
        topic
    }
}
