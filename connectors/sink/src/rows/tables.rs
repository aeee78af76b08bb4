//! The target's tables as far as events named them, each read once and again when it may have changed.
//!
//! Invariant: a definition is at most [`AGE_MAX`] old when a put begins, so that an index that was added is seen.

use std::time::{Duration, Instant};

use ahash::AHashMap;
use flowd_engine::failure::Failure;

use super::change::{Change, Images, understand};
use super::dialect::Dialect;
use super::layout::Origin;
use super::mapping::{TableMapping, TableName};
use super::table::Table;
use crate::image::Member;
use crate::store::{Refused, StoreEvent};

/// How long a definition is believed.
pub const AGE_MAX: Duration = Duration::from_secs(30);

/// Why something cannot go on.
#[derive(Debug)]
pub enum Trouble {
    /// The event cannot be taken; the others can.
    Refused(String),
    /// The put cannot go on.
    Failed(Failure),
}

impl Trouble {
    /// Where an event is understood again that was understood before: its own fault then is a broken promise of ours.
    pub fn into_failure(self, event: &str) -> Failure {
        match self {
            Self::Failed(failure) => failure,
            Self::Refused(reason) => {
                Failure::Retry(format!("event {event} changed its meaning in a put: {reason}"))
            }
        }
    }

    /// The event of that index is refused, unless the put cannot go on.
    ///
    /// # Errors
    /// The put cannot go on.
    pub fn refuse(self, index: usize) -> Result<Refused, Failure> {
        match self {
            Self::Refused(reason) => Ok(Refused { index, reason, later: false }),
            Self::Failed(failure) => Err(failure),
        }
    }
}

/// Tables by what the source calls them.
#[derive(Debug)]
pub struct Tables<D: Dialect> {
    dialect: D,
    pub(super) mapping: TableMapping,
    list: Vec<Table<D>>,
    by_source: AHashMap<String, AHashMap<String, usize>>,
    by_name: AHashMap<TableName, usize>,
}

impl<D: Dialect> Tables<D> {
    /// None is known yet.
    pub fn new(dialect: D, mapping: TableMapping) -> Self {
        Self { dialect, mapping, list: Vec::new(), by_source: AHashMap::new(), by_name: AHashMap::new() }
    }

    /// The table of that number.
    pub fn at(&self, index: usize) -> &Table<D> {
        &self.list[index]
    }

    /// The table of that number.
    pub fn at_mut(&mut self, index: usize) -> &mut Table<D> {
        &mut self.list[index]
    }

    /// Begins a put: forgets everything where a definition is too old, and shapes that became too many. Numbers of before
    /// mean nothing any more.
    pub fn begin(&mut self, now: Instant) {
        if self.list.iter().any(|table| now.duration_since(table.read_at) > AGE_MAX) {
            self.forget();
        }
        self.list.iter_mut().for_each(Table::bound_shapes);
    }

    /// Forgets all definitions.
    pub fn forget(&mut self) {
        self.list.clear();
        self.by_source.clear();
        self.by_name.clear();
    }

    /// Adds a table whose definition is known. Gives its number.
    pub fn add(&mut self, name: TableName, table: Table<D>) -> usize {
        self.list.push(table);
        self.by_name.insert(name, self.list.len() - 1);
        self.list.len() - 1
    }

    /// The number of the table where rows of a source's table go.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn of(
        &mut self,
        session: &mut D::Session,
        db: &str,
        table: &str,
        now: Instant,
    ) -> Result<usize, Trouble> {
        if let Some(index) = self.known(db, table) {
            return Ok(index);
        }
        let name = self.mapping.target(db, table);
        let index = self.named(session, name, now)?;
        self.warn_of_meeting(db, table, index);
        self.by_source.entry(db.to_owned()).or_default().insert(table.to_owned(), index);
        Ok(index)
    }

    /// The number of a table of the target.
    pub(super) fn named(
        &mut self,
        session: &mut D::Session,
        name: TableName,
        now: Instant,
    ) -> Result<usize, Trouble> {
        if let Some(index) = self.by_name.get(&name) {
            return Ok(*index);
        }
        let read = self.dialect.read(session, &name, now).map_err(|trouble| match trouble {
            Trouble::Failed(failure) => {
                Trouble::Failed(failure.context(&format!("the definition of {name}")))
            }
            Trouble::Refused(reason) => Trouble::Refused(reason),
        })?;
        let table = read.ok_or_else(|| {
            Trouble::Refused(format!(
                "the target has no table {name}, or the account may not see it (connectorConfig.tableMapping says where \
                 rows go)"
            ))
        })?;
        Ok(self.add(name, table))
    }

    /// The index of the shape that these members have in that table.
    pub(super) fn layout(
        &mut self,
        table: usize,
        members: &[Member<'_>],
        origin: Origin,
        key: &[String],
    ) -> Result<usize, String> {
        self.list[table].layout(&self.dialect, members, origin, key)
    }

    fn known(&self, db: &str, table: &str) -> Option<usize> {
        self.by_source.get(db)?.get(table).copied()
    }

    /// Whether the table of this event is known: the server is not asked when the event is gathered.
    pub fn knows(&self, event: &StoreEvent<'_>) -> bool {
        match (&event.plain, self.mapping.plain()) {
            (None, _) => self.known(event.db, event.table).is_some(),
            (Some(_), Some(plain)) => self.by_name.contains_key(&plain.table),
            (Some(_), None) => true,
        }
    }

    /// Understands some events of a put, one by one, and gives each with its index to `add`; who cannot be taken is added
    /// to `refused`.
    ///
    /// # Errors
    /// The put cannot go on.
    pub fn gather<'e, 'a: 'e>(
        &mut self,
        session: &mut D::Session,
        events: impl Iterator<Item = (usize, &'e StoreEvent<'a>)>,
        now: Instant,
        refused: &mut Vec<Refused>,
        mut add: impl FnMut(usize, &Change, &Images<'a>, &mut Self) -> Result<(), String>,
    ) -> Result<(), Failure> {
        let mut images = Images::default();
        for (index, event) in events {
            let added = understand(event, &mut images, self, session, now)
                .and_then(|change| add(index, &change, &images, self).map_err(Trouble::Refused));
            if let Err(trouble) = added {
                refused.push(trouble.refuse(index)?);
            }
        }
        Ok(())
    }

    /// Whether an event could have been refused over a definition that is no longer true: any that was not read at `now`,
    /// when the put began.
    pub fn may_be_outdated(
        &mut self,
        session: &mut D::Session,
        events: &[StoreEvent<'_>],
        refused: &[Refused],
        now: Instant,
    ) -> bool {
        let mut is_old = |event: &StoreEvent<'_>| {
            let table = match (&event.plain, self.mapping.plain()) {
                (None, _) => self.of(session, event.db, event.table, now),
                (Some(_), Some(plain)) => {
                    let name = plain.table.clone();
                    self.named(session, name, now)
                }
                (Some(_), None) => return false,
            };
            table.is_ok_and(|table| self.at(table).read_at < now)
        };
        refused.iter().filter(|refused| !refused.later).any(|refused| is_old(&events[refused.index]))
    }

    fn warn_of_meeting(&self, db: &str, table: &str, index: usize) {
        let others = self.by_source.iter().filter(|(other, _)| *other != db);
        if let Some((other, _)) =
            others.into_iter().find(|(_, tables)| tables.values().any(|one| *one == index))
        {
            tracing::warn!(
                "rows of {db}.{table} and of a table of {other} both go to {}; keys that both have overwrite each other \
                 (connectorConfig.tableMapping keeps them apart)",
                self.list[index].definition.name
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Quoting, table, tables};
    use super::*;

    #[test]
    fn a_definition_that_is_too_old_is_forgotten_when_a_put_begins() {
        let mut tables = tables(table::<Quoting>(&["id"], Vec::new()));
        let read_at = tables.at(0).read_at;
        tables.begin(read_at + AGE_MAX);
        assert_eq!(tables.list.len(), 1);
        tables.begin(read_at + AGE_MAX + Duration::from_millis(1));
        assert_eq!(tables.list.len(), 0);
    }

    #[test]
    fn a_table_that_is_not_there_refuses_the_event_and_names_the_setting() {
        let mut tables = tables(table::<Quoting>(&["id"], Vec::new()));
        let now = tables.at(0).read_at;
        assert!(matches!(tables.of(&mut (), "s", "t", now), Ok(0)));
        let Err(Trouble::Refused(reason)) = tables.of(&mut (), "any", "other", now) else {
            panic!("there is no such table")
        };
        assert!(reason.contains("no table s.other") && reason.contains("tableMapping"), "{reason}");
    }
}
