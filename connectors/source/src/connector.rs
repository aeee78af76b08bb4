//! The contract between flowd and a source of messages.

use flowd_engine::failure::Failure;
use flowd_engine::record::Position;
use flowd_engine::setting::{Preset, Setting, Settings, Wrong};
use flowd_engine::stop::Stop;
use flowd_engine::worker::SourceEnd;

use crate::events::Events;
use crate::subject::Subject;

/// A source connector: one constant, and one line in the table of `src/connectors.rs`.
#[derive(Debug)]
pub struct Connector {
    /// As it is written behind `--connector`.
    pub name: &'static str,
    /// One line for the reader.
    pub help: &'static str,
    /// What it is told under `connectorConfig`, besides `connectorName`, which every connector has.
    pub settings: &'static [Setting],
    /// The fields that `pubSubConfig.subject` may hold, without braces.
    pub fields: &'static [&'static str],
    /// The topic where the user names none: a name, or a template of the fields.
    pub subject: Preset,
    /// Who remembers what was acknowledged.
    pub progress: Progress,
    /// Makes the source. It judges the settings and opens nothing: no connection, no file.
    pub open: Open,
}

/// How a source is made.
pub type Open = fn(&Settings, Context) -> Result<Box<dyn EventSource>, Wrong>;

/// Who remembers what was acknowledged, for a run that begins again.
#[derive(Debug, Clone, Copy)]
pub enum Progress {
    /// The system that is read, because it is told; it gives again what was not acknowledged. Positions live as long as
    /// the run.
    Outside,
    /// flowd's registry. The function puts a stored position into words, for `flowd position`.
    Registry(fn(&Position) -> String),
}

/// What a source gets besides its own settings.
#[derive(Clone)]
pub struct Context {
    /// The logical name.
    pub connector_name: String,
    /// The CloudEvents `source` of its events, `/flowd/<connector>/<connectorName>`.
    pub source: String,
    /// Names the topic of an event.
    pub subject: Subject,
    /// The largest event that has a place in the pipeline, in bytes; a source need not read a larger one whole.
    pub event_bytes_max: usize,
    /// Somebody asked to stop. The pipeline closes with it, so that [`Events`] says so too; of use for a source that sleeps.
    pub stop: Stop,
}

/// A source of messages.
///
/// Promise: an event whose position is acknowledged is durable at the target, or in the dead-letter file. Events are
/// given at least once; the same event must have the same id whenever it is read, so that a repeat can be told.
pub trait EventSource: Send + 'static {
    /// Connects, and checks what can be checked. Begins at `stored` if there is one. Nothing is read here: the position
    /// returned is where `run` begins. `flowd check` calls this alone, and a failure may be followed by another call.
    ///
    /// # Errors
    /// `Retry` for what may heal: it is tried again for `pipeline.startMs`. `Unusable` for what will not (exit code 3):
    /// wrong credentials, something that is named and not there.
    fn start(&mut self, stored: Option<&Position>) -> Result<Position, Failure>;

    /// Reads until its end, until a push says `Closed`, or until a failure that cannot heal. Outages that can heal are
    /// its own business: it waits (`flowd_engine::back_off`) and connects again. On `Closed` it returns
    /// [`SourceEnd::Stopped`], after it has passed on acknowledgements that still come, where it does so.
    ///
    /// # Errors
    /// `Fatal` or `Unusable`, with a reason.
    fn run(self: Box<Self>, out: &mut Events<'_>) -> Result<SourceEnd, Failure>;
}
