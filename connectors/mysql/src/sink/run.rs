//! Events gathered into few statements: those that do the same to rows of one shape of one table go together.
//!
//! Tables do not wait for each other, a row's changes do. Where keys tell rows apart by their writing, an event may join
//! an earlier statement past later ones that do not touch its key. Invariant: the order of the changes of a key is kept.

use ahash::{AHashMap, AHashSet, RandomState};
use flowd_sink::rows::change::{Change, Images, Step, Told};

use crate::sink::dialect::{Layout, Table, Tables};
use crate::sink::row::{Row, key_name};
use crate::sink::session::Strictness;

/// How many statements back a row may join one.
const LOOK_BACK: usize = 4;
/// The most rows of one DELETE: servers plan a longer list of keys otherwise than by the index.
const DELETED_ROWS_MAX: usize = 500;

/// Rows for one statement, or one event that goes by itself.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) table: usize,
    pub(super) step: Step,
    /// The shape of its rows: of `after`, of a DELETE of `before`.
    pub(super) layout: usize,
    /// The rows, as they stand in the statement.
    pub(super) rows: Vec<u8>,
    /// The events, in order, by their index in the put.
    pub(super) events: Vec<usize>,
    /// It goes by itself, whatever its step.
    alone: bool,
    keys: Keys,
}

/// Which rows a run touches.
#[derive(Debug)]
enum Keys {
    /// Hashes of their keys.
    Some(AHashSet<u64>),
    /// Any.
    All,
}

/// All runs of a put.
#[derive(Debug)]
pub(super) struct Runs {
    by_table: AHashMap<usize, usize>,
    tables: Vec<Vec<Run>>,
    /// Longest text of the rows of a run, bytes.
    bytes_max: usize,
    hasher: RandomState,
    row: Vec<u8>,
    key: Vec<u8>,
}

impl Runs {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            by_table: AHashMap::new(),
            tables: Vec::new(),
            bytes_max,
            hasher: RandomState::new(),
            row: Vec::new(),
            key: Vec::new(),
        }
    }

    /// Adds an event. The error names the column whose value cannot be.
    pub(super) fn add(
        &mut self,
        event: usize,
        change: &Change,
        images: &Images<'_>,
        tables: &Tables,
    ) -> Result<(), String> {
        let table = tables.at(change.table);
        let mut alone = !joins(change.step);
        if !alone {
            alone = self.write_row(change, images, table)? == Strictness::Loose;
        }
        let key = self.key_hash(change, images, table)?;
        let runs = self.runs_of(change.table);
        let (row, layout) = (std::mem::take(&mut self.row), layout_of(change));
        let list = &mut self.tables[runs];
        let joined = if alone { None } else { join(list, change, layout, key, row.len(), self.bytes_max) };
        let index = joined.unwrap_or_else(|| {
            let keys = if key.is_some() { Keys::Some(AHashSet::new()) } else { Keys::All };
            let (rows, events) = (Vec::new(), Vec::new());
            list.push(Run { table: change.table, step: change.step, layout, rows, events, alone, keys });
            list.len() - 1
        });
        list[index].push(event, key, &row, &table.layouts[layout]);
        self.row = row;
        Ok(())
    }

    /// The runs in the order in which they are to be put.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.tables.iter().flatten()
    }

    fn runs_of(&mut self, table: usize) -> usize {
        *self.by_table.entry(table).or_insert_with(|| {
            self.tables.push(Vec::new());
            self.tables.len() - 1
        })
    }

    fn write_row(
        &mut self,
        change: &Change,
        images: &Images<'_>,
        table: &Table,
    ) -> Result<Strictness, String> {
        self.row.clear();
        if change.step != Step::Delete {
            return Row::of(table, change, Told::ByAfter, images).tuple(&mut self.row);
        }
        let row = Row::of(table, change, Told::ByBefore, images);
        if key_name(table, row.layout).is_some() {
            row.key_literal(&mut self.row)?;
        } else {
            self.row.push(b'(');
            row.key_condition(&mut self.row)?;
            self.row.push(b')');
        }
        Ok(Strictness::Strict)
    }

    /// The hash of the key where keys tell rows apart by their writing, and the event touches that row alone.
    fn key_hash(
        &mut self,
        change: &Change,
        images: &Images<'_>,
        table: &Table,
    ) -> Result<Option<u64>, String> {
        let one_row = !matches!(change.step, Step::Move | Step::Truncate);
        if !table.definition.independent
            || !one_row
            || (change.told == Told::ByBefore && change.step == Step::UpdateMatching)
        {
            return Ok(None);
        }
        let row = Row::of(table, change, change.told, images);
        // A plain event's key may be other columns than the table's.
        if row.layout.key.is_empty() || !row.layout.is_by_key(&table.definition.key) {
            return Ok(None);
        }
        self.key.clear();
        row.key_condition(&mut self.key)?;
        Ok(Some(self.hasher.hash_one(&self.key)))
    }
}

/// Whether several rows can go in one statement.
fn joins(step: Step) -> bool {
    matches!(step, Step::Upsert | Step::Insert | Step::InsertFirst | Step::Delete)
}

fn layout_of(change: &Change) -> usize {
    if change.step == Step::Delete { change.before } else { change.after }
}

/// The run that a row can join without passing one that touches its key.
fn join(
    list: &[Run],
    change: &Change,
    layout: usize,
    key: Option<u64>,
    bytes: usize,
    bytes_max: usize,
) -> Option<usize> {
    for (index, run) in list.iter().enumerate().rev().take(LOOK_BACK) {
        let alike = !run.alone && run.step == change.step && run.layout == layout;
        let has_room = change.step != Step::Delete || run.events.len() < DELETED_ROWS_MAX;
        if alike && has_room && run.rows.len() + bytes < bytes_max {
            return Some(index);
        }
        match (&run.keys, key) {
            (Keys::Some(keys), Some(key)) if !keys.contains(&key) => {}
            _ => return None,
        }
    }
    None
}

impl Run {
    fn push(&mut self, event: usize, key: Option<u64>, row: &[u8], layout: &Layout) {
        if !self.alone {
            if !self.events.is_empty() {
                let between: &[u8] =
                    if self.step == Step::Delete && layout.key.len() > 1 { b" OR " } else { b"," };
                self.rows.extend_from_slice(between);
            }
            self.rows.extend_from_slice(row);
        }
        self.events.push(event);
        match (&mut self.keys, key) {
            (Keys::Some(keys), Some(key)) => {
                keys.insert(key);
            }
            (keys, _) => *keys = Keys::All,
        }
    }

    /// Whether it is one statement of several rows.
    pub(super) fn is_joined(&self) -> bool {
        !self.alone && self.events.len() > 1
    }

    /// The statement.
    pub(super) fn write(&self, table: &Table, sql: &mut Vec<u8>) {
        sql.clear();
        let layout = &table.layouts[self.layout];
        if self.step == Step::Delete {
            sql.extend_from_slice(format!("DELETE FROM {} WHERE ", table.quoted).as_bytes());
            match key_name(table, layout) {
                Some(name) => {
                    let parts: [&[u8]; 4] = [name.as_bytes(), b" IN (", &self.rows, b")"];
                    parts.iter().for_each(|part| sql.extend_from_slice(part));
                }
                None => sql.extend_from_slice(&self.rows),
            }
            return;
        }
        sql.extend_from_slice(&layout.shape.insert);
        sql.extend_from_slice(&self.rows);
        if self.step == Step::Upsert {
            sql.extend_from_slice(&layout.shape.upsert);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use flowd_sink::rows::layout::Origin;
    use flowd_sink::rows::mapping::TableName;

    use super::*;
    use crate::sink::config::tests::with;
    use crate::sink::table::tests::{MARIADB, made, table_of};
    use crate::sink::value::Form;

    /// What `c1 d1 …` become: a DELETE or an upsert of which keys. Keys are numbers, or texts that may fold.
    fn check(key: &Form, changes: &str, expected: &str) {
        let name = TableName { schema: "s".into(), table: "t".into() };
        let mut table = table_of(name, vec![made("id", key.clone())], vec![0], Instant::now());
        let member = |id: &'static str| vec![(std::borrow::Cow::Borrowed("id"), id)];
        let layout = table.layout(&MARIADB, &member("1"), Origin::Change, &[]).expect("a shape");
        let mut tables = Tables::new(MARIADB, with(&[]).expect("possible settings").mapping);
        tables.add(table.definition.name.clone(), table);
        let mut runs = Runs::new(1 << 20);
        for (index, change) in changes.split(' ').enumerate() {
            let (what, id) = change.split_at(1);
            let id: &'static str = String::leak(id.to_owned());
            let images = Images { after: member(id), before: member(id) };
            let (step, told) =
                if what == "c" { (Step::Upsert, Told::ByAfter) } else { (Step::Delete, Told::ByBefore) };
            let change = Change { table: 0, step, after: layout, before: layout, told };
            runs.add(index, &change, &images, &tables).expect("values");
        }
        let table = tables.at_mut(0);
        let found: Vec<String> = runs
            .iter()
            .map(|run| {
                let mut sql = Vec::new();
                run.write(table, &mut sql);
                let sql = String::from_utf8(sql).expect("text");
                sql.replace("INSERT INTO `s`.`t` (`id`) VALUES ", "c")
                    .replace(" ON DUPLICATE KEY UPDATE `id`=VALUES(`id`)", "")
                    .replace("DELETE FROM `s`.`t` WHERE `id` IN ", "d")
            })
            .collect();
        assert_eq!(found.join(" "), expected);
    }

    #[test]
    fn rows_join_past_what_does_not_touch_their_key_and_never_past_what_does() {
        let number = Form::Integer { min: 0, max: 99 };
        check(&number, "c1 c2 c3", "c(1),(2),(3)");
        check(&number, "c1 d1 c2 d2 c3 d3", "c(1),(2),(3) d(1,2,3)");
        check(&number, "c1 d1 c1 d1", "c(1) d(1) c(1) d(1)");
        check(&number, "c1 c1 d1 c2 c1", "c(1),(1),(2) d(1) c(1)");
        check(&number, "d1 c1 d2 c2", "d(1,2) c(1),(2)");
    }

    #[test]
    fn texts_that_may_be_equal_keep_their_places() {
        check(&Form::Text, r#"c"a" d"A" c"b" d"c""#, "c('a') d('A') c('b') d('c')");
        check(&Form::Text, r#"c"a" c"b" d"a" d"b""#, "c('a'),('b') d('a','b')");
    }

    #[test]
    fn a_statement_of_deletes_does_not_grow_without_bound() {
        let changes: Vec<String> = (0..DELETED_ROWS_MAX + 1).map(|id| format!("d{}", id % 90)).collect();
        let number = Form::Integer { min: 0, max: 99 };
        let ids: Vec<String> = (0..DELETED_ROWS_MAX).map(|id| (id % 90).to_string()).collect();
        let expected = format!("d({}) d({})", ids.join(","), DELETED_ROWS_MAX % 90);
        check(&number, &changes.join(" "), &expected);
    }
}
