//! Definitions that change while a snapshot runs: what was read under the old one is thrown away and read again.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::harness::{Event, Events, Job, Metrics, Server, Sql, until};
use crate::suite::on_every_server;

const ROWS: i64 = 2400;
/// A row that is written right behind the change: rows read before it come before this one.
const MARK: i64 = 1_000_000;

/// A table `t` of its own schema, half read when `change` runs; then all to the end. Gives the events and how many of
/// them came up to the mark, which is a row of another table.
fn changed_in_the_middle(server: &Server, schema: &str, list: &str, change: &str) -> (Events, usize) {
    let mut sql = server.sql();
    fill(&mut sql, schema);
    let job = Job::snapshotting(server)
        .set("connectorConfig.tableIncludeList", list)
        .set("connectorConfig.parallelism", "2");
    let metrics = Metrics::new();
    let mut flowd =
        job.start(&["--metrics", &metrics.address, "--connectorConfig.snapshotRowsPerSecond=1200"]);
    until("the middle of the snapshot", || (job.lines() > 700).then_some(()));
    sql.run(change);
    sql.run(&format!("INSERT INTO {schema}.mark VALUES ({MARK})"));
    until("the snapshot to end", || {
        assert!(flowd.is_running(), "flowd ended by itself: {}", flowd.log());
        metrics.value("flowd_snapshot_state").filter(|state| *state == 2.0)
    });
    flowd.signal("TERM");
    flowd.wait().expect_code(0);
    job.catch_up();
    let events = job.events();
    let mark = events.iter().position(|event| event.table() == "mark").expect("the mark arrived");
    let before = events.0[..mark].iter().filter(|event| event.table() == "t").count();
    assert!(before >= 600 && before < 2 * ROWS as usize, "{before} rows of t came before the change");
    (events, mark)
}

fn fill(sql: &mut Sql, schema: &str) {
    sql.run(&format!("CREATE DATABASE {schema}; USE {schema}; CREATE TABLE mark (id INT PRIMARY KEY)"));
    sql.run("CREATE TABLE t (id INT PRIMARY KEY, b INT NOT NULL, note VARCHAR(99), pad VARCHAR(200) CHARACTER SET latin1 NOT NULL)");
    let values: Vec<String> =
        (1..=ROWS).map(|id| format!("({id}, {}, 'row {id}', REPEAT('p', 200))", ROWS - id)).collect();
    sql.run(&format!("INSERT INTO t VALUES {}; ANALYZE NO_WRITE_TO_BINLOG TABLE t", values.join(",")));
}

fn ids<'a>(events: impl IntoIterator<Item = &'a Event>) -> BTreeSet<i64> {
    let of_t = events.into_iter().filter(|event| event.table() == "t" && event.after().is_object());
    of_t.map(|event| event.after()["id"].as_i64().unwrap()).collect()
}

/// What a consumer has of `t`, by id.
fn last<'a>(events: impl IntoIterator<Item = &'a Event>) -> BTreeMap<i64, &'a Value> {
    let of_t = events.into_iter().filter(|event| event.table() == "t" && event.after().is_object());
    of_t.map(|event| (event.after()["id"].as_i64().unwrap(), event.after())).collect()
}

fn all() -> BTreeSet<i64> {
    (1..=ROWS).collect()
}

#[test]
fn a_column_that_is_added_is_in_every_row_that_is_read_from_then_on() {
    on_every_server(|server| {
        let change = "ALTER TABLE test.t ADD COLUMN extra INT NOT NULL DEFAULT 5 AFTER id";
        let (events, mark) = changed_in_the_middle(server, "test", "[\"test.*\"]", change);
        assert_eq!(ids(events.iter()), all());
        let has_extra = |event: &&Event| event.after()["extra"] == json!(5);
        let before = events.0[..mark].iter().filter(|event| event.table() == "t");
        let after: Vec<&Event> = events.0[mark..].iter().filter(|event| event.table() == "t").collect();
        assert!(after.len() > 300 && after.iter().all(has_extra));
        assert!(before.clone().take(600).all(|event| event.after().get("extra").is_none()));
        // Between the statement and the mark nothing of the old definition.
        let ops: String = before.map(|event| if has_extra(&event) { 'n' } else { 'o' }).collect();
        assert!(!ops.contains("no"), "a row of the old definition came after one of the new");
    });
}

#[test]
fn rows_read_before_a_truncate_never_come_after_it() {
    on_every_server(|server| {
        let change = format!("TRUNCATE TABLE test.t; INSERT INTO test.t VALUES ({MARK}, 1, 'new', '')");
        let (events, mark) = changed_in_the_middle(server, "test", "[\"test.*\"]", &change);
        let new = events.iter().position(|event| event.op() == "t").expect("the TRUNCATE arrived");
        assert!(new < mark);
        assert_eq!(events.0[new].table(), "t");
        assert_eq!(ids(&events.0[new..]), BTreeSet::from([MARK]));
        assert!(ids(&events.0[..new]).len() < ROWS as usize, "everything had been read");
    });
}

#[test]
fn a_table_that_is_dropped_ends() {
    on_every_server(|server| {
        let (events, mark) = changed_in_the_middle(server, "test", "[\"test.*\"]", "DROP TABLE test.t");
        assert!(ids(&events.0[mark..]).is_empty(), "rows of a table that was gone");
        assert!(ids(events.iter()).len() < ROWS as usize, "everything had been read");
    });
}

#[test]
fn a_table_whose_key_changes_starts_again() {
    on_every_server(|server| {
        let change = "ALTER TABLE test.t DROP PRIMARY KEY, ADD PRIMARY KEY (b)";
        let (events, mark) = changed_in_the_middle(server, "test", "[\"test.*\"]", change);
        let by_b = |event: &&Event| event.key().is_some_and(|key| key.starts_with("{\"b\":"));
        let of_t = events.iter().filter(|event| event.table() == "t");
        let anew: Vec<&Event> = of_t.clone().filter(by_b).collect();
        assert_eq!(ids(anew.iter().copied()), all());
        assert_eq!(anew.len(), ROWS as usize, "rows were read twice under the new key");
        assert!(events.0[mark..].iter().filter(|event| event.table() == "t").all(|event| by_b(&event)));
        let old = of_t.filter(|event| !by_b(event)).count();
        assert!(old >= 600 && old < ROWS as usize, "{old} rows were read under the old key");
    });
}

#[test]
fn a_table_that_another_takes_the_place_of_is_read_on() {
    on_every_server(|server| {
        // As gh-ost does it: a copy that nobody captures, and names that change places in one statement.
        let change = |schema: &str| {
            format!(
                "CREATE TABLE {schema}._t_gho LIKE {schema}.t; ALTER TABLE {schema}._t_gho ADD COLUMN extra INT NOT NULL DEFAULT 5;
                 INSERT INTO {schema}._t_gho SELECT id, b, CONCAT('new ', note), pad, 5 FROM {schema}.t;
                 RENAME TABLE {schema}.t TO {schema}._t_del, {schema}._t_gho TO {schema}.t;
                 UPDATE {schema}.t SET note = 'changed' WHERE id IN (1, {ROWS})"
            )
        };
        for (schema, list) in [("test", r#"["test.t", "test.mark"]"#), ("test_all", r#"["test_all.*"]"#)] {
            let (events, mark) = changed_in_the_middle(server, schema, list, &change(schema));
            let rows = last(events.iter());
            assert_eq!(rows.keys().copied().collect::<BTreeSet<_>>(), all(), "{list}");
            for id in [1, ROWS] {
                assert_eq!(
                    rows[&id],
                    &json!({"id": id, "b": ROWS - id, "note": "changed", "pad": "p".repeat(200), "extra": 5})
                );
            }
            let read_after =
                events.0[mark..].iter().filter(|event| event.table() == "t" && event.op() == "r");
            assert!(read_after.clone().count() > 300);
            for event in read_after {
                assert_eq!(event.after()["extra"], json!(5), "{}", event.text);
                assert!(
                    event.after()["note"] != json!(format!("row {}", event.after()["id"])),
                    "{}",
                    event.text
                );
            }
        }
    });
}

#[test]
fn tables_that_appear_during_a_snapshot_are_the_streams() {
    on_every_server(|server| {
        let change = "CREATE TABLE test.a_new (id INT PRIMARY KEY); INSERT INTO test.a_new VALUES (1), (2); CREATE TABLE test.z_new AS SELECT id FROM test.a_new; \
                      INSERT INTO test.z_new VALUES (3)";
        let (events, _) = changed_in_the_middle(server, "test", "[\"test.*\"]", change);
        assert_eq!(ids(events.iter()), all());
        for (table, expected) in [("a_new", BTreeSet::from([1, 2])), ("z_new", BTreeSet::from([1, 2, 3]))] {
            let arrived: BTreeSet<i64> =
                events.of(table).iter().map(|event| event.after()["id"].as_i64().unwrap()).collect();
            assert_eq!(arrived, expected, "{table}");
        }
    });
}
