//! The events of one chunk of a snapshot: what they share is written out once, and copied into each.

use super::stamp::{self, AFTER};
use super::{EventWriter, Part};
use crate::json;
use crate::time::TimeText;

/// What the events of one chunk share: their time, and what stands around the row's number and the lane.
#[derive(Debug, Default)]
pub struct ChunkText {
    time: TimeText,
    /// From the partition key to the number, …
    before_number: Vec<u8>,
    /// … and from there to the lane.
    before_lane: Vec<u8>,
    size: u32,
}

impl ChunkText {
    /// Of another chunk: its rows' time, and what [`EventWriter::snapshot_row`] is told.
    pub fn prepare(&mut self, time_us: i64, snapshot: &str, chunk: &str, chunk_size: u32) {
        self.time.of(time_us);
        self.before_number.clear();
        stamp::before_number(&mut self.before_number, snapshot, chunk);
        self.before_lane.clear();
        stamp::before_lane(&mut self.before_lane, chunk_size);
        self.size = chunk_size;
    }
}

impl EventWriter<'_> {
    /// The same as [`time_us`](Self::time_us) with the chunk's time.
    #[inline]
    pub fn chunk_time(&mut self, chunk: &ChunkText) {
        self.time_written(chunk.time.text());
    }

    /// The same as [`snapshot_row`](Self::snapshot_row) for a row of this chunk.
    #[inline]
    pub fn chunk_row(&mut self, chunk: &ChunkText, number: u32, lane: u16) {
        debug_assert_eq!(self.next, Part::Attributes);
        debug_assert_eq!(self.stamp, 0, "an event is counted once");
        debug_assert!(number < chunk.size, "row {number} of {}", chunk.size);
        let out = &mut *self.out;
        out.extend_from_slice(&chunk.before_number);
        json::write_u64(out, number.into());
        out.extend_from_slice(&chunk.before_lane);
        out.extend_from_slice(&stamp::lane_digits(lane));
        self.stamp = stamp::after_digits(out.len());
        out.extend_from_slice(AFTER);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Framing, Template};
    use super::*;

    #[test]
    fn an_event_from_prepared_text_is_the_one_that_is_written_piece_by_piece() {
        let template = Template::new(Framing::Line, "/s", "t", "topic");
        let written = |time: &dyn Fn(&mut EventWriter<'_>), row: &dyn Fn(&mut EventWriter<'_>)| {
            let mut out = b"before".to_vec();
            let mut writer = EventWriter::begin(&mut out, &template);
            writer.id(|out| out.push(b'1'));
            time(&mut writer);
            row(&mut writer);
            writer.data().extend_from_slice(b"{}");
            let event = writer.finish();
            (out, event)
        };
        let mut text = ChunkText::default();
        for (time_us, chunk, size) in [(1_764_028_800_000_001, "1764028800000000-12", 10), (0, "\"", 100_000)]
        {
            text.prepare(time_us, "s-1", chunk, size);
            for (number, lane) in [(0, 0), (size - 1, 63)] {
                let prepared = written(&|writer| writer.chunk_time(&text), &|writer| {
                    writer.chunk_row(&text, number, lane);
                });
                let piece_by_piece = written(&|writer| writer.time_us(time_us), &|writer| {
                    writer.snapshot_row("s-1", chunk, number, size, lane);
                });
                assert_eq!(prepared, piece_by_piece);
            }
        }
    }
}
