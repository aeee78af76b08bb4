//! A run of a sink: a subscriber as source, and what it brings put into a store or written as lines.

use std::sync::Arc;
use std::time::Duration;

use flowd_codec::applied::{ChunkMark, LaneMark};
use flowd_engine::budget::Shares;
use flowd_engine::checkpoint::MemoryRegistry;
use flowd_engine::failure::Failure;
use flowd_engine::worker::{Encode, Target};
use flowd_mesh::announce::{AnnounceSettings, Announcer};
use flowd_mesh::subscribe::feed::Push;
use flowd_mesh::{MeshConfig, MeshSource};
use flowd_sink::announce::{Announce, Finished, Watermark};
use flowd_sink::decode;
use flowd_sink::deliver::Opened;
use flowd_sink::deliver::event;
use flowd_sink::deliver::target::DeliverTarget;
use flowd_sink::file::{FileSettings, FileSink};
use flowd_sink::stdout::StdoutSink;
use flowd_sink::store::Store;
use flowd_sink::target::{SinkSettings, SinkTarget};

use super::mesh::connection;
use super::{Flow, begin};
use crate::config::{Config, Delivery, Reading};
use crate::exit::Ending;
use crate::metrics::sink::SinkNumbers;
use crate::metrics::text::Beside;
use crate::progress::LastPosition;

/// How often the subscriber hears of what is acknowledged at the latest; nothing is stored.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// Into any sink of messages or rows.
pub(super) fn deliver(config: &Config, reading: &Reading, delivery: &Delivery) -> Result<(), Ending> {
    match delivery.open().map_err(|wrong| Ending::Misfit(wrong.to_string()))? {
        Opened::Rows { store, .. } => into_rows(config, reading, store),
        Opened::Events(sink) => {
            let numbers = SinkNumbers::default();
            let target = DeliverTarget::new(sink, numbers.sink.clone());
            run(config, reading, numbers, event::encoder, Box::new(target))
        }
    }
}

fn into_rows(config: &Config, reading: &Reading, store: Box<dyn Store>) -> Result<(), Ending> {
    let numbers = SinkNumbers::default();
    let announce = Announcing {
        config: connection(&config.pub_sub, reading.servers.clone()),
        settings: AnnounceSettings {
            topic: reading.applied_topic.clone(),
            ..AnnounceSettings::new(&*reading.connector_name)
        },
        stats: numbers.announcer.clone(),
        announcer: None,
    };
    let usual = SinkSettings::default();
    let settings = SinkSettings {
        buffer_bytes: buffer_bytes(config),
        gap_wait: reading.gap_wait.unwrap_or(usual.gap_wait),
        ..usual
    };
    let target = SinkTarget::new(store, Box::new(announce), settings, numbers.sink.clone());
    run(config, reading, numbers, decode::encoder, Box::new(target))
}

/// Into files of lines.
pub(super) fn into_files(config: &Config, reading: &Reading, file: &FileSettings) -> Result<(), Ending> {
    let numbers = SinkNumbers::default();
    let target = FileSink::new(file.clone(), numbers.sink.clone());
    run(config, reading, numbers, decode::encoder, Box::new(target))
}

/// To standard output.
pub(super) fn into_stdout(config: &Config, reading: &Reading) -> Result<(), Ending> {
    let numbers = SinkNumbers::default();
    let target = StdoutSink::new(numbers.sink.clone());
    run(config, reading, numbers, decode::encoder, Box::new(target))
}

/// What waits for events before it has the share that is a snapshot's at a source.
fn buffer_bytes(config: &Config) -> usize {
    Shares::of(usize::try_from(config.pipeline.memory).unwrap_or(usize::MAX)).snapshot
}

fn run<E: Send + 'static, C: Encode<Push, E>>(
    config: &Config,
    reading: &Reading,
    numbers: SinkNumbers,
    encoder: fn() -> C,
    target: Box<dyn Target<E>>,
) -> Result<(), Ending> {
    let subscriber = numbers.subscriber.clone();
    let (metrics, stop) = begin(&config.pipeline, Beside::Applying(numbers))?;
    let source = MeshSource::new(
        connection(&config.pub_sub, reading.servers.clone()),
        reading.topics.clone(),
        subscriber,
        encoder,
    );
    let flow = Flow {
        source,
        target,
        registry: Box::<MemoryRegistry>::default(),
        sequence: |_| None,
        checkpoint_every: CHECKPOINT_EVERY,
        last: LastPosition::default(),
        metrics,
        stop,
    };
    flow.run(&config.pipeline)
}

/// Tells the control topic; its thread starts with the first that there is to tell, so that a sink whose sources do not
/// wait for it has none.
struct Announcing {
    config: MeshConfig,
    settings: AnnounceSettings,
    stats: Arc<flowd_mesh::announce::Stats>,
    announcer: Option<Announcer>,
}

impl Announcing {
    fn announcer(&mut self) -> Result<&Announcer, Failure> {
        Ok(match &mut self.announcer {
            Some(announcer) => announcer,
            none => {
                none.insert(Announcer::start(self.config.clone(), self.settings.clone(), self.stats.clone())?)
            }
        })
    }
}

impl Announce for Announcing {
    fn applied(&mut self, source: &str, lanes: &[Watermark<'_>], chunks: &[Finished<'_>]) {
        let announcer = match self.announcer() {
            Ok(announcer) => announcer,
            Err(failure) => return tracing::error!(%failure, "what is applied is not announced"),
        };
        let lanes = lanes.iter().map(|lane| LaneMark {
            epoch: lane.epoch,
            topic: lane.topic.into(),
            lane: lane.lane,
            sequence: lane.sequence,
        });
        let chunks = chunks
            .iter()
            .map(|finished| ChunkMark { snapshot: finished.snapshot.into(), chunk: finished.chunk });
        announcer.applied(source, lanes, chunks);
    }
}
