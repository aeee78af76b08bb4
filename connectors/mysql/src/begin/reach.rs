//! Whether the server still has what comes after a position, and ever had what is before it.

use flowd_binlog::gtid::{BadGtid, GtidList, GtidSet, MariaGtid};
use flowd_engine::failure::Failure;

use crate::connection::Connection;
use crate::error::WireError;
use crate::position::{BinlogPosition, Gtids};
use crate::status::{ServerStatus, executed_gtids};

/// Why a position cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unreachable {
    /// What comes next was purged.
    Gone(String),
    /// The server never had what the position counts as done, or a position of this kind means nothing to it.
    Never(String),
    /// It could not be asked.
    Failed(Failure),
}

impl From<Unreachable> for Failure {
    fn from(unreachable: Unreachable) -> Self {
        match unreachable {
            Unreachable::Gone(text) | Unreachable::Never(text) => Self::Unusable(text),
            Unreachable::Failed(failure) => failure,
        }
    }
}

impl From<WireError> for Unreachable {
    fn from(error: WireError) -> Self {
        Self::Failed(error.into())
    }
}

/// Fails where the server no longer has what comes next, or never had what is behind us.
pub(super) fn check_reachable(
    connection: &mut Connection,
    status: &ServerStatus,
    position: &BinlogPosition,
) -> Result<(), Unreachable> {
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
                return Err(Unreachable::Never(format!(
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

fn check_mysql(ours: &GtidSet, executed: &GtidSet, purged: &GtidSet) -> Result<(), Unreachable> {
    let never = ours.minus(executed);
    if !never.is_empty() {
        return Err(Unreachable::Never(format!(
            "the server never had the transactions {never}, which the position counts as done: it was reset, it is \
             another server, or a replica that lags behind (it has {executed})"
        )));
    }
    let gone = purged.minus(ours);
    if !gone.is_empty() {
        return Err(Unreachable::Gone(format!(
            "the server has purged the transactions {gone}, which come after the position {ours}: they cannot be read \
             any more. Start anew with another registry, after copying the tables"
        )));
    }
    Ok(())
}

/// `executed` holds the last GTID of every domain and server, so a domain may be named several times.
fn check_maria(ours: &GtidList, executed: &str, purged: &str) -> Result<(), Unreachable> {
    let mut highest = std::collections::BTreeMap::new();
    for gtid in executed.split(',').filter(|gtid| !gtid.is_empty()) {
        let gtid: MariaGtid = gtid.parse().map_err(|error| unreadable(&error))?;
        let seq = highest.entry(gtid.domain).or_insert(0);
        *seq = gtid.seq.max(*seq);
    }
    for gtid in ours.iter() {
        if highest.get(&gtid.domain).is_none_or(|seq| *seq < gtid.seq) {
            return Err(Unreachable::Never(format!(
                "the server never had the transaction {gtid}, which the position counts as done: it was reset, it is \
                 another server, or a replica that lags behind (it has {executed})"
            )));
        }
    }
    let purged: GtidList = purged.parse().map_err(|error| unreadable(&error))?;
    if !ours.contains_all(&purged) {
        return Err(Unreachable::Gone(format!(
            "the server has purged transactions up to {purged}, the position stands at {ours}: what lies between \
             cannot be read any more. Start anew with another registry, after copying the tables"
        )));
    }
    Ok(())
}

pub(super) fn check_place(status: &ServerStatus, file: &str, offset: u64) -> Result<(), Unreachable> {
    let Some(log) = status.logs.iter().find(|log| log.file == file) else {
        let known = match (status.logs.first(), status.logs.last()) {
            (Some(first), Some(last)) => format!("it has {} to {}", first.file, last.file),
            _ => "it has none".into(),
        };
        return Err(Unreachable::Gone(format!(
            "the server has no binlog file {file}: it was purged, or the server was reset ({known})"
        )));
    };
    if offset > log.size {
        return Err(Unreachable::Never(format!(
            "the position {file}:{offset} lies behind the end of the file, which has {} bytes: the server was reset",
            log.size
        )));
    }
    Ok(())
}

fn unreadable(error: &BadGtid) -> Unreachable {
    Unreachable::Failed(Failure::Unusable(format!("the server's GTIDs cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{A, set};
    use super::*;

    #[test]
    fn a_position_that_was_purged_or_never_was_is_refused_with_what_is_missing() {
        assert_eq!(check_mysql(&set("1-10"), &set("1-20"), &set("1-10")), Ok(()));
        let gone = check_mysql(&set("1-10"), &set("1-20"), &set("1-12")).expect_err("purged");
        let purged = format!("purged the transactions {A}:11-12");
        assert!(matches!(&gone, Unreachable::Gone(text) if text.contains(&purged)), "{gone:?}");
        let never = check_mysql(&set("1-10"), &set("1-8"), &set("1-2")).expect_err("reset");
        let missing = format!("never had the transactions {A}:9-10");
        assert!(matches!(&never, Unreachable::Never(text) if text.contains(&missing)), "{never:?}");
        let list: GtidList = "0-1-10".parse().expect("list");
        assert_eq!(check_maria(&list, "0-2-9,0-1-12", "0-1-3"), Ok(()));
        assert!(check_maria(&list, "0-1-9", "").is_err());
        assert!(check_maria(&list, "0-1-20", "0-1-11").is_err());
    }
}
