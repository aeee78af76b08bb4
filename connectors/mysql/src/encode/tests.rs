//! The encoder, on hand-made ROWS events.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use flowd_binlog::event::kind;
use flowd_engine::record::{Batch, Position};
use flowd_engine::worker::{Encode, Encoded};

use super::{MySqlEncoder, Parcel};
use crate::rows::MySqlRecord;
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
        r#""time":"2023-11-14T22:13:20.000000Z","partitionkey":"{\"id\":5}","data":{"before":null,"after":{"id":5},"#,
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
fn an_event_too_large_to_read_becomes_a_dead_letter_with_its_place() {
    let mut batch = inserted(&[1]);
    batch.records[0].rows_mut().oversize = Some(99_000_000);
    let parcel = encoded(&batch);
    assert!(parcel.events.is_empty());
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
