//! An idle pipeline sleeps: it takes less than a hundredth of a core. In a process of its own, since it measures that.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use flowd_engine::checkpoint::{Checkpoint, Registry};
use flowd_engine::failure::Failure;
use flowd_engine::parcel::Parcel;
use flowd_engine::pipeline::{Outcome, Pipeline, Settings};
use flowd_engine::record::{Batch, ConnectorRecord, Position};
use flowd_engine::stop::Stop;
use flowd_engine::worker::{Encode, Encoded, Intake, Outlet, Source, SourceEnd, Target};

struct Nothing;

impl ConnectorRecord for Nothing {}

impl Encode<Nothing, ()> for Nothing {
    fn encode(&mut self, _: &Batch<Nothing>, _: &mut Parcel<()>) -> Result<Encoded, Failure> {
        Ok(Encoded::All)
    }
}

/// Waits for the stop without reading anything.
struct Silent(Stop);

impl Source for Silent {
    type Record = Nothing;
    type Event = ();
    type Encoder = Nothing;

    fn start(&mut self, _: Option<&Position>) -> Result<Position, Failure> {
        Ok(Position::default())
    }

    fn encoder(&self) -> Nothing {
        Nothing
    }

    fn run(self, _: &mut dyn Intake<Nothing>) -> Result<SourceEnd, Failure> {
        assert!(self.0.wait(Duration::from_secs(60)), "the test asks to stop long before");
        Ok(SourceEnd::Stopped)
    }
}

struct Waiting;

impl Target<()> for Waiting {
    fn start(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn run(self: Box<Self>, parcels: &mut dyn Outlet<()>) -> Result<(), Failure> {
        assert!(parcels.next().is_none());
        Ok(())
    }
}

impl Registry for Nothing {
    fn load(&self) -> Result<Option<Checkpoint>, Failure> {
        Ok(None)
    }

    fn store(&mut self, _: &Checkpoint) -> Result<(), Failure> {
        Ok(())
    }
}

/// CPU time of this process in clock ticks (hundredths of a second), user and system.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit_once(')').expect("the name is in parentheses").1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<u64>().expect("a count of ticks");
    ticks(11) + ticks(12)
}

#[test]
fn an_idle_pipeline_takes_less_than_a_hundredth_of_a_core() {
    let stop = Stop::new();
    let pipeline = Pipeline {
        source: Silent(stop.clone()),
        target: Box::new(Waiting),
        registry: Box::new(Nothing),
        begin: Position(Bytes::new()),
        settings: Settings { lanes: 4, checkpoint_every: Duration::from_millis(100), ..Settings::default() },
        sequence: None,
        metrics: Arc::default(),
        stop: stop.clone(),
    };
    let running = thread::spawn(move || pipeline.run());
    let before = cpu_ticks();
    assert!(!Stop::new().wait(Duration::from_secs(2)));
    let ticks = cpu_ticks() - before;
    stop.request();
    assert_eq!(running.join().expect("no panic"), Ok(Outcome::Stopped));
    assert!(ticks <= 2, "{ticks} hundredths of a second of CPU in two idle seconds");
}
