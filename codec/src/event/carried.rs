//! Events of somebody else's on their way through EventMesh.
//!
//! The Java server pushes nothing but `application/cloudevents+json`, needs `data`, and pastes base64 data into the JSON as
//! it is (protocol manual, sections 4.2 to 4.4). So an event that is not made here travels in another form: what its data
//! is goes into the extension `contenttype`; bytes become a text of base64, and missing data null, which the extension
//! `contentencoding` tells. [`restore`] gives the event back.
//!
//! Invariant: what [`Carried::write`] wrote restores to the same event, but that it has the topic as `subject`, and
//! that data without a content type is JSON, as the specification has it.

use std::borrow::Cow;

use super::content::is_json;
use super::view::{Data, EventError, EventView, ExtensionValue, decode_base64, decode_original};
use super::{DATA_CONTENT_TYPE, EventWriter, Framed, Template};
use crate::{json, uri};

/// The extension that says what the data is.
pub const CONTENT_TYPE: &str = "contenttype";
/// The extension that says how the data is written, where it is not simply JSON.
pub const CONTENT_ENCODING: &str = "contentencoding";
/// Both: no event of somebody else's may have them already.
pub const EXTENSIONS: [&str; 2] = [CONTENT_TYPE, CONTENT_ENCODING];

/// The extension that says of a `partitionkey` that was no text how it is written: [`BASE64`].
pub const KEY_ENCODING: &str = "keyencoding";
/// Its value, and that of [`CONTENT_ENCODING`], for bytes.
pub const BASE64: &str = "base64";
const NONE: &str = "none";
const JSON: &str = "application/json";

/// Whether an event of somebody else's can go through EventMesh, whose Java server refuses some that are CloudEvents, and
/// does so however often they come.
///
/// # Errors
/// Why not.
pub fn check(event: &EventView<'_>) -> Result<(), String> {
    check_reference("source", &event.source)?;
    check_but_source(event)
}

/// As [`check`], where the source was looked at already.
///
/// # Errors
/// Why not.
pub fn check_but_source(event: &EventView<'_>) -> Result<(), String> {
    event.data_schema.as_ref().map_or(Ok(()), |schema| check_reference("dataschema", schema))?;
    let is_carried = event.data_content_type.as_deref() == Some(DATA_CONTENT_TYPE);
    for (name, value) in &event.extensions {
        if !is_carried && EXTENSIONS.contains(&&**name) {
            return Err(format!("it has the extension {name}, in which flowd tells what the data is"));
        }
        if matches!(value, ExtensionValue::Integer(number) if i32::try_from(*number).is_err()) {
            return Err(format!("its extension {name} is a number beyond 32 bits"));
        }
    }
    Ok(())
}

/// Whether the value of an attribute is a URI reference.
///
/// # Errors
/// That it is none.
pub fn check_reference(name: &str, value: &str) -> Result<(), String> {
    match uri::is_reference(value) {
        true => Ok(()),
        false => Err(format!("its {name} is {value:?}, which is no URI reference")),
    }
}

/// An event's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time<'a> {
    /// As [`TimeText`](crate::time::TimeText) has it.
    Written(&'a [u8]),
    /// As it was written, RFC 3339.
    Text(&'a str),
}

/// An event's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload<'a> {
    /// There is none.
    None,
    /// The text of one JSON value.
    Json(&'a str),
    /// A text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// The JSON text of a string that holds base64, with its quotes.
    Base64(&'a str),
}

/// An event, to be written: what is its own. Source, type and topic are the template's.
#[derive(Debug, Clone, Copy)]
pub struct Carried<'a> {
    /// `id`, which is not empty.
    pub id: &'a str,
    /// `time`
    pub time: Option<Time<'a>>,
    /// What the data is.
    pub content_type: Option<&'a str>,
    /// Further attributes, each written by [`write_attribute`].
    pub attributes: &'a [u8],
    /// `data`
    pub payload: Payload<'a>,
}

impl Carried<'_> {
    /// Appends the event; its JSON is one line.
    #[inline(always)] // What it gives is seven numbers: handed over in memory, they would be waited for.
    pub fn write(&self, out: &mut Vec<u8>, template: &Template) -> Framed {
        let mut writer = EventWriter::begin(out, template);
        writer.foreign_id(self.id);
        match self.time {
            Some(Time::Written(text)) => writer.time_written(text),
            Some(Time::Text(time)) => writer.time_text(time),
            None => writer.no_time(),
        }
        writer.written(self.attributes);
        if let Some(content_type) = self.content_type.filter(|text| *text != DATA_CONTENT_TYPE) {
            writer.extension(CONTENT_TYPE, content_type);
        }
        match self.payload {
            Payload::None => writer.extension(CONTENT_ENCODING, NONE),
            Payload::Bytes(_) | Payload::Base64(_) => writer.extension(CONTENT_ENCODING, BASE64),
            Payload::Json(_) | Payload::Text(_) => {}
        }
        self.payload.write(writer.data());
        writer.finish()
    }
}

impl Payload<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Payload::None => out.extend_from_slice(b"null"),
            Payload::Json(json) | Payload::Base64(json) => json::write_on_one_line(out, json.as_bytes()),
            Payload::Text(text) => json::write_string(out, text),
            Payload::Bytes(bytes) => {
                out.push(b'"');
                json::write_base64(out, bytes);
                out.push(b'"');
            }
        }
    }
}

/// Appends an attribute behind others.
pub fn write_attribute(out: &mut Vec<u8>, name: &str, value: &ExtensionValue<'_>) {
    match value {
        ExtensionValue::String(text) => write_text_attribute(out, name, text),
        // Their texts are JSON as they stand.
        ExtensionValue::Boolean(_) | ExtensionValue::Integer(_) => {
            write_name(out, name).extend_from_slice(value.text().as_bytes());
        }
    }
}

/// As [`write_attribute`], a text.
pub fn write_text_attribute(out: &mut Vec<u8>, name: &str, value: &str) {
    json::write_string(write_name(out, name), value);
}

fn write_name<'a>(out: &'a mut Vec<u8>, name: &str) -> &'a mut Vec<u8> {
    out.extend_from_slice(br#",""#);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(br#"":"#);
    out
}

/// Reads an event that came out of EventMesh, and gives it back in the form that it had before: content type and data, and
/// without what the server added.
/// Events of ours say `application/json`.
///
/// # Errors
/// See [`EventError`].
pub fn restore(json: &[u8]) -> Result<EventView<'_>, EventError> {
    let mut event = decode_original(json)?;
    if event.data_content_type.as_deref() != Some(DATA_CONTENT_TYPE) {
        return Ok(event);
    }
    let content_type = take(&mut event, CONTENT_TYPE);
    let encoding = take(&mut event, CONTENT_ENCODING);
    match (encoding.as_deref(), event.data) {
        (Some(BASE64), Data::Json(value)) => event.data = Data::Base64(value),
        (Some(NONE), _) => event.data = Data::Absent,
        _ => {}
    }
    event.data_content_type = content_type.or(match event.data {
        Data::Json(_) => Some(Cow::Borrowed(JSON)),
        Data::Absent | Data::Base64(_) => None,
    });
    Ok(event)
}

fn take<'a>(event: &mut EventView<'a>, name: &str) -> Option<Cow<'a, str>> {
    let at = event.extensions.iter().position(|(key, _)| key == name)?;
    match event.extensions.remove(at).1 {
        ExtensionValue::String(text) => Some(text),
        ExtensionValue::Boolean(_) | ExtensionValue::Integer(_) => None,
    }
}

/// The bytes of a restored event's data, as they stand in a message whose attributes are elsewhere (binary mode): JSON
/// where the content type says so or nothing, the text itself where it is another; `None` where there is no data.
///
/// # Errors
/// [`EventError::Base64`].
pub fn payload<'a>(event: &EventView<'a>) -> Result<Option<Cow<'a, [u8]>>, EventError> {
    let value = match event.data {
        Data::Absent => return Ok(None),
        Data::Base64(value) => return decode_base64(value).map(|bytes| Some(Cow::Owned(bytes))),
        Data::Json(value) => value,
    };
    let is_json = event.data_content_type.as_deref().is_none_or(is_json);
    let inside = value.strip_prefix('"').and_then(|text| text.strip_suffix('"')).filter(|_| !is_json);
    let text = inside.and_then(|inside| json::unquote(inside.as_bytes()));
    Ok(Some(match text {
        Some(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
        Some(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        None => Cow::Borrowed(value.as_bytes()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::view::decode_event;
    use crate::event::{Framing, frame_again};

    const EVENT: Carried<'_> = Carried {
        id: "a\"b\\\u{1}ü",
        time: None,
        content_type: None,
        attributes: b"",
        payload: Payload::None,
    };

    fn written(carried: &Carried<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        carried.write(&mut out, &Template::new(Framing::Bare, "/s", "t", "orders"));
        out
    }

    fn check(carried: &Carried<'_>, content_type: Option<&str>, payload: Option<&[u8]>) {
        let out = written(carried);
        assert!(!out.contains(&b'\n'));
        let plain = decode_event(&out).expect("a CloudEvent");
        assert_eq!(plain.data_content_type.as_deref(), Some(DATA_CONTENT_TYPE));
        assert!(matches!(plain.data, Data::Json(_)), "EventMesh needs JSON data");
        let restored = restore(&out).expect("a CloudEvent");
        assert_eq!(restored.data_content_type.as_deref(), content_type);
        assert_eq!(super::payload(&restored).expect("readable").as_deref(), payload);
        assert_eq!((&*restored.id, restored.subject.as_deref()), (carried.id, Some("orders")));
        let mut again = Vec::new();
        restored.write_json(&mut again);
        assert_eq!(decode_event(&again).expect("a CloudEvent").data_content_type.as_deref(), content_type);
    }

    #[test]
    fn data_of_every_kind_comes_back_as_it_was() {
        let of = |content_type, payload| Carried { content_type, payload, ..EVENT };
        check(&EVENT, None, None);
        check(&of(Some("text/plain"), Payload::Text("a\n\"b\"")), Some("text/plain"), Some(b"a\n\"b\""));
        check(&of(None, Payload::Json("{\"a\":\n1.10}")), Some("application/json"), Some(b"{\"a\": 1.10}"));
        check(
            &of(Some("application/x+json"), Payload::Json("\"a\"")),
            Some("application/x+json"),
            Some(b"\"a\""),
        );
        check(&of(Some("image/png"), Payload::Bytes(b"\xff\x00")), Some("image/png"), Some(b"\xff\x00"));
        check(&of(None, Payload::Base64("\"/wA=\"")), None, Some(b"\xff\x00"));
        check(&of(Some("application/xml"), Payload::None), Some("application/xml"), None);
    }

    #[test]
    fn attributes_and_time_stay_as_they_are() {
        let mut attributes = Vec::new();
        write_attribute(&mut attributes, "partitionkey", &ExtensionValue::String("k\"1".into()));
        write_attribute(&mut attributes, "count", &ExtensionValue::Integer(-7));
        write_attribute(&mut attributes, "flag", &ExtensionValue::Boolean(true));
        for time in
            [Time::Written(b"1970-01-01T00:00:00.000000Z"), Time::Text("2018-04-05T17:31:00.123456789Z")]
        {
            let out = written(&Carried { attributes: &attributes, time: Some(time), ..EVENT });
            let event = restore(&out).expect("a CloudEvent");
            assert_eq!(event.extension("partitionkey"), Some(&ExtensionValue::String("k\"1".into())));
            assert_eq!(event.extension("count"), Some(&ExtensionValue::Integer(-7)));
            assert_eq!(event.extension("flag"), Some(&ExtensionValue::Boolean(true)));
            let expected = if let Time::Text(text) = time { text } else { "1970-01-01T00:00:00.000000Z" };
            assert_eq!(event.time.as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_the_server_added_is_left_behind() {
        let mut attributes = Vec::new();
        for name in ["rsp0group", "partitionkey", "protocoltype"] {
            write_attribute(&mut attributes, name, &ExtensionValue::String("x".into()));
        }
        let out = written(&Carried { attributes: &attributes, ..EVENT });
        let names: Vec<String> = restore(&out)
            .expect("a CloudEvent")
            .extensions
            .iter()
            .map(|(name, _)| name.to_string())
            .collect();
        assert_eq!(names, ["partitionkey"]);
    }

    #[test]
    fn what_a_java_server_refuses_for_ever_is_told_before() {
        for (more, said) in [
            (r#""source":"/s""#, None),
            (r#""source":"/a b""#, Some("source")),
            (r#""source":"/s","dataschema":"{x}""#, Some("dataschema")),
            (r#""source":"/s","count":4294967296"#, Some("32 bits")),
            (r#""source":"/s","contenttype":"a/b""#, Some("contenttype")),
            (r#""source":"/s","contenttype":"a/b","datacontenttype":"application/cloudevents+json""#, None),
        ] {
            let json = format!(r#"{{"specversion":"1.0","id":"1","type":"t",{more}}}"#);
            let told = super::check(&decode_event(json.as_bytes()).expect("a CloudEvent"));
            assert_eq!(told.is_err(), said.is_some(), "{more}: {told:?}");
            assert!(said.is_none_or(|said| told.is_err_and(|text| text.contains(said))), "{more}");
        }
    }

    #[test]
    fn an_id_with_escapes_is_found_in_the_frame() {
        let json = written(&EVENT);
        let mut out = Vec::new();
        let framed = frame_again(&mut out, Framing::EventMesh, &json).expect("it begins as ours do");
        assert_eq!((framed.json(&out), &*framed.id_text(&out)), (&json[..], EVENT.id));
    }
}
