//! Delivery `applied` over a server that forgets pushes, with a sink that the test plays.

use std::collections::BTreeSet;

use flowd_codec::applied::{LaneMark, ReportWriter};
use flowd_codec::event::Framing;
use flowd_codec::event::incoming::{self, Order};

use super::*;
use crate::config::AppliedBy;
use crate::testing::{EPOCH, Kind, SOURCE, counted_parcel};

/// What the sink has: numbers that came, and the last one up to which all did.
#[derive(Default)]
struct Sink {
    came: BTreeSet<u64>,
    applied: u64,
}

impl Sink {
    fn take(&mut self, number: u64) {
        self.came.insert(number);
        while self.came.remove(&(self.applied + 1)) {
            self.applied += 1;
        }
        self.came = self.came.split_off(&self.applied);
    }

    fn report(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = ReportWriter::new(Framing::Bare, "control", SOURCE, "warehouse", 1);
        let lane = LaneMark { epoch: EPOCH, topic: "shop.orders".into(), lane: 0, sequence: self.applied };
        writer.write(&mut out, 0, [lane], []);
        out
    }
}

/// One publish in `lost` never reaches the sink, and one report in `lost` never the source.
fn server_that_loses(lost: u64, sink: Arc<Mutex<Sink>>) -> MeshServer {
    let mut chance = SmallRng::seed_from_u64(11);
    MeshServer::start(Box::new(move |world, happening| match happening {
        Happening::Publish(publish) => {
            world.ack(&publish);
            let event = incoming::read(&publish.body).unwrap();
            let Order::Counted { sequence, .. } = event.order else { panic!("{:?}", event.order) };
            if chance.random_range(0..lost) > 0 {
                sink.lock().unwrap().take(sequence);
            }
        }
        Happening::Quiet if chance.random_range(0..lost) > 0 => {
            let report = sink.lock().unwrap().report();
            if let Some(listener) = world.listeners.last().copied() {
                world.push(listener, "1", &report);
            }
        }
        _ => {}
    }))
}

#[test]
fn nothing_counts_as_acknowledged_before_it_is_applied_and_all_is_in_the_end() {
    const PARCELS: u64 = 20;
    const SIZE: u64 = 50;
    let sink = Arc::new(Mutex::new(Sink::default()));
    let server = server_that_loses(5, Arc::clone(&sink));
    let mut config = config(&[&server]);
    config.applied = Some(AppliedBy { by: vec!["warehouse".to_owned()], topic: "control".to_owned() });
    config.timing.applied = Duration::from_millis(60);
    let number = |parcel: u64, n: u64| parcel * SIZE + n + 1;
    let parcel = |parcel| {
        counted_parcel((0..SIZE).map(|n| {
            let number = number(parcel, n);
            // A TRUNCATE now and then: all before it must be applied, and nothing may pass it.
            let kind = if number % 170 == 0 { Kind::Truncate(number) } else { Kind::Change(number) };
            (kind, 1 + number % 13)
        }))
    };
    let mut parcels = FakeParcels::ending((0..PARCELS).map(parcel).collect());
    let seen = Arc::clone(&sink);
    parcels.on_acked = Some(Box::new(move |ticket| {
        let applied = seen.lock().unwrap().applied;
        assert!(applied >= number(ticket, SIZE - 1), "ticket {ticket} with {applied} applied");
    }));
    let ran = run(config, parcels);
    assert_eq!((ran.result, ran.parcels.acked.len() as u64), (Ok(()), PARCELS));
    assert_eq!(sink.lock().unwrap().applied, PARCELS * SIZE);
    assert!(ran.stats.resent_unapplied.value() > 0, "some were lost");
    assert_eq!((ran.stats.awaiting.value(), ran.stats.unheard.value()), (0, 0));
    let world = server.world.lock().unwrap();
    assert_eq!(world.subscriptions[0]["topicList"][0]["topic"], "control");
    assert_eq!(world.subscriptions[0]["topicList"][0]["mode"], "BROADCASTING");
}
