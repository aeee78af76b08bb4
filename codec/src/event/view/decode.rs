//! Reading a CloudEvent: the members of the JSON object, sorted into attributes, extensions and data.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Data, EXTENSIONS_MAX, EventError, EventView, ExtensionValue, SpecVersion};
use crate::event::added::is_added;
use crate::event::members::Members;
use crate::event::name::Name;
use crate::time;

/// Reads one CloudEvent. Attributes that are null count as absent; `data` that is null does not.
///
/// # Errors
/// See [`EventError`]. Whether `source` is a URI reference and `dataschema` a URI is not looked at.
pub fn decode_event(json: &[u8]) -> Result<EventView<'_>, EventError> {
    match decode_usual(json, Added::Kept) {
        Some(event) => Ok(event),
        None => decode_any(json),
    }
}

/// As [`decode_event`], but what an EventMesh server added is left behind, and not looked at where that saves time.
///
/// # Errors
/// See [`EventError`].
pub fn decode_original(json: &[u8]) -> Result<EventView<'_>, EventError> {
    if let Some(event) = decode_usual(json, Added::Left) {
        return Ok(event);
    }
    let mut event = decode_any(json)?;
    event.extensions.retain(|(name, _)| !is_added(name));
    Ok(event)
}

/// An event of attributes that are texts, extensions among them, and its data: as [`decode_event`] has it of the same in JSON.
///
/// # Errors
/// See [`EventError`].
pub fn event_of<'a>(
    attributes: impl IntoIterator<Item = (&'a str, Cow<'a, str>)>,
    data: Data<'a>,
) -> Result<EventView<'a>, EventError> {
    let mut parts = Parts::default();
    for (name, text) in attributes {
        match Name::of(name) {
            None | Some(Name::Data | Name::DataBase64) => return Err(EventError::Name(name.to_owned())),
            Some(what) => parts.add_text(what, Cow::Borrowed(name), text)?,
        }
    }
    match data {
        Data::Json(value) => parts.data = Some(value),
        Data::Base64(value) => parts.data_base64 = Some(value),
        Data::Absent => {}
    }
    parts.into_event()
}

/// What happens to the extensions that an EventMesh server added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Added {
    Kept,
    Left,
}

/// Reads one in the form in which nearly all arrive; `None` for any other, and for whatever is wrong.
fn decode_usual(json: &[u8], added: Added) -> Option<EventView<'_>> {
    let mut parts = Parts::default();
    let mut members = match added {
        Added::Kept => Members::of(json),
        Added::Left => Members::original(json),
    }?;
    while let Some((what, name)) = members.next()? {
        let text = match what {
            Name::Data | Name::DataBase64 => None,
            _ => members.text(),
        };
        let is_left = (what, added) == (Name::Added, Added::Left);
        match text {
            Some(_) if is_left => {}
            None if is_left => return None,
            Some(text) => parts.put_text(what, Cow::Borrowed(name), Cow::Borrowed(text)),
            None => parts.add(Cow::Borrowed(name), members.value()?).ok()?,
        }
    }
    parts.into_event().ok()
}

fn decode_any(json: &[u8]) -> Result<EventView<'_>, EventError> {
    let members: Object<'_> =
        serde_json::from_slice(json).map_err(|error| EventError::Json(error.to_string()))?;
    members.0?.into_event()
}

/// That both ways of reading say the same, for fuzzing and tests.
pub(in crate::event) fn check_ways_agree(json: &[u8]) {
    if let Some(event) = decode_usual(json, Added::Kept) {
        assert_eq!(Ok(event), decode_any(json));
        let original = decode_original(json).expect("it is an event");
        let mut event = decode_any(json).expect("it is an event");
        event.extensions.retain(|(name, _)| !is_added(name));
        assert_eq!(original, event);
    }
}

/// The members of a JSON object, or the first that is wrong. The error is carried aside, since serde would make a text
/// of it; a text that is no JSON counts before it.
struct Object<'a>(Result<Parts<'a>, EventError>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a CloudEvent, a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut parts, mut result) = (Parts::default(), Ok(()));
                while let Some(Text(name)) = map.next_key()? {
                    let value: &'de RawValue = map.next_value()?;
                    if result.is_ok() {
                        result = parts.add(name, value.get());
                    }
                }
                Ok(Object(result.map(|()| parts)))
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
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

/// Room for an event's own; what a server adds is mostly left behind.
const EXTENSIONS_USUAL: usize = 8;

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
    data: Option<&'a str>,
    data_base64: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// Adds a member with the text of its value, checked.
    fn add(&mut self, name: Cow<'a, str>, value: &'a str) -> Result<(), EventError> {
        let Some(what) = Name::of(&name) else { return Err(EventError::Name(name.into_owned())) };
        match what {
            Name::Data => return set(&mut self.data, name, value),
            _ if value == "null" => return Ok(()),
            Name::DataBase64 => return set(&mut self.data_base64, name, value),
            _ => {}
        }
        let wrong = |name: Cow<'_, str>, expected| EventError::Type {
            name: name.into_owned(),
            found: kind_of(value),
            expected,
        };
        match text_of(value) {
            Some(text) => self.add_text(what, name, text),
            None if self.attribute(what).is_some() => Err(wrong(name, "a text")),
            None => match extension_of(value) {
                Some(found) => self.add_extension(name, found),
                None => Err(wrong(name, "a text, a boolean or an integer")),
            },
        }
    }

    /// Adds an attribute or extension that is a text.
    fn add_text(&mut self, what: Name, name: Cow<'a, str>, text: Cow<'a, str>) -> Result<(), EventError> {
        match self.attribute(what) {
            Some(slot) => set(slot, name, text),
            None => self.add_extension(name, ExtensionValue::String(text)),
        }
    }

    /// Adds a text under a name that is not there yet.
    fn put_text(&mut self, what: Name, name: Cow<'a, str>, text: Cow<'a, str>) {
        match self.attribute(what) {
            Some(slot) => *slot = Some(text),
            None => self.put_extension(name, ExtensionValue::String(text)),
        }
    }

    /// Where an attribute of the specification goes.
    fn attribute(&mut self, name: Name) -> Option<&mut Option<Cow<'a, str>>> {
        Some(match name {
            Name::SpecVersion => &mut self.spec_version,
            Name::Id => &mut self.id,
            Name::Source => &mut self.source,
            Name::Type => &mut self.event_type,
            Name::DataContentType => &mut self.data_content_type,
            Name::DataContentEncoding => &mut self.data_content_encoding,
            Name::DataSchema => &mut self.data_schema,
            Name::SchemaUrl => &mut self.schema_url,
            Name::Subject => &mut self.subject,
            Name::Time => &mut self.time,
            _ => return None,
        })
    }

    fn add_extension(&mut self, name: Cow<'a, str>, value: ExtensionValue<'a>) -> Result<(), EventError> {
        if self.extensions.iter().any(|(key, _)| *key == name) {
            return Err(EventError::Twice(name.into_owned()));
        }
        if self.extensions.len() >= EXTENSIONS_MAX {
            return Err(EventError::TooManyExtensions);
        }
        self.put_extension(name, value);
        Ok(())
    }

    fn put_extension(&mut self, name: Cow<'a, str>, value: ExtensionValue<'a>) {
        if self.extensions.is_empty() {
            self.extensions.reserve(EXTENSIONS_USUAL);
        }
        self.extensions.push((name, value));
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
            && !time::is_rfc3339(time)
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
        let mut foreign = |name, value: Option<Cow<'a, str>>| {
            let extension = value.map(|value| (Cow::Borrowed(name), ExtensionValue::String(value)));
            self.extensions.extend(extension);
        };
        if version == SpecVersion::V03 {
            foreign("dataschema", self.data_schema.take());
            self.data_schema = self.schema_url.take();
        } else {
            foreign("schemaurl", self.schema_url.take());
            foreign("datacontentencoding", self.data_content_encoding.take());
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
fn text_of(value: &str) -> Option<Cow<'_, str>> {
    let inside = value.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inside.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inside));
    }
    serde_json::from_str::<Text<'_>>(value).ok().map(|text| text.0)
}

/// The value of an extension that is no text.
fn extension_of(value: &str) -> Option<ExtensionValue<'static>> {
    match value {
        "true" => Some(ExtensionValue::Boolean(true)),
        "false" => Some(ExtensionValue::Boolean(false)),
        text => text.parse().ok().map(ExtensionValue::Integer),
    }
}

fn kind_of(value: &str) -> &'static str {
    match value.as_bytes().first() {
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
pub fn decode_base64(value: &str) -> Result<Vec<u8>, EventError> {
    use base64::Engine as _;
    let text = text_of(value).ok_or_else(|| EventError::Base64(format!("it is {}", kind_of(value))))?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(text.as_bytes());
    decoded.map_err(|error| EventError::Base64(error.to_string()))
}
