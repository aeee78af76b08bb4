//! The extensions by which a sink puts events in order: written with zeros, and set in place once the number is known.
//!
//! A counted event has `epoch`, `lane` and `sequence`; a row of a snapshot has `snapshot`, `chunk`, `number`,
//! `chunksize`, `lane` and `after`, which is the epoch and number of its lane's last counted event. All are texts; what is
//! set in place has a fixed width.

use super::{EventWriter, Framed, Part};
use crate::json;

/// Decimal digits of an epoch.
pub const EPOCH_WIDTH: usize = 16;
/// Decimal digits of a number in a lane.
pub const NUMBER_WIDTH: usize = 20;

pub(super) const LANE: &[u8] = br#","lane":""#;
const EPOCH: &[u8] = br#","epoch":"0000000000000000","lane":""#;
const SEQUENCE: &[u8] = br#"","sequence":"00000000000000000000""#;
pub(super) const AFTER: &[u8] = br#"","after":"0000000000000000-00000000000000000000""#;
/// From the epoch's first digit to the number's, in both forms.
const EPOCH_TO_SEQUENCE: usize = EPOCH_WIDTH + LANE.len() + 1 + 2 + SEQUENCE.len() - 1 - NUMBER_WIDTH;
const EPOCH_TO_AFTER: usize = EPOCH_WIDTH + 1;

impl EventWriter<'_> {
    /// Writes `epoch`, `lane` and `sequence` of an event that is counted; [`stamp`] sets epoch and sequence.
    #[inline]
    pub fn sequence(&mut self, lane: u16) {
        debug_assert_eq!(self.next, Part::Attributes);
        debug_assert_eq!(self.stamp, 0, "an event is counted once");
        self.stamp = self.out.len() + EPOCH.len() - LANE.len() - 1 - EPOCH_WIDTH;
        self.out.extend_from_slice(EPOCH);
        self.out.extend_from_slice(&lane_digits(lane));
        self.out.extend_from_slice(SEQUENCE);
    }

    /// Writes where a row of a snapshot belongs: row `number` (from 0) of the `chunk_size` rows of a chunk, in a lane;
    /// [`stamp`] sets what it comes after. `chunk` is `<run, 16 digits>-<number>`.
    #[inline]
    pub fn snapshot_row(&mut self, snapshot: &str, chunk: &str, number: u32, chunk_size: u32, lane: u16) {
        debug_assert_eq!(self.next, Part::Attributes);
        debug_assert_eq!(self.stamp, 0, "an event is counted once");
        debug_assert!(number < chunk_size, "row {number} of {chunk_size}");
        let out = &mut *self.out;
        before_number(out, snapshot, chunk);
        json::write_u64(out, number.into());
        before_lane(out, chunk_size);
        out.extend_from_slice(&lane_digits(lane));
        self.stamp = after_digits(out.len());
        out.extend_from_slice(AFTER);
    }
}

/// `snapshot` and `chunk`, up to the digits of `number`.
pub(super) fn before_number(out: &mut Vec<u8>, snapshot: &str, chunk: &str) {
    out.extend_from_slice(br#","snapshot":"#);
    json::write_string(out, snapshot);
    out.extend_from_slice(br#","chunk":"#);
    json::write_string(out, chunk);
    out.extend_from_slice(br#","number":""#);
}

/// From the digits of `number` to those of `lane`.
pub(super) fn before_lane(out: &mut Vec<u8>, chunk_size: u32) {
    out.extend_from_slice(br#"","chunksize":""#);
    json::write_u64(out, chunk_size.into());
    out.push(b'"');
    out.extend_from_slice(LANE);
}

/// Where the digits of [`AFTER`] stand that is written at `at`.
#[inline]
pub(super) fn after_digits(at: usize) -> usize {
    at + AFTER.len() - 1 - NUMBER_WIDTH - EPOCH_TO_AFTER
}

#[inline]
pub(super) fn lane_digits(lane: u16) -> [u8; 2] {
    debug_assert!(lane < 100, "lane {lane} has more than two digits");
    [b'0' + (lane / 10 % 10) as u8, b'0' + (lane % 10) as u8]
}

/// Sets epoch and number of an event that was written with [`EventWriter::sequence`] or
/// [`EventWriter::snapshot_row`]; of any other event nothing. An epoch of more than 16 digits is a mistake.
///
/// # Panics
/// Where `buffer` is not the one that the event lies in.
#[inline]
pub fn stamp(buffer: &mut [u8], event: &Framed, epoch: u64, sequence: u64) {
    if event.stamp == 0 {
        return;
    }
    debug_assert!(epoch < 10_u64.pow(EPOCH_WIDTH as u32), "epoch {epoch} has more than 16 digits");
    let digits = &mut buffer[event.stamp as usize..];
    let to_number = if digits[EPOCH_WIDTH] == b'-' { EPOCH_TO_AFTER } else { EPOCH_TO_SEQUENCE };
    put_digits(&mut digits[..EPOCH_WIDTH], epoch);
    put_digits(&mut digits[to_number..to_number + NUMBER_WIDTH], sequence);
}

/// The text of `chunk` of a row of a snapshot that was written with [`EventWriter::snapshot_row`]; `None` for any other
/// event.
pub fn chunk<'a>(buffer: &'a [u8], event: &Framed) -> Option<&'a [u8]> {
    const NAME: &[u8] = br#","chunk":""#;
    let digits = event.stamp as usize;
    if digits == 0 || buffer[digits + EPOCH_WIDTH] != b'-' {
        return None;
    }
    let before = &buffer[event.start as usize..digits];
    let from = memchr::memmem::rfind(before, NAME)? + NAME.len();
    let size = memchr::memchr(b'"', &before[from..])?;
    Some(&before[from..from + size])
}

/// Writes a number over zeros or older digits, with leading zeros.
#[inline]
fn put_digits(place: &mut [u8], number: u64) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(number).as_bytes();
    let (zeros, digits) = place.split_at_mut(place.len() - text.len());
    zeros.fill(b'0');
    digits.copy_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::super::{Framing, Template};
    use super::*;
    use crate::event::view::{ExtensionValue, decode_event};

    fn written(write: impl Fn(&mut EventWriter<'_>)) -> (Vec<u8>, Framed) {
        let template = Template::new(Framing::EventMesh, "/s", "t", "topic");
        let mut out = b"before".to_vec();
        let mut writer = EventWriter::begin(&mut out, &template);
        writer.id(|out| out.extend_from_slice(b"1"));
        writer.time_us(0);
        writer.partition_key(b"{\"sequence\":1}");
        write(&mut writer);
        writer.extension("delivery", "applied");
        writer.data().extend_from_slice(b"{}");
        let event = writer.finish();
        (out, event)
    }

    fn check(write: impl Fn(&mut EventWriter<'_>), expected: &[(&str, &str)]) {
        let (mut out, event) = written(write);
        // A second stamp leaves nothing of the first.
        for (epoch, sequence) in [(u64::from(u32::MAX), u64::MAX), (1_764_028_800_000_001, 42)] {
            stamp(&mut out, &event, epoch, sequence);
        }
        let view = decode_event(event.json(&out)).expect("a CloudEvent");
        let expected_chunk = expected.iter().find(|(name, _)| *name == "chunk");
        assert_eq!(chunk(&out, &event), expected_chunk.map(|(_, text)| text.as_bytes()));
        for (name, value) in expected {
            assert_eq!(view.extension(name), Some(&ExtensionValue::String((*value).into())), "{name}");
        }
        assert_eq!(view.extensions.len(), expected.len() + 2);
    }

    #[test]
    fn a_counted_event_is_stamped_in_place() {
        let expected = [("epoch", "1764028800000001"), ("lane", "07"), ("sequence", "00000000000000000042")];
        check(|writer| writer.sequence(7), &expected);
    }

    #[test]
    fn a_row_of_a_snapshot_is_stamped_in_place() {
        let expected = [
            ("snapshot", "s-1"),
            ("chunk", "1764028800000000-12"),
            ("number", "9"),
            ("chunksize", "10"),
            ("lane", "63"),
            ("after", "1764028800000001-00000000000000000042"),
        ];
        check(|writer| writer.snapshot_row("s-1", "1764028800000000-12", 9, 10, 63), &expected);
    }

    #[test]
    fn an_event_that_is_not_counted_is_left_alone() {
        let (mut out, event) = written(|_| {});
        let before = out.clone();
        stamp(&mut out, &event, 1, 1);
        assert_eq!((event.stamp, out), (0, before));
    }
}
