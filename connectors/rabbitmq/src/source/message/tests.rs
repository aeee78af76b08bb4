//! Messages read as events: by both modes of the binding, made of what has none, and what can be no event.

use lapin::types::FieldTable;

use super::*;

fn long(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn with(headers: &[(&str, AMQPValue)]) -> BasicProperties {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert((*name).into(), value.clone());
    }
    BasicProperties::default().with_headers(table)
}

fn read<'a>(properties: &'a BasicProperties, body: &'a [u8], key: &Key) -> Result<Message<'a>, String> {
    let arrived =
        Arrived { exchange: "shop", routing_key: "orders.eu", redelivered: false, properties, body };
    super::read(&arrived, key, || "run-1".to_owned())
}

fn parts<'a>(properties: &'a BasicProperties, body: &'a [u8]) -> Parts<'a> {
    match read(properties, body, &Key::None) {
        Ok(Message::Parts(parts)) => parts,
        other => panic!("{other:?}"),
    }
}

fn extension<'a>(parts: &'a Parts<'_>, name: &str) -> Option<&'a str> {
    parts.extensions.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_ref())
}

const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

fn event(prefix: &str) -> Vec<(String, AMQPValue)> {
    let values = ["1.0", "7", "/shop", "order.placed"];
    REQUIRED.iter().zip(values).map(|(name, value)| (format!("{prefix}{name}"), long(value))).collect()
}

fn properties_of(headers: &[(String, AMQPValue)]) -> BasicProperties {
    let headers: Vec<(&str, AMQPValue)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    with(&headers)
}

#[test]
fn an_event_in_headers_is_the_same_event_with_either_prefix() {
    for prefix in PREFIXES {
        let mut headers = event(prefix);
        headers.push((format!("{prefix}time"), long("2026-01-31T12:00:00.5Z")));
        headers.push((format!("{prefix}partitionkey"), long("42")));
        headers.push((format!("{prefix}attempt"), AMQPValue::LongInt(3)));
        headers.push((format!("{prefix}subject"), long("elsewhere")));
        headers.push(("x-other".to_owned(), long("not of the event")));
        let properties = properties_of(&headers).with_content_type("application/json".into());
        let parts = parts(&properties, br#"{"a":1}"#);
        assert_eq!(
            (parts.id.as_ref(), parts.kind.as_ref(), parts.source.as_deref()),
            ("7", "order.placed", Some("/shop"))
        );
        assert_eq!(parts.time_us, Some(1_769_860_800_500_000));
        assert_eq!(parts.key.as_deref(), Some("42"));
        assert_eq!(parts.extensions, [("attempt".into(), "3".into())]);
        assert_eq!(parts.data, Data::Json(br#"{"a":1}"#));
    }
}

#[test]
fn an_event_as_the_body_goes_as_it_is() {
    let properties =
        BasicProperties::default().with_content_type("application/cloudevents+json; charset=utf-8".into());
    assert!(matches!(read(&properties, b"{}", &Key::None), Ok(Message::Whole(Cow::Borrowed(b"{}")))));
}

#[test]
fn what_says_that_it_is_an_event_and_is_none_is_told_why() {
    for (index, name) in REQUIRED.iter().enumerate().skip(1) {
        let mut headers = event("cloudEvents_");
        headers.remove(index);
        let reason = read(&properties_of(&headers), b"", &Key::None).unwrap_err();
        assert!(reason.contains(&format!("attribute {name} is missing")), "{reason}");
    }
    for (name, value, expected) in [
        ("cloudEvents_specversion", long("2.0"), "its specversion is \"2.0\""),
        ("cloudEvents_time", long("yesterday"), "no RFC 3339 time"),
        ("cloudEvents_Upper", long("x"), "no name for an attribute"),
        ("cloudEvents_list", AMQPValue::FieldTable(FieldTable::default()), "no text, number or boolean"),
    ] {
        let mut headers = event("cloudEvents_");
        headers.push((name.to_owned(), value));
        let reason = read(&properties_of(&headers), b"", &Key::None).unwrap_err();
        assert!(reason.contains(expected), "{reason}");
    }
    for content_type in ["application/cloudevents-batch+json", "application/cloudevents+avro"] {
        let properties = BasicProperties::default().with_content_type(content_type.into());
        let reason = read(&properties, b"[]", &Key::None).unwrap_err();
        assert!(reason.contains(content_type), "{reason}");
    }
}

#[test]
fn a_message_without_an_event_is_made_one_of_what_it_says() {
    let headers = [
        ("Trace-Id", long("t1")),
        ("id", long("not the id")),
        ("sequence", long("9")),
        ("x-death", AMQPValue::FieldArray(lapin::types::FieldArray::default())),
        ("retries", AMQPValue::LongInt(2)),
    ];
    let properties = with(&headers)
        .with_message_id("m-1".into())
        .with_type("order".into())
        .with_timestamp(1_700_000_000)
        .with_correlation_id("c-1".into())
        .with_content_type("text/plain".into());
    let parts = parts(&properties, b"hello");
    assert_eq!((parts.id.as_ref(), parts.kind.as_ref(), parts.source.as_deref()), ("m-1", "order", None));
    assert_eq!(parts.time_us, Some(1_700_000_000_000_000));
    assert_eq!((parts.key, parts.data), (None, Data::Text("hello")));
    let parts = self::parts(&properties, b"hello");
    for (name, value) in [
        ("exchange", "shop"),
        ("routingkey", "orders.eu"),
        ("correlationid", "c-1"),
        ("traceid", "t1"),
        ("retries", "2"),
    ] {
        assert_eq!(extension(&parts, name), Some(value), "{name}");
    }
    assert_eq!(parts.extensions.len(), 5, "{:?}", parts.extensions);
}

#[test]
fn a_message_that_says_nothing_has_the_id_that_it_is_given() {
    let properties = BasicProperties::default();
    let parts = parts(&properties, b"\xff");
    assert_eq!((parts.id.as_ref(), parts.kind.as_ref()), ("run-1", MESSAGE_TYPE));
    assert_eq!(parts.data, Data::Any(b"\xff"));
}

#[test]
fn a_body_that_is_compressed_stays_bytes() {
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("gzip".into());
    let parts = parts(&properties, b"\x1f\x8b");
    assert_eq!(parts.data, Data::Binary(b"\x1f\x8b"));
    assert_eq!(extension(&parts, "bodyencoding"), Some("gzip"));
}

#[test]
fn the_key_is_the_routing_key_or_a_header() {
    let properties = with(&[("customer", long("c7")), ("empty", long("")), ("table", AMQPValue::Void)]);
    let key = |key: Key| match read(&properties, b"", &key) {
        Ok(Message::Parts(parts)) => Ok(parts.key.map(Cow::into_owned)),
        Ok(Message::Whole(_)) => panic!("no event"),
        Err(reason) => Err(reason),
    };
    assert_eq!(key(Key::Routing), Ok(Some("orders.eu".to_owned())));
    assert_eq!(key(Key::Header("customer".to_owned())), Ok(Some("c7".to_owned())));
    assert_eq!(key(Key::Header("empty".to_owned())), Ok(None));
    assert_eq!(key(Key::Header("absent".to_owned())), Ok(None));
    assert!(key(Key::Header("table".to_owned())).unwrap_err().contains("header table"));
}

#[test]
fn a_stream_is_told_by_what_it_adds() {
    for (properties, expected) in
        [(with(&[("x-stream-offset", AMQPValue::LongLongInt(5))]), true), (BasicProperties::default(), false)]
    {
        let properties = &properties;
        let arrived = Arrived { exchange: "", routing_key: "", redelivered: false, properties, body: b"" };
        assert_eq!(arrived.is_of_a_stream(), expected);
    }
}
