//! The order gate: which of the events in flight may be sent now, so that no two unacknowledged ones share a key.
//!
//! A pure data structure for one thread. Events are admitted in order into a ring of slots; each slot counts the
//! earlier events that it must wait for. Per key only the last holder is kept: a newcomer links itself behind it, and
//! a release frees exactly the successors that were linked, so every step is O(1) however long a key's queue is.
//! Events that may go are handed out in the order in which they were admitted. Not here: sending, time, retries.
//!
//! Memory: about 40 bytes a slot plus a map of at most two entries a slot, all allocated by [`Gate::new`].

use ahash::AHashMap;

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
/// up the others.
pub const LOOK_AHEAD: usize = 8192;

const NONE: u32 = u32::MAX;
/// The one key that every event holds under [`Order::Total`].
const TOTAL: [u64; 2] = [1, 0];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Released, or never used.
    Free,
    /// Waits for as many links to be freed (one or two).
    Blocked(u8),
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
    last_holder: AHashMap<u64, u32>,
}

impl Gate {
    /// A gate for at most `capacity` events (rounded up to a power of two, at least 64) from the oldest unreleased
    /// one on.
    pub fn new(order: Order, capacity: usize) -> Self {
        let capacity = capacity.max(64).next_power_of_two();
        assert!(capacity <= 1 << 24, "a look-ahead of {capacity} events is not a look-ahead");
        let free = Slot { state: State::Free, keys: [0; 2], next: [NONE; 2] };
        Self {
            order,
            slots: vec![free; capacity],
            head: 0,
            tail: 0,
            ready: ReadySet::new(capacity),
            // Twice what can be in it, so that removals never make the map grow or rehash into new memory.
            last_holder: AHashMap::with_capacity(capacity * 4),
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
        assert!(self.room() > 0, "the gate is full at {} events", self.slots.len());
        let admission = self.tail;
        let slot = self.slot(admission);
        debug_assert_eq!(self.slots[slot as usize].state, State::Free);
        self.tail += 1;
        let mut keys = match self.order {
            Order::Key => keys,
            Order::Total => TOTAL,
            Order::None => [0; 2],
        };
        if keys[0] == keys[1] {
            keys[1] = 0;
        }
        let blockers = self.wait_behind(keys[0], slot) + self.wait_behind(keys[1], slot);
        let state = if blockers == 0 { State::Ready } else { State::Blocked(blockers) };
        self.slots[slot as usize] = Slot { state, keys, next: [NONE; 2] };
        if blockers == 0 {
            self.ready.insert(slot);
        }
        admission
    }

    /// Makes `slot` the last holder of `key`; 1 if there is one before it.
    fn wait_behind(&mut self, key: u64, slot: u32) -> u8 {
        if key == 0 {
            return 0;
        }
        let Some(before) = self.last_holder.insert(key, slot) else { return 0 };
        let before = &mut self.slots[before as usize];
        let link = usize::from(before.keys[0] != key);
        debug_assert_eq!(before.keys[link], key);
        debug_assert_eq!(before.next[link], NONE);
        before.next[link] = slot;
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
        let Slot { state, keys, next } = self.slots[slot as usize];
        assert_eq!(state, State::Taken, "slot {slot} is not in flight");
        self.slots[slot as usize].state = State::Free;
        for (key, successor) in keys.into_iter().zip(next) {
            if successor != NONE {
                self.unblock(successor);
            } else if key != 0 {
                let holder = self.last_holder.remove(&key);
                debug_assert_eq!(holder, Some(slot));
            }
        }
        while self.head < self.tail && self.slots[self.slot(self.head) as usize].state == State::Free {
            self.head += 1;
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
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_waiting_key_does_not_hold_up_others_and_the_oldest_goes_first() {
        let mut gate = Gate::new(Order::Key, 64);
        for keys in [[7, 0], [7, 0], [8, 0], [7, 0]] {
            gate.admit(keys);
        }
        assert_eq!((gate.take(), gate.take(), gate.take()), (Some(0), Some(2), None));
        gate.admit([9, 0]);
        gate.release(0);
        assert_eq!((gate.take(), gate.take(), gate.take()), (Some(1), Some(4), None));
        gate.release(1);
        assert_eq!(gate.take(), Some(3));
    }

    #[test]
    fn a_key_change_waits_for_both_keys_and_holds_both() {
        let mut gate = Gate::new(Order::Key, 64);
        for keys in [[1, 0], [2, 0], [1, 2], [1, 2], [2, 0]] {
            gate.admit(keys);
        }
        assert_eq!((gate.take(), gate.take(), gate.take()), (Some(0), Some(1), None));
        gate.release(1);
        assert_eq!(gate.take(), None);
        gate.release(0);
        assert_eq!((gate.take(), gate.take()), (Some(2), None));
        gate.release(2);
        assert_eq!((gate.take(), gate.take()), (Some(3), None));
        gate.release(3);
        assert_eq!(gate.take(), Some(4));
        gate.release(4);
        assert!(gate.is_empty() && gate.last_holder.is_empty());
    }

    #[test]
    fn total_order_is_one_at_a_time_and_none_is_all_at_once() {
        let mut total = Gate::new(Order::Total, 64);
        let mut none = Gate::new(Order::None, 64);
        for keys in [[1, 0], [2, 0], [0, 0]] {
            total.admit(keys);
            none.admit([5, 0]);
            assert_eq!(none.ready_count(), none.admitted().count());
        }
        for slot in 0..3 {
            assert_eq!((total.take(), total.take()), (Some(slot), None));
            total.release(slot);
        }
    }

    #[test]
    fn the_look_ahead_is_bounded_by_the_oldest_unreleased_event() {
        let mut gate = Gate::new(Order::None, 64);
        let admitted: Vec<u64> = (0..64).map(|_| gate.admit([0; 2])).collect();
        let taken: Vec<u32> = std::iter::from_fn(|| gate.take()).collect();
        assert_eq!((admitted.len(), taken.len()), (64, 64));
        (1..64).for_each(|slot| gate.release(slot));
        assert_eq!(gate.room(), 0);
        gate.release(0);
        assert_eq!(gate.room(), 64);
    }

    /// What the gate promises, said naively: an event may go when no earlier unreleased event shares a key with it.
    struct Model {
        events: Vec<([u64; 2], bool)>,
        taken: HashSet<u64>,
    }

    impl Model {
        fn next(&self) -> Option<u64> {
            let shares = |a: [u64; 2], b: [u64; 2]| a.iter().any(|key| *key != 0 && b.contains(key));
            (0..self.events.len())
                .find(|&index| {
                    let (keys, released) = self.events[index];
                    let free =
                        self.events[..index].iter().all(|(other, done)| *done || !shares(keys, *other));
                    !released && free && !self.taken.contains(&(index as u64))
                })
                .map(|index| index as u64)
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Admit([u64; 2]),
        Take,
        Release(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0..6u64, prop_oneof![4 => Just(0u64), 1 => 1..6u64]).prop_map(|(a, b)| Step::Admit([a, b])),
            3 => Just(Step::Take),
            2 => any::<prop::sample::Index>().prop_map(Step::Release),
        ];
        prop::collection::vec(step, 0..400)
    }

    proptest! {
        #[test]
        fn the_gate_does_what_the_naive_model_does(steps in steps()) {
            let mut gate = Gate::new(Order::Key, 64);
            let mut model = Model { events: Vec::new(), taken: HashSet::new() };
            let mut in_flight = Vec::new();
            let mut first_sent: HashMap<u64, u64> = HashMap::new();
            for step in steps.into_iter().chain(std::iter::repeat_n(Step::Take, 64)) {
                match step {
                    Step::Admit(keys) if gate.room() > 0 => {
                        prop_assert_eq!(gate.admit(keys), model.events.len() as u64);
                        model.events.push((keys, false));
                    }
                    Step::Admit(_) => {}
                    Step::Take => {
                        let taken = gate.take();
                        let expected = model.next();
                        prop_assert_eq!(taken, expected.map(|admission| gate.slot(admission)));
                        if let Some(admission) = expected {
                            for key in model.events[admission as usize].0.into_iter().filter(|key| *key != 0) {
                                prop_assert!(first_sent.insert(key, admission).is_none_or(|before| before <= admission));
                            }
                            model.taken.insert(admission);
                            in_flight.push(admission);
                        }
                    }
                    Step::Release(_) if in_flight.is_empty() => {}
                    Step::Release(index) => {
                        let admission = in_flight.swap_remove(index.index(in_flight.len()));
                        gate.release(gate.slot(admission));
                        model.events[admission as usize].1 = true;
                    }
                }
            }
            // Everything that was admitted gets its turn.
            while let Some(admission) = in_flight.pop() {
                gate.release(gate.slot(admission));
                while let Some(slot) = gate.take() {
                    let next = gate.admitted().find(|admission| gate.slot(*admission) == slot);
                    in_flight.push(next.expect("a taken slot is admitted"));
                }
            }
            prop_assert!(gate.is_empty() && gate.last_holder.is_empty());
        }
    }
}
