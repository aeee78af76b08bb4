//! Parcels that are with the target: which of their events are not dealt with yet, and what can be acknowledged.

use std::collections::VecDeque;

use flowd_engine::parcel::Parcel;
use flowd_engine::worker::{Delivery, Outlet};

use crate::event::SinkEvent;

struct Open {
    /// Gone once nothing borrows from it.
    parcel: Option<Parcel<SinkEvent>>,
    /// Every event has been looked at.
    is_judged: bool,
    /// Events that are not dealt with.
    open: usize,
}

/// The parcels that are not acknowledged, oldest first; their tickets follow each other.
#[derive(Default)]
pub(super) struct Tickets {
    first: u64,
    parcels: VecDeque<Open>,
    /// Parcels that are judged and still here, from the oldest on.
    kept: VecDeque<u64>,
}

impl Tickets {
    pub(super) fn push(&mut self, delivery: Delivery<SinkEvent>) {
        if self.parcels.is_empty() {
            self.first = delivery.ticket;
        }
        debug_assert_eq!(delivery.ticket, self.first + self.parcels.len() as u64);
        let open = delivery.parcel.events.len();
        self.parcels.push_back(Open { parcel: Some(delivery.parcel), is_judged: false, open });
    }

    fn open(&mut self, ticket: u64) -> &mut Open {
        &mut self.parcels[index(ticket, self.first)]
    }

    /// An event of a parcel that is still here, and the bytes that it borrows.
    pub(super) fn event(&self, ticket: u64, event: usize) -> (&SinkEvent, &[u8]) {
        let parcel =
            self.parcels[index(ticket, self.first)].parcel.as_ref().expect("its events are not put yet");
        (&parcel.events[event], &parcel.buffer)
    }

    /// All events of the parcel have been looked at.
    pub(super) fn is_judged(&mut self, ticket: u64) {
        self.open(ticket).is_judged = true;
        self.kept.push_back(ticket);
    }

    /// One event of the parcel is dealt with.
    pub(super) fn done(&mut self, ticket: u64) {
        let open = self.open(ticket);
        debug_assert!(open.open > 0, "parcel {ticket} has no open event");
        open.open -= 1;
    }

    /// Whether `settle` has something to do.
    pub(super) fn is_any_settled(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Gives parcels back and acknowledges. Only while nothing borrows from a parcel that is judged.
    pub(super) fn settle(&mut self, parcels: &mut dyn Outlet<SinkEvent>) {
        while let Some(ticket) = self.kept.pop_front() {
            if let Some(parcel) = self.open(ticket).parcel.take() {
                parcels.recycle(parcel);
            }
        }
        let mut acked = None;
        while self.parcels.front().is_some_and(|open| open.is_judged && open.open == 0) {
            self.parcels.pop_front();
            acked = Some(self.first);
            self.first += 1;
        }
        if let Some(ticket) = acked {
            parcels.emitted(ticket);
            parcels.acked(ticket);
        }
    }

    /// Parcels that are not acknowledged.
    pub(super) fn len(&self) -> usize {
        self.parcels.len()
    }
}

fn index(ticket: u64, first: u64) -> usize {
    usize::try_from(ticket - first).expect("fewer than usize::MAX parcels are in memory")
}
