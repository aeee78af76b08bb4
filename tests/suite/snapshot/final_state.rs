//! Under random changes a consumer ends with the tables that the server has, however a key is made.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{ALL, Arrival, Churn, Events, Job, Kind, Mesh, Metrics, SCHEMA, SHAPES, Server, until};
use crate::suite::{on, on_every_server};

/// Without GTIDs a snapshot of MySQL needs rows that stand still while the place is asked for.
const WITHOUT_GTIDS: [&str; 2] = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];

/// A first start with a snapshot of the changing tables, slow enough for changes to meet it.
fn job(server: &Server) -> Job {
    Job::snapshotting(server)
        .set("connectorConfig.tableIncludeList", &format!("[\"{SCHEMA}.*\"]"))
        .set("connectorConfig.snapshotRowsPerSecond", "5000")
}

/// Changes the tables before, while and after the snapshot is taken; then streams to the end.
fn snapshot_under_changes(server: &Server, churn: &Churn, job: &Job) {
    let metrics = Metrics::new();
    let mut flowd = None;
    churn.during(server, || {
        let flowd = flowd.insert(job.start(&["--metrics", &metrics.address]));
        until("the snapshot to end", || {
            assert!(flowd.is_running(), "flowd ended by itself: {}", flowd.log());
            metrics.value("flowd_snapshot_state").filter(|state| *state == 2.0)
        });
        let lines = job.lines();
        until("some changes after it", || (job.lines() > lines + 200).then_some(()));
    });
    let flowd = flowd.expect("it was started");
    flowd.signal("TERM");
    flowd.wait().expect_code(0);
    job.catch_up();
}

/// Both kinds of events, and enough of them for the test to mean something.
fn assert_mixed(job: &Job) {
    let events = job.events();
    let ops = events.ops();
    let read = ops.matches('r').count();
    let before_the_last = ops.rfind('r').map_or("", |last| &ops[..last]);
    let changes = before_the_last.len() + 1 - read;
    assert!(read > 2000 && changes > 200, "{read} rows were read, {changes} changes came among them");
}

#[test]
fn a_consumer_of_the_stream_alone_ends_with_the_tables_of_the_server() {
    on_every_server(|server| {
        let churn = Churn::new(server, 600);
        let job = Job::new(server).set("connectorConfig.tableIncludeList", &format!("[\"{SCHEMA}.*\"]"));
        let flowd = job.start(&[]);
        churn.during(server, || until("some thousand changes", || (job.lines() > 9000).then_some(())));
        flowd.signal("TERM");
        flowd.wait().expect_code(0);
        job.catch_up();
        churn.verify(server, &job.events(), Arrival::Once);
    });
}

#[test]
fn snapshot_and_stream_together_are_the_tables_of_the_server_for_every_kind_of_key() {
    on_every_server(|server| {
        let churn = Churn::new(server, 1500);
        let job = job(server);
        snapshot_under_changes(server, &churn, &job);
        assert_mixed(&job);
        churn.verify(server, &job.events(), Arrival::Once);
    });
}

#[test]
fn commits_that_are_seen_long_after_they_are_in_the_binlog_lose_nothing() {
    let late = |server: &Server| {
        let churn = Churn::new(server, 900);
        let job = job(server).set("connectorConfig.snapshotRowsPerSecond", "2500");
        snapshot_under_changes(server, &churn, &job);
        assert_mixed(&job);
        churn.verify(server, &job.events(), Arrival::Once);
    };
    with_late_commits(late);
}

#[test]
fn every_beginning_is_exact_while_commits_are_late() {
    with_late_commits(|server| {
        let churn = Churn::with(server, &SHAPES[..4], 150);
        for _ in 0..5 {
            let job = job(server).unset("connectorConfig.snapshotRowsPerSecond");
            snapshot_under_changes(server, &churn, &job);
            churn.verify(server, &job.events(), Arrival::Once);
        }
    });
}

/// Servers whose transactions are in the binlog for a while before anybody sees them.
fn with_late_commits(check: impl Fn(&Server) + Sync) {
    on(&[Kind::MySql9], &["--binlog-group-commit-sync-delay=30000"], |server| check(server));
    // Every time it is switched on, MariaDB waits once for a replica that never comes, between binlog and commit.
    let semi_sync = ["--rpl-semi-sync-master-wait-point=AFTER_SYNC", "--rpl-semi-sync-master-timeout=40"];
    on(&ALL[..2], &semi_sync, |server| {
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let ended = Ended(&ended);
            scope.spawn(|| switch_on_and_off(server, ended.0));
            check(server);
        });
    });
}

/// Sets it when it is dropped, however the test ends.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn switch_on_and_off(server: &Server, ended: &AtomicBool) {
    let mut sql = server.sql();
    while !ended.load(Ordering::Relaxed) {
        for state in ["OFF", "ON"] {
            sql.run(&format!("SET GLOBAL rpl_semi_sync_master_enabled = {state}"));
        }
        std::thread::sleep(std::time::Duration::from_millis(60));
    }
}

#[test]
fn without_gtids_rows_that_are_held_while_they_are_read_lose_nothing() {
    on(&[Kind::MySql9], &WITHOUT_GTIDS, |server| {
        // A table without a key needs what only GTIDs can tell.
        let churn = Churn::with(server, &SHAPES[..SHAPES.len() - 1], 900);
        let job = job(server).set("connectorConfig.snapshotForShare", "true");
        snapshot_under_changes(server, &churn, &job);
        assert_mixed(&job);
        churn.verify(server, &job.events(), Arrival::Once);
    });
}

#[test]
fn as_fast_as_it_goes_it_is_right_again_and_again() {
    on_every_server(|server| {
        let churn = Churn::new(server, 600);
        for _ in 0..3 {
            let job = job(server)
                .unset("connectorConfig.snapshotRowsPerSecond")
                .set("connectorConfig.parallelism", "8");
            snapshot_under_changes(server, &churn, &job);
            churn.verify(server, &job.events(), Arrival::Once);
        }
    });
}

#[test]
fn through_a_mesh_the_order_of_a_key_holds_between_snapshot_and_stream() {
    on(&[Kind::MariaDb11, Kind::MySql9], &[], |server| {
        let churn = Churn::new(server, 300);
        let mesh = Mesh::start();
        let job = job(server).publishing_to(&mesh);
        let metrics = Metrics::new();
        let mut flowd = None;
        churn.during(server, || {
            flowd = Some(job.start(&["--metrics", &metrics.address]));
            metrics.wait_for("flowd_snapshot_state", 2.0);
        });
        let flowd = flowd.expect("it was started");
        flowd.signal("TERM");
        flowd.wait().expect_code(0);
        job.catch_up();
        churn.verify(server, &from(&mesh, &churn, server), Arrival::Once);
    });
}

/// All events of all topics; a capture of each table tells which event is its last.
fn from(mesh: &Mesh, churn: &Churn, server: &Server) -> Events {
    let mut events = Events::default();
    for table in churn.tables() {
        let file =
            Job::new(server).set("connectorConfig.tableIncludeList", &format!("[\"{SCHEMA}.{table}\"]"));
        file.catch_up();
        let last = file.events().0.last().expect("every table was changed").id().to_owned();
        let topic = format!("{SCHEMA}.{table}");
        events.0.extend(mesh.read(&topic, |events| events.iter().any(|event| event.id() == last)).0);
    }
    events
}
