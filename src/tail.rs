//! `flowd tail`: a subscriber that prints events, one JSON a line.
//!
//! It speaks the EventMesh TCP protocol to any server, acknowledges an event after its line is written, and reconnects
//! when the connection is lost. Of a batch it prints the members. Invariant: no event is acknowledged that was not
//! printed; an event may be printed again after a lost connection (delivery is at least once).

use std::io::{self, BufWriter, Write};
use std::time::{Duration, Instant};

use clap::Args;
use flowd_codec::event::view::Data;
use flowd_codec::event::{batch, incoming};
use flowd_codec::frame::{Command, Decoder, Frame, Subscription, SubscriptionMode, UserAgent};
use flowd_codec::session::{ClientSession, Push, Received, Role, SessionError, Timing};
use flowd_engine::back_off::BackOff;
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};

use crate::config::parse_address;
use crate::exit::Ending;
use crate::signals::event_loop;

const CONNECT_MAX: Duration = Duration::from_secs(5);
const SEND_MAX: Duration = Duration::from_secs(20);
/// A first start gives up after this; later it tries for ever.
const START_MAX: Duration = Duration::from_secs(30);
const READ_SIZE: usize = 64 << 10;
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Arguments of `flowd tail`.
#[derive(Debug, Clone, Args)]
pub struct TailArguments {
    /// Address of the EventMesh server
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:10000", value_parser = parse_address)]
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
    #[error("{0}")]
    Session(#[from] SessionError),
    #[error("the server said: {reason}")]
    SentAway {
        reason: String,
        /// Where to go instead, if it named an address.
        to: Option<String>,
    },
    #[error("standard output cannot be written: {0}")]
    Output(io::Error),
}

impl TailError {
    /// Whether a new connection may be better. A server that says no to who we are or to what we want will say so again.
    fn can_heal(&self) -> bool {
        match self {
            Self::Connection(_) | Self::SentAway { .. } | Self::Session(SessionError::Silent { .. }) => true,
            Self::Session(SessionError::Refused { request, .. }) => *request == Command::HeartbeatRequest,
            Self::Output(_) => false,
        }
    }
}

/// Prints events until `count` is reached or a signal comes.
///
/// # Errors
/// `Unusable` where the server cannot be reached or refuses, `Fatal` where stdout cannot be written.
pub fn command(arguments: &TailArguments) -> Result<(), Ending> {
    let (runtime, mut signals) = event_loop()?;
    let output = BufWriter::with_capacity(256 << 10, io::stdout().lock());
    let mut tail = Tail {
        arguments: arguments.clone(),
        output,
        left: arguments.count.unwrap_or(u64::MAX),
        listened: false,
    };
    let result = runtime.block_on(async {
        tokio::select! {
            result = tail.run() => result,
            // The second signal takes the default way: nothing here waits long enough to need it.
            _ = signals.next() => Ok(()),
        }
    });
    match result {
        Ok(()) => Ok(()),
        // Whoever reads our output has enough of it.
        Err(TailError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error @ TailError::Output(_)) => Err(Ending::Fatal(error.to_string())),
        Err(error) => Err(Ending::Unusable(error.to_string())),
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
        let mut back_off = BackOff::new(BACK_OFF.0, BACK_OFF.1);
        let mut redirect: Option<String> = None;
        loop {
            let before = self.left;
            // An address that a server sent us to counts once: when it fails, we ask at the door again.
            let mesh = redirect.take().unwrap_or_else(|| self.arguments.mesh.clone());
            match self.follow(&mesh).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let is_start_over = !self.listened && started.elapsed() >= START_MAX;
                    if is_start_over || !error.can_heal() {
                        return Err(error);
                    }
                    tracing::warn!(mesh, %error, "not connected; trying again");
                    if let TailError::SentAway { to, .. } = error {
                        redirect = to;
                    }
                }
            }
            if self.left < before {
                back_off.reset();
            }
            tokio::time::sleep(back_off.wait()).await;
        }
    }

    /// One connection's life; `Ok` when enough was printed.
    async fn follow(&mut self, mesh: &str) -> Result<(), TailError> {
        let subscription = Subscription::new([&*self.arguments.topic], SubscriptionMode::Clustering);
        let session = ClientSession::new(
            agent(&self.arguments.group),
            Role::Subscriber(subscription),
            Timing::default(),
        );
        let mut link = Link::open(mesh, session).await?;
        while !link.session.is_over() {
            link.receive().await?;
            self.print(&mut link)?;
            if self.left == 0 {
                // Its answer says that the acknowledgements before it were taken.
                link.session.leave(Instant::now(), &mut link.out);
            } else if let Some((reason, to)) = link.sent_away.take() {
                link.send().await?;
                return Err(TailError::SentAway { reason, to });
            }
        }
        Ok(())
    }

    /// Prints the events at hand and queues their acknowledgements. Once enough was printed, what else comes is left to
    /// the next subscriber.
    fn print(&mut self, link: &mut Link) -> Result<(), TailError> {
        let mut pushes = Vec::new();
        while let Some(frame) = link.next_frame()? {
            match link.take(&frame)? {
                Received::Push(push) if self.left > 0 => {
                    if self.print_push(&push)? {
                        pushes.push(push);
                    }
                }
                Received::Ready if !std::mem::replace(&mut self.listened, true) => {
                    tracing::info!(topic = %self.arguments.topic, group = %self.arguments.group, "listening");
                }
                _ => {}
            }
        }
        self.output.flush().map_err(TailError::Output)?;
        pushes.iter().for_each(|push| push.write_ack(&mut link.out));
        Ok(())
    }

    /// Whether all of it was printed: a batch may hold more events than were asked for.
    fn print_push(&mut self, push: &Push) -> Result<bool, TailError> {
        if push.code != 0 || push.body.is_empty() {
            tracing::warn!(
                reason = push.reason.as_deref(),
                "the server pushed an event that it could not write"
            );
            return Ok(true);
        }
        for event in members(&push.body).unwrap_or_else(|| vec![&push.body]) {
            if self.left == 0 {
                return Ok(false);
            }
            self.left -= 1;
            self.write_line(event).map_err(TailError::Output)?;
        }
        Ok(true)
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

/// The events of a batch; `None` for anything else.
fn members(body: &[u8]) -> Option<Vec<&[u8]>> {
    let event = incoming::read(body).ok().filter(|event| event.event_type == batch::EVENT_TYPE)?;
    match event.data {
        Data::Json(members) => Some(batch::members(members.get()).collect()),
        Data::Absent | Data::Base64(_) => None,
    }
}

/// A connection: the session's socket and clock.
struct Link {
    stream: TcpStream,
    decoder: Decoder,
    session: ClientSession,
    out: Vec<u8>,
    /// Why the server wants us to go, if it does, and where to.
    sent_away: Option<(String, Option<String>)>,
}

impl Link {
    async fn open(address: &str, session: ClientSession) -> io::Result<Self> {
        let stream = timeout(CONNECT_MAX, TcpStream::connect(address))
            .await
            .unwrap_or_else(|late| Err(late.into()))?;
        stream.set_nodelay(true)?;
        let mut link = Self { stream, decoder: Decoder::new(), session, out: Vec::new(), sent_away: None };
        link.session.start(Instant::now(), &mut link.out);
        Ok(link)
    }

    async fn send(&mut self) -> io::Result<()> {
        let sent =
            timeout(SEND_MAX, self.stream.write_all(&self.out)).await.unwrap_or_else(|late| Err(late.into()));
        self.out.clear();
        sent
    }

    /// Sends what is queued and waits for bytes, which the session's clock may cut short.
    async fn receive(&mut self) -> Result<(), TailError> {
        self.session.tick(Instant::now(), &mut self.out)?;
        self.send().await?;
        let until = self.session.wake_at().expect("a session that is not over waits for something");
        self.decoder.buffer_mut().reserve(READ_SIZE);
        match timeout_at(until.into(), self.stream.read_buf(self.decoder.buffer_mut())).await {
            Ok(Ok(0)) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        self.decoder.next_frame().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Gives a frame to the session and remembers a goodbye.
    fn take<'a>(&mut self, frame: &'a Frame) -> Result<Received<'a>, SessionError> {
        let received = self.session.receive(frame, Instant::now(), &mut self.out)?;
        match &received {
            Received::ServerGoodbye { reason, .. } => self.sent_away = Some((reason.clone(), None)),
            Received::Redirected(Some(to)) => {
                self.sent_away = Some((format!("go to {to}"), Some(to.to_string())));
            }
            Received::Redirected(None) => self.sent_away = Some(("go elsewhere".to_owned(), None)),
            _ => {}
        }
        Ok(received)
    }
}

/// What we say we are; a Java server needs `subsystem` and `idc` to push at all.
fn agent(group: &str) -> UserAgent {
    let text = |text: &str| Some(text.to_owned());
    UserAgent {
        env: text("PRD"),
        subsystem: text("flowd"),
        username: text("flowd"),
        password: text(""),
        idc: text("DEFAULT"),
        group: text(group),
        ..UserAgent::of_process(std::process::id())
    }
}

#[cfg(test)]
mod tests {
    use flowd_codec::frame::{Header, Properties, encode_parts};
    use flowd_codec::session::Outcome;

    use super::*;
    use crate::mesh::{Server, ServerConfig};

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    fn event(id: &str, event_type: &str, data: &str) -> String {
        format!(
            "{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/s\",\"type\":\"{event_type}\",\"subject\":\"T\",\n\"datacontenttype\":\"application/cloudevents+json\",\"data\":{data}}}"
        )
    }

    fn publish(mesh: &str, ids: std::ops::Range<u32>) {
        publish_all(mesh, ids.map(|id| event(&id.to_string(), "t", &format!("{{\"n\":{id}}}"))).collect());
    }

    fn publish_all(mesh: &str, events: Vec<String>) {
        runtime().block_on(async {
            let session = ClientSession::new(agent("p"), Role::Publisher, Timing::default());
            let mut link = Link::open(mesh, session).await.expect("the mesh listens");
            for (id, event) in events.iter().enumerate() {
                let header = Header {
                    properties: Properties::publish(),
                    ..Header::request(Command::AsyncMessageToServer, id.to_string())
                };
                encode_parts(&header, event.as_bytes(), &mut link.out);
            }
            let mut acks = Vec::new();
            while acks.len() < events.len() {
                link.receive().await.expect("the mesh answers");
                while let Some(frame) = link.next_frame().expect("sound frames") {
                    if let Received::Ack(ack) = link.take(&frame).expect("greeted") {
                        acks.push(ack.outcome == Outcome::Accepted);
                    }
                }
            }
            assert!(acks.iter().all(|is_accepted| *is_accepted));
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
    fn of_a_batch_every_member_is_a_line_and_what_was_not_printed_is_not_acknowledged() {
        let server = Server::start(ServerConfig::new("127.0.0.1:0", None)).expect("a free port");
        let mesh = server.address().to_string();
        let members = |ids: std::ops::Range<u32>| {
            let members: Vec<_> = ids.map(|id| event(&id.to_string(), "t", "{\"a\":[1,{}]}")).collect();
            event("x", batch::EVENT_TYPE, &format!("[{}]", members.join(",")))
        };
        let plain = event("7", "t", "\"flowd.batch\"");
        publish_all(&mesh, vec![members(0..3), members(3..7), plain]);
        assert_eq!(tail(&mesh, 5).join().expect("no panic"), ids(0..5));
        assert_eq!(tail(&mesh, 5).join().expect("no panic"), ids(3..8));
        server.shutdown().expect("a clean end");
    }

    #[test]
    fn a_tail_that_is_redirected_goes_on_where_it_was_sent() {
        let there = Server::start(ServerConfig::new("127.0.0.1:0", None)).expect("a free port");
        let mut config = ServerConfig::new("127.0.0.1:0", None);
        config.faults.leave_after = Some(Duration::from_millis(200));
        config.faults.redirect_to = Some(there.address());
        let here = Server::start(config).expect("a free port");
        publish(&here.address().to_string(), 0..10);
        let tail = tail(&here.address().to_string(), 20);
        publish(&there.address().to_string(), 10..20);
        assert_eq!(tail.join().expect("no panic"), ids(0..20));
        here.shutdown().expect("a clean end");
        there.shutdown().expect("a clean end");
    }

    #[test]
    fn only_a_refusal_of_what_we_are_or_want_is_final() {
        let refused =
            |request| TailError::from(SessionError::Refused { request, reason: "no".to_owned() }).can_heal();
        for request in [Command::HelloRequest, Command::SubscribeRequest, Command::ListenRequest] {
            assert!(!refused(request), "{request}");
        }
        // The server has lost our session: a new one will do.
        assert!(refused(Command::HeartbeatRequest));
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
