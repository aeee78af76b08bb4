//! The whole engine with a source, a target and a registry in memory.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::parcel::{Parcel, Reject};
use crate::record::{Batch, ConnectorRecord, Span};
use crate::worker::{Closed, Delivery, Encode, Encoded, Intake, Outlet, SourceEnd};

mod counting;
mod failing;

/// A record is its number, eight bytes in the batch.
struct Number(u32);

impl ConnectorRecord for Number {}

impl Number {
    fn payload(&self) -> Span {
        Span { start: self.0 * 8, end: self.0 * 8 + 8 }
    }
}

/// Batches of these sizes, numbered records; the position is the count of records so far.
struct Sizes {
    first: u64,
    sizes: Vec<u32>,
    encoder: Encoder,
    /// What to do once all are sent.
    then: fn(&mut dyn Intake<Number>) -> Result<SourceEnd, Failure>,
    /// Bytes that each batch reserves.
    reserve: usize,
    reserved_max: Arc<AtomicUsize>,
}

impl Source for Sizes {
    type Record = Number;
    type Event = u64;
    type Encoder = Encoder;

    fn start(&mut self, stored: Option<&Position>) -> Result<Position, Failure> {
        Ok(stored.cloned().unwrap_or_else(|| position(0)))
    }

    fn encoder(&self) -> Encoder {
        self.encoder.clone()
    }

    fn run(self, intake: &mut dyn Intake<Number>) -> Result<SourceEnd, Failure> {
        let mut next = self.first;
        for size in self.sizes {
            let mut bytes = Vec::new();
            for number in next..next + u64::from(size) {
                bytes.extend_from_slice(&number.to_be_bytes());
            }
            next += u64::from(size);
            if intake.reserve(self.reserve).is_err() {
                return Ok(SourceEnd::Stopped);
            }
            self.reserved_max.fetch_add(1, Ordering::SeqCst);
            let records = (0..size).map(Number).collect();
            if intake.send(Batch { bytes: bytes.into(), records, position: position(next), time_us: 1 })
                == Err(Closed)
            {
                return Ok(SourceEnd::Stopped);
            }
        }
        (self.then)(intake)
    }
}

fn reached(_: &mut dyn Intake<Number>) -> Result<SourceEnd, Failure> {
    Ok(SourceEnd::Reached)
}

fn until_stopped(intake: &mut dyn Intake<Number>) -> Result<SourceEnd, Failure> {
    while !intake.is_closed() {
        thread::yield_now();
    }
    assert_eq!(intake.reserve(1), Err(Closed));
    Ok(SourceEnd::Stopped)
}

fn position(count: u64) -> Position {
    Position(Bytes::copy_from_slice(&count.to_be_bytes()))
}

fn count(position: &Position) -> u64 {
    u64::from_be_bytes(position.0[..].try_into().unwrap())
}

/// An event is the record's number, its bytes the record's eight; a parcel holds at most `parcel_rows`.
#[derive(Clone)]
struct Encoder {
    parcel_rows: usize,
    at: usize,
    /// A number that is rejected, fails, or panics.
    rejects: Option<u64>,
    fails: Option<u64>,
    panics: Option<u64>,
}

impl Encode<Number, u64> for Encoder {
    fn encode(&mut self, batch: &Batch<Number>, parcel: &mut Parcel<u64>) -> Result<Encoded, Failure> {
        while let Some(record) = batch.records.get(self.at) {
            if parcel.events.len() == self.parcel_rows {
                return Ok(Encoded::More);
            }
            self.at += 1;
            let bytes = record.payload().of(&batch.bytes);
            let number = u64::from_be_bytes(bytes.try_into().unwrap());
            assert!(self.panics != Some(number), "told to panic");
            if self.fails == Some(number) {
                return Err(Failure::Fatal("told to fail".into()));
            }
            if self.rejects == Some(number) {
                parcel.rejects.push(Reject { reason: "told to reject".into(), line: b"{}".to_vec() });
                continue;
            }
            parcel.buffer.extend_from_slice(bytes);
            parcel.events.push(number);
        }
        self.at = 0;
        Ok(Encoded::All)
    }
}

/// What the far side has durably, and the largest position that was ever stored beyond it.
#[derive(Default)]
struct World {
    durable: AtomicU64,
    received: Mutex<Vec<u64>>,
    stored: Mutex<Vec<Checkpoint>>,
}

struct Memory(Arc<World>);

impl Registry for Memory {
    fn load(&self) -> Result<Option<Checkpoint>, Failure> {
        Ok(self.0.stored.lock().unwrap().last().cloned())
    }

    fn store(&mut self, checkpoint: &Checkpoint) -> Result<(), Failure> {
        let durable = self.0.durable.load(Ordering::SeqCst);
        assert!(count(&checkpoint.acked) <= durable, "acked {} of {durable}", count(&checkpoint.acked));
        assert!(count(&checkpoint.acked) <= count(&checkpoint.emitted));
        assert!(count(&checkpoint.emitted) <= count(&checkpoint.read));
        self.0.stored.lock().unwrap().push(checkpoint.clone());
        Ok(())
    }
}

/// Keeps up to `window` deliveries unacknowledged; how many it acknowledges at a time follows `steps`.
struct Window {
    world: Arc<World>,
    window: usize,
    steps: Vec<usize>,
    recycles: bool,
}

impl Window {
    fn ack(&self, parcels: &mut dyn Outlet<u64>, held: &mut VecDeque<(u64, Parcel<u64>)>, many: usize) {
        let mut last = None;
        for _ in 0..many.min(held.len()) {
            let (ticket, parcel) = held.pop_front().unwrap();
            let numbers = parcel.events.clone();
            self.world.durable.store(numbers.last().unwrap() + 1, Ordering::SeqCst);
            self.world.received.lock().unwrap().extend(numbers);
            if self.recycles {
                parcels.recycle(parcel);
            }
            last = Some(ticket);
        }
        last.into_iter().for_each(|ticket| parcels.acked(ticket));
    }
}

impl Target<u64> for Window {
    fn start(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn run(self: Box<Self>, parcels: &mut dyn Outlet<u64>) -> Result<(), Failure> {
        let mut held = VecDeque::new();
        let mut steps = self.steps.clone().into_iter().cycle();
        loop {
            // What is held may be what the next parcel waits for, so there is no waiting while something is held.
            let next = match parcels.poll_next(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(next) => next,
                Poll::Pending if held.is_empty() => parcels.next(),
                Poll::Pending => {
                    self.ack(parcels, &mut held, 1);
                    continue;
                }
            };
            let Some(Delivery { ticket, parcel }) = next else {
                break;
            };
            parcels.emitted(ticket);
            held.push_back((ticket, parcel));
            let step = steps.next().unwrap();
            self.ack(parcels, &mut held, step);
            while held.len() >= self.window {
                self.ack(parcels, &mut held, 1);
            }
        }
        self.ack(parcels, &mut held, usize::MAX);
        Ok(())
    }
}

/// Acknowledges all but the last so many deliveries.
struct Leaving {
    world: Arc<World>,
    kept: usize,
}

impl Target<u64> for Leaving {
    fn start(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn run(self: Box<Self>, parcels: &mut dyn Outlet<u64>) -> Result<(), Failure> {
        let mut held = VecDeque::new();
        while let Some(Delivery { ticket, parcel }) = parcels.next() {
            held.push_back((ticket, parcel.events.last().unwrap() + 1));
            parcels.recycle(parcel);
            if held.len() > self.kept {
                let (ticket, durable) = held.pop_front().unwrap();
                self.world.durable.store(durable, Ordering::SeqCst);
                parcels.acked(ticket);
            }
        }
        parcels.leave();
        Ok(())
    }
}

/// Takes parcels and never acknowledges, until told that the test is over.
struct Stuck {
    taken_bytes: Arc<AtomicUsize>,
    over: mpsc::Receiver<()>,
}

impl Target<u64> for Stuck {
    fn start(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn run(self: Box<Self>, parcels: &mut dyn Outlet<u64>) -> Result<(), Failure> {
        let mut held = Vec::new();
        while let Some(delivery) = parcels.next() {
            self.taken_bytes.fetch_add(delivery.parcel.buffer.capacity(), Ordering::SeqCst);
            held.push(delivery);
        }
        let _ = self.over.recv();
        Err(Failure::Fatal("never acknowledged".into()))
    }
}

struct Fixture {
    world: Arc<World>,
    pipeline: Pipeline<Sizes>,
}

fn fixture(sizes: &[u32], lanes: usize) -> Fixture {
    let world = Arc::new(World::default());
    let encoder = Encoder { parcel_rows: 7, at: 0, rejects: None, fails: None, panics: None };
    let sizes = sizes.to_vec();
    let source =
        Sizes { first: 0, sizes, encoder, then: reached, reserve: 100, reserved_max: Arc::default() };
    let target = Window { world: world.clone(), window: 5, steps: vec![0, 2, 1, 3], recycles: true };
    let settings = Settings {
        lanes,
        memory_bytes: Shares::MEMORY_MIN,
        checkpoint_every: Duration::from_micros(200),
        ..Settings::default()
    };
    let pipeline = Pipeline {
        source,
        target: Box::new(target),
        registry: Box::new(Memory(world.clone())),
        begin: position(0),
        settings,
        sequence: None,
        metrics: Arc::default(),
        stop: Stop::new(),
    };
    Fixture { world, pipeline }
}

fn last_acked(world: &World) -> u64 {
    count(&world.stored.lock().unwrap().last().unwrap().acked)
}

fn check_all_in_order(fixture: Fixture, rows: u64) {
    let world = fixture.world;
    assert_eq!(fixture.pipeline.run(), Ok(Outcome::Reached));
    assert_eq!(*world.received.lock().unwrap(), (0..rows).collect::<Vec<_>>());
    assert_eq!(last_acked(&world), rows);
}

#[test]
fn order_holds_with_any_number_of_lanes() {
    let sizes: Vec<u32> = (0..400).map(|index| index * 7 % 41).collect();
    let rows = sizes.iter().map(|size| u64::from(*size)).sum();
    for lanes in 1..=4 {
        let fixture = fixture(&sizes, lanes);
        let metrics = fixture.pipeline.metrics.clone();
        check_all_in_order(fixture, rows);
        assert_eq!(metrics.acked.rows.value(), rows);
        assert_eq!(metrics.emitted.bytes.value(), rows * 8);
        assert_eq!((metrics.in_flight(), metrics.batches_queued(), metrics.parcels_queued()), (0, 0, 0));
    }
}

#[test]
fn a_target_that_never_recycles_is_not_waited_for() {
    let mut fixture = fixture(&[20; 500], 2);
    let world = fixture.world.clone();
    fixture.pipeline.target = Box::new(Window { world, window: 3, steps: vec![1], recycles: false });
    check_all_in_order(fixture, 10_000);
}

#[test]
fn batches_without_records_move_the_position() {
    let fixture = fixture(&[0; 1_000], 3);
    let world = fixture.world.clone();
    assert_eq!(fixture.pipeline.run(), Ok(Outcome::Reached));
    assert_eq!(world.received.lock().unwrap().len(), 0);
    assert_eq!(last_acked(&world), 0);
}

#[test]
fn the_beginning_is_stored_before_anything_is_read() {
    let fixture = fixture(&[10; 50], 1);
    let world = fixture.world.clone();
    assert_eq!(fixture.pipeline.run(), Ok(Outcome::Reached));
    let stored = world.stored.lock().unwrap();
    let first = &stored[0];
    assert_eq!([&first.read, &first.emitted, &first.acked].map(count), [0; 3]);
    assert_eq!(count(&stored[stored.len() - 1].read), 500);
}

#[test]
fn a_beginning_that_is_stored_already_is_not_stored_again() {
    let fixture = fixture(&[], 1);
    let world = fixture.world.clone();
    let begin =
        Checkpoint { read: position(0), emitted: position(0), acked: position(0), ..Checkpoint::default() };
    world.stored.lock().unwrap().push(begin);
    assert_eq!(fixture.pipeline.run(), Ok(Outcome::Reached));
    assert_eq!(world.stored.lock().unwrap().len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn checkpoint_never_passes_an_unacked_batch(
        sizes in prop::collection::vec(0u32..30, 1..80),
        lanes in 1usize..5,
        window in 1usize..9,
        mut steps in prop::collection::vec(0usize..4, 1..20),
        parcel_rows in 1usize..20,
    ) {
        // The registry in memory asserts at each store.
        steps.push(1);
        let rows = sizes.iter().map(|size| u64::from(*size)).sum();
        let mut fixture = fixture(&sizes, lanes);
        fixture.pipeline.source.encoder.parcel_rows = parcel_rows;
        let world = fixture.world.clone();
        fixture.pipeline.target = Box::new(Window { world, window, steps, recycles: true });
        check_all_in_order(fixture, rows);
    }
}

#[test]
fn a_stop_delivers_everything_that_was_read() {
    let mut fixture = fixture(&[10; 50], 2);
    fixture.pipeline.source.then = until_stopped;
    let (world, stop) = (fixture.world.clone(), fixture.pipeline.stop.clone());
    let metrics = fixture.pipeline.metrics.clone();
    let asking = thread::spawn(move || {
        while metrics.read.batches.value() < 50 {
            thread::yield_now();
        }
        stop.request();
    });
    assert_eq!(fixture.pipeline.run(), Ok(Outcome::Stopped));
    asking.join().unwrap();
    assert_eq!(last_acked(&world), 500);
}

#[test]
fn what_a_target_leaves_unacknowledged_is_no_failure_and_its_position_is_not_saved() {
    let mut fixture = fixture(&[10; 50], 2);
    let world = fixture.world.clone();
    fixture.pipeline.target = Box::new(Leaving { world: world.clone(), kept: 4 });
    assert_eq!(fixture.pipeline.run(), Ok(Outcome::Reached));
    // A batch of ten rows is two parcels here.
    assert_eq!(last_acked(&world), 480);
}

#[test]
fn a_stop_before_the_start_ends_at_once() {
    let fixture = fixture(&[10; 50], 2);
    fixture.pipeline.stop.request();
    assert_eq!(fixture.pipeline.run(), Ok(Outcome::Stopped));
}

fn stuck(fixture: &mut Fixture) -> (Arc<AtomicUsize>, mpsc::Sender<()>) {
    let (end, over) = mpsc::channel();
    let taken_bytes = Arc::new(AtomicUsize::new(0));
    fixture.pipeline.target = Box::new(Stuck { taken_bytes: taken_bytes.clone(), over });
    (taken_bytes, end)
}

#[test]
fn memory_stays_under_the_limit_and_the_drain_is_bounded_with_a_stuck_target() {
    let mut fixture = fixture(&[100; 20_000], 2);
    fixture.pipeline.source.reserve = 64 * 1024;
    fixture.pipeline.settings.drain_max = Duration::from_millis(50);
    let (taken, _end) = stuck(&mut fixture);
    let (stop, metrics) = (fixture.pipeline.stop.clone(), fixture.pipeline.metrics.clone());
    let (sent, world) = (fixture.pipeline.source.reserved_max.clone(), fixture.world.clone());
    let shares = Shares::of(fixture.pipeline.settings.memory_bytes);
    let asking = thread::spawn(move || {
        // Nothing moves any more once two looks in a row, far apart for a machine, see the same.
        let mut before = usize::MAX;
        while sent.load(Ordering::SeqCst) != before || before == 0 {
            before = sent.load(Ordering::SeqCst);
            thread::park_timeout(Duration::from_millis(100));
        }
        stop.request();
    });
    assert_eq!(fixture.pipeline.run(), Ok(Outcome::DrainTimedOut));
    asking.join().unwrap();
    assert!(taken.load(Ordering::SeqCst) > 0);
    assert!(taken.load(Ordering::SeqCst) <= shares.parcels);
    assert!(metrics.source_bytes.value() <= i64::try_from(shares.source).unwrap());
    assert!(metrics.parcel_bytes.value() <= i64::try_from(shares.parcels).unwrap());
    assert_eq!(last_acked(&world), 0);
}
