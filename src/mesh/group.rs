//! One consumer group's place in one topic: what was acknowledged, what is out, what must go out again.
//!
//! Pure bookkeeping over event offsets; it knows no sessions and does no I/O. Invariant: every offset below `cursor`
//! is acknowledged, `cursor` itself is not, and no more than [`LOOKAHEAD`] offsets above it are ever handed out, which
//! bounds both sets.

use std::collections::BTreeSet;

/// How far above the first unacknowledged event a group may be handed events. Worst-case memory per group is two sets
/// of this many numbers (about 0.5 MiB).
pub(crate) const LOOKAHEAD: u64 = 16_384;

/// Offsets as the broker's topics count them: the first event ever stored in a topic is 0.
#[derive(Debug, Default, Clone)]
pub(crate) struct Progress {
    cursor: u64,
    next: u64,
    acked: BTreeSet<u64>,
    again: BTreeSet<u64>,
}

impl Progress {
    /// A group that has seen nothing before `cursor`.
    pub(crate) fn starting_at(cursor: u64) -> Self {
        Self { cursor, next: cursor, ..Self::default() }
    }

    /// As read back from disk: `runs` are acknowledged ranges above the cursor, `(first, count)`.
    pub(crate) fn restored(cursor: u64, runs: &[(u64, u64)]) -> Self {
        let mut progress = Self::starting_at(cursor);
        for &(first, count) in runs {
            for offset in first..first.saturating_add(count.min(LOOKAHEAD)) {
                progress.ack(offset);
            }
        }
        progress
    }

    /// The first offset that is not acknowledged.
    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// The acknowledged offsets above the cursor as `(first, count)` runs, ascending.
    pub(crate) fn runs(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for &offset in &self.acked {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == offset => *count += 1,
                _ => runs.push((offset, 1)),
            }
        }
        runs
    }

    /// The events before `base` are gone; nobody can be given them any more.
    pub(crate) fn skip_to(&mut self, base: u64) {
        if self.cursor >= base {
            return;
        }
        self.cursor = base;
        self.next = self.next.max(base);
        self.acked = self.acked.split_off(&base);
        self.again = self.again.split_off(&base);
        self.settle();
    }

    /// How many offsets below `end` could be handed out now (an upper bound while acknowledged ones lie between).
    pub(crate) fn waiting(&self, end: u64) -> u64 {
        self.again.len() as u64 + end.min(self.cursor + LOOKAHEAD).saturating_sub(self.next)
    }

    /// The next offset to hand out below `end`, redeliveries first.
    pub(crate) fn take(&mut self, end: u64) -> Option<u64> {
        if let Some(&first) = self.again.first()
            && first < end
        {
            return self.again.pop_first();
        }
        while self.next < end.min(self.cursor + LOOKAHEAD) {
            let offset = self.next;
            self.next += 1;
            if self.acked.is_empty() || !self.acked.contains(&offset) {
                return Some(offset);
            }
        }
        None
    }

    /// Counts an acknowledgement; says whether it was news.
    pub(crate) fn ack(&mut self, offset: u64) -> bool {
        if offset < self.cursor {
            return false;
        }
        self.again.remove(&offset);
        if offset > self.cursor {
            return self.acked.insert(offset);
        }
        self.cursor += 1;
        self.settle();
        true
    }

    /// A hand-out came to nothing (time-out, closed session): the event goes out again.
    pub(crate) fn release(&mut self, offset: u64) {
        if offset >= self.cursor && offset < self.next && !self.acked.contains(&offset) {
            self.again.insert(offset);
        }
    }

    fn settle(&mut self) {
        while self.acked.first() == Some(&self.cursor) {
            self.acked.pop_first();
            self.cursor += 1;
        }
        self.next = self.next.max(self.cursor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_order_acks_move_the_cursor_only_over_a_closed_run() {
        let mut progress = Progress::starting_at(5);
        assert_eq!(
            (0..4).map(|_| progress.take(9)).collect::<Vec<_>>(),
            [Some(5), Some(6), Some(7), Some(8)]
        );
        assert!(progress.ack(7) && progress.ack(6));
        assert_eq!((progress.cursor(), progress.runs()), (5, vec![(6, 2)]));
        assert!(progress.ack(5));
        assert_eq!((progress.cursor(), progress.runs()), (8, vec![]));
        assert!(!progress.ack(6), "an old acknowledgement is no news");
    }

    #[test]
    fn released_offsets_go_out_again_before_new_ones() {
        let mut progress = Progress::starting_at(0);
        assert_eq!((progress.take(3), progress.take(3)), (Some(0), Some(1)));
        progress.release(0);
        assert_eq!((progress.take(3), progress.take(3), progress.take(3)), (Some(0), Some(2), None));
        assert!(progress.ack(1));
        progress.release(1);
        assert_eq!(progress.take(3), None, "what is acknowledged does not come back");
    }

    #[test]
    fn a_restored_group_hands_out_exactly_what_was_not_acknowledged() {
        let mut progress = Progress::restored(10, &[(11, 2), (15, 1)]);
        let out: Vec<_> = std::iter::from_fn(|| progress.take(18)).collect();
        assert_eq!(out, [10, 13, 14, 16, 17]);
    }

    #[test]
    fn hand_outs_stop_at_the_look_ahead() {
        let mut progress = Progress::starting_at(0);
        assert_eq!(std::iter::from_fn(|| progress.take(u64::MAX)).count() as u64, LOOKAHEAD);
        assert!(progress.ack(0));
        assert_eq!(progress.take(u64::MAX), Some(LOOKAHEAD));
    }

    #[test]
    fn events_that_were_dropped_are_skipped() {
        let mut progress = Progress::starting_at(0);
        assert_eq!(progress.take(9), Some(0));
        progress.release(0);
        progress.skip_to(4);
        assert_eq!((progress.cursor(), progress.take(9)), (4, Some(4)));
    }
}
