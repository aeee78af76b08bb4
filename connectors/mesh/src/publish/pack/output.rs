//! Writes packed events.

use ahash::AHashMap;
use flowd_codec::event::{Framing, Template, batch, incoming};
use flowd_codec::time;
use flowd_engine::order::Keyed;
use flowd_engine::parcel::Parcel;
use flowd_engine::sequence::TopicId;
use flowd_engine::worker::Delivery;

use super::groups::Group;
use super::{At, MemberKeys, event_at, foreign};
use crate::Outgoing;

/// Emptied parcels kept for the next round, about 256 KiB each.
const SPARE_MAX: usize = 8;

/// Where packed events are written.
#[derive(Default)]
pub(super) struct Output {
    pub(super) parcel: Parcel<Outgoing>,
    pub(super) keys: MemberKeys,
    /// Emptied parcels, for their memory.
    pub(super) spare: Vec<Parcel<Outgoing>>,
    pub(super) templates: AHashMap<TopicId, Template>,
}

impl Output {
    /// Takes a parcel for its memory.
    pub(super) fn keep(&mut self, mut parcel: Parcel<Outgoing>) {
        if self.spare.len() < SPARE_MAX {
            parcel.clear();
            self.spare.push(parcel);
        }
    }

    pub(super) fn finish(&mut self) -> (Parcel<Outgoing>, MemberKeys) {
        let next = self.spare.pop().unwrap_or_default();
        (std::mem::replace(&mut self.parcel, next), std::mem::take(&mut self.keys))
    }

    /// The fixed size of a batch of this event's topic.
    pub(super) fn fixed_size(&mut self, keyed: Outgoing, buffer: &[u8]) -> usize {
        let template = self.templates.entry(keyed.place.topic);
        template.or_insert_with(|| template_for(keyed.event.json(buffer))).fixed_size()
    }

    /// An event as it is.
    pub(super) fn copy(&mut self, keyed: Outgoing, buffer: &[u8]) {
        let to = u32::try_from(self.parcel.buffer.len()).unwrap_or(u32::MAX);
        self.parcel.buffer.extend_from_slice(keyed.event.frame(buffer));
        let event = keyed.event.moved(keyed.event.start, to);
        let mut keys = Vec::new();
        foreign::add_keys(&keyed, buffer, &mut keys);
        self.push(Keyed { event, ..keyed }, &keys);
    }

    /// A group's events as a batch; a single one as it is.
    pub(super) fn write(&mut self, taken: &[Delivery<Outgoing>], group: &Group) {
        let (Some(first), Some(last)) = (group.members.first(), group.members.last()) else { return };
        let (last, buffer) = event_at(taken, *last);
        if group.members.len() == 1 {
            return self.copy(last, buffer);
        }
        let members: Vec<_> = group.members.iter().map(|at| member_at(taken, *at)).collect();
        let template = &self.templates[&group.lane.0];
        let time_us = time_of(member_at(taken, *first).json);
        let event = batch::write(&mut self.parcel.buffer, template, time_us, &members);
        let keys: Vec<u64> = group.members.iter().map(|at| event_at(taken, *at).0.keys[0]).collect();
        self.push(Keyed { event, keys: [0; 2], ..last }, &keys);
    }

    pub(super) fn push(&mut self, keyed: Outgoing, keys: &[u64]) {
        self.parcel.events.push(keyed);
        self.keys.keys.extend(keys.iter().filter(|key| **key != 0));
        self.keys.ends.push(u32::try_from(self.keys.keys.len()).expect("a parcel holds fewer keys"));
    }
}

fn member_at(taken: &[Delivery<Outgoing>], at: At) -> batch::Member<'_> {
    let (keyed, buffer) = event_at(taken, at);
    batch::Member { id: keyed.event.id(buffer), json: keyed.event.json(buffer) }
}

/// What batches of the topic of this event of ours begin with.
pub(crate) fn template_for(json: &[u8]) -> Template {
    let event = incoming::read(json).expect("the encoder wrote a CloudEvent");
    batch::template(Framing::EventMesh, &event.source, event.topic.as_deref().unwrap_or_default())
}

/// The time of an event of ours.
pub(crate) fn time_of(json: &[u8]) -> i64 {
    let event = incoming::read(json).ok();
    event.and_then(|event| time::parse_rfc3339_us(event.time.as_deref()?)).unwrap_or_default()
}
