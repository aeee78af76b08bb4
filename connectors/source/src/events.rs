//! Where a source that blocks puts its events, and learns what is acknowledged.

use std::task::{Context, Poll, ready};
use std::time::Instant;

use flowd_engine::ack::Confirmed;
use flowd_engine::record::{Batch, Position};
use flowd_engine::worker::{Closed, Intake};

use crate::batch::{BYTES_FULL, Building, Message, size_of_block, size_of_event};
use crate::block::Block;
use crate::event::Event;

/// The pipeline's near end. Events are gathered into batches of 64 KiB; a push blocks while the pipeline is full.
///
/// `Closed` means that the pipeline is going down: return `SourceEnd::Stopped`. What was handed on by then is still
/// delivered, and its acknowledgement comes; what was not is as if it had never been read.
pub struct Events<'a> {
    intake: &'a mut dyn Intake<Message>,
    confirmed: Confirmed,
    building: Building,
    /// Whether the next event makes a new batch, found out when the last one came: what a source is told holds until then.
    is_due: bool,
    /// Bytes reserved for the batch at hand.
    reserved: usize,
    /// The position handed on last.
    pub(crate) handed_on: Position,
    /// The newest acknowledged position that was told.
    acked: Position,
}

impl<'a> Events<'a> {
    pub(crate) fn new(intake: &'a mut dyn Intake<Message>, begin: Position) -> Self {
        let confirmed = intake.confirmations();
        let building = Building::new(begin.clone());
        Self {
            intake,
            confirmed,
            building,
            is_due: false,
            reserved: 0,
            handed_on: begin.clone(),
            acked: begin,
        }
    }

    /// The same, for as long as this is borrowed. To be asked for before anything is pushed.
    pub(crate) fn reborrow(&mut self) -> Events<'_> {
        Events::new(&mut *self.intake, self.handed_on.clone())
    }

    /// Adds an event. A batch that was full, or some milliseconds old, when its last event came is handed on first.
    ///
    /// # Errors
    /// The pipeline is going down.
    pub fn push(&mut self, event: &Event<'_>) -> Result<(), Closed> {
        self.make_room(size_of_event(event))?;
        self.add(event);
        Ok(())
    }

    /// Adds what was read at once and holds any number of events: a lane makes them, and this thread does nothing for each.
    ///
    /// # Errors
    /// The pipeline is going down.
    pub fn push_block(&mut self, block: impl Block) -> Result<(), Closed> {
        self.make_room(size_of_block(&block))?;
        self.add_block(Box::new(block));
        Ok(())
    }

    /// Adds what can become no event, with the reason: a dead letter, or the end of the run, by `pipeline.onReject`. It
    /// counts like an event: its position is acknowledged once the dead letter is durable.
    ///
    /// # Errors
    /// The pipeline is going down.
    pub fn reject(&mut self, reason: &str, raw: &[u8]) -> Result<(), Closed> {
        self.make_room(reason.len() + raw.len())?;
        self.add_reject(reason, raw);
        Ok(())
    }

    /// Everything pushed so far belongs to `position`: once that is acknowledged, so is all of it. Cheap; of several marks
    /// in a batch the last counts.
    pub fn mark(&mut self, position: Position) {
        self.building.mark(position);
    }

    /// Whether the next event makes a new batch. A source whose positions take work to make marks then, and so loses none of
    /// what it knows.
    pub fn is_due(&self) -> bool {
        self.is_due
    }

    /// Hands on what is there now. Call it before waiting for more.
    ///
    /// # Errors
    /// The pipeline is going down.
    pub fn flush(&mut self) -> Result<(), Closed> {
        self.is_due = false;
        match self.building.take() {
            Some(batch) => self.hand_on(batch),
            None => Ok(()),
        }
    }

    /// The newest acknowledged position, if there is one since the last time.
    pub fn acked(&mut self) -> Option<Position> {
        let news = self.confirmed.take()?;
        self.acked = news.clone();
        Some(news)
    }

    /// Whether the pipeline is going down.
    pub fn is_closed(&self) -> bool {
        self.intake.is_closed()
    }

    /// For a task: room for an event of so many bytes.
    pub(crate) fn poll_room(&mut self, context: &mut Context<'_>, size: usize) -> Poll<Result<(), Closed>> {
        if self.is_due {
            ready!(self.poll_flush(context))?;
        }
        if let Some(more) = self.lacks(size) {
            ready!(self.intake.poll_reserve(context, more))?;
            self.reserved += more;
        }
        Poll::Ready(Ok(()))
    }

    /// As [`flush`](Self::flush), for a task.
    pub(crate) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        ready!(self.intake.poll_ready(context));
        Poll::Ready(self.flush())
    }

    /// As [`flush`](Self::flush), of what is old enough.
    pub(crate) fn poll_by_age(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        match self.due() {
            Some(due) if due <= Instant::now() => self.poll_flush(context),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// As [`acked`](Self::acked), for a task.
    pub(crate) fn poll_acked(&mut self, context: &mut Context<'_>) -> Poll<Position> {
        self.confirmed.poll(context).map(|position| {
            self.acked = position.clone();
            position
        })
    }

    /// Whether all that was handed on is acknowledged.
    pub(crate) fn is_drained(&self) -> bool {
        self.acked == self.handed_on
    }

    /// When what is there is to be handed on.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.building.due()
    }

    /// Adds an event for which there is room.
    pub(crate) fn add(&mut self, event: &Event<'_>) {
        self.building.push(event);
        self.is_due = self.building.is_due();
    }

    pub(crate) fn add_block(&mut self, block: Box<dyn Block>) {
        self.building.block(block);
        self.is_due = self.building.is_due();
    }

    pub(crate) fn add_reject(&mut self, reason: &str, raw: &[u8]) {
        self.building.reject(reason, raw);
        self.is_due = self.building.is_due();
    }

    fn hand_on(&mut self, batch: Batch<Message>) -> Result<(), Closed> {
        let position = batch.position.clone();
        self.reserved = 0;
        self.intake.send(batch)?;
        self.handed_on = position;
        Ok(())
    }

    fn make_room(&mut self, size: usize) -> Result<(), Closed> {
        if self.is_due {
            self.flush()?;
        }
        if let Some(more) = self.lacks(size) {
            self.intake.reserve(more)?;
            self.reserved += more;
        }
        Ok(())
    }

    /// What is to be reserved for an event of so many bytes.
    fn lacks(&self, size: usize) -> Option<usize> {
        let needed = self.building.size() + size;
        (needed > self.reserved).then(|| (needed - self.reserved).max(BYTES_FULL))
    }
}
