//! Gaps: what is missing is waited for, and given up in the end with published delivery; so is what was given back.
//!
//! What is waited for is that the source is heard, not that time passes. One that is down has perhaps not sent what is
//! missing, and will; one that goes on has sent it long ago, and the mesh has lost it.
//!
//! What was given up is remembered, here and in the store: an event that comes after all was not applied, however far
//! its lane is. A store keeps it as it keeps chunks of snapshots: one that is called after the topic, of the lane's number, in a
//! run that is the epoch.

use std::sync::Arc;

use super::lane::{Lane, Standing};
use super::names::LaneId;
use super::rows::Ranges;
use super::snapshots::Snapshots;
use super::{Order, Settings};
use crate::store::{ChunkApplied, ChunksOver};

/// Silence between two events of a source counts as so much of its being heard, at most.
const SILENCE_MS: u64 = 1000;
/// What is shorter is not looked at: events come by the thousand.
const STEP_MS: u64 = 100;

/// How long a source was heard.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heard {
    pub(super) total_ms: u64,
    last_ms: u64,
}

impl Heard {
    /// Something new came from the source; whether it was heard for longer than was known.
    pub(super) fn hear(&mut self, now_ms: u64) -> bool {
        let silence_ms = now_ms.saturating_sub(self.last_ms);
        if silence_ms < STEP_MS {
            return false;
        }
        self.total_ms += silence_ms.min(SILENCE_MS);
        self.last_ms = now_ms;
        true
    }
}

/// What stands before the topic in the name of such a record; no snapshot is called so.
const GIVEN_UP: &str = "~";
/// A store's names are no longer; what is given up of a topic with a longer one is forgotten with the process.
const NAME_BYTES_MAX: usize = 255;

/// What of the records of a topic is of no more use with this one.
pub(super) fn over_before(record: &ChunkApplied) -> ChunksOver {
    ChunksOver { source: Arc::clone(&record.source), snapshot: Arc::clone(&record.snapshot), run: record.run }
}

impl<T> Order<T> {
    /// What a lane has given up, where that is not on record yet.
    pub(super) fn given_up_record(&self, id: LaneId) -> Option<ChunkApplied> {
        let lane = &self.lanes[id.0 as usize];
        let rows = lane.given_up.encode();
        let name = self.names.name(lane.topic);
        let is_news = rows != lane.given_up_recorded && name.topic.len() + GIVEN_UP.len() <= NAME_BYTES_MAX;
        is_news.then(|| ChunkApplied {
            source: Arc::clone(&name.source),
            snapshot: format!("{GIVEN_UP}{}", name.topic).into(),
            run: lane.epoch,
            number: lane.number.into(),
            rows,
        })
    }

    /// The lane of a record of what is given up; `None` for one of a chunk.
    fn lane_of_record(&mut self, record: &ChunkApplied) -> Option<&mut Lane<T>> {
        let topic = record.snapshot.strip_prefix(GIVEN_UP)?;
        let id = self.lane(&record.source, topic, u16::try_from(record.number).ok()?)?;
        Some(&mut self.lanes[id.0 as usize])
    }

    /// Takes over a record, if it is one of what is given up, once the lanes are loaded.
    pub(super) fn load_given_up(&mut self, record: &ChunkApplied) -> bool {
        let Some(lane) = self.lane_of_record(record) else { return false };
        if lane.epoch == record.run {
            lane.given_up = Ranges::decode(&record.rows);
            lane.given_up_recorded.clone_from(&record.rows);
        }
        true
    }

    /// The store has this record.
    pub(super) fn given_up_recorded(&mut self, record: &ChunkApplied) {
        if let Some(lane) = self.lane_of_record(record) {
            lane.given_up_recorded.clone_from(&record.rows);
        }
    }

    /// Takes note of something new from the lane's source.
    pub(super) fn hear(&mut self, id: LaneId, now_ms: u64) {
        let source = &mut self.sources[self.lanes[id.0 as usize].source.0 as usize];
        if source.heard.hear(now_ms) && !source.held.is_empty() {
            self.due_ms = self.due_ms.min(now_ms);
        }
    }

    /// Unblocks lanes and gives gaps up whose time has come; whether there were any. Finds out when to look again.
    pub(super) fn look(&mut self, now_ms: u64) -> bool {
        let mut due_ms = u64::MAX;
        let before = self.stirred.len();
        for id in &self.waiting {
            let lane = &mut self.lanes[id.0 as usize];
            let heard = &self.sources[lane.source.0 as usize].heard;
            let Some(lane_due_ms) = due_of(lane, &self.settings, heard) else { continue };
            if lane_due_ms > now_ms {
                due_ms = due_ms.min(lane_due_ms);
                continue;
            }
            self.stirred.push(*id);
            if lane.blocked_until_ms.take().is_none() {
                self.counts.missing += pass_gap(lane, &self.snapshots);
            }
            // What comes behind may have a time of its own.
            due_ms = due_ms.min(due_of(lane, &self.settings, heard).unwrap_or(u64::MAX).max(now_ms + 1));
        }
        self.due_ms = due_ms;
        self.stirred.len() > before
    }

    /// Gives up the oldest gap of published delivery; whether there was one.
    pub(super) fn relieve(&mut self) -> bool {
        let settings = Settings { gap_wait_ms: 0, first_wait_ms: 0, ..self.settings };
        let gaps = self.waiting.iter().filter_map(|id| {
            let lane = &self.lanes[id.0 as usize];
            let heard = &self.sources[lane.source.0 as usize].heard;
            let due_ms = lane.blocked_until_ms.is_none().then(|| due_of(lane, &settings, heard))??;
            Some((due_ms, *id))
        });
        let Some((_, id)) = gaps.min() else { return false };
        self.counts.missing += pass_gap(&mut self.lanes[id.0 as usize], &self.snapshots);
        self.stirred.push(id);
        true
    }
}

/// When something is to be done about what waits in a lane: it is unblocked, or its gap is given up.
pub(super) fn due_of<T>(lane: &Lane<T>, settings: &Settings, heard: &Heard) -> Option<u64> {
    if lane.blocked_until_ms.is_some() {
        return lane.blocked_until_ms;
    }
    let (at, held) = lane.first()?;
    let is_gap = at.epoch == lane.epoch && lane.standing(&at, held.place.gap) == Standing::Beyond;
    let is_waited_for = held.place.is_applied || !lane.is_open_to(&at);
    let wait_ms = if lane.next == 0 {
        settings.first_wait_ms
    } else if heard.total_ms - held.since_heard_ms >= settings.gap_wait_ms {
        0
    } else {
        settings.silent_wait_ms
    };
    (is_gap && !is_waited_for).then(|| held.since_ms + wait_ms)
}

/// Gives up what is missing before the first that waits; not for one that is of no more use itself.
fn pass_gap<T>(lane: &mut Lane<T>, snapshots: &Snapshots) -> u64 {
    let is_over = lane.first().is_some_and(|(at, held)| {
        at.row.is_some_and(|row| snapshots.is_over(&row, held.place.is_applied))
            || at.sequence < lane.rows_from
    });
    if is_over { 0 } else { lane.pass_gap() }
}
