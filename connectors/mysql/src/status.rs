//! What the server says about itself: identity, the binlog's end and files, GTIDs gone.
//!
//! One small function a question; nothing is kept. GTID sets are texts here, as the server writes them (without the
//! line ends that MySQL puts in): the stream parses them.

use crate::connection::Connection;
use crate::error::WireError;
use crate::query::{literal, text};
use crate::server::Flavor;

/// The end of the binlog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinlogEnd {
    /// The file being written.
    pub file: String,
    /// The offset behind its last event, bytes.
    pub position: u64,
    /// The GTID set up to here; empty where there are no GTIDs yet or the server counts none. On MySQL it may lack
    /// transactions that were written to the file but not committed yet when it was asked; never the other way round.
    pub gtids: String,
    /// The schemas that alone are logged (`binlog_do_db`), as the server lists them; mostly empty.
    pub logged_only: String,
    /// The schemas that are not logged (`binlog_ignore_db`); mostly empty.
    pub not_logged: String,
}

/// One binlog file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinaryLog {
    /// Its name.
    pub file: String,
    /// Its size, bytes.
    pub size: u64,
}

/// What tells this server's history from another's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// MySQL: `server_uuid`.
    Uuid(String),
    /// MariaDB has no UUID: server id and GTID domain.
    IdAndDomain(u32, u32),
}

impl std::fmt::Display for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Uuid(uuid) => formatter.write_str(uuid),
            Self::IdAndDomain(id, domain) => write!(formatter, "{domain}-{id}"),
        }
    }
}

/// The answers that a start needs, read one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerStatus {
    /// Which server this is.
    pub identity: Identity,
    /// Its server id, which stands in its events.
    pub server_id: u32,
    /// The binlog's end.
    pub end: BinlogEnd,
    /// Its files, oldest first.
    pub logs: Vec<BinaryLog>,
    /// The GTID set that is no longer in the files (MySQL: gtid_purged), or the last GTIDs before the oldest file
    /// (MariaDB).
    pub purged: String,
    /// Whether transactions have GTIDs: always on MariaDB, on MySQL with gtid_mode ON or ON_PERMISSIVE.
    pub has_gtids: bool,
}

/// Asks everything at once.
pub fn server_status(connection: &mut Connection) -> Result<ServerStatus, WireError> {
    Ok(ServerStatus {
        // First of all: what comes while the rest is asked is behind it.
        end: known_binlog_end(connection)?,
        identity: identity(connection)?,
        server_id: number(connection, "SELECT @@global.server_id")?,
        logs: binary_logs(connection)?,
        purged: purged_gtids(connection)?,
        has_gtids: has_gtids(connection)?,
    })
}

/// Which server this is.
pub fn identity(connection: &mut Connection) -> Result<Identity, WireError> {
    match connection.server().flavor {
        Flavor::MySql => {
            let uuid = connection.query_text("SELECT @@global.server_uuid")?;
            Ok(Identity::Uuid(uuid.unwrap_or_default()))
        }
        Flavor::MariaDb => Ok(Identity::IdAndDomain(
            number(connection, "SELECT @@global.server_id")?,
            number(connection, "SELECT @@global.gtid_domain_id")?,
        )),
    }
}

/// The end of the binlog; `None` where the server writes none. Needs REPLICATION CLIENT (MariaDB: BINLOG MONITOR).
pub fn binlog_end(connection: &mut Connection) -> Result<Option<BinlogEnd>, WireError> {
    let statement = binlog_end_statement(connection.server().flavor, connection.server().version);
    let Some(row) = connection.query_first(statement)? else { return Ok(None) };
    let file = text(&row, 0);
    let position = text(&row, 1)
        .parse()
        .map_err(|_| WireError::Protocol(format!("{statement} says position {:?}", text(&row, 1))))?;
    let gtids = match connection.server().flavor {
        Flavor::MySql => one_line(&text(&row, 4)),
        // Asked for this very place: the server's own variable would already be further.
        Flavor::MariaDb => gtid_position(connection, &file, position)?.unwrap_or_default(),
    };
    Ok(Some(BinlogEnd { file, position, gtids, logged_only: text(&row, 2), not_logged: text(&row, 3) }))
}

/// The end of the binlog of a server that must write one.
pub fn known_binlog_end(connection: &mut Connection) -> Result<BinlogEnd, WireError> {
    binlog_end(connection)?.ok_or_else(|| {
        WireError::Refused(
            "the server writes no binlog; set log_bin in its configuration and restart it".into(),
        )
    })
}

/// MySQL 8.4 took the old name away, 8.2 brought the new one; MariaDB kept the old.
fn binlog_end_statement(flavor: Flavor, version: (u16, u16, u16)) -> &'static str {
    if flavor == Flavor::MySql && version >= (8, 2, 0) {
        "SHOW BINARY LOG STATUS"
    } else {
        "SHOW MASTER STATUS"
    }
}

/// The binlog's files, oldest first. Needs REPLICATION CLIENT (MariaDB: BINLOG MONITOR).
pub fn binary_logs(connection: &mut Connection) -> Result<Vec<BinaryLog>, WireError> {
    let result = connection.query("SHOW BINARY LOGS")?;
    let log = |row| {
        let (file, size) = (text(row, 0), text(row, 1));
        let size =
            size.parse().map_err(|_| WireError::Protocol(format!("binlog {file} has size {size:?}")))?;
        Ok(BinaryLog { file, size })
    };
    result.rows.iter().map(log).collect()
}

/// MySQL: the GTID set that was purged. MariaDB: the last GTIDs before the oldest file, empty if nothing was purged.
pub fn purged_gtids(connection: &mut Connection) -> Result<String, WireError> {
    match connection.server().flavor {
        Flavor::MySql => {
            Ok(one_line(&connection.query_text("SELECT @@global.gtid_purged")?.unwrap_or_default()))
        }
        Flavor::MariaDb => match binary_logs(connection)?.into_iter().next() {
            Some(oldest) => Ok(gtid_position(connection, &oldest.file, 4)?.unwrap_or_default()),
            None => Ok(String::new()),
        },
    }
}

/// Every GTID of the server's history: MySQL gtid_executed; MariaDB gtid_binlog_state, the last GTID of every domain
/// and server.
pub fn executed_gtids(connection: &mut Connection) -> Result<String, WireError> {
    let statement = match connection.server().flavor {
        Flavor::MySql => "SELECT @@global.gtid_executed",
        Flavor::MariaDb => "SELECT @@global.gtid_binlog_state",
    };
    Ok(one_line(&connection.query_text(statement)?.unwrap_or_default()))
}

/// MariaDB alone: the GTIDs at a place of a binlog file; `None` where the server has no such file or place.
pub fn gtid_position(
    connection: &mut Connection,
    file: &str,
    position: u64,
) -> Result<Option<String>, WireError> {
    connection.query_text(&format!("SELECT BINLOG_GTID_POS({}, {position})", literal(file)))
}

/// Whether transactions have GTIDs.
pub fn has_gtids(connection: &mut Connection) -> Result<bool, WireError> {
    match connection.server().flavor {
        Flavor::MySql => {
            let mode = connection.query_text("SELECT @@global.gtid_mode")?.unwrap_or_default();
            Ok(mode.starts_with("ON"))
        }
        Flavor::MariaDb => Ok(true),
    }
}

fn number(connection: &mut Connection, sql: &str) -> Result<u32, WireError> {
    let value = connection.query_text(sql)?.unwrap_or_default();
    value.parse().map_err(|_| WireError::Protocol(format!("{sql} says {value:?}, not a number")))
}

/// MySQL writes a set with one UUID a line.
fn one_line(set: &str) -> String {
    set.chars().filter(|c| !c.is_ascii_whitespace()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_asked_for_the_binlogs_end_by_the_name_it_knows() {
        for (flavor, version, expected) in [
            (Flavor::MySql, (8, 0, 36), "SHOW MASTER STATUS"),
            (Flavor::MySql, (8, 2, 0), "SHOW BINARY LOG STATUS"),
            (Flavor::MySql, (9, 7, 4), "SHOW BINARY LOG STATUS"),
            (Flavor::MariaDb, (10, 11, 19), "SHOW MASTER STATUS"),
            (Flavor::MariaDb, (11, 8, 9), "SHOW MASTER STATUS"),
        ] {
            assert_eq!(binlog_end_statement(flavor, version), expected, "{version:?}");
        }
    }

    #[test]
    fn a_set_of_several_lines_becomes_one() {
        assert_eq!(one_line("a:1-5,\nb:1"), "a:1-5,b:1");
    }
}
