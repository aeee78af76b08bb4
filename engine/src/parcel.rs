//! What an encode lane hands to the target: finished events, back to back in one pooled buffer.

/// An event that cannot be sent, already written down as one dead-letter JSON line without newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Why, in one sentence, with the position.
    pub reason: String,
    /// The dead-letter line: reason, position and the event or its metadata.
    pub line: Vec<u8>,
}

/// A bounded run of encoded events of one batch. What an event is, encoder and target agree upon: usually a few
/// offsets into the buffer.
#[derive(Debug)]
pub struct Parcel<E> {
    /// The events' bytes.
    pub buffer: Vec<u8>,
    /// In order.
    pub events: Vec<E>,
    /// What follows `onReject` instead of being sent.
    pub rejects: Vec<Reject>,
}

/// A lane goes on to a new parcel once the buffer holds this many bytes; a parcel is larger only by its last event.
pub const BYTES_FULL: usize = 256 * 1024;

impl<E> Parcel<E> {
    /// Whether the lane should hand this parcel on.
    pub fn is_full(&self) -> bool {
        self.buffer.len() >= BYTES_FULL
    }

    /// Empties the parcel, keeping its memory for reuse.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.events.clear();
        self.rejects.clear();
    }
}

impl<E> Default for Parcel<E> {
    fn default() -> Self {
        Self { buffer: Vec::new(), events: Vec::new(), rejects: Vec::new() }
    }
}
