//! Where a run begins and ends, and what happens where a position cannot be had.

use super::{on, on_every_server};
use crate::harness::{ALL, Event, Events, Job, Kind, Server, until};

const TABLE: &str = "CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY); CREATE TABLE test.busy (id INT PRIMARY KEY)";

fn insert(server: &Server, id: i64) {
    server.run(&format!("INSERT INTO test.t VALUES ({id})"));
}

fn ids(events: &Events) -> Vec<i64> {
    events.iter().map(|event: &Event| event.after()["id"].as_i64().unwrap()).collect()
}

#[test]
fn stop_at_end_includes_the_end_and_counts_what_carries_nothing() {
    on_every_server(|server| {
        server.run(TABLE);
        insert(server, 1);
        server.run("INSERT INTO test.busy VALUES (1); CREATE TABLE test.other (id INT)");
        let job = Job::new(server).set("connectorConfig.tableIncludeList", "[\"test.t\"]");
        job.catch_up();
        assert_eq!(ids(&job.events()), [1]);

        // The end is reached already, and then it lies only in transactions that carry nothing.
        job.catch_up();
        server.run("INSERT INTO test.busy VALUES (2)");
        job.catch_up();
        assert_eq!(ids(&job.events()), [1]);
    });
}

#[test]
fn stop_at_a_gtid_includes_that_transaction_and_nothing_after() {
    on_every_server(|server| {
        server.run(TABLE);
        insert(server, 1);
        insert(server, 2);
        let gtid = format!("gtid:{}", server.gtid());
        insert(server, 3);

        let job = Job::new(server);
        job.start(&["--stop-at", &gtid]).wait().expect_code(0);
        assert_eq!(ids(&job.events()), [1, 2]);
        job.start(&["--stop-at", &gtid]).wait().expect_code(0);
        assert_eq!(ids(&job.events()), [1, 2]);
        job.catch_up();
        assert_eq!(ids(&job.events()), [1, 2, 3]);
    });
}

#[test]
fn a_first_start_begins_where_it_is_told() {
    on_every_server(|server| {
        server.run(TABLE);
        insert(server, 1);
        let (file, position) = server.position();
        let gtid = server.gtid();
        insert(server, 2);

        for (start, expected) in [
            ("earliest".to_owned(), &[1, 2][..]),
            ("latest".to_owned(), &[]),
            (format!("gtid:{gtid}"), &[2]),
            (format!("{file}:{position}"), &[2]),
        ] {
            let job = Job::new(server).unset("pipeline.startAt");
            job.start(&["--start-at", &start, "--stop-at", "end"]).wait().expect_code(0);
            assert_eq!(ids(&job.events()), expected, "--start-at {start}");
        }
    });
}

#[test]
fn a_start_inside_a_transaction_or_an_event_is_refused() {
    on_every_server(|server| {
        server.run(TABLE);
        let (file, before) = server.position();
        server.run("FLUSH BINARY LOGS");
        insert(server, 1);
        let (file_now, end) = server.position();
        let events = server.run(&format!("SHOW BINLOG EVENTS IN '{file_now}'"));
        let rows = events.iter().find(|event| event[2].starts_with("Write_rows")).expect("a rows event");

        for place in
            [format!("{file_now}:{}", rows[1]), format!("{file_now}:{}", end - 1), format!("{file_now}:5")]
        {
            let job = Job::new(server).unset("pipeline.startAt");
            let outcome = job.start(&["--start-at", &place, "--stop-at", "end"]).wait();
            outcome.expect_code(3).expect_log(&place);
        }
        // The end of a file that is not the last one, and every event before the first transaction, are boundaries.
        let gtid = events.iter().find(|event| event[2] == "Gtid").expect("a transaction");
        let heads = events.iter().take_while(|event| event[2] != "Gtid").chain([gtid]);
        let places =
            heads.map(|event| format!("{file_now}:{}", event[1])).chain([format!("{file}:{before}")]);
        for place in places {
            let job = Job::new(server).unset("pipeline.startAt");
            job.start(&["--start-at", &place, "--stop-at", "end"]).wait().expect_code(0);
            assert_eq!(ids(&job.events()), [1], "--start-at {place}");
        }
    });
}

#[test]
fn latest_is_the_default_and_streams_what_comes_after() {
    on_every_server(|server| {
        server.run(TABLE);
        insert(server, 1);
        let job = Job::new(server).unset("pipeline.startAt");
        let flowd = job.start(&[]);
        until("flowd to follow the binlog", || (server.dump_threads() == 1).then_some(()));
        insert(server, 2);
        assert_eq!(ids(&job.wait_for_events(1)), [2]);
        flowd.signal("TERM");
        flowd.wait().expect_code(0);
    });
}

#[test]
fn a_stored_position_wins_over_start_at() {
    on_every_server(|server| {
        server.run(TABLE);
        insert(server, 1);
        let job = Job::new(server);
        job.catch_up();
        insert(server, 2);

        let outcome = job.start(&["--start-at", "latest", "--stop-at", "end"]).wait();

        outcome.expect_code(0).expect_log("startAt");
        assert_eq!(ids(&job.events()), [1, 2]);
    });
}

#[test]
fn a_purged_position_is_refused_and_says_what_is_missing() {
    on_every_server(|server| {
        server.run(TABLE);
        insert(server, 1);
        let job = Job::new(server);
        job.catch_up();
        insert(server, 2);
        server.purge();
        insert(server, 3);

        let outcome = job.start(&["--stop-at", "end"]).wait();

        let missing = if server.kind.is_mysql() {
            server.gtid().split(':').next().unwrap().to_owned()
        } else {
            "0-1-".to_owned()
        };
        outcome.expect_code(3).expect_log(&missing).expect_log("purged");
        assert_eq!(ids(&job.events()), [1], "flowd moved its position by itself");
    });
}

#[test]
fn a_position_that_the_server_never_had_is_refused() {
    on_every_server(|server| {
        server.run(TABLE);
        insert(server, 1);
        let job = Job::new(server);
        job.catch_up();
        server.run(if server.kind.is_mysql() { "RESET BINARY LOGS AND GTIDS" } else { "RESET MASTER" });
        insert(server, 2);

        job.start(&["--stop-at", "end"]).wait().expect_code(3);
        assert_eq!(ids(&job.events()), [1]);
    });
}

#[test]
fn by_file_and_position_another_server_is_refused() {
    let off = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
    on(&[Kind::MySql9], &off, |server| {
        let other = Server::start_with(server.kind, &off);
        for one in [&*server, &other] {
            one.run(TABLE);
            insert(one, 1);
        }
        let job = Job::new(server);
        job.catch_up();
        let job = job.set("connectorConfig.port", &other.port.to_string());
        job.start(&["--stop-at", "end"]).wait().expect_code(3).expect_log("belongs to server");
        assert_eq!(ids(&job.events()), [1]);
    });
}

#[test]
fn the_acked_position_moves_over_what_is_not_captured() {
    on_every_server(|server| {
        server.run(TABLE);
        insert(server, 1);
        let job = Job::new(server)
            .set("connectorConfig.tableIncludeList", "[\"test.t\"]")
            .set("pipeline.checkpointMs", "50");
        let flowd = job.start(&[]);
        job.wait_for_events(1);
        let busy: Vec<String> = (0..200).map(|id| format!("INSERT INTO test.busy VALUES ({id})")).collect();
        server.run(&busy.join("; "));
        let end = server.gtid();
        until("the acked position to reach the end", || {
            (job.position()["acked"]["gtid"] == end.as_str()).then_some(())
        });

        // What was acked over is not needed any more: the binlog before it may go, while flowd is down.
        flowd.kill();
        server.purge();
        insert(server, 2);
        job.catch_up();
        assert_eq!(ids(&job.events()), [1, 2]);
    });
}

#[test]
fn the_position_can_be_asked_while_flowd_runs() {
    on(&ALL[1..], &[], |server| {
        server.run(TABLE);
        insert(server, 1);
        let job = Job::new(server).set("pipeline.checkpointMs", "50");
        let flowd = job.start(&[]);
        job.wait_for_events(1);
        let end = server.gtid();
        let position = until("a checkpoint", || {
            Some(job.position()).filter(|position| position["acked"]["gtid"] == end.as_str())
        });
        for name in ["read", "emitted", "acked"] {
            assert_eq!(position[name]["gtid"], end.as_str(), "{name} of {position}");
        }
        let plain = job.command(&["position"]);
        plain.expect_code(0);
        assert!(plain.stdout.contains("acked") && plain.stdout.contains(&end), "{}", plain.stdout);
        flowd.signal("INT");
        flowd.wait().expect_code(0);
    });
}

#[test]
fn a_server_restart_in_mid_stream_loses_and_repeats_nothing() {
    on_every_server(|server| {
        server.run(TABLE);
        let job = Job::new(server);
        let flowd = job.start(&[]);
        insert(server, 1);
        job.wait_for_events(1);
        server.restart();
        insert(server, 2);
        job.wait_for_events(2);
        flowd.signal("TERM");
        flowd.wait().expect_code(0);
        assert_eq!(ids(&job.events()), [1, 2]);
    });
}
