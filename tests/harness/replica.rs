//! A consumer that keeps tables: it applies events in the order of their arrival, and says what cannot be.
//!
//! It stands on nothing but the events: upsert by key, delete by key; a table without a key is a bag of rows that is
//! emptied where the rows of a new snapshot begin. Independent of how flowd reads, so it can judge it.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Event, Sql};

/// How the events came, and with it how much can be asked of their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Every event once: each key's events must follow from one another, without a break between snapshot and stream.
    Once,
    /// Some came again after a kill: only the last state counts.
    Repeated,
}

/// The row images of an event, byte for byte.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: Images<'a>,
}

#[derive(Deserialize)]
struct Images<'a> {
    #[serde(borrow)]
    before: &'a RawValue,
    #[serde(borrow)]
    after: &'a RawValue,
}

impl Event {
    /// The bytes of `data.before` and `data.after`.
    pub fn images(&self) -> (&str, &str) {
        let envelope: Envelope<'_> = serde_json::from_str(&self.text).expect("an envelope");
        (envelope.data.before.get(), envelope.data.after.get())
    }

    /// The part of a snapshot row's id that names the snapshot.
    pub fn snapshot(&self) -> &str {
        self.id().split('/').next().expect("split gives something")
    }
}

#[derive(Debug, Default)]
struct Table {
    /// What a key's row is; `None` where it is known to be gone.
    keyed: HashMap<String, Option<String>>,
    /// How often each row is there, of a table without key.
    bag: BTreeMap<String, usize>,
    /// The snapshot whose rows are in the bag.
    snapshot: Option<String>,
}

/// The tables as a consumer has them.
#[derive(Debug, Default)]
pub struct Replica {
    tables: BTreeMap<String, Table>,
}

impl Replica {
    /// What the events make of empty tables.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>, arrival: Arrival) -> Self {
        let mut replica = Self::default();
        for event in events {
            // What a marker stands for is in rows that come later.
            if event.is_marker() {
                continue;
            }
            let (before, after) = event.images();
            let table = replica.tables.entry(event.table().to_owned()).or_default();
            match event.key() {
                Some(key) => table.row(event, key, (before, after), arrival),
                None => table.bag(event, (before, after), arrival),
            }
        }
        replica
    }

    /// The rows of a table: the named columns as the client program prints them, sorted.
    pub fn rows(&self, table: &str, columns: &[&str]) -> Vec<Vec<String>> {
        let Some(table) = self.tables.get(table) else { return Vec::new() };
        let bag = table.bag.iter().flat_map(|(row, &count)| std::iter::repeat_n(row, count));
        let mut rows: Vec<Vec<String>> = table
            .keyed
            .values()
            .flatten()
            .chain(bag)
            .map(|row| {
                let row: Value = serde_json::from_str(row).expect("a row is JSON");
                assert_eq!(
                    row.as_object().map(serde_json::Map::len),
                    Some(columns.len()),
                    "columns of {row}"
                );
                columns.iter().map(|&column| printed(&row[column])).collect()
            })
            .collect();
        rows.sort();
        rows
    }

    /// Demands that a table is as the server has it. `shown` pairs each column with the expression of SQL that gives
    /// the text of its JSON value.
    pub fn verify(&self, sql: &mut Sql, schema: &str, table: &str, shown: &[(&str, &str)]) {
        let expressions: Vec<&str> = shown.iter().map(|(_, expression)| *expression).collect();
        let mut stored = sql.run(&format!("SELECT {} FROM {schema}.{table}", expressions.join(", ")));
        stored.sort();
        let columns: Vec<&str> = shown.iter().map(|(column, _)| *column).collect();
        let rows = self.rows(table, &columns);
        if rows == stored {
            return;
        }
        let without = |some: &[Vec<String>], others: &[Vec<String>]| {
            let lacking = some.iter().filter(|row| others.binary_search(row).is_err());
            lacking.take(4).cloned().collect::<Vec<_>>()
        };
        panic!(
            "{table}: {} rows arrived, the server has {}; missing: {:?} …, foreign: {:?} …",
            rows.len(),
            stored.len(),
            without(&stored, &rows),
            without(&rows, &stored)
        );
    }
}

impl Table {
    fn row(&mut self, event: &Event, key: &str, images: (&str, &str), arrival: Arrival) {
        let (before, after) = images;
        let known = self.keyed.get(key).map(Option::as_deref);
        let follows = match (event.op(), known) {
            (_, None) | ("c", Some(None)) => true,
            ("r", Some(row)) => row == Some(after),
            ("u" | "d", Some(row)) => row == Some(before),
            _ => false,
        };
        assert!(
            follows || arrival == Arrival::Repeated,
            "this does not follow from what the key had before, {known:?}: {}",
            event.text
        );
        let row = (event.op() != "d").then(|| after.to_owned());
        self.keyed.insert(key.to_owned(), row);
    }

    fn bag(&mut self, event: &Event, images: (&str, &str), arrival: Arrival) {
        let (before, after) = images;
        if event.op() == "r" {
            if self.snapshot.as_deref() != Some(event.snapshot()) {
                self.bag.clear();
                self.snapshot = Some(event.snapshot().to_owned());
            }
        } else if before != "null" {
            let count = self.bag.entry(before.to_owned()).or_default();
            assert!(
                *count > 0 || self.snapshot.is_none() || arrival == Arrival::Repeated,
                "this row was not there: {}",
                event.text
            );
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.bag.remove(before);
            }
        }
        if after != "null" {
            *self.bag.entry(after.to_owned()).or_default() += 1;
        }
    }
}

/// A JSON value as the client program prints the same value.
fn printed(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => {
            text.replace('\\', "\\\\").replace('\n', "\\n").replace('\t', "\\t").replace('\0', "\\0")
        }
        other => other.to_string(),
    }
}
