//! What a sink of messages implements, and all that such sinks share.
//!
//! A connector is one [`Connector`] constant: its name, its settings as data, and how it is opened. What it opens is an
//! [`EventSink`], which delivers CloudEvents one by one or many at once, or a [`Store`], which keeps rows. A store gets the
//! whole machinery of `target`: order, each change once, what is applied told to the source. An event sink gets events in
//! the order in which they come, at least once; it has nothing to do with acknowledgements, dead letters or retries.

use flowd_codec::event::carried;
use flowd_codec::event::view::{EventError, EventView};
use flowd_engine::failure::Failure;
use flowd_engine::finding::Finding;
use flowd_engine::setting::{Setting, Settings, Wrong};

use crate::store::{Standing, Store};

pub mod event;
pub mod target;

/// A sink connector: one constant, and one line in the table of `src/connectors.rs`.
#[derive(Debug)]
pub struct Connector {
    /// As it is written behind `--connector`.
    pub name: &'static str,
    /// One line for the reader.
    pub help: &'static str,
    /// What it is told under `connectorConfig`, besides `connectorName`, which every connector has.
    pub settings: &'static [Setting],
    /// Makes the sink. It judges the settings and opens nothing: no connection, no file.
    pub open: fn(&Settings, &Context) -> Result<Opened, Wrong>,
}

/// What a sink gets besides its own settings.
#[derive(Debug, Clone)]
pub struct Context {
    /// The logical name.
    pub connector_name: String,
    /// What waits inside the sink may hold so many bytes, besides the events of the put at hand.
    pub buffer_bytes: usize,
}

/// An opened sink.
pub enum Opened {
    /// It delivers events.
    Events(Box<dyn EventSink>),
    /// It keeps rows and the record of what is applied, in one transaction.
    Rows {
        /// Where they are put.
        store: Box<dyn Store>,
        /// Who answers questions about it beside a run.
        look: Box<dyn Look>,
    },
}

/// Answers about a store, on a connection of its own and without its lock: for `flowd check` and `flowd position`.
pub trait Look {
    /// The target, for messages.
    fn address(&self) -> String;

    /// What the target lacks for these topics.
    ///
    /// # Errors
    /// What keeps it from looking.
    fn check(&self, topics: &[String]) -> Result<Vec<Finding>, Failure>;

    /// How far each lane is applied; nothing where the sink never ran.
    ///
    /// # Errors
    /// What keeps it from looking.
    fn standing(&self) -> Result<Vec<Standing>, Failure>;
}

/// A sink of messages. One thread calls it; blocking is fine.
///
/// Promise: events are delivered at least once, in the order in which they came, and an event counts as delivered when the
/// far side has it durably or its dead letter is written. `source` and `id` tell the far side a repeat.
pub trait EventSink: Send + 'static {
    /// Connects, and checks what can be checked. `flowd check` calls this alone, and a failure may be followed by another
    /// call.
    ///
    /// # Errors
    /// `Retry` for what may heal: it is tried again for `pipeline.startMs`. `Unusable` for what will not (exit code 3):
    /// wrong credentials, something that is named and not there.
    fn start(&mut self) -> Result<(), Failure>;

    /// Delivers the events, in order: when this returns, all but the refused ones are durable at the far side. There is at
    /// least one event, and at most [`EVENTS_MAX`](target::EVENTS_MAX) in about [`BYTES_FULL`](target::BYTES_FULL) bytes.
    /// How many are on their way at once is the sink's own business, as long as two events of one key keep their order.
    ///
    /// Refused is what the far side will never take: it goes to `onReject`, and is not put again.
    ///
    /// # Errors
    /// `Retry` for what may heal, be it a lost connection or an overload: all of these events are put again after a
    /// back-off, for as long as it takes; the sink connects again by itself. `Fatal` ends the run.
    fn put(&mut self, events: &[DeliverEvent<'_>]) -> Result<Vec<Refused>, Failure>;

    /// The run ends, and everything put is durable.
    fn close(&mut self) {}
}

/// One event to be delivered, borrowed from the bytes that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliverEvent<'a> {
    /// The whole event as it came out of EventMesh. It is a CloudEvent.
    pub json: &'a [u8],
    /// `id`
    pub id: &'a str,
    /// `source`
    pub source: &'a str,
    /// `subject`, which is the topic; empty where the event names none.
    pub topic: &'a str,
    /// `partitionkey`, the order key.
    pub key: Option<&'a str>,
}

impl<'a> DeliverEvent<'a> {
    /// The event with all its attributes, its data in the form that it had before EventMesh (see
    /// [`carried`]). [`EventView::write_json`] gives structured mode, [`EventView::attributes`] and [`carried::payload`]
    /// binary mode.
    ///
    /// # Errors
    /// What the event says of itself and is not so, such as base64 that is none: refuse it.
    pub fn cloud_event(&self) -> Result<EventView<'a>, EventError> {
        carried::restore(self.json)
    }
}

/// An event that the far side will never take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Of the event among those of the put.
    pub index: usize,
    /// Why, in one sentence.
    pub reason: String,
}

#[cfg(test)]
mod tests;
