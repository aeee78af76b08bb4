//! Large events, large transactions, a target that stands still: memory stays bounded and the position is kept.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::on;
use crate::harness::{ALL, Event, Events, Flowd, Job, Kind, Mesh, Server};

const MIB: u64 = 1 << 20;

/// What the process needs beside its buffers: code, RocksDB, thread stacks, the allocator's slack.
const PROCESS: u64 = 64 * MIB;

const TABLE: &str = "CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY, b LONGBLOB)";

/// One transaction of `rows` rows of `bytes` bytes.
fn fill(server: &Server, rows: usize, bytes: usize) {
    let mut sql = server.sql();
    sql.run("BEGIN");
    for first in (0..rows).step_by(1000) {
        let values: Vec<String> =
            (first..rows.min(first + 1000)).map(|id| format!("({id},REPEAT('x',{bytes}))")).collect();
        sql.run(&format!("INSERT INTO test.t VALUES {}", values.join(",")));
    }
    sql.run("COMMIT");
}

/// Watches the peak until the end of the run.
fn peak_until_end(mut flowd: Flowd) -> (crate::harness::Outcome, u64) {
    let mut peak = 0;
    let deadline = Instant::now() + Duration::from_secs(180);
    while flowd.is_running() {
        assert!(Instant::now() < deadline, "flowd does not end: {}", flowd.log());
        peak = flowd.peak_rss().unwrap_or(peak).max(peak);
        std::thread::sleep(Duration::from_millis(20));
    }
    (flowd.wait(), peak)
}

#[test]
fn an_event_over_sixteen_mebibytes_arrives_whole() {
    let huge = ["--binlog-row-event-max-size=268435456", "--max-allowed-packet=268435456"];
    on(&ALL, &huge, |server| {
        server.run(TABLE);
        fill(server, 1000, 20_000);

        let job = Job::new(server);
        job.catch_up();

        let events = job.events();
        assert_eq!(events.first_occurrences().len(), 1000);
        // 20,000 times 'x' in base64 is a third longer.
        assert!(
            events.iter().all(|event| event.after()["b"].as_str().is_some_and(|text| text.len() == 26_668))
        );
    });
}

#[test]
fn an_event_too_large_for_the_memory_follows_on_reject() {
    on(&ALL, &["--max-allowed-packet=268435456"], |server| {
        server.run(TABLE);
        server.run("INSERT INTO test.t VALUES (1, 'a'); INSERT INTO test.t VALUES (2, REPEAT('x', 20000000)); INSERT INTO test.t VALUES (3, 'b')");

        let stopped = Job::new(server).set("pipeline.memory", "64MiB");
        stopped.start(&["--stop-at", "end"]).wait().expect_code(4).expect_log("memory").expect_log("test.t");
        assert!(ids(&stopped.events()).iter().all(|&id| id == 1), "it went on behind the reject");

        let job = Job::new(server).set("pipeline.memory", "64MiB").set("pipeline.onReject", "deadLetter");
        let letters = job.path("dead.jsonl");
        let job = job.set("pipeline.deadLetterFile", &letters.display().to_string());
        job.catch_up();
        let events = job.events();
        assert_eq!(ids(&events), [1, 3]);
        let markers = events.iter().filter(|event| event.json["type"] == "flowd.rejected").count();
        assert_eq!((markers, events.0.len()), (1, 3), "a marker takes the rejected event's number");
        let letters = std::fs::read_to_string(letters).unwrap();
        assert_eq!(letters.lines().count(), 1, "{letters}");
        let letter: serde_json::Value = serde_json::from_str(letters.trim_end()).unwrap();
        assert!(letter["reason"].as_str().is_some_and(|reason| reason.contains("memory")), "{letter}");
        assert!(letter["file"].is_string() && letter["pos"].is_u64(), "{letter}");
    });
}

fn ids(events: &Events) -> Vec<i64> {
    events.iter().filter_map(|event| event.after()["id"].as_i64()).collect()
}

#[test]
fn a_transaction_larger_than_the_memory_passes_through_it() {
    on(&[Kind::MariaDb11, Kind::MySql9], &["--max-allowed-packet=268435456"], |server| {
        server.run(TABLE);
        fill(server, 40_000, 4000);

        let job = Job::new(server).set("pipeline.memory", "32MiB");
        let (outcome, peak) = peak_until_end(job.start(&["--stop-at", "end"]));

        outcome.expect_code(0);
        assert!(peak < 32 * MIB + PROCESS, "peak memory was {} MiB", peak / MIB);
        let text = std::fs::read_to_string(job.path("events.jsonl")).unwrap();
        assert_eq!(text.lines().count(), 40_000);
    });
}

#[test]
fn a_mesh_that_stands_still_costs_neither_the_position_nor_memory() {
    on(
        &[Kind::MariaDb11, Kind::MySql9],
        &["--net-write-timeout=2", "--max-allowed-packet=268435456"],
        |server| {
            server.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY, b LONGTEXT)");
            let mesh = Mesh::start();
            let job = Job::new(server).publishing_to(&mesh).set("pipeline.memory", "32MiB");
            let mut flowd = job.start(&[]);
            crate::harness::until("flowd to follow the binlog", || {
                (server.dump_threads() == 1).then_some(())
            });
            mesh.signal("STOP");
            fill(server, 20_000, 4000);

            // Four times the server's patience, watched all along.
            let end = Instant::now() + Duration::from_secs(8);
            while Instant::now() < end {
                assert!(flowd.is_running(), "flowd gave up: {}", flowd.log());
                let peak = flowd.peak_rss().unwrap_or(0);
                assert!(peak < 32 * MIB + PROCESS, "peak memory is {} MiB", peak / MIB);
                std::thread::sleep(Duration::from_millis(50));
            }
            mesh.signal("CONT");

            // What the mesh did not answer in time comes twice.
            let events = mesh.read("test.t", |events| {
                events.len() >= 20_000 && events.iter().map(Event::id).collect::<HashSet<_>>().len() == 20_000
            });
            assert_eq!(events.first_occurrences().len(), 20_000);
            flowd.signal("TERM");
            flowd.wait().expect_code(0);
        },
    );
}

#[test]
fn idle_costs_no_processor_time() {
    on(&[Kind::MariaDb11], &[], |server| {
        server.run(TABLE);
        let job = Job::new(server);
        let flowd = job.start(&[]);
        crate::harness::until("flowd to follow the binlog", || (server.dump_threads() == 1).then_some(()));
        let (begin, ticks) = (Instant::now(), flowd.cpu_ticks());
        while begin.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(100));
        }
        // A tick is 10 ms: one per cent of five seconds is five ticks.
        let used = flowd.cpu_ticks() - ticks;
        assert!(used <= 5, "{used} ticks of 10 ms in 5 s");
    });
}
