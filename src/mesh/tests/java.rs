//! What a Java server does to its clients, where it is asked for: limits, losses, goodbyes and redirects.

use std::time::{Duration, Instant};

use flowd_codec::frame::{Command, Header, Properties, Redirect, SubscriptionMode, encode_parts};

use super::super::{FaultPlan, JavaLimits, Server, ServerConfig};
use super::client::{Client, event};
use super::{GROUPED, config, start};

fn limited(limits: JavaLimits) -> Server {
    let mut config = config(None);
    config.limits = Some(limits);
    start(config)
}

fn faulty(faults: FaultPlan) -> Server {
    let mut config = config(None);
    config.faults = faults;
    start(config)
}

/// An event whose data has so many UTF-16 units.
fn sized(units: usize) -> String {
    let whole = event("T", 1);
    let (head, _) = whole.rsplit_once("{\"n\"").expect("data");
    format!("{head}\"\u{1F600}{}\"}}", "é".repeat(units - 4))
}

#[test]
fn data_is_measured_in_utf16_units_and_refused_one_above_the_limit_with_the_java_text() {
    let server = limited(JavaLimits::default());
    let mut publisher = Client::publisher(&server);
    let mut answer = |body: &str| {
        publisher.send(Command::AsyncMessageToServer, "x", Properties::publish(), body.as_bytes());
        publisher.receive()
    };
    assert_eq!(answer(&sized(1_000)).header.code, 0);
    let refused = answer(&sized(1_001));
    assert_eq!(
        (refused.header.code, refused.header.desc.as_deref(), refused.header.seq.as_deref()),
        (1, Some("java.lang.Exception: event size exceeds the limit: 1000"), Some("x"))
    );
    assert!(refused.body.is_empty(), "a refusal before storage has no body");
    server.shutdown().expect("a clean end");
}

/// Writes `count` publishes at once, and says how many were taken and with which texts the others were refused.
fn burst(client: &mut Client, count: u64) -> (u64, Vec<String>) {
    let mut sending = client.stream.try_clone().expect("a second handle");
    let writer = std::thread::spawn(move || {
        let mut out = Vec::new();
        for id in 0..count {
            let header = Header {
                properties: Properties::publish(),
                ..Header::request(Command::AsyncMessageToServer, id.to_string())
            };
            encode_parts(&header, event("T", id).as_bytes(), &mut out);
        }
        std::io::Write::write_all(&mut sending, &out).expect("the server reads");
    });
    let (mut taken, mut texts) = (0, Vec::new());
    for id in 0..count {
        let header = client.receive().header;
        assert_eq!(header.seq.as_deref(), Some(id.to_string().as_str()), "answers keep the order");
        match header.code {
            0 => taken += 1,
            _ => texts.push(header.desc.expect("a refusal says why").into()),
        }
    }
    writer.join().expect("written");
    texts.dedup();
    (taken, texts)
}

#[test]
fn a_connection_is_read_at_its_rate_without_a_refusal_and_another_is_not_slowed() {
    let server = limited(JavaLimits { frames_per_second: 500, ..JavaLimits::default() });
    let (mut busy, mut calm) = (Client::publisher(&server), Client::publisher(&server));
    let begun = Instant::now();
    let busy = std::thread::spawn(move || burst(&mut busy, 600));
    for id in 0..10 {
        assert_eq!(calm.publish("U", id).code, 0);
    }
    let calm_took = begun.elapsed();
    assert_eq!(busy.join().expect("no panic"), (600, Vec::new()));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1_100), "600 frames at 500 a second took {took:?}");
    assert!(calm_took < took / 2, "{calm_took:?}");
    server.shutdown().expect("a clean end");
}

#[test]
fn publishes_over_the_rate_of_all_are_refused_with_the_java_text_and_not_stored() {
    let server = limited(JavaLimits { publishes_per_second: 100, ..JavaLimits::default() });
    let (taken, texts) = burst(&mut Client::publisher(&server), 300);
    assert_eq!(texts, ["Tps overload, global flow control"]);
    assert!((1..150).contains(&taken), "{taken}");
    let mut reader = Client::subscriber(&server, "g", "T", GROUPED);
    let stored = reader.drain(taken as usize);
    assert!(stored.windows(2).all(|pair| pair[0] < pair[1]), "in the order of their arrival");
    assert!(reader.pushed_so_far().is_empty(), "nothing that was refused");
    server.shutdown().expect("a clean end");
}

#[test]
fn send_too_fast_on_purpose_stores_nothing_and_the_next_try_passes() {
    let server = faulty(FaultPlan { too_fast: 2, ..FaultPlan::default() });
    let mut publisher = Client::publisher(&server);
    let mut refusals = 0;
    for id in 0..20 {
        while let Some(text) = Some(publisher.publish("T", id)).filter(|answer| answer.code != 0) {
            assert_eq!(text.desc.as_deref(), Some("java.lang.Exception: SEND_TOO_FAST"));
            refusals += 1;
        }
    }
    assert!(refusals > 0);
    let mut reader = Client::subscriber(&server, "g", "T", GROUPED);
    assert_eq!(reader.drain(20), (0..20).collect::<Vec<_>>());
    server.shutdown().expect("a clean end");
}

#[test]
fn an_unacknowledged_push_is_forgotten_after_the_time_and_never_comes_again() {
    let forget_after = Some(Duration::from_millis(300));
    let server = faulty(FaultPlan { forget_after, ..FaultPlan::default() });
    let mut publisher = Client::publisher(&server);
    publisher.publish("T", 1);
    let mut reader = Client::subscriber(&server, "g", "T", GROUPED);
    assert_eq!(reader.push().1, 1);
    std::thread::sleep(Duration::from_millis(800));
    assert!(reader.pushed_so_far().is_empty(), "the time-out of the mesh itself, 200 ms, does not count");
    drop(reader);
    publisher.publish("T", 2);
    let mut next = Client::subscriber(&server, "g", "T", GROUPED);
    assert_eq!(next.push().1, 2, "the first event is gone for the whole group");
    // Before the time has passed, an event goes over to another session when its session ends.
    drop(next);
    assert_eq!(Client::subscriber(&server, "g", "T", GROUPED).push().1, 2);
    server.shutdown().expect("a clean end");
}

#[test]
fn dropped_pushes_count_as_sent_and_the_others_arrive_in_order() {
    let forget_after = Some(Duration::from_millis(100));
    let server = faulty(FaultPlan { drop_pushes: 10, forget_after, ..FaultPlan::default() });
    let mut publisher = Client::publisher(&server);
    let mut reader = Client::subscriber(&server, "g", "T", GROUPED);
    for id in 0..500 {
        publisher.publish("T", id);
    }
    std::thread::sleep(Duration::from_millis(500));
    let mut seen = Vec::new();
    // What comes is acknowledged late, or not at all: forgetting alone makes room for more.
    while seen.last().is_none_or(|last| *last < 480) {
        seen.extend(reader.pushed_so_far());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!((400..=490).contains(&seen.len()), "{}", seen.len());
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    server.shutdown().expect("a clean end");
}

#[test]
fn reordered_pushes_all_arrive_some_of_them_behind_later_ones() {
    let server = faulty(FaultPlan { reorder_pushes: 10, ..FaultPlan::default() });
    let mut publisher = Client::publisher(&server);
    for id in 0..200 {
        publisher.publish("T", id);
    }
    let mut seen = Client::subscriber(&server, "g", "T", GROUPED).drain(200);
    let late = seen.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(late >= 5, "{late}");
    seen.sort_unstable();
    assert_eq!(seen, (0..200).collect::<Vec<_>>());
    server.shutdown().expect("a clean end");
}

#[test]
fn a_client_that_is_sent_away_may_still_publish_and_acknowledge_and_is_given_nothing_new() {
    for redirect_to in [None, Some("127.0.0.1:4711".parse().expect("an address"))] {
        let leave_after = Some(Duration::from_millis(300));
        let mut config = ServerConfig::new("127.0.0.1:0", None);
        config.faults = FaultPlan { leave_after, redirect_to, ..FaultPlan::default() };
        let server = start(config);
        Client::publisher(&server).publish("T", 1);
        let mut reader = Client::subscriber(&server, "g", "T", SubscriptionMode::Clustering);
        let mut publisher = Client::publisher(&server);
        let (seq, _) = reader.push();
        for client in [&mut reader, &mut publisher] {
            let frame = client.receive();
            assert!(frame.header.seq.is_some(), "the Java SDK closes on a frame without seq");
            match redirect_to {
                None => assert_eq!(frame.header.command, Command::ServerGoodbyeRequest),
                Some(_) => {
                    assert_eq!(frame.header.command, Command::RedirectToClient);
                    let to: Redirect = serde_json::from_slice(&frame.body).expect("an address");
                    assert_eq!(to, Redirect { ip: "127.0.0.1".to_owned(), port: 4_711 });
                }
            }
        }
        assert_eq!(publisher.publish("T", 2).code, 0);
        reader.ack(&seq);
        assert!(reader.pushed_so_far().is_empty());
        assert_eq!(Client::subscriber(&server, "g", "T", GROUPED).push().1, 2, "the acknowledgement counted");
        server.shutdown().expect("a clean end");
    }
}
