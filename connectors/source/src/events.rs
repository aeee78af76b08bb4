//! Where a source that blocks puts its events, and learns what is acknowledged.

use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use flowd_engine::ack::Confirmed;
use flowd_engine::arrival::thread_waker;
use flowd_engine::record::{Batch, Position};
use flowd_engine::worker::{Closed, Intake};

use crate::batch::{BYTES_FULL, Building, Message, size_of_event};
use crate::event::Event;

/// How long the way down waits for one more acknowledgement.
pub(crate) const LAST_ACK: Duration = Duration::from_secs(2);

/// The pipeline's near end. Events are gathered into batches of 64 KiB; a push blocks while the pipeline is full.
///
/// `Closed` means that the pipeline is going down: return `SourceEnd::Stopped`. What was handed on by then is still
/// delivered, and its acknowledgement comes; what was not is as if it had never been read.
pub struct Events<'a> {
    pub(crate) intake: &'a mut dyn Intake<Message>,
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

    /// Adds an event. A batch that was full, or some milliseconds old, when its last event came is handed on first.
    ///
    /// # Errors
    /// The pipeline is going down.
    pub fn push(&mut self, event: &Event<'_>) -> Result<(), Closed> {
        self.make_room(size_of_event(event))?;
        self.building.push(event);
        self.is_due = self.building.is_due();
        Ok(())
    }

    /// Adds what can become no event, with the reason: a dead letter, or the end of the run, by `pipeline.onReject`. It
    /// counts like an event: its position is acknowledged once the dead letter is durable.
    ///
    /// # Errors
    /// The pipeline is going down.
    pub fn reject(&mut self, reason: &str, raw: &[u8]) -> Result<(), Closed> {
        self.make_room(reason.len() + raw.len())?;
        self.building.reject(reason, raw);
        self.is_due = self.building.is_due();
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

    pub(crate) fn hand_on(&mut self, batch: Batch<Message>) -> Result<(), Closed> {
        let position = batch.position.clone();
        self.reserved = 0;
        self.intake.send(batch)?;
        self.handed_on = position;
        Ok(())
    }

    /// The newest acknowledged position, if there is one since the last time.
    pub fn acked(&mut self) -> Option<Position> {
        let news = self.confirmed.take()?;
        self.acked = news.clone();
        Some(news)
    }

    /// As [`acked`](Self::acked), for a source that waits for several things by hand: woken once there is one.
    pub fn poll_acked(&mut self, context: &mut Context<'_>) -> Poll<Position> {
        self.confirmed.poll(context).map(|position| {
            self.acked = position.clone();
            position
        })
    }

    /// Whether all that was handed on is acknowledged.
    pub fn is_drained(&self) -> bool {
        self.acked == self.handed_on
    }

    /// For a source that passes acknowledgements on, after `Closed` or at its end: the next acknowledged position, waited
    /// for; `None` once all that was handed on is acknowledged, or nothing was for two seconds.
    pub fn drain(&mut self) -> Option<Position> {
        let waker = thread_waker();
        let mut context = Context::from_waker(&waker);
        let deadline = Instant::now() + LAST_ACK;
        while !self.is_drained() {
            if let Poll::Ready(position) = self.poll_acked(&mut context) {
                return Some(position);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::park_timeout(left);
        }
        None
    }

    /// Whether the pipeline is going down.
    pub fn is_closed(&self) -> bool {
        self.intake.is_closed()
    }

    pub(crate) fn confirmed(&self) -> Confirmed {
        self.confirmed.clone()
    }

    fn make_room(&mut self, size: usize) -> Result<(), Closed> {
        if self.is_due {
            self.flush()?;
        }
        let needed = self.building.size() + size;
        if needed > self.reserved {
            let more = (needed - self.reserved).max(BYTES_FULL);
            self.intake.reserve(more)?;
            self.reserved += more;
        }
        Ok(())
    }
}
