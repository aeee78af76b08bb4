//! A source, a mesh that loses, doubles and reorders, and a sink that crashes, all by chance.

use std::collections::{BTreeMap, BTreeSet};

use flowd_codec::event::incoming::Chunk;
use proptest::prelude::*;

use super::super::*;

const SOURCE: &str = "/flowd/mysql/a";
const LANES: u16 = 3;

/// Chance that proptest can repeat.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

/// What the source sends; its index is its name.
#[derive(Debug, Clone, Copy)]
struct Event {
    lane: u16,
    kind: Kind,
    /// It belongs to an epoch or a run that the source itself has ended.
    is_over: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Counted { epoch: u64, sequence: u64 },
    Truncate { epoch: u64, sequence: u64 },
    Row { run: u64, chunk: u64, number: u32, size: u32, after: (u64, u64) },
}

struct Source {
    events: Vec<Event>,
    counts: [u64; LANES as usize],
    epoch: u64,
    run: u64,
    chunks: u64,
    is_applied: bool,
}

impl Source {
    fn new(is_applied: bool) -> Self {
        Self { events: Vec::new(), counts: [0; LANES as usize], epoch: 1000, run: 1, chunks: 0, is_applied }
    }

    /// Something happens at the source; the names of the events that come of it.
    fn happen(&mut self, chance: &mut Chance) -> std::ops::Range<usize> {
        let first = self.events.len();
        match chance.below(40) {
            0 => self.begin_epoch(),
            1 => self.begin_run(),
            2 => {
                self.counts[0] += 1;
                let kind = Kind::Truncate { epoch: self.epoch, sequence: self.counts[0] };
                self.events.push(Event { lane: 0, kind, is_over: false });
            }
            3..7 => self.read_chunk(chance),
            _ => {
                let lane = chance.below(LANES.into());
                self.counts[lane] += 1;
                let kind = Kind::Counted { epoch: self.epoch, sequence: self.counts[lane] };
                self.events.push(Event { lane: lane as u16, kind, is_over: false });
            }
        }
        first..self.events.len()
    }

    fn begin_epoch(&mut self) {
        self.epoch += 1;
        self.counts = [0; LANES as usize];
        self.events.iter_mut().for_each(|event| event.is_over = true);
        self.mark_run();
    }

    /// A restart: what is not applied of the snapshot is read again, by other chunks.
    fn begin_run(&mut self) {
        let rows = self.events.iter_mut().filter(|event| matches!(event.kind, Kind::Row { .. }));
        rows.for_each(|event| event.is_over = true);
        self.mark_run();
    }

    /// A run tells of itself before it sends anything else, so that no row of an earlier one can come behind that.
    fn mark_run(&mut self) {
        self.run += 1;
        let after = (self.epoch, self.counts[0]);
        let kind = Kind::Row { run: self.run, chunk: 0, number: 0, size: 1, after };
        self.events.push(Event { lane: 0, kind, is_over: false });
    }

    fn read_chunk(&mut self, chance: &mut Chance) {
        self.chunks += 1;
        let size = 1 + chance.below(5) as u32;
        for number in 0..size {
            let lane = chance.below(LANES.into());
            let after = (self.epoch, self.counts[lane]);
            let kind = Kind::Row { run: self.run, chunk: self.chunks, number, size, after };
            self.events.push(Event { lane: lane as u16, kind, is_over: false });
        }
    }
}

/// What the store keeps through a crash.
#[derive(Default)]
struct Kept {
    lanes: BTreeMap<u16, LaneApplied>,
    chunks: BTreeMap<(String, u64, u64), ChunkApplied>,
    /// Names in the order in which they were applied.
    log: Vec<usize>,
    applied: BTreeSet<usize>,
}

impl Kept {
    fn commit(&mut self, names: &[usize], records: Applied) {
        for lane in records.lanes {
            self.lanes.insert(lane.lane, lane);
        }
        for chunk in records.chunks {
            self.chunks.insert((chunk.snapshot.to_string(), chunk.run, chunk.number), chunk);
        }
        for over in records.over {
            self.chunks.retain(|(snapshot, run, _), _| **snapshot != *over.snapshot || *run >= over.run);
        }
        for name in names {
            assert!(self.applied.insert(*name), "event {name} is applied twice");
            self.log.push(*name);
        }
    }

    fn load(&self) -> Applied {
        Applied {
            lanes: self.lanes.values().cloned().collect(),
            chunks: self.chunks.values().cloned().collect(),
            over: Vec::new(),
        }
    }
}

struct Sink {
    order: Order<usize>,
    kept: Kept,
    batch: Vec<(Place, usize)>,
    now_ms: u64,
    missing: u64,
    /// Whether the store refuses events for a while now and then.
    refuses: bool,
}

impl Sink {
    const SETTINGS: Settings =
        Settings { buffer_bytes: 100, gap_wait_ms: 100, silent_wait_ms: 100, first_wait_ms: 10 };

    fn new() -> Self {
        let order = Order::new(Self::SETTINGS);
        Self { order, kept: Kept::default(), batch: Vec::new(), now_ms: 1, missing: 0, refuses: true }
    }

    fn place(&mut self, event: &Event, is_applied: bool) -> Place {
        let lane = self.order.lane(SOURCE, "t", event.lane).unwrap();
        let (number, is_barrier) = match event.kind {
            Kind::Counted { epoch, sequence } => (Number::Counted { epoch, sequence }, false),
            Kind::Truncate { epoch, sequence } => (Number::Counted { epoch, sequence }, true),
            Kind::Row { run, chunk, number, size, after } => {
                let snapshot = self.order.snapshot(SOURCE, "s").unwrap();
                let row = Row { snapshot, chunk: Chunk { run, number: chunk }, number, size };
                (Number::Row { row, after }, false)
            }
        };
        Place { lane, number, is_applied, is_barrier, gap: None }
    }

    fn arrive(&mut self, name: usize, event: &Event, is_applied: bool) -> Verdict {
        let place = self.place(event, is_applied);
        let verdict = self.order.judge(&place, 10, self.now_ms);
        match verdict {
            Verdict::Go => self.batch.push((place, name)),
            Verdict::Wait => self.order.hold(place, 10, name, self.now_ms),
            Verdict::Drop(_) => {}
        }
        verdict
    }

    fn release(&mut self, chance: &mut Chance) {
        self.now_ms += chance.next() % 20;
        while let Some(released) = self.order.release(self.now_ms, true) {
            self.batch.push(released);
        }
        self.order.drain_dropped().for_each(drop);
    }

    /// A put, which the store takes only in part now and then.
    fn put(&mut self, chance: &mut Chance) {
        if self.refuses && chance.percent(10) && !self.batch.is_empty() {
            self.give_back(chance.below(self.batch.len()));
        }
        let mut lanes: Vec<LaneId> = self.batch.iter().map(|(place, _)| place.lane).collect();
        lanes.sort_unstable();
        lanes.dedup();
        let rows: Vec<Row> = self
            .batch
            .iter()
            .filter_map(|(place, _)| match place.number {
                Number::Row { row, .. } => Some(row),
                Number::Counted { .. } => None,
            })
            .collect();
        let records = self.order.records(&lanes, &rows);
        self.order.recorded(&records);
        let names: Vec<usize> = self.batch.drain(..).map(|(_, name)| name).collect();
        self.kept.commit(&names, records);
        self.missing += self.order.take_counts().missing;
    }

    fn give_back(&mut self, index: usize) {
        let first = self.batch[index].0;
        if !self.order.may_give_back(&first) {
            return;
        }
        let lane = first.lane;
        let mut at = 0;
        let back: Vec<(Place, usize)> = self
            .batch
            .extract_if(.., |(place, _)| {
                at += 1;
                at > index && place.lane == lane
            })
            .collect();
        for (place, name) in back.into_iter().rev() {
            self.order.give_back(place, 10, name, self.now_ms, self.now_ms + 30);
        }
    }

    /// The process dies and another begins.
    fn crash(&mut self) {
        self.batch.clear();
        self.order = Order::new(Self::SETTINGS);
        self.order.load(&self.kept.load());
    }
}

/// What must hold of the log whatever the mesh does.
fn check_log(log: &[usize], events: &[Event], is_applied: bool) {
    let mut last = BTreeMap::<u16, (u64, u64)>::new();
    let mut truncated = None;
    for name in log {
        let event = &events[*name];
        let last = last.entry(event.lane).or_insert((0, 0));
        match event.kind {
            Kind::Counted { epoch, sequence } | Kind::Truncate { epoch, sequence } => {
                assert!((epoch, sequence) > *last, "event {name} goes backwards behind {last:?}: {event:?}");
                let expected = if epoch > last.0 { 1 } else { last.1 + 1 };
                assert!(!is_applied || sequence == expected, "a gap at {event:?}, {expected} was next");
                *last = (epoch, sequence);
            }
            Kind::Row { after, .. } => {
                assert!(after.0 >= last.0, "a row of an epoch that is over: {event:?}");
                let is_reached = after.1 == 0 || (after.0 == last.0 && after.1 <= last.1) || !is_applied;
                assert!(is_reached, "row {name} before what it comes after: {event:?}, {last:?}");
            }
        }
        if is_applied {
            assert!(
                truncated.is_none_or(|truncate| truncate < *name),
                "event {name} is from before {truncated:?}"
            );
        }
        if matches!(event.kind, Kind::Truncate { .. }) {
            truncated = Some(*name);
        }
    }
}

/// With applied delivery: what the source may have under way.
struct Applying {
    source: Source,
    sink: Sink,
    mesh: Vec<usize>,
    /// Delivered copies that may come once more, much later.
    late: Vec<usize>,
    sent: usize,
}

impl Applying {
    /// Sends the next event. Behind a TRUNCATE or a run's first word comes nothing before it is applied.
    fn send(&mut self, chance: &mut Chance) {
        let is_open = |source: &Source, kept: &Kept, names: std::ops::Range<usize>| {
            names.into_iter().any(|name| !source.events[name].is_over && !kept.applied.contains(&name))
        };
        let is_truncate = |event: &Event| matches!(event.kind, Kind::Truncate { .. }) && !event.is_over;
        let stops = |event: &Event| is_truncate(event) || matches!(event.kind, Kind::Row { chunk: 0, .. });
        if let Some(last) = (0..self.sent).rfind(|name| stops(&self.source.events[*name]))
            && !self.source.events[last].is_over
            && !self.sink.kept.applied.contains(&last)
        {
            return;
        }
        if self.sent == self.source.events.len() {
            self.source.happen(chance);
        }
        let Some(event) = self.source.events.get(self.sent) else { return };
        if is_truncate(event) && is_open(&self.source, &self.sink.kept, 0..self.sent) {
            return;
        }
        if !event.is_over {
            self.mesh.push(self.sent);
        }
        self.sent += 1;
    }

    /// Sends one again that is not applied.
    fn resend(&mut self, chance: &mut Chance) {
        let open: Vec<usize> = (0..self.sent)
            .filter(|name| !self.source.events[*name].is_over && !self.sink.kept.applied.contains(name))
            .collect();
        if !open.is_empty() {
            self.mesh.push(open[chance.below(open.len())]);
        }
    }

    fn deliver(&mut self, chance: &mut Chance) {
        if chance.percent(5) && !self.late.is_empty() {
            self.mesh.push(self.late[chance.below(self.late.len())]);
        }
        if self.mesh.is_empty() {
            return;
        }
        let name = self.mesh.swap_remove(chance.below(self.mesh.len()));
        if chance.percent(10) {
            return;
        }
        let event = self.source.events[name];
        self.sink.arrive(name, &event, self.source.is_applied);
        if chance.percent(20) {
            self.late.push(name);
        }
    }

    fn step(&mut self, chance: &mut Chance, is_ending: bool) {
        match chance.below(10) {
            0..3 if !is_ending => self.send(chance),
            0..3 => {}
            3 => self.resend(chance),
            4..7 => self.deliver(chance),
            7 | 8 => self.sink.release(chance),
            _ => {
                self.sink.release(chance);
                self.sink.put(chance);
            }
        }
        if chance.percent(2) && !is_ending {
            self.sink.crash();
        }
    }

    fn is_done(&self) -> bool {
        (0..self.sent).all(|name| self.source.events[name].is_over || self.sink.kept.applied.contains(&name))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn with_applied_delivery_nothing_is_lost_nothing_applied_twice_and_no_lane_out_of_order(seed in 1_u64..) {
        let chance = &mut Chance(seed);
        let mut run =
            Applying { source: Source::new(true), sink: Sink::new(), mesh: vec![], late: vec![], sent: 0 };
        for _ in 0..1500 {
            run.step(chance, false);
        }
        let mut steps = 0;
        while !run.is_done() {
            run.step(chance, true);
            steps += 1;
            prop_assert!(steps < 100_000, "it does not come to an end");
        }
        check_log(&run.sink.kept.log, &run.source.events, true);
    }

    #[test]
    fn with_published_delivery_nothing_is_applied_twice_or_backwards_and_what_is_missing_is_counted(
        seed in 1_u64..,
        crashes in any::<bool>(),
    ) {
        let chance = &mut Chance(seed);
        let (mut source, mut sink) = (Source::new(false), Sink::new());
        sink.refuses = crashes;
        if !crashes {
            sink.order.load(&before());
        }
        let mut mesh: Vec<usize> = Vec::new();
        let (mut seen, mut outdated) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..600 {
            mesh.extend(source.happen(chance));
            while mesh.len() > 5 {
                let name = mesh[chance.below(5)];
                if !chance.percent(10) {
                    mesh.retain(|other| *other != name);
                }
                if !chance.percent(5) {
                    if sink.arrive(name, &source.events[name], false) == Verdict::Drop(Why::Outdated) {
                        outdated.insert(name);
                    }
                    seen.insert(name);
                }
            }
            sink.release(chance);
            if chance.percent(30) {
                sink.put(chance);
            }
            if crashes && chance.percent(2) {
                sink.crash();
            }
        }
        for _ in 0..200 {
            sink.release(chance);
            sink.put(chance);
        }
        prop_assert_eq!(sink.order.waiting(), (0, 0));
        check_log(&sink.kept.log, &source.events, false);
        if !crashes {
            check_missing(&source, &sink, &seen);
        }
    }
}

/// Lanes that have come somewhere, so that each epoch begins at 1.
fn before() -> Applied {
    let lane = |lane| LaneApplied { source: SOURCE.into(), topic: "t".into(), lane, epoch: 999, sequence: 7 };
    Applied { lanes: (0..LANES).map(lane).collect(), ..Applied::default() }
}

/// Every number of an epoch up to its lane's last that was applied is either applied or counted as missing.
fn check_missing(source: &Source, sink: &Sink, seen: &BTreeSet<usize>) {
    let mut lasts = BTreeMap::<(u64, u16), u64>::new();
    let mut applied = 0;
    for name in &sink.kept.log {
        let event = &source.events[*name];
        let (epoch, sequence, is_counted) = match event.kind {
            Kind::Counted { epoch, sequence } | Kind::Truncate { epoch, sequence } => (epoch, sequence, true),
            Kind::Row { after: (epoch, sequence), .. } => (epoch, sequence, false),
        };
        applied += u64::from(is_counted);
        let last = lasts.entry((epoch, event.lane)).or_insert(sequence);
        *last = sequence.max(*last);
    }
    let numbers: u64 = lasts.values().sum();
    assert_eq!(numbers - applied, sink.missing, "of {} events seen", seen.len());
}
