//! Dialects without a server, whose tables hold texts: for the tests of this module.

use std::collections::BTreeMap;
use std::time::Instant;

use super::change::Step;
use super::dialect::Dialect;
use super::layout::Origin;
use super::mapping::{MappingSettings, NameRule, TableMapping, TableName};
use super::table::{Column, Definition, Table};
use super::tables::{Tables, Trouble};
use crate::image::{self, Member};

/// A dialect where case tells names of columns apart.
pub(super) type Quoting = Texts<false>;

/// One where it does not.
pub(super) type Folding = Texts<true>;

#[derive(Debug, Default)]
pub(super) struct Texts<const FOLDS: bool>;

impl<const FOLDS: bool> Dialect for Texts<FOLDS> {
    type Session = ();
    type DataType = ();
    type Known = ();
    type Shape = String;
    type Statement = ();

    const NAMES_FOLD: bool = FOLDS;
    const DELICATE_INSERTION: Step = Step::InsertFirst;

    fn identifier(name: &str) -> String {
        name.to_owned()
    }

    fn read(&self, (): &mut (), _: &TableName, _: Instant) -> Result<Option<Table<Self>>, Trouble> {
        Ok(None)
    }

    fn shape(&self, _: &Table<Self>, _: Origin, written: &[&str]) -> String {
        written.join(" ")
    }
}

fn name() -> TableName {
    TableName { schema: "s".into(), table: "t".into() }
}

/// `s.t` with these columns.
pub(super) fn table<D: Dialect<DataType = (), Known = ()>>(columns: &[&str], key: Vec<usize>) -> Table<D> {
    let column = |name: &&str| Column {
        name: (*name).to_owned(),
        quoted: D::identifier(name),
        data_type: (),
        generated: false,
        identity: false,
        folds: false,
    };
    let columns = columns.iter().map(column).collect();
    let definition = Definition { name: name(), columns, key, delicate: false, independent: true, known: () };
    Table::new(definition, Instant::now())
}

/// One table, known already; it is the one of plain events too, by its column `code`.
pub(super) fn tables<D: Dialect + Default>(table: Table<D>) -> Tables<D> {
    let settings = MappingSettings {
        schema: "s".into(),
        table_mapping: BTreeMap::new(),
        plain_table: Some("t".into()),
        plain_key: vec!["code".into()],
    };
    let any = NameRule { is_possible: |_| true, allowed: "any" };
    let mapping = TableMapping::new(settings, "schema", any).expect("possible settings");
    let mut tables = Tables::new(D::default(), mapping);
    tables.add(name(), table);
    tables
}

/// The members of a row.
pub(super) fn members(json: &'static str) -> Vec<Member<'static>> {
    let mut members = Vec::new();
    image::read(json.as_bytes(), &mut members).expect("an object");
    members
}
