//! A snapshot asks for nothing but to read: rights, statements, locks.

use std::collections::BTreeMap;

use crate::harness::{Job, Server, until};
use crate::suite::on_every_server;

/// Counters of statements that change or stop something on a server. `Com_flush` and `Com_lock_tables` are among them.
const HARMFUL: &str = "'Com_flush','Com_lock_tables','Com_lock_instance','Com_backup','Com_backup_lock','Com_insert','Com_insert_select',\
     'Com_update','Com_update_multi','Com_delete','Com_delete_multi','Com_replace','Com_create_table','Com_create_db','Com_drop_table',\
     'Com_alter_table','Com_truncate','Com_create_temporary_table','Com_set_password','Com_grant','Com_load','Com_call_procedure'";

fn counters(server: &Server) -> BTreeMap<String, String> {
    let rows = server.run(&format!("SHOW GLOBAL STATUS WHERE Variable_name IN ({HARMFUL})"));
    rows.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect()
}

fn fill(server: &Server) {
    let mut sql = server.sql();
    sql.run("CREATE DATABASE test; USE test; CREATE TABLE t (id INT PRIMARY KEY, note VARCHAR(99)); CREATE TABLE bare (a INT)");
    let values: Vec<String> = (0..2000).map(|id| format!("({id}, 'row {id}')")).collect();
    sql.run(&format!("INSERT INTO t VALUES {}; INSERT INTO bare SELECT id FROM t", values.join(",")));
}

#[test]
fn select_and_replication_grants_are_enough_and_nothing_is_written_flushed_or_locked() {
    on_every_server(|server| {
        fill(server);
        server.run(
            "CREATE USER 'reader'@'%' IDENTIFIED BY 'reader'; GRANT SELECT ON test.* TO 'reader'@'%';
             GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'reader'@'%'",
        );
        let job = Job::snapshotting(server)
            .set("connectorConfig.tableIncludeList", "[\"test.*\"]")
            .set("connectorConfig.user", "reader")
            .set("connectorConfig.password", "reader");
        job.command(&["check"]).expect_code(0);
        let log = job.path("general.log").display().to_string();
        server.run(&format!("SET GLOBAL general_log_file = '{log}', general_log = ON"));
        let (before, place) = (counters(server), server.position());

        job.catch_up();

        assert_eq!(job.events().len(), 4000);
        assert!(before.len() > 15, "{before:?}");
        assert_eq!(counters(server), before);
        assert_eq!(server.position(), place, "something was written");
        let log = std::fs::read_to_string(log).unwrap();
        assert!(log.contains("`test`.`t`"), "the log does not tell what is read: {log}");
        let words = [
            "flush ",
            "lock table",
            "lock instance",
            "backup ",
            "insert ",
            "update ",
            "delete ",
            "create ",
            "for share",
            "for update",
        ];
        for line in log.lines().filter(|line| !line.to_lowercase().contains("show create")) {
            let line = line.to_lowercase();
            for word in words {
                assert!(!line.contains(word), "{word} in {line}");
            }
        }
    });
}

#[test]
fn writers_do_not_wait_for_a_snapshot_that_stands_still() {
    on_every_server(|server| {
        fill(server);
        let job = Job::snapshotting(server).set("connectorConfig.tableIncludeList", "[\"test.*\"]");
        let flowd = job.start(&["--connectorConfig.snapshotRowsPerSecond=200"]);
        until("some of it to be read", || (job.lines() > 0).then_some(()));
        flowd.signal("STOP");
        let mut sql = server.sql();
        let variable = if server.kind.is_mysql() { "innodb_lock_wait_timeout" } else { "lock_wait_timeout" };
        sql.run(&format!("SET SESSION {variable} = 5"));
        sql.run("UPDATE test.t SET note = 'changed'; DELETE FROM test.t WHERE id >= 1000; INSERT INTO test.t VALUES (5000, 'new'); DELETE FROM test.bare");
        flowd.signal("CONT");
        flowd.kill();
        job.catch_up();
    });
}
