//! Another EventMesh, an embedded one: the bare loop of the bridge listens and acknowledges, as it does beside the bare loop
//! of a sink.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flowd_codec::event::{EventWriter, Framing, Template};
use flowd_codec::frame::{Command, Decoder, Header, Subscription, SubscriptionMode, UserAgent, encode_parts};
use flowd_mesh::MeshConfig;
use flowd_mesh::subscribe::{Feed, feed};

use super::{Connector, System, Way, Work, message};
use crate::Failure;
use crate::mesh::Mesh;

const TOPIC: &str = "far.messages";
/// Events that are published at once.
const AT_ONCE: u64 = 256;

pub(crate) const SOURCE: Connector = Connector {
    name: "eventmesh-source",
    way: Way::Source,
    times: 4,
    begin: |directory| {
        let program = std::env::current_exe()?;
        let flowd = program.parent().and_then(Path::parent).ok_or("no build directory")?.join("flowd");
        Ok(Box::new(Far { flowd, directory: directory.to_owned(), mesh: None }))
    },
    bare: |work, arguments| {
        let [address, topic] = arguments else { return Err("no address and topic".into()) };
        let config = MeshConfig { addresses: vec![address.clone()], ..MeshConfig::default() };
        let subscription = Subscription::new([topic], SubscriptionMode::Clustering);
        let (feed, reading) = feed(config, subscription, Arc::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (ended, count) = tokio::join!(reading.run(), listen(feed, work.messages));
            ended.map_err(|failure| failure.to_string())?;
            Ok(count)
        })
    },
};

async fn listen(mut feed: Feed, messages: u64) -> u64 {
    let mut count = 0;
    while count < messages
        && let Some(run) = feed.next().await
    {
        count += run.events().count() as u64;
        feed.confirm(run.last);
    }
    count
}

struct Far {
    flowd: PathBuf,
    directory: PathBuf,
    mesh: Option<Mesh>,
}

impl Far {
    fn address(&self) -> String {
        self.mesh.as_ref().map(Mesh::address).unwrap_or_default()
    }
}

impl System for Far {
    /// A mesh drops what all its groups have read, so each run has its own.
    fn reset(&mut self, work: Work) -> Result<(), Failure> {
        self.mesh = None;
        self.mesh = Some(Mesh::start(&self.flowd, &self.directory, &[])?);
        publish(&self.address(), work)
    }

    fn settings(&self) -> String {
        format!("sourceMeshAddress: \"{}\", topics: [{TOPIC}]", self.address())
    }

    fn arguments(&self) -> Vec<String> {
        vec![self.address(), TOPIC.to_owned()]
    }

    fn count(&mut self) -> Result<u64, Failure> {
        Err("a source's messages are counted where they go".into())
    }
}

/// Publishes all messages over one connection.
fn publish(address: &str, work: Work) -> Result<(), Failure> {
    let mut publisher = Publisher { stream: TcpStream::connect(address)?, decoder: Decoder::new() };
    let text = |text: &str| Some(text.to_owned());
    let agent = UserAgent {
        env: text("PERF"),
        subsystem: text("perf"),
        idc: text("DC1"),
        group: text("perf"),
        purpose: text("pub"),
        ..UserAgent::of_process(std::process::id())
    };
    let mut out = Vec::new();
    encode_parts(&Header::request(Command::HelloRequest, "hello"), &serde_json::to_vec(&agent)?, &mut out);
    publisher.ask(&out, 1)?;
    let template = Template::new(Framing::EventMesh, "/perf", "perf.message", TOPIC);
    for first in (0..work.messages).step_by(AT_ONCE as usize) {
        out.clear();
        let numbers = first..work.messages.min(first + AT_ONCE);
        for number in numbers.clone() {
            let mut writer = EventWriter::begin(&mut out, &template);
            writer.id(|out| out.extend_from_slice(number.to_string().as_bytes()));
            writer.time_us(1_764_028_800_000_000);
            writer.partition_key((number % 1000).to_string().as_bytes());
            message(number, work.bytes, writer.data());
            writer.finish();
        }
        publisher.ask(&out, numbers.end - numbers.start)?;
    }
    Ok(())
}

struct Publisher {
    stream: TcpStream,
    decoder: Decoder,
}

impl Publisher {
    /// Sends frames and takes as many good answers.
    fn ask(&mut self, frames: &[u8], answers: u64) -> Result<(), Failure> {
        self.stream.write_all(frames)?;
        let (mut buffer, mut left) = (vec![0; 256 * 1024], answers);
        while left > 0 {
            match self.decoder.next_frame()? {
                Some(frame) if frame.header.code == 0 => left -= 1,
                Some(frame) => return Err(format!("refused: {:?}", frame.header.desc).into()),
                None => {
                    let read = self.stream.read(&mut buffer)?;
                    if read == 0 {
                        return Err("the mesh closed the connection".into());
                    }
                    self.decoder.feed(&buffer[..read]);
                }
            }
        }
        Ok(())
    }
}
