//! A lane's work: batches of events become CloudEvents in frames, or dead letters.

use std::borrow::Cow;

use ahash::RandomState;
use flowd_codec::dead_letter::{Origin, as_json, dead_letter};
use flowd_codec::event::added::is_added;
use flowd_codec::event::carried::{self, Carried, Payload, Time, write_attribute};
use flowd_codec::event::view::{self, EventView, ExtensionValue, decode_event};
use flowd_codec::event::{DATA_CONTENT_TYPE, Framed, Framing, frame_again};
use flowd_codec::frame::PUBLISH_SIZE_MAX;
use flowd_codec::uri;
use flowd_engine::failure::Failure;
use flowd_engine::order::{Keyed, hash_of};
use flowd_engine::parcel::{Parcel, Reject};
use flowd_engine::record::{Batch, Span};
use flowd_engine::worker::{Encode, Encoded};
use serde_json::value::RawValue;

use crate::batch::{DataForm, Form, Message, Parts, extensions};
use crate::event::is_extension_name;
use crate::subject::{TOPIC_BYTES_MAX, is_topic};

/// Encodes for one lane.
pub struct MessageEncoder {
    framing: Framing,
    /// The CloudEvents `source` of events that bring none, and whether it is one.
    source: String,
    is_source: bool,
    event_bytes_max: usize,
    /// The same in every lane and run: a key's hash must be one.
    hasher: RandomState,
    /// The batch's record at hand.
    record: usize,
    /// An event, and its further attributes, while they are written.
    json: Vec<u8>,
    attributes: Vec<u8>,
}

impl MessageEncoder {
    pub(crate) fn new(framing: Framing, source: String) -> Self {
        let event_bytes_max = match framing {
            Framing::EventMesh => PUBLISH_SIZE_MAX,
            Framing::Line | Framing::Bare => usize::MAX,
        };
        Self {
            framing,
            is_source: uri::is_reference(&source),
            source,
            event_bytes_max,
            hasher: RandomState::with_seeds(1, 2, 3, 4),
            record: 0,
            json: Vec::new(),
            attributes: Vec::new(),
        }
    }

    /// Appends one event, or its dead letter. It holds its order key, and its id: EventMesh's answers name events by their
    /// id, so no two of one id are on their way at once.
    fn one(&mut self, form: &Form, bytes: Bytes<'_>, parcel: &mut Parcel<Keyed<Framed>>) {
        self.json.clear();
        self.attributes.clear();
        let written = match form {
            Form::Parts(parts) => self.parts(parts, bytes),
            Form::Structured { json, topic } => self.structured(bytes.of(*json), bytes.text(*topic)),
            Form::Rejected { reason, .. } => Err(bytes.text(*reason).to_owned()),
        };
        let written = written.and_then(|key| match self.json.len() {
            size if size > self.event_bytes_max => {
                Err(format!("the event has {size} bytes, EventMesh takes at most {PUBLISH_SIZE_MAX}"))
            }
            _ => Ok(key),
        });
        match written {
            Ok(key) => {
                let framed = frame_again(&mut parcel.buffer, self.framing, &self.json);
                let framed = framed.expect("a carried event begins as every event here");
                let id = self.hasher.hash_one(framed.id(&parcel.buffer)).max(1);
                parcel.events.push(Keyed::uncounted(framed, [key, id]));
            }
            Err(reason) => parcel.rejects.push(letter(&reason, form, bytes)),
        }
    }

    /// Writes an event made from parts; the hash of its key.
    fn parts(&mut self, parts: &Parts, bytes: Bytes<'_>) -> Result<u64, String> {
        let part = |span: Span| bytes.text(span);
        let (id, kind, topic) = (part(parts.id), part(parts.kind), part(parts.topic));
        let source = parts.source.map_or(&*self.source, part);
        check_required(id, source, kind, topic)?;
        if parts.source.is_some() || !self.is_source {
            check_source(source)?;
        }
        let key = parts.key.map(part);
        if let Some(key) = key {
            write_attribute(&mut self.attributes, "partitionkey", &ExtensionValue::String(key.into()));
        }
        let all = || extensions(bytes.of(parts.extensions));
        for (index, (name, value)) in all().enumerate() {
            if !is_extension_name(name) {
                return Err(format!(
                    "\"{name}\" is no name for an extension: a-z and 0-9, not taken otherwise"
                ));
            }
            if all().take(index).any(|(other, _)| other == name) {
                return Err(format!("the extension {name} is there twice"));
            }
            write_attribute(&mut self.attributes, name, &ExtensionValue::String(value.into()));
        }
        let data = bytes.of(parts.data);
        let payload = match parts.form {
            DataForm::None => Payload::None,
            DataForm::Text => Payload::Text(part(parts.data)),
            DataForm::Binary => Payload::Bytes(data),
            DataForm::Json => {
                let value = match bytes.known_text(parts.data) {
                    Some(text) => serde_json::from_str(text),
                    None => serde_json::from_slice(data),
                };
                let value: &RawValue =
                    value.map_err(|error| format!("the data is to be JSON, and is not: {error}"))?;
                Payload::Json(value.get())
            }
        };
        let carried = Carried {
            id,
            source,
            event_type: kind,
            topic,
            time: parts.time_us.map(Time::Us),
            content_type: parts.content_type.map(part),
            attributes: &self.attributes,
            payload,
        };
        carried.write_json(&mut self.json);
        Ok(self.hash(topic, key))
    }

    /// Writes an event that came whole; the hash of its key.
    fn structured(&mut self, json: &[u8], topic: &str) -> Result<u64, String> {
        let event = decode_event(json).map_err(|error| format!("it is no CloudEvent: {error}"))?;
        check_required(&event.id, &event.source, &event.event_type, topic)?;
        carried::check(&event)?;
        let is_carried = event.data_content_type.as_deref() == Some(DATA_CONTENT_TYPE);
        if let Some(schema) = &event.data_schema {
            write_attribute(
                &mut self.attributes,
                "dataschema",
                &ExtensionValue::String(Cow::Borrowed(schema)),
            );
        }
        let mut key = None;
        for (name, value) in event.extensions.iter().filter(|(name, _)| !is_added(name)) {
            if let (ExtensionValue::String(value), "partitionkey") = (value, &**name) {
                key = Some(&**value);
            }
            write_attribute(&mut self.attributes, name, value);
        }
        let carried = Carried {
            id: &event.id,
            source: &event.source,
            event_type: &event.event_type,
            topic,
            time: event.time.as_deref().map(Time::Text),
            content_type: event.data_content_type.as_deref(),
            attributes: &self.attributes,
            payload: payload(&event, is_carried),
        };
        carried.write_json(&mut self.json);
        Ok(self.hash(topic, key))
    }

    /// 0 stands for no key.
    fn hash(&self, topic: &str, key: Option<&str>) -> u64 {
        key.map_or(0, |key| hash_of(topic, key))
    }
}

impl Encode<Message, Keyed<Framed>> for MessageEncoder {
    fn encode(
        &mut self,
        batch: &Batch<Message>,
        parcel: &mut Parcel<Keyed<Framed>>,
    ) -> Result<Encoded, Failure> {
        let bytes = Bytes::of_batch(&batch.bytes);
        while let Some(Message(form)) = batch.records.get(self.record) {
            self.one(form, bytes, parcel);
            self.record += 1;
            if parcel.is_full() && self.record < batch.records.len() {
                return Ok(Encoded::More);
            }
        }
        self.record = 0;
        Ok(Encoded::All)
    }
}

/// The data of an event that came whole. One that is carried already says so in its extensions.
fn payload<'a>(event: &EventView<'a>, is_carried: bool) -> Payload<'a> {
    match event.data {
        view::Data::Json(value) => Payload::Json(value.get()),
        view::Data::Base64(value) => Payload::Base64(value.get()),
        view::Data::Absent if is_carried => Payload::Json("null"),
        view::Data::Absent => Payload::None,
    }
}

fn check_required(id: &str, source: &str, kind: &str, topic: &str) -> Result<(), String> {
    for (name, value) in [("id", id), ("source", source), ("type", kind)] {
        if value.is_empty() {
            return Err(format!("its {name} is empty, and a CloudEvent's is not"));
        }
    }
    if is_topic(topic) {
        return Ok(());
    }
    Err(format!("\"{topic}\" is no topic: 1 to {TOPIC_BYTES_MAX} letters, digits, `.`, `_`, `-`"))
}

fn check_source(source: &str) -> Result<(), String> {
    match uri::is_reference(source) {
        true => Ok(()),
        false => Err(format!("its source is {source:?}, which is no URI reference")),
    }
}

/// The dead letter of what can become no event.
fn letter(reason: &str, form: &Form, bytes: Bytes<'_>) -> Reject {
    let (topic, id, raw) = match form {
        Form::Parts(parts) => (Some(bytes.text(parts.topic)), Some(bytes.text(parts.id)), parts.data),
        Form::Structured { json, topic } => (Some(bytes.text(*topic)), None, *json),
        Form::Rejected { raw, .. } => (None, None, *raw),
    };
    let line = dead_letter(reason, &Origin { topic, id, ..Origin::default() }, Some(&as_json(bytes.of(raw))));
    let reason = match id {
        Some(id) => format!("{reason}; message {id}"),
        None => reason.to_owned(),
    };
    Reject { reason, line }
}

/// The bytes of a batch; where all of them are one text, as nearly always, that is found out once.
#[derive(Clone, Copy)]
struct Bytes<'a> {
    all: &'a [u8],
    text: Option<&'a str>,
}

impl<'a> Bytes<'a> {
    fn of_batch(all: &'a [u8]) -> Self {
        Self { all, text: std::str::from_utf8(all).ok() }
    }

    fn of(self, span: Span) -> &'a [u8] {
        span.of(self.all)
    }

    /// A part, where it is a text as a part of the whole.
    fn known_text(self, span: Span) -> Option<&'a str> {
        self.text?.get(span.start as usize..span.end as usize)
    }

    /// A part that was pushed as a text.
    fn text(self, span: Span) -> &'a str {
        self.known_text(span)
            .unwrap_or_else(|| std::str::from_utf8(self.of(span)).expect("it was a text when it was pushed"))
    }
}

#[cfg(test)]
mod tests;
