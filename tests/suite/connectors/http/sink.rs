//! What an http-sink promises besides: every form of a request, and what it makes of every kind of answer.

use serde_json::{Value, json};

use crate::harness::{Flowd, HttpServer, Job, Mesh, Taken, free_port, publish, until};
use crate::suite::access::certificates::Authority;

const TOPIC: &str = "out.orders";

/// A mesh, a server, and the sink between them.
struct Flow {
    mesh: Mesh,
    server: HttpServer,
    job: Job,
    taken: Vec<Taken>,
}

impl Flow {
    fn new() -> Self {
        let (mesh, server) = (Mesh::start(), HttpServer::start());
        let job = Job::sink("http-sink", &mesh.address(), TOPIC);
        let job = job.set("connectorConfig.url", &format!("http://127.0.0.1:{}/in/{{topic}}", server.port));
        Self { mesh, server, job, taken: Vec::new() }
    }

    fn set(mut self, key: &str, value: &str) -> Self {
        self.job = self.job.set(key, value);
        self
    }

    fn publish(&self, events: &[Value]) {
        publish(&self.mesh, &events.iter().map(Value::to_string).collect::<Vec<_>>());
    }

    /// Waits for the first `count` requests; all there are by then.
    fn requests(&mut self, flowd: &mut Flowd, count: usize) -> &[Taken] {
        until(&format!("{count} requests"), || {
            assert!(flowd.is_running(), "flowd ended: {}", flowd.log());
            self.taken.extend(self.server.taken());
            (self.taken.len() >= count).then_some(())
        });
        &self.taken
    }
}

fn event(id: &str, kind: &str) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/test", "type": kind, "subject": TOPIC, "partitionkey": "{\"id\":1}",
        "datacontenttype": "application/cloudevents+json", "data": {"id": id},
    })
}

fn stop(flowd: Flowd) {
    flowd.signal("TERM");
    flowd.wait().expect_code(0);
}

/// Ids in a batch.
fn ids(request: &Taken) -> Vec<String> {
    let members: Vec<Value> = serde_json::from_str(&request.body).expect("a batch");
    members.iter().map(|member| member["id"].as_str().expect("an id").to_owned()).collect()
}

#[test]
fn an_event_is_sent_in_binary_mode_as_it_was_before_the_mesh() {
    let mut flow = Flow::new().set("connectorConfig.headers", "{X-Tenant: a}");
    let mut flowd = flow.job.start(&[]);
    let mut bytes = event("2", "made");
    bytes["contenttype"] = "image/png".into();
    bytes["contentencoding"] = "base64".into();
    bytes["data"] = "AAE=".into();
    flow.publish(&[event("1", "made"), bytes]);
    let requests = flow.requests(&mut flowd, 2);
    assert_eq!((&*requests[0].path, requests[0].header("x-tenant")), ("/in/out.orders", "a"));
    assert_eq!((requests[0].header("ce-id"), requests[0].header("ce-type")), ("1", "made"));
    assert_eq!(requests[0].header("ce-partitionkey"), "{%22id%22:1}");
    assert_eq!(requests[0].header("ce-rsp0group"), "", "what the mesh added is not sent on");
    assert_eq!(
        (requests[0].header("content-type"), &*requests[0].body),
        ("application/json", "{\"id\":\"1\"}")
    );
    assert_eq!((requests[1].header("content-type"), &*requests[1].body), ("image/png", "\0\u{1}"));
    stop(flowd);
}

#[test]
fn an_event_is_sent_in_structured_mode_whole() {
    let mut flow = Flow::new().set("connectorConfig.mode", "structured");
    let mut flowd = flow.job.start(&[]);
    flow.publish(&[event("1", "made")]);
    let request = &flow.requests(&mut flowd, 1)[0];
    assert_eq!(request.header("content-type"), "application/cloudevents+json");
    let sent: Value = serde_json::from_str(&request.body).expect("JSON");
    assert_eq!((&sent["id"], &sent["data"]), (&json!("1"), &json!({"id": "1"})));
    assert_eq!(sent["datacontenttype"], "application/json");
    stop(flowd);
}

#[test]
fn a_batch_that_is_refused_is_halved_until_the_event_to_blame_is_alone() {
    let mut flow = Flow::new().set("connectorConfig.mode", "batch").set("connectorConfig.batchEvents", "16");
    flow.job = flow.job.with_dead_letters();
    let events: Vec<Value> =
        (0..40).map(|id| event(&id.to_string(), if id == 11 { "refuse" } else { "made" })).collect();
    flow.publish(&events);
    let mut flowd = flow.job.start(&[]);
    let mut taken = Vec::new();
    until("all other events", || {
        assert!(flowd.is_running(), "flowd ended: {}", flowd.log());
        let requests = flow.server.taken();
        requests.iter().filter(|request| !request.refused).for_each(|request| taken.extend(ids(request)));
        (taken.len() >= 39).then_some(())
    });
    let expected: Vec<String> = (0..40).filter(|id| *id != 11).map(|id: u32| id.to_string()).collect();
    assert_eq!(taken, expected, "each once, and in order, since they have one key");
    stop(flowd);
    let letters = flow.job.dead_letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(
        letters[0]["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("422") && reason.contains("not this one"))
    );
}

#[test]
fn an_answer_later_is_obeyed_and_nothing_of_the_key_overtakes() {
    let mut flow = Flow::new();
    flow.publish(&[event("1", "made"), event("2", "later"), event("3", "made")]);
    let begin = std::time::Instant::now();
    let mut flowd = flow.job.start(&[]);
    let requests = flow.requests(&mut flowd, 3);
    let ids: Vec<&str> = requests.iter().map(|request| request.header("ce-id")).collect();
    assert_eq!(ids, ["1", "2", "3"], "none twice: what was taken is not sent again");
    assert!(begin.elapsed().as_millis() >= 1000, "retry-after: 1");
    assert!(flowd.log().contains("503"), "{}", flowd.log());
    stop(flowd);
}

#[test]
fn a_request_without_an_answer_is_sent_again_under_its_id() {
    let mut flow = Flow::new();
    flow.publish(&[event("1", "hang-up"), event("2", "made")]);
    let mut flowd = flow.job.start(&[]);
    let requests = flow.requests(&mut flowd, 3);
    let ids: Vec<&str> = requests.iter().map(|request| request.header("ce-id")).collect();
    assert_eq!(ids, ["1", "1", "2"]);
    stop(flowd);
}

#[test]
fn a_redirect_is_not_followed_and_ends_the_run_with_where_it_leads() {
    let flow = Flow::new();
    flow.publish(&[event("1", "elsewhere")]);
    flow.job.start(&[]).wait().expect_code(3).expect_log("/other").expect_log("connectorConfig.url");
}

#[test]
fn a_server_is_believed_over_tls_only_if_its_authority_is_known() {
    let (authority, other) = (Authority::new("test authority"), Authority::new("other authority"));
    authority.sign("server", "IP:127.0.0.1");
    let mut flow = Flow::new();
    flow.server =
        HttpServer::start_with(&["--tls", &authority.path("server.pem"), &authority.path("server-key.pem")]);
    let url = format!("https://127.0.0.1:{}/", flow.server.port);
    let mut flow =
        flow.set("connectorConfig.url", &url).set("connectorConfig.sslCa", &authority.path("ca.pem"));
    flow.publish(&[event("1", "made")]);
    let mut flowd = flow.job.start(&[]);
    assert_eq!(flow.requests(&mut flowd, 1)[0].header("ce-id"), "1");
    stop(flowd);
    let flow = flow.set("connectorConfig.sslCa", &other.path("ca.pem"));
    flow.job.start(&[]).wait().expect_code(3).expect_log("sslCa");
}

#[test]
fn flowd_delivers_to_flowd_after_a_handshake() {
    let (far, port) = (Mesh::start(), free_port());
    let listen = format!("127.0.0.1:{port}");
    let source = Job::source("http-source", &far, "copied")
        .set("connectorConfig.listen", &listen)
        .set("connectorConfig.allowedOrigins", "[flowd.example.com]")
        .set("connectorConfig.token", "s3cret");
    let sink = Flow::new()
        .set("connectorConfig.url", &format!("http://{listen}/"))
        .set("connectorConfig.token", "s3cret")
        .set("connectorConfig.origin", "flowd.example.com");
    let source = source.start(&[]);
    let mut sent = event("1", "made");
    sent["contenttype"] = "text/plain".into();
    sent["data"] = "text".into();
    sink.publish(&[sent.clone()]);
    let sending = sink.job.start(&[]);
    let arrived = far.read("copied", |events| events.len() == 1).0.remove(0);
    assert_eq!((arrived.id(), arrived.key(), arrived.data()), ("1", Some("{\"id\":1}"), &json!("text")));
    assert_eq!(
        (&arrived.json["contenttype"], &arrived.json["originalsubject"]),
        (&json!("text/plain"), &json!(TOPIC))
    );
    stop(sending);
    let stranger = sink.set("connectorConfig.origin", "other.example.com");
    stranger.job.start(&[]).wait().expect_code(3).expect_log("origin");
    stop(source);
}
