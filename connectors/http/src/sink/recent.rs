//! Which events were dealt with lately: a mesh that hears nothing of an event for some seconds pushes it again, and a put may
//! take longer than that.
//!
//! Memory: [`EVENTS_MAX`] names of 16 bytes, twice: about 4 MiB.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

use ahash::AHashSet;
use flowd_sink::deliver::DeliverEvent;

/// As many as a mesh may push again: several puts.
const EVENTS_MAX: usize = 65_536;

/// A hash of `source` and `id`, wide enough to stand for them.
pub(super) type Name = u128;

/// The names of the newest events.
#[derive(Default)]
pub(super) struct Recent {
    hashers: [RandomState; 2],
    names: AHashSet<Name>,
    order: VecDeque<Name>,
}

impl Recent {
    pub(super) fn name(&self, event: &DeliverEvent<'_>) -> Name {
        let [high, low] = self.hashers.each_ref().map(|hasher| hasher.hash_one((event.source, event.id)));
        (u128::from(high) << 64) | u128::from(low)
    }

    pub(super) fn has(&self, name: Name) -> bool {
        self.names.contains(&name)
    }

    /// Remembers one more, and forgets the oldest for it.
    pub(super) fn add(&mut self, name: Name) {
        if !self.names.insert(name) {
            return;
        }
        self.order.push_back(name);
        if self.order.len() > EVENTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.names.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered_and_the_oldest_forgotten() {
        let mut recent = Recent::default();
        for number in 0..=EVENTS_MAX as u128 {
            recent.add(number);
            recent.add(number);
        }
        assert!(!recent.has(0) && recent.has(1) && recent.has(EVENTS_MAX as u128));
        assert_eq!((recent.names.len(), recent.order.len()), (EVENTS_MAX, EVENTS_MAX));
    }

    #[test]
    fn an_event_is_known_by_source_and_id() {
        let recent = Recent::default();
        let name = |source, id| recent.name(&DeliverEvent { json: b"", id, source, topic: "t", key: None });
        assert_eq!(name("/a", "1"), name("/a", "1"));
        assert_ne!(name("/a", "1"), name("/b", "1"));
        assert_ne!(name("/a", "1"), name("/a", "2"));
    }
}
