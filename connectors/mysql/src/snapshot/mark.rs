//! Marks: what a read of a table sees of the binlog, and from where on the binlog holds all that it sees.
//!
//! The binlog runs ahead of what a SELECT can see, so its end is never a low mark. On MySQL the transactions of
//! `gtid_executed`, asked before the read view is made, are seen by it; what is seen beyond them is in the binlog
//! before its end, asked after the view was made. MariaDB names the place that belongs to the view. A server without
//! GTIDs is read under row locks, and its end is asked while they are held.

use flowd_binlog::gtid::GtidSet;

use super::track::Touch;
use crate::connection::Connection;
use crate::error::WireError;
use crate::position::{Gtids, is_behind};
use crate::query::{literal, text};
use crate::server::Flavor;
use crate::status::{BinlogEnd, executed_gtids, known_binlog_end};
use crate::stream::Frontier;
use crate::transaction::TransactionId;

/// How long the server is waited for until it has what the stream has received, s; then asked again.
const BEHIND_WAIT_S: u32 = 1;

/// What a read sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// Surely these transactions, and nothing behind this place.
    Transactions {
        /// Low: all of these.
        low: GtidSet,
        /// High: the binlog's file …
        file: String,
        /// … and offset.
        offset: u64,
    },
    /// Exactly what is before this place.
    Place {
        /// The binlog's file …
        file: String,
        /// … and offset, a boundary between transactions.
        offset: u64,
    },
}

impl Mark {
    /// The place that the stream must have passed before what was read may be handed on.
    pub fn high(&self) -> (&str, u64) {
        match self {
            Self::Transactions { file, offset, .. } | Self::Place { file, offset } => (file, *offset),
        }
    }

    /// Whether the stream has got there.
    pub fn is_reached(&self, place: (&str, u64)) -> bool {
        !is_behind(place, self.high())
    }

    /// Whether the read surely saw what this transaction did.
    pub fn sees(&self, touch: &Touch) -> bool {
        match (self, &touch.transaction) {
            (Self::Transactions { low, .. }, TransactionId::MySql(uuid, number)) => {
                low.contains(*uuid, "", *number)
            }
            (Self::Transactions { low, .. }, TransactionId::Tagged(uuid, tag, number)) => {
                low.contains(*uuid, tag, *number)
            }
            (Self::Transactions { .. }, _) => false,
            (Self::Place { file, offset }, _) => {
                is_behind((&touch.place.file, touch.place.offset), (file, *offset))
            }
        }
    }
}

/// Opens a read view that sees all of `frontier`, and says what it sees. `None`: the server is not that far yet; ask
/// again. Afterwards a transaction is open, also after `None`.
pub fn open_view(connection: &mut Connection, frontier: &Frontier) -> Result<Option<Mark>, WireError> {
    match connection.server().flavor {
        Flavor::MySql => mysql_view(connection, frontier),
        Flavor::MariaDb => maria_view(connection, frontier),
    }
}

/// Opens a read view of the whole server.
pub(crate) const OPEN_VIEW: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";

fn mysql_view(connection: &mut Connection, frontier: &Frontier) -> Result<Option<Mark>, WireError> {
    let Gtids::MySql(received) = &frontier.gtids else {
        return Err(WireError::Refused("the server counts no GTIDs: a view of it has no mark".into()));
    };
    let Some(low) = executed_with(connection, received)? else { return Ok(None) };
    connection.execute(OPEN_VIEW)?;
    let (file, offset) = end(connection)?;
    Ok(Some(Mark::Transactions { low, file, offset }))
}

/// `gtid_executed` once it holds all of `received`.
fn executed_with(connection: &mut Connection, received: &GtidSet) -> Result<Option<GtidSet>, WireError> {
    let executed = executed(connection)?;
    if executed.contains_all(received) {
        return Ok(Some(executed));
    }
    let missing = literal(&received.minus(&executed).to_string());
    connection.query(&format!("SELECT WAIT_FOR_EXECUTED_GTID_SET({missing}, {BEHIND_WAIT_S})"))?;
    let executed = self::executed(connection)?;
    Ok(executed.contains_all(received).then_some(executed))
}

fn executed(connection: &mut Connection) -> Result<GtidSet, WireError> {
    let text = executed_gtids(connection)?;
    text.parse().map_err(|error| WireError::Protocol(format!("gtid_executed cannot be read: {error}")))
}

fn maria_view(connection: &mut Connection, frontier: &Frontier) -> Result<Option<Mark>, WireError> {
    connection.execute(OPEN_VIEW)?;
    let (file, offset) = view_place(connection)?;
    let received = (&*frontier.place.0, frontier.place.1);
    Ok((!is_behind((&file, offset), received)).then_some(Mark::Place { file, offset }))
}

/// The place in MariaDB's binlog that belongs to the open view.
pub fn view_place(connection: &mut Connection) -> Result<(String, u64), WireError> {
    let rows = connection.query("SHOW STATUS LIKE 'binlog_snapshot_%'")?.rows;
    let value = |name: &str| {
        let row = rows.iter().find(|row| text(row, 0).eq_ignore_ascii_case(name));
        row.map(|row| text(row, 1)).unwrap_or_default()
    };
    let (file, offset) = (value("Binlog_snapshot_file"), value("Binlog_snapshot_position").parse());
    match offset {
        Ok(offset) if !file.is_empty() => Ok((file, offset)),
        _ => {
            Err(WireError::Protocol("the server does not say where its snapshot stands in the binlog".into()))
        }
    }
}

/// The binlog's end while the row locks of a read are held: all that it saw is before it, and nobody changed those rows
/// since.
pub fn under_locks(connection: &mut Connection) -> Result<Mark, WireError> {
    let (file, offset) = end(connection)?;
    Ok(Mark::Place { file, offset })
}

/// The binlog's end, file and offset.
pub(crate) fn end(connection: &mut Connection) -> Result<(String, u64), WireError> {
    let BinlogEnd { file, position, .. } = known_binlog_end(connection)?;
    Ok((file, position))
}
