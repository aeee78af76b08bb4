//! Batch events: several changes in one message are the same changes.

use super::stop;
use crate::harness::{Counted, Dml, Event, Events, Flow, Job, Kind, Mesh, Server};
use crate::suite::on;

fn batched(job: Job) -> Job {
    job.set("pipeline.batch.bytes", "16KiB").set("pipeline.batch.lingerMs", "20")
}

/// Copies the same random changes; gives the ids and images that a subscriber saw, and how often each change was
/// applied is checked.
fn copied(
    server: &Server,
    schema: (&mut Dml, &mut crate::harness::Sql),
    change: impl Fn(Job) -> Job,
    faults: &[&str],
) {
    let (dml, sql) = schema;
    let there = Server::start(server.kind);
    let mut copy = there.sql();
    let tables = Dml::tables(&mut copy);
    let counted = Counted::new(&mut copy, "test_dml", tables);
    let flow = Flow::between((server, "test_dml"), (&there, "test_dml"), Mesh::start_with(faults), tables)
        .source(change);
    let mut copying = flow.sink.start(&[]);
    flow.settle(&mut copying);
    let events = flow.reference();
    dml.verify(&events, sql);
    counted.verify(&mut copy, &events);
    stop(copying);
}

#[test]
fn batches_give_the_same_tables_and_each_change_once() {
    on(&[Kind::MariaDb11], &[], |server| {
        let mut sql = server.sql();
        let mut dml = Dml::new(&mut sql);
        for _ in 0..150 {
            dml.transaction(&mut sql, 8);
        }
        copied(server, (&mut dml, &mut sql), |job| job, &[]);
        copied(server, (&mut dml, &mut sql), batched, &[]);
        copied(
            server,
            (&mut dml, &mut sql),
            |job| batched(job).until_applied(),
            &["--fault-reorder-pushes", "10"],
        );
    });
}

#[test]
fn tail_prints_the_members_of_a_batch_as_the_events_that_they_are() {
    on(&[Kind::MariaDb11], &[], |server| {
        let mut sql = server.sql();
        let mut dml = Dml::new(&mut sql);
        for _ in 0..100 {
            dml.transaction(&mut sql, 8);
        }
        let read = |change: &dyn Fn(Job) -> Job| -> Events {
            let mesh = Mesh::start();
            let job = change(Job::new(server).publishing_to(&mesh))
                .set("connectorConfig.tableIncludeList", "[\"test_dml.*\"]");
            job.catch_up();
            mesh.read("test_dml.plain", |events| dml.has_all_of("plain", events))
        };
        let (single, batched) = (read(&|job| job), read(&batched));
        let facts = |events: &Events| {
            let mut facts: Vec<_> = events.first().into_iter().map(fact).collect();
            facts.sort();
            facts
        };
        assert_eq!(facts(&batched), facts(&single));
    });
}

/// What must not depend on the packing: id, lane, number and row images. The epoch is another run's.
fn fact(event: &Event) -> (String, String, String, String) {
    let text = |name: &str| event.json[name].as_str().expect("an extension").to_owned();
    (event.id().to_owned(), text("lane"), text("sequence"), format!("{:?}", event.images()))
}

#[test]
fn a_batch_is_one_message_of_the_mesh() {
    on(&[Kind::MariaDb11], &[], |server| {
        server.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY)");
        let values: Vec<String> = (0..2_000).map(|id| format!("({id})")).collect();
        server.run(&format!("INSERT INTO test.t VALUES {}", values.join(",")));
        // A server that refuses more than 100 publishes a second takes 2,000 rows at once only in batches.
        let mesh =
            Mesh::start_with(&["--java-limits", "--max-event-size", "4000000", "--max-event-rate", "100"]);
        let job = batched(Job::new(server).publishing_to(&mesh));
        let begun = std::time::Instant::now();
        job.catch_up();
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
        let events = mesh.read("test.t", |events| events.first().len() >= 2_000);
        assert_eq!(events.first().len(), 2_000);
    });
}
