//! Barriers: a TRUNCATE goes behind all of its topic that came before it, and before all that came behind it.

use super::Order;
use super::lane::{At, Lane};
use super::names::{LaneId, TopicId};

#[derive(Debug, Default)]
pub(super) struct Topic {
    /// A TRUNCATE of this lane has its turn there, and waits for the other lanes.
    pub(super) barrier: Option<LaneId>,
}

impl<T> Order<T> {
    /// Whether a TRUNCATE that has its turn in its lane may go. If not, whatever comes from now on waits behind it.
    pub(super) fn is_barrier_clear(&mut self, id: LaneId, epoch: u64) -> bool {
        let topic = self.lanes[id.0 as usize].topic;
        let is_new = self.topics[topic.0 as usize].barrier.is_none();
        // What waits of a newer epoch is behind it.
        let is_before = |lane: &Lane<T>, at: &At| {
            at.epoch <= epoch && (is_new || lane.limit.is_none_or(|limit| (at.epoch, at.sequence) <= limit))
        };
        let others =
            || self.names.name(topic).lanes.iter().map(|(_, other)| *other).filter(|other| *other != id);
        let is_clear = others().all(|other| {
            let lane = &self.lanes[other.0 as usize];
            !lane.first().is_some_and(|(at, _)| is_before(lane, &at))
        });
        if is_clear || !is_new {
            return is_clear;
        }
        self.topics[topic.0 as usize].barrier = Some(id);
        for other in others() {
            let lane = &mut self.lanes[other.0 as usize];
            let last = lane.held.keys().rfind(|at| at.epoch <= epoch).map(|at| (at.epoch, at.sequence));
            // What comes late of an older epoch is before it too.
            lane.limit = Some(last.unwrap_or((lane.epoch, lane.next.saturating_sub(1))).max((epoch, 0)));
        }
        false
    }

    /// What a row comes after that holds nothing: a TRUNCATE has nothing to take from it.
    pub(crate) fn behind_truncate(&self, id: LaneId, (epoch, sequence): (u64, u64)) -> (u64, u64) {
        let lane = &self.lanes[id.0 as usize];
        let from = if epoch == lane.epoch { lane.rows_from } else { 0 };
        (epoch, sequence.max(from))
    }

    pub(super) fn end_barrier(&mut self, topic: TopicId) {
        self.topics[topic.0 as usize].barrier = None;
        for (_, id) in &self.names.name(topic).lanes {
            let lane = &mut self.lanes[id.0 as usize];
            lane.limit = None;
            if !lane.held.is_empty() {
                self.stirred.push(*id);
            }
        }
    }
}
