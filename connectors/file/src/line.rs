//! Makes events of lines.

use flowd_codec::event::view::decode_event;
use flowd_codec::hex;
use flowd_source::{Closed, Context, Data, Event, Events};

use crate::key;
use crate::place::Place;
use crate::settings::{FileSettings, Format};

/// What every line's event has in common, and room for what differs.
pub(crate) struct Lines {
    context: Context,
    format: Format,
    kind: String,
    key: Option<String>,
    line_bytes: usize,
    id: String,
}

impl Lines {
    pub(crate) fn new(settings: &FileSettings, context: Context) -> Self {
        let FileSettings { format, kind, key, line_bytes, .. } = settings.clone();
        Self { context, format, kind, key, line_bytes, id: String::new() }
    }

    /// Pushes lines of a chunk that begins at the place, until a batch is full; gives how many bytes they have.
    pub(crate) fn push(&mut self, chunk: &[u8], place: &Place, out: &mut Events<'_>) -> Result<u64, Closed> {
        let name = place.path.rsplit('/').next().unwrap_or_default();
        let subject = self.context.subject.clone();
        let topic = subject.topic(&[("file", name)]);
        self.id.clear();
        self.id.push_str(&place.id());
        let prefix = self.id.len();
        let mut bytes = 0;
        let mut begin = 0;
        for end in memchr::memchr_iter(b'\n', chunk).map(|at| at + 1).chain([chunk.len()]) {
            let line = &chunk[std::mem::replace(&mut begin, end)..end];
            if line.is_empty() {
                break;
            }
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            let offset = place.offset + bytes;
            if text.len() > self.line_bytes {
                self.reject_long(line.len() as u64, text, place, offset, out)?;
            } else {
                self.id.truncate(prefix);
                hex::push(&mut self.id, offset);
                self.push_line(text, &topic, place, offset, out)?;
            }
            bytes += line.len() as u64;
            if out.is_due() {
                break;
            }
        }
        Ok(bytes)
    }

    /// A line that is longer than is allowed.
    pub(crate) fn reject_long(
        &self,
        bytes: u64,
        shown: &[u8],
        place: &Place,
        offset: u64,
        out: &mut Events<'_>,
    ) -> Result<(), Closed> {
        let reason = format!(
            "the line at byte {offset} of {} has {bytes} bytes, more than connectorConfig.lineBytes ({}); its beginning follows",
            place.path, self.line_bytes
        );
        out.reject(&reason, shown)
    }

    fn push_line(
        &mut self,
        line: &[u8],
        topic: &str,
        place: &Place,
        offset: u64,
        out: &mut Events<'_>,
    ) -> Result<(), Closed> {
        if self.format == Format::CloudEvents {
            return self.push_event(line, place, out);
        }
        let data = match self.format {
            Format::Json if line.trim_ascii().is_empty() => return Ok(()),
            Format::Json => Data::Json(line),
            _ => match std::str::from_utf8(line) {
                Ok(text) => Data::Text(text),
                Err(_) => {
                    let reason = format!("the line at byte {offset} of {} is not UTF-8", place.path);
                    return out.reject(&reason, line);
                }
            },
        };
        let key = self.key.as_deref().and_then(|name| key::member(line, name));
        let mut offset_digits = itoa::Buffer::new();
        out.push(&Event::Parts {
            id: &self.id,
            kind: &self.kind,
            source: None,
            topic,
            time_us: None,
            key: key.as_deref(),
            content_type: None,
            extensions: &[("file", &place.path), ("offset", offset_digits.format(offset))],
            data,
        })
    }

    /// A line that is an event goes as it is.
    fn push_event(&self, line: &[u8], place: &Place, out: &mut Events<'_>) -> Result<(), Closed> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let name = place.path.rsplit('/').next().unwrap_or_default();
        let subject = &self.context.subject;
        let topic = match subject.has("subject").then(|| decode_event(line)) {
            None => subject.topic(&[("file", name)]),
            Some(Ok(event)) => {
                let own = event.subject.unwrap_or_default();
                subject.topic(&[("file", name), ("subject", &own)]).into_owned().into()
            }
            // Whoever makes the event says what is wrong with it.
            Some(Err(_)) => subject.topic(&[("file", name)]),
        };
        out.push(&Event::Structured { json: line, topic: &topic })
    }
}
