//! The judgement over what was observed. Pure.

use super::{Finding, Observed, Ourselves, Replica, Severity};
use crate::config::MySqlConfig;
use crate::query::identifier;
use crate::server::Flavor;

/// Binlogs that live shorter than this are likely gone before a broken pipeline is mended, seconds.
const RETENTION_SECONDS_MIN: f64 = 86_400.0;

/// What the source lacks, in the order of the questions. `snapshot`: whether one may run; what it needs beyond the
/// stream is asked for only then.
pub fn judge(
    observed: &Observed,
    config: &MySqlConfig,
    ourselves: &Ourselves,
    snapshot: bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    rights(observed, config, &mut findings);
    unlimited_select(observed, config, snapshot, &mut findings);
    binlog(observed, &mut findings);
    gtids(observed, snapshot && !config.snapshot.for_share, &mut findings);
    row_events(observed, &mut findings);
    row_image(observed, snapshot, &mut findings);
    unreadable_events(observed, &mut findings);
    server_ids(observed, config, ourselves, &mut findings);
    retention(observed, &mut findings);
    findings
}

fn find(findings: &mut Vec<Finding>, severity: Severity, what: impl Into<String>, remedy: impl Into<String>) {
    findings.push(Finding { severity, what: what.into(), remedy: remedy.into() });
}

impl Observed {
    /// "" where the server has no such variable.
    fn variable(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.variable(name).eq_ignore_ascii_case(value)
    }

    /// `'user'@'host'`, for statements.
    fn quoted_account(&self) -> String {
        let (user, host) = self.account.rsplit_once('@').unwrap_or((&self.account, "%"));
        format!("'{}'@'{}'", user.replace('\'', "''"), host.replace('\'', "''"))
    }
}

fn rights(observed: &Observed, config: &MySqlConfig, findings: &mut Vec<Finding>) {
    let account = observed.quoted_account();
    let role_hint = match observed.grants.roles() {
        [] => String::new(),
        roles => {
            format!(" (or make the account's roles active at login: {}; SET DEFAULT ROLE)", roles.join(", "))
        }
    };
    let mut missing = |what: &str, grant: String| {
        let what = format!("the account {account} lacks {what}");
        find(findings, Severity::Problem, what, format!("{grant} TO {account};{role_hint}"));
    };
    if !observed.grants.may_replicate() {
        missing("REPLICATION SLAVE, to read the binlog", "GRANT REPLICATION SLAVE ON *.*".into());
    }
    let monitor = match observed.server.flavor {
        Flavor::MySql => "REPLICATION CLIENT",
        Flavor::MariaDb => "BINLOG MONITOR",
    };
    if !observed.grants.may_see_binlog(observed.server.flavor) {
        missing(&format!("{monitor}, to know where the binlog ends"), format!("GRANT {monitor} ON *.*"));
    }
    for (schema, table) in config.filter.included() {
        let is_glob = |name: &str| name.contains(['*', '?']);
        let wanted_table = Some(table).filter(|table| !is_glob(table));
        if is_glob(schema) {
            continue;
        }
        if !observed.grants.selects(schema, wanted_table) {
            let object = format!("{}.{}", identifier(schema), wanted_table.map_or("*".into(), identifier));
            missing(&format!("SELECT on {object}, to know its tables"), format!("GRANT SELECT ON {object}"));
        }
    }
}

/// Where a pattern leaves the schema open, nobody can tell which schemas are meant: the right on all is asked for.
fn unlimited_select(observed: &Observed, config: &MySqlConfig, snapshot: bool, findings: &mut Vec<Finding>) {
    let open = config.filter.included().next().is_none()
        || config.filter.included().any(|(schema, _)| schema.contains(['*', '?']));
    if !open || observed.grants.has_global(&["SELECT"]) {
        return;
    }
    let account = observed.quoted_account();
    let remedy = format!("GRANT SELECT ON *.* TO {account}; or name the schemas in tableIncludeList");
    if observed.grants.selects_something() {
        let unseen = match snapshot {
            true => "left out of the snapshot, and described by the binlog alone",
            false => "described by the binlog alone",
        };
        let what = format!(
            "the account {account} has SELECT on some tables only, while tableIncludeList leaves the schema open; \
             tables that it may not see are {unseen}"
        );
        find(findings, Severity::Warning, what, remedy);
    } else {
        let what = format!("the account {account} lacks SELECT, to know the captured tables");
        find(findings, Severity::Problem, what, remedy);
    }
}

fn binlog(observed: &Observed, findings: &mut Vec<Finding>) {
    if observed.is("log_bin", "OFF") {
        let what = "the server writes no binlog (log_bin is OFF)";
        find(findings, Severity::Problem, what, "[mysqld] log_bin = binlog, and restart the server");
    }
    let (only, not) = &observed.binlog_filters;
    if !only.is_empty() || !not.is_empty() {
        let what = format!(
            "the server leaves schemas out of its binlog (binlog_do_db: {}; binlog_ignore_db: {})",
            if only.is_empty() { "-" } else { only },
            if not.is_empty() { "-" } else { not }
        );
        let remedy = "take binlog_do_db and binlog_ignore_db out of the server's configuration, where captured schemas \
                      are concerned";
        find(findings, Severity::Warning, what, remedy);
    }
}

/// A position in the binlog is never a low mark: the binlog runs ahead of what a SELECT can see. On MySQL that leaves
/// GTIDs, or locks. `needed`: a snapshot may run and must not lock.
fn gtids(observed: &Observed, needed: bool, findings: &mut Vec<Finding>) {
    if observed.server.flavor != Flavor::MySql || observed.is("gtid_mode", "ON") {
        return;
    }
    let mode = observed.variable("gtid_mode");
    let mend = "[mysqld] gtid_mode = ON and enforce_gtid_consistency = ON";
    if needed && !observed.is("gtid_mode", "ON_PERMISSIVE") {
        let what = format!(
            "gtid_mode is {mode}: without GTIDs a snapshot is exact only if it locks rows while it reads them"
        );
        let remedy = format!(
            "connectorConfig.snapshotForShare: true (reads FOR SHARE), or connectorConfig.snapshotMode: never; or {mend}"
        );
        return find(findings, Severity::Problem, what, remedy);
    }
    let what =
        format!("gtid_mode is {mode}: positions are file and offset, which another server does not know");
    find(findings, Severity::Note, what, mend);
}

fn row_events(observed: &Observed, findings: &mut Vec<Finding>) {
    let format = observed.variable("binlog_format");
    if !format.is_empty() && !observed.is("binlog_format", "ROW") {
        let what = format!("binlog_format is {format}: changes are logged as statements");
        let remedy = "SET GLOBAL binlog_format = 'ROW'; and [mysqld] binlog_format = ROW (sessions that are open keep \
                      the old one)";
        find(findings, Severity::Problem, what, remedy);
    }
    if !observed.is("binlog_row_metadata", "FULL") {
        let what = match observed.variable("binlog_row_metadata") {
            "" => "the server has no binlog_row_metadata: column names come from its catalog as it is now"
                .to_owned(),
            value => format!(
                "binlog_row_metadata is {value}: column names come from the catalog as it is now, and rows from before \
                 a change of their table stop the stream"
            ),
        };
        let remedy = "SET GLOBAL binlog_row_metadata = 'FULL'; and [mysqld] binlog_row_metadata = FULL";
        find(findings, Severity::Warning, what, remedy);
    }
}

/// A row that is changed while a snapshot reads it comes from the binlog alone, so that nothing would fill its gaps.
fn row_image(observed: &Observed, snapshot: bool, findings: &mut Vec<Finding>) {
    let image = observed.variable("binlog_row_image");
    if image.is_empty() || observed.is("binlog_row_image", "FULL") {
        return;
    }
    let mend = "SET GLOBAL binlog_row_image = 'FULL'; and [mysqld] binlog_row_image = FULL";
    if snapshot {
        let what = format!(
            "binlog_row_image is {image}: rows that change while the snapshot reads them would lack columns"
        );
        let remedy = format!(
            "{mend} (sessions that are open keep the old one); or connectorConfig.snapshotMode: never"
        );
        return find(findings, Severity::Problem, what, remedy);
    }
    let what = format!("binlog_row_image is {image}: events lack the columns that the server does not log");
    find(findings, Severity::Warning, what, mend);
}

/// Features whose events this version does not read. Each stops the stream where one is met, not before: what is
/// compressed now may be tables that are not captured.
fn unreadable_events(observed: &Observed, findings: &mut Vec<Finding>) {
    let met = [
        ("binlog_transaction_compression", "the first compressed transaction, whatever its tables are"),
        ("log_bin_compress", "the first compressed change of a captured table"),
    ];
    for (name, first) in met {
        if observed.is(name, "ON") || observed.is(name, "1") {
            let what =
                format!("{name} is ON: flowd does not read compressed events yet and stops at {first}");
            let remedy = format!(
                "SET GLOBAL {name} = OFF; and [mysqld] {name} = OFF (sessions that are open keep the old one)"
            );
            find(findings, Severity::Warning, what, remedy);
        }
    }
    let options = observed.variable("binlog_row_value_options");
    if options.to_ascii_uppercase().contains("PARTIAL_JSON") {
        let what = format!(
            "binlog_row_value_options is {options}: flowd does not read partial updates yet and stops at the first in a \
             captured table"
        );
        let remedy =
            "SET GLOBAL binlog_row_value_options = ''; and take it out of the server's configuration";
        find(findings, Severity::Warning, what, remedy);
    }
}

fn server_ids(observed: &Observed, config: &MySqlConfig, ourselves: &Ourselves, findings: &mut Vec<Finding>) {
    let remedy = "give connectorConfig.serverId a number that no server and no replica has";
    let id = config.server_id;
    match observed.variable("server_id") {
        "0" => {
            let what = "the server's own server_id is 0: it refuses replicas";
            let remedy = "SET GLOBAL server_id = 1; and [mysqld] server_id = 1";
            find(findings, Severity::Problem, what, remedy);
        }
        own if own == id.to_string() => {
            find(findings, Severity::Problem, format!("serverId {id} is the server's own"), remedy);
        }
        _ => {}
    }
    let Some(replicas) = &observed.replicas else {
        if !observed.grants.may_replicate() {
            return; // said already, and on MySQL the same right
        }
        let what = format!(
            "the account may not see the other replicas, so whether serverId {id} is free is unknown"
        );
        let right = match observed.server.flavor {
            Flavor::MySql => "REPLICATION SLAVE",
            Flavor::MariaDb => "REPLICATION MASTER ADMIN",
        };
        let remedy = format!("GRANT {right} ON *.* TO {};", observed.quoted_account());
        return find(findings, Severity::Note, what, remedy);
    };
    let is_other = |replica: &&Replica| {
        let ours = (!replica.uuid.is_empty() && replica.uuid.eq_ignore_ascii_case(&ourselves.uuid))
            || (!ourselves.host.is_empty() && replica.host == ourselves.host);
        replica.server_id == id && !ours
    };
    if let Some(holder) = replicas.iter().find(is_other) {
        let threads = match observed.dump_threads.as_slice() {
            [] => String::new(),
            threads => format!("; connections that read the binlog now: {}", threads.join(", ")),
        };
        let what = format!("serverId {id} is held by another replica ({}{threads})", holder_text(holder));
        find(findings, Severity::Problem, what, remedy);
    }
}

fn holder_text(replica: &Replica) -> String {
    let host = if replica.host.is_empty() { "host not told" } else { &replica.host };
    let uuid = if replica.uuid.is_empty() { String::new() } else { format!(", UUID {}", replica.uuid) };
    format!("{host}, port {}{uuid}", replica.port)
}

fn retention(observed: &Observed, findings: &mut Vec<Finding>) {
    let number = |name: &str| observed.variable(name).parse::<f64>().ok().filter(|number| *number > 0.0);
    let seconds = number("binlog_expire_logs_seconds");
    let days = number("expire_logs_days").map(|days| days * 86_400.0);
    // MariaDB tells one setting under both names; the shorter one holds in any case.
    let shortest = seconds.into_iter().chain(days).fold(f64::INFINITY, f64::min);
    if shortest < RETENTION_SECONDS_MIN && !observed.is("binlog_expire_logs_auto_purge", "OFF") {
        let what = format!(
            "binlogs are kept for {shortest:.0} seconds: a stop of flowd longer than that loses changes"
        );
        let remedy = "SET GLOBAL binlog_expire_logs_seconds = 604800; and [mysqld] binlog_expire_logs_seconds = 604800";
        find(findings, Severity::Warning, what, remedy);
    }
    if let Some(bytes) = number("max_binlog_total_size") {
        let what = format!("binlogs are purged beyond {bytes:.0} bytes, however far flowd is");
        let remedy = "SET GLOBAL max_binlog_total_size = 0; or a size that holds the longest stop";
        find(findings, Severity::Warning, what, remedy);
    }
}

#[cfg(test)]
mod tests;
