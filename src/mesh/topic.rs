//! One topic: its events in the order they arrived, and the groups that read them.
//!
//! Knows offsets, bytes and groups; the broker owns the limits, the journal and the sessions. Invariant: `entries` is
//! the unbroken run of offsets `base..next`, and no clustering group's cursor is below `base`.

use std::collections::VecDeque;

use super::group::Progress;
use super::record::Arrival;

/// What an event costs besides its body, for the retention bound: its entry here and its head on disk.
const ENTRY_COST: u64 = 64;

/// Index of a connection's seat at the broker.
pub(crate) type Seat = u32;

/// Where an event's body is.
#[derive(Debug)]
pub(crate) enum Body {
    /// In memory: the mesh has no directory.
    Held(Box<[u8]>),
    /// In the journal.
    Filed { lsn: u64, length: u32 },
}

/// One stored event.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) arrival: Arrival,
    pub(crate) body: Body,
}

impl Entry {
    /// Bytes that count against the retention bound.
    pub(crate) fn cost(&self) -> u64 {
        ENTRY_COST
            + match &self.body {
                Body::Held(bytes) => bytes.len() as u64,
                Body::Filed { length, .. } => u64::from(*length),
            }
    }

    /// The cost of an event with a body of `length` bytes.
    pub(crate) fn cost_of(length: usize) -> u64 {
        ENTRY_COST + length as u64
    }
}

/// Who shares a group's events.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A consumer group by name: each event goes to one of its sessions, and its cursor outlives them.
    Clustering(Box<str>),
    /// One session's own view of the topic, gone when it goes.
    Broadcasting,
    /// A free place.
    Vacant,
}

/// A group's readers and progress.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) kind: Kind,
    pub(crate) progress: Progress,
    pub(crate) seats: Vec<Seat>,
    /// Whose turn it is to be woken first.
    pub(crate) turn: usize,
    /// The cursor moved since it was last journalled.
    pub(crate) dirty: bool,
}

/// A topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Box<str>,
    pub(crate) base: u64,
    pub(crate) entries: VecDeque<Entry>,
    pub(crate) groups: Vec<Group>,
    /// Sum of the entries' costs.
    pub(crate) bytes: u64,
    /// Events below this offset may be delivered: they are durable where that is asked for.
    pub(crate) visible: u64,
    /// All its events are durable once this LSN is.
    pub(crate) settled_at: u64,
    /// Listed among the topics with news.
    pub(crate) touched: bool,
}

impl Topic {
    /// An empty topic whose next event gets `next` as offset.
    pub(crate) fn new(name: &str, next: u64) -> Self {
        Self {
            name: name.into(),
            base: next,
            entries: VecDeque::new(),
            groups: Vec::new(),
            bytes: 0,
            visible: next,
            settled_at: 0,
            touched: false,
        }
    }

    /// The offset of the next event.
    pub(crate) fn next(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    /// The entry at `offset`, if it is kept.
    pub(crate) fn entry(&self, offset: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(offset.checked_sub(self.base)?).ok()?)
    }

    /// Whether a consumer group ever read this topic; such a topic loses nothing unacknowledged.
    pub(crate) fn has_group(&self) -> bool {
        self.groups.iter().any(|group| matches!(group.kind, Kind::Clustering(_)))
    }

    /// The place of the named consumer group.
    pub(crate) fn group(&self, name: &str) -> Option<usize> {
        self.groups
            .iter()
            .position(|group| matches!(&group.kind, Kind::Clustering(known) if **known == *name))
    }

    /// Adds a group, reusing a free place, and returns its place.
    pub(crate) fn add(&mut self, kind: Kind, progress: Progress) -> usize {
        let group = Group { kind, progress, seats: Vec::new(), turn: 0, dirty: false };
        match self.groups.iter().position(|group| group.kind == Kind::Vacant) {
            Some(place) => {
                self.groups[place] = group;
                place
            }
            None => {
                self.groups.push(group);
                self.groups.len() - 1
            }
        }
    }

    /// Adds an event.
    pub(crate) fn push(&mut self, entry: Entry) {
        self.bytes += entry.cost();
        self.entries.push_back(entry);
    }

    /// The offset below which every consumer group has acknowledged all; `None` where there is no group.
    pub(crate) fn acknowledged(&self) -> Option<u64> {
        self.groups
            .iter()
            .filter(|group| matches!(group.kind, Kind::Clustering(_)))
            .map(|group| group.progress.cursor())
            .min()
    }

    /// Drops the oldest event and moves readers that stood before it.
    pub(crate) fn drop_oldest(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.cost();
        self.base += 1;
        self.visible = self.visible.max(self.base);
        Some(entry)
    }

    /// Lifts every reader to `base`, after events were dropped.
    pub(crate) fn lift_readers(&mut self) {
        for group in &mut self.groups {
            group.progress.skip_to(self.base);
        }
    }
}
