//! The order gate: which of the events in flight may be sent now, so that no two unacknowledged ones share a key.
//!
//! A pure data structure for one thread. Events are admitted in order into a ring of slots; each slot counts the
//! earlier events that it must wait for. Per key only the last holder is kept: a newcomer links itself behind it, and
//! a release frees exactly the successors that were linked, so every step is O(1) however long a key's queue is.
//! Events that may go are handed out in the order in which they were admitted. Not here: sending, time, retries.
//!
//! Memory: about 48 bytes a slot plus a map of at most two entries a slot, all allocated by [`Gate::new`]. Events that hold
//! many keys, as batches do, cost 16 bytes and an entry of the map more for each; both grow to what is in flight at most.

use ahash::{AHashMap, RandomState};

use crate::sequence::Place;

/// What order the far side is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// No two unacknowledged events share a key.
    #[default]
    Key,
    /// One unacknowledged event at a time.
    Total,
    /// No promise.
    None,
}

/// The hash of a key of a topic, never 0. It is one wherever it is made: an event holds the same key by itself and as a
/// member of a batch.
pub fn hash_of(topic: &str, key: &str) -> u64 {
    RandomState::with_seeds(1, 2, 3, 4).hash_one((topic, key)).max(1)
}

/// An event on its way, and what it holds until it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyed<E> {
    /// The event.
    pub event: E,
    /// Hashes of its keys; 0 means none. A key change holds two.
    pub keys: [u64; 2],
    /// Where it is counted.
    pub place: Place,
    /// Its number there, or of a row of a snapshot the last one before it; 0 until it is stamped.
    pub sequence: u64,
}

impl<E> Keyed<E> {
    /// An event that is not counted.
    pub fn uncounted(event: E, keys: [u64; 2]) -> Self {
        Self { event, keys, place: Place::default(), sequence: 0 }
    }
}

/// Events that may be admitted beyond the oldest unreleased one: the look-ahead that keeps a waiting key from holding
/// up the others. A subscriber may meet so many before the one that its lane waits for, and must be given them.
pub const LOOK_AHEAD: usize = 2048;

const NONE: u32 = u32::MAX;
/// The one key that every event holds under [`Order::Total`].
const TOTAL: [u64; 2] = [1, 0];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Released, or never used.
    Free,
    /// Waits for as many links to be freed.
    Blocked(u32),
    /// May be taken.
    Ready,
    /// Handed out, not yet released.
    Taken,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    state: State,
    keys: [u64; 2],
    /// Who waits next for each of `keys`.
    next: [u32; 2],
    /// The first link of its further keys.
    more: u32,
}

/// A key that an event holds beyond two.
#[derive(Debug, Clone, Copy)]
struct Link {
    key: u64,
    /// Who waits next for it.
    next: u32,
    /// The event's next link, or the next free one.
    sibling: u32,
}

/// Who holds a key last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holder {
    slot: u32,
    by: HeldBy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeldBy {
    /// One of the slot's own two keys.
    Own(u8),
    /// A link.
    Link(u32),
}

/// The gate. Slots are numbered `0..capacity` and used in rotation, so that slot number = admission number mod capacity.
#[derive(Debug)]
pub struct Gate {
    order: Order,
    slots: Vec<Slot>,
    /// Admission numbers of the oldest unreleased event and of the next event.
    head: u64,
    tail: u64,
    ready: ReadySet,
    last_holder: AHashMap<u64, Holder>,
    links: Vec<Link>,
    /// The first of the links that nobody uses.
    free_link: u32,
}

impl Gate {
    /// A gate for at most `capacity` events (rounded up to a power of two, at least 64) from the oldest unreleased
    /// one on.
    pub fn new(order: Order, capacity: usize) -> Self {
        let capacity = capacity.max(64).next_power_of_two();
        assert!(capacity <= 1 << 24, "a look-ahead of {capacity} events is not a look-ahead");
        let free = Slot { state: State::Free, keys: [0; 2], next: [NONE; 2], more: NONE };
        Self {
            order,
            slots: vec![free; capacity],
            head: 0,
            tail: 0,
            ready: ReadySet::new(capacity),
            // Twice what can be in it, so that removals never make the map grow or rehash into new memory.
            last_holder: AHashMap::with_capacity(capacity * 4),
            links: Vec::new(),
            free_link: NONE,
        }
    }

    /// Number of slots.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// How many more events can be admitted now.
    pub fn room(&self) -> usize {
        self.slots.len() - (self.tail - self.head) as usize
    }

    /// Whether every admitted event has been released.
    pub fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Whether an event can be taken.
    pub fn has_ready(&self) -> bool {
        self.ready.count > 0
    }

    /// How many events can be taken now.
    pub fn ready_count(&self) -> usize {
        self.ready.count
    }

    /// Admission numbers in use, oldest unreleased first. Some in between may be released already.
    pub fn admitted(&self) -> std::ops::Range<u64> {
        self.head..self.tail
    }

    /// Slot of an admission number.
    pub fn slot(&self, admission: u64) -> u32 {
        (admission & (self.slots.len() as u64 - 1)) as u32
    }

    /// Admits the next event; `keys` are hashes of what it holds until its release, 0 for none. Two keys of one hash
    /// wait for each other: needless, never wrong. Returns its admission number.
    ///
    /// # Panics
    /// Without room: the caller asks [`Gate::room`] first.
    pub fn admit(&mut self, keys: [u64; 2]) -> u64 {
        self.admit_all(keys, &[])
    }

    /// As [`admit`](Self::admit), for an event that holds more keys than two: those of a batch's members. A key may occur
    /// more than once.
    ///
    /// # Panics
    /// Without room.
    pub fn admit_all(&mut self, keys: [u64; 2], more: &[u64]) -> u64 {
        assert!(self.room() > 0, "the gate is full at {} events", self.slots.len());
        let admission = self.tail;
        let slot = self.slot(admission);
        debug_assert_eq!(self.slots[slot as usize].state, State::Free);
        self.tail += 1;
        let (mut keys, more) = match self.order {
            Order::Key => (keys, more),
            Order::Total => (TOTAL, &[][..]),
            Order::None => ([0; 2], &[][..]),
        };
        if keys[0] == keys[1] {
            keys[1] = 0;
        }
        let mut blockers = self.wait_behind(keys[0], Holder { slot, by: HeldBy::Own(0) });
        blockers += self.wait_behind(keys[1], Holder { slot, by: HeldBy::Own(1) });
        let mut first = NONE;
        for key in more {
            let is_held = self.last_holder.get(key).is_some_and(|holder| holder.slot == slot);
            if *key != 0 && !is_held {
                first = self.link(*key, first);
                blockers += self.wait_behind(*key, Holder { slot, by: HeldBy::Link(first) });
            }
        }
        let state = if blockers == 0 { State::Ready } else { State::Blocked(blockers) };
        self.slots[slot as usize] = Slot { state, keys, next: [NONE; 2], more: first };
        if blockers == 0 {
            self.ready.insert(slot);
        }
        admission
    }

    /// A link for a key, before `sibling`.
    fn link(&mut self, key: u64, sibling: u32) -> u32 {
        let link = Link { key, next: NONE, sibling };
        if self.free_link == NONE {
            self.links.push(link);
            return u32::try_from(self.links.len() - 1).expect("fewer keys in flight than 32 bits count");
        }
        let at = self.free_link;
        self.free_link = self.links[at as usize].sibling;
        self.links[at as usize] = link;
        at
    }

    /// Makes somebody the last holder of `key`; 1 if there is one before.
    fn wait_behind(&mut self, key: u64, holder: Holder) -> u32 {
        if key == 0 {
            return 0;
        }
        let Some(before) = self.last_holder.insert(key, holder) else { return 0 };
        let next = match before.by {
            HeldBy::Own(which) => {
                let before = &mut self.slots[before.slot as usize];
                debug_assert_eq!(before.keys[usize::from(which)], key);
                &mut before.next[usize::from(which)]
            }
            HeldBy::Link(link) => {
                debug_assert_eq!(self.links[link as usize].key, key);
                &mut self.links[link as usize].next
            }
        };
        debug_assert_eq!(*next, NONE);
        *next = holder.slot;
        1
    }

    /// Takes the oldest event that may go; it stays unreleased.
    pub fn take(&mut self) -> Option<u32> {
        let slot = self.ready.take_from(self.slot(self.head))?;
        debug_assert_eq!(self.slots[slot as usize].state, State::Ready);
        self.slots[slot as usize].state = State::Taken;
        Some(slot)
    }

    /// The event is acknowledged: what waited for it alone may go.
    ///
    /// # Panics
    /// If the event was not taken, or released already.
    pub fn release(&mut self, slot: u32) {
        let Slot { state, keys, next, more } = self.slots[slot as usize];
        assert_eq!(state, State::Taken, "slot {slot} is not in flight");
        self.slots[slot as usize].state = State::Free;
        for (key, successor) in keys.into_iter().zip(next) {
            self.pass_on(slot, key, successor);
        }
        let mut at = more;
        while at != NONE {
            let Link { key, next, sibling } = self.links[at as usize];
            self.pass_on(slot, key, next);
            self.links[at as usize].sibling = self.free_link;
            self.free_link = at;
            at = sibling;
        }
        while self.head < self.tail && self.slots[self.slot(self.head) as usize].state == State::Free {
            self.head += 1;
        }
    }

    /// Whoever waits next for the key waits for it no longer; where nobody does, nobody holds it any more.
    fn pass_on(&mut self, slot: u32, key: u64, successor: u32) {
        if successor != NONE {
            self.unblock(successor);
        } else if key != 0 {
            let holder = self.last_holder.remove(&key);
            debug_assert_eq!(holder.map(|holder| holder.slot), Some(slot));
        }
    }

    fn unblock(&mut self, slot: u32) {
        let state = &mut self.slots[slot as usize].state;
        match *state {
            State::Blocked(1) => {
                *state = State::Ready;
                self.ready.insert(slot);
            }
            State::Blocked(blockers) => *state = State::Blocked(blockers - 1),
            other => unreachable!("a successor is blocked until its last link is freed, but it is {other:?}"),
        }
    }
}

/// A set of slots, one bit each, that finds the first one from a given slot on, around the ring.
#[derive(Debug)]
struct ReadySet {
    words: Vec<u64>,
    count: usize,
}

impl ReadySet {
    fn new(capacity: usize) -> Self {
        Self { words: vec![0; capacity / 64], count: 0 }
    }

    fn insert(&mut self, slot: u32) {
        let word = &mut self.words[slot as usize / 64];
        debug_assert_eq!(*word & (1 << (slot % 64)), 0);
        *word |= 1 << (slot % 64);
        self.count += 1;
    }

    /// Removes and returns the first slot at or after `from`, going around once. 128 words at the usual capacity,
    /// most of a search ends in the first few.
    fn take_from(&mut self, from: u32) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        let start = from as usize / 64;
        let upper = u64::MAX << (from % 64);
        let first = self.words[start] & upper;
        if first != 0 {
            return Some(self.remove_lowest(start, first));
        }
        for index in (start + 1..self.words.len()).chain(0..start) {
            let word = self.words[index];
            if word != 0 {
                return Some(self.remove_lowest(index, word));
            }
        }
        let wrapped = self.words[start] & !upper;
        debug_assert_ne!(wrapped, 0, "the count says that there is one");
        Some(self.remove_lowest(start, wrapped))
    }

    fn remove_lowest(&mut self, index: usize, bits: u64) -> u32 {
        let bit = bits.trailing_zeros();
        self.words[index] &= !(1 << bit);
        self.count -= 1;
        (index * 64) as u32 + bit
    }
}

#[cfg(test)]
mod tests;
