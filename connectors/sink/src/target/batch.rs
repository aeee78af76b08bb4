//! What is decided and not put yet: events in their order, from parcels or from the buffer.

use std::collections::BTreeMap;

use flowd_engine::failure::Failure;
use flowd_engine::worker::Outlet;

use super::tickets::Tickets;
use crate::decode::text_of;
use crate::event::{Content, SinkEvent};
use crate::letter::letter;
use crate::order::{LaneId, Number, Order, Place, Row};
use crate::store::{Applied, Op, StoreEvent};

/// A put holds about so much: more only by its last event.
const EVENTS_MAX: usize = 1000;
const BYTES_MAX: usize = 1024 * 1024;

/// An event that waits in the buffer, with bytes of its own.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) event: SinkEvent,
    pub(super) bytes: Box<[u8]>,
    /// Its parcel is not acknowledged before it is dealt with.
    pub(super) ticket: Option<u64>,
    /// How often the store did not take it.
    pub(super) tries: u8,
    /// Its dead letter is written.
    pub(super) is_settled: bool,
}

/// Where an event's bytes are.
pub(super) enum Bytes {
    Parcel { ticket: u64, index: usize },
    Own(SinkEvent, Box<[u8]>),
}

/// An event that goes with the next put.
pub(super) struct Unit {
    pub(super) place: Option<Place>,
    pub(super) ticket: Option<u64>,
    pub(super) bytes: Bytes,
    pub(super) tries: u8,
    /// Its dead letter is written: only its number goes with the put.
    pub(super) is_settled: bool,
}

impl Unit {
    /// It arrived and its turn is now.
    pub(super) fn arrived(place: Option<Place>, ticket: u64, index: usize) -> Self {
        let bytes = Bytes::Parcel { ticket, index };
        Self { place, ticket: Some(ticket), bytes, tries: 0, is_settled: false }
    }

    pub(super) fn of(place: Place, waiting: Waiting) -> Self {
        let Waiting { event, bytes, ticket, tries, is_settled } = waiting;
        Self { place: Some(place), ticket, bytes: Bytes::Own(event, bytes), tries, is_settled }
    }

    /// For the buffer, again.
    pub(super) fn into_waiting(self, tickets: &Tickets) -> Waiting {
        let (event, bytes) = match self.bytes {
            Bytes::Own(event, bytes) => (event, bytes),
            Bytes::Parcel { ticket, index } => {
                let (event, buffer) = tickets.event(ticket, index);
                event.detached(buffer)
            }
        };
        Waiting { event, bytes, ticket: self.ticket, tries: self.tries, is_settled: self.is_settled }
    }

    fn event<'a>(&'a self, tickets: &'a Tickets) -> (&'a SinkEvent, &'a [u8]) {
        match &self.bytes {
            Bytes::Own(event, bytes) => (event, bytes),
            Bytes::Parcel { ticket, index } => tickets.event(*ticket, *index),
        }
    }

    /// As the store sees it; `None` for what it has nothing to do with.
    fn for_store<'a>(&'a self, tickets: &'a Tickets) -> Option<StoreEvent<'a>> {
        if self.is_settled {
            return None;
        }
        let (event, buffer) = self.event(tickets);
        let mut found = StoreEvent {
            op: Op::Create,
            db: "",
            table: "",
            before: None,
            after: None,
            plain: None,
            id: event.id.of(buffer),
        };
        match &event.content {
            Content::Change { op, db, table, before, after } => {
                found.op = *op;
                (found.db, found.table) = (text_of(*db, buffer), text_of(*table, buffer));
                (found.before, found.after) =
                    (before.map(|span| span.of(buffer)), after.map(|span| span.of(buffer)));
            }
            Content::Plain { data } => found.plain = Some(data.of(buffer)),
            Content::Marker | Content::Bad { .. } => return None,
        }
        Some(found)
    }
}

/// The events of the next put.
#[derive(Default)]
pub(super) struct Batch {
    units: Vec<Unit>,
    bytes: usize,
    /// One was added that may be of those that cannot be understood.
    is_unread: bool,
    /// Where each lane's first event is that is to be tried later.
    later: BTreeMap<LaneId, usize>,
}

impl Batch {
    pub(super) fn push(&mut self, unit: Unit, size: usize) {
        self.units.push(unit);
        self.bytes += size;
        self.is_unread = true;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.units.len() >= EVENTS_MAX || self.bytes >= BYTES_MAX
    }

    pub(super) fn len(&self) -> usize {
        self.units.len()
    }

    /// All is put.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Unit> + '_ {
        self.bytes = 0;
        self.units.drain(..)
    }

    /// The events for a store, each with its unit.
    pub(super) fn for_store<'a>(&'a self, tickets: &'a Tickets) -> (Vec<StoreEvent<'a>>, Vec<usize>) {
        self.units
            .iter()
            .enumerate()
            .filter_map(|(index, unit)| Some((unit.for_store(tickets)?, index)))
            .unzip()
    }

    /// What a put of all events has to record.
    pub(super) fn records(&self, order: &Order<Waiting>) -> Applied {
        let mut lanes = Vec::new();
        let mut rows: Vec<Row> = Vec::new();
        for place in self.units.iter().filter_map(|unit| unit.place) {
            lanes.push(place.lane);
            if let Number::Row { row, .. } = place.number {
                rows.push(row);
            }
        }
        lanes.sort_unstable();
        lanes.dedup();
        rows.sort_unstable();
        rows.dedup_by_key(|row| (row.snapshot, row.chunk));
        order.records(&lanes, &rows)
    }

    /// Writes dead letters for what cannot be understood.
    pub(super) fn reject_bad(
        &mut self,
        tickets: &Tickets,
        parcels: &mut dyn Outlet<SinkEvent>,
    ) -> Result<(), Failure> {
        if !std::mem::take(&mut self.is_unread) {
            return Ok(());
        }
        for unit in self.units.iter_mut().filter(|unit| !unit.is_settled) {
            let (event, buffer) = unit.event(tickets);
            if let Content::Bad { reason } = &event.content {
                let (told, line) = letter(reason, event.json.of(buffer));
                parcels.reject(&told, &line)?;
                unit.is_settled = true;
            }
        }
        Ok(())
    }

    /// Writes the dead letter of one that the store refused.
    pub(super) fn reject(
        &mut self,
        unit: usize,
        reason: &str,
        tickets: &Tickets,
        parcels: &mut dyn Outlet<SinkEvent>,
    ) -> Result<(), Failure> {
        let unit = &mut self.units[unit];
        let (event, buffer) = unit.event(tickets);
        let (told, line) = letter(reason, event.json.of(buffer));
        parcels.reject(&told, &line)?;
        unit.is_settled = true;
        Ok(())
    }

    /// Whether a unit that the store takes only later can wait for that.
    pub(super) fn may_be_later(&self, unit: usize, tries_max: u8, order: &Order<Waiting>) -> bool {
        let unit = &self.units[unit];
        let place = unit.place.filter(|place| !place.is_barrier && order.may_give_back(place));
        unit.tries < tries_max && place.is_some()
    }

    /// The unit, and all behind it in its lane, are to be tried later.
    pub(super) fn mark_later(&mut self, index: usize) {
        let unit = &mut self.units[index];
        unit.tries += 1;
        let lane = unit.place.expect("only what has a place is tried later").lane;
        let first = self.later.entry(lane).or_insert(index);
        *first = index.min(*first);
    }

    /// Takes out what is to be tried later, in order.
    pub(super) fn take_later(&mut self) -> Vec<Unit> {
        let later = std::mem::take(&mut self.later);
        let mut index = 0;
        let is_later = |unit: &mut Unit| {
            index += 1;
            let first = unit.place.and_then(|place| later.get(&place.lane));
            first.is_some_and(|first| index > *first)
        };
        self.units.extract_if(.., is_later).collect()
    }
}
