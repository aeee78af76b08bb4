//! The whole: builds the rings and budgets, and starts the threads.
//!
//! One thread for the source, one for each lane, one for the target, one for the checkpoints; the caller's own watches
//! (`watch`). Whatever ends the pipeline, the way down is the same: the source's side closes, what was produced before
//! flows out, the target acknowledges, the last checkpoint is stored. When the target or the checkpoints fail, the far
//! side closes too. A panic in any thread is a fatal failure.
//!
//! The way down has a bound (`drain_max`) from the moment of a stop or a failure. Threads that are still busy then are
//! left behind: the process is expected to end.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::budget::{Budget, Pool, Shares};
use crate::checkpoint::{Checkpoint, Checkpointer, Marks, Registry};
use crate::collect::{Collector, Shared};
use crate::failure::Failure;
use crate::lane::{Dealer, Lane, Packed, Work};
use crate::metrics::Metrics;
use crate::record::Position;
use crate::reject::{OnReject, Rejects};
use crate::ring::{Closer, Receiver, Sender, ring};
use crate::sequence::{SequenceRecord, SequenceSettings, Sequencer};
use crate::stop::Stop;
use crate::watch::{News, State, Valves, Watch, spawn};
use crate::worker::{Source, Target};

/// How a pipeline is built and bounded.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Encode lanes, at least 1.
    pub lanes: usize,
    /// What all buffers together may hold, in bytes; see [`Shares`].
    pub memory_bytes: usize,
    /// Time between checkpoints.
    pub checkpoint_every: Duration,
    /// How long the way down may take after a stop or a failure.
    pub drain_max: Duration,
    /// What is done with an event that cannot be sent.
    pub on_reject: OnReject,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lanes: 1,
            memory_bytes: 256 * 1024 * 1024,
            checkpoint_every: Duration::from_secs(1),
            drain_max: Duration::from_secs(30),
            on_reject: OnReject::Stop,
        }
    }
}

/// How a pipeline ended without failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything up to the end that the user asked for is acknowledged.
    Reached,
    /// It was asked to stop, and everything that was read is acknowledged.
    Stopped,
    /// It was asked to stop, and not everything was acknowledged in time. What was is saved.
    DrainTimedOut,
}

/// A pipeline whose source and target have been started.
pub struct Pipeline<S: Source> {
    /// Started, at `begin`.
    pub source: S,
    /// Started.
    pub target: Box<dyn Target<S::Event>>,
    /// Where checkpoints go.
    pub registry: Box<dyn Registry>,
    /// What the source's `start` returned.
    pub begin: Position,
    /// Sizes and bounds.
    pub settings: Settings,
    /// How events are counted, if they are.
    pub sequence: Option<SequenceSettings<S::Event>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Brings the pipeline down from elsewhere.
    pub stop: Stop,
}

impl<S: Source> Pipeline<S> {
    /// Runs until the source ends, a stop, or a failure. `begin` is stored before anything is read, so that a process
    /// that dies before its first checkpoint begins there again.
    ///
    /// # Errors
    /// The first failure of any part; a panic is `Fatal`.
    ///
    /// # Panics
    /// Without a lane there is no pipeline.
    pub fn run(self) -> Result<Outcome, Failure> {
        assert!(self.settings.lanes > 0, "a pipeline needs at least one lane");
        let rejects = Rejects::open(self.settings.on_reject.clone(), self.metrics.clone())?;
        let marks = Marks::new();
        let (news, received) = mpsc::channel();
        let parts = Parts::build(&self.source, &self.settings, &self.metrics);
        let begin = Begin {
            position: self.begin,
            sequence: self.sequence.as_ref(),
            every: self.settings.checkpoint_every,
        };
        let checkpointer = begin.checkpoints(self.registry, &marks, &self.metrics)?;
        let sequencer = self.sequence.zip(checkpointer.sequence.as_ref());
        let sequencer = sequencer.map(|(settings, record)| Sequencer::new(settings, record));
        let dealer = Dealer::new(parts.intake, parts.source_budget, &marks, self.metrics.clone());
        let shared = Shared {
            pool: parts.pool,
            budgets: parts.lane_budgets,
            marks,
            metrics: self.metrics,
            failed: Box::new({
                let news = news.clone();
                move |failure| drop(news.send(News::Failed(failure)))
            }),
        };
        let mut collector = Collector::new(parts.packed, shared, rejects, sequencer);
        self.stop.on_request({
            let (valves, news) = (parts.valves.clone(), news.clone());
            move || {
                (valves.close_near)();
                drop(news.send(News::Stop));
            }
        });

        let running = parts.lanes.len() + 2;
        let (end, ended) = mpsc::channel();
        let mut threads =
            vec![spawn("checkpoints", &news, News::Checkpoints, move || checkpointer.run(&ended))?];
        for (index, lane) in parts.lanes.into_iter().enumerate() {
            threads.push(spawn(&format!("lane {index}"), &news, News::Lane, move || lane.run())?);
        }
        let (source, target) = (self.source, self.target);
        threads.push(spawn("target", &news, News::Target, move || {
            target.run(&mut collector)?;
            collector.finished()
        })?);
        threads.push(spawn("source", &news, News::Source, move || {
            let mut dealer = dealer;
            source.run(&mut dealer)
        })?);
        let watch = Watch {
            news: received,
            valves: parts.valves,
            drain_max: self.settings.drain_max,
            running,
            state: State::default(),
        };
        watch.run(end, threads)
    }
}

/// Where checkpoints begin.
struct Begin<'a, E> {
    position: Position,
    sequence: Option<&'a SequenceSettings<E>>,
    every: Duration,
}

impl<E> Begin<'_, E> {
    /// Stores the beginning, unless it is what is stored already, and makes the checkpointer. The counts go on from
    /// what is stored where the position does.
    fn checkpoints(
        self,
        registry: Box<dyn Registry>,
        marks: &Marks,
        metrics: &Arc<Metrics>,
    ) -> Result<Checkpointer, Failure> {
        let Self { position, sequence, every } = self;
        let stored = registry.load()?;
        let same_position = stored.as_ref().is_some_and(|stored| stored.acked == position);
        let counted = stored.as_ref().map(|stored| &stored.extra[..]).unwrap_or_default();
        let resume = |settings| SequenceRecord::resume(settings, counted, same_position, now_us());
        let sequence = sequence.map(resume).transpose()?;
        let current = Checkpoint {
            read: position.clone(),
            emitted: position.clone(),
            acked: position,
            time_us: 0,
            extra: sequence.as_ref().map(SequenceRecord::encode).unwrap_or_default(),
        };
        let known = same_position && stored.is_some_and(|stored| stored.extra == current.extra);
        let (marks, metrics) = (marks.clone(), metrics.clone());
        let mut checkpointer = Checkpointer {
            registry,
            current,
            sequence,
            marks,
            every,
            metrics,
            clock: now_us,
            sleep: thread::sleep,
        };
        if !known {
            checkpointer.store()?;
        }
        Ok(checkpointer)
    }
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The lanes, with rings and budgets around them.
struct Parts<R, E, C> {
    intake: Vec<Sender<Work<R>>>,
    source_budget: Arc<Budget>,
    lanes: Vec<Lane<R, E, C>>,
    packed: Vec<Receiver<Packed<E>>>,
    lane_budgets: Vec<Arc<Budget>>,
    pool: Arc<Pool<E>>,
    valves: Arc<Valves>,
}

/// Batches that wait before each lane, and parcels after it, at most.
const QUEUED_MAX: usize = 8;

impl<R: Send + 'static, E: Send + 'static, C> Parts<R, E, C> {
    fn build<S>(source: &S, settings: &Settings, metrics: &Arc<Metrics>) -> Self
    where
        S: Source<Record = R, Event = E, Encoder = C>,
    {
        let shares = Shares::of(settings.memory_bytes);
        let pool = Pool::new(shares.parcels, settings.lanes);
        let source_budget = Budget::new(shares.source);
        let (mut intake, mut lanes, mut packed, mut lane_budgets) = (vec![], vec![], vec![], vec![]);
        let (mut near, mut far) = (vec![], vec![]);
        for _ in 0..settings.lanes {
            let (work_in, input) = ring(QUEUED_MAX);
            let (output, packed_out) = ring(QUEUED_MAX);
            let budget = Budget::new(shares.lane(settings.lanes));
            near.push(work_in.closer());
            far.push(output.closer());
            intake.push(work_in);
            packed.push(packed_out);
            lane_budgets.push(budget.clone());
            let (encoder, pool, metrics) = (source.encoder(), pool.clone(), metrics.clone());
            lanes.push(Lane { encoder, input, output, budget, pool, metrics });
        }
        let queued_max = i64::try_from(QUEUED_MAX * settings.lanes).unwrap_or(i64::MAX);
        metrics.batches_queued_max.set(queued_max);
        metrics.parcels_queued_max.set(queued_max);
        let valves = valves(near, source_budget.clone(), far, lane_budgets.clone());
        Self { intake, source_budget, lanes, packed, lane_budgets, pool, valves }
    }
}

fn valves<R: Send + 'static, E: Send + 'static>(
    near: Vec<Closer<Work<R>>>,
    source_budget: Arc<Budget>,
    far: Vec<Closer<Packed<E>>>,
    lane_budgets: Vec<Arc<Budget>>,
) -> Arc<Valves> {
    Arc::new(Valves {
        close_near: Box::new(move || {
            source_budget.close();
            near.iter().for_each(Closer::close);
        }),
        close_far: Box::new(move || {
            lane_budgets.iter().for_each(|budget| budget.close());
            far.iter().for_each(Closer::close);
        }),
    })
}

#[cfg(test)]
mod tests;
