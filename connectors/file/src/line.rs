//! Makes events of lines, in a lane.

use std::fmt::Display;
use std::sync::Arc;

use flowd_codec::event::view::decode_event;
use flowd_codec::hex;
use flowd_source::{Block, Data, Event, Pieces, Subject};

use crate::key;
use crate::place::Origin;
use crate::settings::{FileSettings, Format};

/// What a line becomes.
pub(crate) struct Reading {
    pub(crate) settings: FileSettings,
    pub(crate) subject: Subject,
}

/// Lines as they stand in a file.
pub(crate) struct Lines {
    pub(crate) reading: Arc<Reading>,
    pub(crate) origin: Origin,
    /// The last one may be without its end.
    pub(crate) bytes: Vec<u8>,
}

impl Block for Lines {
    fn size(&self) -> usize {
        self.bytes.len()
    }

    fn split(&self, from: usize, out: &mut Pieces<'_>) -> Option<usize> {
        let topic = self.reading.subject.topic(&[("file", self.origin.file_name())]);
        let mut id = self.origin.id.clone();
        let mut begin = from;
        while begin < self.bytes.len() {
            if out.is_full() {
                return Some(begin);
            }
            let rest = &self.bytes[begin..];
            let line = &rest[..memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1)];
            self.push(line, self.origin.offset + begin as u64, &topic, &mut id, out);
            begin += line.len();
        }
        None
    }
}

impl Lines {
    /// Pushes a line, which stands at this byte of the file. `id` is what all ids begin with, and left so.
    fn push(&self, line: &[u8], offset: u64, topic: &str, id: &mut String, out: &mut Pieces<'_>) {
        let settings = &self.reading.settings;
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.len() > settings.line_bytes {
            return out.reject(&too_long(&self.origin.path, offset, line.len(), settings.line_bytes), text);
        }
        let data = match settings.format {
            Format::Lines => match std::str::from_utf8(text) {
                Ok(text) => Data::Text(text),
                Err(_) => {
                    let reason = format!("the line at byte {offset} of {} is not UTF-8", self.origin.path);
                    return out.reject(&reason, text);
                }
            },
            _ if text.trim_ascii().is_empty() => return,
            Format::Json => Data::Json(text),
            Format::CloudEvents => {
                let own = self.own_topic(text);
                let topic = own.as_deref().unwrap_or(topic);
                return out.push(&Event::Structured { json: text, topic });
            }
        };
        let key = settings.key.as_deref().and_then(|name| key::member(text, name));
        let mut offset_digits = itoa::Buffer::new();
        hex::push(id, offset);
        out.push(&Event::Parts {
            id,
            kind: &settings.kind,
            source: None,
            topic,
            time_us: None,
            key: key.as_deref(),
            content_type: None,
            extensions: &[("file", &self.origin.path), ("offset", offset_digits.format(offset))],
            data,
        });
        id.truncate(self.origin.id.len());
    }

    /// The topic of a line that is an event, where its own subject has a say in it.
    fn own_topic(&self, line: &[u8]) -> Option<String> {
        let subject = &self.reading.subject;
        // Whoever makes the event says what is wrong with it.
        let event = subject.has("subject").then(|| decode_event(line))?.ok()?;
        let own = event.subject.unwrap_or_default();
        Some(subject.topic(&[("file", self.origin.file_name()), ("subject", &own)]).into_owned())
    }
}

/// Why a line is rejected that has more bytes than are allowed.
pub(crate) fn too_long(path: &str, offset: u64, bytes: impl Display, allowed: usize) -> String {
    format!(
        "the line at byte {offset} of {path} has {bytes} bytes, more than connectorConfig.lineBytes ({allowed}); its \
         beginning follows"
    )
}
