//! Packets of the client/server protocol over a byte stream (Protocol manual, "MySQL Packets").
//!
//! Reads are buffered; a payload of 16 MiB − 1 bytes continues in the next packet. Used for login and control queries;
//! rows in bulk are read past the buffer (`statement`), and the binlog's reader is given the whole stream:
//! [`Channel::into_parts`].
//! Invariant: a payload never exceeds [`PAYLOAD_BYTES_MAX`], and sequence numbers are checked.

use std::io::{self, Read, Write};

use crate::error::WireError;

/// The longest payload of one packet; a packet of this length has a continuation.
pub const PACKET_BYTES_MAX: usize = 0xff_ffff;
/// The longest answer to a control query that is taken, bytes; also the worst case of memory for one packet.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;
/// How much is read at once, bytes.
const READ_BYTES: usize = 16 << 10;

/// A stream cut into packets.
#[derive(Debug)]
pub struct Channel<S> {
    stream: S,
    /// Bytes read ahead are `buffer[start..]`.
    buffer: Vec<u8>,
    start: usize,
    /// The number that the next packet, of either side, carries.
    sequence: u8,
    outgoing: Vec<u8>,
    payload_bytes_max: usize,
}

impl<S> Channel<S> {
    /// A channel at the start of a conversation.
    pub fn new(stream: S) -> Self {
        let payload_bytes_max = PAYLOAD_BYTES_MAX;
        Self { stream, buffer: Vec::new(), start: 0, sequence: 0, outgoing: Vec::new(), payload_bytes_max }
    }

    /// The stream below.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// The stream, and what was read from it but not yet taken.
    pub fn into_parts(mut self) -> (S, Vec<u8>) {
        self.buffer.drain(..self.start);
        (self.stream, self.buffer)
    }

    /// The same conversation over another stream, as after the switch to TLS. Bytes read ahead would not be part of
    /// the new stream: they are an error.
    pub fn replace_stream<T, E>(self, replace: impl FnOnce(S) -> Result<T, E>) -> Result<Channel<T>, E>
    where
        E: From<WireError>,
    {
        if self.start < self.buffer.len() {
            return Err(WireError::Protocol("bytes before the TLS handshake".into()).into());
        }
        let stream = replace(self.stream)?;
        Ok(Channel {
            stream,
            buffer: self.buffer,
            start: self.start,
            sequence: self.sequence,
            outgoing: self.outgoing,
            payload_bytes_max: self.payload_bytes_max,
        })
    }

    /// The next packet sent starts a new command: numbers begin at 0.
    pub fn restart_sequence(&mut self) {
        self.sequence = 0;
    }

    /// The number of the packet that is due, for a reader that takes packets apart itself.
    pub(crate) fn sequence(&mut self) -> &mut u8 {
        &mut self.sequence
    }
}

impl<S: Read> Channel<S> {
    /// Moves what was read ahead, at most `bytes_max` of it, to the end of `out`.
    pub(crate) fn take_ahead(&mut self, out: &mut Vec<u8>, bytes_max: usize) {
        let end = self.buffer.len().min(self.start.saturating_add(bytes_max));
        out.extend_from_slice(&self.buffer[self.start..end]);
        self.start = end;
    }

    /// Takes bytes back that were taken and belong before all that is still to be read.
    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        self.buffer.splice(..self.start, bytes.iter().copied());
        self.start = 0;
    }

    /// One read past the buffer, which is empty, into `target`; at least one byte comes.
    pub(crate) fn read_past(&mut self, target: &mut [u8]) -> Result<usize, WireError> {
        debug_assert!(self.start == self.buffer.len(), "bytes read ahead come first");
        read_some(&mut self.stream, target)
    }

    /// `length` bytes of a payload to the end of `out`, large reads straight into it.
    pub(crate) fn read_onto(&mut self, out: &mut Vec<u8>, length: usize) -> Result<(), WireError> {
        let end = out.len() + length;
        self.take_ahead(out, length);
        let mut filled = out.len();
        out.resize(end, 0);
        while filled < end {
            filled += self.read_past(&mut out[filled..])?;
        }
        Ok(())
    }

    /// Reads `length` bytes of a payload and throws them away.
    pub(crate) fn pass(&mut self, mut length: usize) -> Result<(), WireError> {
        while length > 0 {
            if self.start == self.buffer.len() {
                self.fill()?;
            }
            let passed = length.min(self.buffer.len() - self.start);
            self.start += passed;
            length -= passed;
        }
        Ok(())
    }

    /// The next payload, continuations joined.
    pub fn read(&mut self) -> Result<Vec<u8>, WireError> {
        let mut payload = Vec::new();
        loop {
            let length = self.read_header()?;
            if payload.len() + length > self.payload_bytes_max {
                let message = format!("a packet of more than {} bytes", self.payload_bytes_max);
                return Err(WireError::Protocol(message));
            }
            self.read_into(&mut payload, length)?;
            if length < PACKET_BYTES_MAX {
                return Ok(payload);
            }
        }
    }

    /// The next packet's length; its payload is due. A packet of [`PACKET_BYTES_MAX`] has a continuation.
    pub(crate) fn read_header(&mut self) -> Result<usize, WireError> {
        self.fill_to(4)?;
        let header = &self.buffer[self.start..self.start + 4];
        let length = usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16;
        let sequence = header[3];
        self.start += 4;
        check_sequence(sequence, self.sequence)?;
        self.sequence = sequence.wrapping_add(1);
        Ok(length)
    }

    /// Whether the packet that comes next is longer than `bytes_max` and begins as a row of the binary protocol does. It
    /// is not taken.
    pub(crate) fn is_row_over(&mut self, bytes_max: usize) -> Result<bool, WireError> {
        self.fill_to(4)?;
        let header = &self.buffer[self.start..];
        let length = usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16;
        if length <= bytes_max {
            return Ok(false);
        }
        self.fill_to(5)?;
        Ok(self.buffer[self.start + 4] == 0)
    }

    /// Reads until at least so many bytes are there.
    fn fill_to(&mut self, size: usize) -> Result<(), WireError> {
        while self.buffer.len() - self.start < size {
            self.fill()?;
        }
        Ok(())
    }

    fn read_into(&mut self, payload: &mut Vec<u8>, mut length: usize) -> Result<(), WireError> {
        while length > 0 {
            if self.start == self.buffer.len() {
                self.fill()?;
            }
            let taken = length.min(self.buffer.len() - self.start);
            payload.extend_from_slice(&self.buffer[self.start..self.start + taken]);
            self.start += taken;
            length -= taken;
        }
        Ok(())
    }

    fn fill(&mut self) -> Result<(), WireError> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let kept = self.buffer.len();
        self.buffer.resize(kept + READ_BYTES, 0);
        let result = read_some(&mut self.stream, &mut self.buffer[kept..]);
        self.buffer.truncate(kept + result.as_ref().copied().unwrap_or(0));
        result.map(drop)
    }
}

/// Refuses a packet that is not the next one.
pub(crate) fn check_sequence(sequence: u8, due: u8) -> Result<(), WireError> {
    if sequence == due {
        return Ok(());
    }
    Err(WireError::Protocol(format!("packet number {sequence} where {due} is due")))
}

/// One read that brings at least a byte.
fn read_some<S: Read>(stream: &mut S, target: &mut [u8]) -> Result<usize, WireError> {
    loop {
        match stream.read(target) {
            Ok(0) => {
                let message = "the server closed the connection";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message).into());
            }
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(named(error).into()),
        }
    }
}

impl<S: Write> Channel<S> {
    /// Sends one payload, cut into packets.
    pub fn write(&mut self, payload: &[u8]) -> Result<(), WireError> {
        self.outgoing.clear();
        let mut rest = payload;
        loop {
            let (piece, after) = rest.split_at(rest.len().min(PACKET_BYTES_MAX));
            let length = u32::try_from(piece.len()).expect("a piece is shorter than 16 MiB").to_le_bytes();
            self.outgoing.extend_from_slice(&[length[0], length[1], length[2], self.sequence]);
            self.outgoing.extend_from_slice(piece);
            self.sequence = self.sequence.wrapping_add(1);
            rest = after;
            if piece.len() < PACKET_BYTES_MAX {
                break;
            }
        }
        self.stream.write_all(&self.outgoing).map_err(named)?;
        self.stream.flush().map_err(named)?;
        Ok(())
    }
}

/// A time-out of a blocking socket shows as "would block": say what it is.
fn named(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// Gives at most `step` bytes a read.
    struct Trickle {
        bytes: Cursor<Vec<u8>>,
        step: usize,
    }

    impl Read for Trickle {
        fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
            let length = target.len().min(self.step);
            self.bytes.read(&mut target[..length])
        }
    }

    fn channel(bytes: Vec<u8>, step: usize) -> Channel<Trickle> {
        Channel::new(Trickle { bytes: Cursor::new(bytes), step })
    }

    fn written(payload: &[u8]) -> Vec<u8> {
        let mut channel = Channel::new(Vec::new());
        channel.write(payload).expect("a vector takes all");
        channel.into_parts().0
    }

    #[test]
    fn packets_cut_at_every_byte_are_read_whole() {
        let bytes = [&[1, 0, 0, 0, b'a'][..], &[0, 0, 0, 1], &[3, 0, 0, 2, b'b', b'c', b'd']].concat();
        for step in 1..=bytes.len() {
            let mut channel = channel(bytes.clone(), step);
            assert_eq!(channel.read().expect("first"), b"a");
            assert_eq!(channel.read().expect("second"), b"");
            assert_eq!(channel.read().expect("third"), b"bcd");
        }
    }

    #[test]
    fn a_payload_of_one_whole_packet_ends_with_an_empty_one() {
        for length in [PACKET_BYTES_MAX - 1, PACKET_BYTES_MAX, PACKET_BYTES_MAX + 1] {
            let payload = vec![7; length];
            let bytes = written(&payload);
            let packets = 1 + usize::from(length >= PACKET_BYTES_MAX);
            assert_eq!(bytes.len(), length + 4 * packets);
            assert_eq!(channel(bytes, 1 << 20).read().expect("readable"), payload);
        }
    }

    #[test]
    fn a_packet_out_of_sequence_is_refused() {
        let error = channel(vec![1, 0, 0, 5, b'a'], 100).read().expect_err("number 5 is not due");
        assert_eq!(error.to_string(), "unexpected answer of the server: packet number 5 where 0 is due");
    }

    #[test]
    fn a_payload_over_the_bound_is_refused_before_it_is_kept() {
        let bytes = [&[4, 0, 0, 0][..], b"four", &[5, 0, 0, 1]].concat();
        let mut channel = channel(bytes, 100);
        channel.payload_bytes_max = 4;
        assert_eq!(channel.read().expect("just fits"), b"four");
        let error = channel.read().expect_err("one too many, and not even sent");
        assert!(error.to_string().contains("more than 4 bytes"), "{error}");
    }

    #[test]
    fn the_bound_counts_a_payload_over_all_its_packets() {
        let mut bytes = written(&vec![7; PACKET_BYTES_MAX + 1]);
        bytes.truncate(PACKET_BYTES_MAX + 8);
        let mut channel = channel(bytes, 1 << 20);
        channel.payload_bytes_max = PACKET_BYTES_MAX;
        let error = channel.read().expect_err("the second packet goes over");
        assert!(matches!(error, WireError::Protocol(_)), "{error}");
    }

    #[test]
    fn an_end_inside_a_packet_is_an_error_that_heals() {
        for end in 0..5 {
            let error = channel([1, 0, 0, 0, b'a'][..end].to_vec(), 100).read().expect_err("cut");
            assert!(error.heals(), "{error}");
        }
    }

    #[test]
    fn what_was_read_ahead_is_handed_over_and_never_taken_into_tls() {
        let bytes = vec![1, 0, 0, 0, b'a', 9, 9];
        let mut first = channel(bytes.clone(), 100);
        first.read().expect("first packet");
        assert_eq!(first.into_parts().1, [9, 9]);
        let mut second = channel(bytes, 100);
        second.read().expect("first packet");
        assert!(matches!(second.replace_stream(Ok::<_, WireError>), Err(WireError::Protocol(_))));
    }
}
