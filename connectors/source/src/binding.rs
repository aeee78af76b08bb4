//! A message with headers as an event, by the two modes that the CloudEvents bindings of message queues have in common.
//!
//! *Structured*: the content type says that the body is an event, and it goes as it is. *Binary*: the attributes are headers
//! with a prefix, and the body is the data. What a header is and how it is written is the protocol's, and so the
//! connector's. No I/O.

use std::borrow::Cow;

use flowd_codec::event::carried::KEY_ENCODING;
use flowd_codec::event::content::{self, STRUCTURED};
use flowd_codec::event::view::is_attribute_name;
use flowd_codec::time::parse_rfc3339_us;

use crate::event::{Data, Event, is_extension_name};

/// A message read.
#[derive(Debug)]
pub enum Message<'a> {
    /// The body is the event.
    Whole(Cow<'a, [u8]>),
    /// The event is to be written.
    Parts(Parts<'a>),
}

/// What an event is written from; see [`Event::Parts`].
#[derive(Debug)]
pub struct Parts<'a> {
    /// `id`
    pub id: Cow<'a, str>,
    /// `type`
    pub kind: Cow<'a, str>,
    /// `source`
    pub source: Option<Cow<'a, str>>,
    /// `time`, in microseconds since 1970.
    pub time_us: Option<i64>,
    /// The order key.
    pub key: Option<Cow<'a, str>>,
    /// What the data is, as its sender says.
    pub content_type: Option<&'a str>,
    /// Extensions, no name twice.
    pub extensions: Vec<Extension<'a>>,
    /// The payload.
    pub data: Data<'a>,
}

/// Name and value.
pub type Extension<'a> = (Cow<'a, str>, Cow<'a, str>);

impl Message<'_> {
    /// The event, for a topic of the mesh. `extensions` is only where they lie meanwhile.
    pub fn event<'b>(&'b self, topic: &'b str, extensions: &'b mut Vec<(&'b str, &'b str)>) -> Event<'b> {
        let parts = match self {
            Self::Whole(json) => return Event::Structured { json, topic },
            Self::Parts(parts) => parts,
        };
        extensions.extend(parts.extensions.iter().map(|(name, value)| (name.as_ref(), value.as_ref())));
        Event::Parts {
            id: &parts.id,
            kind: &parts.kind,
            source: parts.source.as_deref(),
            topic,
            time_us: parts.time_us,
            key: parts.key.as_deref(),
            content_type: parts.content_type,
            extensions,
            data: parts.data,
        }
    }
}

/// Whether a content type says that the body is an event.
///
/// # Errors
/// Where it is events in a format that is not read, in words.
pub fn is_whole(content_type: Option<&str>) -> Result<bool, String> {
    let Some(content_type) = content_type else { return Ok(false) };
    match content::Mode::of(content_type) {
        content::Mode::Structured => Ok(true),
        content::Mode::Binary => Ok(false),
        content::Mode::Batch | content::Mode::Foreign => {
            Err(format!("its content type is {content_type}; of events as a whole, {STRUCTURED} is read"))
        }
    }
}

/// The attributes of binary mode, gathered from the headers one by one. The last of a name holds.
#[derive(Debug)]
pub struct Attributes<'a> {
    /// What the names of attributes begin with as headers, for errors.
    prefix: &'static str,
    version: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    time: Option<Cow<'a, str>>,
    key: Option<Cow<'a, str>>,
    extensions: Vec<Extension<'a>>,
}

impl<'a> Attributes<'a> {
    /// None yet.
    pub fn new(prefix: &'static str) -> Self {
        let [version, id, source, kind, time, key] = [const { None }; 6];
        Self { prefix, version, id, source, kind, time, key, extensions: Vec::new() }
    }

    /// Takes the attribute of this name, which is a header's without the prefix. The topic is the mesh's and the content
    /// type a header of its own, so these two are not asked for.
    ///
    /// # Errors
    /// What is wrong with the name, or what `value` says.
    pub fn add(
        &mut self,
        name: &'a str,
        value: impl FnOnce() -> Result<Cow<'a, str>, String>,
    ) -> Result<(), String> {
        let slot = match name {
            "specversion" => &mut self.version,
            "id" => &mut self.id,
            "source" => &mut self.source,
            "type" => &mut self.kind,
            "time" => &mut self.time,
            "partitionkey" => &mut self.key,
            "subject" | "datacontenttype" => return Ok(()),
            _ if is_attribute_name(name) => {
                add_extension(&mut self.extensions, Cow::Borrowed(name), value()?);
                return Ok(());
            }
            _ => {
                return Err(format!(
                    "\"{}{name}\" is no name for an attribute: only a-z and 0-9 are allowed",
                    self.prefix
                ));
            }
        };
        *slot = Some(value()?);
        Ok(())
    }

    /// The event of which these are all attributes. An empty key is none, since an attribute is never empty.
    ///
    /// # Errors
    /// Which attribute is missing or wrong.
    pub fn into_parts(self, content_type: Option<&'a str>, data: Data<'a>) -> Result<Parts<'a>, String> {
        let prefix = self.prefix;
        let version = self.version.unwrap_or_default();
        if version != "1.0" && version != "0.3" {
            return Err(format!(
                "its specversion is {version:?} (header {prefix}specversion); 0.3 and 1.0 are known"
            ));
        }
        let required = |value: Option<Cow<'a, str>>, name: &str| {
            value
                .filter(|text| !text.is_empty())
                .ok_or_else(|| format!("its attribute {name} is missing or empty (header {prefix}{name})"))
        };
        let time_us = self.time.map(|time| {
            parse_rfc3339_us(&time).ok_or_else(|| {
                format!("its attribute time is {time:?} (header {prefix}time), which is no RFC 3339 time")
            })
        });
        Ok(Parts {
            id: required(self.id, "id")?,
            kind: required(self.kind, "type")?,
            source: Some(required(self.source, "source")?),
            time_us: time_us.transpose()?,
            key: self.key.filter(|key| !key.is_empty()),
            content_type,
            extensions: self.extensions,
            data,
        })
    }
}

/// Adds an extension, in the place of one of the same name.
pub fn add_extension<'a>(extensions: &mut Vec<Extension<'a>>, name: Cow<'a, str>, value: Cow<'a, str>) {
    match extensions.iter_mut().find(|(other, _)| *other == name) {
        Some(known) => known.1 = value,
        None => extensions.push((name, value)),
    }
}

/// Extensions that say where an event stands in a sequence of flowd's, or how its key is written: no header of a stranger
/// may set them.
const RESERVED: [&str; 9] =
    [KEY_ENCODING, "epoch", "lane", "sequence", "snapshot", "chunk", "number", "chunksize", "after"];

/// The name under which the value of a message's own header is an extension: its letters and digits, in lower case. `None`
/// where no extension may be called so.
pub fn extension_name(header: &str) -> Option<Cow<'_, str>> {
    let name = if is_attribute_name(header) {
        Cow::Borrowed(header)
    } else {
        let letters = header.chars().filter(char::is_ascii_alphanumeric);
        Cow::Owned(letters.map(|letter| letter.to_ascii_lowercase()).collect())
    };
    (is_extension_name(&name) && !RESERVED.contains(&name.as_ref())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 4] =
        [("specversion", "1.0"), ("id", "e-1"), ("source", "/shop"), ("type", "order.placed")];

    fn read(attributes: &[(&'static str, &'static str)]) -> Result<Parts<'static>, String> {
        let mut read = Attributes::new("ce_");
        for (name, value) in attributes {
            read.add(name, || Ok(Cow::Borrowed(*value)))?;
        }
        read.into_parts(None, Data::None)
    }

    #[test]
    fn attributes_are_an_event_and_the_last_of_a_name_holds() {
        let more = [
            ("time", "2026-11-25T00:00:00Z"),
            ("subject", "order 7"),
            ("partitionkey", ""),
            ("tenant", "one"),
            ("id", "e-2"),
            ("tenant", "two"),
        ];
        let parts = read(&[&GOOD[..], &more].concat()).unwrap();
        assert_eq!(
            (&*parts.id, &*parts.kind, parts.source.as_deref()),
            ("e-2", "order.placed", Some("/shop"))
        );
        assert_eq!((parts.time_us, parts.key), (Some(1_795_564_800_000_000), None));
        assert_eq!(parts.extensions, [("tenant".into(), "two".into())]);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_with_its_header() {
        for (index, (name, _)) in GOOD.iter().enumerate() {
            let mut attributes = GOOD.to_vec();
            attributes.remove(index);
            assert!(read(&attributes).unwrap_err().contains(&format!("ce_{name}")), "{name}");
        }
        for wrong in [("specversion", "2.0"), ("id", ""), ("time", "yesterday"), ("Name", "x")] {
            let error = read(&[&GOOD[..], &[wrong]].concat()).unwrap_err();
            assert!(error.contains(&format!("ce_{}", wrong.0)), "{error}");
        }
    }

    #[test]
    fn headers_of_strangers_are_extensions_where_they_may_be() {
        for (header, name) in [
            ("traceparent", Some("traceparent")),
            ("X-Tenant", Some("xtenant")),
            ("sequence", None),
            ("Key-Encoding", None),
            ("data", None),
            ("-", None),
        ] {
            assert_eq!(extension_name(header).as_deref(), name, "{header}");
        }
    }

    #[test]
    fn the_content_type_tells_a_whole_event() {
        assert_eq!(is_whole(None), Ok(false));
        assert_eq!(is_whole(Some("application/json")), Ok(false));
        assert_eq!(is_whole(Some("Application/CloudEvents+JSON; charset=UTF-8")), Ok(true));
        for format in ["application/cloudevents+avro", "application/cloudevents-batch+json"] {
            assert!(is_whole(Some(format)).unwrap_err().contains(format));
        }
    }
}
