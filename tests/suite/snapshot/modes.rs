//! When a snapshot is taken, where a run with one ends, and what is refused.

use crate::harness::{ALL, Job, Kind, Server, until};
use crate::suite::{on, on_every_server};

/// A table of `rows` rows.
fn fill(server: &Server, rows: usize) {
    let mut sql = server.sql();
    sql.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY, note VARCHAR(99))");
    insert(&mut sql, 1..=rows);
}

fn insert(sql: &mut crate::harness::Sql, ids: std::ops::RangeInclusive<usize>) {
    let values: Vec<String> = ids.map(|id| format!("({id}, 'row {id}')")).collect();
    sql.run(&format!("INSERT INTO test.t VALUES {}", values.join(",")));
}

/// How often each op arrived.
fn counts(job: &Job) -> [usize; 4] {
    let ops = job.events().ops();
    ["r", "c", "u", "d"].map(|op| ops.matches(op).count())
}

/// Stops a run as soon as its snapshot has got somewhere, so that it is not finished.
fn leave_unfinished(job: &Job) {
    let flowd = job.start(&["--connectorConfig.snapshotRowsPerSecond=500"]);
    until("a part of the snapshot in the registry", || {
        let snapshot = &job.position()["snapshot"];
        (snapshot["rows"].as_u64()? > 0).then_some(())
    });
    flowd.kill();
    assert_eq!(job.position()["snapshot"]["state"], "running");
}

#[test]
fn initial_reads_what_is_there_and_goes_on_with_what_changes() {
    on_every_server(|server| {
        fill(server, 700);
        let job = Job::snapshotting(server);
        // To the end: both the snapshot and the stream get there.
        job.catch_up();
        assert_eq!(counts(&job), [700, 0, 0, 0]);
        assert_eq!(job.position()["snapshot"]["state"], "finished");
        insert(&mut server.sql(), 701..=703);
        server.run("DELETE FROM test.t WHERE id = 1; UPDATE test.t SET note = 'x' WHERE id = 2");
        job.catch_up();
        assert_eq!(counts(&job), [700, 3, 1, 1]);

        let flowd = job.start(&[]);
        insert(&mut server.sql(), 704..=704);
        job.wait_for_events(706);
        flowd.signal("TERM");
        flowd.wait().expect_code(0);
    });
}

#[test]
fn initial_only_ends_by_itself_when_every_row_is_acknowledged() {
    on_every_server(|server| {
        fill(server, 700);
        let job = Job::snapshotting(server).set("connectorConfig.snapshotMode", "initialOnly");
        job.start(&[]).wait().expect_code(0);
        assert_eq!(counts(&job)[0], 700);
        assert_eq!(job.position()["snapshot"]["state"], "finished");

        // It is done, and stays done.
        insert(&mut server.sql(), 701..=710);
        job.start(&[]).wait().expect_code(0);
        assert_eq!(job.events().ops().matches('r').count(), 700);

        // The stream can take over from there: nothing in between is lost.
        let job = job.set("connectorConfig.snapshotMode", "initial");
        job.catch_up();
        assert_eq!(counts(&job), [700, 10, 0, 0]);
    });
}

#[test]
fn a_snapshot_that_is_not_finished_is_not_dropped_in_silence() {
    on_every_server(|server| {
        fill(server, 3000);
        let job = Job::snapshotting(server);
        leave_unfinished(&job);

        let never = job.start(&["--connectorConfig.snapshotMode=never", "--stop-at", "end"]).wait();
        never
            .expect_code(3)
            .expect_log("not finished")
            .expect_log("snapshotMode: initial")
            .expect_log("registry");

        job.catch_up();
        assert_eq!(job.events().first_occurrences().len(), 3000);
        job.start(&["--connectorConfig.snapshotMode=never", "--stop-at", "end"]).wait().expect_code(0);
    });
}

#[test]
fn initial_only_on_a_registry_of_the_stream_is_refused() {
    on(&[Kind::MariaDb11], &[], |server| {
        fill(server, 3);
        let job = Job::new(server);
        job.catch_up();
        let outcome = job.start(&["--connectorConfig.snapshotMode=initialOnly"]).wait();
        outcome.expect_code(3).expect_log("initialOnly").expect_log("registry");
        // A stream that began without a snapshot goes on without one.
        job.start(&["--connectorConfig.snapshotMode=initial", "--stop-at", "end"]).wait().expect_code(0);
        assert_eq!(job.events().ops(), "ccc");
    });
}

#[test]
fn a_position_that_is_gone_is_an_end_or_a_new_snapshot_as_told() {
    on_every_server(|server| {
        fill(server, 300);
        let job = Job::snapshotting(server).set("connectorConfig.snapshotMode", "whenNeeded");
        job.catch_up();
        assert_eq!(counts(&job), [300, 0, 0, 0]);
        insert(&mut server.sql(), 301..=305);
        job.catch_up();
        assert_eq!(counts(&job), [300, 5, 0, 0], "the binlog was there: no snapshot was needed");

        insert(&mut server.sql(), 306..=310);
        server.purge();
        insert(&mut server.sql(), 311..=312);
        let initial = job.start(&["--connectorConfig.snapshotMode=initial", "--stop-at", "end"]).wait();
        initial.expect_code(3).expect_log("purged");
        assert_eq!(counts(&job), [300, 5, 0, 0]);

        job.start(&["--stop-at", "end"]).wait().expect_code(0).expect_log("whenNeeded");
        let ids =
            job.events().iter().map(|event| event.id().to_owned()).collect::<std::collections::HashSet<_>>();
        assert_eq!(counts(&job), [612, 5, 0, 0]);
        assert_eq!(ids.len(), 617, "the rows of two snapshots have ids of their own");
    });
}

#[test]
fn start_at_does_not_count_with_a_snapshot_and_that_is_said() {
    on(&ALL[1..], &[], |server| {
        fill(server, 10);
        let job = Job::snapshotting(server);
        let outcome = job.start(&["--start-at", "latest", "--stop-at", "end"]).wait();
        outcome.expect_code(0).expect_log("startAt").expect_log("never");
        assert_eq!(counts(&job), [10, 0, 0, 0]);
    });
}

#[test]
fn without_gtids_mysql_is_refused_unless_rows_may_be_held() {
    on(&[Kind::MySql9], &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"], |server| {
        fill(server, 300);
        let job = Job::snapshotting(server);
        let outcome = job.start(&["--stop-at", "end"]).wait();
        outcome.expect_code(3).expect_log("snapshotForShare").expect_log("gtid_mode");
        let check = job.command(&["check"]);
        check.expect_code(3);
        assert!(check.stdout.contains("snapshotForShare"), "{}", check.stdout);
        assert_eq!(job.events().len(), 0);

        let job = job.set("connectorConfig.snapshotForShare", "true");
        job.catch_up();
        insert(&mut server.sql(), 301..=302);
        job.catch_up();
        assert_eq!(counts(&job), [300, 2, 0, 0]);

        // Nothing tells what a read of a table without a key sees.
        server.run("CREATE TABLE test.bare (a INT); INSERT INTO test.bare VALUES (1)");
        let job = Job::snapshotting(server).set("connectorConfig.snapshotForShare", "true");
        let outcome = job.start(&["--stop-at", "end"]).wait();
        assert!(!outcome.succeeded());
        outcome.expect_log("test.bare").expect_log("gtid_mode").expect_log("tableExcludeList");
    });
}

#[test]
fn an_empty_table_and_an_empty_server_are_finished_at_once() {
    on_every_server(|server| {
        let job = Job::snapshotting(server);
        job.catch_up();
        assert_eq!(job.position()["snapshot"]["state"], "finished");
        server.run(
            "CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY); CREATE TABLE test.bare (a INT)",
        );
        let anew = Job::snapshotting(server);
        anew.catch_up();
        server.run("INSERT INTO test.t VALUES (1); INSERT INTO test.bare VALUES (1), (1)");
        for job in [&job, &anew] {
            job.catch_up();
            assert_eq!(counts(job), [0, 3, 0, 0]);
        }
    });
}
