//! One lane: what comes next in it, and what waits.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use super::names::{SourceId, TopicId};
use super::rows::Ranges;
use super::snapshots::Row;
use super::{Gap, Number, Place};

/// Runs of numbers that were given up and are remembered, so that one that comes late is told from one that comes again.
const GIVEN_UP_MAX: usize = 1024;

/// Where an event stands in its lane: a row of a snapshot comes behind the counted event that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) epoch: u64,
    pub(super) sequence: u64,
    /// `None` for the counted event itself, which is before all rows behind it.
    pub(super) row: Option<Row>,
}

impl At {
    pub(super) fn of(place: &Place) -> Self {
        match place.number {
            Number::Counted { epoch, sequence } => Self { epoch, sequence, row: None },
            Number::Row { row, after: (epoch, sequence) } => Self { epoch, sequence, row: Some(row) },
        }
    }

    /// What the lane's next number has to be before this may go.
    fn needs(&self) -> u64 {
        self.sequence + u64::from(self.row.is_some())
    }
}

/// An event that waits.
#[derive(Debug)]
pub(super) struct Held<T> {
    pub(super) place: Place,
    pub(super) size: usize,
    pub(super) since_ms: u64,
    /// How long its source had been heard then.
    pub(super) since_heard_ms: u64,
    pub(super) item: T,
}

#[derive(Debug)]
pub(super) struct Lane<T> {
    pub(super) number: u16,
    pub(super) topic: TopicId,
    pub(super) source: SourceId,
    /// 0 before the first event.
    pub(super) epoch: u64,
    /// The number that goes next; 0 while it is not known where the lane begins.
    pub(super) next: u64,
    /// Rows behind an earlier number are from before a TRUNCATE.
    pub(super) rows_from: u64,
    /// What is beyond waits until a TRUNCATE of the topic has gone.
    pub(super) limit: Option<(u64, u64)>,
    /// An event that the store takes only later is tried again then; all waits for it.
    pub(super) blocked_until_ms: Option<u64>,
    /// Numbers of this epoch that were given up and have not come.
    pub(super) given_up: Ranges,
    /// What of that the store has on record.
    pub(super) given_up_recorded: Vec<u8>,
    pub(super) held: BTreeMap<At, Held<T>>,
}

/// How an event stands to what its lane has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is its turn.
    Next,
    /// Something is missing before it.
    Beyond,
    /// Its number has gone.
    Gone,
    /// What it belongs to is over.
    Over,
}

impl<T> Lane<T> {
    pub(super) fn new(number: u16, topic: TopicId, source: SourceId) -> Self {
        Self {
            number,
            topic,
            source,
            epoch: 0,
            next: 0,
            rows_from: 0,
            limit: None,
            blocked_until_ms: None,
            given_up: Ranges::default(),
            given_up_recorded: Vec::new(),
            held: BTreeMap::new(),
        }
    }

    /// Goes on to a newer epoch. The first one ever begins anywhere with published delivery.
    pub(super) fn begin(&mut self, epoch: u64, is_applied: bool) {
        debug_assert!(epoch > self.epoch, "epoch {epoch} after {}", self.epoch);
        self.next = u64::from(self.next != 0 || is_applied);
        self.epoch = epoch;
        self.rows_from = 0;
        self.blocked_until_ms = None;
        self.given_up = Ranges::default();
        // The record of another epoch goes with the first one of this.
        self.given_up_recorded.clear();
    }

    /// How an event of the lane's epoch stands. Whether a row has gone, the lane does not know.
    pub(super) fn standing(&self, at: &At, gap: Option<Gap>) -> Standing {
        debug_assert_eq!(at.epoch, self.epoch);
        // A row within numbers that are given up need not wait for them.
        let gap = gap.or_else(|| at.row.and_then(|_| self.gap_around(at)));
        let needs = gap.map_or(at.needs(), |gap| gap.first);
        let is_reached = needs == 1 || (self.next != 0 && needs <= self.next);
        match at.row {
            None if at.sequence < self.next => Standing::Gone,
            Some(_) if at.sequence < self.rows_from => Standing::Over,
            _ if is_reached => Standing::Next,
            _ => Standing::Beyond,
        }
    }

    /// What was given up for one that waits behind this, if this is within it.
    pub(super) fn gap_around(&self, at: &At) -> Option<Gap> {
        let mut behind = self.held.range((Excluded(at), Unbounded));
        let (behind, held) = behind.find(|(at, held)| held.place.gap.is_some() || at.row.is_none())?;
        held.place.gap.filter(|gap| behind.epoch == at.epoch && gap.first <= at.sequence)
    }

    /// Whether nothing else keeps an event back whose turn it is.
    pub(super) fn is_open_to(&self, at: &At) -> bool {
        self.blocked_until_ms.is_none() && self.limit.is_none_or(|limit| (at.epoch, at.sequence) <= limit)
    }

    /// Moves on behind an event.
    pub(super) fn went(&mut self, at: &At) {
        let next = at.sequence + 1;
        self.next = if at.row.is_none() { next } else { self.next.max(next) };
    }

    /// Gives up what is missing before the first that waits; how many. Where the lane begins, nothing is missing.
    pub(super) fn pass_gap(&mut self) -> u64 {
        let mut first = self.held.first_entry().expect("what waits has a gap before it");
        let needs = first.key().needs();
        if self.next == 0 {
            self.next = needs;
            return 0;
        }
        first.get_mut().place.gap = Some(Gap { first: self.next });
        // A run may be given up already, for one that was of no more use then or waited when the process ended.
        let missing = self.given_up.end().map_or(self.next, |end| self.next.max(end))..needs;
        if !missing.is_empty() {
            self.given_up.append(missing.start, needs - 1, GIVEN_UP_MAX);
        }
        needs.saturating_sub(missing.start)
    }

    /// The first that waits.
    pub(super) fn first(&self) -> Option<(At, &Held<T>)> {
        self.held.first_key_value().map(|(at, held)| (*at, held))
    }
}
