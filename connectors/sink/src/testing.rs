//! What the tests of the targets share: parcels, an outlet that writes down what it is told, and a store in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use flowd_codec::event::{EventWriter, Framing, Template, stamp};
use flowd_engine::failure::Failure;
use flowd_engine::parcel::Parcel;
use flowd_engine::worker::{Delivery, Outlet};

use crate::announce::{Announce, Finished, Watermark};
use crate::event::SinkEvent;
use crate::store::{Applied, ChunkApplied, LaneApplied, Op, Refused, Store, StoreEvent};

pub(crate) const SOURCE: &str = "/flowd/mysql/a";
pub(crate) const EPOCH: u64 = 1_764_028_800_000_000;

/// An event of ours, which adds one to the counter of its name.
pub(crate) fn counted(lane: u16, sequence: u64, name: &str, delivery: &str) -> Vec<u8> {
    let op = if name == "truncate" { "t" } else { "c" };
    let after = if op == "t" { "null".to_owned() } else { format!(r#"{{"name":"{name}"}}"#) };
    let data =
        format!(r#"{{"before":null,"after":{after},"source":{{"db":"shop","table":"t"}},"op":"{op}"}}"#);
    with_data("flowd.change.c", lane, sequence, &data, delivery)
}

pub(crate) fn with_data(event_type: &str, lane: u16, sequence: u64, data: &str, delivery: &str) -> Vec<u8> {
    let template = Template::new(Framing::Bare, SOURCE, event_type, "shop.t");
    let mut out = Vec::new();
    let mut writer = EventWriter::begin(&mut out, &template);
    writer.id(|out| out.extend_from_slice(format!("{lane}-{sequence}").as_bytes()));
    writer.time_us(0);
    writer.sequence(lane);
    writer.extension("delivery", delivery);
    writer.data().extend_from_slice(data.as_bytes());
    let framed = writer.finish();
    stamp(&mut out, &framed, EPOCH, sequence);
    out
}

/// A row of a snapshot's chunk, read before anything was counted.
pub(crate) fn row(number: u32, size: u32, name: &str) -> Vec<u8> {
    format!(
        r#"{{"specversion":"1.0","id":"row-{number}","source":"{SOURCE}","type":"flowd.change.r","subject":"shop.t","snapshot":"s","chunk":"{EPOCH}-1","number":"{number}","chunksize":"{size}","lane":"00","after":"{EPOCH}-00000000000000000000","delivery":"applied","data":{{"before":null,"after":{{"name":"{name}"}},"source":{{"db":"shop","table":"t"}},"op":"r"}}}}"#
    )
    .into_bytes()
}

pub(crate) fn parcel(bodies: &[Vec<u8>]) -> Parcel<SinkEvent> {
    let mut parcel = Parcel::default();
    bodies.iter().for_each(|body| crate::decode::read(body, &mut parcel));
    parcel
}

/// Hands out parcels and writes down what it is told.
pub(crate) struct FakeOutlet<E = SinkEvent> {
    queue: VecDeque<Parcel<E>>,
    next_ticket: u64,
    /// Nothing more comes, but the end only once this is acknowledged.
    pub(crate) ends_after: Option<u64>,
    pub(crate) acked: Vec<u64>,
    pub(crate) recycled: usize,
    pub(crate) rejects: Vec<(String, String)>,
    pub(crate) on_reject: Option<Failure>,
    pub(crate) on_acked: Option<Box<dyn FnMut(u64) + Send>>,
    pub(crate) has_left: bool,
}

impl<E> FakeOutlet<E> {
    pub(crate) fn new(parcels: impl IntoIterator<Item = Parcel<E>>) -> Self {
        Self {
            queue: parcels.into_iter().collect(),
            next_ticket: 0,
            ends_after: None,
            acked: Vec::new(),
            recycled: 0,
            rejects: Vec::new(),
            on_reject: None,
            on_acked: None,
            has_left: false,
        }
    }
}

impl<E: Send> Outlet<E> for FakeOutlet<E> {
    fn next(&mut self) -> Option<Delivery<E>> {
        let ends = self.ends_after.is_none_or(|ticket| self.acked.contains(&ticket));
        assert!(ends || !self.queue.is_empty(), "a wait that nothing would end");
        let parcel = self.queue.pop_front()?;
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        Some(Delivery { ticket, parcel })
    }

    fn poll_next(&mut self, _context: &mut Context<'_>) -> Poll<Option<Delivery<E>>> {
        let waits = self.ends_after.is_some_and(|ticket| !self.acked.contains(&ticket));
        if self.queue.is_empty() && waits {
            return Poll::Pending;
        }
        let parcel = self.queue.pop_front();
        let ticket = self.next_ticket;
        self.next_ticket += u64::from(parcel.is_some());
        Poll::Ready(parcel.map(|parcel| Delivery { ticket, parcel }))
    }

    fn emitted(&mut self, _ticket: u64) {}

    fn acked(&mut self, ticket: u64) {
        if let Some(on_acked) = &mut self.on_acked {
            on_acked(ticket);
        }
        self.acked.push(ticket);
    }

    fn recycle(&mut self, _parcel: Parcel<E>) {
        self.recycled += 1;
    }

    fn reject(&mut self, reason: &str, line: &[u8]) -> Result<(), Failure> {
        if let Some(failure) = &self.on_reject {
            return Err(failure.clone());
        }
        self.rejects.push((reason.to_owned(), String::from_utf8(line.to_vec()).unwrap()));
        Ok(())
    }

    fn leave(&mut self) {
        self.has_left = true;
    }
}

/// What a put that is scripted does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// It is committed, and the answer is lost.
    AfterCommit,
    /// It is lost.
    BeforeCommit,
    /// It is lost, and the store comes back with less than it had.
    Restored,
}

/// What is in the store: how often each name was applied, in which order, and the records.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) counters: BTreeMap<String, u64>,
    pub(crate) log: Vec<String>,
    pub(crate) puts: Vec<usize>,
    pub(crate) lanes: BTreeMap<(String, String, u16), LaneApplied>,
    pub(crate) chunks: BTreeMap<(String, u64, u64), ChunkApplied>,
    pub(crate) opened: usize,
    pub(crate) is_closed: bool,
    /// By the number of the put.
    pub(crate) mishaps: BTreeMap<usize, Mishap>,
    /// Names that are refused, and until which name is applied; empty for ever.
    pub(crate) refused: BTreeMap<String, String>,
    tries: usize,
}

/// A store in memory, with transactions.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryStore(pub(crate) Arc<Mutex<Kept>>);

impl MemoryStore {
    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }
}

impl Store for MemoryStore {
    fn open(&mut self) -> Result<Applied, Failure> {
        let mut kept = self.kept();
        kept.opened += 1;
        let lanes = kept.lanes.values().cloned().collect();
        Ok(Applied { lanes, chunks: kept.chunks.values().cloned().collect(), over: Vec::new() })
    }

    fn put(&mut self, events: &[StoreEvent<'_>], applied: &Applied) -> Result<Vec<Refused>, Failure> {
        let mut kept = self.kept();
        kept.tries += 1;
        let number = kept.tries;
        let mishap = kept.mishaps.get(&number).copied();
        let lost = || Failure::Retry("the connection is gone".to_owned());
        match mishap {
            Some(Mishap::BeforeCommit) => return Err(lost()),
            Some(Mishap::Restored) => {
                kept.lanes.values_mut().for_each(|lane| lane.sequence -= 1);
                return Err(lost());
            }
            _ => {}
        }
        let names: Vec<String> = events.iter().map(name_of).collect();
        assert!(
            events.len() == 1 || events.iter().all(|event| event.op != Op::Truncate),
            "a TRUNCATE is alone"
        );
        let refused: Vec<Refused> = names
            .iter()
            .enumerate()
            .filter_map(|(index, name)| {
                let until = kept.refused.get(name).filter(|until| !kept.counters.contains_key(*until))?;
                Some(Refused { index, reason: format!("{name} is refused"), later: !until.is_empty() })
            })
            .collect();
        if !refused.is_empty() {
            return Ok(refused);
        }
        for name in names {
            *kept.counters.entry(name.clone()).or_default() += 1;
            kept.log.push(name);
        }
        kept.puts.push(events.len());
        for lane in &applied.lanes {
            let key = (lane.source.to_string(), lane.topic.to_string(), lane.lane);
            kept.lanes.insert(key, lane.clone());
        }
        for chunk in &applied.chunks {
            kept.chunks.insert((chunk.snapshot.to_string(), chunk.run, chunk.number), chunk.clone());
        }
        match mishap {
            Some(Mishap::AfterCommit) => Err(lost()),
            _ => Ok(Vec::new()),
        }
    }

    fn close(&mut self) {
        self.kept().is_closed = true;
    }
}

/// The `name` in what an event brings.
fn name_of(event: &StoreEvent<'_>) -> String {
    let Some(object) = event.after.or(event.plain) else { return "truncate".to_owned() };
    let value: serde_json::Value = serde_json::from_slice(object).unwrap();
    value["name"].as_str().unwrap().to_owned()
}

/// What was announced, in order: lane and number, or the chunk's number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard(pub(crate) Arc<Mutex<Vec<(u16, u64)>>>, pub(crate) Arc<Mutex<Vec<u64>>>);

impl Announce for Heard {
    fn applied(&mut self, source: &str, lanes: &[Watermark<'_>], chunks: &[Finished<'_>]) {
        assert_eq!(source, SOURCE);
        self.0.lock().unwrap().extend(lanes.iter().map(|lane| (lane.lane, lane.sequence)));
        self.1.lock().unwrap().extend(chunks.iter().map(|chunk| chunk.chunk.number));
    }
}
