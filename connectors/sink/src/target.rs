//! The target of a sink's pipeline: takes events out of parcels, in order and once, and puts them into a store.
//!
//! Kept: a parcel is acknowledged only when each of its events is durable in the store, written down as a dead letter, or
//! of no use; with applied delivery also when it waits for others, since its source sends it again unless it is applied.
//! What is decided goes with the next put and no later one: the order's state then is what the put records.
//!
//! Memory: parcels are held until their events are put, and go back then; what has to wait is copied into the buffer,
//! which [`SinkSettings::buffer_bytes`] bounds. While it is full of what cannot go, no parcel is taken.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use flowd_engine::arrival::{Arrival, next_until};
use flowd_engine::failure::Failure;
use flowd_engine::worker::{Delivery, Outlet, Target};
use tracing::warn;

use crate::announce::Announce;
use crate::decode::text_of;
use crate::event::{self, Content, SinkEvent};
use crate::letter::letter;
use crate::order::{HELD_OVERHEAD, Number, Order, Place, Row, Settings, Verdict, Why};
use crate::stats::SinkStats;
use crate::store::{Applied, Op, Store};

mod batch;
mod news;
mod put;
mod tickets;

use batch::{Batch, Unit, Waiting};
use news::News;
use put::Putter;
use tickets::Tickets;

/// Waits and bounds of a sink.
#[derive(Debug, Clone, Copy)]
pub struct SinkSettings {
    /// What events that wait for others may hold.
    pub buffer_bytes: usize,
    /// How long published delivery waits for a number that is missing while its source is heard: longer than a source
    /// takes to publish again. For thirty times as long while the source is silent: it may be down with what is missing.
    pub gap_wait: Duration,
    /// How long it waits for lower numbers where a lane is new to the sink.
    pub first_wait: Duration,
}

impl Default for SinkSettings {
    fn default() -> Self {
        Self {
            buffer_bytes: 32 * 1024 * 1024,
            gap_wait: Duration::from_secs(10),
            first_wait: Duration::from_secs(5),
        }
    }
}

/// How long an event rests that the store takes only later, and how often it is tried.
const LATER_WAIT: Duration = Duration::from_millis(200);
const LATER_TRIES: u8 = 10;
/// Silence of a source counts for so much less than its going on, when a gap is given up.
const SILENT_FACTOR: u32 = 30;
/// Why an event is rejected that was given up before it came.
const LATE: &str = "it came after it was given up: later events of its lane are applied already, so applying it now could undo \
                    them; compare its row with the source's (`pipeline.gapWaitMs` says how long it is waited for)";
/// How often it is told that something is missing or waits for long.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Puts events into a store.
pub struct SinkTarget<S> {
    store: S,
    announce: Box<dyn Announce>,
    settings: SinkSettings,
    stats: Arc<SinkStats>,
    applied: Applied,
}

impl<S: Store> SinkTarget<S> {
    /// Tells `announce` what is applied, and counts into `stats`, which the caller may keep a handle of.
    pub fn new(store: S, announce: Box<dyn Announce>, settings: SinkSettings, stats: Arc<SinkStats>) -> Self {
        Self { store, announce, settings, stats, applied: Applied::default() }
    }
}

impl<S: Store> Target<SinkEvent> for SinkTarget<S> {
    fn start(&mut self) -> Result<(), Failure> {
        self.applied = self.store.open()?;
        Ok(())
    }

    fn run(self: Box<Self>, parcels: &mut dyn Outlet<SinkEvent>) -> Result<(), Failure> {
        let Self { store, announce, settings, stats, applied } = *self;
        let ms = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let mut order = Order::new(Settings {
            buffer_bytes: settings.buffer_bytes,
            gap_wait_ms: ms(settings.gap_wait),
            silent_wait_ms: ms(settings.gap_wait * SILENT_FACTOR),
            first_wait_ms: ms(settings.first_wait),
        });
        order.load(&applied);
        let mut running = Running {
            order,
            putter: Putter::new(store, applied, Arc::clone(&stats)),
            tickets: Tickets::default(),
            batch: Batch::default(),
            news: News::new(announce),
            stats,
            clock: Instant::now(),
            paused: Duration::ZERO,
            told: Instant::now(),
            missing: 0,
        };
        let result = running.run(parcels);
        running.putter.close();
        result
    }
}

/// A target at work.
struct Running<S> {
    order: Order<Waiting>,
    putter: Putter<S>,
    tickets: Tickets,
    batch: Batch,
    news: News,
    stats: Arc<SinkStats>,
    /// The order's time is counted from here …
    clock: Instant,
    /// … without that which the store took: what is missing may have come meanwhile, and waits to be looked at.
    paused: Duration,
    told: Instant,
    /// Numbers that were given up since that was told.
    missing: u64,
}

impl<S: Store> Running<S> {
    fn now_ms(&self) -> u64 {
        let elapsed = self.clock.elapsed().saturating_sub(self.paused);
        u64::try_from(elapsed.as_millis()).expect("fewer than 2^64 ms have passed")
    }

    fn run(&mut self, parcels: &mut dyn Outlet<SinkEvent>) -> Result<(), Failure> {
        loop {
            self.release(parcels)?;
            if self.order.is_full() {
                // Only what was given back can hold so much: it goes in a moment.
                self.flush(parcels)?;
                thread::sleep(LATER_WAIT / 10);
                continue;
            }
            match self.next(parcels) {
                Arrival::Parcel(delivery) => {
                    self.take(delivery, parcels)?;
                    if self.batch.is_empty() {
                        // Nothing but what came again: nothing will be put that would acknowledge it.
                        self.flush(parcels)?;
                    }
                }
                Arrival::Nothing => self.flush(parcels)?,
                Arrival::End => return self.end(parcels),
            }
        }
    }

    /// The next parcel; not waited for while there is something to put.
    fn next(&self, parcels: &mut dyn Outlet<SinkEvent>) -> Arrival<SinkEvent> {
        let is_busy = !self.batch.is_empty() || self.news.is_any() || self.tickets.is_any_settled();
        let until = match self.order.due_ms() {
            _ if is_busy => Instant::now(),
            Some(due_ms) => self.clock + self.paused + Duration::from_millis(due_ms),
            None if self.order.waiting().0 > 0 => Instant::now() + TELL_EVERY,
            None => return parcels.next().map_or(Arrival::End, Arrival::Parcel),
        };
        next_until(parcels, until)
    }

    /// Takes all events of a parcel.
    fn take(
        &mut self,
        delivery: Delivery<SinkEvent>,
        parcels: &mut dyn Outlet<SinkEvent>,
    ) -> Result<(), Failure> {
        let (ticket, count) = (delivery.ticket, delivery.parcel.events.len());
        self.stats.received.add(count as u64);
        self.tickets.push(delivery);
        for index in 0..count {
            let (event, buffer) = self.tickets.event(ticket, index);
            let is_barrier = is_truncate(event);
            let place = place_of(&mut self.order, event, buffer)?;
            // The record of the others must not have its number.
            if is_barrier || self.batch.is_full() {
                self.flush(parcels)?;
            }
            self.arrive(ticket, index, place, parcels)?;
            if is_barrier {
                self.flush(parcels)?;
            }
            if self.order.waiting().0 > 0 {
                self.release(parcels)?;
            }
        }
        self.tickets.is_judged(ticket);
        Ok(())
    }

    /// Deals with one event that arrived.
    fn arrive(
        &mut self,
        ticket: u64,
        index: usize,
        place: Option<Place>,
        parcels: &mut dyn Outlet<SinkEvent>,
    ) -> Result<(), Failure> {
        let now_ms = self.now_ms();
        let (event, buffer) = self.tickets.event(ticket, index);
        let size = event.json.of(buffer).len();
        let Some(place) = place else {
            self.batch.push(Unit::arrived(None, ticket, index), size);
            return Ok(());
        };
        match self.order.judge(&place, size + HELD_OVERHEAD, now_ms) {
            Verdict::Go => self.batch.push(Unit::arrived(Some(place), ticket, index), size),
            Verdict::Wait => {
                let (event, bytes) = event.detached(buffer);
                // Unless it is applied, its source sends it again.
                let ticket_kept = (!place.is_applied).then_some(ticket);
                let waiting = Waiting { event, bytes, ticket: ticket_kept, tries: 0, is_settled: false };
                self.order.hold(place, size + HELD_OVERHEAD, waiting, now_ms);
                if ticket_kept.is_none() {
                    self.tickets.done(ticket);
                }
            }
            Verdict::Drop(why) => {
                if why == Why::Late && !matches!(event.content, Content::Marker) {
                    let (told, line) = letter(LATE, event.json.of(buffer));
                    parcels.reject(&told, &line)?;
                }
                if place.is_applied && why == Why::Duplicate {
                    self.news.add(&place);
                }
                self.tickets.done(ticket);
            }
        }
        Ok(())
    }

    /// Takes what waited and may go now.
    fn release(&mut self, parcels: &mut dyn Outlet<SinkEvent>) -> Result<(), Failure> {
        loop {
            let (now_ms, is_empty) = (self.now_ms(), self.batch.is_empty());
            let released = self.order.release(now_ms, is_empty);
            for dropped in self.order.drain_dropped() {
                dropped.ticket.into_iter().for_each(|ticket| self.tickets.done(ticket));
            }
            let Some((place, waiting)) = released else {
                if !self.order.has_barrier() || is_empty {
                    return Ok(());
                }
                self.flush(parcels)?;
                continue;
            };
            let size = waiting.bytes.len();
            self.batch.push(Unit::of(place, waiting), size);
            if place.is_barrier || self.batch.is_full() {
                self.flush(parcels)?;
            }
        }
    }

    /// Puts what is decided, until all of it is in the store or a dead letter; tells the news.
    fn flush(&mut self, parcels: &mut dyn Outlet<SinkEvent>) -> Result<(), Failure> {
        self.batch.reject_bad(&self.tickets, parcels)?;
        while !self.batch.is_empty() {
            let records = self.batch.records(&self.order);
            let began = Instant::now();
            let refused = self.putter.put(&self.batch, &self.tickets, &records)?;
            self.paused += began.elapsed();
            if refused.is_empty() {
                self.order.recorded(&records);
                self.settle();
                break;
            }
            for (unit, refused) in refused {
                let is_later = refused.later && self.batch.may_be_later(unit, LATER_TRIES, &self.order);
                if is_later {
                    self.batch.mark_later(unit);
                } else {
                    self.batch.reject(unit, &refused.reason, &self.tickets, parcels)?;
                }
            }
            self.give_back();
        }
        self.news.tell(&self.order);
        self.tickets.settle(parcels);
        self.count();
        Ok(())
    }

    /// Everything of the batch is durable.
    fn settle(&mut self) {
        self.stats.applied.add(self.batch.len() as u64);
        for unit in self.batch.drain() {
            if let Some(place) = unit.place.filter(|place| place.is_applied) {
                self.news.add(&place);
            }
            unit.ticket.into_iter().for_each(|ticket| self.tickets.done(ticket));
        }
    }

    /// Hands what is to be tried later back to the order, with all that came behind it in its lane.
    fn give_back(&mut self) {
        let now_ms = self.now_ms();
        let until_ms = now_ms + LATER_WAIT.as_millis() as u64;
        // The last first: each lane goes back step by step.
        for unit in self.batch.take_later().into_iter().rev() {
            self.stats.deferred.add(1);
            let place = unit.place.expect("only what has a place is tried later");
            let mut waiting = unit.into_waiting(&self.tickets);
            if place.is_applied
                && let Some(ticket) = waiting.ticket.take()
            {
                self.tickets.done(ticket);
            }
            let size = waiting.bytes.len() + HELD_OVERHEAD;
            self.order.give_back(place, size, waiting, now_ms, until_ms);
        }
    }

    /// Nothing more will come. What waits for what did not come stays unacknowledged, so that it comes again.
    fn end(&mut self, parcels: &mut dyn Outlet<SinkEvent>) -> Result<(), Failure> {
        self.flush(parcels)?;
        while self.order.is_any_blocked() {
            thread::sleep(LATER_WAIT / 10);
            self.release(parcels)?;
            self.flush(parcels)?;
        }
        let left = self.tickets.len();
        if left > 0 {
            parcels.leave();
            warn!(
                events = self.order.waiting().0,
                "events wait for others that have not come; they are not acknowledged"
            );
        }
        Ok(())
    }

    /// Moves the order's counts on, and tells what somebody should know.
    fn count(&mut self) {
        let counts = self.order.take_counts();
        self.stats.duplicates.add(counts.duplicates);
        self.stats.late.add(counts.late);
        self.stats.outdated.add(counts.outdated);
        self.stats.dropped.add(counts.full);
        self.stats.missing.add(counts.missing);
        let (waiting, bytes) = self.order.waiting();
        self.stats.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.stats.waiting_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.missing += counts.missing;
        let is_first = self.missing > 0 && self.missing == counts.missing;
        if !is_first && self.told.elapsed() < TELL_EVERY {
            return;
        }
        self.told = Instant::now();
        if self.missing > 0 {
            warn!(
                missing = self.missing,
                "events did not come and are passed over; `pipeline.delivery: applied` at the source loses none"
            );
            self.missing = 0;
        }
        if let Some((since_ms, lane)) = self.order.oldest_wait()
            && let waited_ms = self.now_ms().saturating_sub(since_ms)
            && waited_ms >= TELL_EVERY.as_millis() as u64
        {
            let (topic, number) = (&lane.topic, lane.sequence + 1);
            warn!(%topic, lane = lane.lane, number, waited_ms, waiting, "events wait for one that has not come");
        }
    }
}

fn is_truncate(event: &SinkEvent) -> bool {
    matches!(event.content, Content::Change { op: Op::Truncate, .. })
}

/// Where an event stands; `None` for one that stands nowhere.
fn place_of(order: &mut Order<Waiting>, event: &SinkEvent, buffer: &[u8]) -> Result<Option<Place>, Failure> {
    // What stands nowhere is not read.
    let text = |span| text_of(span, buffer);
    let too_many = || {
        let topic = text(event.topic);
        Failure::Fatal(format!("more topics or snapshots than a sink can follow, at topic {topic}"))
    };
    let (lane, number) = match event.order {
        event::Order::None => return Ok(None),
        event::Order::Counted { epoch, lane, sequence } => (lane, Number::Counted { epoch, sequence }),
        event::Order::Row { snapshot, chunk, number, size, lane, after } => {
            let snapshot = order.snapshot(text(event.source), text(snapshot)).ok_or_else(too_many)?;
            (lane, Number::Row { row: Row { snapshot, chunk, number, size }, after })
        }
    };
    let id = order.lane(text(event.source), text(event.topic), lane).ok_or_else(too_many)?;
    let number = match number {
        Number::Row { row, after } if matches!(event.content, Content::Marker) => {
            Number::Row { row, after: order.behind_truncate(id, after) }
        }
        number => number,
    };
    Ok(Some(Place {
        lane: id,
        number,
        is_applied: event.is_applied,
        is_barrier: lane == 0 && is_truncate(event) && matches!(number, Number::Counted { .. }),
        gap: None,
    }))
}

#[cfg(test)]
mod tests;
