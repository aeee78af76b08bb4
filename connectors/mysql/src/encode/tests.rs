//! The encoder, on hand-made ROWS events.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use flowd_binlog::catalog::{CatalogColumn, CatalogTable};
use flowd_binlog::charset::InvalidText;
use flowd_binlog::event::kind;
use flowd_binlog::table::{Flavour, Options, Table};
use flowd_codec::event::incoming;
use flowd_engine::record::{Batch, Position, Span};
use flowd_engine::sequence::{Epoch, Lane, Numbering};
use flowd_engine::worker::{Encode, Encoded};

use super::{MySqlEncoder, Parcel};
use crate::captured::{CapturedTable, EventSettings, Phase, TableEvents};
use crate::key_hash::KeyHasher;
use crate::rows::{ChunkRows, MySqlRecord, Origin, RunBeginning};
use crate::stream::tests::{Script, events};

/// Counts what the thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counter is a plain thread-local cell without a
// destructor, so that counting neither allocates nor touches memory that is gone.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, that is from the system.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The last event of the script as a batch.
fn batch(script: &mut Script) -> Batch<MySqlRecord> {
    let records = script.stream.take_pending();
    Batch { bytes: Bytes::from(script.last.clone()), records, position: Position::default(), time_us: 0 }
}

fn inserted(ids: &[u8]) -> Batch<MySqlRecord> {
    let mut script = Script::new();
    script.begin(7);
    script.table_map("t");
    script.insert(ids).expect("rows");
    batch(&mut script)
}

fn updated(before: u8, after: u8) -> Batch<MySqlRecord> {
    let mut script = Script::new();
    script.begin(7);
    script.table_map("t");
    let body = [7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0xff, 0xff, 0, before, 0, 0, 0, 0, after, 0, 0, 0];
    script.event(kind::UPDATE_ROWS_V2, &body).expect("rows");
    batch(&mut script)
}

fn texts(parcel: &Parcel) -> Vec<String> {
    parcel
        .events
        .iter()
        .map(|event| String::from_utf8(event.event.json(&parcel.buffer).to_vec()).expect("UTF-8"))
        .collect()
}

fn encoded(batch: &Batch<MySqlRecord>) -> Parcel {
    let mut parcel = Parcel::default();
    let done = MySqlEncoder::new(&events()).encode(batch, &mut parcel).expect("well-formed rows");
    assert_eq!(done, Encoded::All);
    parcel
}

#[test]
fn an_event_is_written_as_the_readme_shows_it() {
    let expected = concat!(
        r#"{"specversion":"1.0","id":"11111111-1111-1111-1111-111111111111:7/shop.t/0","source":"/flowd/mysql/test","#,
        r#""type":"flowd.change.c","datacontenttype":"application/cloudevents+json","subject":"shop.t","#,
        r#""time":"2023-11-14T22:13:20.000000Z","partitionkey":"{\"id\":5}","epoch":"0000000000000000","lane":"03","#,
        r#""sequence":"00000000000000000000","data":{"before":null,"after":{"id":5},"#,
        r#""source":{"version":"0.1.0","connector":"mysql","name":"test","ts_ms":1700000000000,"snapshot":"false","#,
        r#""db":"shop","sequence":null,"ts_us":1700000000000000,"ts_ns":1700000000000000000,"table":"t","server_id":1,"#,
        r#""gtid":"11111111-1111-1111-1111-111111111111:7","file":"binlog.000001","pos":141,"row":0,"thread":0,"#,
        r#""query":null},"transaction":null,"op":"c"}}"#,
    );
    let parcel = encoded(&inserted(&[5]));
    assert_eq!(texts(&parcel), [expected]);
    let event = parcel.events[0].event;
    assert_eq!(event.id(&parcel.buffer), b"11111111-1111-1111-1111-111111111111:7/shop.t/0");
    assert_eq!(event.frame(&parcel.buffer).last(), Some(&b'\n'));
}

#[test]
fn a_key_change_is_a_delete_and_a_create_that_both_hold_both_keys() {
    let parcel = encoded(&updated(1, 2));
    let [delete, create] = parcel.events[..] else { panic!("{} events", parcel.events.len()) };
    assert!(delete.event.id(&parcel.buffer).ends_with(b"/0/d"));
    assert!(create.event.id(&parcel.buffer).ends_with(b"/0/c"));
    let json = texts(&parcel);
    assert!(
        json[0].contains(r#""before":{"id":1},"after":null"#) && json[0].contains(r#""op":"d""#),
        "{}",
        json[0]
    );
    assert!(
        json[1].contains(r#""before":null,"after":{"id":2}"#) && json[1].contains(r#""op":"c""#),
        "{}",
        json[1]
    );
    assert_eq!(delete.keys, create.keys);
    assert!(delete.keys[0] != delete.keys[1] && !delete.keys.contains(&0));
    assert_eq!(encoded(&updated(1, 1)).events.len(), 1);
}

#[test]
fn rows_that_were_handed_on_before_are_passed_over_and_keep_their_numbers() {
    let mut batch = inserted(&[1, 2, 3]);
    batch.records[0].rows_mut().skip = 2;
    let parcel = encoded(&batch);
    assert_eq!(parcel.events.len(), 1);
    assert!(parcel.events[0].event.id(&parcel.buffer).ends_with(b"shop.t/2"));
}

#[test]
fn a_batch_that_fills_parcels_goes_on_where_it_stopped() {
    let ids: Vec<u8> = (0..1000).map(|id| u8::try_from(id % 251).expect("small")).collect();
    let batch = inserted(&ids);
    let mut encoder = MySqlEncoder::new(&events());
    let mut all = Vec::new();
    loop {
        let mut parcel = Parcel::default();
        let done = encoder.encode(&batch, &mut parcel).expect("well-formed rows");
        all.extend(texts(&parcel));
        if done == Encoded::All {
            break;
        }
        assert!(parcel.is_full());
    }
    assert_eq!(all, texts_of_one_parcel(&batch));
}

/// The same events, from one record at a time.
fn texts_of_one_parcel(batch: &Batch<MySqlRecord>) -> Vec<String> {
    let record = &batch.records[0];
    let (mut parcel, mut all) = (Parcel::default(), Vec::new());
    for row in 0..1000 {
        let mut one = record.clone();
        one.rows_mut().skip = row;
        let one = Batch {
            bytes: batch.bytes.clone(),
            records: vec![one],
            position: Position::default(),
            time_us: 0,
        };
        parcel.clear();
        MySqlEncoder::new(&events()).encode(&one, &mut parcel).expect("well-formed rows");
        all.push(texts(&parcel).swap_remove(0));
    }
    all
}

#[test]
fn an_event_too_large_to_read_becomes_a_dead_letter_with_its_place_and_a_marker() {
    let mut batch = inserted(&[1]);
    batch.records[0].rows_mut().oversize = Some(99_000_000);
    let parcel = encoded(&batch);
    let [marker] = &parcel.events[..] else { panic!("{} events", parcel.events.len()) };
    assert!(marker.event.id(&parcel.buffer).ends_with(b":7/shop.t/0/rejected"));
    assert!(texts(&parcel)[0].contains(r#""type":"flowd.rejected""#), "{:?}", texts(&parcel));
    assert_eq!((marker.place.lane, marker.place.numbering), (Lane(0), Numbering::Counted));
    let reject = &parcel.rejects[0];
    assert!(
        reject.reason.contains("99000000 bytes") && reject.reason.contains("binlog.000001:141"),
        "{}",
        reject.reason
    );
    let line: serde_json::Value = serde_json::from_slice(&reject.line).expect("JSON");
    assert_eq!((&line["topic"], &line["event"]), (&"shop.t".into(), &serde_json::Value::Null));
}

#[test]
fn a_change_that_the_rows_of_the_snapshot_will_hold_leaves_a_marker_with_its_number_and_no_dead_letter() {
    let mut batch = inserted(&[1, 2]);
    batch.records[0].rows_mut().is_covered = true;
    let parcel = encoded(&batch);
    let ids: Vec<&[u8]> = parcel.events.iter().map(|event| event.event.id(&parcel.buffer)).collect();
    assert!(
        matches!(ids[..], [first, second] if first.ends_with(b"/0/rejected") && second.ends_with(b"/1/rejected"))
    );
    for (event, json) in parcel.events.iter().zip(texts(&parcel)) {
        assert_eq!((event.place.lane, event.place.numbering), (Lane(0), Numbering::Counted));
        assert!(json.contains(r#""type":"flowd.rejected""#) && !json.contains("partitionkey"), "{json}");
    }
    assert!(parcel.rejects.is_empty());
}

#[test]
fn a_run_that_goes_on_with_a_snapshot_begins_with_a_chunk_of_one_marker() {
    let batch = chunk(&[1], &[], 4);
    let MySqlRecord::Chunk(rows) = &batch.records[0] else { panic!("a chunk") };
    let table = Arc::new(TableEvents::new("shop", "t", Phase::Snapshot, &events()));
    let beginning = RunBeginning { table, origin: rows.origin.clone(), chunk: "1764028800000007-0".into() };
    let records = vec![MySqlRecord::RunBeginning(beginning)];
    let parcel = encoded(&Batch { bytes: Bytes::new(), records, position: Position::default(), time_us: 0 });
    assert_eq!(orders(&parcel), [(0, 0, 1)]);
    let json = &texts(&parcel)[0];
    assert!(
        json.contains(r#""id":"s1/1764028800000007-0/rejected""#)
            && json.contains(r#""type":"flowd.rejected""#)
            && json.contains(r#""snapshot":"s1","chunk":"1764028800000007-0""#),
        "{json}"
    );
    assert_eq!((parcel.events[0].place.numbering, parcel.events[0].keys), (Numbering::Behind, [0; 2]));
}

#[test]
fn nothing_is_allocated_for_a_row_once_the_buffers_are_warm() {
    let batch = inserted(&[9; 200]);
    let (mut encoder, mut parcel) = (MySqlEncoder::new(&events()), Parcel::default());
    for _ in 0..2 {
        parcel.clear();
        encoder.encode(&batch, &mut parcel).expect("well-formed rows");
    }
    parcel.clear();
    let before = ALLOCATIONS.with(Cell::get);
    encoder.encode(&batch, &mut parcel).expect("well-formed rows");
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0);
    assert_eq!(parcel.events.len(), 200);
}

#[test]
fn an_event_that_eventmesh_would_refuse_leaves_a_marker_with_its_place() {
    let batch = updated(1, 2);
    let whole = encoded(&batch);
    let (mut encoder, mut parcel) = (MySqlEncoder::new(&events()), Parcel::default());
    encoder.event_bytes_max = 100;
    encoder.encode(&batch, &mut parcel).expect("well-formed rows");
    assert_eq!((parcel.events.len(), parcel.rejects.len()), (2, 2));
    for (marker, event) in parcel.events.iter().zip(&whole.events) {
        let marker_json = incoming::read(marker.event.json(&parcel.buffer)).expect("an event");
        let event_json = incoming::read(event.event.json(&whole.buffer)).expect("an event");
        assert_eq!(marker_json.event_type, "flowd.rejected");
        assert_eq!(marker_json.id, format!("{}/rejected", event_json.id));
        assert_eq!((&marker_json.order, &marker_json.topic), (&event_json.order, &event_json.topic));
        assert_eq!((marker.keys, marker.place), (event.keys, event.place));
    }
    assert!(
        parcel.rejects[0].line.windows(9).any(|text| text == b"\"before\":"),
        "the data is in the dead letter"
    );
}

#[test]
fn an_event_is_counted_in_the_lane_of_its_own_key() {
    // 1 is in lane 0, 2 in lane 1.
    let change = encoded(&updated(1, 2));
    let lanes: Vec<u16> = change.events.iter().map(|event| event.place.lane.0).collect();
    assert_eq!(lanes, [0, 1], "each half of a key change in its own");
    let mut parcel = encoded(&inserted(&[2]));
    let Parcel { buffer, events, .. } = &mut parcel;
    super::stamp(buffer, &mut events[0], Epoch(7), 42);
    assert_eq!(events[0].sequence, 42);
    let read = incoming::read(events[0].event.json(buffer)).expect("an event");
    assert_eq!(read.order, incoming::Order::Counted { epoch: 7, lane: 1, sequence: 42 });
    assert!(!read.applied);
}

#[test]
fn events_of_a_table_that_is_not_spread_are_counted_in_lane_0() {
    let mut script = Script::new();
    script.begin(7);
    script.table_map("unknown");
    script.insert(&[1, 2, 3, 4]).expect("rows");
    let parcel = encoded(&batch(&mut script));
    assert_eq!(parcel.events.iter().map(|event| event.place.lane).collect::<Vec<_>>(), [Lane(0); 4]);
}

#[test]
fn every_event_says_that_the_source_waits_until_it_is_applied() {
    let settings = EventSettings { applied: true, ..events() };
    let (mut encoder, mut parcel) = (MySqlEncoder::new(&settings), Parcel::default());
    encoder.encode(&inserted(&[1]), &mut parcel).expect("well-formed rows");
    encoder.encode(&truncated(), &mut parcel).expect("a truncation");
    encoder.encode(&chunk(&[1], &[], 4), &mut parcel).expect("a chunk");
    assert_eq!(texts(&parcel).len(), 3);
    for json in texts(&parcel) {
        assert!(incoming::read(json.as_bytes()).expect("an event").applied, "{json}");
    }
}

fn truncated() -> Batch<MySqlRecord> {
    let mut script = Script::new();
    script.gtid(7).expect("a GTID");
    script.query("TRUNCATE TABLE t").expect("a truncation");
    batch(&mut script)
}

#[test]
fn a_truncate_is_a_barrier_without_rows_and_without_a_key() {
    let expected = concat!(
        r#"{"specversion":"1.0","id":"11111111-1111-1111-1111-111111111111:7/shop.t/t","source":"/flowd/mysql/test","#,
        r#""type":"flowd.change.t","datacontenttype":"application/cloudevents+json","subject":"shop.t","#,
        r#""time":"2023-11-14T22:13:20.000000Z","epoch":"0000000000000000","lane":"00","#,
        r#""sequence":"00000000000000000000","data":{"before":null,"after":null,"#,
        r#""source":{"version":"0.1.0","connector":"mysql","name":"test","ts_ms":1700000000000,"snapshot":"false","#,
        r#""db":"shop","sequence":null,"ts_us":1700000000000000,"ts_ns":1700000000000000000,"table":"t","server_id":1,"#,
        r#""gtid":"11111111-1111-1111-1111-111111111111:7","file":"binlog.000001","pos":48,"row":0,"thread":null,"#,
        r#""query":null},"transaction":null,"op":"t"}}"#,
    );
    let parcel = encoded(&truncated());
    assert_eq!(texts(&parcel), [expected]);
    assert_eq!((parcel.events[0].place.numbering, parcel.events[0].keys), (Numbering::Barrier, [0; 2]));
}

/// A snapshot's chunk of `shop.t (id INT PRIMARY KEY)`; the keys in `outdated` were handed on by the stream.
fn chunk(ids: &[u8], outdated: &[u8], lanes: u16) -> Batch<MySqlRecord> {
    let column = CatalogColumn { name: "id".into(), column_type: "int".into(), ..CatalogColumn::default() };
    let catalog =
        CatalogTable { schema: "shop".into(), name: "t".into(), columns: vec![column], key: vec![0] };
    let options =
        Options { flavour: Flavour::MySql, invalid_text: InvalidText::Stop, exclude: &|_, _, _| false };
    let table = Table::from_catalog(&catalog, &options).expect("a table");
    // Length, header byte, null bits, value.
    let bytes: Vec<u8> = ids.iter().flat_map(|id| [6, 0, 0, 0, 0, 0, *id, 0, 0, 0]).collect();
    let hash = |id: &u8| KeyHasher::new().hash(1, format!("{{\"id\":{id}}}").as_bytes());
    let mut outdated: Vec<u64> = outdated.iter().map(hash).collect();
    outdated.sort_unstable();
    let rows = ChunkRows {
        payload: Span { start: 0, end: u32::try_from(bytes.len()).expect("small") },
        table: CapturedTable::new(table, 1, 1, Phase::Snapshot, &events()).into(),
        origin: Origin {
            snapshot: "s1".into(),
            id: "s1".into(),
            time_us: 0,
            file: "binlog.1".into(),
            offset: 4,
        }
        .into(),
        rows: u32::try_from(ids.len()).expect("small"),
        chunk: "1764028800000000-3".into(),
        lanes,
        outdated: outdated.into(),
        first_row: None,
        oversize: Box::default(),
    };
    let records = vec![MySqlRecord::Chunk(rows)];
    Batch { bytes: bytes.into(), records, position: Position::default(), time_us: 0 }
}

/// The lane, number and chunk size of each event.
fn orders(parcel: &Parcel) -> Vec<(u16, u32, u32)> {
    let order = |json: &String| match incoming::read(json.as_bytes()).expect("an event").order {
        incoming::Order::Row { lane, number, size, .. } => (lane, number, size),
        other => panic!("{other:?}"),
    };
    texts(parcel).iter().map(order).collect()
}

#[test]
fn rows_of_a_chunk_say_which_of_how_many_they_are_and_outdated_ones_do_not_count() {
    assert_eq!(orders(&encoded(&chunk(&[1, 2, 3, 4], &[], 4))), [(0, 0, 4), (1, 1, 4), (0, 2, 4), (3, 3, 4)]);
    let parcel = encoded(&chunk(&[1, 2, 3, 4], &[2, 4, 9], 4));
    assert_eq!(orders(&parcel), [(0, 0, 2), (0, 1, 2)]);
    let json = &texts(&parcel)[0];
    assert!(
        json.contains(r#""snapshot":"s1","chunk":"1764028800000000-3","number":"0","chunksize":"2""#),
        "{json}"
    );
    assert_eq!(orders(&encoded(&chunk(&[2, 4], &[], 1))), [(0, 0, 2), (0, 1, 2)], "a table in one lane");
    assert_eq!(orders(&encoded(&chunk(&[2], &[2], 4))), []);
    assert!(parcel.events.iter().all(|event| event.place.numbering == Numbering::Behind));
}

#[test]
fn a_chunk_of_several_parcels_counts_on() {
    let ids = [7; 2000];
    let batch = chunk(&ids, &[8], 4);
    let (mut encoder, mut all) = (MySqlEncoder::new(&events()), Vec::new());
    let mut parcels = 0;
    loop {
        let mut parcel = Parcel::default();
        let done = encoder.encode(&batch, &mut parcel).expect("well-formed rows");
        all.extend(orders(&parcel).into_iter().map(|(_, number, size)| (number, size)));
        parcels += 1;
        if done == Encoded::All {
            break;
        }
    }
    assert!(parcels > 1);
    assert_eq!(all, (0..2000).map(|number| (number, 2000)).collect::<Vec<_>>());
}
