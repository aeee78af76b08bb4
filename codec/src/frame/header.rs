//! A frame's header: its JSON, read as leniently as the Java server reads it, written in the Java field order
//! (protocol manual, section 1.4).

use std::borrow::Cow;
use std::fmt;

use compact_str::{CompactString, ToCompactString as _};
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::Command;
use crate::json;

/// The header properties: names and texts, in the order in which they are written.
///
/// A value that arrives as a number, a boolean, an object or an array is kept as its JSON text, a null is left out:
/// the server turns every property into a text as well (section 4.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties(Cow<'static, [Property]>);

type Property = (Cow<'static, str>, Cow<'static, str>);

/// The most properties that are read. They are searched one by one, so a hostile header must not hold very many.
const PROPERTIES_MAX: usize = 256;
/// The properties of a publish in CloudEvents JSON.
const PUBLISH: [Property; 3] = [
    (Cow::Borrowed("protocoltype"), Cow::Borrowed("cloudevents")),
    (Cow::Borrowed("protocolversion"), Cow::Borrowed("1.0")),
    (Cow::Borrowed("protocoldesc"), Cow::Borrowed("tcp")),
];
/// The properties of a push in CloudEvents JSON.
const PUSH: [Property; 1] = [(Cow::Borrowed("protocoltype"), Cow::Borrowed("cloudevents"))];

impl Properties {
    /// None.
    pub const fn new() -> Self {
        Self(Cow::Borrowed(&[]))
    }

    /// `protocoltype`, `protocolversion` and `protocoldesc` of a publish in CloudEvents JSON over TCP.
    pub const fn publish() -> Self {
        Self(Cow::Borrowed(&PUBLISH))
    }

    /// `protocoltype` of a push in CloudEvents JSON.
    pub const fn push() -> Self {
        Self(Cow::Borrowed(&PUSH))
    }

    /// The text of a property.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Sets a property; a new one goes to the end.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) {
        let (name, value) = (name.into(), value.into());
        let list = self.0.to_mut();
        match list.iter_mut().find(|(key, _)| *key == name) {
            Some(found) => found.1 = value,
            None => list.push((name, value)),
        }
    }

    /// Names and texts, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What stands before the body of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What the frame asks for or answers.
    pub command: Command,
    /// 0 is success; every failure is 1 and differs by `desc` alone. 0 in requests.
    pub code: i32,
    /// The text of a result. Up to 24 bytes, such as `success`, need no memory of their own.
    pub desc: Option<CompactString>,
    /// Echoed by the answer, unchanged. Any text; a seq of ours needs no memory of its own.
    pub seq: Option<CompactString>,
    /// Properties.
    pub properties: Properties,
}

impl Header {
    /// The header of a request: code 0, no text, no properties.
    pub fn request(command: Command, seq: impl Into<CompactString>) -> Self {
        Self { command, code: 0, desc: None, seq: Some(seq.into()), properties: Properties::new() }
    }

    /// Appends the JSON exactly as the Java encoder writes it, the redundant `command` included.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let name = self.command.name().as_bytes();
        out.extend_from_slice(br#"{"cmd":""#);
        out.extend_from_slice(name);
        out.extend_from_slice(br#"","code":"#);
        json::write_i64(out, i64::from(self.code));
        if let Some(desc) = &self.desc {
            out.extend_from_slice(br#","desc":"#);
            json::write_string(out, desc);
        }
        if let Some(seq) = &self.seq {
            out.extend_from_slice(br#","seq":"#);
            json::write_string(out, seq);
        }
        out.extend_from_slice(br#","properties":{"#);
        for (index, (name, value)) in self.properties.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            json::write_string(out, name);
            out.push(b':');
            json::write_string(out, value);
        }
        out.extend_from_slice(br#"},"command":""#);
        out.extend_from_slice(name);
        out.extend_from_slice(br#""}"#);
    }
}

/// A header as it arrives: the command may be missing or unknown. Fields that we do not know are ignored; of fields
/// that come twice the last one counts, as with Jackson.
#[derive(Debug, Default, PartialEq)]
pub(super) struct RawHeader {
    pub(super) command: Option<CommandName>,
    pub(super) code: i32,
    pub(super) desc: Option<CompactString>,
    pub(super) seq: Option<CompactString>,
    pub(super) properties: Properties,
}

/// What `cmd` names.
#[derive(Debug, PartialEq)]
pub(super) enum CommandName {
    Known(Command),
    Unknown(String),
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Cmd,
    Code,
    Desc,
    Seq,
    Properties,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;
        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = RawHeader;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a frame header, a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut header = RawHeader::default();
                while let Some(field) = map.next_key()? {
                    match field {
                        Field::Cmd => header.command = map.next_value::<Scalar<'_>>()?.command()?,
                        Field::Code => header.code = map.next_value::<Scalar<'_>>()?.code()?,
                        Field::Desc => header.desc = map.next_value::<Scalar<'_>>()?.text(),
                        Field::Seq => header.seq = map.next_value::<Scalar<'_>>()?.text(),
                        Field::Properties => {
                            header.properties = map.next_value::<Option<Properties>>()?.unwrap_or_default();
                        }
                        Field::Other => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// A value that should be a text or a number: senders write the one for the other.
enum Scalar<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(Cow<'a, str>),
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;
        impl<'de> Visitor<'de> for ScalarVisitor {
            type Value = Scalar<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text or a number")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Scalar::Null)
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Scalar::Bool(value))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Scalar::Unsigned(number))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Scalar::Signed(number))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Scalar::Float(number))
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_any(ScalarVisitor)
    }
}

impl Scalar<'_> {
    /// As `cmd`: a name, a number, or a number as text; null is as good as missing.
    fn command<E: de::Error>(&self) -> Result<Option<CommandName>, E> {
        let known = match self {
            Self::Null => return Ok(None),
            Self::Unsigned(number) => Command::from_number(*number),
            Self::Text(name) => {
                Command::from_name(name).or_else(|| name.parse().ok().and_then(Command::from_number))
            }
            Self::Signed(_) => None,
            Self::Bool(_) | Self::Float(_) => return Err(E::custom("cmd is neither a name nor a number")),
        };
        let unknown = || CommandName::Unknown(shortened(self.text().as_deref().unwrap_or_default()));
        Ok(Some(known.map_or_else(unknown, CommandName::Known)))
    }

    /// As `code`: a number, a number as text, or null for 0.
    fn code<E: de::Error>(&self) -> Result<i32, E> {
        let code = match self {
            Self::Null => Some(0),
            Self::Unsigned(number) => i32::try_from(*number).ok(),
            Self::Signed(number) => i32::try_from(*number).ok(),
            Self::Text(text) => text.parse().ok(),
            Self::Bool(_) | Self::Float(_) => None,
        };
        code.ok_or_else(|| {
            let text = shortened(self.text().as_deref().unwrap_or_default());
            E::custom(format_args!("code {text:?} is no number of 32 bits"))
        })
    }

    /// As `desc` or `seq`: a text, a number or boolean as text, or null for none.
    fn text(&self) -> Option<CompactString> {
        Some(match self {
            Self::Null => return None,
            Self::Bool(value) => value.to_compact_string(),
            Self::Unsigned(number) => number.to_compact_string(),
            Self::Signed(number) => number.to_compact_string(),
            Self::Float(number) => number.to_compact_string(),
            Self::Text(text) => text.as_ref().into(),
        })
    }
}

/// At most 64 characters of a text from outside, for a message.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PropertiesVisitor;
        impl<'de> Visitor<'de> for PropertiesVisitor {
            type Value = Properties;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("header properties, a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Properties, A::Error> {
                let mut properties = Properties::new();
                while let Some(name) = map.next_key::<String>()? {
                    if properties.0.len() >= PROPERTIES_MAX {
                        return Err(de::Error::custom(format_args!(
                            "more than {PROPERTIES_MAX} header properties"
                        )));
                    }
                    match map.next_value::<serde_json::Value>()? {
                        serde_json::Value::Null => {}
                        serde_json::Value::String(text) => properties.set(name, text),
                        other => properties.set(name, other.to_string()),
                    }
                }
                Ok(properties)
            }
        }
        deserializer.deserialize_map(PropertiesVisitor)
    }
}
