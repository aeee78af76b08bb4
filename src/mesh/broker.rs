//! The store of the embedded mesh: topics, groups and sessions' seats behind one lock.
//!
//! Everything here is memory and bookkeeping, apart from reading event bodies back from the journal; writing and
//! syncing is `commit.rs`. The promises of the store are kept here: a publish is stored with or without subscribers, a
//! new group starts at the oldest event kept, only what every group acknowledged is dropped (or the oldest, in a topic
//! that never had a group), and at the bound publishers are refused. Worst-case memory: the bound without a directory;
//! with one, an entry per event kept, plus [`UNDURABLE_MAX`] waiting for the disk.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use ahash::AHashMap;
use tokio::sync::Notify;

use super::group::Progress;
use super::journal::Journal;
use super::record::{self, Arrival};
use super::topic::{Body, Entry, Kind, Seat, Topic};

mod upkeep;

pub(crate) use upkeep::Commit;
use upkeep::account;

/// Bytes that may wait for the disk before publishers are refused.
const UNDURABLE_MAX: u64 = 64 << 20;
/// Topics a mesh holds.
const TOPICS_MAX: usize = 65_536;
/// Groups and broadcast readers a topic holds.
const GROUPS_MAX: usize = 4_096;

/// The broker and the signal that there is something to commit.
#[derive(Debug)]
pub(crate) struct Shared {
    broker: Mutex<Broker>,
    /// Told when there is work for the commit thread.
    pub(crate) work: Condvar,
}

impl Shared {
    pub(crate) fn new(broker: Broker) -> Self {
        Self { broker: Mutex::new(broker), work: Condvar::new() }
    }

    /// The broker. A panic elsewhere while it was locked is passed on: its state may be half-changed.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Broker> {
        self.broker.lock().expect("no thread panicked while it held the broker")
    }
}

/// Why a publish or a subscription is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The bound is reached; it may pass.
    Full,
    /// Too many topics, or too many groups in one topic.
    Crowded,
    /// The journal cannot be written; the mesh is going down.
    Broken,
}

/// A reader's place: a group of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) topic: u32,
    pub(crate) group: u32,
}

/// One event on its way to a session.
pub(crate) struct Delivery<'a> {
    pub(crate) seq: u64,
    pub(crate) offset: u64,
    pub(crate) arrival: Arrival,
    pub(crate) body: &'a [u8],
}

#[derive(Debug)]
struct Sitter {
    notify: Arc<Notify>,
    /// Listening, with room, and found nothing.
    hungry: bool,
    /// Has replies that wait for a commit.
    waiting: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Broker {
    topics: Vec<Topic>,
    names: AHashMap<Box<str>, u32>,
    seats: Vec<Option<Sitter>>,
    waiting: Vec<Seat>,
    touched: Vec<u32>,
    dirty: Vec<Place>,
    bytes: u64,
    bytes_max: u64,
    journal: Option<Journal>,
    broken: bool,
    next_seq: u64,
    dropped: u64,
    refused: u64,
}

impl Broker {
    /// A store in memory that keeps at most `bytes_max`.
    pub(crate) fn in_memory(bytes_max: u64) -> Self {
        Self {
            topics: Vec::new(),
            names: AHashMap::new(),
            seats: Vec::new(),
            waiting: Vec::new(),
            touched: Vec::new(),
            dirty: Vec::new(),
            bytes: 0,
            bytes_max,
            journal: None,
            broken: false,
            next_seq: 1,
            dropped: 0,
            refused: 0,
        }
    }

    /// A store in `directory`, with everything that was acknowledged into it before.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub(crate) fn open(directory: &Path, bytes_max: u64) -> io::Result<Self> {
        let mut restored = super::restore::Restored::default();
        let segment_bytes = (bytes_max / 16).clamp(64 << 10, 64 << 20);
        let mut journal = Journal::open(directory, segment_bytes, |lsn, record| restored.take(lsn, record))?;
        let mut broker = Self::in_memory(bytes_max);
        broker.topics = restored.topics();
        for (index, topic) in broker.topics.iter().enumerate() {
            broker.names.insert(topic.name.clone(), index as u32);
            broker.bytes += topic.bytes;
            for entry in &topic.entries {
                if let Body::Filed { lsn, .. } = entry.body {
                    journal.count_live(lsn, entry.cost(), true);
                }
            }
        }
        broker.journal = Some(journal);
        Ok(broker)
    }

    /// Gives a connection its seat.
    pub(crate) fn sit(&mut self, notify: Arc<Notify>) -> Seat {
        let sitter = Some(Sitter { notify, hungry: false, waiting: false });
        match self.seats.iter().position(Option::is_none) {
            Some(seat) => {
                self.seats[seat] = sitter;
                seat as Seat
            }
            None => {
                self.seats.push(sitter);
                (self.seats.len() - 1) as Seat
            }
        }
    }

    /// Frees a seat; the caller has left its groups before.
    pub(crate) fn stand_up(&mut self, seat: Seat) {
        self.waiting.retain(|waiting| *waiting != seat);
        self.seats[seat as usize] = None;
    }

    /// Stores an event and returns the LSN from which on it is durable (0 without a directory).
    ///
    /// # Errors
    /// The bound is reached, there are too many topics, or the journal broke.
    pub(crate) fn publish(&mut self, topic: &str, arrival: Arrival, body: &[u8]) -> Result<u64, Refusal> {
        self.make_room(Entry::cost_of(body.len()))?;
        let index = self.topic(topic)?;
        let offset = self.topics[index as usize].next();
        let (body, durable_at) = match self.journal() {
            None => (Body::Held(body.into()), 0),
            Some(journal) => {
                let lsn = journal.append(|out| record::write_event(out, index, offset, arrival, body));
                journal.count_live(lsn, Entry::cost_of(body.len()), true);
                (Body::Filed { lsn, length: body.len() as u32 }, journal.end())
            }
        };
        let entry = Entry { arrival, body };
        self.bytes += entry.cost();
        let topic = &mut self.topics[index as usize];
        topic.push(entry);
        topic.settled_at = durable_at;
        self.touch(index);
        Ok(durable_at)
    }

    /// Makes the seat a reader of a topic. A new group starts at the oldest event kept, a broadcast reader at the next.
    ///
    /// # Errors
    /// There are too many topics, or too many groups in this one.
    pub(crate) fn subscribe(
        &mut self,
        seat: Seat,
        topic: &str,
        group: Option<&str>,
    ) -> Result<Place, Refusal> {
        let index = self.topic(topic)?;
        let topic = &mut self.topics[index as usize];
        let known = group.and_then(|name| topic.group(name));
        if known.is_none() && topic.groups.len() >= GROUPS_MAX {
            return Err(Refusal::Crowded);
        }
        let place = known.unwrap_or_else(|| match group {
            Some(name) => topic.add(Kind::Clustering(name.into()), Progress::starting_at(topic.base)),
            None => topic.add(Kind::Broadcasting, Progress::starting_at(topic.next())),
        });
        topic.groups[place].seats.push(seat);
        let place = Place { topic: index, group: place as u32 };
        if group.is_some() && known.is_none() {
            self.soil(place);
        }
        Ok(place)
    }

    /// Ends a seat's reading; what it had in hand must have been released before.
    pub(crate) fn leave(&mut self, seat: Seat, place: Place) {
        let group = &mut self.topics[place.topic as usize].groups[place.group as usize];
        group.seats.retain(|other| *other != seat);
        if group.kind == Kind::Broadcasting {
            group.kind = Kind::Vacant;
        }
        self.touch(place.topic);
    }

    /// Hands at most `room` events to a reader until it breaks off: its fair share of what waits, redeliveries first.
    ///
    /// # Errors
    /// The journal cannot be read; nothing is lost, the event goes out again.
    pub(crate) fn take(
        &mut self,
        place: Place,
        room: usize,
        mut deliver: impl FnMut(Delivery<'_>) -> ControlFlow<()>,
    ) -> io::Result<usize> {
        let topic = &mut self.topics[place.topic as usize];
        let visible = topic.visible;
        let group = &mut topic.groups[place.group as usize];
        let share = group.progress.waiting(visible).div_ceil(group.seats.len().max(1) as u64);
        let mut taken = 0;
        while (taken as u64) < share.min(room as u64) {
            let Some(offset) = topic.groups[place.group as usize].progress.take(visible) else { break };
            let Some(entry) = topic.entry(offset) else { continue };
            let body = match &entry.body {
                Body::Held(bytes) => &**bytes,
                Body::Filed { lsn, length } => {
                    let journal = self.journal.as_mut().expect("filed events have a journal");
                    // A body that is just being moved by the journal is readable again after the next commit.
                    let read = (*lsn < journal.durable()).then(|| journal.read(*lsn, *length)).transpose();
                    let Ok(Some(body)) = read else {
                        topic.groups[place.group as usize].progress.release(offset);
                        return read.map(|_| taken);
                    };
                    body
                }
            };
            let delivery = Delivery { seq: self.next_seq, offset, arrival: entry.arrival, body };
            self.next_seq += 1;
            taken += 1;
            if deliver(delivery).is_break() {
                break;
            }
        }
        Ok(taken)
    }

    /// The reader found nothing and has room: wake it when there is something.
    pub(crate) fn starve(&mut self, seat: Seat) {
        if let Some(sitter) = &mut self.seats[seat as usize] {
            sitter.hungry = true;
        }
    }

    /// Wake the seat when everything appended so far is durable.
    pub(crate) fn await_commit(&mut self, seat: Seat) {
        if let Some(sitter) = &mut self.seats[seat as usize]
            && !sitter.waiting
        {
            sitter.waiting = true;
            self.waiting.push(seat);
        }
    }

    /// An event was acknowledged by a reader.
    pub(crate) fn ack(&mut self, place: Place, offset: u64) {
        let topic = &mut self.topics[place.topic as usize];
        let group = &mut topic.groups[place.group as usize];
        if !group.progress.ack(offset) || group.kind == Kind::Broadcasting {
            return;
        }
        let moved = group.progress.cursor() > offset;
        self.soil(place);
        if moved {
            self.prune(place.topic);
        }
    }

    /// An event handed to a reader comes back unacknowledged.
    pub(crate) fn release(&mut self, place: Place, offset: u64) {
        self.topics[place.topic as usize].groups[place.group as usize].progress.release(offset);
        self.touch(place.topic);
    }

    /// Wakes readers of topics with news; to be called once per batch of work.
    pub(crate) fn wake_readers(&mut self) {
        let durable = self.journal.as_ref().map(Journal::durable);
        for index in std::mem::take(&mut self.touched) {
            let topic = &mut self.topics[index as usize];
            show(topic, durable);
            topic.touched = durable.is_some_and(|durable| durable < topic.settled_at);
            if topic.touched {
                self.touched.push(index); // The next commit has more news of it.
            }
            for group in &mut topic.groups {
                let waiting = group.progress.waiting(topic.visible).min(group.seats.len() as u64);
                let count = group.seats.len();
                let mut woken = 0;
                for step in 0..count {
                    let seat = group.seats[(group.turn + step) % count];
                    if woken < waiting
                        && let Some(sitter) = &mut self.seats[seat as usize]
                        && std::mem::take(&mut sitter.hungry)
                    {
                        sitter.notify.notify_one();
                        woken += 1;
                    }
                }
                group.turn = group.turn.wrapping_add(1) % count.max(1);
            }
        }
    }

    /// The LSN below which everything is durable; all of it, where nothing is promised.
    pub(crate) fn durable(&self) -> u64 {
        self.journal.as_ref().map_or(u64::MAX, Journal::durable)
    }

    /// Whether anything waits for the disk, and whether somebody waits for that.
    pub(crate) fn work(&self) -> (bool, bool) {
        let undurable = self.journal.as_ref().is_some_and(|journal| journal.undurable() > 0);
        (undurable || (self.journal.is_some() && !self.dirty.is_empty()), undurable)
    }

    /// Whether the journal could not be written.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Events dropped at the bound, and publishes refused there.
    pub(crate) fn losses(&self) -> (u64, u64) {
        (self.dropped, self.refused)
    }

    fn wake_waiting(&mut self) {
        for seat in std::mem::take(&mut self.waiting) {
            if let Some(sitter) = &mut self.seats[seat as usize] {
                sitter.waiting = false;
                sitter.notify.notify_one();
            }
        }
    }

    /// The journal, ready to be appended to.
    fn journal(&mut self) -> Option<&mut Journal> {
        let journal = self.journal.as_mut()?;
        if journal.wants_segment() {
            let topics = &self.topics;
            journal.begin_segment(|out| account(topics, out));
        }
        Some(journal)
    }

    fn topic(&mut self, name: &str) -> Result<u32, Refusal> {
        if let Some(index) = self.names.get(name) {
            return Ok(*index);
        }
        if self.topics.len() >= TOPICS_MAX {
            return Err(Refusal::Crowded);
        }
        let index = self.topics.len() as u32;
        if let Some(journal) = self.journal() {
            journal.append(|out| record::write_topic(out, index, 0, 0, name));
        }
        self.topics.push(Topic::new(name, 0));
        self.names.insert(name.into(), index);
        Ok(index)
    }

    fn touch(&mut self, index: u32) {
        if !std::mem::replace(&mut self.topics[index as usize].touched, true) {
            self.touched.push(index);
        }
    }

    fn soil(&mut self, place: Place) {
        let group = &mut self.topics[place.topic as usize].groups[place.group as usize];
        if self.journal.is_some() && !std::mem::replace(&mut group.dirty, true) {
            self.dirty.push(place);
        }
    }
}

/// Lets a topic's readers see what is durable by now.
fn show(topic: &mut Topic, durable: Option<u64>) {
    let Some(durable) = durable else {
        topic.visible = topic.next();
        return;
    };
    while let Some(Entry { body: Body::Filed { lsn, .. }, .. }) = topic.entry(topic.visible)
        && *lsn < durable
    {
        topic.visible += 1;
    }
}
