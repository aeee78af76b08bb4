//! Makes events of lines.

use std::fmt::Display;

use flowd_codec::event::view::decode_event;
use flowd_codec::hex;
use flowd_source::{Block, Context, Data, Event, Pieces, Splitter};

use crate::key;
use crate::place::Origin;
use crate::settings::{FileSettings, Format};

/// What every line's event has in common, and room for what differs.
pub(crate) struct Lines {
    context: Context,
    format: Format,
    kind: String,
    key: Option<String>,
    line_bytes: usize,
    /// The id of the line at hand.
    id: String,
}

impl Lines {
    pub(crate) fn new(settings: &FileSettings, context: Context) -> Self {
        let FileSettings { format, kind, key, line_bytes, .. } = settings.clone();
        Self { context, format, kind, key, line_bytes, id: String::new() }
    }

    /// Pushes a line, which is without its end and stands at this byte of the file.
    fn push(&mut self, line: &[u8], offset: u64, topic: &str, origin: Origin<'_>, out: &mut Pieces<'_>) {
        match self.format {
            Format::Lines => match std::str::from_utf8(line) {
                Ok(text) => self.push_data(Data::Text(text), offset, topic, origin, out),
                Err(_) => {
                    let reason = format!("the line at byte {offset} of {} is not UTF-8", origin.path);
                    out.reject(&reason, line);
                }
            },
            _ if line.trim_ascii().is_empty() => {}
            Format::Json => self.push_data(Data::Json(line), offset, topic, origin, out),
            Format::CloudEvents => {
                let own = self.own_topic(line, origin);
                out.push(&Event::Structured { json: line, topic: own.as_deref().unwrap_or(topic) });
            }
        }
    }

    fn push_data(
        &mut self,
        data: Data<'_>,
        offset: u64,
        topic: &str,
        origin: Origin<'_>,
        out: &mut Pieces<'_>,
    ) {
        hex::push(&mut self.id, offset);
        let key = match (&self.key, data) {
            (Some(name), Data::Json(line)) => key::member(line, name),
            _ => None,
        };
        let mut offset_digits = itoa::Buffer::new();
        out.push(&Event::Parts {
            id: &self.id,
            kind: &self.kind,
            source: None,
            topic,
            time_us: None,
            key: key.as_deref(),
            content_type: None,
            extensions: &[("file", origin.path), ("offset", offset_digits.format(offset))],
            data,
        });
        self.id.truncate(origin.id.len());
    }

    /// The topic of a line that is an event, where its own subject has a say in it.
    fn own_topic(&self, line: &[u8], origin: Origin<'_>) -> Option<String> {
        let subject = &self.context.subject;
        // Whoever makes the event says what is wrong with it.
        let event = subject.has("subject").then(|| decode_event(line))?.ok()?;
        let own = event.subject.unwrap_or_default();
        Some(subject.topic(&[("file", origin.file_name()), ("subject", &own)]).into_owned())
    }
}

impl Splitter for Lines {
    fn split(&mut self, block: Block<'_>, from: usize, out: &mut Pieces<'_>) -> usize {
        let origin = Origin::read(block.origin);
        let topic = self.context.subject.topic(&[("file", origin.file_name())]).into_owned();
        origin.id.clone_into(&mut self.id);
        let mut begin = from;
        let lines = &block.bytes[from..];
        for end in memchr::memchr_iter(b'\n', lines).map(|at| from + at + 1).chain([block.bytes.len()]) {
            let line = &block.bytes[begin..end];
            if !line.is_empty() {
                let text = line.strip_suffix(b"\n").unwrap_or(line);
                let text = text.strip_suffix(b"\r").unwrap_or(text);
                let offset = origin.offset + begin as u64;
                match text.len() > self.line_bytes {
                    true => out.reject(&too_long(origin.path, offset, line.len(), self.line_bytes), text),
                    false => self.push(text, offset, &topic, origin, out),
                }
            }
            begin = end;
            if out.is_full() {
                break;
            }
        }
        begin
    }
}

/// Why a line is rejected that has more bytes than are allowed.
pub(crate) fn too_long(path: &str, offset: u64, bytes: impl Display, allowed: usize) -> String {
    format!(
        "the line at byte {offset} of {path} has {bytes} bytes, more than connectorConfig.lineBytes ({allowed}); its \
         beginning follows"
    )
}
