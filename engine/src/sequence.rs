//! Sequence: the events of each topic and lane are counted without gaps, 1, 2, 3 …, inside an epoch.
//!
//! The collector counts, in the order of delivery, and has each event stamped before a target sees it. The counts that
//! belong to an acknowledged position are stored with it in the same write (`checkpoint`). Invariant: after a restart at
//! any stored position the same events get the same numbers, or the epoch is another one.
//!
//! Lanes of sequence are not encode lanes: their number is a setting, the same on every machine.

use std::sync::{Arc, PoisonError, RwLock};

use ahash::AHashMap;

use crate::parcel::Parcel;

mod record;

pub(crate) use record::SequenceRecord;

/// When counting began, µs since 1970; always greater than the epoch before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

/// A lane of a topic, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lane(pub u16);

/// A topic's number in [`Topics`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub u32);

/// How an event stands to its lane's count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Numbering {
    /// Not at all.
    #[default]
    None,
    /// It takes the next number.
    Counted,
    /// It takes none, and is stamped with the last one: a row of a snapshot.
    Behind,
    /// It takes the next number, and its whole topic waits for it: it is sent once all that came before it is
    /// acknowledged, and nothing behind it before it is itself. A TRUNCATE.
    Barrier,
}

/// Where an event is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Place {
    /// The topic.
    pub topic: TopicId,
    /// The lane of the topic.
    pub lane: Lane,
    /// Whether it takes a number.
    pub numbering: Numbering,
}

/// The most lanes that a topic can have: a lane's number has two digits on the wire.
pub const LANES_MAX: u16 = 64;

/// The topics' numbers, given out as names come up. Clones are the same list.
///
/// Memory: it grows with the topics and never shrinks, since numbers are kept by position.
#[derive(Debug, Clone, Default)]
pub struct Topics(Arc<RwLock<Names>>);

#[derive(Debug, Default)]
struct Names {
    numbers: AHashMap<Arc<str>, TopicId>,
    names: Vec<Arc<str>>,
}

impl Topics {
    /// No topics yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of a topic, a new one for a new name. Takes a lock: for once a table, not once an event.
    ///
    /// # Panics
    /// With more topics than 32 bits count.
    pub fn intern(&self, name: &str) -> TopicId {
        if let Some(known) = self.find(name) {
            return known;
        }
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = names.numbers.get(name) {
            return *known;
        }
        let id = TopicId(u32::try_from(names.names.len()).expect("fewer topics than 32 bits count"));
        let name: Arc<str> = name.into();
        names.names.push(name.clone());
        names.numbers.insert(name, id);
        id
    }

    /// The number of a name that was interned before.
    pub fn find(&self, name: &str) -> Option<TopicId> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).numbers.get(name).copied()
    }

    /// The name of a number; `None` for one that was never given out.
    pub fn name(&self, topic: TopicId) -> Option<Arc<str>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).names.get(topic.0 as usize).cloned()
    }
}

/// How a pipeline counts its events.
#[derive(Debug, Clone)]
pub struct SequenceSettings<E> {
    /// The topics, shared with the source.
    pub topics: Topics,
    /// Lanes of a topic, 1 to [`LANES_MAX`].
    pub lanes: u16,
    /// A hash of all that the numbers depend on besides the position: another one begins a new epoch.
    pub identity: u64,
    /// Writes epoch and number into a finished event, which lies in the buffer.
    pub stamp: fn(&mut [u8], &mut E, Epoch, u64),
    /// Where an event is counted.
    pub place: fn(&E) -> Place,
}

/// A lane's index in all lists of counts.
type Slot = u32;

/// Counts and stamps. One thread's.
pub(crate) struct Sequencer<E> {
    settings: SequenceSettings<E>,
    epoch: Epoch,
    /// The last number of each slot.
    counts: Vec<u64>,
    /// The slots' numbers when `drain_changes` was last called.
    drained: Vec<u64>,
    /// Slots that have changed since.
    changed: Vec<Slot>,
}

impl<E> Sequencer<E> {
    /// Goes on from these counts.
    pub(crate) fn new(settings: SequenceSettings<E>, record: &SequenceRecord) -> Self {
        let counts = record.counts.clone();
        Self { settings, epoch: record.epoch, drained: counts.clone(), counts, changed: Vec::new() }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Numbers the parcel's events, in order.
    pub(crate) fn stamp(&mut self, parcel: &mut Parcel<E>) {
        for event in &mut parcel.events {
            let place = (self.settings.place)(event);
            let number = match place.numbering {
                Numbering::None => continue,
                Numbering::Counted | Numbering::Barrier => self.next(place),
                Numbering::Behind => self.last(place),
            };
            (self.settings.stamp)(&mut parcel.buffer, event, self.epoch, number);
        }
    }

    fn slot(&self, place: Place) -> usize {
        debug_assert!(place.lane.0 < self.settings.lanes, "lane {} of {}", place.lane.0, self.settings.lanes);
        place.topic.0 as usize * usize::from(self.settings.lanes) + usize::from(place.lane.0)
    }

    #[inline]
    fn next(&mut self, place: Place) -> u64 {
        let slot = self.slot(place);
        if slot >= self.counts.len() {
            self.counts.resize(slot + 1, 0);
            self.drained.resize(slot + 1, 0);
        }
        if self.counts[slot] == self.drained[slot] {
            self.changed.push(Slot::try_from(slot).expect("fewer lanes than 32 bits count"));
        }
        self.counts[slot] += 1;
        self.counts[slot]
    }

    fn last(&self, place: Place) -> u64 {
        self.counts.get(self.slot(place)).copied().unwrap_or(0)
    }

    /// The slots that have changed since the last call, with their numbers.
    pub(crate) fn drain_changes(&mut self) -> impl Iterator<Item = (Slot, u64)> + '_ {
        let (counts, drained) = (&self.counts, &mut self.drained);
        self.changed.drain(..).map(move |slot| {
            let number = counts[slot as usize];
            drained[slot as usize] = number;
            (slot, number)
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
