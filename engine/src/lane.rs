//! The encode lanes: batch n goes to lane n mod lanes, each lane a thread that encodes whole batches.
//!
//! [`Dealer`] is the source's side and deals the batches out; [`Lane`] encodes them. The target's side takes them up in
//! the same rotation (`collect`), so the order of the batches holds with any number of lanes. What a lane hands on says
//! where a batch ends; a batch without records only carries its position through.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::ack::{Confirmed, Latest};
use crate::budget::{Budget, Permit, Pool};
use crate::checkpoint::Marks;
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::parcel::Parcel;
use crate::record::{Batch, Position};
use crate::ring::{Receiver, Sender};
use crate::worker::{Closed, Encode, Encoded, Halt, Intake};

/// A batch on its way to a lane, with the source bytes that it holds.
pub(crate) struct Work<R> {
    batch: Batch<R>,
    permit: Permit,
}

/// What a lane hands on.
pub(crate) struct Packed<E> {
    /// Events and the bytes they hold; none where a batch had nothing (more) to send.
    pub(crate) parcel: Option<(Parcel<E>, Permit)>,
    /// The last of its batch.
    pub(crate) end: Option<BatchEnd>,
}

/// Where the source stands after a batch.
pub(crate) struct BatchEnd {
    pub(crate) position: Position,
    pub(crate) time_us: i64,
}

/// The source's side of the lanes.
pub(crate) struct Dealer<R> {
    lanes: Vec<Sender<Work<R>>>,
    turn: usize,
    /// Reserved for the batch that comes next.
    permit: Permit,
    budget: Arc<Budget>,
    read: Latest<Position>,
    confirmed: Confirmed,
    metrics: Arc<Metrics>,
    /// Once a batch was refused, so are all after it: one taken in its place would be taken for it.
    refused: bool,
}

impl<R> Dealer<R> {
    pub(crate) fn new(
        lanes: Vec<Sender<Work<R>>>,
        budget: Arc<Budget>,
        marks: &Marks,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (read, confirmed) = (marks.read.clone(), marks.confirmed.clone());
        Self { lanes, turn: 0, permit: budget.permit(), budget, read, confirmed, metrics, refused: false }
    }

    fn tell_reserved(&self) {
        self.metrics.source_bytes.set(i64::try_from(self.budget.used()).unwrap_or(i64::MAX));
    }
}

impl<R> Intake<R> for Dealer<R> {
    fn send(&mut self, batch: Batch<R>) -> Result<(), Closed> {
        if self.is_closed() {
            self.refused = true;
            return Err(Closed);
        }
        let (bytes, time_us) = (batch.bytes.len() as u64, batch.time_us);
        self.read.put(batch.position.clone());
        let work = Work { batch, permit: self.permit.split() };
        if self.lanes[self.turn].push(work).is_err() {
            self.refused = true;
            return Err(Closed);
        }
        self.turn = (self.turn + 1) % self.lanes.len();
        self.metrics.read.add(0, bytes);
        self.metrics.saw(time_us);
        Ok(())
    }

    fn reserve(&mut self, bytes: usize) -> Result<(), Closed> {
        if self.is_closed() {
            return Err(Closed);
        }
        self.permit.acquire(bytes)?;
        self.tell_reserved();
        Ok(())
    }

    fn poll_reserve(&mut self, context: &mut Context<'_>, bytes: usize) -> Poll<Result<(), Closed>> {
        if self.is_closed() {
            return Poll::Ready(Err(Closed));
        }
        ready!(self.permit.poll_acquire(context, bytes))?;
        self.tell_reserved();
        Poll::Ready(Ok(()))
    }

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.lanes[self.turn].poll_ready(context)
    }

    fn is_closed(&self) -> bool {
        self.refused || self.budget.is_closed()
    }

    fn confirmations(&self) -> Confirmed {
        self.confirmed.clone()
    }
}

/// One lane.
pub(crate) struct Lane<R, E, C> {
    pub(crate) encoder: C,
    pub(crate) input: Receiver<Work<R>>,
    pub(crate) output: Sender<Packed<E>>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) pool: Arc<Pool<E>>,
    pub(crate) metrics: Arc<Metrics>,
}

impl<R, E, C: Encode<R, E>> Lane<R, E, C> {
    /// Encodes until the source's side or the target's side has closed.
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        while let Some(work) = self.input.pop() {
            match self.encode(work) {
                Ok(()) => {}
                Err(Halt::Closed) => break,
                Err(Halt::Failed(failure)) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Hands on all of one batch.
    fn encode(&mut self, work: Work<R>) -> Result<(), Halt> {
        let Work { batch, permit: source_bytes } = work;
        let mut last = None;
        let (mut rows, mut bytes) = (0, 0);
        if !batch.records.is_empty() {
            loop {
                let (parcel, encoded) = self.fill(&batch)?;
                rows += parcel.0.events.len() as u64;
                bytes += parcel.0.buffer.len() as u64;
                if encoded == Encoded::All {
                    last = Some(parcel);
                    break;
                }
                self.hand_on(Packed { parcel: Some(parcel), end: None })?;
            }
        }
        let end = BatchEnd { position: batch.position.clone(), time_us: batch.time_us };
        // The bytes off the wire go before their permit does.
        drop(batch);
        drop(source_bytes);
        self.metrics.encoded.add(rows, bytes);
        self.hand_on(Packed { parcel: last.and_then(|parcel| self.unless_empty(parcel)), end: Some(end) })
    }

    /// One parcel of the batch.
    fn fill(&mut self, batch: &Batch<R>) -> Result<((Parcel<E>, Permit), Encoded), Halt> {
        let mut permit = self.budget.permit();
        permit.acquire(Pool::<E>::CHARGE)?;
        let mut parcel = self.pool.take();
        let encoded = self.encoder.encode(batch, &mut parcel)?;
        permit.force(Pool::excess(&parcel));
        if encoded == Encoded::More && parcel.events.is_empty() && parcel.rejects.is_empty() {
            let text = format!(
                "the encoder handed on an empty parcel in mid-batch of {} records",
                batch.records.len()
            );
            return Err(Halt::Failed(Failure::Fatal(text)));
        }
        Ok(((parcel, permit), encoded))
    }

    /// The parcel, or nothing and its memory back in the pool.
    fn unless_empty(&self, (parcel, permit): (Parcel<E>, Permit)) -> Option<(Parcel<E>, Permit)> {
        if parcel.events.is_empty() && parcel.rejects.is_empty() {
            self.pool.give(parcel);
            return None;
        }
        Some((parcel, permit))
    }

    fn hand_on(&mut self, packed: Packed<E>) -> Result<(), Halt> {
        let parcels = u64::from(packed.parcel.is_some());
        self.output.push(packed).map_err(|_| Halt::Closed)?;
        self.metrics.parcels.add(parcels);
        Ok(())
    }
}
