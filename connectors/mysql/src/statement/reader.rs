//! Rows of a result set as fast as the socket gives them: read straight into the caller's buffer, framed in place.
//!
//! A packet's head is a length of three bytes and a sequence number; with that zeroed it is the row's length of four
//! bytes, so that a row of one packet is never moved. Invariants: the caller's buffer holds whole rows only; what was
//! read beyond them waits in the channel, at most one read's bytes.

use std::io::Read;

use crate::connection::Connection;
use crate::error::WireError;
use crate::packet::{Channel, PACKET_BYTES_MAX, check_sequence};
use crate::query::{is_end, server_error};

/// How much is asked for at once, bytes.
const READ_BYTES: usize = 256 << 10;
/// Head of a packet, and of a row in the caller's buffer.
const HEAD_BYTES: usize = 4;
/// Status flag of an end packet: another result set follows.
const MORE_RESULTS: u8 = 8;

/// What one [`RowReader::read`] brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Filled {
    /// Rows that were appended.
    pub rows: u32,
    /// Whether they were the last.
    pub ended: bool,
    /// Bytes of the row that came next and is longer than allowed; it was read and thrown away.
    pub oversize: Option<u64>,
    /// A row comes next that is longer than wanted now: the next call begins with it.
    pub large: bool,
}

/// How long rows may be, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowBounds {
    /// Longer ones are left to the next call. Of no meaning from 16 MiB on: what a row of more packets takes is known
    /// only at its end.
    pub now: usize,
    /// Longer ones are read and thrown away.
    pub ever: usize,
}

impl RowBounds {
    /// Every row of at most so many bytes, at once.
    pub fn upto(row_bytes_max: usize) -> Self {
        Self { now: usize::MAX, ever: row_bytes_max }
    }
}

/// The rows of a statement that runs, read in portions.
#[derive(Debug)]
#[must_use = "unless the rows are read to their end, the connection is of no further use"]
pub struct RowReader<'a> {
    connection: &'a mut Connection,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Ended,
    Failed,
}

impl<'a> RowReader<'a> {
    pub(super) fn open(connection: &'a mut Connection) -> Self {
        Self { connection, state: State::Open }
    }

    pub(super) fn ended(connection: &'a mut Connection) -> Self {
        Self { connection, state: State::Ended }
    }

    /// Appends rows to `out`, each as its payload's length (`u32`, little-endian) and its payload, until `out` holds
    /// `full` bytes or the rows end. Goes beyond `full` for the first row of a call only. Returns early before a row of
    /// 16 MiB or more and before one that is longer than `bounds` allow; the next call begins with it.
    ///
    /// Every read waits for at most [`crate::connection::ANSWER_WAIT`]. An error of the server in the middle of the rows
    /// leaves the connection usable, every other one does not.
    pub fn read(&mut self, out: &mut Vec<u8>, full: usize, bounds: RowBounds) -> Result<Filled, WireError> {
        match self.state {
            State::Open => {}
            State::Ended => return Ok(Filled { ended: true, ..Filled::default() }),
            State::Failed => return Err(WireError::Protocol("rows asked for after an error".into())),
        }
        let result = read_rows(self.connection.answer(), out, full, bounds);
        self.state = match &result {
            Ok(filled) if !filled.ended => return result,
            Ok(_) => State::Ended,
            Err(_) => State::Failed,
        };
        self.connection.end_answer(result)
    }
}

/// The payloads of the rows that [`RowReader::read`] appended.
pub fn rows(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (head, after) = rest.split_first_chunk::<HEAD_BYTES>()?;
        let (row, after) = after.split_at(u32::from_le_bytes(*head) as usize);
        rest = after;
        Some(row)
    })
}

/// [`RowReader::read`] over any channel.
fn read_rows<S: Read>(
    channel: &mut Channel<S>,
    out: &mut Vec<u8>,
    full: usize,
    bounds: RowBounds,
) -> Result<Filled, WireError> {
    let mut end = out.len();
    let result = append_rows(channel, out, &mut end, full, bounds);
    out.truncate(end);
    result
}

/// `end` is where the whole rows in `out` end, also after an error.
fn append_rows<S: Read>(
    channel: &mut Channel<S>,
    out: &mut Vec<u8>,
    end: &mut usize,
    full: usize,
    bounds: RowBounds,
) -> Result<Filled, WireError> {
    let framed_max = bounds.ever.min(bounds.now);
    channel.take_ahead(out, full.saturating_sub(*end));
    let mut filled = out.len();
    let mut rows = 0;
    loop {
        let found = frame(&mut out[*end..filled], channel.sequence(), framed_max)?;
        *end += found.bytes;
        rows += found.rows;
        match found.next {
            Next::End(size) => {
                channel.put_back(&out[*end + size..filled]);
                return Ok(Filled { rows, ended: true, ..Filled::default() });
            }
            Next::Cut(size) if *end + size <= full => {
                let target = full.min(filled + READ_BYTES);
                if out.len() < target {
                    out.resize(target, 0);
                }
                filled += channel.read_past(&mut out[filled..target])?;
            }
            Next::Cut(_) | Next::Large => {
                channel.put_back(&out[*end..filled]);
                out.truncate(*end);
                if rows > 0 {
                    return Ok(Filled { rows, ..Filled::default() });
                }
                return match channel.is_row_over(bounds.now)? {
                    true => Ok(Filled { large: true, ..Filled::default() }),
                    false => append_large(channel, out, end, bounds.ever),
                };
            }
        }
    }
}

/// What [`frame`] found.
struct Found {
    /// Whole rows, and their bytes with heads.
    rows: u32,
    bytes: usize,
    next: Next,
}

/// What follows the whole rows.
enum Next {
    /// A packet of which not all is there yet; it takes at least so many bytes with its head.
    Cut(usize),
    /// A row that is to be read by itself: of several packets, or longer than allowed.
    Large,
    /// The end of the rows, a packet of so many bytes with its head.
    End(usize),
}

/// Turns the heads of the rows of one packet, as far as they are whole, into lengths.
fn frame(bytes: &mut [u8], sequence: &mut u8, row_bytes_max: usize) -> Result<Found, WireError> {
    let (mut rows, mut at) = (0, 0);
    let next = loop {
        let Some(head) = bytes[at..].first_chunk::<HEAD_BYTES>() else { break Next::Cut(HEAD_BYTES) };
        let length = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize;
        check_sequence(head[3], *sequence)?;
        let size = HEAD_BYTES + length;
        let large = length > row_bytes_max || length == PACKET_BYTES_MAX;
        let Some(payload) = bytes.get(at + HEAD_BYTES..at + size) else {
            break if large { Next::Large } else { Next::Cut(size) };
        };
        if payload.first() != Some(&0) {
            check_end(payload)?;
            *sequence = sequence.wrapping_add(1);
            break Next::End(size);
        }
        if large {
            break Next::Large;
        }
        bytes[at + HEAD_BYTES - 1] = 0;
        *sequence = sequence.wrapping_add(1);
        at += size;
        rows += 1;
    };
    Ok(Found { rows, bytes: at, next })
}

/// Reads one row of any size, its packets joined, or the end of the rows.
fn append_large<S: Read>(
    channel: &mut Channel<S>,
    out: &mut Vec<u8>,
    end: &mut usize,
    row_bytes_max: usize,
) -> Result<Filled, WireError> {
    let head = *end;
    out.extend_from_slice(&[0; HEAD_BYTES]);
    let payload = head + HEAD_BYTES;
    let mut size = 0;
    loop {
        let length = channel.read_header()?;
        // The first byte tells a row from an error, which is kept whole whatever rows may measure.
        let first = if size == 0 { length.min(1) } else { 0 };
        channel.read_onto(out, first)?;
        let is_row = out.get(payload) == Some(&0);
        size += length;
        if is_row && size > row_bytes_max {
            out.truncate(payload + 1);
            channel.pass(length - first)?;
        } else {
            channel.read_onto(out, length - first)?;
        }
        if length < PACKET_BYTES_MAX || !is_row {
            break;
        }
    }
    if out.get(payload) != Some(&0) {
        check_end(&out[payload..])?;
        return Ok(Filled { ended: true, ..Filled::default() });
    }
    if size > row_bytes_max {
        return Ok(Filled { oversize: Some(size as u64), ..Filled::default() });
    }
    let length =
        u32::try_from(size).map_err(|_| WireError::Protocol(format!("a row of {size} bytes, over 4 GiB")))?;
    out[head..payload].copy_from_slice(&length.to_le_bytes());
    *end = out.len();
    Ok(Filled { rows: 1, ..Filled::default() })
}

/// A packet that is no row: the end of the rows, or the server's error. Rows of the binary protocol begin with 0.
fn check_end(payload: &[u8]) -> Result<(), WireError> {
    match payload {
        [0xff, ..] => Err(server_error(payload)),
        [0xfe, _, _, status, ..] if is_end(payload) && status & MORE_RESULTS != 0 => {
            Err(WireError::Protocol("a second result set".into()))
        }
        _ if is_end(payload) => Ok(()),
        _ => {
            let (size, first) = (payload.len(), payload.first());
            let message =
                format!("a packet of {size} bytes that begins with {first:02x?} where a row is due");
            Err(WireError::Protocol(message))
        }
    }
}

#[cfg(test)]
mod tests;
