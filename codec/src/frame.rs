//! EventMesh TCP frames: layout, encoding and the incremental [`Decoder`] (protocol manual, sections 1 and 2).
//!
//! A frame is `EventMesh`, `0000`, two big-endian 32-bit lengths, a JSON header and a body. The body's form is the
//! affair of its command; here it is bytes.

use bytes::Bytes;

mod agent;
mod command;
mod decoder;
mod header;
mod push;
mod run;

pub use agent::{Redirect, Subscription, SubscriptionItem, SubscriptionMode, SubscriptionType, UserAgent};
pub use command::Command;
pub use decoder::{DecodeError, Decoder};
pub use header::{Header, Properties};
pub use push::{PlainPush, PushAck};
pub use run::{Frames, RunFrame, frames};

/// Decimal digits of the `seq` in a publish made by [`EventWriter`](crate::event::EventWriter), padded with zeros.
pub const SEQ_WIDTH: usize = 20;
/// Magic, version and the two lengths: the bytes before the header.
pub const FRAME_HEAD_SIZE: usize = 21;
/// The package length counts magic and version besides header and body.
pub(crate) const FRAME_OVERHEAD: usize = 13;
/// The two length integers, which the package length does not count.
const LENGTHS_SIZE: usize = 8;
/// The most that the Java encoder and decoder take: bytes of a whole frame (section 1.1).
pub const FRAME_SIZE_MAX: usize = 4_194_304;
/// The largest package length that an inbound frame may name.
pub const PACKAGE_LENGTH_MAX: u32 = (FRAME_SIZE_MAX - LENGTHS_SIZE) as u32;
/// The largest frame to send to a server: its ack and its push carry the event back with additions, and one that
/// does not fit any more is lost without a word (section 1.1).
pub const PUBLISH_SIZE_MAX: usize = FRAME_SIZE_MAX - 8 * 1024;

const MAGIC_AND_VERSION: &[u8; FRAME_OVERHEAD] = b"EventMesh0000";
const PUBLISH_HEADER_BEFORE_SEQ: &[u8] = br#"{"cmd":"ASYNC_MESSAGE_TO_SERVER","code":0,"seq":""#;
const PUBLISH_HEADER_AFTER_SEQ: &[u8] =
    br#"","properties":{"protocoltype":"cloudevents","protocolversion":"1.0","protocoldesc":"tcp"}}"#;
const SEQ_AT: usize = FRAME_HEAD_SIZE + PUBLISH_HEADER_BEFORE_SEQ.len();

/// Bytes before the JSON in a frame made by [`EventWriter`](crate::event::EventWriter).
pub const PUBLISH_HEAD_SIZE: usize = SEQ_AT + SEQ_WIDTH + PUBLISH_HEADER_AFTER_SEQ.len();

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Command, result and properties.
    pub header: Header,
    /// As on the wire: JSON, or a JSON string literal (section 1.2), or nothing.
    pub body: Bytes,
}

impl Frame {
    /// A frame without body.
    pub fn bare(header: Header) -> Self {
        Self { header, body: Bytes::new() }
    }
}

/// Appends `frame` with the bytes of the Java encoder (fields in its order, `command` included). The body goes out as
/// it is. The caller keeps header and body within [`FRAME_SIZE_MAX`]; an encoder does not know whose limit applies.
pub fn encode(frame: &Frame, out: &mut Vec<u8>) {
    encode_parts(&frame.header, &frame.body, out);
}

/// As [`encode`], with a borrowed body.
pub fn encode_parts(header: &Header, body: &[u8], out: &mut Vec<u8>) {
    encode_with(|out| header.write(out), body, out);
}

/// As [`encode_parts`], of what `write_header` appends.
#[inline]
fn encode_with(write_header: impl FnOnce(&mut Vec<u8>), body: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(MAGIC_AND_VERSION);
    out.extend_from_slice(&[0; LENGTHS_SIZE]);
    write_header(out);
    let header_size = out.len() - start - FRAME_HEAD_SIZE;
    out.extend_from_slice(body);
    put_lengths(&mut out[start..], FRAME_OVERHEAD + header_size + body.len(), header_size);
}

/// Sets the two lengths of a frame. What 31 bits cannot say is saturated: such a frame is far beyond every limit, and
/// whoever sends it must have refused it by its size.
#[inline]
pub(crate) fn put_lengths(frame: &mut [u8], package_length: usize, header_size: usize) {
    let field = |size: usize| i32::try_from(size).unwrap_or(i32::MAX).to_be_bytes();
    frame[13..17].copy_from_slice(&field(package_length));
    frame[17..21].copy_from_slice(&field(header_size));
}

/// Appends the head of a publish: all up to the body, the lengths zero but for the header's, the seq all zeros.
///
/// The redundant `command` is left out: the server ignores it, and it would be 36 bytes more on every event.
pub(crate) fn write_publish_head(out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(MAGIC_AND_VERSION);
    out.extend_from_slice(&[0; LENGTHS_SIZE]);
    out.extend_from_slice(PUBLISH_HEADER_BEFORE_SEQ);
    out.extend_from_slice(&[b'0'; SEQ_WIDTH]);
    out.extend_from_slice(PUBLISH_HEADER_AFTER_SEQ);
    let header_size = out.len() - start - FRAME_HEAD_SIZE;
    put_lengths(&mut out[start..], FRAME_OVERHEAD + header_size, header_size);
}

/// Writes `seq` with [`SEQ_WIDTH`] digits into a frame made by [`EventWriter`](crate::event::EventWriter) with
/// [`Framing::EventMesh`](crate::event::Framing::EventMesh), which begins `frame`.
///
/// # Panics
/// Where `frame` is shorter than the head of such a frame.
#[inline]
pub fn set_publish_seq(frame: &mut [u8], seq: u64) {
    debug_assert!(
        frame[FRAME_HEAD_SIZE..].starts_with(PUBLISH_HEADER_BEFORE_SEQ),
        "set_publish_seq was given a frame that is no publish of ours"
    );
    let mut digits = [b'0'; SEQ_WIDTH];
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(seq).as_bytes();
    digits[SEQ_WIDTH - text.len()..].copy_from_slice(text);
    frame[SEQ_AT..SEQ_AT + SEQ_WIDTH].copy_from_slice(&digits);
}

/// Whether this is a seq as [`set_publish_seq`] writes it. (`parse` would take a sign, and fewer digits.)
pub(crate) fn is_publish_seq(seq: &[u8]) -> bool {
    seq.len() == SEQ_WIDTH && seq.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests;
