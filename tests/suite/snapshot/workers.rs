//! Several connections read at once, within one table too, and what they lose they read again.

use std::collections::HashSet;

use crate::harness::{ALL, Arrival, Churn, Events, Job, Metrics, SCHEMA, Server, until};
use crate::suite::{on, on_every_server};

const ROWS: usize = 12_000;

/// One table of rows of 200 bytes, about 80 in a chunk.
fn fill(server: &Server) {
    let mut sql = server.sql();
    sql.run("CREATE DATABASE test; USE test; CREATE TABLE hot (id INT PRIMARY KEY, pad VARCHAR(200) CHARACTER SET latin1)");
    let values: Vec<String> = (0..ROWS).map(|id| format!("({}, REPEAT('p', 190))", id * 7)).collect();
    for values in values.chunks(4000) {
        sql.run(&format!("INSERT INTO hot VALUES {}", values.join(",")));
    }
    sql.run("ANALYZE NO_WRITE_TO_BINLOG TABLE hot");
}

fn job(server: &Server) -> Job {
    Job::snapshotting(server).set("connectorConfig.tableIncludeList", "[\"test.*\"]")
}

/// Every row once, whoever read it.
fn assert_all_read(events: &Events, log: &str) {
    assert!(events.iter().all(|event| event.op() == "r"));
    let came: HashSet<u64> = events.iter().filter_map(|event| event.after()["id"].as_u64()).collect();
    let missing: Vec<u64> = (0..ROWS as u64).map(|row| row * 7).filter(|id| !came.contains(id)).collect();
    assert!(missing.is_empty(), "these rows did not come: {missing:?}; flowd's log:\n{log}");
    assert_eq!(events.first_occurrences().len(), ROWS);
}

#[test]
fn a_single_hot_table_keeps_all_workers_busy() {
    on_every_server(|server| {
        fill(server);
        let job = job(server);
        let flowd = job.start(&["--connectorConfig.snapshotRowsPerSecond=3000"]);
        until("the snapshot to be on its way", || (job.lines() > 500).then_some(()));
        // Whoever reads the table now waits for us, and can be counted.
        let mut sql = server.sql();
        let waiting = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'cdc' AND INFO LIKE 'SELECT%`hot`%'";
        until("all four workers to read the table at once", || {
            sql.run("LOCK TABLES test.hot WRITE");
            let tries = (0..10).map(|_| {
                std::thread::sleep(std::time::Duration::from_millis(50));
                server.run(waiting)[0][0].parse::<usize>().unwrap()
            });
            let most = tries.max().unwrap_or(0);
            sql.run("UNLOCK TABLES");
            assert!(most <= 4 && job.lines() < ROWS, "{most} readers, {} rows came", job.lines());
            (most == 4).then_some(())
        });
        flowd.signal("TERM");
        let outcome = flowd.wait();
        outcome.expect_code(0);
        job.catch_up();
        assert_all_read(&job.events(), &outcome.log);
    });
}

#[test]
fn connections_that_are_lost_are_made_anew_and_nothing_is_missing() {
    on(&ALL, &[], |server| {
        let churn = Churn::new(server, 800);
        server.run("\nDELIMITER //\nCREATE PROCEDURE control.end_it(IN id BIGINT) BEGIN DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END; KILL id; END //\nDELIMITER ");
        let job = Job::snapshotting(server)
            .set("connectorConfig.tableIncludeList", &format!("[\"{SCHEMA}.*\"]"))
            .set("connectorConfig.snapshotRowsPerSecond", "1500");
        let metrics = Metrics::new();
        let mut flowd = None;
        churn.during(server, || {
            let flowd = flowd.insert(job.start(&["--metrics", &metrics.address]));
            until("the snapshot to end", || {
                assert!(flowd.is_running(), "flowd ended by itself: {}", flowd.log());
                for row in server.run("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'cdc' ORDER BY RAND() LIMIT 2") {
                    server.run(&format!("CALL control.end_it({})", row[0]));
                }
                std::thread::sleep(std::time::Duration::from_millis(200));
                metrics.value("flowd_snapshot_state").filter(|state| *state == 2.0)
            });
        });
        let flowd = flowd.expect("it was started");
        flowd.signal("TERM");
        let outcome = flowd.wait();
        outcome.expect_code(0).expect_log("connecting again");
        job.catch_up();
        churn.verify(server, &job.events(), Arrival::Once);
    });
}

#[test]
fn a_server_that_restarts_in_the_middle_is_waited_for() {
    on_every_server(|server| {
        fill(server);
        let job = job(server);
        let metrics = Metrics::new();
        let flowd =
            job.start(&["--metrics", &metrics.address, "--connectorConfig.snapshotRowsPerSecond=4000"]);
        until("the snapshot to be on its way", || (job.lines() > 500).then_some(()));
        server.restart();
        assert!(job.lines() < ROWS, "everything had been read");
        metrics.wait_for("flowd_snapshot_state", 2.0);
        flowd.signal("TERM");
        let outcome = flowd.wait();
        outcome.expect_code(0);
        // What is said to be finished is there after an orderly stop, without another run.
        assert_all_read(&job.events(), &outcome.log);
    });
}
