//! Many events in one block of bytes, as they lie in a file or came in a response: the source's thread hands the block on as it
//! is, and a lane takes it apart.

use flowd_engine::order::Keyed;
use flowd_engine::parcel::Parcel;

use flowd_codec::event::Framed;

use crate::encode::Writer;
use crate::event::Event;

/// What [`Events::push_block`](crate::Events::push_block) was given.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    /// What the source says of it: where the bytes are from, in words of its own.
    pub origin: &'a str,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// Takes blocks apart, for one lane: [`EventSource::splitter`](crate::EventSource::splitter).
pub trait Splitter: Send {
    /// Pushes the block's events that begin at byte `from` or behind it, until there are no more or `out`
    /// [is full](Pieces::is_full); gives where the next one begins, the block's length after the last. The same block has
    /// the same events whenever it comes.
    fn split(&mut self, block: Block<'_>, from: usize, out: &mut Pieces<'_>) -> usize;
}

/// Where a splitter puts what it finds.
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

    /// What can become no event; as [`Events::reject`](crate::Events::reject).
    pub fn reject(&mut self, reason: &str, raw: &[u8]) {
        self.writer.reject(reason, raw, self.parcel);
    }

    /// Whether the rest has to wait. To be asked behind each event.
    pub fn is_full(&self) -> bool {
        self.parcel.is_full()
    }
}
