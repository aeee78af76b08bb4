//! The target's side of the lanes: takes up parcels in the rotation in which batches were dealt out, numbers them, and
//! turns acknowledged deliveries back into positions.
//!
//! Invariant: a position is told on only when every delivery of its batch, and of all batches before it, is
//! acknowledged; rejects of a parcel are durable before the parcel is delivered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::ack::Acks;
use crate::budget::{Budget, Permit, Pool};
use crate::checkpoint::{Ledger, Marks};
use crate::failure::Failure;
use crate::lane::{BatchEnd, Packed};
use crate::metrics::Metrics;
use crate::parcel::Parcel;
use crate::reject::Rejects;
use crate::ring::Receiver;
use crate::sequence::{Epoch, Sequencer};
use crate::worker::{Delivery, Outlet};

/// What the collector shares with the rest of the pipeline.
pub(crate) struct Shared<E> {
    pub(crate) pool: Arc<Pool<E>>,
    /// One a lane, for the metric only.
    pub(crate) budgets: Vec<Arc<Budget>>,
    pub(crate) marks: Marks,
    pub(crate) metrics: Arc<Metrics>,
    /// Where a failure of the collector's own goes; the target only sees that the parcels have ended.
    pub(crate) failed: Box<dyn Fn(Failure) + Send>,
}

/// Size of a delivery that is not acknowledged yet.
struct Size {
    rows: u64,
    bytes: u64,
}

/// Gives parcels to the target thread, which owns it.
pub(crate) struct Collector<E> {
    lanes: Vec<Receiver<Packed<E>>>,
    turn: usize,
    shared: Shared<E>,
    rejects: Rejects,
    /// Where events are counted.
    sequencer: Option<Sequencer<E>>,
    ledger: Ledger,
    acks: Acks,
    /// Deliveries so far: the next ticket.
    deliveries: u64,
    emitted: u64,
    /// The sizes of the deliveries that are not acknowledged, oldest first.
    sizes: VecDeque<Size>,
    /// What the target's parcels hold, oldest first. One goes with each parcel that comes back.
    permits: VecDeque<Permit>,
    /// Acknowledged parcels that did not come back in time: their permits are gone already.
    forgiven: u64,
    ended: bool,
    /// The target ends with deliveries that stay unacknowledged.
    left: bool,
}

impl<E> Collector<E> {
    pub(crate) fn new(
        lanes: Vec<Receiver<Packed<E>>>,
        shared: Shared<E>,
        rejects: Rejects,
        sequencer: Option<Sequencer<E>>,
    ) -> Self {
        Self {
            lanes,
            turn: 0,
            shared,
            rejects,
            sequencer,
            ledger: Ledger::new(),
            acks: Acks::new(1),
            deliveries: 0,
            emitted: 0,
            sizes: VecDeque::with_capacity(256),
            permits: VecDeque::with_capacity(256),
            forgiven: 0,
            ended: false,
            left: false,
        }
    }

    /// Whether a target that has returned without failure was right to.
    pub(crate) fn finished(&self) -> Result<(), Failure> {
        if !self.ended {
            return Err(Failure::Fatal("the target ended while there was more to send".into()));
        }
        match self.deliveries - self.acks.watermark() {
            0 => Ok(()),
            _ if self.left => Ok(()),
            missing => {
                Err(Failure::Fatal(format!("the target ended with {missing} deliveries unacknowledged")))
            }
        }
    }

    /// Deals with what a lane handed on; a delivery if there is one for the target in it.
    fn take(&mut self, packed: Packed<E>) -> Result<Option<Delivery<E>>, Failure> {
        let delivery = match packed.parcel {
            Some((parcel, permit)) => self.deliver(parcel, permit)?,
            None => None,
        };
        if let Some(BatchEnd { position, time_us }) = packed.end {
            self.turn = (self.turn + 1) % self.lanes.len();
            let changes = self.sequencer.as_mut().map(Sequencer::drain_changes).into_iter().flatten();
            self.ledger.push(self.deliveries, position, time_us, changes);
            self.settle();
        }
        Ok(delivery)
    }

    fn deliver(&mut self, mut parcel: Parcel<E>, permit: Permit) -> Result<Option<Delivery<E>>, Failure> {
        self.shared.metrics.collected.add(1);
        if !parcel.rejects.is_empty() {
            for reject in &parcel.rejects {
                self.rejects.write(&reject.reason, &reject.line)?;
            }
            self.rejects.sync()?;
            parcel.rejects.clear();
        }
        if parcel.events.is_empty() {
            self.shared.pool.give(parcel);
            return Ok(None);
        }
        if let Some(sequencer) = &mut self.sequencer {
            sequencer.stamp(&mut parcel);
        }
        let size = Size { rows: parcel.events.len() as u64, bytes: parcel.buffer.len() as u64 };
        self.shared.metrics.taken.add(size.rows, size.bytes);
        self.sizes.push_back(size);
        self.permits.push_back(permit);
        let ticket = self.deliveries;
        self.deliveries += 1;
        Ok(Some(Delivery { ticket, parcel }))
    }

    /// Tells on what positions are reached. Emitted goes first: it is never behind acked.
    fn settle(&mut self) {
        if let Some(position) = self.ledger.settle_emitted(self.emitted) {
            self.shared.marks.emitted.put(position);
        }
        if let Some(settled) = self.ledger.settle_acked(self.acks.watermark()) {
            self.shared.metrics.acked_time_us.raise(settled.time_us);
            self.shared.marks.acked.put(settled.position.clone(), self.ledger.changes(&settled));
            self.shared.marks.confirmed.put(settled.position);
        }
    }

    /// Lets go of what acknowledged parcels held that the target kept or dropped instead of recycling, so that a
    /// forgetful target is never waited for.
    fn forgive(&mut self) {
        while self.permits.len() > self.sizes.len() {
            self.permits.pop_front();
            self.forgiven += 1;
        }
        let used: usize = self.shared.budgets.iter().map(|budget| budget.used()).sum();
        self.shared.metrics.parcel_bytes.set(i64::try_from(used).unwrap_or(i64::MAX));
    }

    /// What to do with a lane's answer: `Some` ends the search.
    fn found(&mut self, packed: Option<Packed<E>>) -> Option<Option<Delivery<E>>> {
        let Some(packed) = packed else {
            self.ended = true;
            return Some(None);
        };
        match self.take(packed) {
            Ok(delivery) => delivery.map(Some),
            Err(failure) => {
                self.ended = true;
                (self.shared.failed)(failure);
                Some(None)
            }
        }
    }

    fn check_ticket(&self, ticket: u64) {
        assert!(
            ticket < self.deliveries,
            "ticket {ticket} of {} deliveries was never given",
            self.deliveries
        );
    }

    fn advance_emitted(&mut self, count: u64) {
        let first = self.deliveries - self.sizes.len() as u64;
        for done in self.emitted.max(first)..count {
            let index =
                usize::try_from(done - first).expect("fewer than usize::MAX deliveries are in memory");
            let size = &self.sizes[index];
            self.shared.metrics.emitted.add(size.rows, size.bytes);
        }
        self.emitted = self.emitted.max(count);
    }
}

impl<E: Send> Outlet<E> for Collector<E> {
    fn next(&mut self) -> Option<Delivery<E>> {
        self.forgive();
        while !self.ended {
            let packed = self.lanes[self.turn].pop();
            if let Some(found) = self.found(packed) {
                return found;
            }
        }
        None
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Delivery<E>>> {
        self.forgive();
        while !self.ended {
            let Poll::Ready(packed) = self.lanes[self.turn].poll_pop(context) else {
                return Poll::Pending;
            };
            if let Some(found) = self.found(packed) {
                return Poll::Ready(found);
            }
        }
        Poll::Ready(None)
    }

    fn emitted(&mut self, ticket: u64) {
        self.check_ticket(ticket);
        if ticket >= self.emitted {
            self.advance_emitted(ticket + 1);
            self.settle();
        }
    }

    fn acked(&mut self, ticket: u64) {
        self.check_ticket(ticket);
        let before = self.acks.watermark();
        if ticket < before {
            return;
        }
        self.advance_emitted(ticket + 1);
        self.acks.advance(0, ticket + 1);
        for _ in before..=ticket {
            let size = self.sizes.pop_front().expect("one for each delivery that is not acknowledged");
            self.shared.metrics.acked.add(size.rows, size.bytes);
        }
        self.settle();
    }

    fn recycle(&mut self, parcel: Parcel<E>) {
        self.shared.pool.give(parcel);
        if self.forgiven > 0 {
            self.forgiven -= 1;
        } else {
            self.permits.pop_front();
        }
    }

    fn reject(&mut self, reason: &str, line: &[u8]) -> Result<(), Failure> {
        self.rejects.write(reason, line)?;
        self.rejects.sync()
    }

    fn leave(&mut self) {
        self.left = true;
    }

    fn epoch(&self) -> Option<Epoch> {
        self.sequencer.as_ref().map(Sequencer::epoch)
    }
}
