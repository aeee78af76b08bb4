//! Rows to CloudEvents: each row goes from its binary image to the finished event, in the order of the binlog.
//!
//! The images are decoded into a scratch buffer first, because the key, which stands before the data, is known only
//! when they are. Invariants: the id depends on the transaction, the table and the row's number in both, and on nothing
//! else; without the clock fields the same change gives the same bytes for ever (epoch and number are zeros here). An
//! event that is rejected leaves a marker, which takes its number.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use flowd_binlog::row::{EncodedRow, RowError, RowMark, Rows, Scratch};
use flowd_codec::dead_letter::{Origin, dead_letter};
use flowd_codec::event::{ChunkText, EventWriter, Framed, Framing, marker};
use flowd_codec::frame::PUBLISH_SIZE_MAX;
use flowd_codec::json;
use flowd_codec::time::TimeText;
use flowd_engine::failure::Failure;
use flowd_engine::order::Keyed;
use flowd_engine::parcel::{self, Reject};
use flowd_engine::record::Batch;
use flowd_engine::sequence::{Epoch, Lane, Numbering, Place};
use flowd_engine::worker::{Encode, Encoded};

use crate::captured::{EventSettings, TableEvents};
use crate::key_hash::KeyHasher;
use crate::lanes::{lane_hash, lane_of};
use crate::rows::{MySqlRecord, Operation, RowsEvent, Truncation, Written};
use crate::transaction::TransactionId;

mod chunk;

use chunk::ChunkMark;

/// Why a change is no event although nothing is wrong with it.
const COVERED: &str =
    "the table has no key, and the rows of the snapshot, which come later, hold this change";

/// What a row becomes: a framed CloudEvent, and the keys that it holds until it is acknowledged.
pub type Outgoing = Keyed<Framed>;

type Parcel = parcel::Parcel<Outgoing>;

/// Encodes for one lane.
#[derive(Debug)]
pub struct MySqlEncoder {
    event_bytes_max: usize,
    clock_fields: bool,
    /// Whether events say that the source waits until they are applied.
    applied: bool,
    hasher: KeyHasher,
    scratch: Scratch,
    /// Images of one row.
    images: Vec<u8>,
    /// `"source":{…,"row":` of the event at hand; of a chunk, all of `data` from there on.
    source: Vec<u8>,
    /// `,"thread":…,"query":null}` of the event at hand.
    source_tail: Vec<u8>,
    /// When the event at hand was written.
    time: TimeText,
    /// The top-level `ts_*` and the brace that ends `data`, the same for all events of one call.
    clock: Vec<u8>,
    /// What the ids of a chunk's rows begin with.
    id_head: Vec<u8>,
    /// What the events of a chunk share besides.
    chunk_text: ChunkText,
    /// The batch's record at hand, and where in it to go on.
    record: usize,
    mark: Option<RowMark>,
    chunk_mark: ChunkMark,
}

/// The part of a row that becomes one event.
struct Change<'a> {
    operation: Operation,
    before: Option<&'a [u8]>,
    after: Option<&'a [u8]>,
    /// Behind the id of a half of a key change.
    suffix: &'static [u8],
    partition_key: &'a [u8],
    keys: [u64; 2],
}

impl MySqlEncoder {
    /// An encoder with nothing at hand.
    pub fn new(settings: &EventSettings) -> Self {
        Self {
            event_bytes_max: match settings.framing {
                Framing::EventMesh => PUBLISH_SIZE_MAX,
                Framing::Line | Framing::Bare => usize::MAX,
            },
            clock_fields: settings.clock_fields,
            applied: settings.applied,
            hasher: KeyHasher::new(),
            scratch: Scratch::new(),
            images: Vec::new(),
            source: Vec::new(),
            source_tail: Vec::new(),
            time: TimeText::default(),
            clock: Vec::new(),
            id_head: Vec::new(),
            chunk_text: ChunkText::default(),
            record: 0,
            mark: None,
            chunk_mark: ChunkMark::default(),
        }
    }

    fn rows<'a>(&self, record: &'a RowsEvent, body: &'a [u8]) -> Result<Rows<'a>, RowError> {
        let mut rows = Rows::open(&record.table.table, record.kind, body)?;
        match self.mark {
            Some(mark) => rows.seek(mark),
            None => {
                for _ in 0..record.skip {
                    rows.skip()?;
                }
            }
        }
        Ok(rows)
    }

    /// Encodes rows of one record until it ends or the parcel is full; true when it ended.
    fn record(&mut self, record: &RowsEvent, body: &[u8], parcel: &mut Parcel) -> Result<bool, Failure> {
        let fatal = |error: RowError| {
            let Written { transaction, file, offset, .. } = &record.written;
            let mut place = format!("{error}; {file}:{offset}");
            if transaction.is_gtid() {
                place.push_str(&format!(" (GTID {transaction})"));
            }
            Failure::Fatal(place)
        };
        self.prepare_source(&record.table.events, &record.written);
        let mut rows = self.rows(record, body).map_err(fatal)?;
        let (mut images, mut scratch) = (std::mem::take(&mut self.images), std::mem::take(&mut self.scratch));
        let done = loop {
            images.clear();
            match rows.encode(&mut images, &mut scratch).map_err(fatal)? {
                None => break true,
                Some(row) => self.row(record, &row, &images, &scratch, parcel),
            }
            if parcel.is_full() && !rows.is_done() {
                break false;
            }
        };
        self.mark = (!done).then(|| rows.mark());
        (self.images, self.scratch) = (images, scratch);
        Ok(done)
    }

    /// Everything of `data.source` that the rows of one event share.
    fn prepare_source(&mut self, table: &TableEvents, written: &Written) {
        self.time.of(written.time_us);
        let out = &mut self.source;
        out.clear();
        write_source_times(out, table, written.time_us);
        json::write_u64(out, written.server_id.into());
        out.extend_from_slice(b",\"gtid\":");
        if written.transaction.is_gtid() {
            out.push(b'"');
            written.transaction.write(out);
            out.push(b'"');
        } else {
            out.extend_from_slice(b"null");
        }
        out.extend_from_slice(b",\"file\":");
        json::write_string(out, &written.file);
        out.extend_from_slice(b",\"pos\":");
        json::write_u64(out, written.offset);
        out.extend_from_slice(b",\"row\":");
        let out = &mut self.source_tail;
        out.clear();
        out.extend_from_slice(b",\"thread\":");
        match written.thread {
            Some(thread) => json::write_u64(out, thread.into()),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"query\":null}");
    }

    fn row(
        &mut self,
        record: &RowsEvent,
        row: &EncodedRow,
        images: &[u8],
        scratch: &Scratch,
        parcel: &mut Parcel,
    ) {
        let image = |range: &Option<Range<usize>>| range.clone().map(|range| &images[range]);
        let (before, after) = (image(&row.before), image(&row.after));
        let key = self.hasher.hash(record.table.number, scratch.key());
        let change = Change {
            operation: record.operation,
            before,
            after,
            suffix: b"",
            partition_key: scratch.key(),
            keys: [key, 0],
        };
        if !row.key_changed {
            self.event(record, row.row, &change, parcel);
            return;
        }
        // Both halves hold both keys: the create waits for its delete, and nothing slips in between.
        let keys = [self.hasher.hash(record.table.number, scratch.key_before()), key];
        let (operation, suffix, partition_key) = (Operation::Delete, b"/d", scratch.key_before());
        let delete = Change { operation, before, after: None, suffix, partition_key, keys };
        self.event(record, row.row, &delete, parcel);
        let create = Change { operation: Operation::Create, before: None, suffix: b"/c", keys, ..change };
        self.event(record, row.row, &create, parcel);
    }

    fn event(&self, record: &RowsEvent, row: u32, change: &Change<'_>, parcel: &mut Parcel) {
        let table = &record.table.events;
        let lane = match record.table.lanes {
            1 => Lane(0),
            lanes => lane_of(lane_hash(change.partition_key), lanes),
        };
        let id = |out: &mut Vec<u8>| {
            write_id_head(out, table, &record.written);
            json::write_u64(out, record.first_row + u64::from(row));
            out.extend_from_slice(change.suffix);
        };
        if record.is_covered {
            self.counted_marker(&spot(record), id, COVERED, parcel);
            return;
        }
        let mut event = EventWriter::begin(&mut parcel.buffer, table.template(change.operation));
        event.id(id);
        event.time_written(self.time.text());
        if !change.partition_key.is_empty() {
            event.partition_key(change.partition_key);
        }
        let order = |event: &mut EventWriter<'_>| event.sequence(lane.0);
        self.order(&mut event, order);
        self.envelope(row, change, event.data());
        let place = Place { topic: table.topic_id, lane, numbering: Numbering::Counted };
        let event = Keyed { event: event.finish(), keys: change.keys, place, sequence: 0 };
        self.keep(event, &spot(record), order, parcel);
    }

    /// Writes the extensions by which a sink puts an event in order.
    #[inline]
    fn order(&self, event: &mut EventWriter<'_>, order: impl FnOnce(&mut EventWriter<'_>)) {
        order(event);
        if self.applied {
            event.applied();
        }
    }

    /// Takes a finished event into the parcel; where EventMesh would refuse it, a marker with the same `order`.
    fn keep(
        &self,
        event: Outgoing,
        spot: &Spot<'_>,
        order: impl FnOnce(&mut EventWriter<'_>),
        parcel: &mut Parcel,
    ) {
        let size = event.event.body_end as usize - event.event.body as usize;
        if size <= self.event_bytes_max {
            parcel.events.push(event);
            return;
        }
        let reason = format!("the event has {size} bytes, EventMesh takes at most {PUBLISH_SIZE_MAX}");
        parcel.rejects.push(spot.reject(&reason, Some((event.event, &parcel.buffer))));
        let id = event.event.id(&parcel.buffer).to_vec();
        parcel.buffer.truncate(event.event.start as usize);
        let marker = self.marker(spot, |out| out.extend_from_slice(&id), order, &reason, parcel);
        parcel.events.push(Keyed { event: marker, ..event });
    }

    /// Writes what takes the number of a rejected event.
    fn marker(
        &self,
        spot: &Spot<'_>,
        id: impl FnOnce(&mut Vec<u8>),
        order: impl FnOnce(&mut EventWriter<'_>),
        reason: &str,
        parcel: &mut Parcel,
    ) -> Framed {
        let mut event = EventWriter::begin(&mut parcel.buffer, spot.table.marker());
        event.id(|out| {
            id(out);
            out.extend_from_slice(marker::ID_SUFFIX.as_bytes());
        });
        event.time_us(spot.time_us);
        self.order(&mut event, order);
        marker::write_data(event.data(), reason);
        event.finish()
    }

    /// A binlog event that was too large to be read: nothing is known of its row but where it stands.
    fn oversize(&self, record: &RowsEvent, size: u64, parcel: &mut Parcel) {
        let table = &record.table.events;
        let reason = format!(
            "a row change of {} in a binlog event of {size} bytes, more than a quarter of pipeline.memory",
            table.id_part
        );
        let spot = spot(record);
        parcel.rejects.push(spot.reject(&reason, None));
        let id = |out: &mut Vec<u8>| {
            write_id_head(out, table, &record.written);
            json::write_u64(out, record.first_row);
        };
        self.counted_marker(&spot, id, &reason, parcel);
    }

    /// Writes what takes a number in lane 0 and holds no key.
    fn counted_marker(
        &self,
        spot: &Spot<'_>,
        id: impl FnOnce(&mut Vec<u8>),
        reason: &str,
        parcel: &mut Parcel,
    ) {
        let event = self.marker(spot, id, |event| event.sequence(0), reason, parcel);
        let place = Place { topic: spot.table.topic_id, lane: Lane(0), numbering: Numbering::Counted };
        parcel.events.push(Keyed { event, keys: [0; 2], place, sequence: 0 });
    }

    /// A TRUNCATE: nothing of its topic passes it, whatever the lane.
    fn truncation(&mut self, record: &Truncation, parcel: &mut Parcel) {
        let Truncation { table, written } = record;
        self.prepare_source(table, written);
        let mut event = EventWriter::begin(&mut parcel.buffer, table.truncate());
        event.id(|out| {
            write_id_head(out, table, written);
            out.push(b't');
        });
        event.time_written(self.time.text());
        self.order(&mut event, |event| event.sequence(0));
        let out = event.data();
        out.extend_from_slice(b"{\"before\":null,\"after\":null");
        out.extend_from_slice(&self.source);
        json::write_u64(out, 0);
        out.extend_from_slice(&self.source_tail);
        out.extend_from_slice(b",\"transaction\":null,\"op\":\"t\"");
        out.extend_from_slice(&self.clock);
        let event = event.finish();
        let place = Place { topic: table.topic_id, lane: Lane(0), numbering: Numbering::Barrier };
        parcel.events.push(Keyed { event, keys: [0; 2], place, sequence: 0 });
    }

    /// `data`: before, after, source, transaction, op, ts_*.
    fn envelope(&self, row: u32, change: &Change<'_>, out: &mut Vec<u8>) {
        let image = |image: Option<&[u8]>, out: &mut Vec<u8>| match image {
            Some(image) => out.extend_from_slice(image),
            None => out.extend_from_slice(b"null"),
        };
        out.extend_from_slice(b"{\"before\":");
        image(change.before, out);
        out.extend_from_slice(b",\"after\":");
        image(change.after, out);
        out.extend_from_slice(&self.source);
        json::write_u64(out, row.into());
        out.extend_from_slice(&self.source_tail);
        out.extend_from_slice(match change.operation {
            Operation::Create => b",\"transaction\":null,\"op\":\"c\"",
            Operation::Update => b",\"transaction\":null,\"op\":\"u\"",
            Operation::Delete => b",\"transaction\":null,\"op\":\"d\"",
            Operation::Read => b",\"transaction\":null,\"op\":\"r\"",
        });
        out.extend_from_slice(&self.clock);
    }

    /// Everything of `data` behind `op`.
    fn prepare_clock(&mut self) {
        let out = &mut self.clock;
        out.clear();
        if self.clock_fields {
            let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
            for (name, divisor) in [("ts_ms", 1_000_000), ("ts_us", 1_000), ("ts_ns", 1)] {
                out.extend_from_slice(b",\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":");
                json::write_u64(out, u64::try_from(now_ns / divisor).unwrap_or(u64::MAX));
            }
        }
        out.push(b'}');
    }
}

impl Encode<MySqlRecord, Outgoing> for MySqlEncoder {
    fn encode(&mut self, batch: &Batch<MySqlRecord>, parcel: &mut Parcel) -> Result<Encoded, Failure> {
        self.prepare_clock();
        while let Some(record) = batch.records.get(self.record) {
            let done = match record {
                MySqlRecord::Rows(rows) => match rows.oversize {
                    Some(size) => {
                        self.oversize(rows, size, parcel);
                        true
                    }
                    None => self.record(rows, rows.payload.of(&batch.bytes), parcel)?,
                },
                MySqlRecord::Truncation(truncation) => {
                    self.truncation(truncation, parcel);
                    true
                }
                MySqlRecord::Chunk(chunk) => self.chunk(chunk, chunk.payload.of(&batch.bytes), parcel)?,
                MySqlRecord::RunBeginning(beginning) => {
                    self.run_beginning(beginning, parcel);
                    true
                }
            };
            if !done {
                return Ok(Encoded::More);
            }
            self.record += 1;
            self.mark = None;
            if parcel.is_full() && self.record < batch.records.len() {
                return Ok(Encoded::More);
            }
        }
        self.record = 0;
        Ok(Encoded::All)
    }
}

/// Sets epoch and number of an event, in itself and in its bytes.
pub fn stamp(buffer: &mut [u8], event: &mut Outgoing, epoch: Epoch, sequence: u64) {
    event.sequence = sequence;
    flowd_codec::event::stamp(buffer, &event.event, epoch.0, sequence);
}

/// `<transaction>/<table>/`
fn write_id_head(out: &mut Vec<u8>, table: &TableEvents, written: &Written) {
    written.transaction.write(out);
    out.push(b'/');
    out.extend_from_slice(table.id_part.as_bytes());
    out.push(b'/');
}

/// The head of `data.source` up to the server id.
fn write_source_times(out: &mut Vec<u8>, table: &TableEvents, time_us: i64) {
    out.extend_from_slice(b",\"source\":");
    out.extend_from_slice(&table.source_head);
    json::write_i64(out, time_us.div_euclid(1000));
    out.extend_from_slice(&table.source_db);
    json::write_i64(out, time_us);
    out.extend_from_slice(b",\"ts_ns\":");
    json::write_i64(out, time_us.saturating_mul(1000));
    out.extend_from_slice(&table.source_table);
}

fn spot(record: &RowsEvent) -> Spot<'_> {
    let Written { transaction, file, offset, time_us, .. } = &record.written;
    let (table, transaction) = (&record.table.events, Some(transaction));
    Spot { table, transaction, file, offset: *offset, time_us: *time_us }
}

/// Where a row comes from, for those who look after rejected ones.
struct Spot<'a> {
    table: &'a TableEvents,
    /// None for a row of a snapshot.
    transaction: Option<&'a TransactionId>,
    file: &'a str,
    offset: u64,
    time_us: i64,
}

impl Spot<'_> {
    /// A dead letter with the reason, where the change is, and the event if there is one.
    fn reject(&self, reason: &str, event: Option<(Framed, &[u8])>) -> Reject {
        let TableEvents { schema, name, topic, .. } = self.table;
        let transaction = self.transaction.map(TransactionId::to_string);
        let origin = Origin {
            topic: Some(topic),
            db: Some(schema),
            table: Some(name),
            transaction: transaction.as_deref(),
            file: Some(self.file),
            pos: Some(self.offset),
            id: event.and_then(|(event, buffer)| std::str::from_utf8(event.id(buffer)).ok()),
        };
        let line = dead_letter(reason, &origin, event.map(|(event, buffer)| event.json(buffer)));
        let place = match &transaction {
            Some(transaction) => format!("at {}:{} ({transaction})", self.file, self.offset),
            None => format!("read by the snapshot that began at {}:{}", self.file, self.offset),
        };
        Reject { reason: format!("{reason}; {schema}.{name} {place}"), line }
    }
}

#[cfg(test)]
mod tests;
