//! A client for tests that knows frames and nothing else.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use flowd_codec::frame::{
    Command, Decoder, Frame, Header, Properties, Subscription, SubscriptionMode, UserAgent, encode_parts,
};
use serde_json::Value;

use super::super::Server;

pub(super) struct Client {
    pub(super) stream: TcpStream,
    decoder: Decoder,
}

impl Client {
    pub(super) fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address()).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
        Self { stream, decoder: Decoder::new() }
    }

    pub(super) fn publisher(server: &Server) -> Self {
        let mut client = Self::connect(server);
        client.hello("pub", "p");
        client
    }

    /// Greeted, subscribed and listening.
    pub(super) fn subscriber(server: &Server, group: &str, topic: &str, mode: SubscriptionMode) -> Self {
        let mut client = Self::connect(server);
        client.hello("sub", group);
        let body = serde_json::to_vec(&Subscription::new([topic], mode)).expect("JSON");
        assert_eq!(client.ask(Command::SubscribeRequest, &body).code, 0);
        assert_eq!(client.ask(Command::ListenRequest, b"").code, 0);
        client
    }

    pub(super) fn hello(&mut self, purpose: &str, group: &str) {
        assert_eq!(self.ask(Command::HelloRequest, &agent(Some(purpose), Some(group), Some("2.0"))).code, 0);
    }

    pub(super) fn send(&mut self, command: Command, seq: &str, properties: Properties, body: &[u8]) {
        let header = Header { properties, ..Header::request(command, seq) };
        let mut out = Vec::new();
        encode_parts(&header, body, &mut out);
        self.stream.write_all(&out).expect("the server reads");
    }

    pub(super) fn ask(&mut self, command: Command, body: &[u8]) -> Header {
        self.send(command, "ask", Properties::new(), body);
        let header = self.receive().header;
        assert_eq!((Some(header.command), header.seq.as_deref()), (command.answer(), Some("ask")));
        header
    }

    pub(super) fn publish(&mut self, topic: &str, id: u64) -> Header {
        let body = event(topic, id);
        self.send(Command::AsyncMessageToServer, &id.to_string(), Properties::publish(), body.as_bytes());
        let frame = self.receive();
        assert_eq!(frame.header.command, Command::AsyncMessageToServerAck);
        assert_eq!(frame.header.seq.as_deref(), Some(id.to_string().as_str()));
        if frame.header.code == 0 {
            let bean: Value = serde_json::from_slice(&frame.body).expect("the ack's body is JSON");
            assert_eq!(bean["id"], id.to_string());
        }
        frame.header
    }

    /// The next frame, or `None` at the end of the stream.
    pub(super) fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().expect("sound frames") {
                return Some(frame);
            }
            let mut bytes = [0; 65536];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.decoder.feed(&bytes[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    pub(super) fn receive(&mut self) -> Frame {
        self.next().expect("the connection is open")
    }

    /// The next push: seq and event id.
    pub(super) fn push(&mut self) -> (String, u64) {
        let frame = self.receive();
        assert!(matches!(
            frame.header.command,
            Command::AsyncMessageToClient | Command::BroadcastMessageToClient
        ));
        assert_eq!(frame.header.properties.get("protocoltype"), Some("cloudevents"));
        let event: Value = serde_json::from_slice(&frame.body).expect("an event");
        let id = event["id"].as_str().and_then(|id| id.parse().ok()).expect("our ids are numbers");
        (frame.header.seq.expect("a push has a seq").into(), id)
    }

    pub(super) fn ack(&mut self, seq: &str) {
        self.send(Command::AsyncMessageToClientAck, seq, Properties::new(), b"\"anything\"");
    }

    /// Takes and acknowledges events until `count` came; returns their ids.
    pub(super) fn drain(&mut self, count: usize) -> Vec<u64> {
        (0..count)
            .map(|_| {
                let (seq, id) = self.push();
                self.ack(&seq);
                id
            })
            .collect()
    }

    /// What was pushed before the server answers a heartbeat, unacknowledged.
    pub(super) fn pushed_so_far(&mut self) -> Vec<u64> {
        let mut ids = Vec::new();
        self.send(Command::HeartbeatRequest, "end", Properties::new(), b"");
        loop {
            let frame = self.receive();
            if frame.header.command == Command::HeartbeatResponse {
                return ids;
            }
            let event: Value = serde_json::from_slice(&frame.body).expect("an event");
            ids.push(event["data"]["n"].as_u64().expect("a number"));
        }
    }

    /// Acknowledgements are taken in order: an answer to what was sent after them says that they were.
    pub(super) fn settle(&mut self) {
        self.send(Command::HeartbeatRequest, "settle", Properties::new(), b"");
        while self.receive().header.command != Command::HeartbeatResponse {}
    }
}

pub(super) fn agent(purpose: Option<&str>, group: Option<&str>, version: Option<&str>) -> Vec<u8> {
    let text = |text: Option<&str>| text.map(str::to_owned);
    let agent = UserAgent {
        purpose: text(purpose),
        group: text(group),
        version: text(version),
        ..UserAgent::default()
    };
    serde_json::to_vec(&agent).expect("JSON")
}

pub(super) fn event(topic: &str, id: u64) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t","subject":"{topic}","datacontenttype":"application/cloudevents+json","data":{{"n":{id}}}}}"#
    )
}
