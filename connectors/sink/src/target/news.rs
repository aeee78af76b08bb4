//! What the announcer is to be told: lanes and chunks that moved on, or that were asked for by an event that came again.

use std::collections::BTreeSet;
use std::sync::Arc;

use flowd_codec::event::incoming::Chunk;

use super::batch::Waiting;
use crate::announce::{Announce, Finished, Watermark};
use crate::order::{LaneId, Number, Order, Place, Row};
use crate::store::{ChunkApplied, LaneApplied};

/// Gathers until it is told.
pub(super) struct News {
    announce: Box<dyn Announce>,
    lanes: BTreeSet<LaneId>,
    rows: Vec<Row>,
    /// Sources all of whose lanes were told.
    greeted: Vec<Arc<str>>,
}

impl News {
    pub(super) fn new(announce: Box<dyn Announce>) -> Self {
        Self { announce, lanes: BTreeSet::new(), rows: Vec::new(), greeted: Vec::new() }
    }

    /// An event of applied delivery is applied.
    pub(super) fn add(&mut self, place: &Place) {
        self.lanes.insert(place.lane);
        if let Number::Row { row, .. } = place.number
            && self.rows.last().is_none_or(|last| (last.snapshot, last.chunk) != (row.snapshot, row.chunk))
        {
            self.rows.push(row);
        }
    }

    pub(super) fn is_any(&self) -> bool {
        !self.lanes.is_empty()
    }

    /// Tells it. Only when everything that is decided is in the store.
    pub(super) fn tell(&mut self, order: &Order<Waiting>) {
        if self.lanes.is_empty() {
            return;
        }
        let mut lanes: Vec<LaneApplied> =
            std::mem::take(&mut self.lanes).into_iter().map(|lane| order.record(lane)).collect();
        self.rows.sort_unstable();
        self.rows.dedup_by_key(|row| (row.snapshot, row.chunk));
        let chunks: Vec<ChunkApplied> = self
            .rows
            .drain(..)
            .filter_map(|row| order.chunk_record(&row))
            .filter(|chunk| chunk.rows.is_empty())
            .collect();
        for index in 0..lanes.len() {
            // At a first word, all of a source: it may wait for what was applied before this process began.
            if !self.greeted.contains(&lanes[index].source) {
                let source = Arc::clone(&lanes[index].source);
                lanes.extend(order.lanes_of(&source).into_iter().map(|lane| order.record(lane)));
                self.greeted.push(source);
            }
        }
        for source in &self.greeted {
            let (lanes, chunks) = (marks(source, &lanes), finished(source, &chunks));
            if !lanes.is_empty() || !chunks.is_empty() {
                self.announce.applied(source, &lanes, &chunks);
            }
        }
    }
}

fn marks<'a>(source: &str, lanes: &'a [LaneApplied]) -> Vec<Watermark<'a>> {
    let of_source = lanes.iter().filter(|lane| *lane.source == *source && lane.sequence > 0);
    of_source
        .map(|lane| Watermark {
            epoch: lane.epoch,
            topic: &lane.topic,
            lane: lane.lane,
            sequence: lane.sequence,
        })
        .collect()
}

fn finished<'a>(source: &str, chunks: &'a [ChunkApplied]) -> Vec<Finished<'a>> {
    let of_source = chunks.iter().filter(|chunk| *chunk.source == *source);
    of_source
        .map(|chunk| Finished {
            snapshot: &chunk.snapshot,
            chunk: Chunk { run: chunk.run, number: chunk.number },
        })
        .collect()
}
