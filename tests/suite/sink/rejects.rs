//! What a sink cannot take: it stops with the reason, or writes the event down and goes on. Never silently.

use serde_json::Value;

use super::{BOTH, sink, stop};
use crate::harness::{Flow, Flowd, Job, Kind, Mesh, Server, publish, until};
use crate::suite::on;

/// Row 2 does not fit the copy, whatever `narrower` did to it; rows 1 and 3 do.
fn flow<'a>(server: &'a Server, narrower: &str) -> Flow<'a> {
    let mut sql = server.sql();
    sql.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY, s VARCHAR(20), n INT)");
    let flow = Flow::beside(server, Mesh::start(), &["t"]);
    sql.run(&format!("USE test_copy; {narrower}"));
    sql.run("USE test; INSERT INTO t VALUES (1, 'one', 1); INSERT INTO t VALUES (2, 'two, and long', 70000); INSERT INTO t VALUES (3, 'three', 3)");
    flow
}

/// The sink stops before row 2, says `named`, and exits with 4; with a file for dead letters it writes row 2 down with
/// the reason and its event, and goes on with row 3.
fn stopped_then_written(server: &Server, flow: Flow<'_>, taken: &str, named: &[&str]) {
    flow.source.catch_up();
    let outcome = sink(&flow).wait();
    outcome.expect_code(4);
    for name in named {
        outcome.expect_log(name);
    }

    let flow = flow.sink(Job::with_dead_letters);
    let mut copying = sink(&flow);
    until("what can be taken", || {
        assert!(copying.is_running(), "the sink ended by itself: {}", copying.log());
        (server.run(taken) == [["1"], ["3"]]).then_some(())
    });
    let letters = flow.sink.dead_letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    letter_of_row_2(&letters[0], named);
    // What was written down counts as applied: it does not come again.
    stop(copying);
    let again = sink(&flow);
    server.run("INSERT INTO test.t VALUES (4, 'four', 4)");
    flow.source.catch_up();
    until("the next row", || (server.run(taken) == [["1"], ["3"], ["4"]]).then_some(()));
    assert_eq!(flow.sink.dead_letters().len(), 1);
    stop(again);
}

fn letter_of_row_2(letter: &Value, named: &[&str]) {
    let reason = letter["reason"].as_str().expect("a dead letter has a reason");
    assert!(named.iter().all(|name| reason.contains(name)), "{reason}");
    assert_eq!(letter["topic"], "test.t");
    assert_eq!(letter["event"]["data"]["after"]["id"], 2, "{letter}");
    assert_eq!(letter["id"], letter["event"]["id"]);
}

const IDS: &str = "SELECT id FROM test_copy.t ORDER BY id";

#[test]
fn a_number_out_of_range_stops_the_sink_or_is_written_down() {
    on(&BOTH, &[], |server| {
        let flow = flow(server, "ALTER TABLE t MODIFY n SMALLINT");
        stopped_then_written(server, flow, IDS, &["test_copy.t", "n"]);
    });
}

#[test]
fn a_text_that_is_too_long_stops_the_sink_or_is_written_down() {
    on(&BOTH, &[], |server| {
        let flow = flow(server, "ALTER TABLE t MODIFY s VARCHAR(5)");
        stopped_then_written(server, flow, IDS, &["test_copy.t", "s"]);
    });
}

#[test]
fn an_unknown_column_stops_the_sink_and_nothing_is_written_without_it() {
    on(&BOTH[..1], &[], |server| {
        let flow = flow(server, "ALTER TABLE t DROP COLUMN n");
        flow.source.catch_up();
        sink(&flow).wait().expect_code(4).expect_log("test_copy.t").expect_log("n");
        assert_eq!(server.run("SELECT COUNT(*) FROM test_copy.t")[0][0], "0");
        let flow = flow.sink(Job::with_dead_letters);
        let copying = sink(&flow);
        until("three dead letters", || (flow.sink.dead_letters().len() == 3).then_some(()));
        stop(copying);
        assert_eq!(server.run("SELECT COUNT(*) FROM test_copy.t")[0][0], "0");
    });
}

#[test]
fn an_unknown_table_stops_the_sink_or_its_events_are_written_down() {
    on(&BOTH[..1], &[], |server| {
        let flow = flow(server, "DROP TABLE t");
        flow.source.catch_up();
        sink(&flow).wait().expect_code(4).expect_log("test_copy.t");
        let flow = flow.sink(Job::with_dead_letters);
        let copying = sink(&flow);
        until("three dead letters", || (flow.sink.dead_letters().len() == 3).then_some(()));
        stop(copying);
    });
}

#[test]
fn a_change_of_a_row_that_the_copy_never_had_is_not_made_into_a_row() {
    on(&BOTH, &["--binlog-row-image=MINIMAL"], |server| {
        let mut sql = server.sql();
        sql.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY, s VARCHAR(20), n INT)");
        sql.run("SET sql_log_bin = 0; INSERT INTO test.t VALUES (1, 'one', 1); SET sql_log_bin = 1; INSERT INTO test.t VALUES (2, 'two', 2)");
        let flow = Flow::beside(server, Mesh::start(), &["t"]).sink(Job::with_dead_letters);
        sql.run("UPDATE test.t SET s = 'changed'");
        flow.source.catch_up();
        let copying = sink(&flow);
        until("row 2", || (sql.run("SELECT * FROM test_copy.t") == [["2", "changed", "2"]]).then_some(()));
        until("a dead letter", || (flow.sink.dead_letters().len() == 1).then_some(()));
        stop(copying);
    });
}

#[test]
fn what_is_no_event_of_ours_and_has_no_table_is_written_down_with_its_bytes() {
    on(&BOTH[..1], &[], |server| {
        let flow = flow(server, "DO 0").sink(Job::with_dead_letters);
        let plain = r#"{"specversion":"1.0","id":"p1","source":"/shop","type":"order","subject":"test.t","datacontenttype":"application/cloudevents+json","data":{"id":7}}"#;
        publish(&flow.mesh, &[plain.to_owned()]);
        let copying = sink(&flow);
        let letters =
            until("a dead letter", || Some(flow.sink.dead_letters()).filter(|letters| letters.len() == 1));
        assert_eq!(letters[0]["event"]["data"]["id"], 7, "{}", letters[0]);
        assert_eq!(letters[0]["id"], "p1");
        flow.source.catch_up();
        until("the rows behind it", || (server.run(IDS).len() == 3).then_some(()));
        stop(copying);
    });
}

/// Without the marker, numbers would be missing, and the sink would wait for them.
#[test]
fn an_event_that_the_source_had_to_write_down_leaves_no_gap_for_the_sink() {
    on(&[Kind::MariaDb11], &["--max-allowed-packet=64M"], |server| {
        let mut sql = server.sql();
        sql.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY, s LONGTEXT)");
        let flow = Flow::beside(server, Mesh::start(), &["t"]).source(Job::with_dead_letters).until_applied();
        for id in 1..=20 {
            let length = if id % 10 == 0 { 4_300_000 } else { 3 };
            sql.run(&format!("INSERT INTO test.t VALUES ({id}, REPEAT('x', {length}))"));
        }
        let mut copying: Flowd = sink(&flow);
        let begun = std::time::Instant::now();
        flow.catch_up(&mut copying);
        assert!(
            begun.elapsed() < std::time::Duration::from_secs(9),
            "it waited for a gap: {:?}",
            begun.elapsed()
        );
        assert_eq!(sql.run("SELECT COUNT(*), MAX(LENGTH(s)) FROM test_copy.t"), [["18", "3"]]);
        assert_eq!(flow.source.dead_letters().len(), 2);
        stop(copying);
    });
}
