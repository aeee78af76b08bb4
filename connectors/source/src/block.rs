//! Many events in what was read at once, such as the lines of a file: a source hands it on as it is, and a lane takes it apart.

use flowd_codec::event::Framed;
use flowd_codec::event::view::EventView;
use flowd_engine::order::Keyed;
use flowd_engine::parcel::Parcel;

use crate::batch::BYTES_FULL;
use crate::encode::Writer;
use crate::event::Event;

/// Bytes of a block that is a batch of its own: of more than are to be had at once, so many are handed on together.
pub const BLOCK_BYTES: usize = BYTES_FULL;

/// What was read at once. It has the same events whenever it is read.
pub trait Block: Send + 'static {
    /// Bytes that it holds; they count against `pipeline.memory`.
    fn size(&self) -> usize;

    /// Pushes its events from a place on, first from 0, until there are no more, or until `out` [is full](Pieces::is_full):
    /// then where to go on.
    fn split(&self, from: usize, out: &mut Pieces<'_>) -> Option<usize>;
}

/// Where a block puts its events.
pub struct Pieces<'a> {
    writer: &'a mut Writer,
    parcel: &'a mut Parcel<Keyed<Framed>>,
}

impl<'a> Pieces<'a> {
    pub(crate) fn new(writer: &'a mut Writer, parcel: &'a mut Parcel<Keyed<Framed>>) -> Self {
        Self { writer, parcel }
    }

    /// An event; as [`Events::push`](crate::Events::push).
    pub fn push(&mut self, event: &Event<'_>) {
        self.writer.event(event, self.parcel);
    }

    /// A CloudEvent that was read, as [`Event::Structured`]: its `subject` is replaced by the topic. `raw` is what a dead letter
    /// holds.
    pub fn push_view(&mut self, event: &EventView<'_>, topic: &str, raw: &[u8]) {
        self.writer.view(event, topic, raw, self.parcel);
    }

    /// What can become no event; as [`Events::reject`](crate::Events::reject).
    pub fn reject(&mut self, reason: &str, raw: &[u8]) {
        self.writer.reject(reason, raw, self.parcel);
    }

    /// Whether the rest has to wait. To be asked behind each event.
    pub fn is_full(&self) -> bool {
        self.parcel.is_full()
    }
}
