//! What a connector implements. A worker owns a connector's life: open, start, run, stop.
//!
//! Contract of the whole: the source's thread makes batches, each lane's thread encodes whole batches in turn, one
//! target thread takes the parcels in the order of the batches. Nobody but the engine knows who runs where.

use std::task::{Context, Poll};

use crate::ack::Confirmed;
use crate::failure::Failure;
use crate::parcel::Parcel;
use crate::record::{Batch, ConnectorRecord, Position};
use crate::sequence::Epoch;

/// How a source's run ended without failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceEnd {
    /// Everything up to the end that the user asked for was handed on.
    Reached,
    /// It was asked to stop.
    Stopped,
}

/// The pipeline's near end, where a source puts its batches. Implemented by the engine; blocks while the pipeline is
/// full.
pub trait Intake<R> {
    /// Hands a batch on. `Err` means that the pipeline is going down: return `SourceEnd::Stopped` at once.
    fn send(&mut self, batch: Batch<R>) -> Result<(), Closed>;
    /// Waits until `bytes` more of source buffer fit under the memory limit; they count until the batch that `send`
    /// takes next has been encoded. Call before filling a buffer.
    fn reserve(&mut self, bytes: usize) -> Result<(), Closed>;
    /// As [`reserve`](Self::reserve), for a task.
    fn poll_reserve(&mut self, context: &mut Context<'_>, bytes: usize) -> Poll<Result<(), Closed>>;
    /// Whether the next `send` goes through at once, for a task.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()>;
    /// Whether the pipeline is going down, for loops that wait on something else.
    fn is_closed(&self) -> bool;
    /// A handle that tells which positions are acknowledged, for a source that acknowledges in its turn.
    fn confirmations(&self) -> Confirmed;
}

/// The pipeline is going down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// Why work on a batch ends early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Halt {
    /// The pipeline is going down.
    Closed,
    /// Something failed.
    Failed(Failure),
}

impl From<Closed> for Halt {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A source connector.
pub trait Source: Send + 'static {
    /// Its records.
    type Record: ConnectorRecord;
    /// What its records become, as the target takes it.
    type Event: Send + 'static;
    /// What turns its records into events; one per lane.
    type Encoder: Encode<Self::Record, Self::Event>;

    /// Connects, checks what the source lacks and decides where to begin: at `stored` if there is one. Nothing has
    /// been read when this returns; the position returned is where `run` begins.
    fn start(&mut self, stored: Option<&Position>) -> Result<Position, Failure>;
    /// A new encoder for one lane.
    fn encoder(&self) -> Self::Encoder;
    /// Reads until the end, a stop or a failure that cannot heal. Outages that can heal are its own business.
    fn run(self, intake: &mut dyn Intake<Self::Record>) -> Result<SourceEnd, Failure>;
}

/// How far an encoder got with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoded {
    /// The batch is finished.
    All,
    /// The parcel is full; call again with the same batch and an empty parcel.
    More,
}

/// Turns records into events.
pub trait Encode<R, E>: Send + 'static {
    /// Appends the batch's next events to `parcel` until the batch ends or the parcel is full. The encoder itself
    /// remembers where it stopped inside the batch.
    fn encode(&mut self, batch: &Batch<R>, parcel: &mut Parcel<E>) -> Result<Encoded, Failure>;
}

/// The pipeline's far end, where a target gets its parcels and tells what is acknowledged. Implemented by the engine.
pub trait Outlet<E>: Send {
    /// The next parcel, in order; `None` when the pipeline has ended and nothing more will come. Blocks, so call it only
    /// when nothing is left to acknowledge without it: what unacknowledged parcels hold may be what the next one waits
    /// for under the memory limit.
    fn next(&mut self) -> Option<Delivery<E>>;
    /// The next parcel if one is there.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Delivery<E>>>;
    /// Everything up to and including the delivery with this ticket is with the far side (sent, not acknowledged).
    fn emitted(&mut self, ticket: u64);
    /// Everything up to and including the delivery with this ticket is acknowledged: durable at the far side.
    fn acked(&mut self, ticket: u64);
    /// Gives an acknowledged parcel's memory back.
    fn recycle(&mut self, parcel: Parcel<E>);
    /// Writes a dead letter durably (fsync), or fails with `Failure::Fatal` naming the reason where `onReject` is
    /// `stop`.
    fn reject(&mut self, reason: &str, line: &[u8]) -> Result<(), Failure>;
    /// The parcels have ended, and what is not acknowledged by now will not be: it waits for what did not come. Its
    /// position is not saved, so that it comes again; the target may end.
    fn leave(&mut self) {}
    /// The epoch in which events are counted; `None` where they are not.
    fn epoch(&self) -> Option<Epoch> {
        None
    }
}

/// A parcel on its way to the target. Its `rejects` have been dealt with already.
#[derive(Debug)]
pub struct Delivery<E> {
    /// Counts up by one from 0.
    pub ticket: u64,
    /// The events.
    pub parcel: Parcel<E>,
}

/// A target: takes parcels in order until there are no more, then returns once all are acknowledged.
pub trait Target<E>: Send + 'static {
    /// Opens the far side. `Failure::Retry` is tried again within the start bound.
    fn start(&mut self) -> Result<(), Failure>;
    /// Runs until `parcels` ends and everything is acknowledged, or until a failure that cannot heal.
    fn run(self: Box<Self>, parcels: &mut dyn Outlet<E>) -> Result<(), Failure>;
}
