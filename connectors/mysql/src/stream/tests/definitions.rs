//! Statements between the rows: definitions, and TRUNCATE, which is an event.

use super::*;
use crate::rows::{MySqlRecord, Truncation};

/// The truncations that wait for a batch: their tables and transactions.
fn truncations(script: &Script) -> Vec<(String, String)> {
    let of = |record: &MySqlRecord| match record {
        MySqlRecord::Truncation(Truncation { table, written }) => {
            Some((format!("{}.{}", table.schema, table.name), written.transaction.to_string()))
        }
        _ => None,
    };
    script.stream.pending.iter().filter_map(of).collect()
}

/// A statement alone in its transaction.
fn alone(script: &mut Script, number: u8, schema: &str, text: &str) {
    script.gtid(number).expect("a GTID");
    script.query_in(schema, text).expect(text);
}

#[test]
fn a_definition_makes_tables_anew_and_ends_its_own_transaction() {
    let mut script = Script::new();
    script.begin(1);
    script.table_map("t");
    script.insert(&[1]).expect("rows");
    script.commit();
    alone(&mut script, 2, "shop", "ALTER TABLE t ADD c INT");
    assert_eq!(script.gtids(), format!("{UUID}:1-2"));
    assert_eq!(script.stream.seen.ddl, 1);
    alone(&mut script, 3, "shop", "TRUNCATE TABLE t");
    assert_eq!((script.stream.seen.truncate, script.gtids()), (1, format!("{UUID}:1-3")));
}

#[test]
fn a_truncate_of_a_captured_table_stands_in_the_order_of_the_binlog() {
    let mut script = Script::new();
    let insert = |script: &mut Script, number| {
        script.begin(number);
        script.table_map("t");
        script.insert(&[1, 2]).expect("rows");
        script.commit();
    };
    insert(&mut script, 1);
    alone(&mut script, 2, "shop", "TRUNCATE TABLE t");
    alone(&mut script, 3, "other", "truncate `shop`.`unmet`");
    insert(&mut script, 4);
    let kinds: Vec<bool> =
        script.stream.pending.iter().map(|record| matches!(record, MySqlRecord::Truncation(_))).collect();
    assert_eq!(kinds, [false, true, true, false]);
    let expected = [("shop.t", 2), ("shop.unmet", 3)].map(|(table, n)| (table.into(), format!("{UUID}:{n}")));
    assert_eq!(truncations(&script), expected);
    assert_eq!((script.stream.seen.truncate, script.stream.seen.rows), (2, 6));
    assert_eq!(script.stream.position().open, None);
}

#[test]
fn a_truncate_of_a_table_that_is_not_captured_gives_nothing() {
    let mut script = Script::new();
    alone(&mut script, 1, "shop", "TRUNCATE x1");
    alone(&mut script, 2, "shop", "TRUNCATE TABLE other.t");
    alone(&mut script, 3, "other", "TRUNCATE TABLE t");
    assert!(script.stream.pending.is_empty());
    assert_eq!((script.stream.seen.truncate, script.gtids()), (3, format!("{UUID}:1-3")));
}

#[test]
fn a_truncate_without_a_gtid_is_a_transaction_of_its_own() {
    let mut script = Script::at(&BinlogPosition { gtids: Gtids::None, ..position("", None) });
    script.query("TRUNCATE TABLE t").expect("a truncation");
    assert_eq!(truncations(&script), [("shop.t".to_owned(), format!("{UUID}:binlog.000001:4"))]);
    assert!(script.stream.is_between());
    assert_eq!(script.stream.position().offset, u64::from(script.offset));
}

#[test]
fn a_truncate_whose_table_cannot_be_told_stops_the_stream() {
    let mut script = Script::new();
    script.gtid(1).expect("a GTID");
    let failure = script.query("TRUNCATE TABLE").expect_err("no table");
    assert!(failure.message().contains("TRUNCATE"), "{failure}");
}

#[test]
fn a_truncate_inside_of_a_transaction_is_passed_over_once_it_was_handed_on() {
    let id = format!("{UUID}:1");
    for (handed_on, left) in [(1, 2), (2, 1), (3, 0)] {
        let mut script = Script::at(&position("", Some((&id, handed_on))));
        script.begin(1);
        script.table_map("t");
        script.insert(&[1]).expect("rows");
        script.query("TRUNCATE TABLE t").expect("a truncation");
        script.insert(&[2]).expect("rows");
        assert_eq!(script.stream.pending.len(), left, "behind {handed_on} rows");
        script.commit();
    }
}

#[test]
fn behind_a_definition_of_a_spread_table_nothing_goes_before_all_that_was_is_acknowledged() {
    let lanes_of_next = |script: &mut Script, number| {
        script.begin(number);
        script.table_map("t");
        script.insert(&[1]).expect("rows");
        script.commit();
        script.stream.pending.last().expect("the rows").rows().table.lanes
    };
    let mut script = Script::new();
    assert_eq!(lanes_of_next(&mut script, 1), 4);
    alone(&mut script, 2, "shop", "CREATE INDEX i ON other.o (id)");
    assert!(!script.stream.must_settle(), "another table");
    alone(&mut script, 3, "shop", "ALTER TABLE t ADD UNIQUE (id)");
    assert!(script.stream.must_settle());
    script.stream.settled();
    assert_eq!(lanes_of_next(&mut script, 4), 1);
    assert!(!script.stream.must_settle());
}
