//! A CloudEvent in structured JSON, read with its attributes borrowed and its data untouched.
//!
//! Invariant: an [`EventView`] that [`decode_event`] gives is a CloudEvent: the required attributes are there and not
//! empty, all names are legal, `time` is a time, and there is at most one of `data` and `data_base64`.

use std::borrow::Cow;

use thiserror::Error;

use crate::{json, time};

mod decode;

pub(super) use decode::check_ways_agree;
pub use decode::{decode_base64, decode_event, decode_original, event_of};

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

impl ExtensionValue<'_> {
    /// As the specification writes it where there are only texts.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::String(text) => Cow::Borrowed(text),
            Self::Boolean(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Self::Integer(value) => Cow::Owned(value.to_string()),
        }
    }
}

/// The payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data<'a> {
    /// There is none; not the same as a JSON null.
    Absent,
    /// The text of the JSON value, as it stood there, without white space around it.
    Json(&'a str),
    /// The JSON text of a string that holds base64, with its quotes.
    Base64(&'a str),
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

impl<'a> EventView<'a> {
    /// An extension's value.
    pub fn extension(&self, name: &str) -> Option<&ExtensionValue<'a>> {
        self.extensions.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// `time` in microseconds since 1970-01-01T00:00:00Z.
    pub fn time_us(&self) -> Option<i64> {
        self.time.as_deref().and_then(time::parse_rfc3339_us)
    }

    /// All attributes but `specversion` and `datacontenttype`, extensions included, as texts: what binary mode puts into
    /// headers.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let own = [
            ("id", Some(&self.id)),
            ("source", Some(&self.source)),
            ("type", Some(&self.event_type)),
            ("dataschema", self.data_schema.as_ref()),
            ("subject", self.subject.as_ref()),
            ("time", self.time.as_ref()),
        ];
        let own = own.into_iter().filter_map(|(name, value)| Some((name, Cow::Borrowed(value?.as_ref()))));
        own.chain(self.extensions.iter().map(|(name, value)| (name.as_ref(), value.text())))
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
            Data::Json(value) => write_raw(out, "data", value),
            Data::Base64(value) => {
                if self.spec_version == SpecVersion::V03 {
                    write_attribute(out, "datacontentencoding", "base64");
                    write_raw(out, "data", value);
                } else {
                    write_raw(out, "data_base64", value);
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

#[cfg(test)]
mod tests;
