//! What a start refuses, with which exit code, and what it says.

use std::time::{Duration, Instant};

use super::{on, on_every_server};
use crate::harness::{ALL, Flowd, Job, Kind, Server, free_port, until};

#[test]
fn a_wrong_configuration_is_told_with_key_and_line_before_anything_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let refuse = |yaml: &str, said: &[&str]| {
        let file = directory.path().join("flowd.yaml");
        std::fs::write(&file, yaml).unwrap();
        let file = file.display().to_string();
        let outcome =
            Flowd::launch(directory.path(), &["--connector", "mysql-cdc", "--config", &file]).wait();
        outcome.expect_code(2);
        for text in said {
            outcome.expect_log(text);
        }
        assert!(!directory.path().join("state").exists(), "the registry was opened");
    };
    let base = "connectorConfig:\n  connectorName: orders\n  hostname: 127.0.0.1\n  user: cdc\n";
    let storage = "offsetStorageConfig:\n  offsetStorageAddr: ./state\n";
    refuse("connectorConfig:\n  hostname: h\n  user: u\n", &["connectorName"]);
    refuse("connectorConfig:\n  connectorName: n\n  user: u\n", &["hostname"]);
    refuse(&format!("{base}  prot: 3306\n{storage}"), &["prot", "port", "5"]);
    refuse(&format!("{base}  port: many\n{storage}"), &["port", "many", "5"]);
    refuse(&format!("{base}  sslMode: maybe\n{storage}"), &["sslMode", "maybe", "verify-ca", "5"]);
    refuse(&format!("{base}  password: ${{FLOWD_TEST_UNSET}}\n{storage}"), &["password", "FLOWD_TEST_UNSET"]);
    refuse(
        &format!("{base}  password: file:/nonexistent/secret\n{storage}"),
        &["password", "/nonexistent/secret"],
    );
    refuse(&format!("{base}  snapshotMode: sometimes\n{storage}"), &["snapshotMode", "never"]);
    refuse(&format!("{base}  slaveId: 3\n{storage}"), &["slaveId", "serverId"]);
    refuse(&format!("{base}pipeline:\n  memory: lots\n{storage}"), &["memory", "lots", "6"]);
    refuse(&format!("{base}pipeline:\n  order: sometimes\n{storage}"), &["order", "sometimes", "total"]);
    refuse(&format!("{base}offsetStorageConfig:\n  offsetStorageType: nacos\n"), &["nacos", "rocksdb"]);
    refuse("connectorConfig: [\n", &["flowd.yaml"]);
}

#[test]
fn a_secret_is_never_printed() {
    on(&[Kind::MariaDb11], &[], |server| {
        let job =
            Job::new(server).set("connectorConfig.password", "correct-horse").set("pipeline.startMs", "0");
        let outcome = job.start(&[]).wait();
        outcome.expect_code(3);
        assert!(!outcome.log.contains("correct-horse"), "{}", outcome.log);
    });
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    on(&[Kind::MariaDb11], &[], |server| {
        let port = format!("--connectorConfig.port={}", server.port);
        let job = Job::new(server).set("connectorConfig.port", "1");
        job.start(&[&port, "--stop-at", "end"]).wait().expect_code(0);
    });
}

#[test]
fn refused_credentials_end_the_start_at_once() {
    on_every_server(|server| {
        let job = Job::new(server).set("connectorConfig.password", "wrong");
        let begin = Instant::now();
        job.start(&[]).wait().expect_code(3).expect_log("cdc");
        assert!(begin.elapsed() < Duration::from_secs(15), "it was retried for {:?}", begin.elapsed());
    });
}

#[test]
fn missing_grants_end_the_start_with_the_statement_that_mends_it() {
    on_every_server(|server| {
        server.run("CREATE USER 'poor'@'%' IDENTIFIED BY 'poor'; GRANT SELECT ON *.* TO 'poor'@'%'");
        let job =
            Job::new(server).set("connectorConfig.user", "poor").set("connectorConfig.password", "poor");
        job.start(&[]).wait().expect_code(3).expect_log("GRANT").expect_log("REPLICATION SLAVE");
        let check = job.command(&["check"]);
        check.expect_code(3);
        assert!(check.stdout.contains("GRANT"), "{}", check.stdout);
    });
}

#[test]
fn check_passes_on_a_server_that_has_everything() {
    on_every_server(|server| {
        Job::new(server).command(&["check"]).expect_code(0);
    });
}

#[test]
fn check_names_what_the_server_lacks() {
    let refused = |kinds: &[Kind], arguments: &[&str], said: &str| {
        on(kinds, arguments, |server| {
            let outcome = Job::new(server).command(&["check"]);
            outcome.expect_code(3);
            assert!(outcome.stdout.contains(said), "no {said} in: {}", outcome.stdout);
        });
    };
    refused(&ALL, &["--skip-log-bin"], "log_bin");
    refused(&ALL, &["--binlog-format=STATEMENT"], "binlog_format");
    on(&ALL, &["--binlog-row-metadata=MINIMAL"], |server| {
        let outcome = Job::new(server).command(&["check"]);
        outcome.expect_code(0);
        assert!(outcome.stdout.contains("binlog_row_metadata"), "{}", outcome.stdout);
    });
}

#[test]
fn an_unreachable_server_is_retried_for_start_ms() {
    on(&[Kind::MariaDb11], &[], |server| {
        let job = Job::new(server)
            .set("connectorConfig.port", &free_port().to_string())
            .set("pipeline.startMs", "1500");
        let begin = Instant::now();
        job.start(&[]).wait().expect_code(3).expect_log("127.0.0.1");
        assert!(begin.elapsed() >= Duration::from_millis(1400), "it gave up after {:?}", begin.elapsed());

        let job = Job::new(server)
            .set("pipeline.target", "mesh")
            .set("pubSubConfig.meshAddress", &format!("127.0.0.1:{}", free_port()));
        let job = job.set("pipeline.startMs", "0");
        job.start(&[]).wait().expect_code(3);
    });
}

#[test]
fn a_second_flowd_on_the_same_registry_is_refused() {
    on(&[Kind::MariaDb11], &[], |server| {
        let job = Job::new(server);
        let first = job.start(&[]);
        until("the first to follow the binlog", || (server.dump_threads() == 1).then_some(()));
        job.start(&[]).wait().expect_code(3).expect_log("state");
        first.signal("TERM");
        first.wait().expect_code(0);
    });
}

#[test]
fn another_holder_of_the_server_id_is_named() {
    on_every_server(|server| {
        let job = |name: &str| {
            let target = Job::new(server);
            target.set("connectorConfig.connectorName", name).set("connectorConfig.serverId", "5400")
        };
        let (one, two) = (job("one"), job("two"));
        let mut first = one.start(&[]);
        until("the first to follow the binlog", || (server.dump_threads() == 1).then_some(()));
        let mut second = two.start(&[]);
        // Who sees the clash first depends on what the server tells; one of them must end, and say why.
        until("one of the two to give up", || (!first.is_running() || !second.is_running()).then_some(()));
        let loser = if first.is_running() { second } else { first };
        loser.wait().expect_code(3).expect_log("5400");
    });
}

#[test]
fn a_dump_thread_left_by_a_killed_flowd_is_no_clash() {
    on_every_server(|server: &mut Server| {
        server.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY)");
        let job = Job::new(server).set("connectorConfig.serverId", "5400");
        for id in 1..=4 {
            let flowd = job.start(&[]);
            server.run(&format!("INSERT INTO test.t VALUES ({id})"));
            // A kill before the checkpoint makes an event come again: only first occurrences count.
            until("the new event", || (job.events().first_occurrences().len() == id).then_some(()));
            flowd.kill();
        }
    });
}
