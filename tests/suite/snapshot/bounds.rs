//! What a snapshot may cost: memory whatever the table's size, and no more of the source than it is given.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::harness::{Event, Events, Flowd, Job, Kind, Mesh, Metrics, Server, until};
use crate::suite::{on, on_every_server};

const MIB: u64 = 1 << 20;
/// What the process needs beside its buffers: code, RocksDB, connections, thread stacks.
const PROCESS: u64 = 48 * MIB;
const LARGE: [&str; 1] = ["--max-allowed-packet=268435456"];

/// Rows of 20 kB, every eighth of 1 MiB.
fn fill(server: &Server, table: &str, rows: usize) {
    let mut sql = server.sql();
    sql.run("CREATE DATABASE IF NOT EXISTS test");
    sql.run(&format!("CREATE TABLE test.{table} (id INT PRIMARY KEY, b LONGTEXT CHARACTER SET latin1)"));
    for id in 0..rows {
        let bytes = if id % 8 == 0 { MIB } else { 20_000 };
        sql.run(&format!("INSERT INTO test.{table} VALUES ({id}, REPEAT('x', {bytes}))"));
    }
    sql.run(&format!("ANALYZE NO_WRITE_TO_BINLOG TABLE test.{table}"));
}

fn small_rows(server: &Server, rows: usize) {
    let mut sql = server.sql();
    sql.run(
        "CREATE DATABASE IF NOT EXISTS test; CREATE TABLE test.small (id INT PRIMARY KEY, pad VARCHAR(99))",
    );
    let values: Vec<String> = (0..rows).map(|id| format!("({id}, REPEAT('p', 90))")).collect();
    sql.run(&format!(
        "INSERT INTO test.small VALUES {}; ANALYZE NO_WRITE_TO_BINLOG TABLE test.small",
        values.join(",")
    ));
}

fn of(server: &Server, table: &str) -> Job {
    Job::snapshotting(server).set("connectorConfig.tableIncludeList", &format!("[\"test.{table}\"]"))
}

/// Watches the peak until the end of the run, which must be a good one.
fn peak_until_end(mut flowd: Flowd) -> u64 {
    let mut peak = 0;
    let deadline = Instant::now() + Duration::from_secs(120);
    while flowd.is_running() {
        assert!(Instant::now() < deadline, "flowd does not end: {}", flowd.log());
        peak = flowd.peak_rss().unwrap_or(peak).max(peak);
        std::thread::sleep(Duration::from_millis(5));
    }
    flowd.wait().expect_code(0);
    peak
}

#[test]
fn memory_is_bounded_and_does_not_grow_with_the_table() {
    on(&[Kind::MariaDb11, Kind::MySql9], &LARGE, |server| {
        fill(server, "one", 120);
        fill(server, "four", 480);
        let peak = |table: &str, rows: usize| {
            let job = of(server, table).set("pipeline.memory", "16MiB").unset("connectorConfig.chunkBytes");
            let peak = peak_until_end(job.start_frugal(&["--stop-at", "end"]));
            assert_eq!(job.lines(), rows);
            assert!(peak < 16 * MIB + PROCESS, "peak memory was {} MiB", peak / MIB);
            peak
        };
        let (one, four) = (peak("one", 120), peak("four", 480));
        assert!(four < one + 8 * MIB, "{} MiB, and {} MiB for four times as much", one / MIB, four / MIB);
    });
}

/// What may be resident with the settings that nobody wrote, bytes.
const DEFAULT_PEAK: u64 = 128 * MIB;

#[test]
fn with_default_settings_a_snapshot_stays_under_128_mib_while_the_mesh_stands_still() {
    on(&[Kind::MariaDb11, Kind::MySql9], &LARGE, |server| {
        let mut sql = server.sql();
        sql.run("CREATE DATABASE IF NOT EXISTS test; CREATE TABLE test.wide (id INT AUTO_INCREMENT PRIMARY KEY, b TEXT)");
        sql.run("INSERT INTO test.wide (b) VALUES (REPEAT('x', 1000))");
        for _ in 0..17 {
            sql.run("INSERT INTO test.wide (b) SELECT b FROM test.wide");
        }
        sql.run("ANALYZE NO_WRITE_TO_BINLOG TABLE test.wide");
        let mesh = Mesh::start();
        let job = of(server, "wide").publishing_to(&mesh).unset("connectorConfig.chunkBytes");
        let flowd = job.start(&[]);
        until("the snapshot to begin", || (job.position()["snapshot"]["rows"].as_u64()? > 0).then_some(()));
        mesh.signal("STOP");
        let end = Instant::now() + Duration::from_secs(4);
        while Instant::now() < end {
            let peak = flowd.peak_rss().expect("flowd runs");
            assert!(peak < DEFAULT_PEAK, "peak memory is {} MiB", peak / MIB);
            std::thread::sleep(Duration::from_millis(20));
        }
        let rows = job.position()["snapshot"]["rows"].as_u64();
        assert!(rows < Some(1 << 17), "every row is there: nothing had to wait");
        mesh.signal("CONT");
    });
}

/// Readers, and tables for them.
const READERS: usize = 16;

#[test]
fn rows_far_larger_than_a_chunk_are_held_one_at_a_time_by_all_readers_together() {
    on(&[Kind::MariaDb11, Kind::MySql9], &LARGE, |server| {
        let mut sql = server.sql();
        sql.run("CREATE DATABASE IF NOT EXISTS test");
        // A table for each reader, each row just under the quarter of the memory above which it would be rejected.
        for table in 0..READERS {
            sql.run(&format!(
                "CREATE TABLE test.large{table} (id INT PRIMARY KEY, b LONGTEXT CHARACTER SET latin1)"
            ));
            for id in 0..3 {
                sql.run(&format!("INSERT INTO test.large{table} VALUES ({id}, REPEAT('x', 3500000))"));
            }
            sql.run(&format!("ANALYZE NO_WRITE_TO_BINLOG TABLE test.large{table}"));
        }
        let peak = |parallelism: usize| {
            let job = of(server, "large*")
                .set("pipeline.memory", "16MiB")
                .set("connectorConfig.parallelism", &parallelism.to_string())
                .unset("connectorConfig.chunkBytes");
            let peak = peak_until_end(job.start_frugal(&["--stop-at", "end"]));
            assert_eq!(job.events().first_occurrences().len(), 3 * READERS);
            peak
        };
        let (one, many) = (peak(1), peak(READERS));
        // Each reader has a thread, a connection and buffers of its own, but not a row.
        let bound = one + READERS as u64 * MIB;
        assert!(many < bound, "{} MiB by one reader, {} MiB by {READERS}", one / MIB, many / MIB);
    });
}

/// Of every eight rows one of 3.5 MB, in two tables; the second has a key only if asked for.
fn mixed_rows(server: &Server, second_key: &str) {
    let mut sql = server.sql();
    sql.run("CREATE DATABASE IF NOT EXISTS test");
    for (table, key) in [("keyed", "PRIMARY KEY"), ("other", second_key)] {
        sql.run(&format!("CREATE TABLE test.{table} (id INT {key}, b LONGTEXT CHARACTER SET latin1)"));
        for id in 0..32 {
            let bytes = if id % 8 == 3 { 3_500_000 } else { 100 };
            sql.run(&format!("INSERT INTO test.{table} VALUES ({id}, REPEAT('x', {bytes}))"));
        }
        sql.run(&format!("ANALYZE NO_WRITE_TO_BINLOG TABLE test.{table}"));
    }
}

fn every_mixed_row_arrives(job: Job) {
    let job = job.set("pipeline.memory", "16MiB").set("connectorConfig.parallelism", "8");
    job.catch_up();
    assert_eq!(job.events().first_occurrences().len(), 64);
}

#[test]
fn large_rows_of_a_table_without_key_wait_for_nobody() {
    on(&[Kind::MariaDb11, Kind::MySql9], &LARGE, |server| {
        mixed_rows(server, "");
        every_mixed_row_arrives(of(server, "*"));
    });
}

#[test]
fn large_rows_arrive_where_rows_are_read_under_locks() {
    let options = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF", LARGE[0]];
    on(&[Kind::MySql9], &options, |server| {
        mixed_rows(server, "PRIMARY KEY");
        every_mixed_row_arrives(of(server, "*").set("connectorConfig.snapshotForShare", "true"));
    });
}

#[test]
fn a_target_that_stands_still_costs_neither_rows_nor_memory() {
    on(
        &[Kind::MariaDb11, Kind::MySql9],
        &["--max-allowed-packet=268435456", "--net-write-timeout=2"],
        |server| {
            fill(server, "t", 160);
            let mesh = Mesh::start();
            let job = of(server, "t").publishing_to(&mesh).set("pipeline.memory", "16MiB");
            let mut flowd = job.start_frugal(&["--connectorConfig.snapshotRowsPerSecond=100"]);
            until("the snapshot to begin", || {
                (job.position()["snapshot"]["rows"].as_u64()? > 0).then_some(())
            });
            mesh.signal("STOP");
            // Three times the server's patience with a reader, watched all along.
            let end = Instant::now() + Duration::from_secs(6);
            while Instant::now() < end {
                assert!(flowd.is_running(), "flowd gave up: {}", flowd.log());
                let peak = flowd.peak_rss().unwrap_or(0);
                assert!(peak < 16 * MIB + PROCESS, "peak memory is {} MiB", peak / MIB);
                std::thread::sleep(Duration::from_millis(20));
            }
            mesh.signal("CONT");
            // What was sent before the mesh stood still is sent again, under the same ids.
            let distinct = |events: &Events| events.iter().map(Event::id).collect::<HashSet<_>>().len();
            mesh.read("test.t", |events| distinct(events) >= 160);
            flowd.signal("TERM");
            flowd.wait().expect_code(0);
        },
    );
}

#[test]
fn a_row_larger_than_a_chunk_is_its_own_chunk() {
    on_every_server(|server| {
        fill(server, "t", 24);
        let job = of(server, "t");
        job.catch_up();
        let chunks = job.position()["snapshot"]["chunks"].as_u64().unwrap();
        assert!((24..=36).contains(&chunks), "{chunks} chunks of 24 rows");
        assert_eq!(job.events().first_occurrences().len(), 24);
    });
}

#[test]
fn a_row_too_large_for_the_memory_follows_on_reject() {
    on(&[Kind::MariaDb11, Kind::MySql9], &LARGE, |server| {
        small_rows(server, 3);
        server.run("ALTER TABLE test.small ADD COLUMN b LONGTEXT; UPDATE test.small SET b = REPEAT('x', 9000000) WHERE id = 1");
        let job = of(server, "small").set("pipeline.memory", "16MiB");
        job.start(&["--stop-at", "end"]).wait().expect_code(4).expect_log("test.small").expect_log("memory");

        let job = of(server, "small").set("pipeline.memory", "16MiB").set("pipeline.onReject", "deadLetter");
        let letters = job.path("dead.jsonl");
        let job = job.set("pipeline.deadLetterFile", &letters.display().to_string());
        job.catch_up();
        let ids: Vec<i64> = job.events().iter().map(|event| event.after()["id"].as_i64().unwrap()).collect();
        assert_eq!(ids, [0, 2]);
        assert_eq!(std::fs::read_to_string(letters).unwrap().lines().count(), 1);
    });
}

#[test]
fn rows_and_bytes_a_second_are_kept_by_all_workers_together() {
    on_every_server(|server| {
        small_rows(server, 3000);
        // 3000 rows of about 100 bytes: three seconds each, less what the last reads are ahead.
        for limit in ["snapshotRowsPerSecond=1000", "snapshotBytesPerSecond=98KiB"] {
            let job = of(server, "small").set("connectorConfig.parallelism", "3");
            let begin = Instant::now();
            job.start(&["--stop-at", "end", &format!("--connectorConfig.{limit}")]).wait().expect_code(0);
            let took = begin.elapsed();
            assert!(took > Duration::from_secs(2), "{limit}: it took {took:?}");
            assert_eq!(job.lines(), 3000);
        }
    });
}

#[test]
fn reading_rests_while_the_source_is_busy_and_the_stream_goes_on() {
    on_every_server(|server| {
        small_rows(server, 3000);
        server.run("CREATE TABLE test.other (id INT PRIMARY KEY)");
        let job = Job::snapshotting(server)
            .set("connectorConfig.tableIncludeList", "[\"test.*\"]")
            .set("connectorConfig.snapshotMaxRunning", "9")
            .set("connectorConfig.snapshotRowsPerSecond", "2000");
        let metrics = Metrics::new();
        let busy = "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'DO GET_LOCK%'";
        let mut holder = server.sql();
        holder.run("SELECT GET_LOCK('busy', 0)");
        std::thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| server.run("DO GET_LOCK('busy', 55)"));
            }
            until("the source to be busy", || (server.run(busy).len() == 12).then_some(()));
            let flowd = job.start(&["--metrics", &metrics.address]);
            metrics.wait_for("flowd_snapshot_paused", 1.0);
            server.run("INSERT INTO test.other VALUES (1)");
            let events = job.wait_for_events(1);
            assert_eq!(events.ops(), "c", "rows were read from a busy source");
            assert_eq!(metrics.value("flowd_snapshot_state"), Some(1.0));
            // One after the other gets it and ends.
            drop(holder);
            metrics.wait_for("flowd_snapshot_state", 2.0);
            assert_eq!(metrics.value("flowd_snapshot_paused"), Some(0.0));
            flowd.signal("TERM");
            flowd.wait().expect_code(0);
        });
        // `other` was read after the row had come: it comes again, or not.
        assert_eq!(job.events().of("small").len(), 3000);
    });
}

#[test]
fn reading_goes_on_at_the_least_bound_while_nobody_else_is_busy() {
    on_every_server(|server| {
        small_rows(server, 3000);
        let job = of(server, "small").set("connectorConfig.snapshotMaxRunning", "1");
        job.catch_up();
        assert_eq!(job.lines(), 3000);
    });
}
