//! Gaps: what is missing is waited for, and given up in the end with published delivery; so is what was given back.
//!
//! What is waited for is that the source is heard, not that time passes. One that is down has perhaps not sent what is
//! missing, and will; one that goes on has sent it long ago, and the mesh has lost it.

use super::lane::{Lane, Standing};
use super::names::LaneId;
use super::snapshots::Snapshots;
use super::{Order, Settings};

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

impl<T> Order<T> {
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
