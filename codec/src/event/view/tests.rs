//! Events read from text: the legal ones, and every way of being illegal.

use super::*;

const FULL: &str = concat!(
    r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"application/cloudevents+json","#,
    r#""dataschema":"http://x/y","subject":"T","time":"2018-06-20T13:37:03.120000Z","text":"a\n","yes":true,"#,
    r#""n":-5,"data":{"a": 1.10}}"#
);

fn with(member: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t",{member}}}"#)
}

fn check_error(json: &str, expected: &EventError) {
    assert_eq!(decode_event(json.as_bytes()).as_ref(), Err(expected), "{json}");
}

#[test]
fn every_attribute_is_read_and_plain_texts_are_borrowed() {
    let event = decode_event(FULL.as_bytes()).expect("valid");
    assert_eq!((&*event.id, &*event.source, &*event.event_type), ("1", "/s", "t"));
    assert_eq!(event.subject.as_deref(), Some("T"));
    assert_eq!(event.time_us(), Some(1_529_501_823_120_000));
    assert_eq!(event.extension("text"), Some(&ExtensionValue::String("a\n".into())));
    assert_eq!(event.extension("yes"), Some(&ExtensionValue::Boolean(true)));
    assert_eq!(event.extension("n"), Some(&ExtensionValue::Integer(-5)));
    assert!(matches!(event.data, Data::Json(raw) if raw == r#"{"a": 1.10}"#), "data keeps its bytes");
    assert!(matches!(event.source, Cow::Borrowed(_)));
}

#[test]
fn an_event_written_again_is_the_same_text() {
    let mut out = Vec::new();
    decode_event(FULL.as_bytes()).expect("valid").write_json(&mut out);
    assert_eq!(String::from_utf8(out).expect("UTF-8"), FULL);
}

#[test]
fn a_missing_null_or_empty_required_attribute_is_named() {
    for name in ["specversion", "id", "source", "type"] {
        let mut object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(FULL).expect("valid");
        for value in [Some(serde_json::Value::Null), Some("".into()), None] {
            match value {
                Some(value) => object.insert(name.to_owned(), value),
                None => object.remove(name),
            };
            let json = serde_json::to_string(&object).expect("serialises");
            check_error(&json, &EventError::Missing(name));
        }
    }
}

#[test]
fn null_means_unset_except_for_data() {
    let json = with(r#""subject":null,"time":null,"ext":null,"data_base64":null,"data":null"#);
    let event = decode_event(json.as_bytes()).expect("valid");
    assert_eq!((event.subject, event.time, event.extensions), (None, None, vec![]));
    assert!(matches!(event.data, Data::Json(raw) if raw == "null"));
}

#[test]
fn illegal_names_and_values_have_their_own_errors() {
    for name in ["Upper", "under_score", "da-sh", "", "ümlaut"] {
        check_error(&with(&format!("\"{name}\":\"x\"")), &EventError::Name(name.to_owned()));
    }
    let type_error =
        |name: &str, found, expected| EventError::Type { name: name.to_owned(), found, expected };
    let expected = "a text, a boolean or an integer";
    check_error(&with(r#""e":1.5"#), &type_error("e", "a number", expected));
    check_error(&with(r#""e":{}"#), &type_error("e", "an object", expected));
    check_error(&with(r#""e":[]"#), &type_error("e", "an array", expected));
    check_error(&with(r#""subject":1"#), &type_error("subject", "a number", "a text"));
    check_error(&with(r#""id":"2""#), &EventError::Twice("id".to_owned()));
    check_error(&with(r#""e":"1","e":"1""#), &EventError::Twice("e".to_owned()));
    check_error(&with(r#""time":"yesterday""#), &EventError::Time("yesterday".to_owned()));
    check_error(&with(r#""data":1,"data_base64":"AA==""#), &EventError::BothData);
    for wrong in [r#""data_base64":"A""#, r#""data_base64":7"#] {
        assert!(matches!(decode_event(with(wrong).as_bytes()), Err(EventError::Base64(_))), "{wrong}");
    }
    check_error(&FULL.replace("1.0", "2.0"), &EventError::SpecVersion("2.0".to_owned()));
    for wrong in ["", "[]", "1", "{", "{\"a\":}"] {
        assert!(matches!(decode_event(wrong.as_bytes()), Err(EventError::Json(_))), "{wrong}");
    }
}

#[test]
fn a_flood_of_extensions_is_refused() {
    let many: Vec<String> = (0..=EXTENSIONS_MAX).map(|n| format!("\"e{n}\":1")).collect();
    check_error(&with(&many.join(",")), &EventError::TooManyExtensions);
}

#[test]
fn version_0_3_has_its_own_names() {
    let json = r#"{"specversion":"0.3","id":"1","source":"/s","type":"t","schemaurl":"http://x/y","datacontentencoding":"base64","data":"AAE="}"#;
    let event = decode_event(json.as_bytes()).expect("valid");
    assert_eq!(event.data_schema.as_deref(), Some("http://x/y"));
    assert!(matches!(event.data, Data::Base64(raw) if decode_base64(raw) == Ok(vec![0, 1])));
    let mut out = Vec::new();
    event.write_json(&mut out);
    assert_eq!(decode_event(&out), Ok(event));
}

#[test]
fn a_bare_or_a_binary_event_is_read_too() {
    let json = with(r#""data_base64":"AAE=""#);
    let event = decode_event(json.as_bytes()).expect("valid");
    assert!(matches!(event.data, Data::Base64(raw) if decode_base64(raw) == Ok(vec![0, 1])));
    let json = with(r#""subject":"T""#);
    assert_eq!(decode_event(json.as_bytes()).expect("valid").data, Data::Absent);
}
