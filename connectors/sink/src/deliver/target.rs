//! The target of such a sink's pipeline: takes what is there, has it delivered, and acknowledges it.
//!
//! Kept: a parcel is acknowledged only when each of its events is delivered or written down as a dead letter. Memory: the
//! parcels of one put.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use flowd_engine::arrival::{Arrival, next_until};
use flowd_engine::back_off::BackOff;
use flowd_engine::failure::Failure;
use flowd_engine::worker::{Delivery, Outlet, Target};
use tracing::warn;

use super::event::Arrived;
use super::{DeliverEvent, EventSink, Refused};
use crate::letter::letter;
use crate::stats::SinkStats;

/// The most events of a put: half of what EventMesh has on its way at most (4,096), so that the other half comes and is read
/// while a put waits for its answer.
pub const EVENTS_MAX: usize = 2_048;
/// A put takes no further parcel once it holds so many bytes; a parcel is about 256 KiB.
pub const BYTES_FULL: usize = 2 * 1024 * 1024;

/// Waits between two tries of a put.
const RETRY_WAIT: Duration = Duration::from_millis(100);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(10);

/// Any [`EventSink`], for the engine.
pub struct DeliverTarget {
    sink: Box<dyn EventSink>,
    stats: Arc<SinkStats>,
}

impl DeliverTarget {
    /// Counts into `stats`, which the caller may keep a handle of.
    pub fn new(sink: Box<dyn EventSink>, stats: Arc<SinkStats>) -> Self {
        Self { sink, stats }
    }
}

impl Target<Arrived> for DeliverTarget {
    fn start(&mut self) -> Result<(), Failure> {
        self.sink.start()
    }

    fn run(mut self: Box<Self>, parcels: &mut dyn Outlet<Arrived>) -> Result<(), Failure> {
        while let Some(first) = parcels.next() {
            let mut taken = Taken::default();
            taken.push(first);
            while !taken.is_full()
                && let Arrival::Parcel(more) = next_until(parcels, Instant::now())
            {
                taken.push(more);
            }
            self.stats.received.add(taken.events as u64);
            self.deliver(&taken, parcels)?;
            self.stats.applied.add(taken.events as u64);
            taken.acknowledge(parcels);
        }
        self.sink.close();
        Ok(())
    }
}

impl DeliverTarget {
    /// Has all events of these parcels delivered, or written down as dead letters.
    fn deliver(&mut self, taken: &Taken, parcels: &mut dyn Outlet<Arrived>) -> Result<(), Failure> {
        let mut events = Vec::with_capacity(taken.events);
        for Delivery { parcel, .. } in &taken.deliveries {
            for arrived in &parcel.events {
                if let Arrived::Bad { raw, reason } = arrived {
                    reject(parcels, reason, raw.of(&parcel.buffer))?;
                }
                events.extend(arrived.event(&parcel.buffer));
            }
        }
        for events in events.chunks(EVENTS_MAX) {
            for Refused { index, reason } in self.put(events)? {
                reject(parcels, &reason, events[index].json)?;
            }
        }
        Ok(())
    }

    /// Puts the events until the sink has them.
    fn put(&mut self, events: &[DeliverEvent<'_>]) -> Result<Vec<Refused>, Failure> {
        let mut back_off = BackOff::new(RETRY_WAIT, RETRY_WAIT_MAX);
        loop {
            match self.sink.put(events) {
                Err(Failure::Retry(text)) => {
                    let wait = back_off.wait();
                    self.stats.reopened.add(1);
                    warn!(
                        events = events.len(),
                        wait_ms = wait.as_millis(),
                        "not delivered, trying again: {text}"
                    );
                    thread::sleep(wait);
                }
                done => {
                    self.stats.puts.add(1);
                    return done;
                }
            }
        }
    }
}

fn reject(parcels: &mut dyn Outlet<Arrived>, reason: &str, event: &[u8]) -> Result<(), Failure> {
    let (told, line) = letter(reason, event);
    parcels.reject(&told, &line)
}

/// Parcels whose events go together.
#[derive(Default)]
struct Taken {
    deliveries: Vec<Delivery<Arrived>>,
    events: usize,
    bytes: usize,
}

impl Taken {
    fn push(&mut self, delivery: Delivery<Arrived>) {
        self.events += delivery.parcel.events.len();
        self.bytes += delivery.parcel.buffer.len();
        self.deliveries.push(delivery);
    }

    fn is_full(&self) -> bool {
        self.events >= EVENTS_MAX || self.bytes >= BYTES_FULL
    }

    fn acknowledge(self, parcels: &mut dyn Outlet<Arrived>) {
        let last = self.deliveries.last().map(|delivery| delivery.ticket);
        for Delivery { parcel, .. } in self.deliveries {
            parcels.recycle(parcel);
        }
        if let Some(ticket) = last {
            parcels.emitted(ticket);
            parcels.acked(ticket);
        }
    }
}
