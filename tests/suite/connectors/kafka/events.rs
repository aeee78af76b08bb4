//! What becomes of a record, and of an event: the CloudEvents binding in both modes, and records that know nothing of it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{open, reading};
use crate::harness::{Events, Job, Kafka, Mesh, publish, until};

/// Runs a kafka-source to the end of a topic and gives what came out at the mesh.
fn read_all(kafka: &Kafka, mesh: &Mesh, topic: &str, subject: &str, count: usize) -> Events {
    let job = reading(kafka, mesh, topic, subject).set("connectorConfig.follow", "false");
    job.start(&[]).wait().expect_code(0);
    mesh.read(subject, |events| events.len() >= count)
}

/// Has a kafka-sink produce events of the mesh's topic `out` to a topic of Kafka.
fn write(
    kafka: &Kafka,
    mesh: &Mesh,
    topic: &str,
    mode: &str,
    events: &[Value],
) -> Vec<crate::harness::Consumed> {
    kafka.create(topic, 1);
    let job = open(kafka, Job::sink("kafka-sink", &mesh.address(), "out"))
        .set("connectorConfig.topic", topic)
        .set("connectorConfig.mode", mode);
    let flowd = job.start(&[]);
    publish(mesh, &events.iter().map(Value::to_string).collect::<Vec<_>>());
    let records = kafka.consume(topic, events.len());
    flowd.signal("TERM");
    flowd.wait().expect_code(0);
    records
}

fn event(id: &str, rest: Value) -> Value {
    let mut event = json!({
        "specversion": "1.0", "id": id, "source": "/shop", "type": "order.placed", "subject": "out",
        "datacontenttype": "application/cloudevents+json", "time": "2026-11-25T00:00:00Z",
    });
    let Value::Object(rest) = rest else { panic!("members of an event") };
    event.as_object_mut().unwrap().extend(rest);
    event
}

#[test]
fn an_event_comes_back_from_kafka_as_it_was_in_both_modes() {
    let (kafka, mesh) = (Kafka::start(), Mesh::start());
    let events = [
        event("1", json!({"partitionkey": "ada", "tenant": "one", "data": {"n": 1.10}})),
        event("2", json!({"contenttype": "text/plain", "data": "two"})),
        event("3", json!({"contenttype": "image/png", "contentencoding": "base64", "data": "/wA="})),
    ];
    for mode in ["binary", "structured"] {
        let records = write(&kafka, &mesh, mode, mode, &events);
        assert_eq!((records[0].key.as_str(), records[1].key.as_str()), ("ada", "null"));
        if mode == "binary" {
            assert_eq!(records[0].value, r#"{"n":1.1}"#);
            assert_eq!((records[0].header("ce_id"), records[0].header("ce_tenant")), ("1", "one"));
            assert_eq!(records[0].header("content-type"), "application/json");
            assert_eq!((records[1].value.as_str(), records[1].header("content-type")), ("two", "text/plain"));
        } else {
            assert_eq!(records[0].header("content-type"), "application/cloudevents+json; charset=UTF-8");
            let whole: Value = serde_json::from_str(&records[1].value).unwrap();
            assert_eq!((&whole["datacontenttype"], &whole["data"]), (&json!("text/plain"), &json!("two")));
        }
        let subject = format!("in.{mode}");
        let back = read_all(&kafka, &mesh, mode, &subject, events.len());
        let back =
            |id: &Value| &back.iter().find(|event| event.json["id"] == *id).expect("it came back").json;
        for sent in &events {
            let came = back(&sent["id"]);
            for name in ["id", "source", "type", "partitionkey", "tenant", "data", "contentencoding"] {
                assert_eq!(sent.get(name), came.get(name), "{name} of {} in {mode} mode", sent["id"]);
            }
            assert_eq!(came["subject"], subject);
        }
        assert_eq!(back(&json!("2"))["contenttype"], "text/plain");
    }
}

#[test]
fn a_plain_record_is_an_event_with_its_place_as_id() {
    let (kafka, mesh) = (Kafka::start(), Mesh::start());
    kafka.create("orders", 1);
    let lines = [
        "trace-id=7~X-Tenant=one\tada\t{\"n\":1}",
        "NULL\tada\tplain text",
        "NULL\tada\tNULL",
        "content-type=text/plain\tNULL\t17",
    ];
    kafka.produce("orders", &lines.map(str::to_owned));
    let events = read_all(&kafka, &mesh, "orders", "orders", lines.len());
    let record = |offset: u32| {
        let id = format!("orders-0-{offset}");
        &events.iter().find(|event| event.json["id"] == id).expect("it came").json
    };
    let first = record(0);
    assert_eq!(first["type"], "flowd.kafka.record");
    assert_eq!(
        (&first["traceid"], &first["xtenant"], &first["data"]),
        (&json!("7"), &json!("one"), &json!({"n": 1}))
    );
    assert_eq!((&first["partitionkey"], first["time"].is_string()), (&json!("ada"), true));
    assert_eq!(record(1)["data"], "plain text");
    assert_eq!((&record(2)["data"], &record(2)["contentencoding"]), (&Value::Null, &json!("none")));
    assert_eq!((&record(3)["data"], record(3).get("partitionkey")), (&json!("17"), None));
}

#[test]
fn records_are_read_whatever_they_are_compressed_with() {
    let (kafka, mesh) = (Kafka::start(), Mesh::start());
    kafka.create("packed", 1);
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    for codec in codecs {
        let lines: String = (0..50).map(|n| format!("{codec} {n} {}\n", "x".repeat(200))).collect();
        kafka.tool("console-producer", &["--topic", "packed", "--compression-codec", codec], &lines);
    }
    let events = read_all(&kafka, &mesh, "packed", "packed", codecs.len() * 50);
    let last = |codec: &str| format!("{codec} 49 {}", "x".repeat(200));
    for codec in codecs {
        assert!(events.iter().any(|event| event.data() == last(codec).as_str()), "{codec}");
    }
}

#[test]
fn a_topic_that_kafka_does_not_have_is_a_dead_letter_and_costs_the_others_nothing() {
    let (kafka, mesh) = (Kafka::start(), Mesh::start());
    kafka.create("mesh.there", 1);
    let job = open(&kafka, Job::sink("kafka-sink", &mesh.address(), "[there, away]"))
        .set("connectorConfig.topic", "mesh.{topic}")
        .with_dead_letters();
    let flowd = job.start(&[]);
    let of = |topic: &str, n: usize| {
        let mut event = event(&format!("{topic}-{n}"), json!({"data": n}));
        event["subject"] = json!(topic);
        event.to_string()
    };
    publish(&mesh, &(0..20).flat_map(|n| [of("there", n), of("away", n)]).collect::<Vec<_>>());
    kafka.consume("mesh.there", 20);
    // Looking the topic up takes five seconds, after which a mesh may have pushed again what it heard nothing of.
    let ids = || {
        let letters = job.dead_letters();
        letters.iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    until("the dead letters", || (ids().len() == 20).then_some(()));
    flowd.signal("TERM");
    flowd.wait().expect_code(0);
    assert!(job.dead_letters().iter().all(|letter| letter["reason"].as_str().unwrap().contains("mesh.away")));
}
