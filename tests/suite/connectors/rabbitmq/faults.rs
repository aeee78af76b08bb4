//! Queues, exchanges and connections that are not there or end, what a broker does not take, and TLS.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::kit::Sending;
use super::{
    AMQPValue, Broker, Flowd, Job, Mesh, Queue, RabbitMq, Value, json, publish, reading, until, writing,
};
use crate::harness::Events;
use crate::suite::access::certificates::Authority;

fn messages(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|number| format!(r#"{{"number":{number}}}"#)).collect()
}

/// An event with a number, of the topic `orders`.
fn event(number: u64, text: &str) -> String {
    let event = json!({
        "specversion": "1.0", "id": number.to_string(), "source": "/test", "type": "test", "subject": "orders",
        "datacontenttype": "application/cloudevents+json", "partitionkey": "one", "data": {"number": number, "text": text},
    });
    event.to_string()
}

/// The numbers of events, each once.
fn numbers(events: &Events) -> BTreeSet<u64> {
    events.iter().filter_map(|event| event.data()["number"].as_u64()).collect()
}

/// Waits until a subscriber has seen so many messages.
fn until_seen(tail: &Flowd, messages: usize) -> Events {
    until(&format!("{messages} messages"), || {
        Some(Events::parse(&tail.output())).filter(|events| numbers(events).len() >= messages)
    })
}

fn until_logged(flowd: &mut Flowd, text: &str) {
    until(&format!("{text:?} in the log"), || {
        assert!(flowd.is_running() || flowd.log().contains(text), "flowd ended: {}", flowd.log());
        flowd.log().contains(text).then_some(())
    });
}

#[test]
fn what_is_not_there_at_the_start_is_named() {
    let (broker, mesh) = (Broker::begin(), Mesh::start());
    let (source, sink) = (|| reading(&broker, &mesh, "orders"), || writing(&broker, &mesh, "orders"));
    for (job, said) in [
        (source().set("connectorConfig.queue", "missing"), "no queue 'missing' in vhost '/'"),
        (sink().set("connectorConfig.exchange", "missing"), "no exchange 'missing' in vhost '/'"),
        (source().set("connectorConfig.vhost", "elsewhere"), "vhost elsewhere not found"),
    ] {
        job.start(&[]).wait().expect_code(3).expect_log(said);
    }
}

#[test]
fn an_account_needs_to_read_the_queue_or_to_write_to_the_exchange_and_no_more() {
    let (broker, mesh) = (Broker::begin(), Mesh::start());
    broker.client.bind("shop", "orders", "#");
    for (user, write, read) in [("writer", "^shop$", "^$"), ("reader", "^$", "^orders$")] {
        broker.broker.ctl(&["add_user", user, "pass"]);
        broker.broker.ctl(&["set_permissions", user, "^$", write, read]);
    }
    let of = |job: Job, user| job.set("connectorConfig.user", user).set("connectorConfig.password", "pass");
    publish(&mesh, &[event(7, "")]);
    let sink = of(writing(&broker, &mesh, "orders"), "writer").set("connectorConfig.exchange", "shop");
    let source = of(reading(&broker, &mesh, "back"), "reader");
    let _running = [&sink, &source].map(|job| job.start(&[]));
    assert_eq!(numbers(&mesh.read("back", |events| events.len() == 1)), BTreeSet::from([7]));
}

#[test]
fn a_queue_that_is_deleted_while_it_is_read_ends_the_run() {
    let (broker, mesh) = (Broker::begin(), Mesh::start());
    let job = reading(&broker, &mesh, "orders");
    let mut source = job.start(&[]);
    until_logged(&mut source, "reading the queue orders");
    broker.client.delete("orders");
    source.wait().expect_code(4).expect_log("no queue 'orders'");
}

#[test]
fn a_connection_that_the_broker_closes_is_made_again() {
    let (mut queue, mesh) = (Queue(Broker::begin()), Mesh::start());
    let tail = mesh.tail("orders");
    let job = reading(&queue.0, &mesh, "orders");
    let mut source = job.start(&[]);
    queue.put(&messages(0..10));
    until_seen(&tail, 10);
    queue.0.broker.ctl(&["close_all_connections", "maintenance"]);
    until_logged(&mut source, "maintenance");
    queue.0.client = queue.0.broker.client();
    queue.put(&messages(10..20));
    until_seen(&tail, 20);
}

#[test]
fn what_the_mesh_has_not_acknowledged_stays_in_the_queue() {
    let (mut queue, mesh) = (Queue(Broker::begin()), Mesh::start());
    let tail = mesh.tail("orders");
    let job = reading(&queue.0, &mesh, "orders");
    let source = job.start(&[]);
    queue.put(&messages(0..1));
    until_seen(&tail, 1);
    mesh.signal("STOP");
    queue.put(&messages(1..101));
    until("flowd to have all messages", || (queue.0.client.waiting("orders") == 0).then_some(()));
    source.kill();
    until("the messages to be in the queue again", || {
        (queue.0.client.waiting("orders") == 100).then_some(())
    });
    mesh.signal("CONT");
    let _source = job.start(&[]);
    // The mesh may have taken them from the first run, too: those say nothing.
    until("100 events that say that they may have come before", || {
        let events = Events::parse(&tail.output());
        let again = events.iter().filter(|event| event.json["redelivered"] == "true").count();
        (again >= 100).then_some(())
    });
    until("the queue to be empty", || (queue.0.client.waiting("orders") == 0).then_some(()));
}

#[test]
fn a_quorum_queue_gives_everything_although_connections_end_and_flowd_dies() {
    let (mut queue, mesh) = (Queue(Broker::begin()), Mesh::start());
    let tail = mesh.tail("orders");
    queue.0.client.delete("orders");
    queue.0.client.declare("orders", &[("x-queue-type", AMQPValue::LongString("quorum".into()))]);
    queue.put(&messages(0..2_000));
    let job = reading(&queue.0, &mesh, "orders");
    let source = job.start(&[]);
    until_seen(&tail, 1);
    // Not a kill of the broker: after one, a quorum queue of a single node may answer nobody for minutes.
    queue.0.broker.ctl(&["close_all_connections", "maintenance"]);
    queue.0.client = queue.0.broker.client();
    until_seen(&tail, 1_000);
    source.kill();
    let _source = job.start(&[]);
    queue.put(&messages(2_000..2_100));
    let events = until_seen(&tail, 2_100);
    let named: BTreeSet<(String, u64)> = events
        .iter()
        .map(|event| (event.id().to_owned(), event.data()["number"].as_u64().unwrap()))
        .collect();
    assert_eq!(named.len(), 2_100, "a message keeps its id when it comes again");
}

#[test]
fn heartbeats_go_on_while_the_pipeline_is_full() {
    let (mut queue, mesh) = (Queue(Broker::begin_with(&["heartbeat = 1"])), Mesh::start());
    let tail = mesh.tail("orders");
    let job = reading(&queue.0, &mesh, "orders").set("pipeline.memory", "32MiB");
    let source = job.start(&[]);
    queue.put(&messages(0..1));
    until_seen(&tail, 1);
    mesh.signal("STOP");
    let long: Vec<String> =
        (1..4_000).map(|number| format!(r#"{{"number":{number},"text":"{}"}}"#, "x".repeat(8_000))).collect();
    queue.put(&long);
    // A connection without heartbeats would end after two seconds.
    let end = Instant::now() + Duration::from_secs(6);
    while Instant::now() < end {
        assert!(!source.log().contains("connecting again"), "{}", source.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    mesh.signal("CONT");
    until_seen(&tail, 4_000);
    assert!(!source.log().contains("connecting again"), "{}", source.log());
}

/// The numbers that came out of the queue.
fn drained(broker: &Broker, into: &mut Vec<u64>, most: usize) {
    for _ in 0..most {
        let Some(message) = broker.client.get("orders").unwrap() else { return };
        let data: Value = serde_json::from_slice(&message.delivery.data).unwrap();
        into.push(data["number"].as_u64().unwrap());
    }
}

#[test]
fn a_message_that_is_too_large_for_the_broker_is_refused_and_the_rest_arrives() {
    let (broker, mesh) = (Broker::begin_with(&["max_message_size = 4096"]), Mesh::start());
    let large = "x".repeat(5_000);
    let events: Vec<String> =
        (0..30).map(|number| event(number, if number % 10 == 5 { &large } else { "" })).collect();
    publish(&mesh, &events);
    let job = writing(&broker, &mesh, "orders").with_dead_letters();
    let mut sink = job.start(&[]);
    let mut came = Vec::new();
    until("the other events", || {
        assert!(sink.is_running(), "{}", sink.log());
        drained(&broker, &mut came, 100);
        (came.iter().collect::<BTreeSet<_>>().len() == 27).then_some(())
    });
    until("three dead letters", || (job.dead_letters().len() == 3).then_some(()));
    for letter in job.dead_letters() {
        assert!(letter["reason"].as_str().unwrap().contains("the broker takes 4096"), "{letter}");
    }
}

#[test]
fn each_event_that_no_queue_takes_is_refused_and_no_other() {
    let (broker, mesh) = (Broker::begin(), Mesh::start());
    broker.client.bind("shop", "orders", "here");
    let of = |number: u64| {
        let mut event: Value = serde_json::from_str(&event(number, "")).unwrap();
        event["partitionkey"] = json!(if number.is_multiple_of(3) { "nowhere" } else { "here" });
        event.to_string()
    };
    publish(&mesh, &(0..3_000).map(of).collect::<Vec<_>>());
    let job = writing(&broker, &mesh, "orders").with_dead_letters();
    let job = job.set("connectorConfig.exchange", "shop").set("connectorConfig.routingKey", "{key}");
    let _sink = job.start(&[]);
    let mut came = Vec::new();
    until("the events that have a queue", || {
        drained(&broker, &mut came, 1_000);
        (came.len() == 2_000).then_some(())
    });
    assert!(came.iter().all(|number| number % 3 != 0) && came.is_sorted());
    until("the others as dead letters", || (job.dead_letters().len() == 1_000).then_some(()));
    let letters: BTreeSet<u64> =
        job.dead_letters().iter().map(|letter| letter["id"].as_str().unwrap().parse().unwrap()).collect();
    assert!(letters.into_iter().eq((0..3_000).step_by(3)));
}

#[test]
fn what_a_full_queue_does_not_take_is_published_again_with_all_behind_it() {
    let (broker, mesh) = (Broker::begin(), Mesh::start());
    broker.client.delete("orders");
    let full = AMQPValue::LongString("reject-publish".into());
    broker.client.declare("orders", &[("x-max-length", AMQPValue::LongInt(5)), ("x-overflow", full)]);
    publish(&mesh, &(0..20).map(|number| event(number, "")).collect::<Vec<_>>());
    let job = writing(&broker, &mesh, "orders");
    let mut sink = job.start(&[]);
    until_logged(&mut sink, "basic.nack");
    let mut came = Vec::new();
    until("all events", || {
        drained(&broker, &mut came, 5);
        (came.iter().collect::<BTreeSet<_>>().len() == 20).then_some(())
    });
    // What stood behind the first one that was not taken comes again, behind it.
    came.reverse();
    let mut last = Vec::new();
    came.iter().for_each(|number| {
        if !last.contains(number) {
            last.push(*number);
        }
    });
    assert!(last.is_sorted_by(|later, earlier| later > earlier), "backwards: {came:?}");
}

#[test]
fn an_exchange_that_is_deleted_while_it_is_written_ends_the_run() {
    let (broker, mesh) = (Broker::begin(), Mesh::start());
    broker.client.bind("shop", "orders", "#");
    let job = writing(&broker, &mesh, "orders").set("connectorConfig.exchange", "shop");
    publish(&mesh, &[event(0, "")]);
    let sink = job.start(&[]);
    until("an event", || broker.client.get("orders").unwrap());
    broker.client.delete_exchange("shop");
    publish(&mesh, &[event(1, "")]);
    sink.wait().expect_code(4).expect_log("no exchange 'shop'");
}

#[test]
fn tls_goes_to_the_broker_that_is_trusted_and_to_no_other_and_shows_our_certificate() {
    let authority = Authority::new("flowd test authority");
    authority.sign("broker", "IP:127.0.0.1");
    authority.sign("client", "DNS:client");
    let port = crate::harness::free_port();
    let broker = RabbitMq::start_with(&[
        &format!("listeners.ssl.1 = 127.0.0.1:{port}"),
        &format!("ssl_options.cacertfile = {}", authority.path("ca.pem")),
        &format!("ssl_options.certfile = {}", authority.path("broker.pem")),
        &format!("ssl_options.keyfile = {}", authority.path("broker-key.pem")),
        "ssl_options.verify = verify_peer",
        "ssl_options.fail_if_no_peer_cert = true",
    ]);
    let (broker, mesh) = (Broker::of(broker), Mesh::start());
    let unshown = |job: Job, authority: &Authority| {
        job.set("connectorConfig.port", &port.to_string())
            .set("connectorConfig.sslMode", "verify-identity")
            .set("connectorConfig.sslCa", &authority.path("ca.pem"))
    };
    let shown = |job: Job, trusted: &Authority| {
        unshown(job, trusted)
            .set("connectorConfig.sslCert", &authority.path("client.pem"))
            .set("connectorConfig.sslKey", &authority.path("client-key.pem"))
    };
    publish(&mesh, &[event(7, "")]);
    let jobs = [writing(&broker, &mesh, "orders"), reading(&broker, &mesh, "back")]
        .map(|job| shown(job, &authority));
    let _running = jobs.each_ref().map(|job| job.start(&[]));
    assert_eq!(numbers(&mesh.read("back", |events| events.len() == 1)), BTreeSet::from([7]));
    let refused = |job: Job, words: &str| {
        job.start(&[]).wait().expect_code(3).expect_log(words);
    };
    let reading = || reading(&broker, &mesh, "back");
    refused(shown(reading(), &Authority::new("a stranger")), "invalid peer certificate");
    let elsewhere = shown(reading(), &authority).set("connectorConfig.hostname", "localhost");
    refused(elsewhere, "not valid for name");
    refused(unshown(reading(), &authority), "CertificateRequired");
}
