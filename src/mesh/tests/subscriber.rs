//! The subscriber that sinks have, in a pipeline of its own, against this server.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::thread;

use flowd_engine::checkpoint::MemoryRegistry;
use flowd_engine::failure::Failure;
use flowd_engine::metrics::Metrics;
use flowd_engine::parcel::Parcel;
use flowd_engine::pipeline::{Outcome, Pipeline, Settings};
use flowd_engine::record::{Batch, Body as _};
use flowd_engine::stop::Stop;
use flowd_engine::worker::{Encode, Encoded, Outlet, Source as _, Target};
use flowd_mesh::config::{MeshConfig, Timing};
use flowd_mesh::subscribe::stats::Stats;
use flowd_mesh::subscribe::{MeshSource, Push};

use super::*;

/// Reads the number of each event.
struct Numbers;

impl Encode<Push, u64> for Numbers {
    fn encode(&mut self, batch: &Batch<Push>, parcel: &mut Parcel<u64>) -> Result<Encoded, Failure> {
        for push in &batch.records {
            let event: serde_json::Value =
                serde_json::from_slice(push.body().of(&batch.bytes)).expect("JSON");
            parcel.events.push(event["data"]["n"].as_u64().expect("a number"));
        }
        Ok(Encoded::All)
    }
}

/// Keeps what comes, and acknowledges it.
struct Keep(Arc<Mutex<Vec<u64>>>);

impl Target<u64> for Keep {
    fn start(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn run(self: Box<Self>, parcels: &mut dyn Outlet<u64>) -> Result<(), Failure> {
        while let Some(delivery) = parcels.next() {
            self.0.lock().expect("no panic").extend(&delivery.parcel.events);
            parcels.emitted(delivery.ticket);
            parcels.acked(delivery.ticket);
            parcels.recycle(delivery.parcel);
        }
        Ok(())
    }
}

/// A pipeline that reads topic `T` for group `g`.
struct Reader {
    kept: Arc<Mutex<Vec<u64>>>,
    stats: Arc<Stats>,
    stop: Stop,
    running: thread::JoinHandle<Result<Outcome, Failure>>,
}

impl Reader {
    fn start(address: &str) -> Self {
        let ms = Duration::from_millis;
        let timing = Timing { reconnect: ms(10), reconnect_max: ms(50), ..Timing::default() };
        let config = MeshConfig {
            addresses: vec![address.to_owned()],
            group: "g".to_owned(),
            timing,
            ..MeshConfig::default()
        };
        let (kept, stats, stop) = (Arc::default(), Arc::<Stats>::default(), Stop::new());
        let mut source = MeshSource::new(config, vec!["T".to_owned()], stats.clone(), || Numbers);
        let begin = source.start(None).expect("the mesh greets");
        let pipeline = Pipeline {
            source,
            target: Box::new(Keep(Arc::clone(&kept))),
            registry: Box::new(MemoryRegistry::default()),
            begin,
            settings: Settings { lanes: 2, ..Settings::default() },
            sequence: None,
            metrics: Arc::<Metrics>::default(),
            stop: stop.clone(),
        };
        Self { kept, stats, stop, running: thread::spawn(move || pipeline.run()) }
    }

    fn distinct(&self) -> BTreeSet<u64> {
        self.kept.lock().expect("no panic").iter().copied().collect()
    }

    fn wait_for(&self, count: usize) {
        let began = Instant::now();
        while self.distinct().len() < count {
            assert!(began.elapsed() < Duration::from_secs(20), "{} of {count} came", self.distinct().len());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops it; what it kept.
    fn stop(self) -> Vec<u64> {
        self.stop.request();
        assert_eq!(self.running.join().expect("no panic"), Ok(Outcome::Stopped));
        std::mem::take(&mut *self.kept.lock().expect("no panic"))
    }
}

/// Publishes events over a connection of its own.
fn publish_all(server: &Server, ids: std::ops::Range<u64>) {
    let mut publisher = Client::publisher(server);
    for id in ids {
        assert_eq!(publisher.publish("T", id).code, 0);
    }
}

#[test]
fn a_reader_that_stops_has_acknowledged_all_that_it_kept() {
    let mut config = config(None);
    config.ack_timeout = Duration::from_secs(60);
    let server = start(config);
    let reader = Reader::start(&server.address().to_string());
    // The group exists once there was one subscriber; before, nobody would miss the events.
    publish_all(&server, 0..2000);
    reader.wait_for(300);
    let kept = reader.stop();
    let mut rest = Client::subscriber(&server, "g", "T", GROUPED).drain(2000 - kept.len());
    rest.extend(&kept);
    rest.sort_unstable();
    assert_eq!(rest, (0..2000).collect::<Vec<_>>(), "each once");
    server.shutdown().expect("a clean end");
}

#[test]
fn a_reader_that_is_sent_away_again_and_again_loses_nothing() {
    let mut config = config(None);
    let leave_after = Some(Duration::from_millis(300));
    config.faults = FaultPlan { leave_after, reorder_pushes: 7, ..FaultPlan::default() };
    let server = start(config);
    let reader = Reader::start(&server.address().to_string());
    let mut published = 0;
    while reader.stats.reconnects.value() < 3 {
        // A publisher is sent away as well, and is gone by then.
        publish_all(&server, published..published + 10);
        published += 10;
    }
    reader.wait_for(published as usize);
    let kept: BTreeSet<u64> = reader.stop().into_iter().collect();
    assert_eq!(kept, (0..published).collect());
    server.shutdown().expect("a clean end");
}

#[test]
fn a_reader_outlives_the_server_that_it_reads_from() {
    let data = tempfile::tempdir().expect("a directory");
    let mut server = start(config(Some(data.path())));
    let address = server.address();
    let reader = Reader::start(&address.to_string());
    for round in 0..3 {
        while reader.stats.connected.value() == 0 {
            thread::sleep(Duration::from_millis(2));
        }
        publish_all(&server, round * 200..(round + 1) * 200);
        server.shutdown().expect("a clean end");
        let mut again = config(Some(data.path()));
        again.listen = address.to_string();
        server = start(again);
    }
    reader.wait_for(600);
    assert!(reader.stats.reconnects.value() >= 2, "{:?}", reader.stats);
    reader.stop();
    server.shutdown().expect("a clean end");
}

#[test]
fn what_a_server_forgets_is_lost_and_the_rest_is_not() {
    let mut config = config(None);
    config.faults =
        FaultPlan { drop_pushes: 10, forget_after: Some(Duration::from_millis(50)), ..FaultPlan::default() };
    let server = start(config);
    let reader = Reader::start(&server.address().to_string());
    publish_all(&server, 0..500);
    reader.wait_for(400);
    let kept = reader.stop();
    assert!(kept.len() < 500, "a push in ten is never sent: {}", kept.len());
    assert_eq!(kept.iter().collect::<BTreeSet<_>>().len(), kept.len(), "none comes twice");
    server.shutdown().expect("a clean end");
}
