//! Every column type: what a table holds is what its copy holds, read by a snapshot or changed in the stream.

use super::{sink, stop};
use crate::harness::{Flow, Kind, Mesh, Server, Sql, until};
use crate::suite::columns::{
    SESSION,
    cases::{self, Case},
};

const TABLES: [&str; 2] = ["keyed", "bare"];

#[test]
fn every_column_type_is_the_same_in_the_copy_on_mariadb_10() {
    every_column_type_is_the_same(Kind::MariaDb10);
}

#[test]
fn every_column_type_is_the_same_in_the_copy_on_mariadb_11() {
    every_column_type_is_the_same(Kind::MariaDb11);
}

#[test]
fn every_column_type_is_the_same_in_the_copy_on_mysql_9() {
    every_column_type_is_the_same(Kind::MySql9);
}

fn every_column_type_is_the_same(kind: Kind) {
    let server = Server::start(kind);
    let mut sql = server.sql();
    sql.run(SESSION);
    let cases: Vec<Case> = cases::all().into_iter().filter(|case| case.exists_on(kind)).collect();
    create(&mut sql, "test", &cases);
    fill(&mut sql, &cases, 0);

    let flow = Flow::beside(&server, Mesh::start(), &TABLES)
        .source(|job| job.unset("pipeline.startAt").set("connectorConfig.snapshotMode", "initial"));
    let mut copying = sink(&flow);
    copied(&flow, &mut copying, &cases, "the rows that were there");
    change(&mut sql, &cases);
    copied(&flow, &mut copying, &cases, "the changes");
    for table in TABLES {
        let sums = sql.run(&format!("CHECKSUM TABLE test.{table}, test_copy.{table}"));
        assert_eq!(sums[0][1], sums[1][1], "checksums of {table}");
    }
    stop(copying);
}

#[test]
fn a_mariadb_server_gets_every_common_column_type_from_a_mysql_server() {
    let (from, to) = (Server::start(Kind::MySql9), Server::start(Kind::MariaDb11));
    let (mut sql, mut there) = (from.sql(), to.sql());
    sql.run(SESSION);
    there.run("SET sql_mode=''; CREATE DATABASE test_copy");
    let cases: Vec<Case> = cases::all()
        .into_iter()
        .filter(|case| case.exists_on(from.kind) && case.exists_on(to.kind))
        .collect();
    create(&mut sql, "test", &cases);
    create(&mut there, "test_copy", &cases);
    fill(&mut sql, &cases, 0);
    change(&mut sql, &cases);
    let flow = Flow::between((&from, "test"), (&to, "test_copy"), Mesh::start(), &TABLES);
    let mut copying = sink(&flow);
    copied(&flow, &mut copying, &cases, "the changes");
    stop(copying);
}

/// One table with a key and one without, of all cases.
fn create(sql: &mut Sql, schema: &str, cases: &[Case]) {
    let columns: Vec<String> =
        cases.iter().enumerate().map(|(index, case)| format!("c{index} {} NULL", case.column)).collect();
    for (table, key) in TABLES.into_iter().zip(["PRIMARY KEY (id)", "KEY (id)"]) {
        sql.run(&format!(
            "CREATE TABLE {schema}.{table} (id INT, half CHAR(2), {}, {key})",
            columns.join(", ")
        ));
    }
}

fn turns(cases: &[Case]) -> usize {
    cases.iter().map(|case| case.values.len()).max().unwrap_or(0)
}

/// A row a turn, from the id on, so that every value is in both tables, and a row of nothing.
fn fill(sql: &mut Sql, cases: &[Case], first: usize) {
    for table in TABLES {
        for turn in 0..turns(cases) {
            let literals: Vec<&str> = cases.iter().map(|case| case.at(turn).0).collect();
            sql.run(&format!(
                "INSERT INTO test.{table} VALUES ({}, 'h\u{1}', {})",
                first + turn,
                literals.join(", ")
            ));
        }
        sql.run(&format!("INSERT INTO test.{table} (id) VALUES ({})", first + 99));
    }
}

/// Each value becomes another one, nothing, and something again; rows move and go.
fn change(sql: &mut Sql, cases: &[Case]) {
    fill(sql, cases, 100);
    let assign = |turn: Option<usize>| {
        let literal = |case: &Case| turn.map_or("NULL".to_owned(), |turn| case.at(turn).0.to_owned());
        let list: Vec<String> =
            cases.iter().enumerate().map(|(index, case)| format!("c{index} = {}", literal(case))).collect();
        list.join(", ")
    };
    for table in TABLES {
        for turn in 0..turns(cases) {
            let id = turn + 100;
            sql.run(&format!("UPDATE test.{table} SET {} WHERE id = {turn}", assign(Some(turn + 1))));
            sql.run(&format!("UPDATE test.{table} SET {} WHERE id = {id}", assign(None)));
            if turn % 2 == 0 {
                sql.run(&format!("UPDATE test.{table} SET {} WHERE id = {id}", assign(Some(turn))));
            }
            sql.run(&format!("UPDATE test.{table} SET id = id + 1000 WHERE id = {id}"));
        }
        sql.run(&format!("UPDATE test.{table} SET {} WHERE id = 99", assign(Some(0))));
        sql.run(&format!("DELETE FROM test.{table} WHERE id IN (1, 2, 199)"));
    }
}

/// Publishes all, and waits until the copies hold the same values.
fn copied(flow: &Flow<'_>, copying: &mut crate::harness::Flowd, cases: &[Case], what: &str) {
    flow.source.catch_up();
    let mut last = Vec::new();
    let (mut from, mut to) = (flow.from.sql(), flow.to.sql());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    until(what, || {
        assert!(copying.is_running(), "the sink ended by itself: {}", copying.log());
        last = TABLES.iter().flat_map(|table| differences(&mut from, &mut to, table, cases)).collect();
        (last.is_empty() || std::time::Instant::now() > deadline).then_some(())
    });
    assert!(last.is_empty(), "{what}: {} values differ:\n{}", last.len(), last.join("\n"));
}

/// Each column's values as exact text: bytes in hexadecimal, floats with all their digits.
fn differences(from: &mut Sql, to: &mut Sql, table: &str, cases: &[Case]) -> Vec<String> {
    let shown = |case: (usize, &Case)| {
        let is_float = ["FLOAT", "DOUBLE", "REAL"].iter().any(|name| case.1.column.starts_with(name));
        if is_float { format!("c{} + 0e0", case.0) } else { format!("HEX(CONCAT(c{}, ''))", case.0) }
    };
    let columns: Vec<String> = cases.iter().enumerate().map(shown).collect();
    let rows = |sql: &mut Sql, schema: &str| {
        sql.run(&format!(
            "SET time_zone = '+00:00'; SELECT id, HEX(half), {} FROM {schema}.{table} ORDER BY id",
            columns.join(", ")
        ))
    };
    let (from, to) = (rows(from, "test"), rows(to, "test_copy"));
    let ids = |rows: &[Vec<String>]| rows.iter().map(|row| row[0].clone()).collect::<Vec<_>>();
    if ids(&from) != ids(&to) {
        return vec![format!("{table}: the ids are {:?} and {:?}", ids(&from), ids(&to))];
    }
    let name = |index: usize| index.checked_sub(2).map_or("half", |index| cases[index].column.as_str());
    let differ = |(from, to): (&Vec<String>, &Vec<String>)| -> Vec<String> {
        let pairs = from.iter().zip(to).enumerate().filter(|(_, (from, to))| from != to);
        pairs
            .map(|(index, (from, to))| format!("{table} {}: {:.60} became {:.60}", name(index), from, to))
            .collect()
    };
    from.iter().zip(&to).flat_map(differ).collect()
}
