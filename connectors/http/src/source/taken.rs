//! Events that were looked at, on their way to a lane, which writes them.

use std::sync::Arc;

use bytes::Bytes;
use flowd_codec::event::view::{EventView, ExtensionValue};
use flowd_source::{Block, Event, Pieces};
use hyper::HeaderMap;

use crate::binding::read::{Plain, binary};

/// The extension that keeps a subject which is not the topic.
const ORIGINAL_SUBJECT: &str = "originalsubject";

/// An event that will become one of the mesh's, and its topic.
pub(super) enum Ready {
    /// As structured JSON.
    Whole { json: Bytes, topic: String },
    /// As headers and body, which were read once without a fault.
    Binary { headers: HeaderMap, body: Bytes, plain: Option<Arc<Plain>>, topic: String },
}

impl Ready {
    /// Bytes that it holds.
    fn size(&self) -> usize {
        match self {
            Self::Whole { json, topic } => json.len() + topic.len(),
            Self::Binary { headers, body, topic, .. } => {
                let headers = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
                headers.sum::<usize>() + body.len() + topic.len()
            }
        }
    }

    fn push(&self, out: &mut Pieces<'_>) {
        match self {
            Self::Whole { json, topic } => out.push(&Event::Structured { json, topic }),
            Self::Binary { headers, body, plain, topic } => {
                let mut text = Vec::new();
                match binary(headers, body, plain.as_deref(), &mut text) {
                    Ok(mut event) => {
                        keep_subject(&mut event, topic);
                        out.push_view(&event, topic, body);
                    }
                    Err(reason) => out.reject(reason.text(), body),
                }
            }
        }
    }
}

/// The topic takes the place of an event's subject: another one is kept aside. Whether there was another.
pub(super) fn keep_subject(event: &mut EventView<'_>, topic: &str) -> bool {
    let Some(subject) = event.subject.take().filter(|subject| *subject != topic) else { return false };
    if event.extension(ORIGINAL_SUBJECT).is_none() {
        event.extensions.push((ORIGINAL_SUBJECT.into(), ExtensionValue::String(subject)));
    }
    true
}

/// What goes to a lane at once.
#[derive(Default)]
pub(super) struct Taken {
    events: Vec<Ready>,
    size: usize,
}

impl Taken {
    pub(super) fn add(&mut self, event: Ready) {
        self.size += event.size() + size_of::<Ready>();
        self.events.push(event);
    }
}

impl Block for Taken {
    fn size(&self) -> usize {
        self.size
    }

    fn split(&self, from: usize, out: &mut Pieces<'_>) -> Option<usize> {
        for (index, event) in self.events.iter().enumerate().skip(from) {
            if out.is_full() {
                return Some(index);
            }
            event.push(out);
        }
        None
    }
}
