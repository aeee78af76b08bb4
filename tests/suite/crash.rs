//! Killed at random moments under random changes: nothing missing, nothing foreign, nothing out of order.

use std::time::{Duration, Instant};

use super::on;
use crate::harness::{ALL, Dml, Event, Events, Flowd, Job, Kind, Mesh, Server, Sql, until};

const RESTARTS: usize = 50;

#[test]
fn nothing_is_lost_to_a_file_when_flowd_is_killed() {
    on(&ALL, &[], |server| killed_while_writing_a_file(server, RESTARTS));
}

#[test]
fn nothing_is_lost_by_file_and_position_when_flowd_is_killed() {
    on(&[Kind::MySql9], &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"], |server| {
        killed_while_writing_a_file(server, 20);
    });
}

#[test]
fn nothing_is_lost_in_the_mesh_when_flowd_or_the_mesh_is_killed() {
    on(&[Kind::MariaDb11, Kind::MySql9], &[], killed_while_publishing);
}

/// What was true at the moment of a kill.
struct Kill {
    /// Whole lines in the file.
    lines: usize,
    /// The newest transaction of the acked position; 0 if there was none or the server has no GTIDs.
    acked: u64,
}

fn killed_while_writing_a_file(server: &Server, restarts: usize) {
    let mut sql = server.sql();
    let mut dml = Dml::new(&mut sql);
    let job = Job::new(server)
        .set("pipeline.checkpointMs", "50")
        .set("connectorConfig.tableIncludeList", "[\"test_dml.*\"]");
    let mut kills: Vec<Kill> = Vec::new();
    let mut bytes = 0;
    for _ in 0..restarts {
        let mut flowd = job.start(&[]);
        // One in five is killed while it starts, the others when they have begun to write.
        if dml.below(5) > 0 {
            write_until(&mut dml, &mut sql, &mut flowd, || file_bytes(&job) > bytes);
        }
        write_for(&mut dml, &mut sql, 150);
        flowd.kill();
        bytes = file_bytes(&job);
        kills.push(Kill { lines: whole_lines(&job), acked: acked(&job) });
    }
    dml.transaction(&mut sql, 8);
    job.catch_up();

    let events = job.events();
    dml.verify(&events, &mut sql);
    let grown = kills.windows(2).filter(|pair| pair[1].lines > pair[0].lines).count();
    assert!(
        grown * 2 > restarts,
        "only {grown} of {restarts} runs wrote anything before they were killed: nothing was tested"
    );
    for (number, kill) in kills.iter().enumerate() {
        let late = events
            .iter()
            .skip(kill.lines)
            .find(|event| sequence(event).is_some_and(|sequence| sequence <= kill.acked));
        let late = late.map(|event| &event.text);
        assert!(
            late.is_none(),
            "kill {number}: transaction {} was acked, and this came later or again: {late:?}",
            kill.acked
        );
    }
}

fn killed_while_publishing(server: &mut Server) {
    let mut sql = server.sql();
    let mut dml = Dml::new(&mut sql);
    let mut mesh = Mesh::start();
    let job = Job::new(server)
        .publishing_to(&mesh)
        .set("pipeline.checkpointMs", "50")
        .set("connectorConfig.tableIncludeList", "[\"test_dml.*\"]");
    let mut running = None;
    for _ in 0..RESTARTS {
        let mut flowd = running.take().unwrap_or_else(|| job.start(&[]));
        if dml.below(5) > 0 {
            write_until(&mut dml, &mut sql, &mut flowd, || server.dump_threads() > 0);
        }
        write_for(&mut dml, &mut sql, 150);
        let victim = dml.below(3);
        if victim > 0 {
            mesh.kill();
            mesh.restart();
        }
        if victim < 2 {
            flowd.kill();
        } else {
            running = Some(flowd);
        }
    }
    drop(running);
    dml.transaction(&mut sql, 8);
    job.catch_up();

    let mut events = Events::default();
    for table in ["plain", "pair", "wide"] {
        let topic = format!("test_dml.{table}");
        events.0.extend(mesh.read(&topic, |events| dml.has_all_of(table, events)).0);
    }
    dml.verify(&events, &mut sql);
}

fn whole_lines(job: &Job) -> usize {
    let file = std::fs::read(job.path("events.jsonl")).unwrap_or_default();
    file.iter().filter(|&&byte| byte == b'\n').count()
}

fn file_bytes(job: &Job) -> u64 {
    std::fs::metadata(job.path("events.jsonl")).map_or(0, |file| file.len())
}

/// Now and then a transaction, until something happens.
fn write_until(dml: &mut Dml, sql: &mut Sql, flowd: &mut Flowd, mut happened: impl FnMut() -> bool) {
    // Far apart: a run may take a second to begin, and what is written meanwhile must all be checked.
    let mut last: Option<Instant> = None;
    until("the run to begin", || {
        if last.is_none_or(|last| last.elapsed() > Duration::from_millis(50)) {
            dml.transaction(sql, 8);
            last = Some(Instant::now());
        }
        assert!(flowd.is_running(), "flowd ended by itself: {}", flowd.log());
        happened().then_some(())
    });
}

/// Random transactions for a random time up to `milliseconds`.
fn write_for(dml: &mut Dml, sql: &mut Sql, milliseconds: u64) {
    let end = Instant::now() + Duration::from_millis(dml.below(milliseconds));
    while Instant::now() < end {
        dml.transaction(sql, 8);
    }
}

fn acked(job: &Job) -> u64 {
    job.position()["acked"]["gtid"].as_str().and_then(last_number).unwrap_or(0)
}

/// The number of the event's transaction.
fn sequence(event: &Event) -> Option<u64> {
    event.data()["source"]["gtid"].as_str().and_then(last_number)
}

/// `uuid:1-57` and `0-1-57` end in the newest transaction: these servers have one history and one domain.
fn last_number(gtid: &str) -> Option<u64> {
    gtid.rsplit([':', '-']).next()?.parse().ok()
}
