//! file-source and file-sink through the kit, and what a tail promises besides: rotation, halves of lines, other forms.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use super::kit::{self, Receiving, Sending, Spoiling, System};
use crate::harness::{Events, Flowd, Job, Mesh, until};

/// A directory whose `*.log` are read.
struct Directory {
    directory: tempfile::TempDir,
}

impl Directory {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn append_lines(&self, name: &str, lines: &[&str]) {
        self.append(name, &lines.iter().map(|line| format!("{line}\n")).collect::<String>());
    }

    fn pattern(&self) -> String {
        self.path("*.log").display().to_string()
    }
}

impl System for Directory {
    const CONNECTOR: &'static str = "file-source";
    const REQUIRED: &'static [&'static str] = &["connectorConfig.connectorName", "connectorConfig.paths"];
    const WRONG: &'static [(&'static str, &'static str)] = &[
        ("connectorConfig.paths", "[\"/tmp/[\"]"),
        ("connectorConfig.format", "xml"),
        ("connectorConfig.startAt", "middle"),
        ("connectorConfig.lineBytes", "0"),
        ("connectorConfig.follow", "perhaps"),
        ("pipeline.delivery", "applied"),
    ];

    fn begin() -> Self {
        Self { directory: tempfile::Builder::new().prefix("flowd-files-").tempdir().unwrap() }
    }

    fn configure(&self, job: Job) -> Job {
        job.set("connectorConfig.paths", &format!("[\"{}\"]", self.pattern()))
            .set("connectorConfig.format", "json")
            .set("connectorConfig.lineBytes", "64KiB")
    }
}

impl Sending for Directory {
    fn put(&mut self, messages: &[String]) {
        let lines: Vec<&str> = messages.iter().map(String::as_str).collect();
        self.append_lines("a.log", &lines);
    }
}

impl Spoiling for Directory {
    fn spoil(&mut self) -> &'static str {
        self.append_lines("a.log", &["{\"number\": 5"]);
        "is to be JSON"
    }
}

mod source {
    use super::super::kit;
    use super::Directory;

    kit::promises!(Directory: source);
    kit::promises!(Directory: spoiling source);
}

/// Where a file-sink writes.
struct Written {
    directory: tempfile::TempDir,
}

impl System for Written {
    const CONNECTOR: &'static str = "file-sink";
    const REQUIRED: &'static [&'static str] = &["connectorConfig.connectorName"];
    const WRONG: &'static [(&'static str, &'static str)] =
        &[("connectorConfig.rotateBytes", "10"), ("connectorConfig.rotateSeconds", "0")];

    fn begin() -> Self {
        Self { directory: tempfile::Builder::new().prefix("flowd-files-").tempdir().unwrap() }
    }

    fn configure(&self, job: Job) -> Job {
        let path = self.directory.path().join("events.jsonl").display().to_string();
        job.set("connectorConfig.path", &path)
    }
}

impl Receiving for Written {
    fn taken(&mut self) -> Vec<u64> {
        let text = fs::read_to_string(self.directory.path().join("events.jsonl")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(kit::number).collect()
    }
}

mod sink {
    use super::super::kit;
    use super::Written;

    kit::promises!(Written: sink);
}

/// A job that reads lines of a directory, with a mesh behind it.
fn lines(directory: &Directory) -> (Mesh, Job) {
    let mesh = Mesh::start();
    let job = Job::source("file-source", &mesh, "lines")
        .set("connectorConfig.paths", &format!("[\"{}\"]", directory.pattern()))
        .set("connectorConfig.pollMs", "20");
    (mesh, job)
}

/// A file-source that follows a directory, and who hears what it reads.
struct Following {
    flowd: Flowd,
    tail: Flowd,
    job: Job,
    _mesh: Mesh,
    directory: Directory,
}

/// One that was started on this text in `a.log`, of which these lines have arrived.
fn following(text: &str, expected: &[&str]) -> Following {
    let directory = Directory::begin();
    let (mesh, job) = lines(&directory);
    let tail = mesh.tail("lines");
    directory.append("a.log", text);
    let flowd = job.start(&[]);
    arrive(&tail, expected);
    Following { flowd, tail, job, _mesh: mesh, directory }
}

/// The texts of the first `count` events of `lines` and of those that follow at once, sorted.
fn texts(events: &Events) -> Vec<String> {
    let mut texts: Vec<String> =
        events.iter().map(|event| event.data().as_str().expect("a line is a text").to_owned()).collect();
    texts.sort();
    texts
}

/// Waits until the subscriber has these lines and no other, whatever their order.
fn arrive(tail: &Flowd, expected: &[&str]) {
    let what = format!("{expected:?} at the subscriber");
    until(&what, || (Events::parse(&tail.output()).len() >= expected.len()).then_some(()));
    assert_eq!(texts(&Events::parse(&tail.output())), expected);
}

fn stop(flowd: Flowd) {
    flowd.signal("TERM");
    flowd.wait().expect_code(0);
}

#[test]
fn a_half_line_waits_for_its_other_half() {
    let run = following("one\ntw", &["one"]);
    run.directory.append("a.log", "o\r\n");
    arrive(&run.tail, &["one", "two"]);
    run.directory.append("a.log", "thr");
    stop(run.flowd);
    let flowd = run.job.start(&[]);
    run.directory.append("a.log", "ee\n");
    arrive(&run.tail, &["one", "three", "two"]);
    stop(flowd);
}

#[test]
fn a_file_that_is_renamed_is_read_to_its_end_and_the_new_one_from_its_beginning() {
    let run = following("1\n2\n", &["1", "2"]);
    // The writer goes on for a while in the file that it has open.
    let mut writer = OpenOptions::new().append(true).open(run.directory.path("a.log")).unwrap();
    fs::rename(run.directory.path("a.log"), run.directory.path("a.log.1")).unwrap();
    writer.write_all(b"3\n").unwrap();
    run.directory.append("a.log", "4\n");
    arrive(&run.tail, &["1", "2", "3", "4"]);
    writer.write_all(b"5\n").unwrap();
    arrive(&run.tail, &["1", "2", "3", "4", "5"]);
    stop(run.flowd);
}

#[test]
fn a_file_that_is_renamed_while_flowd_is_down_is_read_to_its_end() {
    let run = following("1\n2\n", &["1", "2"]);
    stop(run.flowd);
    run.directory.append("a.log", "3\n");
    fs::rename(run.directory.path("a.log"), run.directory.path("a.log.1")).unwrap();
    run.directory.append("a.log", "4\n");
    let flowd = run.job.start(&[]);
    arrive(&run.tail, &["1", "2", "3", "4"]);
    stop(flowd);
}

#[test]
fn a_file_that_is_copied_and_cut_is_read_from_its_new_beginning() {
    let run = following("1\n2\n", &["1", "2"]);
    fs::copy(run.directory.path("a.log"), run.directory.path("a.log.1")).unwrap();
    File::create(run.directory.path("a.log")).unwrap();
    // Longer than what was there before: its size alone does not tell.
    run.directory.append("a.log", "3, which is longer\n");
    arrive(&run.tail, &["1", "2", "3, which is longer"]);
    let events = Events::parse(&run.tail.output());
    assert_eq!(events.first_occurrences().len(), 3, "each has an id of its own");
    stop(run.flowd);
}

#[test]
fn a_new_file_that_matches_is_read_from_its_beginning_whatever_start_at_says() {
    let directory = Directory::begin();
    let (mesh, job) = lines(&directory);
    let job = job.set("connectorConfig.startAt", "end");
    let tail = mesh.tail("lines");
    directory.append("a.log", "before\n");
    let flowd = job.start(&[]);
    until("it to read", || flowd.log().contains("reading").then_some(()));
    directory.append("a.log", "1\n");
    directory.append("b.log", "2\n");
    directory.append("c.txt", "another's\n");
    arrive(&tail, &["1", "2"]);
    fs::remove_file(directory.path("b.log")).unwrap();
    directory.append("d.log", "3\n");
    arrive(&tail, &["1", "2", "3"]);
    stop(flowd);
}

#[test]
fn a_bulk_job_ends_when_all_files_are_acknowledged() {
    let directory = Directory::begin();
    let (mesh, job) = lines(&directory);
    let job = job.set("connectorConfig.follow", "false");
    for file in ["a.log", "b.log", "c.log"] {
        let text: String = (0..500).map(|line| format!("{file} {line}\n")).collect();
        directory.append(file, &text);
    }
    directory.append("c.log", "an end without line feed");
    job.start(&[]).wait().expect_code(0);
    let events = mesh.read("lines", |events| events.len() > 1500);
    assert_eq!(events.first_occurrences().len(), 1501);
    assert!(texts(&events).contains(&"an end without line feed".to_owned()));
    // Nothing is left for a second run.
    job.start(&[]).wait().expect_code(0);
    directory.append("d.log", "late\n");
    job.start(&[]).wait().expect_code(0);
    let events = mesh.read("lines", |events| events.len() > 1501 || texts(events).contains(&"late".into()));
    assert!(events.iter().all(|event| event.data() == "late" || events.len() > 1501));
}

#[test]
fn more_files_than_are_kept_open_are_all_read() {
    let directory = Directory::begin();
    let (mesh, job) = lines(&directory);
    let tail = mesh.tail("lines");
    let names: Vec<String> = (0..600).map(|number| format!("{number:03}.log")).collect();
    let append =
        |text: &str| names.iter().for_each(|name| directory.append(name, &format!("{name}{text}\n")));
    append(" one");
    let flowd = job.start(&[]);
    let arrived = |count: usize| {
        until(&format!("{count} lines"), || (Events::parse(&tail.output()).len() >= count).then_some(()));
        assert_eq!(Events::parse(&tail.output()).first_occurrences().len(), count);
    };
    arrived(600);
    append(" two");
    for name in &names[..3] {
        fs::rename(directory.path(name), directory.path(&format!("{name}.1"))).unwrap();
        directory.append(name, "new\n");
    }
    arrived(1203);
    stop(flowd);
}

#[test]
fn a_line_over_the_bound_follows_on_reject_and_memory_does_not_follow_the_line() {
    let directory = Directory::begin();
    let (mesh, job) = lines(&directory);
    let job = job.set("connectorConfig.lineBytes", "4KiB").with_dead_letters();
    let tail = mesh.tail("lines");
    directory.append("a.log", "1\n");
    directory.append("a.log", &"x".repeat(3 << 20));
    let flowd = job.start(&[]);
    arrive(&tail, &["1"]);
    directory.append("a.log", "\n2\n");
    arrive(&tail, &["1", "2"]);
    stop(flowd);
    let letters = job.dead_letters();
    assert_eq!(letters.len(), 1);
    let reason = letters[0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("3145729") && reason.contains("lineBytes") && reason.contains("a.log"),
        "{reason}"
    );
}

#[test]
fn a_member_is_the_key_and_the_files_name_the_topic() {
    let directory = Directory::begin();
    let (mesh, job) = lines(&directory);
    let job = job
        .set("pubSubConfig.subject", "in.{file}")
        .set("connectorConfig.format", "json")
        .set("connectorConfig.key", "customer")
        .set("connectorConfig.follow", "false");
    let text = r#"{"customer":"Ada \"A\"","n":1}
{"n":2,"customer":17}
{"n":3}
"#;
    directory.append("orders of today.log", text);
    job.start(&[]).wait().expect_code(0);
    let events = mesh.read("in.orders_of_today.log", |events| events.len() >= 3);
    let key = |n: u64| {
        let event = events.iter().find(|event| event.data()["n"] == n).expect("it is there");
        event.key().map(str::to_owned)
    };
    assert_eq!((key(1).as_deref(), key(2).as_deref(), key(3)), (Some("Ada \"A\""), Some("17"), None));
    let first = events.iter().find(|event| event.data()["n"] == 1).expect("it is there");
    assert_eq!(first.json["type"], "flowd.file.line");
    assert!(first.json["file"].as_str().is_some_and(|file| file.ends_with("/orders of today.log")));
    assert_eq!(first.json["offset"], "0");
}

#[test]
fn events_that_a_file_sink_wrote_come_back_as_they_were() {
    let directory = Directory::begin();
    let (mesh, job) = lines(&directory);
    let job = job
        .set("connectorConfig.format", "cloudevents")
        .set("pubSubConfig.subject", "{subject}")
        .set("connectorConfig.follow", "false");
    let event = r#"{"specversion":"1.0","id":"a/1","source":"/else/where","type":"order.placed","datacontenttype":"application/cloudevents+json","subject":"shop.orders","partitionkey":"7","data":{"n":1}}"#;
    directory.append_lines("a.log", &[event]);
    job.start(&[]).wait().expect_code(0);
    let events = mesh.read("shop.orders", |events| events.len() == 1);
    let event = &events.0[0].json;
    assert_eq!(
        (&event["id"], &event["source"], &event["type"]),
        (&"a/1".into(), &"/else/where".into(), &"order.placed".into())
    );
    assert_eq!((&event["partitionkey"], &event["data"]["n"]), (&"7".into(), &1.into()));
}
