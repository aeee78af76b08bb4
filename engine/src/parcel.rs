//! What an encode lane hands to the target: finished events, back to back in one pooled buffer.

/// One encoded event in a parcel's buffer. All offsets are into [`Parcel::buffer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// First byte of the framed event (a frame's head, or the body itself where there is no head).
    pub start: u32,
    /// First byte of the CloudEvent's JSON.
    pub body: u32,
    /// One past the JSON's last byte.
    pub body_end: u32,
    /// One past the framed event's last byte (a line's newline).
    pub end: u32,
    /// The value of the `id` attribute (never needs JSON escaping): first byte …
    pub id: u32,
    /// … and one past its last.
    pub id_end: u32,
    /// Hashes of the keys that the event holds until it is acknowledged; 0 means none. A key change holds two.
    pub keys: [u64; 2],
}

/// An event that cannot be sent, already written down as one dead-letter JSON line without newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Why, in one sentence, with the position.
    pub reason: String,
    /// The dead-letter line: reason, position and the event or its metadata.
    pub line: Vec<u8>,
}

/// A bounded run of encoded events of one batch.
#[derive(Debug, Default)]
pub struct Parcel {
    /// The events' bytes.
    pub buffer: Vec<u8>,
    /// In order.
    pub events: Vec<Event>,
    /// What follows `onReject` instead of being sent.
    pub rejects: Vec<Reject>,
}

impl Parcel {
    /// A lane goes on to a new parcel once the buffer holds this many bytes; a parcel is larger only by its last event.
    pub const BYTES_FULL: usize = 256 * 1024;

    /// Whether the lane should hand this parcel on.
    pub fn is_full(&self) -> bool {
        self.buffer.len() >= Self::BYTES_FULL
    }

    /// Empties the parcel, keeping its memory for reuse.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.events.clear();
        self.rejects.clear();
    }

    /// The framed event's bytes.
    pub fn frame(&self, event: &Event) -> &[u8] {
        &self.buffer[event.start as usize..event.end as usize]
    }

    /// The event's JSON.
    pub fn json(&self, event: &Event) -> &[u8] {
        &self.buffer[event.body as usize..event.body_end as usize]
    }

    /// The event's `id`.
    pub fn id(&self, event: &Event) -> &[u8] {
        &self.buffer[event.id as usize..event.id_end as usize]
    }
}
