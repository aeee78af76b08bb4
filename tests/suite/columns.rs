//! Every column type, from every server: the JSON of a value is what the format says, in every kind of change.

pub(in crate::suite) mod cases;

use serde_json::{Map, Value, json};

use self::cases::Case;
use crate::harness::{Event, Events, Job, Kind, Server, Sql};

#[test]
fn every_column_type_arrives_as_documented_from_mariadb_10() {
    every_column_type_arrives_as_documented(Kind::MariaDb10);
}

#[test]
fn every_column_type_arrives_as_documented_from_mariadb_11() {
    every_column_type_arrives_as_documented(Kind::MariaDb11);
}

#[test]
fn every_column_type_arrives_as_documented_from_mysql_9() {
    every_column_type_arrives_as_documented(Kind::MySql9);
}

/// The session's zone is not UTC, so that a TIMESTAMP taken for local time shows.
pub(in crate::suite) const SESSION: &str =
    "SET time_zone='+02:00', sql_mode='', NAMES utf8mb4; CREATE DATABASE IF NOT EXISTS test; USE test";

fn every_column_type_arrives_as_documented(kind: Kind) {
    let server = Server::start(kind);
    let mut sql = server.sql();
    sql.run(SESSION);
    let cases: Vec<Case> = cases::all().into_iter().filter(|case| case.exists_on(kind)).collect();
    let keyed = write(
        &mut sql,
        &cases,
        Shape {
            table: "keyed",
            key: "PRIMARY KEY (id)",
            partition_key: |id| Some(format!(r#"{{"id":{id}}}"#)),
        },
    );
    let pair = write(
        &mut sql,
        &cases,
        Shape {
            table: "pair",
            key: "PRIMARY KEY (half, id)",
            partition_key: |id| Some(format!(r#"{{"half":"h\u0001","id":{id}}}"#)),
        },
    );
    let bare = write(&mut sql, &cases, Shape { table: "bare", key: "KEY (id)", partition_key: |_| None });

    let job = Job::new(&server);
    job.catch_up();

    let events = job.events();
    for (table, expected) in [("keyed", keyed), ("pair", pair), ("bare", bare)] {
        compare(&cases, &events.of(table), &expected);
    }
}

/// How one of the tables is keyed.
#[derive(Clone, Copy)]
struct Shape {
    table: &'static str,
    key: &'static str,
    partition_key: fn(i64) -> Option<String>,
}

/// A change that must arrive.
struct Expected {
    op: &'static str,
    before: Value,
    after: Value,
    key: Option<String>,
}

/// Makes a table of all cases and inserts, updates, moves and deletes rows, so that every value is seen in every
/// image. Gives what must arrive.
fn write(sql: &mut Sql, cases: &[Case], shape: Shape) -> Vec<Expected> {
    let Shape { table, key, partition_key } = shape;
    let columns: Vec<String> =
        cases.iter().enumerate().map(|(index, case)| format!("c{index} {} NULL", case.column)).collect();
    sql.run(&format!("CREATE TABLE {table} (id INT, half CHAR(2), {}, {key})", columns.join(", ")));
    let count = cases.iter().map(|case| case.values.len()).max().unwrap_or(0);
    let mut expected = Vec::new();
    let change = |op, before: Option<Value>, after: Option<Value>, id: i64| Expected {
        op,
        before: before.unwrap_or(Value::Null),
        after: after.unwrap_or(Value::Null),
        key: partition_key(id),
    };
    for turn in 0..count {
        let id = i64::try_from(turn).unwrap();
        let (old, new) = (row(cases, id, Some(turn)), row(cases, id, Some(turn + 1)));
        let (empty, moved) = (row(cases, id, None), row(cases, id + 1000, None));
        let literals: Vec<&str> = cases.iter().map(|case| case.at(turn).0).collect();
        sql.run(&format!("INSERT INTO {table} VALUES ({id}, 'h\u{1}', {})", literals.join(", ")));
        expected.push(change("c", None, Some(old.clone()), id));
        sql.run(&format!("UPDATE {table} SET {} WHERE id = {id}", assignments(cases, Some(turn + 1))));
        expected.push(change("u", Some(old), Some(new.clone()), id));
        sql.run(&format!("UPDATE {table} SET {} WHERE id = {id}", assignments(cases, None)));
        expected.push(change("u", Some(new), Some(empty.clone()), id));
        sql.run(&format!("UPDATE {table} SET id = id + 1000 WHERE id = {id}"));
        if partition_key(id).is_some() {
            expected.push(change("d", Some(empty), None, id));
            expected.push(change("c", None, Some(moved.clone()), id + 1000));
        } else {
            expected.push(change("u", Some(empty), Some(moved.clone()), id));
        }
        sql.run(&format!("DELETE FROM {table} WHERE id = {}", id + 1000));
        expected.push(change("d", Some(moved), None, id + 1000));
    }
    expected
}

/// A row as JSON; without a turn all columns are NULL.
fn row(cases: &[Case], id: i64, turn: Option<usize>) -> Value {
    let mut row = Map::from_iter([("id".to_owned(), json!(id)), ("half".to_owned(), json!("h\u{1}"))]);
    for (index, case) in cases.iter().enumerate() {
        row.insert(format!("c{index}"), turn.map_or(Value::Null, |turn| case.at(turn).1.clone()));
    }
    Value::Object(row)
}

fn assignments(cases: &[Case], turn: Option<usize>) -> String {
    let literal = |case: &Case| turn.map_or("NULL".to_owned(), |turn| case.at(turn).0.to_owned());
    let list: Vec<String> =
        cases.iter().enumerate().map(|(index, case)| format!("c{index} = {}", literal(case))).collect();
    list.join(", ")
}

fn compare(cases: &[Case], events: &Events, expected: &[Expected]) {
    let mut faults = Vec::new();
    for (event, expected) in events.iter().zip(expected) {
        assert_eq!(event.op(), expected.op, "{}", event.text);
        assert_eq!(event.key(), expected.key.as_deref(), "{}", event.text);
        for (image, actual, expected) in
            [("before", event.before(), &expected.before), ("after", event.after(), &expected.after)]
        {
            images(cases, event, image, (actual, expected), &mut faults);
        }
    }
    faults.sort();
    faults.dedup();
    assert!(faults.is_empty(), "{} values differ:\n{}", faults.len(), faults.join("\n"));
    assert_eq!(events.len(), expected.len(), "number of events");
}

fn images(cases: &[Case], event: &Event, image: &str, pair: (&Value, &Value), faults: &mut Vec<String>) {
    let (Some(actual), Some(expected)) = (pair.0.as_object(), pair.1.as_object()) else {
        assert_eq!(pair.0, pair.1, "{image} of {}", event.text);
        return;
    };
    assert_eq!(actual.len(), expected.len(), "number of columns in {image} of {}", event.text);
    for (name, expected) in expected {
        let actual =
            actual.get(name).unwrap_or_else(|| panic!("no column {name} in {image} of {}", event.text));
        if !same(actual, expected) {
            let column = name.strip_prefix('c').and_then(|index| index.parse::<usize>().ok());
            let column = column.map_or(name.as_str(), |index| cases[index].column.as_str());
            faults.push(format!("{column}: {actual} instead of {expected}"));
        }
    }
}

/// A number with a fraction is compared by value (`1.0E10` is `10000000000`), all else as it is.
fn same(actual: &Value, expected: &Value) -> bool {
    if expected.is_f64() { actual.as_f64() == expected.as_f64() } else { actual == expected }
}
