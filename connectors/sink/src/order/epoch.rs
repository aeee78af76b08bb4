//! Epochs: a newer one ends the older ones, in all lanes of a source.

use std::collections::BTreeMap;

use super::gap::Heard;
use super::lane::At;
use super::names::{LaneId, TopicId};
use super::{Order, Place, Why};

/// The epoch is one for all lanes of a source: with another number of lanes a key is in another lane.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// The newest epoch that anything went of; with applied delivery that anything came of.
    pub(super) epoch: u64,
    /// How many events wait, by epoch.
    pub(super) held: BTreeMap<u64, usize>,
    pub(super) heard: Heard,
}

impl Source {
    /// Whether something waits that is older, and goes first.
    pub(super) fn holds_older_than(&self, epoch: u64) -> bool {
        self.held.first_key_value().is_some_and(|(first, _)| *first < epoch)
    }
}

impl<T> Order<T> {
    /// A newer epoch ends the older ones; with published delivery, behind what waits of them.
    pub(super) fn turn_to_epoch(&mut self, place: &Place, at: &At) {
        if place.is_applied && at.epoch > self.source_of(place.lane).epoch {
            self.end_older_epochs(place.lane, at.epoch);
        }
        let is_last = !self.source_of(place.lane).holds_older_than(at.epoch);
        let lane = &mut self.lanes[place.lane.0 as usize];
        if at.epoch > lane.epoch && is_last {
            lane.begin(at.epoch, place.is_applied);
        } else if place.is_applied && lane.next == 0 {
            lane.next = 1;
        }
    }

    /// Drops what waits of older epochs in all lanes of the source.
    fn end_older_epochs(&mut self, id: LaneId, epoch: u64) {
        let source = self.lanes[id.0 as usize].source;
        self.sources[source.0 as usize].epoch = epoch;
        let is_of_source = |id: &&LaneId| self.lanes[id.0 as usize].source == source;
        let waiting: Vec<LaneId> = self.waiting.iter().filter(is_of_source).copied().collect();
        for id in waiting {
            while let Some((at, _)) = self.lanes[id.0 as usize].first().filter(|(at, _)| at.epoch < epoch) {
                self.discard(id, &at, Why::Outdated);
            }
        }
        let ended =
            (0..self.topics.len()).map(|index| TopicId(u32::try_from(index).expect("ids are 32 bits")));
        for topic in ended {
            if self.names.name(topic).source_id == source && self.topics[topic.0 as usize].barrier.is_some() {
                self.end_barrier(topic);
            }
        }
    }

    /// The epoch before which events of the lane are over.
    pub(super) fn epoch_of(&self, lane: LaneId) -> u64 {
        self.source_of(lane).epoch.max(self.lanes[lane.0 as usize].epoch)
    }

    pub(super) fn source_of(&self, lane: LaneId) -> &Source {
        &self.sources[self.lanes[lane.0 as usize].source.0 as usize]
    }
}
