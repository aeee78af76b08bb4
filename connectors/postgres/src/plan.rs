//! The statement of a step for rows of one shape: its text, and which values are its parameters.
//!
//! A parameter is a `text[]` with one element a row; the statement makes rows of them by `unnest` and casts each value to
//! its column's type. So the text depends on the shape alone, however many rows there are, and is prepared once.

use std::fmt::Write as _;

use flowd_sink::rows::change::{Change, Images, Step, Told};

use crate::dialect::{Column, Layout, Table};
use crate::texts::Texts;
use crate::value::{self, Form};

/// A statement.
#[derive(Debug)]
pub(crate) struct Plan {
    change: Change,
    /// Which columns of `before` are NULL, where the whole row is looked for: `=` finds none of them.
    nulls: Vec<bool>,
    pub(crate) sql: String,
    params: Vec<Param>,
    /// The parameters that tell the row; empty where the key does not.
    pub(crate) key: Vec<usize>,
}

/// Where a parameter's values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Param {
    image: Told,
    member: usize,
    column: usize,
}

/// The index of the statement for this change, among those of its table.
pub(crate) fn plan(table: &mut Table, change: &Change, images: &Images<'_>) -> Result<usize, String> {
    let is_whole = matches!(change.step, Step::UpdateMatching | Step::DeleteMatching);
    let nulls: Vec<bool> = match is_whole {
        true => images.before.iter().map(|(_, raw)| *raw == "null").collect(),
        false => Vec::new(),
    };
    let found = table.statements.iter().rposition(|plan| plan.change == *change && plan.nulls == nulls);
    if let Some(index) = found {
        return Ok(index);
    }
    let plan = Writer { table, change, nulls: &nulls, params: Vec::new() }.plan()?;
    table.statements.push(plan);
    Ok(table.statements.len() - 1)
}

impl Plan {
    /// How many parameters it takes.
    pub(crate) fn width(&self) -> usize {
        self.params.len()
    }

    /// Whether keys may be equal although their texts differ.
    pub(crate) fn key_folds(&self, table: &Table) -> bool {
        self.key.iter().any(|param| table.definition.columns[self.params[*param].column].folds)
    }

    /// Appends an event's values, one to each of `row`.
    pub(crate) fn push_row(
        &self,
        table: &Table,
        images: &Images<'_>,
        row: &mut [Texts],
    ) -> Result<(), String> {
        for (param, texts) in self.params.iter().zip(row) {
            let (members, layout) = self.change.image(param.image, images);
            let reading = table.layouts[layout].shape;
            let column = &table.definition.columns[param.column];
            texts
                .push(|out| value::write(column.data_type.form, members[param.member].1, reading, out))
                .map_err(|why| format!("column {} of {}: {why}", column.quoted, table.definition.name))?;
        }
        Ok(())
    }

    /// `"id"=1 and "part"=2`, of a row, for people.
    pub(crate) fn told_key(&self, table: &Table, row: &[Texts]) -> Option<String> {
        let told = |index: &usize| {
            let value = row[*index].iter().next().flatten().map_or("NULL".into(), String::from_utf8_lossy);
            format!("{}={value}", table.definition.columns[self.params[*index].column].quoted)
        };
        let all: Vec<String> = self.key.iter().map(told).collect();
        (!all.is_empty()).then(|| all.join(" and "))
    }

    /// A statement that does nothing but cast one parameter, and the name of its column.
    pub(crate) fn probe(&self, table: &Table, param: usize) -> (String, String) {
        let column = &table.definition.columns[self.params[param].column];
        let sql = format!("SELECT count(v::{}) FROM unnest($1::text[]) AS n(v)", column.data_type.cast);
        (sql, column.quoted.clone())
    }
}

/// Makes a statement, and collects its parameters on the way.
struct Writer<'t> {
    table: &'t Table,
    change: &'t Change,
    nulls: &'t [bool],
    params: Vec<Param>,
}

impl Writer<'_> {
    fn plan(mut self) -> Result<Plan, String> {
        let sql = match self.change.step {
            Step::Insert => self.insert(),
            Step::Upsert => self.insert() + &self.on_conflict(),
            Step::UpdateFirst | Step::InsertFirst => self.update_first(),
            Step::UpdateOnly => self.update_only(),
            Step::Move => self.moved(),
            Step::Delete => self.delete(),
            Step::UpdateMatching => self.update_matching(),
            Step::DeleteMatching => self.delete_matching(),
            Step::Truncate => format!("DELETE FROM {}", self.table.quoted),
        };
        if self.params.is_empty() && self.change.step != Step::Truncate {
            return Err(format!("the event has no column of {} that is written", self.table.definition.name));
        }
        let key = match self.change.step {
            Step::Insert | Step::UpdateMatching | Step::DeleteMatching | Step::Truncate => Vec::new(),
            _ => self.key(),
        };
        Ok(Plan { change: *self.change, nulls: self.nulls.to_vec(), sql, params: self.params, key })
    }

    fn after(&self) -> &Layout {
        &self.table.layouts[self.change.after]
    }

    fn before(&self) -> &Layout {
        &self.table.layouts[self.change.before]
    }

    /// The number of the parameter with this member's values.
    fn param(&mut self, image: Told, member: usize) -> usize {
        let layout = if image == Told::ByAfter { self.after() } else { self.before() };
        let param = Param { image, member, column: layout.columns[member] };
        let found = self.params.iter().position(|one| *one == param);
        found.unwrap_or_else(|| {
            self.params.push(param);
            self.params.len() - 1
        })
    }

    fn column(&self, param: usize) -> &Column {
        &self.table.definition.columns[self.params[param].column]
    }

    /// `n.c0::integer`
    fn value(&self, param: usize) -> String {
        format!("n.c{param}::{}", self.column(param).data_type.cast)
    }

    /// The parameters of what is written.
    fn written(&mut self) -> Vec<usize> {
        let written = self.after().written.clone();
        written.into_iter().map(|member| self.param(Told::ByAfter, member)).collect()
    }

    /// The parameters of the key in the image that tells the row.
    fn key(&mut self) -> Vec<usize> {
        let told = self.change.told;
        let layout = if told == Told::ByAfter { self.after() } else { self.before() };
        let key = layout.key.clone();
        key.into_iter().map(|member| self.param(told, member)).collect()
    }

    /// The rows of all parameters so far.
    fn rows(&self) -> String {
        let list = |each: fn(usize) -> String| {
            let all: Vec<String> = (0..self.params.len()).map(each).collect();
            all.join(",")
        };
        format!(
            "unnest({}) AS n({})",
            list(|index| format!("${}::text[]", index + 1)),
            list(|index| format!("c{index}"))
        )
    }

    /// The same, each value with its column's type.
    fn typed_rows(&self) -> String {
        let typed: Vec<String> =
            (0..self.params.len()).map(|param| format!("{} AS c{param}", self.value(param))).collect();
        format!("n AS MATERIALIZED (SELECT {} FROM {})", typed.join(","), self.rows())
    }

    fn insert(&mut self) -> String {
        let written = self.written();
        let values: Vec<String> = written.iter().map(|param| self.value(*param)).collect();
        format!("{} SELECT {} FROM {}", self.insert_into(&written), values.join(","), self.rows())
    }

    /// A row of an identity column brings its value.
    fn insert_into(&self, written: &[usize]) -> String {
        let names: Vec<&str> = written.iter().map(|param| self.column(*param).quoted.as_str()).collect();
        format!("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE", self.table.quoted, names.join(","))
    }

    fn on_conflict(&mut self) -> String {
        let key: Vec<&str> = self
            .table
            .definition
            .key
            .iter()
            .map(|key| self.table.definition.columns[*key].quoted.as_str())
            .collect();
        let names: Vec<String> =
            self.set(|column, _| format!("{}=EXCLUDED.{}", column.quoted, column.quoted));
        match names.is_empty() {
            true => format!(" ON CONFLICT ({}) DO NOTHING", key.join(",")),
            false => format!(" ON CONFLICT ({}) DO UPDATE SET {}", key.join(","), names.join(",")),
        }
    }

    /// The columns that an UPDATE sets: not the key that tells the row, unless equal keys may differ in writing.
    fn set(&mut self, each: impl Fn(&Column, usize) -> String) -> Vec<String> {
        let key = match self.change.told {
            Told::ByAfter => self.after().key.clone(),
            Told::ByBefore => Vec::new(),
        };
        let mut all = Vec::new();
        for member in self.after().written.clone() {
            let param = self.param(Told::ByAfter, member);
            let column = self.column(param);
            if !column.identity && (column.folds || !key.contains(&member)) {
                all.push(each(column, param));
            }
        }
        all
    }

    /// ` SET a=…`; where there is nothing to set, the key is set to itself: the row must be there all the same.
    fn assignments(&mut self, value: impl Fn(&Column, usize) -> String) -> String {
        let set = self.set(|column, param| format!("{}={}", column.quoted, value(column, param)));
        if !set.is_empty() {
            return set.join(",");
        }
        let told = self.key().first().map(|param| self.column(*param).quoted.clone());
        told.map(|name| format!("{name}=t.{name}")).unwrap_or_default()
    }

    fn key_is(&mut self, value: impl Fn(&Self, usize) -> String) -> String {
        let key = self.key();
        let each = |param: &usize| format!("t.{}={}", self.column(*param).quoted, value(self, *param));
        let all: Vec<String> = key.iter().map(each).collect();
        all.join(" AND ")
    }

    fn update_only(&mut self) -> String {
        let casts = |column: &Column, param: usize| format!("n.c{param}::{}", column.data_type.cast);
        let (set, key) = (self.assignments(casts), self.key_is(Self::value));
        format!("UPDATE {} AS t SET {set} FROM {} WHERE {key}", self.table.quoted, self.rows())
    }

    fn update_first(&mut self) -> String {
        let written = self.written();
        let set = self.assignments(|_, param| format!("n.c{param}"));
        let is_it = self.key_is(|_, param| format!("n.c{param}"));
        let key = self.key();
        let list = |each: &dyn Fn(&usize) -> String, between: &str| {
            let all: Vec<String> = key.iter().map(each).collect();
            all.join(between)
        };
        let returned = list(&|param| format!("n.c{param}"), ",");
        let is_done = list(&|param| format!("done.c{param}=n.c{param}"), " AND ");
        let values: Vec<String> = written.iter().map(|param| format!("n.c{param}")).collect();
        format!(
            "WITH {}, done AS (UPDATE {} AS t SET {set} FROM n WHERE {is_it} RETURNING {returned}) \
             {} SELECT {} FROM n WHERE NOT EXISTS (SELECT FROM done WHERE {is_done})",
            self.typed_rows(),
            self.table.quoted,
            self.insert_into(&written),
            values.join(",")
        )
    }

    /// One row, by its old key.
    fn moved(&mut self) -> String {
        let written = self.written();
        let set = self.assignments(|_, param| format!("n.c{param}"));
        let is_it = self.key_is(|_, param| format!("n.c{param}"));
        let values: Vec<String> = written.iter().map(|param| format!("n.c{param}")).collect();
        let conflict = if self.table.definition.delicate { String::new() } else { self.on_conflict() };
        format!(
            "WITH {}, done AS (UPDATE {} AS t SET {set} FROM n WHERE {is_it} RETURNING 1) \
             {} SELECT {} FROM n WHERE NOT EXISTS (SELECT FROM done){conflict}",
            self.typed_rows(),
            self.table.quoted,
            self.insert_into(&written),
            values.join(",")
        )
    }

    fn delete(&mut self) -> String {
        let key = self.key_is(Self::value);
        format!("DELETE FROM {} AS t USING {} WHERE {key}", self.table.quoted, self.rows())
    }

    fn update_matching(&mut self) -> String {
        let casts = |column: &Column, param: usize| format!("n.c{param}::{}", column.data_type.cast);
        let (set, whole) = (self.assignments(casts), self.whole());
        let place = self.place(&whole);
        format!("UPDATE {} AS t SET {set} FROM {}{place}", self.table.quoted, self.rows())
    }

    fn delete_matching(&mut self) -> String {
        let whole = self.whole();
        let place = self.place(&whole);
        format!("DELETE FROM {} AS t USING {}{place}", self.table.quoted, self.rows())
    }

    /// Where one row is that meets the condition: by its place, since nothing else tells it from its like.
    fn place(&self, whole: &str) -> String {
        format!(
            " CROSS JOIN LATERAL (SELECT x.tableoid AS part, x.ctid AS place FROM {} AS x WHERE {whole} LIMIT 1) AS p \
             WHERE t.ctid=p.place AND t.tableoid=p.part",
            self.table.quoted
        )
    }

    /// That every column of `x` is what its member says; what the server computes follows from the others.
    fn whole(&mut self) -> String {
        let mut out = String::new();
        for member in self.before().written.clone() {
            let between = if out.is_empty() { "" } else { " AND " };
            out.push_str(between);
            let param = self.param(Told::ByBefore, member);
            let (column, value) = (self.column(param), self.value(param));
            let name = &column.quoted;
            let written = match column.data_type.form {
                _ if self.nulls[member] => write!(out, "x.{name} IS NULL"),
                // A date may be NULL although its member is not.
                Form::Date | Form::Timestamp { .. } => write!(out, "x.{name} IS NOT DISTINCT FROM {value}"),
                // There may be no equality of the type, or one that says little.
                Form::Json | Form::Other => write!(out, "x.{name}::text=({value})::text"),
                Form::Text { .. } if column.folds => {
                    write!(out, "x.{name}={value} AND x.{name}::text COLLATE \"C\"=({value})::text")
                }
                _ => write!(out, "x.{name}={value}"),
            };
            written.expect("a string takes everything");
        }
        out
    }
}

#[cfg(test)]
mod tests;
