//! Our events against those of the CloudEvents SDK, in both directions.

use cloudevents::{EventBuilder, EventBuilderV03, EventBuilderV10};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::event::{EventWriter, Framing, Template};
use crate::time;

/// Texts with everything that JSON escapes and everything that it does not.
fn text() -> impl Strategy<Value = String> {
    "[a-z\"\\\\/\n\r\t\u{0}\u{1f}\u{7f}\u{2028}é漢😀]{1,40}"
}

/// URI references, as the SDK's builder wants them.
fn source() -> impl Strategy<Value = String> {
    "/flowd/(mysql|mariadb)/[a-z0-9._-]{1,20}"
}

/// Any JSON value whose numbers survive a text and back.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i16>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn extension() -> impl Strategy<Value = SdkValue> {
    prop_oneof![
        text().prop_map(SdkValue::String),
        any::<bool>().prop_map(SdkValue::Boolean),
        any::<i64>().prop_map(SdkValue::Integer),
    ]
}

/// Extensions whose names are no attributes of either version.
fn extensions() -> impl Strategy<Value = std::collections::BTreeMap<String, SdkValue>> {
    prop::collection::btree_map("x[a-z0-9]{0,12}", extension(), 0..5)
}

fn data() -> impl Strategy<Value = Option<(String, SdkData)>> {
    let json =
        ("application/(cloudevents\\+)?json", value()).prop_map(|(kind, value)| (kind, SdkData::Json(value)));
    let plain = text().prop_map(|text| ("text/plain".to_owned(), SdkData::String(text)));
    let bytes = prop::collection::vec(any::<u8>(), 0..40)
        .prop_map(|bytes| ("application/octet-stream".to_owned(), SdkData::Binary(bytes)));
    prop::option::of(prop_oneof![json, plain, bytes])
}

/// Four-digit years, to the nanosecond, as the SDK keeps them.
fn time_text() -> impl Strategy<Value = String> {
    (-62_135_596_800_i64..253_402_300_800, 0..1_000_000_000_u32).prop_map(|(second, nanos)| {
        let mut text = Vec::new();
        time::write_rfc3339_us(&mut text, second * 1_000_000);
        let text = String::from_utf8(text).expect("ASCII");
        format!("{}.{nanos:09}Z", &text[..19])
    })
}

macro_rules! build {
    ($builder:ty, $id:expr, $source:expr, $kind:expr, $subject:expr, $time:expr, $extensions:expr, $data:expr) => {{
        let mut builder = <$builder>::new().id($id).source($source).ty($kind);
        if let Some(subject) = $subject {
            builder = builder.subject(subject);
        }
        if let Some(time) = $time {
            builder = builder.time(time);
        }
        for (name, value) in $extensions {
            builder = builder.extension(&name, value);
        }
        if let Some((content_type, data)) = $data {
            builder = builder.data(content_type, data);
        }
        builder.build().expect("the SDK builds it")
    }};
}

prop_compose! {
    fn sdk_event()(
        version_1 in any::<bool>(),
        id in text(),
        source in source(),
        kind in text(),
        subject in prop::option::of(text()),
        time in prop::option::of(time_text()),
        extensions in extensions(),
        data in data(),
    ) -> Event {
        if version_1 {
            build!(EventBuilderV10, id, source, kind, subject, time, extensions, data)
        } else {
            build!(EventBuilderV03, id, source, kind, subject, time, extensions, data)
        }
    }
}

proptest! {
    #[test]
    fn whatever_we_write_the_sdk_parses_to_the_same_event(
        id in "[!#-\\[\\]-~]{1,60}",
        source in source(),
        kind in text(),
        subject in text(),
        time_us in -62_135_596_800_000_000_i64..253_402_300_800_000_000,
        key in prop::option::of(value()),
        sequence in prop::option::of(text()),
        data in value(),
    ) {
        let template = Template::new(Framing::Bare, &source, &kind, &subject);
        let key = key.map(|key| key.to_string());
        let mut out = Vec::new();
        let mut writer = EventWriter::begin(&mut out, &template);
        writer.id(|out| out.extend_from_slice(id.as_bytes()));
        writer.time_us(time_us);
        if let Some(key) = &key {
            writer.partition_key(key.as_bytes());
        }
        if let Some(sequence) = &sequence {
            writer.extension("sequence", sequence);
        }
        writer.data().extend_from_slice(data.to_string().as_bytes());
        writer.finish();

        let mut time = Vec::new();
        time::write_rfc3339_us(&mut time, time_us);
        let time = String::from_utf8(time).expect("ASCII");
        let mut expected = EventBuilderV10::new().id(id).source(source).ty(kind).subject(subject).time(time);
        if let Some(key) = key {
            expected = expected.extension("partitionkey", key);
        }
        if let Some(sequence) = sequence {
            expected = expected.extension("sequence", sequence);
        }
        let expected = expected.data(crate::event::DATA_CONTENT_TYPE, data).build().expect("the SDK builds it");
        prop_assert_eq!(serde_json::from_slice::<Event>(&out).expect("the SDK parses it"), expected.clone());
        prop_assert_eq!(read(&out), Ok(expected));
    }

    #[test]
    fn whatever_the_sdk_writes_we_decode_to_the_same_event(event in sdk_event()) {
        let text = serde_json::to_vec(&event).expect("the SDK writes it");
        let view = decode_event(&text).expect("we read it");
        prop_assert_eq!(&*view.id, event.id());
        prop_assert_eq!(&*view.source, event.source());
        prop_assert_eq!(&*view.event_type, event.ty());
        prop_assert_eq!(view.subject.as_deref(), event.subject());
        prop_assert_eq!(view.data_content_type.as_deref(), event.datacontenttype());
        prop_assert_eq!(view.time_us(), event.time().map(|time| time.timestamp_micros()));
        prop_assert_eq!(view.extensions.len(), event.iter_extensions().count());
        for (name, value) in event.iter_extensions() {
            prop_assert_eq!(view.extension(name), Some(&extension_of(value)));
        }
        prop_assert_eq!(to_event(&view).expect("the SDK takes it"), sdk_reading(&text));
    }

    #[test]
    fn an_sdk_event_comes_back_from_our_text_as_the_same_event(event in sdk_event()) {
        let mut text = Vec::new();
        write(&event, &mut text).expect("legal");
        let own = serde_json::to_vec(&event).expect("the SDK writes it");
        prop_assert_eq!(read(&text).expect("legal"), sdk_reading(&own));
    }
}

/// What the SDK itself makes of a text that it wrote. (Not always the event that it wrote: bytes that happen to be
/// JSON, under a JSON content type, come back as a value.)
fn sdk_reading(text: &[u8]) -> Event {
    serde_json::from_slice(text).expect("the SDK reads what it wrote")
}

#[test]
fn the_kinds_of_data_are_kept() {
    let cases = [
        ("application/json", SdkData::Json(serde_json::json!({"a": [1, 2.5, "x", null]}))),
        ("application/json", SdkData::Json(Value::Null)),
        ("text/plain", SdkData::String("text".to_owned())),
        ("application/octet-stream", SdkData::Binary(vec![0, 255])),
    ];
    for (content_type, data) in cases {
        let build = EventBuilderV10::new().id("1").source("/s").ty("t").data(content_type, data);
        let event = build.build().expect("legal");
        let mut text = Vec::new();
        write(&event, &mut text).expect("legal");
        assert_eq!(read(&text), Ok(event));
    }
}

#[test]
fn the_text_of_an_event_is_always_the_same() {
    let build = || {
        let mut builder = EventBuilderV10::new().id("1").source("/s").ty("t");
        for index in 0..20 {
            builder = builder.extension(&format!("x{index}"), i64::from(index));
        }
        let mut text = Vec::new();
        write(&builder.build().expect("legal"), &mut text).expect("legal");
        text
    };
    assert_eq!(build(), build());
}

#[test]
fn what_the_sdk_does_not_check_is_refused_and_leaves_the_buffer_as_it_was() {
    let build = |name: &str| EventBuilderV10::new().id("1").source("/s").ty("t").extension(name, "x");
    let mut out = b"before".to_vec();
    let event = build("Upper_Case").build().expect("the SDK does not look");
    assert_eq!(write(&event, &mut out), Err(EventError::Name("Upper_Case".to_owned()).into()));
    let event = EventBuilderV10::new().id("").source("/s").ty("t").build().expect("the SDK does not look");
    assert_eq!(write(&event, &mut out), Err(EventError::Missing("id").into()));
    assert_eq!(out, b"before");
}

#[test]
fn what_the_sdk_refuses_is_an_error() {
    let json = br#"{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/plain","data":{}}"#;
    assert!(matches!(read(json), Err(SdkError::Refused(_))));
}
