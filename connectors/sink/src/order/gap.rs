//! Gaps: what is missing is waited for, and given up in the end with published delivery; so is what was given back.

use super::lane::{Lane, Standing};
use super::snapshots::Snapshots;
use super::{Order, Settings};

impl<T> Order<T> {
    /// Unblocks lanes and gives gaps up whose time has come; whether there were any. Finds out when to look again.
    pub(super) fn look(&mut self, now_ms: u64) -> bool {
        let mut due_ms = u64::MAX;
        let before = self.stirred.len();
        for id in &self.waiting {
            let lane = &mut self.lanes[id.0 as usize];
            let Some(lane_due_ms) = due_of(lane, &self.settings) else { continue };
            if lane_due_ms > now_ms {
                due_ms = due_ms.min(lane_due_ms);
                continue;
            }
            self.stirred.push(*id);
            if lane.blocked_until_ms.take().is_none() {
                self.counts.missing += pass_gap(lane, &self.snapshots);
            }
            // What comes behind may have a time of its own.
            due_ms = due_ms.min(due_of(lane, &self.settings).unwrap_or(u64::MAX).max(now_ms + 1));
        }
        self.due_ms = due_ms;
        self.stirred.len() > before
    }

    /// Gives up the oldest gap of published delivery; whether there was one.
    pub(super) fn relieve(&mut self) -> bool {
        let settings = Settings { gap_wait_ms: 0, first_wait_ms: 0, ..self.settings };
        let gaps = self.waiting.iter().filter_map(|id| {
            let lane = &self.lanes[id.0 as usize];
            let due_ms = lane.blocked_until_ms.is_none().then(|| due_of(lane, &settings))??;
            Some((due_ms, *id))
        });
        let Some((_, id)) = gaps.min() else { return false };
        self.counts.missing += pass_gap(&mut self.lanes[id.0 as usize], &self.snapshots);
        self.stirred.push(id);
        true
    }
}

/// When something is to be done about what waits in a lane: it is unblocked, or its gap is given up.
pub(super) fn due_of<T>(lane: &Lane<T>, settings: &Settings) -> Option<u64> {
    if lane.blocked_until_ms.is_some() {
        return lane.blocked_until_ms;
    }
    let (at, held) = lane.first()?;
    let is_gap = at.epoch == lane.epoch && lane.standing(&at, held.place.gap) == Standing::Beyond;
    let is_waited_for = held.place.is_applied || !lane.is_open_to(&at);
    let wait_ms = if lane.next == 0 { settings.first_wait_ms } else { settings.gap_wait_ms };
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
