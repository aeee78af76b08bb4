//! What a server does beside plain changes: connections that end in the middle, rows taken back, statements, compression,
//! a reset under a running stream.

use serde_json::{Value, json};

use super::{on, on_every_server};
use crate::harness::{ALL, Job, Kind, Outcome, Server, until};

const MARIADB: [Kind; 2] = [Kind::MariaDb10, Kind::MariaDb11];

fn afters(job: &Job) -> Vec<Value> {
    job.events().iter().map(|event| event.after().clone()).collect()
}

/// Runs to the end, captures the schema `test` alone.
fn run(job: &Job) -> Outcome {
    job.start(&["--stop-at", "end"]).wait()
}

fn of_test(server: &Server) -> Job {
    Job::new(server).set("connectorConfig.tableIncludeList", r#"["test.*"]"#)
}

/// A procedure that ends a connection, if it is still there.
const KILLER: &str = "\nDELIMITER //\nCREATE PROCEDURE mysql.end_it(IN id BIGINT) BEGIN DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END; KILL id; END //\nDELIMITER ";

#[test]
fn a_connection_lost_inside_a_transaction_costs_and_repeats_no_row() {
    on_every_server(|server| {
        server.run(&format!("CREATE DATABASE test;{KILLER}"));
        server.run("CREATE TABLE test.t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(300)); CREATE TABLE test.u LIKE test.t");
        let job = Job::new(server);
        let flowd = job.start(&[]);
        let mut sql = server.sql();
        sql.run("USE test; INSERT INTO t (v) VALUES (REPEAT('x', 290))");
        let doublings = ["INSERT INTO u (v) SELECT v FROM t; INSERT INTO t (v) SELECT v FROM u"; 10];
        sql.run(&format!("BEGIN; {}; COMMIT", doublings.join("; ")));
        let written = |sql: &mut crate::harness::Sql| {
            let rows = sql.run("SELECT (SELECT COUNT(*) FROM test.t) + (SELECT COUNT(*) FROM test.u)");
            rows[0][0].parse::<usize>().unwrap()
        };
        for _ in 0..6 {
            let threads = "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'";
            for row in server.run(threads) {
                server.run(&format!("CALL mysql.end_it({})", row[0]));
            }
            sql.run("BEGIN; INSERT INTO u (v) SELECT v FROM t LIMIT 3000; COMMIT");
        }
        let count = written(&mut sql);

        let events = job.wait_for_events(count);
        flowd.signal("TERM");
        flowd.wait().expect_code(0);

        let mut ids: Vec<&str> = events.iter().map(|event| event.id()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((events.len(), ids.len()), (count, count));
    });
}

#[test]
fn rows_taken_back_to_a_savepoint_never_arrive_though_the_binlog_holds_them() {
    // A change of a table without transactions cannot be taken back: the binlog then keeps the whole transaction.
    on(&MARIADB, &[], |server| {
        let mut sql = server.sql();
        sql.run("CREATE DATABASE test; USE test; CREATE TABLE t (id INT PRIMARY KEY); CREATE TABLE m (id INT PRIMARY KEY) ENGINE=MyISAM");
        sql.run("BEGIN; INSERT INTO t VALUES (1); SAVEPOINT `a b`; INSERT INTO t VALUES (2); INSERT INTO m VALUES (3)");
        sql.run("ROLLBACK TO `a b`; INSERT INTO t VALUES (4); COMMIT");

        let job = Job::new(server);
        job.catch_up();

        let ids: Vec<i64> = job.events().iter().map(|event| event.after()["id"].as_i64().unwrap()).collect();
        assert_eq!(ids, [3, 1, 4]);
    });
}

#[test]
fn a_change_logged_as_its_statement_stops_wherever_it_was_made() {
    on_every_server(|server| {
        let mut sql = server.sql();
        sql.run("CREATE DATABASE test; CREATE DATABASE other; CREATE TABLE test.t (id INT); CREATE TABLE other.t (id INT)");
        sql.run("USE other; SET SESSION binlog_format = STATEMENT; INSERT INTO t VALUES (1)");
        let job = of_test(server);
        run(&job).expect_code(0);

        sql.run("INSERT INTO test.t VALUES (2)");
        let outcome = run(&job);

        outcome.expect_code(4);
        outcome.expect_log("binlog_format=ROW");
        assert_eq!(afters(&job), Vec::<Value>::new());
    });
}

#[test]
fn compression_stops_the_stream_where_a_captured_table_is_concerned() {
    on(&MARIADB, &["--log-bin-compress=ON"], |server| {
        let mut sql = server.sql();
        sql.run("CREATE DATABASE test; CREATE DATABASE other");
        sql.run("CREATE TABLE test.t (id INT, v VARCHAR(999)); CREATE TABLE other.t LIKE test.t");
        sql.run(&format!("ALTER TABLE test.t COMMENT '{}'", "long ".repeat(100)));
        sql.run("INSERT INTO other.t VALUES (1, REPEAT('x', 900)); INSERT INTO test.t VALUES (1, 'short')");
        let job = of_test(server);
        run(&job).expect_code(0);
        assert_eq!(afters(&job), [json!({"id": 1, "v": "short"})]);

        sql.run("INSERT INTO test.t VALUES (2, REPEAT('x', 900))");
        let outcome = run(&job);

        outcome.expect_code(4);
        outcome.expect_log("log_bin_compress=OFF");
    });
    on(&ALL[2..], &["--binlog-transaction-compression=ON"], |server| {
        let job = of_test(server);
        run(&job).expect_code(0);
        server.run("CREATE DATABASE test; CREATE TABLE test.t (id INT); INSERT INTO test.t VALUES (1)");
        let outcome = run(&job);

        outcome.expect_code(4);
        outcome.expect_log("binlog_transaction_compression=OFF");
    });
}

#[test]
fn a_reset_under_a_running_stream_ends_it() {
    on_every_server(|server| {
        server.run(
            "CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY); INSERT INTO test.t VALUES (1)",
        );
        let job = Job::new(server);
        let flowd = job.start(&[]);
        job.wait_for_events(1);
        until("the stream to be asked for its place", || (server.dump_threads() > 0).then_some(()));

        let reset = if server.kind.is_mysql() { "RESET BINARY LOGS AND GTIDS" } else { "RESET MASTER" };
        server.run(reset);
        let outcome = flowd.wait();

        outcome.expect_code(3);
        outcome.expect_log("reset");
    });
}

#[test]
fn a_key_column_that_is_left_out_is_refused_before_anything_is_read() {
    on_every_server(|server| {
        server.run("CREATE DATABASE test; CREATE TABLE test.t (a INT, b INT, c INT, PRIMARY KEY (a, b)); INSERT INTO test.t VALUES (1, 2, 3)");
        let excluding = |list: &str| of_test(server).set("connectorConfig.columnExcludeList", list);
        run(&excluding(r#"["test.t.c", "other.t.b"]"#)).expect_code(0);

        let job = excluding(r#"["test.*.b"]"#);
        let outcome = run(&job);

        outcome.expect_code(2);
        outcome.expect_log("test.t.b, which is part of the primary key");
        assert_eq!(job.events().len(), 0);

        // With a unique key alone, or a table that comes later, the first row tells.
        server.run("CREATE DATABASE late; CREATE TABLE late.u (a INT NOT NULL UNIQUE); INSERT INTO late.u VALUES (1)");
        let job = Job::new(server)
            .set("connectorConfig.tableIncludeList", r#"["late.*"]"#)
            .set("connectorConfig.columnExcludeList", r#"["late.u.a"]"#);
        let outcome = run(&job);

        outcome.expect_code(4);
        outcome.expect_log("part of the key");
    });
}

#[test]
fn a_statement_whose_trigger_changes_a_captured_schema_stops_too() {
    // MariaDB does not say which schemas a statement changed.
    on(&ALL[2..], &[], |server| {
        let mut sql = server.sql();
        sql.run("CREATE DATABASE test; CREATE DATABASE other; CREATE TABLE test.t (id INT); CREATE TABLE other.t (id INT)");
        sql.run(
            "CREATE TRIGGER other.g AFTER INSERT ON other.t FOR EACH ROW INSERT INTO test.t VALUES (NEW.id)",
        );
        sql.run("USE other; SET SESSION binlog_format = STATEMENT; INSERT INTO t VALUES (1)");

        let outcome = run(&of_test(server));

        outcome.expect_code(4);
        outcome.expect_log("binlog_format=ROW");
    });
}

#[test]
fn an_earliest_start_does_not_pass_over_transactions_from_before_gtids_were_switched_on() {
    on(&[Kind::MySql9], &["--gtid-mode=OFF", "--enforce-gtid-consistency=ON"], |server| {
        server.run(
            "CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY); INSERT INTO test.t VALUES (1)",
        );
        server.run("SET GLOBAL gtid_mode=OFF_PERMISSIVE; INSERT INTO test.t VALUES (2)");
        server.run("SET GLOBAL gtid_mode=ON_PERMISSIVE; INSERT INTO test.t VALUES (3)");
        let job = of_test(server).set("pipeline.startAt", "earliest");

        run(&job).expect_code(0);

        let ids: Vec<i64> = job.events().iter().map(|event| event.after()["id"].as_i64().unwrap()).collect();
        assert_eq!(ids, [1, 2, 3]);

        // From here on the server itself hands out no transaction without GTID: that is said, not passed over.
        server.run("SET GLOBAL gtid_mode=ON; INSERT INTO test.t VALUES (4)");
        run(&job).expect_code(0);
        assert_eq!(job.events().len(), 4);
        let anew = of_test(server).set("pipeline.startAt", "earliest");
        run(&anew).expect_code(3).expect_log("anonymous transaction");
        assert!(anew.events().iter().next().is_none());
    });
}
