//! A look at the target from outside: what is recorded there of a sink, and what the target lacks. Writes nothing and takes
//! no lock, so it answers while the sink runs.

use flowd_engine::failure::Failure;
use flowd_sink::deliver::Look;
use flowd_sink::rows::mapping::TableName;
use flowd_sink::store::Standing;

use super::applied;
use super::config::MySqlSinkConfig;
use super::session::lock_name;
use crate::check::{Finding, Severity};
use crate::connection::Connection;
use crate::error::WireError;
use crate::grants::Grants;
use crate::query::{identifier, literal, text};

/// Looks at the target of a sink.
#[derive(Debug)]
pub struct MySqlLook {
    config: MySqlSinkConfig,
}

impl MySqlLook {
    /// Connects only when it is asked.
    pub fn new(config: MySqlSinkConfig) -> Self {
        Self { config }
    }

    fn look<T>(&self, at: impl FnOnce(&mut Connection) -> Result<T, WireError>) -> Result<T, Failure> {
        let mut connection = Connection::connect(&self.config.server)?;
        let found = at(&mut connection);
        connection.close();
        found.map_err(|error| error.into_failure(&self.config.server.address()))
    }
}

impl Look for MySqlLook {
    fn address(&self) -> String {
        self.config.server.address()
    }

    fn check(&self, topics: &[String]) -> Result<Vec<Finding>, Failure> {
        let targets = self.config.mapping.targets(topics);
        self.look(|connection| findings(connection, &self.config, &targets))
    }

    fn standing(&self) -> Result<Vec<Standing>, Failure> {
        self.look(|connection| recorded(connection, &self.config))
    }
}

fn recorded(connection: &mut Connection, config: &MySqlSinkConfig) -> Result<Vec<Standing>, WireError> {
    if engine(connection, &applied::lanes_table(config.database()))?.is_none() {
        return Ok(Vec::new());
    }
    connection.execute("SET SESSION time_zone = '+00:00'")?;
    let rows = connection.query(&applied::lanes_with_time(config.database(), config.connector_name()))?.rows;
    rows.iter().map(|row| Ok(Standing { lane: applied::lane(row)?, updated: text(row, 5) })).collect()
}

fn findings(
    connection: &mut Connection,
    config: &MySqlSinkConfig,
    targets: &[TableName],
) -> Result<Vec<Finding>, WireError> {
    let mut findings = Vec::new();
    let there = format!(
        "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}",
        literal(config.database())
    );
    if connection.query_text(&there)?.as_deref() == Some("0") {
        findings.push(Finding {
            severity: Severity::Problem,
            what: format!("there is no database {}, or the account must not see it", config.database()),
            remedy: format!("CREATE DATABASE {};", identifier(config.database())),
        });
    }
    findings.extend(rights(connection, config)?);
    for target in targets.iter().chain(config.mapping.plain().map(|plain| &plain.table)) {
        let engine = engine(connection, target)?;
        findings.extend(table(target, engine.as_deref()));
    }
    let holder = connection
        .query_text(&format!("SELECT IS_USED_LOCK({})", literal(&lock_name(config.connector_name()))))?;
    findings.extend(holder.map(|connection| Finding {
        severity: Severity::Note,
        what: format!(
            "a sink with the connectorName {} is running (connection {connection})",
            config.connector_name()
        ),
        remedy: "a second one will be refused while it does".to_owned(),
    }));
    Ok(findings)
}

/// The engine of a table; `None` where it is not there.
fn engine(connection: &mut Connection, table: &TableName) -> Result<Option<String>, WireError> {
    connection.query_text(&format!(
        "SELECT COALESCE(ENGINE, TABLE_TYPE) FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        literal(&table.schema),
        literal(&table.table)
    ))
}

fn table(target: &TableName, engine: Option<&str>) -> Option<Finding> {
    let finding = |what, remedy| Some(Finding { severity: Severity::Warning, what, remedy });
    let name = format!("{}.{}", identifier(&target.schema), identifier(&target.table));
    match engine {
        None => finding(
            format!("there is no table {target}: events of it will be rejected"),
            format!("CREATE TABLE {name} (…); or map it by connectorConfig.tableMapping"),
        ),
        Some("MyISAM" | "Aria" | "MEMORY" | "CSV" | "ARCHIVE") => finding(
            format!("{target} has no transactions: after a crash a change may be applied twice"),
            format!("ALTER TABLE {name} ENGINE=InnoDB;"),
        ),
        Some(_) => None,
    }
}

/// Rights that SHOW GRANTS does not tell of. An account may have them by a role that is not told either.
fn rights(connection: &mut Connection, config: &MySqlSinkConfig) -> Result<Option<Finding>, WireError> {
    const NEEDED: [&str; 5] = ["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE"];
    let lines = connection.query("SHOW GRANTS")?.rows;
    let lines: Vec<String> = lines.iter().map(|row| text(row, 0)).collect();
    Ok(missing_rights(&Grants::parse(lines.iter().map(String::as_str)), config, &NEEDED))
}

fn missing_rights(grants: &Grants, config: &MySqlSinkConfig, needed: &[&str]) -> Option<Finding> {
    let missing = needed.iter().filter(|right| !grants.gives(right, config.database(), None));
    let missing: Vec<&str> = missing.copied().collect();
    (!missing.is_empty()).then(|| Finding {
        severity: Severity::Warning,
        what: format!("SHOW GRANTS shows no {} on all of {}", missing.join(", "), config.database()),
        remedy: format!("GRANT {} ON {}.* TO …;", missing.join(", "), identifier(config.database())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::config::tests::with;

    #[test]
    fn rights_that_are_not_shown_are_named_with_the_grant() {
        let config = with(&[]).expect("sound");
        let grants =
            Grants::parse(["GRANT SELECT, INSERT ON `shop`.* TO `u`@`%`", "GRANT UPDATE ON *.* TO `u`@`%`"]);
        let finding = missing_rights(&grants, &config, &["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE"]);
        let finding = finding.expect("two are missing");
        assert_eq!(finding.what, "SHOW GRANTS shows no DELETE, CREATE on all of shop");
        assert_eq!(finding.remedy, "GRANT DELETE, CREATE ON `shop`.* TO …;");
        assert_eq!(missing_rights(&grants, &config, &["SELECT", "UPDATE"]), None);
    }

    #[test]
    fn a_table_that_is_not_there_or_forgets_transactions_is_warned_of() {
        let name = TableName { schema: "shop".into(), table: "orders".into() };
        assert!(table(&name, None).expect("a finding").what.contains("no table shop.orders"));
        assert!(table(&name, Some("MyISAM")).expect("a finding").remedy.contains("ENGINE=InnoDB"));
        assert_eq!(table(&name, Some("InnoDB")), None);
    }
}
