//! A row from the snapshot and the same row from the stream have the same bytes, and the same key.

use crate::harness::{ALL, Event, Events, Job, Kind, Server, Sql};
use crate::suite::columns::cases::{self, Case};
use crate::suite::{json_columns, on};

#[test]
fn a_row_has_the_same_bytes_from_the_snapshot_as_from_the_stream_for_every_column_type() {
    on(&ALL, &["--binlog-row-metadata=FULL"], every_row_is_the_same);
    // What the binlog does not say is asked of the catalog, by both.
    on(&ALL[..2], &["--binlog-row-metadata=NO_LOG"], every_row_is_the_same);
    on(&ALL[2..], &["--binlog-row-metadata=MINIMAL"], every_row_is_the_same);
}

fn every_row_is_the_same(server: &mut Server) {
    let mut sql = server.sql();
    sql.run("CREATE DATABASE test; USE test; SET time_zone = '+02:00', sql_mode = '', NAMES utf8mb4");
    every_type(&mut sql, server.kind);
    every_type_as_key(&mut sql, server.kind);
    documents(&mut sql, server.kind);
    particular(&mut sql);
    same_rows(server, 200);
}

fn cases_of(kind: Kind) -> Vec<Case> {
    cases::all().into_iter().filter(|case| case.exists_on(kind)).collect()
}

/// All types side by side, in tables with one key, with two key columns and with none; a row of nulls in each.
fn every_type(sql: &mut Sql, kind: Kind) {
    let cases = cases_of(kind);
    let columns: Vec<String> =
        cases.iter().enumerate().map(|(index, case)| format!("c{index} {} NULL", case.column)).collect();
    let turns = cases.iter().map(|case| case.values.len()).max().unwrap_or(0);
    for (table, key) in
        [("keyed", ", PRIMARY KEY (id)"), ("pair", ", PRIMARY KEY (half, id)"), ("bare", ", KEY (id)")]
    {
        sql.run(&format!("CREATE TABLE {table} (id INT, half CHAR(2), {}{key})", columns.join(", ")));
        sql.run(&format!("INSERT INTO {table} (id, half) VALUES (-1, 'h')"));
        for turn in 0..turns {
            let literals: Vec<&str> = cases.iter().map(|case| case.at(turn).0).collect();
            sql.run(&format!("INSERT INTO {table} VALUES ({turn}, 'h\u{1}', {})", literals.join(", ")));
        }
    }
}

/// A table for every type, whose key it is. The rows are larger than a chunk, so that every key bounds a range.
fn every_type_as_key(sql: &mut Sql, kind: Kind) {
    for (number, case) in cases_of(kind).iter().enumerate() {
        let prefix = match case.column.split(' ').next().unwrap_or_default() {
            "JSON" => continue,
            long if long.ends_with("TEXT") || long.ends_with("BLOB") => "(9)",
            _ => "",
        };
        sql.run(&format!(
            "CREATE TABLE key{number} (pad MEDIUMTEXT CHARACTER SET latin1, k {}, PRIMARY KEY (k{prefix}))",
            case.column
        ));
        for (literal, _) in &case.values {
            sql.run(&format!("INSERT IGNORE INTO key{number} VALUES (REPEAT('x', 17000), {literal})"));
        }
    }
}

fn documents(sql: &mut Sql, kind: Kind) {
    sql.run("CREATE TABLE documents (id INT PRIMARY KEY, j JSON)");
    let documents: &[&str] = if kind.is_mysql() { &json_columns::MYSQL } else { &json_columns::MARIADB };
    for (id, document) in documents.iter().enumerate() {
        sql.run(&format!("INSERT INTO documents VALUES ({id}, {document})"));
    }
}

/// Names that need quotes, columns that nobody writes or sees, a key in another order, rows between two of nulls.
fn particular(sql: &mut Sql) {
    sql.run("CREATE TABLE `we``ird \u{fc}` (`a b` INT, `c``d` INT, v INT AS (`a b` + 1) VIRTUAL, s VARCHAR(9) AS (CONCAT(`c``d`, '!')) STORED, h INT INVISIBLE DEFAULT 7, PRIMARY KEY (`c``d`, `a b`))");
    sql.run("INSERT INTO `we``ird \u{fc}` (`a b`, `c``d`) VALUES (1, 2), (3, 1), (-1, 2)");
    sql.run("CREATE TABLE sure (a INT, b INT NOT NULL, c VARCHAR(9) CHARACTER SET latin1 NOT NULL, UNIQUE (a), UNIQUE second (c, b))");
    sql.run("INSERT INTO sure VALUES (NULL, 1, '\u{e9}'), (NULL, 1, '\u{20ac}'), (5, 0, '')");
    sql.run("CREATE TABLE bottom (a INT, b INT, PRIMARY KEY (a DESC, b)); INSERT INTO bottom VALUES (1, 1), (2, 2), (2, 3)");
}

/// Streams all from the beginning, then takes a snapshot of the same: the same tables, keys and bytes of `after`.
fn same_rows(server: &Server, least: usize) {
    let of = |job: Job| job.set("connectorConfig.tableIncludeList", "[\"test.*\"]");
    let stream = of(Job::new(server)).set("connectorConfig.columnExcludeList", "[\"test.keyed.c3\"]");
    stream.catch_up();
    let snapshot =
        of(Job::snapshotting(server)).set("connectorConfig.columnExcludeList", "[\"test.keyed.c3\"]");
    snapshot.catch_up();
    let (stream, snapshot) = (stream.events(), snapshot.events());
    assert!(stream.len() >= least, "only {} rows were compared", stream.len());
    assert!(stream.iter().all(|event| event.op() == "c") && snapshot.iter().all(|event| event.op() == "r"));
    let (streamed, read) = (rows(&stream), rows(&snapshot));
    let short =
        |row: &[String; 3]| row.iter().map(|text| text.chars().take(3000).collect()).collect::<Vec<String>>();
    let lacking = |some: &[[String; 3]], others: &[[String; 3]]| {
        let lacking: Vec<_> = some.iter().filter(|row| others.binary_search(row).is_err()).collect();
        (lacking.len(), lacking.iter().take(3).map(|row| short(row)).collect::<Vec<_>>())
    };
    assert!(
        streamed == read,
        "of the stream alone: {:#?}\nof the snapshot alone: {:#?}",
        lacking(&streamed, &read),
        lacking(&read, &streamed)
    );
}

/// Table, key and row of each event, sorted.
fn rows(events: &Events) -> Vec<[String; 3]> {
    let row =
        |event: &Event| [event.table(), event.key().unwrap_or("none"), event.images().1].map(str::to_owned);
    let mut rows: Vec<_> = events.iter().map(row).collect();
    rows.sort();
    rows
}
