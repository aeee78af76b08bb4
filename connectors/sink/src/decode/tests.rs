//! What is pushed, read into events: changes, rows of a snapshot, plain events, and what cannot be understood.

use bytes::Bytes;
use flowd_codec::event::incoming::Chunk;
use flowd_codec::event::{EventWriter, Framing, Template, stamp};
use flowd_engine::record::{Batch, Body, Position};
use flowd_engine::worker::{Encode, Encoded};
use proptest::prelude::*;

use super::*;
use crate::store::Op;

const ENVELOPE: &str =
    r#"{"before":null,"after":{"id":7},"source":{"db":"shop","table":"orders"},"op":"c","ts_ms":1}"#;

struct Pushed(Span);

impl Body for Pushed {
    fn body(&self) -> Span {
        self.0
    }
}

/// An event of ours, counted.
fn counted(event_type: &str, sequence: u64, data: &str) -> Vec<u8> {
    let template = Template::new(Framing::Bare, "/flowd/mysql/a", event_type, "shop.orders");
    let mut out = Vec::new();
    let mut writer = EventWriter::begin(&mut out, &template);
    writer.id(|out| out.extend_from_slice(format!("id-{sequence}").as_bytes()));
    writer.time_us(0);
    writer.sequence(3);
    writer.extension("delivery", "applied");
    writer.data().extend_from_slice(data.as_bytes());
    let framed = writer.finish();
    stamp(&mut out, &framed, 1_764_028_800_000_000, sequence);
    out
}

fn plain(data: &str) -> Vec<u8> {
    format!(r#"{{"specversion":"1.0","id":"p","source":"/shop","type":"order.paid","subject":"t",{data}}}"#)
        .into_bytes()
}

fn parcel_of(bodies: &[&[u8]]) -> Parcel<SinkEvent> {
    let mut parcel = Parcel::default();
    bodies.iter().for_each(|body| read(body, &mut parcel));
    parcel
}

fn text(parcel: &Parcel<SinkEvent>, span: Span) -> &str {
    text_of(span, &parcel.buffer)
}

fn reason(body: &[u8]) -> String {
    let parcel = parcel_of(&[body]);
    assert_eq!(parcel.events.len(), 1);
    assert_eq!(parcel.events[0].json.of(&parcel.buffer), body, "the raw event stays");
    match &parcel.events[0].content {
        Content::Bad { reason } => reason.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_change_of_ours_is_read_with_its_place_and_its_images() {
    let body = counted("flowd.change.c", 17, ENVELOPE);
    let parcel = parcel_of(&[b"{}", &body]);
    let event = &parcel.events[1];
    assert_eq!(event.json.of(&parcel.buffer), body);
    assert_eq!(text(&parcel, event.id), "id-17");
    assert_eq!((text(&parcel, event.source), text(&parcel, event.topic)), ("/flowd/mysql/a", "shop.orders"));
    assert_eq!(event.order, Order::Counted { epoch: 1_764_028_800_000_000, lane: 3, sequence: 17 });
    assert!(event.is_applied);
    let Content::Change { op, db, table, before, after } = event.content else { panic!("{event:?}") };
    assert_eq!((op, before), (Op::Create, None));
    assert_eq!((text(&parcel, db), text(&parcel, table)), ("shop", "orders"));
    assert_eq!(text(&parcel, after.unwrap()), r#"{"id":7}"#);
}

#[test]
fn a_row_of_a_snapshot_says_which_of_its_chunk_it_is() {
    let body = br#"{"specversion":"1.0","id":"r","source":"/flowd/mysql/a","type":"flowd.change.r","subject":"t","snapshot":"s\u0041","chunk":"1764028800000000-4","number":"2","chunksize":"3","lane":"01","after":"1764028800000000-00000000000000000009","data":{"before":null,"after":{},"source":{"db":"d","table":"t"},"op":"r"}}"#;
    let parcel = parcel_of(&[body]);
    let Order::Row { snapshot, chunk, number, size, lane, after } = parcel.events[0].order else {
        panic!("{:?}", parcel.events[0]);
    };
    assert_eq!(text(&parcel, snapshot), "sA");
    assert_eq!(chunk, Chunk { run: 1_764_028_800_000_000, number: 4 });
    assert_eq!((number, size, lane, after), (2, 3, 1, (1_764_028_800_000_000, 9)));
}

#[test]
fn names_with_escapes_are_unescaped() {
    let data = r#"{"before":{},"after":null,"source":{"db":"a\"b","table":"caf\u00e9"},"op":"d"}"#;
    let parcel = parcel_of(&[&counted("flowd.change.d", 1, data), &counted("flowd.change.c", 2, ENVELOPE)]);
    let Content::Change { db, table, .. } = parcel.events[0].content else { panic!() };
    assert_eq!((text(&parcel, db), text(&parcel, table)), ("a\"b", "café"));
    assert_eq!(text(&parcel, parcel.events[1].id), "id-2");
}

#[test]
fn a_batch_is_its_members_in_their_order() {
    let members: Vec<Vec<u8>> = (1..=3).map(|n| counted("flowd.change.c", n, ENVELOPE)).collect();
    let texts: Vec<&str> = members.iter().map(|member| str::from_utf8(member).unwrap()).collect();
    let batch = format!(
        r#"{{"specversion":"1.0","id":"id-1..id-3","source":"/flowd/mysql/a","type":"flowd.batch","subject":"t","data":[{}]}}"#,
        texts.join(",")
    );
    let parcel = parcel_of(&[batch.as_bytes()]);
    let found: Vec<&[u8]> = parcel.events.iter().map(|event| event.json.of(&parcel.buffer)).collect();
    assert_eq!(found, members);
    let sequences = parcel.events.iter().map(|event| match event.order {
        Order::Counted { sequence, .. } => sequence,
        _ => 0,
    });
    assert_eq!(sequences.collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn markers_and_events_of_others_are_told_apart() {
    let parcel = parcel_of(&[
        &counted("flowd.rejected", 5, r#"{"reason":"too large"}"#),
        &plain(r#""data":{"a":1}"#),
        &plain(r#""data_base64":"eyJhIjoyfQ==""#),
    ]);
    assert_eq!(parcel.events[0].content, Content::Marker);
    for (event, expected) in parcel.events[1..].iter().zip([r#"{"a":1}"#, r#"{"a":2}"#]) {
        let Content::Plain { data } = event.content else { panic!("{event:?}") };
        assert_eq!((text(&parcel, data), event.order), (expected, Order::None));
    }
}

#[test]
fn what_cannot_be_understood_says_why_and_keeps_its_bytes() {
    let long =
        format!(r#"{{"specversion":"1.0","id":"i","source":"{}","type":"t","data":{{}}}}"#, "s".repeat(256));
    let number = String::from_utf8(counted("flowd.change.c", 1, ENVELOPE)).unwrap();
    let number = number.replace("\"00000000000000000001\"", "\"18446744073709551615\"");
    let batch = plain(r#""data":[]"#);
    let batch = String::from_utf8(batch).unwrap().replace("order.paid", "flowd.batch");
    for (body, expected) in [
        (&b"\xff\x00"[..], "no CloudEvent"),
        (b"{\"id\":1}", "no CloudEvent"),
        (&plain(r#""data":[1]"#), "no JSON object"),
        (&plain(r#""data_base64":"AAEC""#), "no JSON object"),
        (&counted("flowd.change.c", 1, "{}"), "`data.op` is missing"),
        (long.as_bytes(), "more than 255 bytes"),
        (number.as_bytes(), "out of range"),
        (batch.as_bytes(), "without members"),
    ] {
        let reason = reason(body);
        assert!(reason.contains(expected), "{reason}");
    }
}

#[test]
fn a_bad_change_keeps_its_number() {
    let parcel = parcel_of(&[&counted("flowd.change.c", 9, "{}")]);
    assert!(matches!(parcel.events[0].order, Order::Counted { sequence: 9, .. }));
}

#[test]
fn a_batch_of_records_fills_parcel_after_parcel_and_nothing_is_left_out() {
    let body = counted("flowd.change.c", 1, &ENVELOPE.replace("7", &format!("\"{}\"", "x".repeat(100_000))));
    let mut bytes = Vec::new();
    let mut records = Vec::new();
    for _ in 0..7 {
        let start = bytes.len() as u32;
        bytes.extend_from_slice(&body);
        records.push(Pushed(Span { start, end: bytes.len() as u32 }));
    }
    let batch = Batch { bytes: Bytes::from(bytes), records, position: Position::default(), time_us: 0 };
    let mut encoder = encoder();
    let mut events = Vec::new();
    loop {
        let mut parcel = Parcel::default();
        let encoded = encoder.encode(&batch, &mut parcel).unwrap();
        events.push(parcel.events.len());
        if encoded == Encoded::All {
            break;
        }
    }
    assert_eq!(events, [3, 3, 1]);
}

proptest! {
    #[test]
    fn whatever_is_pushed_becomes_events_whose_texts_are_texts(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        which in 0_usize..3,
        cut in any::<prop::sample::Index>(),
    ) {
        let member = counted("flowd.change.c", 1, ENVELOPE);
        let batch = plain(&format!(r#""data":[{}]"#, str::from_utf8(&member).unwrap()));
        let batch = String::from_utf8(batch).unwrap().replace("order.paid", "flowd.batch").into_bytes();
        let mut body = [member, batch, plain(r#""data":{"a":"\u00e9"}"#)][which].clone();
        for (index, byte) in changes {
            let at = index.index(body.len());
            body[at] = byte;
        }
        if which == 2 {
            body.truncate(cut.index(body.len() + 1));
        }
        let parcel = parcel_of(&[b"before", &body]);
        prop_assert!(parcel.events.len() > 1, "nothing is left out");
        for event in &parcel.events {
            let (detached, bytes) = event.detached(&parcel.buffer);
            for (span, own) in [(event.id, detached.id), (event.source, detached.source), (event.topic, detached.topic)] {
                prop_assert_eq!(text(&parcel, span), text_of(own, &bytes));
            }
            prop_assert_eq!(event.json.of(&parcel.buffer), detached.json.of(&bytes));
            if let (Content::Change { db, after, .. }, Content::Change { db: own_db, after: own_after, .. }) =
                (&event.content, &detached.content)
            {
                prop_assert_eq!(text(&parcel, *db), text_of(*own_db, &bytes));
                let images = (after.map(|span| span.of(&parcel.buffer)), own_after.map(|span| span.of(&bytes)));
                prop_assert_eq!(images.0, images.1);
            }
        }
    }
}
