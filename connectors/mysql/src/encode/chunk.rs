//! Rows of a snapshot to CloudEvents.
//!
//! The id is made of the snapshot's own id, the table, the key and the bytes of `data.after`: a chunk that is read again
//! repeats the ids of rows that did not change, and a row that did gets another one. Each event says which of how many
//! of its chunk it is: how many really come is counted before the first one.

use std::mem::{swap, take};

use flowd_binlog::result;
use flowd_binlog::row::RowError;
use flowd_codec::event::EventWriter;
use flowd_codec::{hex, json};
use flowd_engine::failure::Failure;
use flowd_engine::order::Keyed;
use flowd_engine::parcel::Reject;
use flowd_engine::sequence::{Lane, Numbering, Place};
use twox_hash::XxHash3_128;

use super::{MySqlEncoder, Parcel, Spot};
use crate::captured::TableEvents;
use crate::lanes::{lane_hash, lane_of};
use crate::rows::{ChunkRows, Operation, Origin, RunBeginning};

/// Bytes before a row: its length.
const HEAD: usize = 4;

/// Where a chunk's encoding goes on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ChunkMark {
    /// Of the next row's head in the chunk.
    offset: usize,
    /// Its number among all rows of the chunk …
    row: u32,
    /// … and among those that become events.
    number: u32,
    /// How many do.
    size: u32,
}

/// A row that becomes an event.
struct Read<'a> {
    mark: ChunkMark,
    after: &'a [u8],
    key_json: &'a [u8],
    /// Hash of the key.
    key: u64,
}

impl MySqlEncoder {
    /// Encodes rows of a chunk until it ends or the parcel is full; true when it ended.
    pub(super) fn chunk(
        &mut self,
        chunk: &ChunkRows,
        body: &[u8],
        parcel: &mut Parcel,
    ) -> Result<bool, Failure> {
        let mut mark = take(&mut self.chunk_mark);
        if mark.offset == 0 {
            mark.size = self.event_count(chunk, body)?;
            parcel.rejects.extend(chunk.oversize.iter().map(|size| oversize(chunk, *size)));
        }
        self.prepare_chunk(chunk, mark.size);
        let (mut image, mut scratch) = (take(&mut self.images), take(&mut self.scratch));
        while let Some(row) = row_at(body, mark.offset) {
            if parcel.is_full() {
                self.chunk_mark = mark;
                break;
            }
            image.clear();
            result::encode(&chunk.table.table, row, mark.row, &mut image, &mut scratch)
                .map_err(|error| fatal(chunk, &error))?;
            let key = self.hasher.hash(chunk.table.number, scratch.key());
            if chunk.outdated.binary_search(&key).is_err() {
                let read = Read { mark, after: &image, key_json: scratch.key(), key };
                self.read_event(chunk, &read, parcel);
                mark.number += 1;
            }
            mark.offset += HEAD + row.len();
            mark.row += 1;
        }
        swap(&mut self.images, &mut image);
        swap(&mut self.scratch, &mut scratch);
        Ok(mark.offset >= body.len())
    }

    /// How many rows of a chunk become events: each is looked at only where some are outdated.
    fn event_count(&mut self, chunk: &ChunkRows, body: &[u8]) -> Result<u32, Failure> {
        if chunk.outdated.is_empty() {
            return Ok(chunk.rows);
        }
        let (mut image, mut scratch) = (take(&mut self.images), take(&mut self.scratch));
        let (mut offset, mut count) = (0, 0);
        for number in 0..chunk.rows {
            let Some(row) = row_at(body, offset) else { break };
            image.clear();
            result::encode(&chunk.table.table, row, number, &mut image, &mut scratch)
                .map_err(|error| fatal(chunk, &error))?;
            let key = self.hasher.hash(chunk.table.number, scratch.key());
            count += u32::from(chunk.outdated.binary_search(&key).is_err());
            offset += HEAD + row.len();
        }
        (self.images, self.scratch) = (image, scratch);
        Ok(count)
    }

    /// What the rows of a chunk share: the beginning of the id, the time, most of the extensions, and all of `data` behind
    /// `after`.
    fn prepare_chunk(&mut self, chunk: &ChunkRows, size: u32) {
        let origin = &chunk.origin;
        self.chunk_text.prepare(origin.time_us, &origin.snapshot, &chunk.chunk, size);
        self.id_head.clear();
        for part in [&chunk.origin.id, &chunk.table.events.id_part] {
            self.id_head.extend_from_slice(part.as_bytes());
            self.id_head.push(b'/');
        }
        let (out, table) = (&mut self.source, &chunk.table.events);
        out.clear();
        super::write_source_times(out, table, origin.time_us);
        out.extend_from_slice(b"0,\"gtid\":null,\"file\":");
        json::write_string(out, &origin.file);
        out.extend_from_slice(b",\"pos\":");
        json::write_u64(out, origin.offset);
        out.extend_from_slice(
            b",\"row\":0,\"thread\":null,\"query\":null},\"transaction\":null,\"op\":\"r\"",
        );
        out.extend_from_slice(&self.clock);
    }

    /// Says that another run of a snapshot begins: it takes the place of a chunk of one row, and holds none.
    pub(super) fn run_beginning(&mut self, beginning: &RunBeginning, parcel: &mut Parcel) {
        let RunBeginning { table, origin, chunk } = beginning;
        self.chunk_text.prepare(origin.time_us, &origin.snapshot, chunk, 1);
        let id = |out: &mut Vec<u8>| {
            out.extend_from_slice(origin.snapshot.as_bytes());
            out.push(b'/');
            out.extend_from_slice(chunk.as_bytes());
        };
        let order = |event: &mut EventWriter<'_>| event.chunk_row(&self.chunk_text, 0, 0);
        let event = self.marker(&spot_of(table, origin), id, order, "the snapshot goes on", parcel);
        let place = Place { topic: table.topic_id, lane: Lane(0), numbering: Numbering::Behind };
        parcel.events.push(Keyed { event, keys: [0; 2], place, sequence: 0 });
    }

    fn read_event(&self, chunk: &ChunkRows, read: &Read<'_>, parcel: &mut Parcel) {
        let (table, key_hash) = (&chunk.table.events, lane_hash(read.key_json));
        let mut event = EventWriter::begin(&mut parcel.buffer, table.template(Operation::Read));
        event.id(|out| {
            out.extend_from_slice(&self.id_head);
            if chunk.first_row.is_none() {
                out.extend_from_slice(&hex::digits(key_hash));
                out.push(b'-');
            }
            let hash = XxHash3_128::oneshot(read.after);
            out.extend_from_slice(&hex::digits((hash >> 64) as u64));
            out.extend_from_slice(&hex::digits(hash as u64));
            if let Some(first) = chunk.first_row {
                out.push(b'-');
                json::write_u64(out, first + u64::from(read.mark.row));
            }
        });
        event.chunk_time(&self.chunk_text);
        if !read.key_json.is_empty() {
            event.partition_key(read.key_json);
        }
        let lane = lane_of(key_hash, chunk.lanes);
        let order = |event: &mut EventWriter<'_>| {
            event.chunk_row(&self.chunk_text, read.mark.number, lane.0);
        };
        self.order(&mut event, order);
        let out = event.data();
        out.extend_from_slice(b"{\"before\":null,\"after\":");
        out.extend_from_slice(read.after);
        out.extend_from_slice(&self.source);
        let place = Place { topic: table.topic_id, lane, numbering: Numbering::Behind };
        // What is read in one go need not keep its own order: the stream waits for all of it.
        let keys = if chunk.first_row.is_some() { [0; 2] } else { [read.key, 0] };
        let event = Keyed { event: event.finish(), keys, place, sequence: 0 };
        self.keep(event, &spot(chunk), order, parcel);
    }
}

/// The row whose head stands at `offset`; none at the end.
fn row_at(body: &[u8], offset: usize) -> Option<&[u8]> {
    let (head, rest) = body.get(offset..)?.split_first_chunk::<HEAD>()?;
    rest.get(..u32::from_le_bytes(*head) as usize)
}

fn spot(chunk: &ChunkRows) -> Spot<'_> {
    spot_of(&chunk.table.events, &chunk.origin)
}

fn spot_of<'a>(table: &'a TableEvents, origin: &'a Origin) -> Spot<'a> {
    let Origin { file, offset, time_us, .. } = origin;
    Spot { table, transaction: None, file, offset: *offset, time_us: *time_us }
}

fn fatal(chunk: &ChunkRows, error: &RowError) -> Failure {
    Failure::Fatal(format!("{error}; read by the snapshot {}", chunk.origin.id))
}

fn oversize(chunk: &ChunkRows, size: u64) -> Reject {
    let table = &chunk.table.events.id_part;
    spot(chunk)
        .reject(&format!("a row of {table} of {size} bytes, more than a quarter of pipeline.memory"), None)
}
