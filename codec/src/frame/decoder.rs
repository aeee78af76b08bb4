//! Frames out of a byte stream that may be cut anywhere (protocol manual, section 1.1).
//!
//! Invariants: nothing is allocated on the word of a length that came from outside; a body shares the memory that it
//! was received in; after an error that is not soft the stream has no frame borders any more and the decoder repeats
//! the error.

use bytes::{Bytes, BytesMut};
use compact_str::CompactString;
use thiserror::Error;

use super::header::{CommandName, RawHeader, shortened};
use super::push::{PlainPush, plain_push_ack};
use super::{
    Command, FRAME_HEAD_SIZE, FRAME_OVERHEAD, Frame, Header, LENGTHS_SIZE, MAGIC_AND_VERSION,
    PACKAGE_LENGTH_MAX, PUBLISH_HEADER_AFTER_SEQ, PUBLISH_HEADER_BEFORE_SEQ, Properties, is_publish_seq,
};

/// Why bytes are no frame. [`is_soft`](Self::is_soft) tells the two cases in which the stream can go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The frame does not begin with `EventMesh`.
    #[error("not an EventMesh frame: it begins with \"{}\" instead of \"EventMesh\"", .0.escape_ascii())]
    Magic(Vec<u8>),
    /// The version is not `0000`.
    #[error("EventMesh frame of version \"{}\"; only \"0000\" is known", .0.escape_ascii())]
    Version(Vec<u8>),
    /// The package length is negative, or below the 13 bytes that every package has.
    #[error("package length {0} is below 13")]
    Length(i32),
    /// The package length is beyond the limit.
    #[error("package length {length} is over the limit of {limit}")]
    TooLong {
        /// As named by the frame.
        length: u32,
        /// What this decoder takes.
        limit: u32,
    },
    /// The header does not fit into the package.
    #[error("header length {header} does not fit into package length {package}")]
    HeaderLength {
        /// As named by the frame.
        header: u32,
        /// As named by the frame.
        package: u32,
    },
    /// The header is not the JSON object that it has to be.
    #[error("bad frame header: {0}")]
    Header(String),
    /// The command is none of the 37.
    #[error("unknown command {0:?}")]
    UnknownCommand(String),
    /// The command is missing, and there is a body that belongs to it.
    #[error("frame with a body of {0} bytes but without a command")]
    BodyWithoutCommand(usize),
    /// Soft: the header length is 0 or negative. The frame was skipped. A Java server answers with the text
    /// `java.lang.Exception: the incoming message does not have a header.`
    #[error("the incoming message does not have a header.")]
    MissingHeader,
    /// Soft: neither command nor body. The frame was skipped. A Java server answers with the text
    /// `java.lang.Exception: the incoming message does not have a command type.`
    #[error("the incoming message does not have a command type.")]
    MissingCommand,
}

impl DecodeError {
    /// Whether only this frame is lost and the next one can be read. After any other error the connection must be
    /// closed.
    pub fn is_soft(&self) -> bool {
        matches!(self, Self::MissingHeader | Self::MissingCommand)
    }
}

/// Takes bytes as they come and gives frames.
///
/// Memory: it holds at most what was fed and not yet taken; whoever takes all whole frames before feeding again keeps
/// it below one frame of the limit plus one read. Frames that are kept alive keep the memory of their neighbours
/// alive, since bodies are not copied.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    length_max: u32,
    failed: Option<DecodeError>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// With the limit of the Java decoder, [`PACKAGE_LENGTH_MAX`].
    pub fn new() -> Self {
        Self::with_length_max(PACKAGE_LENGTH_MAX)
    }

    /// With another limit for the package length.
    pub fn with_length_max(length_max: u32) -> Self {
        Self { buffer: BytesMut::new(), length_max, failed: None }
    }

    /// Takes a copy of `bytes`. To receive without a copy read into [`buffer_mut`](Self::buffer_mut).
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The buffer to read into; only append to it.
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Whether a frame has begun that is not whole yet: at the end of the stream this is a torn frame.
    pub fn is_inside_frame(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next whole frame, or `None` until more bytes are fed.
    ///
    /// # Errors
    /// See [`DecodeError`]; what is wrong is told as early as the bytes at hand show it.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, DecodeError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.take();
        if let Err(error) = &result
            && !error.is_soft()
        {
            self.failed = Some(error.clone());
            self.buffer = BytesMut::new();
        }
        result
    }

    /// All whole frames at hand as one piece, which shares the memory that it was received in; `None` until there is one.
    /// [`frames`](super::frames) tells them apart.
    ///
    /// # Errors
    /// As [`next_frame`](Self::next_frame), but what is wrong inside a frame is told by `frames`.
    pub fn next_run(&mut self) -> Result<Option<Bytes>, DecodeError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut size = 0;
        let broken = loop {
            match whole_frame(&self.buffer[size..], self.length_max) {
                Ok(Some(layout)) => size += layout.frame_size,
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        match broken {
            _ if size > 0 => Ok(Some(self.buffer.split_to(size).freeze())),
            None => {
                self.read_ahead();
                Ok(None)
            }
            Some(error) => {
                self.failed = Some(error.clone());
                self.buffer = BytesMut::new();
                Err(error)
            }
        }
    }

    fn take(&mut self) -> Result<Option<Frame>, DecodeError> {
        let Some(Layout { frame_size, body_at }) = whole_frame(&self.buffer, self.length_max)? else {
            self.read_ahead();
            return Ok(None);
        };
        let frame = self.buffer.split_to(frame_size).freeze();
        let header = header_of(&frame, body_at)?;
        Ok(Some(Frame { header, body: body_of(frame, body_at) }))
    }

    /// Makes room for the rest of the frame that has begun.
    fn read_ahead(&mut self) {
        if let Some(head) = self.buffer.first_chunk::<FRAME_HEAD_SIZE>()
            && let Ok(length) = package_length(head, self.length_max)
        {
            let frame_size = length as usize + LENGTHS_SIZE;
            self.buffer.reserve(frame_size.min(READ_AHEAD_MAX).saturating_sub(self.buffer.len()));
        }
    }
}

/// How a frame lies in its bytes.
pub(super) struct Layout {
    pub(super) frame_size: usize,
    /// Just behind the head where there is no header.
    pub(super) body_at: usize,
}

/// The frame at the front of `bytes`; `None` while it is not whole.
pub(super) fn whole_frame(bytes: &[u8], length_max: u32) -> Result<Option<Layout>, DecodeError> {
    check_magic(bytes)?;
    let Some(head) = bytes.first_chunk::<FRAME_HEAD_SIZE>() else { return Ok(None) };
    let length = package_length(head, length_max)?;
    let header = i32::from_be_bytes([head[17], head[18], head[19], head[20]]);
    // A header of length 0 or less is soft, but its frame still has to arrive to be skipped.
    let header_size = u32::try_from(header).unwrap_or(0);
    if header_size > length - FRAME_OVERHEAD as u32 {
        return Err(DecodeError::HeaderLength { header: header_size, package: length });
    }
    let layout = Layout {
        frame_size: length as usize + LENGTHS_SIZE,
        body_at: FRAME_HEAD_SIZE + header_size as usize,
    };
    Ok((bytes.len() >= layout.frame_size).then_some(layout))
}

/// The header of a whole frame.
pub(super) fn header_of(frame: &[u8], body_at: usize) -> Result<Header, DecodeError> {
    if body_at == FRAME_HEAD_SIZE {
        return Err(DecodeError::MissingHeader);
    }
    parse_header(&frame[FRAME_HEAD_SIZE..body_at], frame.len() - body_at)
}

/// Memory that is asked for ahead of the bytes: a peer that only claims a large frame costs no more than this.
const READ_AHEAD_MAX: usize = 64 * 1024;

/// An empty body must not keep the receive buffer alive.
fn body_of(mut frame: Bytes, body_at: usize) -> Bytes {
    if body_at == frame.len() { Bytes::new() } else { frame.split_off(body_at) }
}

/// Looks at as much of magic and version as has arrived.
fn check_magic(buffer: &[u8]) -> Result<(), DecodeError> {
    if buffer.starts_with(MAGIC_AND_VERSION) || MAGIC_AND_VERSION.starts_with(buffer) {
        return Ok(());
    }
    let have = buffer.len().min(FRAME_OVERHEAD);
    let magic = have.min(9);
    if buffer[..magic] == MAGIC_AND_VERSION[..magic] {
        return Err(DecodeError::Version(buffer[9..have].to_vec()));
    }
    Err(DecodeError::Magic(buffer[..magic].to_vec()))
}

fn package_length(head: &[u8; FRAME_HEAD_SIZE], limit: u32) -> Result<u32, DecodeError> {
    let signed = i32::from_be_bytes([head[13], head[14], head[15], head[16]]);
    let length = u32::try_from(signed).map_err(|_| DecodeError::Length(signed))?;
    if length < FRAME_OVERHEAD as u32 {
        return Err(DecodeError::Length(signed));
    }
    if length > limit {
        return Err(DecodeError::TooLong { length, limit });
    }
    Ok(length)
}

fn parse_header(json: &[u8], body_size: usize) -> Result<Header, DecodeError> {
    let usual = own_publish(json)
        .or_else(|| plain_ack(json))
        .or_else(|| PlainPush::read(json).map(|push| push.header()));
    if let Some(header) = usual.or_else(|| plain_push_ack(json)) {
        return Ok(header);
    }
    let raw: RawHeader =
        serde_json::from_slice(json).map_err(|error| DecodeError::Header(shortened(&error.to_string())))?;
    let command = match raw.command {
        Some(CommandName::Known(command)) => command,
        Some(CommandName::Unknown(name)) => return Err(DecodeError::UnknownCommand(name)),
        None if body_size > 0 => return Err(DecodeError::BodyWithoutCommand(body_size)),
        None => return Err(DecodeError::MissingCommand),
    };
    Ok(Header { command, code: raw.code, desc: raw.desc, seq: raw.seq, properties: raw.properties })
}

/// Recognises the publish header of our own writer without parsing JSON: the one header that a flowd-to-flowd server
/// meets with every event.
fn own_publish(json: &[u8]) -> Option<Header> {
    let rest = json.strip_prefix(PUBLISH_HEADER_BEFORE_SEQ)?;
    let seq = rest.strip_suffix(PUBLISH_HEADER_AFTER_SEQ)?;
    let seq = own_seq(seq)?;
    Some(Header { properties: Properties::publish(), ..Header::request(Command::AsyncMessageToServer, seq) })
}

/// Recognises a successful ack of a publish of ours, as the Java encoder writes it: the one header that a publisher
/// meets with every event.
pub(super) fn plain_ack(json: &[u8]) -> Option<Header> {
    let rest = json.strip_prefix(ACK_BEFORE_SEQ)?;
    let seq = own_seq(rest.strip_suffix(ACK_AFTER_SEQ)?)?;
    let desc = Some(CompactString::const_new("success"));
    Some(Header { desc, ..Header::request(Command::AsyncMessageToServerAck, seq) })
}

const ACK_BEFORE_SEQ: &[u8] = br#"{"cmd":"ASYNC_MESSAGE_TO_SERVER_ACK","code":0,"desc":"success","seq":""#;
const ACK_AFTER_SEQ: &[u8] = br#"","properties":{},"command":"ASYNC_MESSAGE_TO_SERVER_ACK"}"#;

/// A seq of ours.
fn own_seq(seq: &[u8]) -> Option<&str> {
    is_publish_seq(seq).then(|| std::str::from_utf8(seq).ok())?
}
