//! What the outside of a run shows: its metrics, its answers, its words about EventMesh's own keys.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use super::on;
use crate::harness::{ALL, Flowd, Job, Server, free_port, until};

const TABLE: &str =
    "CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY); INSERT INTO test.t VALUES (1), (2)";

/// The metrics page, once there is one.
fn page(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    Some(page)
}

#[test]
fn the_metrics_have_every_number_that_is_promised_in_prometheus_text() {
    on(&ALL[1..], &[], |server| {
        server.run(TABLE);
        server.run("CREATE TABLE test.gone (id INT); TRUNCATE TABLE test.gone");
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let job = Job::new(server).set("pipeline.checkpointMs", "50");
        let flowd = job.start(&["--metrics", &address]);
        let page = until("the metrics to tell of all", || {
            page(port)
                .filter(|page| page.contains("flowd_acks_total 3\n") && page.contains("flowd_lag_bytes 0\n"))
        });
        for sample in [
            "flowd_lag_seconds 0.",
            "flowd_rows_total{stage=\"read\"} 3",
            "flowd_rows_total{stage=\"acked\"} 3",
            "flowd_bytes_total{stage=\"emitted\"}",
            "flowd_ring_occupancy{ring=\"batches\"}",
            "flowd_in_flight_events 0",
            "flowd_retries_total 0",
            "flowd_checkpoint_age_seconds",
            "flowd_reconnects_total{side=\"source\"} 0",
            "flowd_ddl_total 3",
            "flowd_truncate_total 1",
            "flowd_rejects_total 0",
            "flowd_mesh_unanswered 0",
        ] {
            assert!(page.contains(&format!("\n{sample}")), "{sample} in {page}");
        }

        let other = Job::new(server).start(&["--metrics", &address]).wait();
        other.expect_code(3).expect_log("pipeline.metrics").expect_log(&address);
        flowd.signal("TERM");
        flowd.wait().expect_code(0);
    });
}

#[test]
fn keys_of_eventmeshs_files_that_mean_nothing_here_are_warned_of_once_each() {
    on(&ALL[1..2], &[], |server: &mut Server| {
        server.run(TABLE);
        let job = Job::new(server)
            .set("offsetStorageConfig.dataSourceType", "MYSQL")
            .set("offsetStorageConfig.extensions", "[]")
            .set("pollConfig.capacity", "1024");
        let outcome = job.start(&["--stop-at", "end"]).wait();
        outcome.expect_code(0);
        for key in ["offsetStorageConfig.dataSourceType", "offsetStorageConfig.extensions", "pollConfig"] {
            let lines = outcome.log.lines().filter(|line| line.contains(key) && line.contains("WARN"));
            assert_eq!(lines.count(), 1, "{key} in {}", outcome.log);
        }
        assert_eq!(job.events().len(), 2);

        // The same as JSON, all on one line.
        let json = format!(
            r#"{{"connectorConfig":{{"connectorName":"json","hostname":"127.0.0.1","port":{},"user":"cdc","password":"cdc"}},
            "pipeline":{{"target":"stdout","startAt":"earliest","stopAt":"end"}}}}"#,
            server.port
        );
        let path = job.path("flowd.json");
        std::fs::write(&path, json).unwrap();
        let path = path.display().to_string();
        let outcome = Flowd::launch(&job.path(""), &["--connector", "mysql-cdc", "--config", &path]).wait();
        outcome.expect_code(0);
        assert_eq!(outcome.stdout.lines().count(), 2, "{}", outcome.stdout);
    });
}

#[test]
fn a_reader_that_goes_away_ends_a_run_to_stdout_and_is_no_failure_of_an_answer() {
    on(&ALL[1..2], &[], |server: &mut Server| {
        server.run(TABLE);
        let job = Job::new(server).set("pipeline.target", "stdout");
        let config = job.path("flowd.yaml");
        std::fs::write(&config, job.yaml()).unwrap();
        let config = config.display().to_string();
        let code = |arguments: &[&str]| {
            let mut program = Command::new(env!("CARGO_BIN_EXE_flowd"));
            let program = program.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
            let mut child = program.stdout(Stdio::piped()).spawn().unwrap();
            drop(child.stdout.take());
            child.wait().unwrap().code()
        };
        assert_eq!(code(&["connectors"]), Some(0));
        assert_eq!(code(&["position", "--config", &config]), Some(0));
        assert_eq!(code(&["--connector", "mysql-cdc", "--config", &config]), Some(4));
    });
}
