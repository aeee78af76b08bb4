//! What an http-source promises besides: every form of an event, honest answers, and bounds on what a client may do.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Event, Flowd, HttpClient, Job, Mesh, binary, free_port, until};
use crate::suite::access::certificates::Authority;

const TOPIC: &str = "in";

/// A mesh, a source in front of it, and what curl says to it.
struct Flow {
    mesh: Mesh,
    job: Job,
    port: u16,
    scheme: &'static str,
}

/// An answer: status, head and body.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Flow {
    fn new() -> Self {
        let (mesh, port) = (Mesh::start(), free_port());
        let job = Job::source("http-source", &mesh, TOPIC);
        let job = job.set("connectorConfig.listen", &format!("127.0.0.1:{port}"));
        Self { mesh, job, port, scheme: "http" }
    }

    /// An event's own subject is its topic: so it is where nothing else is said.
    fn by_subject() -> Self {
        let flow = Self::new();
        Self { job: flow.job.unset("pubSubConfig.subject"), ..flow }
    }

    fn set(mut self, key: &str, value: &str) -> Self {
        self.job = self.job.set(key, value);
        self
    }

    /// Starts flowd; returns when it takes events. It listens before, while it may still be connecting to the mesh.
    fn start(&self) -> Flowd {
        let mut flowd = self.job.start(&[]);
        until("http-source to take events", || {
            assert!(flowd.is_running(), "flowd ended: {}", flowd.log());
            flowd.log().contains("taking events").then_some(())
        });
        flowd
    }

    fn spawn(&self, path: &str, arguments: &[&str]) -> Child {
        Command::new("curl")
            .args(["-sS", "-i", "--max-time", "50"])
            .args(arguments)
            .arg(format!("{}://localhost:{}{path}", self.scheme, self.port))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("curl starts")
    }

    fn curl(&self, path: &str, arguments: &[&str]) -> Answer {
        answer(self.spawn(path, arguments))
    }

    /// Posts an event in structured mode.
    fn post(&self, event: &Value, more: &[&str]) -> Answer {
        let event = event.to_string();
        let mut arguments = vec!["-H", "content-type: application/cloudevents+json", "--data-binary", &event];
        arguments.extend(more);
        self.curl("/", &arguments)
    }

    /// The first events of a topic.
    fn read(&self, topic: &str, count: usize) -> Vec<Event> {
        self.mesh.read(topic, |events| events.len() >= count).0
    }
}

fn answer(curl: Child) -> Answer {
    given(curl).unwrap_or_else(|why| panic!("curl has no answer: {why}"))
}

/// The answer, if there is one.
fn given(curl: Child) -> Result<Answer, String> {
    let output = curl.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // `100 Continue` comes before the answer itself.
    let mut rest = &*text;
    while let Some((head, body)) = rest.split_once("\r\n\r\n") {
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        if status != 100 {
            return Ok(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() });
        }
        rest = body;
    }
    Err(format!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

impl Answer {
    /// Demands a status, and a text that says why.
    fn expect(&self, status: u16, text: &str) -> &Self {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.body.contains(text), "{text} in {self:?}");
        self
    }

    fn expect_head(&self, line: &str) -> &Self {
        assert!(self.head.contains(line), "{line} in {self:?}");
        self
    }
}

fn event(id: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/test", "type": "test.made", "data": {"id": id}})
}

fn stop(flowd: Flowd) {
    flowd.signal("TERM");
    flowd.wait().expect_code(0);
}

#[test]
fn an_event_arrives_in_each_mode_with_all_that_it_holds() {
    let flow = Flow::by_subject();
    let flowd = flow.start();
    let headers = [
        "ce-specversion: 1.0",
        "ce-id: 1",
        "ce-source: /test",
        "ce-type: test.made",
        "ce-subject: in",
        "ce-partitionkey: Euro%20%E2%82%AC",
        "content-type: text/plain",
    ];
    let mut arguments: Vec<&str> = headers.iter().flat_map(|header| ["-H", *header]).collect();
    arguments.extend(["--data-binary", "a \"text\""]);
    flow.curl("/", &arguments).expect(204, "");
    let mut structured = event("2");
    structured["subject"] = "in".into();
    structured["count"] = 7.into();
    flow.post(&structured, &[]).expect(204, "");
    let mut members = [event("3"), event("4")];
    members.iter_mut().for_each(|member| member["subject"] = "in".into());
    let batch = json!(members).to_string();
    let content_type = "content-type: application/cloudevents-batch+json";
    flow.curl("/", &["-H", content_type, "--data-binary", &batch]).expect(204, "");
    let events = flow.read("in", 4);
    let ids: Vec<&str> = events.iter().map(Event::id).collect();
    assert_eq!(ids, ["1", "2", "3", "4"]);
    assert_eq!((events[0].key(), events[0].data()), (Some("Euro €"), &json!("a \"text\"")));
    assert_eq!(events[0].json["contenttype"], "text/plain");
    assert_eq!((&events[1].json["count"], events[1].data()), (&json!(7), &json!({"id": "2"})));
    stop(flowd);
}

#[test]
fn what_is_no_event_is_refused_with_the_reason_and_nothing_of_it_arrives() {
    let flow = Flow::new().set("connectorConfig.bodyBytes", "4KiB").set("connectorConfig.path", "/events");
    let flowd = flow.start();
    let structured = ["-H", "content-type: application/cloudevents+json", "-d"];
    let post = |arguments: &[&str]| flow.curl("/events", arguments);
    post(&[&structured[..], &["{}"]].concat()).expect(400, "specversion");
    post(&["-d", "{}"]).expect(400, "no CloudEvent");
    // What would be rejected on its way must not end the run of whoever takes it from anybody.
    let mut own = event("1");
    own["contenttype"] = "text/plain".into();
    post(&[&structured[..], &[&*own.to_string()]].concat()).expect(400, "contenttype");
    let mut nowhere = event("1");
    nowhere["source"] = "/no where".into();
    post(&[&structured[..], &[&*nowhere.to_string()]].concat()).expect(400, "URI");
    let good = event("1");
    let batch = json!([good, {"specversion": "1.0"}]).to_string();
    post(&["-H", "content-type: application/cloudevents-batch+json", "-d", &batch])
        .expect(400, "event 2 of 2");
    post(&["-H", "content-type: application/cloudevents+avro", "-d", "x"]).expect(415, "avro");
    post(&["-H", "content-encoding: gzip", "-d", "x"]).expect(415, "gzip");
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(5000));
    post(&["-d", &large]).expect(413, "bodyBytes");
    post(&["-H", "transfer-encoding: chunked", "-d", &large]).expect(413, "bodyBytes");
    flow.curl("/", &["-d", "{}"]).expect(404, "/events");
    post(&["-X", "PUT"]).expect(405, "POST").expect_head("allow: post");
    let long = ["a", "b", "c"].map(|name| format!("ce-{name}: {}", "x".repeat(100_000)));
    assert_eq!(post(&["-H", &long[0], "-H", &long[1], "-H", &long[2], "-d", "{}"]).status, 431);
    post(&[]).expect(200, "POST");
    flow.curl("/events", &[&structured[..], &[&*event("last").to_string()]].concat()).expect(204, "");
    assert_eq!(flow.read(TOPIC, 1)[0].id(), "last");
    stop(flowd);
}

#[test]
fn a_subject_that_is_not_the_topic_is_kept_aside() {
    let flow = Flow::new().set("pubSubConfig.subject", "on.{type}");
    let flowd = flow.start();
    let mut sent = event("1");
    sent["subject"] = "orders/1".into();
    flow.post(&sent, &[]).expect(204, "");
    let arrived = &flow.read("on.test.made", 1)[0];
    assert_eq!(
        (&arrived.json["subject"], &arrived.json["originalsubject"]),
        (&json!("on.test.made"), &json!("orders/1"))
    );
    stop(flowd);
    let flow = Flow::by_subject();
    let flowd = flow.start();
    flow.post(&event("1"), &[]).expect(400, "subject");
    stop(flowd);
}

#[test]
fn nothing_is_said_to_be_taken_before_the_mesh_has_it() {
    let flow = Flow::new().set("connectorConfig.answerMs", "500");
    let flowd = flow.start();
    flow.mesh.signal("STOP");
    flow.post(&event("1"), &[]).expect(503, "same id").expect_head("retry-after: 1");
    flow.mesh.signal("CONT");
    until("the event to be taken", || (flow.post(&event("1"), &[]).status == 204).then_some(()));
    assert!(flow.read(TOPIC, 1).iter().all(|event| event.id() == "1"));
    stop(flowd);
}

#[test]
fn a_stop_ends_what_is_under_way_and_takes_nothing_more() {
    let flow = Flow::new();
    let flowd = flow.start();
    flow.mesh.signal("STOP");
    let text = event("1").to_string();
    let under_way = flow.spawn("/", &["-H", "content-type: application/cloudevents+json", "-d", &text]);
    until("the request to be under way", || is_connected(flow.port).then_some(()));
    flow.mesh.signal("CONT");
    flowd.signal("TERM");
    let answered = answer(under_way);
    flowd.wait().expect_code(0);
    match answered.status {
        204 => assert_eq!(flow.read(TOPIC, 1)[0].id(), "1"),
        status => assert_eq!(status, 503, "{answered:?}"),
    }
    assert!(TcpStream::connect(("127.0.0.1", flow.port)).is_err(), "it listens still");
}

/// Whether a client is connected to a port.
fn is_connected(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let (established, port) = ("01", format!(":{port:04X}"));
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(2);
        fields.next().is_some_and(|remote| remote.ends_with(&port)) && fields.next() == Some(established)
    })
}

#[test]
fn a_full_pipeline_is_answered_by_429_and_loses_nothing() {
    let flow = Flow::new()
        .set("connectorConfig.bodyBytes", "4MiB")
        .set("connectorConfig.bufferBytes", "8MiB")
        .set("pipeline.memory", "32MiB");
    let mut flowd = flow.start();
    flow.mesh.signal("STOP");
    let client = HttpClient::to(flow.port);
    let text = "x".repeat(3 << 20);
    let message =
        |number| binary(&format!("m{number}"), &format!("{{\"number\":{number},\"text\":\"{text}\"}}"));
    client.put((0..24).map(message));
    until("an answer 429", || {
        assert!(flowd.is_running(), "flowd ended: {}", flowd.log());
        let answer = given(flow.spawn(
            "/",
            &["-d", "{}", "-H", "content-type: application/cloudevents+json", "--max-time", "1"],
        ))
        .ok()?;
        (answer.status == 429).then(|| answer.expect_head("retry-after: 1").expect(429, "room").status)
    });
    flow.mesh.signal("CONT");
    let is_ours = |event: &&Event| event.id().starts_with('m');
    flow.mesh.read(TOPIC, |events| {
        let ids: BTreeSet<&str> = events.iter().filter(is_ours).map(Event::id).collect();
        ids.len() == 24
    });
    stop(flowd);
}

#[test]
fn a_client_that_is_too_slow_is_cut_and_others_are_not_kept() {
    let flow = Flow::new().set("connectorConfig.readMs", "300").set("connectorConfig.connections", "2");
    let flowd = flow.start();
    let connect = || TcpStream::connect(("127.0.0.1", flow.port)).unwrap();
    let (mut head, mut body) = (connect(), connect());
    head.write_all(b"POST / HT").unwrap();
    body.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc").unwrap();
    flow.post(&event("1"), &[]).expect(204, "");
    let mut said = String::new();
    body.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    let mut said = String::new();
    head.read_to_string(&mut said).unwrap();
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
    stop(flowd);
}

#[test]
fn only_who_knows_the_credentials_may_send() {
    let flow = Flow::new().set("connectorConfig.token", "s3cret");
    let flowd = flow.start();
    let token = "authorization: Bearer s3cret";
    flow.post(&event("1"), &[]).expect(401, "credentials").expect_head("www-authenticate: bearer");
    flow.post(&event("1"), &["-H", "authorization: Bearer guessed"]).expect(401, "credentials");
    flow.post(&event("1"), &["-H", token]).expect(204, "");
    flow.curl("/", &["-X", "OPTIONS", "-H", "authorization: Bearer guessed"]).expect(401, "credentials");
    stop(flowd);
    let flow = flow.set("connectorConfig.userName", "flowd").set("connectorConfig.passWord", "s3cret");
    let flow = Flow { job: flow.job.unset("connectorConfig.token"), ..flow };
    let flowd = flow.start();
    flow.post(&event("1"), &["-u", "flowd:guessed"]).expect(401, "credentials").expect_head("basic");
    flow.post(&event("1"), &["-u", "flowd:s3cret"]).expect(204, "");
    stop(flowd);
}

#[test]
fn a_sender_that_asks_first_is_answered_as_the_webhook_specification_says() {
    let flow = Flow::new()
        .set("connectorConfig.allowedOrigins", "[events.example.com]")
        .set("connectorConfig.allowedRate", "120");
    let flowd = flow.start();
    let ask = |origin: &str| {
        let origin = format!("WebHook-Request-Origin: {origin}");
        flow.curl("/", &["-X", "OPTIONS", "-H", &origin, "-H", "WebHook-Request-Rate: 1000"])
    };
    let granted = ask("events.example.com");
    granted.expect(200, "").expect_head("webhook-allowed-origin: events.example.com");
    granted.expect_head("webhook-allowed-rate: 120");
    assert!(!ask("other.example.com").expect(200, "").head.contains("webhook-allowed"));
    stop(flowd);
}

#[test]
fn events_come_over_tls_too_and_a_wrong_certificate_ends_the_start() {
    let authority = Authority::new("test authority");
    authority.sign("server", "DNS:localhost");
    let (certificate, key) = (authority.path("server.pem"), authority.path("server-key.pem"));
    let flow = Flow::new().set("connectorConfig.tlsCert", &certificate).set("connectorConfig.tlsKey", &key);
    let flow = Flow { scheme: "https", ..flow };
    let flowd = flow.start();
    flow.post(&event("1"), &["--cacert", &authority.path("ca.pem")]).expect(204, "");
    assert_eq!(flow.read(TOPIC, 1)[0].id(), "1");
    stop(flowd);
    let missing = flow.set("connectorConfig.tlsKey", &authority.path("missing.pem"));
    missing.job.start(&[]).wait().expect_code(3).expect_log("tlsKey");
}

#[test]
fn a_sender_that_knows_no_cloudevents_is_taken_by_the_id_in_its_header() {
    let flow = Flow::new()
        .set("connectorConfig.plain", "true")
        .set("connectorConfig.idHeader", "X-Delivery")
        .set("connectorConfig.plainType", "hook");
    let flowd = flow.start();
    let json = ["-H", "content-type: application/json", "-d", "{\"a\":1}"];
    flow.curl("/", &json).expect(400, "X-Delivery");
    flow.curl("/", &[&json[..], &["-H", "x-delivery: 7"]].concat()).expect(204, "");
    let arrived = &flow.read(TOPIC, 1)[0];
    assert_eq!(
        (arrived.id(), &arrived.json["type"], arrived.data()),
        ("7", &json!("hook"), &json!({"a": 1}))
    );
    assert_eq!(arrived.json["source"], "/flowd/http-source/messages");
    stop(flowd);
}
