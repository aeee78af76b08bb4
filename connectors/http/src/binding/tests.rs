//! What is written as a message and read again is the same event.

use bytes::Bytes;
use flowd_codec::event::carried::restore;
use flowd_codec::event::view::decode_event;
use hyper::HeaderMap;
use hyper::header::HeaderValue;
use proptest::prelude::*;

use super::header::{decode, encode};
use super::read::{Found, Plain, Unreadable, events};
use super::write::{batch, binary, structured};

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
    pairs.iter().map(|(name, text)| (name.parse().unwrap(), value(text))).collect()
}

/// The events of a message, as JSON.
fn all(headers: &HeaderMap, body: &Bytes, plain: Option<&Plain>) -> Result<Vec<String>, Unreadable> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(match events(headers, body, plain, &mut Vec::new())? {
        Found::Whole(members) => members.iter().map(|member| text(member)).collect(),
        Found::Binary(event) => {
            let mut json = Vec::new();
            event.write_json(&mut json);
            vec![text(&json)]
        }
    })
}

/// The one event of a message, as JSON.
fn read(pairs: &[(&'static str, &str)], body: &'static [u8]) -> Result<String, Unreadable> {
    let mut found = all(&headers(pairs), &Bytes::from_static(body), None)?;
    assert_eq!(found.len(), 1);
    Ok(found.remove(0))
}

fn refused(pairs: &[(&'static str, &str)], body: &'static [u8]) -> String {
    match read(pairs, body).unwrap_err() {
        Unreadable::Malformed(text) | Unreadable::Unknown(text) => text,
    }
}

const ATTRIBUTES: [(&str, &str); 4] =
    [("ce-specversion", "1.0"), ("ce-id", "a%201"), ("ce-source", "/s"), ("ce-type", "t")];

fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    ATTRIBUTES.iter().chain(more).copied().collect()
}

#[test]
fn a_message_in_binary_mode_is_an_event_with_its_data_in_the_form_of_its_type() {
    let check = |content_type: &'static str, body: &'static [u8], data: &str| {
        let json = read(&with(&[("content-type", content_type), ("ce-x", "y")]), body).unwrap();
        decode_event(json.as_bytes()).unwrap();
        let expected = format!(
            r#"{{"specversion":"1.0","id":"a 1","source":"/s","type":"t","datacontenttype":"{content_type}","x":"y"{data}}}"#
        );
        assert_eq!(json, expected);
    };
    check("application/json", b" {\"a\": 1} ", r#","data":{"a": 1}"#);
    check("text/plain", "é\n".as_bytes(), r#","data":"é\n""#);
    check("text/plain", b"\xff", r#","data_base64":"/w==""#);
    check("image/png", b"\x00\x01", r#","data_base64":"AAE=""#);
    check("application/json", b"", "");
}

#[test]
fn what_another_eventmesh_added_is_left_behind() {
    let json = read(&with(&[("ce-rsp0ip", "10.0.0.9"), ("ce-x", "y")]), b"1").unwrap();
    assert!(json.contains(r#""x":"y""#) && !json.contains("rsp0ip"), "{json}");
}

#[test]
fn data_without_a_type_is_json_or_bytes() {
    let event = |body| read(&ATTRIBUTES, body).unwrap();
    assert!(event(b"[1]").ends_with(r#","data":[1]}"#));
    assert!(event(b"hello").ends_with(r#","data_base64":"aGVsbG8="}"#));
}

#[test]
fn what_is_no_event_is_refused_with_the_header_that_is_wrong() {
    let json = ("content-type", "application/json");
    assert!(refused(&[json], b"{}").contains("no CloudEvent"));
    assert!(refused(&with(&[json]), b"{").contains("no JSON"));
    assert!(refused(&with(&[("ce-data", "1")]), b"").contains("ce-data is no attribute"));
    assert!(refused(&with(&[("ce-a_b", "1")]), b"").contains("ce-a_b is no attribute"));
    assert!(refused(&with(&[("ce-id", "2")]), b"").contains("ce-id occurs twice"));
    assert!(refused(&with(&[("ce-datacontenttype", "a/b")]), b"").contains("content-type says"));
    assert!(refused(&with(&[("ce-x", "%ff")]), b"").contains("ce-x"));
    assert!(refused(&with(&[("ce-time", "now")]), b"").contains("RFC 3339"));
    assert!(refused(&ATTRIBUTES[..3], b"").contains("no CloudEvent: the required attribute `type`"));
    assert!(refused(&with(&[("content-encoding", "gzip")]), b"").contains("gzip"));
    assert!(refused(&[("content-type", "application/cloudevents+avro")], b"").contains("avro"));
    assert!(refused(&[("content-type", "application/cloudevents-batch+json")], b"{}").contains("array"));
}

#[test]
fn the_members_of_a_batch_are_cut_out_of_the_body() {
    let batch = headers(&[("content-type", "application/cloudevents-batch+json")]);
    let body = Bytes::from_static(br#"[ {"id":"1"}, {"id":"2"} ]"#);
    assert_eq!(all(&batch, &body, None).unwrap(), [r#"{"id":"1"}"#, r#"{"id":"2"}"#]);
    assert!(all(&batch, &Bytes::from_static(b"[]"), None).unwrap().is_empty());
}

#[test]
fn a_plain_message_becomes_an_event_by_the_header_of_its_id() {
    let plain =
        Plain { id_header: "x-id".into(), source: "/flowd/http/in".into(), event_type: "hook".into() };
    let body = Bytes::from_static(b"{\"a\":1}");
    let headers = headers(&[("content-type", "application/json"), ("x-id", "7")]);
    let found = all(&headers, &body, Some(&plain)).unwrap();
    let expected = r#"{"specversion":"1.0","id":"7","source":"/flowd/http/in","type":"hook","datacontenttype":"application/json","data":{"a":1}}"#;
    assert_eq!(found, [expected]);
    let without = all(&HeaderMap::new(), &body, Some(&plain)).unwrap_err();
    assert!(matches!(without, Unreadable::Malformed(text) if text.contains("x-id")));
}

/// As the mesh carries it.
fn carried(attributes: &str, data: &str) -> Vec<u8> {
    let fixed = r#"{"specversion":"1.0","id":"é \"%","source":"/s","type":"t","datacontenttype":"application/cloudevents+json","subject":"a.b""#;
    format!("{fixed}{attributes},\"data\":{data}}}").into_bytes()
}

#[test]
fn an_event_that_is_written_and_read_again_is_the_same() {
    for json in [
        carried(r#","time":"2026-01-31T12:00:00Z","partitionkey":"{\"id\":1}""#, r#"{"a":[1,"é"]}"#),
        carried(r#","contenttype":"text/plain","dataschema":"urn:x""#, r#""é\n""#),
        carried(r#","contenttype":"image/png","contentencoding":"base64""#, r#""AAE=""#),
        carried(r#","contentencoding":"none""#, "null"),
    ] {
        let expected = restore(&json).unwrap();
        for message in [
            binary(&json, &HeaderMap::new()).unwrap(),
            structured(&json, &HeaderMap::new()).unwrap(),
            batch([&json[..]].into_iter(), &HeaderMap::new()).unwrap(),
        ] {
            let again = all(&message.headers, &message.body, None).unwrap();
            let again = decode_event(again[0].as_bytes()).unwrap();
            assert_eq!(again, expected, "{message:?}");
        }
    }
}

#[test]
fn data_of_an_event_with_the_type_of_the_mesh_is_sent_as_json() {
    let message = binary(&carried(r#","flag":true,"n":-7"#, r#"{"a":1}"#), &HeaderMap::new()).unwrap();
    assert_eq!(message.headers["content-type"], "application/json");
    assert_eq!(
        (&message.headers["ce-flag"], &message.headers["ce-n"]),
        (&"true".parse().unwrap(), &"-7".parse().unwrap())
    );
    assert_eq!(message.body, r#"{"a":1}"#);
}

proptest! {
    #[test]
    fn every_text_comes_back_from_its_header(text in any::<String>()) {
        // White space at its ends is encoded, so nothing is trimmed.
        let mut encoded = Vec::new();
        encode(&mut encoded, &text);
        prop_assert_eq!(decode(&encoded), Ok(text.into()));
    }

    #[test]
    fn no_message_makes_a_panic_and_what_is_read_from_headers_is_an_event(
        names in prop::collection::vec("ce-[a-z0-9_.]{1,9}|ce-(id|source|type|specversion|time|data)", 0..6),
        values in prop::collection::vec(prop::collection::vec(0x20_u8..=0xff, 0..9), 6),
        content_type in prop::option::of("(application|text|image)/[a-z+;=-]{0,12}(json)?|application/cloudevents(-batch)?[+]json"),
        body in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in names.iter().zip(values) {
            if let (Ok(name), Ok(value)) = (name.parse::<hyper::header::HeaderName>(), HeaderValue::from_bytes(&value)) {
                headers.append(name, value);
            }
        }
        let is_ours = content_type.as_deref().is_some_and(|text| text.starts_with("application/cloudevents"));
        headers.extend(content_type.map(|text| (hyper::header::CONTENT_TYPE, text.parse().unwrap())));
        for event in all(&headers, &body.into(), None).unwrap_or_default() {
            prop_assert!(is_ours || decode_event(event.as_bytes()).is_ok(), "{event:?}");
        }
    }
}
