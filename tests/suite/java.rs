//! The real EventMesh Java SDK as the other side: it gets what flowd publishes, and `flowd tail` gets what it publishes.
//!
//! `EVENTMESH_ADDR=host:port` tries the promises on that server, too; so does a distribution that `EVENTMESH_HOME` names.

mod eventmesh;
mod runtime;

use std::fs::{self, File};
use std::io::Write;
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;

use super::on;
use crate::harness::{Events, Job, Kind, Mesh, Server, until};

const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/java/build.sh");

/// The class path of the SDK and its driver; fetched and compiled when first asked for.
fn class_path() -> String {
    let output = Command::new(PEER).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "tests/java/build.sh failed");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The SDK's driver as a process, ended with the value: its stdin is its leash.
struct Peer {
    child: Child,
    directory: tempfile::TempDir,
}

impl Peer {
    fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("flowd-sdk-").tempdir().unwrap();
        let file = |name: &str| File::create(directory.path().join(name)).unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "java", "-Xmx256m", "-cp", &class_path(), "MeshPeer"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(file("peer.out"))
            .stderr(file("peer.err"))
            .spawn()
            .expect("java starts");
        Self { child, directory }
    }

    /// A subscriber that the server listens to; `mode` as MeshPeer has it.
    fn subscribe(address: &str, topic: &str, group: &str, mode: &str) -> Self {
        let (host, port) = address.rsplit_once(':').expect("host:port");
        let peer = Self::start(&["subscribe", host, port, topic, group, mode]);
        until("the SDK to subscribe", || peer.said("peer.err").contains("ready").then_some(()));
        peer
    }

    /// Publishes events one at a time; how it ended, and its answers.
    fn publish(address: &str, events: &[String]) -> (ExitStatus, Vec<Value>) {
        let (host, port) = address.rsplit_once(':').expect("host:port");
        let mut peer = Self::start(&["publish", host, port]);
        writeln!(peer.child.stdin.take().unwrap(), "{}", events.join("\n")).unwrap();
        let status = peer.child.wait().unwrap();
        let answers = peer.said("peer.out").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (status, answers)
    }

    fn said(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }

    /// The whole lines that it printed.
    fn events(&self) -> Events {
        Events::parse(&self.said("peer.out"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // An error means that it ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An event as a Java program may publish it; its data are text.
fn plain_event(topic: &str, id: &str, text: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/java","type":"t","subject":"{topic}","datacontenttype":"application/cloudevents+json","data":"{text}"}}"#
    )
}

#[test]
fn the_java_sdk_receives_every_event_as_it_was_published() {
    on(&[Kind::MariaDb11], &[], |server| {
        let mesh = Mesh::start();
        received_by_the_sdk(server, &format!("127.0.0.1:{}", mesh.port), "test.t");
        if let Ok(address) = std::env::var("EVENTMESH_ADDR") {
            received_by_the_sdk(server, &address, "test.t");
        }
    });
}

fn received_by_the_sdk(server: &Server, address: &str, topic: &str) {
    write(server);
    let peer = Peer::subscribe(address, topic, "flowd-java-test", "clustering");

    let file = Job::new(server);
    file.catch_up();
    let job = Job::new(server).set("pipeline.target", "mesh").set("pubSubConfig.meshAddress", address);
    job.catch_up();

    let published = file.events();
    let received = until("all events at the SDK", || {
        Some(peer.events().first_occurrences()).filter(|events| events.len() >= published.len())
    });
    drop(peer);
    let sorted = |events: &Events| {
        let mut events: Vec<Value> = events.iter().map(|event| comparable(event.json.clone())).collect();
        events.sort_by_key(|event| event["id"].to_string());
        events
    };
    for (received, published) in sorted(&received).iter().zip(&sorted(&published)) {
        // A server adds attributes of its own on the way; flowd's must all be there.
        let mut received = received.clone();
        received.as_object_mut().unwrap().retain(|name, _| published.get(name).is_some());
        assert_eq!(received, *published);
    }
    assert_eq!(received.len(), published.len());
}

fn write(server: &Server) {
    let mut sql = server.sql();
    sql.run("CREATE DATABASE IF NOT EXISTS test; USE test");
    sql.run("CREATE OR REPLACE TABLE t (id INT, half CHAR(2), big BIGINT UNSIGNED, d DECIMAL(9,4), f DOUBLE, s VARCHAR(99), b BLOB, PRIMARY KEY (half, id))");
    for id in 0..50 {
        sql.run(&format!("INSERT INTO t VALUES ({id}, 'h\u{1}', 18446744073709551615, {id}.5, {id}e-3, 'é\u{1F600} \\\\ \"', x'00ff')"));
        sql.run(&format!("UPDATE t SET s = NULL WHERE id = {id}; UPDATE t SET id = id + 1000 WHERE id = {id}; DELETE FROM t WHERE id = {id} + 1000"));
    }
}

/// Without the clock fields and the epoch of the run, and with the time written the one way that Java's text of it can be brought to.
fn comparable(mut event: Value) -> Value {
    event.as_object_mut().expect("an event is an object").remove("epoch");
    let data = event["data"].as_object_mut().expect("data is an object");
    data.retain(|name, _| !name.starts_with("ts_"));
    let time = event["time"].as_str().expect("an event has a time");
    let whole = time.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    event["time"] =
        Value::from(whole.trim_end_matches(":00").trim_end_matches(":0").trim_end_matches(':').to_owned());
    event
}

#[test]
fn tail_receives_what_the_java_sdk_publishes() {
    let mesh = Mesh::start();
    let tail = mesh.tail("java.topic");
    let events: Vec<String> = (0..20).map(|number| {
        format!(r#"{{"specversion":"1.0","id":"j{number}","source":"/java","type":"t","subject":"java.topic","datacontenttype":"application/cloudevents+json","data":{{"n":{number},"s":"é"}}}}"#)
    }).collect();
    let (status, answers) = Peer::publish(&format!("127.0.0.1:{}", mesh.port), &events);
    assert!(status.success(), "{answers:?}");

    let received = until("the published events", || {
        Some(Events::parse(&tail.output())).filter(|received| received.len() >= 20)
    });
    for (received, published) in received.iter().zip(&events) {
        let published: Value = serde_json::from_str(published).unwrap();
        for name in ["id", "source", "type", "subject", "data"] {
            assert_eq!(received.json[name], published[name], "{name}");
        }
    }
}

#[test]
fn a_sink_writes_what_the_java_sdk_publishes_into_a_table() {
    on(&[Kind::MariaDb11], &[], |server| {
        server.run("CREATE DATABASE test; CREATE TABLE test.orders (code VARCHAR(20) PRIMARY KEY, n INT, s VARCHAR(20))");
        let mesh = Mesh::start();
        // Its directory goes with it: it must outlive the run.
        let job = Job::into_database(&mesh.address(), "java.orders", server, "test")
            .set("connectorConfig.plainTable", "orders");
        let mut sink = job.start(&[]);
        let events: Vec<String> = (0..20).map(|number| {
            format!(r#"{{"specversion":"1.0","id":"j{number}","source":"/java","type":"t","subject":"java.orders","datacontenttype":"application/cloudevents+json","data":{{"code":"c{}","n":{number},"s":"é"}}}}"#, number % 7)
        }).collect();
        let (status, answers) = Peer::publish(&mesh.address(), &events);
        assert!(status.success(), "{answers:?}");
        let expected: Vec<Vec<String>> = (0..7)
            .map(|code| {
                vec![format!("c{code}"), (if code == 6 { 13 } else { 14 + code }).to_string(), "é".to_owned()]
            })
            .collect();
        until("the rows", || {
            assert!(sink.is_running(), "the sink ended by itself: {}", sink.log());
            (server.run("SELECT * FROM test.orders ORDER BY code") == expected).then_some(())
        });
    });
}
