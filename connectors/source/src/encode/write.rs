//! Writes one event after the other into a parcel, or its dead letter.

use std::iter::Peekable;

use ahash::RandomState;
use flowd_codec::dead_letter::{Origin, as_json, dead_letter};
use flowd_codec::event::carried::{self, Carried, Payload, Time, write_attribute, write_text_attribute};
use flowd_codec::event::view::{self, EventView, ExtensionValue, decode_original};
use flowd_codec::event::{DATA_CONTENT_TYPE, Framed, Framing, batch};
use flowd_codec::frame::PUBLISH_SIZE_MAX;
use flowd_codec::json::{self, Elements};
use flowd_codec::time::TimeText;
use flowd_engine::order::{Keyed, hash_of};
use flowd_engine::parcel::{Parcel, Reject};

use super::templates::Templates;
use crate::event::{Data, Event, is_extension_name};

/// An event of parts, but for its extensions.
pub(super) struct Made<'a> {
    pub(super) id: &'a str,
    pub(super) kind: &'a str,
    pub(super) source: Option<&'a str>,
    pub(super) topic: &'a str,
    pub(super) time_us: Option<i64>,
    pub(super) key: Option<&'a str>,
    pub(super) content_type: Option<&'a str>,
    pub(super) data: Data<'a>,
    /// The data where it is known to be a text.
    pub(super) text: Option<&'a str>,
}

/// Writes for one lane.
pub(crate) struct Writer {
    /// The CloudEvents `source` of events that bring none.
    source: String,
    event_bytes_max: usize,
    templates: Templates,
    names: Names,
    time: TimeText,
    /// The same in every lane and run: a key's hash must be one.
    hasher: RandomState,
    /// An event's further attributes, while it is written.
    attributes: Vec<u8>,
}

impl Writer {
    pub(super) fn new(framing: Framing, source: String) -> Self {
        let event_bytes_max = match framing {
            Framing::EventMesh => PUBLISH_SIZE_MAX,
            Framing::Line | Framing::Bare => usize::MAX,
        };
        Self {
            source,
            event_bytes_max,
            templates: Templates::new(framing),
            names: Names::default(),
            time: TimeText::default(),
            hasher: RandomState::with_seeds(1, 2, 3, 4),
            attributes: Vec::new(),
        }
    }

    /// Appends an event, or its dead letter.
    pub(crate) fn event(&mut self, event: &Event<'_>, parcel: &mut Parcel<Keyed<Framed>>) {
        match *event {
            Event::Parts { id, kind, source, topic, time_us, key, content_type, extensions, data } => {
                let made = Made { id, kind, source, topic, time_us, key, content_type, data, text: None };
                self.made(&made, extensions.iter().copied(), parcel);
            }
            Event::Structured { json, topic } => self.structured(json, topic, parcel),
        }
    }

    /// As [`event`](Self::event), of an event that is made from parts.
    pub(super) fn made<'e>(
        &mut self,
        made: &Made<'_>,
        extensions: impl Iterator<Item = (&'e str, &'e str)>,
        parcel: &mut Parcel<Keyed<Framed>>,
    ) {
        let origin = (made.topic, Some(made.id), made.data.bytes());
        self.or_letter(origin, parcel, |writer, parcel| {
            let written = writer.write_made(made, extensions, &mut parcel.buffer)?;
            writer.note(written, parcel)
        });
    }

    /// As [`event`](Self::event), of an event that came whole. A batch event of another topic becomes its members, which all
    /// name a topic, or one dead letter.
    pub(super) fn structured(&mut self, json: &[u8], topic: &str, parcel: &mut Parcel<Keyed<Framed>>) {
        self.or_letter((topic, None, json), parcel, |writer, parcel| {
            if let Some(written) = writer.write_shaped(json, topic, &mut parcel.buffer) {
                return writer.note(written, parcel);
            }
            let event = decoded(json)?;
            writer.whole_or_members(&event, topic, parcel)?;
            // A batch event may be one of another topic, which has to be looked at.
            if event.event_type != batch::EVENT_TYPE {
                writer.templates.learn(json);
            }
            Ok(())
        });
    }

    /// As [`structured`](Self::structured), of an event that was read; `raw` is what a dead letter holds.
    pub(crate) fn view(
        &mut self,
        event: &EventView<'_>,
        topic: &str,
        raw: &[u8],
        parcel: &mut Parcel<Keyed<Framed>>,
    ) {
        self.or_letter((topic, None, raw), parcel, |writer, parcel| {
            writer.whole_or_members(event, topic, parcel)
        });
    }

    /// Appends what `write` does; where that fails, all of it is taken back, and a dead letter with topic, id and raw bytes
    /// stands for it.
    #[inline]
    fn or_letter(
        &mut self,
        (topic, id, raw): (&str, Option<&str>, &[u8]),
        parcel: &mut Parcel<Keyed<Framed>>,
        write: impl FnOnce(&mut Self, &mut Parcel<Keyed<Framed>>) -> Result<(), String>,
    ) {
        let (begin, count) = (parcel.buffer.len(), parcel.events.len());
        if let Err(reason) = write(self, parcel) {
            parcel.buffer.truncate(begin);
            parcel.events.truncate(count);
            parcel.rejects.push(letter(&reason, Some(topic), id, raw));
        }
    }

    fn whole_or_members(
        &mut self,
        event: &EventView<'_>,
        topic: &str,
        parcel: &mut Parcel<Keyed<Framed>>,
    ) -> Result<(), String> {
        match members(event, topic) {
            None => self.whole(event, topic, parcel),
            Some(mut members) => members.try_for_each(|member| self.whole(&decoded(member)?, topic, parcel)),
        }
    }

    fn whole(
        &mut self,
        event: &EventView<'_>,
        topic: &str,
        parcel: &mut Parcel<Keyed<Framed>>,
    ) -> Result<(), String> {
        let written = self.write_whole(event, topic, &mut parcel.buffer)?;
        self.note(written, parcel)
    }

    /// Appends the dead letter of what can become no event.
    pub(crate) fn reject(&self, reason: &str, raw: &[u8], parcel: &mut Parcel<Keyed<Framed>>) {
        parcel.rejects.push(letter(reason, None, None, raw));
    }

    /// Notes an event that was written, with its keys. It holds its order key, and its id: EventMesh's answers name events by
    /// their id, so no two of one id are on their way at once.
    fn note(&self, (framed, key): (Framed, u64), parcel: &mut Parcel<Keyed<Framed>>) -> Result<(), String> {
        let size = framed.json(&parcel.buffer).len();
        if size > self.event_bytes_max {
            return Err(format!("the event has {size} bytes, EventMesh takes at most {PUBLISH_SIZE_MAX}"));
        }
        let id = self.hasher.hash_one(framed.id(&parcel.buffer)).max(1);
        parcel.events.push(Keyed::uncounted(framed, [key, id]));
        Ok(())
    }

    /// Writes an event made from parts; it, and the hash of its key.
    fn write_made<'e>(
        &mut self,
        made: &Made<'_>,
        extensions: impl Iterator<Item = (&'e str, &'e str)>,
        out: &mut Vec<u8>,
    ) -> Result<(Framed, u64), String> {
        let Made { id, kind, source, topic, time_us, key, content_type, data, text } = *made;
        check_id(id)?;
        let template = self.templates.of(source.unwrap_or(&self.source), kind, topic)?;
        self.attributes.clear();
        if let Some(key) = key {
            write_text_attribute(&mut self.attributes, "partitionkey", key);
        }
        for (index, (name, value)) in extensions.enumerate() {
            self.names.check(index, name)?;
            write_text_attribute(&mut self.attributes, name, value);
        }
        let payload = match data {
            Data::None => Payload::None,
            Data::Text(text) => Payload::Text(text),
            Data::Binary(bytes) => Payload::Bytes(bytes),
            Data::Json(bytes) => Payload::Json(
                json_of(bytes, text)
                    .map_err(|error| format!("the data is to be JSON, and is not: {error}"))?,
            ),
            Data::Any(bytes) => any(bytes, text),
        };
        let time = time_us.map(|time_us| Time::Written(self.time.of(time_us)));
        let carried = Carried { id, time, content_type, attributes: &self.attributes, payload };
        Ok((carried.write(out, template), hash(topic, key)))
    }

    /// As [`write_whole`](Self::write_whole), of an event that has the shape of one before it; `None` for any other.
    fn write_shaped(&mut self, json: &[u8], topic: &str, out: &mut Vec<u8>) -> Option<(Framed, u64)> {
        let text = simdutf8::basic::from_utf8(json).ok()?;
        let (known, event) = self.templates.shaped(text, topic, &mut self.attributes)?;
        let carried = Carried {
            id: event.id,
            time: event.time.map(Time::Text),
            content_type: known.habit.content_type(),
            attributes: &self.attributes,
            payload: Payload::Json(event.data),
        };
        Some((carried.write(out, &known.template), hash(topic, event.key.as_deref())))
    }

    /// Writes an event that came whole; it, and the hash of its key.
    fn write_whole(
        &mut self,
        event: &EventView<'_>,
        topic: &str,
        out: &mut Vec<u8>,
    ) -> Result<(Framed, u64), String> {
        let template = self.templates.of(&event.source, &event.event_type, topic)?;
        carried::check_but_source(event)?;
        let is_carried = event.data_content_type.as_deref() == Some(DATA_CONTENT_TYPE);
        self.attributes.clear();
        if let Some(schema) = &event.data_schema {
            write_text_attribute(&mut self.attributes, "dataschema", schema);
        }
        let mut key = None;
        for (name, value) in &event.extensions {
            if let (ExtensionValue::String(value), "partitionkey") = (value, &**name) {
                key = Some(&**value);
            }
            write_attribute(&mut self.attributes, name, value);
        }
        let carried = Carried {
            id: &event.id,
            time: event.time.as_deref().map(Time::Text),
            content_type: event.data_content_type.as_deref(),
            attributes: &self.attributes,
            payload: payload(event, is_carried),
        };
        Ok((carried.write(out, template), hash(topic, key)))
    }
}

/// 0 stands for no key.
fn hash(topic: &str, key: Option<&str>) -> u64 {
    key.map_or(0, |key| hash_of(topic, key))
}

/// The names of an event's extensions, remembered: the next event has nearly always the same, and those are checked.
#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    /// Whether an extension may be called so as the event's so-manieth, or what is wrong with it. Asked for each in turn.
    fn check(&mut self, index: usize, name: &str) -> Result<(), String> {
        if self.0.get(index).is_some_and(|known| known == name) {
            return Ok(());
        }
        self.0.truncate(index);
        if !is_extension_name(name) {
            return Err(format!("\"{name}\" is no name for an extension: a-z and 0-9, not taken otherwise"));
        }
        if self.0.iter().any(|other| other == name) {
            return Err(format!("the extension {name} is there twice"));
        }
        self.0.push(name.to_owned());
        Ok(())
    }
}

/// The text of data that is one JSON value; `text` is the data where it is known to be a text.
fn json_of<'a>(bytes: &'a [u8], text: Option<&'a str>) -> Result<&'a str, serde_json::Error> {
    text.and_then(json::value).map_or_else(|| json::checked(bytes), Ok)
}

/// Data of which nobody says what it is.
fn any<'a>(bytes: &'a [u8], text: Option<&'a str>) -> Payload<'a> {
    match (json_of(bytes, text), text.or_else(|| std::str::from_utf8(bytes).ok())) {
        (Ok(json), _) => Payload::Json(json),
        (Err(_), Some(text)) => Payload::Text(text),
        (Err(_), None) => Payload::Bytes(bytes),
    }
}

fn decoded(json: &[u8]) -> Result<EventView<'_>, String> {
    decode_original(json).map_err(|error| format!("it is no CloudEvent: {error}"))
}

/// The members of a batch event of another topic, where it has any.
fn members<'a>(event: &EventView<'a>, topic: &str) -> Option<Peekable<Elements<'a>>> {
    let is_renamed = event.event_type == batch::EVENT_TYPE && event.subject.as_deref() != Some(topic);
    let view::Data::Json(data) = event.data else { return None };
    let mut members = is_renamed.then(|| batch::members(data).peekable())?;
    members.peek().is_some().then_some(members)
}

/// The data of an event that came whole. One that is carried already says so in its extensions.
fn payload<'a>(event: &EventView<'a>, is_carried: bool) -> Payload<'a> {
    match event.data {
        view::Data::Json(value) => Payload::Json(value),
        view::Data::Base64(value) => Payload::Base64(value),
        view::Data::Absent if is_carried => Payload::Json("null"),
        view::Data::Absent => Payload::None,
    }
}

fn check_id(id: &str) -> Result<(), String> {
    if id.is_empty() { Err(is_empty("id")) } else { Ok(()) }
}

pub(super) fn is_empty(name: &str) -> String {
    format!("its {name} is empty, and a CloudEvent's is not")
}

/// The dead letter of what can become no event.
fn letter(reason: &str, topic: Option<&str>, id: Option<&str>, raw: &[u8]) -> Reject {
    let line = dead_letter(reason, &Origin { topic, id, ..Origin::default() }, Some(&as_json(raw)));
    let reason = match id {
        Some(id) => format!("{reason}; message {id}"),
        None => reason.to_owned(),
    };
    Reject { reason, line }
}
