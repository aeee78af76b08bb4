//! Schema changes in mid-stream: every row is read with the schema that it was written with, and nothing stops.

use serde_json::{Value, json};

use super::{on, on_every_server};
use crate::harness::{ALL, Job, Server};

/// Changes with a schema change between any two.
fn write(server: &Server) {
    let mut sql = server.sql();
    sql.run("CREATE DATABASE test; USE test; CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(9)); INSERT INTO t VALUES (1, 1, 'one')");
    sql.run("ALTER TABLE t ADD COLUMN c INT FIRST; INSERT INTO t VALUES (22, 2, 2, 'two')");
    sql.run("ALTER TABLE t RENAME COLUMN b TO name; INSERT INTO t VALUES (33, 3, 3, 'three')");
    sql.run("ALTER TABLE t DROP COLUMN a; INSERT INTO t VALUES (44, 4, 'four')");
    sql.run("ALTER TABLE t MODIFY c BIGINT UNSIGNED, MODIFY name VARCHAR(9) CHARACTER SET latin1; INSERT INTO t VALUES (18446744073709551615, 5, 'fünf')");
    sql.run("TRUNCATE TABLE t; INSERT INTO t VALUES (66, 6, 'six')");
    sql.run("RENAME TABLE t TO s; INSERT INTO s VALUES (77, 7, 'seven'); DROP TABLE s");
    sql.run("CREATE TABLE t (name INT, id INT PRIMARY KEY); INSERT INTO t VALUES (8, 8); CREATE DATABASE other; DROP DATABASE other");
}

fn expected() -> Vec<Value> {
    vec![
        json!({"id": 1, "a": 1, "b": "one"}),
        json!({"c": 22, "id": 2, "a": 2, "b": "two"}),
        json!({"c": 33, "id": 3, "a": 3, "name": "three"}),
        json!({"c": 44, "id": 4, "name": "four"}),
        json!({"c": u64::MAX, "id": 5, "name": "fünf"}),
        // The TRUNCATE.
        Value::Null,
        json!({"c": 66, "id": 6, "name": "six"}),
        json!({"c": 77, "id": 7, "name": "seven"}),
        json!({"id": 8, "name": 8}),
    ]
}

#[test]
fn rows_are_read_with_the_schema_of_their_time() {
    on_every_server(|server| {
        write(server);

        let job = Job::new(server);
        job.catch_up();

        let rows: Vec<Value> = job.events().iter().map(|event| event.after().clone()).collect();
        assert_eq!(rows, expected());
    });
}

#[test]
fn a_schema_change_while_streaming_stops_nothing() {
    on_every_server(|server| {
        server.run("CREATE DATABASE unrelated");
        let job = Job::new(server);
        let flowd = job.start(&[]);
        write(server);

        let events = job.wait_for_events(expected().len());

        let rows: Vec<Value> = events.iter().map(|event| event.after().clone()).collect();
        assert_eq!(rows, expected());
        flowd.signal("TERM");
        flowd.wait().expect_code(0);
    });
}

#[test]
fn without_full_metadata_rows_are_read_by_the_catalog() {
    on(&ALL, &["--binlog-row-metadata=MINIMAL"], |server| {
        server.run("CREATE DATABASE test; CREATE TABLE test.t (id INT UNSIGNED PRIMARY KEY, e ENUM('a','b'), s VARCHAR(9) CHARACTER SET latin1)");
        let job = Job::new(server).set("pipeline.startAt", "latest");
        let flowd = job.start(&[]);
        crate::harness::until("flowd to follow the binlog", || (server.dump_threads() == 1).then_some(()));
        server.run("INSERT INTO test.t VALUES (4294967295, 'b', 'é')");

        let events = job.wait_for_events(1);

        assert_eq!(events.0[0].after(), &json!({"id": u32::MAX, "e": "b", "s": "é"}));
        assert_eq!(events.0[0].key(), Some(r#"{"id":4294967295}"#));
        assert!(flowd.log().contains("binlog_row_metadata"), "no warning: {}", flowd.log());
    });
}

#[test]
fn without_full_metadata_a_row_from_before_a_schema_change_stops() {
    on(&ALL, &["--binlog-row-metadata=MINIMAL"], |server| {
        server.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY, a INT); INSERT INTO test.t VALUES (1, 1)");
        server.run("ALTER TABLE test.t RENAME COLUMN a TO b");

        let job = Job::new(server);
        let outcome = job.start(&["--stop-at", "end"]).wait();

        outcome.expect_code(4).expect_log("test.t").expect_log("binlog_row_metadata");
        let guessed: Vec<String> = job.events().iter().map(|event| event.text.clone()).collect();
        assert!(guessed.is_empty(), "a guess arrived: {guessed:?}; log: {}", outcome.log);
    });
}
