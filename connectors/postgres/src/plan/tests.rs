//! Tests of the statements' texts, without a server.

use std::time::Instant;

use flowd_sink::image;
use flowd_sink::rows::layout::Origin;
use flowd_sink::rows::mapping::TableName;

use super::*;
use crate::catalog::{Traits, defined};
use crate::dialect::tests::{DIALECT, made};

const ROW: &[u8] = br#"{"id":1,"g":9,"b":"x","c":null}"#;

fn table(key: Vec<usize>) -> Table {
    let mut columns = vec![
        made("id", "bigint", Form::Integer { min: 0, max: 99 }),
        made("g", "integer", Form::Integer { min: 0, max: 99 }),
        made("b", "text", Form::Text { chars_max: None }),
        made("c", "json", Form::Json),
    ];
    columns[1].generated = true;
    let name = TableName { schema: "s".into(), table: "t".into() };
    defined(name, columns, key, Traits::default(), Instant::now())
}

/// The statement of a step, and its row of values.
fn check(step: Step, told: Told, key: Vec<usize>, sql: &str, values: &[&str]) {
    let mut table = table(key);
    let mut images = Images::default();
    image::read(ROW, &mut images.after).unwrap();
    image::read(ROW, &mut images.before).unwrap();
    let layout = table.layout(&DIALECT, &images.after, Origin::Change, &[]).unwrap();
    let change = Change { table: 0, step, after: layout, before: layout, told };
    let index = plan(&mut table, &change, &images).unwrap();
    assert_eq!(plan(&mut table, &change, &images), Ok(index), "made once");
    let plan = &table.statements[index];
    assert_eq!(plan.sql, sql);
    let mut row = vec![Texts::default(); plan.width()];
    plan.push_row(&table, &images, &mut row).unwrap();
    let found: Vec<String> = row
        .iter()
        .map(|texts| {
            texts
                .iter()
                .next()
                .unwrap()
                .map_or("NULL".into(), |text| String::from_utf8(text.to_vec()).unwrap())
        })
        .collect();
    assert_eq!(found, values);
}

#[test]
fn an_upsert_sets_all_but_the_key_and_leaves_generated_columns_out() {
    check(
        Step::Upsert,
        Told::ByAfter,
        vec![0],
        "INSERT INTO \"s\".\"t\" (\"id\",\"b\",\"c\") OVERRIDING SYSTEM VALUE \
         SELECT n.c0::bigint,n.c1::text,n.c2::json FROM unnest($1::text[],$2::text[],$3::text[]) AS n(c0,c1,c2) \
         ON CONFLICT (\"id\") DO UPDATE SET \"b\"=EXCLUDED.\"b\",\"c\"=EXCLUDED.\"c\"",
        &["1", "x", "NULL"],
    );
}

#[test]
fn an_update_and_a_delete_find_their_row_by_its_key() {
    check(
        Step::UpdateOnly,
        Told::ByAfter,
        vec![0],
        "UPDATE \"s\".\"t\" AS t SET \"b\"=n.c1::text,\"c\"=n.c2::json \
         FROM unnest($1::text[],$2::text[],$3::text[]) AS n(c0,c1,c2) WHERE t.\"id\"=n.c0::bigint",
        &["1", "x", "NULL"],
    );
    check(
        Step::Delete,
        Told::ByBefore,
        vec![0, 2],
        "DELETE FROM \"s\".\"t\" AS t USING unnest($1::text[],$2::text[]) AS n(c0,c1) \
         WHERE t.\"id\"=n.c0::bigint AND t.\"b\"=n.c1::text",
        &["1", "x"],
    );
}

#[test]
fn a_row_without_a_key_is_found_whole_by_its_place() {
    check(
        Step::DeleteMatching,
        Told::ByBefore,
        vec![],
        "DELETE FROM \"s\".\"t\" AS t USING unnest($1::text[],$2::text[],$3::text[]) AS n(c0,c1,c2) \
         CROSS JOIN LATERAL (SELECT x.tableoid AS part, x.ctid AS place FROM \"s\".\"t\" AS x \
         WHERE x.\"id\"=n.c0::bigint AND x.\"b\"=n.c1::text AND x.\"c\" IS NULL LIMIT 1) AS p \
         WHERE t.ctid=p.place AND t.tableoid=p.part",
        &["1", "x", "NULL"],
    );
}

#[test]
fn where_on_conflict_cannot_be_an_update_comes_first() {
    check(
        Step::UpdateFirst,
        Told::ByAfter,
        vec![0],
        "WITH n AS MATERIALIZED (SELECT n.c0::bigint AS c0,n.c1::text AS c1,n.c2::json AS c2 \
         FROM unnest($1::text[],$2::text[],$3::text[]) AS n(c0,c1,c2)), \
         done AS (UPDATE \"s\".\"t\" AS t SET \"b\"=n.c1,\"c\"=n.c2 FROM n WHERE t.\"id\"=n.c0 RETURNING n.c0) \
         INSERT INTO \"s\".\"t\" (\"id\",\"b\",\"c\") OVERRIDING SYSTEM VALUE \
         SELECT n.c0,n.c1,n.c2 FROM n WHERE NOT EXISTS (SELECT FROM done WHERE done.c0=n.c0)",
        &["1", "x", "NULL"],
    );
}
