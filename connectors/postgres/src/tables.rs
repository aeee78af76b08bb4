//! The target's tables as far as events named them, each read once and again when it may have changed.
//!
//! Invariant: a definition is at most [`AGE_MAX`] old when a put begins, so that an index that was added is seen.

use std::time::{Duration, Instant};

use ahash::AHashMap;
use flowd_engine::failure::Failure;
use flowd_sink::rows::mapping::TableName;

use crate::catalog;
use crate::config::PostgresConfig;
use crate::session::Session;
use crate::table::Table;

/// How long a definition is believed.
const AGE_MAX: Duration = Duration::from_secs(30);

/// Why something cannot go on.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The event cannot be taken; the others can.
    Refused(String),
    /// The put cannot go on.
    Failed(Failure),
}

/// Tables by what the source calls them.
#[derive(Debug)]
pub(crate) struct Tables {
    config: PostgresConfig,
    list: Vec<Table>,
    by_source: AHashMap<String, AHashMap<String, usize>>,
    by_name: AHashMap<TableName, usize>,
}

impl Tables {
    pub(crate) fn new(config: PostgresConfig) -> Self {
        Self { config, list: Vec::new(), by_source: AHashMap::new(), by_name: AHashMap::new() }
    }

    pub(crate) fn config(&self) -> &PostgresConfig {
        &self.config
    }

    /// The table of that number.
    pub(crate) fn at(&self, index: usize) -> &Table {
        &self.list[index]
    }

    pub(crate) fn at_mut(&mut self, index: usize) -> &mut Table {
        &mut self.list[index]
    }

    /// Begins a put: forgets everything where a definition is too old, and shapes that became too many. Numbers of before
    /// mean nothing any more.
    pub(crate) fn begin(&mut self, now: Instant) {
        if self.list.iter().any(|table| now.duration_since(table.read_at) > AGE_MAX) {
            self.forget();
        }
        self.list.iter_mut().for_each(Table::bound_shapes);
    }

    /// Forgets all definitions.
    pub(crate) fn forget(&mut self) {
        self.list.clear();
        self.by_source.clear();
        self.by_name.clear();
    }

    /// The number of the table where rows of a source's table go.
    pub(crate) fn of(
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
    pub(crate) fn named(
        &mut self,
        session: &mut Session,
        name: TableName,
        now: Instant,
    ) -> Result<usize, Trouble> {
        if let Some(index) = self.by_name.get(&name) {
            return Ok(*index);
        }
        if name.table.contains('\0') {
            return Err(Trouble::Refused("its table's name has the character U+0000".into()));
        }
        let read = catalog::read(session, &name, &self.config, now).map_err(|fault| {
            Trouble::Failed(fault.into_failure().context(&format!("the definition of {name}")))
        })?;
        let table = read.ok_or_else(|| {
            Trouble::Refused(format!(
                "the target has no table {name}, or the role may not see it (connectorConfig.tableMapping says where rows go)"
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
pub(crate) mod tests {
    use super::*;
    use crate::config;

    /// One table, known already.
    pub(crate) fn tables_of(table: Table) -> Tables {
        let mut tables = Tables::new(config::tests::with(&[]).expect("possible settings"));
        tables.list.push(table);
        tables
    }

    #[test]
    fn a_definition_that_is_too_old_is_forgotten_when_a_put_begins() {
        let name = TableName { schema: "s".into(), table: "t".into() };
        let now = Instant::now();
        let table = Table::new(name, Vec::new(), Vec::new(), crate::table::Traits::default(), now);
        let mut tables = tables_of(table);
        tables.begin(now + AGE_MAX);
        assert_eq!(tables.list.len(), 1);
        tables.begin(now + AGE_MAX + Duration::from_millis(1));
        assert_eq!(tables.list.len(), 0);
    }
}
