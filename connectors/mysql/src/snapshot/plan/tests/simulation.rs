//! Workers, a source thread and a registry as chance has it, over tables whose keys are known: in the end every key was
//! handed on exactly once, but for what a crash, a new key or a table without one undid; and at every moment the
//! state names exactly the keys that were not.

use std::collections::BTreeSet;

use flowd_binlog::result::KeyValue;
use proptest::prelude::*;

use super::{key, names};
use crate::snapshot::plan::{ChunkId, Lease, Opened, Plan, TableId, Work};
use crate::snapshot::state::{EncodedState, SnapshotState};
use crate::snapshot::{Key, Range};

const WORKERS: usize = 3;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A table of the source.
#[derive(Debug, Clone)]
struct Source {
    keys: BTreeSet<i64>,
    has_key: bool,
    /// Counts the changes of its key.
    version: u32,
    exists: bool,
}

/// A row that was handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    table: usize,
    key: i64,
    version: u32,
}

#[derive(Debug)]
enum Worker {
    Idle,
    Looks { id: TableId, table: usize },
    Reads { lease: Lease, table: usize, whole_read: usize },
}

#[derive(Debug)]
struct InFlight {
    id: ChunkId,
    table: usize,
    version: u32,
    keys: Vec<i64>,
    is_void: bool,
}

#[derive(Debug)]
struct Simulation {
    source: Vec<Source>,
    plan: Plan,
    workers: Vec<Worker>,
    in_flight: Vec<InFlight>,
    handed_on: Vec<Row>,
    /// What the registry has, and what had been handed on by then.
    saved: (EncodedState, Vec<Row>),
    /// Since then: the stream brings them again.
    renamed: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Work { worker: usize, rows: usize },
    Lose { worker: usize },
    Emit { chunk: usize },
    Discard { table: usize },
    ChangeKey { table: usize },
    Drop { table: usize },
    Rename { table: usize },
    Save,
    Crash,
}

fn number(value: &KeyValue) -> i64 {
    i64::from_le_bytes(value.bytes.as_ref().try_into().expect("8 bytes"))
}

fn contains(range: &Range, key: i64) -> bool {
    let bound = |key: &Key| number(&key[0]);
    range.after.as_ref().is_none_or(|after| bound(after) < key)
        && range.upto.as_ref().is_none_or(|upto| key <= bound(upto))
}

fn index(name: &str) -> usize {
    NAMES.iter().position(|known| *known == name).expect("a known table")
}

impl Simulation {
    fn new(source: Vec<Source>) -> Self {
        let state = SnapshotState::new("s".into(), 1, "binlog.000001".into(), 4);
        let saved = (EncodedState::of(&state), Vec::new());
        let workers = (0..WORKERS).map(|_| Worker::Idle).collect();
        let plan = Plan::new(state, Self::captured(&source));
        Self {
            source,
            plan,
            workers,
            in_flight: Vec::new(),
            handed_on: Vec::new(),
            saved,
            renamed: Vec::new(),
        }
    }

    fn captured(source: &[Source]) -> Vec<(String, String)> {
        let there = source.iter().zip(NAMES).filter(|(table, _)| table.exists).map(|(_, name)| name);
        names(&there.collect::<Vec<_>>())
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Work { worker, rows } => self.work(worker, rows),
            Step::Lose { worker } => self.lose(worker),
            Step::Emit { chunk } => self.emit(chunk),
            Step::Discard { table } => self.discard(table),
            Step::ChangeKey { table } => {
                self.source[table].version += 1;
                self.discard(table);
            }
            Step::Drop { table } => {
                self.source[table].exists = false;
                self.discard(table);
            }
            Step::Rename { table } => {
                self.source[table].exists = true;
                self.renamed.push(table);
                self.rename(table);
            }
            Step::Save => {
                self.saved = (self.plan.encoded(), self.handed_on.clone());
                self.renamed.clear();
            }
            Step::Crash => self.crash(),
        }
    }

    fn work(&mut self, worker: usize, rows: usize) {
        let idle = self.workers.iter().filter(|worker| matches!(worker, Worker::Idle)).count();
        match std::mem::replace(&mut self.workers[worker], Worker::Idle) {
            Worker::Idle => match self.plan.next(idle - 1) {
                Work::Open { table: id, name, .. } => {
                    self.workers[worker] = Worker::Looks { id, table: index(&name) };
                }
                Work::Read(lease) => {
                    let state = self.plan.state();
                    let is_its = |name: &str| self.plan.id_of("shop", name) == Some(lease.table);
                    let table = NAMES.iter().position(|name| is_its(name)).expect("an open table");
                    assert!(!lease.whole || state.open.iter().any(|open| open.whole));
                    if lease.divide {
                        self.divide(&lease, table);
                    }
                    self.workers[worker] = Worker::Reads { lease, table, whole_read: 0 };
                }
                Work::Wait | Work::Done => {}
            },
            Worker::Looks { id, table } => self.look(id, table),
            Worker::Reads { lease, table, whole_read } => self.read(worker, lease, table, whole_read, rows),
        }
    }

    /// At a key that is there, as a server's index would give one.
    fn divide(&mut self, lease: &Lease, table: usize) {
        let Some(rest) = self.plan.rest(lease.id) else { return };
        let inside: Vec<_> = self.source[table].keys.iter().filter(|key| contains(rest, **key)).collect();
        if let Some(middle) = inside.get(inside.len() / 2) {
            self.plan.divide(lease.id, key(**middle));
        }
    }

    fn look(&mut self, id: TableId, table: usize) {
        let Source { keys, has_key, version, exists } = &self.source[table];
        let rows_estimated = 7;
        let opened = match (exists, has_key) {
            (false, _) => Opened::Gone,
            (true, false) => Opened::Whole { rows_estimated },
            (true, true) => Opened::Keyed {
                columns: vec![format!("id{version}")],
                upto: keys.last().copied().map(key),
                rows_estimated,
            },
        };
        if self.plan.opened(id, opened) {
            // What was handed on in another order of keys is handed on again.
            let version = *version;
            self.handed_on.retain(|row| row.table != table || row.version == version);
        }
    }

    fn read(&mut self, worker: usize, lease: Lease, table: usize, whole_read: usize, rows: usize) {
        let Some(rest) = self.plan.rest(lease.id).cloned() else {
            assert_eq!(self.plan.chunk(lease.id, None), None, "a stale lease is refused");
            return;
        };
        if !lease.whole && self.plan.is_all_given() && rows == 0 {
            self.divide(&lease, table);
        }
        let rest = self.plan.rest(lease.id).cloned().unwrap_or(rest);
        let found = self.source[table].keys.iter().copied().filter(|key| contains(&rest, *key));
        let left: Vec<_> = found.skip(whole_read).collect();
        let keys = left[..rows.min(left.len())].to_vec();
        let last = match keys.last() {
            _ if keys.len() == left.len() && rows > left.len() => None,
            None => {
                self.workers[worker] = Worker::Reads { lease, table, whole_read };
                return;
            }
            Some(_) if lease.whole => Some(Key::new()),
            Some(last) => Some(key(*last)),
        };
        let goes_on = last.is_some();
        let id = self.plan.chunk(lease.id, last).expect("the lease is good");
        let whole_read = if lease.whole { whole_read + keys.len() } else { 0 };
        let version = self.source[table].version;
        self.in_flight.push(InFlight { id, table, version, keys, is_void: false });
        if goes_on {
            self.workers[worker] = Worker::Reads { lease, table, whole_read };
        }
    }

    /// The connection of a worker breaks.
    fn lose(&mut self, worker: usize) {
        match std::mem::replace(&mut self.workers[worker], Worker::Idle) {
            Worker::Idle => {}
            Worker::Looks { id, .. } => self.plan.give_back(id),
            Worker::Reads { lease, table, .. } => {
                if lease.whole && self.plan.rest(lease.id).is_some() {
                    self.undo(table);
                }
                self.plan.release(lease.id);
            }
        }
    }

    fn emit(&mut self, chunk: usize) {
        if self.in_flight.is_empty() {
            return;
        }
        let mut chosen = chunk % self.in_flight.len();
        let table = self.in_flight[chosen].table;
        if !self.source[table].has_key {
            // In order.
            let first = self.in_flight.iter().position(|chunk| chunk.table == table && !chunk.is_void);
            chosen = first.unwrap_or(chosen);
        }
        let InFlight { id, table, version, keys, is_void } = self.in_flight.remove(chosen);
        assert_eq!(self.plan.is_stale(id), is_void);
        let rows = u64::try_from(keys.len()).expect("a length");
        assert_eq!(self.plan.emitted(id, rows, rows * 10), !is_void);
        assert!(self.plan.is_stale(id), "and never again");
        if !is_void {
            self.handed_on.extend(keys.into_iter().map(|key| Row { table, key, version }));
        }
    }

    fn discard(&mut self, table: usize) {
        let Some(id) = self.plan.id_of("shop", NAMES[table]) else { return };
        let void = self.void_chunks(table);
        if !self.source[table].has_key {
            self.undo(table);
        }
        assert_eq!(self.plan.discard(id), void);
        assert!(self.plan.in_flight().all(|tracked| tracked != id));
    }

    fn rename(&mut self, table: usize) {
        if self.plan.is_finished() {
            // Too late: it may be there, but nobody reads it.
            self.source[table].exists = false;
            return;
        }
        let void = self.void_chunks(table);
        self.undo(table);
        assert_eq!(self.plan.rename("shop", NAMES[table]), void);
    }

    /// A table starts again.
    fn undo(&mut self, table: usize) {
        self.void_chunks(table);
        self.handed_on.retain(|row| row.table != table);
    }

    fn void_chunks(&mut self, table: usize) -> u64 {
        let mut count = 0;
        for chunk in self.in_flight.iter_mut().filter(|chunk| chunk.table == table && !chunk.is_void) {
            chunk.is_void = true;
            count += 1;
        }
        count
    }

    fn crash(&mut self) {
        let state = EncodedState::read(self.saved.0.bytes()).expect("readable");
        self.handed_on.clone_from(&self.saved.1);
        for open in state.open.iter().filter(|open| open.whole) {
            self.undo(index(&open.name));
        }
        self.in_flight.clear();
        self.workers = (0..WORKERS).map(|_| Worker::Idle).collect();
        self.plan = Plan::new(state, Self::captured(&self.source));
        for table in self.renamed.clone() {
            self.rename(table);
        }
    }

    /// What the state leaves to be read is exactly what was not handed on.
    fn check(&mut self) {
        let state = EncodedState::read(self.plan.encoded().bytes()).expect("readable");
        assert_eq!(state, self.plan.state());
        for (table, source) in self.source.iter().enumerate() {
            let name = ("shop".to_owned(), NAMES[table].to_owned());
            let open = state.open.iter().find(|open| open.name == name.1);
            let is_ahead = !state.finished && state.through.as_ref().is_none_or(|through| name > *through);
            let handed_on: Vec<_> = self.handed_on.iter().filter(|row| row.table == table).collect();
            for key in &source.keys {
                let times = handed_on.iter().filter(|row| row.key == *key).count();
                let is_left = match open {
                    _ if is_ahead || state.extra.contains(&name) => true,
                    Some(open) if !open.whole => open.remaining.iter().any(|range| contains(range, *key)),
                    Some(_) => continue,
                    None if source.exists => false,
                    None => continue,
                };
                assert_eq!(times, usize::from(!is_left), "key {key} of {}: {state:#?}", NAMES[table]);
            }
        }
        let ranges: usize = state.open.iter().map(|open| open.remaining.len()).sum();
        let bound = state.open.len() + 2 * WORKERS + self.in_flight.len();
        assert!(ranges <= bound, "{ranges} ranges, {} chunks: {state:#?}", self.in_flight.len());
        assert!(state.rows <= state.rows_estimated);
    }

    /// Nothing goes wrong any more.
    fn finish(&mut self) {
        for round in 0..10_000 {
            if self.plan.is_finished() {
                break;
            }
            self.work(round % WORKERS, 1 + round % 4);
            self.emit(round);
            self.check();
        }
        assert!(self.plan.is_finished(), "it comes to an end");
        assert_eq!(self.plan.next(0), Work::Done);
        let state = self.plan.state();
        assert!(state.finished);
        assert_eq!(state.tables, state.tables_done);
        assert_eq!(state.rows, state.rows_estimated);
        self.handed_on.retain(|row| self.source[row.table].exists);
        self.handed_on.sort_unstable();
        let there = self.source.iter().enumerate().filter(|(_, source)| source.exists);
        let expected: Vec<_> =
            there.flat_map(|(table, source)| source.keys.iter().map(move |key| (table, *key))).collect();
        let handed_on: Vec<_> = self.handed_on.iter().map(|row| (row.table, row.key)).collect();
        assert_eq!(handed_on, expected, "every key once");
    }
}

fn source() -> impl Strategy<Value = Source> {
    (proptest::collection::btree_set(-50..50i64, 0..40), proptest::bool::weighted(0.75))
        .prop_map(|(keys, has_key)| Source { keys, has_key, version: 0, exists: true })
}

fn step() -> impl Strategy<Value = Step> {
    let table = 0..NAMES.len();
    prop_oneof![
        40 => (0..WORKERS, 0..6usize).prop_map(|(worker, rows)| Step::Work { worker, rows }),
        20 => (0..20usize).prop_map(|chunk| Step::Emit { chunk }),
        4 => (0..WORKERS).prop_map(|worker| Step::Lose { worker }),
        2 => table.clone().prop_map(|table| Step::Discard { table }),
        1 => table.clone().prop_map(|table| Step::ChangeKey { table }),
        1 => table.clone().prop_map(|table| Step::Drop { table }),
        1 => table.prop_map(|table| Step::Rename { table }),
        3 => Just(Step::Save),
        2 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_key_is_handed_on_once_whatever_happens(
        source in proptest::collection::vec(source(), NAMES.len()),
        steps in proptest::collection::vec(step(), 0..200),
    ) {
        let mut simulation = Simulation::new(source);
        for step in steps {
            simulation.step(step);
            simulation.check();
        }
        simulation.finish();
    }
}
