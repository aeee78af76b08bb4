//! The embedded mesh as a process, and a publisher that speaks to it.

use std::io::{Read, Write};
use std::net::TcpStream;

use flowd_codec::frame::{Command, Decoder, Frame, Header, UserAgent, encode_parts};

use super::{Events, Flowd, free_port, until};

/// `flowd mesh` with a data directory, on a port that it keeps across restarts.
pub struct Mesh {
    pub port: u16,
    options: Vec<String>,
    directory: tempfile::TempDir,
    process: Option<Flowd>,
}

impl Mesh {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With further options, which hold for every restart.
    pub fn start_with(options: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("flowd-mesh-").tempdir().unwrap();
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut mesh = Self { port: free_port(), options, directory, process: None };
        mesh.restart();
        mesh
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.take().expect("the mesh runs").kill();
    }

    /// Starts it on what it stored.
    pub fn restart(&mut self) {
        let listen = self.address();
        let data = self.directory.path().join("data").display().to_string();
        let mut arguments = vec!["mesh", "--listen", &listen, "--data", &data];
        arguments.extend(self.options.iter().map(String::as_str));
        self.process = Some(Flowd::launch(self.directory.path(), &arguments));
        until("the mesh to listen", || TcpStream::connect(&listen).ok());
    }

    /// Starts it with nothing of what it had.
    pub fn restart_empty(&mut self) {
        std::fs::remove_dir_all(self.directory.path().join("data")).unwrap();
        self.restart();
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The process, while it runs.
    pub fn process(&self) -> &Flowd {
        self.process.as_ref().expect("the mesh runs")
    }

    /// Stops it from reading and answering, without closing a connection (`STOP`), or lets it go on (`CONT`).
    pub fn signal(&self, name: &str) {
        self.process().signal(name);
    }

    /// A `flowd tail` of one topic.
    pub fn tail(&self, topic: &str) -> Flowd {
        let address = self.address();
        Flowd::launch(self.directory.path(), &["tail", "--mesh", &address, "--topic", topic])
    }

    /// Reads a topic from its oldest event until `enough`.
    pub fn read(&self, topic: &str, enough: impl Fn(&Events) -> bool) -> Events {
        let (mut tail, mut read, mut events) = (self.tail(topic), 0, Events::default());
        until(&format!("enough events of {topic}"), || {
            assert!(tail.is_running(), "flowd tail ended: {}", tail.log());
            // Each line is parsed once: a long topic would keep the machine from everything else.
            let lines = tail.lines_from(&mut read).join("\n") + "\n";
            events.0.extend(Events::parse(&lines).0);
            enough(&events).then_some(())
        });
        tail.kill();
        events
    }
}

/// How many publishes wait for their answers.
const WINDOW: usize = 64;

/// Publishes structured CloudEvents in their order; each must be taken.
pub fn publish(mesh: &Mesh, events: &[String]) {
    let stream = TcpStream::connect(mesh.address()).unwrap();
    let mut publisher = Publisher { stream, decoder: Decoder::new() };
    let text = |text: &str| Some(text.to_owned());
    let agent = UserAgent {
        env: text("TEST"),
        subsystem: text("tests"),
        idc: text("DC1"),
        group: text("tests"),
        purpose: text("pub"),
        ..UserAgent::of_process(std::process::id())
    };
    let hello = Header::request(Command::HelloRequest, "hello");
    publisher.ask(&[(hello, &serde_json::to_vec(&agent).unwrap())]);
    let requests: Vec<(Header, &[u8])> = events
        .iter()
        .enumerate()
        .map(|(number, event)| (publication(&number.to_string()), event.as_bytes()))
        .collect();
    requests.chunks(WINDOW).for_each(|some| publisher.ask(some));
}

fn publication(number: &str) -> Header {
    let mut header = Header::request(Command::AsyncMessageToServer, number);
    for (name, value) in
        [("protocoltype", "cloudevents"), ("protocolversion", "1.0"), ("protocoldesc", "tcp")]
    {
        header.properties.set(name, value);
    }
    header
}

struct Publisher {
    stream: TcpStream,
    decoder: Decoder,
}

impl Publisher {
    /// Sends requests of one kind, and waits for all answers.
    fn ask(&mut self, requests: &[(Header, &[u8])]) {
        let mut out = Vec::new();
        requests.iter().for_each(|(header, body)| encode_parts(header, body, &mut out));
        self.stream.write_all(&out).unwrap();
        for (header, _) in requests {
            let answer = self.answer();
            assert_eq!(Some(answer.header.command), header.command.answer());
            assert_eq!(answer.header.code, 0, "{:?}", answer.header.desc);
        }
    }

    fn answer(&mut self) -> Frame {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if let Some(frame) = self.decoder.next_frame().expect("the mesh sends frames") {
                return frame;
            }
            let read = self.stream.read(&mut buffer).unwrap();
            assert!(read > 0, "the mesh closed the connection");
            self.decoder.feed(&buffer[..read]);
        }
    }
}
