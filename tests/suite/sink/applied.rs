//! Delivery: applied, as the source sees it: what no sink has applied is not done, however long that takes.

use super::{sink, stop};
use crate::harness::{Counted, Flow, Mesh, Metrics, Server, until};
use crate::suite::on;

/// A table with a counting copy, and a source that waits for the sink.
fn flow(server: &Server) -> (Flow<'_>, Counted) {
    server.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY, v INT)");
    let flow = Flow::beside(server, Mesh::start(), &["t"]).until_applied();
    (flow, Counted::new(&mut server.sql(), "test_copy", &["t"]))
}

/// Inserts, updates and deletes.
fn change(server: &Server) {
    let mut sql = server.sql();
    let values: Vec<String> = (0..300).map(|id| format!("({id}, 0)")).collect();
    sql.run(&format!("INSERT INTO test.t VALUES {}", values.join(",")));
    sql.run("UPDATE test.t SET v = id WHERE id % 3 = 0; DELETE FROM test.t WHERE id % 5 = 0");
}

/// Both sides are equal, and each change was applied once.
fn verify(flow: &Flow<'_>, counted: &Counted) {
    flow.verify();
    counted.verify(&mut flow.to.sql(), &flow.reference());
}

#[test]
fn what_was_published_and_not_applied_is_read_again_from_the_binlog_by_the_next_run() {
    on(&super::BOTH, &[], |server| {
        let (mut flow, counted) = flow(server);
        let metrics = Metrics::new();
        let source = flow.source.start(&["--metrics", &metrics.address]);
        change(server);
        metrics.wait_for("flowd_awaiting_applied", 300.0);
        // Nobody has anything of it but the binlog.
        source.kill();
        flow.mesh.kill();
        flow.mesh.restart_empty();

        let mut copying = sink(&flow);
        flow.catch_up(&mut copying);
        verify(&flow, &counted);
        stop(copying);
    });
}

#[test]
fn a_drain_for_a_sink_that_is_absent_ends_at_its_bound_and_loses_nothing() {
    on(&super::BOTH[..1], &[], |server| {
        let (flow, counted) = flow(server);
        let metrics = Metrics::new();
        let source = flow.source.start(&["--pipeline.drainMs=500", "--metrics", &metrics.address]);
        change(server);
        metrics.wait_for("flowd_awaiting_applied", 300.0);
        source.signal("TERM");
        source.wait().expect_code(5).expect_log("drainMs");

        let mut copying = sink(&flow);
        flow.catch_up(&mut copying);
        verify(&flow, &counted);
        stop(copying);
    });
}

#[test]
fn before_the_server_deletes_what_no_sink_has_applied_there_is_a_warning() {
    on(&super::BOTH, &[], |server| {
        server.run("SET GLOBAL binlog_expire_logs_seconds = 4");
        let (flow, counted) = flow(server);
        let metrics = Metrics::new();
        let source = flow.source.start(&["--metrics", &metrics.address]);
        change(server);
        until("the warning", || source.log().contains("the server deletes its binlog before").then_some(()));
        let mut copying = sink(&flow);
        until("the copy", || {
            assert!(copying.is_running(), "the sink ended by itself: {}", copying.log());
            flow.differences().is_empty().then_some(())
        });
        stop(source);
        verify(&flow, &counted);
        stop(copying);
    });
}

#[test]
fn a_run_whose_binlog_was_purged_before_a_sink_had_it_ends_and_names_what_is_missing() {
    on(&super::BOTH, &[], |server| {
        let (flow, _) = flow(server);
        let metrics = Metrics::new();
        let source = flow.source.start(&["--metrics", &metrics.address]);
        change(server);
        metrics.wait_for("flowd_awaiting_applied", 300.0);
        source.kill();
        let mut sql = server.sql();
        sql.run("FLUSH BINARY LOGS");
        // Its name alone: it grows, if only by a checkpoint that the server writes on its own.
        let newest = sql
            .run("SHOW BINARY LOGS")
            .pop()
            .expect("a server with a binlog has a file of it")
            .swap_remove(0);
        // A file stays for as long as the server has not noticed that its reader is gone.
        until("the older files to be gone", || {
            sql.run(&format!("PURGE BINARY LOGS TO '{newest}'"));
            (sql.run("SHOW BINARY LOGS")[0][0] == newest).then_some(())
        });

        flow.source.start(&[]).wait().expect_code(3).expect_log("purged");
    });
}
