//! `flowd run`: joins a source, the engine and a target, and says how it ended. Which they are is decided once, in
//! [`command`]; `source` and `messages` wire a source to its target, `sink` EventMesh to a sink.
//!
//! Order of a start: signals and metrics, the registry (in use: the end), the embedded mesh if there is one, then
//! source and target, tried for `pipeline.startMs`.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use flowd_engine::checkpoint::Registry;
use flowd_engine::failure::Failure;
use flowd_engine::metrics::Metrics;
use flowd_engine::pipeline::{Outcome, Pipeline, Settings};
use flowd_engine::reject;
use flowd_engine::sequence::SequenceSettings;
use flowd_engine::start::start;
use flowd_engine::stop::Stop;
use flowd_engine::worker::{Source, Target};

use crate::cli::RunArgs;
use crate::config::{self, Connector, Flag, OnReject};
use crate::exit::{self, Ending};
use crate::load::{Naming, load};
use crate::metrics::text::{Beside, Numbers};
use crate::progress::{LastPosition, Progress};
use crate::service;

mod mesh;
mod messages;
mod outward;
mod sink;
mod source;

pub(crate) use source::registry_name;

/// The most encode lanes: one source reads no more than these encode.
const LANES_MAX: usize = 8;

pub(crate) fn command(args: &RunArgs, flags: Vec<Flag>) -> Result<(), Ending> {
    let config = load(args, flags, Naming::Required)?;
    match &config.connector {
        Connector::MySqlCdc(source) => source::run(&config, source),
        Connector::FileSink(reading, file) => sink::into_files(&config, reading, file),
        Connector::StdoutSink(reading) => sink::into_stdout(&config, reading),
        Connector::Messages(messages) => messages::run(&config, messages),
        Connector::Delivery(reading, delivery) => sink::deliver(&config, reading, delivery),
    }
}

/// The first of all: numbers to count in, served where they are asked for, and a stop that signals reach.
fn begin(config: &config::Pipeline, beside: Beside) -> Result<(Arc<Metrics>, Stop), Ending> {
    let numbers = Numbers { pipeline: Arc::default(), beside };
    numbers.pipeline.source_lag_bytes.set(-1);
    let stop = Stop::new();
    service::start(config, &numbers, &stop).map_err(at_start)?;
    Ok((numbers.pipeline, stop))
}

/// At a start every failure but a wrong configuration means that something cannot be used.
fn at_start(failure: Failure) -> Ending {
    match failure {
        Failure::Configuration(text) => Ending::Misfit(text),
        Failure::Retry(text) | Failure::Unusable(text) | Failure::Fatal(text) => Ending::Unusable(text),
    }
}

/// Tells how a source's events are counted, if they are.
type Counting<S> = fn(&S) -> Option<SequenceSettings<<S as Source>::Event>>;

/// Source and target before they are started.
struct Flow<S: Source> {
    source: S,
    target: Box<dyn Target<S::Event>>,
    registry: Box<dyn Registry>,
    /// How events are counted, once the source is started and knows what that depends on.
    sequence: Counting<S>,
    checkpoint_every: Duration,
    /// The acknowledged position, in words.
    last: LastPosition,
    metrics: Arc<Metrics>,
    stop: Stop,
}

impl<S: Source> Flow<S> {
    fn run(mut self, config: &config::Pipeline) -> Result<(), Ending> {
        let start_max = Duration::from_millis(config.start_ms);
        let (target, registry) = (self.target.as_mut(), self.registry.as_ref());
        let started = start(&mut self.source, target, registry, start_max, &self.stop);
        let Some(begin) = started.map_err(at_start)? else {
            tracing::info!("stopped before anything was read");
            return Ok(());
        };
        let progress = Progress::show(self.metrics.clone(), self.last);
        let settings = settings(config, self.checkpoint_every)?;
        let sequence = (self.sequence)(&self.source);
        let Self { source, target, registry, metrics, stop, .. } = self;
        let pipeline =
            Pipeline { source, target, registry, begin, settings, sequence, metrics: metrics.clone(), stop };
        let result = pipeline.run();
        drop(progress);
        let (rows, checkpoints) = (metrics.acked.rows.value(), metrics.checkpoints.value());
        match &result {
            Ok(Outcome::Reached) => {
                tracing::info!(events = rows, checkpoints, "finished: the end is reached");
            }
            Ok(Outcome::Stopped) => tracing::info!(events = rows, checkpoints, "stopped"),
            Ok(Outcome::DrainTimedOut) | Err(_) => {}
        }
        exit::of_run(result)
    }
}

fn settings(config: &config::Pipeline, checkpoint_every: Duration) -> Result<Settings, Ending> {
    let memory_bytes = usize::try_from(config.memory);
    Ok(Settings {
        lanes: lanes(),
        memory_bytes: memory_bytes
            .map_err(|_| Ending::Unusable("pipeline.memory is too large for this machine".into()))?,
        checkpoint_every,
        drain_max: Duration::from_millis(config.drain_ms),
        on_reject: on_reject(config),
    })
}

fn on_reject(config: &config::Pipeline) -> reject::OnReject {
    match config.on_reject {
        OnReject::Stop => reject::OnReject::Stop,
        OnReject::DeadLetter => reject::OnReject::DeadLetter(config.dead_letter_file.clone()),
    }
}

/// Source and target have a thread each, but encoding is most of the work: as many lanes as processors leave none of them
/// idle, also where there are only two.
fn lanes() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(LANES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_fails_at_a_start_is_exit_code_3_but_a_wrong_configuration() {
        assert_eq!(at_start(Failure::Configuration("x".into())).code(), 2);
        for failure in [Failure::Retry("x".into()), Failure::Unusable("x".into()), Failure::Fatal("x".into())]
        {
            assert_eq!(at_start(failure).code(), 3);
        }
    }
}
