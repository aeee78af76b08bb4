//! The whole target against a scripted server.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use flowd_engine::order::Order;
use flowd_engine::parcel;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::config::Timing;
use crate::testing::mesh::{Happening, MeshServer, Publish, Script, World};
use crate::testing::{FakeParcels, mesh_parcel, padded_mesh_parcel};

mod applied;
mod batches;

type Parcel = parcel::Parcel<Outgoing>;

/// Clocks that make a test's faults heal within it.
fn config(servers: &[&MeshServer]) -> MeshConfig {
    let ms = Duration::from_millis;
    MeshConfig {
        addresses: servers.iter().map(|server| server.address.clone()).collect(),
        connections: 3,
        window: 8,
        ack_timeout: ms(150),
        timing: Timing {
            greet: ms(1000),
            reconnect: ms(10),
            reconnect_max: ms(50),
            refused: ms(5),
            refused_max: ms(20),
            drain: ms(500),
            ..Timing::default()
        },
        ..MeshConfig::default()
    }
}

/// `count` parcels of `size` events over `keys` keys.
fn parcels(count: u64, size: u64, keys: u64) -> Vec<Parcel> {
    (0..count)
        .map(|parcel| mesh_parcel((0..size).map(|n| parcel * size + n).map(|n| (n, 1 + n % keys))))
        .collect()
}

struct Ran {
    result: Result<(), Failure>,
    parcels: FakeParcels,
    stats: Arc<Stats>,
}

/// Runs the target to its end, with a bound that only a hang reaches.
fn run(config: MeshConfig, mut parcels: FakeParcels) -> Ran {
    let stats = Arc::new(Stats::default());
    let mut target = Box::new(MeshTarget::new(config, Arc::clone(&stats)));
    let (done, finished) = mpsc::channel();
    thread::spawn(move || {
        let result = target.start().and_then(|()| target.run(&mut parcels));
        let _ = done.send((result, parcels));
    });
    let (result, parcels) =
        finished.recv_timeout(Duration::from_secs(30)).expect("the target hangs or panicked");
    Ran { result, parcels, stats }
}

/// Runs `count` parcels of `size` events and checks what must hold whatever the server does: everything is stored,
/// tickets are acknowledged in order and never before their events are stored, order per key.
fn check(server: &MeshServer, config: MeshConfig, count: u64, size: u64, keys: u64) -> Ran {
    let order = config.order;
    let mut source = FakeParcels::ending(parcels(count, size, keys));
    let world = Arc::clone(&server.world);
    source.on_acked = Some(Box::new(move |ticket| {
        let world = world.lock().unwrap();
        for number in ticket * size..(ticket + 1) * size {
            assert!(
                world.stored.contains(&format!("id-{number}")),
                "ticket {ticket} acked, id-{number} not stored"
            );
        }
    }));
    let ran = run(config, source);
    assert_eq!(ran.result, Ok(()));
    assert_eq!(ran.parcels.acked, (0..count).collect::<Vec<_>>());
    assert_eq!(ran.parcels.recycled as u64, count);
    let world = server.world.lock().unwrap();
    assert_eq!(world.stored.len() as u64, count * size);
    if order != Order::None {
        world.check_order();
    }
    drop(world);
    ran
}

/// A script that sees publishes only.
fn on_publish(mut script: impl FnMut(&mut World, &Publish) + Send + 'static) -> Script {
    Box::new(move |world, happening| {
        if let Happening::Publish(publish) = happening {
            script(world, &publish);
        }
    })
}

#[test]
fn a_good_server_gets_every_event_once_with_a_seq_of_its_own() {
    let server = MeshServer::start(on_publish(|world, publish| world.ack(publish)));
    let ran = check(&server, config(&[&server]), 20, 50, 37);
    let world = server.world.lock().unwrap();
    assert_eq!(world.arrivals.len(), 1000);
    let seqs: HashSet<_> = world.arrivals.iter().map(|publish| &publish.seq).collect();
    assert_eq!(seqs.len(), 1000);
    assert_eq!((ran.stats.acked.value(), ran.stats.resent.value()), (1000, 0));
    assert_eq!(world.goodbyes, 3, "each connection of the pool says goodbye");
    let hello = &world.hellos[0];
    for field in ["env", "subsystem", "path", "host", "version", "username", "password", "idc", "group"] {
        assert!(hello[field].is_string(), "{field} is missing in {hello}");
    }
    assert_eq!((&hello["purpose"], &hello["unack"]), (&"pub".into(), &0.into()));
    assert!(hello["pid"].is_number() && hello["port"].is_number());
}

#[test]
fn empty_parcels_are_acknowledged_in_their_turn() {
    let server = MeshServer::start(on_publish(|world, publish| world.ack(publish)));
    let mixed = vec![Parcel::default(), mesh_parcel([(0, 1)]), Parcel::default(), Parcel::default()];
    let ran = run(config(&[&server]), FakeParcels::ending(mixed));
    assert_eq!((ran.result, ran.parcels.acked), (Ok(()), vec![0, 1, 2, 3]));
}

#[test]
fn parcels_that_come_late_are_published_when_they_come() {
    let server = MeshServer::start(on_publish(|world, publish| world.ack(publish)));
    let mut source = FakeParcels::ending(vec![mesh_parcel([(0, 1)])]);
    (1..20).for_each(|number| source.then_when_acked(number - 1, mesh_parcel([(number, 1)])));
    let ran = run(config(&[&server]), source);
    assert_eq!((ran.result, ran.parcels.acked.len()), (Ok(()), 20));
}

#[test]
fn an_ack_with_a_wrong_seq_counts_for_the_id_in_its_body() {
    let mut held: Vec<Publish> = Vec::new();
    let server = MeshServer::start(Box::new(move |world, happening| {
        let is_quiet = matches!(happening, Happening::Quiet);
        if let Happening::Publish(publish) = happening {
            held.push(publish);
        }
        if held.len() >= 4 || is_quiet {
            // Each ack carries the seq of the publish before it.
            let seqs: Vec<String> = held.iter().map(|publish| publish.seq.clone()).collect();
            for (index, publish) in held.drain(..).enumerate() {
                world.ack_as(&publish, publish.connection, &seqs[(index + seqs.len() - 1) % seqs.len()]);
            }
        }
    }));
    let ran = check(&server, config(&[&server]), 10, 20, 50);
    assert_eq!(ran.stats.resent.value(), 0);
}

#[test]
fn an_ack_on_another_connection_frees_the_one_that_sent() {
    let server = MeshServer::start(on_publish(|world, publish| {
        let elsewhere = (0..world.connections())
            .rev()
            .find(|other| *other != publish.connection && world.is_open(*other));
        world.ack_as(publish, elsewhere.unwrap_or(publish.connection), &publish.seq);
    }));
    let ran = check(&server, config(&[&server]), 10, 40, 100);
    assert_eq!(ran.stats.resent.value(), 0);
}

#[test]
fn an_ack_without_a_body_counts_by_its_seq() {
    let server = MeshServer::start(on_publish(|world, publish| world.ack_without_body(publish)));
    assert_eq!(check(&server, config(&[&server]), 5, 40, 100).stats.resent.value(), 0);
}

#[test]
fn a_missing_ack_leads_to_a_resend_of_the_same_event() {
    let mut seen = HashSet::new();
    let server = MeshServer::start(on_publish(move |world, publish| {
        let is_first = seen.insert(publish.id.clone());
        if !(is_first && publish.id.ends_with('7')) {
            world.ack(publish);
        }
    }));
    let ran = check(&server, config(&[&server]), 4, 25, 11);
    assert!(ran.stats.timed_out.value() >= 10, "{:?}", ran.stats);
    let world = server.world.lock().unwrap();
    let mut bodies: HashMap<&str, &[u8]> = HashMap::new();
    for publish in &world.arrivals {
        assert_eq!(*bodies.entry(&publish.id).or_insert(&publish.body), publish.body.as_slice());
    }
    assert!(world.arrivals.iter().filter(|publish| publish.id == "id-7").count() >= 2);
}

#[test]
fn refusals_that_can_heal_are_sent_again_until_they_are_taken() {
    let mut refusals: HashMap<String, usize> = HashMap::new();
    let texts = [
        "java.lang.Exception: SEND_TOO_FAST",
        "Tps overload, global flow control",
        "org.apache.eventmesh.api.exception.StorageRuntimeException: Send message error, topic: shop.orders",
    ];
    let server = MeshServer::start(on_publish(move |world, publish| {
        let count = refusals.entry(publish.id.clone()).or_default();
        *count += 1;
        if *count <= 3 && publish.id.ends_with('3') {
            world.refuse(publish, texts[*count - 1]);
        } else {
            world.ack(publish);
        }
    }));
    let ran = check(&server, config(&[&server]), 4, 25, 11);
    assert_eq!((ran.stats.refused.value(), ran.stats.rejected.value()), (30, 0));
}

#[test]
fn a_refusal_for_good_becomes_a_dead_letter_that_names_the_servers_setting() {
    let server = MeshServer::start(on_publish(|world, publish| match publish.id.as_str() {
        "id-5" => world.refuse(publish, "java.lang.Exception: event size exceeds the limit: 1000"),
        _ => world.ack(publish),
    }));
    let ran = run(config(&[&server]), FakeParcels::ending(parcels(1, 10, 2)));
    assert_eq!((ran.result, ran.parcels.acked), (Ok(()), vec![0]));
    let [(reason, line)] = ran.parcels.rejects.as_slice() else { panic!("{:?}", ran.parcels.rejects) };
    assert!(reason.contains("eventMesh.server.maxEventSize") && reason.contains("shop.orders"), "{reason}");
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["id"], &line["topic"]), (&"id-5".into(), &"shop.orders".into()));
    assert_eq!(line["event"]["data"]["key"], "2");
}

#[test]
fn a_reject_that_stops_ends_the_run_and_acknowledges_nothing_after_it() {
    let server = MeshServer::start(on_publish(|world, publish| match publish.id.as_str() {
        "id-5" => world.refuse(publish, "java.lang.Exception: event is null"),
        _ => world.ack(publish),
    }));
    let mut source = FakeParcels::ending(parcels(3, 4, 2));
    source.on_reject = Some(Failure::Fatal("onReject is stop".to_owned()));
    let ran = run(config(&[&server]), source);
    assert_eq!(ran.result, Err(Failure::Fatal("onReject is stop".to_owned())));
    assert!(ran.parcels.acked.iter().all(|ticket| *ticket == 0), "{:?}", ran.parcels.acked);
}

#[test]
fn an_event_too_large_for_a_frame_is_rejected_unsent() {
    let server = MeshServer::start(on_publish(|world, publish| world.ack(publish)));
    let source = vec![mesh_parcel([(0, 1)]), padded_mesh_parcel([(1, 1)], 5000), mesh_parcel([(2, 1)])];
    let ran = run(MeshConfig { max_event_bytes: 4000, ..config(&[&server]) }, FakeParcels::ending(source));
    assert_eq!((ran.result, ran.parcels.acked), (Ok(()), vec![0, 1, 2]));
    assert!(ran.parcels.rejects[0].0.contains("4000 bytes"), "{:?}", ran.parcels.rejects);
    assert_eq!(server.world.lock().unwrap().arrivals.len(), 2);
}

#[test]
fn a_reset_inside_a_frame_loses_nothing() {
    let mut count = 0;
    let server = MeshServer::start(on_publish(move |world, publish| {
        count += 1;
        if count % 40 == 0 { world.reset_inside_a_frame(publish) } else { world.ack(publish) }
    }));
    let ran = check(&server, config(&[&server]), 10, 40, 60);
    assert!(ran.stats.reconnects.value() >= 5, "{:?}", ran.stats);
}

#[test]
fn a_server_goodbye_is_answered_by_draining_and_a_new_connection() {
    let mut count = 0;
    let mut left: HashSet<usize> = HashSet::new();
    let server = MeshServer::start(on_publish(move |world, publish| {
        count += 1;
        world.ack(publish);
        if count % 50 == 0 && left.insert(publish.connection) {
            world.goodbye(publish.connection);
        }
    }));
    let ran = check(&server, config(&[&server]), 10, 40, 100);
    assert_eq!(ran.stats.resent.value(), 0, "what was in flight was answered");
    assert!(server.world.lock().unwrap().connections() >= 5);
}

#[test]
fn a_redirect_is_followed() {
    let other = MeshServer::start(on_publish(|world, publish| world.ack(publish)));
    let to = other.address.clone();
    let server = MeshServer::start(on_publish(move |world, publish| {
        world.ack(publish);
        world.redirect(publish.connection, &to);
    }));
    let mut source = FakeParcels::ending(parcels(1, 40, 40));
    (1..8).for_each(|ticket| {
        source.then_when_acked(ticket - 1, mesh_parcel((0..40).map(|n| (ticket * 40 + n, 1 + n))));
    });
    let ran = run(MeshConfig { connections: 1, ..config(&[&server]) }, source);
    assert_eq!((ran.result, ran.parcels.acked.len()), (Ok(()), 8));
    let (here, there) = (server.world.lock().unwrap(), other.world.lock().unwrap());
    assert_eq!(here.stored.len() + there.stored.len(), 320);
    assert!(there.stored.len() >= 300, "{} events at the new address", there.stored.len());
}

#[test]
fn a_server_slower_than_the_time_out_gets_repeats_but_is_not_given_up() {
    let mut held: Vec<Publish> = Vec::new();
    let mut answered = 0;
    let server = MeshServer::start(Box::new(move |world, happening| match happening {
        Happening::Publish(publish) => held.push(publish),
        Happening::Quiet if !held.is_empty() && answered < 60 => {
            answered += 1;
            let publish = held.remove(0);
            world.ack(&publish);
        }
        Happening::Quiet => held.drain(..).for_each(|publish| world.ack(&publish)),
        _ => {}
    }));
    let config = MeshConfig { ack_timeout: Duration::from_millis(30), ..config(&[&server]) };
    let ran = check(&server, config, 2, 40, 40);
    assert!(ran.stats.resent.value() > 0 && ran.stats.alien_answers.value() > 0, "{:?}", ran.stats);
}

#[test]
fn a_connection_without_answers_to_heartbeats_is_dead() {
    let mut stuck = None;
    let server = MeshServer::start(on_publish(move |world, publish| {
        // The first connection takes events and never says anything again.
        if *stuck.get_or_insert(publish.connection) != publish.connection {
            world.ack(publish);
        }
        world.answers_heartbeats = false;
    }));
    let timing = Timing {
        heartbeat: Duration::from_millis(40),
        heartbeat_answer: Duration::from_millis(40),
        ..config(&[&server]).timing
    };
    let config =
        MeshConfig { timing, ack_timeout: Duration::from_secs(60), connections: 1, ..config(&[&server]) };
    let ran = check(&server, config, 1, 8, 8);
    assert!(ran.stats.reconnects.value() >= 1);
    assert!(server.world.lock().unwrap().heartbeats >= 1);
}

#[test]
fn a_heartbeat_refused_for_want_of_a_session_opens_the_connection_anew() {
    // Only the second connection's publishes are answered: the first must be left for its heartbeat's sake.
    let server = MeshServer::start(on_publish(|world, publish| {
        if world.heartbeat_refusals == 0 {
            world.ack(publish);
        }
    }));
    server.world.lock().unwrap().heartbeat_refusals = 1;
    let timing = Timing { heartbeat: Duration::from_millis(40), ..config(&[&server]).timing };
    let config =
        MeshConfig { timing, ack_timeout: Duration::from_secs(60), connections: 1, ..config(&[&server]) };
    let ran = check(&server, config, 1, 8, 8);
    assert!(ran.stats.reconnects.value() >= 1);
}

#[test]
fn a_publish_that_comes_back_as_itself_is_sent_again() {
    let mut seen = HashSet::new();
    let server = MeshServer::start(on_publish(move |world, publish| {
        if seen.insert(publish.id.clone()) { world.bounce(publish) } else { world.ack(publish) }
    }));
    let ran = check(&server, config(&[&server]), 2, 10, 7);
    assert_eq!((ran.stats.refused.value(), ran.stats.timed_out.value()), (20, 0));
}

#[test]
fn connections_of_a_lost_address_move_on_and_come_back() {
    let mut first = MeshServer::start(on_publish(|world, publish| world.ack(publish)));
    let second = MeshServer::start(on_publish(|world, publish| world.ack(publish)));
    let (address, world) = (first.address.clone(), Arc::clone(&first.world));
    let config = MeshConfig { connections: 4, ..config(&[&first, &second]) };
    // One parcel after another, until the test has seen what it wants to see.
    let mut source = FakeParcels::ending(vec![mesh_parcel([(0, 1)])]);
    let is_done = Arc::new(Mutex::new(false));
    source.endless_until(Arc::clone(&is_done), |number| mesh_parcel([(number, 1 + number % 16)]));
    let running = thread::spawn(move || run(config, source));
    let open = |world: &Arc<Mutex<World>>| world.lock().unwrap().open();
    await_that("both addresses have two connections", || (open(&world), open(&second.world)) == (2, 2));
    first.stop();
    await_that("all moved to the second", || open(&second.world) == 4);
    let _again =
        MeshServer::start_at(&address, Arc::clone(&world), on_publish(|world, publish| world.ack(publish)));
    await_that("two came back", || (open(&world), open(&second.world)) == (2, 2));
    *is_done.lock().unwrap() = true;
    let ran = running.join().unwrap();
    assert_eq!(ran.result, Ok(()));
    let stored: HashSet<_> =
        world.lock().unwrap().stored.union(&second.world.lock().unwrap().stored).cloned().collect();
    assert_eq!(stored.len(), ran.parcels.acked.len());
}

/// Waits for what other threads bring about.
fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("never came true: {what}");
}

#[test]
fn a_start_needs_one_address_that_greets() {
    let server = MeshServer::start(on_publish(|world, publish| world.ack(publish)));
    let nobody = "127.0.0.1:1".to_owned();
    let start = |addresses: Vec<String>| {
        let config = MeshConfig { addresses, ..config(&[&server]) };
        MeshTarget::new(config, Arc::default()).start()
    };
    assert_eq!(start(vec![nobody.clone(), server.address.clone()]), Ok(()));
    let unreachable = start(vec![nobody.clone()]).unwrap_err();
    assert!(matches!(&unreachable, Failure::Retry(text) if text.contains(&nobody)), "{unreachable:?}");
    server.world.lock().unwrap().refuse_hello = Some((2, "no such user".to_owned()));
    let refused = start(vec![nobody, server.address.clone()]).unwrap_err();
    assert!(matches!(&refused, Failure::Unusable(text) if text.contains("no such user")), "{refused:?}");
}

#[test]
fn total_order_holds_through_refusals_and_lost_acks() {
    let mut count = 0;
    let server = MeshServer::start(on_publish(move |world, publish| {
        count += 1;
        match count % 10 {
            3 => world.refuse(publish, "SEND_TOO_FAST"),
            7 => world.reset_inside_a_frame(publish),
            _ => world.ack(publish),
        }
    }));
    let order = MeshConfig { order: Order::Total, ..config(&[&server]) };
    let ran = check(&server, order, 4, 20, 5);
    let world = server.world.lock().unwrap();
    let mut seen = HashSet::new();
    let firsts =
        world.arrivals.iter().filter(|publish| seen.insert(&publish.id)).map(|publish| publish.id.clone());
    assert_eq!(firsts.collect::<Vec<_>>(), (0..80).map(|number| format!("id-{number}")).collect::<Vec<_>>());
    assert!(ran.stats.refused.value() > 0);
}

/// Answers in any way that the protocol or the Java server's defects allow, by the seed.
fn unruly(seed: u64) -> Script {
    let mut chance = SmallRng::seed_from_u64(seed);
    let mut held: Vec<Publish> = Vec::new();
    Box::new(move |world, happening| {
        match happening {
            Happening::Listening(_) | Happening::PushAcked(..) => {}
            Happening::Quiet => held.drain(..).for_each(|publish| world.ack(&publish)),
            Happening::Publish(publish) => match chance.random_range(0..1000) {
                0..4 => world.reset_inside_a_frame(&publish),
                4..8 => world.goodbye(publish.connection),
                8..12 => {}
                12..16 => world.store(&publish),
                16..60 => world.refuse(&publish, "SEND_TOO_FAST"),
                60..100 => world.refuse(&publish, "Send message error, topic: T"),
                100..200 => world.ack_without_body(&publish),
                _ => held.push(publish),
            },
        }
        while held.len() > 5 {
            let publish = held.swap_remove(chance.random_range(0..held.len()));
            let connection = chance.random_range(0..world.connections());
            let connection = if world.is_open(connection) { connection } else { publish.connection };
            let seq = chance.random::<u32>().to_string();
            world.ack_as(&publish, connection, &seq);
        }
    })
}

#[test]
fn without_an_order_the_server_does_see_a_key_twice_in_flight() {
    // Shows that the check of the next test can fail.
    let server = MeshServer::start(unruly(1));
    check(&server, MeshConfig { order: Order::None, ..config(&[&server]) }, 4, 50, 5);
    assert!(!server.world.lock().unwrap().violations.is_empty());
}

#[test]
fn whatever_the_server_does_keys_stay_in_order_and_nothing_is_lost() {
    for seed in 0..4 {
        let server = MeshServer::start(unruly(seed));
        let ran = check(&server, config(&[&server]), 30, 50, 23);
        assert!(
            ran.stats.resent.value() > 0 && ran.stats.refused.value() > 0,
            "seed {seed}: {:?}",
            ran.stats
        );
    }
}
