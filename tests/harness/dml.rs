//! Random committed changes, with the list of what a capture of them must deliver.
//!
//! Every change of a row writes a number into `rev` that no other change ever has. A change is therefore known by
//! its op and its `rev`, and what arrives can be counted against what was committed.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Event, Events, Sql};

/// The tables that [`Dml`] changes, in the schema `test_dml`.
const TABLES: [&str; 3] = ["plain", "pair", "wide"];

const SCHEMA: &str = "
    CREATE DATABASE test_dml;
    CREATE TABLE test_dml.plain (id INT PRIMARY KEY, rev BIGINT NOT NULL, note VARCHAR(200));
    CREATE TABLE test_dml.pair (id INT, half CHAR(1) DEFAULT 'a', rev BIGINT NOT NULL, note VARCHAR(200), PRIMARY KEY (half, id));
    CREATE TABLE test_dml.wide (id INT PRIMARY KEY, rev BIGINT NOT NULL, note LONGTEXT)";

/// One committed change as it must arrive; a key change is two.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Change {
    pub table: String,
    pub id: i64,
    pub op: String,
    /// `rev` after the change, of a delete before it.
    pub rev: i64,
}

impl Change {
    /// What an event says.
    pub fn of(event: &Event) -> Self {
        let row = if event.op() == "d" { event.before() } else { event.after() };
        let number =
            |column: &str| row[column].as_i64().unwrap_or_else(|| panic!("no {column} in {}", event.text));
        Self {
            table: event.table().to_owned(),
            id: number("id"),
            op: event.op().to_owned(),
            rev: number("rev"),
        }
    }
}

/// The generator: a seeded sequence of transactions and the rows that they leave behind.
pub struct Dml {
    random: StdRng,
    rows: Vec<Vec<(i64, i64)>>,
    next_id: i64,
    next_rev: i64,
    committed: Vec<Change>,
}

impl Dml {
    /// Makes the tables alone, for a copy of what is changed elsewhere; gives their names.
    pub fn tables(sql: &mut Sql) -> &'static [&'static str] {
        sql.run(SCHEMA);
        &TABLES
    }

    /// Makes the tables. The seed is printed, and `FLOWD_TEST_SEED` overrides it.
    pub fn new(sql: &mut Sql) -> Self {
        let given = std::env::var("FLOWD_TEST_SEED").ok();
        let seed = given.map_or_else(rand::random, |seed| seed.parse().expect("FLOWD_TEST_SEED is a number"));
        eprintln!("FLOWD_TEST_SEED={seed}");
        sql.run(SCHEMA);
        let rows = vec![Vec::new(); TABLES.len()];
        Self { random: StdRng::seed_from_u64(seed), rows, next_id: 1, next_rev: 1, committed: Vec::new() }
    }

    /// A number below `bound` from the same seed, for the test's own choices.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.random.random_range(0..bound)
    }

    /// One transaction of 1 to `size` changes; one in six is rolled back and leaves nothing.
    pub fn transaction(&mut self, sql: &mut Sql, size: usize) {
        let saved = (self.rows.clone(), self.committed.len());
        let mut statements = vec!["BEGIN".to_owned()];
        for _ in 0..self.random.random_range(1..=size) {
            let statement = self.change();
            statements.push(statement);
        }
        if self.random.random_range(0..6) == 0 {
            statements.push("ROLLBACK".to_owned());
            self.rows = saved.0;
            self.committed.truncate(saved.1);
        } else {
            statements.push("COMMIT".to_owned());
        }
        sql.run(&statements.join(";\n"));
    }

    fn change(&mut self) -> String {
        let table = self.random.random_range(0..TABLES.len());
        match self.random.random_range(0..10) {
            0..=3 => self.insert(table),
            4..=6 => self.update(table),
            7 => self.move_row(table),
            _ => self.delete(table),
        }
    }

    fn insert(&mut self, table: usize) -> String {
        let count = if self.random.random_range(0..20) == 0 { 200 } else { self.random.random_range(1..4) };
        let mut values = Vec::new();
        for _ in 0..count {
            let (id, rev) = (self.fresh_id(), self.fresh_rev());
            self.rows[table].push((id, rev));
            self.record(table, id, "c", rev);
            values.push(format!("({id},{rev},{})", self.note(table)));
        }
        format!("INSERT INTO test_dml.{} (id,rev,note) VALUES {}", TABLES[table], values.join(","))
    }

    fn update(&mut self, table: usize) -> String {
        let Some((index, id, _)) = self.pick(table) else { return self.insert(table) };
        let rev = self.fresh_rev();
        self.rows[table][index].1 = rev;
        self.record(table, id, "u", rev);
        format!("UPDATE test_dml.{} SET rev={rev}, note={} WHERE id={id}", TABLES[table], self.note(table))
    }

    fn move_row(&mut self, table: usize) -> String {
        let Some((index, id, old_rev)) = self.pick(table) else { return self.insert(table) };
        let (new_id, rev) = (self.fresh_id(), self.fresh_rev());
        self.rows[table][index] = (new_id, rev);
        self.record(table, id, "d", old_rev);
        self.record(table, new_id, "c", rev);
        format!("UPDATE test_dml.{} SET id={new_id}, rev={rev} WHERE id={id}", TABLES[table])
    }

    fn delete(&mut self, table: usize) -> String {
        let Some((index, id, rev)) = self.pick(table) else { return self.insert(table) };
        self.rows[table].swap_remove(index);
        self.record(table, id, "d", rev);
        format!("DELETE FROM test_dml.{} WHERE id={id}", TABLES[table])
    }

    fn pick(&mut self, table: usize) -> Option<(usize, i64, i64)> {
        let count = self.rows[table].len();
        let index = (count > 0).then(|| self.random.random_range(0..count))?;
        let (id, rev) = self.rows[table][index];
        Some((index, id, rev))
    }

    /// A deleted id never comes back, except that one in eight inserts takes one again: keys must be able to.
    fn fresh_id(&mut self) -> i64 {
        if self.next_id > 10 && self.random.random_range(0..8) == 0 {
            let id = self.random.random_range(1..self.next_id);
            if self.rows.iter().flatten().all(|&(taken, _)| taken != id) {
                return id;
            }
        }
        self.next_id += 1;
        self.next_id
    }

    fn fresh_rev(&mut self) -> i64 {
        self.next_rev += 1;
        self.next_rev
    }

    fn note(&mut self, table: usize) -> String {
        let length = if TABLES[table] == "wide" { self.random.random_range(0..3000) } else { 10 };
        match self.random.random_range(0..8) {
            0 => "NULL".to_owned(),
            1 => "'quote \\' \\\\ line\\n \u{1F600} ä'".to_owned(),
            _ => format!("REPEAT('n{}',{length})", self.next_rev),
        }
    }

    fn record(&mut self, table: usize, id: i64, op: &str, rev: i64) {
        self.committed.push(Change { table: TABLES[table].to_owned(), id, op: op.to_owned(), rev });
    }

    /// Demands that `events` are the committed changes: nothing missing, nothing foreign, each change one id, the
    /// same bytes wherever an id occurs again, the right order for every key, and the tables as the server has them.
    pub fn verify(&self, events: &Events, sql: &mut Sql) {
        let first = events.first_occurrences();
        let arrived: Vec<Change> = first.iter().map(Change::of).collect();
        same_changes(&self.committed, &arrived);
        for table in TABLES {
            assert_eq!(
                replayed(&arrived, table),
                stored(sql, table),
                "the events of {table}, played one after the other, do not give the table as it is"
            );
        }
        assert_eq!(per_key(&arrived), per_key(&self.committed), "the order of a key's changes");
    }

    /// Whether all committed changes of a table are among `events`.
    pub fn has_all_of(&self, table: &str, events: &Events) -> bool {
        let arrived: std::collections::HashSet<Change> = events.iter().map(Change::of).collect();
        self.committed.iter().filter(|change| change.table == table).all(|change| arrived.contains(change))
    }
}

fn same_changes(committed: &[Change], arrived: &[Change]) {
    let sorted = |changes: &[Change]| {
        let mut changes = changes.to_vec();
        changes.sort();
        changes
    };
    let (committed, arrived) = (sorted(committed), sorted(arrived));
    if committed == arrived {
        return;
    }
    let without = |some: &[Change], others: &[Change]| {
        some.iter()
            .filter(|change| others.binary_search(change).is_err())
            .take(5)
            .cloned()
            .collect::<Vec<_>>()
    };
    panic!(
        "{} changes were committed and {} arrived; missing: {:?} …, foreign: {:?} …",
        committed.len(),
        arrived.len(),
        without(&committed, &arrived),
        without(&arrived, &committed)
    );
}

type PerKey<'a> = std::collections::BTreeMap<(&'a str, i64), Vec<(&'a str, i64)>>;

fn per_key(changes: &[Change]) -> PerKey<'_> {
    let mut keys = PerKey::new();
    for change in changes {
        keys.entry((&change.table, change.id)).or_default().push((&change.op, change.rev));
    }
    keys
}

/// The rows (id, rev) that the changes of a table leave behind.
fn replayed(changes: &[Change], table: &str) -> Vec<(i64, i64)> {
    let mut rows = std::collections::BTreeMap::new();
    for change in changes.iter().filter(|change| change.table == table) {
        if change.op == "d" {
            rows.remove(&change.id);
        } else {
            rows.insert(change.id, change.rev);
        }
    }
    rows.into_iter().collect()
}

fn stored(sql: &mut Sql, table: &str) -> Vec<(i64, i64)> {
    let rows = sql.run(&format!("SELECT id, rev FROM test_dml.{table} ORDER BY id"));
    rows.iter().map(|row| (row[0].parse().unwrap(), row[1].parse().unwrap())).collect()
}
