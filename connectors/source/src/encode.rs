//! A lane's work: batches of events become CloudEvents in frames, or dead letters.

use ahash::RandomState;
use flowd_codec::dead_letter::{Origin, as_json, dead_letter};
use flowd_codec::event::carried::{self, Carried, Payload, Time, write_attribute, write_text_attribute};
use flowd_codec::event::view::{self, EventView, ExtensionValue, decode_original};
use flowd_codec::event::{DATA_CONTENT_TYPE, Framed, Framing, Template};
use flowd_codec::frame::PUBLISH_SIZE_MAX;
use flowd_codec::json;
use flowd_codec::time::TimeText;
use flowd_engine::failure::Failure;
use flowd_engine::order::{Keyed, hash_of};
use flowd_engine::parcel::{Parcel, Reject};
use flowd_engine::record::{Batch, Span};
use flowd_engine::worker::{Encode, Encoded};

use crate::batch::{DataForm, Form, Message, Parts, extensions};
use crate::event::is_extension_name;
use crate::subject::{TOPIC_BYTES_MAX, is_topic};

/// Encodes for one lane.
pub struct MessageEncoder {
    /// The CloudEvents `source` of events that bring none.
    source: String,
    event_bytes_max: usize,
    templates: Templates,
    names: Names,
    time: TimeText,
    /// The same in every lane and run: a key's hash must be one.
    hasher: RandomState,
    /// The batch's record at hand.
    record: usize,
    /// An event's further attributes, while it is written.
    attributes: Vec<u8>,
}

impl MessageEncoder {
    pub(crate) fn new(framing: Framing, source: String) -> Self {
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
            record: 0,
            attributes: Vec::new(),
        }
    }

    /// Appends one event, or its dead letter. It holds its order key, and its id: EventMesh's answers name events by their
    /// id, so no two of one id are on their way at once.
    fn one(&mut self, form: &Form, bytes: Bytes<'_>, parcel: &mut Parcel<Keyed<Framed>>) {
        self.attributes.clear();
        let begin = parcel.buffer.len();
        let buffer = &mut parcel.buffer;
        let written = match form {
            Form::Parts(parts) => self.parts(parts, bytes, buffer),
            Form::Structured { json, topic } => self.structured(bytes.of(*json), bytes.text(*topic), buffer),
            Form::Rejected { reason, .. } => Err(bytes.text(*reason).to_owned()),
        };
        let written = written.and_then(|(framed, key)| match framed.json(&parcel.buffer).len() {
            size if size > self.event_bytes_max => {
                Err(format!("the event has {size} bytes, EventMesh takes at most {PUBLISH_SIZE_MAX}"))
            }
            _ => Ok((framed, key)),
        });
        match written {
            Ok((framed, key)) => {
                let id = self.hasher.hash_one(framed.id(&parcel.buffer)).max(1);
                parcel.events.push(Keyed::uncounted(framed, [key, id]));
            }
            Err(reason) => {
                parcel.buffer.truncate(begin);
                parcel.rejects.push(letter(&reason, form, bytes));
            }
        }
    }

    /// Writes an event made from parts; it, and the hash of its key.
    fn parts(&mut self, parts: &Parts, bytes: Bytes<'_>, out: &mut Vec<u8>) -> Result<(Framed, u64), String> {
        let part = |span: Span| bytes.text(span);
        let (id, kind, topic) = (part(parts.id), part(parts.kind), part(parts.topic));
        check_id(id)?;
        let template = self.templates.of(parts.source.map_or(&*self.source, part), kind, topic)?;
        let key = parts.key.map(part);
        if let Some(key) = key {
            write_text_attribute(&mut self.attributes, "partitionkey", key);
        }
        for (index, (name, value)) in extensions(bytes.all, parts.extensions).enumerate() {
            let name = part(name);
            self.names.check(index, name)?;
            write_text_attribute(&mut self.attributes, name, part(value));
        }
        let payload = match parts.form {
            DataForm::None => Payload::None,
            DataForm::Text => Payload::Text(part(parts.data)),
            DataForm::Binary => Payload::Bytes(bytes.of(parts.data)),
            DataForm::Json => Payload::Json(json_of(parts.data, bytes)?),
        };
        let carried = Carried {
            id,
            time: parts.time_us.map(|time_us| Time::Written(self.time.of(time_us))),
            content_type: parts.content_type.map(part),
            attributes: &self.attributes,
            payload,
        };
        Ok((carried.write(out, template), hash(topic, key)))
    }

    /// Writes an event that came whole; it, and the hash of its key.
    fn structured(&mut self, json: &[u8], topic: &str, out: &mut Vec<u8>) -> Result<(Framed, u64), String> {
        let event = decode_original(json).map_err(|error| format!("it is no CloudEvent: {error}"))?;
        let template = self.templates.of(&event.source, &event.event_type, topic)?;
        carried::check_but_source(&event)?;
        let is_carried = event.data_content_type.as_deref() == Some(DATA_CONTENT_TYPE);
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
            payload: payload(&event, is_carried),
        };
        Ok((carried.write(out, template), hash(topic, key)))
    }
}

/// The templates of the sources, types and topics that came last, so that each of them is looked at once.
struct Templates {
    framing: Framing,
    known: Vec<Known>,
}

struct Known {
    source: String,
    kind: String,
    topic: String,
    template: Template,
}

impl Templates {
    /// So many are compared one by one.
    const KNOWN_MAX: usize = 16;

    fn new(framing: Framing) -> Self {
        Self { framing, known: Vec::new() }
    }

    /// The template of events of this source, type and topic, or what is wrong with them.
    fn of(&mut self, source: &str, kind: &str, topic: &str) -> Result<&Template, String> {
        let is_it = |known: &Known| known.topic == topic && known.kind == kind && known.source == source;
        let at = match self.known.iter().position(is_it) {
            Some(at) => at,
            None => {
                check(source, kind, topic)?;
                if self.known.len() == Self::KNOWN_MAX {
                    self.known.clear();
                }
                let template = Template::new(self.framing, source, kind, topic);
                let [source, kind, topic] = [source, kind, topic].map(str::to_owned);
                self.known.push(Known { source, kind, topic, template });
                self.known.len() - 1
            }
        };
        Ok(&self.known[at].template)
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

/// The text of data that is one JSON value.
fn json_of(data: Span, bytes: Bytes<'_>) -> Result<&str, String> {
    let value = match bytes.known_text(data).and_then(json::value) {
        Some(value) => Ok(value),
        None => json::checked(bytes.of(data)),
    };
    value.map_err(|error| format!("the data is to be JSON, and is not: {error}"))
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
        view::Data::Json(value) => Payload::Json(value),
        view::Data::Base64(value) => Payload::Base64(value),
        view::Data::Absent if is_carried => Payload::Json("null"),
        view::Data::Absent => Payload::None,
    }
}

fn check_id(id: &str) -> Result<(), String> {
    if id.is_empty() { Err(is_empty("id")) } else { Ok(()) }
}

fn check(source: &str, kind: &str, topic: &str) -> Result<(), String> {
    if let Some((name, _)) = [("source", source), ("type", kind)].iter().find(|(_, value)| value.is_empty()) {
        return Err(is_empty(name));
    }
    if !is_topic(topic) {
        return Err(format!(
            "\"{topic}\" is no topic: 1 to {TOPIC_BYTES_MAX} letters, digits, `.`, `_`, `-`"
        ));
    }
    carried::check_reference("source", source)
}

fn is_empty(name: &str) -> String {
    format!("its {name} is empty, and a CloudEvent's is not")
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
        Self { all, text: simdutf8::basic::from_utf8(all).ok() }
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
