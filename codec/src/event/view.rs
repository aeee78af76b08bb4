//! A CloudEvent in structured JSON, read with its attributes borrowed and its data untouched.
//!
//! Invariant: an [`EventView`] that [`decode_event`] gives is a CloudEvent: the required attributes are there and not
//! empty, all names are legal, `time` is a time, and there is at most one of `data` and `data_base64`.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::{json, time};

/// Version of the CloudEvents specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecVersion {
    /// `0.3`
    V03,
    /// `1.0`
    V10,
}

impl SpecVersion {
    /// As written in `specversion`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V03 => "0.3",
            Self::V10 => "1.0",
        }
    }
}

/// The value of an extension. The specification's binary, URI and time values are texts in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtensionValue<'a> {
    /// A text.
    String(Cow<'a, str>),
    /// True or false.
    Boolean(bool),
    /// The specification has 32 bits; up to 64 are read, since `cloudevents::Event` writes them.
    Integer(i64),
}

/// The payload.
#[derive(Debug, Clone, Copy)]
pub enum Data<'a> {
    /// There is none; not the same as a JSON null.
    Absent,
    /// The text of the JSON value, as it stood there.
    Json(&'a RawValue),
    /// The JSON text of a string that holds base64, with its quotes.
    Base64(&'a RawValue),
}

impl PartialEq for Data<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Absent, Self::Absent) => true,
            (Self::Json(a), Self::Json(b)) | (Self::Base64(a), Self::Base64(b)) => a.get() == b.get(),
            _ => false,
        }
    }
}

/// A decoded CloudEvent that borrows from its JSON; a text is copied only where it holds an escape.
#[derive(Debug, Clone, PartialEq)]
pub struct EventView<'a> {
    /// `specversion`
    pub spec_version: SpecVersion,
    /// `id`
    pub id: Cow<'a, str>,
    /// `source`, a URI reference
    pub source: Cow<'a, str>,
    /// `type`
    pub event_type: Cow<'a, str>,
    /// `datacontenttype`
    pub data_content_type: Option<Cow<'a, str>>,
    /// `dataschema` (`schemaurl` in version 0.3)
    pub data_schema: Option<Cow<'a, str>>,
    /// `subject`; EventMesh's topic
    pub subject: Option<Cow<'a, str>>,
    /// `time`, RFC 3339
    pub time: Option<Cow<'a, str>>,
    /// The extensions, in the order in which they came.
    pub extensions: Vec<(Cow<'a, str>, ExtensionValue<'a>)>,
    /// `data` or `data_base64`
    pub data: Data<'a>,
}

/// Why a text is no CloudEvent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EventError {
    /// Not JSON, or not an object.
    #[error("not a JSON object: {0}")]
    Json(String),
    /// A required attribute is missing, null or empty.
    #[error("the required attribute `{0}` is missing or empty")]
    Missing(&'static str),
    /// `specversion` is neither `0.3` nor `1.0`.
    #[error("specversion {0:?} is not known; 0.3 and 1.0 are")]
    SpecVersion(String),
    /// A name has other characters than `a-z` and `0-9`, or none.
    #[error("{0:?} is no name for an attribute: only a-z and 0-9 are allowed")]
    Name(String),
    /// The same attribute comes twice.
    #[error("the attribute `{0}` occurs twice")]
    Twice(String),
    /// A value is not of a type that an attribute can have.
    #[error("the attribute `{name}` is {found}; {expected} is needed")]
    Type {
        /// The attribute.
        name: String,
        /// What it is instead.
        found: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// `time` is no RFC 3339 time.
    #[error("the attribute `time` is {0:?}, which is no RFC 3339 time")]
    Time(String),
    /// More extensions than anybody needs.
    #[error("more than {EXTENSIONS_MAX} extensions")]
    TooManyExtensions,
    /// Both payloads at once.
    #[error("both `data` and `data_base64` are there; only one is allowed")]
    BothData,
    /// `data_base64` is not base64.
    #[error("`data_base64` is not base64: {0}")]
    Base64(String),
}

/// The most extensions that are read: they are compared one by one, so an event from outside must not hold very many.
pub const EXTENSIONS_MAX: usize = 256;

/// Whether `name` is a legal name for an attribute or extension.
pub fn is_attribute_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Reads one CloudEvent. Attributes that are null count as absent; `data` that is null does not.
///
/// # Errors
/// See [`EventError`]. Whether `source` is a URI reference and `dataschema` a URI is not looked at.
pub fn decode_event(json: &[u8]) -> Result<EventView<'_>, EventError> {
    let members: Members<'_> =
        serde_json::from_slice(json).map_err(|error| EventError::Json(error.to_string()))?;
    let mut parts = Parts::default();
    for (name, value) in members.0 {
        parts.add(name, value)?;
    }
    parts.into_event()
}

impl<'a> EventView<'a> {
    /// An extension's value.
    pub fn extension(&self, name: &str) -> Option<&ExtensionValue<'a>> {
        self.extensions.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// `time` in microseconds since 1970-01-01T00:00:00Z.
    pub fn time_us(&self) -> Option<i64> {
        self.time.as_deref().and_then(time::parse_rfc3339_us)
    }

    /// Appends the event as structured JSON: the attributes, the extensions in their order, the data unchanged.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let schema = match self.spec_version {
            SpecVersion::V03 => "schemaurl",
            SpecVersion::V10 => "dataschema",
        };
        out.extend_from_slice(br#"{"specversion":""#);
        out.extend_from_slice(self.spec_version.as_str().as_bytes());
        out.push(b'"');
        let required = [("id", &self.id), ("source", &self.source), ("type", &self.event_type)];
        for (name, value) in required {
            write_attribute(out, name, value);
        }
        let optional = [
            ("datacontenttype", &self.data_content_type),
            (schema, &self.data_schema),
            ("subject", &self.subject),
            ("time", &self.time),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                write_attribute(out, name, value);
            }
        }
        for (name, value) in &self.extensions {
            match value {
                ExtensionValue::String(text) => write_attribute(out, name, text),
                ExtensionValue::Boolean(value) => write_raw(out, name, if *value { "true" } else { "false" }),
                ExtensionValue::Integer(value) => write_raw(out, name, itoa::Buffer::new().format(*value)),
            }
        }
        match self.data {
            Data::Absent => {}
            Data::Json(value) => write_raw(out, "data", value.get()),
            Data::Base64(value) => {
                if self.spec_version == SpecVersion::V03 {
                    write_attribute(out, "datacontentencoding", "base64");
                    write_raw(out, "data", value.get());
                } else {
                    write_raw(out, "data_base64", value.get());
                }
            }
        }
        out.push(b'}');
    }
}

fn write_attribute(out: &mut Vec<u8>, name: &str, value: &str) {
    write_raw(out, name, "");
    json::write_string(out, value);
}

fn write_raw(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(br#",""#);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(br#"":"#);
    out.extend_from_slice(value.as_bytes());
}

/// The members of a JSON object, values unparsed.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a CloudEvent, a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(16);
                while let Some(Text(name)) = map.next_key()? {
                    members.push((name, map.next_value()?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// A JSON string, borrowed where nothing is escaped.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// What has been found so far.
#[derive(Default)]
struct Parts<'a> {
    spec_version: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    event_type: Option<Cow<'a, str>>,
    data_content_type: Option<Cow<'a, str>>,
    data_content_encoding: Option<Cow<'a, str>>,
    data_schema: Option<Cow<'a, str>>,
    schema_url: Option<Cow<'a, str>>,
    subject: Option<Cow<'a, str>>,
    time: Option<Cow<'a, str>>,
    extensions: Vec<(Cow<'a, str>, ExtensionValue<'a>)>,
    data: Option<&'a RawValue>,
    data_base64: Option<&'a RawValue>,
}

impl<'a> Parts<'a> {
    fn add(&mut self, name: Cow<'a, str>, value: &'a RawValue) -> Result<(), EventError> {
        let slot = match name.as_ref() {
            "data" => return set(&mut self.data, name, value),
            "data_base64" if value.get() == "null" => return Ok(()),
            "data_base64" => return set(&mut self.data_base64, name, value),
            "specversion" => &mut self.spec_version,
            "id" => &mut self.id,
            "source" => &mut self.source,
            "type" => &mut self.event_type,
            "datacontenttype" => &mut self.data_content_type,
            "datacontentencoding" => &mut self.data_content_encoding,
            "dataschema" => &mut self.data_schema,
            "schemaurl" => &mut self.schema_url,
            "subject" => &mut self.subject,
            "time" => &mut self.time,
            _ => return self.add_extension(name, value),
        };
        if value.get() == "null" {
            return Ok(());
        }
        let text = text_of(value).ok_or_else(|| EventError::Type {
            name: name.clone().into_owned(),
            found: kind_of(value),
            expected: "a text",
        })?;
        set(slot, name, text)
    }

    fn add_extension(&mut self, name: Cow<'a, str>, value: &'a RawValue) -> Result<(), EventError> {
        if !is_attribute_name(&name) {
            return Err(EventError::Name(name.into_owned()));
        }
        if value.get() == "null" {
            return Ok(());
        }
        if self.extensions.iter().any(|(key, _)| *key == name) {
            return Err(EventError::Twice(name.into_owned()));
        }
        if self.extensions.len() >= EXTENSIONS_MAX {
            return Err(EventError::TooManyExtensions);
        }
        let found = extension_of(value).ok_or_else(|| EventError::Type {
            name: name.clone().into_owned(),
            found: kind_of(value),
            expected: "a text, a boolean or an integer",
        })?;
        self.extensions.push((name, found));
        Ok(())
    }

    fn into_event(mut self) -> Result<EventView<'a>, EventError> {
        let spec_version = match required(self.spec_version.take(), "specversion")?.as_ref() {
            "1.0" => SpecVersion::V10,
            "0.3" => SpecVersion::V03,
            other => return Err(EventError::SpecVersion(other.to_owned())),
        };
        let data = self.data(spec_version)?;
        self.place_version_specific(spec_version)?;
        if let Some(time) = &self.time
            && time::parse_rfc3339_us(time).is_none()
        {
            return Err(EventError::Time(time.clone().into_owned()));
        }
        Ok(EventView {
            spec_version,
            id: required(self.id, "id")?,
            source: required(self.source, "source")?,
            event_type: required(self.event_type, "type")?,
            data_content_type: self.data_content_type,
            data_schema: self.data_schema,
            subject: self.subject,
            time: self.time,
            extensions: self.extensions,
            data,
        })
    }

    fn data(&mut self, version: SpecVersion) -> Result<Data<'a>, EventError> {
        let encoded = version == SpecVersion::V03
            && self.data_content_encoding.as_deref().is_some_and(|name| name.eq_ignore_ascii_case("base64"));
        let data = match (self.data, self.data_base64) {
            (Some(_), Some(_)) => return Err(EventError::BothData),
            (Some(value), None) if encoded => Data::Base64(value),
            (Some(value), None) => Data::Json(value),
            (None, Some(value)) => Data::Base64(value),
            (None, None) => Data::Absent,
        };
        if let Data::Base64(value) = data {
            decode_base64(value)?;
        }
        Ok(data)
    }

    /// `datacontentencoding` and `schemaurl` are attributes of version 0.3 and mere extensions in 1.0; `dataschema`
    /// is the other way round.
    fn place_version_specific(&mut self, version: SpecVersion) -> Result<(), EventError> {
        let mut foreign = Vec::new();
        if version == SpecVersion::V03 {
            foreign.push(("dataschema", self.data_schema.take()));
            self.data_schema = self.schema_url.take();
        } else {
            foreign.push(("schemaurl", self.schema_url.take()));
            foreign.push(("datacontentencoding", self.data_content_encoding.take()));
        }
        for (name, value) in foreign {
            if let Some(value) = value {
                self.extensions.push((Cow::Borrowed(name), ExtensionValue::String(value)));
            }
        }
        if self.extensions.len() > EXTENSIONS_MAX { Err(EventError::TooManyExtensions) } else { Ok(()) }
    }
}

fn set<T>(slot: &mut Option<T>, name: Cow<'_, str>, value: T) -> Result<(), EventError> {
    if slot.is_some() {
        return Err(EventError::Twice(name.into_owned()));
    }
    *slot = Some(value);
    Ok(())
}

fn required<'a>(value: Option<Cow<'a, str>>, name: &'static str) -> Result<Cow<'a, str>, EventError> {
    value.filter(|text| !text.is_empty()).ok_or(EventError::Missing(name))
}

/// The text of a value that is a string. The value was checked when it was read: without an escape its inside is the
/// text.
fn text_of(value: &RawValue) -> Option<Cow<'_, str>> {
    let inside = value.get().strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inside.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inside));
    }
    serde_json::from_str::<Text<'_>>(value.get()).ok().map(|text| text.0)
}

fn extension_of(value: &RawValue) -> Option<ExtensionValue<'_>> {
    match value.get() {
        "true" => Some(ExtensionValue::Boolean(true)),
        "false" => Some(ExtensionValue::Boolean(false)),
        text if text.starts_with('"') => text_of(value).map(ExtensionValue::String),
        text => text.parse().ok().map(ExtensionValue::Integer),
    }
}

fn kind_of(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a text",
        Some(b't' | b'f') => "a boolean",
        _ => "a number",
    }
}

/// The bytes of a payload in base64.
///
/// # Errors
/// [`EventError::Base64`]; not for the data of an event that [`decode_event`] gave.
pub fn decode_base64(value: &RawValue) -> Result<Vec<u8>, EventError> {
    use base64::Engine as _;
    let text = text_of(value).ok_or_else(|| EventError::Base64(format!("it is {}", kind_of(value))))?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(text.as_bytes());
    decoded.map_err(|error| EventError::Base64(error.to_string()))
}

#[cfg(test)]
mod tests {
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
        assert!(
            matches!(event.data, Data::Json(raw) if raw.get() == r#"{"a": 1.10}"#),
            "data keeps its bytes"
        );
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
        assert!(matches!(event.data, Data::Json(raw) if raw.get() == "null"));
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
}
