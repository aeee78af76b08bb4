//! The announcer against a scripted server.

use flowd_codec::applied::{self, Report};
use flowd_codec::event::incoming::{self, Chunk};
use flowd_codec::event::view::Data;

use super::*;
use crate::config::Timing;
use crate::testing::mesh::{Happening, MeshServer};

const SOURCE: &str = "/flowd/mysql/orders";

fn server() -> MeshServer {
    MeshServer::start(Box::new(|world, happening| {
        if let Happening::Publish(publish) = happening {
            world.ack(&publish);
        }
    }))
}

fn announcer(server: &MeshServer) -> (Announcer, Arc<Stats>) {
    let ms = Duration::from_millis;
    let timing = Timing { reconnect: ms(5), reconnect_max: ms(20), ..Timing::default() };
    let config = MeshConfig { addresses: vec![server.address.clone()], timing, ..MeshConfig::default() };
    let settings = AnnounceSettings { every: ms(20), again: ms(60), ..AnnounceSettings::new("warehouse") };
    let stats = Arc::new(Stats::default());
    (Announcer::start(config, settings, Arc::clone(&stats)).unwrap(), stats)
}

fn lane(sequence: u64) -> LaneMark<'static> {
    LaneMark { epoch: 5, topic: "shop.orders".into(), lane: 2, sequence }
}

fn chunk(number: u64) -> ChunkMark<'static> {
    ChunkMark { snapshot: "s".into(), chunk: Chunk { run: 1, number } }
}

/// What came so far: topic, lanes' sequences, chunks' numbers.
fn said(server: &MeshServer) -> Vec<(String, Vec<u64>, Vec<u64>)> {
    let world = server.world.lock().unwrap();
    let read = |body: &[u8]| {
        let event = incoming::read(body).unwrap();
        let Data::Json(data) = &event.data else { panic!("no data") };
        let Report { source, instance, lanes, chunks } = applied::read(data).unwrap();
        assert_eq!((&*source, &*instance), (SOURCE, "warehouse"));
        (
            event.topic.unwrap().into_owned(),
            lanes.iter().map(|lane| lane.sequence).collect(),
            chunks.iter().map(|chunk| chunk.chunk.number).collect(),
        )
    };
    world.arrivals.iter().map(|publish| read(&publish.body)).collect()
}

fn until(holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(10), "it never came to hold");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_is_applied_is_said_on_the_sources_control_topic_and_again_later() {
    let server = server();
    let (announcer, _) = announcer(&server);
    announcer.applied(SOURCE, [lane(3)], [chunk(1)]);
    until(|| said(&server).len() >= 3);
    for (topic, lanes, chunks) in said(&server).into_iter().take(3) {
        assert_eq!((topic.as_str(), lanes, chunks), ("flowd.applied.orders", vec![3], vec![1]));
    }
}

#[test]
fn many_changes_make_few_reports_and_the_last_word_is_said_at_the_end() {
    let server = server();
    let (announcer, stats) = announcer(&server);
    for sequence in 1..=1000 {
        announcer.applied(SOURCE, [lane(sequence)], []);
    }
    until(|| !said(&server).is_empty());
    announcer.applied(SOURCE, [lane(1001)], []);
    drop(announcer);
    let said = said(&server);
    assert_eq!(said.last().unwrap().1, [1001]);
    assert!(said.len() < 100, "{} reports", said.len());
    assert_eq!(stats.sent.value(), said.len() as u64);
    assert_eq!(server.world.lock().unwrap().goodbyes, 1);
}

#[test]
fn a_lost_connection_and_refusals_cost_only_time() {
    let mut refused = 0;
    let server = MeshServer::start(Box::new(move |world, happening| {
        if let Happening::Publish(publish) = happening {
            refused += 1;
            match refused {
                1 => world.refuse(&publish, "topic is not created"),
                2 => world.close(publish.connection),
                _ => world.ack(&publish),
            }
        }
    }));
    let (announcer, stats) = announcer(&server);
    announcer.applied(SOURCE, [lane(3)], []);
    until(|| said(&server).len() >= 4);
    assert!(said(&server).iter().all(|(_, lanes, _)| lanes == &[3]));
    assert_eq!((stats.refused.value(), server.world.lock().unwrap().connections()), (1, 2));
}

#[test]
fn a_sink_ends_in_time_though_there_is_no_mesh() {
    let mut server = server();
    let (announcer, _) = announcer(&server);
    server.stop();
    announcer.applied(SOURCE, [lane(3)], []);
    let began = Instant::now();
    drop(announcer);
    assert!(began.elapsed() < LAST_REPORT + Duration::from_millis(500));
}
