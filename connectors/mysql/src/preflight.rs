//! What a run looks at before it reads: what the server lacks, and what of the configuration its tables contradict.

use std::time::{Duration, Instant};

use flowd_engine::failure::Failure;
use flowd_engine::stop::Stop;

use crate::captured::{TopicOwners, topic};
use crate::catalog::{captured_names, excluded_key};
use crate::check::{Ourselves, Severity, check, replicas};
use crate::config::MySqlConfig;
use crate::connection::Connection;
use crate::dump::{HEARTBEAT_EVERY, Replica};

/// How long a dead replica's registration may live: the server's write after the first one that fails.
const LEFTOVER_WAIT: Duration = HEARTBEAT_EVERY.saturating_mul(3);

/// Fails where the run cannot work; `subject` is the topic's template, `snapshot` whether one may run, which needs more
/// than the stream does. Warnings are logged.
pub(crate) fn preflight(
    connection: &mut Connection,
    config: &MySqlConfig,
    replica: &Replica,
    subject: &str,
    snapshot: bool,
    stop: &Stop,
) -> Result<(), Failure> {
    await_leftover(connection, replica, stop);
    findings(connection, config, replica, snapshot)?;
    topics(connection, config, subject)?;
    keys(connection, config)
}

/// Another flowd that holds our id may be one that was killed: the server notices that with its next heartbeats. Only
/// one that stays is a problem.
fn await_leftover(connection: &mut Connection, replica: &Replica, stop: &Stop) {
    let began = Instant::now();
    let mut said = false;
    while began.elapsed() < LEFTOVER_WAIT {
        let others = replicas(connection).unwrap_or_default();
        let Some(holder) =
            others.iter().find(|other| replica.is_held_by(other) && other.host.starts_with("flowd-"))
        else {
            return;
        };
        if !said {
            let wait_s = LEFTOVER_WAIT.as_secs();
            tracing::warn!(
                wait_s,
                "serverId {} is held by {}; waiting in case that flowd is dead",
                replica.server_id,
                holder.host
            );
            said = true;
        }
        if stop.wait(Duration::from_millis(250)) {
            return;
        }
    }
}

/// What the server lacks; a problem is the end.
fn findings(
    connection: &mut Connection,
    config: &MySqlConfig,
    replica: &Replica,
    snapshot: bool,
) -> Result<(), Failure> {
    let ourselves = Ourselves { uuid: replica.uuid.clone(), host: replica.host.clone() };
    let mut problems = Vec::new();
    for finding in check(connection, config, &ourselves, snapshot)? {
        match finding.severity {
            Severity::Problem => problems.push(finding.to_string()),
            Severity::Warning => tracing::warn!(remedy = finding.remedy, "{}", finding.what),
            Severity::Note => tracing::debug!(remedy = finding.remedy, "{}", finding.what),
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Failure::Unusable(format!("the source cannot be used:\n{}", problems.join("\n")))),
    }
}

/// Refuses two captured tables that the replacement of characters gives one topic.
fn topics(connection: &mut Connection, config: &MySqlConfig, subject: &str) -> Result<(), Failure> {
    let mut topics = TopicOwners::default();
    let names = captured_names(connection, &config.filter)?;
    if names.is_empty() {
        tracing::warn!(
            "no table is captured yet: connectorConfig.tableIncludeList and tableExcludeList fit none"
        );
    }
    for (schema, table) in names {
        topics.claim(subject, &schema, &table).map_err(|other| {
            Failure::Unusable(format!(
                "tables {other} and {schema}.{table} would share the topic {}, because characters outside \
                 [A-Za-z0-9._-] become `_`: leave one out by connectorConfig.tableExcludeList, or give them another \
                 pubSubConfig.subject",
                topic(subject, &schema, &table)
            ))
        })?;
    }
    Ok(())
}

/// Refuses a key column that is left out: its table's rows could not be told apart. A key that is no primary key, or a
/// table that comes later, is refused with its first row.
fn keys(connection: &mut Connection, config: &MySqlConfig) -> Result<(), Failure> {
    match excluded_key(connection, &config.filter)? {
        None => Ok(()),
        Some((schema, table, column)) => Err(Failure::Configuration(format!(
            "connectorConfig.columnExcludeList leaves out {schema}.{table}.{column}, which is part of the primary key: \
             take it out of the list, or leave the table out by connectorConfig.tableExcludeList"
        ))),
    }
}
