//! Records as events: the binding in both modes, records that are no events, and what is rejected.

use super::*;

const PLAIN: Record<'_> = Record {
    topic: "orders",
    partition: 3,
    offset: 42,
    timestamp_ms: Some(1_764_028_800_123),
    key: Some(b"ada"),
    value: Some(br#"{"a":1}"#),
    headers: &[],
};

fn parts(record: &Record<'static>, form: ValueForm) -> Parts<'static> {
    match read(record, form).unwrap() {
        Message::Parts(parts) => parts,
        Message::Whole(_) => panic!("it is no structured event"),
    }
}

fn whole(record: &Record<'_>) -> String {
    match read(record, ValueForm::Auto).unwrap() {
        Message::Whole(json) => String::from_utf8(json.into_owned()).unwrap(),
        Message::Parts(parts) => panic!("{parts:?}"),
    }
}

#[test]
fn a_plain_record_is_called_by_its_place() {
    let headers: &[(&str, Option<&[u8]>)] = &[
        ("trace-id", Some(b"7")),
        ("X-Tenant", Some(b"one")),
        ("tenant", None),
        ("picture", Some(&[0xff])),
        ("sequence", Some(b"9")),
        ("data", Some(b"AAAA")),
    ];
    let parts = parts(&Record { headers, ..PLAIN }, ValueForm::Auto);
    assert_eq!((&*parts.id, &*parts.kind, parts.source.as_deref()), ("orders-3-42", RECORD_TYPE, None));
    assert_eq!((parts.key.as_deref(), parts.time_us), (Some("ada"), Some(1_764_028_800_123_000)));
    let names: Vec<_> =
        parts.extensions.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
    assert_eq!(names, [("traceid", "7"), ("xtenant", "one")]);
}

#[test]
fn a_value_is_what_the_setting_or_its_content_type_says() {
    let of = |value: &'static [u8], form| {
        format!("{:?}", parts(&Record { value: Some(value), ..PLAIN }, form).data)
    };
    assert_eq!(of(b"17", ValueForm::Auto), format!("{:?}", Data::Any(b"17")));
    assert_eq!(of(b"17", ValueForm::Text), format!("{:?}", Data::Text("17")));
    assert_eq!(of(b"", ValueForm::Json), format!("{:?}", Data::Text("")));
    assert_eq!(of(b"17", ValueForm::Binary), format!("{:?}", Data::Binary(b"17")));
    let headers: &[(&str, Option<&[u8]>)] = &[("Content-Type", Some(b"text/plain"))];
    let text = parts(&Record { headers, value: Some(b"17"), ..PLAIN }, ValueForm::Json);
    assert_eq!(format!("{:?}", text.data), format!("{:?}", Data::Text("17")));
    assert_eq!(text.content_type, Some("text/plain"));
    let error = read(&Record { value: Some(&[0xff]), ..PLAIN }, ValueForm::Text).unwrap_err();
    assert!(error.contains("UTF-8"), "{error}");
}

#[test]
fn a_tombstone_is_an_event_without_data() {
    let parts = parts(&Record { value: None, ..PLAIN }, ValueForm::Json);
    assert_eq!(format!("{:?}", parts.data), format!("{:?}", Data::None));
    assert_eq!(parts.key.as_deref(), Some("ada"));
}

#[test]
fn a_key_that_is_no_text_is_base64_and_says_so() {
    let parts = parts(&Record { key: Some(&[0xff, 0]), ..PLAIN }, ValueForm::Auto);
    assert_eq!(parts.key.as_deref(), Some("/wA="));
    assert_eq!(parts.extensions, [(KEY_ENCODING.into(), BASE64.into())]);
}

#[test]
fn headers_of_the_binding_are_the_attributes() {
    let headers: &[(&str, Option<&[u8]>)] = &[
        ("ce_specversion", Some(b"1.0")),
        ("ce_id", Some(b"e-1")),
        ("ce_source", Some(b"/shop")),
        ("ce_type", Some(b"order.placed")),
        ("ce_time", Some(b"2026-11-25T00:00:00Z")),
        ("ce_subject", Some(b"order 7")),
        ("ce_tenant", Some(b"one")),
        ("content-type", Some(b"application/json")),
        ("other", Some(b"left out")),
    ];
    let parts = parts(&Record { headers, ..PLAIN }, ValueForm::Binary);
    assert_eq!((&*parts.id, &*parts.kind, parts.source.as_deref()), ("e-1", "order.placed", Some("/shop")));
    assert_eq!(parts.time_us, Some(1_795_564_800_000_000));
    assert_eq!((parts.key.as_deref(), parts.content_type), (Some("ada"), Some("application/json")));
    assert_eq!(parts.extensions, [("tenant".into(), "one".into())]);
    assert_eq!(format!("{:?}", parts.data), format!("{:?}", Data::Json(br#"{"a":1}"#)));
}

#[test]
fn a_broken_binding_says_which_header_it_is() {
    let good: [(&str, Option<&[u8]>); 4] = [
        ("ce_specversion", Some(b"1.0")),
        ("ce_id", Some(b"e-1")),
        ("ce_source", Some(b"/shop")),
        ("ce_type", Some(b"order.placed")),
    ];
    for (name, value) in [
        ("ce_specversion", Some(b"2.0".as_slice())),
        ("ce_id", Some(b"")),
        ("ce_source", None),
        ("ce_type", Some(&[0xff])),
        ("ce_time", Some(b"yesterday")),
        ("ce_Name", Some(b"x")),
        ("content-type", Some(b"application/cloudevents+avro")),
    ] {
        let mut headers = good.to_vec();
        headers.retain(|(other, _)| *other != name);
        headers.push((name, value));
        let error = read(&Record { headers: &headers, ..PLAIN }, ValueForm::Auto).unwrap_err();
        let named = if name == "content-type" { "content type" } else { name };
        assert!(error.contains(named), "{name}: {error}");
    }
}

#[test]
fn a_structured_event_goes_as_it_is_but_for_the_key_that_it_lacks() {
    let headers: &[(&str, Option<&[u8]>)] =
        &[("content-type", Some(b"application/cloudevents+json; charset=UTF-8"))];
    let of = |key, value| whole(&Record { headers, key, value: Some(value), ..PLAIN });
    assert_eq!(of(None, br#"{"id":"1"}"#), r#"{"id":"1"}"#);
    assert_eq!(of(Some(b"k\""), br#" {"id":"1"}"#), r#"{"partitionkey":"k\"","id":"1"}"#);
    assert_eq!(of(Some(b"k"), br#"{ }"#), r#"{"partitionkey":"k" }"#);
    assert_eq!(of(Some(b"k"), br#"{"partitionkey":"own"}"#), r#"{"partitionkey":"own"}"#);
    assert_eq!(
        of(Some(&[0xff]), br#"{"id":"1"}"#),
        r#"{"partitionkey":"/w==","keyencoding":"base64","id":"1"}"#
    );
    assert_eq!(of(Some(b"k"), b"[]"), "[]");
    let error = read(&Record { headers, value: None, ..PLAIN }, ValueForm::Auto).unwrap_err();
    assert!(error.contains("no value"), "{error}");
}
