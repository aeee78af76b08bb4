//! Which events can be packed with which: the lanes of a round, each with the events that wait in it.

use ahash::AHashMap;
use flowd_codec::event::{self, batch};
use flowd_engine::sequence::{Lane, Numbering, TopicId};

use super::At;
use crate::Outgoing;

/// What decides whether an event goes into a batch.
pub(super) struct Member {
    pub(super) key: u64,
    pub(super) json_size: usize,
    pub(super) id_size: usize,
    pub(super) numbering: Numbering,
    pub(super) chunk: Option<u64>,
}

impl Member {
    pub(super) fn of(keyed: Outgoing, buffer: &[u8]) -> Self {
        Self {
            key: keyed.keys[0],
            json_size: keyed.event.json(buffer).len(),
            id_size: keyed.event.id(buffer).len(),
            numbering: keyed.place.numbering,
            chunk: event::chunk(buffer, &keyed.event).and_then(chunk_number),
        }
    }
}

/// The number in a chunk's name; what stands before it is the same for all that this process reads.
fn chunk_number(name: &[u8]) -> Option<u64> {
    std::str::from_utf8(name).ok()?.rsplit_once('-')?.1.parse().ok()
}

/// Events of one lane that wait to be packed.
pub(super) struct Group {
    pub(super) lane: (TopicId, Lane),
    /// What the batch has besides ids and members.
    pub(super) fixed_size: usize,
    pub(super) members: Vec<At>,
    pub(super) members_size: usize,
    pub(super) first_id_size: usize,
    pub(super) numbering: Numbering,
    pub(super) chunk: Option<u64>,
    /// Whether it is in the list of open ones.
    pub(super) is_open: bool,
}

impl Group {
    pub(super) fn takes(&self, member: &Member, bytes_max: usize) -> bool {
        let count = self.members.len() + 1;
        let ids_size = self.first_id_size + member.id_size;
        count == 1
            || (self.numbering == member.numbering
                && self.chunk == member.chunk
                && batch::size(self.fixed_size, ids_size, self.members_size + member.json_size, count)
                    <= bytes_max)
    }

    pub(super) fn clear(&mut self) {
        self.members.clear();
        self.members_size = 0;
    }
}

/// The lanes, each with the group that is open in it.
#[derive(Default)]
pub(super) struct Groups {
    pub(super) all: Vec<Group>,
    pub(super) by_lane: AHashMap<(TopicId, Lane), usize>,
    /// Those with members, in the order in which they were opened.
    pub(super) open: Vec<usize>,
    /// In which of these each key is.
    pub(super) holders: AHashMap<u64, usize>,
}

impl Groups {
    pub(super) fn of(&mut self, lane: (TopicId, Lane), fixed_size: impl FnOnce() -> usize) -> usize {
        *self.by_lane.entry(lane).or_insert_with(|| {
            self.all.push(Group {
                lane,
                fixed_size: fixed_size(),
                members: Vec::new(),
                members_size: 0,
                first_id_size: 0,
                numbering: Numbering::None,
                chunk: None,
                is_open: false,
            });
            self.all.len() - 1
        })
    }

    /// Whether another lane's group holds the key: the table's definition has changed, and its lane with it.
    pub(super) fn is_held_elsewhere(&self, key: u64, index: usize) -> bool {
        key != 0 && self.holders.get(&key).is_some_and(|holder| *holder != index)
    }

    pub(super) fn has_other(&self, index: usize) -> bool {
        self.open.iter().any(|open| *open != index)
    }

    pub(super) fn add(&mut self, index: usize, at: At, member: &Member) {
        self.holders.insert(member.key, index);
        let group = &mut self.all[index];
        if group.members.is_empty() {
            (group.first_id_size, group.numbering, group.chunk) =
                (member.id_size, member.numbering, member.chunk);
            if !std::mem::replace(&mut group.is_open, true) {
                self.open.push(index);
            }
        }
        group.members.push(at);
        group.members_size += member.json_size;
    }
}
