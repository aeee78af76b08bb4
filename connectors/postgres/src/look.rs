//! A look at the target from outside: what is recorded there of a sink, and what the target lacks. Writes nothing and takes
//! no lock, so it answers while the sink runs.

use flowd_engine::failure::Failure;
use flowd_engine::finding::{Finding, Severity};
use flowd_sink::deliver::Look;
use flowd_sink::rows::mapping::TableName;
use flowd_sink::store::Standing;

use crate::applied::Record;
use crate::config::PostgresConfig;
use crate::fault::Fault;
use crate::session::{Session, lock_name, text};
use crate::sql;

/// Looks at the target of a sink.
#[derive(Debug)]
pub struct PostgresLook {
    config: PostgresConfig,
}

impl PostgresLook {
    /// Connects only when it is asked.
    pub fn new(config: PostgresConfig) -> Self {
        Self { config }
    }

    fn look<T>(&self, at: impl FnOnce(&mut Session) -> Result<T, Fault>) -> Result<T, Failure> {
        let mut session = Session::connect(&self.config)?;
        let found = at(&mut session);
        session.close();
        found.map_err(|fault| fault.into_failure().context(&self.config.address()))
    }

    fn findings(&self, session: &mut Session, targets: &[TableName]) -> Result<Vec<Finding>, Fault> {
        let mut findings = self.schema(session)?;
        for target in targets.iter().chain(self.config.mapping.plain().map(|plain| &plain.table)) {
            findings.extend(table(session, target)?);
        }
        if self.config.is_replica
            && let Err(fault) = session.run("SET session_replication_role = replica")
        {
            findings.push(Finding {
                severity: Severity::Problem,
                what: format!("sessionReplicationRole cannot be set: {}", fault.into_failure()),
                remedy: format!(
                    "GRANT SET ON PARAMETER session_replication_role TO {};",
                    sql::identifier(&self.config.user)
                ),
            });
        }
        let holder = session.lock_holder(&lock_name(&self.config.connector_name))?;
        findings.extend(holder.map(|pid| Finding {
            severity: Severity::Note,
            what: format!(
                "a sink with the connectorName {} is running (process {pid} of the server)",
                self.config.connector_name
            ),
            remedy: "a second one will be refused while it does".to_owned(),
        }));
        Ok(findings)
    }

    fn schema(&self, session: &mut Session) -> Result<Vec<Finding>, Fault> {
        let schema = self.config.schema();
        let sql = "SELECT has_schema_privilege(oid, 'USAGE')::text, has_schema_privilege(oid, 'CREATE')::text \
                   FROM pg_catalog.pg_namespace WHERE nspname::text = $1";
        let rows = session.query(sql, &[schema])?;
        let Some(row) = rows.first() else {
            return Ok(vec![Finding {
                severity: Severity::Problem,
                what: format!("there is no schema {schema}"),
                remedy: format!("CREATE SCHEMA {};", sql::identifier(schema)),
            }]);
        };
        let missing = ["USAGE", "CREATE"].into_iter().enumerate();
        let missing = missing.filter(|(index, _)| text(row, *index) != "true").map(|(_, right)| right);
        Ok(missing
            .map(|right| self.lacks(Severity::Warning, right, "SCHEMA", &sql::identifier(schema)))
            .collect())
    }

    fn lacks(&self, severity: Severity, right: &str, kind: &str, on: &str) -> Finding {
        lacks(severity, right, kind, on, &self.config.user)
    }
}

fn lacks(severity: Severity, right: &str, kind: &str, on: &str, user: &str) -> Finding {
    Finding {
        severity,
        what: format!("the role {user} has no {right} on {on}"),
        remedy: format!("GRANT {right} ON {kind} {on} TO {};", sql::identifier(user)),
    }
}

impl Look for PostgresLook {
    fn address(&self) -> String {
        self.config.address()
    }

    fn check(&self, topics: &[String]) -> Result<Vec<Finding>, Failure> {
        let targets = self.config.mapping.targets(topics);
        self.look(|session| self.findings(session, &targets))
    }

    fn standing(&self) -> Result<Vec<Standing>, Failure> {
        let record = Record::new(self.config.schema(), &self.config.connector_name);
        self.look(|session| record.standing(session))
    }
}

fn table(session: &mut Session, target: &TableName) -> Result<Vec<Finding>, Fault> {
    const RIGHTS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];
    let rights = RIGHTS.map(|right| format!("has_table_privilege(c.oid, '{right}')::text"));
    let sql = format!(
        "SELECT current_user::text, {} FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname::text = $1 AND c.relname::text IN ($2, lower($2)) AND c.relkind IN ('r', 'p') \
         ORDER BY c.relname::text = $2 DESC LIMIT 1",
        rights.join(", ")
    );
    let rows = session.query(&sql, &[&target.schema, &target.table])?;
    let name = sql::table(target);
    let Some(row) = rows.first() else {
        return Ok(vec![Finding {
            severity: Severity::Warning,
            what: format!("there is no table {target}: events of it will be rejected"),
            remedy: format!("CREATE TABLE {name} (…); or map it by connectorConfig.tableMapping"),
        }]);
    };
    let missing = RIGHTS.into_iter().enumerate().filter(|(index, _)| text(row, index + 1) != "true");
    Ok(missing.map(|(_, right)| lacks(Severity::Problem, right, "TABLE", &name, text(row, 0))).collect())
}
