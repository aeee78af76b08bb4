//! What flowd promises on an EventMesh server, with its limits, its stray acknowledgements and its restarts; the SDK is
//! the subscriber. See [`Runtime`] for which servers are tried.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::runtime::Runtime;
use super::{Peer, plain_event};
use crate::harness::{Events, Flowd, Job, Kind, Server, until};
use crate::suite::on;

/// Tries a promise on one database server and every EventMesh that the environment asks for.
fn on_every_runtime(arguments: &[&str], check: impl Fn(&Server, &mut Runtime) + Sync) {
    on(&[Kind::MariaDb11], arguments, |server| {
        for mut runtime in Runtime::all(|name| std::env::var(name).ok()) {
            check(server, &mut runtime);
        }
    });
}

/// `test.t` with a row for each number, anew.
fn rows(server: &Server, count: u32) {
    server.run("RESET MASTER; CREATE DATABASE IF NOT EXISTS test; CREATE OR REPLACE TABLE test.t (id INT PRIMARY KEY, s LONGTEXT)");
    server.run(&format!("USE test; INSERT INTO t SELECT seq, '' FROM seq_1_to_{count}"));
}

fn publishing(server: &Server, runtime: &Runtime, topic: &str) -> Job {
    Job::new(server)
        .set("pipeline.target", "mesh")
        .set("pubSubConfig.meshAddress", &runtime.address)
        .set("pubSubConfig.subject", topic)
}

fn row_ids(events: &Events) -> BTreeSet<i64> {
    events.changes().iter().map(|event| event.after()["id"].as_i64().expect("a row's id")).collect()
}

/// `flowd tail` of a topic, and the rows that it has printed.
struct Tail {
    flowd: Flowd,
    /// How far its output is read.
    read: usize,
    rows: BTreeSet<i64>,
    _directory: tempfile::TempDir,
}

impl Tail {
    fn listen(runtime: &Runtime, topic: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let arguments = ["tail", "--mesh", &runtime.address, "--topic", topic];
        let flowd = Flowd::launch(directory.path(), &arguments);
        until("the tail to listen", || flowd.log().contains("listening").then_some(()));
        Self { flowd, read: 0, rows: BTreeSet::new(), _directory: directory }
    }

    /// Waits until these rows were printed.
    fn has_rows(&mut self, ids: RangeInclusive<i64>) {
        until("the rows at the tail", || {
            assert!(self.flowd.is_running(), "flowd tail ended: {}", self.flowd.log());
            let lines = self.flowd.lines_from(&mut self.read);
            self.rows.extend(row_ids(&Events::parse(&(lines.join("\n") + "\n"))));
            ids.clone().all(|id| self.rows.contains(&id)).then_some(())
        });
    }
}

/// Waits until rows `1..=count` are at the subscriber.
fn all_arrive(peer: &Peer, count: i64) {
    let all: BTreeSet<i64> = (1..=count).collect();
    until("all rows at the subscriber", || (row_ids(&peer.events()) == all).then_some(()));
}

#[test]
fn acknowledgements_that_stray_between_publishers_lose_nothing() {
    on_every_runtime(&[], |server, runtime| {
        rows(server, 600);
        let (topic, other) = (runtime.new_name("race"), runtime.new_name("beside"));
        let peer = Peer::subscribe(&runtime.address, &topic, &runtime.new_name("group"), "clustering");
        let beside = Peer::subscribe(&runtime.address, &other, &runtime.new_name("group"), "clustering");
        let job =
            publishing(server, runtime, &topic).set("pipeline.connections", "8").set("pipeline.window", "8");
        let events: Vec<String> = (0..100).map(|id| plain_event(&other, &format!("b{id}"), "x")).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| job.catch_up());
            // On a Java server its own acknowledgements may go astray; what it sent arrives all the same.
            Peer::publish(&runtime.address, &events);
        });
        all_arrive(&peer, 600);
        until("the SDK's events", || {
            let ids: BTreeSet<_> = beside.said("peer.out").lines().map(str::to_owned).collect();
            (ids.len() >= 100).then_some(())
        });
    });
}

#[test]
fn an_event_over_the_limit_of_the_server_is_written_down_and_the_others_arrive() {
    on_every_runtime(&["--max-allowed-packet=64M"], |server, runtime| {
        rows(server, 2);
        // Over the limit of any EventMesh, and below what its frames carry.
        server.run("INSERT INTO test.t VALUES (4, REPEAT('x', 4100000)); INSERT INTO test.t VALUES (3, '')");
        let topic = runtime.new_name("size");
        let peer = Peer::subscribe(&runtime.address, &topic, &runtime.new_name("group"), "clustering");
        let job = publishing(server, runtime, &topic);
        let letters = job.path("dead.jsonl");
        let job = job
            .set("pipeline.onReject", "deadLetter")
            .set("pipeline.deadLetterFile", &letters.display().to_string());
        job.catch_up();
        all_arrive(&peer, 3);
        let letters = std::fs::read_to_string(letters).unwrap();
        assert_eq!(letters.lines().count(), 1, "one of four is too large");
        assert!(letters.contains("event size exceeds the limit: "), "{}", &letters[..letters.len().min(500)]);
    });
}

#[test]
fn a_backlog_over_one_connection_arrives_whole_at_the_rate_that_the_server_allows() {
    on_every_runtime(&[], |server, runtime| {
        rows(server, 6_000);
        let topic = runtime.new_name("rate");
        // Not the SDK: where its acknowledgements do not leave at once, it closes its connection.
        let mut tail = Tail::listen(runtime, &topic);
        let begun = Instant::now();
        publishing(server, runtime, &topic).set("pipeline.connections", "1").catch_up();
        // 2000 frames a second, and at most a second that was saved before.
        assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
        tail.has_rows(1..=6_000);
    });
}

#[test]
fn a_server_that_says_goodbye_and_comes_back_in_the_middle_gets_the_rest() {
    on_every_runtime(&[], |server, runtime| {
        rows(server, 50);
        let topic = runtime.new_name("restart");
        let mut tail = Tail::listen(runtime, &topic);
        // Its directory goes with it: it must outlive the run.
        let job = publishing(server, runtime, &topic);
        let mut flowd = job.start(&[]);
        tail.has_rows(1..=50);
        // Nothing is on its way: what a Java server has taken and not pushed would be gone with it.
        std::thread::scope(|scope| {
            scope.spawn(|| server.run("USE test; INSERT INTO t SELECT seq, '' FROM seq_51_to_100"));
            // Here, not there: a server ends with the thread that started it.
            if runtime.restart() {
                tail.has_rows(51..=100);
            }
        });
        assert!(flowd.is_running(), "flowd ended by itself: {}", flowd.log());
        flowd.signal("TERM");
        flowd.wait().expect_code(0);
    });
}

/// Copies the rows of `test.t` with delivery: applied, and demands that they are there when the source says so.
fn copied(server: &Server, runtime: &Runtime, change: impl FnOnce(Job) -> Job) {
    server.run("CREATE OR REPLACE DATABASE test_copy; CREATE TABLE test_copy.t LIKE test.t");
    let (topic, applied) = (runtime.new_name("copy"), runtime.new_name("applied"));
    let sink = Job::into_database(&runtime.address, &topic, server, "test_copy")
        .set("pubSubConfig.group", &runtime.new_name("group"))
        .set("pipeline.appliedTopic", &applied);
    let source = change(publishing(server, runtime, &topic))
        .until_applied()
        .set("connectorConfig.tableIncludeList", "[\"test.t\"]")
        .set("pipeline.appliedTopic", &applied);
    let mut sink = sink.start(&[]);
    source.catch_up();
    let rows = |schema: &str| server.run(&format!("SELECT * FROM {schema}.t ORDER BY id"));
    let (copy, table) = (rows("test_copy"), rows("test"));
    assert!(copy == table, "{} rows in the copy, {} in the table", copy.len(), table.len());
    assert!(sink.is_running(), "the sink ended by itself: {}", sink.log());
}

#[test]
fn a_table_is_copied_over_any_server_with_delivery_applied() {
    on_every_runtime(&[], |server, runtime| {
        rows(server, 400);
        server
            .run("UPDATE test.t SET s = 'changed' WHERE id MOD 3 = 0; DELETE FROM test.t WHERE id MOD 7 = 0");
        copied(server, runtime, |job| job);
    });
}

#[test]
fn batches_shrink_to_what_a_server_takes_and_none_is_lost() {
    on_every_runtime(&[], |server, runtime| {
        rows(server, 400);
        copied(server, runtime, |job| job.set("pipeline.batch.bytes", "64KiB"));
    });
}

#[test]
fn broadcasting_subscribers_of_one_group_each_get_every_event() {
    for runtime in Runtime::all(|name| std::env::var(name).ok()) {
        let (topic, group) = (runtime.new_name("broadcast"), runtime.new_name("group"));
        let peers = [(); 2].map(|()| Peer::subscribe(&runtime.address, &topic, &group, "broadcasting"));
        let events: Vec<String> = (0..20).map(|id| plain_event(&topic, &format!("e{id}"), "x")).collect();
        let (status, answers) = Peer::publish(&runtime.address, &events);
        assert!(status.success(), "{answers:?}");
        for peer in peers {
            until("every event at each", || (peer.said("peer.out").lines().count() == 20).then_some(()));
        }
    }
}

#[test]
fn the_sdk_is_refused_what_a_server_as_shipped_refuses() {
    let runtime = Runtime::embedded();
    let topic = runtime.new_name("size");
    // A JSON string: its quotes count.
    let events =
        [(998, "fits"), (999, "too-large")].map(|(count, id)| plain_event(&topic, id, &"x".repeat(count)));
    let (status, answers) = Peer::publish(&runtime.address, &events);
    assert!(!status.success());
    assert_eq!((&answers[0]["id"], &answers[0]["code"]), (&"fits".into(), &0.into()));
    assert_eq!(answers[1]["code"], 1);
    assert_eq!(answers[1]["desc"], "java.lang.Exception: event size exceeds the limit: 1000");
}

#[test]
fn the_environment_names_the_servers_that_are_tried() {
    let named = Runtime::embedded();
    let address = named.address.clone();
    let all = Runtime::all(|name| (name == "EVENTMESH_ADDR").then(|| address.clone()));
    assert_eq!(all.len(), 2);
    assert_eq!(all[1].address, address);
    let topic = all[1].new_name("named");
    let peer = Peer::subscribe(&all[1].address, &topic, "g", "clustering");
    let (status, _) = Peer::publish(&all[1].address, &[plain_event(&topic, "1", "x")]);
    assert!(status.success());
    until("the event", || (peer.said("peer.out").lines().count() == 1).then_some(()));
}
