//! What the tests of the targets share: a scripted source of parcels, and parcels made by hand.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use flowd_codec::event::{EventWriter, Framed, Framing, Template, stamp};
use flowd_engine::failure::Failure;
use flowd_engine::order::Keyed;
use flowd_engine::parcel;
use flowd_engine::sequence::{Lane, Numbering, Place, TopicId};
use flowd_engine::worker::{self, Outlet};

use crate::Outgoing;

pub(crate) mod mesh;

type Parcel = parcel::Parcel<Outgoing>;
type Delivery = worker::Delivery<Outgoing>;

/// Makes a parcel of a number, until the flag is set.
type Endless = (Arc<Mutex<bool>>, fn(u64) -> Parcel);

/// Hands out parcels and writes down what it is told.
#[derive(Default)]
pub(crate) struct FakeParcels {
    queue: VecDeque<Parcel>,
    /// Parcels that come only once a ticket is acknowledged.
    later: VecDeque<(u64, Parcel)>,
    next_ticket: u64,
    waker: Option<Waker>,
    endless: Option<Endless>,
    pub(crate) emitted: Vec<u64>,
    pub(crate) acked: Vec<u64>,
    pub(crate) recycled: usize,
    pub(crate) rejects: Vec<(String, String)>,
    /// What a reject is answered with.
    pub(crate) on_reject: Option<Failure>,
    pub(crate) on_acked: Option<Box<dyn FnMut(u64) + Send>>,
}

impl FakeParcels {
    /// These parcels, then the end.
    pub(crate) fn ending(parcels: Vec<Parcel>) -> Self {
        Self { queue: parcels.into(), ..Self::default() }
    }

    pub(crate) fn then_when_acked(&mut self, ticket: u64, parcel: Parcel) {
        self.later.push_back((ticket, parcel));
    }

    /// After the queued parcels, one of its number after each acknowledgement, until `is_done`.
    pub(crate) fn endless_until(&mut self, is_done: Arc<Mutex<bool>>, parcel: fn(u64) -> Parcel) {
        self.endless = Some((is_done, parcel));
    }

    pub(crate) fn total(&self) -> usize {
        self.queue.len() + self.later.len() + self.next_ticket as usize
    }

    fn deliver(&mut self) -> Option<Delivery> {
        let parcel = self.queue.pop_front()?;
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        Some(Delivery { ticket, parcel })
    }
}

impl Outlet<Outgoing> for FakeParcels {
    fn next(&mut self) -> Option<Delivery> {
        let delivery = self.deliver();
        assert!(delivery.is_some() || self.later.is_empty(), "a blocking wait that nothing would end");
        delivery
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        match self.deliver() {
            Some(delivery) => Poll::Ready(Some(delivery)),
            None if self.later.is_empty() && self.endless.is_none() => Poll::Ready(None),
            None => {
                self.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn emitted(&mut self, ticket: u64) {
        assert!(self.emitted.last().is_none_or(|last| *last < ticket), "emitted goes backwards to {ticket}");
        assert!(ticket < self.next_ticket, "ticket {ticket} was never handed out");
        self.emitted.push(ticket);
    }

    fn acked(&mut self, ticket: u64) {
        assert!(self.acked.last().is_none_or(|last| *last < ticket), "acked goes backwards to {ticket}");
        assert!(
            self.emitted.last().is_some_and(|last| *last >= ticket),
            "ticket {ticket} acked before emitted"
        );
        self.acked.push(ticket);
        if let Some(on_acked) = &mut self.on_acked {
            on_acked(ticket);
        }
        if self.endless.as_ref().is_some_and(|(is_done, _)| *is_done.lock().unwrap()) {
            self.endless = None;
            self.waker.take().into_iter().for_each(Waker::wake);
        }
        if let Some((_, parcel)) = &self.endless {
            self.queue.push_back(parcel(ticket + 1));
            self.waker.take().into_iter().for_each(Waker::wake);
        }
        while self.later.front().is_some_and(|(after, _)| *after <= ticket) {
            self.queue.extend(self.later.pop_front().map(|(_, parcel)| parcel));
            self.waker.take().into_iter().for_each(Waker::wake);
        }
    }

    fn recycle(&mut self, _parcel: Parcel) {
        self.recycled += 1;
    }

    fn reject(&mut self, reason: &str, line: &[u8]) -> Result<(), Failure> {
        self.rejects.push((reason.to_owned(), String::from_utf8(line.to_vec()).unwrap()));
        self.on_reject.clone().map_or(Ok(()), Err)
    }
}

/// A parcel of lines; each text is its event's JSON and, for want of another, its id.
pub(crate) fn line_parcel(texts: &[&str]) -> Parcel {
    let mut parcel = Parcel::default();
    for text in texts {
        let start = parcel.buffer.len() as u32;
        parcel.buffer.extend_from_slice(text.as_bytes());
        let body_end = parcel.buffer.len() as u32;
        parcel.buffer.push(b'\n');
        let end = body_end + 1;
        let event = Framed { start, body: start, body_end, end, id: start, id_end: body_end, stamp: 0 };
        parcel.events.push(Keyed::uncounted(event, [0; 2]));
    }
    parcel
}

/// A parcel of publish frames; each event has a number, which is in its id, and a key.
pub(crate) fn mesh_parcel(events: impl IntoIterator<Item = (u64, u64)>) -> Parcel {
    padded_mesh_parcel(events, 0)
}

/// The same, each event with `padding` bytes more.
pub(crate) fn padded_mesh_parcel(events: impl IntoIterator<Item = (u64, u64)>, padding: usize) -> Parcel {
    let template = Template::new(Framing::EventMesh, "/flowd/test/t", "flowd.change.c", "shop.orders");
    let padding = "x".repeat(padding);
    let mut parcel = Parcel::default();
    for (number, key) in events {
        let mut writer = EventWriter::begin(&mut parcel.buffer, &template);
        writer.id(|out| out.extend_from_slice(format!("id-{number}").as_bytes()));
        writer.time_us(1_700_000_000_000_000);
        let data = format!("{{\"key\":\"{key}\",\"padding\":\"{padding}\"}}");
        writer.data().extend_from_slice(data.as_bytes());
        parcel.events.push(Keyed::uncounted(writer.finish(), [key, 0]));
    }
    parcel
}

/// The epoch and source of the counted parcels.
pub(crate) const EPOCH: u64 = 1_764_028_800_000_000;
pub(crate) const SOURCE: &str = "/flowd/mysql/orders";

/// What a counted event is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// A change with a number in lane 0.
    Change(u64),
    /// A TRUNCATE with a number in lane 0.
    Truncate(u64),
    /// A row of a chunk, behind number 0.
    Row { chunk: u64 },
}

/// A parcel of publish frames of topic `shop.orders` that are counted and to be applied, each with a key.
pub(crate) fn counted_parcel(events: impl IntoIterator<Item = (Kind, u64)>) -> Parcel {
    let template = Template::new(Framing::EventMesh, SOURCE, "flowd.change.c", "shop.orders");
    let mut parcel = Parcel::default();
    for (index, (kind, key)) in events.into_iter().enumerate() {
        let mut writer = EventWriter::begin(&mut parcel.buffer, &template);
        let (id, numbering, number) = match kind {
            Kind::Change(number) => (format!("id-{number}"), Numbering::Counted, number),
            Kind::Truncate(number) => (format!("t-{number}"), Numbering::Barrier, number),
            Kind::Row { chunk } => (format!("row-{chunk}-{index}"), Numbering::Behind, 0),
        };
        writer.id(|out| out.extend_from_slice(id.as_bytes()));
        writer.time_us(1_700_000_000_000_000);
        match kind {
            Kind::Change(_) | Kind::Truncate(_) => writer.sequence(0),
            Kind::Row { chunk } => {
                writer.snapshot_row("s", &format!("{EPOCH:016}-{chunk}"), index as u32, index as u32 + 1, 0);
            }
        }
        writer.applied();
        writer.data().extend_from_slice(format!("{{\"key\":\"{key}\"}}").as_bytes());
        let event = writer.finish();
        stamp(&mut parcel.buffer, &event, EPOCH, number);
        let place = Place { topic: TopicId(0), lane: Lane(0), numbering };
        parcel.events.push(Keyed { event, keys: [key, 0], place, sequence: number });
    }
    parcel
}
