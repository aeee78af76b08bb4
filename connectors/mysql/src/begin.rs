//! Where a run begins and where it ends: the stored position, or what the user asks of a first start, held against
//! what the server still has and ever had. flowd never moves a position by itself: one that cannot be had is a failure
//! that says what is missing, unless the user asks for a new snapshot then.

use flowd_binlog::gtid::{BadGtid, GtidList, GtidSet};
use flowd_engine::failure::Failure;

use crate::catalog::captured_names;
use crate::config::{MySqlConfig, SnapshotMode};
use crate::connection::Connection;
use crate::position::{BinlogPosition, Gtids, SourcePosition, StartAt, StopAt, is_behind};
use crate::query::text;
use crate::scan;
use crate::server::Flavor;
use crate::snapshot::state::SnapshotState;
use crate::status::{ServerStatus, gtid_position, server_status};

mod reach;
mod snapshot;

use reach::{Unreachable, check_place, check_reachable};

/// Where the run stops by itself, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Behind this place, or with these transactions.
    Place {
        /// Binlog file.
        file: String,
        /// Offset behind its last event.
        offset: u64,
        /// The transactions up to there.
        gtids: Gtids,
    },
    /// With these transactions.
    Transactions(Gtids),
}

/// What a start found out.
#[derive(Debug)]
pub struct Beginning {
    /// Where reading begins.
    pub position: SourcePosition,
    /// The tables that a snapshot covers, where one is to be made or finished.
    pub captured: Option<Vec<(String, String)>>,
    /// Where it ends by itself.
    pub end: Option<End>,
    /// Whether the server counts GTIDs.
    pub has_gtids: bool,
}

/// Whether a run that begins with `stored` may read tables.
pub fn may_snapshot(mode: SnapshotMode, stored: Option<&SourcePosition>) -> bool {
    let unfinished = |stored: &SourcePosition| stored.snapshot.as_ref().is_some_and(|state| !state.finished);
    match mode {
        SnapshotMode::Never => false,
        SnapshotMode::WhenNeeded => true,
        SnapshotMode::Initial | SnapshotMode::InitialOnly => stored.is_none_or(unfinished),
    }
}

/// Decides where to begin and end.
pub fn decide(
    connection: &mut Connection,
    config: &MySqlConfig,
    stored: Option<SourcePosition>,
    start_at: &StartAt,
    stop_at: Option<&StopAt>,
) -> Result<Beginning, Failure> {
    let status = server_status(connection)?;
    let position = match stored {
        Some(stored) => stored_or_anew(connection, &status, config, stored)?,
        None if config.snapshot.mode == SnapshotMode::Never => {
            let binlog = first(config, connection, &status, start_at)?;
            check_reachable(connection, &status, &binlog)?;
            SourcePosition { binlog, snapshot: None, lanes: None }
        }
        None => snapshot::begin(connection, &status, config)?,
    };
    let running = position.snapshot.as_ref().is_some_and(|state| !state.finished);
    let captured = running.then(|| captured_names(connection, &config.filter)).transpose()?;
    let end = stop_at.map(|stop_at| end(connection, &status, stop_at)).transpose()?;
    Ok(Beginning { position, captured, end, has_gtids: status.has_gtids })
}

/// The stored position, or a new snapshot where its binlog is gone and the user wants one then.
fn stored_or_anew(
    connection: &mut Connection,
    status: &ServerStatus,
    config: &MySqlConfig,
    stored: SourcePosition,
) -> Result<SourcePosition, Failure> {
    let mode = config.snapshot.mode;
    let SourcePosition { binlog, snapshot, lanes } = stored;
    refuse_other_mode(mode, snapshot.as_ref())?;
    let binlog = resumed(binlog, status, config);
    match check_reachable(connection, status, &binlog) {
        Ok(()) => Ok(SourcePosition { binlog, snapshot, lanes }),
        Err(Unreachable::Gone(text)) if mode == SnapshotMode::WhenNeeded => {
            tracing::warn!("{text}; a new snapshot, as connectorConfig.snapshotMode: whenNeeded says");
            snapshot::begin(connection, status, config)
        }
        Err(unreachable) => Err(unreachable.into()),
    }
}

/// What was done so far and what is asked for now must not leave rows out in silence.
fn refuse_other_mode(mode: SnapshotMode, snapshot: Option<&SnapshotState>) -> Result<(), Failure> {
    match (mode, snapshot) {
        (SnapshotMode::Never, Some(state)) if !state.finished => Err(Failure::Unusable(format!(
            "the registry holds a snapshot that is not finished ({} of {} tables), and connectorConfig.snapshotMode: \
             never would leave the rest out: finish it with snapshotMode: initial, or begin anew with another registry",
            state.tables_done, state.tables
        ))),
        (SnapshotMode::InitialOnly, None) => Err(Failure::Unusable(
            "the registry holds a position of the stream, without a snapshot, and connectorConfig.snapshotMode: \
             initialOnly would do nothing: give the bulk job a registry of its own, or go on with snapshotMode: initial"
                .into(),
        )),
        _ => Ok(()),
    }
}

/// Fails where a position that was reached before cannot be had any more: between two connections the server may have
/// been reset, purged, or replaced by another.
pub fn still_reachable(config: &MySqlConfig, position: &BinlogPosition) -> Result<(), Failure> {
    let mut connection = Connection::connect(config)?;
    let status = server_status(&mut connection)?;
    check_reachable(&mut connection, &status, position)?;
    connection.close();
    Ok(())
}

/// A stored position under today's server and filter: rows of an open transaction count only under the same ones.
fn resumed(mut position: BinlogPosition, status: &ServerStatus, config: &MySqlConfig) -> BinlogPosition {
    let filter = config.filter.fingerprint();
    let server = status.identity.to_string();
    let same_server = position.server == server;
    if (!same_server || position.filter != filter) && position.open.take().is_some() {
        tracing::warn!(
            "server or filter changed: the transaction that was open is emitted again from its start"
        );
    }
    position.filter = filter;
    position.by_place |= !status.has_gtids;
    if !same_server && !position.by_place && position.gtids != Gtids::None && status.has_gtids {
        tracing::warn!(from = position.server, to = server, "another server: going on by GTID");
        position.server = server;
        // Files of another server mean nothing here; the first events say where we are.
        position.file = String::new();
        position.offset = 0;
    }
    position
}

fn first(
    config: &MySqlConfig,
    connection: &mut Connection,
    status: &ServerStatus,
    start_at: &StartAt,
) -> Result<BinlogPosition, Failure> {
    let flavor = connection.server().flavor;
    let at = |gtids: &str, file: &str, offset| {
        let gtids = if status.has_gtids { parse_gtids(flavor, gtids)? } else { Gtids::None };
        Ok::<_, Failure>(boundary(status, config, gtids, file, offset))
    };
    match start_at {
        StartAt::Latest => at(&status.end.gtids, &status.end.file, status.end.position),
        StartAt::Earliest => {
            let oldest = status.logs.first().map_or(status.end.file.as_str(), |log| log.file.as_str());
            // Older files may hold transactions from before the server counted GTIDs, which a start by GTID passes over.
            Ok(BinlogPosition { by_place: flavor == Flavor::MySql, ..at(&status.purged, oldest, 4)? })
        }
        StartAt::Gtid(set) if status.has_gtids => at(set, "", 0),
        StartAt::Gtid(_) => Err(Failure::Unusable(
            "pipeline.startAt names GTIDs, but the server counts none (gtid_mode OFF); start by file and position".into(),
        )),
        StartAt::Place(file, offset) => {
            check_place(status, file, *offset)?;
            check_boundary(connection, file, *offset)?;
            let gtids = match (status.has_gtids, flavor) {
                (false, _) => String::new(),
                (true, Flavor::MariaDb) => gtid_position(connection, file, *offset)?.unwrap_or_default(),
                (true, Flavor::MySql) => scan::gtids_at(config, file, *offset)?.to_string(),
            };
            Ok(BinlogPosition { by_place: flavor == Flavor::MySql, ..at(&gtids, file, *offset)? })
        }
    }
}

/// The position between two transactions of this server, for this filter.
fn boundary(
    status: &ServerStatus,
    config: &MySqlConfig,
    gtids: Gtids,
    file: &str,
    offset: u64,
) -> BinlogPosition {
    BinlogPosition {
        server: status.identity.to_string(),
        gtids,
        file: file.into(),
        offset,
        open: None,
        filter: config.filter.fingerprint(),
        by_place: false,
    }
}

/// Reads a set as the server's kind.
pub fn parse_gtids(flavor: Flavor, text: &str) -> Result<Gtids, Failure> {
    let wrong = |error: BadGtid| {
        Failure::Unusable(format!("the GTIDs \"{text}\" are not of {}'s kind: {error}", flavor.name()))
    };
    match flavor {
        Flavor::MySql => text.parse::<GtidSet>().map(Gtids::MySql).map_err(wrong),
        Flavor::MariaDb => text.parse::<GtidList>().map(Gtids::MariaDb).map_err(wrong),
    }
}

fn end(connection: &Connection, status: &ServerStatus, stop_at: &StopAt) -> Result<End, Failure> {
    let flavor = connection.server().flavor;
    let gtids = |text: &str| if status.has_gtids { parse_gtids(flavor, text) } else { Ok(Gtids::None) };
    match stop_at {
        StopAt::End => Ok(End::Place {
            file: status.end.file.clone(),
            offset: status.end.position,
            gtids: gtids(&status.end.gtids)?,
        }),
        StopAt::Gtid(_) if !status.has_gtids => Err(Failure::Unusable(
            "pipeline.stopAt names GTIDs, but the server counts none (gtid_mode OFF)".into(),
        )),
        StopAt::Gtid(set) => Ok(End::Transactions(gtids(set)?)),
    }
}

impl End {
    /// Whether a stream that stands between two transactions has got there.
    pub fn is_reached(&self, gtids: &Gtids, place: (&str, u64)) -> bool {
        match self {
            Self::Place { file, offset, .. } => !is_behind(place, (file, *offset)),
            Self::Transactions(wanted) => covers(gtids, wanted),
        }
    }

    /// The same for a position before anything was read: its place may be unknown.
    pub fn is_reached_at_start(&self, position: &BinlogPosition) -> bool {
        let by_gtids = match self {
            Self::Place { gtids, .. } => *gtids != Gtids::None && covers(&position.gtids, gtids),
            Self::Transactions(_) => false,
        };
        by_gtids || self.is_reached(&position.gtids, (&position.file, position.offset))
    }
}

fn covers(gtids: &Gtids, wanted: &Gtids) -> bool {
    match (gtids, wanted) {
        (Gtids::MySql(ours), Gtids::MySql(wanted)) => ours.contains_all(wanted),
        (Gtids::MariaDb(ours), Gtids::MariaDb(wanted)) => ours.contains_all(wanted),
        _ => false,
    }
}

/// Fails where the place is not between two transactions: the rest of one would be skipped, or everything before it come
/// again, because GTIDs know no middle.
fn check_boundary(connection: &mut Connection, file: &str, offset: u64) -> Result<(), Failure> {
    // Only a plain text may stand here; the server itself has listed the file under this name.
    let sql = format!("SHOW BINLOG EVENTS IN '{}' FROM {offset} LIMIT 1", file.replace('\'', "''"));
    let next = match connection.query_first(&sql) {
        Ok(row) => row,
        Err(error) if error.code() == Some(WRONG_OFFSET) => return Err(no_event(file, offset)),
        Err(error) => return Err(error.into_failure("looking at the place that pipeline.startAt names")),
    };
    match next {
        // The end of the file.
        None => Ok(()),
        // MySQL looks for the next event by itself.
        Some(row) if text(&row, 1) != offset.to_string() => Err(no_event(file, offset)),
        Some(row) if BETWEEN.contains(&text(&row, 2).as_str()) => Ok(()),
        Some(row) => Err(Failure::Unusable(format!(
            "the position {file}:{offset} lies inside a transaction (a {} event begins there): start where the \
             transaction begins, at its GTID event",
            text(&row, 2)
        ))),
    }
}

/// ER_ERROR_WHEN_EXECUTING_COMMAND, as SHOW BINLOG EVENTS ends where no event begins at the place.
const WRONG_OFFSET: u16 = 1220;

/// The events that stand outside of transactions or begin one, as SHOW BINLOG EVENTS names them.
const BETWEEN: [&str; 10] = [
    "Format_desc",
    "Previous_gtids",
    "Gtid",
    "Gtid_tagged",
    "Anonymous_Gtid",
    "Rotate",
    "Stop",
    "Gtid_list",
    "Binlog_checkpoint",
    "Start_encryption",
];

fn no_event(file: &str, offset: u64) -> Failure {
    Failure::Unusable(format!(
        "no event begins at the position {file}:{offset}: give one that SHOW BINLOG EVENTS IN '{file}' lists as Pos"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const A: &str = "7c8a0b8e-e766-11f1-8ec1-02fc00000001";

    pub(super) fn set(numbers: &str) -> GtidSet {
        format!("{A}:{numbers}").parse().expect("a set")
    }

    #[test]
    fn the_end_counts_when_the_place_or_all_transactions_are_behind() {
        let end = End::Transactions(Gtids::MySql(set("5-9")));
        assert!(end.is_reached(&Gtids::MySql(set("1-9")), ("", 0)));
        assert!(!end.is_reached(&Gtids::MySql(set("1-8")), ("binlog.9", 4)));
        let end = End::Place { file: "binlog.000002".into(), offset: 100, gtids: Gtids::None };
        assert!(!end.is_reached(&Gtids::None, ("binlog.000002", 99)));
        assert!(end.is_reached(&Gtids::None, ("binlog.000002", 100)));
    }
}
