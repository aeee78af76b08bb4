//! What any source of messages and any sink of messages or rows is told: its own settings, read by its list and judged by
//! it, beside what every source or sink is told.

use flowd_engine::budget::Shares;
use flowd_engine::setting::{Settings, Wrong};
use flowd_engine::stop::Stop;
use flowd_sink::deliver::{self, Opened};
use flowd_source::{Context, EventSource, Subject};

use super::connector_name;
use super::publishing::{self, Outward};
use super::sink::{self, Reading};
use crate::config::setting::Section;
use crate::config::values::Values;

/// A source of messages and all that it is told.
#[derive(Debug, Clone)]
pub struct Messages {
    /// Which one.
    pub connector: &'static flowd_source::Connector,
    /// What is its own.
    pub settings: Settings,
    /// Names the topics.
    pub subject: Subject,
    /// What every source is told.
    pub outward: Outward,
    /// The sum of all buffers stays under it, bytes.
    pub memory: u64,
}

impl Messages {
    /// The CloudEvents `source` of its events.
    pub fn source(&self) -> String {
        format!("/flowd/{}/{}", self.connector.name, self.settings.connector_name())
    }

    /// What its position is found by in the registry. No other connector's key is the same.
    pub fn registry_key(&self) -> String {
        format!("{}/{}", self.connector.name, self.settings.connector_name())
    }

    /// Makes the source, which opens nothing yet.
    ///
    /// # Errors
    /// What is wrong with its settings.
    pub fn open(&self, stop: Stop) -> Result<Box<dyn EventSource>, Wrong> {
        let context = Context {
            connector_name: self.settings.connector_name().to_owned(),
            source: self.source(),
            subject: self.subject.clone(),
            event_bytes_max: shares(self.memory).event_bytes_max(),
            stop,
        };
        (self.connector.open)(&self.settings, context)
    }
}

/// A sink of messages or rows and all that it is told.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Which one.
    pub connector: &'static deliver::Connector,
    /// What is its own.
    pub settings: Settings,
    /// The sum of all buffers stays under it, bytes.
    pub memory: u64,
}

impl Delivery {
    /// Makes the sink, which opens nothing yet.
    ///
    /// # Errors
    /// What is wrong with its settings.
    pub fn open(&self) -> Result<Opened, Wrong> {
        let context = deliver::Context {
            connector_name: self.settings.connector_name().to_owned(),
            buffer_bytes: shares(self.memory).snapshot,
        };
        (self.connector.open)(&self.settings, &context)
    }
}

fn shares(memory: u64) -> Shares {
    Shares::of(usize::try_from(memory).unwrap_or(usize::MAX))
}

pub(super) fn source(values: &mut Values<'_>, connector: &'static flowd_source::Connector) -> Messages {
    let name = connector_name(values);
    let settings = values.settings(&name, connector.settings);
    let subject = values.parsed(Section::PubSub, "subject", |text, _| Subject::parse(text, connector.fields));
    let messages = Messages {
        connector,
        settings,
        subject: subject.unwrap_or_else(|| Subject::parse("x", &[]).expect("a topic")),
        outward: publishing::outward(values),
        memory: values.number(Section::Pipeline, "memory").unwrap_or_default(),
    };
    judge(values, || messages.open(Stop::new()));
    messages
}

pub(super) fn sink(
    values: &mut Values<'_>,
    connector: &'static deliver::Connector,
    reading: &Reading,
) -> Delivery {
    let delivery = Delivery {
        connector,
        settings: values.settings(&reading.connector_name, connector.settings),
        memory: values.number(Section::Pipeline, "memory").unwrap_or_default(),
    };
    if let Some(Opened::Events(_)) = judge(values, || delivery.open()) {
        sink::records_nothing(values, reading);
    }
    delivery
}

/// Asks the connector about its settings, once each of them is of its kind.
fn judge<T>(values: &mut Values<'_>, open: impl FnOnce() -> Result<T, Wrong>) -> Option<T> {
    if !values.problems.0.is_empty() {
        return None;
    }
    let opened = open();
    opened.map_err(|Wrong { setting, text }| values.problem(Section::Connector, setting, text)).ok()
}
