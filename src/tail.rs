//! `flowd tail`: a subscriber that prints events, one JSON a line.
//!
//! It reads from any server that speaks the EventMesh TCP protocol, acknowledges an event after its line is written, and
//! stays through outages. Of a batch it prints the members. Invariant: no event is acknowledged that was not printed; an
//! event may be printed again after a lost connection (delivery is at least once).

use std::io::{self, BufWriter, Write};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use flowd_codec::event::view::Data;
use flowd_codec::event::{batch, incoming};
use flowd_codec::frame::{Subscription, SubscriptionMode};
use flowd_codec::json::write_on_one_line;
use flowd_engine::failure::Failure;
use flowd_engine::record::Body;
use flowd_mesh::MeshConfig;
use flowd_mesh::subscribe::stats::Stats;
use flowd_mesh::subscribe::{Feed, Run, feed};
use thiserror::Error;
use tokio::time::{interval, timeout};

use crate::config::parse_address;
use crate::exit::Ending;
use crate::signals::event_loop;

/// A first start gives up after this; later it tries for ever.
const START_MAX: Duration = Duration::from_secs(30);
/// How long the last acknowledgements may take.
const END_MAX: Duration = Duration::from_secs(20);

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
    Mesh(#[from] Failure),
    #[error("no connection to {0} within {START_MAX:?}; `--mesh` names the server")]
    NotThere(String),
    #[error("standard output cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// Prints events until `count` is reached or a signal comes.
///
/// # Errors
/// `Unusable` where the server cannot be reached or refuses, `Fatal` where stdout cannot be written.
pub fn command(arguments: &TailArguments) -> Result<(), Ending> {
    let (runtime, mut signals) = event_loop()?;
    let output = BufWriter::with_capacity(256 << 10, io::stdout().lock());
    let mut tail = Tail { output, left: arguments.count.unwrap_or(u64::MAX) };
    let result = runtime.block_on(async {
        tokio::select! {
            result = tail.run(arguments) => result,
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
    output: W,
    left: u64,
}

impl<W: Write> Tail<W> {
    async fn run(&mut self, arguments: &TailArguments) -> Result<(), TailError> {
        let stats = Arc::<Stats>::default();
        let subscription = Subscription::new([&*arguments.topic], SubscriptionMode::Clustering);
        let (mut feed, reading) = feed(mesh_config(arguments), subscription, stats.clone());
        let mut reading = pin!(reading.run());
        let mut start = pin!(was_there(&stats));
        let mut has_started = false;
        while self.left > 0 {
            tokio::select! {
                result = &mut reading => return Ok(result?),
                run = feed.next() => match run {
                    Some(run) => self.print(&run, &mut feed)?,
                    None => return Ok(reading.await?),
                },
                was_there = &mut start, if !has_started => match was_there {
                    true => has_started = true,
                    false => return Err(TailError::NotThere(arguments.mesh.clone())),
                },
            }
        }
        drop(feed);
        // What was printed is acknowledged, if the server still listens.
        timeout(END_MAX, reading).await.unwrap_or(Ok(())).map_err(TailError::from)
    }

    /// Prints what a run brought and confirms it. Once enough was printed, what else came is left to the next subscriber.
    fn print(&mut self, run: &Run, feed: &mut Feed) -> Result<(), TailError> {
        let mut printed = run.last;
        for push in &run.pushes {
            if !self.print_event(push.body().of(&run.bytes))? {
                printed = push.number() - 1;
                break;
            }
        }
        self.output.flush()?;
        feed.confirm(printed);
        Ok(())
    }

    /// Whether all of it was printed: a batch may hold more events than were asked for.
    fn print_event(&mut self, event: &[u8]) -> io::Result<bool> {
        for event in members(event).unwrap_or_else(|| vec![event]) {
            if self.left == 0 {
                return Ok(false);
            }
            self.left -= 1;
            self.write_line(event)?;
        }
        Ok(true)
    }

    fn write_line(&mut self, event: &[u8]) -> io::Result<()> {
        let mut line = Vec::with_capacity(event.len() + 1);
        write_on_one_line(&mut line, event);
        line.push(b'\n');
        self.output.write_all(&line)
    }
}

/// The events of a batch; `None` for anything else.
fn members(event: &[u8]) -> Option<Vec<&[u8]>> {
    let event = incoming::read(event).ok().filter(|event| event.event_type == batch::EVENT_TYPE)?;
    match event.data {
        Data::Json(members) => Some(batch::members(members).collect()),
        Data::Absent | Data::Base64(_) => None,
    }
}

/// Whether the server was there within the bound of a first start.
async fn was_there(stats: &Stats) -> bool {
    const LOOK: Duration = Duration::from_millis(500);
    let (started, mut looks) = (Instant::now(), interval(LOOK));
    while started.elapsed() < START_MAX {
        looks.tick().await;
        if stats.connected.value() > 0 || stats.pushes.value() > 0 {
            return true;
        }
    }
    false
}

/// What we say we are; a Java server needs `subsystem` and `idc` to push at all.
fn mesh_config(arguments: &TailArguments) -> MeshConfig {
    MeshConfig {
        addresses: vec![arguments.mesh.clone()],
        env: "PRD".to_owned(),
        idc: "DEFAULT".to_owned(),
        group: arguments.group.clone(),
        app_id: "flowd".to_owned(),
        user_name: "flowd".to_owned(),
        ..MeshConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpStream;

    use flowd_codec::frame::{Command, Decoder, Header, Properties, UserAgent, encode_parts};
    use flowd_codec::session::{ClientSession, Outcome, Received, Role, Timing};

    use super::*;
    use crate::mesh::{Server, ServerConfig};

    fn event(id: &str, event_type: &str, data: &str) -> String {
        format!(
            "{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/s\",\"type\":\"{event_type}\",\"subject\":\"T\",\n\"datacontenttype\":\"application/cloudevents+json\",\"data\":{data}}}"
        )
    }

    fn publish(mesh: &str, ids: std::ops::Range<u32>) {
        let events: Vec<_> = ids.map(|id| event(&id.to_string(), "t", &format!("{{\"n\":{id}}}"))).collect();
        publish_all(mesh, &events);
    }

    /// Publishes all of them at once and waits for the answers.
    fn publish_all(mesh: &str, events: &[String]) {
        let agent = UserAgent { group: Some("p".to_owned()), ..UserAgent::of_process(std::process::id()) };
        let mut session = ClientSession::new(agent, Role::Publisher, Timing::default());
        let (mut stream, mut decoder, mut out) =
            (TcpStream::connect(mesh).expect("the mesh listens"), Decoder::new(), Vec::new());
        session.start(Instant::now(), &mut out);
        for (id, event) in events.iter().enumerate() {
            let publish = Header::request(Command::AsyncMessageToServer, id.to_string());
            let header = Header { properties: Properties::publish(), ..publish };
            encode_parts(&header, event.as_bytes(), &mut out);
        }
        stream.write_all(&out).expect("the mesh reads");
        let mut left = events.len();
        let mut buffer = [0; 64 << 10];
        while left > 0 {
            let size = stream.read(&mut buffer).expect("the mesh answers");
            assert_ne!(size, 0, "the mesh has gone");
            decoder.buffer_mut().extend_from_slice(&buffer[..size]);
            while let Some(frame) = decoder.next_frame().expect("sound frames") {
                if let Received::Ack(ack) =
                    session.receive(&frame, Instant::now(), &mut out).expect("greeted")
                {
                    assert!(ack.outcome == Outcome::Accepted, "{ack:?}");
                    left -= 1;
                }
            }
        }
    }

    fn tail(mesh: &str, count: u64) -> std::thread::JoinHandle<Vec<String>> {
        let arguments = TailArguments {
            mesh: mesh.to_owned(),
            topic: "T".to_owned(),
            group: "g".to_owned(),
            count: Some(count),
        };
        std::thread::spawn(move || {
            let mut tail = Tail { output: Vec::new(), left: count };
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(tail.run(&arguments)).expect("the mesh serves");
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
        publish_all(&mesh, &[members(0..3), members(3..7), plain]);
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
