//! Offsets: who keeps them, where a start begins, partitions that change hands, records and topics that are gone.

use std::collections::BTreeSet;

use super::{lines, reading};
use crate::harness::{Events, Flowd, Job, Kafka, Mesh, until};

fn numbers(events: &Events) -> Vec<u64> {
    events.iter().map(|event| event.data().as_u64().expect("a number")).collect()
}

/// Waits until the subscriber has this many different messages.
fn arrive(tail: &Flowd, count: usize) -> Vec<u64> {
    until(&format!("{count} messages"), || {
        let numbers = numbers(&Events::parse(&tail.output()));
        (numbers.iter().collect::<BTreeSet<_>>().len() >= count).then_some(numbers)
    })
}

fn stop(flowd: Flowd) {
    flowd.signal("TERM");
    flowd.wait().expect_code(0);
}

/// Runs until there is nothing more to read.
fn catch_up(job: &Job) {
    job.start(&["--connectorConfig.follow=false"]).wait().expect_code(0);
}

#[test]
fn instances_of_a_group_share_the_partitions_and_a_planned_change_repeats_nothing() {
    let (kafka, mesh) = (Kafka::start(), Mesh::start());
    kafka.create("shared", 4);
    let tail = mesh.tail("shared");
    let (one, other) =
        (reading(&kafka, &mesh, "shared", "shared"), reading(&kafka, &mesh, "shared", "shared"));
    let mut producer = kafka.producer("shared");
    producer.send(&lines(0..2000));
    let first = one.start(&[]);
    arrive(&tail, 1);
    let second = other.start(&[]);
    until("the second one's partitions", || second.log().contains("partitions assigned").then_some(()));
    producer.send(&lines(2000..4000));
    arrive(&tail, 4000);
    stop(first);
    producer.send(&lines(4000..6000));
    arrive(&tail, 6000);
    stop(second);
    let came = numbers(&Events::parse(&tail.output()));
    assert_eq!(came.len(), 6000, "messages that came again");
    for key in 0..40 {
        let of_key: Vec<u64> = came.iter().copied().filter(|number| number % 40 == key).collect();
        assert!(of_key.is_sorted(), "key {key} out of order: {of_key:?}");
    }
}

#[test]
fn partitions_of_an_instance_that_is_killed_are_read_on_by_another_and_nothing_is_lost() {
    let (kafka, mesh) = (Kafka::start(), Mesh::start());
    kafka.create("shared", 2);
    let tail = mesh.tail("shared");
    let (one, other) =
        (reading(&kafka, &mesh, "shared", "shared"), reading(&kafka, &mesh, "shared", "shared"));
    kafka.produce("shared", &lines(0..3000));
    let first = one.start(&[]);
    arrive(&tail, 100);
    let second = other.start(&[]);
    first.kill();
    kafka.produce("shared", &lines(3000..4000));
    arrive(&tail, 4000);
    stop(second);
}

#[test]
fn what_is_acknowledged_is_committed_and_a_group_that_was_moved_back_is_read_again() {
    let (kafka, mesh) = (Kafka::start(), Mesh::start());
    kafka.create("moved", 1);
    kafka.produce("moved", &lines(0..100));
    let job = reading(&kafka, &mesh, "moved", "moved").set("connectorConfig.groupId", "g");
    let tail = mesh.tail("moved");
    catch_up(&job);
    assert_eq!(kafka.committed("g", "moved"), [(0, 100)]);
    catch_up(&job);
    let back = ["--group", "g", "--topic", "moved", "--reset-offsets", "--to-offset", "90", "--execute"];
    kafka.tool("consumer-groups", &back, "");
    catch_up(&job);
    let came = until("the messages", || {
        Some(numbers(&Events::parse(&tail.output()))).filter(|numbers| numbers.len() >= 110)
    });
    assert_eq!(came, (0..100).chain(90..100).collect::<Vec<u64>>());
}

#[test]
fn a_group_that_kafka_forgot_goes_on_at_the_registrys_offset() {
    let (kafka, mesh) = (Kafka::start(), Mesh::start());
    kafka.create("kept", 1);
    kafka.produce("kept", &lines(0..50));
    let job = reading(&kafka, &mesh, "kept", "kept").set("connectorConfig.groupId", "g");
    let tail = mesh.tail("kept");
    catch_up(&job);
    kafka.tool("consumer-groups", &["--delete", "--group", "g"], "");
    kafka.produce("kept", &lines(50..60));
    catch_up(&job);
    arrive(&tail, 60);
    assert_eq!(numbers(&Events::parse(&tail.output())).len(), 60, "messages that came again");
}

#[test]
fn latest_is_looked_up_once_at_the_first_start() {
    let (kafka, mesh) = (Kafka::start(), Mesh::start());
    kafka.create("late", 2);
    kafka.produce("late", &lines(0..50));
    let job = reading(&kafka, &mesh, "late", "late").set("connectorConfig.startAt", "latest");
    let tail = mesh.tail("late");
    catch_up(&job);
    kafka.produce("late", &lines(50..60));
    catch_up(&job);
    let came = arrive(&tail, 10);
    assert_eq!(came.into_iter().collect::<BTreeSet<_>>(), (50..60).collect());
}

#[test]
fn partitions_that_are_added_are_read_from_their_beginning() {
    let (kafka, mesh) = (Kafka::start(), Mesh::start());
    kafka.create("grown", 1);
    kafka.produce("grown", &lines(0..10));
    let job = reading(&kafka, &mesh, "grown", "grown").set("connectorConfig.startAt", "latest");
    catch_up(&job);
    kafka.tool("topics", &["--alter", "--topic", "grown", "--partitions", "3"], "");
    kafka.produce("grown", &lines(10..100));
    let tail = mesh.tail("grown");
    let flowd = job.start(&[]);
    let came = arrive(&tail, 90);
    assert_eq!(came.into_iter().collect::<BTreeSet<_>>(), (10..100).collect());
    // The same beside a run.
    kafka.tool("topics", &["--alter", "--topic", "grown", "--partitions", "5"], "");
    kafka.produce("grown", &lines(100..200));
    arrive(&tail, 190);
    stop(flowd);
}

#[test]
fn records_that_kafka_deleted_before_they_were_read_end_the_run_or_are_skipped_with_a_warning() {
    let (kafka, mesh) = (Kafka::start(), Mesh::start());
    kafka.create("gone", 1);
    kafka.produce("gone", &lines(0..10));
    let job = reading(&kafka, &mesh, "gone", "gone");
    catch_up(&job);
    kafka.produce("gone", &lines(10..30));
    let file = job.path("delete.json");
    let text = r#"{"partitions":[{"topic":"gone","partition":0,"offset":20}],"version":1}"#;
    std::fs::write(&file, text).unwrap();
    kafka.tool("delete-records", &["--offset-json-file", &file.display().to_string()], "");
    let outcome = job.start(&[]).wait();
    outcome.expect_code(4).expect_log("up to offset 10").expect_log("onGap");
    let skipping = job.start(&["--connectorConfig.follow=false", "--connectorConfig.onGap=skip"]).wait();
    skipping.expect_code(0).expect_log("skipped, as onGap says");
    let events = mesh.read("gone", |events| events.len() >= 20);
    assert_eq!(numbers(&events), (0..10).chain(20..30).collect::<Vec<u64>>());
}

#[test]
fn a_topic_that_does_not_exist_is_named_at_once_and_one_that_is_deleted_soon() {
    let (kafka, mesh) = (Kafka::start(), Mesh::start());
    let job = reading(&kafka, &mesh, "nowhere", "nowhere");
    job.start(&[]).wait().expect_code(3).expect_log("the topic nowhere");
    kafka.create("short", 1);
    let job = reading(&kafka, &mesh, "short", "short");
    let flowd = job.start(&[]);
    until("its partition", || flowd.log().contains("partitions assigned").then_some(()));
    kafka.delete("short");
    flowd.wait().expect_code(4).expect_log("the topic short has been gone");
}
