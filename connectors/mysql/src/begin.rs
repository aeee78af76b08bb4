//! Where a run begins and where it ends: the stored position, or what the user asks of a first start, held against
//! what the server still has and ever had. flowd never moves a position by itself: one that cannot be had is a failure
//! that says what is missing.

use flowd_binlog::gtid::{BadGtid, GtidList, GtidSet, MariaGtid};
use flowd_engine::failure::Failure;

use crate::config::MySqlConfig;
use crate::connection::Connection;
use crate::position::{BinlogPosition, Gtids, StartAt, StopAt, is_behind};
use crate::query::text;
use crate::scan;
use crate::server::Flavor;
use crate::status::{ServerStatus, executed_gtids, gtid_position, server_status};

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
    pub position: BinlogPosition,
    /// Where it ends by itself.
    pub end: Option<End>,
}

/// Decides where to begin and end.
pub fn decide(
    config: &MySqlConfig,
    stored: Option<BinlogPosition>,
    start_at: &StartAt,
    stop_at: Option<&StopAt>,
) -> Result<Beginning, Failure> {
    let mut connection = Connection::connect(config)?;
    let status = server_status(&mut connection)?;
    let position = match stored {
        Some(position) => resumed(position, &status, config),
        None => first(config, &mut connection, &status, start_at)?,
    };
    check_reachable(&mut connection, &status, &position)?;
    let end = stop_at.map(|stop_at| end(&connection, &status, stop_at)).transpose()?;
    connection.close();
    Ok(Beginning { position, end })
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
        Ok::<_, Failure>(BinlogPosition {
            server: status.identity.to_string(),
            gtids,
            file: file.into(),
            offset,
            open: None,
            filter: config.filter.fingerprint(),
            by_place: false,
        })
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

/// Fails where the server no longer has what comes next, or never had what is behind us.
fn check_reachable(
    connection: &mut Connection,
    status: &ServerStatus,
    position: &BinlogPosition,
) -> Result<(), Failure> {
    if let Gtids::MySql(ours) = &position.gtids
        && status.has_gtids
    {
        let executed: GtidSet = executed_gtids(connection)?.parse().map_err(|error| unreadable(&error))?;
        let purged: GtidSet = status.purged.parse().map_err(|error| unreadable(&error))?;
        check_mysql(ours, &executed, &purged)?;
    }
    match &position.gtids {
        Gtids::MySql(_) if !position.by_place => Ok(()),
        Gtids::MariaDb(ours) => {
            let executed = executed_gtids(connection)?;
            check_maria(ours, &executed, &status.purged)
        }
        _ => {
            let server = status.identity.to_string();
            if position.server != server {
                return Err(Failure::Unusable(format!(
                    "the position {} belongs to server {}, this is {server}: a file and offset mean nothing on another \
                     server, and what comes next may have no GTIDs to go by",
                    position.place(),
                    position.server
                )));
            }
            check_place(status, &position.file, position.offset)
        }
    }
}

fn check_mysql(ours: &GtidSet, executed: &GtidSet, purged: &GtidSet) -> Result<(), Failure> {
    let never = ours.minus(executed);
    if !never.is_empty() {
        return Err(Failure::Unusable(format!(
            "the server never had the transactions {never}, which the position counts as done: it was reset, it is \
             another server, or a replica that lags behind (it has {executed})"
        )));
    }
    let gone = purged.minus(ours);
    if !gone.is_empty() {
        return Err(Failure::Unusable(format!(
            "the server has purged the transactions {gone}, which come after the position {ours}: they cannot be read \
             any more. Start anew with another registry, after copying the tables"
        )));
    }
    Ok(())
}

/// `executed` holds the last GTID of every domain and server, so a domain may be named several times.
fn check_maria(ours: &GtidList, executed: &str, purged: &str) -> Result<(), Failure> {
    let mut highest = std::collections::BTreeMap::new();
    for gtid in executed.split(',').filter(|gtid| !gtid.is_empty()) {
        let gtid: MariaGtid = gtid.parse().map_err(|error| unreadable(&error))?;
        let seq = highest.entry(gtid.domain).or_insert(0);
        *seq = gtid.seq.max(*seq);
    }
    for gtid in ours.iter() {
        if highest.get(&gtid.domain).is_none_or(|seq| *seq < gtid.seq) {
            return Err(Failure::Unusable(format!(
                "the server never had the transaction {gtid}, which the position counts as done: it was reset, it is \
                 another server, or a replica that lags behind (it has {executed})"
            )));
        }
    }
    let purged: GtidList = purged.parse().map_err(|error| unreadable(&error))?;
    if !ours.contains_all(&purged) {
        return Err(Failure::Unusable(format!(
            "the server has purged transactions up to {purged}, the position stands at {ours}: what lies between \
             cannot be read any more. Start anew with another registry, after copying the tables"
        )));
    }
    Ok(())
}

fn check_place(status: &ServerStatus, file: &str, offset: u64) -> Result<(), Failure> {
    let Some(log) = status.logs.iter().find(|log| log.file == file) else {
        let known = match (status.logs.first(), status.logs.last()) {
            (Some(first), Some(last)) => format!("it has {} to {}", first.file, last.file),
            _ => "it has none".into(),
        };
        return Err(Failure::Unusable(format!(
            "the server has no binlog file {file}: it was purged, or the server was reset ({known})"
        )));
    };
    if offset > log.size {
        return Err(Failure::Unusable(format!(
            "the position {file}:{offset} lies behind the end of the file, which has {} bytes: the server was reset",
            log.size
        )));
    }
    Ok(())
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

fn unreadable(error: &BadGtid) -> Failure {
    Failure::Unusable(format!("the server's GTIDs cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "7c8a0b8e-e766-11f1-8ec1-02fc00000001";

    fn set(numbers: &str) -> GtidSet {
        format!("{A}:{numbers}").parse().expect("a set")
    }

    #[test]
    fn a_position_that_was_purged_or_never_was_is_refused_with_what_is_missing() {
        assert_eq!(check_mysql(&set("1-10"), &set("1-20"), &set("1-10")), Ok(()));
        let gone = check_mysql(&set("1-10"), &set("1-20"), &set("1-12")).expect_err("purged");
        assert!(gone.message().contains(&format!("purged the transactions {A}:11-12")), "{gone}");
        let never = check_mysql(&set("1-10"), &set("1-8"), &set("1-2")).expect_err("reset");
        assert!(never.message().contains(&format!("never had the transactions {A}:9-10")), "{never}");
        let list: GtidList = "0-1-10".parse().expect("list");
        assert_eq!(check_maria(&list, "0-2-9,0-1-12", "0-1-3"), Ok(()));
        assert!(check_maria(&list, "0-1-9", "").is_err());
        assert!(check_maria(&list, "0-1-20", "0-1-11").is_err());
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
