//! What a server's defaults do to every session must not reach a snapshot: rows cut off, statements refused or ended,
//! transactions left open.

use crate::harness::{ALL, Job, Kind, until};
use crate::suite::{on, on_every_server};

/// A table with a key and one without, of `rows` rows each.
fn fill(server: &crate::harness::Server, rows: usize) {
    let values: Vec<String> = (0..rows).map(|id| format!("({id}, REPEAT('x', 200))")).collect();
    server.run("CREATE DATABASE test");
    for table in ["keyed (id INT PRIMARY KEY", "keyless (id INT"] {
        let name = table.split(' ').next().unwrap();
        server.run(&format!("CREATE TABLE test.{table}, pad VARCHAR(300))"));
        server.run(&format!("INSERT INTO test.{name} VALUES {}", values.join(",")));
    }
}

#[test]
fn every_row_is_read_whatever_the_servers_defaults_cut_off_or_refuse() {
    on_every_server(|server| {
        fill(server, 500);
        let kind = server.kind;
        server.run(
            "SET GLOBAL sql_select_limit = 100, GLOBAL max_join_size = 50, GLOBAL autocommit = 0, \
             GLOBAL completion_type = 1",
        );
        server.run(match kind.is_mysql() {
            true => "SET GLOBAL max_execution_time = 1",
            false => "SET GLOBAL max_statement_time = 0.001",
        });
        let job = Job::snapshotting(server);
        job.catch_up();
        let events = job.events();
        for table in ["keyed", "keyless"] {
            assert_eq!(events.of(table).len(), 500, "{table}");
        }
    });
}

/// How many sessions of ours the server runs.
fn sessions(server: &crate::harness::Server) -> usize {
    let count = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'cdc'";
    server.run(count)[0][0].parse().unwrap()
}

#[test]
fn a_table_that_is_locked_for_long_does_not_fill_the_server_with_sessions_of_ours() {
    on(&ALL, &[], |server| {
        fill(server, 500);
        let mut locker = server.sql();
        locker.run("LOCK TABLES test.keyed WRITE, test.keyless WRITE");
        let job = Job::snapshotting(server);
        let flowd = job.start(&["--stop-at", "end"]);
        // The server itself gives up the wait: nothing of an attempt is left when the next one begins.
        until("an attempt that the server has ended", || flowd.log().contains("1205").then_some(()));
        let most = sessions(server);
        locker.run("UNLOCK TABLES");
        flowd.wait().expect_code(0);
        assert!(most <= 7, "{most} sessions");
        assert_eq!(job.events().len(), 1000);
    });
}

#[test]
fn a_generated_primary_key_that_the_catalog_hides_by_default_is_the_key() {
    on(&[Kind::MySql9], &[], |server| {
        server.run(
            "SET GLOBAL sql_generate_invisible_primary_key = ON, \
             GLOBAL show_gipk_in_create_table_and_information_schema = OFF",
        );
        fill(server, 300);
        let job = Job::snapshotting(server);
        job.catch_up();
        server.run("UPDATE test.keyless SET pad = 'y' WHERE id = 7");
        job.catch_up();
        let events = job.events();
        let keyless = events.of("keyless");
        assert_eq!(keyless.len(), 301);
        let changed = keyless.0.last().unwrap();
        let read = keyless.iter().find(|event| event.after()["id"] == changed.after()["id"]).unwrap();
        assert_eq!((read.op(), changed.op()), ("r", "u"));
        assert_eq!(read.key(), changed.key());
        assert_eq!(read.after(), changed.before());
    });
}
