//! Batch events on their way to a server.

use std::collections::BTreeMap;

use flowd_codec::event::view::Data;
use flowd_codec::event::{batch, incoming};
use flowd_engine::sequence::{Lane, Numbering, Place, TopicId};

use super::*;
use crate::config::Batching;

const LANES: u64 = 4;

/// As `parcels`, counted in lanes.
fn counted(count: u64, size: u64, keys: u64) -> Vec<Parcel> {
    let mut parcels = parcels(count, size, keys);
    for event in parcels.iter_mut().flat_map(|parcel| &mut parcel.events) {
        let lane = Lane((event.keys[0] % LANES) as u16);
        event.place = Place { topic: TopicId(0), lane, numbering: Numbering::Counted };
    }
    parcels
}

/// The numbers of the events in a body.
fn numbers(body: &[u8]) -> Vec<u64> {
    let number = |json: &[u8]| incoming::read(json).unwrap().id["id-".len()..].parse().unwrap();
    let event = incoming::read(body).unwrap();
    match event.data {
        Data::Json(data) if event.event_type == batch::EVENT_TYPE => {
            batch::members(data).map(number).collect()
        }
        _ => vec![number(body)],
    }
}

/// Runs against a server that takes events of so many bytes; each event arrives once, each key in order.
fn check_batches(bytes_max: usize, chance_of_silence: f64, keys: u64) -> (Ran, usize) {
    let taken: Arc<Mutex<Vec<Vec<u64>>>> = Arc::default();
    let mut chance = SmallRng::seed_from_u64(7);
    let server = MeshServer::start(on_publish({
        let taken = taken.clone();
        let mut known = HashSet::new();
        move |world, publish| {
            if publish.body.len() > bytes_max {
                return world.refuse(publish, "event size exceeds the limit: 1000");
            }
            if known.insert(publish.id.clone()) {
                taken.lock().unwrap().push(numbers(&publish.body));
            }
            if !chance.random_bool(chance_of_silence) {
                world.ack(publish);
            }
        }
    }));
    let batching = Some(Batching { bytes: 20_000, linger: Duration::from_millis(1) });
    let ran = run(MeshConfig { batching, ..config(&[&server]) }, FakeParcels::ending(counted(30, 100, keys)));
    assert_eq!(ran.result, Ok(()));
    assert_eq!(ran.parcels.acked.last(), Some(&29));
    let taken = taken.lock().unwrap();
    let mut last_of_key = BTreeMap::new();
    for number in taken.iter().flatten() {
        let before = last_of_key.insert(number % keys, *number);
        assert!(before.is_none_or(|before| before < *number), "{before:?} before {number}");
    }
    assert_eq!(taken.iter().map(Vec::len).sum::<usize>(), 3_000);
    let largest = taken.iter().map(Vec::len).max().unwrap();
    (ran, largest)
}

#[test]
fn batches_bring_every_event_once_in_a_fraction_of_the_publishes() {
    let (ran, largest) = check_batches(usize::MAX, 0.0, 3_000);
    assert!(ran.stats.acked.value() < 200, "{} publishes", ran.stats.acked.value());
    assert!(largest > 20, "{largest} events in a batch");
}

#[test]
fn a_server_that_takes_less_gets_smaller_batches() {
    let (ran, largest) = check_batches(4_000, 0.0, 3_000);
    assert!((2..20).contains(&largest), "{largest} events in a batch");
    assert!(ran.stats.acked.value() < 1_500, "{} publishes", ran.stats.acked.value());
    assert_eq!(ran.parcels.rejects.len(), 0);
}

#[test]
fn a_server_that_takes_no_batch_gets_every_event_alone() {
    let (ran, largest) = check_batches(500, 0.0, 3_000);
    assert_eq!((largest, ran.parcels.rejects.len()), (1, 0));
}

#[test]
fn lost_answers_and_hot_keys_keep_the_order() {
    let (ran, _) = check_batches(4_000, 0.2, 37);
    assert!(ran.stats.resent.value() > 0);
}
