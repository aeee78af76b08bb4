//! What the source lacks, each with the statement or the configuration line that mends it: the answer of `flowd
//! check`, and the first thing that a run does.
//!
//! The judgement is pure ([`judge`]) over what [`look`] asked. Invariant: a [`Severity::Problem`] is something that
//! makes changes unreadable or lost; everything that flowd can live with is less.

use std::collections::BTreeMap;

use crate::config::MySqlConfig;
use crate::connection::Connection;
use crate::error::WireError;
use crate::grants::Grants;
use crate::query::text;
use crate::server::{Flavor, Server};
use crate::status::binlog_end;

mod judge;

pub use flowd_engine::finding::{Finding, Severity};
pub use judge::judge;

/// How we are registered as a replica: what an earlier process of ours may have left there is no clash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ourselves {
    /// The replica UUID that we announce; MySQL lists it.
    pub uuid: String,
    /// The host that we register with; MariaDB lists that alone.
    pub host: String,
}

/// A replica that is registered with the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Its server id.
    pub server_id: u32,
    /// The host that it registered with; mostly empty.
    pub host: String,
    /// Its port.
    pub port: String,
    /// Its UUID; empty on MariaDB.
    pub uuid: String,
}

/// What was asked of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Who answered.
    pub server: Server,
    /// The account that we are, as `user@host`.
    pub account: String,
    /// What it may do.
    pub grants: Grants,
    /// Global variables by name, in lower case; a server does not have all of them.
    pub variables: BTreeMap<String, String>,
    /// The registered replicas; `None` where the account may not see them.
    pub replicas: Option<Vec<Replica>>,
    /// `user@host` of the threads that send binlogs, as far as the account may see them.
    pub dump_threads: Vec<String>,
    /// `binlog_do_db` and `binlog_ignore_db`, as far as the account may see them.
    pub binlog_filters: (String, String),
}

/// Looks, then judges. `snapshot`: whether one may run; it needs more than the stream does. Findings come with the
/// worst first.
pub fn check(
    connection: &mut Connection,
    config: &MySqlConfig,
    ourselves: &Ourselves,
    snapshot: bool,
) -> Result<Vec<Finding>, WireError> {
    let observed = look(connection)?;
    let mut findings = judge(&observed, config, ourselves, snapshot);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(findings)
}

/// Asks the server everything that [`judge`] needs. A right that is missing is no error here.
pub fn look(connection: &mut Connection) -> Result<Observed, WireError> {
    let grants = connection.query("SHOW GRANTS")?;
    let lines: Vec<String> = grants.rows.iter().map(|row| text(row, 0)).collect();
    let variables = connection.query(&variables_statement())?;
    let end = permitted(binlog_end(connection))?.flatten();
    Ok(Observed {
        server: connection.server().clone(),
        account: connection.query_text("SELECT CURRENT_USER()")?.unwrap_or_default(),
        grants: Grants::parse(lines.iter().map(String::as_str)),
        variables: variables
            .rows
            .iter()
            .map(|row| (text(row, 0).to_ascii_lowercase(), text(row, 1)))
            .collect(),
        replicas: permitted(replicas(connection))?,
        dump_threads: dump_threads(connection)?,
        binlog_filters: end.map(|end| (end.logged_only, end.not_logged)).unwrap_or_default(),
    })
}

/// Everything that [`judge`] looks at.
const VARIABLES: [&str; 13] = [
    "log_bin",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_metadata",
    "binlog_row_value_options",
    "binlog_transaction_compression",
    "log_bin_compress",
    "server_id",
    "gtid_mode",
    "binlog_expire_logs_seconds",
    "binlog_expire_logs_auto_purge",
    "expire_logs_days",
    "max_binlog_total_size",
];

fn variables_statement() -> String {
    format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ('{}')", VARIABLES.join("', '"))
}

/// `None` where the account lacks the right: ER_SPECIFIC_ACCESS_DENIED_ERROR, ER_ACCESS_DENIED_ERROR.
fn permitted<T>(answer: Result<T, WireError>) -> Result<Option<T>, WireError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if matches!(error.code(), Some(1227 | 1045)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The registered replicas. Needs REPLICATION SLAVE on MySQL, REPLICATION MASTER ADMIN on MariaDB.
pub fn replicas(connection: &mut Connection) -> Result<Vec<Replica>, WireError> {
    let server = connection.server();
    let statement = match server.flavor {
        Flavor::MySql if server.version >= (8, 0, 22) => "SHOW REPLICAS",
        _ => "SHOW SLAVE HOSTS",
    };
    let result = connection.query(statement)?;
    let column = |names: &[&str]| names.iter().find_map(|name| result.column(name)).unwrap_or(usize::MAX);
    let (id, host, port) = (column(&["Server_Id"]), column(&["Host"]), column(&["Port"]));
    let uuid = column(&["Replica_UUID", "Slave_UUID"]);
    let replica = |row| Replica {
        server_id: text(row, id).parse().unwrap_or(0),
        host: text(row, host),
        port: text(row, port),
        uuid: text(row, uuid),
    };
    Ok(result.rows.iter().map(replica).collect())
}

/// Without the right PROCESS an account sees its own threads alone.
fn dump_threads(connection: &mut Connection) -> Result<Vec<String>, WireError> {
    let result = connection.query("SHOW PROCESSLIST")?;
    let dumps = result.rows.iter().filter(|row| text(row, 4).starts_with("Binlog Dump"));
    Ok(dumps.map(|row| format!("{}@{}", text(row, 1), text(row, 2))).collect())
}
