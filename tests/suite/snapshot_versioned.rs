//! Tables WITH SYSTEM VERSIONING (MariaDB): the server keeps their older rows, logs those like any other, and hides the
//! period's columns in its catalog where the table does not declare them. A snapshot reads what the stream would give.

use std::collections::BTreeMap;

use crate::harness::{Event, Job, Kind, Server};
use crate::suite::on;

const MARIADB: [Kind; 2] = [Kind::MariaDb10, Kind::MariaDb11];

const TABLES: [&str; 5] = ["hidden", "declared", "pair", "no_primary", "keyless"];

fn create(server: &Server) {
    let declared = "since TIMESTAMP(6) GENERATED ALWAYS AS ROW START, \
                    until TIMESTAMP(6) GENERATED ALWAYS AS ROW END INVISIBLE, PERIOD FOR SYSTEM_TIME (since, until)";
    let columns = [
        "id INT PRIMARY KEY, note VARCHAR(50)".to_owned(),
        format!("id INT PRIMARY KEY, {declared}, note VARCHAR(50)"),
        "part INT DEFAULT 7, id INT, note VARCHAR(50), PRIMARY KEY (part, id)".to_owned(),
        "other INT, id INT NOT NULL, note VARCHAR(50), UNIQUE KEY nullable (other), UNIQUE KEY (id)"
            .to_owned(),
        "id INT, note VARCHAR(50)".to_owned(),
    ];
    server.run("CREATE DATABASE test");
    for (name, columns) in TABLES.iter().zip(columns) {
        server.run(&format!("CREATE TABLE test.{name} ({columns}) WITH SYSTEM VERSIONING"));
    }
}

/// Leaves rows that hold, rows that were changed, and rows that are gone, all with their history.
fn change(server: &Server, ids: std::ops::Range<u32>) {
    for name in TABLES {
        let (first, last) = (ids.start, ids.end);
        let values: Vec<String> = ids.clone().map(|id| format!("({id}, 'first {id}')")).collect();
        server.run(&format!(
            "INSERT INTO test.{name} (id, note) VALUES {}; UPDATE test.{name} SET note = 'second' WHERE id % 3 = 0; \
             UPDATE test.{name} SET note = 'third' WHERE id = {first}; DELETE FROM test.{name} WHERE id % 5 = 0; \
             UPDATE test.{name} SET id = id + 100000 WHERE id = {last} - 1",
            values.join(",")
        ));
    }
}

/// What a consumer has of the tables with a key, by table and key, as bytes.
fn state(job: &Job) -> BTreeMap<(String, String), String> {
    let mut state = BTreeMap::new();
    let events = job.events();
    for event in events.first() {
        let Some(key) = event.key() else { continue };
        let at = (event.table().to_owned(), key.to_owned());
        match event.op() {
            "d" => drop(state.remove(&at)),
            _ => drop(state.insert(at, after(event).to_owned())),
        }
    }
    state
}

/// The bytes of `data.after`.
fn after(event: &Event) -> &str {
    let data = event.text.find(r#""data":{"#).expect("data");
    let start = data + event.text[data..].find(r#""after":"#).expect("after") + r#""after":"#.len();
    let end = event.text[start..].find(r#","source":"#).expect("source") + start;
    &event.text[start..end]
}

/// The rows of the table without a key, sorted.
fn keyless(job: &Job) -> Vec<String> {
    let events = job.events();
    let rows = events.iter().filter(|event| event.table() == "keyless" && event.op() != "d");
    let mut rows: Vec<String> = rows.map(|event| after(event).to_owned()).collect();
    rows.sort();
    rows
}

#[test]
fn a_snapshot_of_a_table_with_system_versioning_is_what_its_changes_amount_to() {
    on(&MARIADB, &[], |server| {
        create(server);
        change(server, 1..400);
        let streaming = Job::new(server);
        streaming.catch_up();
        let snapshot = Job::snapshotting(server);
        snapshot.catch_up();
        assert!(snapshot.events().iter().all(|event| event.op() == "r"));
        let expected = state(&streaming);
        assert_eq!(state(&snapshot), expected);
        // Every row that holds and every one that held, each table alike.
        assert_eq!(expected.len() % 4, 0);
        assert!(expected.len() > 4 * 520, "{}", expected.len());

        // Without a key all that ever held was once an event of the stream, and nothing is left out.
        let (rows, streamed) = (keyless(&snapshot), keyless(&streaming));
        let count = &server.run("SELECT COUNT(*) FROM test.keyless FOR SYSTEM_TIME ALL")[0][0];
        assert_eq!(rows.len().to_string(), *count);
        assert!(rows.len() > 520 && rows.iter().all(|row| streamed.binary_search(row).is_ok()));

        // The stream goes on under the same keys.
        change(server, 400..600);
        streaming.catch_up();
        snapshot.catch_up();
        assert_eq!(state(&snapshot), state(&streaming));
    });
}

#[test]
fn where_the_binlog_does_not_describe_itself_the_stream_knows_the_hidden_columns_too() {
    on(&MARIADB, &["--binlog-row-metadata=NO_LOG"], |server| {
        create(server);
        change(server, 1..30);
        let streaming = Job::new(server);
        streaming.catch_up();
        let snapshot = Job::snapshotting(server);
        snapshot.catch_up();
        assert_eq!(state(&snapshot), state(&streaming));
        assert!(state(&snapshot).keys().all(|(_, key)| key.contains("row_end") || key.contains("until")));
    });
}
