//! http-source and http-sink through the kit, and what each promises besides: `source` with curl as its client, `sink` with
//! a server of Python's library as its far side.

use super::kit::{self, Guarded, Process, Receiving, Refusing, Sending, Stalling, System};
use crate::harness::{HttpClient, HttpServer, Job, binary, free_port, structured};

mod sink;
mod source;

/// A client of an http-source.
struct Client {
    port: u16,
    client: HttpClient,
}

impl System for Client {
    const CONNECTOR: &'static str = "http-source";
    const REQUIRED: &'static [&'static str] = &["connectorConfig.connectorName", "connectorConfig.listen"];
    const WRONG: &'static [(&'static str, &'static str)] = &[
        ("connectorConfig.listen", "8080"),
        ("connectorConfig.path", "events"),
        ("connectorConfig.tlsCert", "/cert.pem"),
        ("connectorConfig.userName", "somebody"),
        ("connectorConfig.bodyBytes", "0"),
        ("connectorConfig.bufferBytes", "2KiB"),
        ("connectorConfig.plain", "perhaps"),
        ("connectorConfig.connections", "0"),
        ("pipeline.delivery", "applied"),
    ];

    fn begin() -> Self {
        let port = free_port();
        Self { port, client: HttpClient::to(port) }
    }

    fn configure(&self, job: Job) -> Job {
        job.set("connectorConfig.listen", &format!("127.0.0.1:{}", self.port))
    }
}

impl Sending for Client {
    fn put(&mut self, messages: &[String]) {
        self.client.put(messages.iter().map(|message| {
            let number = kit::number(message);
            let write = if number.is_multiple_of(2) { binary } else { structured };
            write(&format!("message-{number}"), message)
        }));
    }
}

mod source_kit {
    use super::super::kit;
    use super::Client;

    kit::promises!(Client: source);
}

/// The token of a [`Server`].
const TOKEN: &str = "s3cret";

/// A server to which an http-sink posts.
struct Server {
    server: HttpServer,
    taken: Vec<u64>,
}

impl System for Server {
    const CONNECTOR: &'static str = "http-sink";
    const REQUIRED: &'static [&'static str] = &["connectorConfig.connectorName", "connectorConfig.url"];
    const WRONG: &'static [(&'static str, &'static str)] = &[
        ("connectorConfig.url", "example.com"),
        ("connectorConfig.mode", "cloud"),
        ("connectorConfig.batchEvents", "0"),
        ("connectorConfig.connections", "1000"),
        ("connectorConfig.headers", "{ce-id: a}"),
        ("connectorConfig.userName", "somebody"),
        ("connectorConfig.timeoutMs", "soon"),
    ];

    fn begin() -> Self {
        Self { server: HttpServer::start_with(&["--token", TOKEN]), taken: Vec::new() }
    }

    fn configure(&self, job: Job) -> Job {
        job.set("connectorConfig.url", &format!("http://127.0.0.1:{}/", self.server.port))
            .set("connectorConfig.token", TOKEN)
    }
}

impl Receiving for Server {
    fn taken(&mut self) -> Vec<u64> {
        for line in self.server.lines() {
            if !line.ends_with(r#""refused": true}"#) {
                self.taken.push(number_in(&line));
            }
        }
        self.taken.clone()
    }
}

/// The number of a message in a line of the server, without reading all of it.
fn number_in(line: &str) -> u64 {
    let (_, rest) = line.split_once(r#"\"number\":"#).expect("a message of the kit");
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

impl Process for Server {
    fn kill(&mut self) {
        self.server.kill();
    }

    fn restart(&mut self) {
        self.server.restart();
    }
}

impl Stalling for Server {
    fn stall(&mut self) {
        self.server.signal("STOP");
    }

    fn go_on(&mut self) {
        self.server.signal("CONT");
    }
}

impl Guarded for Server {
    fn forge(&self, job: Job) -> (Job, &'static str) {
        (job.set("connectorConfig.token", "guessed"), "401")
    }
}

impl Refusing for Server {
    fn spoil(&mut self, event: &mut serde_json::Value) -> &'static str {
        event["type"] = "refuse".into();
        "422"
    }
}

mod sink_kit {
    use super::super::kit;
    use super::Server;

    kit::promises!(Server: sink);
    kit::promises!(Server: process sink);
    kit::promises!(Server: stalling sink);
    kit::promises!(Server: guarded sink);
    kit::promises!(Server: refusing sink);
}
