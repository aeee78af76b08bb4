//! Events are counted, and the counts outlive the process.

use std::collections::BTreeMap;

use super::*;
use crate::checkpoint::MemoryRegistry;
use crate::sequence::{Epoch, Lane, Numbering, Place, SequenceSettings, TopicId, Topics};

const LANES: u16 = 3;
const NUMBER_MASK: u64 = u32::MAX as u64;

/// Where the record of this number is counted: some take no number, some are behind the last one.
fn place(event: &u64) -> Place {
    let number = event & NUMBER_MASK;
    let spread = number.wrapping_mul(0x9e37_79b9) >> 7;
    let numbering = match spread % 11 {
        0 => Numbering::None,
        1 | 2 => Numbering::Behind,
        _ => Numbering::Counted,
    };
    Place { topic: TopicId((spread % 2) as u32), lane: Lane((spread % u64::from(LANES)) as u16), numbering }
}

/// The number in a lane goes into the upper half of the event.
fn settings(identity: u64) -> SequenceSettings<u64> {
    let topics = Topics::new();
    topics.intern("a");
    topics.intern("b");
    SequenceSettings {
        topics,
        lanes: LANES,
        identity,
        stamp: |_, event, _, number| *event |= number << 32,
        place,
    }
}

type Stamps = BTreeMap<u64, (Epoch, u64)>;

/// Notes the numbers, acknowledges a few parcels behind, and dies after some.
struct Noting {
    stamps: Arc<Mutex<Stamps>>,
    behind: usize,
    dies_after: usize,
}

impl Target<u64> for Noting {
    fn start(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn run(self: Box<Self>, parcels: &mut dyn Outlet<u64>) -> Result<(), Failure> {
        let epoch = parcels.epoch().unwrap();
        let mut taken = 0;
        while let Some(Delivery { ticket, parcel }) = parcels.next() {
            let mut stamps = self.stamps.lock().unwrap();
            for event in &parcel.events {
                let before = stamps.insert(event & NUMBER_MASK, (epoch, event >> 32));
                assert_eq!(before, None, "delivered once a run");
            }
            taken += 1;
            if taken > self.dies_after {
                return Err(Failure::Fatal("told to die".into()));
            }
            // The one in hand is recycled, so that nothing waits for memory; its ticket comes later.
            parcels.recycle(parcel);
            if let Some(behind) = ticket.checked_sub(self.behind as u64) {
                parcels.acked(behind);
            }
            if ticket % 5 == 0 {
                thread::yield_now();
            }
        }
        if taken > 0 {
            parcels.acked(taken as u64 - 1);
        }
        Ok(())
    }
}

/// Keeps every checkpoint.
#[derive(Clone, Default)]
struct History(Arc<Mutex<Vec<Checkpoint>>>);

impl Registry for History {
    fn load(&self) -> Result<Option<Checkpoint>, Failure> {
        Ok(self.0.lock().unwrap().last().cloned())
    }

    fn store(&mut self, checkpoint: &Checkpoint) -> Result<(), Failure> {
        self.0.lock().unwrap().push(checkpoint.clone());
        Ok(())
    }
}

struct Run {
    first: u64,
    sizes: Vec<u32>,
    lanes: usize,
    behind: usize,
    dies_after: usize,
    identity: u64,
}

impl Run {
    /// The numbers that the run gave, with the registry that it began with and left behind.
    fn stamps(self, history: &History) -> Stamps {
        let stamps: Arc<Mutex<Stamps>> = Arc::default();
        let Fixture { pipeline, .. } = fixture(&self.sizes, self.lanes);
        let mut source = pipeline.source;
        source.first = self.first;
        let target = Noting { stamps: stamps.clone(), behind: self.behind, dies_after: self.dies_after };
        let pipeline = Pipeline {
            source,
            target: Box::new(target),
            registry: Box::new(history.clone()),
            begin: position(self.first),
            sequence: Some(settings(self.identity)),
            settings: Settings { checkpoint_every: Duration::from_micros(50), ..pipeline.settings },
            ..pipeline
        };
        match pipeline.run() {
            Ok(Outcome::Reached) => {}
            Err(Failure::Fatal(text)) if text.contains("told to die") => {}
            other => panic!("{other:?}"),
        }
        std::mem::take(&mut stamps.lock().unwrap())
    }
}

/// What the numbers must be, counted in one go.
fn expected(rows: u64) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::<(TopicId, Lane), u64>::new();
    let number = |event: u64| {
        let Place { topic, lane, numbering } = place(&event);
        let count = counts.entry((topic, lane)).or_default();
        match numbering {
            Numbering::None => return (event, 0),
            Numbering::Counted | Numbering::Barrier => *count += 1,
            Numbering::Behind => {}
        }
        (event, *count)
    };
    (0..rows).map(number).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn after_a_restart_at_any_acked_position_the_same_events_get_the_same_numbers(
        sizes in prop::collection::vec(0u32..20, 1..60),
        lanes in (1usize..4, 1usize..4),
        behind in 0usize..6,
        dies_after in 0usize..60,
        which in any::<prop::sample::Index>(),
        batch in 1u32..30,
    ) {
        let rows: u64 = sizes.iter().map(|size| u64::from(*size)).sum();
        let expected = expected(rows);
        let history = History::default();
        let first = Run { first: 0, sizes, lanes: lanes.0, behind, dies_after, identity: 1 }.stamps(&history);
        let stored = { let stored = history.0.lock().unwrap(); stored[which.index(stored.len())].clone() };
        history.0.lock().unwrap().push(stored.clone());

        let begin = count(&stored.acked);
        let left = u32::try_from(rows - begin).unwrap();
        let mut sizes = vec![batch; (left / batch) as usize];
        sizes.push(left % batch);
        let again = Run { first: begin, sizes, lanes: lanes.1, behind, dies_after: usize::MAX, identity: 1 };
        let second = again.stamps(&history);

        let epochs: Vec<Epoch> = first.values().chain(second.values()).map(|stamp| stamp.0).collect();
        prop_assert!(epochs.windows(2).all(|pair| pair[0] == pair[1]), "one epoch");
        for (event, (_, number)) in first.iter().chain(&second) {
            prop_assert_eq!(*number, expected[event], "event {}", event);
        }
        let all: std::collections::BTreeSet<u64> = first.keys().chain(second.keys()).copied().collect();
        prop_assert_eq!(all.len(), expected.len(), "none is left out");
        prop_assert_eq!(second.len() as u64, rows - begin);
    }
}

#[test]
fn another_identity_begins_a_new_epoch_at_one_and_stores_it_before_anything_is_read() {
    let run =
        |first, identity| Run { first, sizes: vec![10; 5], lanes: 2, behind: 1, dies_after: 99, identity };
    let history = History::default();
    let old = run(0, 1).stamps(&history);
    let stored = history.0.lock().unwrap().len();
    let new = run(50, 2).stamps(&history);
    assert!(new[&50].0 > old[&0].0);
    let counted = new.iter().filter(|(event, _)| place(event).numbering == Numbering::Counted);
    assert_eq!(counted.map(|(_, stamp)| stamp.1).min(), Some(1));
    let history = history.0.lock().unwrap();
    assert_eq!(count(&history[stored].acked), 50);
    assert_ne!(history[stored].extra, history[stored - 1].extra);
}

/// Sends a batch, and the next one only once that one is confirmed.
struct Asking {
    sizes: Sizes,
    confirmed: Arc<Mutex<Vec<u64>>>,
}

impl Source for Asking {
    type Record = Number;
    type Event = u64;
    type Encoder = Encoder;

    fn start(&mut self, stored: Option<&Position>) -> Result<Position, Failure> {
        self.sizes.start(stored)
    }

    fn encoder(&self) -> Encoder {
        self.sizes.encoder()
    }

    fn run(self, intake: &mut dyn Intake<Number>) -> Result<SourceEnd, Failure> {
        let confirmations = intake.confirmations();
        for end in 1..=20_u64 {
            let bytes = (end - 1).to_be_bytes().to_vec();
            let batch =
                Batch { bytes: bytes.into(), records: vec![Number(0)], position: position(end), time_us: 1 };
            assert_eq!(intake.send(batch), Ok(()));
            let waker = Waker::noop();
            let confirmed = loop {
                match confirmations.poll(&mut Context::from_waker(waker)) {
                    Poll::Ready(position) => break position,
                    Poll::Pending => thread::yield_now(),
                }
            };
            self.confirmed.lock().unwrap().push(count(&confirmed));
        }
        Ok(SourceEnd::Reached)
    }
}

#[test]
fn a_source_is_told_what_is_acknowledged_beside_the_checkpoints() {
    let Fixture { pipeline, world } = fixture(&[], 2);
    let confirmed: Arc<Mutex<Vec<u64>>> = Arc::default();
    let Pipeline { source: sizes, target, begin, settings, metrics, stop, .. } = pipeline;
    let source = Asking { sizes, confirmed: confirmed.clone() };
    let registry = Box::new(MemoryRegistry::default());
    let pipeline = Pipeline { source, target, registry, begin, settings, sequence: None, metrics, stop };
    assert_eq!(pipeline.run(), Ok(Outcome::Reached));
    assert_eq!(*confirmed.lock().unwrap(), (1..=20).collect::<Vec<_>>());
    assert_eq!(world.received.lock().unwrap().len(), 20);
}
