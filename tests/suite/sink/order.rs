//! Where the order between rows matters: unique indexes, keys that differ in case or accent alone, rows without a key,
//! and TRUNCATE.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{BOTH, sink, stop};
use crate::harness::{Counted, Flow, Mesh, Sql};
use crate::suite::on;

/// A few pushes come late.
const REORDERING: [&str; 2] = ["--fault-reorder-pushes", "10"];

fn random() -> StdRng {
    let given = std::env::var("FLOWD_TEST_SEED").ok();
    let seed = given.map_or_else(rand::random, |seed| seed.parse().expect("FLOWD_TEST_SEED is a number"));
    eprintln!("FLOWD_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// Makes a table, copies what `change` does to it, and demands equal tables and each change applied once.
fn copied(columns: &str, change: impl Fn(&mut Sql) + Sync) {
    on(&BOTH, &[], |server| {
        let mut sql = server.sql();
        sql.run(&format!("CREATE DATABASE test; CREATE TABLE test.t ({columns})"));
        let flow = Flow::beside(server, Mesh::start_with(&REORDERING), &["t"]);
        let counted = Counted::new(&mut sql, "test_copy", &["t"]);
        let mut copying = sink(&flow);
        change(&mut sql);
        flow.settle(&mut copying);
        counted.verify(&mut sql, &flow.reference());
        stop(copying);
    });
}

#[test]
fn a_value_that_goes_from_row_to_row_of_a_unique_index_ends_where_the_source_has_it() {
    copied("id INT PRIMARY KEY, name VARCHAR(20), rev INT, UNIQUE KEY (name)", |sql| {
        let mut random = random();
        sql.run("USE test; INSERT INTO t VALUES (1, 'a', 0), (2, 'b', 0), (3, 'c', 0)");
        sql.run("UPDATE t SET name = 'x' WHERE id = 1; INSERT INTO t VALUES (4, 'a', 0)");
        for rev in 1..=150 {
            let (one, other) = (random.random_range(1..=4), random.random_range(1..=4));
            sql.run(&format!(
                "SELECT name INTO @one FROM t WHERE id = {one}; SELECT name INTO @other FROM t WHERE id = {other};
                 BEGIN; UPDATE t SET name = 'between', rev = {rev} WHERE id = {one};
                 UPDATE t SET name = @one, rev = {rev} WHERE id = {other} AND id <> {one};
                 UPDATE t SET name = @other WHERE id = {one}; COMMIT"
            ));
        }
        // A row goes, and its value comes back under another key.
        for id in 5..60 {
            sql.run(&format!(
                "UPDATE t SET name = 'free' WHERE id = {id} - 1; INSERT INTO t VALUES ({id}, 'taken', 0);
                 DELETE FROM t WHERE id = {id} - 1; UPDATE t SET name = 'free', rev = rev + 1 WHERE id = {id}"
            ));
        }
    });
}

#[test]
fn a_key_that_changes_in_case_or_accent_alone_is_the_same_row_in_the_copy() {
    copied(
        "name VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci PRIMARY KEY, rev INT, note VARCHAR(20)",
        |sql| {
            let mut random = random();
            sql.run("USE test; INSERT INTO t VALUES ('müller', 0, ''), ('Émile', 0, ''), ('anna', 0, ''), ('zoë', 0, '')");
            let forms =
                [["müller", "MULLER", "Muller"], ["Émile", "emile", "ÉMILE"], ["anna", "ANNA", "Ännä"]];
            for rev in 1..=150 {
                let name = &forms[random.random_range(0..forms.len())];
                let next = name[random.random_range(0..name.len())];
                let note = random.random_range(0..100);
                sql.run(&match random.random_range(0..4) {
                    0 => format!("UPDATE t SET name = '{next}', rev = {rev} WHERE name = '{next}'"),
                    1 => format!("UPDATE t SET rev = {rev}, note = 'n{note}' WHERE name = '{next}'"),
                    2 => format!("DELETE FROM t WHERE name = '{next}'; INSERT INTO t VALUES ('{next}', {rev}, 'again')"),
                    _ => format!("BEGIN; DELETE FROM t WHERE name = '{next}'; INSERT INTO t VALUES ('{next}', {rev}, 'at once'); COMMIT"),
                });
            }
        },
    );
}

#[test]
fn rows_without_a_key_are_as_many_in_the_copy_as_at_the_source() {
    copied("a INT, b VARCHAR(20), c FLOAT, KEY (a)", |sql| {
        let mut random = random();
        sql.run("USE test; INSERT INTO t VALUES (1, 'same', 0.1), (1, 'same', 0.1), (1, 'same', 0.1), (NULL, NULL, NULL), (NULL, NULL, NULL)");
        for rev in 1..=150 {
            let a = random.random_range(1..6);
            sql.run(&match random.random_range(0..6) {
                0 | 1 => format!("INSERT INTO t VALUES ({a}, 'same', 0.1), ({a}, NULL, {rev} / 7)"),
                2 => format!("UPDATE t SET c = {rev} / 3 WHERE a = {a} LIMIT 1"),
                3 => format!("UPDATE t SET a = NULL, b = 'moved' WHERE a = {a} LIMIT 2"),
                4 => format!("DELETE FROM t WHERE a = {a} LIMIT 1"),
                _ => "UPDATE t SET b = 'was null' WHERE b IS NULL LIMIT 1; DELETE FROM t WHERE a IS NULL LIMIT 1".to_owned(),
            });
        }
    });
}

/// Rows before a TRUNCATE are gone, rows behind it are there, whatever lane they go in.
fn truncate(sql: &mut Sql, rounds: u32) {
    sql.run("USE test");
    for round in 0..rounds {
        for id in 0..25 {
            sql.run(&format!(
                "INSERT INTO t VALUES ({id}, {round}); UPDATE t SET rev = rev + 100 WHERE id = {id} - 3"
            ));
        }
        sql.run("TRUNCATE TABLE t; INSERT INTO t VALUES (1, 1), (2, 2); TRUNCATE t");
    }
    sql.run("INSERT INTO t VALUES (7, 7), (8, 8), (9, 9)");
}

#[test]
fn truncate_empties_the_copy_between_the_rows_before_and_behind_it() {
    on(&BOTH, &[], |server| {
        let mut sql = server.sql();
        sql.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY, rev INT)");
        let flow = Flow::beside(server, Mesh::start(), &["t"]);
        let mut copying = sink(&flow);
        truncate(&mut sql, 6);
        flow.settle(&mut copying);
        assert_eq!(sql.run("SELECT COUNT(*) FROM test_copy.t")[0][0], "3");
        stop(copying);
    });
}

#[test]
fn truncate_keeps_its_place_over_a_mesh_that_drops_and_reorders() {
    on(&BOTH[..1], &[], |server| {
        let mut sql = server.sql();
        sql.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY, rev INT)");
        let faults =
            ["--fault-drop-pushes", "200", "--fault-forget-after", "3000", "--fault-reorder-pushes", "10"];
        let flow = Flow::beside(server, Mesh::start_with(&faults), &["t"]).until_applied();
        let mut copying = sink(&flow);
        truncate(&mut sql, 2);
        flow.catch_up(&mut copying);
        flow.verify();
        stop(copying);
    });
}
