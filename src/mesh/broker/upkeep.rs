//! The broker's housekeeping: what a commit writes, what may be dropped, what must move.
//!
//! Invariant: an event is dropped only when every consumer group of its topic acknowledged it, or when its topic never
//! had a group and the bound asks for room.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::journal::{Chunk, Journal};
use super::super::record;
use super::super::topic::{Body, Entry, Kind, Topic};
use super::{Broker, Refusal, UNDURABLE_MAX};

/// What one commit writes.
pub(crate) struct Commit {
    pub(crate) directory: PathBuf,
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) end: u64,
    pub(crate) dead: Vec<PathBuf>,
}

impl Broker {
    /// Journals the cursors that moved; returns the LSN from which on all that happened so far is durable (0 without
    /// a directory).
    pub(crate) fn seal(&mut self) -> u64 {
        for place in std::mem::take(&mut self.dirty) {
            self.topics[place.topic as usize].groups[place.group as usize].dirty = false;
            if self.journal().is_none() {
                continue;
            }
            let group = &self.topics[place.topic as usize].groups[place.group as usize];
            if let (Some(journal), Kind::Clustering(name)) = (&mut self.journal, &group.kind) {
                let (cursor, runs) = (group.progress.cursor(), group.progress.runs());
                journal.append(|out| record::write_cursor(out, place.topic, cursor, &runs, name));
            }
        }
        self.journal.as_ref().map_or(0, Journal::end)
    }

    /// Gathers what the next commit writes: events and changes since the last one, and cursors that moved.
    ///
    /// # Errors
    /// Events to be moved out of a sparse segment cannot be read.
    pub(crate) fn prepare_commit(&mut self) -> io::Result<Option<Commit>> {
        self.move_sparse()?;
        self.seal();
        Ok(self.journal.as_mut().map(|journal| Commit {
            directory: journal.directory().to_path_buf(),
            dead: journal.take_dead(),
            chunks: journal.take_pending(),
            end: journal.end(),
        }))
    }

    /// The commit is on disk: replies and deliveries that waited for it may go.
    pub(crate) fn finish_commit(&mut self, end: u64, files: Vec<(u64, Arc<File>)>) {
        if let Some(journal) = &mut self.journal {
            journal.committed(end, files);
        }
        self.wake_readers();
        self.wake_waiting();
    }

    /// The journal cannot be written: nobody gets an acknowledgement any more.
    pub(crate) fn break_down(&mut self) {
        self.broken = true;
        self.wake_waiting();
    }

    /// Drops what every consumer group of the topic acknowledged.
    pub(super) fn prune(&mut self, index: u32) {
        let topic = &mut self.topics[index as usize];
        let Some(acknowledged) = topic.acknowledged() else { return };
        if acknowledged <= topic.base {
            return;
        }
        while topic.base < acknowledged
            && let Some(entry) = topic.drop_oldest()
        {
            forget(&mut self.bytes, &mut self.journal, &entry);
        }
        topic.lift_readers();
    }

    pub(super) fn make_room(&mut self, cost: u64) -> Result<(), Refusal> {
        if self.broken {
            return Err(Refusal::Broken);
        }
        let undurable = self.journal.as_ref().map_or(0, Journal::undurable);
        while self.bytes + cost > self.bytes_max {
            if !self.drop_unread(cost) {
                self.refused += 1;
                return Err(Refusal::Full);
            }
        }
        if undurable > UNDURABLE_MAX {
            self.refused += 1;
            return Err(Refusal::Full);
        }
        Ok(())
    }

    /// Drops the oldest events of the largest topic that never had a group; says whether there was any.
    fn drop_unread(&mut self, cost: u64) -> bool {
        let unread =
            self.topics.iter().enumerate().filter(|(_, topic)| topic.bytes > 0 && !topic.has_group());
        let Some((index, _)) = unread.max_by_key(|(_, topic)| topic.bytes) else { return false };
        let enough = self.bytes.saturating_sub(cost.max(self.bytes_max / 64));
        let topic = &mut self.topics[index];
        let first = topic.base;
        while self.bytes > enough
            && let Some(entry) = topic.drop_oldest()
        {
            forget(&mut self.bytes, &mut self.journal, &entry);
        }
        topic.lift_readers();
        let (base, next, name) = (topic.base, topic.next(), topic.name.clone());
        let before = self.dropped;
        self.dropped += base - first;
        if is_worth_a_line(before, self.dropped) {
            tracing::warn!(topic = %name, total = self.dropped, "dropped the oldest events of a topic that no group reads: the mesh is full (said again when it is twice as many)");
        }
        if let Some(journal) = self.journal() {
            journal.append(|out| record::write_topic(out, index as u32, base, next, &name));
        }
        true
    }

    /// Moves the live events out of a segment that holds hardly any, so that its file can go.
    fn move_sparse(&mut self) -> io::Result<()> {
        let Some(range) = self.journal.as_ref().and_then(Journal::sparsest) else { return Ok(()) };
        let mut body = Vec::new();
        for index in 0..self.topics.len() {
            for place in 0..self.topics[index].entries.len() {
                let topic = &self.topics[index];
                let (offset, entry) = (topic.base + place as u64, &topic.entries[place]);
                let (arrival, cost) = (entry.arrival, entry.cost());
                let Body::Filed { lsn: old, length } = entry.body else { continue };
                if !range.contains(&old) {
                    continue;
                }
                let Some(journal) = self.journal() else { continue };
                body.clear();
                body.extend_from_slice(journal.read(old, length)?);
                let lsn =
                    journal.append(|out| record::write_event(out, index as u32, offset, arrival, &body));
                journal.count_live(old, cost, false);
                journal.count_live(lsn, cost, true);
                let settled_at = journal.end();
                let topic = &mut self.topics[index];
                topic.entries[place].body = Body::Filed { lsn, length };
                topic.settled_at = settled_at;
                self.touch(index as u32);
            }
        }
        Ok(())
    }
}

/// Takes a dropped event out of the accounts.
fn forget(bytes: &mut u64, journal: &mut Option<Journal>, entry: &Entry) {
    *bytes -= entry.cost();
    if let (Some(journal), Body::Filed { lsn, .. }) = (journal, &entry.body) {
        journal.count_live(*lsn, entry.cost(), false);
    }
}

/// Everything that a new segment must say for older ones to be dispensable.
pub(super) fn account(topics: &[Topic], out: &mut Vec<u8>) {
    for (index, topic) in topics.iter().enumerate() {
        record::write_topic(out, index as u32, topic.base, topic.next(), &topic.name);
        for group in &topic.groups {
            if let Kind::Clustering(name) = &group.kind {
                record::write_cursor(
                    out,
                    index as u32,
                    group.progress.cursor(),
                    &group.progress.runs(),
                    name,
                );
            }
        }
    }
}

/// A full mesh drops with nearly every publish: a line for the first ones, then one for each doubling.
fn is_worth_a_line(before: u64, after: u64) -> bool {
    before.checked_ilog2() != after.checked_ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_is_said_at_first_and_then_with_each_doubling() {
        let said: Vec<u64> = (0..100).filter(|n| is_worth_a_line(n * 16, (n + 1) * 16)).collect();
        assert_eq!(said, [0, 1, 3, 7, 15, 31, 63]);
        assert!(!is_worth_a_line(16, 16));
    }
}
