//! `flowd tail`: a subscriber that prints events, one JSON a line.
//!
//! It speaks the EventMesh TCP protocol to any server, acknowledges an event after its line is written, and reconnects
//! when the connection is lost. Invariant: no event is acknowledged that was not printed; an event may be printed
//! again after a lost connection (delivery is at least once).

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use flowd_codec::frame::{
    Command, Decoder, Frame, Header, Properties, Subscription, SubscriptionMode, UserAgent, encode_parts,
};
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::signals::Signals;

const CONNECT_MAX: Duration = Duration::from_secs(5);
const ANSWER_MAX: Duration = Duration::from_secs(20);
const HEARTBEAT: Duration = Duration::from_secs(20);
/// A first start gives up after this; later it tries for ever.
const START_MAX: Duration = Duration::from_secs(30);
const READ_SIZE: usize = 64 << 10;
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Arguments of `flowd tail`.
#[derive(Debug, Clone, Args)]
pub struct TailArguments {
    /// Address of the EventMesh server
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:10000")]
    pub mesh: String,
    /// Topic to read
    #[arg(long, value_name = "TOPIC")]
    pub topic: String,
    /// Consumer group; the server remembers how far it has read
    #[arg(long, value_name = "GROUP", default_value = "flowd-tail")]
    pub group: String,
    /// End after so many events
    #[arg(long, value_name = "COUNT")]
    pub count: Option<u64>,
}

#[derive(Debug, Error)]
enum TailError {
    #[error("{0}")]
    Connection(#[from] io::Error),
    #[error("the server refused {command}: {text}")]
    Refused { command: Command, text: String },
    #[error("stdout: {0}")]
    Output(io::Error),
}

/// Prints events until `count` is reached or a signal comes. Exit codes: 0 done or stopped, 3 the server cannot be
/// reached or refuses, 4 stdout cannot be written.
pub fn command(arguments: &TailArguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            return ExitCode::from(3);
        }
    };
    let output = BufWriter::with_capacity(256 << 10, io::stdout().lock());
    let mut tail = Tail {
        arguments: arguments.clone(),
        output,
        left: arguments.count.unwrap_or(u64::MAX),
        listened: false,
    };
    let result = runtime.block_on(async {
        let mut signals = Signals::catch()?;
        tokio::select! {
            result = tail.run() => result,
            // The second signal takes the default way: nothing here waits long enough to need it.
            _ = signals.next() => Ok(()),
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has enough of it.
        Err(TailError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(if matches!(error, TailError::Output(_)) { 4 } else { 3 })
        }
    }
}

struct Tail<W: Write> {
    arguments: TailArguments,
    output: W,
    left: u64,
    listened: bool,
}

impl<W: Write> Tail<W> {
    async fn run(&mut self) -> Result<(), TailError> {
        let started = Instant::now();
        let mut pause = BACK_OFF.0;
        loop {
            let before = self.left;
            match self.follow().await {
                Ok(()) => return Ok(()),
                Err(TailError::Connection(error)) => {
                    if !self.listened && started.elapsed() >= START_MAX {
                        return Err(TailError::Connection(error));
                    }
                    tracing::warn!(mesh = %self.arguments.mesh, %error, ?pause, "not connected; trying again");
                }
                Err(error) => return Err(error),
            }
            if self.left < before {
                pause = BACK_OFF.0;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACK_OFF.1);
        }
    }

    /// One connection's life; `Ok` when enough was printed.
    async fn follow(&mut self) -> Result<(), TailError> {
        let mut link = Link::connect(&self.arguments.mesh).await?;
        link.ask(Command::HelloRequest, &json(&agent(&self.arguments.group))).await?;
        let subscription = Subscription::new([&*self.arguments.topic], SubscriptionMode::Clustering);
        link.ask(Command::SubscribeRequest, &json(&subscription)).await?;
        link.ask(Command::ListenRequest, &[]).await?;
        if !std::mem::replace(&mut self.listened, true) {
            tracing::info!(topic = %self.arguments.topic, group = %self.arguments.group, "listening");
        }
        while self.left > 0 {
            let goodbye = self.print(&mut link)?;
            link.send().await?;
            if self.left > 0 {
                if let Some(text) = goodbye {
                    return Err(io::Error::new(
                        io::ErrorKind::ConnectionReset,
                        format!("the server said: {text}"),
                    )
                    .into());
                }
                link.receive().await?;
            }
        }
        // Its answer says that the acknowledgements before it were taken.
        link.ask(Command::ClientGoodbyeRequest, &[]).await
    }

    /// Prints the events at hand and queues their acknowledgements; returns the server's goodbye, if there is one.
    fn print(&mut self, link: &mut Link) -> Result<Option<String>, TailError> {
        let mut goodbye = None;
        let mut acks = Vec::new();
        while self.left > 0
            && let Some(frame) = link.next_frame()?
        {
            match frame.header.command {
                Command::AsyncMessageToClient
                | Command::BroadcastMessageToClient
                | Command::RequestToClient => {
                    if frame.header.code == 0 && !frame.body.is_empty() {
                        self.write_line(&frame.body).map_err(TailError::Output)?;
                        self.left -= 1;
                    } else {
                        tracing::warn!(
                            desc = frame.header.desc,
                            "the server pushed an event that it could not write"
                        );
                    }
                    acks.push(frame.header);
                }
                Command::ServerGoodbyeRequest | Command::RedirectToClient => {
                    goodbye = Some(frame.header.desc.unwrap_or_default());
                }
                _ => {}
            }
        }
        self.output.flush().map_err(TailError::Output)?;
        for push in acks {
            link.queue(push.command.answer().unwrap_or(push.command), push.seq, &[]);
        }
        Ok(goodbye)
    }

    /// A line break in an event's JSON can only be white space.
    fn write_line(&mut self, event: &[u8]) -> io::Result<()> {
        let mut pieces = event.split(|byte| matches!(byte, b'\n' | b'\r'));
        self.output.write_all(pieces.next().unwrap_or_default())?;
        for piece in pieces {
            self.output.write_all(b" ")?;
            self.output.write_all(piece)?;
        }
        self.output.write_all(b"\n")
    }
}

/// A connection: frames in, frames out, heartbeats.
struct Link {
    stream: TcpStream,
    decoder: Decoder,
    out: Vec<u8>,
    seq: u64,
    /// Pushes that came while an answer was waited for.
    early: Vec<Frame>,
}

impl Link {
    async fn connect(address: &str) -> io::Result<Self> {
        let stream = timeout(CONNECT_MAX, TcpStream::connect(address))
            .await
            .unwrap_or_else(|late| Err(late.into()))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, decoder: Decoder::new(), out: Vec::new(), seq: 0, early: Vec::new() })
    }

    fn queue(&mut self, command: Command, seq: Option<String>, body: &[u8]) {
        let header = Header { command, code: 0, desc: None, seq, properties: Properties::new() };
        encode_parts(&header, body, &mut self.out);
    }

    async fn send(&mut self) -> io::Result<()> {
        let sent = timeout(ANSWER_MAX, self.stream.write_all(&self.out))
            .await
            .unwrap_or_else(|late| Err(late.into()));
        self.out.clear();
        sent
    }

    /// Waits for bytes; sends heartbeats meanwhile and gives up on a server that does not answer them.
    async fn receive(&mut self) -> io::Result<()> {
        for wait in [HEARTBEAT, ANSWER_MAX] {
            self.decoder.buffer_mut().reserve(READ_SIZE);
            match timeout(wait, self.stream.read_buf(self.decoder.buffer_mut())).await {
                Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(result) => return result.map(|_| ()),
                Err(_) => {
                    let seq = self.next_seq();
                    self.queue(Command::HeartbeatRequest, Some(seq), &[]);
                    self.send().await?;
                }
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn next_seq(&mut self) -> String {
        self.seq += 1;
        self.seq.to_string()
    }

    fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        if !self.early.is_empty() {
            return Ok(Some(self.early.remove(0)));
        }
        self.decoder.next_frame().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Sends a request and waits for its answer.
    async fn ask(&mut self, command: Command, body: &[u8]) -> Result<(), TailError> {
        let seq = self.next_seq();
        self.queue(command, Some(seq.clone()), body);
        self.send().await?;
        let answer = async {
            let mut early = Vec::new();
            loop {
                match self.next_frame()? {
                    None => {
                        self.decoder.buffer_mut().reserve(READ_SIZE);
                        let read = self.stream.read_buf(self.decoder.buffer_mut()).await?;
                        if read == 0 {
                            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                        }
                    }
                    Some(frame) if Some(frame.header.command) == command.answer() => {
                        self.early.append(&mut early);
                        return Ok(frame.header);
                    }
                    Some(frame) => early.push(frame),
                }
            }
        };
        let header = timeout(ANSWER_MAX, answer).await.unwrap_or_else(|late| Err(late.into()))?;
        match header.code {
            0 => Ok(()),
            _ => Err(TailError::Refused { command, text: header.desc.unwrap_or_default() }),
        }
    }
}

/// What we say we are; a Java server needs `subsystem` and `idc` to push at all.
fn agent(group: &str) -> UserAgent {
    let text = |text: &str| Some(text.to_owned());
    UserAgent {
        env: text("PRD"),
        subsystem: text("flowd"),
        path: text("/"),
        pid: std::process::id().cast_signed(),
        host: text("localhost"),
        version: text("2.0"),
        username: text("flowd"),
        password: text(""),
        idc: text("DEFAULT"),
        group: text(group),
        purpose: text("sub"),
        ..UserAgent::default()
    }
}

fn json(body: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("texts and numbers can be written as JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::{Server, ServerConfig};

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    fn publish(mesh: &str, ids: std::ops::Range<u32>) {
        runtime().block_on(async {
            let mut link = Link::connect(mesh).await.expect("the mesh listens");
            let publisher = UserAgent { purpose: Some("pub".to_owned()), ..agent("p") };
            link.ask(Command::HelloRequest, &json(&publisher)).await.expect("greeted");
            for id in ids {
                let event = format!(
                    "{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/s\",\"type\":\"t\",\"subject\":\"T\",\n\"datacontenttype\":\"application/cloudevents+json\",\"data\":{{\"n\":{id}}}}}"
                );
                let header = Header {
                    properties: Properties::publish(),
                    ..Header::request(Command::AsyncMessageToServer, id.to_string())
                };
                encode_parts(&header, event.as_bytes(), &mut link.out);
            }
            // The answer to a later request says that all publishes before it were taken.
            link.ask(Command::ClientGoodbyeRequest, &[]).await.expect("answered");
        });
    }

    fn tail(mesh: &str, count: u64) -> std::thread::JoinHandle<Vec<String>> {
        let arguments = TailArguments {
            mesh: mesh.to_owned(),
            topic: "T".to_owned(),
            group: "g".to_owned(),
            count: Some(count),
        };
        std::thread::spawn(move || {
            let mut tail = Tail { arguments, output: Vec::new(), left: count, listened: false };
            runtime().block_on(tail.run()).expect("the mesh serves");
            let lines = String::from_utf8(tail.output).expect("text");
            let id = |line: &str| {
                let event: serde_json::Value = serde_json::from_str(line).expect("a JSON line");
                event["id"].as_str().expect("an id").to_owned()
            };
            lines.lines().map(id).collect()
        })
    }

    fn ids(range: std::ops::Range<u32>) -> Vec<String> {
        range.map(|id| id.to_string()).collect()
    }

    #[test]
    fn every_event_is_one_line_and_the_next_tail_goes_on_behind_it() {
        let server = Server::start(ServerConfig::new("127.0.0.1:0", None)).expect("a free port");
        let mesh = server.address().to_string();
        publish(&mesh, 0..200);
        assert_eq!(tail(&mesh, 120).join().expect("no panic"), ids(0..120));
        assert_eq!(tail(&mesh, 80).join().expect("no panic"), ids(120..200));
        server.shutdown().expect("a clean end");
    }

    #[test]
    fn a_tail_outlives_the_mesh_it_reads_from() {
        let data = tempfile::tempdir().expect("a directory");
        let config = |listen: &str| ServerConfig::new(listen, Some(data.path().into()));
        let server = Server::start(config("127.0.0.1:0")).expect("a free port");
        let mesh = server.address().to_string();
        let tail = tail(&mesh, 20);
        publish(&mesh, 0..10);
        server.shutdown().expect("a clean end");
        let server = Server::start(config(&mesh)).expect("the same port");
        publish(&mesh, 10..20);
        let mut seen = tail.join().expect("no panic");
        seen.dedup();
        assert_eq!(seen.first().map(String::as_str), Some("0"));
        assert!(seen.len() >= 10, "{seen:?}");
        server.shutdown().expect("a clean end");
    }
}
