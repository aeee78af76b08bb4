//! A run of any source of messages.

use std::sync::Arc;
use std::time::Duration;

use flowd_engine::checkpoint::{MemoryRegistry, Registry};
use flowd_mesh::publish::stats::Stats;
use flowd_registry::RocksRegistry;
use flowd_source::Progress;
use flowd_source::message_source::MessageSource;

use super::mesh::Mesh;
use super::{Flow, at_start, begin, outward};
use crate::config::{Config, Messages};
use crate::exit::Ending;
use crate::metrics::text::Beside;
use crate::progress::LastPosition;

pub(super) fn run(config: &Config, messages: &Messages) -> Result<(), Ending> {
    let published = Arc::<Stats>::default();
    let (metrics, stop) = begin(&config.pipeline, Beside::Publishing(published.clone()))?;
    let settings = &messages.outward;
    let registry: Box<dyn Registry> = match messages.connector.progress {
        Progress::Outside => Box::<MemoryRegistry>::default(),
        Progress::Registry(_) => {
            let directory = &settings.offset_storage.offset_storage_addr;
            Box::new(RocksRegistry::open(directory, &messages.registry_key()).map_err(at_start)?)
        }
    };
    let mesh = Mesh::of(settings)?;
    let framing = outward::framing(&settings.publishing.target);
    let source = messages.open(stop.clone()).map_err(|wrong| Ending::Misfit(wrong.to_string()))?;
    let flow = Flow {
        source: MessageSource::new(source, framing, messages.source()),
        target: outward::target(config, &settings.publishing, None, mesh.addresses(), published),
        registry,
        sequence: |_| None,
        checkpoint_every: Duration::from_millis(settings.publishing.checkpoint_ms),
        last: LastPosition::default(),
        metrics,
        stop,
    };
    let ended = flow.run(&config.pipeline);
    mesh.end();
    ended
}
