//! Tests of which events share a statement, without a server.

use std::time::Instant;

use flowd_sink::image;
use flowd_sink::rows::layout::Origin;
use flowd_sink::rows::mapping::TableName;

use super::*;
use crate::catalog::{Traits, defined};
use crate::config;
use crate::dialect::tests::{DIALECT, made};
use crate::value::Form;

/// The runs that changes make, added one after another: `c` upserts a key, `f` does it without ON CONFLICT, `d` deletes one.
struct Adding {
    tables: Tables,
    runs: Runs,
    count: usize,
}

impl Adding {
    fn new(folds: bool, traits: Traits) -> Self {
        let mut key = made("id", "integer", Form::Integer { min: 0, max: 999 });
        key.folds = folds;
        let name = TableName { schema: "s".into(), table: "t".into() };
        let table = defined(name.clone(), vec![key], vec![0], traits, Instant::now());
        let mut tables = Tables::new(DIALECT, config::tests::with(&[]).unwrap().mapping);
        tables.add(name, table);
        Self { tables, runs: Runs::default(), count: 0 }
    }

    fn add(&mut self, what: &str, id: &str) {
        let json = format!("{{\"id\":{id}}}");
        let mut images = Images::default();
        image::read(json.as_bytes(), &mut images.after).unwrap();
        image::read(json.as_bytes(), &mut images.before).unwrap();
        let table = self.tables.at_mut(0);
        let layout = table.layout(&DIALECT, &images.after, Origin::Change, &[]).unwrap();
        let (step, told) = match what {
            "c" => (Step::Upsert, Told::ByAfter),
            "f" => (Step::UpdateFirst, Told::ByAfter),
            _ => (Step::Delete, Told::ByBefore),
        };
        let change = Change { table: 0, step, after: layout, before: layout, told };
        self.runs.add(self.count, &change, &images, &mut self.tables).unwrap();
        self.count += 1;
    }
}

fn letter(run: &Run) -> &'static str {
    match run.step {
        Step::Upsert => "c",
        Step::UpdateFirst => "f",
        _ => "d",
    }
}

/// The statements come back with their keys.
fn check(folds: bool, traits: Traits, changes: &str, expected: &str) {
    let mut adding = Adding::new(folds, traits);
    for change in changes.split(' ') {
        let (what, id) = change.split_at(1);
        adding.add(what, id);
    }
    let told = |run: &Run| {
        let keys: Vec<&str> =
            run.params[0].iter().map(|text| std::str::from_utf8(text.unwrap()).unwrap()).collect();
        format!("{}({})", letter(run), keys.join(","))
    };
    let found: Vec<String> = adding.runs.take_all().iter().map(told).collect();
    assert_eq!(found.join(" "), expected, "{changes}");
}

#[test]
fn rows_join_past_what_does_not_touch_their_key_and_never_past_what_does() {
    let check = |changes, expected| check(false, Traits::default(), changes, expected);
    check("c1 c2 c3", "c(1,2,3)");
    check("c1 d1 c2 d2 c3 d3", "c(1,2,3) d(1,2,3)");
    check("c1 d1 c1 d1", "c(1) d(1) c(1) d(1)");
    check("d1 c1 d2 c2", "d(1,2) c(1,2)");
}

#[test]
fn a_statement_has_each_key_once() {
    check(false, Traits::default(), "c1 c1 c2 c1", "c(1) c(1,2) c(1)");
    check(true, Traits::default(), "c1 c1 c2", "c(1) c(1,2)");
    check(false, Traits::default(), "f1 f2", "f(1,2)");
    check(true, Traits::default(), "f1 f2", "f(1) f(2)");
}

#[test]
fn where_rows_are_tied_or_keys_may_be_equal_each_keeps_its_place() {
    let other = Traits { has_other_unique: true, ..Traits::default() };
    let linked = Traits { is_linked: true, ..Traits::default() };
    for (folds, traits) in [(true, Traits::default()), (false, other), (false, linked)] {
        check(folds, traits, "c1 c2 d1 c3 d2", "c(1,2) d(1) c(3) d(2)");
    }
}

#[test]
fn what_is_long_can_go_early_with_all_that_must_go_before_it() {
    let sizes =
        |runs: Vec<Run>| -> Vec<_> { runs.iter().map(|run| (letter(run), run.events.len())).collect() };
    let mut adding = Adding::new(false, Traits::default());
    adding.add("d", "1");
    for id in 2..=ROWS_FULL {
        adding.add("c", &id.to_string());
        assert_eq!(sizes(adding.runs.take_full()), []);
    }
    adding.add("f", "1");
    adding.add("c", "0");
    adding.add("c", "1");
    assert_eq!(sizes(adding.runs.take_full()), [("d", 1), ("c", ROWS_FULL)]);
    adding.add("c", "2");
    assert_eq!(sizes(adding.runs.take_full()), []);
    assert_eq!(sizes(adding.runs.take_all()), [("f", 1), ("c", 2)]);
}
