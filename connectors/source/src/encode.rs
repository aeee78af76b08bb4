//! A lane's work: batches of events, and blocks of them, become CloudEvents in frames, or dead letters.

use flowd_codec::event::{Framed, Framing};
use flowd_engine::failure::Failure;
use flowd_engine::order::Keyed;
use flowd_engine::parcel::Parcel;
use flowd_engine::record::{Batch, Span};
use flowd_engine::worker::{Encode, Encoded};

use crate::batch::{DataForm, Form, Message, Parts, extensions};
use crate::block::{Block, Pieces};
use crate::event::Data;

mod templates;
mod write;

use write::Made;
pub(crate) use write::Writer;

/// Encodes for one lane.
pub struct MessageEncoder {
    writer: Writer,
    /// The batch's record at hand, …
    record: usize,
    /// … and how far it is taken apart, where it is a block.
    split: usize,
}

impl MessageEncoder {
    pub(crate) fn new(framing: Framing, source: String) -> Self {
        Self { writer: Writer::new(framing, source), record: 0, split: 0 }
    }

    /// Appends what the record is, or the next part of it, until the parcel is full; whether that was all.
    fn one(&mut self, form: &Form, bytes: Bytes<'_>, parcel: &mut Parcel<Keyed<Framed>>) -> bool {
        match form {
            Form::Parts(parts) => {
                let written = extensions(bytes.all, parts.extensions);
                let extensions = written.map(|(name, value)| (bytes.text(name), bytes.text(value)));
                self.writer.made(&bytes.made(parts), extensions, parcel);
            }
            Form::Structured { json, topic } => {
                self.writer.structured(bytes.of(*json), bytes.text(*topic), parcel);
            }
            Form::Rejected { reason, raw } => {
                self.writer.reject(bytes.text(*reason), bytes.of(*raw), parcel);
            }
            Form::Block(block) => return self.block(&**block, parcel),
        }
        true
    }

    fn block(&mut self, block: &dyn Block, parcel: &mut Parcel<Keyed<Framed>>) -> bool {
        let rest = block.split(self.split, &mut Pieces::new(&mut self.writer, parcel));
        self.split = rest.unwrap_or(0);
        rest.is_none()
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
            if self.one(form, bytes, parcel) {
                self.record += 1;
            }
            if parcel.is_full() && self.record < batch.records.len() {
                return Ok(Encoded::More);
            }
        }
        self.record = 0;
        Ok(Encoded::All)
    }
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

    fn made(self, parts: &Parts) -> Made<'a> {
        let part = |span: Span| self.text(span);
        Made {
            id: part(parts.id),
            kind: part(parts.kind),
            source: parts.source.map(part),
            topic: part(parts.topic),
            time_us: parts.time_us,
            key: parts.key.map(part),
            content_type: parts.content_type.map(part),
            data: match parts.form {
                DataForm::None => Data::None,
                DataForm::Text => Data::Text(part(parts.data)),
                DataForm::Binary => Data::Binary(self.of(parts.data)),
                DataForm::Json => Data::Json(self.of(parts.data)),
                DataForm::Any => Data::Any(self.of(parts.data)),
            },
            text: self.known_text(parts.data),
        }
    }

    /// A part that was pushed as a text.
    fn text(self, span: Span) -> &'a str {
        self.known_text(span)
            .unwrap_or_else(|| std::str::from_utf8(self.of(span)).expect("it was a text when it was pushed"))
    }
}

#[cfg(test)]
mod tests;
