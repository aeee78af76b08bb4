//! Sinks that write lines: a file that is full makes room for the next, and standard output carries events alone.

use std::collections::BTreeSet;
use std::fs;

use super::stop;
use crate::harness::{Events, Flowd, Job, Kind, Mesh, Server, until};
use crate::suite::on;

const ROWS: usize = 2_000;

/// A mesh that holds the rows of `test.t`, and their ids.
fn filled(server: &Server, mesh: &Mesh) -> BTreeSet<String> {
    server.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY, s VARCHAR(99))");
    let values: Vec<String> = (1..=ROWS).map(|id| format!("({id}, 'row {id}')")).collect();
    server.run(&format!("INSERT INTO test.t VALUES {}", values.join(",")));
    let source = Job::new(server).publishing_to(mesh);
    source.catch_up();
    let file = Job::new(server);
    file.catch_up();
    ids(&file.events())
}

fn ids(events: &Events) -> BTreeSet<String> {
    events.iter().map(|event| event.id().to_owned()).collect()
}

/// All files of a file-sink, and what is in them.
fn written(job: &Job) -> (usize, Events) {
    let mut files: Vec<_> = fs::read_dir(job.path("out"))
        .map(|entries| entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect())
        .unwrap_or_default();
    files.sort();
    let mut events = Events::default();
    for file in &files {
        events.0.extend(Events::read(file).0);
    }
    (files.len(), events)
}

fn into_files(mesh: &Mesh) -> Job {
    let job = Job::sink("file-sink", &mesh.address(), "test.t");
    fs::create_dir(job.path("out")).unwrap();
    let path = job.path("out/events.jsonl").display().to_string();
    job.set("connectorConfig.path", &path)
}

fn all_written(job: &Job, flowd: &mut Flowd, all: &BTreeSet<String>) {
    until("every event in the files", || {
        assert!(flowd.is_running(), "the sink ended by itself: {}", flowd.log());
        (ids(&written(job).1) == *all).then_some(())
    });
}

#[test]
fn a_file_sink_begins_a_new_file_when_one_is_full_and_loses_no_line() {
    on(&[Kind::MariaDb11], &[], |server| {
        let mesh = Mesh::start();
        let all = filled(server, &mesh);
        let job = into_files(&mesh).set("connectorConfig.rotateBytes", "100KiB");
        let mut flowd = job.start(&[]);
        all_written(&job, &mut flowd, &all);
        stop(flowd);
        let (files, events) = written(&job);
        assert!(files > 3, "{files} files");
        assert_eq!(events.len(), ROWS, "no line is there twice");
        // One is full with the events that make it so; the newest need not be.
        let sizes =
            fs::read_dir(job.path("out")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
        let sizes: Vec<u64> = sizes.collect();
        assert!(sizes.iter().all(|size| *size < 300 << 10), "{sizes:?}");
        assert!(sizes.iter().filter(|size| **size < 100 << 10).count() <= 1, "{sizes:?}");
    });
}

#[test]
fn a_file_sink_that_is_killed_has_every_event_after_its_next_start() {
    on(&[Kind::MariaDb11], &[], |server| {
        let mesh = Mesh::start();
        let all = filled(server, &mesh);
        let job = into_files(&mesh).set("connectorConfig.rotateBytes", "200KiB");
        for _ in 0..3 {
            let before = ids(&written(&job).1);
            let flowd = job.start(&[]);
            // What was not acknowledged before the kill comes again: lines that repeat are no progress.
            until("an event that was not there before", || {
                let now = ids(&written(&job).1);
                (now.len() > before.len() || now == all).then_some(())
            });
            flowd.kill();
        }
        let mut flowd = job.start(&[]);
        all_written(&job, &mut flowd, &all);
        // A repeated id has the same bytes.
        written(&job).1.first_occurrences();
        stop(flowd);
    });
}

#[test]
fn a_stdout_sink_prints_events_and_nothing_else() {
    on(&[Kind::MariaDb11], &[], |server| {
        let mesh = Mesh::start();
        let all = filled(server, &mesh);
        let job = Job::sink("stdout-sink", &mesh.address(), "test.t");
        let mut flowd = job.start(&[]);
        // Parsing demands that every line is an event.
        until("every event", || {
            assert!(flowd.is_running(), "the sink ended by itself: {}", flowd.log());
            (ids(&Events::parse(&flowd.output())) == all).then_some(())
        });
        stop(flowd);
    });
}
