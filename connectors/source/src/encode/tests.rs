//! What becomes of what is pushed.

use flowd_codec::event::carried::{payload, restore};
use flowd_engine::parcel::Reject;
use flowd_engine::record::Position;

use super::*;
use crate::batch::Building;
use crate::event::{Data, Event};

fn event<'a>() -> Event<'a> {
    with(&[], Data::Json(b"{\"a\":1}"))
}

fn with<'a>(extensions: &'a [(&'a str, &'a str)], data: Data<'a>) -> Event<'a> {
    Event::Parts {
        id: "i\"1",
        kind: "order.made",
        source: None,
        topic: "orders",
        time_us: Some(0),
        key: Some("k"),
        content_type: None,
        extensions,
        data,
    }
}

fn encoded(events: &[Event<'_>]) -> Parcel<Keyed<Framed>> {
    let mut building = Building::new(Position::default());
    events.iter().for_each(|event| building.push(event));
    building.reject("torn", b"\xff");
    let batch = building.take().unwrap();
    let mut parcel = Parcel::default();
    let mut encoder = MessageEncoder::new(Framing::EventMesh, "/flowd/x/orders".to_owned());
    assert_eq!(encoder.encode(&batch, &mut parcel), Ok(Encoded::All));
    let torn = parcel.rejects.pop().unwrap();
    assert!(torn.reason == "torn" && torn.line.ends_with(br#""event":{"base64":"/w=="}}"#));
    parcel
}

fn written(event: &Event<'_>) -> String {
    let parcel = encoded(&[*event]);
    assert_eq!(parcel.rejects, []);
    String::from_utf8(parcel.events[0].event.json(&parcel.buffer).to_vec()).unwrap()
}

fn reason(event: &Event<'_>) -> String {
    let parcel = encoded(&[*event]);
    assert!(parcel.events.is_empty(), "{event:?}");
    serde_json::from_slice::<serde_json::Value>(&parcel.rejects[0].line).expect("a dead letter is JSON");
    parcel.rejects[0].reason.clone()
}

#[test]
fn an_event_from_parts_is_a_cloud_event_that_event_mesh_carries() {
    let expected = concat!(
        r#"{"specversion":"1.0","id":"i\"1","source":"/flowd/x/orders","type":"order.made","#,
        r#""datacontenttype":"application/cloudevents+json","subject":"orders","time":"1970-01-01T00:00:00.000000Z","#,
        r#""partitionkey":"k","trace":"a\"b","data":{"a":1}}"#
    );
    assert_eq!(written(&with(&[("trace", "a\"b")], Data::Json(b" {\"a\":1}\n"))), expected);
    let bytes = written(&with(&[], Data::Binary(b"\xff\x00")));
    let restored = restore(bytes.as_bytes()).unwrap();
    assert_eq!(payload(&restored).unwrap().as_deref(), Some(&b"\xff\x00"[..]));
    assert_eq!(restored.data_content_type, None);
}

#[test]
fn data_of_which_nobody_says_what_it_is_is_what_it_looks_like() {
    for (bytes, expected) in [
        (&b" [1] "[..], r#""data":[1]}"#),
        (b"hello", r#""data":"hello"}"#),
        (b"{\"a\":", r#""data":"{\"a\":"}"#),
        (b"\xff\x00", r#""contentencoding":"base64","data":"/wA="}"#),
    ] {
        let event = written(&with(&[], Data::of(None, bytes)));
        assert!(event.ends_with(expected), "{event}");
    }
}

#[test]
fn a_structured_event_keeps_its_attributes_and_gets_the_topic() {
    let json = br#"{"data":{"x":
 1.10},"type":"t","specversion":"1.0","subject":"a/b","source":"/s","id":"7","dataschema":"http://x","count":3,"time":"2020-01-01T00:00:00Z","datacontenttype":"text/x+json"}"#;
    let structured = Event::Structured { json, topic: "orders" };
    let event = written(&structured);
    let restored = restore(event.as_bytes()).unwrap();
    assert_eq!(restored.data_content_type.as_deref(), Some("text/x+json"));
    assert_eq!(restored.subject.as_deref(), Some("orders"));
    assert!(event.contains(r#""count":3"#) && event.contains(r#""dataschema":"http://x""#), "{event}");
    assert!(event.ends_with(r#""data":{"x":  1.10}}"#), "{event}");
    // Once more through a bridge, as it is.
    assert_eq!(written(&Event::Structured { json: event.as_bytes(), topic: "orders" }), event);
}

#[test]
fn a_batch_event_of_another_topic_becomes_its_members_or_one_dead_letter() {
    let member = |id: &str| {
        format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t","subject":"there","data":1}}"#)
    };
    let of = |data: &str, topic| {
        let json = format!(
            r#"{{"specversion":"1.0","id":"a..b","source":"/s","type":"flowd.batch","subject":"there","data":{data}}}"#
        );
        let parcel = encoded(&[event(), Event::Structured { json: json.as_bytes(), topic }]);
        let view = |event: &Keyed<Framed>| {
            let view = restore(event.event.json(&parcel.buffer)).unwrap();
            format!("{} {}", view.id, view.subject.unwrap())
        };
        let views: Vec<String> = parcel.events[1..].iter().map(view).collect();
        (views.join(", "), parcel.rejects.len())
    };
    let both = format!("[{},{}]", member("a"), member("b"));
    assert_eq!(of(&both, "here"), ("a here, b here".to_owned(), 0));
    assert_eq!(of(&both, "there"), ("a..b there".to_owned(), 0));
    assert_eq!(of("[]", "here"), ("a..b here".to_owned(), 0), "nothing is silent");
    assert_eq!(of(&format!("[{},1]", member("a")), "here"), (String::new(), 1));
}

/// What becomes of events one after another: each its JSON and keys, or the reason of its dead letter.
fn outcomes(encoder: &mut MessageEncoder, events: &[&[u8]]) -> Vec<String> {
    let of = |json: &&[u8]| {
        let mut building = Building::new(Position::default());
        building.push(&Event::Structured { json, topic: "orders" });
        let mut parcel = Parcel::default();
        assert_eq!(encoder.encode(&building.take().unwrap(), &mut parcel), Ok(Encoded::All));
        let event = |event: &Keyed<Framed>| {
            format!("{} {:?}", String::from_utf8_lossy(event.event.json(&parcel.buffer)), event.keys)
        };
        let reason = |reject: &Reject| format!("{} {}", reject.reason, String::from_utf8_lossy(&reject.line));
        parcel
            .events
            .iter()
            .map(event)
            .chain(parcel.rejects.iter().map(reason))
            .collect::<Vec<_>>()
            .join("\n")
    };
    events.iter().map(of).collect()
}

#[test]
fn what_becomes_of_an_event_does_not_depend_on_those_before_it() {
    let events = [
        r#""type":"t","time":"2020-01-01T00:00:00Z","data":1"#,
        r#""type":"t","time":"2020-01-02T00:00:00Z","data":{"x":[2]}"#,
        r#""type":"t","time":"2020-01-02","data":2"#,
        r#""type":"u","time":"2020-01-02T00:00:00Z","data":2"#,
        r#""type":"u","partitionkey":"k","data":2"#,
        r#""type":"u","partitionkey":"{\"a\":1}","data":2"#,
        r#""type":"t","datacontenttype":"text/plain","data":"2""#,
        r#""type":"t","datacontenttype":"application/cloudevents+json","data":"2""#,
        r#""type":"t","datacontenttype":"application/cloudevents+json","contenttype":"text/plain","data":"2""#,
        r#""type":"t","contenttype":"text/plain","data":"2""#,
        r#""type":"t","subject":"a","x":"1","data":2"#,
        r#""type":"t","subject":"b","x":"2","data":2"#,
        r#""type":"t","dataschema":"/x","data":2"#,
        r#""type":"t","dataschema":"/x y","data":2"#,
        r#""type":"t","n":5,"data":2"#,
        r#""type":"t","n":5000000000,"data":2"#,
        r#""type":"t","data_base64":"AA==""#,
        r#""type":"t""#,
        r#""type":"t","data":2,"rsp0ip":"1""#,
        r#""type":"t","data":3,"rsp0ip":"1""#,
        r#""type":"t","data":3,"rsp0ip":"2""#,
        r#""type":"flowd.batch","subject":"there","data":[]"#,
        r#""type":"flowd.batch","subject":"there","data":[{"specversion":"1.0","id":"2","source":"/s","type":"t","data":3}]"#,
        r#""type":"flowd.batch","subject":"orders","data":[1]"#,
        r#""type":"flowd.batch","subject":"there","data":[1]"#,
    ];
    let events = events.map(|rest| format!(r#"{{"specversion":"1.0","id":"1","source":"/s",{rest}}}"#));
    let encoder = || MessageEncoder::new(Framing::Bare, "/flowd/x".to_owned());
    for event in &events {
        let alone = outcomes(&mut encoder(), &[event.as_bytes()]).remove(0);
        for before in &events {
            // Twice, so that what was learnt of the first is used.
            let [before, event] = [before.as_bytes(), event.as_bytes()];
            let told = outcomes(&mut encoder(), &[before, before, event, before, event, event]);
            assert_eq!([&told[2], &told[4], &told[5]], [&alone; 3]);
        }
    }
}

#[test]
fn what_can_become_no_event_is_rejected_with_its_reason() {
    let empty = |field: &str| {
        let (mut id, mut kind, mut topic) = ("i", "t", "o");
        match field {
            "id" => id = "",
            "type" => kind = "",
            _ => topic = "",
        }
        let Event::Parts { extensions, data, .. } = event() else { unreachable!() };
        let (source, time_us, key, content_type) = (None, None, None, None);
        reason(&Event::Parts { id, kind, source, topic, time_us, key, content_type, extensions, data })
    };
    assert!(empty("id").contains("its id is empty"));
    assert!(empty("type").contains("its type is empty"));
    assert!(empty("topic").contains("\"\" is no topic"));
    assert!(reason(&with(&[("Trace", "1")], Data::None)).contains("\"Trace\" is no name for an extension"));
    assert!(reason(&with(&[("a", "1"), ("a", "2")], Data::None)).contains("a is there twice"));
    assert!(reason(&with(&[], Data::Json(b"{"))).contains("to be JSON, and is not: EOF"));
    assert!(reason(&with(&[], Data::Binary(&[0; 4 << 20]))).contains("EventMesh takes at most"));
    let structured = |json| reason(&Event::Structured { json, topic: "orders" });
    assert!(structured(b"{}").contains("it is no CloudEvent"));
    let taken = br#"{"specversion":"1.0","id":"1","source":"/s","type":"t","contenttype":"x"}"#;
    assert!(structured(taken).contains("the extension contenttype"));
    let no_source = br#"{"specversion":"1.0","id":"1","source":"/a b","type":"t"}"#;
    assert!(structured(no_source).contains(r#"its source is "/a b", which is no URI reference"#));
}

#[test]
fn events_of_one_key_or_one_id_wait_for_each_other_in_every_lane() {
    let keys = |event: Event<'_>| encoded(&[event]).events[0].keys;
    let of = |id: &'static str, key| {
        let Event::Parts { kind, source, topic, time_us, content_type, extensions, data, .. } = event()
        else {
            unreachable!()
        };
        keys(Event::Parts { id, kind, source, topic, time_us, key, content_type, extensions, data })
    };
    assert_eq!(of("1", Some("k"))[0], of("2", Some("k"))[0]);
    assert_ne!(of("1", Some("k"))[1], of("2", Some("k"))[1]);
    assert_ne!(of("1", Some("k"))[0], of("1", Some("l"))[0]);
    assert_eq!(of("1", None)[0], 0);
    let json = br#"{"specversion":"1.0","id":"1","source":"/s","type":"t","partitionkey":"k"}"#;
    assert_eq!(keys(Event::Structured { json, topic: "orders" }), of("1", Some("k")));
}

#[test]
fn what_is_rejected_leaves_nothing_between_its_neighbours() {
    let parcel =
        encoded(&[event(), with(&[], Data::Json(b"{")), with(&[], Data::Binary(&[0; 4 << 20])), event()]);
    assert_eq!((parcel.events.len(), parcel.rejects.len()), (2, 2));
    let [first, last] = [0, 1].map(|index| parcel.events[index].event);
    assert_eq!((last.start, last.end as usize), (first.end, parcel.buffer.len()));
    assert_eq!(first.json(&parcel.buffer), last.json(&parcel.buffer));
}

#[test]
fn events_of_many_sources_types_and_topics_have_their_own() {
    let topics: Vec<String> = (0..40).map(|number| format!("t{}", number % 20)).collect();
    let events: Vec<Event<'_>> =
        topics.iter().map(|topic| Event::new("1", "order.made", topic, Data::None)).collect();
    let parcel = encoded(&events);
    let told = |event: &Keyed<Framed>| {
        let view = restore(event.event.json(&parcel.buffer)).unwrap();
        (view.source.into_owned(), view.subject.unwrap().into_owned())
    };
    let told: Vec<_> = parcel.events.iter().map(told).collect();
    let expected: Vec<_> = topics.into_iter().map(|topic| ("/flowd/x/orders".to_owned(), topic)).collect();
    assert_eq!(told, expected);
}

#[test]
fn extensions_of_any_length_come_back_and_leave_a_batch_of_texts_a_text() {
    let long = "x".repeat(70_000);
    let given = [("empty", ""), ("long", &*long), ("name", &long[..200])];
    let mut building = Building::new(Position::default());
    building.push(&with(&given, Data::Json(b"{}")));
    let batch = building.take().unwrap();
    assert!(std::str::from_utf8(&batch.bytes).is_ok());
    let Message(Form::Parts(parts)) = batch.records[0] else { panic!("it was pushed in parts") };
    let text = |span: Span| std::str::from_utf8(span.of(&batch.bytes)).unwrap();
    let found: Vec<_> =
        extensions(&batch.bytes, parts.extensions).map(|(name, value)| (text(name), text(value))).collect();
    assert_eq!(found, given);
    assert_eq!(extensions(&batch.bytes, Span { start: 7, end: 7 }).count(), 0);
}

#[test]
fn a_name_is_checked_whatever_the_event_before_was_called_by() {
    let event = |extensions| with(extensions, Data::Json(b"{}"));
    let parcel = encoded(&[
        event(&[("a", "1"), ("b", "2")]),
        event(&[("b", "1"), ("b", "2")]),
        event(&[("a", "1"), ("B", "2")]),
        event(&[("a", "1")]),
        event(&[("b", "1"), ("a", "2")]),
        event(&[("a", "1"), ("a", "2")]),
    ]);
    let reasons: Vec<&str> = parcel.rejects.iter().map(|reject| &*reject.reason).collect();
    assert_eq!(parcel.events.len(), 3, "{reasons:?}");
    for (reason, part) in reasons.iter().zip(["b is there twice", "\"B\" is no name", "a is there twice"]) {
        assert!(reason.contains(part), "{reason}");
    }
}

/// Each letter is an event's id, but for `x`, which can become none. Data is long.
struct Letters(&'static str, &'static [u8]);

impl Block for Letters {
    fn size(&self) -> usize {
        self.1.len()
    }

    fn split(&self, from: usize, out: &mut Pieces<'_>) -> Option<usize> {
        let data = "y".repeat(100 << 10);
        for at in from..self.1.len() {
            if out.is_full() {
                return Some(at);
            }
            match self.1[at] {
                b'x' => out.reject("it is an x", b"x"),
                letter => {
                    let id = format!("{}{}", self.0, char::from(letter));
                    out.push(&Event::new(&id, "t", "letters", Data::Text(&data)));
                }
            }
        }
        None
    }
}

#[test]
fn a_block_is_taken_apart_in_as_many_parcels_as_it_fills() {
    let mut building = Building::new(Position::default());
    building.push(&Event::new("first", "t", "letters", Data::None));
    building.block(Box::new(Letters("one-", b"abcxdefg")));
    building.block(Box::new(Letters("two-", b"")));
    building.block(Box::new(Letters("three-", b"xh")));
    let batch = building.take().unwrap();
    let mut encoder = MessageEncoder::new(Framing::Line, "/flowd/x".to_owned());
    let mut parcels = Vec::new();
    loop {
        let mut parcel = Parcel::default();
        let encoded = encoder.encode(&batch, &mut parcel).unwrap();
        let of = |event: &Keyed<Framed>| event.event.id_text(&parcel.buffer).into_owned();
        let ids: Vec<String> = parcel.events.iter().map(of).collect();
        parcels.push((ids.join(" "), parcel.rejects.len()));
        if encoded == Encoded::All {
            break;
        }
    }
    let expected = [("first one-a one-b one-c", 0), ("one-d one-e one-f", 1), ("one-g three-h", 1)];
    assert_eq!(parcels, expected.map(|(ids, rejects)| (ids.to_owned(), rejects)));
    let mut parcel = Parcel::default();
    assert_eq!(
        encoder.encode(&batch, &mut parcel),
        Ok(Encoded::More),
        "the next batch begins at its beginning"
    );
    assert_eq!(parcel.events.len(), 4);
}
