//! Rows of a snapshot to CloudEvents.
//!
//! The id is made of the snapshot's own id, the table, the key and the bytes of `data.after`: a chunk that is read again
//! repeats the ids of rows that did not change, and a row that did gets another one.

use std::mem::{swap, take};

use flowd_binlog::result;
use flowd_binlog::row::RowError;
use flowd_codec::event::EventWriter;
use flowd_codec::json;
use flowd_engine::failure::Failure;
use flowd_engine::parcel::{Parcel, Reject};
use flowd_engine::record::Operation;
use twox_hash::{XxHash3_64, XxHash3_128};

use super::{Change, Clock, MySqlEncoder, Place};
use crate::rows::ChunkRows;

/// Bytes before a row: its length.
const HEAD: usize = 4;

/// Where a chunk's encoding goes on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ChunkMark {
    /// Of the next row's head in the chunk.
    offset: usize,
    /// Its number in the chunk.
    row: u32,
}

impl MySqlEncoder {
    /// Encodes rows of a chunk until it ends or the parcel is full; true when it ended.
    pub(super) fn chunk(
        &mut self,
        chunk: &ChunkRows,
        body: &[u8],
        clock: &Clock,
        parcel: &mut Parcel,
    ) -> Result<bool, Failure> {
        let mut mark = take(&mut self.chunk_mark);
        if mark.offset == 0 {
            parcel.rejects.extend(chunk.oversize.iter().map(|size| oversize(chunk, *size)));
        }
        self.prepare_chunk_source(chunk);
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
                let change = Change {
                    operation: Operation::Read,
                    before: None,
                    after: Some(&image),
                    suffix: b"",
                    partition_key: scratch.key(),
                    keys: [key, 0],
                };
                self.read_event(chunk, mark.row, &change, clock, parcel);
            }
            mark.offset += HEAD + row.len();
            mark.row += 1;
        }
        swap(&mut self.images, &mut image);
        swap(&mut self.scratch, &mut scratch);
        Ok(mark.offset >= body.len())
    }

    /// Everything of `data.source` that the rows of a snapshot share.
    fn prepare_chunk_source(&mut self, chunk: &ChunkRows) {
        let (out, table, origin) = (&mut self.source, &chunk.table, &chunk.origin);
        out.clear();
        super::write_source_times(out, table, origin.time_us);
        out.extend_from_slice(b"0,\"gtid\":null,\"file\":");
        json::write_string(out, &origin.file);
        out.extend_from_slice(b",\"pos\":");
        json::write_u64(out, origin.offset);
        out.extend_from_slice(b",\"row\":");
        self.source_tail.clear();
        self.source_tail.extend_from_slice(b",\"thread\":null,\"query\":null}");
    }

    fn read_event(
        &self,
        chunk: &ChunkRows,
        row: u32,
        change: &Change<'_>,
        clock: &Clock,
        parcel: &mut Parcel,
    ) {
        let after = change.after.unwrap_or_default();
        let mut event = EventWriter::begin(&mut parcel.buffer, chunk.table.template(Operation::Read));
        event.id(|out| {
            out.extend_from_slice(chunk.origin.id.as_bytes());
            out.push(b'/');
            out.extend_from_slice(chunk.table.id_part.as_bytes());
            out.push(b'/');
            if chunk.first_row.is_none() {
                write_hex(out, &XxHash3_64::oneshot(change.partition_key).to_be_bytes());
                out.push(b'-');
            }
            write_hex(out, &XxHash3_128::oneshot(after).to_be_bytes());
            if let Some(first) = chunk.first_row {
                out.push(b'-');
                json::write_u64(out, first + u64::from(row));
            }
        });
        event.time_us(chunk.origin.time_us);
        if !change.partition_key.is_empty() {
            event.partition_key(change.partition_key);
        }
        self.envelope(0, change, clock, event.data());
        let written = event.finish();
        self.keep(written, change.keys, &place(chunk), parcel);
    }
}

/// The row whose head stands at `offset`; none at the end.
fn row_at(body: &[u8], offset: usize) -> Option<&[u8]> {
    let (head, rest) = body.get(offset..)?.split_first_chunk::<HEAD>()?;
    rest.get(..u32::from_le_bytes(*head) as usize)
}

fn place(chunk: &ChunkRows) -> Place<'_> {
    Place { table: &chunk.table, transaction: None, file: &chunk.origin.file, offset: chunk.origin.offset }
}

fn fatal(chunk: &ChunkRows, error: &RowError) -> Failure {
    Failure::Fatal(format!("{error}; read by the snapshot {}", chunk.origin.id))
}

fn oversize(chunk: &ChunkRows, size: u64) -> Reject {
    let table = &chunk.table.id_part;
    place(chunk)
        .reject(&format!("a row of {table} of {size} bytes, more than a quarter of pipeline.memory"), None)
}

fn write_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}
