//! Signals and the drain: what is in flight is finished, within a bound.

use super::{on, on_every_server};
use crate::harness::{Flowd, Job, Kind, Mesh, Server, until};

const TABLE: &str = "CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY, t VARCHAR(300))";

/// Many rows in one statement; MariaDB and MySQL both know a recursive CTE, and both stop it at 1000 levels by default.
fn fill(server: &Server, rows: usize) {
    let mut sql = server.sql();
    for first in (0..rows).step_by(500) {
        let values: Vec<String> = (first..first + 500).map(|id| format!("({id},REPEAT('x',200))")).collect();
        sql.run(&format!("INSERT INTO test.t VALUES {}", values.join(",")));
    }
}

#[test]
fn a_signal_drains_what_was_read_and_stores_its_position() {
    on_every_server(|server| {
        server.run(TABLE);
        fill(server, 5000);
        let job = Job::new(server);
        let flowd = job.start(&[]);
        job.wait_for_events(1);
        flowd.signal("TERM");
        flowd.wait().expect_code(0);

        let position = job.position();
        assert_eq!(position["acked"], position["emitted"], "{position}");
        job.catch_up();
        let events = job.events();
        assert_eq!(events.len(), 5000, "after a clean stop nothing is sent twice");
        assert_eq!(events.first_occurrences().len(), 5000);
    });
}

/// A run against a mesh that took the connections and then stopped answering.
fn stuck(server: &Server, mesh: &Mesh, drain_ms: &str) -> (Job, Flowd) {
    server.run(TABLE);
    let job = Job::new(server).publishing_to(mesh).set("pipeline.drainMs", drain_ms);
    let flowd = job.start(&[]);
    until("flowd to follow the binlog", || (server.dump_threads() == 1).then_some(()));
    mesh.signal("STOP");
    fill(server, 1000);
    let end = server.gtid();
    until("the rows to be read", || (job.position()["read"]["gtid"] == end.as_str()).then_some(()));
    (job, flowd)
}

#[test]
fn the_drain_has_a_bound() {
    on(&[Kind::MariaDb11], &[], |server| {
        let mesh = Mesh::start();
        let (_job, flowd) = stuck(server, &mesh, "500");
        flowd.signal("TERM");
        flowd.wait().expect_code(5);
    });
}

#[test]
fn a_second_signal_ends_at_once() {
    on(&[Kind::MariaDb11], &[], |server| {
        let mesh = Mesh::start();
        let (_job, flowd) = stuck(server, &mesh, "60000");
        let quiet = flowd.log().len();
        flowd.signal("TERM");
        until("the first signal to be logged", || (flowd.log().len() > quiet).then_some(()));
        flowd.signal("INT");
        flowd.wait().expect_code(128 + 2);
    });
}

#[test]
fn stdout_carries_only_events() {
    on(&[Kind::MariaDb11], &[], |server| {
        server.run(TABLE);
        fill(server, 500);
        let job = Job::new(server).set("pipeline.target", "stdout");
        let outcome = job.start(&["--stop-at", "end"]).wait();
        outcome.expect_code(0);
        assert_eq!(crate::harness::Events::parse(&outcome.stdout).len(), 500);
    });
}
