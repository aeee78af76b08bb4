//! Killed while a snapshot runs: what is acknowledged is not read again, and all of it ends as the server has it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Arrival, Churn, Events, Job, SCHEMA, Server, Sql, until};
use crate::suite::on_every_server;

const KILLS: usize = 20;
/// Rows of the table that nobody changes, which is read before the others.
const QUIET_ROWS: usize = 16_000;
const ROWS_PER_SECOND: usize = 2500;
/// Rows of that table in a chunk of 16 KiB, at most.
const CHUNK_ROWS: usize = 130;

/// What was true at the moment of a kill.
struct Kill {
    /// Whole lines in the file.
    lines: usize,
    /// What the registry says of the snapshot.
    snapshot: Value,
}

#[test]
fn nothing_is_lost_and_nothing_acknowledged_is_read_again_when_flowd_is_killed_in_a_snapshot() {
    on_every_server(|server| {
        let churn = Churn::new(server, 500).calm();
        quiet_table(server);
        let job = Job::snapshotting(server)
            .set("connectorConfig.tableIncludeList", &format!("[\"{SCHEMA}.*\", \"test_calm.*\"]"))
            .set("connectorConfig.snapshotRowsPerSecond", &ROWS_PER_SECOND.to_string());
        let mut kills = Vec::new();
        churn.during(server, || {
            for number in 0..KILLS {
                kills.push(run_and_kill(&job, number));
            }
        });
        // To the end as fast as it goes.
        job.start(&["--stop-at", "end", "--connectorConfig.snapshotRowsPerSecond=1000000"])
            .wait()
            .expect_code(0);

        let events = job.events();
        churn.verify(server, &events, Arrival::Repeated);
        nothing_acked_is_read_again(&events, &kills);
    });
}

fn quiet_table(server: &Server) {
    let mut sql = server.sql();
    sql.run("CREATE DATABASE test_calm; CREATE TABLE test_calm.quiet (id INT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(199)); INSERT INTO test_calm.quiet (note) VALUES (REPEAT('quiet ', 20))");
    let count =
        |sql: &mut Sql| sql.run("SELECT COUNT(*) FROM test_calm.quiet")[0][0].parse::<usize>().unwrap();
    while count(&mut sql) < QUIET_ROWS {
        sql.run("INSERT INTO test_calm.quiet (note) SELECT note FROM test_calm.quiet");
    }
    let rest = count(&mut sql) - QUIET_ROWS;
    sql.run(&format!("DELETE FROM test_calm.quiet ORDER BY id DESC LIMIT {rest}"));
}

/// One in five is killed while it starts, the others when they have begun to write, or have nothing more to write.
fn run_and_kill(job: &Job, number: usize) -> Kill {
    let (before, begin) = (job.lines(), Instant::now());
    let mut flowd = job.start(&[]);
    let number = u64::try_from(number).unwrap();
    let (enough, patience) = match number % 5 {
        4 => (usize::MAX, Duration::from_millis(100 * (number % 7))),
        turn => (before + usize::try_from(turn).unwrap() * 200, Duration::from_secs(3)),
    };
    until("the moment of the kill", || {
        assert!(flowd.is_running(), "flowd ended by itself: {}", flowd.log());
        (job.lines() > enough || begin.elapsed() > patience).then_some(())
    });
    flowd.kill();
    Kill { lines: job.lines(), snapshot: job.position()["snapshot"].take() }
}

/// Rows of the quiet table that are done according to the registry. `written`: those that arrived.
fn acked(snapshot: &Value, written: usize) -> usize {
    let open = snapshot["open"].as_array().into_iter().flatten();
    let mut quiet = open.filter(|table| table["table"] == "test_calm.quiet");
    match quiet.next() {
        Some(table) => usize::try_from(table["rows"].as_u64().unwrap()).unwrap(),
        // Not begun, or done.
        None if written < QUIET_ROWS || snapshot.is_null() => 0,
        None => QUIET_ROWS,
    }
}

fn nothing_acked_is_read_again(events: &Events, kills: &[Kill]) {
    let quiet = events.iter().enumerate().filter(|(_, event)| event.table() == "quiet");
    let quiet: Vec<(usize, &str)> = quiet.map(|(line, event)| (line, event.id())).collect();
    let distinct = |rows: &[(usize, &str)]| rows.iter().map(|(_, id)| *id).collect::<HashSet<_>>().len();
    assert_eq!(distinct(&quiet), QUIET_ROWS, "rows of the table that nobody changed");
    let mut within = 0;
    for (number, kill) in kills.iter().enumerate() {
        let (before, after) = quiet.split_at(quiet.partition_point(|(line, _)| *line < kill.lines));
        let (written, later) = (distinct(before), distinct(after));
        let acked = acked(&kill.snapshot, written);
        assert_eq!(later, QUIET_ROWS - acked, "kill {number}: rows read after {acked} were acked");
        // Beyond what is acked there are the chunks in flight: one of each worker, and those of a second at most.
        let lost = written - acked;
        assert!(lost <= ROWS_PER_SECOND + 4 * CHUNK_ROWS, "kill {number}: {lost} rows have to be read again");
        within += usize::from(written > 0 && written < QUIET_ROWS);
    }
    assert!(within >= 3, "only {within} kills fell into the table that nobody changes");
}
