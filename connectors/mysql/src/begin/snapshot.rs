//! Where a new snapshot begins: a place of the binlog before which every transaction is seen by all reads from now on.
//!
//! The binlog's end is no such place on MySQL: it runs ahead of what reads see. `gtid_executed` does not.

use std::time::{SystemTime, UNIX_EPOCH};

use flowd_engine::failure::Failure;
use rand::Rng;

use super::{boundary, parse_gtids};
use crate::config::MySqlConfig;
use crate::connection::Connection;
use crate::error::WireError;
use crate::position::{Gtids, SourcePosition};
use crate::server::Flavor;
use crate::snapshot::mark::{OPEN_VIEW, end, view_place};
use crate::snapshot::state::SnapshotState;
use crate::status::{ServerStatus, executed_gtids, gtid_position};

/// A new snapshot, nothing read yet.
pub(super) fn begin(
    connection: &mut Connection,
    status: &ServerStatus,
    config: &MySqlConfig,
) -> Result<SourcePosition, Failure> {
    let flavor = connection.server().flavor;
    let (binlog, file, offset) = match (flavor, status.has_gtids) {
        (Flavor::MariaDb, _) => {
            let (gtids, file, offset) = maria_place(connection)?;
            (boundary(status, config, parse_gtids(flavor, &gtids)?, &file, offset), file, offset)
        }
        (Flavor::MySql, true) => {
            let gtids = executed_gtids(connection)?;
            let (file, offset) = end(connection)?;
            (boundary(status, config, parse_gtids(flavor, &gtids)?, "", 0), file, offset)
        }
        (Flavor::MySql, false) => {
            // Tables are read under locks, which wait for whoever is before this place and not done yet.
            let (file, offset) = end(connection)?;
            (boundary(status, config, Gtids::None, &file, offset), file, offset)
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time_us = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
    let id = format!("{time_us:x}-{:08x}", rand::rng().random::<u32>());
    tracing::info!(snapshot = id, place = format!("{file}:{offset}"), gtids = %binlog.gtids, "a new snapshot begins");
    let snapshot = Some(SnapshotState::new(id, time_us, file, offset));
    Ok(SourcePosition { binlog, snapshot, lanes: None })
}

/// The place of a consistent view, and the GTIDs there.
fn maria_place(connection: &mut Connection) -> Result<(String, String, u64), WireError> {
    connection.execute(OPEN_VIEW)?;
    let (file, offset) = view_place(connection)?;
    connection.execute("ROLLBACK")?;
    let gtids = gtid_position(connection, &file, offset)?.unwrap_or_default();
    Ok((gtids, file, offset))
}
