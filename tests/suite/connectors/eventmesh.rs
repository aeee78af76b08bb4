//! `eventmesh-source`, from another embedded mesh: what it promises as every connector, and that events stay what they are,
//! so that a copy of tables works across two meshes as across one.

use serde_json::{Value, json};

use super::kit::{self, Process, Sending, System, number};
use crate::harness::{Counted, Dml, Flow, Flowd, Job, Kind, Mesh, Server, publish, until};

/// The other mesh.
struct Far {
    mesh: Mesh,
}

const TOPIC: &str = "far.messages";

impl System for Far {
    const CONNECTOR: &'static str = "eventmesh-source";
    const REQUIRED: &'static [&'static str] =
        &["connectorConfig.sourceMeshAddress", "connectorConfig.topics"];
    const WRONG: &'static [(&'static str, &'static str)] =
        &[("connectorConfig.sourceMeshAddress", "nowhere")];

    fn begin() -> Self {
        Self { mesh: Mesh::start() }
    }

    fn configure(&self, job: Job) -> Job {
        job.set("connectorConfig.sourceMeshAddress", &self.mesh.address())
            .set("connectorConfig.topics", TOPIC)
    }
}

impl Sending for Far {
    fn put(&mut self, messages: &[String]) {
        let event = |message: &String| {
            let data: Value = serde_json::from_str(message).unwrap();
            event(TOPIC, &format!("far-{}", number(message)), &json!({}), &data).to_string()
        };
        publish(&self.mesh, &messages.iter().map(event).collect::<Vec<_>>());
    }
}

impl Process for Far {
    fn kill(&mut self) {
        self.mesh.kill();
    }

    fn restart(&mut self) {
        self.mesh.restart();
    }
}

kit::promises!(Far: source);
kit::promises!(Far: process source);

fn event(topic: &str, id: &str, extensions: &Value, data: &Value) -> Value {
    let mut event = json!({
        "specversion": "1.0", "id": id, "source": "/far", "type": "t",
        "datacontenttype": "application/cloudevents+json", "subject": topic, "data": data,
    });
    let members = event.as_object_mut().expect("an event is an object");
    members.extend(extensions.as_object().expect("extensions are an object").clone());
    event
}

fn stop(flowd: Flowd) {
    flowd.signal("TERM");
    flowd.wait().expect_code(0);
}

/// From one mesh to another.
fn bridge(from: &Mesh, to: &Mesh, topics: &str) -> Job {
    Job::empty("eventmesh-source")
        .set("connectorConfig.connectorName", "bridge")
        .set("connectorConfig.sourceMeshAddress", &from.address())
        .set("connectorConfig.topics", topics)
        .set("pubSubConfig.meshAddress", &to.address())
}

#[test]
fn events_of_several_topics_arrive_under_them_as_they_are() {
    let (from, to) = (Mesh::start(), Mesh::start());
    let extensions = json!({
        "partitionkey": "k\"\\1", "epoch": "1764028800000000", "lane": "03", "sequence": "00000000000000000007",
        "count": 7, "flag": true, "time": "2026-11-25T03:57:25.000738Z",
    });
    let data = json!({"number": 1.10, "text": "\u{fc}\n\u{1f4a1}", "list": [null, {"subject": "inside"}]});
    let published: Vec<Value> =
        ["a", "b"].map(|topic| event(topic, "an id/\u{fc}", &extensions, &data)).into();
    publish(&from, &published.iter().map(Value::to_string).collect::<Vec<_>>());
    let job = bridge(&from, &to, "[a, b]");
    let flowd = job.start(&[]);
    for (topic, published) in ["a", "b"].iter().zip(&published) {
        let arrived = to.read(topic, |events| events.len() == 1);
        let Value::Object(members) = &arrived.0[0].json else { panic!("no object") };
        let published = published.as_object().unwrap();
        for (name, value) in published {
            assert_eq!(&members[name], value, "{name} of {topic}");
        }
        // Numbers and texts in `data` byte for byte.
        assert!(arrived.0[0].text.contains(&format!(r#""data":{data}"#)), "{}", arrived.0[0].text);
    }
    stop(flowd);
}

#[test]
fn a_topic_may_have_another_name_here() {
    let (from, to) = (Mesh::start(), Mesh::start());
    publish(&from, &[event("shop.orders", "1", &json!({}), &json!(1)).to_string()]);
    let job = bridge(&from, &to, "shop.orders").set("pubSubConfig.subject", "far.{topic}");
    let flowd = job.start(&[]);
    let arrived = to.read("far.shop.orders", |events| events.len() == 1);
    assert_eq!(arrived.0[0].json["subject"], "far.shop.orders");
    // The members of a batch event name their topic, too.
    let members = json!([2, 3].map(|id| event("shop.orders", &id.to_string(), &json!({}), &json!(id))));
    let mut batch = event("shop.orders", "2..3", &json!({}), &members);
    batch["type"] = "flowd.batch".into();
    publish(&from, &[batch.to_string()]);
    let arrived = to.read("far.shop.orders", |events| events.len() == 2);
    let subjects: Vec<&Value> = arrived.iter().map(|event| &event.json["subject"]).collect();
    assert_eq!(subjects, ["far.shop.orders"; 2]);
    stop(flowd);
    let merged = bridge(&from, &to, "[a, b]").set("pubSubConfig.subject", "all");
    merged.start(&[]).wait().expect_code(2).expect_log("topics: names several");
}

/// Tables copied from one server to another over two meshes and the bridge between them.
struct Copy<'a> {
    flow: Flow<'a>,
    near: Mesh,
    bridge: Job,
    dml: Dml,
    counted: Counted,
}

impl<'a> Copy<'a> {
    fn new((from, to): &'a (Server, Server), change: impl FnOnce(Flow<'a>) -> Flow<'a>) -> Self {
        let (mut sql, mut copy) = (from.sql(), to.sql());
        let dml = Dml::new(&mut sql);
        let tables = Dml::tables(&mut copy);
        let counted = Counted::new(&mut copy, "test_dml", tables);
        let (far, near) = (Mesh::start(), Mesh::start());
        let topics: Vec<String> = tables.iter().map(|table| format!("test_dml.{table}")).collect();
        let bridge = bridge(&far, &near, &format!("[{}]", topics.join(",")));
        let flow = change(Flow::between((from, "test_dml"), (to, "test_dml"), far, tables))
            .sink(|job| job.set("pubSubConfig.meshAddress", &near.address()));
        Self { flow, near, bridge, dml, counted }
    }

    /// Random changes, while the bridge is killed now and then.
    fn change(&mut self, bridge: &mut Flowd) {
        let (mut sql, mut copy) = (self.flow.from.sql(), self.flow.to.sql());
        for _ in 0..3 {
            let before: u64 = self.counted.counts(&mut copy).values().sum();
            until("changes to be applied", || {
                self.dml.transaction(&mut sql, 8);
                (self.counted.counts(&mut copy).values().sum::<u64>() > before + 40).then_some(())
            });
            let again = self.bridge.start(&[]);
            std::mem::replace(bridge, again).kill();
        }
    }

    fn verify(self) {
        let events = self.flow.reference();
        self.dml.verify(&events, &mut self.flow.from.sql());
        self.counted.verify(&mut self.flow.to.sql(), &events);
    }
}

fn two() -> (Server, Server) {
    (Server::start(Kind::MariaDb11), Server::start(Kind::MariaDb11))
}

#[test]
fn a_sink_behind_a_bridge_applies_each_change_once_although_the_bridge_is_killed() {
    let servers = two();
    let mut copy = Copy::new(&servers, |flow| flow.source(|job| job.set("pipeline.batch.bytes", "16KiB")));
    let mut sink = copy.flow.sink.start(&[]);
    let (source, mut bridge) = (copy.flow.source.start(&[]), copy.bridge.start(&[]));
    copy.change(&mut bridge);
    stop(source);
    copy.flow.settle(&mut sink);
    copy.verify();
}

#[test]
fn delivery_applied_works_across_a_bridge_with_one_back_for_the_control_topic() {
    let servers = two();
    let mut copy = Copy::new(&servers, Flow::until_applied);
    let mut sink = copy.flow.sink.start(&[]);
    let back = bridge(&copy.near, &copy.flow.mesh, "flowd.applied.orders");
    let back = back.set("connectorConfig.connectorName", "back");
    let backward = back.start(&[]);
    let (source, mut bridge) = (copy.flow.source.start(&[]), copy.bridge.start(&[]));
    copy.change(&mut bridge);
    stop(source);
    // What the source calls applied is applied: nobody waits for the sink here.
    copy.flow.catch_up(&mut sink);
    copy.flow.verify();
    copy.verify();
    stop(backward);
}
