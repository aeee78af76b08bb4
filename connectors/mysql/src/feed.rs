//! The replication stream as bytes: large reads into one buffer, packets found in it, events handed out in place.
//!
//! A batch later shares the buffer's bytes, so nothing is copied but the unfinished event at its end. Not here: what
//! the events mean (`stream`). Invariant: memory is one chunk, or one event of at most `event_bytes_max`; a larger
//! event is passed over as it comes in, only its head is kept.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use flowd_binlog::event::HEADER_BYTES;

/// One read asks for at most this many bytes; it is also what a batch holds at the most, large events aside.
pub const CHUNK_BYTES: usize = 256 * 1024;
/// Buffers that are waited for to be used again; with more batches under way new ones are made.
const LENT_MAX: usize = 16;
/// Payload bytes of a packet that goes on in the next one.
const PACKET_BYTES_MAX: usize = 0xff_ffff;
/// What is kept of an event that is passed over: enough for the table id and the flags behind the header.
const HEAD_BYTES: usize = HEADER_BYTES + 10;
/// Length and sequence number before every packet.
const PACKET_HEAD: usize = 4;

/// What the buffer holds next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A whole event, at this place of [`Feed::bytes`].
    Event(Range<usize>),
    /// The head of an event that is too large, and its whole size; its other bytes are passed over.
    Oversize(Vec<u8>, u64),
    /// Nothing whole: [`Feed::fill`] reads on.
    Nothing,
}

/// Why the stream ended.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The connection.
    #[error("the connection to the server was lost: {0}")]
    Io(#[from] io::Error),
    /// The server refused to go on: its error number and text.
    #[error("the server ended the stream: {1} (error {0})")]
    Server(u16, String),
    /// The bytes are not the protocol's.
    #[error("the replication stream is malformed: {0}")]
    Malformed(String),
}

/// See the module.
#[derive(Debug)]
pub struct Feed<S> {
    socket: S,
    buffer: BytesMut,
    /// Bytes of `buffer` that were read.
    filled: usize,
    /// Bytes of `buffer` whose events were handed out.
    parsed: usize,
    /// Wire bytes of an oversize event still to come: payload left in its packet, and whether more packets follow.
    passing: Option<Passing>,
    sequence: u8,
    event_bytes_max: usize,
    /// Buffers that went along with batches, oldest first.
    lent: VecDeque<Bytes>,
}

#[derive(Debug, Clone, Copy)]
struct Passing {
    payload_left: usize,
    last_packet: bool,
}

impl<S: Read> Feed<S> {
    /// Reads on behind `already`, the bytes that were read together with an earlier answer. Packets count on from
    /// `sequence`.
    pub fn new(socket: S, already: &[u8], sequence: u8, event_bytes_max: usize) -> Self {
        let mut buffer = BytesMut::zeroed(CHUNK_BYTES.max(already.len()));
        buffer[..already.len()].copy_from_slice(already);
        Self {
            socket,
            buffer,
            filled: already.len(),
            parsed: 0,
            passing: None,
            sequence,
            event_bytes_max,
            lent: VecDeque::new(),
        }
    }

    /// The connection.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// The buffer that events are handed out of.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Bytes whose events were handed out since the last [`Self::take`] or [`Self::discard`].
    pub fn parsed(&self) -> usize {
        self.parsed
    }

    /// Finds the next event in what was read.
    pub fn next_event(&mut self) -> Result<Next, FeedError> {
        while let Some(passing) = self.passing.take() {
            if !self.pass(passing)? {
                return Ok(Next::Nothing);
            }
        }
        let unread = &self.buffer[self.parsed..self.filled];
        let Some((length, sequence)) = packet_head(unread) else { return Ok(Next::Nothing) };
        let whole = PACKET_HEAD + length;
        if unread.len() >= whole && length < PACKET_BYTES_MAX {
            self.expect(sequence)?;
            let start = self.parsed + PACKET_HEAD;
            let payload = &self.buffer[start..start + length];
            check_status(payload)?;
            // An event that is whole in the buffer may still be more than the user allows.
            if length - 1 > self.event_bytes_max {
                let head = payload[1..payload.len().min(1 + HEAD_BYTES)].to_vec();
                self.parsed += whole;
                return Ok(Next::Oversize(head, (length - 1) as u64));
            }
            self.parsed += whole;
            return Ok(Next::Event(start + 1..start + length));
        }
        self.next_large(length)
    }

    /// An event that is not whole in the buffer, or that spans packets.
    fn next_large(&mut self, length: usize) -> Result<Next, FeedError> {
        let unread = &self.buffer[self.parsed..self.filled];
        let Some(payload) = unread.get(PACKET_HEAD..) else { return Ok(Next::Nothing) };
        if payload.len() < 1 + HEAD_BYTES.min(length.saturating_sub(1)) {
            return Ok(Next::Nothing);
        }
        check_status(&payload[..payload.len().min(length)])?;
        let Some(size) = payload.get(10..14).and_then(|size| size.first_chunk::<4>()) else {
            return Ok(Next::Nothing);
        };
        let size = u32::from_le_bytes(*size) as usize;
        if size > self.event_bytes_max {
            let head = payload[1..=HEAD_BYTES].to_vec();
            let sequence = unread[3];
            self.expect(sequence)?;
            self.parsed += PACKET_HEAD;
            self.passing = Some(Passing { payload_left: length, last_packet: length < PACKET_BYTES_MAX });
            return Ok(Next::Oversize(head, size as u64));
        }
        // The status byte and the event, cut into packets of which the last is shorter than the maximum.
        let packets = (size + 1) / PACKET_BYTES_MAX + 1;
        let wire = size + 1 + packets * PACKET_HEAD;
        if unread.len() < wire {
            self.make_room(wire);
            return Ok(Next::Nothing);
        }
        self.join_packets(size, packets)
    }

    /// Moves the packets' payloads together, so that the event is one run of bytes.
    fn join_packets(&mut self, size: usize, packets: usize) -> Result<Next, FeedError> {
        let start = self.parsed + PACKET_HEAD;
        let (mut from, mut to) = (self.parsed, start);
        for index in 0..packets {
            let (length, sequence) = packet_head(&self.buffer[from..self.filled])
                .ok_or_else(|| FeedError::Malformed("an event's packets end too early".into()))?;
            let expected = if index + 1 < packets { PACKET_BYTES_MAX } else { (size + 1) % PACKET_BYTES_MAX };
            if length != expected {
                let text =
                    format!("packet {index} of an event of {size} bytes has {length} bytes, not {expected}");
                return Err(FeedError::Malformed(text));
            }
            self.expect(sequence)?;
            self.buffer.copy_within(from + PACKET_HEAD..from + PACKET_HEAD + length, to);
            from += PACKET_HEAD + length;
            to += length;
        }
        self.parsed = from;
        Ok(Next::Event(start + 1..start + 1 + size))
    }

    /// Passes over what is here of an oversize event. True when it is behind.
    fn pass(&mut self, passing: Passing) -> Result<bool, FeedError> {
        let here = passing.payload_left.min(self.filled - self.parsed);
        self.parsed += here;
        let payload_left = passing.payload_left - here;
        if payload_left > 0 {
            self.passing = Some(Passing { payload_left, ..passing });
            return Ok(false);
        }
        if passing.last_packet {
            return Ok(true);
        }
        match packet_head(&self.buffer[self.parsed..self.filled]) {
            None => {
                self.passing = Some(Passing { payload_left: 0, last_packet: false });
                Ok(false)
            }
            Some((length, sequence)) => {
                self.expect(sequence)?;
                self.parsed += PACKET_HEAD;
                self.passing = Some(Passing { payload_left: length, last_packet: length < PACKET_BYTES_MAX });
                Ok(true)
            }
        }
    }

    fn expect(&mut self, sequence: u8) -> Result<(), FeedError> {
        if sequence != self.sequence {
            let text = format!("packet {sequence} came where packet {} was due", self.sequence);
            return Err(FeedError::Malformed(text));
        }
        self.sequence = self.sequence.wrapping_add(1);
        Ok(())
    }

    /// Reads once into the room that is left. Call [`Self::take`] or [`Self::discard`] before.
    pub fn fill(&mut self) -> Result<usize, FeedError> {
        debug_assert!(self.filled < self.buffer.len(), "there is room after take or discard");
        let read = self.socket.read(&mut self.buffer[self.filled..])?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it").into());
        }
        self.filled += read;
        Ok(read)
    }

    /// The bytes whose events were handed out, for a batch, and how much memory they keep. Few bytes are copied; else the
    /// buffer goes along, and comes back once its batch is done with.
    pub fn take(&mut self) -> (Bytes, usize) {
        let parsed = self.parsed;
        if parsed < self.buffer.len() / 4 {
            let bytes = Bytes::copy_from_slice(&self.buffer[..parsed]);
            self.discard();
            return (bytes, parsed);
        }
        let rest = self.filled - parsed;
        let mut next = self.spare_buffer(rest + PACKET_HEAD);
        next[..rest].copy_from_slice(&self.buffer[parsed..self.filled]);
        let full = std::mem::replace(&mut self.buffer, next).freeze();
        (self.filled, self.parsed) = (rest, 0);
        let (bytes, held) = (full.slice(..parsed), full.len());
        if held == CHUNK_BYTES && self.lent.len() < LENT_MAX {
            self.lent.push_back(full);
        }
        (bytes, held)
    }

    /// A buffer of at least a chunk: the oldest one lent, if its batch is done with.
    fn spare_buffer(&mut self, size: usize) -> BytesMut {
        if size <= CHUNK_BYTES
            && let Some(oldest) = self.lent.pop_front()
        {
            match oldest.try_into_mut() {
                Ok(buffer) => return buffer,
                Err(lent) => self.lent.push_front(lent),
            }
        }
        BytesMut::zeroed(CHUNK_BYTES.max(size))
    }

    /// Forgets the bytes whose events were handed out.
    pub fn discard(&mut self) {
        self.buffer.copy_within(self.parsed..self.filled, 0);
        self.filled -= self.parsed;
        self.parsed = 0;
        if self.buffer.len() > CHUNK_BYTES && self.filled < CHUNK_BYTES && self.wanted() <= CHUNK_BYTES {
            let mut small = BytesMut::zeroed(CHUNK_BYTES);
            small[..self.filled].copy_from_slice(&self.buffer[..self.filled]);
            self.buffer = small;
        }
        if self.filled == self.buffer.len() {
            self.make_room(self.filled + CHUNK_BYTES);
        }
    }

    /// Wire bytes of the event that begins the buffer, as far as known.
    fn wanted(&self) -> usize {
        let unread = &self.buffer[..self.filled];
        match unread.get(PACKET_HEAD + 10..PACKET_HEAD + 14).and_then(|size| size.first_chunk::<4>()) {
            Some(size) if self.passing.is_none() => {
                let size = u32::from_le_bytes(*size) as usize + 1;
                if size > self.event_bytes_max {
                    0
                } else {
                    size + (size / PACKET_BYTES_MAX + 1) * PACKET_HEAD
                }
            }
            _ => 0,
        }
    }

    /// Makes the buffer large enough for `wire` bytes from the unread ones on.
    fn make_room(&mut self, wire: usize) {
        let needed = self.parsed + wire;
        if self.buffer.len() < needed {
            self.buffer.resize(needed, 0);
        }
    }
}

fn packet_head(unread: &[u8]) -> Option<(usize, u8)> {
    let head = unread.first_chunk::<PACKET_HEAD>()?;
    Some((u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize, head[3]))
}

/// The byte before every event says that there is one; else the stream has ended.
fn check_status(payload: &[u8]) -> Result<(), FeedError> {
    match payload {
        [0, ..] => Ok(()),
        [0xff, low, high, text @ ..] => {
            let text = if text.first() == Some(&b'#') { text.get(6..).unwrap_or_default() } else { text };
            let code = u16::from_le_bytes([*low, *high]);
            Err(FeedError::Server(code, String::from_utf8_lossy(text).into_owned()))
        }
        [0xfe, ..] => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server ended the stream").into()),
        _ => Err(FeedError::Malformed(format!("a packet begins with {:02x?}", payload.first()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event whose header holds its own length, `fill` after it.
    fn event(size: usize, fill: u8) -> Vec<u8> {
        let mut event = vec![fill; size];
        event[9..13].copy_from_slice(&u32::try_from(size).expect("small").to_le_bytes());
        event
    }

    /// Status byte and event as packets.
    fn packets(event: &[u8], sequence: &mut u8) -> Vec<u8> {
        let payload = [&[0], event].concat();
        let mut wire = Vec::new();
        let mut rest = &payload[..];
        loop {
            let part = rest.len().min(PACKET_BYTES_MAX);
            wire.extend_from_slice(&u32::try_from(part).expect("small").to_le_bytes()[..3]);
            wire.push(*sequence);
            *sequence = sequence.wrapping_add(1);
            wire.extend_from_slice(&rest[..part]);
            rest = &rest[part..];
            if part < PACKET_BYTES_MAX {
                return wire;
            }
        }
    }

    /// Hands out at most `step` bytes a read.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len()).min(self.0.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn sizes_of(wire: &[u8], step: usize, event_bytes_max: usize) -> Vec<(bool, usize)> {
        let mut feed = Feed::new(Slow(wire, step), &[], 1, event_bytes_max);
        let mut sizes = Vec::new();
        loop {
            match feed.next_event().expect("well-formed") {
                Next::Event(range) => {
                    let event = &feed.bytes()[range];
                    assert!(event[13..].iter().all(|byte| *byte == event[0]), "the bytes stay together");
                    sizes.push((false, event.len()));
                }
                Next::Oversize(_, size) => sizes.push((true, usize::try_from(size).expect("small"))),
                Next::Nothing => {
                    let (taken, held) = feed.take();
                    assert!(taken.len() <= wire.len() && taken.len() <= held);
                    if feed.fill().is_err() {
                        return sizes;
                    }
                }
            }
        }
    }

    #[test]
    fn events_come_whole_however_the_reads_are_cut() {
        let sizes = [30, 300, CHUNK_BYTES - 10, 40, 3 * CHUNK_BYTES, 50];
        let mut sequence = 1;
        let wire: Vec<u8> = sizes.iter().flat_map(|size| packets(&event(*size, 7), &mut sequence)).collect();
        let expected: Vec<_> = sizes.iter().map(|size| (false, *size)).collect();
        for step in [97, 4096, usize::MAX] {
            assert_eq!(sizes_of(&wire, step, usize::MAX), expected, "step {step}");
        }
    }

    #[test]
    fn an_event_of_many_packets_is_one_run_of_bytes() {
        for size in [PACKET_BYTES_MAX - 2, PACKET_BYTES_MAX - 1, PACKET_BYTES_MAX, 2 * PACKET_BYTES_MAX + 5] {
            let mut sequence = 1;
            let mut wire = packets(&event(size, 9), &mut sequence);
            wire.extend(packets(&event(33, 9), &mut sequence));
            assert_eq!(sizes_of(&wire, 1 << 20, usize::MAX), [(false, size), (false, 33)]);
        }
    }

    #[test]
    fn an_event_over_the_limit_is_passed_over_in_bounded_memory() {
        let mut sequence = 1;
        let mut wire = packets(&event(2 * PACKET_BYTES_MAX - 1, 9), &mut sequence);
        wire.extend(packets(&event(100_000, 9), &mut sequence));
        wire.extend(packets(&event(33, 9), &mut sequence));
        let expected = [(true, 2 * PACKET_BYTES_MAX - 1), (true, 100_000), (false, 33)];
        assert_eq!(sizes_of(&wire, 1 << 16, 50_000), expected);
    }

    #[test]
    fn an_error_packet_carries_the_servers_words() {
        let mut wire = vec![0, 0, 0, 1, 0xff, 0xd4, 0x04];
        wire.extend_from_slice(b"#HY000purged");
        wire[0] = u8::try_from(wire.len() - 4).expect("small");
        let mut feed = Feed::new(Slow(&wire, 999), &[], 1, 1000);
        feed.fill().expect("bytes");
        assert!(matches!(feed.next_event(), Err(FeedError::Server(1236, text)) if text == "purged"));
    }

    #[test]
    fn a_packet_out_of_sequence_is_refused() {
        let wire = packets(&event(30, 1), &mut 5);
        let mut feed = Feed::new(Slow(&wire, 999), &[], 1, 1000);
        feed.fill().expect("bytes");
        assert!(matches!(feed.next_event(), Err(FeedError::Malformed(_))));
    }
}
