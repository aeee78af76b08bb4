//! What is finished stays finished, and how far a snapshot has come can be asked.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::harness::{Event, Job, Metrics, Server, until};
use crate::suite::on_every_server;

const TABLES: usize = 6;
const ROWS: usize = 1200;

/// Tables `t0` … with equal numbers of rows; one of them has no key.
fn fill(server: &Server) {
    let mut sql = server.sql();
    sql.run("CREATE DATABASE test; USE test");
    for table in 0..TABLES {
        let key = if table == 2 { "KEY (id)" } else { "PRIMARY KEY (id)" };
        sql.run(&format!("CREATE TABLE t{table} (id INT, note VARCHAR(99), {key})"));
        let values: Vec<String> = (0..ROWS).map(|id| format!("({id}, 'row {id} of {table}')")).collect();
        sql.run(&format!("INSERT INTO t{table} VALUES {}", values.join(",")));
    }
}

fn job(server: &Server) -> Job {
    Job::snapshotting(server)
        .set("connectorConfig.tableIncludeList", "[\"test.*\"]")
        .set("connectorConfig.parallelism", "2")
}

/// The tables that the registry counts as done: those up to the last open one that are not open.
fn done(snapshot: &Value) -> HashSet<String> {
    let open = snapshot["open"].as_array().unwrap();
    let open: HashSet<&str> = open.iter().map(|table| table["table"].as_str().unwrap()).collect();
    let begun = usize::try_from(snapshot["tablesDone"].as_u64().unwrap()).unwrap() + open.len();
    let names = (0..begun).map(|number| format!("test.t{number}"));
    names.filter(|name| !open.contains(name.as_str())).map(|name| name["test.".len()..].to_owned()).collect()
}

#[test]
fn a_resumed_snapshot_does_not_read_finished_tables_again() {
    on_every_server(|server| {
        fill(server);
        let job = job(server);
        let mut begun = HashSet::new();
        let mut lines = 0;
        for least in [1, 3] {
            let flowd = job.start(&["--connectorConfig.snapshotRowsPerSecond=2000"]);
            until("some tables to be done", || {
                (job.position()["snapshot"]["tablesDone"].as_u64()? >= least).then_some(())
            });
            flowd.kill();
            begun = done(&job.position()["snapshot"]);
            lines = job.lines();
        }
        assert!((3..TABLES).contains(&begun.len()), "{begun:?} were done");
        let log = job.path("general.log").display().to_string();
        server.run(&format!("SET GLOBAL general_log_file = '{log}', general_log = ON"));

        job.catch_up();

        let events = job.events();
        let again: Vec<&Event> =
            events.0[lines..].iter().filter(|event| begun.contains(event.table())).collect();
        assert!(again.is_empty(), "{} rows of finished tables came again, {}", again.len(), again[0].text);
        let log = std::fs::read_to_string(log).unwrap();
        assert!(log.contains("FROM `test`.`t5`"), "the log does not tell what is read: {log}");
        for table in &begun {
            let read = format!("FROM `test`.`{table}`");
            assert!(!log.contains(&read), "{table} was done and is read again: {log}");
        }
        assert_eq!(events.first_occurrences().iter().filter(|event| event.table() != "t2").count(), 5 * ROWS);
        let snapshots: HashSet<&str> =
            events.iter().filter(|event| event.table() != "t2").map(Event::snapshot).collect();
        assert_eq!(snapshots.len(), 1, "a resumed snapshot is the same snapshot");
    });
}

#[test]
fn a_table_without_a_key_begins_again_under_an_id_of_its_own() {
    on_every_server(|server| {
        fill(server);
        let job = job(server).set("connectorConfig.tableIncludeList", "[\"test.t2\"]");
        let flowd = job.start(&["--connectorConfig.snapshotRowsPerSecond=300"]);
        until("a part of it", || (job.lines() > 100).then_some(()));
        flowd.kill();
        let first = job.lines();
        assert!(first < ROWS, "it was read in one piece");
        job.catch_up();

        let events = job.events();
        let snapshot = |event: &Event| event.snapshot().to_owned();
        let (before, after): (HashSet<_>, HashSet<_>) = (
            events.0[..first].iter().map(snapshot).collect(),
            events.0[first..].iter().map(snapshot).collect(),
        );
        assert_eq!((before.len(), after.len()), (1, 1));
        assert!(before.is_disjoint(&after), "{before:?}");
        assert_eq!(events.len() - first, ROWS);
        assert_eq!(events.first_occurrences().len(), events.len(), "equal rows are told apart");
    });
}

#[test]
fn the_position_and_the_metrics_tell_how_far_a_snapshot_has_come() {
    on_every_server(|server| {
        fill(server);
        let job = job(server);
        assert!(job.position()["snapshot"].is_null(), "nothing was stored yet");
        let metrics = Metrics::new();
        let flowd =
            job.start(&["--metrics", &metrics.address, "--connectorConfig.snapshotRowsPerSecond=1500"]);
        metrics.wait_for("flowd_snapshot_tables_done", 2.0);
        assert_eq!(metrics.value("flowd_snapshot_state"), Some(1.0));
        assert_eq!(metrics.value("flowd_snapshot_tables"), Some(TABLES as f64));
        let snapshot = until("the same in the registry", || {
            Some(job.position()["snapshot"].take())
                .filter(|snapshot| snapshot["tablesDone"].as_u64() >= Some(2))
        });
        assert_eq!(snapshot["state"], "running", "{snapshot}");
        for (member, least, most) in [
            ("tables", TABLES, TABLES),
            ("tablesDone", 2, TABLES - 1),
            ("rows", 2 * ROWS, TABLES * ROWS - 1),
            ("chunks", 4, TABLES * ROWS),
            ("bytes", 2 * ROWS * 10, usize::MAX),
            ("rowsEstimated", ROWS, 3 * TABLES * ROWS),
        ] {
            let value = snapshot[member].as_u64().unwrap_or_else(|| panic!("no {member} in {snapshot}"));
            assert!((least as u64..=most as u64).contains(&value), "{member} of {snapshot}");
        }
        let plain = job.command(&["position"]).stdout;
        assert!(plain.contains("snapshot") && plain.contains("running"), "{plain}");

        metrics.wait_for("flowd_snapshot_state", 2.0);
        assert_eq!(metrics.value("flowd_snapshot_rows"), Some((TABLES * ROWS) as f64));
        assert_eq!(metrics.value("flowd_snapshot_tables_done"), Some(TABLES as f64));
        let snapshot = until("the end in the registry", || {
            Some(job.position()["snapshot"].take()).filter(|snapshot| snapshot["state"] == "finished")
        });
        assert_eq!(
            (&snapshot["rows"], &snapshot["tablesDone"], &snapshot["open"]),
            (&json!(TABLES * ROWS), &json!(TABLES), &json!([]))
        );
        same_source(&job, &snapshot);
        flowd.signal("TERM");
        flowd.wait().expect_code(0);
    });
}

/// Every row tells of the snapshot's start, as the registry has it.
fn same_source(job: &Job, snapshot: &Value) {
    for event in job.events().iter() {
        let source = &event.data()["source"];
        let told =
            [&source["file"], &source["pos"], &source["snapshot"], &source["gtid"], &source["server_id"]];
        let kept = [&snapshot["file"], &snapshot["pos"], &json!("true"), &json!(null), &json!(0)];
        assert_eq!(told, kept, "{}", event.text);
        assert_eq!((&event.json["time"], event.op()), (&snapshot["startedAt"], "r"), "{}", event.text);
        assert_eq!(
            (&event.json["type"], event.before()),
            (&json!("flowd.change.r"), &Value::Null),
            "{}",
            event.text
        );
    }
}
