//! The target's tables as far as events named them, each read once and again when it may have changed.
//!
//! Invariant: a definition is at most [`AGE_MAX`] old when a put begins, so that an index that was added is seen.

use std::time::{Duration, Instant};

use ahash::AHashMap;
use flowd_engine::failure::Failure;
use flowd_sink::rows::mapping::TableName;

use crate::sink::config::MySqlSinkConfig;
use crate::sink::layout::NewRow;
use crate::sink::session::Session;
use crate::sink::table::Table;

/// How long a definition is believed.
const AGE_MAX: Duration = Duration::from_secs(30);

/// Why something cannot go on.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The event cannot be taken; the others can.
    Refused(String),
    /// The put cannot go on.
    Failed(Failure),
}

impl Trouble {
    /// Where an event is understood again that was understood before: its own fault then is a broken promise of ours.
    pub(super) fn into_failure(self, event: &str) -> Failure {
        match self {
            Self::Failed(failure) => failure,
            Self::Refused(reason) => {
                Failure::Retry(format!("event {event} changed its meaning in a put: {reason}"))
            }
        }
    }
}

/// Tables by what the source calls them.
#[derive(Debug)]
pub(super) struct Tables {
    config: MySqlSinkConfig,
    pub(super) new_row: NewRow,
    list: Vec<Table>,
    by_source: AHashMap<String, AHashMap<String, usize>>,
    by_name: AHashMap<TableName, usize>,
}

impl Tables {
    pub(super) fn new(config: MySqlSinkConfig, new_row: NewRow) -> Self {
        Self { config, new_row, list: Vec::new(), by_source: AHashMap::new(), by_name: AHashMap::new() }
    }

    pub(super) fn config(&self) -> &MySqlSinkConfig {
        &self.config
    }

    /// The table of that number.
    pub(super) fn at(&self, index: usize) -> &Table {
        &self.list[index]
    }

    pub(super) fn at_mut(&mut self, index: usize) -> &mut Table {
        &mut self.list[index]
    }

    /// Begins a put: forgets everything where a definition is too old, and shapes that became too many. Numbers of before
    /// mean nothing any more.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.list.iter().any(|table| now.duration_since(table.read_at) > AGE_MAX) {
            self.forget();
        }
        self.list.iter_mut().for_each(Table::bound_layouts);
    }

    /// Forgets all definitions.
    pub(super) fn forget(&mut self) {
        self.list.clear();
        self.by_source.clear();
        self.by_name.clear();
    }

    /// The number of the table where rows of a source's table go.
    pub(super) fn of(
        &mut self,
        session: &mut Session,
        db: &str,
        table: &str,
        now: Instant,
    ) -> Result<usize, Trouble> {
        if let Some(index) = self.by_source.get(db).and_then(|tables| tables.get(table)) {
            return Ok(*index);
        }
        let name = self.config.mapping.target(db, table);
        let index = self.named(session, name, now)?;
        self.warn_of_meeting(db, table, index);
        self.by_source.entry(db.to_owned()).or_default().insert(table.to_owned(), index);
        Ok(index)
    }

    /// The number of a table of the target.
    pub(super) fn named(
        &mut self,
        session: &mut Session,
        name: TableName,
        now: Instant,
    ) -> Result<usize, Trouble> {
        if let Some(index) = self.by_name.get(&name) {
            return Ok(*index);
        }
        let read = Table::read(session, name.clone(), now)
            .map_err(|error| Trouble::Failed(error.into_failure(&format!("the definition of {name}"))))?;
        let table = read.ok_or_else(|| {
            Trouble::Refused(format!(
                "the target has no table {name}, or the account may not see it (connectorConfig.tableMapping says where \
                 rows go)"
            ))
        })?;
        self.list.push(table);
        self.by_name.insert(name, self.list.len() - 1);
        Ok(self.list.len() - 1)
    }

    fn warn_of_meeting(&self, db: &str, table: &str, index: usize) {
        let others = self.by_source.iter().filter(|(other, _)| *other != db);
        if let Some((other, _)) =
            others.into_iter().find(|(_, tables)| tables.values().any(|one| *one == index))
        {
            tracing::warn!(
                "rows of {db}.{table} and of a table of {other} both go to {}; keys that both have overwrite each other \
                 (connectorConfig.tableMapping keeps them apart)",
                self.list[index].name
            );
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::sink::config::MySqlSinkSettings;

    /// One table, known already.
    pub(in crate::sink) fn tables_of(table: Table) -> Tables {
        let settings = MySqlSinkSettings::new("copy".into(), "db".into(), "sink".into(), "s".into());
        let mut tables = Tables::new(settings.try_into().expect("possible settings"), NewRow::Values);
        tables.list.push(table);
        tables
    }

    #[test]
    fn a_definition_that_is_too_old_is_forgotten_when_a_put_begins() {
        let name = TableName { schema: "s".into(), table: "t".into() };
        let now = Instant::now();
        let mut tables = tables_of(crate::sink::table::tests::table_of(name, Vec::new(), Vec::new(), now));
        tables.begin(now + AGE_MAX);
        assert_eq!(tables.list.len(), 1);
        tables.begin(now + AGE_MAX + Duration::from_millis(1));
        assert_eq!(tables.list.len(), 0);
    }
}
