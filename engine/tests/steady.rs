//! The steady path allocates nothing per record: what a batch costs does not depend on its rows.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use flowd_engine::checkpoint::{Checkpoint, Registry};
use flowd_engine::failure::Failure;
use flowd_engine::parcel::Parcel;
use flowd_engine::pipeline::{Outcome, Pipeline, Settings};
use flowd_engine::record::{Batch, ConnectorRecord, Position, Span};
use flowd_engine::sequence::{Lane, Numbering, Place, SequenceSettings, TopicId, Topics};
use flowd_engine::stop::Stop;
use flowd_engine::worker::{Encode, Encoded, Intake, Outlet, Source, SourceEnd, Target};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; only a counter is raised besides.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from the system's allocator with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as for `dealloc`; the caller vouches for `size`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Row(Span);

impl ConnectorRecord for Row {}

/// Sends batches over the same bytes; only the list of records is allocated, once a batch.
struct Batches {
    batches: u64,
    warm_up: u64,
    rows: u32,
    bytes: Bytes,
    position: Position,
    /// Allocations when the warm-up ended and at the end.
    seen: Arc<Mutex<[u64; 2]>>,
}

impl Source for Batches {
    type Record = Row;
    type Event = usize;
    type Encoder = Copy;

    fn start(&mut self, _: Option<&Position>) -> Result<Position, Failure> {
        Ok(self.position.clone())
    }

    fn encoder(&self) -> Copy {
        Copy { at: 0 }
    }

    fn run(self, intake: &mut dyn Intake<Row>) -> Result<SourceEnd, Failure> {
        for batch in 0..self.batches {
            if batch == self.warm_up {
                self.seen.lock().expect("one user")[0] = ALLOCATIONS.load(Ordering::Relaxed);
            }
            let mut records = Vec::with_capacity(self.rows as usize);
            records.extend((0..self.rows).map(|row| Row(Span { start: row * 64, end: row * 64 + 64 })));
            intake.reserve(self.bytes.len()).expect("open");
            let batch =
                Batch { bytes: self.bytes.clone(), records, position: self.position.clone(), time_us: 1 };
            intake.send(batch).expect("open");
        }
        self.seen.lock().expect("one user")[1] = ALLOCATIONS.load(Ordering::Relaxed);
        Ok(SourceEnd::Reached)
    }
}

struct Copy {
    at: usize,
}

impl Encode<Row, usize> for Copy {
    fn encode(&mut self, batch: &Batch<Row>, parcel: &mut Parcel<usize>) -> Result<Encoded, Failure> {
        for record in &batch.records[self.at..] {
            if parcel.is_full() {
                return Ok(Encoded::More);
            }
            self.at += 1;
            let start = parcel.buffer.len();
            parcel.buffer.extend_from_slice(record.0.of(&batch.bytes));
            parcel.events.push(start);
        }
        self.at = 0;
        Ok(Encoded::All)
    }
}

struct Drop;

impl Target<usize> for Drop {
    fn start(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn run(self: Box<Self>, parcels: &mut dyn Outlet<usize>) -> Result<(), Failure> {
        while let Some(delivery) = parcels.next() {
            parcels.emitted(delivery.ticket);
            parcels.recycle(delivery.parcel);
            parcels.acked(delivery.ticket);
        }
        Ok(())
    }
}

struct Nowhere;

impl Registry for Nowhere {
    fn load(&self) -> Result<Option<Checkpoint>, Failure> {
        Ok(None)
    }

    fn store(&mut self, _: &Checkpoint) -> Result<(), Failure> {
        Ok(())
    }
}

/// All events in four lanes of one topic.
fn counted() -> SequenceSettings<usize> {
    let topics = Topics::new();
    let topic = topics.intern("orders");
    assert_eq!(topic, TopicId(0));
    SequenceSettings {
        topics,
        lanes: 4,
        identity: 0,
        stamp: |buffer, event, _, number| buffer[*event..*event + 8].copy_from_slice(&number.to_be_bytes()),
        place: |event| Place {
            topic: TopicId(0),
            lane: Lane((*event / 64 % 4) as u16),
            numbering: Numbering::Counted,
        },
    }
}

/// Allocations a batch after the warm-up, with this many rows in each.
fn allocations_per_batch(rows: u32, sequence: Option<SequenceSettings<usize>>) -> f64 {
    const BATCHES: u64 = 2_000;
    const WARM_UP: u64 = 500;
    let seen = Arc::new(Mutex::new([0; 2]));
    let bytes = Bytes::from(vec![7; rows as usize * 64]);
    let position = Position(Bytes::from_static(b"here"));
    let source = Batches {
        batches: BATCHES,
        warm_up: WARM_UP,
        rows,
        bytes,
        position: position.clone(),
        seen: seen.clone(),
    };
    let pipeline = Pipeline {
        source,
        target: Box::new(Drop),
        registry: Box::new(Nowhere),
        begin: position,
        settings: Settings { lanes: 2, checkpoint_every: Duration::from_secs(60), ..Settings::default() },
        sequence,
        metrics: Arc::default(),
        stop: Stop::new(),
    };
    assert_eq!(pipeline.run(), Ok(Outcome::Reached));
    let [before, after] = *seen.lock().expect("one user");
    (after - before) as f64 / (BATCHES - WARM_UP) as f64
}

#[test]
fn the_steady_path_allocates_nothing_per_record() {
    for rows in [1, 100, 1_000] {
        for sequence in [None, Some(counted())] {
            let allocations = allocations_per_batch(rows, sequence);
            // One is the source's list of records. The rest is room for parcels that are made late, by chance of timing.
            assert!(allocations < 1.5, "{allocations} allocations a batch of {rows} rows");
        }
    }
}
