//! Events gathered into few statements: those that do the same to rows of one shape of one table go together.
//!
//! Tables do not wait for each other unless a foreign key ties them; a row's changes do. Where keys tell rows apart by
//! their text, an event may join an earlier statement past later ones that do not touch its key. Invariants: the order of
//! the changes of a key is kept, and a statement has each key once. A put is bounded, so a statement is.

use std::ops::Range;

use ahash::{AHashMap, AHashSet, RandomState};
use flowd_sink::rows::change::{Change, Images, Step, Told};

use crate::dialect::{Table, Tables};
use crate::plan;
use crate::texts::Texts;

/// How many statements back a row may join one.
const LOOK_BACK: usize = 4;
/// A statement of so many rows is worth sending while others are still gathered.
pub(crate) const ROWS_FULL: usize = 250;
/// The list of all tables that foreign keys tie.
const LINKED: usize = usize::MAX;

/// Rows for one statement.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) table: usize,
    pub(crate) step: Step,
    /// The statement, among those of the table.
    pub(crate) plan: usize,
    /// A value a row, for each parameter.
    pub(crate) params: Vec<Texts>,
    /// The events, in order, by their index in the put.
    pub(crate) events: Vec<usize>,
    /// Hashes of the keys of its rows.
    keys: AHashSet<u64>,
    /// It touches the rows of its keys alone.
    passable: bool,
}

impl Run {
    /// The parameters of some of its rows.
    pub(crate) fn slice(&self, rows: Range<usize>) -> Vec<Texts> {
        self.params.iter().map(|texts| texts.slice(rows.clone())).collect()
    }
}

/// All runs of a put.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    by_table: AHashMap<usize, usize>,
    lists: Vec<Vec<Run>>,
    /// Lists with a run that became full.
    full: Vec<usize>,
    hasher: RandomState,
    row: Vec<Texts>,
    key: Vec<u8>,
}

/// Where an event stands among others.
struct Touched {
    /// The hash of its key; `None` where it has none.
    key: Option<u64>,
    /// It touches the row of that key alone.
    alone: bool,
    /// It can share a statement.
    joins: bool,
}

impl Runs {
    /// Adds an event. The error names the column whose value cannot be.
    pub(crate) fn add(
        &mut self,
        event: usize,
        change: &Change,
        images: &Images<'_>,
        tables: &mut Tables,
    ) -> Result<(), String> {
        let plan = plan::plan(tables.at_mut(change.table), change, images)?;
        let table = tables.at(change.table);
        self.write_row(plan, images, table)?;
        let touched = self.touched(plan, change, table);
        let number = self.list_of(change.table, table);
        let list = &mut self.lists[number];
        let index = join(list, change, plan, &touched).unwrap_or_else(|| {
            list.push(Run {
                table: change.table,
                step: change.step,
                plan,
                params: vec![Texts::default(); table.statements[plan].width()],
                events: Vec::new(),
                keys: AHashSet::new(),
                passable: true,
            });
            list.len() - 1
        });
        let run = &mut list[index];
        run.params.iter_mut().zip(&self.row).for_each(|(all, one)| all.append(one));
        run.events.push(event);
        run.keys.extend(touched.key);
        run.passable &= touched.alone;
        if run.events.len() == ROWS_FULL {
            self.full.push(number);
        }
        Ok(())
    }

    /// Takes the runs that are worth sending, and those that must go before them, in the order in which they are to be put.
    pub(crate) fn take_full(&mut self) -> Vec<Run> {
        let mut taken = Vec::new();
        for number in self.full.drain(..) {
            let list = &mut self.lists[number];
            let last = list.iter().rposition(|run| run.events.len() >= ROWS_FULL);
            taken.extend(list.drain(..last.map_or(0, |last| last + 1)));
        }
        taken
    }

    /// Takes all runs, likewise.
    pub(crate) fn take_all(&mut self) -> Vec<Run> {
        self.full.clear();
        self.lists.iter_mut().flat_map(std::mem::take).collect()
    }

    fn list_of(&mut self, index: usize, table: &Table) -> usize {
        let index = if table.definition.known.is_linked { LINKED } else { index };
        *self.by_table.entry(index).or_insert_with(|| {
            self.lists.push(Vec::new());
            self.lists.len() - 1
        })
    }

    fn write_row(&mut self, plan: usize, images: &Images<'_>, table: &Table) -> Result<(), String> {
        let plan = &table.statements[plan];
        self.row.resize_with(plan.width(), Texts::default);
        self.row.iter_mut().for_each(Texts::clear);
        plan.push_row(table, images, &mut self.row)
    }

    fn touched(&mut self, plan: usize, change: &Change, table: &Table) -> Touched {
        let key = &table.statements[plan].key;
        if key.is_empty() {
            return Touched { key: None, alone: false, joins: joins(change.step) };
        }
        self.key.clear();
        key.iter().for_each(|param| self.key.extend_from_slice(self.row[*param].as_bytes()));
        // A plain event's key may be other columns than the table's.
        let told = if change.told == Told::ByAfter { change.after } else { change.before };
        let is_own = table.layouts[told].is_by_key(&table.definition.key);
        let moves = change.step != Step::Delete
            && change.told == Told::ByBefore
            && !table.layouts[change.after].key.is_empty();
        Touched {
            key: Some(self.hasher.hash_one(&self.key)),
            alone: table.definition.independent && is_own && !moves,
            // Of two texts of one key its UPDATE would take either, and tell nobody.
            joins: joins(change.step)
                && !(change.step == Step::UpdateFirst && table.statements[plan].key_folds(table)),
        }
    }
}

/// Whether several rows can go in one statement.
fn joins(step: Step) -> bool {
    matches!(step, Step::Upsert | Step::Insert | Step::UpdateFirst | Step::UpdateOnly | Step::Delete)
}

/// The run that an event can join without passing one that touches its row.
fn join(list: &[Run], change: &Change, plan: usize, touched: &Touched) -> Option<usize> {
    if !touched.joins {
        return None;
    }
    for (index, run) in list.iter().enumerate().rev().take(LOOK_BACK) {
        let has_key = touched.key.is_some_and(|key| run.keys.contains(&key));
        if run.table == change.table && run.plan == plan && !has_key {
            return Some(index);
        }
        if has_key || !run.passable || !touched.alone {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests;
