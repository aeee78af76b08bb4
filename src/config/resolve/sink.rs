//! What a sink is told: the topics that it reads, and where it puts what they bring.

use std::time::Duration;

use flowd_sink::file::FileSettings;

use super::{connector_name, servers, topic};
use crate::config::problem::Origin;
use crate::config::setting::Section;
use crate::config::values::Values;

/// What every sink is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The logical name.
    pub connector_name: String,
    /// EventMesh servers, each `host:port`; at least one. A server in this process would have nothing to read.
    pub servers: Vec<String>,
    /// Topics to read; at least one.
    pub topics: Vec<String>,
    /// Where a sink of rows tells what it applied; `None`: as each source's name says.
    pub applied_topic: Option<String>,
    /// How long a sink of rows waits for a missing event while its source goes on; `None`: as long as it does by itself.
    pub gap_wait: Option<Duration>,
}

pub(super) fn reading(values: &mut Values<'_>) -> Reading {
    Reading {
        connector_name: connector_name(values),
        servers: values.parsed(Section::PubSub, "meshAddress", |text, _| servers(text)).unwrap_or_default(),
        topics: values.parsed(Section::PubSub, "subject", |text, _| topics(text)).unwrap_or_default(),
        applied_topic: values.parsed(Section::Pipeline, "appliedTopic", |text, _| topic(text)),
        gap_wait: values.number(Section::Pipeline, "gapWaitMs").map(Duration::from_millis),
    }
}

/// A sink that keeps no rows knows neither order nor what is applied.
pub(super) fn records_nothing(values: &mut Values<'_>, reading: &Reading) {
    let given =
        [("appliedTopic", reading.applied_topic.is_some()), ("gapWaitMs", reading.gap_wait.is_some())];
    for (name, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
        let text = format!("is for sinks of rows, and {} is none; remove it", values.connector().name());
        values.problem(Section::Pipeline, name, text);
    }
}

/// Each once, in the order in which they are written.
fn topics(text: &str) -> Result<Vec<String>, String> {
    let mut topics: Vec<String> = Vec::new();
    for one in text.split(',').map(str::trim) {
        if one.contains(['{', '}']) {
            return Err(
                "topics by their full names, comma-separated; the fields {db} and {table} are a source's"
                    .to_owned(),
            );
        }
        let one =
            topic(one).map_err(|_| "topics, comma-separated, each of letters, digits, `.`, `_`, `-`")?;
        if !topics.contains(&one) {
            topics.push(one);
        }
    }
    Ok(topics)
}

pub(super) fn file(values: &mut Values<'_>, reading: &Reading) -> FileSettings {
    records_nothing(values, reading);
    let section = Section::Connector;
    let beside = format!("{}.jsonl", reading.connector_name);
    let path = values.path(section, "path");
    FileSettings {
        path: path.unwrap_or_else(|| values.absolute(&beside, &Origin::Default)),
        rotate_bytes: values.number(section, "rotateBytes"),
        rotate_every: values.number(section, "rotateSeconds").map(Duration::from_secs),
    }
}
