//! Through the embedded mesh: what is published is what a subscriber gets, on the topic that the table names.

use super::{on, on_every_server};
use crate::harness::{Event, Job, Kind, Mesh};

#[test]
fn a_subscriber_gets_every_event_as_it_was_published() {
    on_every_server(|server| {
        let mut sql = server.sql();
        sql.run("CREATE DATABASE test; USE test; CREATE TABLE t (id INT PRIMARY KEY, s VARCHAR(99)); CREATE TABLE u LIKE t");
        let mesh = Mesh::start();
        let tail = mesh.tail("test.t");
        for id in 0..200 {
            sql.run(&format!("INSERT INTO t VALUES ({id}, 'é\u{1F600}\\\\ \"'); INSERT INTO u VALUES ({id}, 'other topic'); UPDATE t SET s = 'x' WHERE id = {id}"));
        }

        let file = Job::new(server);
        file.catch_up();
        let job = Job::new(server).publishing_to(&mesh);
        job.catch_up();

        let events = crate::harness::until("all events at the subscriber", || {
            Some(crate::harness::Events::parse(&tail.output())).filter(|events| events.len() >= 400)
        });
        let (filed, received) = (file.events().of("t"), events.first_occurrences());
        let mut published: Vec<String> = filed.iter().map(Event::lasting).collect();
        let mut received: Vec<String> = received.iter().map(Event::lasting).collect();
        published.sort();
        received.sort();
        assert_eq!(received, published);
    });
}

#[test]
fn a_new_group_starts_at_the_oldest_event_and_count_ends_a_tail() {
    on(&[Kind::MariaDb11], &[], |server| {
        server.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY); INSERT INTO test.t VALUES (1), (2), (3)");
        let mesh = Mesh::start();
        Job::new(server).publishing_to(&mesh).catch_up();
        let address = format!("127.0.0.1:{}", mesh.port);
        let directory = tempfile::tempdir().unwrap();
        let arguments = ["tail", "--mesh", &address, "--topic", "test.t", "--count", "3"];
        let outcome = crate::harness::Flowd::launch(directory.path(), &arguments).wait();
        outcome.expect_code(0);
        assert_eq!(crate::harness::Events::parse(&outcome.stdout).len(), 3);
    });
}

#[test]
fn two_tables_on_one_topic_are_refused() {
    on(&[Kind::MariaDb11], &[], |server| {
        server.run("CREATE DATABASE test; USE test; CREATE TABLE `a b` (id INT PRIMARY KEY); CREATE TABLE a_b LIKE `a b`");
        server.run("USE test; INSERT INTO `a b` VALUES (1); INSERT INTO a_b VALUES (1)");
        let job = Job::new(server);
        let outcome = job.start(&["--stop-at", "end"]).wait();
        assert!(!outcome.succeeded(), "two tables share a topic");
        outcome.expect_log("test.a b").expect_log("test.a_b");
    });
}

#[test]
fn the_embedded_mesh_of_a_run_takes_its_events() {
    on(&[Kind::MariaDb11], &[], |server| {
        server.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY); INSERT INTO test.t VALUES (1), (2), (3)");
        let job = Job::new(server).set("pipeline.target", "mesh").set("pubSubConfig.meshAddress", "embedded");
        let flowd = job.start(&[]);
        let arguments = ["tail", "--mesh", "127.0.0.1:10000", "--topic", "test.t", "--count", "3"];
        let outcome = crate::harness::Flowd::launch(&job.path("."), &arguments).wait();
        outcome.expect_code(0);
        assert_eq!(crate::harness::Events::parse(&outcome.stdout).len(), 3);
        flowd.signal("TERM");
        flowd.wait().expect_code(0);
    });
}
