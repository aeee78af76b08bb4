//! Snapshots into a database: what a run left under way, and tables without a key, of which nothing may come twice.

use super::{BOTH, sink, stop};
use crate::harness::{Counted, Event, Events, Flow, Flowd, Job, Mesh, Metrics, Server, publish, until};
use crate::suite::on;

const ROWS: usize = 1200;

/// A first start with a snapshot that takes its time.
fn slowly(job: Job) -> Job {
    job.unset("pipeline.startAt")
        .set("connectorConfig.snapshotMode", "initial")
        .set("connectorConfig.chunkBytes", "16KiB")
        .set("connectorConfig.parallelism", "1")
        .set("connectorConfig.snapshotRowsPerSecond", "400")
}

fn fill(server: &Server, table: &str, rows: usize) {
    let values: Vec<String> = (0..rows).map(|id| format!("({id}, 'row {id} of {table}')")).collect();
    server.run(&format!("INSERT INTO test.{table} VALUES {}", values.join(",")));
}

/// Writes down all that comes on a topic, whatever becomes of it.
fn recorder(mesh: &Mesh, topic: &str) -> (Job, Flowd) {
    let job = Job::sink("file-sink", &mesh.address(), topic).set("connectorConfig.connectorName", "recorder");
    let path = job.path("events.jsonl").display().to_string();
    let job = job.set("connectorConfig.path", &path);
    let running = job.start(&[]);
    until("the recorder to listen", || running.log().contains("listening").then_some(()));
    (job, running)
}

#[test]
fn rows_that_an_earlier_run_left_under_way_are_not_applied_over_what_has_changed_since() {
    on(&BOTH, &[], |server| {
        server.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY, s VARCHAR(40))");
        fill(server, "t", ROWS);
        let mut flow = Flow::beside(server, Mesh::start(), &["t"]).until_applied().source(slowly);
        let (record, recording) = recorder(&flow.mesh, "test.t");
        let mut sql = server.sql();
        let copying = sink(&flow);
        // It dies before a position says that it has read anything.
        let source = flow.source.start(&["--pipeline.checkpointMs=60000"]);
        until("some rows", || (count(&mut sql) >= 100).then_some(()));
        copying.kill();
        // Rows that the sink does not have, and a late copy of one of them.
        let applied = count(&mut sql);
        let row = until("rows that are under way", || {
            let events = record.events();
            events.iter().find(|event| id(event) >= applied + 50).map(|event| event.text.clone())
        });
        source.kill();
        stop(recording);
        flow.mesh.kill();
        flow.mesh.restart_empty();

        // The next run cannot read a row before the lock is gone: what it has of the table is the stream alone.
        let gone = id(&Events::parse(&format!("{row}\n")).0[0]);
        sql.run(&format!("LOCK TABLES test.t WRITE; DELETE FROM test.t WHERE id = {gone}"));
        let metrics = Metrics::new();
        let mut copying = flow.sink.start(&["--metrics", &metrics.address]);
        let source = flow.source.start(&["--connectorConfig.snapshotRowsPerSecond=1000000"]);
        let sequence = "SELECT MAX(sequence) FROM test_copy.flowd_applied";
        until("the delete to be applied", || {
            assert!(copying.is_running(), "the sink ended by itself: {}", copying.log());
            let applied = server.sql().run(sequence);
            applied[0][0].parse::<u64>().ok().filter(|sequence| *sequence > 0)
        });
        let seen = || metrics.value("flowd_sink_received_total").unwrap_or(0.0);
        let before = seen();
        publish(&flow.mesh, &[row]);
        until("the late row to be seen", || (seen() > before).then_some(()));
        sql.run("UNLOCK TABLES");
        stop_finished(source);
        flow.settle(&mut copying);
        stop(copying);
    });
}

/// Waits for the end of the snapshot.
fn stop_finished(source: Flowd) {
    until("the snapshot to end", || source.log().contains("the snapshot is finished").then_some(()));
    stop(source);
}

fn id(event: &Event) -> usize {
    event.after()["id"].as_u64().map_or(0, |id| usize::try_from(id).expect("small"))
}

fn count(sql: &mut crate::harness::Sql) -> usize {
    sql.run("SELECT COUNT(*) FROM test_copy.t")[0][0].parse().expect("a number")
}

#[test]
fn rows_of_a_table_without_a_key_arrive_once_although_they_change_before_they_are_read() {
    on(&BOTH, &[], |server| {
        server.run(
            "CREATE DATABASE test; CREATE TABLE test.a (id INT PRIMARY KEY, s VARCHAR(40));
             CREATE TABLE test.keyless (id INT, s VARCHAR(40))",
        );
        fill(server, "a", 800);
        fill(server, "keyless", 500);
        for is_applied in [false, true] {
            server.run("DROP DATABASE IF EXISTS test_copy");
            let mut flow = Flow::beside(server, Mesh::start(), &["a", "keyless"]).source(slowly);
            if is_applied {
                flow = flow.until_applied();
            }
            let counted = Counted::new(&mut server.sql(), "test_copy", &["keyless"]);
            let mut copying = sink(&flow);
            until("the sink to listen", || copying.log().contains("listening").then_some(()));
            let source = flow.source.start(&[]);
            let mut sql = server.sql();
            until("the first table to be read", || {
                (sql.run("SELECT COUNT(*) FROM test_copy.a")[0][0] != "0").then_some(())
            });
            // The other table is not read yet: its rows will hold this.
            sql.run(
                "INSERT INTO test.keyless VALUES (-1, 'new'), (-2, 'gone'), (1, 'row 1 of keyless');
                 UPDATE test.keyless SET s = 'changed' WHERE id = 7; DELETE FROM test.keyless WHERE id IN (-2, 9)",
            );
            let rows: u64 = sql.run("SELECT COUNT(*) FROM test.keyless")[0][0].parse().unwrap();
            stop_finished(source);
            flow.settle(&mut copying);
            let counts = counted.counts(&mut sql);
            let table = |op: &str| counts.get(&("keyless".to_owned(), op.to_owned())).copied();
            assert_eq!((table("c"), table("u"), table("d")), (Some(rows), None, None));
            // From now on its changes come as they are.
            sql.run(
                "UPDATE test.keyless SET s = 'again' WHERE id = 7; DELETE FROM test.keyless WHERE id = 8",
            );
            flow.settle(&mut copying);
            stop(copying);
        }
    });
}
